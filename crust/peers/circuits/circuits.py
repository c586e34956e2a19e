"""
All circuits of one node: those that it opens, those that it is offered, and those that pass through it.

What comes is handled on the reader of the link that brought it; nothing here waits, and nothing has a thread. An offer
goes the way of any stranger who connects: the gate and the bans first, and no answer without a valid first message.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...addresses import Contact, Endpoint, PeerId
from ...config import LimitsConfig, RelayConfig
from ...runtime.rates import Rates
from ...wire.frames import CircuitClose, CircuitFrame, CircuitOffer, CircuitOpen, CircuitReason
from ...wire.handshake import Manner
from ..accounts import Burden
from ..race import Candidate
from .book import Book
from .connection import CircuitConnection
from .dialling import CircuitDialling
from .introducers import Introducers
from .introducing import CircuitCounters, Introducing
from .legs import Legs
from .roomier import Roomier, RoomierHost

if TYPE_CHECKING:
    from ...runtime.clock import Clock
    from ...transports.contract import Sink
    from ..acceptor import Acceptor
    from ..access import Access
    from ..conversation import Conversation
    from ..link import Link
    from ..registry import Registry

__all__ = ["Circuits", "CircuitsHost"]


class CircuitsHost(RoomierHost, Protocol):
    """What circuits need of their node."""

    access: Access
    acceptor: Acceptor
    clock: Clock
    registry: Registry


class Circuits:
    """
    Those of one node. Thread-safe; nothing here blocks.

    Order of locks: link, circuit, link to the introducer; none of the registry's, conversations' or dialer's.

    Args:
        host: See :class:`CircuitsHost`.
        own_id: Our id.
        config: What we carry for others, and want others to carry for us.
        terms: What one address may have of what there is for all peers.
    """

    def __init__(self, host: CircuitsHost, own_id: PeerId, config: RelayConfig, terms: LimitsConfig) -> None:
        self._host = host
        self.io = host.io
        self._own_id = own_id
        self._use = config.use
        self.introducers = Introducers(host.io.now)
        self.roomier = Roomier(host, self.introducers, self._ways)
        book = Book(
            serve=config.serve,
            max_circuits=config.max_circuits,
            bytes_per_second=config.bytes_per_second,
            part=terms.part_per_address,
        )
        book.bites = lambda limit: self.bites(limit)
        self.introducing = Introducing(self, own_id, book, terms.part_per_address)
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        # An introducer that is asked more often refuses, and says that we flood it.
        self._opens = Rates(
            limits.CIRCUIT_OPENED_PER_SECOND,
            float("inf"),
            each_size=limits.CIRCUIT_OPENED_BURST,
            keys=limits.PEERS_MAX,
        )
        self._lock = threading.Lock()  # guards the fields below, and the making of legs
        self._connections: set[CircuitConnection] = set()
        self._offers: dict[Legs, int] = {}  # that we have not answered
        self._closed = False

    def configure(self, config: RelayConfig, terms: LimitsConfig) -> None:
        """Other terms for circuits that are opened, and for what is carried, from now on."""
        self._use = config.use
        self.introducing.change(config, terms.part_per_address)

    @property
    def registry(self) -> Registry:
        """All sessions."""
        return self._host.registry

    @property
    def counters(self) -> CircuitCounters:
        """What has been done for others."""
        return self.introducing.counters

    def via(self) -> tuple[Contact, ...]:
        """Those that others may ask to be introduced to us."""
        return self.introducers.via()

    def legs(self, conversation: Conversation, link: Link) -> Legs:
        """The circuits of a link."""
        with self._lock:
            if link.circuits is None:
                link.circuits = Legs(self.io, conversation, link, self._own_id > conversation.peer_id)
                link.circuits.freight.bites = lambda limit: self.bites(limit)
                if link.verdict:  # its end has looked for them already
                    link.circuits.link_ended()
            return link.circuits

    # --- we call ------------------------------------------------------------------------------------------------------

    def towards(
        self, target: PeerId, among: Collection[PeerId] | None = None, *, besides: Collection[Endpoint] = ()
    ) -> list[Candidate]:
        """
        Through whom that peer may be reached now, those to be tried first in front. Takes no lock of sessions.

        Args:
            among: Only through these.
            besides: Not through these, which have been tried.
        """
        if besides:
            others = {each.peer_id for each in self.introducers.present() if _way(each) not in besides}
            among = others if among is None else others.intersection(among)
        return [candidate for _, candidate in self._ways(target, among)]

    def _ways(self, target: PeerId, among: Collection[PeerId] | None = None) -> list[tuple[Conversation, Candidate]]:
        ways = []
        introducers = self.introducers.towards(target, among)
        handicaps = self.introducers.handicaps(target, (each.peer_id for each in introducers))
        for conversation, handicap in zip(introducers, handicaps, strict=True):
            endpoint = _way(conversation)
            if endpoint is not None:
                prepare = functools.partial(self._dialling, conversation, endpoint, target, handicap)
                in_vain = functools.partial(self._in_vain, conversation.peer_id, target, handicap)
                candidate = Candidate(
                    endpoint, manner=Manner.RELAY, method="circuit", prepare=prepare, in_vain=in_vain
                )
                ways.append((conversation, candidate))
        return ways

    def _in_vain(self, introducer: PeerId, target: PeerId, handicap: float, seconds: float) -> None:
        """A circuit through that one has led to no session (the dialer's lock is held)."""
        self.introducers.was_tried(introducer, target, max(0.0, seconds - handicap))

    def _dialling(
        self, conversation: Conversation, endpoint: Endpoint, target: PeerId, handicap: float, timeout: float
    ) -> CircuitDialling:
        cancelled = self._host.clock.event()
        return CircuitDialling(endpoint, lambda: self._open(conversation, endpoint, target), cancelled, handicap)

    def _open(self, conversation: Conversation, endpoint: Endpoint, target: PeerId) -> CircuitConnection:
        link = conversation.link
        if link is None or link.circuit is not None:
            raise OSError(errno.ENETUNREACH, "our link to that introducer has just ended", str(endpoint))
        spare = 0.0 if self._host.dialer.is_called(target) else limits.CIRCUIT_OPENED_SPARE
        if self._opens.refusal(conversation.peer_id, self.io.now(), spare=spare):
            text = "that introducer is asked for too many circuits already: try again in a few seconds"
            raise OSError(errno.EAGAIN, text, str(endpoint))
        legs = self.legs(conversation, link)
        connection = CircuitConnection(
            self.io, legs, target=target, relays=self._use, on_accepted=self._accepted, on_lost=self._lost
        )
        if not self._keep(connection):
            raise OSError(errno.ECANCELED, "the service is closing", str(endpoint))
        connection.number = legs.open(connection)
        if not connection.number:
            self._lost(connection)
            raise OSError(errno.ENETUNREACH, "our link to that introducer has too many circuits, or has just ended")
        return connection

    def _accepted(self, connection: CircuitConnection) -> str:
        """The peer has consented; why we do not want it after all."""
        seen = connection.observed
        if seen is not None and self._host.access.is_banned(None, seen[0], self.io.now()):
            return "the address that it has, by the introducer's word, is banned here"
        return ""

    def _keep(self, connection: CircuitConnection) -> bool:
        with self._lock:
            if not self._closed:
                self._connections.add(connection)
            return not self._closed

    def _lost(self, connection: CircuitConnection) -> None:
        with self._lock:
            self._connections.discard(connection)

    # --- others' frames (the link's reader thread) --------------------------------------------------------------------

    def receive(self, conversation: Conversation, link: Link, frame: CircuitFrame) -> None:
        """
        A frame about a circuit came on that link.

        Raises:
            RemoteProtocolError: It opens one by a number that it may not use.
        """
        if isinstance(frame, CircuitOpen):
            self.introducing.open(conversation, link, frame)
        elif isinstance(frame, CircuitOffer):
            self._offered(conversation, link, frame)
        else:
            end = None if link.circuits is None else link.circuits.get(frame.number)
            if end is not None:
                end.receive(frame)
            else:  # it is over by now, or never was
                conversation.wasted(Burden.REQUEST, limits.COST_RECORD)

    def _offered(self, conversation: Conversation, link: Link, frame: CircuitOffer) -> None:
        legs = self.legs(conversation, link)
        legs.check(frame.number)
        connection = CircuitConnection(
            self.io, legs, relays=self._use, offer=frame, on_answered=self._answered, on_lost=self._lost
        )
        connection.number = frame.number
        reason, text = CircuitReason.REFUSED, self._objection(conversation, link, frame)
        if not text:
            reason, text = CircuitReason.BUSY, self._count(connection)
        if not text and not legs.accept(frame.number, connection):
            self._answered(connection)
            self._lost(connection)
            text = "it has too many circuits"
        if text:
            legs.freight.refuse(CircuitClose(frame.number, reason, text))
            return
        self._host.acceptor.offered(connection)
        connection.deliver()

    @staticmethod
    def _objection(conversation: Conversation, link: Link, frame: CircuitOffer) -> str:
        if link.circuit is not None:
            return "the called peer has no link of its own to the introducer"
        if not frame.data:  # nothing comes before consent, for which we would wait in vain
            return "it brings no first message"
        return "" if link is conversation.link else "the called peer's session with the introducer has moved"

    def _count(self, connection: CircuitConnection) -> str:
        """Remember an offer; why there is no room for it."""
        with self._lock:
            offers = self._offers.get(connection.legs, 0)
            if self._closed:
                return "the called peer is shutting down"
            full = sum(self._offers.values()) >= limits.CIRCUIT_OFFERS_MAX
            if full or offers >= limits.CIRCUIT_OFFERS_PER_INTRODUCER:
                self.bites("CIRCUIT_OFFERS_MAX" if full else "CIRCUIT_OFFERS_PER_INTRODUCER")
                return "the called peer has too many calls to answer"
            self._offers[connection.legs] = offers + 1
            self._connections.add(connection)
            return ""

    def _answered(self, connection: CircuitConnection) -> None:
        with self._lock:
            left = self._offers.get(connection.legs, 0) - 1
            if left > 0:
                self._offers[connection.legs] = left
            else:
                self._offers.pop(connection.legs, None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Introduce nobody any more; circuits of our own go on until :meth:`finish`."""
        self.introducing.close()

    def flush(self) -> None:
        """Write what can be written now."""
        with self._lock:
            legs = {connection.legs for connection in self._connections}
        for each in legs:
            each.freight.pump()

    def finish(self) -> None:
        """End everything: sinks hear it here, without the I/O thread. Idempotent; the caller holds no lock."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        for connection in connections:
            connection.abort()
            connection.deliver()

    def abandon(self) -> list[Sink]:
        """In a forked child: forget everything (takes no lock); the sinks that hear nothing more."""
        self._lock = threading.Lock()
        self._closed = True
        connections, self._connections, self._offers = self._connections, set(), {}
        self.introducing.abandon()
        self.introducers.abandon()
        sinks = []
        for connection in connections:
            connection.legs.abandon()
            sink = connection.abandon()
            if sink is not None:
                sinks.append(sink)
        return sinks


def _way(introducer: Conversation) -> Endpoint | None:
    """What a circuit through that one is called; None: there is none now."""
    link = introducer.link
    return None if link is None else Endpoint("relay", link.connection.remote.host, link.connection.remote.port)
