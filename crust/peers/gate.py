"""
The gate: who may begin a handshake, before anything is spent on it.

A caller costs a descriptor, an X25519 operation and perhaps a thread before it has proven anything. Four rules bound
that:

- **Starts**: token buckets, one for each address (IPv6: each /64) and one for all. A bucket holds one second's worth.
  A quarter of the common one is kept for addresses of peers we know, so that a flood of strangers does not lock out
  those who come back after a cut; and another quarter for them and for addresses that call seldom, refused or not, so
  that those who call all the time do not lock out who has never called before.
- **Slots**: at most so many handshakes under way, in all and for each address, and some of them for known addresses
  only. No thread before a slot.
- **Slowing**: an address that misbehaves may be made to begin less often for a while.
- **Eviction**: where slots have run out, one whose caller has not sent a valid message 1 makes room: the oldest of
  those who call all the time, if there are any, else of all. Only where most callers have shown that they know our key,
  one of those does before the others: the one that has shown it first of those who call all the time, whose address has
  two slots more than the newcomer's, or who have not introduced themselves for some seconds. Nobody is evicted who has.
- **Holding**: an address that shows that it knows our key, and then holds its slots, counts as one that calls all the
  time, also if it is known: a second of holding as several calls.

A refused caller gets no byte: close the socket.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import ipaddress
import threading
from collections.abc import Callable

from .. import limits
from ..addresses import address_key
from ..config import LimitsConfig
from ..runtime.rates import Bucket
from ..values import dataclass

__all__ = ["Gate", "GateCounters", "Slot"]

_OF_ONE = ("limits.starts_per_address_per_second", "limits.half_open_per_address")  # what an address uses up by itself
_KNOWN_SHARE = limits.HALF_OPEN_KNOWN_RESERVE / limits.HALF_OPEN_MAX  # what is kept for known addresses


@dataclass(frozen=True)
class GateCounters:
    """What the gate has done so far."""

    current: int
    """Slots in use now."""

    admitted: int
    """Slots given since the start."""

    evicted: int
    """Slots taken back for a newer caller."""

    refused_by_rate: int
    """Callers refused because their address, or all together, began too often."""

    refused_by_slots: int
    """Callers refused because no slot was free and none could be evicted."""


class _Rank(enum.IntEnum):
    """Who has precedence, least first."""

    OFTEN = 0
    """Calls all the time."""

    SELDOM = 1
    KNOWN = 2
    """A peer that we know has been at its address."""


class _Caller:
    """What is remembered of an address."""

    __slots__ = ("_calls", "_held", "_held_when", "_when", "starts")

    def __init__(self, rate: float) -> None:
        self.starts = Bucket(rate)
        self._calls = 0.0  # made lately
        self._when = 0.0
        self._held = 0.0  # calls that holding slots counts as
        self._held_when = 0.0

    def calls(self, now: float) -> _Rank:
        """It does so once more; its rank as a stranger."""
        forgotten = max(0.0, now - self._when)  # one a second
        self._when = max(self._when, now)
        self._calls = min(max(0.0, self._calls - forgotten) + 1.0, 2.0 * limits.CALLS_FEW)
        return _Rank.SELDOM if self._calls + self.holding(now) <= limits.CALLS_FEW else _Rank.OFTEN

    def holding(self, now: float) -> float:
        """The calls that its holding counts as."""
        self._held = max(0.0, self._held - max(0.0, now - self._held_when))  # one a second is forgotten
        self._held_when = max(self._held_when, now)
        return self._held

    def held(self, seconds: float, now: float) -> None:
        """It has held a slot for so long."""
        self._held = min(self.holding(now) + max(0.0, seconds) * limits.HELD_CALLS, limits.HELD_CALLS_MAX)


class Slot:
    """
    Leave for one handshake. Give it back with :meth:`release`, whatever becomes of the handshake.

    Thread-safe.
    """

    __slots__ = ("_behind", "_evict", "_gate", "_key", "_rank", "_since")

    def __init__(
        self, gate: Gate, key: bytes, behind: bytes | None, rank: _Rank, evict: Callable[[], None]
    ) -> None:
        self._gate = gate
        self._key = key
        self._behind = behind
        self._rank = rank
        self._evict = evict
        self._since = 0.0  # when it was proven

    def message1_valid(self, now: float) -> bool:
        """
        The caller has sent a valid message 1: it makes room for another only if most have, and it does not go on.

        Returns:
            False if the slot has been evicted or released already: give the handshake up.
        """
        return self._gate._prove(self, now)

    def introduced(self) -> bool:
        """
        The caller has proven its own key: it will not be evicted any more, nor be said to have held the slot.

        Returns:
            As :meth:`message1_valid`.
        """
        return self._gate._introduce(self)

    def release(self, now: float) -> None:
        """Give the slot back. Harmless when repeated, and after an eviction."""
        self._gate._release(self, now)


class Gate:
    """
    Counts handshakes under way and how fast they begin.

    Thread-safe. Reads no clock: ``now`` is seconds on the caller's monotonic clock.

    Args:
        config: The ``limits`` section of the configuration.
    """

    __slots__ = (
        "_admitted",
        "_all_starts",
        "_callers",
        "_config",
        "_evicted",
        "_introduced",
        "_lock",
        "_per_key",
        "_proven",
        "_refused_by_rate",
        "_refused_by_slots",
        "_reserve",
        "_slowed",
        "_strangers",
        "_waiting",
        "forgotten",
        "refused",
    )

    def __init__(self, config: LimitsConfig) -> None:
        self._config = config
        self._reserve = min(limits.HALF_OPEN_KNOWN_RESERVE, int(config.half_open * _KNOWN_SHARE))
        self._lock = threading.Lock()
        """Guards everything above and below. Nothing is called while it is held."""
        self._callers: collections.OrderedDict[object, _Caller] = collections.OrderedDict()
        self._all_starts = Bucket(config.starts_per_second)
        self._waiting: dict[Slot, None] = {}  # oldest first, without a valid message 1
        self._proven: dict[Slot, None] = {}  # oldest first, with one, and not introduced
        self._introduced: set[Slot] = set()
        self._per_key: dict[object, int] = {}
        self._slowed: collections.OrderedDict[object, float] = collections.OrderedDict()  # until when
        self.refused: Callable[[str, bytes | None], object] = lambda limit, key: None
        """Told of every refusal and eviction: the key of the configuration that it is because of, and whose doing it is
        (an ``address_key``): the address with too many of its own, or whose unfinished handshake had to make room;
        None: that of all together. Any thread; must be quick."""
        self.forgotten = 0
        """How many addresses made room for others, of which it was known how often they begin."""
        self._strangers = 0  # slots in use that were not given to known addresses
        self._admitted = self._evicted = self._refused_by_rate = self._refused_by_slots = 0

    def configure(self, config: LimitsConfig) -> None:
        """
        Other limits from now on. Handshakes under way go on, whatever their number; rates begin with what was saved up
        under the old ones, as far as the new ones let anybody save.
        """
        with self._lock:
            if config.starts_per_second != self._config.starts_per_second:
                self._all_starts.change_rate(config.starts_per_second)
            if config.starts_per_address_per_second != self._config.starts_per_address_per_second:
                for caller in self._callers.values():
                    caller.starts.change_rate(config.starts_per_address_per_second)
            self._config = config
            self._reserve = min(limits.HALF_OPEN_KNOWN_RESERVE, int(config.half_open * _KNOWN_SHARE))

    @property
    def counters(self) -> GateCounters:
        """A snapshot of what the gate has done."""
        with self._lock:
            return GateCounters(
                current=self._used_locked(),
                admitted=self._admitted,
                evicted=self._evicted,
                refused_by_rate=self._refused_by_rate,
                refused_by_slots=self._refused_by_slots,
            )

    def admit(
        self,
        address: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
        now: float,
        *,
        known: bool = False,
        behind: str | None = None,
        evict: Callable[[], None],
    ) -> Slot | None:
        """
        Take a slot for a caller, before any thread is made for it.

        Args:
            address: Its IP address.
            known: A peer that we know has been at this address.
            behind: Where the caller is, by the word of that address, if it only introduces it. It does not answer for
                those who hold their slots, and they make room for others that it introduces.
            evict: Called, at most once, when the slot must make room for a newer caller: abort the connection. It runs
                on the thread of that newer caller's :meth:`admit`, without a lock; it must not block or raise.

        Returns:
            The slot, or None: close the connection and send nothing.
        """
        key = address_key(address)
        seen = None if behind is None else address_key(behind)
        with self._lock:
            slot, victim, limit = self._take_locked(key, seen, known, now, evict)
        if limit in _OF_ONE:
            self.refused(limit, key)
        elif limit:
            self.refused(limit, None if victim is None else victim._key)
        if victim is not None and slot is not None:
            with contextlib.ExitStack() as stack:
                stack.callback(slot.release, now)  # only if evict() breaks its promise and raises
                victim._evict()
                stack.pop_all()
        return slot

    def _take_locked(
        self, key: bytes, behind: bytes | None, known: bool, now: float, evict: Callable[[], None]
    ) -> tuple[Slot | None, Slot | None, str]:
        """The slot, if there is one; who has to make room for it; the limit that somebody met."""
        rank, limit = self._may_start_locked(key, known, now)
        if limit:
            self._refused_by_rate += 1
            return None, None, limit
        victim: Slot | None = None
        if self._is_full_locked(key, rank):
            crowded = self._per_key.get(key, 0) >= self._config.half_open_per_address
            limit = "limits.half_open_per_address" if crowded else "limits.half_open"
            victim = self._victim_locked(key, rank, now) or self._crowd_locked(key, behind, now)
            if victim is None:
                self._refused_by_slots += 1
                return None, None, limit
            self._drop_locked(victim, now)
            self._evicted += 1
        slot = Slot(self, key, behind, rank, evict)
        self._waiting[slot] = None
        self._per_key[key] = self._per_key.get(key, 0) + 1
        self._strangers += rank is not _Rank.KNOWN
        self._admitted += 1
        return slot, victim, limit

    def slow(self, key: bytes, until: float) -> None:
        """Let an address begin less often for a while."""
        with self._lock:
            self._slowed[key] = until
            self._slowed.move_to_end(key)
            if len(self._slowed) > limits.GATE_ADDRESSES_MAX:
                self._slowed.popitem(last=False)
                self.forgotten += 1

    def _may_start_locked(self, key: object, known: bool, now: float) -> tuple[_Rank, str]:
        """The rank of a caller, and the limit that it has met; empty if it may begin."""
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller(self._config.starts_per_address_per_second)
            if len(self._callers) > limits.GATE_ADDRESSES_MAX:
                self._callers.popitem(last=False)
                self.forgotten += 1
        else:
            self._callers.move_to_end(key)
        rank = caller.calls(now)
        if known and caller.holding(now) <= limits.CALLS_FEW:
            rank = _Rank.KNOWN
        kept = int(self._config.starts_per_second * _KNOWN_SHARE) * (_Rank.KNOWN - rank)
        cost = 1.0
        if self._slowed:
            if self._slowed.get(key, now) > now:
                cost = min(limits.SLOWED_COST, float(self._config.starts_per_address_per_second))
            else:
                self._slowed.pop(key, None)
        if caller.starts.tokens(now) < cost:
            return rank, "limits.starts_per_address_per_second"
        if self._all_starts.tokens(now) < 1.0 + kept:
            return rank, "limits.starts_per_second"
        caller.starts.take(cost)
        self._all_starts.take()
        return rank, ""

    def _is_full_locked(self, key: object, rank: _Rank) -> bool:
        if self._per_key.get(key, 0) >= self._config.half_open_per_address:
            return True
        return self._used_locked() >= self._config.half_open or self._has_no_room_locked(rank)

    def _used_locked(self) -> int:
        return len(self._waiting) + len(self._proven) + len(self._introduced)

    def _has_no_room_locked(self, rank: _Rank) -> bool:
        """Strangers have all the slots that are not kept for others."""
        return rank is not _Rank.KNOWN and self._strangers >= self._config.half_open - self._reserve

    def _victim_locked(self, key: object, rank: _Rank, now: float) -> Slot | None:
        """The slot that makes room: the oldest of the same address if that has too many, else of the least rank. A
        stranger never takes the place of a known address, unless that holds it."""
        same_address = self._per_key.get(key, 0) >= self._config.half_open_per_address
        least = _Rank.SELDOM if same_address else _Rank.OFTEN  # one address has no precedence over itself
        victim: Slot | None = None
        for slot in self._waiting:
            if same_address and slot._key != key:
                continue
            if victim is None or slot._rank < victim._rank:
                victim = slot
                if slot._rank <= least:
                    return slot
        if not same_address and len(self._proven) > len(self._waiting):
            own, strangers = self._per_key.get(key, 0), self._has_no_room_locked(rank)
            for slot in self._proven:
                if strangers and slot._rank is _Rank.KNOWN:
                    continue  # that would make no room for one
                held = slot._since + limits.HELD_SECONDS <= now
                if held or slot._rank is _Rank.OFTEN or self._per_key[slot._key] > own + 1:
                    return slot
            if victim is not None and self._per_key[victim._key] < own:
                return None  # those who have few slots are not to lose them to who has many
        if victim is not None and victim._rank is _Rank.KNOWN and rank is not _Rank.KNOWN:
            return None
        return victim

    def _crowd_locked(self, key: object, behind: bytes | None, now: float) -> Slot | None:
        """The slot that makes room for somebody who is introduced, where an introducer has too many: the oldest of the
        address behind it that has most, if those are more than it would have itself, or that is held."""
        if behind is None or self._per_key.get(key, 0) < self._config.half_open_per_address:
            return None
        there = [slot for slot in self._proven if slot._key == key and slot._behind is not None]
        counts = collections.Counter(slot._behind for slot in there)
        most = max(counts.values(), default=0)
        for slot in there:
            held = slot._since + limits.HELD_SECONDS <= now
            if counts[slot._behind] == most and (most > counts[behind] + 1 or (held and most > counts[behind])):
                return slot
        return None

    def _drop_locked(self, slot: Slot, now: float) -> None:
        """Forget a slot, if it is there."""
        if slot in self._proven:
            del self._proven[slot]
            caller = self._callers.get(slot._key)
            if caller is not None and slot._behind is None:
                caller.held(now - slot._since, now)
        elif slot in self._waiting:
            del self._waiting[slot]
        elif slot in self._introduced:
            self._introduced.remove(slot)
        else:
            return
        left = self._per_key[slot._key] - 1
        if left:
            self._per_key[slot._key] = left
        else:
            del self._per_key[slot._key]
        self._strangers -= slot._rank is not _Rank.KNOWN

    def _prove(self, slot: Slot, now: float) -> bool:
        with self._lock:
            if slot in self._waiting:
                del self._waiting[slot]
                slot._since = now
                self._proven[slot] = None
            return slot in self._proven

    def _introduce(self, slot: Slot) -> bool:
        with self._lock:
            if slot in self._proven:
                del self._proven[slot]
                self._introduced.add(slot)
            return slot in self._introduced

    def _release(self, slot: Slot, now: float) -> None:
        with self._lock:
            self._drop_locked(slot, now)
