"""One attempt, from the handover to how it ended."""

import asyncio
import json
import os
import tempfile
from importlib import import_module
from pathlib import Path

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
from agentjob_runner.stop import Stop


class Attempt:
    """One run of Claude Code; every message of it becomes a line, and what the outcome needs is kept."""

    def __init__(self, job: Handed, place: Place, lines: Lines) -> None:
        self._job = job
        self._workspace = place.workspace
        self._lines = lines
        self._results: list[Message] = []
        self._error: str | None = None
        self._session_id: str | None = None
        self._stopped = False
        self._cut_off = False
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

    async def _drive(self, prompt: str, options_: ClaudeAgentOptions, stop: Stop) -> Ending:
        agent, loop, kills = Agent(options_), asyncio.get_running_loop(), memory.oom_kills()
        stop.listener = lambda: loop.call_soon_threadsafe(self._stop, agent)
        try:
            if stop.asked:
                self._stopped = self._cut_off = True
                exit_ = Exit(started=False)
            else:
                exit_ = await agent.run(prompt, self._take)
        finally:
            stop.listener = None
        return Ending(
            exit=exit_,
            results=tuple(self._results),
            error=self._error,
            session_id=self._session_id,
            finished=agent.idle,
            stopped=self._stopped,
            cut_off=self._cut_off,
            out_of_memory=memory.oom_kills() > kills,
        )

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
        (directory / "mcp.json").write_text(json.dumps(given.mcp_config))
        (directory / "append.md").write_text(given.append_system_prompt)
        for name in options.withheld(agent):
            os.environ.pop(name, None)
        self._servers = set(given.mcp_config["mcpServers"])
        return options.options(agent, self._workspace, os.environ, directory / "mcp.json", directory / "append.md")

    def _take(self, message: Message) -> None:
        """One message of Claude Code."""
        self._lines.print(message)
        match message.get("type"):
            case "result":
                self._results.append(message)
                self._cut_off = False
            case "assistant" if message.get("error"):
                self._error = message["error"]
            case "system" if message.get("subtype") == "init" and self._session_id is None:
                self._session_id = message.get("session_id")
                self._begun(message)

    def _begun(self, init: Message) -> None:
        """Claude Code has read its input files and waits for the model."""
        self._inputs.cleanup()
        unknown = self._servers - {server.get("name") for server in init.get("mcp_servers", [])}
        if unknown:
            names_ = ", ".join(sorted(unknown))
            self._lines.notify(Notice.WARNING, text=f"Claude Code did not take these MCP servers, check them: {names_}")
        # It takes 0.3 s, and now there is time; at the end somebody waits for the outcome.
        self._import = asyncio.get_running_loop().run_in_executor(None, import_module, "agentjob_runner.report")

    def _stop(self, agent: Agent) -> None:
        if not self._stopped:
            self._lines.notify(Notice.STOPPING)
            self._stopped, self._cut_off = True, not agent.idle
        agent.stop()
