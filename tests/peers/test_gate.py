"""The gate: rates, slots, eviction, and what is kept for those we know."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.addresses import address_key
from crust.config import LimitsConfig
from crust.peers.gate import Gate, Slot


def nothing() -> None:
    """An eviction that nobody looks at."""


def gate(**values: int) -> Gate:
    """A gate whose rates do not matter unless they are given."""
    return Gate(
        LimitsConfig(**{"starts_per_address_per_second": 10_000, "starts_per_second": 100_000} | values)
    )


def addresses() -> Iterator[str]:
    """Addresses that share no quota."""
    return (f"10.{a}.{b}.1" for a, b in itertools.product(range(256), repeat=2))


def admit_all(
    target: Gate, count: int, *, known: bool = False, prove: bool = False, first: int = 0
) -> list[Slot]:
    slots = []
    for address in itertools.islice(addresses(), first, first + count):
        slot = target.admit(address, 0.0, known=known, evict=nothing)
        assert slot is not None
        if prove:
            assert slot.message1_valid(0.0)
        slots.append(slot)
    return slots


def test_one_address_may_start_20_times_a_second() -> None:
    """A burst of one second's worth, then as many as come back with time; a refused start costs nothing more."""
    target = Gate(LimitsConfig(half_open_per_address=1000))
    now, admitted = 100.0, 0
    for _ in range(200):
        admitted += target.admit("192.0.2.1", now, evict=nothing) is not None
    assert admitted == limits.STARTS_PER_ADDRESS_PER_SECOND
    assert target.admit("192.0.2.1", now + 0.04, evict=nothing) is None
    assert target.admit("192.0.2.1", now + 0.051, evict=nothing) is not None
    assert target.admit("192.0.2.1", now + 0.052, evict=nothing) is None
    assert target.counters.refused_by_rate == 182


def test_a_busy_address_does_not_slow_down_another() -> None:
    """Rates are kept for each address, and refused starts do not count against all."""
    target = Gate(LimitsConfig())
    for _ in range(10_000):
        target.admit("192.0.2.1", 1.0, evict=nothing)
    assert target.admit("192.0.2.2", 1.0, evict=nothing) is not None


def test_an_ipv6_network_counts_as_one_address() -> None:
    """All of a /64 share one quota; the next /64 has its own."""
    target = gate(half_open_per_address=2)
    first = target.admit("2001:db8:0:1::1", 0.0, evict=nothing)
    second = target.admit("2001:db8:0:1:ffff::2", 0.0, evict=nothing)
    assert first and second and first.message1_valid(0.0) and second.message1_valid(0.0)
    assert target.admit("2001:db8:0:1::3", 0.0, evict=nothing) is None
    assert target.admit("2001:db8:0:2::1", 0.0, evict=nothing) is not None


def test_a_site_has_a_multiple_of_one_address() -> None:
    """However many networks of its /48 call: starts, slots, and how often is all the time; nobody is blamed for it."""
    sites = ("2001:db8:1", "2001:db8:2")
    blamed: list[tuple[str, bytes | None]] = []

    def host(number: int, site: int = 0) -> str:
        return f"{sites[site]}:{number:x}::1"

    target = Gate(LimitsConfig(half_open_per_address=1000))
    target.refused = lambda limit, key: blamed.append((limit, key))
    most = limits.SITE_SHARE * limits.STARTS_PER_ADDRESS_PER_SECOND
    slots = [target.admit(host(number), 0.0, evict=nothing) for number in range(3 * most)]
    begun = [slot for slot in slots if slot is not None]
    assert begun == slots[:most] and set(blamed) == {("limits.starts_per_address_per_second", None)}
    few = limits.SITE_SHARE * limits.CALLS_FEW
    assert begun[few - 1]._rank > begun[few]._rank
    assert target.admit(host(0, 1), 0.0, evict=nothing) is not None

    target, most = gate(half_open_per_address=4), 4 * limits.SITE_SHARE
    target.refused = lambda limit, key: blamed.append((limit, key))
    for number in range(most):
        slot = target.admit(host(number), 0.0, evict=nothing)
        assert slot is not None and slot.message1_valid(0.0)
        begun[number] = slot
    assert target.admit(host(most), 0.0, evict=nothing) is None
    assert blamed[-1] == ("limits.half_open_per_address", None)
    assert target.admit(host(0, 1), 0.0, evict=nothing) is not None
    begun[3].release(10.0)
    assert target.admit(host(most), 10.0, evict=nothing) is not None
    begun[2].release(10.0)
    site = target._callers[address_key(host(0))[:6]]
    assert site.holding(10.0) == limits.CALLS_FEW  # half of that for each of the two


