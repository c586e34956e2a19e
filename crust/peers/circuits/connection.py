"""
One end of a circuit as a connection, like those of the transports; see :mod:`crust.transports.contract`.

It has no thread. What arrives is handed on by the reader of the link to the introducer; what must come from elsewhere,
such as the end after :meth:`CircuitConnection.abort`, by the I/O thread. Only one of them is at it at a time.

The caller's first bytes travel in CIRCUIT_OPEN and open the circuit; the callee's first bytes are its consent,
CIRCUIT_ACCEPT. A callee that ends the connection before has refused.
"""

from __future__ import annotations

import enum
import errno
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Endpoint, PeerId
from ...exceptions import LocalProtocolError
from ...runtime.threads import is_interruptible
from ...transports.pieces import Pieces
from ...wire.codec import Address
from ...wire.frames import (
    CircuitAccept,
    CircuitClose,
    CircuitCredit,
    CircuitData,
    CircuitFrame,
    CircuitOffer,
    CircuitOpen,
    CircuitReason,
)
from .flow import Flow, FlowError
from .words import CircuitEnded

if TYPE_CHECKING:
    from ...runtime.flusher import IoLoop
    from ...runtime.threads import Spawn
    from ...runtime.timers import Timer
    from ...transports.contract import Sink
    from .legs import Legs, Word

__all__ = ["CircuitConnection"]


class _Stage(enum.Enum):
    """What has been said about the circuit on the link to the introducer."""

    NEW = "new"
    """Nothing; we call."""
    ASKED = "asked"
    """CIRCUIT_OPEN is out."""
    OFFERED = "offered"
    """CIRCUIT_OFFER is in."""
    OPEN = "open"
    """CIRCUIT_ACCEPT is in, or out."""
    OVER = "over"
    """CIRCUIT_CLOSE is in, or out, or the link has ended."""


