"""Two µTP cores joined by a line that a test may cut, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable

from crust.transports.utp.connection import UtpConnection
from crust.transports.utp.events import DataReceived, Ended
from crust.transports.utp.packet import Packet, PacketType, parse_packet_untrusted
from crust.transports.utp.settings import Settings

RTT = 0.04


class Cores:
    """
    A caller and a callee, ``RTT`` apart.

    Args:
        passes: Whether a datagram gets through, asked for each, with its size; None: all do.
        caller, callee: Their settings.
        sequences: The first numbers of the caller and the callee.
    """

    def __init__(
        self,
        *,
        passes: Callable[[Packet, int], bool] | None = None,
        caller: Settings | None = None,
        callee: Settings | None = None,
        sequences: tuple[int, int] = (100, 200),
        receive_id: int = 7,
    ) -> None:
        self.now = 1000.0
        self.passes = passes or (lambda packet, size: True)
        self.near = UtpConnection.dial(receive_id, sequences[0], caller or Settings(), self.now)
        self.far: UtpConnection | None = None
        self._callee = callee or Settings()
        self._sequence = sequences[1]
        self.sent: list[tuple[str, Packet]] = []
        """All that was sent so far: ``near`` or ``far``, and what."""
        self.got = {"near": bytearray(), "far": bytearray()}
        self.ended: dict[str, OSError | None] = {}
        self.takes = True
        """Whether the callee's application takes what comes."""
        self._line: list[tuple[float, str, bytes]] = []

    @property
    def there(self) -> UtpConnection:
        assert self.far is not None
        return self.far

    def _send_all(self) -> None:
        for name, core in (("near", self.near), ("far", self.far)):
            if core is None:
                continue
            for burst in core.packets_to_send(self.now):
                for datagram in burst.datagrams():
                    packet = parse_packet_untrusted(datagram)
                    self.sent.append((name, packet))
                    if self.passes(packet, len(datagram)):
                        self._line.append((self.now + RTT / 2, name, datagram))

    def _hear(self) -> None:
        for name, core in (("near", self.near), ("far", self.far)):
            if core is not None and (self.takes or name == "near"):
                for event in core.events_received():
                    if isinstance(event, DataReceived):
                        self.got[name] += event.data
                    else:
                        assert isinstance(event, Ended)
                        assert name not in self.ended
                        self.ended[name] = event.error

    def _arrive(self) -> None:
        due = [each for each in self._line if each[0] <= self.now]
        self._line = [each for each in self._line if each[0] > self.now]
        for _, name, datagram in due:
            if name == "far":
                self.near.receive_datagram(datagram, self.now)
                continue
            if self.far is None:
                packet = parse_packet_untrusted(datagram)
                assert packet.type is PacketType.SYN
                self.far = UtpConnection.accept(packet, self._sequence, self._callee, self.now)
            else:
                self.far.receive_datagram(datagram, self.now)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        for _ in range(200_000):
            self._send_all()
            cores = [self.near] if self.far is None else [self.near, self.far]
            due = min([core.get_timer() for core in cores] + [when for when, _, _ in self._line] + [end])
            self.now = max(self.now, due)
            self._arrive()
            for core in cores:
                if core.get_timer() <= self.now:
                    core.handle_timer(self.now)
            self._hear()
            if due >= end:
                self._send_all()
                return
        raise AssertionError("the cores do not let time pass")

    def connect(self) -> Cores:
        """Both ends stand."""
        self.run(3 * RTT)
        return self

    def send(self, data: bytes, seconds: float = 60.0) -> None:
        """From the caller to the callee, all of it, until it is there."""
        wanted = len(self.got["far"]) + len(data)
        end = self.now + seconds
        at = 0
        while len(self.got["far"]) < wanted:
            assert self.now < end, f"{len(self.got['far'])} of {wanted} bytes arrived"
            at += self.near.send(data[at:])
            self.run(0.01)

    def of(self, name: str, *kinds: PacketType) -> list[Packet]:
        """What ``near`` or ``far`` has sent, of these kinds (none: all)."""
        return [packet for who, packet in self.sent if who == name and (not kinds or packet.type in kinds)]
