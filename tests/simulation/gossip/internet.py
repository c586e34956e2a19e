"""
Links between simulated nodes, with delays, deaths and a divide; every byte that crosses one is counted.

A link stands for a session: frames arrive in their order, or the link ends. Whoever leaves says goodbye, or falls
silent, and then it takes the others a while to notice. Times are seconds of the world's clock.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from crust import limits
from crust.wire.gossip import GossipFrame
from tests.simulation.gossip.records import Notary, size_of
from tests.simulation.network import World

if TYPE_CHECKING:
    from tests.simulation.gossip.node import Node

__all__ = ["DELAY", "OVERHEAD", "Internet", "Link", "Verdict"]

DELAY = (0.01, 0.15)
OVERHEAD = 40  # bytes a frame: crust's record, and its part of TCP's and IP's headers
NOTICED = (20.0, 40.0)  # how long silence lasts until a link counts as lost
UNANSWERED = 3.0  # how long a dial waits for somebody who is not there

Verdict: TypeAlias = "Callable[[Link | None, list[bytes]], None]"
"""What a dial has come to: the link, or nothing and whom else one might ask."""


class Link:
    """Between two nodes; its delay is that of either direction. Short: made for one question."""

    __slots__ = ("delay", "dialler", "other", "short", "up")

    def __init__(self, dialler: Node, other: Node, delay: float, short: bool = False) -> None:
        self.dialler = dialler
        self.other = other
        self.delay = delay
        self.short = short
        self.up = True

    def beyond(self, node: Node) -> Node:
        """The other end."""
        return self.other if node is self.dialler else self.dialler


class Internet:
    """All nodes, by their ids, and the time."""

    def __init__(self, seed: int) -> None:
        self.world = World()
        self.random = random.Random(seed)
        self.notary = Notary()
        self.nodes: dict[bytes, Node] = {}
        """Those that are alive, by their ids."""
        self.frames: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.divided = False
        self._began = self.world.now

    @property
    def now(self) -> float:
        return self.world.now

    @property
    def wall(self) -> float:
        """Unix time, in seconds: it goes as the clock does."""
        return 1_700_000_000.0 + self.world.now

    @property
    def passed(self) -> float:
        """Seconds since this internet was made."""
        return self.world.now - self._began

    def traffic(self) -> str:
        """What was sent so far, for people."""
        kinds = [f"{kind} {self.frames[kind]:,} ({size / 1e6:,.1f} MB)" for kind, size in self.bytes.most_common()]
        return ", ".join(kinds)

    def later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> None:
        self.world.at(self.world.now + seconds, callback, *arguments)

    def run(self, seconds: float, stop: Callable[[], bool] | None = None) -> None:
        """Let time pass; ``stop`` is asked once a second."""
        end = self.world.now + seconds
        while self.world.now < end and not (stop is not None and stop()):
            self.world.run(min(end, self.world.now + 1.0))

    # --- dialling -----------------------------------------------------------------------------------------------------

    def dial(self, dialler: Node, peer: bytes, verdict: Verdict, short: bool = False) -> None:
        """TCP and the handshake take three round trips; ``verdict`` is called when the dialler knows."""
        other = self.nodes.get(peer)
        delay = self.random.uniform(*DELAY)
        if other is None or not other.public or self._severed(dialler, other):
            self.later(UNANSWERED, self._fail, dialler, verdict)
        else:
            self.later(5 * delay, self._answer, Link(dialler, other, delay, short), verdict)

    def _answer(self, link: Link, verdict: Verdict) -> None:
        dialler, other = link.dialler, link.other
        if not dialler.alive:
            return
        if not other.alive or self._severed(dialler, other):
            self.later(UNANSWERED, self._fail, dialler, verdict)
        elif dialler.id in (other.shorts if link.short else other.links):
            self.later(link.delay, self._fail, dialler, verdict)
        elif link.short or other.has_room:
            self.later(link.delay, self._greet, link, verdict)  # before the first frames, which take as long
            other.linked(link)
        else:
            self.later(link.delay, self._fail, dialler, verdict, other.alternates(limits.ALTERNATES_MAX))

    def _greet(self, link: Link, verdict: Verdict) -> None:
        dialler = link.dialler
        if not link.up:
            self._fail(dialler, verdict)
        elif not dialler.alive or link.other.id in (dialler.shorts if link.short else dialler.links):
            self.close(link, dialler)  # it has gone meanwhile, or the other one has dialled as well
            self._fail(dialler, verdict)
        else:
            dialler.linked(link)
            verdict(link, [])

    def _fail(self, dialler: Node, verdict: Verdict, alternates: list[bytes] | None = None) -> None:
        if dialler.alive:
            verdict(None, alternates or [])

    # --- what links carry ---------------------------------------------------------------------------------------------

    def send(self, sender: Node, link: Link, frame: GossipFrame) -> None:
        """Towards the other end of ``link``."""
        size = size_of(frame) + OVERHEAD
        sender.sent += size
        kind = type(frame).__name__
        self.frames[kind] += 1
        self.bytes[kind] += size
        self.world.at(self.world.now + link.delay, self._arrive, link, link.beyond(sender), sender, frame)

    def _arrive(self, link: Link, receiver: Node, sender: Node, frame: GossipFrame) -> None:
        if link.up and receiver.alive and not self._severed(sender, receiver):
            receiver.receive(sender, frame)

    def close(self, link: Link, by: Node) -> None:
        """That end says goodbye."""
        link.up = False
        by.unlinked(link)
        self.later(link.delay, link.beyond(by).unlinked, link)

    # --- misfortunes --------------------------------------------------------------------------------------------------

    def kill(self, node: Node, goodbye: bool) -> None:
        """The node is gone; those linked to it hear it, or notice after a while."""
        node.alive = False
        del self.nodes[node.id]
        for link in (*node.links.values(), *node.shorts.values()):
            link.up = False
            wait = link.delay if goodbye else self.random.uniform(*NOTICED)
            self.later(wait, link.beyond(node).unlinked, link)

    def divide(self) -> None:
        """From now on nothing passes between nodes of different sides (``Node.side``)."""
        self.divided = True
        for node in list(self.nodes.values()):
            for link in (*node.links.values(), *node.shorts.values()):
                if link.dialler is node and self._severed(node, link.other):
                    self.later(self.random.uniform(*NOTICED), self._notice, link)

    def _notice(self, link: Link) -> None:
        link.up = False
        link.dialler.unlinked(link)
        link.other.unlinked(link)

    def heal(self) -> None:
        """Everything passes again."""
        self.divided = False

    def _severed(self, one: Node, other: Node) -> bool:
        return self.divided and one.side != other.side
