"""A flooded UDP socket: a program in the kernel tells connections from strangers; when there is one, and how fine."""

from __future__ import annotations

import random
import socket
import sys
import threading
from unittest import mock

import pytest

from crust import limits
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from crust.transports.udp import UdpHub
from crust.transports.udp_sieve import Origin, Sieve, attach, program, waiting
from crust.transports.utp.noise import Noise
from crust.transports.utp.packet import Packet, parse_packet_untrusted
from crust.transports.utp.patience import Patiences
from tests.support.waiting import wait_until

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filters")


def utp(receive_id: int, kind: int = 0) -> bytes:
    return bytes((kind << 4 | 1, 0)) + receive_id.to_bytes(2, "big") + bytes(16)


# --- the program, in the kernel ---------------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


class Filtered:
    """A socket with a sieve, and one that sends to it."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        here = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.inner, self.outer = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
        self.inner.bind((here, 0))
        self.outer.bind((here, 0))
        self.outer.connect(self.inner.getsockname())
        self.host, self.port = here, self.outer.getsockname()[1]

    def __enter__(self) -> Filtered:
        return self

    def __exit__(self, *_: object) -> None:
        self.inner.close()
        self.outer.close()

    def passes(self, *datagrams: bytes) -> list[bytes]:
        """Those that come through: loopback delivers before ``send`` returns."""
        self.inner.settimeout(0)
        passed = []
        for datagram in datagrams:
            self.outer.send(datagram)
            try:
                passed.append(self.inner.recv(100))
            except BlockingIOError:
                continue
        return passed


@on_linux
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 64, 300])
def test_connections_pass_and_strangers_do_not(count: int, family: socket.AddressFamily) -> None:
    """However many there are; the same id from another port or address is a stranger's, and so is what is not µTP."""
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("there is no IPv6")
    chance = random.Random(count)
    with Filtered(family) as pair:
        elsewhere = "198.51.100.7" if family == socket.AF_INET else "2001:db8::7"
        others = [(pair.host, chance.randrange(1, 65_536), chance.randrange(65_536)) for _ in range(count)]
        others += [(elsewhere, pair.port, receive_id) for receive_id in (7, 8, 500)]
        ours = [(pair.host, pair.port, receive_id) for receive_id in (0, 500, 65_535)]
        assert attach(pair.inner, program(others + ours, 0.0, 0.0))
        strangers = [utp(receive_id) for host, port, receive_id in others if (host, port) != (pair.host, pair.port)]
        strangers = [each for each in strangers if each != utp(500)]
        strangers += [utp(1), utp(501), utp(500 << 8 & 0xFFFF), b"", b"\x01", b"\x11\x00\x01", bytes(30), b"\xff" * 30]
        strangers += [b"\x02" + utp(500)[1:], b"\x91" + utp(500)[1:]]
        strangers = [each for each in strangers if each[2:4] not in (b"\0\0", b"\xff\xff")]
        friends = [utp(0), utp(500), utp(65_535, 2)]
        assert pair.passes(*strangers, *friends) == friends
        assert attach(pair.inner, None)
        assert pair.passes(*strangers) == strangers


@on_linux
def test_a_share_of_either_kind_passes() -> None:
    """About: within eight standard deviations."""
    with Filtered() as pair:
        assert attach(pair.inner, program((), 0.25, 1.0))
        assert len(pair.passes(*[b"\xf0" + bytes(20), b"\x51" + bytes(20), b"\x00" + bytes(20)] * 20)) == 60
        passed = len(pair.passes(*[utp(7, kind) for kind in range(5)] * 800))
        assert abs(passed - 1000) < 8 * (4000 * 0.25 * 0.75) ** 0.5


def test_a_socket_that_takes_none() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.close()
    assert not attach(sock, program((), 0.5, 0.5))


@on_linux
def test_what_waits_is_known() -> None:
    with Filtered() as pair:
        assert waiting(pair.inner) == 0
        for _ in range(100):
            pair.outer.send(bytes(100))
        assert 10_000 <= waiting(pair.inner) <= 200_000
        pair.inner.close()
        assert waiting(pair.inner) == 0


# --- when, and how fine -----------------------------------------------------------------------------------------------


