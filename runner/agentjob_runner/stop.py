"""Being told to stop: SIGTERM from the kubelet, SIGINT from a terminal."""

import signal
from collections.abc import Callable


class Stop:
    """Counts how often this process has been told to stop, from the moment it is made."""

    def __init__(self) -> None:
        self.asked = 0
        self.listener: Callable[[], object] | None = None
        """Called at each time from now on, between any two instructions of the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, *_: object) -> None:
        self.asked += 1
        if self.listener is not None:
            self.listener()
