"""What the model says next, found by playing the script again over the conversation so far.

Nothing is remembered between requests: a restarted server, a resumed session and a repeated request all get the same
answer. Faults leave no trace in a conversation, so the caller counts how often it has been asked at the same place.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from scripted_model.faults import ALWAYS, Fault
from scripted_model.history import Heard, Spoken, conversation, loaded_tools
from scripted_model.replies import Reply, reply, text, tool
from scripted_model.requests import CountTokensRequest
from scripted_model.scripts import Answer, BrokenScriptError, Library, Plot, Task, as_step, is_marked

LOADER = "ToolSearch"
"""Claude Code's tool that loads the definitions of deferred tools, such as those of MCP servers.

No script calls it: when one calls a tool that is not loaded yet, the model loads it first, as the real one does.
"""


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
    opening = heard[0].said
    stage = _Stage(library, opening)
    for turn, remembered in enumerate(spoken):
        if _is_loading(remembered):
            continue
        said = stage.next_reply()
        ids = [tool_id(opening, turn, position) for position in range(len(said.calls))]
        _check(remembered, said, ids, f"not what script {stage.name} said in turn {turn}")
        stage.hear(_answer(heard[turn + 1], ids))
    has_just_loaded = bool(spoken) and _is_loading(spoken[-1])
    steps = tuple(_fitting(step, request, has_just_loaded=has_just_loaded) for step in stage.next_steps())
    return Scene(stage.name, len(spoken), steps, opening)


class _Stage:
    """The script that is playing, and the next one when somebody calls for it."""

    def __init__(self, library: Library, prompt: str) -> None:
        self.library = library
        self.pending: Answer | None
        self._begin(prompt)

    def _begin(self, prompt: str) -> None:
        self.name: str
        self.plot: Plot
        self.name, self.plot = self.library.begin(Task(prompt))
        self.pending = None

    def hear(self, answer: Answer) -> None:
        """Hand on what came back; a marker in it begins another script."""
        if is_marked(answer.said):
            self._begin(answer.said)
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
        """Begin the script that the next prompt chooses; what chooses none, such as a notice, is only noted."""
        if not self.library.is_chosen_by(answer.said):
            return reply(text("Noted."))
        self._begin(answer.said)
        return self._advance()


def _answer(heard: Heard, ids: list[str]) -> Answer:
    results = tuple(heard.results[identity] for identity in ids if identity in heard.results)
    return Answer(results, heard.said)


def _check(remembered: Spoken, said: Reply, ids: list[str], wrong: str) -> None:
    """Compare a reply with the client's memory of it.

    Of an interrupted reply it remembers only the beginning, and to a tool's arguments it adds the tool's defaults.
    """
    place = f"messages.{remembered.index}: {wrong}"
    if not said.text.startswith(remembered.text.rstrip()):
        raise BrokenScriptError(f"{place}: its text differs")
    if len(remembered.calls) > len(said.calls):
        raise BrokenScriptError(f"{place}: expected {len(said.calls)} tool calls, found {len(remembered.calls)}")
    for identity, call, found in zip(ids, said.calls, remembered.calls, strict=False):
        if found.id != identity:
            raise BrokenScriptError(f"{place}: expected the tool call {identity}, found {found.id}")
        if call.name != found.name or not call.arguments.items() <= found.input.items():
            raise BrokenScriptError(f"{place}: the arguments of {identity} ({call.name}) differ")


def _is_loading(remembered: Spoken) -> bool:
    return any(call.name == LOADER for call in remembered.calls)


def _fitting(step: Reply | Fault, request: CountTokensRequest, *, has_just_loaded: bool) -> Reply | Fault:
    """Fit a step to the tools that the request offers.

    Without any, as in Claude Code's side questions, the model only talks. A tool that is not ready is loaded first;
    if that did not help, it is called all the same: models do that, and the client must cope.
    """
    if not isinstance(step, Reply) or not step.calls:
        return step
    if not request.tools:
        return reply(text(step.text or "I have no tools."), usage=step.usage)
    ready = {one.name for one in request.tools if not one.defer_loading} | loaded_tools(request.messages)
    missing = [call.name for call in step.calls if call.name not in ready]
    if missing and not has_just_loaded and any(one.name == LOADER for one in request.tools):
        return reply(tool(LOADER, query=f"select:{','.join(missing)}", max_results=len(missing)))
    return step
