"""`python -m agentjob_gateway --config FILE`: the gateway, in a Pod or with a kubeconfig."""

import asyncio
import sys

from agentjob_gateway.serve import serve
from agentjob_gateway.settings import Settings
from agentjob_kube.connect import ConnectError, connect
from agentjob_program.start import Server


async def _serve(settings: Settings) -> None:
    await serve(settings, connect, asyncio.Event())


GATEWAY = Server("agentjob_gateway", "Opens the doors to AgentJobs.", Settings, _serve, (ConnectError,))

if __name__ == "__main__":
    sys.exit(GATEWAY.main())
