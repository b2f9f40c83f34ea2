"""Claude Code at work on one prompt: the only module that knows the SDK's private names.

The SDK's typed messages lose what the CLI wrote, so the CLI's own JSON is read where `ClaudeSDKClient.receive_messages`
itself reads it, `client._query.receive_messages()`. A test says so when that name has moved.

The CLI's input stays open for as long as it has anything to do, because only then it can be interrupted: it tells with
`session_state_changed` when it is idle. Input closed, it waits for commands that the agent left running in the
background (`CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS`, 10 minutes), answers what they came to, and exits.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ClaudeSDKError, CLIConnectionError, ProcessError

from agentjob_runner.ending import Exit, Message

PATIENCE = 10.0
"""Seconds from an interruption until the CLI is ended by force; it takes 0.1 s as a rule. Then the SDK closes its input
and waits 5 s, sends SIGTERM, waits 5 s, and kills it: 20 s in all, of the 30 s that Kubernetes gives a Pod."""
LAST_WORDS = 20
"""Lines of the CLI's stderr that are kept for an outcome's message."""


class Agent:
    """Claude Code with one prompt."""

    def __init__(self, options: ClaudeAgentOptions) -> None:
        self._stderr: deque[str] = deque(maxlen=LAST_WORDS)
        options.stderr = self._heard
        self._client = ClaudeSDKClient(options)
        self._connected = False
        self._ended = False
        self._finished = asyncio.Event()
        self.idle = False
        """Whether Claude Code has nothing to do, or only to wait for commands in the background."""
        self._patience = asyncio.timeout(None)
        self._interruption: asyncio.Task[None] | None = None

    async def run(self, prompt: str, take: Callable[[Message], None]) -> Exit:
        """Start the CLI, give each of its messages to `take`, and end with the CLI gone."""
        try:
            async with self._patience:
                await self._client.connect(self._input(prompt))
                self._connected = True
                async for message in _wire_messages(self._client):
                    self._follow(message, take)
            return Exit(code=0)
        except TimeoutError:
            return Exit(words="it had to be ended by force")
        except ProcessError as error:  # also after a result that is an error
            return Exit(code=error.exit_code, words="\n".join(self._stderr))
        except CLIConnectionError as error:
            return Exit(started=self._connected, words=str(error))
        except ClaudeSDKError as error:
            return Exit(words=str(error))
        finally:
            self._ended = True
            if self._interruption is not None:
                self._interruption.cancel()
                await asyncio.gather(self._interruption, return_exceptions=True)
            await self._client.disconnect()

    def stop(self) -> None:
        """Interrupt the agent, so that it leaves a result. Asked again, or where it cannot be interrupted: end it."""
        if self._ended:
            return
        now = asyncio.get_running_loop().time()
        if self._connected and self._interruption is None and not self._finished.is_set():
            self._interruption = asyncio.create_task(self._client.interrupt())
            self._patience.reschedule(now + PATIENCE)
        else:
            self._patience.reschedule(now)

    async def _input(self, prompt: str) -> AsyncIterator[Message]:
        """What the CLI reads: the prompt, then nothing until it is idle, then the end."""
        yield {
            "type": "user",
            "message": {"role": "user", "content": prompt},
            "parent_tool_use_id": None,
            "session_id": "default",
        }
        await self._finished.wait()

    def _follow(self, message: Message, take: Callable[[Message], None]) -> None:
        if message.get("subtype") == "session_state_changed" and message.get("type") == "system":
            self.idle = message.get("state") == "idle"
            if self.idle:
                self._finished.set()
            return
        take(message)

    def _heard(self, line: str) -> None:
        self._stderr.append(line[:500])
        sys.stderr.write(line + "\n")


def _wire_messages(client: ClaudeSDKClient) -> AsyncIterator[Message]:
    """The CLI's messages as JSON. Raises what `client.receive_messages()` raises."""
    messages: AsyncIterator[Message] = client._query.receive_messages()  # type: ignore[union-attr]  # noqa: SLF001
    return messages
