"""
``bootstrap``: reach the first node that takes us, out of many contacts.

Three are dialled at once, one more every 0.2 s, at most ten at a time; a node that is full names others, which are
tried too. The first success wins, and the other dials end.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Callable, Iterable

from .. import limits
from ..addresses import Contact, PeerId
from ..config import AccessConfig
from ..exceptions import ConnectError, ContactSyntaxError, CrustError, Denied, Timeout
from ..paths import Attempt
from ..peers.access import Access, Who
from ..peers.conversation import Conversation
from ..wire.handshake import Purpose
from .connecting import Dialled
from .node import Node

__all__ = ["Blacklist", "bootstrap"]


class Blacklist:
    """
    Peer ids, addresses and networks that must not be dialled.

    Args:
        entries: As for a ban: objects or text.

    Raises:
        ContactSyntaxError, TypeError: An entry is none of them.
    """

    def __init__(self, entries: Iterable[Who]) -> None:
        self._entries = Access(AccessConfig())
        for entry in entries:
            try:
                self._entries.ban(entry, now=0.0)
            except ContactSyntaxError as error:
                raise ContactSyntaxError(
                    f"a blacklist has peer ids, addresses and networks; {entry!r} is none of them: {error}", str(entry)
                ) from error

    def covers(self, host: str) -> bool:
        """True if that IP address is not to be dialled."""
        return self._entries.is_banned(None, host, 0.0)

    def filter(self, contact: Contact) -> Contact | None:
        """
        The contact without blacklisted endpoints; None if nothing may be dialled. What a name stands for is not known
        yet: the dialer asks :meth:`covers` when it is, before anything is sent there.
        """
        if self._entries.is_banned(contact.peer_id, None, 0.0):
            return None
        allowed = tuple(each for each in contact.endpoints if not self._entries.is_banned(None, each.ip, 0.0))
        return Contact(contact.peer_id, allowed) if allowed else None


class _Run:
    """One call of ``bootstrap``."""

    def __init__(self, node: Node, contacts: Iterable[Contact], blacklist: Blacklist) -> None:
        self._node = node
        self._now = node.clock.now
        self._blacklist = blacklist
        self._lock = threading.Lock()  # guards what follows
        self._changed = node.clock.event()  # set when the one who runs this should look again
        self.waiting: collections.deque[Contact] = collections.deque()
        self.under_way: dict[PeerId, Dialled] = {}
        self._seen: set[PeerId] = set()
        self.winner: Conversation | None = None
        self.errors: list[CrustError] = []
        for contact in contacts:
            self._add(contact)

    def _add(self, contact: Contact) -> None:
        allowed = self._blacklist.filter(contact)
        if allowed is not None and contact.peer_id not in self._seen:
            self._seen.add(contact.peer_id)
            self.waiting.append(allowed)

    def dial(self, contact: Contact, deadline: float) -> None:
        """
        Dial a contact that :meth:`next_step` gave.

        Not with the lock held: the dialer calls back with its own lock, so ours comes second.
        """
        peer_id = contact.peer_id

        def ended(conversation: Conversation | None, error: CrustError | None) -> None:
            with self._lock:
                self.under_way.pop(peer_id, None)
                if conversation is not None:
                    self.winner = self.winner or conversation
                elif error is not None:
                    self.errors.append(error)
                    self._add_alternates(error)
            self._changed.set()

        seconds = max(0.05, deadline - self._now())
        effort = Dialled(self._node, contact, Purpose.BOOTSTRAP, seconds, ended, self._blacklist.covers)
        with self._lock:
            self.under_way[peer_id] = effort
        effort.begin()

    def next_step(self, deadline: float, next_start: float, closed: Callable[[], bool]) -> Contact | bool:
        """Wait for something to do: a contact to dial, True to look again, False when it is all over."""
        with self._lock:
            now = self._now()
            if self.winner is not None or not (self.waiting or self.under_way) or now >= deadline or closed():
                return False
            busy = len(self.under_way)
            if self.waiting and busy < limits.BOOTSTRAP_IN_FLIGHT:
                if busy < limits.BOOTSTRAP_PARALLEL or now >= next_start:
                    return self.waiting.popleft()
            pause = next_start - now if self.waiting and next_start > now else limits.BOOTSTRAP_STAGGER
            self._changed.clear()
        self._changed.wait(max(0.001, min(pause, deadline - now)))
        return True

    def cancel(self) -> None:
        """Lose interest in all dials under way."""
        with self._lock:
            under_way = list(self.under_way.values())
        for effort in under_way:
            effort.lose_interest()

    def _add_alternates(self, error: CrustError) -> None:
        if isinstance(error, Denied):
            for text in error.alternates:
                try:
                    self._add(Contact.parse(text))
                except ContactSyntaxError:
                    continue  # a busy node's bad advice harms nobody

    def attempts(self) -> tuple[Attempt, ...]:
        """All that was tried."""
        return tuple(attempt for error in self.errors for attempt in getattr(error, "attempts", ()))


def bootstrap(
    node: Node,
    contacts: Iterable[Contact],
    blacklist: Blacklist,
    timeout: float | None,
    closed: Callable[[], bool],
) -> Conversation:
    """
    Reach one of ``contacts``; blocks.

    Raises:
        ConnectError: Nobody could be reached; ``attempts`` has all that was tried.
        Timeout: Not in time.
    """
    order = list(dict.fromkeys(contacts))
    random.shuffle(order)
    clock = node.clock
    run = _Run(node, order, blacklist)
    deadline = float("inf") if timeout is None else clock.now() + timeout
    next_start = 0.0
    try:
        step: Contact | bool = True
        while step is not False:
            step = run.next_step(deadline, next_start, closed)
            if isinstance(step, Contact):
                next_start = clock.now() + limits.BOOTSTRAP_STAGGER
                run.dial(step, deadline)
    finally:
        run.cancel()
    if run.winner is not None:
        return run.winner
    attempts = run.attempts()
    if clock.now() >= deadline:
        raise Timeout(f"bootstrap reached nobody within {timeout:g} s" + _listed(attempts, run.errors))
    if not order:
        raise ConnectError("bootstrap has nobody to call: set bootstrap.contacts, or pass contacts")
    raise ConnectError("bootstrap reached nobody" + _listed(attempts, run.errors), attempts)


def _listed(attempts: tuple[Attempt, ...], errors: list[CrustError]) -> str:
    texts = [str(error) for error in errors]
    return ": " + "; ".join(texts) if texts else "" if attempts else ": every contact is blacklisted or has no address"
