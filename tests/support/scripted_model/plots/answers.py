"""Conversations in which the model only talks."""

from scripted_model.replies import reply, text, thinking
from scripted_model.scripts import Plot, Task, script


@script()
def say_hello(_: Task) -> Plot:
    """Answer in one sentence."""
    yield [text("Hello from the scripted model.")]


@script()
def think_then_answer(_: Task) -> Plot:
    """Think, then answer."""
    yield [thinking("Six times seven: six sevens are forty-two."), text("The answer is 42.")]


@script()
def slow_answer(_: Task, seconds: float = 60.0, pace: float = 0.0) -> Plot:
    """Answer after a while, then word by word."""
    yield reply(text("This answer took its time, and here it is at last, word for word."), wait=seconds, pace=pace)


@script()
def max_tokens(_: Task) -> Plot:
    """Be cut off in every answer."""
    while True:
        yield reply(text("This answer is cut off in the mid"), stop="max_tokens")


@script()
def refusal(_: Task) -> Plot:
    """Refuse to answer, also when Claude Code tries once more."""
    while True:
        yield reply(text("I can't help with that."), stop="refusal")


@script()
def big_message(_: Task, megabytes: float = 5.0) -> Plot:
    """Answer with very many words."""
    line = "The quick brown fox jumps over the lazy dog and on.\n"
    yield [text(line * int(megabytes * 1_000_000 / len(line)))]
