"""What links offer, by itself: bounded for each link and in all, and nothing of those who broke their word."""

from __future__ import annotations

from crust.discovery.gossip.link import Link
from crust.discovery.gossip.pulling import Pulling

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
    """Thousands of links may have something to offer: where nothing can be asked, only the first is seen."""
    pulling, links = linked(200)
    for number, link in enumerate(links):
        pulling.offered(link, number, 1, False, 0.0)
        if len(pulling.wants) == 2 * MOST:
            break
    pulling.checks.spend(0.0, pulling.checks.left(0.0))
    looked_at: list[bytes] = []

    class Watched(dict[bytes, Link]):
        def get(self, key: bytes, default: object = None) -> Link | None:  # type: ignore[override]
            looked_at.append(key)
            return super().get(key)

    pulling._links = Watched(pulling._links)
    assert pulling.requests(0.0) == [] and len(looked_at) == 1
    assert 0.0 < pulling.due <= 1.0
    assert len(pulling.requests(1.0)) == 2 * MOST
