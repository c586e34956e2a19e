"""
How often each limit has bitten: one table, one counter a row, for ``crust status``, ``Service.stats()`` and Prometheus.

:data:`LIMITS` is the table; docs/misbehaviour.md shows it. Who refuses something because of a limit calls
:meth:`Refusals.count` with its name; what knows of no node gets that method as its ``bites``.

What is not in the table has no bearing on others, is told as misbehaviour by itself (``protocol``), or bounds what has
been bounded by one that is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..values import dataclass

__all__ = ["LIMITS", "Limit", "Refusals"]


@dataclass(frozen=True)
class Limit:
    """One row."""

    name: str
    """The key of the configuration, or, in capitals, the number in ``crust.limits``."""

    before: bool
    """It bounds what strangers cost before they have proven who they are."""

    what: str
    """What is counted when it bites."""

    fixed: str = ""
    """Why it is no key of the configuration; empty: it is one."""


_SMALL = "what an honest peer needs is known, and far less"
_SAFE = "other values would let a node be used against others"
_COSTS = "more would serve nobody: it bounds what the rest of the program is left with"
_MEMORY = "it bounds memory, and honest ones come nowhere near"
_WORK = "it bounds processor time, and honest ones come nowhere near"

_BEFORE = (
    ("limits.starts_per_second", "connections closed at once, all callers together being too many"),
    ("limits.starts_per_address_per_second", "connections closed at once, their address beginning too many"),
    ("limits.half_open", "callers who had to make room for newer ones, or got none"),
    ("limits.half_open_per_address", "the same because of others from their own address"),
    ("limits.utp_half_open", "SYNs of µTP whose place was given to a newer one"),
    ("limits.utp_half_open_per_network", "the same, or SYNs that got no answer: too many from their network"),
    ("UTP_SYNS_PER_SECOND", "the same, about, too many coming from anywhere", _WORK),
    ("LISTEN_BACKLOG", "callers over µTP given up, the listener being behind", "what kernels do for TCP"),
    ("GATE_ADDRESSES_MAX", "addresses forgotten of which it was known how often they begin", _MEMORY),
    ("SALT_MEMORY", "handshakes forgotten whose first message would not have been taken twice", _MEMORY),
    ("UTP_RESETS_PER_SECOND", "stray datagrams over UDP, about; some the kernel has held back", _SAFE),
    ("UTP_USELESS_PER_SECOND", "packets of connections of µTP thrown away, about, most having been of no use", _WORK),
    ("SIEVE_FROM", "times that a flood of UDP had the kernel hold most of it back", _WORK),
    ("ICMP_HEARD_PER_SECOND", "times that a UDP port was deaf to ICMP for a while, too much of it coming", _WORK),
    ("STUN_ANSWERS_PER_SECOND", "questions for an address without an answer, too many coming from one", _SAFE),
    ("STUN_ANSWERS_ALL_PER_SECOND", "the same, too many coming from all together", _SAFE),
    ("STUN_REQUESTS_PER_CONNECTION", "connections ended that asked for their address again and again", _SAFE),
    ("ECHO_CALLERS_MAX", "connections closed at the further ports that answer STUN", _SMALL),
    ("MAPPING_READS_PER_SECOND", "pauses in reading what a router, or who says he is one, sends", _WORK),
    ("BEACON_READS_PER_SECOND", "pauses in reading what comes from the LAN", _WORK),
    ("BEACON_FOUND_PER_SECOND", "answers from the LAN not looked at", _WORK),
    ("BEACON_FOUND_PER_ADDRESS", "the same, too many coming from one address", _SMALL),
    ("BEACON_PEERS", "nodes of the LAN forgotten for newer ones", _MEMORY),
    ("BEACON_PEERS_PER_ADDRESS", "answers not believed, one address having given too many names", _SMALL),
    ("BEACON_ANSWERS_PER_ADDRESS", "questions from the LAN without an answer, too many coming from one address", _SAFE),
    ("BEACON_ANSWERS_PER_SECOND", "the same, too many coming from all together", _SAFE),
    ("BEACON_PENDING", "answers to the LAN not given, too many waiting", _SAFE),
    ("BEACON_ASKERS", "nodes of the LAN forgotten that had asked, or were to say who they are", _MEMORY),
    ("LAN_DIALS_PER_SECOND", "places not dialled that only the LAN has told of: too many dials there in vain", _SAFE),
    ("LAN_DIALS_IN_ALL_PER_SECOND", "the same, dials to all of them being too many", _SAFE),
    ("STATUS_CLIENTS", "programs at the status socket or the page for Prometheus that had to make room", _COSTS),
    ("STATUS_PATIENCE", "such programs cut off, having neither asked nor read for so long", _COSTS),
)
_AFTER = (
    ("limits.max_peers", "callers told that this node is busy"),
    ("limits.peers_per_address", "the same, or circuits, echoes and files refused, for others at their own address"),
    ("bootstrap.max_links", "callers sent on to others, so many having joined here"),
    ("limits.total_buffers", "pauses of a peer's link, and sessions not begun, for lack of memory"),
    ("UTP_KEPT_MAX", "packets lost as connections of µTP kept too much that nobody had taken", _MEMORY),
    ("UNFINISHED_SECONDS", "sessions ended that began messages, did not finish them, and kept others waiting", _COSTS),
    ("EVENTS_WAITING_MAX", "sessions not begun, as many events wait for callbacks", _MEMORY),
    ("EVENTS_WAITING_RESUMED", "sessions not resumed, as even more do", _MEMORY),
    ("limits.overhead_per_peer", "pauses of a peer's link, as it brought too little for what it cost"),
    ("limits.sessions_per_peer_per_second", "sessions not begun, or not resumed, so soon"),
    ("MISDEEDS_KEPT", "peers forgotten of which it was known what they had cost", _MEMORY),
    ("DETACHED_SESSIONS_MAX", "sessions without a link given up for newer ones", _COSTS),
    ("DETACHED_BYTES_MAX", "the same, as what they held was too much", _COSTS),
    ("ECHOES_PER_MINUTE", "echoes refused to peers", _SMALL),
    ("ECHOES_ALL_PER_MINUTE", "the same, all peers together having asked for too many", _SAFE),
    ("CIRCUIT_OPENS_PER_SECOND", "circuits refused, too many being asked for", _SMALL),
    ("CIRCUIT_OPENS_ALL_PER_SECOND", "the same, by all peers together", _WORK),
    ("CIRCUITS_PER_PEER", "circuits refused, that peer having opened so many that are not over", _SMALL),
    ("CIRCUITS_MAX", "the same, all peers together having done so", _COSTS),
    ("CIRCUIT_OFFERS_PER_PEER", "the same, the peer that was called not having answered others", _SMALL),
    ("relay.max_circuits", "circuits that only signalled, though they were to carry messages: there were too many"),
    ("relay.bytes_per_second", "times that what a circuit carried had to wait"),
    ("CIRCUIT_SMALL_PER_SECOND", "the same, as a link had brought so much of it in small parts", _SAFE),
    ("CIRCUIT_OFFERS_MAX", "calls through others refused, too many not being answered yet", _WORK),
    ("CIRCUIT_OFFERS_PER_INTRODUCER", "the same, of one introducer", _SMALL),
    ("FILE_TRANSFERS_MAX", "files refused, too many of that peer being under way", _SMALL),
    ("FILE_TRANSFERS_ALL_MAX", "the same, of all peers together", _COSTS),
    ("FILE_REPLIES_MAX", "times that a peer's words about files waited, as it did not read the answers", _MEMORY),
    ("PURSUITS_PER_PEER", "attempts at a better path put off, its session having too many", _COSTS),
    ("PURSUITS_MAX", "the same, all sessions together having too many", _COSTS),
    ("TRAVERSALS_MAX", "sessions that did not look for a path, or gave way to others, too many doing so", _COSTS),
    ("CANDIDATES_HEARD_MAX", "times that a peer said once more where it is, in one attempt, and was not heard", _SMALL),
    ("PLAN_SIGNALS_MAX", "signals of a peer to a method that were not heard", _SMALL),
    ("SIGNALS_KEPT", "the same to one that had not begun here", _MEMORY),
    ("PUNCH_HEARD_MAX", "datagrams at sockets that punch that were not looked at", _WORK),
    ("UNSEEN_PROBES", "times that no more went to an address by UDP that only the peer has named", _SAFE),
    ("UNSEEN_SYNS", "the same by TCP", _SAFE),
    ("UNSEEN_HOSTS_MAX", "addresses not tried, the peer having named so many", _SAFE),
    ("UNSEEN_PRIVATE_MAX", "private ones not tried, the peer having named so many", _SAFE),
    ("SEARCH_PROBES", "times that no more went by UDP to an address where the peer is seen", _SAFE),
    ("SEARCH_SYNS", "the same by TCP", _SAFE),
    ("UNPROVEN_PROBES", "times that no more went by UDP to an address where nobody has answered, for all", _SAFE),
    ("UNPROVEN_SYNS", "the same by TCP", _SAFE),
    ("ALLOWANCES_MAX", "peers forgotten of which it was known how much had gone to what they name", _MEMORY),
    ("LOOKUPS_MAX", "names that waited to be looked up, or have never been", _COSTS),
    ("NAME_ADDRESSES_MAX", "names that stand for more addresses than were looked at", _SAFE),
    ("BOOTSTRAP_LEADS", "nodes not looked at that others have named", _COSTS),
    ("HEARSAY_REST", "places not dialled that others alone have told of: it was done lately", _SAFE),
    ("HEARSAY_PER_SECOND", "the same, dials to all of them being too many", _SAFE),
    ("HEARSAY_ANSWERED_PER_SECOND", "the same where a node has answered", _SAFE),
    ("HEARSAY_ADDRESSES", "places forgotten of which it was known when they were dialled", _MEMORY),
    ("REACHABILITY_REST", "peers that were not tried anew whether strangers reach them", _SAFE),
    ("REACHABILITY_PER_SECOND", "peers that waited to be tried, others being", _SAFE),
    ("gossip.max_records", "records given up, or announced and not asked for, there being no room"),
    ("GOSSIP_FRESH_SECONDS", "records of unknown nodes not asked for: links may add only so many in that time", _SMALL),
    ("GOSSIP_CHECKS_LINK", "times that records of one link waited, or were dropped: each costs a signature", _WORK),
    ("GOSSIP_CHECKS", "the same of all links", _WORK),
    ("GOSSIP_ITEMS_RATE", "frames of gossip not read: their link announces too much", _WORK),
    ("GOSSIP_SUMMARIES_LINK", "times that stores were not compared, a link having asked too often", _WORK),
    ("GOSSIP_REQUEST_MAX", "records not given to who asked for too many at once", _SMALL),
    ("GOSSIP_SERVE_RATE", "times that somebody waited for records", _COSTS),
    ("GOSSIP_TELLS", "times that links waited to hear what is new", _COSTS),
    ("GOSSIP_FINDS_LINK", "questions for a node not answered, too many coming on that link", _WORK),
    ("GOSSIP_FINDS_ADDRESS", "the same on all links from its address", _WORK),
    ("GOSSIP_FINDS", "the same on all links", _WORK),
    ("GOSSIP_STRIKES", "links that were asked nothing for a while, having broken their word", _SMALL),
    ("GOSSIP_PAUSED", "the same, having not given what they had announced", _SMALL),
    ("GOSSIP_PINNED", "nodes whose records may be given up again, though they brought them themselves", _MEMORY),
    ("GOSSIP_WAITING", "frames of gossip dropped, too many of that peer waiting", _MEMORY),
    ("GOSSIP_WAITING_PEERS", "the same, of too many peers", _MEMORY),
    ("GOSSIP_MAIL_PEER", "frames of gossip not sent to a peer that does not read", _MEMORY),
    ("GOSSIP_MAIL", "the same to all of them", _MEMORY),
    ("GOSSIP_ASKS_AT_ONCE", "questions not put to a node without a link, too many such links being made", _SAFE),
    ("GOSSIP_ASKS_PER_SECOND", "the same, too many having been made", _SAFE),
    ("GOSSIP_FINDS_AT_ONCE", "searches of this node that were not begun", _SAFE),
    ("SEARCHES_MAX", "peers that were not looked up for a dial", _SAFE),
    ("SEARCH_STEPS", "introducers left out, too many having been tried for one peer", _SAFE),
    ("JUDGED_MAX", "peers forgotten that had passed the predicates, and are asked about again", _MEMORY),
    ("BANS_CONDEMNED_MAX", "peers forgotten of whom a predicate was true", _MEMORY),
    ("BANS_KEPT_MAX", "bans not written to the ban file, it being full", _MEMORY),
    ("EVENT_STREAM_SIZE", "events given up that waited in a stream, of this or another size", "events() has it"),
    ("LOG_BACKLOG", "log records given up, their handlers being too slow", _MEMORY),
)

LIMITS: dict[str, Limit] = {
    name: Limit(name, before, what, *why)
    for before, rows in ((True, _BEFORE), (False, _AFTER))
    for name, what, *why in rows
}
"""By name."""


class Refusals:
    """The counters. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _counts
        self._counts = dict.fromkeys(LIMITS, 0)
        self._looks: dict[str, Callable[[], int]] = {}

    def count(self, limit: str, times: int = 1) -> None:
        """
        A limit has bitten.

        Raises:
            KeyError: It is not in the table.
        """
        with self._lock:
            self._counts[limit] += times

    def all(self) -> dict[str, int]:
        """How often each has, by its name, in the order of the table."""
        with self._lock:
            counts, looks = dict(self._counts), dict(self._looks)
        return {**counts, **{limit: look() for limit, look in looks.items()}}

    def watch(self, limit: str, look: Callable[[], int]) -> None:
        """Somebody counts by himself how often that limit bites. Must be quick."""
        with self._lock:
            self._looks[limit] = look
