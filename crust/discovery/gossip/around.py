"""
Looking around: now and then a node dials somebody that it has no link to, however many links it has.

Two halves of a network that were apart, each content with itself, would never meet again otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ... import limits
from ...addresses import Contact, address_key
from ...peers.whereabouts import site_key

__all__ = ["LookAround"]

_NEVER = float("inf")

T = TypeVar("T")


class LookAround:
    """
    When, and whom. Not thread-safe.

    Args:
        uniform: A random number from 0 up to 1.
    """

    def __init__(self, uniform: Callable[[], float]) -> None:
        self._uniform = uniform
        self._next = _NEVER
        self._tries = 0

    def begin(self, now: float) -> None:
        """The node has links: look somewhen within ``LOOK_AROUND``. Nothing if that has been said."""
        if self._next == _NEVER:
            self._next = now + limits.LOOK_AROUND * self._uniform()

    def end(self) -> None:
        """It has none: it looks for some, and this is no use."""
        self._next = _NEVER

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` is due; None: never."""
        return None if self._next == _NEVER else self._next

    def handle_timer(self, now: float, *known: Sequence[Contact]) -> Contact | None:
        """
        Whom to dial now; None: it is too early, or there is nobody.

        Keys cost nothing, so it is an address that is chosen, an IPv6 /48 being one, and then somebody there. Nor do
        addresses that somebody makes up, so first it is chosen whose word to go by.

        Args:
            known: Nodes to which no link of ours leads, and that may be dialled; those that are known alike together.
        """
        if now < self._next:
            return None
        spread = 1.0 + limits.JITTER * (2.0 * self._uniform() - 1.0)
        self._next = now + limits.LOOK_AROUND * spread
        kinds = [each for each in known if each]
        if not kinds:
            return None
        self._tries += 1
        places: dict[bytes, list[Contact]] = {}
        for contact in self._one_of(kinds):
            places.setdefault(_place(contact), []).append(contact)
        return self._one_of(self._one_of([*places.values()]))

    def _one_of(self, some: Sequence[T]) -> T:
        return some[int(self._uniform() * len(some))]

    def reached(self) -> None:
        """Whoever was dialled is there."""
        self._tries = 0

    def missed(self, now: float) -> None:
        """Nobody was reached: somebody else is tried soon, unless these were many in a row."""
        if self._tries < limits.LOOK_AROUND_TRIES:
            self._next = min(self._next, now + limits.LOOK_AROUND_PAUSE)
        else:
            self._tries = 0


def _place(contact: Contact) -> bytes:
    """Where it is to be dialled first."""
    endpoint = contact.endpoints[0]
    if not endpoint.is_ip:
        return b"by name: " + endpoint.host.encode()
    key = address_key(endpoint.host)
    return site_key(key) or key
