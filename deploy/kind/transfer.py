"""Pour what one program writes into several others."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from tempfile import TemporaryFile
from typing import IO

from deploy.kind.command import shown, tail
from deploy.kind.errors import CommandFailed

CHUNK = 1 << 20
"""Bytes at a time; what is copied is hundreds of megabytes."""

Argv = Sequence[str]


def pour(source: Argv, sinks: Sequence[Argv], variables: Mapping[str, str], seconds: float) -> None:
    """Run all of them until the last has ended. Raises CommandFailed in the words of the first that failed.

    The environment of all is `variables`; what still runs after `seconds` is killed, and has failed.
    """
    with ExitStack() as stack:

        def start(argv: Argv, stdin: int, stdout: int) -> tuple[subprocess.Popen[bytes], Argv, IO[bytes]]:
            words = stack.enter_context(TemporaryFile())
            program = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=words, env=dict(variables))
            stack.callback(program.wait)
            stack.callback(program.kill)
            return program, argv, words

        reading = start(source, subprocess.DEVNULL, subprocess.PIPE)
        writing = [start(sink, subprocess.PIPE, subprocess.DEVNULL) for sink in sinks]
        programs = [program for program, _, _ in (*writing, reading)]
        timer = threading.Timer(seconds, _kill, [programs])
        stack.callback(timer.cancel)
        timer.start()
        _copy(reading[0], [program for program, _, _ in writing])
        for program, argv, words in (*writing, reading):
            if program.wait():
                words.seek(0)
                raise CommandFailed(f"{shown(argv)}: exit status {program.returncode}\n{tail(words.read())}")


def _kill(programs: Sequence[subprocess.Popen[bytes]]) -> None:
    for program in programs:
        program.kill()


def _copy(reader: subprocess.Popen[bytes], writers: Sequence[subprocess.Popen[bytes]]) -> None:
    assert reader.stdout is not None
    inputs = [writer.stdin for writer in writers if writer.stdin is not None]
    with suppress(BrokenPipeError):  # a writer that ended early says why itself
        while chunk := reader.stdout.read(CHUNK):
            for each in inputs:
                each.write(chunk)
    reader.stdout.close()
    for each in inputs:
        with suppress(BrokenPipeError):
            each.close()
