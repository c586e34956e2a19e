"""What answers from outside show of the translators on the way."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.nat.punch.standing import (
    DEPENDENT,
    INDEPENDENT,
    NOTHING,
    UNKNOWN,
    Soundings,
    block_of,
    step_of,
)
from crust.wire.frames import Standing, TransportCode

HOST, OTHER, OUTER = "20.0.1.1", "20.0.3.1", "20.0.2.1"


def soundings() -> Soundings:
    return Soundings(TransportCode.UTP, 4)


def burst(about: Soundings, ports: list[int], now: float = 0.0, host: str = HOST, first: int = 1000) -> None:
    """One question to each of several ports of a host, and what it saw."""
    for place, seen in enumerate(ports):
        about.answered(about.asked(now), (host, first + place), (OUTER, seen), now)


def standing(about: Soundings, now: float = 0.0) -> Standing:
    found = about.standing(now)
    assert found is not None
    return found


# --- mapping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "mapping"),
    [([5], UNKNOWN), ([5, 5], INDEPENDENT), ([5, 5, 5, 5], INDEPENDENT), ([5, 6], DEPENDENT), ([5, 5, 9], DEPENDENT)],
)
def test_two_answers_tell(ports: list[int], mapping: int) -> None:
    """By the ports of a single address."""
    about = soundings()
    burst(about, ports)
    assert standing(about).mapping == mapping


def test_two_addresses_tell_as_well() -> None:
    """One port of each is enough."""
    about = soundings()
    burst(about, [5])
    burst(about, [6], host=OTHER)
    assert standing(about).mapping == DEPENDENT


def test_nothing_is_known_without_an_answer() -> None:
    """And nothing is said."""
    assert soundings().standing(0.0) is None


def test_silence_all_around_is_a_wall() -> None:
    """Two ports that say nothing; but not if anything gets through."""
    about = soundings()
    about.silent((HOST, 1), 0.0)
    assert about.standing(0.0) is None
    about.silent((HOST, 2), 0.0)
    assert standing(about).mapping == NOTHING
    assert about.standing(0.0, passes=True) is None
    assert about.standing(limits.REFLEXIVE_LIFE) is None
    burst(about, [5])
    assert standing(about).mapping == UNKNOWN


def test_an_address_of_our_own_is_no_translation() -> None:
    """One answer is enough then."""
    about = soundings()
    burst(about, [5])
    found = about.standing(0.0, [(OUTER, 5), ("192.168.1.1", 5)])
    assert found is not None and found.mapping == INDEPENDENT


def test_what_was_seen_long_ago_is_not_compared() -> None:
    """A translator forgets: another port after a while is no other port for another destination."""
    about = soundings()
    burst(about, [5, 5])
    burst(about, [9], limits.SOUNDINGS_WINDOW + 1)
    assert standing(about, limits.SOUNDINGS_WINDOW + 1).mapping == INDEPENDENT
    assert about.latest(limits.SOUNDINGS_WINDOW + 1) == ((OUTER, 9),)


def test_knowledge_ends() -> None:
    """When answers have become too old, and at once on another network."""
    about = soundings()
    burst(about, [5, 6, 7])
    assert about.standing(limits.REFLEXIVE_LIFE + 1) is None
    burst(about, [5, 6, 7])
    about.resets = True
    about.forget()
    assert (about.standing(0.0), about.resets) == (None, False)


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "step"),
    [
        ([40, 41, 42], 1),
        ([40, 42, 44], 2),
        ([44, 43, 42], -1),
        ([40, 41, 43], 1),  # another flow in between
        ([40, 42, 43], 1),
        ([40, 43, 44], 1),  # two of them
        ([40, 41, 43, 44], 1),
        ([64998, 64999, 65000, 40000, 40001], 1),  # the count begins anew
        ([40, 42, 41, 43], 1),  # one question has overtaken another
        ([1000, 1256, 1512], 256),
        ([40, 41], 0),
        ([40, 40, 40], 0),
        ([40, 41, 48], 0),
        ([5000, 9000, 13000], 0),
        ([31213, 4411, 60123, 17777], 0),
        ([40, 41, 43, 46, 50], 0),
    ],
)
def test_the_step(ports: list[int], step: int) -> None:
    """Three show it."""
    assert step_of(ports) == step


@given(
    st.integers(2000, 50000),
    st.integers(-256, 256).filter(bool),
    st.integers(3, 8),
    st.integers(0, 7),
    st.integers(2, 3),
)
def test_one_foreign_flow_does_no_harm(first: int, step: int, count: int, place: int, more: int) -> None:
    """Wherever it comes in between."""
    ports = [first]
    for number in range(1, count):
        ports.append(ports[-1] + step * (more if number == 1 + place % (count - 1) else 1))
    assert step_of(ports) == step


def test_random_ports_have_no_step() -> None:
    """In twenty thousand tries of four, next to none."""
    source = random.Random(7)
    wrong = sum(bool(step_of([source.randrange(1024, 65536) for _ in range(4)])) for _ in range(20_000))
    assert wrong <= 2


def test_a_step_comes_with_the_mapping() -> None:
    """From the answers of one round, in the order of the questions, not of the answers."""
    about = soundings()
    numbers = [about.asked(0.0) for _ in range(4)]
    for place in (2, 0, 3, 1):
        about.answered(numbers[place], (HOST, 1000 + place), (OUTER, 40000 + place), 0.0)
    assert (standing(about).mapping, standing(about).step) == (DEPENDENT, 1)
    assert not about.wants_more(0.0)


def test_what_goes_out_at_one_moment_counts_most() -> None:
    """Between a link of some time ago and the questions others took ports; not between the questions."""
    about = soundings()
    about.answered(about.asked(0.0), (HOST, 1), (OUTER, 40011), 0.1)
    burst(about, [40020, 40024], 0.1)
    assert (standing(about, 0.1).step, about.wants_more(0.1)) == (0, True)
    for place in range(5):
        about.answered(about.asked(0.3), (HOST, 1000), (OUTER, 40050 + place), 0.4, is_own=False)
    assert (standing(about, 0.4).step, standing(about, 0.4).low) == (1, 0)


@pytest.mark.parametrize(
    ("moments", "step"),
    [
        ([[13, 12, 11]], 1),
        ([[12, 13, 11]], 1),
        ([[65534, 65535, 1024, 1025]], 1),
        ([[13, 12, 11], [16, 15, 14]], 1),
        ([[11, 13, 12], [8, 9, 10]], -1),
        ([[24, 18, 21], [15]], -3),
    ],
)
def test_syns_of_one_moment_overtake_each_other(moments: list[list[int]], step: int) -> None:
    """So their order says nothing; that of the moments does."""
    about = Soundings(TransportCode.TCP, 4)
    for number, ports in enumerate(moments):
        burst(about, ports, 0.3 * number, first=1000 + 10 * number)
    assert (standing(about, 1.0).mapping, standing(about, 1.0).step) == (DEPENDENT, step)


def test_datagrams_of_one_moment_do_not() -> None:
    """One thread sends them."""
    about = soundings()
    burst(about, [13, 12, 11])
    assert standing(about).step == -1


def test_asking_again_over_the_same_flows_spoils_nothing() -> None:
    """By UDP each destination has its port still, also where one answer came alone."""
    about = soundings()
    burst(about, [40000, 40001, 40002])
    burst(about, [40000, 40001, 40002], 120.0)
    burst(about, [40000, 40001, 40002], 120.1)
    assert standing(about, 120.1).step == 1


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_eight_ports_show_a_block() -> None:
    """Those of other ports of ours count, which say nothing about the mapping."""
    about = soundings()
    burst(about, [41000, 40100, 40900, 40500])
    assert about.wants_more(0.0)
    assert (standing(about).low, standing(about).high) == (0, 0)
    for place, seen in enumerate((40700, 40001, 41023, 40333)):
        about.answered(about.asked(0.0), (HOST, 1000 + place), (OUTER, seen), 0.0, is_own=False)
    assert not about.wants_more(0.0)
    assert (standing(about).low, standing(about).high) == (40001, 41023)
    assert standing(about).mapping == DEPENDENT


def test_foreign_ports_say_nothing_about_ours() -> None:
    """A fresh port has another outer port at every translator."""
    about = soundings()
    burst(about, [5, 5])
    about.answered(about.asked(0.0), (HOST, 1000), (OUTER, 77), 0.0, is_own=False)
    assert standing(about).mapping == INDEPENDENT
    assert about.latest(0.0) == ((OUTER, 5),)


def test_ports_from_everywhere_are_no_block() -> None:
    """Nor are few."""
    assert block_of(range(1000, 60000, 5000)) == (0, 0)
    assert block_of(range(40000, 40007)) == (0, 0)
    assert block_of([*range(40000, 40007), 40001]) == (0, 0)
    assert block_of(range(40000, 40008)) == (40000, 40007)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 65535), st.floats(0, 20), st.booleans()), max_size=60))
def test_the_wire_takes_it(answers: list[tuple[int, int, float, bool]]) -> None:
    """Whatever is answered, what is said fits its fields, and little is remembered."""
    about, now = soundings(), 0.0
    for server, seen, later, is_own in answers:
        now += later
        about.answered(about.asked(now), (HOST, 1000 + server), (OUTER, seen), now, is_own=is_own)
        found = about.standing(now)
        if found is not None:
            assert found.mapping in (UNKNOWN, INDEPENDENT, DEPENDENT)
            assert abs(found.step) <= limits.PORT_STEP_MAX
            assert 0 <= found.low <= found.high <= 65535
    assert len(about._answers) <= limits.SOUNDINGS_MAX
