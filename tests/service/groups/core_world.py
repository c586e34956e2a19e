"""A world for the core of groups: peers that live, die and refuse, on a clock that the test moves. No I/O."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from crust import PeerId, limits
from crust.service.groups.actions import Cut, Dial, Fullness, GiveUp, Offer
from crust.service.groups.core import Core

__all__ = ["Session", "World", "make_ids"]


def make_ids(count: int) -> list[PeerId]:
    """Peer ids; nobody has their keys."""
    return [PeerId(number.to_bytes(2, "big") + bytes(30)) for number in range(1, count + 1)]


class Session:
    """Stands for one."""

    def __init__(self, peer_id: PeerId, *, inbound: bool) -> None:
        self.peer_id = peer_id
        self.inbound = inbound


class World:
    """
    Carries out what the core wants, after a while, and checks after each step that it keeps its rules.

    Args:
        peers: Who could be there; all are alive, and known.
        seed: Of all that is left to chance.
    """

    def __init__(self, peers: list[PeerId], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.core = Core(self.random.random)
        self.now = 1000.0
        self.networks = {peer_id: f"net {number}" for number, peer_id in enumerate(peers)}
        self.alive = set(peers)
        self.silent: set[PeerId] = set()
        """Who does not even refuse."""
        self.forbidden: set[PeerId] = set()
        self.sessions: dict[PeerId, Session] = {}
        self.dialled: dict[PeerId, int] = {}
        """Dials under way, by their numbers."""
        self.dials: list[tuple[float, PeerId]] = []
        """All that there were, and when."""
        self.wants: dict[str, int] = {}
        self.verdicts: Callable[[str, PeerId], str | None] = lambda name, peer_id: None
        self.dial_seconds = 0.05
        self.answer_seconds = 0.0
        self.fullness: list[tuple[float, str, bool]] = []
        self.cuts: list[tuple[Session, bool]] = []
        self.offers: list[tuple[str, Session]] = []
        self._numbers = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []

    # --- what the test does -------------------------------------------------------------------------------------------

    def open(self, name: str, want: int, members: list[PeerId] | None = None, *, asks: bool = False) -> None:
        """A group of those, or of all."""
        self.wants[name] = want
        self.core.open(name, want, members or [], others=members is None, asks=asks)
        self.step()

    def want(self, name: str, want: int) -> None:
        self.wants[name] = want
        self.core.want(name, want)
        self.step()

    def die(self, peer_id: PeerId, *, silent: bool = False, known_after: float = 0.0) -> None:
        """Its program is killed: its link is gone at once, its session after a while, if that is not 0."""
        self.alive.discard(peer_id)
        if silent:
            self.silent.add(peer_id)
        session = self.sessions.pop(peer_id, None)
        if session is not None:
            self.core.suspended(peer_id, session, self.now)
            if known_after:
                self.later(known_after, lambda: self.core.lost(peer_id, session, self.now))
            else:
                self.core.lost(peer_id, session, self.now)
        self.step()

    def suspend(self, peer_id: PeerId) -> Session:
        """Its session loses its link."""
        session = self.sessions[peer_id]
        self.core.suspended(peer_id, session, self.now)
        self.step()
        return session

    def live(self, peer_id: PeerId) -> None:
        self.alive.add(peer_id)
        self.silent.discard(peer_id)

    def call(self, peer_id: PeerId) -> Session:
        """It calls us."""
        return self._connect(peer_id, inbound=True)

    def lose(self, peer_id: PeerId, *, replaced: bool = False) -> None:
        """Its session ends."""
        session = self.sessions.pop(peer_id)
        self.core.lost(peer_id, session, self.now, replaced=replaced)
        self.step()

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> float:
        """Let time pass, at most until that is so; how long it took."""
        began = self.now
        end = self.now + seconds
        while not (until is not None and until()):
            due = min(self.core.get_timer(), self._agenda[0][0] if self._agenda else float("inf"))
            if due > end:
                self.now = end
                break
            self.now = max(self.now, due)
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            self.step()
        return self.now - began

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._numbers), what))

    # --- what the core wants ------------------------------------------------------------------------------------------

    def step(self) -> None:
        """A turn, all that comes of it, and a look at the rules."""
        while True:
            networks = self.networks if self.core.is_short else None
            self.core.turn(self.now, networks, lambda peer_id: peer_id not in self.forbidden)
            actions = self.core.actions()
            for action in actions:
                self._carry_out(action)
            if not actions:
                break
        self.check()

    def check(self) -> None:
        """What must always hold."""
        for name, want in self.wants.items():
            group = self.core._groups[name]
            assert len(group.taken) + len(group.asked) <= want
            assert not set(group.taken) & set(group.asked)
        assert len(self.dialled) <= limits.KEEP_DIALS
        ours = [each for each in self.core._ours if each not in self.core.kept and self.core._peers[each].is_up]
        assert len(ours) <= sum(self.wants.values()) + len(self.dialled)

    def _carry_out(self, action: object) -> None:
        if isinstance(action, Dial):
            self._dial(action.peer_id)
        elif isinstance(action, GiveUp):
            del self.dialled[action.peer_id]
        elif isinstance(action, Offer):
            assert isinstance(action.session, Session)
            self.offers.append((action.group, action.session))
            session, refusal = action.session, self.verdicts(action.group, action.session.peer_id)
            self.later(
                self.answer_seconds,
                lambda: self.core.decided(action.group, session.peer_id, session, refusal, self.now),
            )
        elif isinstance(action, Cut):
            session = action.session
            assert isinstance(session, Session)
            assert self.sessions.pop(session.peer_id) is session, "what has ended already is ended once more"
            self.cuts.append((session, action.is_dropped))
            if action.is_dropped:
                self.forbidden.add(session.peer_id)
            self.core.lost(session.peer_id, session, self.now)
        elif isinstance(action, Fullness):
            self.fullness.append((self.now, action.group, action.is_full))

    def _dial(self, peer_id: PeerId) -> None:
        assert peer_id not in self.forbidden, "somebody is dialled who must not be"
        assert peer_id not in self.sessions and peer_id not in self.dialled
        number = self.dialled[peer_id] = next(self._numbers)
        self.dials.append((self.now, peer_id))
        if peer_id in self.silent:
            return  # no answer ever

        def over() -> None:
            if self.dialled.get(peer_id) != number:
                return
            del self.dialled[peer_id]
            if peer_id in self.sessions:
                return
            if peer_id in self.alive:
                self._connect(peer_id, inbound=False)
            else:
                self.core.failed(peer_id, self.now, for_good=False)

        self.later(self.dial_seconds * self.random.uniform(0.5, 1.5), over)

    def _connect(self, peer_id: PeerId, *, inbound: bool) -> Session:
        session = self.sessions[peer_id] = Session(peer_id, inbound=inbound)
        self.dialled.pop(peer_id, None)
        network = self.networks.get(peer_id, "")
        self.core.connected(peer_id, session, self.now, inbound=inbound, network=network)
        if inbound:
            self.step()
        return session