def test_a_mapped_address_is_the_ipv4_address() -> None:
    """A dual-stack listener shows IPv4 callers as ::ffff:a.b.c.d: that is no second quota."""
    target = gate(half_open_per_address=1)
    slot = target.admit("::ffff:192.0.2.1", 0.0, evict=nothing)
    assert slot is not None and slot.message1_valid(0.0)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is None


def test_all_strangers_together_may_start_500_times_a_second() -> None:
    """A flood from many addresses gets what is left of a second's worth, and then 500 a second, no more and no less."""
    target = Gate(LimitsConfig())
    callers, burst, later = addresses(), 0, 0
    for step in range(1000):
        admitted = sum(target.admit(next(callers), step / 500, evict=nothing) is not None for _ in range(20))
        if step == 0:
            assert admitted == 20
        burst, later = (burst + admitted, later) if step < 500 else (burst, later + admitted)
    kept = limits.STARTS_PER_SECOND // 4
    assert burst == pytest.approx(2 * limits.STARTS_PER_SECOND - kept, abs=2)
    assert later == pytest.approx(limits.STARTS_PER_SECOND, abs=2)


def test_a_flood_of_strangers_leaves_starts_for_known_addresses() -> None:
    """While strangers are refused for their rate, somebody we know still gets in."""
    target = Gate(LimitsConfig())
    for address in itertools.islice(addresses(), 5000):
        target.admit(address, 1.0, evict=nothing)
    assert target.admit("192.0.2.1", 1.0, evict=nothing) is None
    assert target.admit("192.0.2.1", 1.0, known=True, evict=nothing) is not None


def test_who_calls_seldom_has_precedence_over_those_who_call_all_the_time() -> None:
    """Two hundred addresses that flood leave starts for one that has never called, and for one that does now and then,
    as often as that is; refused calls count as well. Who stops is as good as others after a while."""
    target = Gate(LimitsConfig())
    flood = list(itertools.islice(addresses(), 200))

    def second(start: int, *others: str) -> int:
        """A second of it, in which those others call once, too; how many of these are let in."""
        admitted = 0
        for step in range(20):
            now = start + step / 20
            for address in flood:
                target.admit(address, now, evict=nothing)
            if step == 5:
                admitted += sum(target.admit(other, now, evict=nothing) is not None for other in others)
        return admitted

    second(0)  # until then nobody has called often
    assert sum(second(start, "192.0.2.1") for start in range(1, 10)) == 9
    assert target.counters.admitted == pytest.approx(10 * limits.STARTS_PER_SECOND, rel=0.1)
    newcomers = [f"192.0.3.{number}" for number in range(100)]
    assert second(10, *newcomers[:50]) == 50 and second(11, *newcomers[50:]) == 50
    assert [target.admit(address, 12.0, evict=nothing) for address in flood][-1] is None
    assert target.admit("192.0.2.2", 12.0, evict=nothing) is not None
    silent = flood.pop(0)
    seconds = 2 * limits.CALLS_FEW
    assert sum(second(start) for start in range(12, 12 + seconds)) == 0
    assert target.admit(silent, 12.0 + seconds, evict=nothing) is not None


