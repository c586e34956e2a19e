"""
Records for those who ask for them, within what may be given in a second. Without I/O: time is an argument.

Who asks while nobody waits gets all of it at once. Once the budget is used up those who want more wait, and take turns
by address, so that whoever wants much, or has many keys, is not in the way of the others.
"""

from __future__ import annotations

from collections.abc import Callable

from ... import limits
from ...peers.shares import Turns
from ...wire import gossip as wire
from .clocks import Allowance
from .events import Outcome
from .link import Link
from .store import Store

__all__ = ["Giving"]

_NEVER = float("inf")


class Giving:
    """
    Args:
        store: What there is to give.
        out: Gets the frames.
        bites: Told the name of a limit that has bitten.
    """

    __slots__ = ("_bites", "_budget", "_out", "_store", "_waiting", "due")

    def __init__(self, store: Store, out: Outcome, bites: Callable[[str], object]) -> None:
        self._store = store
        self._out = out
        self._bites = bites
        self._budget = Allowance(limits.GOSSIP_SERVE_RATE, limits.GOSSIP_SERVE_BURST)
        self._waiting = Turns[Link](lambda link: link.place)
        self.due = _NEVER
        """When :meth:`go_on` has something to do."""

    def lost(self, link: Link) -> None:
        """There is no such link any more."""
        self._waiting.remove(link)

    def requested(self, link: Link, prefixes: tuple[int, ...], now: float) -> None:
        """The peer wants these."""
        until = now + limits.GOSSIP_PATIENCE
        room = max(limits.GOSSIP_REQUEST_MAX - len(link.wanted), 0)  # who asks for more at once waits for none of it
        for _ in prefixes[room:]:
            self._bites("GOSSIP_REQUEST_MAX")
        link.want(prefixes[:room], until)
        if not self._waiting:  # else those who wait have precedence
            self._give(link, now, limits.GOSSIP_REQUEST_MAX)
        if link.wanted and link not in self._waiting:
            self._bites("GOSSIP_SERVE_RATE")
            self._waiting.append(link)
            self.due = min(self.due, now + limits.GOSSIP_DELAY_PUBLIC)

    def _give(self, link: Link, now: float, most: int) -> None:
        records: list[bytes] = []
        while link.wanted and len(records) < most and self._budget.left(now) > 0:
            record = self._store.get(link.wanted.pop(0))
            if now < link.wanted_until.pop(0) and record is not None:
                self._budget.spend(now, len(record.data))
                records.append(record.data)
        for start in range(0, len(records), limits.GOSSIP_BATCH_MAX):
            batch = tuple(records[start : start + limits.GOSSIP_BATCH_MAX])
            self._out.frames.append((link.peer_id, wire.Records(batch)))

    def go_on(self, now: float) -> None:
        """Give what there was no budget for: one frame to each address in turn, however much is wanted there."""
        while self._waiting and self._budget.left(now) > 0:
            link = self._waiting.popleft()
            self._give(link, now, limits.GOSSIP_BATCH_MAX)
            if link.wanted:
                self._waiting.append(link)  # last of those at its address, which is last
        self.due = now + limits.GOSSIP_DELAY_PUBLIC if self._waiting else _NEVER
