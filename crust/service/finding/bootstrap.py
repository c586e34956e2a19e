"""
Bootstrap: the way into the network, and staying in it.

``bootstrap()`` reaches a first node (:mod:`crust.service.finding.search`). From then on the node stays linked to a few
that introduce it to others: ``bootstrap.links`` of them, in two networks if there are such. When one is lost, another
one is looked for on the thread ``crust-bootstrap``, after a pause that grows with each failure of a lead.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterable, Sequence

from ... import limits
from ...addresses import Contact, Endpoint, IPNetwork, PeerId
from ...exceptions import ConnectError, CrustError, Denied, Timeout
from ...nat.stun.opinions import network_of
from ...peers.access import Who
from ...peers.conversation import Conversation
from ...peers.peer import Peer
from ...peers.session import State
from ...wire.handshake import Role
from .. import events
from ..node import Node
from .blacklist import Blacklist
from .caching import Caching
from .dropped import Dropped
from .lan import Lan
from .search import Failure, Lead, Search, hearsay_rates

__all__ = ["Bootstrap"]

_TOLD = 8  # nodes that no application named whose failure an error tells


class Bootstrap:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        caching: Nodes reached before.
        lan: Nodes on the same links.
        dropped: Whom nobody dials for a while.
        is_public: Whether strangers are known to reach that peer.
    """

    def __init__(
        self, node: Node, caching: Caching, lan: Lan, dropped: Dropped, is_public: Callable[[PeerId], bool]
    ) -> None:
        self._node = node
        self._caching = caching
        self._lan = lan
        self._dropped = dropped
        self._is_public = is_public
        self._rates = hearsay_rates()
        self._bell = node.clock.event()  # something has changed for the thread that keeps links up
        self._over = node.clock.event()
        self._lock = threading.Lock()  # guards what follows
        self._runs = False  # the thread
        self._kept = False  # links are to be kept up
        self._contacts: dict[PeerId, Contact] = {}  # that calls have named
        self._blacklist: tuple[Who, ...] = ()  # the same
        self._rests: dict[PeerId, tuple[int, float]] = {}  # failures of a lead in a row, and until when it rests
        self._replaced: dict[PeerId, tuple[int, float]] = {}  # see _lost(): how often in a row, and when last
        self._rounds = 0  # in vain, in a row
        self._lacks = False  # links
        self._spared_until = 0.0  # until then no contact is dialled as long as a link stands
        node.on_lost.append(self._lost)
        node.on_detached.append(self._gone)
        node.on_reloaded.append(self._reloaded)

    # --- for the application ------------------------------------------------------------------------------------------

    def reach(self, contacts: Iterable[Contact], blacklist: Iterable[Who], timeout: float | None) -> Peer:
        """
        Reach a first node; blocks. See :meth:`crust.Service.bootstrap`.

        Raises:
            ConnectError: Nobody could be reached; ``attempts`` has all that was tried.
            Timeout: Not in time.
        """
        mine, banned = list(contacts), tuple(blacklist)
        deadline = float("inf") if timeout is None else self._node.clock.now() + timeout
        search = self._search(1, banned)
        self._run(search, deadline, mine)
        if not search.winners:
            error = _error(search, timeout if self._node.clock.now() >= deadline else None)
            if not self._over.is_set():
                self._node.subscriptions.emit(events.BootstrapFailed(error.attempts, _reasons(search)))
            raise error
        self._remember(mine, banned)
        self._keep()
        return search.winners[0]

    def begin(self, contacts: Iterable[Contact], blacklist: Iterable[Who]) -> None:
        """Get into the network and stay in it, in the background. See :meth:`crust.Service.start_bootstrap`."""
        banned = tuple(blacklist)
        Blacklist(banned)
        self._remember(contacts, banned)
        self._keep()

    def end(self) -> None:
        """Keep no links up any more; those that stand stay."""
        with self._lock:
            self._kept = False
            self._contacts, self._blacklist = {}, ()
            self._rests.clear()
        self._bell.set()

    @property
    def is_kept(self) -> bool:
        """Whether links are kept up."""
        return self._kept and self._node.config.bootstrap.links > 0

    @property
    def named(self) -> list[Contact]:
        """Contacts that calls have named."""
        with self._lock:
            return list(self._contacts.values())

    def needs(self, peer_id: PeerId) -> bool:
        """Whether the link to that peer is one of those that are kept up, and none is to spare."""
        standing = self._standing() if self.is_kept else {}
        return peer_id in standing and len(standing) <= self._node.config.bootstrap.links

    def _remember(self, contacts: Iterable[Contact], blacklist: tuple[Who, ...]) -> None:
        """An application may call again and again, always with others: the newest are kept."""
        named, entries = {each.peer_id: each for each in contacts}, dict.fromkeys(blacklist)
        with self._lock:
            others = [each for each in self._contacts.values() if each.peer_id not in named]
            known = [*others, *named.values()][-limits.BOOTSTRAP_NAMED :]
            self._contacts = {each.peer_id: each for each in known}
            avoided = (*(each for each in self._blacklist if each not in entries), *entries)
            self._blacklist = avoided[-limits.BOOTSTRAP_AVOIDED :]
        if len(avoided) > limits.BOOTSTRAP_AVOIDED:
            self._node.log.warning(
                "calls have named more than %d peers and networks not to bootstrap from: the oldest are forgotten; "
                "those of bootstrap.blacklist, and bans, are not",
                limits.BOOTSTRAP_AVOIDED,
            )

    # --- one search ---------------------------------------------------------------------------------------------------

    def _search(
        self,
        goal: int,
        blacklist: Iterable[Who],
        at_once: int = limits.BOOTSTRAP_PARALLEL,
        *,
        unasked: bool = False,
    ) -> Search:
        node = self._node
        try:
            networks: Sequence[IPNetwork] = [each.network for each in node.local_addresses(None, ())]
        except OSError:  # the system does not tell at the moment: then nothing is near
            networks = []
        banned = Blacklist([*blacklist, *node.config.bootstrap.blacklist])
        return Search(
            node,
            goal,
            banned,
            networks,
            self._rates,
            self._lan.neighbours,
            self._is_unwanted,
            at_once,
            unasked=unasked,
            links_stand=bool(self._standing()),
        )

    def _is_unwanted(self, peer_id: PeerId) -> bool:
        now = self._node.clock.now()
        return self._dropped.covers(peer_id, now) or self._node.access.is_banned(peer_id, None, now)

    def _run(
        self,
        search: Search,
        deadline: float,
        named: Iterable[Contact],
        fit: Callable[[Contact], bool] = lambda contact: True,
        *,
        asks: bool = True,
        spares: bool = False,
        ends: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Feed it, and wait for its end.

        Args:
            named: Contacts beside those of the configuration and of the constructor.
            fit: Whom to try.
            asks: Whether the LAN is asked, too.
            spares: Whether contacts are left alone.
            ends: Whether it has lost its purpose.
        """
        node, lan = self._node, self._lan
        before = frozenset(self._standing())
        contacts = [] if spares else [each for each in (*named, *node.directory.given.contacts()) if fit(each)]
        random.shuffle(contacts)

        def over() -> bool:
            return self._over.is_set() or ends()

        def rest() -> list[Lead]:
            gossip = () if only else node.directory.of("gossip")
            others = [Lead(each, "gossip") for each in gossip if fit(each)]
            return [*(Lead(each, "contact") for each in contacts), *others[: limits.BOOTSTRAP_LEADS]]

        only = node.config.bootstrap.only_contacts
        if only:
            search.run(deadline, float("-inf"), rest, over)
        else:
            self._caching.load()
            known = [Lead(each, "cache") for each in self._caching.contacts() if fit(each)]
            search.add(known)
            found = lambda contact: search.add([Lead(contact, "lan")] if fit(contact) else [])  # noqa: E731
            seeking = lan.seek(found) if asks else None
            try:
                search.add(Lead(each, "lan") for each in lan.contacts() if fit(each))
                waits = seeking is not None and seeking.asks
                rest_at = node.clock.now() + node.config.lan.wait if known or waits else float("-inf")
                search.run(deadline, rest_at, rest, over, patient=waits)
            finally:
                if seeking is not None:
                    seeking.stop()
        self._learn(search, before)

    def _learn(self, search: Search, before: frozenset[PeerId]) -> None:
        """
        What became of each lead counts for the next time.

        Args:
            before: To whom links stood when it began: that one of them is still there says nothing about its source.
        """
        now = self._node.clock.now()
        with self._lock:
            for lead in search.won:
                self._rests.pop(lead.contact.peer_id, None)
                if lead.source == "contact":
                    self._spared_until = 0.0
                elif lead.contact.peer_id not in before:
                    self._spared_until = now + limits.BOOTSTRAP_CONTACTS_SPARED
            for each in search.failures:
                peer_id = each.lead.contact.peer_id
                failures, _ = self._rests.pop(peer_id, (0, 0.0))
                sent_on = isinstance(each.error, Denied) and each.error.reason == "busy" and (before or search.winners)
                pause = limits.BOOTSTRAP_SENT_ON * _spread() if sent_on else _pause(failures)
                self._rests[peer_id] = (failures + 1, now + pause)
            while len(self._rests) > limits.BOOTSTRAP_LEADS:
                del self._rests[next(iter(self._rests))]
        for each in search.failures:
            peer_id = each.lead.contact.peer_id
            gone = each.lead.source == "cache" and _is_gone(each.error, bool(search.winners))
            if gone and not self._is_unwanted(peer_id):  # else it has been dropped meanwhile: it may well be there
                self._caching.failed(peer_id)

    # --- staying in ---------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        with self._lock:
            self._kept = True
            begins = not self._runs and not self._over.is_set()
            self._runs = self._runs or begins
        self._bell.set()
        if begins:
            try:
                self._node.spawn("crust-bootstrap", self._stay)
            except RuntimeError as error:
                with self._lock:
                    self._runs = False
                self._node.log.warning("no thread to keep links up: %s", error)

    def _stay(self) -> None:
        """The thread."""
        while not self._over.is_set():
            self._bell.clear()
            with self._lock:
                goes_on = self._runs = self._kept
            if not goes_on:  # whoever wants links from here on begins another thread
                return
            self._bell.wait(self._top_up())
            self._over.wait(random.uniform(*limits.BOOTSTRAP_BREATH))  # let what comes together come

    def _top_up(self) -> float:
        """Find whom there is a lack of; seconds until it is to be looked at again."""
        node, now = self._node, self._node.clock.now()
        standing = self._standing()
        networks = {network_of(host) for host in standing.values()}
        missing = node.config.bootstrap.links - len(standing)
        elsewhere = missing <= 0 and len(networks) < limits.BOOTSTRAP_NETWORKS
        self._lacks = missing > 0
        room = node.config.limits.max_peers - len(node.registry.all())
        if room <= 0 or (missing <= 0 and not (elsewhere and node.config.bootstrap.links > 1)):
            self._rounds = 0
            return limits.BOOTSTRAP_LOOK
        with self._lock:
            resting = {peer_id: until for peer_id, (_, until) in self._rests.items() if until > now}
            named, blacklist = list(self._contacts.values()), self._blacklist

        def fit(contact: Contact) -> bool:
            if contact.peer_id in resting or node.registry.get(contact.peer_id) is not None:
                return False
            if self._is_unwanted(contact.peer_id):  # contacts, too: this is nobody's call
                return False
            hosts = [each.host for each in contact.endpoints if each.is_ip]
            return not elsewhere or any(network_of(host) not in networks for host in hosts)

        goal = min(room, max(1, missing))
        at_once = limits.BOOTSTRAP_PARALLEL if not standing else goal
        search = self._search(goal, blacklist, at_once, unasked=True)
        spares = bool(standing) and now < self._spared_until
        deadline = now + node.config.bootstrap.timeout
        self._run(search, deadline, named, fit, asks=not standing, spares=spares, ends=lambda: not self._kept)
        if search.winners or standing:
            self._rounds = 0
            return self._next_look()
        if search.named and not self._rounds and self._kept and not self._over.is_set():
            error = _error(search, None)
            node.log.warning("%s; trying again from time to time", error)
            node.subscriptions.emit(events.BootstrapFailed(error.attempts, _reasons(search)))
        self._rounds += 1
        return _pause(self._rounds - 1)

    def _lost(self, conversation: Conversation, reason: str) -> None:
        """
        A session is over. If the other side has begun another one in its place, again and again, another program may
        have our identity: the two would take all links from each other as fast as they can.
        """
        if reason == events.LostReason.GONE:
            peer_id, now = conversation.peer_id, self._node.clock.now()
            with self._lock:
                count, last = self._replaced.pop(peer_id, (0, float("-inf")))
                count = count + 1 if now < last + limits.BOOTSTRAP_REPLACED_WITHIN else 1
                self._replaced[peer_id] = (count, now)
                if count > limits.KEEP_REPLACED:
                    failures = count - limits.KEEP_REPLACED
                    self._rests[peer_id] = (failures, now + _pause(failures))
                if len(self._replaced) > limits.BOOTSTRAP_LEADS:
                    del self._replaced[next(iter(self._replaced))]
        self._gone(conversation)

    def _gone(self, conversation: Conversation) -> None:
        # Who called us, and leaves, may be somebody to call.
        if self._lacks or not conversation.inbound or self._is_public(conversation.peer_id):
            self._bell.set()

    def _reloaded(self, keys: frozenset[str]) -> None:
        if any(each.startswith("bootstrap.") for each in keys):
            self.hurry()

    def _next_look(self) -> float:
        """Seconds until one of those that rest may be tried again, or contacts are no longer spared."""
        now = self._node.clock.now()
        with self._lock:
            until = [each for _, each in self._rests.values()] + [self._spared_until]
        return min([limits.BOOTSTRAP_LOOK, *(max(limits.BOOTSTRAP_PAUSE, each - now) for each in until if each > now)])

    def hurry(self) -> None:
        """Our network is another one: what was in vain may not be so now."""
        with self._lock:
            self._rests.clear()
            self._rounds = 0
        self._bell.set()

    def _standing(self) -> dict[PeerId, str]:
        """The links that count, and where each leads: nodes that we dialled, or that strangers reach."""
        found: dict[PeerId, str] = {}
        for each in self._node.registry.all():
            link = each.link
            if link is None or link.circuit is not None or each.session.state is not State.CONNECTED:
                continue
            if each.role is Role.NODE and (not link.inbound or self._is_public(each.peer_id)):
                found[each.peer_id] = link.connection.remote.host
        with self._lock:
            contacts = [*self._contacts.values(), *self._node.directory.given.contacts()]
        if any(endpoint.is_global for contact in contacts for endpoint in contact.endpoints):
            return {peer_id: host for peer_id, host in found.items() if Endpoint("tcp", host, 1).is_global}
        return found

    # --- life ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End what is under way. Never blocks; idempotent."""
        self._over.set()
        self._bell.set()

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self._lock = threading.Lock()
        self._kept = False


def _pause(failures: int) -> float:
    """Seconds that a lead rests after so many failures and one more."""
    seconds: float = min(limits.BOOTSTRAP_PAUSE * 2 ** min(failures, 20), limits.BOOTSTRAP_PAUSE_MAX)
    return seconds * _spread()


def _spread() -> float:
    return random.uniform(1 - limits.JITTER, 1 + limits.JITTER)


def _is_gone(error: CrustError, reached_others: bool) -> bool:
    """Whether a node that was reached before is to blame, and not our own network."""
    if isinstance(error, Denied):
        return error.reason in ("network", "version")
    verdicts = {attempt.verdict for attempt in getattr(error, "attempts", ())}
    return reached_others or not verdicts.isdisjoint(("refused", "failed"))


def _error(search: Search, timeout: float | None) -> ConnectError | Timeout:
    """Why nobody was reached; ``timeout``: within which time, if that is the reason."""
    attempts, reasons = search.attempts(), _reasons(search)
    named = [each for each in search.failures if not each.lead.is_hearsay]
    told = [*map(str, named), *itertools.islice((str(each) for each in search.failures if each.lead.is_hearsay), _TOLD)]
    more = f"; and {len(reasons) - len(told)} more" if len(reasons) > len(told) else ""
    texts = "; ".join(told or map(str, attempts)) + more
    if timeout is not None:
        return Timeout(f"bootstrap reached nobody within {timeout:g} s" + (f": {texts}" if texts else ""), attempts)
    if texts:
        return ConnectError(f"bootstrap reached nobody: {texts}", attempts)
    if search.offered:
        return ConnectError("bootstrap reached nobody: every contact is blacklisted or has no address", attempts)
    return ConnectError(
        "bootstrap has nobody to call: no node is known from before, and none answers on the LAN; set "
        "bootstrap.contacts, or pass contacts"
    )


def _reasons(search: Search) -> tuple[str, ...]:
    ordered: list[Failure] = sorted(search.failures, key=lambda each: each.lead.is_hearsay)
    return tuple(map(str, ordered))
