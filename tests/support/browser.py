"""A real browser, headless: Chromium, found or, as root on Debian, installed: `python -m tests.support.browser`."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from deploy.kind.debian import can_install, ensure_programs

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
"""It asks nobody but the page: no update, no list, no look-up of another host's name."""


def chromium() -> str:
    """The browser's path."""
    if (found := _found()) is None and can_install():
        ensure_programs({"chromium": "chromium"})
        found = _found()
    assert found is not None, f"no browser is here: install one of {', '.join(NAMES)}"
    return found


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@asynccontextmanager
async def page_open(url: str, profile: Path) -> AsyncIterator[None]:
    """A page in a browser with a profile of its own, open while the block runs."""
    own = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium does not sandbox itself as root
    browser = await asyncio.create_subprocess_exec(
        chromium(), *QUIET, *own, f"--user-data-dir={profile}", url,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, 9)
        await browser.wait()


if __name__ == "__main__":
    print(chromium())
