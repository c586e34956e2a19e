"""Dials, questions and words of others: the bound of each says when it has bitten."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from crust import Identity, limits
from crust.addresses import Contact, Endpoint
from crust.exceptions import Denied
from crust.service.finding.gossip.mail import Mail
from crust.service.finding.neighbours import Neighbours
from crust.service.finding.search import Lead, Search, hearsay_rates
from crust.service.finding.strangers import Strangers
from crust.wire import gossip as wire
from tests.support.bitten import Bitten


def at(host: str, port: int = 5483) -> Endpoint:
    return Endpoint("tcp", host, port)


def a_contact(host: str) -> Contact:
    return Contact(Identity.generate().peer_id, (at(host),))


def test_places_that_others_alone_have_told_of() -> None:
    """Dialled lately; where a node has answered; and forgotten."""
    bitten = Bitten()
    strangers = Strangers(bitten)
    assert strangers.afford([at("20.0.0.1")], 0.0) and not strangers.afford([at("20.0.0.1")], 1.0)
    assert bitten["HEARSAY_REST"] == 1
    strangers.answered(at("20.0.0.1"))
    answers = [bool(strangers.afford([at("20.0.0.1")], 1.0)) for _ in range(limits.HEARSAY_ANSWERED_AT_ONCE + 2)]
    assert bitten["HEARSAY_ANSWERED_PER_SECOND"] == answers.count(False) == 2
    for number in range(limits.HEARSAY_ADDRESSES + 1):
        strangers.afford([at(f"20.1.{number >> 8}.{number & 255}")], 2.0)
    assert bitten["HEARSAY_ADDRESSES"] == 1


def test_places_on_the_lan() -> None:
    """Dials in vain to many addresses."""
    bitten = Bitten()
    near = Neighbours(bitten)
    for number in range(limits.LAN_DIALS_IN_ALL_AT_ONCE + 3):
        near.afford(Identity.generate().peer_id, [at(f"192.168.1.{number + 1}")], 1.0)
    assert bitten["LAN_DIALS_IN_ALL_PER_SECOND"] == 3 and not bitten["LAN_DIALS_PER_SECOND"]


def a_search(bitten: Bitten) -> Any:
    """Only what the tests below need of one."""
    search: Any = object.__new__(Search)
    search._node = SimpleNamespace(refusals=SimpleNamespace(count=bitten))
    search._rates, search._lock, search.failures = hearsay_rates(), threading.Lock(), []
    return search


def test_leads_of_hearsay() -> None:
    """The same place again, and too many in all."""
    bitten = Bitten()
    search = a_search(bitten)
    for number in range(limits.HEARSAY_AT_ONCE):
        assert search._affordable(Lead(a_contact(f"20.0.0.{number + 1}"), "gossip"), 1.0)
    assert not search._affordable(Lead(a_contact("20.0.0.1"), "gossip"), 1.0)
    assert not search._affordable(Lead(a_contact("20.0.1.1"), "gossip"), 1.0)
    assert (bitten["HEARSAY_REST"], bitten["HEARSAY_PER_SECOND"]) == (1, 1)


def test_those_whom_a_full_node_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what one search looks at."""
    monkeypatch.setattr(limits, "BOOTSTRAP_LEADS", 2)
    bitten = Bitten()
    search = a_search(bitten)
    search._told, search._seen, search._waiting, search._sent_on = set(), set(), [], []
    search._networks, search._now = (), lambda: 0.0

    def allowed(lead: Lead) -> Lead:
        search._seen.add(lead.contact.peer_id)
        return lead

    search._allowed = allowed
    others = tuple(str(a_contact(f"20.0.0.{number + 1}")) for number in range(4))
    search._hear_of(Lead(a_contact("20.0.1.1"), "contact"), Denied("full", (), "busy", others))
    assert bitten["BOOTSTRAP_LEADS"] == 4 - len(search._waiting) > 0


def test_gossip_that_nobody_takes() -> None:
    """What waits for one peer, and for all."""
    bitten, frame = Bitten(), wire.Announce(tuple((number, number) for number in range(256)))
    mail = Mail(bitten)

    def peer() -> Any:
        link = SimpleNamespace(blocked=True, verdict="", circuit=None)
        return SimpleNamespace(peer_id=Identity.generate().peer_id, link=link, has_more=False)

    one = peer()
    while mail.add(one, frame, 0.0):
        pass
    assert bitten["GOSSIP_MAIL_PEER"] == 1
    mail._size = limits.GOSSIP_MAIL
    assert not mail.add(peer(), frame, 0.0) and bitten["GOSSIP_MAIL"] == 1
