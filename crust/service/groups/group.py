"""What the application holds of a group."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from ...addresses import PeerId
from ...exceptions import LocalProtocolError, ServiceClosed
from ...peers.peer import Peer
from ...runtime.threads import forked_error
from ..connecting import Target, as_peer_id

if TYPE_CHECKING:
    from ...runtime.clock import Event
    from .groups import Groups

__all__ = ["Group", "OnOffer"]

OnOffer = Callable[[Peer], "bool | str"]
"""Whether a group keeps a session: True, False, or the reason for letting it go as text for the other side."""


class Group:
    """
    Connections to a number of peers, kept up until :meth:`close`. Made by :meth:`crust.Service.group`; thread-safe.

    ``GroupReady`` and ``GroupShort`` tell when it has as many as it wants, and when no longer.
    """

    def __init__(self, groups: Groups, name: str, decide: OnOffer | None) -> None:
        self._groups = groups
        self._name = name
        self._decide = decide
        self._waiting: tuple[Event, ...] = ()  # of those who wait for it to be full, or closed
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.peers)} of {self.want}"
        return f"<crust.Group {self._name!r} {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Group belongs to a running node and cannot be pickled; pass its name and members instead")

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is so ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As it was given: no other group of the node has it."""
        return self._name

    @property
    def peers(self) -> list[Peer]:
        """Those in its places that a link leads to at this moment, the longest there first."""
        return self._groups.peers_of(self)

    @property
    def members(self) -> frozenset[PeerId]:
        """Whom it was given, and not taken away again."""
        return self._groups.members_of(self)

    @property
    def dialling(self) -> list[PeerId]:
        """Whom it is trying to reach at this moment."""
        return self._groups.dialled_for(self)

    @property
    def is_full(self) -> bool:
        """
        True if it has as many peers as it wants. Those without a link count for a second, after which their
        places go to others.
        """
        return self._groups.is_full(self)

    @property
    def closed(self) -> bool:
        """True from :meth:`close` on, or the node's."""
        return self._closed

    # --- changes ------------------------------------------------------------------------------------------------------

    @property
    def want(self) -> int:
        """
        How many peers it should have. May be set: what is too much then is ended, as far as the group had begun it, the
        newest first.

        Raises:
            TypeError, ValueError: On setting: it is no whole number, or less than 0.
            ServiceClosed: On setting: the group, or the node, is closed.
        """
        return self._groups.want_of(self)

    @want.setter
    def want(self, want: int) -> None:
        self._check()
        self._groups.set_want(self, want)

    def add(self, *who: Target) -> None:
        """
        These belong to it from now on. No effect for those that do.

        Args:
            who: Contacts, peer ids, connection infos, as text or objects. An id without an address is looked up
                whenever it is to be dialled.

        Raises:
            ContactSyntaxError: One of them is mistyped; nothing was done.
            ConnectError: One of them is the connection info of a node in another network; nothing was done.
            ServiceClosed: The group, or the node, is closed.
        """
        self._check()
        self._groups.add(self, who)

    def remove(self, *who: PeerId | Peer | str) -> None:
        """
        These are not to be in it, until they are added again. Their sessions end if a group had begun them and neither
        another group nor the application wants them.

        Raises:
            ContactSyntaxError: One of them is mistyped; nothing was done.
            ServiceClosed: The group, or the node, is closed.
        """
        self._check()
        self._groups.remove(self, [as_peer_id(each) for each in who])

    def wait(self, timeout: float | None = None) -> bool:
        """
        Wait until it has as many peers as it wants.

        Args:
            timeout: Seconds; None: no limit.

        Returns:
            False if the timeout came first; it goes on trying.

        Raises:
            ServiceClosed: The group, or the node, has been closed.
            LocalProtocolError: Called from a callback, where it could wait for itself; ``GroupReady`` tells there.
        """
        self._check()
        if self._groups.on_dispatcher():
            raise LocalProtocolError("Group.wait() would block all callbacks; use GroupReady, or a thread of your own")
        event = self._groups.make_event()
        try:
            self._groups.shielded(lambda: self._groups.enter(self, event))
            event.wait(timeout)
        finally:
            self._groups.shielded(lambda: self._groups.leave(self, event))
        self._check()
        return self.is_full

    def close(self) -> None:
        """
        End the group: nothing is kept up any more. Sessions that a group had begun, and that neither another group nor
        the application wants, end. Idempotent.
        """
        if self._groups.pid == os.getpid():
            self._groups.close_group(self)

    def _check(self) -> None:
        if self._groups.pid != os.getpid():
            raise forked_error(self._groups.pid)
        if self._closed:
            raise ServiceClosed(f"group {self._name!r} has been closed")

    # --- for the groups (their lock is held) --------------------------------------------------------------------------

    def _enter(self, event: Event, now: bool) -> None:
        self._waiting = (*self._waiting, event)
        if now or self._closed:
            event.set()

    def _leave(self, event: Event) -> None:
        self._waiting = tuple(each for each in self._waiting if each is not event)

    def _end(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()
