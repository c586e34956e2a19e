"""Packets of no use: honest connections on bad lines make few of them, and who makes many is held back for a while."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from crust import limits
from crust.transports.utp.connection import Settings, UtpConnection
from crust.transports.utp.noise import Din, Noise
from crust.transports.utp.packet import Packet, PacketType
from crust.transports.utp.patience import Patience, Patiences
from tests.simulation.network import Behaviour, Link, World
from tests.simulation.robustness import trial
from tests.simulation.utp import connect


def patience(now: float = 1000.0) -> Patience:
    """With an address of which nothing has been heard."""
    return Patiences().of("192.0.2.1", now)


class Listener:
    """Hears what all cores of a simulation take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.noises: dict[UtpConnection, Noise] = {}
        self.least = limits.UTP_USELESS_BURST
        """The least credit that any had."""
        receive = UtpConnection.receive

        def listening(core: UtpConnection, packet: Packet, count: int, size: int, now: float, *, keep: bool) -> bool:
            noise = self.noises.setdefault(core, Noise("192.0.2.1", patience(now)))
            taken = receive(core, packet, count, size, now, keep=keep)
            noise.heard(core, count, len(packet.payload), now)
            self.least = min(self.least, noise._earned + noise._patience.left(now))
            return taken

        monkeypatch.setattr(UtpConnection, "receive", listening)


