"""`python -m agentjob_gateway --config FILE`: the gateway, in a Pod or with a kubeconfig."""

import asyncio
import socket
import sys

from agentjob_gateway import audit
from agentjob_gateway.history import ArchiveError
from agentjob_gateway.serve import serve
from agentjob_gateway.settings import Settings
from agentjob_kube.connect import ConnectError, connect
from agentjob_program.start import Server


async def _serve(settings: Settings) -> None:
    with audit.written(sys.stdout, settings.pod_name or socket.gethostname()):
        await serve(settings, connect, asyncio.Event())


GATEWAY = Server("agentjob_gateway", "Opens the doors to AgentJobs.", Settings, _serve, (ConnectError, ArchiveError))

if __name__ == "__main__":
    sys.exit(GATEWAY.main())
