"""
One search for first peers, out of many leads.

Who was reached before, and who answers on the LAN, is dialled at once; contacts when nobody has taken us within
``lan.wait``, or nobody of those is left; then whom gossip knows, and whom full nodes name instead. Three are dialled at
once, one more every 0.2 s, at most ten at a time, of which contacts always find some free. Who we have from others is
given a few seconds only: little is sent to an address that nobody vouches for. If nobody takes us, those who have sent
us on to others are asked once more.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable, Sequence

from ... import limits
from ...addresses import Contact, Endpoint, IPNetwork, PeerId
from ...discovery.hearsay import LOOPBACK, usable
from ...exceptions import ConnectError, ContactSyntaxError, CrustError, Denied, NoRoute
from ...paths import Attempt
from ...peers.conversation import Conversation
from ...peers.peer import Peer
from ...runtime.rates import Rates
from ...values import dataclass
from ...wire.handshake import Purpose
from ..connecting import Dialled
from ..node import Node
from .blacklist import Blacklist
from .neighbours import Neighbours

__all__ = ["Failure", "Lead", "Search", "hearsay_rates"]


@dataclass(frozen=True)
class Lead:
    """Somebody to try."""

    contact: Contact
    source: str
    """``contact``, ``cache``, ``lan``, ``gossip``, or ``alternate`` of a full node."""

    around: str = ""
    """See :func:`crust.discovery.hearsay.may_be_dialled`; of an alternate."""

    @property
    def is_hearsay(self) -> bool:
        """Nobody of ours has named it."""
        return self.source != "contact"


@dataclass(frozen=True)
class Failure:
    """What became of one of them."""

    lead: Lead
    error: CrustError

    def __str__(self) -> str:
        source = "" if self.lead.source == "contact" else f" ({self.lead.source})"
        return f"{self.error}{source}"


def hearsay_rates() -> Rates:
    """How often a node dials an address that others alone have told."""
    return Rates(
        1 / limits.HEARSAY_REST,
        limits.HEARSAY_PER_SECOND,
        each_size=1,
        all_size=limits.HEARSAY_AT_ONCE,
        names=("HEARSAY_REST", "HEARSAY_PER_SECOND"),
    )


class _UnderWay:
    def __init__(self, lead: Lead, effort: Dialled, until: float) -> None:
        self.lead = lead
        self.effort = effort
        self.until = until


class Search:
    """
    For one calling thread; leads may be added on any.

    Args:
        node: The node.
        goal: How many peers are wanted.
        blacklist: Whom not to dial, whatever the source.
        networks: Those of our interfaces.
        rates: See :func:`hearsay_rates`.
        neighbours: The same for what the LAN alone has told.
        is_unwanted: Of those that no application has named.
        unasked: No application has asked for this search: contacts are not named either.
        at_once: How many are dialled at once, before the time for more has come.
        links_stand: This node has links that count.
    """

    def __init__(
        self,
        node: Node,
        goal: int,
        blacklist: Blacklist,
        networks: Sequence[IPNetwork],
        rates: Rates,
        neighbours: Neighbours,
        is_unwanted: Callable[[PeerId], bool],
        at_once: int = limits.BOOTSTRAP_PARALLEL,
        *,
        unasked: bool = False,
        links_stand: bool = False,
    ) -> None:
        self._unasked = unasked
        self._at_once = at_once
        self._node = node
        self._now = node.clock.now
        self._goal = goal
        self._blacklist = blacklist
        self._networks = networks
        self._rates = rates
        self._neighbours = neighbours
        self._is_unwanted = is_unwanted
        self._links_stand = links_stand
        self._circuits_left = limits.BOOTSTRAP_CIRCUITS
        self._lock = threading.Lock()  # guards what follows
        self._changed = node.clock.event()  # set when the one who runs this should look again
        self._waiting: collections.deque[Lead] = collections.deque()
        self._under_way: dict[PeerId, _UnderWay] = {}
        self._seen: set[PeerId] = set()
        self._sent_on: list[Lead] = []  # by these, who are full and named others
        self._told: set[PeerId] = set()  # and who they were
        self._late: tuple[Attempt, ...] = ()  # of those that we lost interest in
        self.winners: list[Peer] = []
        self.won: list[Lead] = []
        """Who they are, in the same order."""
        self.offered = 0
        """How many leads there were, whether or not they may be dialled,"""
        self.named = 0
        """and how many of them somebody has named, or has been reached before: that they fail is news."""
        self.failures: list[Failure] = []

    # --- leads --------------------------------------------------------------------------------------------------------

    def add(self, leads: Iterable[Lead], *, first: bool = False) -> None:
        """Try these, too; ``first``: before those that wait. Who has been tried is not tried again."""
        with self._lock:
            given = list(leads)
            self.offered += len(given)
            self.named += sum(lead.source in ("contact", "cache") for lead in given)
            new = [allowed for lead in given if (allowed := self._allowed(lead)) is not None]
            if first:
                self._waiting.extendleft(reversed(new))
            else:
                self._waiting.extend(new)
        self._changed.set()

    def _allowed(self, lead: Lead) -> Lead | None:
        """What of it may be dialled; it counts as seen then (the lock is held)."""
        contact = self._blacklist.filter(lead.contact)
        if contact is None or contact.peer_id in self._seen:
            return None
        if lead.is_hearsay:
            if contact.peer_id == self._node.handshake.key_pair.peer_id or self._is_unwanted(contact.peer_id):
                return None
            if lead.source in ("alternate", "gossip"):  # the other sources have seen to it
                contact = usable(_first_of_each(contact), self._networks, lead.around, most=limits.HEARSAY_ENDPOINTS)
                if contact is None:
                    return None
        self._seen.add(contact.peer_id)
        return Lead(contact, lead.source, lead.around)

    def _hear_of(self, lead: Lead, error: CrustError) -> None:
        """A full node names others (the lock is held)."""
        if not isinstance(error, Denied):
            return
        affordable = lead.source not in ("alternate", "gossip")
        if error.reason == "busy" and error.alternates and affordable and lead.contact.peer_id not in self._told:
            self._told.add(lead.contact.peer_id)
            self._sent_on.append(lead)
        around = self._around(error)
        for text in error.alternates[: limits.ALTERNATES_MAX]:
            try:
                other = self._allowed(Lead(Contact.parse(text), "alternate", around))
            except ContactSyntaxError:
                continue  # a busy node's bad advice harms nobody
            if other is not None and len(self._seen) < limits.BOOTSTRAP_LEADS:
                self._waiting.append(other)
            elif other is not None:
                self._node.refusals.count("BOOTSTRAP_LEADS")

    def _around(self, error: Denied) -> str:
        """What private addresses mean to the one that refused us."""
        denied = [each.endpoint for each in error.attempts if each.verdict == "denied" and each.endpoint]
        told = [Endpoint.parse(each) for each in denied if not each.startswith("relay:")]  # where the introducer is
        ip = told[-1].ip if told else None
        if ip is None or ip.is_global:
            return ""
        if ip.is_loopback:
            return LOOPBACK
        return next((str(net) for net in self._networks if not net.is_loopback and net.version == ip.version), "")

    # --- the search ---------------------------------------------------------------------------------------------------

    def run(
        self,
        deadline: float,
        rest_at: float,
        rest: Callable[[], Iterable[Lead]],
        closed: Callable[[], bool],
        *,
        patient: bool = False,
    ) -> None:
        """
        Search; blocks.

        Args:
            deadline: When to give up.
            rest_at: When to go on to the rest of the leads, if the goal is not reached.
            rest: Those; they come before whoever waits then.
            closed: Whether to give up now.
            patient: Leads may come in until ``rest_at``: wait for them.
        """
        next_start = 0.0
        rested = False
        try:
            while True:
                now = self._now()
                self._cut(now)
                if not rested and not self.winners and (now >= rest_at or (self._is_idle() and not patient)):
                    rested = True
                    self.add(rest(), first=True)
                    continue
                lead = self._next(now, next_start)
                if lead is not None:
                    next_start = now + limits.BOOTSTRAP_STAGGER
                    self._dial(lead, deadline)
                elif rested and now < deadline and not closed() and self._ask_again():
                    continue
                elif closed() or self._is_over(now, deadline, rested):
                    return
                else:
                    self._wait(deadline, next_start, rest_at)
        finally:
            self._cancel()

    def _ask_again(self) -> bool:
        """Whoever has sent us on takes us if the others had no room either; False: nobody is left to ask."""
        with self._lock:
            if self._waiting or self._under_way or self.winners or not self._sent_on:
                return False
            again, self._sent_on = self._sent_on, []
            self.failures = [each for each in self.failures if each.lead not in again]
            self._waiting.extend(again)
            return True

    def _is_idle(self) -> bool:
        with self._lock:
            return not (self._waiting or self._under_way) and len(self.winners) < self._goal

    def _is_over(self, now: float, deadline: float, rested: bool) -> bool:
        with self._lock:
            if len(self.winners) >= self._goal or now >= deadline:
                return True
            return not (self._waiting or self._under_way) and (rested or bool(self.winners))

    def _wait(self, deadline: float, next_start: float, rest_at: float) -> None:
        """Until something may be done."""
        now = self._now()
        with self._lock:
            times = [deadline, *(each.until for each in self._under_way.values() if each.lead.is_hearsay)]
        times += [each for each in (next_start, rest_at) if each > now]
        pause = min(times) - now
        self._changed.wait(max(0.001, min(pause, limits.BOOTSTRAP_STAGGER)))
        self._changed.clear()

    def _next(self, now: float, next_start: float) -> Lead | None:
        """Whom to dial now."""
        with self._lock:
            busy = len(self._under_way)
            left = self._goal - len(self.winners)
            if left <= 0 or busy >= limits.BOOTSTRAP_IN_FLIGHT:
                return None
            if busy >= min(self._at_once, limits.BOOTSTRAP_PARALLEL) and now < next_start:
                return None
            hearsay = sum(each.lead.is_hearsay for each in self._under_way.values())
            full = hearsay >= limits.BOOTSTRAP_IN_FLIGHT - limits.BOOTSTRAP_PARALLEL
            for lead in self._waiting:
                if not (full and lead.is_hearsay):
                    self._waiting.remove(lead)
                    return lead
            return None

    def _dial(self, lead: Lead, deadline: float) -> None:
        """Not with the lock held: the dialer calls back with its own lock, so ours comes second."""
        peer_id, now = lead.contact.peer_id, self._now()
        endpoints = self._affordable(lead, now)
        if not endpoints:
            return

        def ended(conversation: Conversation | None, error: CrustError | None) -> None:
            with self._lock:
                self._under_way.pop(peer_id, None)
                if conversation is not None:
                    self.winners.append(conversation.peer)
                    self.won.append(lead)
                elif error is not None:
                    self.failures.append(Failure(lead, error))
                    self._hear_of(lead, error)
            self._changed.set()

        until = min(deadline, now + limits.HEARSAY_SECONDS) if lead.is_hearsay else deadline
        seconds = max(0.05, until - now)
        effort = Dialled(
            self._node,
            Contact(peer_id, endpoints),
            Purpose.BOOTSTRAP,
            seconds,
            ended,
            self._blacklist.covers,
            circuits=not lead.is_hearsay or self._may_circuit(),
            unasked=self._unasked or lead.is_hearsay,
        )
        with self._lock:
            self._under_way[peer_id] = _UnderWay(lead, effort, until)
        effort.begin()

    def _may_circuit(self) -> bool:
        """
        Whether our peers are to introduce us to another one that nobody has named: a hundred of them may be dead, and
        all would be asked of the same one or two. Where links stand that are worth keeping, nobody needs that.
        """
        if self._links_stand or self._circuits_left <= 0:
            return False
        self._circuits_left -= 1
        return True

    def _affordable(self, lead: Lead, now: float) -> tuple[Endpoint, ...]:
        """Where it may be dialled now; if nowhere, that is its failure."""
        endpoints = lead.contact.endpoints
        if lead.source == "lan":
            allowed = self._neighbours.afford(lead.contact.peer_id, endpoints, now)
        elif lead.source in ("alternate", "gossip"):
            hosts = {each.host for each in endpoints if not each.is_loopback}
            met = [limit for host in hosts if (limit := self._rates.refusal(host, now))]
            for limit in met:
                self._node.refusals.count(limit)
            allowed = () if met else endpoints
        else:
            return endpoints
        if allowed:
            return allowed
        error = NoRoute(f"peer {lead.contact.peer_id} was not dialled: what others tell has been tried too often")
        with self._lock:
            self.failures.append(Failure(lead, error))
        return ()

    def _cut(self, now: float) -> None:
        """Lose interest in those that nobody of ours has named, and that take too long."""
        with self._lock:
            late = [each for each in self._under_way.values() if each.lead.is_hearsay and each.until <= now]
        for each in late:
            peer_id = each.lead.contact.peer_id
            attempts = self._node.dialer.attempts(peer_id)
            each.effort.lose_interest()
            tried = "; ".join(map(str, attempts))
            with self._lock:
                if self._under_way.pop(peer_id, None) is not None:
                    text = f"peer {peer_id} has not taken us within {limits.HEARSAY_SECONDS:g} s: {tried}"
                    self.failures.append(Failure(each.lead, ConnectError(text, attempts)))

    def _cancel(self) -> None:
        """Lose interest in all dials under way."""
        with self._lock:
            under_way = dict(self._under_way)
        for peer_id, each in under_way.items():
            self._late += self._node.dialer.attempts(peer_id)
            each.effort.lose_interest()

    # --- what came of it ----------------------------------------------------------------------------------------------

    def attempts(self) -> tuple[Attempt, ...]:
        """All that was tried."""
        tried = (attempt for each in self.failures for attempt in getattr(each.error, "attempts", ()))
        return (*tried, *self._late)


def _first_of_each(contact: Contact) -> Contact:
    """One place for each transport and host: more of them could be many packets to somebody who has no part in it."""
    found: dict[tuple[str, str], Endpoint] = {}
    for each in contact.endpoints:
        found.setdefault((each.transport, each.host), each)
    return Contact(contact.peer_id, tuple(found.values()))