def test_no_honest_connection_is_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the line loses, doubles, reorders, and for how long it is cut: they use up little of their credit."""
    listener = Listener(monkeypatch)
    for seed in range(100):
        trial(seed)
    assert len(listener.noises) >= 100
    assert listener.least > limits.UTP_USELESS_BEGUN / 2


@pytest.mark.parametrize(
    "bad",
    [
        {"duplication": 1.0},
        {"duplication": 0.5, "reordering": 0.5, "late": 0.05},
        {"loss": 0.05, "duplication": 0.3, "reordering": 0.3},
    ],
)
def test_nor_is_a_fast_one(monkeypatch: pytest.MonkeyPatch, bad: dict[str, float]) -> None:
    """Thousands of packets a second, of which each comes twice, or many late."""
    listener = Listener(monkeypatch)
    world = World()
    links = [
        Link(world, Behaviour(delay=0.01, rate=12_500_000.0, queue=500_000.0, **bad), seed=seed)  # type: ignore[arg-type]
        for seed in (1, 2)
    ]
    _, callee = connect(world, *links, settings=Settings(mtu_ceiling=1472))
    world.run(world.now + 2.0)
    assert callee.received > 400_000
    assert not any(noise.noisy for noise in listener.noises.values())
    assert listener.least > limits.UTP_USELESS_BEGUN / 2


class Flooded:
    """One end of a connection that stands, and what is sent to it, so many a second."""

    def __init__(self) -> None:
        self.now = 1000.0
        world = World(self.now)
        caller, callee = connect(world, Link(world), Link(world), data=b"hello")
        world.run(self.now + 2.0)
        assert caller.core is not None and callee.core is not None
        self.core, self.now = callee.core, world.now
        self.patience = patience(self.now)
        self.noise = Noise("192.0.2.1", self.patience)
        self.number = self.core.receiver.next

    def packet(self, kind: PacketType, ahead: int = 0, payload: bytes = b"", window: int = 1 << 20) -> Packet:
        core = self.core
        number, ack = self.number + ahead & 0xFFFF, core.sender.next - 1 & 0xFFFF
        return Packet(kind, core.receive_id, 1, 0, window, number, ack, payload=payload)

    def take(self, packet: Packet, rate: float) -> None:
        self.now += 1.0 / rate
        self.core.receive(packet, 1, len(packet.payload), self.now, keep=True)
        self.core.events_received()
        self.noise.heard(self.core, 1, len(packet.payload), self.now)


USELESS: dict[str, Callable[[Flooded, int], Packet]] = {
    "the same ack": lambda end, _: end.packet(PacketType.STATE),
    "another window": lambda end, number: end.packet(PacketType.STATE, window=(0, 1, 2**32 - 1)[number % 3]),
    "what had come": lambda end, _: end.packet(PacketType.DATA, -1, bytes(100)),
    "what is too early": lambda end, number: end.packet(PacketType.DATA, 31_000 + number % 1000, bytes(9)),
    "a byte": lambda end, number: end.packet(PacketType.DATA, number, b"x"),
    "a SYN": lambda end, _: end.packet(PacketType.SYN),
    "another's RESET": lambda end, _: end.packet(PacketType.RESET)._replace(ack=0x7FFF),
    "SACKs of nothing": lambda end, number: end.packet(PacketType.STATE)._replace(sack=bytes([number & 255] * 32)),
}


@pytest.mark.parametrize("kind", list(USELESS))
def test_a_flood_is_noise(kind: str) -> None:
    """Soon; and no flood of whatever length is held against it for more than a while after its end."""
    end = Flooded()
    began = end.now
    for number in range(40_000):
        end.take(USELESS[kind](end, number), 60_000)
        if end.noise.noisy:
            break
    assert end.noise.noisy and end.now - began < 0.1
    for number in range(40_000):
        end.take(USELESS[kind](end, number), 60_000)
    assert not end.noise.is_calm(end.now + 0.95 * limits.UTP_NOISY_SECONDS)
    assert end.noise.is_calm(end.now + 1.05 * limits.UTP_NOISY_SECONDS)
    assert not end.noise.noisy


def test_a_little_is_none() -> None:
    """For as long as it likes; and more, if as many are of use."""
    end = Flooded()
    for number in range(20_000):
        end.take(USELESS["another window"](end, number), 0.95 * limits.UTP_USELESS_PER_SECOND)
    assert not end.noise.noisy
    for _ in range(20_000):
        end.take(end.packet(PacketType.STATE), 60_000)
        end.take(end.packet(PacketType.DATA, 0, bytes(100)), 60_000)
        end.number += 1
    assert not end.noise.noisy


def test_who_has_brought_little_may_bring_little_else() -> None:
    """Else who connects again and again has a flood let in each time; and as much more as it brings, to some bound."""
    end = Flooded()
    for _ in range(int(limits.UTP_USELESS_BEGUN)):
        end.take(end.packet(PacketType.STATE), 1e9)
    assert not end.noise.noisy
    for _ in range(2):
        end.take(end.packet(PacketType.STATE), 1e9)
    assert end.noise.noisy
    end = Flooded()
    for _ in range(2 * int(limits.UTP_USELESS_BURST)):
        end.take(end.packet(PacketType.DATA, 0, bytes(100)), 1e6)
        end.number += 1
    for _ in range(int(limits.UTP_USELESS_BURST)):
        end.take(end.packet(PacketType.STATE), 1e9)
    assert not end.noise.noisy
    for _ in range(100):  # some of which the time that has passed allows
        end.take(end.packet(PacketType.STATE), 1e9)
    assert end.noise.noisy


def test_many_who_are_quiet_enough_are_loud_together() -> None:
    """
    Of 64 addresses each stays below what one may. But for what they may bring at first, what is heard
    of all of them is no more than what is for all; and who brings something is not noisy for their sakes.
    """
    patiences = Patiences()
    core, honest = Flooded().core, Flooded()
    hosts = [f"192.0.2.{number}" for number in range(65)]
    honest.noise, *noises = (Noise(host, patiences.of(host, honest.now)) for host in hosts)
    seconds, each = 5, 0.5 * limits.UTP_USELESS_PER_SECOND
    heard = 0
    for _ in range(round(seconds * each)):
        honest.now += 1.0 / each
        for noise in noises:
            if not noise.noisy:
                noise.heard(core, 1, 0, honest.now)
                heard += 1
        honest.take(honest.packet(PacketType.STATE), 1e9)
        honest.take(honest.packet(PacketType.DATA, 0, bytes(100)), 1e9)
        honest.number += 1
    begun = 66 * limits.UTP_USELESS_BEGUN + limits.UTP_USELESS_BURST
    assert heard <= begun + seconds * limits.UTP_USELESS_ALL_PER_SECOND
    assert sum(noise.noisy for noise in noises) >= 56 and not honest.noise.noisy


def test_many_connections_of_one_address_are_as_one() -> None:
    """Each brings far less than one may: together it is too much; whoever does not flood there is not noisy for it."""
    end = Flooded()
    others = [Noise("192.0.2.1", end.patience) for _ in range(20)]
    neighbour = Noise("192.0.2.1", end.patience)
    elsewhere = Noise("192.0.2.2", patience())
    for noise in (*others, neighbour, elsewhere):
        noise.heard(end.core, 1, 0, end.now)
    rate = 0.2 * limits.UTP_USELESS_PER_SECOND * len(others)
    for number in range(int(3 * rate)):
        end.now += 1.0 / rate
        others[number % len(others)].heard(end.core, 1, 0, end.now)
        if not number % 1000:
            neighbour.heard(end.core, 1, 0, end.now)
            elsewhere.heard(end.core, 1, 0, end.now)
    assert all(noise.noisy for noise in others)
    assert not neighbour.noisy and not elsewhere.noisy
    let_in = sum(others[number % 20].lets_in(1, 1.0, end.now + number / 10_000) for number in range(20_000))
    assert let_in == pytest.approx(2 * limits.SIEVE_PASS, rel=0.2)  # of all of them
    later = end.now + 2.0 + 1.05 * limits.UTP_NOISY_SECONDS
    assert all(noise.is_calm(later) for noise in others)


def test_who_ends_all_its_connections_begins_where_it_was() -> None:
    """For as long as it takes to be as new; and nobody is remembered for longer."""
    known = Patiences()
    assert not known.of("192.0.2.1", 1000.0).try_with(1000.0, 1000.0)
    gc.collect()
    assert known.of("192.0.2.1", 1000.0).left(1000.0) == -1000.0
    assert known.of("192.0.2.2", 1000.0).left(1000.0) == 0.0
    assert known.of("2001:db8::1", 1000.0) is known.of("2001:db8::2", 1000.0)
    known.of("192.0.2.3", 1020.0)
    gc.collect()
    assert list(known._known) == [bytes((192, 0, 2, 3))]


def test_who_is_noisy_goes_on_slowly() -> None:
    """A ration of its packets is heard, and it stays noisy although few come through a sieve, until few are sent."""
    noise = Noise("192.0.2.1", patience())
    core = Flooded().core
    noise.heard(core, 1, 0, 1000.0)
    now = 1000.0
    noise.heard(core, int(limits.UTP_USELESS_BURST + limits.UTP_USELESS_BEGUN) + 2, 0, now)
    assert noise.noisy
    let_in = 0
    for _ in range(300_000):
        now += 5.0 / 300_000
        if noise.lets_in(1, 1.0, now):
            noise.heard(core, 1, 0, now)
            let_in += 1
    assert let_in == pytest.approx(5 * limits.SIEVE_PASS, rel=0.1)
    share = limits.SIEVE_PASS / 60_000
    for _ in range(int(limits.SIEVE_PASS) * 5):  # and the same flood, thinned out
        now += 1.0 / limits.SIEVE_PASS
        if noise.lets_in(1, share, now):
            noise.heard(core, 1, 0, now)
        assert noise.noisy
    for _ in range(300):  # the sieve is as fine as before, since others flood the socket; this one has come to an end
        now += 0.1
        noise.lets_in(1, share, now)
        noise.heard(core, 1, 0, now)
    assert not noise.noisy


def test_a_din_is_told_by_where_it_comes_from() -> None:
    """What was thrown away here, and its part of what the sieve has held back: no more than that in all."""
    din = Din()
    loud, other = Noise("192.0.2.1", patience()), Noise("192.0.2.2", patience())
    din.met(loud, 10, True)
    din.met(loud, 30, False)
    din.met(other, 4, True)
    assert din.thrown_away(0, 1.0) == ([("192.0.2.1", 30)], 0)
    assert din.thrown_away(0, 1.0) == ([], 0)
    din.met(loud, 10, True)
    din.met(other, 5, False)
    assert din.thrown_away(1000, 0.1) == ([("192.0.2.1", 90), ("192.0.2.2", 50)], 865)
    din.met(loud, 10, False, False)  # it had not passed the sieve
    assert din.thrown_away(1000, 0.1) == ([("192.0.2.1", 10)], 1000)
    din.met(loud, 10, True)
    assert din.thrown_away(7, 0.1) == ([("192.0.2.1", 7)], 0)


def test_a_din_knows_who_has_calmed_down() -> None:
    """Though nothing of it comes through; and forgets who has gone."""
    core = Flooded().core
    din, noises = Din(), [Noise("192.0.2.1", patience()), Noise("192.0.2.2", patience())]
    for noise in noises:
        noise.heard(core, 1, 0, 1000.0)
        noise.heard(core, int(limits.UTP_USELESS_BURST + limits.UTP_USELESS_BEGUN) + 2, 0, 1000.0)
        din.changed(noise)
    din.forget(noises[1])
    assert not din.calmed(1000.0)
    later = 1000.0 + limits.UTP_NOISY_SECONDS
    assert din.calmed(later) and not din.calmed(later)
    assert [noise.noisy for noise in noises] == [False, True]
