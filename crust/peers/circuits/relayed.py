"""
A circuit between two of our peers: what one leg brings goes out on the other.

What waits for a slow link is bounded by credit, which we keep the books of: whoever sends more than it may, or gives
credit for what it cannot have had, ends the circuit. What was taken from one end goes on to the other; then it ends.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...addresses import PeerId
from ...wire.codec import Address
from ...wire.frames import (
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitFrame,
    CircuitOffer,
    CircuitReason,
)
from .flow import Flow, FlowError

if TYPE_CHECKING:
    from ..link import Link
    from .legs import Legs, Word

__all__ = ["Leg", "Lender", "RelayedCircuit", "address_of"]


def address_of(link: Link) -> Address | None:
    """Where we see the other end of a link; None if that is no IP address."""
    remote = link.connection.remote
    return (remote.host, remote.port) if remote.is_ip else None


class Lender(Protocol):
    """Who keeps the books. Thread-safe; nothing here blocks or calls a circuit back."""

    def now(self) -> float:
        """The node's clock."""

    def answered(self, circuit: RelayedCircuit, wanted: bool) -> None:
        """The called peer has consented; ``wanted``: to an application's data, too."""

    def reserve(self, circuit: RelayedCircuit, size: int) -> float:
        """Seconds until so many bytes of an application's data may go on; 0 for at once."""

    def carried(self, size: int) -> None:
        """So many bytes go on now."""

    def wake(self, leg: Leg, delay: float) -> None:
        """Have ``leg`` speak after so many seconds."""

    def gone(self, circuit: RelayedCircuit) -> None:
        """Both ends have heard that it is over, or have had time to. Called once."""


class Leg:
    """What goes to one of the two ends. The circuit's lock guards it."""

    __slots__ = (
        "circuit",
        "credit",
        "first",
        "flow",
        "gone",
        "last_word",
        "legs",
        "number",
        "other",
        "out",
        "paid",
        "waits",
    )

    def __init__(self, circuit: RelayedCircuit, legs: Legs) -> None:
        self.circuit = circuit
        self.legs = legs
        self.other: Leg
        self.number = 0
        self.flow = Flow()
        """Of the bytes that go there."""
        self.first: CircuitOffer | CircuitAccept | None = None
        self.credit = 0
        self.out = bytearray()
        self.last_word: tuple[CircuitReason, str] | None = None
        self.gone = False
        self.paid = 0
        """Bytes that may go on, now or after a wait."""
        self.waits = False

    def speak(self) -> None:
        """Something is to go out (no lock of a circuit is held)."""
        self.legs.freight.wants(self)

    def next_frame(self) -> CircuitFrame | None:
        """What goes out now, if anything does (see ``Source``)."""
        circuit = self.circuit
        with circuit.lock:
            frame = self._next()
        if isinstance(frame, CircuitClose):
            circuit.settle()
        return frame

    def _next(self) -> CircuitFrame | None:
        if self.gone:
            return None
        if self.first is not None:
            first, self.first = self.first, None
            return first
        if self.credit:
            credit, self.credit = self.credit, 0
            return CircuitCredit(self.number, credit)
        if self.out:
            return self._data()
        if self.last_word is not None:
            self.gone = True
            return CircuitClose(self.number, *self.last_word)
        return None

    def _data(self) -> CircuitData | None:
        circuit = self.circuit
        if self.waits:
            return None
        size = self.paid or min(len(self.out), limits.CIRCUIT_DATA_MAX)
        if circuit.lent and not self.paid:
            delay = circuit.lender.reserve(circuit, size)
            if delay:
                self.paid, self.waits = size, True
                circuit.lender.wake(self, delay)
                return None
        self.paid = 0
        data = bytes(self.out[:size])
        del self.out[:size]
        self.flow.passed(len(data))
        circuit.lender.carried(len(data))
        return CircuitData(self.number, data)

    def go_on(self) -> None:
        """It has waited long enough (I/O thread)."""
        with self.circuit.lock:
            self.waits = False
        self.speak()

    # --- End ----------------------------------------------------------------------------------------------------------

    def receive(self, frame: Word) -> None:
        """A frame from there (the reader of that link)."""
        circuit = self.circuit
        if isinstance(frame, CircuitClose):
            circuit.end(frame.reason, frame.text, by=self)
            return
        full = False
        try:
            with circuit.lock:
                if circuit.ended_at is not None:
                    return
                if isinstance(frame, CircuitAccept):
                    self._consented(frame)
                elif not circuit.accepted:
                    raise FlowError("something came before consent")
                elif isinstance(frame, CircuitData):
                    self.other.flow.take(len(frame.data))
                    full = not circuit.has_room(len(frame.data))
                    if not full:
                        self.other.out += frame.data
                else:
                    self.flow.grant(frame.size)
                    self.other.credit += frame.size
        except FlowError as error:
            circuit.end(CircuitReason.LOST, "the other end broke the rules of circuits", by=self, fault=str(error))
            return
        if full:
            circuit.end(CircuitReason.QUOTA, f"{circuit.bytes_max} bytes")
        else:
            self.other.speak()

    def _consented(self, frame: CircuitAccept) -> None:
        """The circuit's lock is held."""
        circuit = self.circuit
        if circuit.accepted or self is circuit.caller:
            raise FlowError("consent that nobody has asked for")
        circuit.accepted = True
        circuit.lender.answered(circuit, frame.relays)
        caller = self.other
        caller.flow.take(len(frame.data))
        caller.flow.passed(len(frame.data))
        circuit.has_room(len(frame.data))
        caller.first = CircuitAccept(caller.number, address_of(self.legs.link), circuit.lent, frame.data)

    def link_ended(self) -> None:
        """That link carries nothing any more (any thread, which may hold locks of sessions)."""
        with self.circuit.lock:
            self.gone = True
            self.out.clear()
        self.circuit.end(CircuitReason.LOST, "the introducer's to the other end", by=self)
        self.circuit.settle()


