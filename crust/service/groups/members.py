"""What the core of groups remembers: of each peer, and of each group."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from ... import limits
from ...addresses import PeerId

__all__ = ["GroupState", "PeerState"]


class PeerState:
    """One peer, for all groups: its session, the dial to it, and when the next one may be."""

    __slots__ = (
        *("away_since", "dialled_at", "failures", "given_up_at"),
        *("network", "not_before", "peer_id", "replaced", "session", "since"),
    )

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self.session: object | None = None
        self.since = float("-inf")
        """When it had one last that was new."""
        self.away_since: float | None = None
        """Since when the session has no link."""
        self.network = ""
        """Where it is, or was last: peers of one network are likely to be gone together. Empty: not known."""
        self.dialled_at: float | None = None
        """Since when a dial is under way."""
        self.given_up_at = float("-inf")
        self.failures = 0
        self.replaced = 0
        """Sessions in a row that another one took the place of, soon after they began."""
        self.not_before = 0.0

    @property
    def is_up(self) -> bool:
        """A link carries its session."""
        return self.session is not None and self.away_since is None

    def is_missed(self, now: float) -> bool:
        """Its session has had no link for longer than a group waits for it."""
        return self.away_since is not None and now >= self.away_since + limits.GROUP_PATIENCE

    def back_off(self, uniform: float, now: float) -> None:
        """Not again for a while, which is longer after each failure."""
        delay = min(limits.KEEP_DELAY * 2.0 ** min(self.failures, 30), limits.KEEP_DELAY_MAX)
        self.not_before = now + delay * (1 + limits.JITTER * (2 * uniform - 1))

    def is_idle(self, now: float) -> bool:
        """There is nothing to remember of it."""
        if self.session is not None or self.dialled_at is not None:
            return False
        memory = limits.DROPPED_SECONDS if self.failures else 0.0
        return now >= max(self.not_before + memory, self.given_up_at + limits.GROUP_SLOW)


class GroupState:
    """
    One group.

    Args:
        want: How many places it has.
        members: Who belongs to it.
        others: Whether everybody else may take a place, too.
        asks: Whether the application decides about each session.
    """

    __slots__ = (
        *("approved", "asked", "asks", "excluded", "members", "name", "others", "refused", "taken"),
        *("want", "was_full"),
    )

    def __init__(self, name: str, want: int, members: Iterable[PeerId], *, others: bool, asks: bool) -> None:
        self.name = name
        self.want = want
        self.members = set(members)
        self.others = others
        self.asks = asks
        self.excluded: set[PeerId] = set()
        """Those that were removed, while everybody else may come."""
        self.asked: dict[PeerId, object] = {}
        """Places of sessions about which the application is deciding, by age."""
        self.taken: dict[PeerId, object] = {}
        """Places of sessions that it keeps, by age."""
        self.approved: dict[PeerId, object] = {}
        """Sessions that the application has said yes to, in a place or not."""
        self.refused: dict[PeerId, tuple[object | None, float]] = {}
        """Sessions that it has said no to, until they end, and until when the group does not dial that peer; by age."""
        self.was_full: bool | None = None

    @property
    def free(self) -> int:
        """Places that nobody has; less than none after there were more."""
        return self.want - len(self.taken) - len(self.asked)

    def admits(self, peer_id: PeerId) -> bool:
        """Whether that peer may be in it."""
        return peer_id in self.members or (self.others and peer_id not in self.excluded)

    def has(self, peer_id: PeerId) -> bool:
        """Whether it has a place."""
        return peer_id in self.taken or peer_id in self.asked

    def could_take(self, peer: PeerState) -> bool:
        """Whether that peer's session may have a place, if there is one."""
        refused = self.refused.get(peer.peer_id)
        refuses = refused is not None and refused[0] is peer.session  # which there is, if it is up
        return peer.is_up and self.admits(peer.peer_id) and not self.has(peer.peer_id) and not refuses

    def may_dial(self, peer_id: PeerId, now: float) -> bool:
        """Whether a dial to that peer would be of use to it."""
        refused = self.refused.get(peer_id)
        return self.admits(peer_id) and not self.has(peer_id) and (refused is None or refused[1] <= now)

    def leave(self, peer_id: PeerId) -> None:
        """Free that peer's place."""
        self.taken.pop(peer_id, None)
        self.asked.pop(peer_id, None)

    def forget(self, peer_id: PeerId) -> None:
        """That peer's session is no concern of it any more."""
        self.leave(peer_id)
        self.approved.pop(peer_id, None)

    def over(self, peer_id: PeerId) -> None:
        """That peer's session is over: nothing of it is kept, which may be much, and anybody can have many keys."""
        self.forget(peer_id)
        refused = self.refused.get(peer_id)
        if refused is not None:
            self.refused[peer_id] = (None, refused[1])

    def refuse(self, peer_id: PeerId, session: object, until: float) -> None:
        """The application has said no to that session; of those that are over, the oldest are forgotten for it."""
        self.forget(peer_id)
        self.refused.pop(peer_id, None)
        self.refused[peer_id] = (session, until)
        if len(self.refused) > limits.GROUP_PEERS_KNOWN:
            oldest = next((each for each, (kept, _) in self.refused.items() if kept is None), None)
            if oldest is not None:
                del self.refused[oldest]

    def forget_refusals(self, now: float) -> None:
        """Of which nothing follows any more."""
        over = []
        for peer_id, (session, until) in self.refused.items():
            if until > now:  # as that of all after it
                break
            if session is None:
                over.append(peer_id)
        for peer_id in over:
            del self.refused[peer_id]

    def networks(self, peers: dict[PeerId, PeerState]) -> collections.Counter[str]:
        """How many of its places are in each network."""
        return collections.Counter(
            peers[each].network for each in (*self.taken, *self.asked) if each in peers and peers[each].network
        )
