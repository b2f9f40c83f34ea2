"""How a server starts and ends: its command line, its settings, its loop, its exit code."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import uvloop
from prometheus_client import disable_created_metrics

from agentjob_program import logs
from agentjob_program.settings import ServerSettings, SettingsError, read

S = TypeVar("S", bound=ServerSettings)


@dataclass(frozen=True)
class Server(Generic[S]):
    """A program of ours: `python -m <module> --config FILE`."""

    module: str
    about: str
    settings: type[S]
    serve: Callable[[S], Coroutine[Any, Any, None]]
    """Runs until it is told to stop, or fails."""
    cannot_start: tuple[type[Exception], ...] = ()
    """Errors of the surroundings that a person has to mend: told in their own words, without a traceback."""

    def main(self) -> int:
        """Runs it; the exit code: 0 when it was stopped, 1 when it failed, 2 when it cannot start as it is."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=self.about)
        parser.add_argument(
            "--config", type=Path, required=True, help="JSON file with the settings; the chart writes it"
        )
        try:
            settings = read(parser.parse_args().config, self.settings)
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        logs.configure(settings.log_level)
        disable_created_metrics()  # a second series for each counter and histogram, which nobody looks at
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self.serve(settings))
        except self.cannot_start as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except Exception:  # the outermost frame of the process
            logging.getLogger(self.module).exception("The program ends")
            return 1
        return 0