class CircuitConnection:
    """
    See :class:`crust.transports.contract.Connection`.

    Args:
        io: The node's I/O loop.
        legs: The circuits of the link to the introducer.
        target: Whom to reach (caller only).
        relays: We want an application's data to go over it, if the introducer carries such.
        offer: What the introducer said (callee only).
        on_accepted: Called when the other end has consented, before its first bytes are handed on; what it returns, if
            anything, says why the circuit is not wanted after all (caller only).
        on_answered: Called once when the offer has been accepted or is over (callee only).
        on_lost: Called after the sink has heard of the end, or if there is none by then.
    """

    transport = "relay"

    __slots__ = (
        "__weakref__",
        "_delivering",
        "_due",
        "_ended",
        "_error",
        "_in",
        "_inflow",
        "_io",
        "_last_word",
        "_linger",
        "_lock",
        "_offered",
        "_on_accepted",
        "_on_answered",
        "_on_lost",
        "_out",
        "_outflow",
        "_paused",
        "_pieces",
        "_sink",
        "_stage",
        "_target",
        "_told",
        "_wish",
        "_writable",
        "legs",
        "local",
        "number",
        "observed",
        "relays",
        "remote",
        "wants_relay",
    )

    def __init__(
        self,
        io: IoLoop,
        legs: Legs,
        *,
        target: PeerId | None = None,
        relays: bool = True,
        offer: CircuitOffer | None = None,
        on_accepted: Callable[[CircuitConnection], str] = lambda connection: "",
        on_answered: Callable[[CircuitConnection], object] = lambda connection: None,
        on_lost: Callable[[CircuitConnection], object] = lambda connection: None,
    ) -> None:
        outer = legs.link.connection
        self.local = Endpoint("relay", outer.local.host, outer.local.port)
        """Our end of the link to the introducer."""
        self.remote = Endpoint("relay", outer.remote.host, outer.remote.port)
        """The introducer's end of it."""
        self.legs = legs
        self.number = 0
        """Which circuit of the link it is; set before it is started."""
        self.observed: Address | None = None if offer is None else offer.observed
        """Where the introducer sees the other end, by its own word; None: not known, or not yet."""
        self.relays = relays and (offer is None or offer.relays)
        """It carries an application's data; the caller knows that with the first bytes that arrive."""
        self.wants_relay = relays and offer is None
        """We have opened it, and asked for that."""
        self._io = io
        self._target = target
        self._on_accepted = on_accepted
        self._on_answered = on_answered
        self._on_lost = on_lost
        self._lock = threading.Lock()  # guards the fields below
        self._stage = _Stage.NEW if offer is None else _Stage.OFFERED
        self._offered = offer is not None  # nobody has heard of our answer
        self._out = bytearray()
        self._outflow = Flow()
        self._in = bytearray(b"" if offer is None else offer.data)
        self._inflow = Flow()
        self._inflow.take(len(self._in))
        self._due = 0  # bytes that were taken, which the other end has not been told
        self._paused = False
        self._pieces = Pieces()  # of whoever delivers
        self._sink: Sink | None = None
        self._delivering = False
        self._wish = ""  # "", "close" when all is out, or "abort"
        self._last_word: tuple[CircuitReason, str] | None = None
        self._ended = False  # for the sink, once it has what came before
        self._error: CircuitEnded | None = None
        self._told = False  # it has heard of that
        self._writable: Callable[[], object] | None = None
        self._linger: Timer | None = None

    def __repr__(self) -> str:
        return f"<CircuitConnection {self.number} {self.remote} {self._stage.value}>"

    # --- beginning ----------------------------------------------------------------------------------------------------

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """Begin to hand on what arrives; see the contract. What is here already comes a moment later."""
        self._claim(sink)
        self._io.flush_soon(self)

    def run(self, sink: Sink) -> None:
        """The same; there is no reader, so it returns at once."""
        self._claim(sink)
        self.deliver()

    def _claim(self, sink: Sink) -> None:
        with self._lock:
            if self._sink is not None:
                raise LocalProtocolError("this connection has been started already")
            self._sink = sink

    # --- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send what fits now; see the contract. Before the other end has consented, that is one frame."""
        with self._lock:
            if self._wish or self._stage is _Stage.OVER:
                raise OSError(errno.EPIPE, "the circuit is closed", str(self.remote))
            size = min(len(data), self._room())
            if size <= 0:
                return 0
            self._outflow.take(size)
            self._out += memoryview(data)[:size]
        self._speak()
        return size

    def _speak(self) -> None:
        # A thread that may be interrupted must not write for others, whose frames might be lost.
        self.legs.freight.wants(self, soon=is_interruptible())

    def _room(self) -> int:
        if self._stage is _Stage.ASKED:
            return 0
        most = limits.CIRCUIT_DATA_MAX if self._stage is _Stage.NEW else limits.CIRCUIT_QUEUE
        return min(most - len(self._out), self._outflow.room)

    def when_writable(self, callback: Callable[[], object]) -> None:
        """Call back once when there is room; see the contract."""
        with self._lock:
            self._writable = callback
            if self._room() <= 0 and self._stage is not _Stage.OVER:
                return
        self._io.flush_soon(self)

    def next_frame(self) -> CircuitFrame | None:
        """What goes out now, if anything does (see ``Source``)."""
        with self._lock:
            frame = self._next()
            over = isinstance(frame, CircuitClose)
            self._ended = self._ended or over
            rouses = over or (self._writable is not None and self._room() > 0)
        if over:
            self._leave()
        elif isinstance(frame, CircuitAccept):
            self._answered()
        if rouses:
            self._io.flush_soon(self)
        return frame

    def _next(self) -> CircuitFrame | None:
        """The lock is held."""
        stage = self._stage
        if stage is _Stage.OVER:
            return None
        if self._wish == "abort" or (self._wish == "close" and not self._out):
            self._stage = _Stage.OVER
            word = (CircuitReason.CLOSED, "")
            if stage is _Stage.OFFERED:
                word = (CircuitReason.REFUSED, "that peer does not take the call")
            return CircuitClose(self.number, *(self._last_word or word))
        if stage is _Stage.OPEN and self._due >= limits.CIRCUIT_CREDIT_STEP:
            due, self._due = self._due, 0
            self._inflow.grant(due)
            return CircuitCredit(self.number, due)
        if not self._out or stage is _Stage.ASKED:
            return None
        data = bytes(self._out[: limits.CIRCUIT_DATA_MAX])
        del self._out[: len(data)]
        self._outflow.passed(len(data))
        if stage is _Stage.OPEN:
            return CircuitData(self.number, data)
        if stage is _Stage.OFFERED:
            self._stage = _Stage.OPEN
            return CircuitAccept(self.number, None, self.relays, data)
        self._stage = _Stage.ASKED
        assert self._target is not None
        return CircuitOpen(self.number, self._target.public_key, self.relays, data)

    # --- the introducer's words -----------------------------------------------------------------------------------

    def receive(self, frame: Word) -> None:
        """A frame of this circuit (the reader of the introducer's link)."""
        objection = ""
        reason = CircuitReason.PROTOCOL
        try:
            with self._lock:
                if self._stage is _Stage.OVER or self._wish == "abort":
                    return
                self._take(frame)
                rouses = self._writable is not None and self._room() > 0
            if isinstance(frame, CircuitClose):
                self._leave()
            elif isinstance(frame, CircuitAccept):
                objection, reason = self._on_accepted(self), CircuitReason.REFUSED
        except FlowError as error:
            objection = str(error)
        if objection:
            self._fail(reason, objection)
            return
        if rouses:
            self._io.flush_soon(self)
        if not isinstance(frame, (CircuitData, CircuitClose)):
            self._speak()
        self.deliver()

    def _take(self, frame: Word) -> None:
        """The lock is held."""
        if isinstance(frame, CircuitClose):
            self._stage = _Stage.OVER
            self._ended = True
            if not self._wish and (frame.reason is not CircuitReason.CLOSED or frame.text):
                self._error = CircuitEnded(frame.reason, frame.text, str(self.remote))
        elif isinstance(frame, CircuitAccept):
            if self._stage is not _Stage.ASKED:
                raise FlowError("consent to a circuit that was not asked for")
            self._stage = _Stage.OPEN
            self.observed = frame.observed
            self.relays = self.relays and frame.relays
            self._arrived(frame.data)
        elif self._stage is not _Stage.OPEN:
            raise FlowError("something came before consent")
        elif isinstance(frame, CircuitData):
            self._arrived(frame.data)
        else:
            self._outflow.grant(frame.size)

    def _arrived(self, data: bytes) -> None:
        self._inflow.take(len(data))
        self._in += data

    def link_ended(self) -> None:
        """The introducer's link carries nothing any more (any thread, which may hold locks of sessions)."""
        with self._lock:
            if self._stage is _Stage.OVER:
                return
            self._stage = _Stage.OVER
            self._ended = True
            if not self._wish:
                self._error = CircuitEnded(CircuitReason.LOST, "ours to the introducer", str(self.remote))
        self._leave()
        self._io.flush_soon(self)

    # --- handing on -----------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Hand on what is here, unless another thread is at it (no lock is held)."""
        while True:
            with self._lock:
                sink = self._sink
                if sink is None or self._delivering or self._told:
                    return
                if self._wish:
                    self._in.clear()
                data = bytes(self._in[: self._pieces.size]) if not self._paused else b""
                if data:
                    del self._in[: len(data)]
                elif self._ended and not self._in:
                    self._told = True
                else:
                    return
                self._delivering = True
            taken = len(data)
            try:
                if self._told:
                    sink.connection_lost(self._error)
                else:
                    taken = self._pieces.hand(sink, memoryview(data))
            finally:
                with self._lock:
                    self._delivering = False
                    self._in[:0] = data[taken:]
                    self._inflow.passed(taken)
                    self._due += taken
                    owes = self._due >= limits.CIRCUIT_CREDIT_STEP and self._stage is _Stage.OPEN
            if self._told:
                if self._linger is not None:
                    self._linger.cancel()
                self._on_lost(self)
                return
            if owes:
                self._speak()

    def flush(self) -> None:
        """Tell the writer that there is room, and hand on what is here (I/O thread)."""
        with self._lock:
            callback = None
            if self._room() > 0 or self._stage is _Stage.OVER:
                callback, self._writable = self._writable, None
        if callback is not None:
            callback()
        self.deliver()

    def pause(self) -> None:
        """Hand on nothing more for now; see the contract. The other end gets no credit meanwhile."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        """Go on; see the contract."""
        with self._lock:
            if not self._paused:
                return
            self._paused = False
        self._io.flush_soon(self)

    # --- ending -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the stream in order; see the contract."""
        with self._lock:
            if self._wish or self._ended:
                return
            self._wish = "close"
            begun = self._stage is not _Stage.NEW or bool(self._out)
        if not begun or not self._io.running:
            self._give_up()
            return
        self._linger = self._io.call_later(limits.CLOSE_LINGER, lambda now: self.abort())
        self._speak()

    def abort(self) -> None:
        """End it now; see the contract."""
        self._give_up()

    def _fail(self, reason: CircuitReason, text: str) -> None:
        """End it for a reason of our own, which the sink and the other end hear."""
        with self._lock:
            if not self._ended:
                self._last_word = (reason, text)
                self._error = CircuitEnded(reason, text, str(self.remote))
        self._give_up()

    def _give_up(self) -> None:
        with self._lock:
            if self._wish == "abort" or self._told:
                return
            self._wish = "abort"
            self._ended = True
            self._out.clear()
            speaks = self._stage not in (_Stage.NEW, _Stage.OVER)
            if self._stage is _Stage.NEW:
                self._stage = _Stage.OVER
        if speaks:
            self._speak()
        self._leave()
        self._io.flush_soon(self)

    def _leave(self) -> None:
        """The number means nothing any more."""
        self.legs.forget(self.number, self)
        self._answered()
        if self._sink is None:  # nobody has wanted it, and nobody is to be told
            self._on_lost(self)

    def _answered(self) -> None:
        with self._lock:
            offered, self._offered = self._offered, False
        if offered:
            self._on_answered(self)

    def abandon(self) -> Sink | None:
        """In a forked child: forget everything, and return the sink, which hears nothing (takes no lock)."""
        self._lock = threading.Lock()
        self._told = self._ended = True
        self._stage = _Stage.OVER
        sink, self._sink = self._sink, None
        self._out.clear()
        self._in.clear()
        return sink
