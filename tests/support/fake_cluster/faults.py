"""What a test may let go wrong with a request."""

from dataclasses import dataclass, field
from typing import Literal

from fake_cluster.refusals import Refusal


@dataclass
class Fault:
    """Happens to one request with this verb on this resource ("agentjobs/status"), after `skip` others.

    Or to all of them, until it is mended: `forever`. Or only to those about an object whose name begins so: `name`. Or
    only to those in one `namespace`.

    - refuse: answered with `refusal`, nothing is done.
    - cut: done, but the connection breaks before the answer.
    - hold: done, but the answer never comes.
    - swallow: nothing is done, and no answer ever comes.
    """

    verb: str
    resource: str
    how: Literal["refuse", "cut", "hold", "swallow"] = "refuse"
    refusal: Refusal = field(default_factory=lambda: Refusal(500, "InternalError", "a fault of the test's"))
    skip: int = 0
    name: str = ""
    namespace: str = ""
    forever: bool = False
    has_happened: bool = False

    def takes(self, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Whether it happens to this request."""
        if (self.has_happened and not self.forever) or (verb, resource) != (self.verb, self.resource):
            return False
        if not name.startswith(self.name) or self.namespace not in {"", namespace}:
            return False
        self.skip -= 1
        self.has_happened = self.skip < 0
        return self.has_happened


def no_right(verb: str, plural: str, namespace: str) -> Fault:
    """Whoever asks has no right to it in one namespace."""
    what = f'{plural} is forbidden: User "agentjob" cannot {verb} resource "{plural}" in the namespace "{namespace}"'
    return Fault(verb, plural, namespace=namespace, refusal=Refusal(403, "Forbidden", what), forever=True)