class Bench:
    """A sieve, and what it was given to the kernel."""

    def __init__(self, members: int = 1, able: bool = True) -> None:
        self.programs: list[bytes | None] = []
        self.members = [("192.0.2.1", 1000, number) for number in range(members)]
        self.sieve = Sieve(lambda code: (self.programs.append(code), able)[1], lambda most: self.members, self.waiting)
        self.now = 1000.0
        self.backlog = 0

    def waiting(self) -> int:
        return self.backlog

    def come(self, utp: float, others: float = 0.0, seconds: float = 1.0) -> int:
        """So many a second come, of which what may pass does; how many are said to have been held back."""
        held = 0
        owed = [0.0, 0.0]
        step = limits.SIEVE_PERIOD / 50
        for _ in range(round(seconds / step)):
            self.now += step
            for index, rate in enumerate((utp, others)):
                owed[index] += rate * step * self.sieve.shares[index]
                while owed[index] >= 1:
                    owed[index] -= 1
                    if self.sieve.met(not index, self.now):
                        held += self.sieve.look(self.now)
            held += self.sieve.look(self.now)
        return held


def test_few_strangers_need_no_sieve() -> None:
    bench = Bench()
    bench.come(limits.SIEVE_FROM * 0.9, limits.SIEVE_FROM * 0.9, 5.0)
    assert bench.programs == [] and not bench.sieve.closed


def test_a_flood_is_held_back_and_what_was_is_told() -> None:
    bench = Bench()
    held = bench.come(100_000, 50, 10.0)
    assert bench.sieve.closed
    assert bench.sieve.shares == [pytest.approx(0.01, rel=0.5), 1.0]  # others pass as ever
    assert held == pytest.approx(990_000, rel=0.1)
    assert len(bench.programs) <= 3  # it is not changed for little
    held = bench.come(1_000_000, 50, 5.0)
    assert bench.sieve.shares[0] == pytest.approx(0.001, rel=0.6)
    assert held == pytest.approx(5_000_000, rel=0.2)


def test_what_was_queued_before_counts_once() -> None:
    """It comes through a sieve that it has not passed: neither is it taken for a greater flood, nor told as one."""
    bench = Bench()
    while not bench.sieve.closed:
        bench.come(60_000, 0, limits.SIEVE_PERIOD / 50)
    shares = list(bench.sieve.shares)
    for _ in range(8_000):
        bench.sieve.met(True, bench.now)
    held = bench.come(60_000, 0, 3 * limits.SIEVE_PERIOD)
    assert bench.sieve.shares == shares
    assert held <= 60_000 * 3 * limits.SIEVE_PERIOD


def test_others_that_flood_are_held_back_alone() -> None:
    bench = Bench()
    bench.come(10, 50_000, 3.0)
    assert bench.sieve.shares == [1.0, pytest.approx(0.02, rel=0.5)]


def test_it_is_gone_soon_after_the_flood() -> None:
    bench = Bench()
    bench.come(100_000)
    bench.come(100, 0, limits.SIEVE_LINGERS + 2 * limits.SIEVE_PERIOD)
    assert bench.programs[-1] is None and bench.sieve.shares == [1.0, 1.0] and not bench.sieve.closed
    bench.come(100_000)
    assert bench.sieve.closed


def test_the_sooner_the_smaller_it_was() -> None:
    bench = Bench()
    bench.come(1.2 * limits.SIEVE_FROM, 0, 2.0)
    assert bench.sieve.closed
    bench.come(0, 0, 0.4 + 2 * limits.SIEVE_PERIOD)
    assert bench.sieve.shares == [1.0, 1.0] and not bench.sieve.closed


def test_a_flood_in_pulses_is_held_back_in_between() -> None:
    """Each would fill the socket's buffer before it is noticed; it is held back as far as its average is a flood."""
    bench = Bench()
    bench.come(100_000, 0, 0.25)
    for _ in range(20):
        bench.come(0, 0, 0.6)
        assert bench.sieve.closed and bench.sieve.shares[0] <= 0.05
        bench.come(100_000, 0, 0.25)


def test_a_sudden_flood_is_not_waited_for() -> None:
    """Hardly more of it get in than make it one."""
    bench = Bench()
    bench.come(10, 10, 3.0)
    bench.come(100_000, 0, 0.05)
    assert bench.sieve.closed and bench.sieve.shares[0] <= 0.2


