"""Stdout carries whole lines that a reader of the contract understands."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agentjob_api import lines as contract
from agentjob_api.notices import Notice
from agentjob_runner.lines import Lines


def printed(*messages: dict[str, object]) -> list[bytes]:
    with tempfile.TemporaryFile() as file:
        lines = Lines(attempt=3, out=file.fileno())
        for message in messages:
            lines.print(message)
        file.seek(0)
        return file.readlines()


def test_lines_are_numbered_from_one_and_carry_the_message_unchanged() -> None:
    first, second = (contract.parse(line) for line in printed({"type": "user", "a": 1}, {"type": "result"}))

    assert first is not None
    assert second is not None
    assert (first.seq, first.attempt, first.truncated, first.message) == (1, 3, False, b'{"type":"user","a":1}')
    assert (second.seq, second.message) == (2, b'{"type":"result"}')


def test_a_message_that_is_too_large_is_cut_to_the_limit_and_marked() -> None:
    [raw] = printed({"type": "user", "text": "x" * 1_000_000})

    line = contract.parse(raw)

    assert line is not None
    assert line.truncated
    assert contract.MAX_LINE - 200 < len(raw) <= contract.MAX_LINE
    assert json.loads(line.message)["type"] == "user"


def test_a_message_that_just_fits_is_not_cut() -> None:
    frame = len(b'{"t":""}')

    whole, cut = printed({"t": "x" * (contract.MAX_LINE - 128 - frame)}, {"t": "x" * (contract.MAX_LINE - 127 - frame)})

    assert b'"truncated"' not in whole
    assert b'"truncated":true' in cut
    assert max(len(whole), len(cut)) <= contract.MAX_LINE


def test_half_a_surrogate_pair_makes_a_line_of_valid_utf8() -> None:
    [raw] = printed({"text": "x\ud83d"})

    raw.decode("utf-8")
    line = contract.parse(raw)
    assert line is not None
    assert json.loads(line.message) == {"text": "x\ud83d"}


def test_notices_are_messages_of_our_own_type() -> None:
    with tempfile.TemporaryFile() as file:
        Lines(1, file.fileno()).notify(Notice.WARNING, text="careful")
        file.seek(0)
        line = contract.parse(file.read())

    assert line is not None
    assert json.loads(line.message) == {"type": "agentjob", "subtype": "warning", "text": "careful"}


def test_whoever_else_writes_to_stdout_writes_to_stderr(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, subprocess\n"
        "from agentjob_runner.lines import Lines\n"
        "lines = Lines.on_stdout(attempt=1)\n"
        "print('from print', flush=True)\n"
        "os.write(1, b'from the descriptor\\n')\n"
        "subprocess.run(['sh', '-c', 'echo from a child; ls /proc/self/fd'])\n"
        "lines.print({'type': 'user'})\n"
    )

    ran = subprocess.run([sys.executable, program], capture_output=True, check=True, env={**os.environ})

    assert [contract.parse(line) is not None for line in ran.stdout.splitlines()] == [True]
    assert ran.stderr.splitlines()[:3] == [b"from print", b"from the descriptor", b"from a child"]
