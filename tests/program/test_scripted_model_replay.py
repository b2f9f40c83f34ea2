"""The scripted model finds its place in a script from the conversation alone."""

from collections.abc import Callable
from typing import Any

import pytest

from scripted_model import Answer, Plot, Task, script
from scripted_model.faults import ALWAYS, refuse
from scripted_model.plots import PLOTS
from scripted_model.replay import Scene, play
from scripted_model.replies import Reply, bash, reply, text, thinking, tool, usual_usage
from scripted_model.requests import MessagesRequest
from scripted_model.scripts import BrokenScriptError, Script, ToolResult, UnknownScriptError
from scripted_model.sse import Envelope, message


class Client:
    """The client's part of a conversation: remembers what was said, and asks what comes next."""

    def __init__(self, prompt: str, *own: Script, tools: tuple[str, ...] = ("Bash",)) -> None:
        self.library = PLOTS.adding(*own)
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        self.tools: list[dict[str, Any]] = [{"name": name, "input_schema": {"type": "object"}} for name in tools]

    def ask(self) -> Scene:
        body = {"model": "m", "max_tokens": 1, "messages": self.messages, "tools": self.tools}
        return play(MessagesRequest.model_validate(body), self.library)

    def listen(self) -> Reply:
        """Get the next reply and remember it."""
        scene = self.ask()
        said = scene.steps[-1]
        assert isinstance(said, Reply)
        ids = tuple(scene.tool_id(position) for position in range(len(said.calls)))
        usage = usual_usage(said, scene.turn)
        content = message(said, Envelope(message_id="msg_1", model="m", usage=usage, tool_ids=ids))["content"]
        self.messages.append({"role": "assistant", "content": content})
        return said

    def answer(self, *results: str, said: str = "") -> None:
        """Send the results of the last reply's tool calls, and words."""
        calls = [block["id"] for block in self.messages[-1]["content"] if block["type"] == "tool_use"]
        content: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": identity, "content": result}
            for identity, result in zip(calls, results, strict=False)
        ]
        words = [{"type": "text", "text": said}] if said else []
        self.messages.append({"role": "user", "content": content + words})


@script()
def sum_up(_: Task) -> Plot:
    """Add what two commands print."""
    heard = yield [text("Let me count."), bash("echo 1"), bash("echo 2")]
    yield [text(f"The sum is {sum(int(result.text) for result in heard.results)}.")]


@script()
def listener(_: Task) -> Plot:
    """Say what was heard."""
    heard = yield [bash("true")]
    yield [text(f"results {[result.text for result in heard.results]}, words {heard.said!r}")]


@script()
def fragile(_: Task) -> Plot:
    """Fail twice with one error and once with another, then answer."""
    yield refuse(529, "overloaded_error", "Overloaded", times=2)
    yield refuse(500, "api_error", "Oops")
    yield [text("At last.")]
    yield refuse(500, "api_error", "For ever", times=ALWAYS)


def test_later_arguments_are_made_from_earlier_results() -> None:
    client = Client("[script: sum-up]", sum_up)
    assert client.listen() == reply(text("Let me count."), bash("echo 1"), bash("echo 2"))
    client.answer("20", "22")
    assert client.listen() == reply(text("The sum is 42."))


def test_results_are_handed_over_in_the_order_of_the_calls() -> None:
    client = Client("[script: parallel-calls 2]")
    client.listen()
    client.answer("first", "second")
    client.messages[-1]["content"].reverse()
    assert client.listen().text == "first, second"


def test_the_same_conversation_gets_the_same_answer_again() -> None:
    client = Client("[script: many-turns 3]")
    client.listen()
    client.answer("done")
    assert client.ask() == client.ask()


def test_tool_ids_differ_between_calls_turns_and_conversations() -> None:
    ids = set()
    for prompt in ("[script: many-turns 3]", "again [script: many-turns 3]"):
        client = Client(prompt)
        for _ in range(3):
            scene = client.ask()
            ids |= {scene.tool_id(0), scene.tool_id(1)}
            client.listen()
            client.answer("done")
    assert len(ids) == 12