def test_those_who_call_all_the_time_make_room_first() -> None:
    """Although others have waited for longer; where only those are, the oldest."""
    target, evicted = gate(half_open=4, half_open_per_address=100), list[str]()
    loud, quiet = "10.0.0.1", (f"10.0.1.{number}" for number in range(9))

    def admit(address: str) -> bool:
        return target.admit(address, 1.0, evict=lambda: evicted.append(address)) is not None

    assert begin(target, loud, 1.0, tries=limits.CALLS_FEW) == limits.CALLS_FEW
    assert admit(next(quiet)) and admit(loud) and admit(next(quiet))
    assert not evicted
    assert admit(next(quiet)) and evicted == [loud]
    assert admit(loud) and evicted[1:] == ["10.0.1.0"]
    assert admit(loud) and evicted[2:] == [loud]


def test_who_has_called_all_the_time_soon_calls_seldom_again() -> None:
    """Within twice as many seconds as it takes calls, however many there have been."""
    later = 1.0 + 2 * limits.CALLS_FEW
    target = gate(starts_per_second=100, starts_per_address_per_second=100)
    assert begin(target, "10.0.0.1", 1.0, tries=1000) < 1000
    assert begin(target, "10.0.1.1", later, tries=100) == 50, "the rest is kept for those who call seldom"
    assert target.admit("10.0.0.1", later, evict=nothing) is not None


def test_the_memory_of_rates_is_bounded() -> None:
    """Addresses beyond the bound push out the one that has been quiet for longest, and only that."""
    target = gate(half_open=100_000, half_open_per_address=100_000, starts_per_address_per_second=1)
    assert target.admit("192.0.2.1", 0.0, evict=nothing)
    for address in itertools.islice(addresses(), limits.GATE_ADDRESSES_MAX - 1):
        assert target.admit(address, 0.0, evict=nothing)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is None  # remembered, and now the most recent
    assert target.admit("192.0.2.2", 0.0, evict=nothing)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is None
    assert len(target._callers) == limits.GATE_ADDRESSES_MAX and target.forgotten == 1


def test_time_that_stands_still_or_goes_back_gives_no_starts() -> None:
    """Only time that passes refills a bucket."""
    target = gate(starts_per_address_per_second=1)
    assert target.admit("192.0.2.1", 10.0, evict=nothing)
    assert target.admit("192.0.2.1", 5.0, evict=nothing) is None
    assert target.admit("192.0.2.1", 10.5, evict=nothing) is None
    assert target.admit("192.0.2.1", 11.0, evict=nothing)


def test_strangers_may_not_use_the_slots_kept_for_known_addresses() -> None:
    """192 of 256 slots are the most for strangers; known addresses fill the rest."""
    target = gate()
    admit_all(target, limits.HALF_OPEN_MAX - limits.HALF_OPEN_KNOWN_RESERVE, prove=True)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is None
    admit_all(target, limits.HALF_OPEN_KNOWN_RESERVE, known=True, prove=True, first=1000)
    assert target.admit("192.0.2.1", 0.0, known=True, evict=nothing) is None
    assert target.counters.current == limits.HALF_OPEN_MAX
    assert target.counters.refused_by_slots == 2


def test_an_overflow_evicts_the_oldest_that_has_not_proven_anything() -> None:
    """The newcomer gets its slot; the victim hears of it once, and its slot is dead."""
    target, evicted = gate(half_open=4), list[str]()
    slots = []
    for name in ("a", "b", "c"):
        address = f"10.0.0.{ord(name)}"
        slots.append(target.admit(address, 0.0, evict=lambda name=name: evicted.append(name)))  # type: ignore[misc]
    first, second, third = (slot for slot in slots if slot is not None)
    assert first.message1_valid(0.0)
    assert target.admit("10.0.1.1", 0.0, evict=nothing) is not None
    assert evicted == ["b"]
    assert not second.message1_valid(0.0)
    second.release(0.0)
    assert target.counters.current == 3
    assert target.counters.evicted == 1
    assert third.message1_valid(0.0)


