"""The operator as a process whose clock a test can put forward: `python shifted_operator.py --config FILE`.

The file that AHEAD names has the seconds by which it is. Nothing else differs from `python -m agentjob_operator`.
"""

import asyncio
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agentjob_kube.connect import ConnectError, connect
from agentjob_operator.leader import LeaseLostError
from agentjob_operator.operate import operate
from agentjob_operator.settings import Settings
from agentjob_program.start import Server

AHEAD = Path(os.environ["AHEAD"])


def now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(AHEAD.read_text()))


async def serve(settings: Settings) -> None:
    try:
        await operate(settings, connect, asyncio.Event(), now)
    except LeaseLostError as error:
        logging.getLogger("shifted_operator").warning("The program ends: %s", error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    sys.exit(Server("shifted_operator", "Runs AgentJobs.", Settings, serve, (ConnectError,)).main())
