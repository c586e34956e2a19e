"""
The beacon at work: a thread with all of its sockets and timers. Others leave it word, and read what it has found.
"""

from __future__ import annotations

import collections
import os
import random
import selectors
import socket
import time
from collections.abc import Callable, Iterable

from ... import limits
from ...crypto.identity import KeyPair
from ...runtime.rates import Bucket
from ...runtime.selector_loop import SelectorLoop
from ...values import dataclass
from .announcer import Announcer
from .links import Link
from .packet import NetworkKey, Offer
from .seeker import Found, Seeker
from .sockets import BeaconSockets

__all__ = ["BeaconDriver", "Wishes"]

_AT_ONCE = 64  # datagrams read before timers are looked at, and other greenlets have their turn
_REST = 0.05  # seconds without reading when there is more than we look at: what does not fit the buffers is lost
_TELL_AFTER = 0.1  # seconds from an answer until it is told who is there: all who answer by then are told of at once
_CHORES = 5.0  # seconds between two tellings of who is there, for what has aged


@dataclass(frozen=True)
class Wishes:
    """What a beacon is to do."""

    announce: bool = False
    """Answer those who ask."""
    seek: bool = False
    """Ask again and again."""
    ask: bool = True
    """Ask at all: who announces does so once at the beginning, so that who seeks hears of it."""


