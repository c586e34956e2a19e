"""What all peers of a node together may have it send to a host where nobody has answered."""

from __future__ import annotations

import pytest

from crust import limits
from crust.addresses import PeerId, address_key
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.bystanders import Bystanders
from crust.service.traversal.allowances import Allowances
from tests.support.bitten import Bitten

VICTIM = "20.0.2.66"
LIAR, HONEST = b"liar", b"good"


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def sent(allowance: Allowance, kind: str, host: str = VICTIM) -> int:
    """All that one peer can have sent there."""
    take = allowance.probe if kind == "PROBES" else allowance.syn
    count = 0
    while take(host):
        count += 1
    return count


@pytest.mark.parametrize("kind", ["PROBES", "SYNS"])
def test_forty_peers_that_an_introducer_invents_get_no_more_than_one(kind: str) -> None:
    """All of them are seen at the victim; others' word is heard still, and then no more of anybody's."""
    bitten = Bitten()
    allowances, seen = Allowances(bitten), frozenset((VICTIM,))
    most = getattr(limits, f"UNPROVEN_{kind}")
    counts = [sent(allowances.of(peer(number), seen, 0.0, LIAR), kind) for number in range(40)]
    assert sum(counts) == most // 2 == getattr(limits, f"SEARCH_{kind}")
    assert sent(allowances.of(peer(50), frozenset(), 1.0, LIAR), kind) == 0  # not even by its own word
    assert sum(sent(allowances.of(peer(60 + number), seen, 1.0, HONEST), kind) for number in range(3)) == most // 2
    assert sent(allowances.of(peer(70), seen, 2.0, b"another"), kind) == 0
    names = {"PROBES": "UNPROVEN_PROBES", "SYNS": "UNPROVEN_SYNS"}
    assert bitten[names[kind]] >= 40
    assert sent(allowances.of(peer(80), seen, limits.SEARCH_MEMORY + 1, LIAR), kind) == most // 2


def test_where_somebody_has_answered_each_has_its_own() -> None:
    """He is no bystander, nor are others behind his router."""
    allowances, seen = Allowances(), frozenset((VICTIM,))
    first = allowances.of(peer(0), seen, 0.0, LIAR)
    assert sent(first, "PROBES") == limits.SEARCH_PROBES
    second = allowances.of(peer(1), seen, 0.0, LIAR)
    assert sent(second, "PROBES") == 0
    first.answered(VICTIM)
    assert sent(second, "PROBES") == limits.SEARCH_PROBES
    late = allowances.of(peer(2), seen, limits.ALLOWANCE_MEMORY + 1, LIAR)
    assert sent(late, "PROBES") == limits.SEARCH_PROBES
    assert sent(allowances.of(peer(3), seen, limits.ALLOWANCE_MEMORY + 1, LIAR), "PROBES") == 0
    allowances.answered(VICTIM, limits.ALLOWANCE_MEMORY + 2)
    assert sent(allowances.of(peer(4), seen, limits.ALLOWANCE_MEMORY + 3, LIAR), "PROBES") == limits.SEARCH_PROBES


def test_whom_we_have_had_a_link_with_is_there() -> None:
    """Nobody has to say so."""
    allowances, seen = Allowances(), frozenset((VICTIM,))
    for number in range(3):
        assert sent(allowances.of(peer(number), seen, 0.0, None), "SYNS") == limits.SEARCH_SYNS


def test_what_is_refused_costs_a_peer_nothing() -> None:
    """It has its own when the others' is forgotten."""
    bystanders = Bystanders()
    greedy, other = Allowance(bystanders=bystanders), Allowance(bystanders=bystanders)
    greedy.begin([VICTIM])
    assert sent(greedy, "SYNS") == limits.SEARCH_SYNS
    other.begin([])
    assert sent(other, "SYNS") == 0
    bystanders.tick(limits.SEARCH_MEMORY + 1)
    assert sent(other, "SYNS") == limits.UNSEEN_SYNS


def test_many_hosts_do_not_make_the_victim_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that got least are."""
    monkeypatch.setattr(limits, "UNPROVEN_HOSTS", 8)
    bystanders = Bystanders()
    assert bystanders.take("UNPROVEN_SYNS", VICTIM, limits.UNPROVEN_SYNS // 2, LIAR)
    for number in range(100):
        assert bystanders.take("UNPROVEN_SYNS", f"20.0.3.{number}", 1, LIAR)
    assert not bystanders.take("UNPROVEN_SYNS", VICTIM, 1, LIAR) and len(bystanders._hosts) == 8
    bystanders.tick(limits.SEARCH_MEMORY + 1)
    assert bystanders.take("UNPROVEN_SYNS", "20.0.4.1", 1, LIAR) and len(bystanders._hosts) == 1


def test_a_network_of_ipv6_counts_as_one_host() -> None:
    """Who is seen at each of its addresses has no more sent there; a peer that is at one does not prove the others."""
    allowances = Allowances()
    hosts = [f"2600::{number:x}" for number in range(1, 9)]
    counts = [
        sent(allowances.of(peer(number), frozenset((host,)), 0.0, LIAR), "PROBES", host)
        for number, host in enumerate(hosts)
    ]
    assert sum(counts) == limits.UNPROVEN_PROBES // 2
    allowances.answered(hosts[0], 1.0)
    for host, most in ((hosts[0], limits.SEARCH_PROBES), (hosts[1], 0), ("2600:0:0:1::1", limits.UNPROVEN_PROBES // 2)):
        assert sent(allowances.of(peer(20), frozenset((host,)), limits.SEARCH_MEMORY, LIAR), "PROBES", host) == most


def test_what_is_forgotten_is_not_looked_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many hosts, some go at once: going through all for each new one took a millisecond."""
    monkeypatch.setattr(limits, "UNPROVEN_HOSTS", 64)
    bystanders = Bystanders()
    for number in range(65):
        assert bystanders.take("UNPROVEN_SYNS", f"20.0.3.{number}", 1 + number, LIAR)
    assert len(bystanders._hosts) == 60
    assert address_key("20.0.3.5") in bystanders._hosts and address_key("20.0.3.4") not in bystanders._hosts
