"""What a test may let go wrong with a request."""

from dataclasses import dataclass, field
from typing import Literal

from fake_cluster.refusals import Refusal


@dataclass
class Fault:
    """Happens to the next `times` requests with this verb on this resource ("agentjobs/status").

    - refuse: answered with `refusal`, nothing is done.
    - cut: done, but the connection breaks before the answer.
    - hold: done, but the answer never comes.
    """

    verb: str
    resource: str
    how: Literal["refuse", "cut", "hold"] = "refuse"
    refusal: Refusal = field(default_factory=lambda: Refusal(500, "InternalError", "a fault of the test's"))
    times: int = 1

    def takes(self, verb: str, resource: str) -> bool:
        return self.times > 0 and (verb, resource) == (self.verb, self.resource)
