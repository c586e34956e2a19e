"""Where peers may be, by all that is known: the contacts that this node was given, and whatever else finds peers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence, Set
from typing import Protocol

from ... import limits
from ...addresses import Contact, Endpoint, PeerId
from ...exceptions import ContactSyntaxError

__all__ = ["Contacts", "Directory", "Source", "contact_of_first"]


class Source(Protocol):
    """
    One that knows peers. Thread-safe, quick. Whoever asks may hold locks, so a source takes only such as come after
    those of the registry, the dialer and the groups: contacts, the cache and the LAN none, gossip its own and those of
    what it goes by, which are the listeners', the blacklist's and that of addresses dialled.
    """

    name: str
    """As it is called in texts for people: ``contact``, ``cache``, ``lan``, ``gossip``."""

    def places(self, peer_id: PeerId) -> Sequence[Endpoint]:
        """Where that peer may be, the best first; nothing if this source does not know it."""

    def contacts(self) -> Sequence[Contact]:
        """Whom one could try for a first peer, the best first."""


class Contacts:
    """Those of the configuration and of the constructor: see :class:`Source`."""

    name = "contact"

    def __init__(self, contacts: Iterable[Contact] = ()) -> None:
        self._known: dict[PeerId, tuple[Endpoint, ...]] = {}
        self.replace(contacts)

    def replace(self, contacts: Iterable[Contact]) -> None:
        """These, and no others, from now on. Several of one peer are one."""
        known: dict[PeerId, tuple[Endpoint, ...]] = {}
        for contact in contacts:
            known[contact.peer_id] = tuple(dict.fromkeys((*known.get(contact.peer_id, ()), *contact.endpoints)))
        self._known = known

    def places(self, peer_id: PeerId) -> Sequence[Endpoint]:
        return self._known.get(peer_id, ())

    def contacts(self) -> Sequence[Contact]:
        return [contact_of_first(peer_id, endpoints) for peer_id, endpoints in self._known.items()]


class Directory:
    """All sources of one node, the most trusted first. Thread-safe."""

    def __init__(self) -> None:
        self.given = Contacts()
        """The contacts of the configuration and of the constructor."""
        self._lock = threading.Lock()
        self._sources: tuple[Source, ...] = (self.given,)

    def add(self, source: Source) -> None:
        """Ask that one, too, after those that are there."""
        with self._lock:
            self._sources += (source,)

    def contacts(self) -> list[Contact]:
        """Whom any source knows, the most trusted source's first; a peer of several sources is there several times."""
        return [contact for source in self._sources for contact in source.contacts()]

    def of(self, name: str) -> list[Contact]:
        """Whom the sources of that name know."""
        return [contact for source in self._sources if source.name == name for contact in source.contacts()]

    def places(self, peer_id: PeerId, *, but: Set[str] = frozenset()) -> tuple[Endpoint, ...]:
        """Where that peer may be by any source, but those of these names; each place once."""
        sources = [source for source in self._sources if source.name not in but]
        return tuple(dict.fromkeys(each for source in sources for each in source.places(peer_id)))


def contact_of_first(peer_id: PeerId, endpoints: Iterable[Endpoint]) -> Contact:
    """The contact with as many of the first of these as one may have: sources may know more together."""
    found = list(dict.fromkeys(endpoints))[: limits.CONTACT_ENDPOINTS_MAX]
    while True:
        try:
            return Contact(peer_id, tuple(found))
        except ContactSyntaxError:  # long names
            found.pop()
