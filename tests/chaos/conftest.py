"""Keeps what each fault came to over a session; with --record it is written down for docs/reliability.md."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from came_to import Results
from deploy.stack import Stack, kind_stack
from on_cluster import Place, place

RESULTS = Path(__file__).parent / "results.json"
RUNS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    which = "all: and nothing else, so that a fault that fails has no row; some: beside what other sessions wrote"
    text = f"write what came of each fault to {RESULTS.name} ({which})"
    parser.addoption("--record", choices=["all", "some"], help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUNS] = Results()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if which := session.config.getoption("--record"):
        session.config.stash[RUNS].write(RESULTS, keeps_others=which == "some")


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    """Where runs are kept."""
    return pytestconfig.stash[RUNS]


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The cluster with today's images in it."""
    return kind_stack()


@pytest.fixture(scope="session", name="place")
def a_place(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where operators find the real cluster."""
    with place(stack, tmp_path_factory.mktemp("operators")) as found:
        yield found
