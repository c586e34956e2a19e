"""
Accepting: listeners, and what strangers may cost before they have proven who they are.

A connection gets a slot of the gate before anything is made for it; banned addresses and those over their rate are
closed without a byte. Whoever has a slot must show a valid message 1 within ``FIRST_MESSAGE_TIMEOUT`` and finish the
handshake within the configured time, both counted from the accept: trickling bytes extends nothing. Those who only ask
for their address (STUN) have the former time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .. import limits
from ..crypto.handshake import HandshakeConfig, Responder, SaltMemory
from ..runtime.clock import Clock
from ..runtime.descriptors import exhaustion
from ..runtime.flusher import IoLoop
from ..runtime.logs import NodeLog, RateLimited
from ..transports.contract import Connection, Listener
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction
from .access import Access
from .gate import Gate, Slot
from .link import Link, Stage
from .registry import Registry

if TYPE_CHECKING:
    from ..nat.stun.responder import Responder as StunResponder

__all__ = ["Acceptor", "AcceptorHost"]

_LOG_INTERVAL = 10.0  # seconds between two lines about the same address, or about pauses


class AcceptorHost(Protocol):
    """What accepting needs of its node."""

    io: IoLoop
    clock: Clock
    registry: Registry
    handshake: HandshakeConfig
    access: Access
    log: NodeLog

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""

    def opened(self, link: Link) -> None:
        """A link begins; the node sees to its end when it closes."""

    def knows_address(self, host: str) -> bool:
        """True if a peer of ours has that address: it may use the reserve."""


class Acceptor:
    """
    All inbound links of one node until they carry a session. Thread-safe.

    Args:
        host: See :class:`AcceptorHost`.
        gate: Slots and rates.
        handshake_timeout: Seconds from accept to the end of the handshake.
    """

    def __init__(self, host: AcceptorHost, gate: Gate, handshake_timeout: float) -> None:
        self._host = host
        self._now = host.clock.now
        self.gate = gate
        self.pauses = 0
        """How often a listener has stopped accepting for ``ACCEPT_PAUSE``, having run out of descriptors."""
        self.stun: StunResponder | None = None
        """Answers those who ask a TCP listener for their address, in place of a handshake."""
        self._handshake_timeout = handshake_timeout
        self._salts = SaltMemory()
        self._limited = RateLimited(_LOG_INTERVAL)
        self._lock = threading.Lock()  # guards _links, _closed and counting pauses
        self._links: set[Link] = set()
        self._closed = False

    def run(self, listener: Listener) -> None:
        """Accept on ``listener`` until it is closed; blocks."""
        listener.run(self._accepted, self._trouble)

    def _trouble(self, error: OSError) -> None:
        with self._lock:
            self.pauses += 1
        held_back = self._limited.permit("pause", self._now())
        if held_back is not None:
            self._host.log.warning(
                "cannot accept connections, and tries again every %g s: %s (%d more were not logged)",
                limits.ACCEPT_PAUSE,
                exhaustion(error) or error.strerror or error,
                held_back,
            )

    def _accepted(self, connection: Connection) -> None:
        """A connection came in (the listener's thread)."""
        address, now = connection.remote.host, self._now()
        if not self._host.access.address_allowed(address, now):
            connection.abort()
            return
        made: list[Link] = []

        def evict() -> None:
            for link in made:
                link.fail("failed", "made room for a newer caller")

        slot = self.gate.admit(address, now, known=self._host.knows_address(address), evict=evict)
        if slot is None:
            held_back = self._limited.permit(("full", address), now)
            if held_back is not None:
                self._host.log.info(
                    "refused a connection from %s: too many handshakes (%d more were not logged)", address, held_back
                )
            connection.abort()
            return
        link = Link(
            connection,
            Responder(self._host.handshake, salts=self._salts),
            self,
            lambda error: self._host.crashed("link", error),
            self._now,
        )
        link.owner_data = slot
        if self.stun is not None and connection.transport == "tcp":
            from ..nat.stun.door import Door  # who set `stun` has loaded it

            link.door = Door(self.stun, (address.partition("%")[0], connection.remote.port))
        made.append(link)
        self._host.opened(link)
        link.handshake_timer = self._host.io.call_at(
            now + min(limits.FIRST_MESSAGE_TIMEOUT, self._handshake_timeout), lambda later: self._overdue(link, now)
        )
        with self._lock:
            refused = self._closed
            self._links.add(link)
        if refused:
            link.fail("cancelled", "the service is closing")
        name = f"crust-link-{connection.remote.port}"
        try:
            connection.start(link, lambda _, target, *args: self._host.spawn(name, target, *args))
        except RuntimeError as error:
            self._host.log.warning("no thread for a connection from %s: %s", address, error)
            self._begun(link)
            slot.release()
            connection.abort()

    def _overdue(self, link: Link, started: float) -> None:
        """A deadline of the handshake has come (io thread)."""
        if link.stage is Stage.HANDSHAKE and not link.greeted:
            link.fail("timeout", "no valid first message in time")
            return
        total = started + self._handshake_timeout
        if link.stage in (Stage.HANDSHAKE, Stage.ANSWER):
            if self._now() >= total:
                link.fail("timeout", "the handshake took too long")
            else:
                link.handshake_timer = self._host.io.call_at(total, lambda later: self._overdue(link, started))

    def _begun(self, link: Link) -> None:
        link.handshake_timer.cancel()
        with self._lock:
            self._links.discard(link)

    # --- LinkOwner (the link's reader thread) -------------------------------------------------------------------------

    def link_hello(self, link: Link) -> None:
        """The caller knows our key."""
        slot = link.owner_data
        if isinstance(slot, Slot) and not slot.message1_valid():
            link.fail("failed", "made room for a newer caller")

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        """The caller has proven who it is: the registry decides."""
        slot = link.owner_data
        if isinstance(slot, Slot):
            slot.release()
        self._host.registry.introduced(link, introduction)
        if link.conversation is not None or link.verdict:
            self._begun(link)

    def link_used(self, link: Link, decision: int) -> None:
        """The caller is the controller, and chose this link."""
        self._host.registry.used(link, decision)
        self._begun(link)

    def link_lost(self, link: Link) -> None:
        """The link ended before it carried a session."""
        self._begun(link)
        self._host.registry.given_up(link)
        slot = link.owner_data
        if isinstance(slot, Slot):
            slot.release()
        now = self._now()
        address = link.connection.remote.host
        if link.verdict in ("cancelled", "lost_race") or (link.door is not None and link.door.requests):
            return
        held_back = self._limited.permit(("bad", address), now)
        if held_back is not None:
            self._host.log.info(
                "a connection from %s came to nothing: %s (%d more were not logged)", address, link.error, held_back
            )

    def link_answered(self, link: Link) -> None:
        """Not for callees."""

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        """Not for callees."""

    def link_denied(self, link: Link, code: DenialCode, text: str, alternates: tuple[str, ...]) -> None:
        """Not for callees."""

    # --- from outside -------------------------------------------------------------------------------------------------

    def end_from(self, banned: Callable[[str], bool]) -> None:
        """End the handshakes of addresses for which ``banned`` holds."""
        with self._lock:
            links = list(self._links)
        for link in links:
            # With a conversation, the end of its session says goodbye on it.
            if link.conversation is None and banned(link.connection.remote.host):
                link.fail("failed", "banned")

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._links = set()

    def close(self) -> None:
        """End all handshakes, and begin none."""
        with self._lock:
            self._closed = True
            links = list(self._links)
        for link in links:
            link.fail("cancelled", "the service is closing")
