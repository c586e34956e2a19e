"""
What peers cost without bringing anything: one account for each, of work that brings the application no data. (sans-IO)

Acknowledgements, heartbeats, other keys, requests, what had arrived before, and records with next to nothing in them
cost this node time, and the sender hardly any. So each peer has a share of a core for them (``overhead_per_peer``), and
may save some up. When it has used that up its link is not read until the account is level again: the transport
then slows the sender, nothing is lost, and the session stays.

Data pays for itself: a record with :data:`crust.limits.WORTH_BYTES` of it, or more, costs nothing here, since credit
bounds that. So does a small record that the application answers: who asks and waits for the answer is never slowed.
A signature costs as much as many records, so it takes more data to pay for it, or an answer; a node that takes nothing
else wants it, and does not charge for it.

Costs are constants, since a measured one would depend on what else the machine does. The account is the peer's, not the
session's: who comes back finds it as it was. A key costs nothing, so who comes with a new one has next to nothing yet,
and those at one address get no more than two peers may (:mod:`crust.peers.purses`).
"""

from __future__ import annotations

import collections
import enum
import math
import threading
import weakref
from collections.abc import Hashable

from .. import limits
from .purses import Purse

__all__ = ["Account", "Accounts", "Burden"]


class Burden(enum.IntEnum):
    """What costs, each with its kind of misbehaviour."""

    TINY = 0
    ACK = 1
    HEARTBEAT = 2
    DUPLICATE = 3
    KEY = 4
    REQUEST = 5
    FILE = 6
    SIGNATURE = 7

    @property
    def kind(self) -> str:
        """Its name in the table of misbehaviour."""
        return _KINDS[self]


_KINDS = (
    *("tiny-records", "ack-flood", "heartbeat-flood", "duplicates", "key-update-flood", "request-flood", "file-flood"),
    "signature-flood",
)


class Account:
    """
    One peer's. Not thread-safe: a lock of its session guards it.

    Args:
        share: Of a core, that comes back each second; infinite: it is never overdrawn.
        now: Seconds on any monotonic clock.
    """

    __slots__ = ("_alone", "_at", "_by", "_counted_until", "_excused_until", "_hold_until", "balance", "purse", "share")

    def __init__(self, share: float, now: float) -> None:
        self.share = share
        self.purse: Purse | None = None
        """What all accounts at its peer's address get it from; None: it is alone."""
        self.balance = min(limits.OVERHEAD_BEGUN, limits.OVERHEAD_SAVED)
        """Seconds of a core; less than 0: overdrawn."""
        self._alone = self.balance  # what that would be with nobody else at its peer's address, nor on the path
        self._at = now
        self._by: list[float] | None = None  # what was spent on what since it was full
        self._hold_until = -math.inf
        self._excused_until = -math.inf
        self._counted_until = -math.inf

    def spend(self, burden: Burden, cost: float, *, proven: bool = True) -> None:
        """Something was done, in seconds of a core; ``proven``: nobody but the peer can have done it."""
        self.balance -= cost
        if proven:
            self._alone -= cost
        if self._by is None:
            self._by = [0.0] * len(_KINDS)
        self._by[burden] += cost

    def wait(self, now: float) -> float:
        """Seconds for which the link should not be read; 0: go on."""
        if self.share == math.inf:
            return max(0.0, self._hold_until - now)
        if now < self._excused_until:
            self.balance = self._alone = limits.OVERHEAD_SAVED
            self._by = None
            return 0.0
        balance = self.balance
        if now > self._at:
            earned = (now - self._at) * self.share
            self._at = now
            self._alone = min(limits.OVERHEAD_SAVED, self._alone + earned)
            if self.purse is not None:
                earned = self.purse.draw(id(self), limits.OVERHEAD_SAVED - balance, earned, self.share, now)
            balance += earned
        if balance >= limits.OVERHEAD_SAVED:
            balance, self._by = limits.OVERHEAD_SAVED, None
        self.balance = balance
        held = self._hold_until - now
        if balance >= 0.0:
            return max(0.0, held)
        return max(-balance / self.share, held)

    @property
    def worst(self) -> Burden:
        """What it went on mostly."""
        spent = self._by
        return Burden.TINY if spent is None else Burden(spent.index(max(spent)))

    @property
    def is_own_doing(self) -> bool:
        """It would be overdrawn whatever others cost that are at its peer's address, or on the path."""
        return self._alone < 0.0

    def count(self, wait: float, now: float) -> float:
        """Of a wait that begins now, the seconds that are new: those of a wait before that is not over are not."""
        until = now + wait
        new = until - max(now, self._counted_until)
        self._counted_until = max(until, self._counted_until)
        return max(0.0, new)

    def is_in_debt(self, now: float) -> bool:
        """Whether it waits, or would; changes nothing, so that any thread may ask."""
        return self._hold_until > now or self.balance + max(0.0, now - self._at) * self.share < 0.0

    def hold(self, until: float) -> None:
        """Read nothing until then, whatever there is in the account."""
        self._hold_until = until

    def excuse(self, until: float) -> None:
        """Let it spend what it likes until then."""
        self._excused_until = until
        self._hold_until = -math.inf


class Accounts:
    """
    Those of all peers. Thread-safe. Remembers those of the peers that came last, whether they have a session or not;
    who is in debt is forgotten last.

    Args:
        share: See :class:`Account`; may be changed at any time, for accounts that are opened from then on.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.kept = limits.MISDEEDS_KEPT
        """How many are remembered; may be changed at any time."""
        self.forgotten = 0
        """How many have made room for others."""
        self._lock = threading.Lock()  # guards what follows
        self._accounts: collections.OrderedDict[Hashable, Account] = collections.OrderedDict()
        self._purses: weakref.WeakValueDictionary[Hashable, Purse] = weakref.WeakValueDictionary()

    def of(self, peer: Hashable, now: float) -> Account:
        """The account of a peer that begins a session."""
        with self._lock:
            account = self._accounts.get(peer)
            if account is None:
                while len(self._accounts) >= self.kept:
                    self._forget_locked(now)
                account = self._accounts[peer] = Account(self.share, now)
            else:
                self._accounts.move_to_end(peer)
                account.share = self.share
            return account

    def at(self, place: Hashable, now: float) -> Purse:
        """That of an address, by its ``address_key``: for the accounts of all peers that are there."""
        with self._lock:
            purse = self._purses.get(place)
            if purse is None:
                purse = self._purses[place] = Purse(now)
            return purse

    def _forget_locked(self, now: float) -> None:
        """The one of those without debts that came longest ago, else of all."""
        for _ in range(len(self._accounts)):
            oldest = next(iter(self._accounts))
            if not self._accounts[oldest].is_in_debt(now):
                break
            self._accounts.move_to_end(oldest)  # those in debt are looked at again after all others
        self._accounts.popitem(last=False)
        self.forgotten += 1
