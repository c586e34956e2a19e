"""
Knocking: is that peer where we think that it is?

The handshake's first two messages go over a connection of its own, and it is closed. The second one proves the key; who
asked is said in the third, which is never sent. So the other side has no session, raises no event, and does not learn
who knocked, just as from a dial that has lost its race.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from .. import limits
from ..addresses import Endpoint, PeerId
from ..crypto.handshake import HandshakeConfig, Initiator
from ..exceptions import ContactSyntaxError
from ..runtime.clock import Clock
from ..runtime.descriptors import exhaustion
from ..runtime.flusher import IoLoop
from ..transports.contract import Dialling, Transport
from ..values import dataclass
from ..wire import frames
from ..wire.handshake import DenialCode, Introduction
from .access import Access
from .failures import reason_of, verdict_of
from .link import Link

__all__ = ["KnockHost", "Knocked", "Knocks"]


@dataclass(frozen=True)
class Knocked:
    """What came of it."""

    verdict: str
    """``connected``: that peer is there; ``denied``: it is, and would not have us; ``cancelled``: nobody was asked, for
    lack of something here; else a word of ``crust.Attempt``."""

    error: str = ""
    """What went wrong, in a sentence."""

    @property
    def is_there(self) -> bool:
        """The key was proven."""
        return self.verdict == "connected"

    @property
    def is_somebody_else(self) -> bool:
        """The address was reached, and that peer is not there: nothing of ours is to blame."""
        return self.verdict in ("refused", "failed", "denied")


_BANNED = "banned here"


class KnockHost(Protocol):
    """What knocking needs of its node."""

    io: IoLoop
    clock: Clock
    handshake: HandshakeConfig
    access: Access

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""

    def transport_for(self, endpoint: Endpoint) -> Transport | None:
        """The transport of that endpoint, or None if this node does not use it."""

    def opened(self, link: Link) -> None:
        """A link begins; the node sees to its end when it closes."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""


class _Caller:
    """The owner of one link: it goes no further than message 2."""

    def __init__(self, host: KnockHost) -> None:
        self.over = host.clock.event()
        self.came: Knocked | None = None

    def link_answered(self, link: Link) -> None:
        self.came = Knocked("connected")
        link.close()

    def link_denied(self, link: Link, code: DenialCode, text: str, alternates: tuple[str, ...]) -> None:
        self.came = Knocked("denied", f"refused: {code.name.lower()}")

    def link_lost(self, link: Link) -> None:
        if self.came is None:
            self.came = Knocked(link.verdict, link.error)
        self.over.set()

    def link_hello(self, link: Link) -> None:
        """Not for callers."""

    def link_spoke(self, link: Link) -> None:
        """Not for callers."""

    def link_introduced(self, link: Link, introduction: Introduction) -> None:
        """Not for callers."""

    def link_welcomed(self, link: Link, welcome: frames.Welcome) -> None:
        """We have not introduced ourselves."""

    def link_used(self, link: Link, decision: int) -> None:
        """Not for callers."""


class Knocks:
    """
    All of one node. Thread-safe.

    Args:
        host: See :class:`KnockHost`.
    """

    def __init__(self, host: KnockHost) -> None:
        self._host = host
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._dials: dict[Dialling, PeerId] = {}
        self._links: set[Link] = set()

    def knock(
        self,
        peer_id: PeerId,
        endpoint: Endpoint,
        heard: Callable[[Knocked], object],
        *,
        seconds: float = limits.KNOCK_SECONDS,
        prepare: Callable[[float], Dialling] | None = None,
    ) -> None:
        """
        Look whether that peer is there; never blocks.

        Args:
            heard: Told once, on a thread of its own (at once if there is none to be had); it may block.
            seconds: For all of it.
            prepare: Makes the dial, given its seconds; None: the endpoint's transport does.
        """
        if self._closed:
            heard(Knocked("cancelled", "the service is closing"))
            return
        try:
            self._host.spawn(f"crust-knock-{peer_id.short}", self._run, peer_id, endpoint, heard, seconds, prepare)
        except RuntimeError as error:
            heard(Knocked("cancelled", f"cannot start a thread: {error}"))

    def _run(
        self,
        peer_id: PeerId,
        endpoint: Endpoint,
        heard: Callable[[Knocked], object],
        seconds: float,
        prepare: Callable[[float], Dialling] | None,
    ) -> None:
        transport = self._host.transport_for(endpoint)
        make = prepare or (None if transport is None else lambda timeout: transport.dialling(endpoint, timeout))
        if make is None:
            heard(Knocked("unreachable", f"this node does not use {endpoint.transport}"))
            return
        came = Knocked("failed")
        count = max(1, len(self._host.handshake.secrets))
        for index in range(count):
            came = self._try(peer_id, make, seconds / count, index)
            if came.verdict not in ("failed", "timeout"):  # to another secret, message 1 is noise: see the dialer
                break
        heard(came)

    def _try(self, peer_id: PeerId, make: Callable[[float], Dialling], seconds: float, index: int) -> Knocked:
        host = self._host
        try:
            handshake = Initiator(host.handshake, peer_id, secret_index=index)
            dialling = make(seconds)
        except (ContactSyntaxError, OSError) as error:
            return Knocked("unreachable", str(error))
        with self._lock:
            if self._closed:
                return Knocked("cancelled", "the service is closing")
            self._dials[dialling] = peer_id
        if host.access.is_banned(peer_id, None, host.clock.now()):  # after it can be found by drop_banned()
            dialling.cancel()
        until = host.clock.now() + seconds
        try:
            connection = dialling.run()
        except OSError as error:
            return Knocked("cancelled" if exhaustion(error) else verdict_of(error), reason_of(error))
        finally:
            with self._lock:
                self._dials.pop(dialling, None)
        caller = _Caller(host)
        link = Link(
            connection, handshake, caller, lambda error: host.crashed("knock", error), host.clock.now, peer_id=peer_id
        )
        host.opened(link)
        link.handshake_timer = host.io.call_at(
            until, lambda _: link.fail("timeout", f"no answer to the handshake within {seconds:.3g} s")
        )
        with self._lock:
            self._links.add(link)
            if self._closed:
                link.fail("cancelled", "the service is closing")
        if host.access.is_banned(peer_id, connection.remote.host, host.clock.now()):
            link.fail("cancelled", _BANNED)
        link.begin()
        connection.run(link)
        caller.over.wait()
        link.handshake_timer.cancel()
        with self._lock:
            self._links.discard(link)
        return caller.came or Knocked("failed")

    def drop_banned(self) -> None:
        """Give up looking for those who are banned now."""
        access, now = self._host.access, self._host.clock.now()
        with self._lock:
            dials = [dialling for dialling, peer_id in self._dials.items() if access.is_banned(peer_id, None, now)]
            links = [link for link in self._links if access.is_banned(link.peer_id, link.address, now)]
        for dialling in dials:
            dialling.cancel()
        for link in links:
            link.fail("cancelled", _BANNED)

    def close(self) -> None:
        """Give up what is under way, and knock no more. Never blocks; idempotent."""
        with self._lock:
            self._closed = True
            dials, links = list(self._dials), list(self._links)
        for dialling in dials:
            dialling.cancel()
        for link in links:
            link.fail("cancelled", "the service is closing")

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._dials, self._links = {}, set()
