"""The contact of a node that waits to be called: shown at the start, and again when more of the world gets in."""

from __future__ import annotations

import threading
from collections.abc import Callable

import crust

from .rendezvous import Links
from .terminal import Terminal, printable

__all__ = ["Announcing"]


class Announcing:
    """
    What a router does comes later than the start. Thread-safe.

    Args:
        terminal: Where people look.
        show: Gives programs the contact, at the start.
        changed: The same whenever it has changed; people are told beside that.
        links: Rendezvous by which others get here all the same.
    """

    def __init__(
        self,
        terminal: Terminal,
        show: Callable[[crust.Contact], object],
        changed: Callable[[crust.Contact], object] | None = None,
        links: Links | None = None,
    ) -> None:
        self._terminal = terminal
        self._show = show
        self._tell = changed
        self._links = links
        self._lock = threading.Lock()  # guards what follows
        self._shown: crust.Contact | None = None  # None: not begun

    def watch(self, node: crust.Service) -> None:
        """Before the start: hear what comes of the addresses. Runs on the dispatcher from then on."""
        node.on(crust.AddressesChanged, lambda _: self._changed(node))
        node.on(crust.PortMapFailed, self._closed)

    def begin(self, node: crust.Service) -> None:
        """The node has started: show its contact."""
        with self._lock:
            self._shown = node.contact
            self._show(self._shown)

    def _changed(self, node: crust.Service) -> None:
        with self._lock:
            contact = node.contact
            if self._shown is None or contact == self._shown or not contact.endpoints:
                return
            self._shown = contact
            self._terminal.say(f"the addresses have changed; from now on this contact leads here:  {contact}")
            if self._tell is not None:
                self._tell(contact)

    def _closed(self, event: crust.PortMapFailed) -> None:
        if self._links is not None and self._links.linked:
            why = printable(event.reason)
            self._terminal.detail(f"the router opens no port ({why}): others get here by a rendezvous")
            return
        self._terminal.say(
            "the router opens no port, so those outside this network may not get through"
            f" ({printable(event.reason)}); `punch-test report` says more"
        )
