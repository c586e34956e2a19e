"""Through whom others are reached, and through whom we are: our peers that introduce."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Contact, PeerId
from ...wire.handshake import Capability, Role
from ..session import State

if TYPE_CHECKING:
    from ..conversation import Conversation

__all__ = ["Introducers"]


class _Memory:
    """
    How often something happened with introducers, for each peer that was to be reached. Not thread-safe.

    Args:
        seconds: After the last time it is forgotten.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._noted: dict[PeerId, dict[PeerId, tuple[float, int]]] = {}  # when, and how often; the last noted last

    def note(self, introducer: PeerId, target: PeerId, now: float, times: int = 1) -> None:
        """It has happened once more, or so many times."""
        since = now - self._seconds
        noted = self._noted.pop(target, {})
        noted = self._noted[target] = {each: what for each, what in noted.items() if what[0] > since}
        noted[introducer] = now, noted.get(introducer, (now, 0))[1] + times
        while True:
            oldest = next(iter(self._noted))
            if len(self._noted) <= limits.CIRCUIT_TRIED_PEERS and max(self._noted[oldest].values())[0] > since:
                break
            del self._noted[oldest]

    def of(self, target: PeerId, now: float, seconds: float | None = None) -> dict[PeerId, int]:
        """How often with each introducer; those with which it did not, in so many seconds, are left out."""
        since = now - (self._seconds if seconds is None else seconds)
        return {each: times for each, (at, times) in self._noted.get(target, {}).items() if at > since}


