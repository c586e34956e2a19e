"""What traversals of a node share: whose turn it is, what peers may have us send, and when to look again."""

from __future__ import annotations

import functools

import pytest

from crust import limits
from crust.addresses import PeerId
from crust.nat.methods import Method
from crust.service.traversal.allowances import Allowances
from crust.service.traversal.rests import Rests
from crust.service.traversal.schedule import Schedule
from crust.service.traversal.search import SearchTurns
from tests.support.bitten import Bitten

VICTIM = "192.0.2.66"
HERE = (b"introducer", b"here")


def method(name: str, path_class: str) -> Method:
    return Method(name, path_class, lambda ours, theirs: None)


def test_one_searches_at_a_time_in_order() -> None:
    """The next one is called when the first is done; asking twice is asking once."""
    turns, called = SearchTurns(), list[str]()
    for who in ("a", "b", "a", "b", "c"):
        turns.ask(who, HERE, functools.partial(called.append, who))
    assert called == ["a"] and turns.is_taken
    turns.done("a")
    assert called == ["a", "b"]
    turns.done("b")
    turns.done("c")
    assert called == ["a", "b", "c"] and not turns.is_taken


def test_who_no_longer_waits_is_not_called() -> None:
    """Done is also said by those that wait."""
    turns, called = SearchTurns(), list[str]()
    for who in ("a", "b", "c"):
        turns.ask(who, HERE, functools.partial(called.append, who))
    turns.done("b")
    turns.done("a")
    assert called == ["a", "c"]


def test_a_new_session_is_no_new_allowance() -> None:
    """Nor is a new attempt."""
    allowances, peer = Allowances(), PeerId(bytes(32))
    first = allowances.of(peer, frozenset(), 0.0, b"")
    assert first.probe(VICTIM, limits.UNSEEN_PROBES)
    again = allowances.of(peer, frozenset(), limits.ALLOWANCE_MEMORY, b"")
    assert not again.probe(VICTIM)
    assert allowances.of(PeerId(bytes(31) + b"\1"), frozenset(), 1.0, b"").probe(VICTIM)


def test_an_address_may_be_tried_anew_after_a_while_and_on_another_network() -> None:
    """What was in vain need not be so for ever."""
    allowances, peer = Allowances(), PeerId(bytes(32))
    assert allowances.of(peer, frozenset(), 0.0, b"").probe(VICTIM, limits.UNSEEN_PROBES)
    assert not allowances.of(peer, frozenset(), 30.0, b"").probe(VICTIM)
    later = 30.0 + limits.ALLOWANCE_MEMORY
    assert not allowances.of(peer, frozenset(), later, b"").probe(VICTIM)
    assert allowances.of(peer, frozenset(), later + 1, b"").probe(VICTIM, limits.UNSEEN_PROBES)
    allowances.forget()
    assert allowances.of(peer, frozenset(), later + 2, b"").probe(VICTIM)


def test_a_birthday_search_in_vain_rests_for_an_hour() -> None:
    """For that peer, and that protocol; other searches do not."""
    rests, peer, other = Rests(), PeerId(bytes(32)), PeerId(bytes(31) + b"\1")
    birthday, predict = method("birthday-udp", "birthday"), method("predict-udp", "predicted")
    for each in (birthday, predict):
        rests.in_vain(peer, each, 0.0)
    assert rests.rests(peer, birthday, limits.BIRTHDAY_REST - 1)
    assert not rests.rests(peer, birthday, limits.BIRTHDAY_REST)
    assert not rests.rests(peer, predict, 1.0)
    assert not rests.rests(other, birthday, 1.0)
    rests.forget()
    assert not rests.rests(peer, birthday, 1.0)


def test_only_so_many_peers_are_remembered() -> None:
    """The memory is bounded."""
    bitten = Bitten()
    allowances = Allowances(bitten)
    for number in range(limits.ALLOWANCES_MAX + 10):
        allowances.of(PeerId(number.to_bytes(32, "big")), frozenset(), 0.0, b"")
    assert len(allowances._kept) == limits.ALLOWANCES_MAX and bitten["ALLOWANCES_MAX"] == 10


def test_a_relay_is_left_after_5_and_30_seconds_then_rarely() -> None:
    """With jitter."""
    schedule = Schedule(lambda: 0.5)
    assert [schedule.delay("relay") for _ in range(4)] == [5.0, 30.0, 180.0, 180.0]
    schedule.moved()
    assert schedule.delay("relay") == 5.0
    assert Schedule(lambda: 0.0).delay("relay") == pytest.approx(5.0 * (1 - limits.JITTER))


@pytest.mark.parametrize("path_class", ["direct-tcp", "punched-tcp"])
def test_nothing_is_better_than_tcp_without_a_relay(path_class: str) -> None:
    """It stays."""
    assert Schedule(lambda: 0.5).delay(path_class) is None


@pytest.mark.parametrize("path_class", ["direct-utp", "punched-utp", "predicted", "birthday"])
def test_other_paths_are_looked_at_rarely(path_class: str) -> None:
    """From 1 to 5 minutes."""
    assert Schedule(lambda: 0.0).delay(path_class) == limits.UPGRADE_MIN
    assert Schedule(lambda: 0.999).delay(path_class) == pytest.approx(limits.UPGRADE_MAX, rel=0.01)
