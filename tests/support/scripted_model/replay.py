"""What the model says next, found by playing the script again over the conversation so far.

Nothing is remembered between requests: a restarted server, a resumed session and a repeated request all get the same
answer. Faults leave no trace in a conversation, so the caller counts how often it has been asked at the same place.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from scripted_model.faults import ALWAYS, Fault
from scripted_model.history import Heard, Spoken, conversation
from scripted_model.replies import Reply, reply, text
from scripted_model.requests import CountTokensRequest
from scripted_model.scripts import Answer, BrokenScriptError, Library, Plot, Task, as_step


@dataclass(frozen=True)
class Scene:
    """What is due at one place of a conversation."""

    script: str
    turn: int
    """How many replies came before, from 0."""
    steps: tuple[Reply | Fault, ...]
    """The faults that come first and, unless one of them lasts for ever, the reply."""
    opening: str
    """What the conversation began with."""

    def step(self, asked_before: int) -> Reply | Fault:
        """Give what is due when it was asked for `asked_before` times at this very place."""
        for step in self.steps:
            times = 1 if isinstance(step, Reply) else step.times
            if times is ALWAYS or asked_before < times:
                return step
            asked_before -= times
        return self.steps[-1]

    def tool_id(self, position: int) -> str:
        """Name the tool call at this position among the reply's calls."""
        return tool_id(self.opening, self.turn, position)


def tool_id(opening: str, turn: int, position: int) -> str:
    """Name a tool call by its place, and by the conversation's first words: subagents share a session, not those.

    A forked session begins with the same words and so keeps its ids.
    """
    return "toolu_" + hashlib.sha256(f"{opening}\0{turn}\0{position}".encode()).hexdigest()[:24]


def play(request: CountTokensRequest, library: Library) -> Scene:
    """Play the request's script up to what is due now.

    Raises UnknownScriptError when nothing plays its prompt, BrokenScriptError when the script never said such things.
    """
    heard, spoken = conversation(request.messages)
    stage = _Stage(library, frozenset(tool.name for tool in request.tools), heard[0])
    for turn, remembered in enumerate(spoken):
        said = stage.next_reply()
        _check(remembered, said, stage, turn)
        stage.answer(_answer(heard[turn + 1], [stage.tool_id(turn, at) for at in range(len(said.calls))]))
    scene = Scene(stage.name, len(spoken), tuple(stage.next_steps()), heard[0].said)
    _check_tools(scene, stage.tools)
    return scene


class _Stage:
    """The script that is playing, and the next one when a prompt calls for it."""

    def __init__(self, library: Library, tools: frozenset[str], opening: Heard) -> None:
        self.library = library
        self.tools = tools
        self.opening = opening.said
        self.name, self.plot = self._begin(opening.said)
        self.pending: Answer | None = None

    def _begin(self, prompt: str) -> tuple[str, Plot]:
        return self.library.begin(Task(prompt, self.tools))

    def tool_id(self, turn: int, position: int) -> str:
        """Name a tool call of this conversation."""
        return tool_id(self.opening, turn, position)

    def answer(self, answer: Answer) -> None:
        """Hand on what came back; a marker in it begins another script."""
        if self.library.is_marked(answer.said):
            self.name, self.plot = self._begin(answer.said)
            self.pending = None
        else:
            self.pending = answer

    def next_steps(self) -> Iterator[Reply | Fault]:
        """Give what the script does now: faults, and the reply that ends them."""
        while True:
            step = self._advance()
            yield step
            if isinstance(step, Reply) or step.times is ALWAYS:
                return

    def next_reply(self) -> Reply:
        """Give the reply that a client has got in spite of all faults."""
        for step in self.next_steps():
            if isinstance(step, Reply):
                return step
        raise BrokenScriptError(f"script {self.name} never answers here, and yet the conversation goes on")

    def _advance(self) -> Reply | Fault:
        answer = self.pending
        try:
            step = next(self.plot) if answer is None else self.plot.send(answer)
        except StopIteration:
            return self._after_the_end(answer or Answer())
        self.pending = Answer()
        return as_step(step)

    def _after_the_end(self, answer: Answer) -> Reply | Fault:
        if not answer.said:
            return reply(text("Noted."))
        self.name, self.plot = self._begin(answer.said)
        self.pending = None
        return self._advance()


def _answer(heard: Heard, ids: list[str]) -> Answer:
    results = tuple(heard.results[identity] for identity in ids if identity in heard.results)
    return Answer(results, heard.said, heard.reminders)


def _check(remembered: Spoken, said: Reply, stage: _Stage, turn: int) -> None:
    """Compare a reply with the client's memory of it.

    Of an interrupted reply it remembers only the beginning, and to a tool's arguments it adds the tool's defaults.
    """
    place = f"messages.{remembered.index}: not what script {stage.name} said in turn {turn}"
    if not said.text.startswith(remembered.text.rstrip()):
        raise BrokenScriptError(f"{place}: its text differs")
    if len(remembered.calls) > len(said.calls):
        raise BrokenScriptError(f"{place}: expected {len(said.calls)} tool calls, found {len(remembered.calls)}")
    for position, (call, found) in enumerate(zip(said.calls, remembered.calls, strict=False)):
        if found.id != stage.tool_id(turn, position):
            raise BrokenScriptError(
                f"{place}: tool call {position} has the id {found.id}, not {stage.tool_id(turn, position)}"
            )
        if call.name != found.name or not call.arguments.items() <= found.input.items():
            raise BrokenScriptError(f"{place}: the arguments of {found.id} ({call.name}) differ")


def _check_tools(scene: Scene, offered: frozenset[str]) -> None:
    due = scene.steps[-1]
    for call in due.calls if isinstance(due, Reply) else ():
        if call.name not in offered:
            known = ", ".join(sorted(offered)) or "none"
            raise BrokenScriptError(
                f"script {scene.script} calls {call.name}, which the request does not offer ({known})"
            )
