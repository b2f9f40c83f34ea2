"""A cluster of three nodes beside the usual one, for as long as it is needed, whose workers can be taken away."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from agentjob_api.crd import custom_resource_definition
from agentjob_api.names import GROUP, PLURAL
from deploy.kind import cluster, engine
from deploy.kind.checkout import BESIDE, Checkout
from deploy.kind.nodes import Nodes
from deploy.stack import ROOT, Stack, kind_stack
from operated import until

READY_SECONDS: Final = 120.0
"""In which a node that is back is given Pods again."""
(NAME,) = BESIDE


@contextmanager
def three_nodes() -> Iterator[Stack]:
    """One control plane and two workers, with today's images in them and AgentJobs defined."""
    _delete()  # of a run that was cut off: nobody knows how its nodes are
    try:
        stack = kind_stack(NAME, nodes=3)
        stack.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(custom_resource_definition()))
        stack.kubectl("wait", f"crd/{PLURAL}.{GROUP}", "--for=jsonpath={.status.acceptedNames.plural}=" + PLURAL)
        yield stack
    finally:
        _delete()


def _delete() -> None:
    checkout = Checkout(ROOT, NAME)
    with cluster.alone(checkout):
        running = engine.find(checkout)
        if running is not None:
            Nodes(checkout, running).delete()


@asynccontextmanager
async def killed(stack: Stack, node: str) -> AsyncIterator[None]:
    """A node is without power while the block runs, and is well at its end."""
    await _docker(stack, "kill", node)
    try:
        yield
    finally:
        await _docker(stack, "start", node)
        await _until_ready(stack, node)


@asynccontextmanager
async def frozen(stack: Stack, node: str) -> AsyncIterator[None]:
    """A node stands still while the block runs, with all that works on it, which goes on at its end where it was."""
    await _docker(stack, "pause", node)
    try:
        yield
    finally:
        await _docker(stack, "unpause", node)


async def until_stopped(stack: Stack, node: str, pod: str, within: float) -> None:
    """Returns once a node is ready, and none of a Pod's containers runs on it."""

    async def is_stopped() -> bool:
        sandboxes = (await _crictl(stack, node, "pods", "--name", f"^{pod}$", "--state", "ready")).split()
        return not any([await _crictl(stack, node, "ps", "--pod", each) for each in sandboxes])

    await until(is_stopped, within)
    await _until_ready(stack, node)


async def _until_ready(stack: Stack, node: str) -> None:
    async def is_ready() -> bool:
        return not await asyncio.to_thread(stack.kubectl, "get", "node", node, "-o=jsonpath={.spec.taints}")

    await until(is_ready, READY_SECONDS)


async def _crictl(stack: Stack, node: str, *words: str) -> str:
    return await _docker(stack, "exec", node, "crictl", *words, "--quiet")


async def _docker(stack: Stack, *words: str) -> str:
    """What docker says; a node is a container of its name."""
    return await asyncio.to_thread(stack.program.run, "docker", *words, timeout=60)