@pytest.mark.parametrize(
    ("prompt", "plays"),
    [
        pytest.param("[script: say-hello]", "say-hello", id="a marker chooses"),
        pytest.param("Please\n[script:say-hello]\nthanks", "say-hello", id="a marker may stand anywhere"),
        pytest.param("Fix the failing tests.", "fix-the-tests", id="a script's own condition chooses"),
        pytest.param("Fix the tests [script: say-hello]", "say-hello", id="a marker goes before a condition"),
        pytest.param("[script: billing]\n[script: say-hello]", "say-hello", id="the last marker counts"),
        pytest.param("[script: many-turns 7]", "many-turns", id="a marker may carry an argument"),
        pytest.param("[script: overloaded always]", "overloaded", id="a number of times may be always"),
        pytest.param("[script: network-probe a:1 b:2]", "network-probe", id="a marker may carry many arguments"),
    ],
)
def test_a_prompt_chooses_its_script(prompt: str, plays: str) -> None:
    assert Client(prompt).ask().script == plays


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        pytest.param("Write a poem.", "no script plays the prompt 'Write a poem.'", id="nothing plays the prompt"),
        pytest.param("[script: gohst]", "no script is called 'gohst'", id="the name is unknown"),
        pytest.param("[script: gohst]", "say-hello, ", id="an unknown name gets the list of the known"),
        pytest.param("[script: slow x]", "slow [seconds=600.0]] was given 'x'", id="an argument is no number"),
        pytest.param("[script: say-hello 1 2]", "[script: say-hello] was given '1 2'", id="an argument is too much"),
        pytest.param("[script: big-argument]", "big-argument path [megabytes=5.0]] was", id="an argument is missing"),
        pytest.param("[script: memory-hog 1 me]", "'hog', 'cli' or 'runner'", id="an argument is none of the choices"),
        pytest.param("[script: say-hello 'x]", "No closing quotation", id="a quotation mark is not closed"),
        pytest.param(
            "<system-reminder>[script: say-hello]</system-reminder>Hi",
            "no script plays the prompt 'Hi'",
            id="a marker in a reminder does not count",
        ),
    ],
)
def test_a_prompt_that_nothing_plays_is_refused_with_the_way_out(prompt: str, words: str) -> None:
    with pytest.raises(UnknownScriptError) as refused:
        Client(prompt).ask()
    assert words in str(refused.value)


def test_the_next_prompt_begins_the_next_script() -> None:
    client = Client("[script: say-hello]")
    client.listen()
    client.answer(said="[script: many-turns 1]")
    assert client.listen().text == "Turn 1."


def test_a_marker_begins_another_script_in_the_middle_of_one() -> None:
    client = Client("[script: endless]")
    client.listen()
    client.answer("round 1", said="[script: say-hello]")
    assert client.ask().script == "say-hello"


def test_words_that_choose_nothing_are_noted_after_the_end() -> None:
    client = Client("[script: say-hello]")
    client.listen()
    client.answer(said="<system-reminder>A background task has ended.</system-reminder>")
    assert client.listen().text == "Noted."
    client.answer(said="Thank you.")
    assert client.listen().text == "Noted."


def test_an_interruption_is_heard() -> None:
    client = Client("[script: listener]", listener)
    client.listen()
    client.answer("rejected", said="[Request interrupted by user for tool use]")
    assert client.listen().text == "results ['rejected'], words '[Request interrupted by user for tool use]'"


def test_a_reply_that_was_interrupted_while_it_streamed_is_recognised_by_its_beginning() -> None:
    client = Client("[script: sum-up]", sum_up)
    client.listen()
    client.messages[-1]["content"] = "Let me"
    client.messages.append({"role": "user", "content": "[Request interrupted by user]"})
    assert client.listen().text == "The sum is 0."


def test_what_the_client_says_in_the_models_name_is_passed_over() -> None:
    client = Client("[script: listener]", listener)
    client.listen()
    client.answer("outcome unknown")
    client.messages.append({"role": "assistant", "content": "No response requested."})
    client.messages.append({"role": "user", "content": "Go on."})
    assert client.listen().text == "results ['outcome unknown'], words 'Go on.'"


def test_the_tools_defaults_may_be_added_to_a_calls_arguments() -> None:
    client = Client("[script: listener]", listener)
    client.listen()
    client.messages[-1]["content"][0]["input"]["run_in_background"] = False
    client.answer("ok")
    assert client.listen().text == "results ['ok'], words ''"


def change_text(content: list[dict[str, Any]]) -> None:
    content[0]["text"] = "Something else."


def change_id(content: list[dict[str, Any]]) -> None:
    content[1]["id"] = "toolu_other"


def change_argument(content: list[dict[str, Any]]) -> None:
    content[1]["input"] = {"command": "rm -rf /"}


def repeat_call(content: list[dict[str, Any]]) -> None:
    content.extend([{**content[1], "id": "toolu_third"}, {**content[1], "id": "toolu_fourth"}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(change_text, "its text differs", id="other words"),
        pytest.param(change_id, "found toolu_other", id="another id"),
        pytest.param(change_argument, "(Bash) differ", id="another argument"),
        pytest.param(repeat_call, "expected 2 tool calls, found 4", id="more calls"),
    ],
)
def test_a_history_that_the_script_never_played_is_refused(
    change: Callable[[list[dict[str, Any]]], None], words: str
) -> None:
    client = Client("[script: sum-up]", sum_up)
    client.listen()
    change(client.messages[-1]["content"])
    client.answer("1", "2")
    with pytest.raises(BrokenScriptError, match=r"messages\.1: not what script sum-up said in turn 0") as refused:
        client.ask()
    assert words in str(refused.value)


