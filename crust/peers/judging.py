"""
Bans by predicate: functions of the application that are asked of every peer, and for which of them who is banned.

They are asked on a thread of their own, ``crust-judge``, one after the other: neither on one that reads, which must not
wait for the application, nor on the dispatcher, where a callback may be waiting in ``connect()`` for the very session
that is asked about. The thread is there while there is something to ask. Addresses take turns: who comes with many keys
has no more of its time than others, and who introduces many, wherever he says that they are, has no more either.

It fails closed: whoever a predicate raises on is refused, and asked about again the next time.
"""

from __future__ import annotations

import collections
import enum
import threading
from collections.abc import Callable
from typing import Protocol

from .. import limits
from ..addresses import Endpoint, PeerId, address_key
from ..runtime.clock import Clock
from ..runtime.threads import forward_interrupt
from .access import Access
from .shares import Turns
from .views import PeerView

__all__ = ["Judging", "JudgingHost", "Predicate", "Standing", "Verdict"]

Predicate = Callable[[PeerView], object]
"""True of whom is to be banned."""


class Verdict(enum.Enum):
    """What comes of asking."""

    WELCOME = "nobody has anything against it"
    CONDEMNED = "a predicate was true of it: it is banned by id now"
    FAILED = "a predicate raised"


class JudgingHost(Protocol):
    """What judging needs of its node."""

    clock: Clock
    access: Access

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""

    def condemned(self, peer_id: PeerId) -> None:
        """That peer has just been banned: end everything of it."""

    def judge_raised(self, predicate: Predicate, view: PeerView, error: BaseException) -> None:
        """A predicate raised on that peer."""

    def judge_took(self, predicate: Predicate, seconds: float) -> None:
        """A predicate has answered after so long."""

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""


class Standing:
    """A predicate that is in force."""

    __slots__ = ("predicate", "until")

    def __init__(self, predicate: Predicate, until: float) -> None:
        self.predicate = predicate
        self.until = until


_Case = tuple[PeerView, Callable[[Verdict], object]]