def test_who_holds_its_slot_makes_room() -> None:
    """Where those who know us have most slots: the one that has held its own for longest, after some seconds. Not one
    that has introduced itself, nor one for those who have shown nothing yet."""
    target, evicted = gate(half_open=8), list[int]()
    slots = []
    for number in range(5):
        evict = functools.partial(evicted.append, number)
        slot = target.admit(f"10.0.0.{number}", 0.0, evict=evict)
        assert slot is not None and slot.message1_valid(number / 10)
        slots.append(slot)
    assert slots[0].introduced()
    assert target.admit("10.0.1.1", 0.5, evict=nothing) is not None  # the last for strangers; it is waiting
    assert target.admit("10.0.1.2", limits.HELD_SECONDS + 0.1, evict=nothing) is not None
    assert evicted == [1] and not slots[1].introduced() and slots[2].message1_valid(9.0)
    for number in range(2, 9):
        assert target.admit(f"10.0.1.{number + 1}", limits.HELD_SECONDS + 9.0, evict=nothing) is not None
    assert evicted == [1, 2]  # three of six wait now: they make room for each other
    assert slots[0].introduced() and slots[3].introduced()


def test_strangers_make_no_room_among_the_slots_of_known_addresses() -> None:
    """Where strangers have all that are for them, one of those makes room for another, however long others hold."""
    target = gate(half_open=8)
    admit_all(target, 2, known=True, prove=True)
    admit_all(target, 5, prove=True, first=100)
    evicted = list[bool]()
    slot = target.admit("10.9.9.9", 0.1, evict=lambda: evicted.append(True))
    assert slot is not None and slot.message1_valid(0.1)
    assert target.admit("192.0.2.1", limits.HELD_SECONDS + 0.05, evict=nothing) is not None
    assert target.counters.evicted == 1 and target._strangers == 6
    assert [slot._key for slot in target._proven][:2] == [address_key(host) for host in ("10.0.0.1", "10.0.1.1")]


@pytest.mark.parametrize("known", [False, True])
def test_holding_slots_counts_as_calling_all_the_time(known: bool) -> None:
    """Also of an address that is known; it is forgotten. Who introduces itself holds nothing."""
    target = gate(half_open=4)
    one, other = "192.0.2.1", "192.0.2.2"

    def rank(host: str, now: float) -> int:
        slot = target.admit(host, now, known=known, evict=nothing)
        assert slot is not None
        slot.release(now)
        return slot._rank

    honest = rank(one, 0.0)
    for host in (one, other):
        slot = target.admit(host, 0.0, known=known, evict=nothing)
        assert slot is not None and slot.message1_valid(0.0)
        if host == other:
            assert slot.introduced()
        slot.release(10.0)
    assert rank(one, 10.0) < honest == rank(other, 10.0)
    seconds = 10.0 * limits.HELD_CALLS - limits.CALLS_FEW
    assert rank(one, 10.0 + seconds - 3.0) < honest == rank(one, 10.0 + seconds + 3.0)


@pytest.mark.parametrize("hold", [0.5, 1.9, 10.0])
@pytest.mark.parametrize("each", [1, 16])
@pytest.mark.parametrize("known", [False, True])
def test_callers_who_know_us_and_hold_their_slots(hold: float, each: int, known: bool) -> None:
    """From two hundred addresses, however long they hold them: a newcomer gets in, at a round trip of 0.3 s."""
    target, got_in = Gate(LimitsConfig()), 0
    turn = itertools.cycle(host for host in itertools.islice(addresses(), 200) for _ in range(each))
    held: list[tuple[float, Slot]] = []
    newcomers: dict[int, Slot] = {}  # by when they called, in hundredths of a second
    for step in range(2000):
        now = step / 100
        while held and held[0][0] <= now:
            held.pop(0)[1].release(now)
        for _ in range(4):
            slot = target.admit(next(turn), now, known=known, evict=nothing)
            if slot is not None and slot.message1_valid(now):
                held.append((now + hold, slot))
        if step >= 500 and step % 10 == 0:
            slot = target.admit(f"172.16.{step // 250}.{step % 250}", now, evict=nothing)
            if slot is not None:
                newcomers[step] = slot
        if step - 30 in newcomers:
            newcomers[step - 30].message1_valid(now)
        if step - 60 in newcomers:
            slot = newcomers.pop(step - 60)
            got_in += slot.introduced()
            slot.release(now)
    assert got_in + len(newcomers) == 150


