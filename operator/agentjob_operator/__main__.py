"""`python -m agentjob_operator --config FILE`: the operator, in a Pod or with a kubeconfig."""

import asyncio
import logging
import sys

from agentjob_kube.connect import ConnectError, connect
from agentjob_operator.leader import LeaseLostError
from agentjob_operator.operate import operate
from agentjob_operator.settings import Settings
from agentjob_program.start import Server


async def _operate(settings: Settings) -> None:
    try:
        await operate(settings, connect, asyncio.Event())
    except LeaseLostError as error:
        logging.getLogger(__name__).warning("The program ends, and is to start again: %s", error)
        raise SystemExit(1) from error


OPERATOR = Server("agentjob_operator", "Runs AgentJobs.", Settings, _operate, (ConnectError,))

if __name__ == "__main__":
    sys.exit(OPERATOR.main())
