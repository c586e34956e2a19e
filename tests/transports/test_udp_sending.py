"""What becomes of errors of sending: which are losses, which are told, and which are somebody else's."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from crust.transports import udp_sending
from crust.transports.udp_offload import Offload
from crust.transports.udp_sending import UdpSender
from crust.transports.utp.burst import Burst, single_burst

NEAR, FAR = ("192.0.2.1", 1), ("192.0.2.2", 2)
SEVERAL = [b"h", b"1", b"h", b"2", b"h", b"3"]


class World:
    """A socket that fails as it is told to, and what it was given."""

    def __init__(self) -> None:
        self.ipv6 = False
        self.gso = self.can_probe = self.errors = True
        self.failures: list[int] = []
        self.sent: list[tuple[bytes, int, object]] = []
        self.hops: list[object] = []
        self.echoes = 0
        self.way = "plain"
        self.sender = UdpSender(cast(socket.socket, self), cast(Offload, self), 0, self.on_echo)

    def on_echo(self) -> None:
        self.echoes += 1

    def ancillary(self, segment: int, source: object) -> list[Any]:
        return [("segment", segment)] if segment else []

    @contextlib.contextmanager
    def _as(self, way: str) -> Iterator[None]:
        self.way = way
        yield
        self.way = "plain"

    def unfragmented(self) -> Any:
        return self._as("whole")

    def fragmented(self) -> Any:
        return self._as("cut")

    def sendmsg(self, buffers: list[bytes], ancillary: list[Any], flags: int, address: object) -> None:
        if self.failures and (number := self.failures.pop(0)):
            raise OSError(number, "told to fail")  # of the class that belongs to the number
        segment = dict(ancillary).get("segment", 0) if ancillary and ancillary[0][0] == "segment" else 0
        self.hops += [each for each in ancillary if each[0] != "segment"]
        self.sent.append((b"".join(buffers), segment, self.way))

    def send(self, *failures: int, address: Any = NEAR) -> bool:
        self.failures = list(failures)
        return self.sender.transmit(single_burst(b"x"), address, None)

    def send_several(self, *failures: int, address: Any = NEAR) -> bool:
        self.failures = list(failures)
        return self.sender.transmit(Burst(list(SEVERAL), 3, 2, 6), address, None)


def test_a_full_queue_is_told_and_a_full_interface_is_a_loss() -> None:
    """After the one there is word when there is room; of the other nobody says anything, so nobody may wait for it."""
    world = World()
    assert not world.send(errno.EAGAIN)
    assert world.send(errno.ENOBUFS)
    assert world.sent == [] and world.echoes == 0


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_what_was_said_of_another_datagram_costs_this_one_nothing(number: int) -> None:
    """It is looked at, and this one is sent; if the same comes again it is about this one."""
    world = World()
    assert world.send(number)
    assert world.echoes == 1 and world.sent == [(b"x", 0, "plain")]
    with pytest.raises(OSError, match="told to fail"):
        world.send(number, number)
    assert world.echoes == 2
    world.errors = False  # nobody could say whose it was
    with pytest.raises(OSError, match="told to fail"):
        world.send(number)
    assert world.echoes == 2


def test_other_errors_are_the_callers() -> None:
    """At once."""
    world = World()
    with pytest.raises(OSError, match="told to fail"):
        world.send(errno.EPERM)
    with pytest.raises(OSError, match="told to fail"):
        world.send_several(errno.EPERM)
    assert world.echoes == 0 and world.sent == []


def test_an_address_that_refuses_several_gets_them_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on without asking again; others still get them at once. Of so many that is remembered."""
    world = World()
    one_by_one = [(b"h" + each, 0, "plain") for each in (b"1", b"2", b"3")]
    assert world.send_several(errno.EINVAL)
    assert world.sent == one_by_one
    assert world.send_several()
    assert world.sent[3:] == one_by_one
    assert world.send_several(address=FAR)
    assert world.sent[6:] == [(b"h1h2h3", 2, "plain")]
    monkeypatch.setattr(udp_sending, "_PLAIN_REMEMBERED", 2)
    for number in range(20):
        assert world.send_several(errno.EINVAL, address=("198.51.100.1", number))
    assert len(world.sender._refusing) <= 2


def test_of_several_one_by_one_only_the_rest_is_lost() -> None:
    """One that fails is sent once more; where there is no room, it and what follows count as lost."""
    world = World()
    world.gso = False
    assert world.send_several(0, errno.ECONNREFUSED)
    assert [data for data, _, _ in world.sent] == [b"h1", b"h2", b"h3"]
    world.sent.clear()
    assert world.send_several(0, errno.EAGAIN, errno.EAGAIN)
    assert [data for data, _, _ in world.sent] == [b"h1"]


def test_probes_go_whole_and_what_is_too_large_is_cut() -> None:
    """Each in its own way, where the system has it."""
    world = World()
    burst = single_burst(b"x")
    burst.probe = True
    assert world.sender.transmit(burst, NEAR, None)
    world.can_probe = False
    assert world.sender.transmit(burst, NEAR, None)
    burst.probe, burst.fragment = False, True
    assert world.sender.transmit(burst, NEAR, None)
    assert [way for _, _, way in world.sent] == ["whole", "plain", "cut"]


def test_what_is_lobbed_raises_nothing() -> None:
    """It is a datagram into the blue, with as many hops as it was given."""
    world = World()
    for ttl in (None, 3):
        world.failures = [errno.EPERM]
        world.sender.lob(b"x", NEAR, ttl)
        assert world.sent == []
    world.sender.lob(b"x", NEAR, 3)
    assert world.sent == [(b"x", 0, "plain")] and len(world.hops) == 1