def test_those_who_are_introduced_make_room_for_each_other() -> None:
    """Where an introducer has too many: the oldest of the address that has most, if those are two more than another
    would have, or have been held; it does not answer for them."""
    target, evicted = gate(half_open_per_address=4), list[str]()

    def call(behind: str | None, now: float) -> bool:
        slot = target.admit("192.0.2.1", now, behind=behind, evict=lambda: evicted.append(behind or ""))
        return slot is not None and slot.message1_valid(now)

    assert all(call(behind, 0.0) for behind in ("10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"))
    assert not call("10.0.0.2", 0.1) and not call(None, 0.1) and not evicted
    assert call("10.0.0.3", 0.1) and evicted == ["10.0.0.2"]
    assert not call("10.0.0.3", 0.2) and call("10.0.0.4", 0.2) and evicted[1:] == ["10.0.0.2"]
    assert not call("10.0.0.5", 1.0)  # each has one
    assert call("10.0.0.5", limits.HELD_SECONDS) and evicted[2:] == ["10.0.0.1"]
    assert target._callers[address_key("192.0.2.1")].holding(limits.HELD_SECONDS) == 0.0


def test_eviction_is_called_without_the_lock() -> None:
    """What is called may use the gate: aborting a connection ends in release()."""
    target = gate(half_open_per_address=1)
    seen = []

    def evict() -> None:
        assert first is not None
        first.release(0.0)
        seen.append(target.counters.current)

    first = target.admit("192.0.2.1", 0.0, evict=evict)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is not None
    assert seen == [1]


def test_an_eviction_that_fails_costs_no_slot() -> None:
    """The error surfaces, and neither slot stays behind."""
    target = gate(half_open_per_address=1)

    def evict() -> None:
        raise OSError("cannot abort")

    target.admit("192.0.2.1", 0.0, evict=evict)
    with pytest.raises(OSError, match="cannot abort"):
        target.admit("192.0.2.1", 0.0, evict=nothing)
    assert target.counters.current == 0


def test_one_address_evicts_its_own() -> None:
    """An address that has too many makes room at its own cost, although other slots are older."""
    target, evicted = gate(half_open_per_address=16), list[int]()
    target.admit("192.0.2.9", 0.0, evict=lambda: evicted.append(-1))
    for number in range(20):
        target.admit("192.0.2.1", 0.0, evict=lambda number=number: evicted.append(number))  # type: ignore[misc]
    assert evicted == [0, 1, 2, 3]
    assert target.counters.current == 17


def test_an_address_whose_slots_are_all_proven_is_refused() -> None:
    """16 handshakes of one address that got past message 1 are not disturbed by a 17th."""
    target = gate()
    slots = [target.admit("192.0.2.1", 0.0, evict=nothing) for _ in range(16)]
    assert all(slot is not None and slot.message1_valid(0.0) for slot in slots)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is None
    slots[0].release(0.0)  # type: ignore[union-attr]
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is not None


def test_a_stranger_never_takes_the_place_of_a_known_address() -> None:
    """A known address may evict a stranger, and if there is none another known one; not the other way round."""
    target, evicted = gate(half_open=4), list[str]()
    for number in range(4):
        target.admit(f"10.0.0.{number}", 0.0, known=True, evict=lambda: evicted.append("known"))
    assert target.admit("10.0.1.1", 0.0, evict=nothing) is None
    assert target.admit("10.0.1.1", 0.0, known=True, evict=nothing) is not None
    assert evicted == ["known"]

    target, evicted = gate(half_open=4), list[str]()
    target.admit("10.0.0.1", 0.0, known=True, evict=lambda: evicted.append("known"))
    for number in range(3):
        target.admit(f"10.0.1.{number}", 0.0, evict=lambda: evicted.append("stranger"))
    assert target.admit("10.0.2.1", 0.0, known=True, evict=nothing) is not None
    assert evicted == ["stranger"]


