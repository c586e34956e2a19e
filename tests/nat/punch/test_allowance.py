"""How much may be sent to addresses that another node has named."""

from __future__ import annotations

import pytest

from crust import limits
from crust.nat.punch.allowance import Allowance
from tests.support.bitten import Bitten

VICTIM, SEEN = "192.0.2.66", "198.51.100.7"


def taken(take: object, host: str) -> int:
    """How often that is allowed."""
    assert callable(take)
    count = 0
    while take(host):
        count += 1
        assert count <= limits.SEARCH_PROBES + limits.SEARCH_SYNS
    return count


def test_an_address_that_nobody_saw_gets_twelve_packets() -> None:
    """Over all its ports and methods."""
    bitten = Bitten()
    allowance = Allowance(bitten)
    allowance.begin([SEEN])
    assert taken(allowance.probe, VICTIM) + taken(allowance.syn, VICTIM) == 12
    bitten.clear()
    assert not allowance.probe(VICTIM, 1) and not allowance.syn(VICTIM, 1)
    assert bitten["UNSEEN_PROBES"] == bitten["UNSEEN_SYNS"] == 1


def test_several_at_once_count_as_several() -> None:
    """What does not fit any more is not begun."""
    allowance = Allowance()
    assert allowance.syn(VICTIM, 3)
    assert not allowance.syn(VICTIM, 2)
    assert allowance.syn(VICTIM, 1)


def test_an_address_that_was_seen_gets_what_the_searches_need_and_no_more() -> None:
    """A rendezvous that lies sends us against a victim only within that bound."""
    bitten = Bitten()
    allowance = Allowance(bitten)
    allowance.begin([SEEN])
    assert taken(allowance.probe, SEEN) == limits.SEARCH_PROBES
    assert taken(allowance.syn, SEEN) == limits.SEARCH_SYNS
    assert bitten["SEARCH_PROBES"] >= 1 and bitten["SEARCH_SYNS"] >= 1


def test_who_answered_is_believed() -> None:
    """The peer has proven to be there."""
    allowance = Allowance()
    assert taken(allowance.probe, VICTIM) == limits.UNSEEN_PROBES
    allowance.answered(VICTIM)
    assert allowance.is_trusted(VICTIM) and allowance.probe(VICTIM)


def test_another_attempt_counts_anew_only_for_the_trusted() -> None:
    """Else a peer would only have to begin again and again."""
    allowance = Allowance()
    allowance.begin([SEEN], 0.0)
    assert taken(allowance.probe, SEEN) and taken(allowance.probe, VICTIM)
    allowance.begin([SEEN], limits.SEARCH_MEMORY + 1)
    assert allowance.probe(SEEN) and not allowance.probe(VICTIM)


def test_an_introducer_in_league_with_a_peer_gains_nothing_by_attempts_that_follow_each_other() -> None:
    """What goes to where it says that the peer is stays within one search's bounds a minute."""
    allowance, count = Allowance(), 0
    for second in range(0, int(limits.SEARCH_MEMORY) + 1, 2):
        allowance.begin([VICTIM], float(second))
        while count <= limits.SEARCH_PROBES and allowance.probe(VICTIM):
            count += 1
    assert count == limits.SEARCH_PROBES


def test_where_the_peer_has_answered_each_attempt_has_its_own() -> None:
    """It is no victim."""
    allowance = Allowance()
    for second in range(3):
        allowance.begin([SEEN], float(second))
        allowance.answered(SEEN)
        assert taken(allowance.probe, SEEN) == limits.SEARCH_PROBES


@pytest.mark.parametrize("pause", [1.0, 59.0, 299.0, 599.0])
def test_nobody_gets_more_for_waiting_less_than_the_memory(pause: float) -> None:
    """From the last packet on, not from the first: what is sent at the end of one span is not doubled in the next."""
    allowance, sent = Allowance(), list[float]()
    for number in range(100):
        now = number * pause
        allowance.begin([], now)
        sent += [now] * taken(allowance.probe, VICTIM)
    for first in sent:
        assert sum(first <= at < first + limits.ALLOWANCE_MEMORY for at in sent) <= limits.UNSEEN_PROBES


def test_a_row_of_private_addresses_is_not_looked_through() -> None:
    """They may be machines in our own network; public ones do not count against them, nor one where it was seen."""
    bitten = Bitten()
    allowance = Allowance(bitten)
    allowance.begin(["192.168.7.9"])
    assert allowance.syn("192.168.7.9") and allowance.syn("20.0.1.1")
    assert sum(allowance.syn(f"192.168.7.{number}") for number in range(10, 200)) == limits.UNSEEN_PRIVATE_MAX
    assert not allowance.syn("fd00::1") and not allowance.syn("100.64.0.1") and not allowance.syn("no-address")
    assert allowance.syn("20.0.1.2")
    assert bitten["UNSEEN_PRIVATE_MAX"] == 190 - limits.UNSEEN_PRIVATE_MAX + 3


def test_who_was_seen_once_is_not_believed_for_ever() -> None:
    """It is where the introducer sees it now."""
    allowance = Allowance()
    allowance.begin([SEEN])
    allowance.begin([])
    assert taken(allowance.probe, SEEN) == limits.UNSEEN_PROBES


def test_so_many_addresses_and_no_more() -> None:
    """A list of a thousand victims gets packets to a few."""
    bitten = Bitten()
    allowance = Allowance(bitten)
    reached = sum(allowance.probe(f"20.0.1.{number}") for number in range(200))
    assert bitten["UNSEEN_HOSTS_MAX"] == 200 - reached
    assert reached <= limits.UNSEEN_HOSTS_MAX + 1
