"""Which replicas there are, as one of them knows it."""

import pytest

from agentjob_gateway.peers import ALONE_SECONDS, Peers

BOTH, OWN, OTHER, NOBODY = ({"a", "b"}, {"a"}, {"b"}, set[str]())


@pytest.mark.parametrize(
    ("seen", "seconds", "is_alone"),
    [
        pytest.param([OWN], 0.0, True, id="there has never been another one"),
        pytest.param([BOTH], ALONE_SECONDS, False, id="there is another one"),
        pytest.param([BOTH, OWN], ALONE_SECONDS - 1, False, id="another one has gone, and may come back"),
        pytest.param([BOTH, OWN], ALONE_SECONDS, True, id="another one has been gone for long"),
        pytest.param([BOTH, OWN, BOTH, OWN], ALONE_SECONDS, True, id="it has been gone for long once more"),
        pytest.param([BOTH, OWN, BOTH], ALONE_SECONDS, False, id="it has come back"),
        pytest.param([], ALONE_SECONDS, False, id="nothing was heard yet"),
        pytest.param([OTHER], ALONE_SECONDS, False, id="only another one is ready"),
        pytest.param([OWN, NOBODY], ALONE_SECONDS, True, id="we are not ready ourselves any more"),
    ],
)
def test_a_replica_knows_whether_it_is_alone(seen: list[set[str]], seconds: float, is_alone: bool) -> None:
    now = 1_000.0
    peers = Peers("a", lambda: now)
    for ready in seen:
        peers.replace({"slice": frozenset(ready)})
    now += seconds

    assert peers.is_alone() is is_alone


def test_without_a_name_of_our_own_we_are_alone() -> None:
    assert Peers().is_alone()
