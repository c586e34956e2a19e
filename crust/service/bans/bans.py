"""What :meth:`crust.Service.ban` does: the lists, the predicates, the file, and everything that ends at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import IPNetwork, PeerId
from ...exceptions import BansNotKept, LocalProtocolError
from ...peers.access import Target, Who, end_of, target_of
from ...peers.conversation import Conversation
from ...peers.judging import Judging, Predicate, Standing, Verdict
from ...peers.views import PeerView, view_of_session
from ...runtime.dispatcher import name_of
from ...runtime.logs import RateLimited
from ...values import dataclass
from ...wire.frames import Goodbye, GoodbyeCode

if TYPE_CHECKING:
    from ..node import Node
    from .kept import Kept

__all__ = ["Ban", "Bans"]


@dataclass(frozen=True)
class Ban:
    """A ban in force."""

    who: PeerId | IPNetwork | Predicate
    """A peer; a network, one address being a network of one; or a function that is asked."""

    seconds: float | None
    """How long it still holds; None: until it is lifted."""

    kept: bool
    """It is in the file of ``access.ban.file``, and outlives the node."""

    configured: bool
    """The configuration has it."""


class Bans:
    """
    Those of one node. Thread-safe.

    Args:
        node: The node, not started.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.clock, self.access = node.clock, node.access
        self.judging = Judging(self)
        """Bans by predicate."""
        self.judging.bites = node.refusals.count
        self._kept: Kept | None = None
        path = node.config.access.ban.file
        if path is not None:
            from .kept import Kept  # `import crust` stays cheap

            self._kept = Kept(path, node.wall, self._pause, self._adopt)
            self._kept.bites = node.refusals.count
        self._adopted: list[Target] = []  # by the file, and not enforced yet
        self._limited = RateLimited(limits.JUDGE_REPORT_INTERVAL)
        self._lock = threading.Lock()  # guards _ended
        self._ended = 0
        node.sections.add("bans", self._look)
        node.on_reloaded.append(self._reloaded)
        utp = node.transports.get("utp")
        if utp is not None:
            from ...transports.utp.transport import UtpTransport

            if isinstance(utp, UtpTransport):
                utp.refuses = self._refuses

    def _pause(self, seconds: float) -> None:
        self.clock.event().wait(seconds)

    def _refuses(self, host: str) -> bool:
        return not self.access.address_allowed(host, self.clock.now())

    def start(self) -> None:
        """Take over the bans of the file; one that cannot be used is named in the log."""
        if self._kept is not None:
            try:
                self._kept.load()
            except BansNotKept as error:
                self._node.log.error("%s", error)

    def _reloaded(self, _changed: frozenset[str]) -> None:
        self.start()
        self._enforce_adopted()

    # --- making and lifting -------------------------------------------------------------------------------------------

    def ban(self, *who: Who | Predicate, seconds: float | None = None, keep: bool = False) -> int:
        """See :meth:`crust.Service.ban`. Not with a lock held, since it ends sessions: see :meth:`soon`."""
        now = self.clock.now()
        until = end_of(seconds, now)
        predicates, targets = _parted(who)
        if keep and predicates:
            raise TypeError("a function cannot be kept: only ids, addresses and networks can")
        if keep and self._kept is None:
            raise LocalProtocolError("a ban is kept in the file that access.ban.file names, and it names none")
        found = self._ask_about_all(predicates, until)
        count = sum(self.judging.condemn(standing, peer_id) is True for standing, peer_id in found)
        count += self.access.ban(*targets, now=now, seconds=seconds)
        condemned = [peer_id for _, peer_id in found]
        self._node.io.shielded(lambda: self.enforce([*targets, *condemned]))
        if keep and self._kept is not None:
            self._kept.keep(targets, seconds)
            self._enforce_adopted()
        return count

    def soon(self, *who: Who, seconds: float | None = None) -> int:
        """
        The same for the node itself, with whatever locks held, on any thread: it holds at once, and what there is ends
        in a moment, on the I/O thread.
        """
        targets = [target_of(each) for each in who]
        count = self.access.ban(*targets, now=self.clock.now(), seconds=seconds)
        self._node.io.call_soon(lambda: self.enforce(targets))
        return count

    def unban(self, *who: Who | Predicate) -> int:
        """See :meth:`crust.Service.unban`."""
        predicates, targets = _parted(who)
        count = 0
        for predicate in predicates:
            standing = self.judging.remove(predicate)
            if standing is not None:
                self.access.release(standing)
                count += 1
        lifted = 0

        def lift() -> None:
            nonlocal lifted
            lifted = self.access.unban(*targets, now=self.clock.now())

        if self._kept is None:
            lift()
        else:
            self._kept.drop(targets, lift)
            self._enforce_adopted()
        return count + lifted

    def standing(self) -> tuple[Ban, ...]:
        """See :attr:`crust.Service.bans`."""
        now = self.clock.now()
        kept = self._kept
        named = [
            Ban(
                entry.who,
                None if entry.until is None else entry.until - now,
                kept is not None and kept.holds(entry.who),
                entry.configured,
            )
            for entry in self.access.banned(now)
        ]
        asked = [
            Ban(each.predicate, None if each.until == float("inf") else each.until - now, False, False)
            for each in self.judging.all(now)
        ]
        return (*named, *asked)

    def _ask_about_all(self, predicates: Iterable[Predicate], until: float) -> list[tuple[Standing, PeerId]]:
        """Put predicates in force, and ask them about everybody who is here; none is in force if one raises."""
        added: list[Predicate] = []
        found = []
        try:
            for predicate in predicates:
                standing, is_new = self.judging.add(predicate, until)  # first: whoever comes meanwhile is asked about
                if is_new:
                    added.append(predicate)
                for conversation in self._node.registry.all():
                    view = view_of_session(conversation)
                    if view is not None and self.judging.examine(standing, view):
                        found.append((standing, view.id))
        except BaseException:
            for predicate in added:
                standing_then = self.judging.remove(predicate)
                if standing_then is not None:
                    self.access.release(standing_then)
            raise
        return found

    # --- ending -------------------------------------------------------------------------------------------------------

    def enforce(self, among: Iterable[Target] | None = None) -> None:
        """
        End everything with those who are banned now. Not with a lock held.

        Args:
            among: Nobody else has been banned since the last time; None: that is not known.
        """
        node, now = self._node, self.clock.now()
        # First: a dial that brings a session back, and is not ended here, has done so before sessions are looked at.
        node.dialer.drop_banned()
        over = [each for each in self._present(among) if self.access.is_banned(each.peer_id, each.address, now)]
        on_circuits = [each for each in over if each.is_on_circuit]
        for conversation in on_circuits:  # first, since their last words go over the links of others
            self._end(conversation)
        if on_circuits:
            node.circuits.flush()
        for conversation in over:
            self._end(conversation)
        node.acceptor.end_of(lambda peer_id, host: self.access.is_banned(peer_id, host, now))
        node.knocks.drop_banned()

    def _present(self, among: Iterable[Target] | None) -> list[Conversation]:
        """The sessions that it may be about: a ban of one peer does not look at thousands of others."""
        registry = self._node.registry
        if among is not None:
            targets = list(among)
            ids = [each for each in targets if isinstance(each, PeerId)]
            if len(ids) == len(targets):
                return [each for each in map(registry.get, ids) if each is not None]
        return registry.all()

    def _end(self, conversation: Conversation) -> None:
        if conversation.end("banned", Goodbye(GoodbyeCode.BANNED, "")):
            with self._lock:
                self._ended += 1

    def _adopt(self, found: Mapping[Target, float | None]) -> None:
        """The file has these (its lock is held)."""
        self._adopted += self.access.adopt(found, self.clock.now())

    def _enforce_adopted(self) -> None:
        adopted, self._adopted = self._adopted, []
        if adopted:
            self._node.io.shielded(lambda: self.enforce(adopted))

    # --- for judging --------------------------------------------------------------------------------------------------

    def began(self, conversation: Conversation) -> None:
        """A session begins (the registry's lock is held): nobody may have been asked about it yet."""
        if self.judging.in_force and not self.judging.has_passed(conversation.peer_id):
            view = view_of_session(conversation)
            if view is not None:
                self.judging.ask(conversation, view, functools.partial(self._judged, conversation))

    def _judged(self, conversation: Conversation, verdict: Verdict) -> None:
        if verdict is Verdict.FAILED:
            self._end(conversation)

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""
        return self._node.spawn(name, target, *args)

    def crashed(self, name: str, error: BaseException) -> None:
        """Something happened that must not."""
        self._node.crashed(name, error)

    def condemned(self, peer_id: PeerId) -> None:
        """A predicate has just been found true of that peer."""
        self.enforce([peer_id])

    def judge_raised(self, predicate: Predicate, view: PeerView, error: BaseException) -> None:
        """The application hears of it; strangers can cause it, so not of each time."""
        if self._limited.permit(("raised", name_of(predicate)), self.clock.now()) is not None:
            self._node.subscriptions.report(predicate, view, error)

    def judge_took(self, predicate: Predicate, seconds: float) -> None:
        """Everybody who comes waits meanwhile."""
        if seconds > self._node.subscriptions.warn_after:
            if self._limited.permit(("slow", name_of(predicate)), self.clock.now()) is not None:
                self._node.log.warning(
                    "the ban by predicate %s took %.1f s; whoever wants a session waits meanwhile",
                    name_of(predicate),
                    seconds,
                )

    # --- the status ---------------------------------------------------------------------------------------------------

    def _look(self) -> Mapping[str, object] | None:
        now = self.clock.now()
        peers, networks = self.access.count(now)  # there may be many, and it is looked at often
        predicates = len(self.judging.all(now))
        refused, ended = self.access.refused, self._ended
        if not (peers or networks or predicates or refused or ended):
            return None
        return {
            "peers": peers,
            "networks": networks,
            "predicates": predicates,
            "kept": 0 if self._kept is None else self._kept.count(),
            "ended_total": ended,
            "refused_total": refused,
        }


def _parted(who: Iterable[Who | Predicate]) -> tuple[list[Predicate], list[Target]]:
    """Functions, and what all else is about; raises what :func:`target_of` does."""
    predicates: list[Predicate] = []
    targets: list[Target] = []
    for each in who:
        if callable(each):
            predicates.append(each)
        else:
            targets.append(target_of(each))
    return predicates, targets