class BeaconDriver:
    """
    Runs on a thread of the caller's (:meth:`run`), until :meth:`close`. The other methods are for any thread, and never
    block.

    Args:
        networks: The keys of our network.
        ours: Who we are.
        ports: The port that is asked, and the one that is heard.
        links: The links of this machine now; called on that thread.
        offer: What there is to tell on a link; called on that thread; takes no lock for long.
        found: Told of each answer; on that thread.
        tell: Told who is there, and when each was heard, whenever that has changed; on that thread.
        trouble: Told of what cannot be done, and is tried again; on that thread.
        now: The clock.
        known_before: Who was there when another driver told so last.
        bites: Told the name of a limit that has bitten; on that thread.

    Raises:
        OSError: There are no descriptors for it.
    """

    def __init__(
        self,
        networks: tuple[NetworkKey, ...],
        ours: KeyPair,
        ports: tuple[int, int],
        *,
        links: Callable[[], frozenset[Link]],
        offer: Callable[[Link], Offer | None],
        found: Callable[[Found], object],
        tell: Callable[[list[tuple[Found, float]]], object],
        trouble: Callable[[OSError], object],
        now: Callable[[], float],
        known_before: Iterable[tuple[Found, float]] = (),
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self._bites = bites
        self._links = links
        self._found = found
        self._report = tell
        self._trouble = trouble
        self._now = now
        uniform = random.SystemRandom().uniform
        self._seeker = Seeker(networks, os.urandom, uniform, bites)
        self._seeker.remember(known_before)
        self._announcer = Announcer(networks, ours, offer, self._seeker.is_ours, os.urandom, uniform, bites)
        self._sockets = BeaconSockets(*ports, closing=self._unregister)
        self._wishes = Wishes()
        self._words: collections.deque[Callable[[float], object]] = collections.deque()
        self._reading = Bucket(limits.BEACON_READS_PER_SECOND, 2 * limits.BEACON_READS_PER_SECOND)
        self._retry_at: float | None = None
        self._retry_after = limits.BEACON_RETRY[0]
        self._tell_at = 0.0
        self._loop = SelectorLoop()

    # --- for others ---------------------------------------------------------------------------------------------------

    def wish(self, wishes: Wishes) -> None:
        """Do that from now on."""
        self._leave_word(lambda now: self._set_wishes(wishes, now))

    def seek(self) -> None:
        """Ask all links now."""
        self._leave_word(self._seeker.seek)

    def look(self, came_up: bool) -> None:
        """The interfaces may be others; or one runs again, and others may be at its other end."""
        self._leave_word(self._follow)
        if came_up:
            self._leave_word(self._ask_again)

    def changed(self) -> None:
        """What there is to tell is something else."""
        self._leave_word(self._announcer.changed)

    def _leave_word(self, word: Callable[[float], object]) -> None:
        self._words.append(word)
        self._loop.wake()

    def close(self) -> None:
        """End :meth:`run` soon. Idempotent."""
        self._loop.close()

    def release(self) -> None:
        """Free the descriptors, if :meth:`run` does not come."""
        self._sockets.close()
        self._loop.release()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._loop.abandon()
        self._sockets.abandon()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until :meth:`close`. Once only."""
        self._words.appendleft(self._follow)
        self._loop.run(self._turn, self.release)

    def _turn(self) -> None:
        now = self._now()
        while self._words:
            self._words.popleft()(now)
        if self._retry_at is not None and now >= self._retry_at:
            self._follow(now)
        self._speak(now)
        if now >= self._tell_at:
            self._tell_at = now + _CHORES
            self._report(self._seeker.known(now))
        timers = [self._seeker.get_timer(), self._announcer.get_timer(), self._retry_at, self._tell_at]
        due = min(each for each in timers if each is not None)
        ready = self._loop.select(max(0.0, due - self._now()))
        now, left = self._now(), _AT_ONCE
        for sock, _ in ready:
            left = self._read(sock, now, left)
        if left <= 0:
            time.sleep(0 if self._reading.tokens(now) >= 1.0 else _REST)

    def _read(self, sock: socket.socket, now: float, left: int) -> int:
        """Read what waits; how many datagrams may be read still."""
        while left > 0:
            left -= 1
            if self._reading.tokens(now) < 1.0:
                self._bites("BEACON_READS_PER_SECOND")
                return 0
            self._reading.take()
            try:
                came = self._sockets.receive(sock)
            except BlockingIOError:
                break
            except OSError:  # what was said of an earlier datagram; a longer one than there may be (Windows)
                continue
            if came is not None:
                self._take(*came, now)
        return left

    def _take(self, link: Link, source: tuple[str, int], data: bytes, to_all: bool, now: float) -> None:
        if to_all:
            self._announcer.receive(link, source, data, now)
            return
        found = self._seeker.receive(link, source, data, now)
        if found is None:
            return
        if found.wants is not None and found.network is not None and self._wishes.announce:
            self._announcer.introduce(link, source, found.wants, found.network, now)
        self._tell_at = min(self._tell_at, now + _TELL_AFTER)
        self._found(found)

    def _speak(self, now: float) -> None:
        for link, query in self._seeker.handle_timer(now):
            self._sockets.ask(link, query)
        wants = self._wishes.seek
        for reply in self._announcer.handle_timer(now, wants=wants):
            if wants:
                self._seeker.expect(reply.link, reply.to, reply.answering, now)
            self._sockets.answer(reply.link, reply.to, reply.data)

    # --- links --------------------------------------------------------------------------------------------------------

    def _unregister(self, sock: socket.socket) -> None:
        self._loop.selector.unregister(sock)

    def _set_wishes(self, wishes: Wishes, now: float) -> None:
        begins = wishes.announce and not self._wishes.announce
        self._wishes = wishes
        self._follow(now)
        self._seeker.go_on(wishes.seek, now)
        if begins and wishes.ask and not wishes.seek:
            self._seeker.seek(now)

    def _ask_again(self, now: float) -> None:
        if self._wishes.seek or (self._wishes.announce and self._wishes.ask):
            self._seeker.ask(now)

    def _follow(self, now: float) -> None:
        before = set(self._sockets.all)
        try:
            errors = self._sockets.follow(self._links(), hear=self._wishes.announce)
        except OSError as error:  # the system does not tell: that says nothing about the interfaces
            errors = [error]
        after = set(self._sockets.all)
        for sock in after - before:
            self._loop.selector.register(sock, selectors.EVENT_READ)
        ports = dict(self._sockets.ports)
        self._announcer.set_links(ports)
        self._seeker.set_links(ports, now, ask=self._wishes.seek or (self._wishes.announce and self._wishes.ask))
        if errors:
            if self._retry_at is None:
                self._trouble(errors[0])
            self._retry_at = now + self._retry_after
            self._retry_after = min(2 * self._retry_after, limits.BEACON_RETRY[1])
        else:
            self._retry_at, self._retry_after = None, limits.BEACON_RETRY[0]
