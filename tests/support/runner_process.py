"""The runner as a process of its own, in directories of its own, on the real Claude Code."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentjob_api import lines, outcome
from agentjob_api.handover import Handover
from agentjob_api.lines import Line
from agentjob_api.outcome import Outcome

LONGEST_LINE = 4 * 1024 * 1024
NO_MODEL = "http://127.0.0.1:9"
"""Nothing listens there."""
ATTEMPT = 2
"""Not the first, so that a runner that makes the number up is found out."""


@dataclass
class Runner:
    """A runner at work, and what it has printed so far."""

    process: asyncio.subprocess.Process
    directory: Path
    raw: list[bytes] = field(default_factory=list)
    """Everything on stdout, line by line."""
    errors: bytes = b""

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    @property
    def lines(self) -> list[Line]:
        """What was printed; fails if anything is not a line."""
        found = [lines.parse(line) for line in self.raw]
        assert None not in found, self.raw[found.index(None)]
        return [line for line in found if line is not None]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(line.message) for line in self.lines]

    def notices(self, subtype: str) -> list[dict[str, Any]]:
        """The runner's own messages of a kind."""
        return [m for m in self.messages if m["type"] == "agentjob" and m["subtype"] == subtype]

    @property
    def outcome(self) -> Outcome:
        """The termination message."""
        found = outcome.from_termination_message((self.directory / "termination-log").read_text())
        assert found is not None
        return found

    async def until(self, words: str) -> None:
        """Read on until a line holds these words; fails if none does."""
        assert self.process.stdout is not None
        while not any(words.encode() in line for line in self.raw[-1:]):
            line = await self.process.stdout.readline()
            assert line, f"the runner ended without saying {words!r}: {self.errors.decode()}"
            self.raw.append(line)

    def hang_up(self) -> None:
        """Read no more: whatever the runner prints from now on fails."""
        transport = self.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()

    async def end(self) -> int:
        """Read to the end; returns the exit code."""
        assert self.process.stdout is not None
        self.raw.extend([line async for line in self.process.stdout])
        return await self.process.wait()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the operator would hand over and set up."""

    prompt: str | None = None
    agent: Mapping[str, Any] = field(default_factory=dict)
    git: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def handover(self) -> str:
        return Handover.model_validate(
            {
                "namespace": "team",
                "job": "fix",
                "uid": "u-1",
                "attempt": ATTEMPT,
                "prompt": self.prompt,
                "agent": self.agent,
                "git": self.git,
                "files": self.files,
            }
        ).to_annotation()


@asynccontextmanager
async def started(job: Job, directory: Path, model_url: str = NO_MODEL, *arguments: str) -> AsyncIterator[Runner]:
    """The runner on a job, with `directory` for its home, workspace and files; killed at the end if it still runs."""
    for name in ("workspace", "home", "tmp"):
        (directory / name).mkdir(exist_ok=True)
    (directory / "handover.json").write_text(job.handover())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "agentjob_runner"),
        *("--handover", directory / "handover.json"),
        *("--workspace", directory / "workspace"),
        *("--termination-log", directory / "termination-log"),
        *arguments,
        env={**environment(directory, model_url), **job.environment},
        cwd=directory / "workspace",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    runner = Runner(process, directory)
    listener = asyncio.create_task(_listen(runner))
    try:
        yield runner
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await listener


async def ran(job: Job, directory: Path, model_url: str = NO_MODEL, *arguments: str) -> Runner:
    """The runner on a job, after its end."""
    async with started(job, directory, model_url, *arguments) as runner:
        await runner.end()
    return runner


async def _listen(runner: Runner) -> None:
    assert runner.process.stderr is not None
    while chunk := await runner.process.stderr.read(65_536):
        runner.errors += chunk


def environment(directory: Path, model_url: str) -> dict[str, str]:
    """The environment of a runner's container."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory / "tmp"),
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "sk-scripted",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "IS_SANDBOX": "1",  # Claude Code refuses bypassPermissions to root elsewhere, and tests may run as root
    }
