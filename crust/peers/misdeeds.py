"""
Misbehaviour: its kinds, from when on each is told, and what becomes of who does it. (sans-IO)

:data:`KINDS` is the table; docs/misbehaviour.md shows it. Whoever notices something says so with
:meth:`Misdeeds.note`, and hears whether the application is to know.

- **A threshold** counts for one doer: a peer that has proven its key, else an address (IPv6: its /64).
- **One alert** for each kind and address in :data:`crust.limits.MISBEHAVIOUR_INTERVAL`; it counts those held back.
- **Many doers** are told of together, in one alert about no address: when too few of them reach the threshold by
  themselves (``many``), or too many do.
- **Memory** is bounded: of more doers than are kept the one quiet for longest is forgotten, and counts for all.
"""

from __future__ import annotations

import collections
import enum
import threading
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

from .. import limits
from ..values import dataclass

__all__ = ["HELD_BACK", "KINDS", "Action", "Finding", "Kind", "Misdeeds"]

V = TypeVar("V")

HELD_BACK = "seconds held back"
"""The unit of kinds that are about what a peer costs: its link was not read for so long."""


class Action(str, enum.Enum):
    """What becomes of who misbehaves; compares equal to its word. Each does what those before it do."""

    WARN = "warn"
    """Nothing: it is told. What is beyond a limit is refused all the same."""
    THROTTLE = "throttle"
    """It gets less for a while: a peer's link is read more slowly, an address may call less often."""
    DROP = "drop"
    """Its session ends; of an address, the handshakes under way."""
    BAN = "ban"
    """It is refused for ``limits.ban_seconds``: the peer, or the address if no peer is proven."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Kind:
    """One kind of misbehaviour."""

    name: str
    what: str
    """What who does so has done, as a clause."""

    threshold: float
    """How many, or how much, of one doer is told..."""

    seconds: float
    """...if it comes within so many seconds."""

    unit: str
    """Of what there are so many."""

    many: float | None
    """How many of all doers together, within the same time, are told without an address; None: they are not."""

    attributable: bool
    """Nobody else can have done it: the peer's key, or an answer from its address, proves it. Else it is at most
    throttled."""

    action: Action
    """What is done if the application does not say."""

    @property
    def proven(self) -> bool:
        """It is about peers that have proven their keys."""
        return self.many is None


_WARN, _THROTTLE, _DROP, _BAN = Action.WARN, Action.THROTTLE, Action.DROP, Action.BAN
_STRANGERS = (
    ("start-rate", "it began more connections than it may", 50, 10.0, "connections refused", 500, True, _WARN),
    ("half-open", "it left handshakes unfinished, more than it may", 50, 10.0, "handshakes", 500, True, _WARN),
    (
        *("invalid-handshake", "it connected, and did not know this node's key or the network's secret"),
        *(50, 10.0, "connections", 500, True, _THROTTLE),
    ),
    ("utp-syn-flood", "it began more µTP connections than it may", 200, 10.0, "SYNs refused", 1000, False, _WARN),
    (
        *("udp-garbage", "it sent datagrams that belong to nothing, or bring nothing"),
        *(2000, 10.0, "datagrams", 10_000, False, _WARN),
    ),
    ("stun-flood", "it asked for its address more often than it may", 200, 10.0, "requests", 1000, False, _WARN),
)
_PEERS = (
    ("protocol", "it broke the protocol", 1, 10.0, "times", _DROP),
    ("protocol-again", "it broke the protocol in one session after the other", 5, 60.0, "times", _BAN),
    ("session-flood", "it began or resumed sessions more often than it may", 10, 10.0, "sessions refused", _WARN),
    ("ack-flood", "it sent acknowledgements of nothing", 1, 10.0, HELD_BACK, _THROTTLE),
    ("heartbeat-flood", "it asked again and again whether we are there", 1, 10.0, HELD_BACK, _THROTTLE),
    ("tiny-records", "it sent next to nothing in each record, or packet", 1, 10.0, HELD_BACK, _THROTTLE),
    ("duplicates", "it sent again what had arrived", 1, 10.0, HELD_BACK, _THROTTLE),
    ("key-update-flood", "it changed its key again and again", 1, 10.0, HELD_BACK, _THROTTLE),
    ("request-flood", "it asked more of this node than it may", 1, 10.0, HELD_BACK, _THROTTLE),
    ("file-flood", "it sent words about files, and no files", 1, 10.0, HELD_BACK, _THROTTLE),
    ("signature-flood", "it had more signatures verified than it may", 1, 10.0, HELD_BACK, _THROTTLE),
    ("unsigned", "it sent what is not signed, though this node requires that", 1, 10.0, "times", _WARN),
    ("echo-flood", "it asked for more echoes than it may", 20, 60.0, "requests refused", _WARN),
    ("circuit-flood", "it asked for more circuits than it may", 20, 10.0, "circuits refused", _WARN),
    ("gossip-forged", "it passed on a record that is signed by nobody, or lied about one", 1, 10.0, "times", _WARN),
    ("gossip-unasked", "it sent gossip that nobody asked for", 1, 10.0, "times", _WARN),
    ("gossip-flood", "it sent more than its share of gossip", 1, 10.0, "times", _WARN),
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *(Kind(name, what, n, s, unit, many, known, do) for name, what, n, s, unit, many, known, do in _STRANGERS),
        *(Kind(name, what, n, s, unit, None, True, do) for name, what, n, s, unit, do in _PEERS),
    )
}
"""By name."""


class Finding(NamedTuple):
    """A doer is over the threshold, or all together are."""

    alert: int | None
    """How often it has happened since the last alert; None: it is not to be told again yet."""

    about_all: bool = False
    """The alert is about no single doer."""

    by_itself: bool = True
    """This doer is over the threshold; False: only all together are."""


_NOTHING = Finding(None)


class _Count:
    """What one doer did lately."""

    __slots__ = ("amount", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.amount = 0.0

    def add(self, amount: float, now: float, seconds: float) -> float:
        if now - self.since >= seconds:
            self.since, self.amount = now, 0.0
        self.amount += amount
        return self.amount


class _Told:
    """When somebody was told of last, and what was held back since."""

    __slots__ = ("at", "held_back")

    def __init__(self) -> None:
        self.at: float | None = None
        self.held_back = 0

    def is_due(self, now: float) -> bool:
        return self.at is None or now - self.at >= limits.MISBEHAVIOUR_INTERVAL

    def tell(self, now: float) -> int:
        count, self.held_back, self.at = self.held_back, 0, now
        return count


class _Book:
    """All of one kind."""

    __slots__ = ("_kind", "all", "all_told", "alerts", "alerts_since", "counts", "told")

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.counts: collections.OrderedDict[Hashable, _Count] = collections.OrderedDict()
        self.told: collections.OrderedDict[Hashable, _Told] = collections.OrderedDict()
        self.all = _Count(0.0)
        self.all_told = _Told()
        self.alerts, self.alerts_since = 0, 0.0

    def note(self, doer: Hashable, place: Hashable, now: float, amount: float, times: int) -> Finding | None:
        kind = self._kind
        told = _kept(self.told, place, _Told)
        told.held_back += times
        count = _kept(self.counts, doer, lambda: _Count(now))
        is_over = count.add(amount, now, kind.seconds) >= kind.threshold
        if is_over and not told.is_due(now):
            return _NOTHING
        if is_over and self._may_alert(now):
            return Finding(told.tell(now))
        # One of many: either each does little, or there are too many to name.
        return self.note_many(now, amount, times, is_over) or (_NOTHING if is_over else None)

    def note_many(self, now: float, amount: float, times: int, is_over: bool = False) -> Finding | None:
        self.all_told.held_back += times
        together = self.all.add(amount, now, self._kind.seconds)
        many = self._kind.many
        if (is_over or (many is not None and together >= many)) and self.all_told.is_due(now):
            return Finding(self.all_told.tell(now), about_all=True, by_itself=is_over)
        return None

    def _may_alert(self, now: float) -> bool:
        if now - self.alerts_since >= limits.MISBEHAVIOUR_INTERVAL:
            self.alerts, self.alerts_since = 0, now
        self.alerts += 1
        return self.alerts <= limits.ALERTS_PER_KIND


class Misdeeds:
    """
    Who did what, how often, lately. Thread-safe. Reads no clock: ``now`` is seconds on the caller's monotonic clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the books
        self._books = {name: _Book(kind) for name, kind in KINDS.items()}

    def note(
        self, kind: str, doer: Hashable, place: Hashable, now: float, *, amount: float = 1.0, times: int = 1
    ) -> Finding | None:
        """
        Somebody did something of that kind.

        Args:
            doer: Whose count it is: an address, or a peer that has proven its key.
            place: Its address: what alerts are limited by.
            amount: How much of what the threshold counts.
            times: How often it was done.

        Returns:
            None: it is below the threshold.
        """
        with self._lock:
            return self._books[kind].note(doer, place, now, amount, times)

    def note_many(self, kind: str, now: float, times: int) -> Finding | None:
        """The same done by nobody in particular, so many times; the kind is one that is counted for all together."""
        with self._lock:
            return self._books[kind].note_many(now, times, times)


def _kept(table: collections.OrderedDict[Hashable, V], key: Hashable, make: Callable[[], V]) -> V:
    """The entry of ``key``, which may be new; the one not asked for for longest makes room."""
    entry = table.get(key)
    if entry is None:
        entry = table[key] = make()
        if len(table) > limits.MISDEEDS_KEPT:
            table.popitem(last=False)
    else:
        table.move_to_end(key)
    return entry
