"""
Which records are missing, who could give them, and who is asked: one link for each record, so many at a time.

Every record that comes costs a signature to check, so nothing is asked for that a budget does not allow: those of the
link and of all links together bound what floods of announcements can cost. Addresses take turns with the latter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ... import limits
from ...peers.shares import Turns
from ...wire.gossip import Request
from .clocks import Allowance
from .link import Link, fresh_of_all, unasked_of_all

__all__ = ["Pulling", "Want"]


class Want:
    """A record that is missing, or older here than elsewhere."""

    __slots__ = ("asked", "sources")

    def __init__(self) -> None:
        self.sources: dict[bytes, int] = {}
        """Who announced it, and which version."""
        self.asked: bytes | None = None


class Pulling:
    """
    Args:
        links: All of them, by peer.
        most: Records that one link may offer, and that are not here; of all links twice as many.
        bites: Told the name of a limit that has bitten.
    """

    __slots__ = (
        "_again_at",
        "_bites",
        "_deadlines",
        "_links",
        "_most",
        "_ready",
        "checks",
        "fresh",
        "unasked",
        "wants",
    )

    def __init__(
        self, links: dict[bytes, Link], most: int, bites: Callable[[str], object] = lambda limit: None
    ) -> None:
        self._bites = bites
        self._links = links
        self._most = most
        self.checks = Allowance(limits.GOSSIP_CHECKS, limits.GOSSIP_CHECKS_BURST)
        self.fresh = fresh_of_all(most)
        self.unasked = unasked_of_all()
        self.wants: dict[int, Want] = {}
        self._ready = Turns[Link](lambda link: link.place)  # those with offers
        self._deadlines: deque[tuple[float, bytes, int]] = deque()
        self._again_at = float("inf")

    def offered(self, link: Link, prefix: int, version: int, is_new: bool, now: float) -> None:
        """The peer has a record that we would have. New: of a node that we know nothing of, while space is dear."""
        if now < link.muted_until:
            return
        if len(link.offers) >= self._most:
            self._bites("gossip.max_records")
            return
        want = self.wants.get(prefix)
        if want is None:
            if len(self.wants) >= 2 * self._most:
                self._bites("gossip.max_records")
                return
            if is_new:
                if link.fresh.left(now) < 1:
                    self._bites("GOSSIP_FRESH_SECONDS")
                    return
                if not self.may_add(link, now):
                    return
                link.fresh.spend(now, 1)
            want = self.wants[prefix] = Want()
        elif want.sources.get(link.peer_id, -1) >= version:
            return
        is_first = link.peer_id not in want.sources
        want.sources[link.peer_id] = version
        if is_first and want.asked is None:
            self._put(link, prefix)

    def _put(self, link: Link, prefix: int) -> None:
        link.offers.append(prefix)
        self._ready.append(link)

    def may_check(self, link: Link, now: float) -> bool:
        """Whether a record may be checked that nobody asked for; counted if so. Half of all checks are for others."""
        if self.checks.left(now) < 1 or not self.unasked.permit(link.place, now):
            return False
        self.checks.spend(now, 1)
        return True

    def may_add(self, link: Link, now: float) -> bool:
        """Whether those where that peer is may bring one more node of which we know nothing; counted if so."""
        if self.fresh.permit(link.place, now):
            return True
        self._bites("GOSSIP_FRESH_SECONDS")
        return False

    def requests(self, now: float) -> list[tuple[Link, Request]]:
        """Whom to ask for what, now."""
        asked: list[tuple[Link, Request]] = []
        self._again_at = float("inf")
        later: list[Link] = []  # last in line
        while self._ready:
            if self.checks.left(now) < 1:
                self._bites("GOSSIP_CHECKS")
                self._again_at = now + limits.GOSSIP_DELAY_PUBLIC
                break  # however many there are yet
            link = self._ready.popleft()
            peer_id = link.peer_id
            if now < link.muted_until:
                self._forsake(link)
                continue
            if len(link.outstanding) > limits.GOSSIP_OUTSTANDING // 2:
                later.append(link)
                continue  # a few frames with many rather than many with few
            room = min(link.checks.left(now), self.checks.left(now), limits.GOSSIP_OUTSTANDING - len(link.outstanding))
            prefixes: list[int] = []
            while link.offers and len(prefixes) < int(room):
                prefix = link.offers.pop()
                want = self.wants.get(prefix)
                if want is not None and want.asked is None and peer_id in want.sources:
                    want.asked = peer_id
                    link.outstanding[prefix] = now + limits.GOSSIP_PATIENCE
                    prefixes.append(prefix)
                    self._deadlines.append((now + limits.GOSSIP_PATIENCE, peer_id, prefix))
            if prefixes:
                link.checks.spend(now, len(prefixes))
                self.checks.spend(now, len(prefixes))
                asked.append((link, Request(tuple(prefixes))))
            if not link.offers:
                continue
            later.append(link)
            if len(link.outstanding) <= limits.GOSSIP_OUTSTANDING // 2:
                self._bites("GOSSIP_CHECKS" if self.checks.left(now) < 1 else "GOSSIP_CHECKS_LINK")
                self._again_at = now + limits.GOSSIP_DELAY_PUBLIC
        self._ready.extend(later)
        return asked

    def claimed(self, link: Link, prefix: int) -> int | None:
        """The version that the peer said it has, of a record that was asked of it and has not come; else None."""
        if prefix not in link.outstanding:
            return None
        want = self.wants.get(prefix)
        return want.sources.get(link.peer_id, -1) if want is not None else -1

    def came(self, link: Link, prefix: int, has: int) -> list[bytes]:
        """
        It has come, or what came was worth nothing.

        Args:
            has: The version that is here now; -1: none.

        Returns:
            Who announced a version that is no newer.
        """
        link.outstanding.pop(prefix, None)
        link.late = 0
        want = self.wants.get(prefix)
        if want is None:
            return []
        known = [peer_id for peer_id, claimed in want.sources.items() if claimed <= has]
        for peer_id in known:
            del want.sources[peer_id]
        want.sources.pop(link.peer_id, None)
        if want.asked == link.peer_id:
            want.asked = None
        self._again(prefix, want)
        return known

    def _again(self, prefix: int, want: Want) -> None:
        """Ask somebody else, or nobody any more."""
        if want.asked is not None:
            return
        for peer_id in list(want.sources):
            link = self._links.get(peer_id)
            if link is None:
                del want.sources[peer_id]
            else:
                self._put(link, prefix)
        if not want.sources:
            self.wants.pop(prefix, None)

    def lost(self, link: Link) -> None:
        """There is no such link any more."""
        for prefix in link.outstanding:
            want = self.wants.get(prefix)
            if want is not None and want.asked == link.peer_id:
                want.asked = None
                want.sources.pop(link.peer_id, None)
                self._again(prefix, want)
        self._forsake(link)

    def _forsake(self, link: Link) -> None:
        """Ask nothing more of it."""
        for prefix in link.offers:
            want = self.wants.get(prefix)
            if want is not None:
                want.sources.pop(link.peer_id, None)
                if want.asked is None and not want.sources:
                    del self.wants[prefix]
        link.offers.clear()
        self._ready.remove(link)

    def expire(self, now: float) -> None:
        """Do not wait any longer for what was asked long ago."""
        while self._deadlines and self._deadlines[0][0] <= now:
            due, peer_id, prefix = self._deadlines.popleft()
            want = self.wants.get(prefix)
            link = self._links.get(peer_id)
            if link is None or link.outstanding.get(prefix) != due:
                continue  # it has come, and may have been asked for anew
            del link.outstanding[prefix]
            link.late += 1
            if link.late >= 2 * limits.GOSSIP_OUTSTANDING:
                link.late = 0
                link.muted_until = max(link.muted_until, now + limits.GOSSIP_PAUSED)
                self._bites("GOSSIP_PAUSED")
            if want is not None and want.asked == peer_id:
                want.asked = None
                want.sources.pop(peer_id, None)
                self._again(prefix, want)

    @property
    def due(self) -> float:
        """When ``requests`` or ``expire`` may have something to do."""
        return min(self._deadlines[0][0], self._again_at) if self._deadlines else self._again_at