def flooded(bench: Bench, rate: float, able: float, seconds: float, beside: int = 0) -> int:
    """So many come, of which the node gets to as many a second, and reads so much of connections beside each: the
    others wait. How much waited at most."""
    most = 0
    for _ in range(round(seconds / 0.001)):
        passed = rate * bench.sieve.shares[0] * 0.001
        bench.now += 0.001
        bench.backlog += round(passed * limits.SIEVE_DATAGRAM)
        for _ in range(round(min(able * 0.001, bench.backlog / limits.SIEVE_DATAGRAM))):
            bench.backlog -= limits.SIEVE_DATAGRAM
            bench.sieve.heard += limits.SIEVE_DATAGRAM + beside
            if bench.sieve.met(True, bench.now):
                bench.sieve.look(bench.now)
        bench.sieve.look(bench.now)
        most = max(most, bench.backlog)
    return most


@pytest.mark.parametrize("beside", [0, 1500])
def test_a_flood_that_leaves_a_node_behind_is_seen_at_once(beside: int) -> None:
    """One that has other things to do has met few when the buffer is full; what waits there tells how many come."""
    bench = Bench()
    bench.come(10, 10, 3.0)
    assert flooded(bench, 150_000, 4_000, 1.0, beside) < 15_000 * limits.SIEVE_DATAGRAM  # a buffer holds 22,000
    assert bench.sieve.closed and bench.sieve.shares[0] <= (0.1 if beside else 0.05)


@pytest.mark.parametrize("together", [9, 20])
def test_few_strangers_beside_a_busy_connection_are_no_flood(together: int) -> None:
    """What waits is the connection's, as what is read is: nine datagrams twice a second kept strangers out."""
    bench = Bench()
    bench.backlog = 20 * limits.SIEVE_BEHIND
    for _ in range(20):
        bench.come(10, 0, limits.SIEVE_PERIOD)
        for _ in range(together):
            bench.now += 0.02 / together
            bench.sieve.heard += 6_000_000 // together
            if bench.sieve.met(True, bench.now):
                bench.sieve.look(bench.now)
        bench.sieve.heard += 50_000_000
    assert bench.programs == [] and not bench.sieve.closed


def test_of_what_was_queued_before_a_share_is_heard() -> None:
    """As of what comes later; all of it is read, since connections have theirs in between."""
    bench = Bench()
    flooded(bench, 150_000, 4_000, 0.05)
    share, queued = bench.sieve.shares[0], bench.backlog // limits.SIEVE_DATAGRAM
    assert share < 0.05 and queued > 1_000
    heard = sum(bench.sieve.lets_in() for _ in range(queued))
    assert heard == pytest.approx(queued * share, abs=2)
    flooded(bench, 150_000, 40_000, limits.SIEVE_PERIOD)
    bench.backlog = 0
    bench.come(150_000, 0, 2 * limits.SIEVE_PERIOD)
    assert all(bench.sieve.lets_in() for _ in range(100))


def test_what_was_queued_before_is_over_in_a_while() -> None:
    """Though much waits that is of connections."""
    bench = Bench()
    flooded(bench, 150_000, 4_000, 0.05)
    assert not all(bench.sieve.lets_in() for _ in range(100))
    bench.now += limits.SIEVE_LINGERS
    bench.sieve.look(bench.now)
    assert bench.backlog > limits.SIEVE_BEHIND and all(bench.sieve.lets_in() for _ in range(100))


def test_a_new_connection_passes_at_once() -> None:
    bench = Bench()
    assert bench.sieve.changed(bench.now) == 0
    assert bench.programs == []
    bench.come(100_000)
    bench.members.append(("192.0.2.1", 7, 7))
    assert bench.sieve.changed(bench.now) == 0
    assert bench.programs[-1] == program(bench.members, *bench.sieve.shares)


def test_many_new_connections_share_a_program() -> None:
    """Callers are strangers as well, and each who is answered is a connection: the sieve must not become the burden."""
    bench = Bench()
    bench.come(100_000)
    before = len(bench.programs)
    changes = [bench.sieve.changed(bench.now + number * limits.SIEVE_CHANGE / 100) for number in range(1000)]
    assert len(bench.programs) - before <= 11
    assert changes[-2] > 0
    bench.members.append(("192.0.2.1", 7, 7))
    assert bench.sieve.changed(bench.now + 9.995 * limits.SIEVE_CHANGE) > 0
    assert bench.sieve.changed(bench.now + 11 * limits.SIEVE_CHANGE) == 0
    assert bench.programs[-1] == program(bench.members, *bench.sieve.shares)