def test_who_is_charged_for_a_refusal() -> None:
    """An address for what it uses up by itself; of what all use up, whoever left the handshake that makes room, or
    nobody: never the newcomer."""
    charged: list[tuple[str, bytes | None]] = []
    one, other, third = "192.0.2.1", "192.0.2.2", "192.0.2.3"

    def watched(**values: int) -> Gate:
        target = gate(**values)
        target.refused = lambda limit, key: charged.append((limit, key))
        return target

    target = watched(half_open_per_address=1)
    target.admit(one, 0.0, evict=nothing)
    assert target.admit(one, 0.0, evict=nothing) is not None
    target = watched(starts_per_address_per_second=1)
    target.admit(one, 0.0, evict=nothing)
    assert target.admit(one, 0.0, evict=nothing) is None
    own = ["limits.half_open_per_address", "limits.starts_per_address_per_second"]
    assert charged == [(limit, address_key(one)) for limit in own]

    charged.clear()
    target = watched(half_open=2)
    target.admit(one, 0.0, evict=nothing)
    slot = target.admit(other, 0.0, evict=nothing)
    assert target.admit(third, 0.0, evict=nothing) is not None
    assert charged == [("limits.half_open", address_key(one))]
    last = [slot for slot in target._waiting if slot._key == address_key(third)]
    assert slot is not None and slot.message1_valid(0.0) and last[0].message1_valid(0.0)
    assert target.admit(one, 0.0, evict=nothing) is None
    assert charged[1:] == [("limits.half_open", None)]

    charged.clear()
    target = watched(starts_per_second=1)
    target.admit(one, 0.0, evict=nothing)
    assert target.admit(other, 0.0, evict=nothing) is None
    assert charged == [("limits.starts_per_second", None)]


def test_an_introducer_is_not_charged_for_those_whom_it_brings() -> None:
    """They are elsewhere, and may be many; it is charged for who is at its own address."""
    introducer, other = "192.0.2.1", "192.0.2.2"
    for limit, second in (
        ("half_open_per_address", introducer),  # its own place is taken, too
        ("half_open", other),  # which takes the place of the one that was introduced
        ("starts_per_address_per_second", introducer),
    ):
        for behind, expected in (("203.0.113.1", None), ("", None), (None, address_key(introducer))):
            charged: list[tuple[str, bytes | None]] = []
            target = gate(**{limit: 1})
            target.refused = lambda limit, key, charged=charged: charged.append((limit, key))
            assert target.admit(introducer, 0.0, behind=behind, evict=nothing) is not None
            target.admit(second, 0.0, behind=behind if second == introducer else None, evict=nothing)
            assert charged == [(f"limits.{limit}", expected)]


def test_release_is_idempotent() -> None:
    """A slot given back twice is one slot."""
    target = gate()
    one, two = admit_all(target, 2)
    one.release(0.0)
    one.release(0.0)
    assert target.counters.current == 1
    assert not one.message1_valid(0.0)
    two.release(0.0)
    assert target.counters.current == 0
    assert not target._per_key


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_order_of_events_breaks_the_limits(data: st.DataObject) -> None:
    """Whatever comes in whatever order: never too many slots, and every one is accounted for until it is given back."""
    config = LimitsConfig(half_open=8, half_open_per_address=3)
    target = Gate(config)
    live: dict[Slot, tuple[str, bool]] = {}

    def evictor(holder: list[Slot]) -> Callable[[], None]:
        return lambda: live.pop(holder[0]) and None

    for step in range(data.draw(st.integers(1, 60))):
        if live and data.draw(st.booleans()):
            slot = data.draw(st.sampled_from(list(live)))
            if data.draw(st.booleans()):
                assert slot.message1_valid(0.0)
            else:
                slot.release(0.0)
                del live[slot]
        else:
            address, known = f"10.0.0.{data.draw(st.integers(0, 5))}", data.draw(st.booleans())
            holder: list[Slot] = []
            admitted = target.admit(address, step * 1.0, known=known, evict=evictor(holder))
            if admitted is not None:
                holder.append(admitted)
                live[admitted] = (address, known)
        assert target.counters.current == len(live) <= config.half_open
        assert sum(not known for _, known in live.values()) <= 6
        for address in {address for address, _ in live.values()}:
            assert sum(owner == address for owner, _ in live.values()) <= 3
    for slot in list(live):
        slot.release(0.0)
    assert target.counters.current == target._strangers == 0


