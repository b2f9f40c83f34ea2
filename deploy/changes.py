"""Changes to a node that are taken back, whatever becomes of whoever made them.

A shell in the node makes a change and takes it back: when the block ends, when this process does, however it ends, and
after so many seconds at the latest.
"""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from deploy.kind.errors import ClusterError
from deploy.stack import Stack

BEGIN_SECONDS: Final = 120
END_SECONDS: Final = 300


@dataclass(frozen=True)
class Change:
    """Commands of a shell."""

    begin: str
    """Makes it. One that fails ends it all, and what was done is taken back."""
    end: str
    """Takes it back, also where only a part of it was done, and returns when all is well."""

    def script(self, longest: float) -> str:
        """Says `begun` when it is there; waits for a line, the end of its input or so long; says `over` at the end.

        Whoever had not asked for the end is told `late`.
        """
        undo = f"undo() {{ trap - EXIT; {self.end}; }}; trap undo EXIT"
        waits = f"read -r -t {longest:g} && said=over || said=late"
        return f"set -e; {undo}; {self.begin}; echo begun; {waits}; undo; echo $said"


@dataclass(frozen=True)
class Node:
    """Where a shell can be run."""

    shell: tuple[str, ...]
    """The command, to which the script is added."""
    environment: Mapping[str, str]
    """All of the command's environment."""

    @asynccontextmanager
    async def changed(self, change: Change, longest: float) -> AsyncIterator[None]:
        """The change is there while the block runs, and for so many seconds at most.

        Whoever is cancelled while it is taken back waits for that, too: what comes next is to find the node well.

        Raises:
            ClusterError: it was not made, or not taken back, or before the block ended; with what the shell said.
            TimeoutError: nothing was said in time.
        """
        script = change.script(longest)
        shell = await asyncio.create_subprocess_exec(
            *self.shell, script, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=self.environment
        )
        assert shell.stdout is not None
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                said = await shell.stdout.readline()
            if said == b"begun\n":
                yield
        finally:
            ending = asyncio.create_task(_ended(shell))
            try:
                rest = await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise
        if said + rest != b"begun\nover\n":
            raise ClusterError(f"What was to be changed on the node, and back again: {(said + rest).decode()}")


async def _ended(shell: asyncio.subprocess.Process) -> bytes:
    """Asks the shell for the end; what it has said by then."""
    async with asyncio.timeout(END_SECONDS):
        rest, _ = await shell.communicate(b"\n")
    return rest


def control_plane(stack: Stack) -> Node:
    """The node that the API server runs on. Asked for while all is well."""
    return Node(("docker", "exec", "--interactive", stack.control_plane(), "bash", "-c"), stack.program.variables())
