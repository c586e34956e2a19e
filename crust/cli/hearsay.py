"""
Where nodes may be that a rendezvous without room has named: it may name any machine, and any number of them.

As a node that bootstraps does, commands believe it of single addresses given by number, of few, and of each only now
and then; and what is not public only of one that is not public itself.
"""

from __future__ import annotations

import crust

__all__ = ["Hearsay"]

_ENDPOINTS_MAX = 4  # of one node
_PLACES_MAX = 64  # in all, in the time that each of them rests:
_REST = 600.0  # seconds until somebody else is looked for at the same place


class Hearsay:
    """What has been believed lately. Not thread-safe."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # by place

    def believed(self, contact: crust.Contact, by: crust.Contact, now: float) -> tuple[crust.Endpoint, ...]:
        """
        Where to look for the one that another one has named.

        Args:
            contact: Who has been named, and where.
            by: Who has named it, and where that one is.
            now: Seconds, of a clock that is never set.
        """
        self._since = {place: since for place, since in self._since.items() if now < since + _REST}
        new = [each for each in _possible(contact, by) if _place_of(each) not in self._since]
        new = new[: max(0, _PLACES_MAX - len(self._since))]
        self._since.update((_place_of(each), now) for each in new)
        return tuple(new)


def _possible(contact: crust.Contact, by: crust.Contact) -> list[crust.Endpoint]:
    """One of each transport and address: a node listens once."""
    here = [each for each in by.endpoints if each.is_ip and not each.is_global]
    on_loopback, in_private = (any(each.is_loopback is wanted for each in here) for wanted in (True, False))
    found: dict[tuple[str, str], crust.Endpoint] = {}
    for each in contact.endpoints:
        allowed = each.is_global or (on_loopback if each.is_loopback else in_private)
        if allowed and each.is_single_host:
            found.setdefault((each.transport, each.host), each)
    return [*found.values()][:_ENDPOINTS_MAX]


def _place_of(endpoint: crust.Endpoint) -> str:
    """On this machine each port is a place of its own."""
    return f"{endpoint.host} {endpoint.port}" if endpoint.is_loopback else endpoint.host
