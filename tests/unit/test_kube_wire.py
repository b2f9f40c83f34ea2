"""Paths, verbs and lines: what stands between a client and aiohttp."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_kube import wire
from agentjob_kube.resources import AGENT_JOBS, EVENTS, PODS, ResourceType


@pytest.mark.parametrize(
    ("kind", "parts", "path"),
    [
        pytest.param(PODS, ("ns",), "/api/v1/namespaces/ns/pods", id="a core collection"),
        pytest.param(PODS, ("ns", "p", "log"), "/api/v1/namespaces/ns/pods/p/log", id="a subresource"),
        pytest.param(
            AGENT_JOBS, ("ns", "j"), "/apis/agentjob.dev/v1alpha1/namespaces/ns/agentjobs/j", id="an object of a group"
        ),
        pytest.param(EVENTS, ("ns",), "/apis/events.k8s.io/v1/namespaces/ns/events", id="a group's collection"),
        pytest.param(PODS, ("a/b", "c?d"), "/api/v1/namespaces/a%2Fb/pods/c%3Fd", id="nothing breaks out of its part"),
    ],
)
def test_an_object_has_its_path(kind: ResourceType, parts: tuple[str, ...], path: str) -> None:
    assert kind.path(*parts) == path


@pytest.mark.parametrize(
    ("method", "path", "watch", "verb"),
    [
        pytest.param("GET", "/api/v1/namespaces/ns/pods", None, "list", id="a collection is listed"),
        pytest.param("GET", "/api/v1/namespaces/ns/pods", "true", "watch", id="or watched"),
        pytest.param("GET", "/apis/agentjob.dev/v1alpha1/agentjobs", None, "list", id="in all namespaces too"),
        pytest.param("GET", "/api/v1/namespaces/ns/pods/p", None, "get", id="an object is got"),
        pytest.param("GET", "/api/v1/namespaces/ns/pods/p/log", None, "get", id="and so is a log"),
        pytest.param("GET", "/apis/agentjob.dev/v1alpha1", None, "get", id="and what kinds there are"),
        pytest.param("GET", "/api/v1/namespaces/ns", None, "get", id="and a namespace"),
        pytest.param("POST", "/api/v1/namespaces/ns/pods", None, "create", id="POST creates"),
        pytest.param("PUT", "/x", None, "update", id="PUT updates"),
        pytest.param("PATCH", "/x", None, "patch", id="PATCH patches"),
        pytest.param("DELETE", "/x", None, "delete", id="DELETE deletes"),
    ],
)
def test_a_request_has_its_verb(method: str, path: str, watch: str | None, verb: str) -> None:
    assert wire.verb(method, path, watch) == verb


def split(chunks: list[bytes], most: int = wire.MAX_LINE) -> list[bytes]:
    """All lines in chunks."""
    found = wire.Split(most)
    return [*chain.from_iterable(found.take(chunk) for chunk in chunks), *found.end()]


@given(lines=st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), size=st.integers(1, 40))
def test_lines_are_the_same_however_they_are_cut_up(lines: list[bytes], size: int) -> None:
    whole = b"\n".join(lines)

    found = split([whole[i : i + size] for i in range(0, len(whole), size)])

    assert found == [line for line in lines if line]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        pytest.param([b"a\nxxxxxxxxx", b"xxx", b"xx\nb\n"], [b"a", b"xxxxxxxxx", b"b"], id="lines around it"),
        pytest.param([b"xxxxxxxxx", b"\nb\n"], [b"xxxxxxxxx", b"b"], id="its end is a chunk's beginning"),
        pytest.param([b"xxxxxxxxx", b"xx\nyyyyyyyyy", b"y\nb"], [b"xxxxxxxxx", b"yyyyyyyyy", b"b"], id="two of them"),
        pytest.param([b"xxxxxxxxx", b"xxxxxxxxx", b"x"], [b"xxxxxxxxx"], id="no end of it"),
        pytest.param([b"xxxxxxxx", b"\nb\n"], [b"xxxxxxxx", b"b"], id="one that is just not too long"),
    ],
)
def test_of_a_line_that_is_too_long_the_beginning_is_given(chunks: list[bytes], lines: list[bytes]) -> None:
    assert split(chunks, 8) == lines
