"""What a link asks of whoever has made it, while it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..wire import frames
from ..wire.handshake import DenialCode, Introduction

if TYPE_CHECKING:
    from .link import Link

__all__ = ["LinkOwner"]


class LinkOwner(Protocol):
    """Who decides what a new link is for. Every method runs on the link's reader thread."""

    def link_hello(self, link: Link) -> None:
        """A caller's message 1 is valid (callee only)."""

    def link_spoke(self, link: Link) -> None:
        """What a caller said first is no whole message 1 for us (callee only, once)."""

    def link_answered(self, link: Link) -> None:
        """The callee's message 2 is valid: call :meth:`Link.introduce`, now or later, or end the link (caller only)."""

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        """The caller is proven to be ``link.peer_id`` (callee only): welcome or deny it."""

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        """The callee welcomes us (caller only)."""

    def link_used(self, link: Link, decision: int) -> None:
        """The caller decided that this link carries the session (callee only)."""

    def link_denied(self, link: Link, code: DenialCode, text: str, alternates: tuple[str, ...]) -> None:
        """The callee refused (caller only)."""

    def link_lost(self, link: Link) -> None:
        """The link ended before it carried a session; ``link.verdict`` and ``link.error`` say why."""