def test_other_limits_while_it_runs() -> None:
    """Who is in stays in, however many; who comes next is judged by the new ones."""
    target = gate(half_open=10, half_open_per_address=10)
    slots = admit_all(target, 7, prove=True)
    target.configure(LimitsConfig(half_open=4, starts_per_second=1000))
    assert target.counters.current == 7
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is None
    for slot in slots[:5]:
        slot.release(0.0)
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is not None
    target.configure(LimitsConfig(half_open=10, half_open_per_address=1))
    assert admit_all(target, 3, first=50)
    evicted: list[str] = []
    assert target.admit("198.51.100.1", 0.0, evict=lambda: evicted.append("first")) is not None
    assert target.admit("198.51.100.1", 0.0, evict=nothing) is not None
    assert evicted == ["first"]


def test_other_rates_while_it_runs() -> None:
    """What was saved up counts as far as the new rate lets one save; addresses that were seen before have it too."""
    target = Gate(LimitsConfig(half_open=1000, half_open_per_address=1000))
    assert target.admit("192.0.2.1", 0.0, evict=nothing) is not None
    target.configure(LimitsConfig(half_open=1000, half_open_per_address=1000, starts_per_address_per_second=2))
    for address in ("192.0.2.1", "192.0.2.2"):
        admitted = sum(target.admit(address, 0.1, evict=nothing) is not None for _ in range(9))
        assert admitted == 2
    target.configure(LimitsConfig(half_open=1000, half_open_per_address=1000, starts_per_second=4))
    assert sum(target.admit(f"10.0.{n}.1", 0.2, evict=nothing) is not None for n in range(20)) == 3  # and the reserve


def begin(target: Gate, address: str, now: float, tries: int = 100) -> int:
    """How many of so many calls at once are let in; none of them stays."""
    slots = [target.admit(address, now, evict=nothing) for _ in range(tries)]
    for slot in slots:
        if slot is not None:
            slot.release(0.0)
    return sum(slot is not None for slot in slots)


def test_who_is_slowed_begins_less_often_for_a_while() -> None:
    """A quarter as often, and nobody else is; later it is forgotten that it was."""
    target = gate(starts_per_address_per_second=22, half_open_per_address=1000)
    target.slow(address_key("192.0.2.1"), 10.0)
    assert begin(target, "192.0.2.1", 1.0) == 22 // limits.SLOWED_COST
    assert begin(target, "192.0.2.1", 2.0) == 22 // limits.SLOWED_COST
    assert begin(target, "192.0.2.2", 2.0) == 22
    assert begin(target, "192.0.2.1", 10.0) == 22
    assert not target._slowed


def test_who_is_slowed_is_not_locked_out() -> None:
    """However few calls an address may save up, it has one now and then."""
    target = gate(starts_per_address_per_second=1)
    target.slow(address_key("192.0.2.1"), 10.0)
    assert begin(target, "192.0.2.1", 1.0) == 1


def test_who_was_slowed_last_is_remembered() -> None:
    """Of more than can be, the one that was slowed longest ago is forgotten."""
    target = gate(starts_per_address_per_second=20, half_open_per_address=1000)
    first, second = ("192.0.2.1", "192.0.2.2")
    for address in (first, second, first):
        target.slow(address_key(address), 10.0)
    for address in itertools.islice(addresses(), limits.GATE_ADDRESSES_MAX - 1):
        target.slow(address_key(address), 10.0)
    assert len(target._slowed) == limits.GATE_ADDRESSES_MAX
    assert begin(target, first, 1.0) < begin(target, second, 1.0) == 20


def test_of_those_known_the_oldest_makes_room() -> None:
    """As of strangers."""
    target, evicted = gate(half_open=4), list[int]()
    for number in range(6):
        slot = target.admit(
            f"10.0.0.{number}", 0.0, known=True, evict=lambda number=number: evicted.append(number)  # type: ignore[misc]
        )
        assert slot is not None
    assert evicted == [0, 1]
