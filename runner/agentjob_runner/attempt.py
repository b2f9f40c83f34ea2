"""One attempt, from the handover to how it ended."""

import asyncio
import json
import os
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

from claude_agent_sdk import ClaudeAgentOptions

from agentjob_api import names
from agentjob_api.handed import Handed
from agentjob_api.notices import Notice
from agentjob_api.reasons import Reason
from agentjob_runner import memory, options, project, workspace
from agentjob_runner.agent import Agent
from agentjob_runner.ending import Ending, Exit, GiveUpError, Message
from agentjob_runner.lines import Lines
from agentjob_runner.place import Place
from agentjob_runner.seen import Seen
from agentjob_runner.stop import Stop


class Attempt:
    """One run of Claude Code; every message of it becomes a line, and what the outcome needs is kept."""

    def __init__(self, job: Handed, place: Place, lines: Lines) -> None:
        self._job = job
        self._workspace = place.workspace
        self._lines = lines
        self._seen = Seen()
        self._servers: set[str] = set()
        self._import: asyncio.Future[ModuleType] | None = None
        # Deleted when Claude Code has read it: the MCP servers' secrets are in it.
        self._inputs = tempfile.TemporaryDirectory(prefix="agentjob-")

    def run(self, stop: Stop) -> Ending:
        """Run Claude Code to its end, or until it has ended because `stop` was asked.

        Raises:
            GiveUpError: it cannot begin.
        """
        prompt = self._prompt()
        workspace.lay(self._job["files"], self._workspace)
        with self._inputs:
            return asyncio.run(self._drive(prompt, self._options(), stop))

    async def _drive(self, prompt: str, chosen: ClaudeAgentOptions, stop: Stop) -> Ending:
        agent, loop, kills = Agent(chosen), asyncio.get_running_loop(), memory.oom_kills()
        stop.listener = lambda: loop.call_soon_threadsafe(self._stop, agent)
        try:
            if stop.asked:
                self._note_stop()
                end = Exit(started=False)
            else:
                end = await agent.run(prompt, self._take)
        finally:
            stop.listener = None
        return self._seen.ending(end, finished=agent.idle, out_of_memory=memory.oom_kills() > kills)

    def _prompt(self) -> str:
        """The prompt, from the handover or the variable in which the kubelet puts that of `promptFrom`."""
        prompt = self._job.get("prompt") or os.environ.get(names.ENV_PROMPT, "")
        if not prompt.strip():
            raise GiveUpError(
                Reason.INVALID_SPEC, "the prompt is empty: put a task into spec.prompt or the key that promptFrom names"
            )
        return prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _options(self) -> ClaudeAgentOptions:
        """Options for Claude Code, its input files written, and the environment as it shall see it."""
        agent, directory = self._job["agent"], Path(self._inputs.name)
        found = project.read(self._workspace)
        for warning in found.warnings:
            self._lines.notify(Notice.WARNING, text=warning)
        given = options.inputs(agent, found, os.environ)
        (directory / "mcp.json").write_text(json.dumps(given.mcp_config), "utf-8")
        (directory / "append.md").write_text(given.append_system_prompt, "utf-8", "replace")
        for name in options.withheld(agent, os.environ):
            del os.environ[name]
        self._servers = set(given.mcp_config["mcpServers"])
        return options.options(agent, self._workspace, os.environ, directory / "mcp.json", directory / "append.md")

    def _take(self, message: Message) -> None:
        self._lines.print(message)
        self._seen.take(message)
        if self._import is None and message.get("subtype") == "init":
            self._begin(message)

    def _begin(self, init: Message) -> None:
        """Claude Code has read its input files and turns to the model."""
        self._inputs.cleanup()
        unknown = self._servers - {server.get("name") for server in init.get("mcp_servers", [])}
        if unknown:
            listed = ", ".join(sorted(unknown))
            self._lines.notify(Notice.WARNING, text=f"Claude Code did not take these MCP servers, check them: {listed}")
        # It takes 0.3 s, and now there is time; at the end somebody waits for the outcome.
        self._import = asyncio.get_running_loop().run_in_executor(None, import_module, "agentjob_runner.report")

    def _stop(self, agent: Agent) -> None:
        self._note_stop()
        agent.stop()

    def _note_stop(self) -> None:
        if not self._seen.stopped:
            self._seen.stopped = True
            self._lines.notify(Notice.STOPPING)
