"""
A µTP connection on a hub: the state machine of ``connection`` with a lock, a clock and a socket.

Packets arrive on the hub's thread, which hands their payload straight to the sink. Timers and room in the socket come
on the I/O thread. Whoever sends writes on its own thread. Nothing waits anywhere.

The sink is called by one thread at a time, whoever has the turn (``_delivering``): the hub's thread as a rule, the I/O
thread for what was kept while the sink was paused, and for ends that did not come by packet.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from ... import limits
from ...addresses import Endpoint
from ...exceptions import LocalProtocolError
from ...runtime.flusher import IoLoop
from ...runtime.threads import CrashHook, Spawn
from ...runtime.timers import Timer
from ..contract import Sink
from ..pieces import Pieces
from ..udp import Source, UdpHub
from ..udp_offload import Address
from .burst import Burst
from .connection import UtpConnection
from .noise import Noise
from .packet import Packet
from .receiver import Bytes
from .states import State

__all__ = ["HalfOpenSink", "UtpStream"]

_NEVER = float("inf")
_OPENING = frozenset({State.SYN_SENT, State.SYN_RECEIVED})


class HalfOpenSink(Sink, Protocol):
    """What a stream with :attr:`UtpStream.half_open` pushes into."""

    def eof_received(self) -> None:
        """The other side sends nothing more; ``connection_lost`` comes when our direction has ended, too."""


class UtpStream:
    """
    One connection; see :class:`crust.transports.contract.Connection`.

    Args:
        core: In SYN_SENT or SYN_RECEIVED.
        hub: Held for this stream by whoever makes it.
        address: The other end, as the socket module writes it.
        local: Our end.
        remote: The other end.
        source: What to send along so that datagrams come from ``local``.
        on_open: Called once, on a thread of input and output, when the connection stands, or with the reason why it
            never will; not with the lock held.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_armed",
        "_armed_at",
        "_closed_here",
        "_core",
        "_delivering",
        "_eof_told",
        "_held",
        "_hub",
        "_io",
        "_lock",
        "_lost_told",
        "_on_crash",
        "_on_open",
        "_on_writable",
        "_paused",
        "_pieces",
        "_shut",
        "_sink",
        "_source",
        "_started",
        "_stuck",
        "_torn",
        "failure",
        "half_open",
        "local",
        "noise",
        "remote",
    )

    transport = "utp"

    def __init__(
        self,
        core: UtpConnection,
        hub: UdpHub,
        address: Address,
        local: Endpoint,
        remote: Endpoint,
        source: Source | None,
        on_crash: CrashHook,
        on_open: Callable[[UtpStream], object],
    ) -> None:
        self.local = local
        self.remote = remote
        self.half_open = False
        """
        Each direction ends by itself; set it before :meth:`start`. The sink may have ``eof_received`` then. And the
        socket lives on for :data:`crust.limits.UTP_TIME_WAIT` after the end, in case our last acknowledgement is lost.
        """
        self.failure: OSError | None = None
        """Why it never stood, or why it broke."""
        self._core = core
        self._hub = hub
        self._io: IoLoop = hub.io
        self.noise = Noise(remote.host, hub.patience.of(remote.host, hub.io.now()))
        self._address = address
        self._source = source
        self._on_crash = on_crash
        self._on_open: Callable[[UtpStream], object] | None = on_open
        self._lock = threading.Lock()  # guards the core and all below
        self._started = False
        self._sink: Sink | None = None
        self._paused = False
        self._pieces = Pieces()  # of whoever delivers
        self._delivering = False  # a thread is, or is about to be, in the sink
        self._shut = False  # nothing is handed to the sink any more but the end
        self._closed_here = False  # by close() or abort(): whatever comes of it is no error
        self._eof_told = False
        self._lost_told = False
        self._held = True  # we hold the hub
        self._stuck: Burst | None = None  # the socket had no room for it
        self._torn = False  # a thread is in the core, or was struck in there
        self._armed: Timer | None = None
        self._armed_at = _NEVER
        self._on_writable: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"<UtpStream {self.local} - {self.remote} {self._core.state.value}>"

    # --- beginning ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Send the SYN, or the answer to one."""
        with self._lock:
            self._turn_locked(self._io.now())

    def start(self, sink: Sink, spawn: Spawn) -> None:
        """Begin to push into ``sink``; see the contract. Needs no thread of its own."""
        self.run(sink)

    def run(self, sink: Sink) -> None:
        """The same; returns at once."""
        with self._lock:
            if self._started:
                raise LocalProtocolError("this connection has been started already")
            self._started = True
            self._sink = sink
        self._io.call_later(0, self._pump)

    @property
    def rtt(self) -> float | None:
        """Seconds of a round trip, smoothed; None until measured."""
        return self._core.rtt.smoothed

    @property
    def packets(self) -> int:
        """How many have brought bytes of the stream, from some number on."""
        return self._core.receiver.packets

    @property
    def core(self) -> UtpConnection:
        """The state machine, to look at: counters of losses, the path MTU."""
        return self._core

    @property
    def proven(self) -> bool:
        """False for a caller who has not shown yet to be where its SYN came from."""
        return self._core.state is not State.SYN_RECEIVED

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send what fits now; see the contract."""
        given = data if type(data) is bytes else memoryview(data)
        with self._lock:
            core = self._core
            if self._torn:
                self._turn_locked(self._io.now())
            if not core.is_open or self._shut:
                raise self.failure or self._error(errno.EPIPE, "the connection is closed")
            self._torn = True
            accepted = core.send(given)
            self._torn = False
            if accepted:
                self._turn_locked(self._io.now())
            return accepted

    def when_writable(self, callback: Callable[[], object]) -> None:
        """Call back once when there is room; see the contract."""
        with self._lock:
            if self._shut:
                return
            self._on_writable = callback
            self._check_room_locked()

    def _check_room_locked(self) -> None:
        callback = self._on_writable
        if callback is None:
            return
        core = self._core
        if 2 * core.sender.queued <= limits.UTP_SEND_QUEUE or core.state is State.CLOSED:
            self._on_writable = None
            # As a timer: the I/O thread itself may have asked, with a lock held that the callback takes.
            self._io.call_later(0, lambda _: callback())

    # --- the hub's side -----------------------------------------------------------------------------------------------

    def arrived(self, runs: list[tuple[Packet, int, int]], payload: memoryview, now: float) -> bool:
        """Packets came (the hub's thread); True if an acknowledgement is owed."""
        with self._lock:
            if self._torn:
                self._broken_locked()
            core = self._core
            chunks = core.chunks
            keep = self._paused or self._delivering or self._sink is None or bool(chunks)
            opening = core.state in _OPENING
            self._torn = True
            _receive(core, runs, now, keep)
            self.noise.heard(core, runs[0][1] if len(runs) == 1 else _count(runs), len(payload), now)
            self._torn = False
            self._turn_locked(now, acks=False)
            owes = core.receiver.ack_now
            inline: list[Bytes] | None = None
            if self._shut:
                self._discard_locked()
            elif chunks and not keep:
                # In order and complete, as nearly always: then it is what came, in one piece.
                inline = [payload] if len(chunks) == len(runs) > 1 and _are_payloads(chunks, runs) else list(chunks)
                chunks.clear()
            on_open = self._opened_locked() if opening else None
            turn = inline is not None or self._may_end_locked()
            if turn:
                self._delivering = True
        self._tell(on_open, turn, inline)
        return owes

    def settle(self, now: float) -> None:
        """Acknowledge what came (the hub's thread)."""
        with self._lock:
            if not self._torn:
                self._turn_locked(now)

    def _opened_locked(self) -> Callable[[UtpStream], object] | None:
        if self._core.state in _OPENING:
            return None
        on_open, self._on_open = self._on_open, None
        return on_open

    def refused(self, number: int, mtu: int, now: float) -> None:
        """ICMP has something to say: believed while we connect, and about sizes."""
        with self._lock:
            if mtu:
                self._core.refused_size(mtu + 1, now)
                return
            if self._core.state is not State.SYN_SENT:
                return
            self._fail_locked(number)
            on_open = self._opened_locked()
        if on_open is not None:
            on_open(self)

    def _fail_locked(self, number: int) -> None:
        self.failure = self._error(number, os.strerror(number))
        self._core.abort()
        self._let_go_locked()

    def sendable(self) -> None:
        """The socket has room (I/O thread)."""
        with self._lock:
            stuck, self._stuck = self._stuck, None
            if stuck is not None and not self._transmit_locked(stuck, self._io.now()):
                return
            self._turn_locked(self._io.now())

    # --- turning the machine (the lock is held) -----------------------------------------------------------------------

    def _turn_locked(self, now: float, *, acks: bool = True) -> None:
        """Send what is to be sent, with or without acknowledgements of their own, arm the timer, and see to ends."""
        core = self._core
        if self._torn:
            self._broken_locked()
        self._torn = True
        stands = core.state is State.ESTABLISHED
        if self._stuck is None and (acks or not stands or core.has_payload()):
            acks = acks or core.state is State.TIME_WAIT  # the last one: nobody reads any more after it
            burst = core.burst_to_send(now, acks=acks)
            while burst is not None and self._transmit_locked(burst, now):
                if stands and not core.receiver.ack_now and not core.has_payload():
                    break
                burst = core.burst_to_send(now, acks=acks)
        due = core.get_timer()
        if due < self._armed_at:
            if self._armed is not None:
                self._armed.cancel()
            self._armed_at = due
            self._armed = self._io.call_at(due, lambda now: self._timer(due, now))
        if self._on_writable is not None:
            self._check_room_locked()
        self._torn = False
        if core.state is State.CLOSED or core.state is State.TIME_WAIT:
            self._let_go_locked()

    def _transmit_locked(self, burst: Burst, now: float) -> bool:
        try:
            if self._hub.transmit(burst, self._address, self._source):
                return True
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._core.refused_size(burst.segment, now)
                return True  # lost, as on the way; it is sent again in smaller ones, or in pieces
            if self._core.state is State.SYN_SENT:
                self.failure = self._error(error.errno or 0, error.strerror or str(error))
                self._core.abort()
                self._io.call_later(0, self._pump)
                return False
            return True  # there is no way now; there may be one before this is given up
        self._stuck = burst
        self._hub.await_room(self)
        return False

    def _let_go_locked(self) -> None:
        """The hub need not live for us any more."""
        core = self._core
        if core.error is not None and self.failure is None:
            self.failure = self._error(core.error.errno or 0, core.error.strerror or "")
        if core.state is State.CLOSED:
            core.receiver.forget()
            self._hub.remove(self._address, core.receive_id, self)
            self._stuck = None
            if self._armed is not None:  # else it would keep us in memory until it is due
                self._armed.cancel()
                self._armed = None
        if self._held and (core.state is State.CLOSED or not self.half_open):
            self._held = False
            self._hub.release()

    def _timer(self, due: float, now: float) -> None:
        """I/O thread."""
        with self._lock:
            if due != self._armed_at:
                return  # an earlier one has taken its place since
            self._armed_at = _NEVER
            if self._torn:
                self._broken_locked()
            core = self._core
            opening = core.state in _OPENING
            if now >= core.get_timer():
                core.handle_timer(now)
            self._turn_locked(now)
            on_open = self._opened_locked() if opening else None
            turn = self._may_end_locked()
            if turn:
                self._delivering = True
        self._tell(on_open, turn)

    def _broken_locked(self) -> None:
        """
        An exception struck a thread inside the core: nothing there can be relied upon any more. The next turn tells the
        other side.
        """
        self._torn = False
        self.failure = self.failure or self._error(errno.ECONNABORTED, "an exception interrupted its sending")
        self._shut = True
        self._core.abort()
        self._io.call_later(0, self._pump)

    # --- the sink -----------------------------------------------------------------------------------------------------

    def _may_end_locked(self) -> bool:
        """True if this thread is to tell the sink something beside data, and has the turn."""
        if self._delivering or self._sink is None or self._lost_told:
            return False
        core = self._core
        return (core.ended or self._shut) and (core.state is State.CLOSED or not self._paused or self._shut)

    def _pump(self, now: float) -> None:
        """Hand over what was kept (I/O thread)."""
        with self._lock:
            on_open = self._opened_locked()
            turn = not self._delivering and self._sink is not None and not self._lost_told
            if turn:
                self._delivering = True
        self._tell(on_open, turn)

    def _tell(
        self, on_open: Callable[[UtpStream], object] | None, turn: bool, inline: list[Bytes] | None = None
    ) -> None:
        """What was decided with the lock held: whom to tell that it stands, and whether the sink's turn is ours."""
        if on_open is not None:
            on_open(self)
        if turn:
            self._deliver(inline)

    def _deliver(self, inline: list[Bytes] | None) -> None:
        """Call the sink until there is nothing more for it; the turn is ours."""
        sink = self._sink
        assert sink is not None
        try:
            if inline is not None:
                for position, chunk in enumerate(inline):
                    if self._is_stopped():
                        self._keep(inline[position:])
                        break
                    if left := self._pieces.hand_all(sink, memoryview(chunk), self._is_stopped):
                        self._keep([left, *inline[position + 1 :]])
                        break
                if not self._is_stopped():
                    # Without the lock, which a sender may hold for long. Who had something for the sink meanwhile left
                    # it, since it was our turn: so look once more after that is over.
                    self._delivering = False
                    core = self._core
                    if core.chunks or core.ended or self._shut:
                        self._pump(self._io.now())
                    return
            self._deliver_kept(sink)
        except BaseException as error:  # from the sink
            self._on_crash("crust-utp", error)
            if self._lost_told:
                return  # that was the last call
            with self._lock:
                self.failure = self._error(errno.ECONNABORTED, "its receiver failed")
                self._core.abort()
                self._shut = True
                self._turn_locked(self._io.now())
            self._end(sink, self.failure)

    def _deliver_kept(self, sink: Sink) -> None:
        while True:
            chunk: Bytes | None = None
            eof = False
            with self._lock:
                core = self._core
                if self._shut:
                    self._discard_locked()
                if core.chunks and not self._paused:
                    chunk = core.chunks.popleft()
                    core.taken(len(chunk))
                    self._turn_locked(self._io.now())
                elif core.chunks and core.state is not State.CLOSED:
                    self._delivering = False
                    return
                elif self._is_over_locked():
                    error = None if self._closed_here else self.failure
                elif core.ended and self.half_open and not self._eof_told:
                    self._eof_told = eof = True
                else:
                    self._delivering = False
                    return
            if chunk is not None:
                if left := self._pieces.hand_all(sink, memoryview(chunk), self._is_stopped):
                    self._keep([left])
            elif eof:
                told = getattr(sink, "eof_received", None)
                if told is not None:
                    told()
            else:
                self._end(sink, error)
                return

    def _is_stopped(self) -> bool:
        return self._paused or self._shut

    def _is_over_locked(self) -> bool:
        """True if the sink is to hear the end now."""
        core = self._core
        if core.state is State.CLOSED or (self._shut and core.ended):
            return True
        if not core.ended or self._paused:
            return False
        if self.half_open:
            return core.state is State.TIME_WAIT
        return True

    def _keep(self, chunks: list[Bytes]) -> None:
        """The sink was paused in the middle: the rest is for later."""
        with self._lock:
            self._core.receiver.put_back(chunks)

    def _discard_locked(self) -> None:
        core = self._core
        while core.chunks:
            core.taken(min(len(core.chunks.popleft()), core.receiver.held))

    def _end(self, sink: Sink, error: OSError | None) -> None:
        with self._lock:
            self._lost_told = True
            self._delivering = False
            self._sink = None
            self._shut = True
            if self._core.state is not State.CLOSED:  # the other side has ended: what we sent still goes out
                self._core.finish()
                self._linger_locked()
                self._turn_locked(self._io.now())
        sink.connection_lost(error)

    def _linger_locked(self) -> None:
        if self._io.running:
            self._io.call_later(limits.CLOSE_LINGER, lambda now: self.abort())
        else:
            self._core.abort()

    def pause(self) -> None:
        """Hand over nothing for now; see the contract."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        """Go on; see the contract."""
        with self._lock:
            if not self._paused:
                return
            self._paused = False
        self._io.call_later(0, self._pump)

    # --- ending -------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End our direction after what was sent; receiving goes on (for :attr:`half_open`). Idempotent."""
        with self._lock:
            if not self._torn:
                self._core.finish()
            self._turn_locked(self._io.now())
        self._io.call_later(0, self._pump)

    def close(self) -> None:
        """End the stream in order; see the contract."""
        with self._lock:
            if self._shut:
                return
            self._shut = self._closed_here = True
            self._on_writable = None
            if self._core.state in _OPENING or not self._io.running:
                self._core.abort()
            else:
                self._core.finish()
                self._linger_locked()
            self._discard_locked()
            self._turn_locked(self._io.now())
        self._io.call_later(0, self._pump)

    def abort(self) -> None:
        """End it now; see the contract."""
        with self._lock:
            self._closed_here = self._closed_here or not self._shut
            self._shut = True
            self._torn = False
            self._on_writable = None
            if self._core.state is not State.CLOSED:
                self._core.abort()
                self._stuck = None
                self._turn_locked(self._io.now())
        if self._io.running:
            self._io.call_later(0, self._pump)  # not at once: the caller may hold a lock that the sink takes
        else:
            self._pump(self._io.now())

    def abandon(self) -> Sink | None:
        """In a forked child: forget everything, and say nothing more to the sink, which is returned."""
        self._lock = threading.Lock()
        self._shut = self._lost_told = True
        self._on_writable = self._on_open = None
        sink, self._sink = self._sink, None
        return sink

    def _error(self, number: int, text: str) -> OSError:
        return OSError(number, text, str(self.remote))


def _receive(core: UtpConnection, runs: list[tuple[Packet, int, int]], now: float, keep: bool) -> None:
    for packet, count, size in runs:
        core.receive(packet, count, size, now, keep=keep)


def _count(runs: Iterable[tuple[Packet, int, int]]) -> int:
    return sum(count for _, count, _ in runs)


def _are_payloads(chunks: Iterable[Bytes], runs: list[tuple[Packet, int, int]]) -> bool:
    return all(chunk is packet.payload for chunk, (packet, _, _) in zip(chunks, runs, strict=True))
