"""What was done to a node is undone, whatever becomes of whoever did it."""

import asyncio
import os
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from components import API_SERVER
from deploy.changes import Change, Node
from deploy.kind.errors import ClusterError
from operated import until

LONGEST = 60
HERE = Node(("bash", "-c"), os.environ)


class Mark:
    """A file that is there while the fault is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fault(self, after: str = "true") -> Change:
        return Change(begin=f"touch {self.path}; {after}", end=f"rm {self.path}")

    def is_there(self) -> bool:
        return self.path.exists()

    async def is_gone(self) -> bool:
        return not self.is_there()


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    return Mark(tmp_path / "mark")


async def test_a_fault_lasts_as_long_as_the_block(mark: Mark) -> None:
    async with HERE.changed(mark.fault(), LONGEST):
        assert mark.is_there()
    assert not mark.is_there()


async def failing(mark: Mark) -> None:
    async with HERE.changed(mark.fault(), LONGEST):
        raise ZeroDivisionError


async def test_a_fault_ends_with_a_block_that_fails(mark: Mark) -> None:
    with pytest.raises(ZeroDivisionError):
        await failing(mark)
    assert not mark.is_there()


async def test_whoever_is_cancelled_while_a_fault_ends_goes_on_when_it_has(mark: Mark, tmp_path: Path) -> None:
    slowly = tmp_path / "slowly"
    fault = Change(f"touch {mark.path}", f"touch {slowly}; while test -e {slowly}; do sleep 0.02; done; rm {mark.path}")

    async def passing() -> None:
        async with HERE.changed(fault, LONGEST):
            pass

    async def is_ending() -> bool:
        return slowly.exists()

    passes = asyncio.create_task(passing())
    await until(is_ending)

    passes.cancel()
    slowly.unlink()

    with pytest.raises(asyncio.CancelledError):
        await passes
    assert not mark.is_there()


async def half_done(mark: Mark) -> None:
    async with HERE.changed(mark.fault(after="echo no such thing; false"), LONGEST):
        pytest.fail("the fault is not there")


async def test_what_was_half_done_is_undone_and_told(mark: Mark) -> None:
    with pytest.raises(ClusterError, match="no such thing"):
        await half_done(mark)
    assert not mark.is_there()


async def too_long(mark: Mark) -> None:
    async with HERE.changed(mark.fault(), 0.05):
        await until(mark.is_gone)


async def test_a_block_that_takes_too_long_is_told_that_the_fault_was_over(mark: Mark) -> None:
    with pytest.raises(ClusterError, match="late"):
        await too_long(mark)


async def test_a_fault_ends_when_nobody_is_there_any_more(mark: Mark) -> None:
    script = mark.fault().script(LONGEST)
    shell = await asyncio.create_subprocess_exec(*HERE.shell, script, stdin=PIPE, stdout=PIPE)
    assert shell.stdin is not None
    assert shell.stdout is not None
    assert await shell.stdout.readline() == b"begun\n"
    shell.stdin.close()
    async with asyncio.timeout(10):
        await shell.wait()
    assert not mark.is_there()


@pytest.mark.parametrize("fault", [API_SERVER.frozen(), API_SERVER.gone()], ids=["frozen", "gone"])
async def test_what_a_node_is_told_is_a_shells_language(fault: Change) -> None:
    shell = await asyncio.create_subprocess_exec("bash", "-n", "-c", fault.script(LONGEST))
    assert await shell.wait() == 0
