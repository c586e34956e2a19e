"""
How a simulated node comes to its links and keeps them: what bootstrap and upkeep do for a real one.

A node that has too few links dials whom it knows: three at once, one more every 200 ms. Once a minute it dials somebody
that it has no link to, however many it has: else two halves of a network that were apart for a while, each content with
itself, would never meet again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crust import limits
from tests.simulation.gossip.internet import Link

if TYPE_CHECKING:
    from tests.simulation.gossip.node import Node

__all__ = ["GOAL", "LOOK_AROUND", "Upkeep"]

GOAL = 6  # links
AGAIN = 10.0  # seconds until somebody who could not be reached, or was full, is tried once more
PATIENCE = 1.0  # seconds until a node that knows nobody to dial looks again
LOOK_AROUND = 60.0  # seconds, ± 25 %
GUEST = 30.0  # seconds that a link stays which nobody needs


class Upkeep:
    """That of one node. ``contacts`` are what its configuration names."""

    def __init__(self, node: Node, contacts: Sequence[bytes]) -> None:
        self._node = node
        self._net = node.net
        self._contacts = list(contacts)
        self._waiting: deque[bytes] = deque()
        self._not_before: dict[bytes, float] = {}
        self._flying: set[bytes] = set()
        self._next_start = 0.0
        self._next_step = 0.0

    def start(self) -> None:
        """From now on."""
        self.step()
        self._net.later(self._net.random.uniform(0, LOOK_AROUND), self._look_around)

    def step(self) -> None:
        """Dial as fast as is allowed, if there is need; asked whenever a link has come or gone."""
        node, now = self._node, self._net.now
        while node.alive and self._wanted > 0:
            if len(self._flying) >= limits.BOOTSTRAP_PARALLEL and now < self._next_start:
                self._come_back(self._next_start)
                return
            candidate = self._candidate()
            if candidate is None:
                self._come_back(now + PATIENCE)
                return
            self._next_start = now + limits.BOOTSTRAP_STAGGER
            self._dial(candidate)

    @property
    def _wanted(self) -> int:
        """How many dials may be added: some fail, so more than are missing."""
        missing = GOAL - len(self._node.links)
        return min(limits.BOOTSTRAP_IN_FLIGHT, 2 * missing) - len(self._flying) if missing > 0 else 0

    def _come_back(self, time: float) -> None:
        if self._next_step <= self._net.now or time < self._next_step:
            self._next_step = time
            self._net.world.at(time, self._stepped, time)

    def _stepped(self, time: float) -> None:
        if time == self._next_step:
            self.step()

    def _usable(self, peer: bytes) -> bool:
        node = self._node
        return (
            peer != node.id
            and peer not in node.links
            and peer not in self._flying
            and self._not_before.get(peer, 0.0) <= self._net.now
        )

    def _candidate(self) -> bytes | None:
        while self._waiting:
            if self._usable(candidate := self._waiting.popleft()):
                return candidate
        known = [peer for peer in self._known_public() if self._usable(peer)]
        if not known:
            known = [peer for peer in self._contacts if self._usable(peer)]
        if not known:
            return None
        self._waiting.extend(self._net.random.sample(known, min(len(known), limits.ALTERNATES_MAX)))
        return self._waiting.popleft()

    def _known_public(self) -> list[bytes]:
        return [record.node for record in self._node.core.store if record.is_public]

    def _dial(self, peer: bytes, guest: bool = False) -> None:
        def verdict(link: Link | None, alternates: list[bytes]) -> None:
            self._flying.discard(peer)
            if link is None:
                self._not_before[peer] = self._net.now + AGAIN
                self._waiting.extend(alternates)
                if not alternates:
                    self._node.unreachable(peer)
            elif guest and len(self._node.links) > GOAL:
                self._net.later(GUEST, self._part, link)
            self.step()

        self._flying.add(peer)
        self._net.dial(self._node, peer, verdict)

    def _look_around(self) -> None:
        if not self._node.alive:
            return
        known = [peer for peer in self._known_public() or self._contacts if self._usable(peer)]
        if known:
            self._dial(self._net.random.choice(known), guest=True)
        self._net.later(LOOK_AROUND * self._net.random.uniform(0.75, 1.25), self._look_around)

    def _part(self, link: Link) -> None:
        if link.up and len(self._node.links) > GOAL:
            self._net.close(link, self._node)
