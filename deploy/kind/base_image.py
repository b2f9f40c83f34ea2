"""The image that the project's own images are built on."""

from __future__ import annotations

from deploy.kind import root_image
from deploy.kind.cache import Cache
from deploy.kind.checkout import Checkout
from deploy.kind.engine import Engine

STOCK = "python:3.11-slim-bookworm"
REPOSITORY = "agentjob-base"

PACKAGES = (
    "python3", "python3-venv", "ca-certificates", "git", "tini",
    "ripgrep", "procps", "less", "patch", "curl", "jq", "openssh-client",
)  # fmt: skip
"""What the programs need, and what a coding agent's shell commands take for granted."""


def ensure(checkout: Checkout, engine: Engine) -> str:
    """Have the image in the engine and return its name: Python's own where it can be pulled, else a Debian root."""
    if not engine.has_image(root_image.name_of(REPOSITORY, PACKAGES)) and engine.pulls(STOCK):
        return STOCK
    return root_image.ensure(Cache(checkout.cache), engine, REPOSITORY, PACKAGES)
