"""A µTP connection fed any packets in any state, by somebody who knows its ids and guesses at its numbers.

The clock is virtual. Only MalformedMessage comes of them. What comes out of the stream was put into packets; it keeps
no more than its window; bursts, timers and packets end; nothing is sent after the end but one RESET.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust.exceptions import MalformedMessage
from crust.transports.utp.connection import DataReceived, Ended, Settings, UtpConnection
from crust.transports.utp.packet import Packet, PacketType, build_packet, parse_packet_untrusted
from crust.transports.utp.states import State
from tests.fuzz.source import Source, noise

ROUNDS = 250

_WINDOW = 20_000
_ID = 7


class _Core:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.now = 1000.0
        settings = Settings(window=_WINDOW, congestion=source.pick(("fair", "background")))
        ours = source.pick((100, 0xFFF0))
        if source.chance():
            self.core = UtpConnection.dial(_ID, ours, settings, self.now)
        else:
            syn = Packet(PacketType.SYN, _ID, source.number(0, 0xFFFFFFFF), 0, 1000, source.number(0, 0xFFFF), 0)
            self.core = UtpConnection.accept(syn, ours, settings, self.now)
        self.sent: list[Packet] = []
        self.ended = 0
        self.resets = 0

    def packet(self) -> bytes:
        source, core = self.source, self.core
        kind = source.pick(tuple(PacketType))
        sack = source.bytes(4 * source.number(0, 4)).ljust(4, b"\0") if source.number(0, 3) == 3 else b""
        packet = Packet(
            kind,
            core.receive_id if source.number(0, 7) else source.number(0, 0xFFFF),
            int(self.now * 1e6) - source.number(0, 0xFFFFFF) & 0xFFFFFFFF,
            source.number(0, 0xFFFFFFFF),
            source.pick((0, 1, 1500, 65_536, 0xFFFFFFFF)),
            source.near(core.receiver.next, 16),
            source.near(core.sender.next - 1, 16),
            sack[: len(sack) // 4 * 4],
            source.some(1400) if kind in (PacketType.DATA, PacketType.FIN) else b"",
            source.pick((0, 0, 576, 1500, 0xFFFF)),
        )
        built = build_packet(packet)
        return source.damaged(built) if source.number(0, 15) == 15 else built

    def hear(self) -> None:
        try:
            self.core.receive_datagram(self.packet(), self.now)
        except MalformedMessage:
            pass
        if self.source.number(0, 7):
            self.take()

    def take(self) -> None:
        for event in self.core.events_received():
            assert not self.ended, "something came after the end"
            if isinstance(event, DataReceived):
                assert event.data
            else:
                assert isinstance(event, Ended)
                self.ended += 1

    def say(self) -> None:
        was = self.core.state
        for _ in range(3000):
            burst = self.core.burst_to_send(self.now)
            if burst is None:
                break
            for datagram in burst.datagrams():
                packet = parse_packet_untrusted(datagram)
                assert was is not State.CLOSED or packet.type is PacketType.RESET
                self.resets += packet.type is PacketType.RESET
        else:
            raise AssertionError("bursts without end")
        assert self.resets <= 1

    def wait(self) -> None:
        end = self.now + self.source.pick((0.001, 0.1, 1.0, 30.0, 200.0))
        for _ in range(3000):
            due = self.core.get_timer()
            if due > end:
                break
            self.now = max(self.now, due)
            self.core.handle_timer(self.now)
            self.say()
        else:
            raise AssertionError("the core does not let time pass")
        self.now = end

    def check(self) -> None:
        receiver, sender = self.core.receiver, self.core.sender
        assert 0 <= receiver.window <= _WINDOW
        assert sender.una <= sender.next and sender.next - sender.una < 1 << 15
        assert sender.in_flight >= 0


def run(data: bytes) -> None:
    source = Source(data)
    side = _Core(source)
    while source:
        step = source.number(0, 9)
        if step <= 4:
            side.hear()
        elif step == 5:
            side.core.send(bytes(source.pick((1, 100, 5000, 60_000))))
        elif step == 6:
            side.wait()
        elif step == 7:
            side.say()
        elif step == 8:
            side.core.refused_size(source.number(0, 2000), side.now)
        elif not source.number(0, 3):
            side.core.abort() if source.chance() else side.core.finish()
        side.check()
    side.core.abort()
    side.say()
    side.take()
    assert side.core.state in (State.CLOSED, State.TIME_WAIT)


def seeds() -> Iterable[bytes]:
    state = bytes((0, 2, 1)) + bytes(3) + bytes(4) + bytes((3, 120, 120, 0, 7))  # the number that is expected next
    data = bytes((0, 0, 1)) + bytes(3) + bytes(4) + bytes((3, 120, 120, 0, 0, 5)) + b"hello" + bytes((0, 7))
    yield bytes((0, 0, 1, 7)) + state + data + bytes((5, 1, 7)) + data * 3 + bytes((6, 2))
    yield bytes((1, 1, 0)) + bytes(6) + bytes((7,)) + data + bytes((5, 3, 7)) + data + bytes((9, 0, 0, 6, 4))
    yield from noise(30, 600)