class Introducers:
    """
    Those of one node. Thread-safe, by a lock of its own: the dialer asks while it holds its lock, which comes after the
    registry's.

    Args:
        now: The node's clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()  # guards the dictionaries; nothing is called while it is held
        self._peers: dict[PeerId, Conversation] = {}
        self._roomless = _Memory(limits.CIRCUIT_ROOM_RECORD)  # they had no room for data
        self._tried = _Memory(limits.CIRCUIT_TRIED_MEMORY)  # there was a circuit through them, or no way

    def add(self, conversation: Conversation) -> None:
        """A link carries that session."""
        if conversation.capabilities & Capability.CIRCUITS:
            with self._lock:
                self._peers[conversation.peer_id] = conversation

    def remove(self, conversation: Conversation) -> None:
        """That session is over."""
        with self._lock:
            if self._peers.get(conversation.peer_id) is conversation:
                del self._peers[conversation.peer_id]

    def had_no_room(self, introducer: PeerId, target: PeerId) -> None:
        """
        A circuit through that one carries no data to ``target``, whatever it said. It may be the target that wants
        none, so this says nothing about others.
        """
        with self._lock:
            self._roomless.note(introducer, target, self._now())

    def was_tried(self, introducer: PeerId, target: PeerId, wasted: float = 0.0) -> None:
        """
        A session with ``target`` is on a circuit through that one now, or there was to be one, and it led to nothing.
        If that peer is to be reached again soon, others come first: whoever ends circuits as soon as they stand would
        get the session again and again, and whoever lets nothing through would keep the two apart.

        Args:
            wasted: Seconds that this took, and led to nothing: it is as if it had been tried so much more often.
        """
        with self._lock:
            self._tried.note(introducer, target, self._now(), 1 + int(wasted / limits.CIRCUIT_HANDICAP))

    def roomless(self, target: PeerId) -> set[PeerId]:
        """Those that had no room lately for data to ``target``."""
        with self._lock:
            return set(self._roomless.of(target, self._now(), limits.CIRCUIT_ROOM_MEMORY))

    def _tries(self, target: PeerId) -> Counter[PeerId]:
        now = self._now()
        with self._lock:
            return Counter(self._tried.of(target, now)) + Counter(dict.fromkeys(self._roomless.of(target, now), 1))

    def handicaps(self, target: PeerId, those: Iterable[PeerId]) -> list[float]:
        """For each of these, how many seconds the others have for themselves that were tried less."""
        tries = self._tries(target)
        times = [tries[each] for each in those]
        least = min(times, default=0)
        return [min((each - least) * limits.CIRCUIT_HANDICAP, limits.CIRCUIT_HANDICAP_MAX) for each in times]

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._peers = {}
        self._roomless, self._tried = _Memory(0.0), _Memory(0.0)

    def present(self) -> list[Conversation]:
        """Those that could introduce us to somebody now."""
        with self._lock:
            peers = list(self._peers.values())
        found = []
        for each in peers:
            link = each.link
            if link is not None and link.circuit is None and not link.verdict:
                if each.session.state is State.CONNECTED:
                    found.append(each)
        return found

    def towards(self, target: PeerId, among: Collection[PeerId] | None = None) -> list[Conversation]:
        """
        Through whom to try to reach a peer: at most ``CIRCUIT_INTRODUCERS``, of different networks if possible; first
        those that carry an application's data, then those that were tried least lately, then those that are near. To
        say that one carries it costs nothing: where all of these have been tried so much more, somebody else has the
        place of the last.

        Args:
            among: Only these.
        """
        able = [each for each in self.present() if among is None or each.peer_id in among]
        roomless, tries = self.roomless(target), self._tries(target)
        present = [each for each in able if each.peer_id != target]
        present.sort(key=lambda each: _place(each, roomless, tries))
        chosen = _spread(present, limits.CIRCUIT_INTRODUCERS, 1)
        fresh = min(present, key=lambda each: tries[each.peer_id], default=None)
        if fresh is not None:
            least = min(tries[each.peer_id] for each in chosen)
            if least - tries[fresh.peer_id] >= limits.CIRCUIT_WORN:
                chosen[-1] = fresh
        return chosen

    def has(self, peer_id: PeerId) -> bool:
        """Whether that peer could introduce us to somebody now, or somebody to us."""
        return any(each.peer_id == peer_id for each in self.present())

    def via(self) -> tuple[Contact, ...]:
        """
        Those that others may ask to be introduced to us: peers that we dialled, at a public address if there are such;
        at most ``VIA_MAX``, and of one network ``VIA_PER_NETWORK``, if there are others.
        """
        dialled = []
        for each in self.present():
            link = each.link
            if link is not None and not link.inbound and link.connection.remote.is_dialable:
                if each.role is not Role.CLIENT:  # of which others are not told
                    dialled.append(each)
        public = [each for each in dialled if each.link is not None and each.link.connection.remote.is_global]
        contacts = []
        for each in _spread(sorted(public or dialled, key=_place), limits.VIA_MAX, limits.VIA_PER_NETWORK):
            link = each.link
            if link is not None:
                contacts.append(Contact(each.peer_id, (link.connection.remote,)))
        return tuple(contacts)


_NOBODY: Counter[PeerId] = Counter()


def _place(
    conversation: Conversation, roomless: Collection[PeerId] = (), tries: Counter[PeerId] = _NOBODY
) -> tuple[bool, bool, int, float]:
    """The least is tried first."""
    rtt, peer_id = conversation.session.srtt, conversation.peer_id
    carries = bool(conversation.capabilities & Capability.RELAY) and peer_id not in roomless
    far = float("inf") if rtt is None else rtt
    return not carries, conversation.session.suspected, tries[peer_id], far


def _spread(present: Iterable[Conversation], most: int, of_network: int) -> list[Conversation]:
    """The first ones, but those beyond ``of_network`` of one network only if there are no others."""
    from ...nat.stun.opinions import network_of  # not before somebody is to be reached

    chosen: list[Conversation] = []
    others: list[Conversation] = []
    networks: dict[str, int] = {}
    for each in present:
        link = each.link
        network = "" if link is None else network_of(link.connection.remote.host)
        networks[network] = networks.get(network, 0) + 1
        (chosen if networks[network] <= of_network else others).append(each)
    return [*chosen, *others][:most]
