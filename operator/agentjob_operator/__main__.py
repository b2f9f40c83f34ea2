"""`python -m agentjob_operator --config FILE`: the operator, in a Pod or with a kubeconfig."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop
from prometheus_client import disable_created_metrics

from agentjob_kube.connect import ConnectError, connect
from agentjob_operator import logs
from agentjob_operator.operate import operate
from agentjob_operator.settings import Settings, SettingsError, read


def main() -> int:
    """Runs the operator; the exit code: 0 when it was stopped, 1 when it failed, 2 when it cannot start as it is."""
    parser = argparse.ArgumentParser(prog="python -m agentjob_operator", description="Runs AgentJobs.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file with the settings; the chart writes it")
    try:
        settings = read(parser.parse_args().config)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure(settings.log_level)
    disable_created_metrics()  # a second series for each counter and histogram, which nobody looks at
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_operate(settings))
    except ConnectError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Exception:  # the outermost frame of the process
        logging.getLogger(__name__).exception("The operator ends")
        return 1
    return 0


async def _operate(settings: Settings) -> None:
    await operate(settings, connect, asyncio.Event())


if __name__ == "__main__":
    sys.exit(main())
