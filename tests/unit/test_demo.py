"""What `make demo` says to try at its end, on a cluster that it has made and on one that was there."""

import pytest

from deploy import demo, demo_door
from deploy.stack import Stack

FORWARD = "kubectl port-forward -n agentjob-demo service/agentjob-gateway 8080:80"


def stack(published: dict[int, str]) -> Stack:
    return Stack(environment={}, images={}, sealed=False, published=published)


MADE, CURRENT = stack({demo_door.PORT: "127.0.0.1:40123"}), stack({})


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("where", "is_forwarded"), [(MADE, False), (CURRENT, True)], ids=["made", "that was there"])
def test_the_job_is_shown_through_every_door(where: Stack, is_forwarded: bool) -> None:
    text = demo_door.commands(where, demo.NAMESPACE, demo.JOB)
    assert (FORWARD in text) is is_forwarded
    for command in ("source .cluster/demo.env", '"$GATEWAY/claude/jobs/fix-the-tests"', '/events"', '"$GATEWAY/mcp"'):
        assert command in text


@pytest.mark.parametrize(
    ("where", "is_set", "clean"),
    [(MADE, True, "make demo-clean # take"), (CURRENT, False, "make demo-clean CLUSTER=current # take")],
    ids=["made", "that was there"],
)
def test_kubectl_is_led_to_the_cluster_of_the_demo_alone(where: Stack, is_set: bool, clean: str) -> None:
    text = demo.next_steps(where)
    assert ("cluster.py env" in text) is is_set
    assert clean in words(text)
