"""What is built for the cluster is kept by the hash of its inputs, whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.kind.cache import Cache, digest, remove


def write(content: str) -> Callable[[Path], None]:
    def build(target: Path) -> None:
        target.write_text(content)

    return build


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param(lambda _: None, True, id="nothing changed: the same key"),
        pytest.param(lambda root: (root / "a").write_text("other"), False, id="a file's content counts"),
        pytest.param(lambda root: (root / "a").rename(root / "b"), False, id="a file's name counts"),
        pytest.param(lambda root: (root / "a").chmod(0o755), False, id="that a file became a program counts"),
        pytest.param(lambda root: (root / "a").touch(), True, id="when it was written does not count"),
        pytest.param(lambda root: (root / "sub").mkdir(), True, id="an empty directory does not count"),
    ],
)
def test_the_key_of_a_directory(tmp_path: Path, changed: Callable[[Path], object], expected: bool) -> None:
    root = tmp_path / "inputs"
    root.mkdir()
    (root / "a").write_text("text")
    before = digest(root)
    changed(root)
    assert (digest(root) == before) is expected


def test_texts_do_not_run_into_each_other() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_what_was_made_is_found_again_and_replaces_what_was_made_before(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = cache.make("kind", digest("1"), write("one"))
    second = cache.make("kind", digest("2"), write("two"))
    assert cache.find("kind", digest("2")) == second
    assert second.read_text() == "two"
    assert not first.exists()


def test_an_artefact_whose_name_begins_with_anothers_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    other = cache.make("containerd-shim-runc-v2", digest("1"), write("shim"))
    cache.make("containerd", digest("2"), write("daemon"))
    assert other.exists()


def test_a_build_that_fails_leaves_the_artefact_before_it_and_nothing_of_its_own(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    before = cache.make("kind", digest("1"), write("one"))

    def fail(target: Path) -> None:
        target.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.make("kind", digest("2"), fail)
    assert cache.find("kind", digest("2")) is None
    assert list(tmp_path.iterdir()) == [before]


def test_what_a_killed_build_left_is_not_found_and_gone_when_the_next_begins(tmp_path: Path) -> None:
    (tmp_path / "kind.unfinished").mkdir()
    (tmp_path / "kind.unfinished/kind").write_text("half")
    cache = Cache(tmp_path)
    with cache.scratch("kind") as directory:
        assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_text(""), id="a file"),
        pytest.param(lambda path: (path / "sub").mkdir(parents=True), id="a directory with something in it"),
        pytest.param(lambda path: path.symlink_to("/nowhere"), id="a link that leads nowhere"),
        pytest.param(lambda _: None, id="nothing"),
    ],
)
def test_remove_takes_away(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "thing"
    make(path)
    remove(path)
    assert not path.exists()
    assert not path.is_symlink()


def test_remove_takes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()
