"""
The gate: who may begin a handshake, before anything is spent on it.

A caller costs a descriptor, an X25519 operation and perhaps a thread before it has proven anything. Four rules bound
that:

- **Starts**: token buckets, one for each address (IPv6: each /64) and one for all. A bucket holds one second's worth.
  A quarter of the common one is kept for addresses of peers we know, so that a flood of strangers does not lock out
  those who come back after a cut; and another quarter for them and for addresses that call seldom, refused or not, so
  that those who call all the time do not lock out who has never called before. Nor do peers that call all the time:
  where they have used up all, who calls seldom still has an eighth, which all others then wait for.
- **Slots**: at most so many handshakes under way, in all and for each address, and some of them for known addresses
  only. No thread before a slot.
- **Introducers**: those whom one brings share what its address may begin. A quarter of that is kept from those who call
  all the time, by its word of where they are: five of them would have all others behind it refused.
- **Sites**: all networks of an IPv6 /48 together have some multiple of what one /64 has. One of them that calls all the
  time, or holds its slots, does so for itself: it leaves half of the starts to others there, who have room made for
  them, and keep their ranks.
- **Slowing**: an address that misbehaves may be made to begin less often for a while.
- **Eviction**: where slots have run out, one whose caller has not sent a valid message 1 makes room: one that has said
  something else, else the oldest of those who call all the time, if there are any, else of all; for a stranger one at a
  known address only if it has had it for some seconds, or that has two slots more than the stranger's. Only where most
  callers have shown that they know our key, one of those does before the others: the one that has shown it first of
  those who call all the time, whose address has two slots more than the newcomer's, or who have not introduced
  themselves for some seconds. Nobody is evicted who has. Of an address with too many slots the newest goes: many honest
  callers behind it get in one after the other.
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
from typing import TypeVar

from .. import limits
from ..addresses import address_key
from ..config import LimitsConfig
from ..runtime.rates import Bucket
from ..values import dataclass
from .whereabouts import site_key

__all__ = ["Gate", "GateCounters", "Slot"]

_K = TypeVar("_K")
_OF_ONE = ("limits.starts_per_address_per_second", "limits.half_open_per_address")  # what an address uses up by itself
_KNOWN_SHARE = limits.HALF_OPEN_KNOWN_RESERVE / limits.HALF_OPEN_MAX  # what is kept for known addresses
_FEW_SHARE = _KNOWN_SHARE / 2  # of all starts, what is there for who calls seldom where others have used them up


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
    """What is remembered of an address, or of a site: that may have a multiple of everything."""

    __slots__ = ("_calls", "_held", "_held_when", "_share", "_when", "starts")

    def __init__(self, rate: float, share: int) -> None:
        self._share = share
        self.starts = Bucket(rate * share)
        self._calls = 0.0  # made lately
        self._when = 0.0
        self._held = 0.0  # calls that holding slots counts as
        self._held_when = 0.0

    def calls(self, now: float) -> _Rank:
        """It does so once more; its rank as a stranger."""
        forgotten = max(0.0, now - self._when)  # one a second
        self._when = max(self._when, now)
        self._calls = min(max(0.0, self._calls - forgotten) + 1.0 / self._share, 2.0 * limits.CALLS_FEW)
        return _Rank.SELDOM if self._calls + self.holding(now) <= limits.CALLS_FEW else _Rank.OFTEN

    def holding(self, now: float) -> float:
        """The calls that its holding counts as."""
        self._held = max(0.0, self._held - max(0.0, now - self._held_when))  # one a second is forgotten
        self._held_when = max(self._held_when, now)
        return self._held

    def held(self, calls: float, now: float) -> float:
        """It has held a slot, which counts as so many; how many of them make it one that calls all the time."""
        before = self.holding(now)
        self._held = min(before + calls / self._share, limits.HELD_CALLS_MAX)
        return max(0.0, min(self._held, limits.CALLS_FEW) - before)

    def change_rate(self, rate: float) -> None:
        """It may begin so often from now on."""
        self.starts.change_rate(rate * self._share)


class Slot:
    """
    Leave for one handshake. Give it back with :meth:`release`, whatever becomes of the handshake.

    Thread-safe.
    """

    __slots__ = ("_behind", "_evict", "_gate", "_key", "_rank", "_since", "_site", "_spoken")

    def __init__(
        self, gate: Gate, key: bytes, behind: bytes | None, rank: _Rank, evict: Callable[[], None]
    ) -> None:
        self._gate = gate
        self._key = key
        self._site = site_key(key)
        self._behind = behind
        self._rank = rank
        self._evict = evict
        self._since = 0.0  # when it was given, or has been proven
        self._spoken = False

    @property
    def is_of_many(self) -> bool:
        """Its caller is a stranger, at an address that calls all the time."""
        return self._rank is _Rank.OFTEN

    def spoke(self) -> None:
        """The caller has said something that is no whole message 1: it makes room before those who may say one yet."""
        self._gate._defer(self)

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
        "_few_starts",
        "_fellows",
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
        self._callers: collections.OrderedDict[bytes, _Caller] = collections.OrderedDict()
        self._fellows: collections.OrderedDict[tuple[bytes, bytes], _Caller] = collections.OrderedDict()
        """Those behind an introducer, by its word: not at its address, and known to none but it."""
        self._all_starts = Bucket(config.starts_per_second)
        self._few_starts = Bucket(config.starts_per_second * _FEW_SHARE)
        self._waiting: collections.OrderedDict[Slot, None] = collections.OrderedDict()
        """Without a valid message 1: those who have spoken, the last one first; then the others, oldest first."""
        self._proven: dict[Slot, None] = {}  # oldest first, with one, and not introduced
        self._introduced: set[Slot] = set()
        self._per_key: dict[bytes, int] = {}
        self._slowed: collections.OrderedDict[object, float] = collections.OrderedDict()  # until when
        self.refused: Callable[[str, bytes | None], object] = lambda limit, key: None
        """Told of every refusal and eviction: the key of the configuration that it is because of, and whose doing it is
        (an ``address_key``): the address with too many of its own, or whose unfinished handshake had to make room;
        None: that of all together, of a site, or of those whom somebody introduces, who are not at his address. Any
        thread; must be quick."""
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
                self._few_starts.change_rate(config.starts_per_second * _FEW_SHARE)
            if config.starts_per_address_per_second != self._config.starts_per_address_per_second:
                for caller in self._callers.values():
                    caller.change_rate(config.starts_per_address_per_second)
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
        seen = None if behind is None else address_key(behind) if behind else b""
        with self._lock:
            slot, victim, limit, doer = self._take_locked(key, seen, known, now, evict)
        if limit in _OF_ONE:
            self.refused(limit, key if doer == key and behind is None else None)
        elif limit:
            self.refused(limit, None if victim is None or victim._behind is not None else victim._key)
        if victim is not None and slot is not None:
            with contextlib.ExitStack() as stack:
                stack.callback(slot.release, now)  # only if evict() breaks its promise and raises
                victim._evict()
                stack.pop_all()
        return slot

    def _take_locked(
        self, key: bytes, behind: bytes | None, known: bool, now: float, evict: Callable[[], None]
    ) -> tuple[Slot | None, Slot | None, str, bytes | None]:
        """The slot, if there is one; who has to make room for it; the limit that somebody met; whose limit that is."""
        rank, limit, doer = self._may_start_locked(key, behind, known, now)
        if limit:
            self._refused_by_rate += 1
            return None, None, limit, doer
        victim: Slot | None = None
        if self._is_full_locked(key, rank):
            doer = self._crowded_locked(key)
            limit = "limits.half_open" if doer is None else "limits.half_open_per_address"
            victim = self._victim_locked(key, rank, now) or self._fellow_locked(key, behind, now)
            if victim is None:
                self._refused_by_slots += 1
                return None, None, limit, doer
            self._drop_locked(victim, now, evicted=True)
            self._evicted += 1
        slot = Slot(self, key, behind, rank, evict)
        slot._since = now
        self._waiting[slot] = None
        for part in (key, site_key(key)):
            if part is not None:
                self._per_key[part] = self._per_key.get(part, 0) + 1
        self._strangers += rank is not _Rank.KNOWN
        self._admitted += 1
        return slot, victim, limit, doer

    def slow(self, key: bytes, until: float) -> None:
        """Let an address begin less often for a while."""
        with self._lock:
            self._slowed[key] = until
            self._slowed.move_to_end(key)
            if len(self._slowed) > limits.GATE_ADDRESSES_MAX:
                self._slowed.popitem(last=False)
                self.forgotten += 1

    def _may_start_locked(
        self, key: bytes, behind: bytes | None, known: bool, now: float
    ) -> tuple[_Rank, str, bytes | None]:
        """The rank of a caller, the limit that it has met, empty if it may begin, and whose limit that is."""
        site = site_key(key)
        callers = {key: self._remembered_locked(self._callers, key, 1)}
        rank = callers[key].calls(now)
        left = 0.0  # of its site, for others there
        if site is not None:
            callers[site] = self._remembered_locked(self._callers, site, limits.SITE_SHARE)
            if rank is _Rank.OFTEN:
                left = self._config.starts_per_address_per_second * limits.SITE_SHARE / 2
            else:  # who calls all the time does so for itself
                rank = callers[site].calls(now)
        few = rank is _Rank.SELDOM
        if known and all(caller.holding(now) <= limits.CALLS_FEW for caller in callers.values()):
            rank = _Rank.KNOWN
        kept = int(self._config.starts_per_second * _KNOWN_SHARE) * (_Rank.KNOWN - rank)
        cost = 1.0
        if self._slowed:
            if self._slowed.get(key, now) > now:
                cost = min(limits.SLOWED_COST, float(self._config.starts_per_address_per_second))
            else:
                self._slowed.pop(key, None)
        own = 0.0  # of the introducer's, for others behind it
        if behind is not None and self._calls_often_locked(key, behind, now):
            most = float(self._config.starts_per_address_per_second)
            own = min(float(int(most * _KNOWN_SHARE)), most - cost)
        for part, caller in callers.items():
            if caller.starts.tokens(now) < cost + (left if part == site else own):
                return rank, "limits.starts_per_address_per_second", part
        if self._all_starts.tokens(now) < 1.0 + kept:
            if not few or self._few_starts.tokens(now) < 1.0 or self._config.starts_per_second * _FEW_SHARE < 1.0:
                return rank, "limits.starts_per_second", None
            self._few_starts.take()
        for caller in callers.values():
            caller.starts.take(cost)
        self._all_starts.take()
        return rank, "", None

    def _calls_often_locked(self, introducer: bytes, behind: bytes, now: float) -> bool:
        """It brings one more caller from there; whether that place, or the site of it, calls all the time."""
        rank = self._remembered_locked(self._fellows, (introducer, behind), 1).calls(now)
        site = site_key(behind)
        if site is not None and rank is not _Rank.OFTEN:  # who calls all the time does so for itself
            rank = self._remembered_locked(self._fellows, (introducer, site), limits.SITE_SHARE).calls(now)
        return rank is _Rank.OFTEN

    def _remembered_locked(self, callers: collections.OrderedDict[_K, _Caller], key: _K, share: int) -> _Caller:
        caller = callers.get(key)
        if caller is None:
            caller = callers[key] = _Caller(self._config.starts_per_address_per_second, share)
            if len(callers) > limits.GATE_ADDRESSES_MAX:
                callers.popitem(last=False)
                self.forgotten += 1
        else:
            callers.move_to_end(key)
        return caller

    def _crowded_locked(self, key: bytes) -> bytes | None:
        """That address, or its site, if it has as many slots as it may."""
        most = self._config.half_open_per_address
        for part, share in ((key, 1), (site_key(key), limits.SITE_SHARE)):
            if part is not None and self._per_key.get(part, 0) >= most * share:
                return part
        return None

    def _is_full_locked(self, key: bytes, rank: _Rank) -> bool:
        if self._crowded_locked(key) is not None:
            return True
        return self._used_locked() >= self._config.half_open or self._has_no_room_locked(rank)

    def _used_locked(self) -> int:
        return len(self._waiting) + len(self._proven) + len(self._introduced)

    def _has_no_room_locked(self, rank: _Rank) -> bool:
        """Strangers have all the slots that are not kept for others."""
        return rank is not _Rank.KNOWN and self._strangers >= self._config.half_open - self._reserve

    def _victim_locked(self, key: bytes, rank: _Rank, now: float) -> Slot | None:
        """The slot that makes room: the oldest of the same address if that has too many, else of the least rank. A
        stranger never takes the place of a known address, unless that holds it, or has two more than the stranger's."""
        crowded = self._crowded_locked(key)
        least = _Rank.OFTEN if crowded is None else _Rank.SELDOM  # one address has no precedence over itself
        victim: Slot | None = None
        for slot in self._waiting:
            if crowded is not None and crowded not in (slot._key, slot._site):
                continue
            if slot._spoken and slot._rank is not _Rank.KNOWN:
                return slot
            if victim is None or slot._rank < victim._rank:
                victim = slot
                if slot._rank <= least:
                    return slot
        if victim is None and crowded is not None and crowded != key:
            return self._neighbour_locked(key, crowded, rank)
        if crowded is None and len(self._proven) > len(self._waiting):
            own, strangers = self._per_key.get(key, 0), self._has_no_room_locked(rank)
            for slot in self._proven:
                if strangers and slot._rank is _Rank.KNOWN:
                    continue  # that would make no room for one
                held = slot._since + limits.HELD_SECONDS <= now
                if held or slot._rank is _Rank.OFTEN:
                    return slot
                if self._per_key[slot._key] > own + 1:
                    return self._newest_locked(slot)
            if victim is not None and self._per_key[victim._key] < own:
                return None  # those who have few slots are not to lose them to who has many
        if victim is not None and victim._rank is _Rank.KNOWN and rank is not _Rank.KNOWN:
            return None if crowded is not None else self._excess_locked(key, rank, now)
        return victim

    def _excess_locked(self, key: bytes, rank: _Rank, now: float) -> Slot | None:
        """The slot of a known address that makes room for a stranger where all who wait are such: one that is held, or
        of an address that has two more than the stranger's. Else few of them keep everybody out by saying nothing."""
        if self._has_no_room_locked(rank):
            return None
        own = self._per_key.get(key, 0)
        for slot in self._waiting:
            if slot._since + limits.HELD_SECONDS <= now or self._per_key[slot._key] > own + 1:
                return slot
        return None

    def _neighbour_locked(self, key: bytes, site: bytes, rank: _Rank) -> Slot | None:
        """The slot that makes room in a crowded site: one of a network that has two more than the newcomer's."""
        own = self._per_key.get(key, 0)
        for slot in self._proven:
            if slot._site == site and slot._rank <= rank and self._per_key[slot._key] > own + 1:
                return self._newest_locked(slot)
        return None

    def _newest_locked(self, slot: Slot) -> Slot:
        """At the address of that one, of no greater rank: those who came before it are nearer to their ends."""
        return next(each for each in reversed(self._proven) if each._key == slot._key and each._rank <= slot._rank)

    def _fellow_locked(self, key: bytes, behind: bytes | None, now: float) -> Slot | None:
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

    def _drop_locked(self, slot: Slot, now: float, evicted: bool = False) -> None:
        """Forget a slot, if it is there."""
        if slot in self._proven:
            del self._proven[slot]
            seconds = max(0.0, now - slot._since)
            if slot._behind is None and (seconds >= limits.HELD_BRIEF or not evicted):
                self._held_locked(slot, seconds * limits.HELD_CALLS, now)
        elif slot in self._waiting:
            del self._waiting[slot]
        elif slot in self._introduced:
            self._introduced.remove(slot)
        else:
            return
        for part in (slot._key, slot._site):
            if part is not None:
                self._per_key[part] -= 1
                if not self._per_key[part]:
                    del self._per_key[part]
        self._strangers -= slot._rank is not _Rank.KNOWN

    def _held_locked(self, slot: Slot, calls: float, now: float) -> None:
        """A slot was held, which counts as so many calls; one network alone gives no bad name to its site."""
        for part in (slot._key, slot._site):
            caller = None if part is None else self._callers.get(part)
            if caller is not None:
                calls = caller.held(calls, now)

    def _defer(self, slot: Slot) -> None:
        with self._lock:
            if slot in self._waiting:
                slot._spoken = True
                self._waiting.move_to_end(slot, last=False)

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
