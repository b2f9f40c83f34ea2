"""Scripts: what one is, how a conversation chooses one, and how its marker's arguments are bound.

A script is a generator function marked with `@script()`. It yields what the model says and receives what came back:

    @script()
    def count_files(task: Task, directory: str = ".") -> Plot:
        '''List a directory and say how many entries it has.'''
        listing = yield [text("Let me look."), bash(f"ls -1 {directory}")]
        yield [text(f"{len(listing.text.splitlines())} entries.")]

A prompt chooses it with `[script: count-files src]`. It must be deterministic: the server keeps no state but plays it
again over the conversation's history at each request (see `replay`).
"""

import inspect
import re
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from scripted_model.faults import ALWAYS, Fault
from scripted_model.replies import Block, Reply, reply

MARKER = re.compile(r"\[script:\s*([\w-]+)([^\]]*)\]")
REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)


class UnknownScriptError(Exception):
    """The conversation names no script that exists; the message says what was found and what there is."""


class BrokenScriptError(Exception):
    """The conversation cannot be the one that the script plays; the message says where and how."""


@dataclass(frozen=True)
class Task:
    """What a script knows from the start."""

    prompt: str
    """The user's words, without the client's reminders."""


@dataclass(frozen=True)
class ToolResult:
    """What one tool call came back with."""

    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back after a reply."""

    results: tuple[ToolResult, ...] = ()
    """One for each tool call, in the order of the calls; none if the client was interrupted before."""
    said: str = ""
    """The user's own words, if any: the next prompt, or the note of an interruption."""

    @property
    def text(self) -> str:
        """All results' text."""
        return "\n".join(result.text for result in self.results)

    def find(self, pattern: str) -> str:
        """Give the first group of a pattern in the results' text; raises BrokenScriptError if it is not there."""
        match = re.search(pattern, self.text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise BrokenScriptError(f"the script expected {pattern!r} in what came back, found {_excerpt(self.text)!r}")
        return match[1]

    def without_line_numbers(self) -> "Answer":
        """Turn what Claude Code's Read tool gives (`12⇥line` on each line) back into the file's text."""
        plain = [re.sub(r"^ *\d+\t", "", result.text, flags=re.MULTILINE) for result in self.results]
        return replace(self, results=tuple(ToolResult(words) for words in plain))


Step: TypeAlias = Reply | Fault | list[Block]
Plot: TypeAlias = Generator[Step, Answer, None]

Times: TypeAlias = Annotated[int | None, BeforeValidator(lambda word: ALWAYS if word == "always" else word)]
"""An argument of a marker that says how often: a number or `always`."""


@dataclass(frozen=True)
class Script:
    """A plot with its name, and which prompts choose it without a marker."""

    name: str
    play: Callable[..., Plot]
    when: Callable[[str], bool] | None = None

    @property
    def usage(self) -> str:
        """How its marker is written, such as `many-turns [turns=5]`."""
        parameters = list(inspect.signature(self.play).parameters.values())[1:]
        return " ".join([self.name, *(_shown(parameter) for parameter in parameters)])

    def start(self, task: Task, words: Iterable[str] = ()) -> Plot:
        """Begin the plot with the marker's words as its arguments; raises UnknownScriptError if they do not fit."""
        signature = inspect.signature(self.play)
        try:
            bound = signature.bind(task, *words)
            for name, value in bound.arguments.items():
                annotation = signature.parameters[name].annotation
                if name != next(iter(signature.parameters)):
                    bound.arguments[name] = _converted(value, annotation)
        except (TypeError, ValidationError) as error:
            raise UnknownScriptError(f"[script: {self.usage}] was given {' '.join(words)!r}: {error}") from error
        return self.play(*bound.args)


def _converted(value: object, annotation: type) -> object:
    if isinstance(value, tuple):
        return tuple(_converted(word, annotation) for word in value)
    return TypeAdapter(annotation).validate_python(value)


def _shown(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"[{parameter.name} …]"
    if parameter.default is parameter.empty:
        return parameter.name
    shown = "always" if parameter.default is ALWAYS else parameter.default
    return f"[{parameter.name}={shown}]"


def script(*, when: Callable[[str], bool] | None = None) -> Callable[[Callable[..., Plot]], Script]:
    """Mark a generator function as a script; `fix_the_tests` becomes `fix-the-tests`."""
    return lambda play: Script(play.__name__.replace("_", "-"), play, when)


@dataclass(frozen=True)
class Library:
    """The scripts that there are, by name."""

    scripts: dict[str, Script] = field(default_factory=dict)

    @classmethod
    def of(cls, *modules: ModuleType) -> "Library":
        """Collect the scripts that modules define."""
        return cls().adding(*(thing for module in modules for thing in vars(module).values() if _is_script(thing)))

    def adding(self, *scripts: Script) -> "Library":
        """Return a library with these as well; refuses a second script of the same name."""
        both = dict(self.scripts)
        for one in scripts:
            if both.setdefault(one.name, one) is not one:
                raise ValueError(f"two scripts are called {one.name!r}: rename one of the functions")
        return Library(both)

    def begin(self, task: Task) -> tuple[str, Plot]:
        """Start the script that a prompt chooses, by its last marker or by the script's own `when`.

        The last, because a prompt that got no answer is followed by the next one in the same turn.
        Raises UnknownScriptError.
        """
        if markers := list(MARKER.finditer(task.prompt)):
            return self._by_marker(markers[-1], task)
        if chosen := self._by_words(task.prompt):
            return chosen.name, chosen.start(task)
        raise UnknownScriptError(
            f"no script plays the prompt {_excerpt(task.prompt)!r}: put [script: NAME] into it. {self._known()}"
        )

    def is_chosen_by(self, words: str) -> bool:
        """Tell whether words choose a script."""
        return is_marked(words) or self._by_words(words) is not None

    def _by_words(self, words: str) -> Script | None:
        return next((one for one in self.scripts.values() if one.when and one.when(words)), None)

    def _by_marker(self, marker: re.Match[str], task: Task) -> tuple[str, Plot]:
        name, words = marker[1], marker[2]
        if name not in self.scripts:
            raise UnknownScriptError(f"no script is called {name!r}. {self._known()}")
        try:
            return name, self.scripts[name].start(task, shlex.split(words))
        except ValueError as error:
            raise UnknownScriptError(f"{marker[0]}: {error}") from error

    def _known(self) -> str:
        return "Known scripts: " + ", ".join(one.usage for one in self)

    def __iter__(self) -> Iterator[Script]:
        return iter(sorted(self.scripts.values(), key=lambda one: one.name))


def is_marked(words: str) -> bool:
    """Tell whether words choose a script by a marker, whichever is playing."""
    return MARKER.search(words) is not None


def _is_script(thing: object) -> bool:
    return isinstance(thing, Script)


def _excerpt(prompt: str) -> str:
    return prompt if len(prompt) <= 60 else prompt[:60] + "…"


def as_step(step: Step) -> Reply | Fault:
    """Turn a bare list of blocks into a reply."""
    return reply(*step) if isinstance(step, list) else step
