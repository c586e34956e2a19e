"""
Where peers are by their own word, and sessions that follow a node to another port.

A peer tells in CANDIDATES where it may be reached (docs/wire-format.md). What it told last is tried, too, when a
session needs another link: for the side that was called it is, beside circuits, all there is. It is only the peer's
word, so it is tried at the address where the peer was seen; elsewhere at public addresses alone, and within the peer's
allowance (:mod:`crust.nat.punch.allowance`).

Who leaves a port tells the peers, in CANDIDATES of no attempt (generation 0), and moves the sessions that it dialled.
A peer that dialled us at that port hears that we are at another one of the same host, and moves its session there.
Either move is a resume while the old link lives: nothing is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Endpoint, address_key
from ...candidates import Candidate as Found
from ...candidates import CandidateKind
from ...peers.conversation import Conversation
from ...peers.link import Link
from ...peers.race import Candidate
from ...wire.frames import Candidates, Place, PlaceKind, TransportCode
from ...wire.handshake import Capability, Manner

if TYPE_CHECKING:
    from ...nat.punch.allowance import Allowance
    from ..node import Node
    from ..traversal.allowances import Allowances

__all__ = ["NO_ATTEMPT", "Relocation", "successor"]

NO_ATTEMPT = 0
"""The generation of CANDIDATES that begin no attempt to find a better path."""

_KINDS = {
    CandidateKind.CONFIGURED: PlaceKind.CONFIGURED,
    CandidateKind.INTERFACE: PlaceKind.INTERFACE,
    CandidateKind.MAPPED: PlaceKind.MAPPED,
    CandidateKind.REFLEXIVE: PlaceKind.REFLEXIVE,
}
_CODES = {"tcp": TransportCode.TCP, "utp": TransportCode.UTP}
_NAMES = {code: name for name, code in _CODES.items()}


class Relocation:
    """
    For one node. Thread-safe; nothing here blocks.

    Args:
        node: The node, not started.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()  # guards what follows
        self._followed_at: dict[Conversation, float] = {}
        self._allowances: Allowances | None = None

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._followed_at = {}
        if self._allowances is not None:
            self._allowances.abandon()

    def lost(self, conversation: Conversation) -> None:
        """A session is over."""
        with self._lock:
            self._followed_at.pop(conversation, None)

    # --- the peer's places --------------------------------------------------------------------------------------------

    def told(self, conversation: Conversation, link: Link, frame: Candidates) -> None:
        """A peer says where it may be reached (the link's reader thread)."""
        conversation.told = frame.places
        if link is conversation.link:
            self.carried(conversation)

    def carried(self, conversation: Conversation) -> None:
        """A link carries a session (locks may be held): maybe not where the peer said last that it is."""
        if self._successor(conversation) is None:
            return
        now = self._node.io.now()
        with self._lock:
            before = self._followed_at.get(conversation, float("-inf"))
            if before > now:
                return  # it will look at the last word
            at = max(now, before + limits.FOLLOW_INTERVAL)
            self._followed_at[conversation] = at
        self._node.io.call_at(at, lambda _: self._follow(conversation))

    @staticmethod
    def _successor(conversation: Conversation) -> Endpoint | None:
        link = conversation.link
        if link is None or link.inbound or link.manner is not Manner.DIRECT:
            return None
        return successor(link.connection.remote, conversation.told)

    def _follow(self, conversation: Conversation) -> None:
        """Go where the peer says that it is, if the session is not there by now (I/O thread)."""
        target, link = self._successor(conversation), conversation.link
        if target is not None and link is not None:
            self._move(conversation, link, target)

    def places(self, conversation: Conversation) -> tuple[Endpoint, ...]:
        """Where a session's peer may be dialled now, by its own word; each counts against what may go there."""
        found: list[Endpoint] = []
        allowance: Allowance | None = None
        seen = self._seen_at(conversation)
        for place in conversation.told:
            endpoint = Endpoint(_NAMES[place.transport], *place.address)
            if not endpoint.is_dialable or not (endpoint.host == seen or _is_of_one(endpoint)):
                continue
            if len(found) >= limits.DIRECT_DIALS_MAX:
                break
            allowance = allowance or self._allowance(conversation, seen)
            is_tcp = place.transport is TransportCode.TCP
            take, packets = (allowance.syn, limits.DIRECT_SYNS) if is_tcp else (allowance.probe, limits.DIRECT_PROBES)
            if take(endpoint.host, packets):
                found.append(endpoint)
        return tuple(found)

    @staticmethod
    def _seen_at(conversation: Conversation) -> str | None:
        """Where others saw the peer; not a private address, if that is an introducer's word only."""
        host, path = conversation.address, conversation.path
        if host is None or path is None or path.path_class != "relay":
            return host
        return host if Endpoint("tcp", host, 0).is_global else None

    def _allowance(self, conversation: Conversation, host: str | None) -> Allowance:
        seen = frozenset() if host is None else frozenset((host,))
        link, path = conversation.link, conversation.path
        introducer = None  # which need not be there any more
        if path is None or path.path_class == "relay":
            introducer = b"" if link is None else address_key(link.connection.remote.host)
        if self._node.traversals is not None:
            return self._node.traversals.allowance(conversation, seen, introducer)
        from ..traversal.allowances import Allowances  # not before it is needed: `import crust` stays cheap

        with self._lock:
            if self._allowances is None:
                self._allowances = Allowances(self._node.refusals.count)
            allowances = self._allowances
        return allowances.of(conversation.peer_id, seen, self._node.io.now(), introducer)

    # --- ours ---------------------------------------------------------------------------------------------------------

    def announce(
        self, candidates: Iterable[Found], bound: Iterable[Endpoint], to: Iterable[Conversation] | None = None
    ) -> None:
        """
        Tell peers that understand it where we are now.

        Args:
            candidates: Where we may be reached; those that strangers are told are told.
            bound: Our listeners.
            to: Whom to tell; None: all.
        """
        shown = [_place(each.endpoint, _KINDS[each.kind]) for each in candidates if each.shown and each.endpoint.is_ip]
        listeners = tuple(bound)
        for conversation in self._node.registry.all() if to is None else to:
            link = conversation.link
            if link is None or link.circuit is not None or not conversation.capabilities & Capability.TRAVERSAL:
                continue
            # By which of our addresses this peer's link goes, it knows.
            host, family = link.connection.local.host, link.connection.local.family
            here = [
                _place(Endpoint(each.transport, host, each.port), PlaceKind.INTERFACE)
                for each in listeners
                if each.family == family and (each.host == host or (each.ip is not None and each.ip.is_unspecified))
            ]
            places = [each for each in dict.fromkeys((*here, *shown)) if "%" not in each.address[0]]
            link.write_control(Candidates(NO_ATTEMPT, (), _capped(places)))

    def without(self, gone: frozenset[str]) -> None:
        """
        Our network is another one. Links from addresses that are gone are dead: end them now, so that their sessions
        get others. The rest have to show soon that they live.
        """
        for conversation in self._node.registry.all():
            link = conversation.link
            if link is None or link.circuit is not None:
                continue
            host = link.connection.local.host.partition("%")[0]
            if host in gone:
                link.fail("failed", f"our address {host} is gone")
            else:
                conversation.doubt()

    def leave(self, is_left: Callable[[Link], bool]) -> None:
        """Move the sessions that we dialled, and whose links go by a port that we leave; not all at one moment."""
        delay = 0.0
        for conversation in self._node.registry.all():
            link = conversation.link
            if link is None or link.circuit is not None or link.inbound or not is_left(link):
                continue
            if link.manner is Manner.DIRECT:
                self._move_later(delay, conversation, link)
                delay += limits.MOVE_STAGGER

    def _move_later(self, delay: float, conversation: Conversation, link: Link) -> None:
        def move(_now: float) -> None:
            if conversation.link is link:
                self._move(conversation, link, self._successor(conversation) or link.connection.remote)

        self._node.io.call_later(delay, move)

    def _move(self, conversation: Conversation, link: Link, target: Endpoint) -> None:
        conversation.leaving = link
        self._node.dialer.pursue(conversation, Candidate(target))


def successor(remote: Endpoint, places: Iterable[Place]) -> Endpoint | None:
    """Where a peer is now that was reached at ``remote``, if that is another port of the same host; None: it stays."""
    host = [place for place in places if place.address[0] == remote.host]
    same = [place.address[1] for place in host if _NAMES[place.transport] == remote.transport]
    return None if not same or remote.port in same else remote.with_port(same[0])


def _is_of_one(endpoint: Endpoint) -> bool:
    """Whether it is a public address that stands for no other: what may go to that is counted by host."""
    return endpoint.is_global and endpoint.is_single_host


def _place(endpoint: Endpoint, kind: PlaceKind) -> Place:
    return Place(kind, _CODES[endpoint.transport], True, (endpoint.host, endpoint.port))


def _capped(places: Iterable[Place]) -> tuple[Place, ...]:
    """As many of each family as may be told."""
    families: dict[bool, list[Place]] = {False: [], True: []}
    for place in places:
        families[":" in place.address[0]].append(place)
    return tuple(place for each in families.values() for place in each[: limits.CANDIDATES_MAX])
