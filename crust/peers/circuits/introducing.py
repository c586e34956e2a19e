"""
Introducing: two of our peers that want to reach each other do so through us.

It is free as long as they only signal, since that is what it takes to find a path of their own: each circuit is small
and short then, and there is a bound to how many one peer may open. An application's data is carried only with
``relay.serve``, within ``relay.max_circuits`` and ``relay.bytes_per_second``; a circuit for which there is no room only
signals. See docs/wire-format.md, "Circuits".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...addresses import PeerId, address_key
from ...config import RelayConfig
from ...runtime.rates import Rates
from ...values import dataclass
from ...wire.frames import CircuitClose, CircuitOpen, CircuitReason
from ...wire.handshake import Capability
from ..session import State
from .book import Book
from .relayed import Leg, RelayedCircuit

if TYPE_CHECKING:
    from ...runtime.flusher import IoLoop
    from ..conversation import Conversation
    from ..link import Link
    from ..registry import Registry
    from .legs import Legs

__all__ = ["CircuitCounters", "Introducing", "IntroducingHost"]


@dataclass(frozen=True)
class CircuitCounters:
    """What a node has done for others as an introducer."""

    current: int
    """Circuits that pass through it now."""

    opened: int
    """Since the start, those that it offered to the called peer."""

    refused: int
    """Those that it did not."""

    carried_bytes: int
    """Bytes that went on, after the first of each circuit."""


class IntroducingHost(Protocol):
    """What introducing needs of its node."""

    io: IoLoop

    @property
    def registry(self) -> Registry:
        """All sessions."""

    def legs(self, conversation: Conversation, link: Link) -> Legs:
        """The circuits of a link."""


def place_of(link: Link) -> bytes | None:
    """Where the peer on a link is, as its place counts: its IPv4 address or IPv6 /64; None if nobody knows."""
    return None if link.address is None else address_key(link.address)


class Introducing:
    """
    All circuits that pass through one node. Thread-safe.

    Args:
        host: See :class:`IntroducingHost`.
        own_id: Our id.
        book: What we lend.
        part: Of how many may be opened in a second, those at one address may open; from 0 to 1.
    """

    def __init__(self, host: IntroducingHost, own_id: PeerId, book: Book, part: float) -> None:
        self._host = host
        self._own_id = own_id
        self.now = host.io.now
        self._rates: Rates = Rates(
            limits.CIRCUIT_OPENS_PER_SECOND,
            limits.CIRCUIT_OPENS_ALL_PER_SECOND,
            each_size=limits.CIRCUIT_OPENS_BURST,
            keys=limits.PEERS_MAX,
            names=("CIRCUIT_OPENS_PER_SECOND", "CIRCUIT_OPENS_ALL_PER_SECOND"),
            part=part,
        )
        # The called one holds us responsible for how often it is called: nobody is to use up what it takes from us.
        self._calls = Rates(
            limits.CIRCUIT_CALLS_PER_SECOND,
            float("inf"),
            each_size=limits.CIRCUIT_CALLS_BURST,
            names=("CIRCUIT_OPENS_PER_SECOND", ""),
        )
        self.on_limit: Callable[[Conversation, str], object] = lambda conversation, limit: None
        """Told of a peer that gets none, and of the limit that it has met; any thread, must be quick."""
        self._lock = threading.Lock()  # guards the fields below; the last to be taken
        self._book = book
        self._circuits: set[RelayedCircuit] = set()
        self._sweeps = False
        self._closed = False
        self._opened = self._refused = self._carried = 0

    def change(self, config: RelayConfig, part: float) -> None:
        """Other terms for what is carried from now on; see :class:`~crust.peers.circuits.book.Book`."""
        self._rates.part = part
        with self._lock:
            self._book.change(
                serve=config.serve,
                max_circuits=config.max_circuits,
                bytes_per_second=config.bytes_per_second,
                part=part,
            )

    @property
    def counters(self) -> CircuitCounters:
        """A snapshot of what has been done."""
        with self._lock:
            return CircuitCounters(len(self._circuits), self._opened, self._refused, self._carried)

    def open(self, conversation: Conversation, link: Link, frame: CircuitOpen) -> None:
        """
        A peer asks for a circuit (its link's reader thread).

        Raises:
            RemoteProtocolError: Not by that number.
        """
        legs = self._host.legs(conversation, link)
        legs.check(frame.number)
        target = PeerId(frame.target)
        reason, text = CircuitReason.BUSY, "you open too many in too short a time"
        other: Conversation | None = None
        if limit := self._too_often(conversation.peer_id, target, place_of(link)):
            self.on_limit(conversation, limit)
        else:
            reason, text = self._objection(conversation, link, target)
            other = self._host.registry.get(target)
        far = None if other is None else other.link
        if not text and (other is None or far is None or other.session.state is not State.CONNECTED):
            reason, text = CircuitReason.NOT_LINKED, "not at the moment"
        elif not text and (far is None or far.circuit is not None):
            reason, text = CircuitReason.NESTED, "its link to that peer is a circuit itself"
        elif not text and (other is None or not other.capabilities & Capability.TRAVERSAL):
            reason, text = CircuitReason.NOT_LINKED, "that peer's program takes no circuits"
        if not text and other is not None and far is not None:
            reason, text = self._begin(legs, frame, other, far, target)
        if text:
            with self._lock:
                self._refused += 1
            legs.freight.refuse(CircuitClose(frame.number, reason, text))

    def _too_often(self, opener: PeerId, target: PeerId, place: bytes | None) -> str:
        """The limit that stands against another circuit so soon; empty: none."""
        now = self.now()
        limit = self._rates.refusal(opener, now, place) or self._calls.refusal((opener, target), now)
        if not limit and place is not None and self._calls.refusal((place, target), now):
            return "limits.peers_per_address"  # others there have called it: that is not this one's doing
        return limit

    def _objection(self, conversation: Conversation, link: Link, target: PeerId) -> tuple[CircuitReason, str]:
        """Why there is none, as far as the asker is concerned; an empty text if nothing is against it."""
        if link.circuit is not None:
            return CircuitReason.NESTED, "you are linked to it by a circuit yourself"
        if link is not conversation.link:
            return CircuitReason.LOST, "your session with it has moved away from this link"
        if target == self._own_id:
            return CircuitReason.REFUSED, "that peer is the introducer itself"
        if target == conversation.peer_id:
            return CircuitReason.REFUSED, "that peer is you"
        return CircuitReason.CLOSED, ""

    def _begin(
        self, legs: Legs, frame: CircuitOpen, other: Conversation, far: Link, target: PeerId
    ) -> tuple[CircuitReason, str]:
        opener, place = legs.conversation.peer_id, place_of(legs.link)
        with self._lock:
            text = "it is shutting down" if self._closed else self._book.objection(opener, target, place)
            if text:
                return CircuitReason.BUSY, text
            self._book.open(opener, target, place)
            lent = frame.relays and self._book.lend(opener, place)
        circuit = RelayedCircuit(self, (opener, place), target, legs, self._host.legs(other, far), lent)
        with self._lock:
            self._circuits.add(circuit)
        if not circuit.connect(frame.number, frame.data):
            self.gone(circuit)
            return CircuitReason.BUSY, "one of the two links has too many, or has just ended"
        with self._lock:
            self._opened += 1
            sweeps, self._sweeps = not self._sweeps, True
        if sweeps:
            self._host.io.call_later(limits.CIRCUIT_SWEEP, self._sweep)
        circuit.ask()
        return CircuitReason.CLOSED, ""

    def _sweep(self, now: float) -> None:
        """End what has lasted too long (I/O thread)."""
        with self._lock:
            circuits = list(self._circuits)
            self._sweeps = bool(circuits) and not self._closed
            if self._sweeps:
                self._host.io.call_later(limits.CIRCUIT_SWEEP, self._sweep)
        for circuit in circuits:
            circuit.look(now)

    # --- Lender -------------------------------------------------------------------------------------------------------

    def answered(self, circuit: RelayedCircuit, wanted: bool) -> None:
        """The called peer has consented."""
        with self._lock:
            self._book.answered(circuit.opener, circuit.target, circuit.place)
            if circuit.lent and not wanted:
                circuit.lent = False
                self._book.take_back(circuit.opener, circuit.place)

    def reserve(self, circuit: RelayedCircuit, size: int) -> float:
        """Seconds until so many bytes of an application's data may go on."""
        with self._lock:
            return self._book.reserve(circuit.opener, size, self.now(), circuit.place)

    def carried(self, size: int) -> None:
        """So many bytes go on now."""
        with self._lock:
            self._carried += size

    def wake(self, leg: Leg, delay: float) -> None:
        """Have it speak later."""
        self._host.io.call_later(delay, lambda now: leg.go_on())

    def gone(self, circuit: RelayedCircuit) -> None:
        """It is over, and all is said."""
        with self._lock:
            if circuit not in self._circuits:
                return
            self._circuits.discard(circuit)
            if not circuit.accepted:
                self._book.answered(circuit.opener, circuit.target, circuit.place)
            self._book.close(circuit.opener, circuit.lent, circuit.place)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all, and begin none."""
        with self._lock:
            self._closed = True
            circuits = list(self._circuits)
        for circuit in circuits:
            circuit.end(CircuitReason.LOST, "the introducer is shutting down")

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._circuits = set()
