"""
Which connections groups need, and which of them are to be dialled, offered or ended. Sans-IO: time, randomness and what
is known of others are arguments.

Rules:

- A group has ``want`` *places*. A place is taken by a session that a link carries, whoever began it, and asked for by
  one about which the application is still deciding. Never are more asked for and taken than there are.
- A session keeps its place for ``GROUP_PATIENCE`` without a link, or less if its program seems to have ended. When it
  comes back later, it takes a free place again, without being offered again.
- Sessions that are there are offered before anybody is dialled. Whoever is chosen, for a place or a dial, is of those
  who may be: a member before others, then one that has failed less often, then one in a network with fewer places.
- There are no more dials under way than places to be filled, except that one which takes longer than ``GROUP_SLOW`` no
  longer counts; and ``KEEP_DIALS`` in all. When the last place is taken, the others are given up.
- After a session, and after each failed dial, a peer is left alone for a time that doubles, and begins anew with each
  session, but not if the other side soon replaces it, again and again: another program may have our identity. Who is
  no member rests for ``DROPPED_SECONDS`` after ``GROUP_FAILURES`` failures.
- A session that a dial of ours made, that no group has a place for, and that nobody else wants, is ended. No other is,
  unless the application says so: then it is, if no other group keeps it and the application did not itself ask for it.
- ``keep`` is a group of its own: each kept peer that has no session is dialled, as if it had one place for each.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Collection, Iterable, Mapping

from ... import limits
from ...addresses import PeerId
from .actions import Action, Cut, Dial, Fullness, GiveUp, Offer
from .members import GroupState, PeerState

__all__ = ["Core"]

_NO_PLACE = "not needed any more"
_NEVER = float("inf")
_MANY = 16
_CROWD = 64


class Core:
    """
    All groups of one node. Not thread-safe. After each call, carry out :meth:`actions`; after each but :meth:`turn`,
    and when :meth:`get_timer` says so, call :meth:`turn`.

    Args:
        uniform: Random numbers from 0 to 1.
    """

    def __init__(self, uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform
        self._peers: dict[PeerId, PeerState] = {}
        self._groups: dict[str, GroupState] = {}
        self._kept: set[PeerId] = set()
        self._claims: collections.Counter[PeerId] = collections.Counter()
        self._own: set[PeerId] = set()  # whose session the application asked for itself
        self._ours: set[PeerId] = set()  # those whose session is ours, to be ended when nobody wants it
        self._actions: list[Action] = []
        self._next = _NEVER
        self._known = 0  # when it was asked last,
        self._looked_at = -_NEVER
        self._crowd = _CROWD  # from so many peers on it is looked who is to be forgotten, also if nothing is wanted

    # --- what the application wants -----------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether there is anything to see to."""
        return bool(self._groups or self._kept or self._ours)

    def open(self, name: str, want: int, members: Iterable[PeerId], *, others: bool, asks: bool) -> None:
        """
        Begin a group; see :class:`GroupState`.

        Raises:
            ValueError: There is one of that name.
        """
        if name in self._groups:
            raise ValueError(f"there is a group {name!r} already: close it first, or choose another name")
        self._groups[name] = GroupState(name, want, members, others=others, asks=asks)

    def close(self, name: str) -> None:
        """End a group. Harmless if there is none of that name."""
        group = self._groups.pop(name, None)
        if group is not None:
            self._release([*group.taken, *group.asked, *group.approved])

    def want(self, name: str, want: int) -> None:
        """Another number of places: those who came last leave first, those whom we dialled before all others."""
        group = self._groups[name]
        group.want = want
        leaving = []
        while group.free < 0:
            places = [*group.taken, *group.asked]
            leaves = max(range(len(places)), key=lambda at: (places[at] in self._ours, at))
            group.leave(places[leaves])
            leaving.append(places[leaves])
        self._release(leaving)

    def add(self, name: str, peer_id: PeerId) -> None:
        """That peer belongs to the group."""
        group = self._groups[name]
        group.members.add(peer_id)
        group.excluded.discard(peer_id)

    def remove(self, name: str, peer_id: PeerId) -> None:
        """That peer is not to be in the group any more."""
        group = self._groups[name]
        group.members.discard(peer_id)
        if group.others:
            group.excluded.add(peer_id)
        group.forget(peer_id)
        self._release([peer_id])

    def keep(self, peer_id: PeerId) -> None:
        """Dial that peer whenever it has no session."""
        self._kept.add(peer_id)

    def unkeep(self, peer_id: PeerId) -> None:
        """No longer. Its session, if there is one, is the application's."""
        if peer_id in self._kept:
            self._kept.discard(peer_id)
            self._is_own(peer_id)

    def claim(self, peer_id: PeerId) -> None:
        """The application itself asks for that peer: until :meth:`unclaim` what comes of it is not ours to end."""
        self._claims[peer_id] += 1
        self._is_own(peer_id)

    def unclaim(self, peer_id: PeerId) -> None:
        """It has what it asked for, or not. A session that there is stays its own."""
        self._claims[peer_id] -= 1
        if self._claims[peer_id] <= 0:
            del self._claims[peer_id]

    def decided(self, name: str, peer_id: PeerId, session: object, refusal: str | None, now: float) -> None:
        """
        The application has decided about a session that was offered.

        Args:
            refusal: None: it keeps it; else what to tell the other side.
        """
        group, peer = self._groups.get(name), self._peers.get(peer_id)
        if group is None or peer is None or peer.session is not session:
            return
        has_place = group.asked.pop(peer_id, None) is not None
        if refusal is None:
            group.approved[peer_id] = session
            if has_place:
                group.taken[peer_id] = session
            return
        group.refuse(peer_id, session, now + limits.DROPPED_SECONDS)
        if not self.is_wanted(peer_id) and peer_id not in self._own:
            self._ours.discard(peer_id)  # it is ended once
            self._actions.append(Cut(session, refusal, is_dropped=True))

    # --- what happens -------------------------------------------------------------------------------------------------

    def connected(self, peer_id: PeerId, session: object, now: float, *, inbound: bool, network: str) -> None:
        """A link carries that session: a new one, or one that was here before."""
        peer = self._peer(peer_id)
        dialled = peer.dialled_at is not None or now < peer.given_up_at + limits.GROUP_SLOW  # it came all the same
        peer.dialled_at = None
        if peer.session is not session:
            if peer.session is not None:
                self._over(peer)
            peer.session, peer.since = session, now
            if dialled and not inbound:
                self._ours.add(peer_id)
            if self._claims[peer_id] > 0:
                self._is_own(peer_id)
        peer.away_since = None
        peer.network = network or peer.network
        peer.failures, peer.not_before = 0, 0.0
        self._seat_one(peer)

    def suspended(self, peer_id: PeerId, session: object, now: float) -> None:
        """That session has lost its link."""
        peer = self._peers.get(peer_id)
        if peer is not None and peer.session is session and peer.away_since is None:
            peer.away_since = now

    def refused(self, peer_id: PeerId, now: float) -> None:
        """Nothing listens any more where that peer was: if its session has no link, it hardly comes back soon."""
        peer = self._peers.get(peer_id)
        if peer is not None and peer.away_since is not None:
            peer.away_since = min(peer.away_since, now + limits.GROUP_REFUSED - limits.GROUP_PATIENCE)

    def lost(self, peer_id: PeerId, session: object, now: float, *, replaced: bool = False) -> None:
        """
        That session is over.

        Args:
            replaced: The other side has begun another one in its place, or knows none.
        """
        peer = self._peers.get(peer_id)
        if peer is not None and peer.session is session:
            self._over(peer)
            # Two programs with one identity would take the peer from each other for ever, as fast as they can.
            peer.replaced = peer.replaced + 1 if replaced and now < peer.since + limits.KEEP_STEADY else 0
            peer.failures = max(0, peer.replaced - limits.KEEP_REPLACED)
            peer.back_off(self._uniform(), now)
            if len(self._peers) >= self._crowd:  # there is no turn while nothing is wanted
                self._forget(now)
                self._crowd = max(_CROWD, 2 * len(self._peers))

    def failed(self, peer_id: PeerId, now: float, *, for_good: bool) -> None:
        """
        A dial came to nothing.

        Args:
            for_good: It would every time.
        """
        peer = self._peers.get(peer_id)
        if peer is None or peer.dialled_at is None:
            return  # given up, or it is there
        peer.dialled_at = None
        peer.failures += 1
        peer.back_off(self._uniform(), now)
        if for_good or (peer.failures >= limits.GROUP_FAILURES and not self.is_named(peer_id)):
            peer.not_before = now + limits.DROPPED_SECONDS

    def hurry(self, now: float) -> None:
        """What was in vain may not be so now: another network."""
        for peer in self._peers.values():
            peer.not_before = min(peer.not_before, now)

    # --- what is so ---------------------------------------------------------------------------------------------------

    def sessions(self, name: str) -> list[object]:
        """Those in places of that group that have a link, by age."""
        group = self._groups.get(name)
        if group is None:
            return []
        return [session for peer_id, session in group.taken.items() if self._peers[peer_id].is_up]

    def dialling(self, name: str) -> list[PeerId]:
        """Whom it waits for."""
        group = self._groups.get(name)
        dialled = [each.peer_id for each in self._peers.values() if each.dialled_at is not None]
        return [each for each in dialled if group is not None and group.admits(each)]

    def is_full(self, name: str) -> bool:
        """Whether it has as many as it wants."""
        group = self._groups.get(name)
        return group is not None and len(group.taken) >= group.want

    def members(self, name: str) -> frozenset[PeerId]:
        """Whom it was given."""
        group = self._groups.get(name)
        return frozenset() if group is None else frozenset(group.members)

    def is_named(self, peer_id: PeerId) -> bool:
        """Whether it is a member of a group, or kept."""
        return peer_id in self._kept or any(peer_id in each.members for each in self._groups.values())

    def is_wanted(self, peer_id: PeerId) -> bool:
        """Whether a group has a place for it, or it is kept."""
        return peer_id in self._kept or any(group.has(peer_id) for group in self._groups.values())

    @property
    def kept(self) -> frozenset[PeerId]:
        """Whom the application wants kept."""
        return frozenset(self._kept)

    # --- what is to be done -------------------------------------------------------------------------------------------

    def turn(
        self, now: float, known: Mapping[PeerId, str] | None, allowed: Callable[[PeerId], bool]
    ) -> None:
        """
        See to everything.

        Args:
            known: Whom there is to dial, and in which network. None: it was not asked, since nobody was missing
                (:attr:`is_short`); if somebody is by now, the next turn is at once.
            allowed: Whether somebody may be dialled.
        """
        self._next = _NEVER
        for group in self._groups.values():
            for peer_id in [*group.taken, *group.asked]:
                if self._peers[peer_id].is_missed(now):
                    group.leave(peer_id)
            group.forget_refusals(now)
        self._seat(now)
        self._end_dials(now)
        self._end_what_nobody_wants()
        self._dial_kept(now, allowed)
        short = [each for each in self._groups.values() if each.free > 0]
        if short and known is None:
            self._next = now
        elif short and known is not None:
            self._known, self._looked_at = len(known), now
            self._dial(short, now, known, allowed)
        self._give_up(now)
        for group in self._groups.values():
            self._tell(group)
        self._set_timer(short, now)
        self._forget(now)

    @property
    def is_short(self) -> bool:
        """Whether somebody is missing in a group."""
        return any(each.free > 0 for each in self._groups.values())

    def when_known(self) -> float:
        """
        When to call :meth:`turn` if somebody has just become known: soon after the last look at all, but not at once
        for each of many. Infinity: nobody is missing.
        """
        if not self.is_short:
            return _NEVER
        return self._looked_at + max(limits.GROUP_NEWS, self._known / limits.GROUP_LOOKS_PER_SECOND)

    def get_timer(self) -> float:
        """When to call :meth:`turn` again if nothing happens; infinity: never."""
        return self._next

    def actions(self) -> list[Action]:
        """What is to be done, in this order; each once."""
        actions, self._actions = self._actions, []
        return actions

    # --- places -------------------------------------------------------------------------------------------------------

    def _seat_one(self, peer: PeerState) -> None:
        """A session has come: whoever wants it most has it first, so that it is asked for before its first message."""
        for group in self._groups.values():
            if group.free > 0 and group.could_take(peer):
                self._take(group, peer)

    def _seat(self, now: float) -> None:
        for group in self._groups.values():
            if group.free <= 0:
                continue
            able = [peer for peer in self._peers.values() if group.could_take(peer)]
            crowd = group.networks(self._peers)
            while able and group.free > 0:
                best = min(
                    able,
                    key=lambda each: (
                        each.peer_id not in group.members,
                        each.peer_id not in group.approved,
                        crowd[each.network] if each.network else 0,
                    ),
                )
                able.remove(best)
                crowd[best.network] += 1
                self._take(group, best)

    def _take(self, group: GroupState, peer: PeerState) -> None:
        assert peer.session is not None
        if not group.asks or group.approved.get(peer.peer_id) is peer.session:
            group.taken[peer.peer_id] = peer.session
        else:
            group.asked[peer.peer_id] = peer.session
            self._actions.append(Offer(group.name, peer.session))

    def _end_what_nobody_wants(self) -> None:
        self._release([each for each in self._ours if self._peers[each].is_up])

    def _release(self, peer_ids: Iterable[PeerId]) -> None:
        """End the sessions of those that are ours to end, if nobody wants them."""
        for peer_id in dict.fromkeys(peer_ids):
            peer = self._peers.get(peer_id)
            if peer is None or peer.session is None or peer_id not in self._ours:
                continue
            if not self.is_wanted(peer_id):
                self._ours.discard(peer_id)  # it is ended once
                self._actions.append(Cut(peer.session, _NO_PLACE, is_dropped=False))

    def _is_own(self, peer_id: PeerId) -> None:
        """The session, if there is one, is the application's: no group ends it."""
        if self._session(peer_id) is not None:
            self._own.add(peer_id)
            self._ours.discard(peer_id)

    def _over(self, peer: PeerState) -> None:
        """Its session has ended."""
        peer.session, peer.away_since = None, None
        self._own.discard(peer.peer_id)
        self._ours.discard(peer.peer_id)
        for group in self._groups.values():
            group.over(peer.peer_id)

    def _tell(self, group: GroupState) -> None:
        is_full = len(group.taken) >= group.want
        if is_full != group.was_full and (is_full or group.was_full is not None):
            self._actions.append(Fullness(group.name, is_full))
            group.was_full = is_full

    # --- dials --------------------------------------------------------------------------------------------------------

    def _dial_kept(self, now: float, allowed: Callable[[PeerId], bool]) -> None:
        for peer_id in self._kept:
            peer = self._peer(peer_id)
            if peer.session is not None or peer.dialled_at is not None or not allowed(peer_id):
                continue
            if peer.not_before > now:
                self._next = min(self._next, peer.not_before)
            else:
                self._begin(peer, now)

    def _dial(
        self,
        short: Collection[GroupState],
        now: float,
        known: Mapping[PeerId, str],
        allowed: Callable[[PeerId], bool],
    ) -> None:
        """Dial for those groups that have free places, in turns."""
        for peer_id, network in known.items():
            if peer_id in self._peers and self._peers[peer_id].session is None and network:
                self._peers[peer_id].network = network
        for group in short:
            missing = group.free - self._young(group, now)
            if missing <= 0:
                continue
            able = self._able(group, now, known)
            unwelcome = 0
            crowd = group.networks(self._peers)
            for peer in self._peers.values():
                if peer.dialled_at is not None and group.admits(peer.peer_id) and peer.network:
                    crowd[peer.network] += 1
            while able and missing > 0:
                best = min(able, key=lambda peer_id: self._order(group, peer_id, able[peer_id], crowd))
                network = able.pop(best)
                if not allowed(best):
                    unwelcome += 1
                    if unwelcome == _MANY:  # to ask about each once is quicker than to choose among all again and again
                        able = {each: where for each, where in able.items() if allowed(each)}
                    continue
                crowd[network] += 1
                peer = self._peer(best)
                peer.network = network or peer.network
                if not self._begin(peer, now):
                    return
                missing -= 1

    def _able(self, group: GroupState, now: float, known: Mapping[PeerId, str]) -> dict[PeerId, str]:
        """Whom the group could dial now, if it may, in random order; notes when somebody else can be."""
        found = []
        places = {**dict.fromkeys(group.members, ""), **known}
        for peer_id, network in places.items():
            if not group.may_dial(peer_id, now):
                continue
            peer = self._peers.get(peer_id)
            if peer is not None and (peer.session is not None or peer.dialled_at is not None):
                continue
            if peer is not None and peer.not_before > now:
                self._next = min(self._next, peer.not_before)
                continue
            found.append((self._uniform(), peer_id, network or ("" if peer is None else peer.network)))
        return {peer_id: network for _, peer_id, network in sorted(found, key=lambda each: each[0])}

    def _order(
        self, group: GroupState, peer_id: PeerId, network: str, crowd: Mapping[str, int]
    ) -> tuple[bool, int, int]:
        peer = self._peers.get(peer_id)
        failures = 0 if peer is None else peer.failures
        return peer_id not in group.members, failures, crowd[network] if network else 0

    def _young(self, group: GroupState, now: float) -> int:
        """Dials that are counted on for its places."""
        count = 0
        for peer in self._peers.values():
            if peer.dialled_at is not None and group.may_dial(peer.peer_id, now):
                slow_at = peer.dialled_at + limits.GROUP_SLOW
                if now < slow_at:
                    count += 1
                    self._next = min(self._next, slow_at)
        return count

    def _begin(self, peer: PeerState, now: float) -> bool:
        """Dial, if that is not too many at once."""
        if sum(each.dialled_at is not None for each in self._peers.values()) >= limits.KEEP_DIALS:
            return False
        peer.dialled_at = now
        self._actions.append(Dial(peer.peer_id))
        return True

    def _give_up(self, now: float) -> None:
        """End dials that are of no use to anybody now."""
        for peer in self._peers.values():
            if peer.dialled_at is None or peer.peer_id in self._kept:
                continue
            if not any(each.free > 0 and each.may_dial(peer.peer_id, now) for each in self._groups.values()):
                peer.dialled_at, peer.given_up_at = None, now
                self._actions.append(GiveUp(peer.peer_id))

    def _end_dials(self, now: float) -> None:
        """Those that have had their time."""
        for peer in [*self._peers.values()]:
            if peer.dialled_at is not None and now >= peer.dialled_at + limits.KEEP_DIAL_TIMEOUT:
                peer.given_up_at = now
                self._actions.append(GiveUp(peer.peer_id))
                self.failed(peer.peer_id, now, for_good=False)

    # --- time, memory -------------------------------------------------------------------------------------------------

    def _set_timer(self, short: Collection[GroupState], now: float) -> None:
        if short:
            pause = max(limits.GROUP_LOOK, self._known / limits.GROUP_LOOKS_PER_SECOND)
            self._next = min(self._next, now + pause)
        for peer in self._peers.values():
            if peer.dialled_at is not None:
                self._next = min(self._next, peer.dialled_at + limits.KEEP_DIAL_TIMEOUT)
        for group in self._groups.values():
            for peer_id in (*group.taken, *group.asked):
                away_since = self._peers[peer_id].away_since
                if away_since is not None:
                    self._next = min(self._next, away_since + limits.GROUP_PATIENCE)

    def _forget(self, now: float) -> None:
        """Do not grow with all who were ever known."""
        for peer_id in [peer_id for peer_id, peer in self._peers.items() if peer.is_idle(now)]:
            del self._peers[peer_id]
        failing = [each for each in self._peers.values() if each.session is None and each.dialled_at is None]
        if len(failing) > limits.GROUP_PEERS_KNOWN:
            failing.sort(key=lambda each: each.not_before)
            for peer in failing[: len(failing) - limits.GROUP_PEERS_KNOWN]:
                del self._peers[peer.peer_id]

    def _peer(self, peer_id: PeerId) -> PeerState:
        return self._peers.setdefault(peer_id, PeerState(peer_id))

    def _session(self, peer_id: PeerId) -> object | None:
        peer = self._peers.get(peer_id)
        return None if peer is None else peer.session