def test_an_answer_after_a_fault_that_lasts_for_ever_is_refused() -> None:
    client = Client("[script: billing]")
    client.messages += [{"role": "assistant", "content": "Paid!"}, {"role": "user", "content": "Go on."}]
    with pytest.raises(BrokenScriptError, match="billing never answers here"):
        client.ask()


def test_faults_come_as_often_as_they_should_and_then_the_answer() -> None:
    scene = Client("[script: fragile]", fragile).ask()
    said = [scene.step(asked_before) for asked_before in range(5)]
    assert [getattr(step, "status", "answer") for step in said] == [529, 529, 500, "answer", "answer"]


def test_faults_that_were_overcome_are_not_played_again() -> None:
    client = Client("[script: fragile]", fragile)
    assert client.listen().text == "At last."
    client.answer(said="And now?")
    assert list(client.ask().steps) == [refuse(500, "api_error", "For ever", times=ALWAYS)]


def deferred(client: Client, name: str) -> None:
    client.tools.append({"name": name, "input_schema": {"type": "object"}, "defer_loading": True})


def loaded(client: Client, name: str) -> None:
    client.answer()
    identity = client.messages[-2]["content"][0]["id"]
    reference = [{"type": "tool_reference", "tool_name": name}]
    client.messages[-1]["content"] = [{"type": "tool_result", "tool_use_id": identity, "content": reference}]


def test_a_deferred_tool_is_loaded_before_it_is_called() -> None:
    client = Client("[script: use-mcp mcp__echo__say words=hi]", tools=("ToolSearch",))
    deferred(client, "mcp__echo__say")
    assert client.listen() == reply(tool("ToolSearch", query="select:mcp__echo__say", max_results=1))
    loaded(client, "mcp__echo__say")
    assert client.listen() == reply(tool("mcp__echo__say", words="hi"))
    client.answer("Echo: hi")
    assert client.listen().text == "mcp__echo__say said: Echo: hi"


def test_a_tool_that_cannot_be_loaded_is_called_all_the_same() -> None:
    client = Client("[script: use-mcp mcp__gone__say]", tools=("ToolSearch",))
    client.listen()
    client.answer("No matching deferred tools found")
    assert client.listen() == reply(tool("mcp__gone__say"))


def test_a_model_without_tools_only_talks() -> None:
    assert Client("[script: many-turns]", tools=()).listen() == reply(text("Turn 1."))
    assert Client("[script: read-env]", tools=()).listen() == reply(text("I have no tools."))


def test_thinking_comes_with_a_signature_of_its_words() -> None:
    assert thinking("a").signature == thinking("a").signature != thinking("b").signature


def test_two_scripts_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two scripts are called 'say-hello'"):
        PLOTS.adding(Script("say-hello", sum_up.play))


def test_the_usual_usage_of_a_conversation_is_known_in_advance() -> None:
    said = reply(text("x" * 400))
    figures = [usual_usage(said, turn) for turn in (0, 1, 1_000)]
    assert [(usage.input_tokens, usage.cache_creation_input_tokens, usage.output_tokens) for usage in figures] == [
        (10, 500, 101)
    ] * 3
    assert [usage.cache_read_input_tokens for usage in figures] == [2_000, 2_500, 50_000]


@pytest.mark.parametrize("one", list(PLOTS), ids=lambda one: one.name)
def test_every_script_says_what_it_is_about(one: Script) -> None:
    assert one.play.__doc__


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        pytest.param(Answer((ToolResult("File 'a.py', line 3"),)), "a.py", id="in one result"),
        pytest.param(Answer((ToolResult("x"), ToolResult("File 'b.py'"))), "b.py", id="in the second result"),
        pytest.param(
            Answer((ToolResult("1\tFile\n2\t 'c.py'"),)).without_line_numbers(), "c.py", id="between numbered lines"
        ),
    ],
)
def test_a_script_finds_words_in_what_came_back(answer: Answer, found: str) -> None:
    assert answer.find(r"File\s+'(.+?)'") == found


def test_a_script_that_does_not_find_its_words_says_so() -> None:
    with pytest.raises(BrokenScriptError, match="expected 'File' in what came back, found 'nothing'"):
        Answer((ToolResult("nothing"),)).find("File")