def test_a_connection_that_came_too_soon_is_in_the_next_program() -> None:
    """Whoever looks first, and although nothing else has changed."""
    bench = Bench()
    bench.come(100_000)
    bench.members.append(("192.0.2.1", 7, 7))
    assert bench.sieve.changed(bench.now) == 0
    bench.members.append(("192.0.2.1", 8, 8))
    assert bench.sieve.changed(bench.now + limits.SIEVE_CHANGE / 2) > 0
    shares = list(bench.sieve.shares)
    bench.come(100_000, 0, 2 * limits.SIEVE_PERIOD)
    assert bench.sieve.shares == shares
    assert bench.programs[-1] == program(bench.members, *shares)


def test_a_large_program_is_changed_more_seldom() -> None:
    """It costs more, and what waits for it is sent again."""
    bench = Bench(256)
    bench.come(100_000)
    assert bench.sieve.changed(bench.now + limits.SIEVE_PERIOD) == 0
    bench.members.append(("192.0.2.1", 7, 7))
    left = bench.sieve.changed(bench.now + limits.SIEVE_PERIOD)
    assert left == pytest.approx(5 * limits.SIEVE_CHANGE)
    assert bench.sieve.changed(bench.now + limits.SIEVE_PERIOD + left * 1.001) == 0


def test_a_node_that_is_behind_hears_fewer_strangers() -> None:
    """
    One that is slow, or has other things to do: what waits grows at first, and then no more, though fewer come than
    others have a sieve for. After the flood all pass again.
    """
    bench = Bench()
    coming, able = limits.SIEVE_FROM / 2, limits.SIEVE_FROM / 16
    most = 0
    for _ in range(40):
        passed = coming * bench.sieve.shares[0] * limits.SIEVE_PERIOD
        bench.backlog = max(0, bench.backlog + round((passed - able * limits.SIEVE_PERIOD) * 768))
        most = max(most, bench.backlog)
        bench.come(coming, 50, limits.SIEVE_PERIOD)
        assert bench.sieve.shares[1] == 1.0
    assert bench.sieve.closed and bench.sieve.shares[0] >= 1 / 64
    assert most < 6 * limits.SIEVE_BEHIND
    bench.backlog = 0
    bench.come(10, 10, 3 * limits.SIEVE_PERIOD)
    assert bench.sieve.shares == [1.0, 1.0] and not bench.sieve.closed


def test_a_busy_connection_keeps_no_stranger_out() -> None:
    """It has much in the socket's buffer all the time: a few strangers are not the reason."""
    bench = Bench()
    bench.backlog = 100 * limits.SIEVE_BEHIND
    bench.come(limits.SIEVE_BEHIND_FROM * 0.8, 10, 5.0)
    assert bench.programs == []


def test_it_stays_while_there_is_half_a_flood() -> None:
    """What would not close it does not open it: it would come and go all the time."""
    bench = Bench()
    bench.come(100_000)
    bench.come((limits.SIEVE_FROM + limits.SIEVE_UNTIL) / 2, 0, 5.0)
    assert bench.sieve.closed


def test_what_passes_as_a_connection_and_is_none_does_no_lasting_harm() -> None:
    """However much comes by a connection's own address: all pass again afterwards, and the numbers stay numbers."""
    bench = Bench()
    bench.come(100_000)
    for _ in range(1000):
        bench.now += limits.SIEVE_PERIOD
        for _ in range(500):
            bench.sieve.met(True, bench.now)
        held = bench.sieve.look(bench.now)
        assert 0 <= held < 10**9
    assert min(bench.sieve.shares) > 0
    bench.come(0, 0, limits.SIEVE_LINGERS + 2 * limits.SIEVE_PERIOD)
    assert bench.sieve.shares == [1.0, 1.0] and not bench.sieve.closed


def test_more_connections_than_a_program_can_tell() -> None:
    """Nobody is held back then, rather than connections."""
    bench = Bench(limits.SIEVE_MEMBERS)
    bench.come(100_000)
    assert bench.sieve.closed
    assert max(len(code or b"") for code in bench.programs) <= 8 * 4096
    bench.members.append(("192.0.2.1", 7, 7))
    assert bench.sieve.changed(bench.now) == 0
    assert bench.programs[-1] is None and not bench.sieve.closed
    bench.come(100_000)
    assert bench.programs[-1] is None and not bench.sieve.closed


