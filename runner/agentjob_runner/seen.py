"""What the messages of an attempt come to, one after the other. Pure."""

from agentjob_runner.ending import Ending, Exit, Message

TURN = ("assistant", "user", "stream_event")
"""Types of the messages that make up a turn; a `result` ends it."""
DELEGATED = ("local_agent", "local_workflow")
"""Types of the tasks whose end wakes the agent for another turn."""


class Seen:
    """Keeps of the messages what the outcome depends on."""

    def __init__(self) -> None:
        self.stopped = False
        """To be set when the runner is told to stop."""
        self._results: list[Message] = []
        self._error: str | None = None
        self._session_id: str | None = None
        self._in_turn = True
        self._delegated: set[object] = set()
        self._broke_off_delegated = False

    def take(self, message: Message) -> None:
        """See one more message."""
        kind = message.get("type")
        if self._session_id is None:
            self._session_id = message.get("session_id")
        if kind == "result":
            self._results.append(message)
            self._in_turn = False
        elif kind == "system":
            self._take_task(message)
        elif kind in TURN and message.get("parent_tool_use_id") is None:
            self._in_turn = True
            self._error = message.get("error") or self._error

    def _take_task(self, message: Message) -> None:
        """Follow the subagents that work in the background."""
        match message.get("subtype"):
            case "task_started" if message.get("task_type") in DELEGATED:
                self._delegated.add(message.get("task_id"))
            case "task_notification" if message.get("task_id") in self._delegated:
                self._delegated.discard(message.get("task_id"))
                if self.stopped and message.get("status") != "completed":
                    self._broke_off_delegated = True

    def ending(self, end: Exit, *, finished: bool, out_of_memory: bool) -> Ending:
        """All that is known when Claude Code is gone."""
        return Ending(
            exit=end,
            results=tuple(self._results),
            error=self._error,
            session_id=self._session_id,
            finished=finished,
            stopped=self.stopped,
            cut_off=self.stopped and (self._in_turn or self._broke_off_delegated),
            out_of_memory=out_of_memory,
        )
