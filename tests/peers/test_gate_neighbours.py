"""The gate, and those who share an address or a site with many others, or with an attacker."""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable

import pytest

from crust import limits
from crust.addresses import address_key
from crust.config import LimitsConfig
from crust.peers.gate import Gate, Slot

BAD, SITE = "2001:db8:1:1::1", "2001:db8:1"


def nothing() -> None:
    """An eviction that nobody looks at."""


class Siege:
    """
    Four hundred calls a second from two hundred addresses that know us and hold their slots, and honest callers.

    Args:
        hold: For how long, seconds.
        besides: Called all the time as well, by whoever is there.
    """

    def __init__(self, hold: float, besides: str = "") -> None:
        self.gate = Gate(LimitsConfig())
        self.got_in: set[int] = set()
        self._hold = hold
        self._later: list[tuple[float, int, Callable[[float], object]]] = []
        self._order = itertools.count()
        self._there: set[str] = set()
        hosts = [f"10.0.{number}.1" for number in range(200)]
        self._turn = itertools.cycle([*hosts[:100], besides, *hosts[100:], besides] if besides else hosts)
        self._at(0.0, self._attack)

    def _at(self, when: float, what: Callable[[float], object]) -> None:
        heapq.heappush(self._later, (when, next(self._order), what))

    def _attack(self, now: float) -> None:
        slot = self.gate.admit(next(self._turn), now, evict=nothing)
        if slot is not None and slot.message1_valid(now):
            self._at(now + self._hold, slot.release)
        self._at(now + 1 / 400, self._attack)

    def call(self, number: int, host: str, rtt: float, when: float, known: bool = False) -> None:
        """An honest caller, until it gets in; then its address is known."""

        def begin(now: float) -> None:
            slot = self.gate.admit(host, now, known=known or host in self._there, evict=nothing)
            if slot is None or not slot.message1_valid(now):
                self._at(now + 1.0 + rtt, begin)
            else:
                self._at(now + rtt, lambda now: end(slot, now))

        def end(slot: Slot, now: float) -> None:
            if slot.introduced():
                self.got_in.add(number)
                self._there.add(host)
            else:
                self._at(now + 1.0, begin)
            slot.release(now)

        self._at(when, begin)

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._later[0][0] < until:
            now, _, what = heapq.heappop(self._later)
            what(now)


@pytest.mark.parametrize("hold", [1.9, 10.0])
@pytest.mark.parametrize("rtt", [0.5, 1.5])
def test_many_callers_behind_one_address(rtt: float, hold: float) -> None:
    """Thirty at once get in during a siege: what each has begun is not taken from it for the next one's sake."""
    siege = Siege(hold)
    for number in range(30):
        siege.call(number, "192.0.2.1", rtt, 8.0 + number / 40)
    siege.run(20.0)
    assert len(siege.got_in) == 30


@pytest.mark.parametrize("rtt", [0.5, 1.5])
def test_known_peers_come_back_beside_one_network_that_holds_its_slots(rtt: float) -> None:
    """One /64 of a site gives the others there no bad name."""
    siege = Siege(10.0, BAD)
    for number in range(20):
        siege.call(number, f"{SITE}:{number + 256:x}::1", rtt, 8.0 + number / 40, known=True)
    siege.run(11.0)
    assert len(siege.got_in) == 20


def test_two_networks_of_a_site_do_not_have_all_its_slots() -> None:
    """The newest of the one that has most makes room for a third one; between equals nobody does."""
    target, evicted = Gate(LimitsConfig(starts_per_address_per_second=1000)), list[str]()
    for number, network in itertools.product(range(limits.HALF_OPEN_PER_ADDRESS), "12"):
        evict = functools.partial(evicted.append, f"{network}-{number}")
        slot = target.admit(f"{SITE}:{network}::1", 0.0, evict=evict)
        assert slot is not None and slot.message1_valid(0.0)
    assert target.admit(f"{SITE}:1::1", 0.1, evict=nothing) is None and not evicted
    slot = target.admit(f"{SITE}:3::1", 0.1, evict=nothing)
    assert slot is not None and slot.message1_valid(0.1) and evicted == ["1-15"]


