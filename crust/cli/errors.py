"""What makes a command end, apart from crust's own errors."""

from __future__ import annotations

__all__ = ["CommandError", "UsageError"]


class CommandError(Exception):
    """The command could not do it (exit code 1); the text is the line to show."""


class UsageError(Exception):
    """The arguments do not make sense together (exit code 2); the text is the line to show."""
