"""The shape of the code that no linter holds: short files, short functions, no name that hides Python's own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("api", "kube", "program", "operator", "runner", "gateway", "deploy", "docs", "bench", "tests")
MAX_FILE = 300
MAX_TEST_FILE = 500
MAX_FUNCTION = 50
MAX_FUNCTION_P95 = 30


def sources() -> list[Path]:
    return sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))


def function_lengths(path: Path) -> list[tuple[int, str]]:
    """Lines of each function without its docstring, decorators and comments' own lines counted."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert node.end_lineno is not None
            found.append((node.end_lineno - body[0].lineno + 1, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"))
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough_to_be_read_in_one_sitting(path: Path) -> None:
    limit = MAX_TEST_FILE if path.is_relative_to(ROOT / "tests") else MAX_FILE
    lines = len(path.read_text().splitlines())
    assert lines <= limit, f"{lines} lines, at most {limit}: find the second thing this file is about"


def test_no_function_is_long() -> None:
    long = [
        f"{length} lines: {where}"
        for path in sources()
        for length, where in function_lengths(path)
        if length > MAX_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_nineteen_functions_of_twenty_fit_on_half_a_screen() -> None:
    lengths = sorted(length for path in sources() for length, _ in function_lengths(path))
    assert lengths[int(len(lengths) * 0.95)] <= MAX_FUNCTION_P95


def test_nothing_hides_pythons_own_operator_module() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "tests" / "operator").exists()
    assert not (ROOT / "tests" / "__init__.py").exists()
