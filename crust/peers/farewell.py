"""The end of a link to a peer that takes it, or may take it, for its session's: it hears why."""

from __future__ import annotations

from ..wire.frames import Goodbye, GoodbyeCode
from .link import Link

__all__ = ["leave"]


def leave(link: Link, code: GoodbyeCode, error: str) -> None:
    """Say goodbye on a link that carries no session here, and end it; ``error`` is for our side."""
    link.write_control(Goodbye(code, ""))
    link.verdict, link.error = "cancelled", error
    link.close()
