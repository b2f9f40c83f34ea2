"""Where a runner finds what it is given and leaves what it has to say."""

from pathlib import Path
from typing import NamedTuple

from agentjob_api import names


class Place(NamedTuple):
    """The paths of a runner; in a Pod the defaults."""

    handover: Path = Path(names.HANDOVER_FILE)
    workspace: Path = Path(names.WORKSPACE)
    termination_log: Path = Path(names.TERMINATION_LOG)
