"""`python -m agentjob_operator --config FILE`: the operator, in a Pod or with a kubeconfig."""

import asyncio
import sys

from agentjob_kube.connect import ConnectError, connect
from agentjob_operator.operate import operate
from agentjob_operator.settings import Settings
from agentjob_program.start import Server


async def _operate(settings: Settings) -> None:
    await operate(settings, connect, asyncio.Event())


OPERATOR = Server("agentjob_operator", "Runs AgentJobs.", Settings, _operate, (ConnectError,))

if __name__ == "__main__":
    sys.exit(OPERATOR.main())