def test_callers_that_may_not_be_there_give_way() -> None:
    """Where the system takes no program of that length, there are fewer of them in it: connections come first."""
    lengths: list[int] = []
    wanted: list[int] = []

    def members(most: int) -> list[Origin]:
        wanted.append(most)
        return [("192.0.2.1", 7, number) for number in range(max(20, min(most, 1000)))]

    def attached(code: bytes | None) -> bool:
        lengths.append(len(code or b""))
        return lengths[-1] < 8 * 2000

    sieve = Sieve(attached, members, lambda: 0)
    for step in range(8):
        sieve.met(True, step * limits.SIEVE_PERIOD, 100_000)
        sieve.look(step * limits.SIEVE_PERIOD)
    assert sieve.closed and 20 <= wanted[1] < wanted[0] == limits.SIEVE_MEMBERS
    assert lengths[1] < lengths[0]
    assert len(wanted) < 10, "half as many each time, not one less"


def test_a_system_without_is_asked_once() -> None:
    """And again if the program would be a shorter one."""
    bench = Bench(3, able=False)
    assert bench.come(100_000, 0, 5.0) == 0
    assert len(bench.programs) == 1 and not bench.sieve.closed
    bench.members.pop()
    assert bench.come(100_000, 0, 5.0) == 0
    assert len(bench.programs) == 2 and not bench.sieve.closed


# --- at a hub ---------------------------------------------------------------------------------------------------------


def test_a_hub_tells_its_sieve_of_connections_first() -> None:
    """SYNs in anybody's name would make them too many for a sieve. The latest of those may be answered yet."""
    with Filtered() as pair:
        hub = UdpHub(pair.inner, IoLoop(), lambda name, error: None)
        for number in range(1000):
            hub.add(("127.0.0.1", 9), number, Heard(proven=number % 100 == 0))
        told = [number for _, _, number in hub._origins(50)]
        assert sorted(told) == [*range(0, 900, 100), *range(900, 901), *range(960, 1000)]
        assert [number for _, _, number in hub._origins(5)] == list(range(0, 1000, 100))
        assert len(hub._origins(1000)) == 1000
        hub.close()


@on_linux
def test_a_flooded_hub_still_hears_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that joins during the flood as well; it tells how many were held back, and takes the sieve away."""
    monkeypatch.setattr(limits, "SIEVE_LINGERS", 1.0)
    monkeypatch.setattr(limits, "SIEVE_FROM", 40.0)
    monkeypatch.setattr(limits, "SIEVE_UNTIL", 4.0)
    monkeypatch.setattr(limits, "SIEVE_PASS", 20.0)
    crew, io = Threads(), IoLoop()
    io.start(crew.spawn)
    with Filtered() as pair:
        hub = UdpHub(pair.inner, io, lambda name, error: None)
        told: list[tuple[str, str]] = []
        hub.on_limit = lambda limit, host, count: told.append((limit, host))
        early, late = Heard(), Heard()
        hub.hold()
        hub.start(crew.spawn)
        try:
            assert hub.add(("127.0.0.1", pair.port), 5, early)
            wait_until(lambda: all(map(pair.outer.send, [utp(77)] * 10)) and ("UTP_RESETS_PER_SECOND", "") in told)
            assert told.count(("SIEVE_FROM", "")) == 1
            assert hub.add(("127.0.0.1", pair.port), 6, late)
            wait_until(lambda: pair.outer.send(utp(6)) and late.count)  # soon, not at once
            before = late.count
            for _ in range(100):
                pair.outer.send(utp(5))
                pair.outer.send(utp(6))
            wait_until(lambda: early.count == 100 and late.count >= before + 100)
            wait_until(lambda: not hub._sieve.closed)
            heard = hub.strays
            pair.outer.send(utp(77))
            wait_until(lambda: hub.strays == heard + 1)
        finally:
            hub.close()
            io.stop()
            assert crew.join(Deadline(10)) == []


@on_linux
def test_a_hub_tells_its_sieve_of_many_connections_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred that come while it has to wait: with a timer for each they were the load, not the flood."""
    io = IoLoop()
    with Filtered() as pair:
        hub = UdpHub(pair.inner, io, lambda name, error: None)
        timers: list[float] = []
        monkeypatch.setattr(io, "call_later", lambda seconds, _: timers.append(seconds))
        asked: list[float] = []
        monkeypatch.setattr(hub._sieve, "changed", lambda now: (asked.append(now), 0.02)[1])
        for number in range(100):
            assert hub.add(("127.0.0.1", 9), number, Heard())
        assert timers == [0.02] and len(asked) == 1
        hub._more(5.0)  # it is still too soon
        assert timers == [0.02, 0.02] and asked[1:] == [5.0]
        hub.close()


