"""Programs are run for a bounded time and fail in their own words."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.kind.command import SHOWN, TAIL_LINES, Program, shown, tail
from deploy.kind.errors import CommandFailed
from deploy.kind.transfer import pour


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_a_program_that_ends_well_gives_its_output() -> None:
    assert Program().run("cat", timeout=10, stdin="words") == "words"


@pytest.mark.parametrize(
    ("argv", "timeout", "words"),
    [
        pytest.param(shell("echo why >&2; exit 3"), 10, "exit status 3\nwhy", id="its own words and status"),
        pytest.param(
            shell("echo only; exit 1"), 10, "exit status 1\nonly", id="its output where it complained nowhere"
        ),
        pytest.param(["/no/such/program"], 10, "/no/such/program", id="the name of one that is not there"),
        pytest.param(
            shell("echo so far >&2; exec sleep 60"), 0.5, "still running after 0 s\nso far", id="what it said till then"
        ),
    ],
)
def test_one_that_fails_says(argv: list[str], timeout: float, words: str) -> None:
    with pytest.raises(CommandFailed) as failure:
        Program().run(*argv, timeout=timeout)
    assert words in str(failure.value)
    assert not Program().succeeds(*argv, timeout=timeout)


def test_it_sees_the_environment_it_is_given_and_where_debian_keeps_daemons() -> None:
    seen = Program(environment={"WHAT": "this"}).run(*shell('echo "$WHAT $PATH"'), timeout=10)
    assert seen.startswith("this ")
    assert seen.rstrip().endswith("/usr/sbin:/sbin")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a program with the one that started it")
def test_it_does_not_outlive_the_one_that_started_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "from deploy.kind.command import Program; "
        f"Program().run('sh', '-c', 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60', timeout=60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 20
    while not pid.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    starter.kill()
    starter.wait()
    process = Path(f"/proc/{pid.read_text().strip()}/cmdline")
    while process.exists() and b"sleep" in process.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not process.exists() or b"sleep" not in process.read_bytes()


def test_only_the_last_lines_are_kept() -> None:
    said = "\n".join(str(number) for number in range(1000)).encode()
    assert tail(said).splitlines()[-1] == "999"
    assert len(tail(said).splitlines()) == TAIL_LINES


def test_a_long_command_line_is_cut() -> None:
    assert shown(["docker", "x" * 1000]).endswith("...")
    assert len(shown(["docker", "x" * 1000])) == SHOWN


def test_pouring_gives_every_program_all_of_it(tmp_path: Path) -> None:
    sinks = [shell(f"cat > {tmp_path}/{name}") for name in ("one", "two")]
    pour(shell("head -c 3000000 /dev/zero"), sinks, os.environ, seconds=20)
    assert [(tmp_path / name).stat().st_size for name in ("one", "two")] == [3_000_000, 3_000_000]


@pytest.mark.parametrize(
    ("source", "sink", "words"),
    [
        pytest.param(
            shell("echo x; echo no such image >&2; exit 1"), shell("cat"), "no such image", id="the source fails"
        ),
        pytest.param(shell("exec cat /dev/zero"), shell("echo disk full >&2; exit 1"), "disk full", id="a sink fails"),
        pytest.param(shell("exec sleep 60"), shell("cat"), "exit status -9", id="the time is over"),
    ],
)
def test_pouring_fails_in_the_words_of_what_failed(source: list[str], sink: list[str], words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        pour(source, [shell("cat > /dev/null"), sink], os.environ, seconds=1)
