"""Why a peer was not reached, in words and in errors."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from ..addresses import Endpoint, PeerId
from ..exceptions import ConnectError, CrustError, NoRoute
from ..runtime.descriptors import exhaustion
from ..wire.handshake import DenialCode
from .effort import Effort

__all__ = ["ENDS", "FINAL", "IN_VAIN", "REFUSALS", "failure_of", "nowhere", "reason_of", "verdict_of"]

_ADVICE = (
    "Use a contact with an address, such as the one that the peer's `crust node` prints; or let both nodes connect to "
    "one that both can reach, such as `crust node --allow-bootstrap --serve-relay --listen tcp://0.0.0.0:443` on a "
    "server: it introduces them to each other"
)


def nowhere(peer_id: PeerId, endpoints: Iterable[Endpoint]) -> NoRoute:
    """There is nothing to try."""
    texts = ", ".join(map(str, endpoints))
    if texts:
        return NoRoute(
            f"none of the addresses of peer {peer_id} can be dialled from this node: {texts}; and no peer of ours "
            f"introduces. {_ADVICE}"
        )
    return NoRoute(f"no address is known for peer {peer_id}, and no peer of ours that introduces. {_ADVICE}")


def failure_of(effort: Effort) -> CrustError:
    """The error for an effort that came to nothing."""
    attempts = tuple(effort.attempts)
    if effort.denied is not None:
        effort.denied.attempts = attempts
        return effort.denied
    tried = "; ".join(map(str, attempts)) or "nothing could be tried"
    if effort.found:
        tried += f"; {effort.found}"
    if not effort.endpoints and all(attempt.method == "circuit" for attempt in attempts):
        return NoRoute(
            f"no address is known for peer {effort.peer_id}, and none of our peers could introduce us: {tried}. "
            f"{_ADVICE}",
            attempts,
        )
    return ConnectError(f"cannot connect to peer {effort.peer_id}: {tried}", attempts)


def verdict_of(error: OSError) -> str:
    """The word for it in an Attempt."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if error.errno == errno.ECANCELED:  # we gave it up
        return "cancelled"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):  # somebody was there, and hung up
        return "failed"
    return "failed" if exhaustion(error) else "unreachable"


def reason_of(error: OSError) -> str:
    """The sentence for it."""
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    return exhaustion(error) or error.strerror or str(error)


FINAL = frozenset({"network", "version", "role", "banned", "self", "not_accepting", "closing", "busy"})
"""Refusals by the peer itself: other addresses lead to the same peer, so the effort ends."""

IN_VAIN = frozenset({"failed", "refused", "timeout", "unreachable"})
"""Words of an ``Attempt`` that say that there was no way there, and not that it was not wanted, or came too late."""

ENDS = {DenialCode.BANNED: "banned", DenialCode.CLOSING: "closed"}
"""Why a session is over whose resumption is refused; ``gone`` for other reasons."""

REFUSALS = {
    DenialCode.VERSION: "it speaks no version of the protocol that we speak",
    DenialCode.NETWORK: "it belongs to another network; check network.name",
}
"""What refusals mean that come without words."""
