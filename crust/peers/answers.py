"""What callers are told that get no session."""

from __future__ import annotations

from .. import limits
from ..wire import frames
from ..wire.handshake import DenialCode, Role

__all__ = ["DENIALS", "gone_welcome"]


def gone_welcome(role: Role, capabilities: int, incarnation: bytes) -> frames.Welcome:
    """The answer to who wants to resume a session that is no more."""
    return frames.Welcome(
        role=role,
        capabilities=capabilities,
        session_id=bytes(limits.SESSION_ID_SIZE),
        outcome=frames.Outcome.GONE,
        next=0,
        window=0,
        max_message=0,
        use=0,
        incarnation=incarnation,
    )


DENIALS = {
    DenialCode.ROLE: "your role or address is not on the list of those allowed here",
    DenialCode.BANNED: "you are banned here",
    DenialCode.BUSY: "no room for another peer",
    DenialCode.SELF: "you are calling yourself",
    DenialCode.NOT_ACCEPTING: "this node does not accept bootstrap connections",
    DenialCode.DUPLICATE: "we are connected already",
    DenialCode.CLOSING: "this node is shutting down",
}
"""What is said with each code."""
