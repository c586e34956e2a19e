"""All traversals of a node: who hears of what, and what they share."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ... import limits
from ...nat import methods as registry
from ...nat.methods import Method
from ...nat.punch.allowance import Allowance
from ...nat.punch.contract import Terrain
from ...nat.punch.runner import Hand, Runner
from ...paths import Attempt
from ...peers.conversation import Conversation
from ...peers.link import Link
from ...peers.race import Candidate
from ...wire.frames import Candidates, Place, Signal
from ...wire.handshake import Capability
from ..node import Node
from .allowances import Allowances
from .expected import Expected
from .hands import Ground, Hands
from .places import SpotsByPlace, Where
from .rests import Rests
from .search import SearchTurns
from .traversal import Traversal, could_be_better

__all__ = ["Traversals"]


class Traversals:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        terrain: What is known of our network now.
        targets: Which of the other's places may be tried from here, given what is known of both, and where others see
            it.
        ground: What there is to work with.
    """

    def __init__(
        self,
        node: Node,
        terrain: Callable[[], Terrain],
        targets: Callable[[Terrain, Terrain, frozenset[str]], tuple[Place, ...]],
        ground: Ground,
    ) -> None:
        self._node = node
        self.io = node.io
        self.wall = node.wall
        self.transports = node.transports
        self.punch_timeout = node.config.nat.punch.timeout
        self.search = SearchTurns()
        """Whose turn to search it is."""
        self.terrain = terrain
        self.targets = targets
        self.bites = node.refusals.count
        self._allowances = Allowances(node.refusals.count)
        self._expected = Expected()
        self._rests = Rests()
        self._hands = Hands(node, ground)
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._active = SpotsByPlace[Traversal]()  # that look for a path now
        self._all: dict[Conversation, Traversal] = {}
        node.traversals = self

    # --- what happens -------------------------------------------------------------------------------------------------

    def carried(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        link = conversation.link
        if link is not None and link.circuit is None:
            self._allowances.answered(link.connection.remote.host, self.io.now())
        # Most sessions never need one, and it takes more than a KiB.
        traversal = self._of(conversation, make=could_be_better(conversation))
        if traversal is not None and link is not None:
            self.io.call_soon(lambda: traversal.carried(link))

    def received(self, conversation: Conversation, link: Link, frame: Candidates | Signal) -> None:
        """The other end of a session said something (the link's reader thread)."""
        traversal = self._of(conversation)
        if traversal is not None:
            traversal.received(link, frame)

    def lost(self, conversation: Conversation) -> None:
        """A session is over."""
        with self._lock:
            traversal = self._all.pop(conversation, None)
        if traversal is not None:
            traversal.close()

    def terrain_changed(self) -> None:
        """More is known of our network."""
        for traversal in self._living():
            traversal.terrain_changed()

    def network_changed(self) -> None:
        """Our network is another one."""
        self._allowances.forget()
        self._rests.forget()
        for traversal in self._living():
            traversal.network_changed()

    def expects(self, key: bytes) -> bool:
        """Whether a peer at that address (an ``address_key``) may come in many connections at once."""
        return self._expected.expects(key, self.io.now())

    def _living(self) -> list[Traversal]:
        with self._lock:
            return list(self._all.values())

    def _of(self, conversation: Conversation, make: bool = True) -> Traversal | None:
        if not conversation.capabilities & Capability.TRAVERSAL:
            return None
        with self._lock:
            if self._closed:
                return None
            traversal = self._all.get(conversation)
            if traversal is None and make and not conversation.ended_reason:
                traversal = self._all[conversation] = Traversal(self, conversation)
            return traversal

    def close(self) -> None:
        """End them all. Never blocks; idempotent."""
        with self._lock:
            self._closed = True
            traversals, self._all = self._all, {}
        for traversal in traversals.values():
            traversal.close()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._allowances.abandon()
        self._expected.abandon()
        self._rests.abandon()
        self.search.abandon()
        self._hands.abandon()
        for traversal in self._all.values():
            traversal.abandon()
        self._all, self._active = {}, SpotsByPlace()

    # --- for traversals -----------------------------------------------------------------------------------------------

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""
        self._node.crashed(name, error)

    def leads(self, conversation: Conversation) -> bool:
        """Whether this end decides."""
        return self._node.registry.controls(conversation.peer_id)

    def methods(self) -> tuple[Method, ...]:
        """Those that this node uses, in order."""
        punch = self._node.config.nat.punch
        off = {
            word
            for word, wanted in (
                ("tcp", punch.tcp and "tcp" in self.transports),
                ("udp", punch.udp and "utp" in self.transports),
                ("predict", punch.predict),
                ("birthday", punch.birthday),
            )
            if not wanted
        }
        lacking = tuple(f"-{transport}" for transport in ("tcp", "utp") if transport not in self.transports)
        return tuple(
            each
            for each in registry.methods()
            if not off & set(each.name.split("-")) and not each.path_class.endswith(lacking)
        )

    def allowance(self, conversation: Conversation, seen: frozenset[str], introducer: bytes | None) -> Allowance:
        """What may be sent to the places of that peer."""
        now = self.io.now()
        self._expected.expect(seen, now)
        return self._allowances.of(conversation.peer_id, seen, now, introducer)

    def may_begin(self, traversal: Traversal, where: Where) -> bool:
        """Whether another session may look for a path; counted until :meth:`ended`. Another may have to give way."""
        with self._lock:
            may, weaker = self._active.take(traversal, where, limits.TRAVERSALS_MAX)
        if weaker is not None:
            weaker.give_way()
        if weaker is not None or not may:
            self.bites("TRAVERSALS_MAX")
        return may

    def looks(self, traversal: Traversal) -> bool:
        """Whether it has leave to look for a path now."""
        with self._lock:
            return traversal in self._active

    def ended(self, traversal: Traversal) -> None:
        """It looks no more. Idempotent."""
        with self._lock:
            self._active.leave(traversal)

    def in_vain(self, conversation: Conversation, method: Method) -> None:
        """That search has found nothing for that session."""
        self._rests.in_vain(conversation.peer_id, method, self.io.now())

    def rests(self, conversation: Conversation, method: Method) -> bool:
        """Whether that search is not to be tried now, having been in vain."""
        return self._rests.rests(conversation.peer_id, method, self.io.now())

    def pursue(self, conversation: Conversation, candidate: Candidate) -> None:
        """Have the dialer try that for the session."""
        self._node.dialer.pursue(conversation, candidate)

    def note(self, conversation: Conversation, attempt: Attempt) -> None:
        """Something was tried for the session."""
        self._node.dialer.note(conversation, attempt)

    def hands(self, traversal: Traversal, method: Method, runner: Runner, allowance: Allowance) -> tuple[Hand, ...]:
        """What carries out a plan's actions."""
        return self._hands.of(traversal, method, runner, allowance)
