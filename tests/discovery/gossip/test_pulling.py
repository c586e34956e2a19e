"""What links offer, by itself: bounded for each link and in all, and nothing of those who broke their word."""

from __future__ import annotations

import pytest

from crust import limits
from crust.discovery.gossip.link import Link
from crust.discovery.gossip.pulling import Pulling
from crust.peers.shares import Turns

MOST = 16


def linked(count: int) -> tuple[Pulling, list[Link]]:
    links = [Link(bytes([number]) * 32, True, False, MOST) for number in range(count)]
    return Pulling({link.peer_id: link for link in links}, MOST), links


def test_so_many_offers_are_noted_of_one_link_and_of_all() -> None:
    """However many links there are, each with names of its own: more than twice what is kept would be no use."""
    pulling, links = linked(8)
    names = iter(range(10_000))
    for link in links:
        for _ in range(3 * MOST):
            pulling.offered(link, next(names), 1, False, 0.0)
        assert len(link.offers) <= MOST
    assert len(pulling.wants) == 2 * MOST


def test_what_is_asked_of_nobody_costs_nobody() -> None:
    """Offers of those of whom nothing is asked for a while take nothing from what all links together may bring."""
    pulling, links = linked(8)
    *liars, honest = links
    for link in liars:
        link.muted_until = 100.0
    left = pulling.fresh._all.tokens(0.0)
    names = iter(range(10_000))
    for link in liars:
        for _ in range(MOST):
            pulling.offered(link, next(names), 1, True, 0.0)
    assert pulling.fresh._all.tokens(0.0) == left and pulling.wants == {}
    pulling.offered(honest, next(names), 1, True, 0.0)
    assert [link for link, _ in pulling.requests(0.0)] == [honest]


def test_without_a_budget_nobody_is_looked_at() -> None:
    """Thousands of links may have something to offer: where nothing can be asked, nobody is."""
    pulling, links = linked(200)
    looked_at: list[Link] = []

    class Watched(Turns[Link]):
        def popleft(self) -> Link:
            looked_at.append(super().popleft())
            return looked_at[-1]

    pulling._ready = Watched(lambda link: link.place)
    for number, link in enumerate(links):
        pulling.offered(link, number, 1, False, 0.0)
        if len(pulling.wants) == 2 * MOST:
            break
    pulling.checks.spend(0.0, pulling.checks.left(0.0))
    assert pulling.requests(0.0) == [] and not looked_at
    assert 0.0 < pulling.due <= 1.0
    assert len(pulling.requests(1.0)) == len(looked_at) == 2 * MOST


def test_addresses_take_turns() -> None:
    """Of many keys at one of them, one is asked before who is elsewhere; whose link has ended is asked no more."""
    pulling, links = linked(60)
    *many, other = links
    for number, link in enumerate(links):
        if link is not other:
            link.place = "there"
        pulling.offered(link, number, 1, False, 0.0)
        if number == MOST:
            break
    pulling.offered(other, 1000, 1, False, 0.0)
    pulling.checks.spend(0.0, pulling.checks.left(0.0) - 2)
    assert [link for link, _ in pulling.requests(0.0)] == [many[0], other]
    pulling.lost(many[1])
    assert [link for link, _ in pulling.requests(10.0)] == many[2 : MOST + 1]
    pulling.offered(many[1], 2000, 1, False, 10.0)  # it is back
    assert [link for link, _ in pulling.requests(10.0)] == [many[1]]


def test_records_that_nobody_asked_for_leave_half_of_the_checks() -> None:
    """However many nodes bring their own; and who has brought none before may."""
    pulling, links = linked(200)
    first, *rest, last = links
    assert sum(pulling.may_check(first, 0.0) for _ in range(1000)) == limits.GOSSIP_CHECKS_BURST / 8
    for link in rest:
        link.place = "there"
    many = sum(pulling.may_check(link, 0.0) for link in rest for _ in range(10))
    assert many == limits.GOSSIP_CHECKS_BURST / 8
    for number, link in enumerate(rest):
        link.place = number % 8
    while any([pulling.may_check(link, 0.0) for link in rest]):
        pass
    assert pulling.checks.left(0.0) == pytest.approx(limits.GOSSIP_CHECKS_BURST / 2, abs=100)
    assert pulling.may_check(last, 0.0)
