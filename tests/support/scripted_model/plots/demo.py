"""The demo: a small Python project with a failing test, and an agent that mends it, or looks at what is there."""

import re

from scripted_model.replies import bash, edit, read, text
from scripted_model.scripts import Answer, Plot, Task, script

TESTS = "python3 -B -m unittest -v"
"""Without bytecode kept: what is mended within a second, without a change of length, is not compiled anew."""


def asks_to_fix_tests(prompt: str) -> bool:
    """Tell whether a prompt asks for failing tests to be mended."""
    return re.search(r"\b(fix|mend|repair|pass)\w*\b", prompt, re.IGNORECASE) is not None and "test" in prompt.lower()


@script(when=asks_to_fix_tests)
def fix_the_tests(_: Task) -> Plot:
    """Run the tests, read what fails, mend the sign that is wrong, run the tests again, say so."""
    yield [text("I'll see what is here."), bash("ls")]
    run = yield [text("There are tests. I'll run them first."), bash(TESTS)]
    if passed(run):
        yield [text("All tests pass already; there was nothing to fix.")]
        return

    failing = run.find(r'File "(.+?)", line \d+, in test')
    function = run.find(r"self\.assert\w+\((\w+)\(")
    test = yield [text(f"`{function}` gives a wrong answer. What does the test expect of it?"), read(failing)]

    module = test.find(rf"from (\w+) import .*\b{function}\b")
    source = failing.rpartition("/")[0] + f"/{module}.py"
    code = yield [text(f"And how does `{module}.py` calculate it?"), read(source)]

    wrong = code.without_line_numbers().find(rf"(^def {function}\(.*?return .*?$)")
    yield [
        text(f"It adds where it should take away: `{wrong.splitlines()[-1].strip()}`."),
        edit(source, wrong, wrong.replace("+", "-", 1)),
    ]
    again = yield [text("Now the tests once more."), bash(TESTS)]
    if not passed(again):
        yield [text(f"The tests still fail after my change to `{module}.py`.")]
        return
    yield [text(f"`{function}` in `{module}.py` added where it had to subtract; it is mended, and all tests pass.")]


def passed(run: Answer) -> bool:
    """Tell whether unittest was content."""
    return re.search(r"^OK", run.text, re.MULTILINE) is not None


def asks_to_analyze(prompt: str) -> bool:
    """Tell whether a prompt asks for files to be analyzed."""
    return re.search(r"\banaly[sz]e\b.*\bfiles\b", prompt, re.IGNORECASE | re.DOTALL) is not None


@script(when=asks_to_analyze)
def analyze_files(_: Task) -> Plot:
    """Count the files of the workspace by their endings."""
    found = yield [
        text("I'll see which files there are."),
        bash("find . -type f -not -path '*/.*' | sed 's/.*[.]//' | sort | uniq -c"),
    ]
    yield [text(f"Analyzed the workspace. Files by their endings:\n{found.text.strip() or 'there are none'}")]