def test_networks_that_call_all_the_time_leave_their_site_half_of_the_starts() -> None:
    """Two that begin as often as they may do not lock out a third one."""
    target = Gate(LimitsConfig(half_open_per_address=1000))
    for step in range(200):
        for network in "12":
            target.admit(f"{SITE}:{network}::1", step / 50, evict=nothing)
    left = target._callers[address_key(BAD)[:6]].starts.tokens(4.0)
    assert left >= limits.STARTS_PER_ADDRESS_PER_SECOND * limits.SITE_SHARE / 2
    assert target.admit(f"{SITE}:3::1", 4.0, evict=nothing) is not None


@pytest.mark.parametrize(("after", "counts"), [(0.9, False), (1.1, True)])
def test_a_slot_that_was_taken_soon_was_not_held(after: float, counts: bool) -> None:
    """Who loses one before it can have introduced itself is no worse for it."""
    target = Gate(LimitsConfig(half_open=4, starts_per_address_per_second=1000))
    now, there = 1.0 + after * limits.HELD_BRIEF, address_key("192.0.2.1")
    for _ in range(3):
        slot = target.admit("192.0.2.1", 1.0, evict=nothing)
        assert slot is not None and slot.message1_valid(1.0)
    assert target.admit("192.0.2.2", now, evict=nothing) is not None
    assert target.counters.evicted == 1
    assert (target._callers[there].holding(now) > 0.0) is counts


@pytest.mark.parametrize("network", ["10.0.{}.1", "2001:db8:7:{}::1"], ids=["IPv4", "one /48"])
def test_who_calls_all_the_time_behind_an_introducer_leaves_room_for_others_there(network: str) -> None:
    """Twenty addresses that an introducer lets call five times a second each had four in five others refused."""
    target, got_in = Gate(LimitsConfig()), 0
    for step in range(2000):  # 20 s
        now = step / 100
        slot = target.admit("192.0.2.1", now, behind=network.format(step % 20), evict=nothing)
        if slot is not None:
            slot.release(now)
        if step >= 500 and step % 50 == 7:
            newcomer = target.admit("192.0.2.1", now, behind=f"10.1.{step % 251}.1", evict=nothing)
            got_in += newcomer is not None
            if newcomer is not None:
                newcomer.release(now)
    assert got_in == 30


@pytest.mark.parametrize("most", [1, 2, 4, 20])
def test_one_place_behind_an_introducer_gets_most_of_what_that_may_begin(most: int) -> None:
    """Whoever calls all the time is refused for nobody where nobody else calls, but for a burst's last quarter."""
    target, got_in = Gate(LimitsConfig(starts_per_address_per_second=most)), 0
    target.slow(address_key("192.0.2.9"), 1e9)
    for step in range(1000):
        for introducer in ("192.0.2.1", "192.0.2.9"):
            slot = target.admit(introducer, step / 100, behind="10.0.0.1", evict=nothing)
            if slot is not None:
                slot.release(step / 100)
                got_in += introducer == "192.0.2.1"
    assert got_in >= 9 * most
    assert target.counters.admitted > got_in  # also one that is slowed


def test_who_is_behind_introducers_is_remembered_up_to_a_bound() -> None:
    """One that makes up where they are does not have the gate remember all that, nor forget who calls by himself."""
    target = Gate(LimitsConfig())
    target.admit("192.0.2.2", 0.0, evict=nothing)
    for number in range(limits.GATE_ADDRESSES_MAX + 10):
        target.admit("192.0.2.1", 0.0, behind=f"10.{number >> 8}.{number & 255}.1", evict=nothing)
    assert len(target._fellows) == limits.GATE_ADDRESSES_MAX and target.forgotten == 10
    assert len(target._callers) == 2