@on_linux
def test_a_hub_counts_strangers_as_the_kernel_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever begins as µTP does, and is none: when the two differed a flood of that went on unhindered, and what it was
    counted as was held back in its place, and told as many millions.
    """
    io, chance = IoLoop(), random.Random(1)
    strangers = [bytes((first, 0)) + chance.randbytes(18) for first in range(256)]
    strangers += [b"\x01\x01\x00\x0c\x21\x12\xa4\x42" + chance.randbytes(24), b"\x01\x00" + bytes(8)]
    strangers += [b"\x21\x09" + chance.randbytes(18), b"\x41\x02" + bytes(18)]  # chains of extensions without an end
    with Filtered() as pair:
        hub = UdpHub(pair.inner, io, lambda name, error: None)
        hub.silent = True
        monkeypatch.setattr(io, "now", lambda: 1000.0)
        assert attach(pair.inner, program([], 1.0, 0.0))
        for datagram in strangers:
            kinds: list[bool] = []
            monkeypatch.setattr(hub, "_met", lambda like_utp, now, kinds=kinds: kinds.append(like_utp))
            hub._datagram(memoryview(datagram), ("127.0.0.1", 9), None, 1000.0)
            assert kinds == [pair.passes(datagram) == [datagram]], datagram.hex()
        hub.close()


def test_a_hub_hears_no_stranger_whom_its_sieve_does_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who calls nor who belongs to nothing costs an answer; each is counted."""
    io = IoLoop()
    with Filtered() as pair:
        hub = UdpHub(pair.inner, io, lambda name, error: None)
        heard: list[str] = []
        hub.acceptor = mock.Mock(called=lambda *_: heard.append("call"))
        monkeypatch.setattr(hub, "reset", lambda *_: heard.append("stray"))
        hub.on_limit = lambda limit, host, count: heard.append(limit)
        for let_in, expected in ((False, ["UTP_SYNS_PER_SECOND"]), (True, ["UTP_SYNS_PER_SECOND", "call", "stray"])):
            monkeypatch.setattr(hub._sieve, "lets_in", lambda let_in=let_in: let_in)
            for first in (0x41, 0x01):
                hub._datagram(memoryview(bytes((first, 0)) + bytes(18)), ("127.0.0.1", 9), None, 1000.0)
            assert heard == expected
        assert hub.strays == 2
        hub.close()


def test_what_came_before_a_sieve_knew_is_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A connection that is taken for an honest one, and floods: what has come until the sieve knows counts once, or a few
    thousand packets would be told as millions, and the sieve would shut strangers out as in so great a flood.
    """
    io = IoLoop()
    with Filtered() as pair:
        hub = UdpHub(pair.inner, io, lambda name, error: None)
        member, counted = Heard(), []
        monkeypatch.setattr(io, "now", lambda: 1000.0)
        monkeypatch.setattr(hub, "_met", lambda like_utp, now, count: counted.append(count))
        monkeypatch.setattr(Noise, "lets_in", lambda noise, packets, share, now: counted.append(share))
        assert hub.add(("127.0.0.1", 9), 7, member)
        hub._sieve.shares[0] = 0.25
        run = [(parse_packet_untrusted(utp(7)), 4, 0)]
        for noisy, later in ((False, 5.0), (True, 0.9), (True, 1.0), (False, 5.0)):
            member.noise.noisy = noisy
            assert bool(hub._origins(600)) is not noisy
            hub._lets_in(member.noise, run, 1000.0 + later * limits.SIEVE_PERIOD)
        assert counted == [1.0, 1.0, 1.0, 1.0, 0.25, 4, 1.0, 1.0]
        hub.close()


class Heard:
    """A member of a hub that counts."""

    def __init__(self, proven: bool = True) -> None:
        self.count = 0
        self.proven = proven
        self.noise = Noise("127.0.0.1", Patiences().of("127.0.0.1", 0.0))
        self._lock = threading.Lock()

    def arrived(self, runs: list[tuple[Packet, int, int]], payload: memoryview, now: float) -> bool:
        with self._lock:
            self.count += sum(count for _, count, _ in runs)
        return False

    def settle(self, now: float) -> None:
        """Nothing is owed."""

    def refused(self, number: int, mtu: int, now: float) -> None:
        """All gets there."""

    def sendable(self) -> None:
        """There always is room."""
