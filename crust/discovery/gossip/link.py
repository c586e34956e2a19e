"""What a node remembers of one link that carries gossip."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable

from ... import limits
from ...runtime.rates import Rates
from ...wire.gossip import prefix_of
from .clocks import Allowance
from .store import EVERYTHING

__all__ = ["Link"]


class Link:
    """
    Args:
        peer_id: 32 bytes.
        is_public: Strangers reach that peer.
        is_short: It stands for a question only.
        max_records: That our store takes.
    """

    __slots__ = (
        "checks",
        "compared_until",
        "finds",
        "fresh",
        "is_open",
        "is_public",
        "is_short",
        "items",
        "known",
        "late",
        "muted_until",
        "news",
        "offers",
        "outstanding",
        "peer_id",
        "place",
        "prefix",
        "queue",
        "radius",
        "strikes",
        "summaries",
        "told",
        "wanted",
        "wanted_until",
    )

    def __init__(self, peer_id: bytes, is_public: bool, is_short: bool, max_records: int) -> None:
        self.peer_id = peer_id
        self.prefix = prefix_of(peer_id)
        self.place: Hashable = peer_id
        """Who shares it, shares what is answered of their questions for nodes, and takes turns for records."""
        self.is_public = is_public
        self.is_short = is_short
        self.checks = Allowance(limits.GOSSIP_CHECKS_LINK, limits.GOSSIP_CHECKS_LINK)
        self.fresh = Allowance(max_records / 16 / limits.GOSSIP_FRESH_SECONDS, max_records / 16)
        self.items = Allowance(limits.GOSSIP_ITEMS_RATE, max(limits.GOSSIP_ITEMS_BURST, 3.0 * max_records))
        self.finds = Allowance(limits.GOSSIP_FINDS_LINK, 2 * limits.GOSSIP_FINDS_LINK)
        self.summaries = Allowance(limits.GOSSIP_SUMMARIES_LINK, limits.GOSSIP_SUMMARIES_BURST)
        self.strikes = 0
        self.muted_until = float("-inf")
        self.news: dict[str, float] = {}  # when it was last reported, by kind of misbehaviour
        self.compared_until = float("-inf")
        """Until when it may say what it has, having been asked: on a later link, too, if the first one is cut."""
        self.reset(is_public, is_short)

    def reset(self, is_public: bool, is_short: bool) -> None:
        """It is a new link to the same peer: what that may cost us goes on."""
        self.is_public = is_public
        self.is_short = is_short
        self.is_open = False
        """The peer has said that it takes part."""
        self.radius = EVERYTHING
        """What the peer keeps."""
        self.told = 0
        """Of what is announced to all: the number of the first thing that this link has not been told."""
        self.known: dict[int, int] | None = None
        """Prefixes among the rest that the peer has already, if there are any, and the number of that news of each."""
        self.queue: dict[int, None] | None = None
        """Prefixes to announce to this link alone, if there are any."""
        self.offers: list[int] = []
        """Prefixes that the peer could give, and that were not here when it said so."""
        self.outstanding: dict[int, float] = {}
        """Prefixes asked for, and until when they are waited for."""
        self.late = 0
        """How many of these in a row have not come."""
        self.wanted = array("Q")
        """What the peer asked for and has not got for want of budget: prefixes, as arrays, as many links may wait."""
        self.wanted_until = array("d")
        """And until when it waits for each."""

    def want(self, prefixes: Iterable[int], until: float) -> None:
        """The peer asks for these, and waits so long."""
        self.wanted.extend(prefixes)
        self.wanted_until.extend([until] * (len(self.wanted) - len(self.wanted_until)))

    def takes(self, prefix: int) -> bool:
        """Whether announcements of that node's record go there."""
        return self.is_open and not self.is_short and prefix ^ self.prefix <= self.radius

    def strike(self, now: float) -> bool:
        """It did not do what it said; True: so often that nothing is asked of it for a while."""
        self.strikes += 1
        if self.strikes < limits.GOSSIP_STRIKES:
            return False
        self.strikes = 0
        self.muted_until = now + limits.GOSSIP_MUTED
        return True


def finds_of_all() -> Rates:
    """How many questions for nodes are answered, by the ``place`` of who asks: keys cost nothing, addresses do."""
    return Rates(
        limits.GOSSIP_FINDS_ADDRESS,
        limits.GOSSIP_FINDS,
        each_size=2 * limits.GOSSIP_FINDS_ADDRESS,
        all_size=2 * limits.GOSSIP_FINDS,
        names=("GOSSIP_FINDS_ADDRESS", "GOSSIP_FINDS"),
        seldom=(limits.GOSSIP_FINDS_SELDOM, 10 * limits.GOSSIP_FINDS_SELDOM),
    )


def asked_of_each() -> Rates:
    """How many questions for nodes we put to one: fewer than it answers, or it says that we flood it."""
    return Rates(limits.GOSSIP_ASKED_RATE, float("inf"), each_size=limits.GOSSIP_ASKED_BURST)


def fresh_of_all(most: int) -> Rates:
    """How many records of unknown nodes are asked for while space is dear, by the ``place`` of who offers them."""
    seconds = limits.GOSSIP_FRESH_SECONDS
    return Rates(
        most / 8 / seconds,
        most / 4 / seconds,
        each_size=most / 8,
        all_size=most / 4,
        names=("GOSSIP_FRESH_SECONDS", "GOSSIP_FRESH_SECONDS"),
        seldom=(most / 64 / seconds, most / 64),
    )


def unasked_of_all() -> Rates:
    """How many records are checked that nobody asked for, by the ``place`` of the nodes that bring their own."""
    checks, burst = limits.GOSSIP_CHECKS, limits.GOSSIP_CHECKS_BURST
    return Rates(
        checks / 8,
        checks / 2,
        each_size=burst / 8,
        all_size=burst / 2,
        names=("GOSSIP_CHECKS", "GOSSIP_CHECKS"),
        seldom=(limits.GOSSIP_UNASKED_SELDOM, 10 * limits.GOSSIP_UNASKED_SELDOM),
    )
