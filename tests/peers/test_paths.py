"""Which way is better, and when a session moves."""

from __future__ import annotations

import itertools

import pytest

from crust.addresses import Endpoint
from crust.peers.paths import CLASSES, Rivalry, Way, class_of, is_better_class, rank
from crust.wire.handshake import Manner

FAR = Endpoint.parse("tcp://93.184.216.34:5483")
NEAR = Endpoint.parse("tcp://192.168.1.7:5483")


def way(rtt: float | None = 0.05, path_class: str = "direct-tcp", remote: Endpoint = FAR) -> Way:
    return Way(path_class, remote, rtt)


def test_the_classes_are_ranked() -> None:
    """Each is better than all that come after it, and anything is better than one that nobody knows."""
    for better, worse in itertools.combinations((*CLASSES, "by pigeon"), 2):
        assert is_better_class(better, worse) is ((better, worse) != ("direct-utp", "punched-tcp"))
        assert not is_better_class(worse, better)
    assert not any(is_better_class(each, each) for each in CLASSES)
    assert rank("direct-tcp") == 0


def test_tcp_is_not_left_for_utp() -> None:
    """It is favoured, although the class of the other one is better."""
    assert rank("direct-utp") < rank("punched-tcp")
    assert not is_better_class("direct-utp", "punched-tcp")
    assert is_better_class("punched-tcp", "punched-utp")


@pytest.mark.parametrize(
    ("manner", "transport", "expected"),
    [
        (Manner.DIRECT, "tcp", "direct-tcp"),
        (Manner.DIRECT, "utp", "direct-utp"),
        (Manner.PUNCHED, "utp", "punched-utp"),
        (Manner.RELAY, "relay", "relay"),
        (Manner.BIRTHDAY, "utp", "birthday"),
    ],
)
def test_a_class_has_a_manner_and_maybe_a_transport(manner: Manner, transport: str, expected: str) -> None:
    """Those that are no better for their transport do without it."""
    assert class_of(manner, transport) == expected


def test_the_order_of_ways() -> None:
    """The class counts first, then our own networks, then the round trip; unmeasured is last."""
    ranked = [
        way(0.5, remote=NEAR),
        way(0.01),
        way(0.02),
        way(None),
        way(0.001, "direct-utp", NEAR),
        way(0.001, "direct-utp"),
        way(0.001, "relay", NEAR),
    ]
    assert sorted(reversed(ranked), key=lambda each: each.order) == ranked


def test_a_better_class_is_worth_a_move_at_once() -> None:
    """Whatever it costs in time; a worse one never is."""
    rivalry = Rivalry()
    slow_tcp, quick_utp = way(2.0), way(0.001, "direct-utp")
    assert rivalry.is_worth_moving(quick_utp, slow_tcp)
    for _ in range(5):
        assert not rivalry.is_worth_moving(slow_tcp, quick_utp)


@pytest.mark.parametrize(
    ("present", "other", "moves"),
    [
        (0.100, 0.080, True),
        (0.100, 0.081, False),  # not 20 %
        (0.040, 0.030, True),
        (0.040, 0.031, False),  # not 10 ms
        (0.010, 0.001, False),
        (0.100, 0.200, False),
        (None, 0.001, False),
        (0.100, None, False),
    ],
)
def test_a_quicker_way_must_be_so_three_times(present: float | None, other: float | None, moves: bool) -> None:
    """By a fifth and by 10 ms, three times running."""
    rivalry = Rivalry()
    assert [rivalry.is_worth_moving(way(present), way(other)) for _ in range(3)] == [False, False, moves]


def test_one_slow_look_begins_the_count_anew() -> None:
    """So does a move."""
    rivalry = Rivalry()
    present, quick, slow = way(0.1), way(0.01), way(0.1)
    looks = [quick, quick, slow, quick, quick, quick]
    assert [rivalry.is_worth_moving(present, each) for each in looks] == [False] * 5 + [True]
    rivalry.moved()
    assert not rivalry.is_worth_moving(present, quick)
