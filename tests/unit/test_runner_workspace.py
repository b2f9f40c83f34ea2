"""Files are laid into the workspace, and nowhere else."""

from pathlib import Path

import pytest

from agentjob_api.reasons import Reason
from agentjob_runner import memory
from agentjob_runner.ending import GiveUpError
from agentjob_runner.workspace import lay


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with something in it and something valuable beside it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    inside = tmp_path / "workspace"
    (inside / "src").mkdir(parents=True)
    (inside / "src" / "old.py").write_text("old")
    (inside / "link").symlink_to(outside)
    (inside / "precious.txt").symlink_to(outside / "precious.txt")
    return inside


def test_files_are_written_over_what_is_there_and_directories_made(workspace: Path) -> None:
    lay({"src/old.py": "new", "a/b/c.txt": "ä", ".mcp.json": "{}"}, workspace)

    assert (workspace / "src" / "old.py").read_text() == "new"
    assert (workspace / "a" / "b" / "c.txt").read_text() == "ä"
    assert (workspace / ".mcp.json").read_text() == "{}"
    assert (workspace / ".mcp.json").stat().st_mode & 0o777 == 0o644


def test_a_link_in_a_files_place_is_replaced_and_not_followed(workspace: Path) -> None:
    lay({"precious.txt": "mine"}, workspace)

    assert (workspace / "precious.txt").read_text() == "mine"
    assert not (workspace / "precious.txt").is_symlink()
    assert (workspace.parent / "outside" / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("link/precious.txt", "a symbolic link is on its way", id="through a link"),
        pytest.param("link/new/precious.txt", "a symbolic link is on its way", id="into a new directory behind a link"),
        pytest.param("../outside/precious.txt", "relative, without empty, . or .. parts", id="upwards"),
        pytest.param("src/../../outside/precious.txt", "relative, without empty, . or .. parts", id="down and upwards"),
        pytest.param("/tmp/precious.txt", "relative, without empty, . or .. parts", id="from the root"),
        pytest.param("src/old.py/x", "a symbolic link is on its way", id="below a file"),
        pytest.param("src", "Is a directory", id="in the place of a directory"),
        pytest.param("n" * 256, "File name too long", id="a name too long"),
    ],
)
def test_a_path_that_leads_out_or_nowhere_is_refused(workspace: Path, path: str, why: str) -> None:
    with pytest.raises(GiveUpError, match=why) as refused:
        lay({path: "mine"}, workspace)

    assert refused.value.reason is Reason.WORKSPACE_ERROR
    assert path in str(refused.value)
    assert [file.name for file in (workspace.parent / "outside").iterdir()] == ["precious.txt"]
    assert (workspace.parent / "outside" / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        pytest.param({"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1\n"}, 2, id="cgroup v2"),
        pytest.param({"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"}, 4, id="cgroup v1"),
        pytest.param({}, 0, id="no cgroup to be seen"),
        pytest.param({"memory.events": "low 0\n"}, 0, id="a kernel that does not count"),
    ],
)
def test_the_kernels_count_of_killed_processes(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert memory.oom_kills(tmp_path) == kills
