"""What can go wrong here, as one tree.

ClusterError          shown to the person as it is, without a traceback
└── CommandFailed     a program that was run ended badly or took too long
"""

from __future__ import annotations


class ClusterError(Exception):
    """Its message says what was found, what was expected and the way out."""


class CommandFailed(ClusterError):  # noqa: N818 - it says what happened: to a program, not in this one
    """A program ended with another status than 0, or was still running after its time."""