class Judging:
    """
    The predicates of one node. Thread-safe; nothing here but :meth:`examine` runs the application's code on the thread
    that calls it.

    Args:
        host: See :class:`JudgingHost`.
    """

    def __init__(self, host: JudgingHost) -> None:
        self._host = host
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        self._lock = threading.Lock()  # guards all below; nothing is called while it is held
        self._standing: tuple[Standing, ...] = ()
        self._generation = 0  # counts additions: who has passed before one has not been asked about by it
        self._passed: collections.OrderedDict[PeerId, int] = collections.OrderedDict()
        self._cases: dict[object, _Case] = {}  # all are in the line
        self._line = Turns[object](
            lambda who: _place_of(self._cases[who][0]), lambda who: _said_of(self._cases[who][0])
        )
        self._works = False
        self._closed = False

    # --- what is in force ---------------------------------------------------------------------------------------------

    @property
    def in_force(self) -> bool:
        """Whether anybody is to be asked about; cheap."""
        return bool(self._standing) and bool(self.all(self._host.clock.now()))

    def all(self, now: float) -> tuple[Standing, ...]:
        """Those in force, the oldest first."""
        return tuple(each for each in self._standing if each.until > now)

    def add(self, predicate: Predicate, until: float) -> tuple[Standing, bool]:
        """Ask it of everybody who comes from now on; whether it is new. One in force is made longer, never shorter."""
        now = self._host.clock.now()
        with self._lock:
            self._standing = tuple(each for each in self._standing if each.until > now)
            for each in self._standing:
                if each.predicate == predicate:
                    each.until = max(each.until, until)
                    return each, False
            standing = Standing(predicate, until)
            self._standing = (*self._standing, standing)
            self._generation += 1
            return standing, True

    def remove(self, predicate: Predicate) -> Standing | None:
        """Ask it no more; what it was."""
        with self._lock:
            found = [each for each in self._standing if each.predicate == predicate]
            self._standing = tuple(each for each in self._standing if each not in found)
        return found[0] if found else None

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, who: object, view: PeerView, then: Callable[[Verdict], object]) -> None:
        """
        Ask about a peer; never blocks.

        Args:
            who: Waits for that, until :meth:`withdraw`; its link, say.
            then: Told once what came of it, on the thread of judging (at once if there is none to be had), unless the
                node closes first. It must not block.
        """
        with self._lock:
            if self._closed:
                return
            self._cases[who] = view, then
            self._line.append(who)
            if self._works:
                return
            self._works = True
        try:
            self._host.spawn("crust-judge", self._run)
        except RuntimeError as error:  # no thread to be had
            with self._lock:
                self._works = False
                cases = list(self._cases.values())
                self._clear_locked()
            self._host.crashed("the bans by predicate", error)
            for _, each in cases:
                self._tell(each, Verdict.FAILED)

    def withdraw(self, who: object) -> None:
        """It waits no more: who has gone is not asked about, which others would wait for. Harmless if it did not."""
        with self._lock:
            self._cases.pop(who, None)
            self._line.remove(who)

    def has_passed(self, peer_id: PeerId) -> bool:
        """Whether all predicates of now have been asked about that peer, whose session begins; once."""
        with self._lock:
            return self._passed.pop(peer_id, -1) == self._generation

    def examine(self, standing: Standing, view: PeerView) -> bool:
        """Whether a predicate is true of a peer; raises what it raises."""
        began = self._host.clock.now()
        try:
            return bool(standing.predicate(view))
        finally:
            self._host.judge_took(standing.predicate, self._host.clock.now() - began)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._cases:
                    self._works = False
                    return
                view, then = self._cases.pop(self._line.popleft())
            try:
                verdict = self._judge(view)
            except Exception as error:  # a bug of ours must neither end the thread nor let anybody in
                self._host.crashed("crust-judge", error)
                verdict = Verdict.FAILED
            self._tell(then, verdict)

    def _tell(self, then: Callable[[Verdict], object], verdict: Verdict) -> None:
        try:
            then(verdict)
        except Exception as error:  # a bug of ours, which must not keep the others waiting
            self._host.crashed("crust-judge", error)

    def _judge(self, view: PeerView) -> Verdict:
        with self._lock:
            generation = self._generation
        for standing in self.all(self._host.clock.now()):
            try:
                is_true = self.examine(standing, view)
            except BaseException as error:  # also SystemExit: it would end nothing but this thread
                if not forward_interrupt(error):
                    self._host.judge_raised(standing.predicate, view, error)
                return Verdict.FAILED
            if is_true and self.condemn(standing, view.id) is not None:
                self._host.condemned(view.id)
                return Verdict.CONDEMNED
        with self._lock:
            self._passed[view.id] = generation
            self._passed.move_to_end(view.id)
            if len(self._passed) > limits.JUDGED_MAX:
                self._passed.popitem(last=False)
                self.bites("JUDGED_MAX")
        return Verdict.WELCOME

    def condemn(self, standing: Standing, peer_id: PeerId) -> bool | None:
        """A predicate is true of that peer. Whether it was not banned before; None: it has been lifted meanwhile."""
        with self._lock:
            if standing not in self._standing:
                return None
            now = self._host.clock.now()
            return self._host.access.condemn(peer_id, standing, now=now, until=standing.until)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ask about nobody any more; who waits is ended by its owner."""
        with self._lock:
            self._closed = True
            self._clear_locked()

    def _clear_locked(self) -> None:
        self._cases.clear()
        self._line.clear()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._clear_locked()


def _place_of(view: PeerView) -> bytes | None:
    """Where it comes from; of who comes by a circuit where its introducer is, who may say anything of him."""
    remote = Endpoint.parse(view.path.remote, allow_relay=True, allow_port_zero=True)
    return address_key(remote.host) if remote.is_ip else None


def _said_of(view: PeerView) -> bytes | None:
    return None if view.address is None else address_key(view.address)