class RelayedCircuit:
    """
    One circuit that passes through us. Thread-safe.

    Args:
        lender: See :class:`Lender`.
        opener: Who opened it, and where that is (None: nobody knows).
        target: Who was called.
        caller: The circuits of the link on which it was opened.
        callee: Those of the link to the called peer.
        lent: It may carry an application's data.
    """

    def __init__(
        self,
        lender: Lender,
        opener: tuple[PeerId, bytes | None],
        target: PeerId,
        caller: Legs,
        callee: Legs,
        lent: bool,
    ) -> None:
        self.lender = lender
        self.opener, self.place = opener
        self.target = target
        self.lent = lent
        self.lock = threading.Lock()  # guards the fields below and both legs; taken after a link's, before the lender's
        self.began = lender.now()
        self.accepted = False
        self.ended_at: float | None = None
        self.carried = 0  # bytes, both ways
        self.caller, self.callee = Leg(self, caller), Leg(self, callee)
        self.caller.other, self.callee.other = self.callee, self.caller
        self._gone = False

    def connect(self, number: int, first: bytes) -> bool:
        """
        Join the two links; the called peer hears of it with :meth:`ask`.

        Args:
            number: By which the circuit was opened.
            first: What the caller sent with that.

        Returns:
            False if it is over already, or one of the links has ended or has too many circuits.
        """
        caller, callee = self.caller.legs, self.callee.legs
        with self.lock:
            if self.ended_at is not None:
                return False
            self.caller.number = number
            self.callee.number = callee.open(self.callee)
            if not self.callee.number:
                return False
            if not caller.accept(number, self.caller):
                callee.forget(self.callee.number, self.callee)
                return False
            self.callee.flow.take(len(first))
            self.callee.flow.passed(len(first))
            self.has_room(len(first))
            self.callee.first = CircuitOffer(self.callee.number, address_of(caller.link), self.lent, first)
        return True

    def ask(self) -> None:
        """Offer it to the called peer."""
        self.callee.speak()

    @property
    def bytes_max(self) -> int:
        """That many it may carry, both ways together."""
        return limits.CIRCUIT_BYTES if self.lent else limits.CIRCUIT_SIGNAL_BYTES

    def has_room(self, size: int) -> bool:
        """Count so many bytes; False if they are too many (the lock is held)."""
        self.carried += size
        return self.carried <= self.bytes_max

    def look(self, now: float) -> None:
        """See whether it has lasted too long (I/O thread)."""
        age = now - self.began
        seconds = limits.CIRCUIT_SECONDS if self.lent else limits.CIRCUIT_SIGNAL_SECONDS
        if self.ended_at is not None:
            if now - self.ended_at >= limits.CLOSE_LINGER:
                for leg in (self.caller, self.callee):
                    with self.lock:
                        leg.out.clear()
                    leg.speak()
                self.settle(late=True)
        elif not self.accepted and age >= limits.CIRCUIT_OFFER_SECONDS:
            self.end(CircuitReason.TIME, "the peer did not answer")
        elif age >= seconds:
            self.end(CircuitReason.TIME, f"{seconds:g} s")

    def end(self, reason: CircuitReason, text: str, by: Leg | None = None, fault: str = "") -> None:
        """
        It is over. Each end hears so, behind what it gets of the other's bytes. Idempotent.

        Args:
            reason: Why.
            text: The explanation.
            by: Whose end knows already, or is at fault.
            fault: What it did wrong: it hears so at once.
        """
        with self.lock:
            if self.ended_at is not None:
                return
            self.ended_at = self.lender.now()
            for leg in (self.caller, self.callee):
                leg.last_word = (reason, text)
                if leg is by:
                    leg.out.clear()
                    leg.last_word = (CircuitReason.PROTOCOL, fault) if fault else None
                knows = leg.last_word is None
                if knows or not leg.number or isinstance(leg.first, CircuitOffer):  # or never has to
                    leg.gone = True
        for leg in (self.caller, self.callee):
            leg.legs.forget(leg.number, leg)
            leg.speak()
        self.settle()

    def settle(self, *, late: bool = False) -> None:
        """
        Tell the lender when all is said. Or ``late``: an end that does not take its last word, or whose link has ended
        since, must not keep what was lent.
        """
        with self.lock:
            if self._gone or self.ended_at is None or not (late or (self.caller.gone and self.callee.gone)):
                return
            self._gone = True
        self.lender.gone(self)
