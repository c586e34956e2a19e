"""Two real µTP cores at the ends of a simulated path."""

from __future__ import annotations

import math
from collections.abc import Callable

from crust.transports.utp.connection import DataReceived, Ended, Settings, UtpConnection
from crust.transports.utp.packet import Packet, PacketType, build_header, parse_packet_untrusted
from crust.transports.utp.states import State
from tests.simulation.network import Link, World

__all__ = ["Peer", "connect"]

_CHUNK = bytes(65_536)
_FOREVER = 1 << 62


class Peer:
    """
    One end. It sends ``to_send`` bytes, or the bytes of ``data``, then a FIN if it should ``finish``.

    Args:
        tick: Seconds that timers are late at the most, as those of a real node are.
        keep: Keep what is received, to compare it.
    """

    def __init__(
        self,
        world: World,
        out: Link,
        settings: Settings,
        core: UtpConnection | None,
        *,
        data: bytes | None = None,
        to_send: int = 0,
        finish: bool = False,
        tick: float = 0.001,
        keep: bool = False,
    ) -> None:
        self.world, self.out, self.settings, self.core = world, out, settings, core
        self.other: Peer
        self.data = None if data is None else memoryview(data)
        self.to_send = to_send if data is None else len(data)
        self.sent = 0
        """Bytes that the core has accepted."""
        self.received = 0
        """Bytes that came in order."""
        self.kept = bytearray() if keep else None
        self.ended: Ended | None = None
        self.paused = False
        """The application takes nothing."""
        self.on_round: Callable[[], object] | None = None
        self._finish = finish
        self._tick = tick
        self._watched = math.inf  # when the timer fires next
        self._stays_due = 0  # times that it did, and was due again at once
        self.most = 0
        """Bytes that this end has kept at once, at the most."""

    def arrive(self, data: bytes) -> None:
        """A datagram has come."""
        core = self.core
        if core is None or core.state is State.CLOSED:
            packet = parse_packet_untrusted(data)
            if packet.type is not PacketType.SYN:
                self._answer_stranger(packet)
                return
            if core is not None and core.receiver.next != packet.sequence + 1:
                return
            # Also a caller that had been too slow: it tries again.
            core = self.core = UtpConnection.accept(packet, 0xFFF0, self.settings, self.world.now)
            self.ended = None
        else:
            core.receive_datagram(data, self.world.now)
        self.work()

    def _answer_stranger(self, packet: Packet) -> None:
        """What a hub answers for a connection that it does not know."""
        if packet.type is not PacketType.RESET:
            number = packet.sequence & 0xFFFF
            reset = build_header(PacketType.RESET, packet.connection_id, packet.timestamp, 0, 0, number, number)
            self.out.send(reset, len(reset), self.other.arrive)

    def work(self) -> None:
        """What a driver does after every call to a core."""
        core, world = self.core, self.world
        if core is None:
            return
        if not self.paused:
            self._take(core)
        if self.sent < self.to_send:
            self._give(core)
        elif self._finish and core.is_open:
            core.finish()
        burst = core.burst_to_send(world.now)
        while burst is not None:
            for datagram in burst.datagrams():
                limit = self.out.send(datagram, len(datagram), self.other.arrive, burst.probe, burst.fragment)
                if limit is not None:
                    world.at(world.now + 2 * self.out.behaviour.delay, self._refused, len(datagram))
            burst = core.burst_to_send(world.now)
        due = core.get_timer()
        if due < self._watched:
            self._watch(due)
        if self.on_round is not None:
            self.on_round()

    def _take(self, core: UtpConnection) -> None:
        receiver = core.receiver
        if receiver.held > self.most:
            self.most = receiver.held
        if not receiver.chunks and not core.ended:
            return
        for event in core.events_received():
            if isinstance(event, DataReceived):
                self.received += len(event.data)
                if self.kept is not None:
                    self.kept += event.data
            else:
                assert self.ended is None, "it ended twice"
                self.ended = event

    def _give(self, core: UtpConnection) -> None:
        while self.sent < self.to_send:
            if self.data is not None:
                piece: bytes | memoryview = self.data[self.sent : self.sent + 65_536]
            else:
                piece = _CHUNK[: self.to_send - self.sent]
            accepted = core.send(piece)
            self.sent += accepted
            if accepted < len(piece):
                return

    def _refused(self, size: int) -> None:
        if self.core is not None:
            self.core.refused_size(size, self.world.now)
            self.work()

    def _watch(self, due: float) -> None:
        now = self.world.now
        if self._tick:
            due = max(due, math.ceil(due / self._tick) * self._tick)  # the product may be rounded down
        self._watched = max(due, now)
        self.world.at(self._watched, self._fire, self._watched)

    def _fire(self, due: float) -> None:
        if due != self._watched or self.core is None:
            return
        self._watched = math.inf
        now = self.world.now
        if self.core.get_timer() <= now:
            self.core.handle_timer(now)
        self.work()
        self._stays_due = self._stays_due + 1 if self.core.get_timer() <= now else 0
        assert self._stays_due < 20, f"a timer of {self.core.state} stays due: a real driver would spin"

    def forget(self) -> None:
        """This end vanishes without a word."""
        self.core = None
        self.to_send = 0
        self.arrive = lambda data: None  # type: ignore[method-assign]


def connect(
    world: World,
    there: Link,
    back: Link,
    *,
    settings: Settings | None = None,
    callee_settings: Settings | None = None,
    start: float = 0.0,
    sequence: int = 0xFF00,
    tick: float = 0.001,
    keep: bool = False,
    data: bytes | None = None,
    answer: bytes | None = None,
    to_send: int = _FOREVER,
    finish: bool = False,
) -> tuple[Peer, Peer]:
    """
    A caller that sends ``data``, or zeros, over ``there``, and a callee that sends ``answer`` over ``back``.

    Args:
        start: Seconds until the call.
        finish: Both end their streams after that.
    """
    settings = settings or Settings()
    caller = Peer(
        world, there, settings, None, data=data, to_send=to_send, finish=finish, tick=tick, keep=keep
    )
    callee = Peer(
        world, back, callee_settings or settings, None, data=answer or b"", finish=finish, tick=tick, keep=keep
    )
    caller.other, callee.other = callee, caller

    def call() -> None:
        caller.core = UtpConnection.dial(len(there.users) * 2, sequence, settings, world.now)
        caller.work()

    there.users.append(caller)
    world.at(world.now + start, call)
    return caller, callee
