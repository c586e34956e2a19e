"""
One search for a node: ask who is nearer and nearer to it, on two paths that share nobody.

Each node asked answers with the record, or with public nodes nearer to the target that it knows. What an answer names
stays on the path of whoever gave it, so that one liar spoils one path only; and whose suggestions are not reached is
believed less. One path is careful: it begins with nodes that had links with us, and prefers those that others had links
with, which an answer names first; made-up nodes, however near to the target, do not lead it astray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ... import limits
from ...wire.gossip import prefix_of
from .record import Record

__all__ = ["Candidate", "Lookup"]


class Candidate:
    """Somebody who may know. Without a record: a peer that a link leads to."""

    __slots__ = ("by", "node", "path", "prefix", "rank", "record")

    def __init__(self, node: bytes, record: Record | None, path: int, by: bytes, rank: int = 0) -> None:
        self.node = node
        self.prefix = prefix_of(node)
        self.record = record
        self.path = path
        self.by = by
        """Who named it; empty: we ourselves."""
        self.rank = rank
        """0: who named it has had a link with it, or should have; 1: it only heard of it, or others there go first."""


class Lookup:
    """
    Args:
        number: Of the search.
        target: 32 bytes.
        now: The time on a monotonic clock, in seconds.
        seeds: Whom to begin with.
        ours: 32 bytes; we are not asked.
        newer_than: Only a record with a greater sequence is what is looked for.
    """

    __slots__ = (
        *("_asked", "_doubt", "_is_held", "_open", "_pending", "_seen", "_turn"),
        *("asked", "deadline", "due", "newer_than", "number", "target"),
    )

    def __init__(
        self, number: int, target: bytes, now: float, seeds: Iterable[Candidate], ours: bytes, newer_than: int = -1
    ) -> None:
        self.number = number
        self.target = target
        self.newer_than = newer_than
        self.deadline = now + limits.GOSSIP_FIND_TIMEOUT
        self.due = now
        self.asked = 0
        """How many were asked so far."""
        self._open: tuple[list[Candidate], list[Candidate]] = ([], [])
        self._seen = {ours, target}
        self._asked: dict[bytes, Candidate] = {}
        self._pending: dict[bytes, float] = {}  # until when others wait for its answer
        self._doubt: dict[bytes, int] = {}
        self._turn = 0
        self._is_held = False  # somebody was not asked who should have been
        for candidate in seeds:
            self._offer(candidate)

    def _offer(self, candidate: Candidate) -> None:
        if candidate.node not in self._seen:
            self._seen.add(candidate.node)
            self._open[candidate.path].append(candidate)

    def next(self, now: float, may: Callable[[bytes, float], bool]) -> list[Candidate]:
        """
        Whom to ask now: so many that three answers are awaited.

        Args:
            may: Whether a node may be asked once more; who may not has its turn later.
        """
        chosen = []
        self._is_held = False
        waited = sum(now < until for until in self._pending.values())
        while waited < limits.GOSSIP_FIND_PARALLEL and self.asked < limits.GOSSIP_FIND_ASKS:
            candidate = self._best(now, may)
            if candidate is None:
                break
            chosen.append(candidate)
            self.asked += 1
            waited += 1
            self._asked[candidate.node] = candidate
            self._pending[candidate.node] = now + limits.GOSSIP_FIND_PATIENCE
        return chosen

    def _best(self, now: float, may: Callable[[bytes, float], bool]) -> Candidate | None:
        """
        The best of the path whose turn it is, or of the other one, of those that may be asked. While one has to wait,
        worse ones of its path get no more than half of all questions: they may be many, and all lie.
        """
        target = prefix_of(self.target)
        for _ in range(2):
            path = self._open[self._turn]
            self._turn = 1 - self._turn
            is_careful = bool(path) and not path[0].path
            for best in sorted(
                path,
                key=lambda one: (is_careful and one.rank, self._doubt.get(one.by, 0) // 2, one.prefix ^ target),
            ):
                if may(best.node, now):
                    path.remove(best)
                    return best
                self._is_held = True
                if self.asked >= limits.GOSSIP_FIND_ASKS // 2:
                    break
        return None

    def awaits(self, node: bytes) -> bool:
        """Whether an answer of that node is one to this search: each gives one."""
        return node in self._pending

    def answered(self, node: bytes, nearer: Iterable[Record]) -> None:
        """It does not know the target, but those."""
        self._pending.pop(node, None)
        by = self._asked[node]
        for index, record in enumerate(nearer):
            if record.is_public:
                rank = int(index >= limits.GOSSIP_NEARER_MAX // 2)
                self._offer(Candidate(record.node, record, by.path, node, rank))

    def failed(self, node: bytes) -> None:
        """It could not be reached, or lied: so whoever named it is believed less."""
        if self._pending.pop(node, None) is not None:
            by = self._asked[node].by
            self._doubt[by] = self._doubt.get(by, 0) + 1

    def is_over(self, now: float) -> bool:
        """Whether nothing can come of it any more."""
        if now >= self.deadline:
            return True
        exhausted = self.asked >= limits.GOSSIP_FIND_ASKS or not any(self._open)
        return exhausted and not self._pending

    def wait(self, now: float) -> None:
        """Say in ``due`` when to look at it again, if nothing comes before."""
        self.due = min((until for until in self._pending.values() if until > now), default=self.deadline)
        if self._is_held:
            self.due = min(self.due, now + limits.GOSSIP_FIND_LOOK)
        self.due = min(self.due, self.deadline)
