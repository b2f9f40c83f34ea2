"""What the runner knows of the SDK that the SDK does not promise."""

import inspect
import subprocess
import sys
from pathlib import Path

import claude_agent_sdk
from claude_agent_sdk import ClaudeSDKClient
from claude_agent_sdk._internal.query import Query

from agentjob_runner import absent, versions


def test_the_wire_messages_are_where_the_client_itself_reads_them() -> None:
    source = inspect.getsource(ClaudeSDKClient.receive_messages)

    assert "self._query.receive_messages()" in source
    assert ClaudeSDKClient()._query is None
    assert inspect.isasyncgenfunction(Query.receive_messages)


def test_the_sdk_imports_without_what_is_left_out_and_quickly_says_so() -> None:
    program = (
        "import sys\n"
        "from agentjob_runner.absent import leave_out\n"
        "leave_out()\n"
        "import agentjob_runner.attempt\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'pydantic', 'starlette', 'attrs'}))\n"
        "from mcp.types import Tool\n"
        "try: Tool()\n"
        "except RuntimeError as error: print(error)\n"
    )

    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines() == ["[]", "Tool belongs to a module that the runner leaves out (absent.py)"]


def test_nothing_is_left_out_that_the_sdk_does_not_import() -> None:
    program = "import sys, claude_agent_sdk; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True).stdout

    assert set(absent.UNUSED) <= set(loaded.split())


def test_versions_are_those_of_what_runs() -> None:
    found = versions.versions()

    assert found["claude-agent-sdk"] == claude_agent_sdk.__version__
    assert found["python"] == sys.version.split()[0]
    assert found["claude-code"] == claude_agent_sdk._cli_version.__cli_version__


def test_the_first_line_needs_no_slow_import() -> None:
    program = "import sys, agentjob_runner.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True).stdout

    assert {"pydantic", "claude_agent_sdk", "asyncio"}.isdisjoint(loaded.split())
    assert Path(str(claude_agent_sdk.__file__)).is_file()
