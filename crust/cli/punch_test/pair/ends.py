"""A node for a test: its links to the rendezvous, and what it knows of the network around it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from concurrent import futures

import crust

from ...context import Context
from ...errors import CommandError
from ...rendezvous import command_line
from ...terminal import printable
from .meeting import Address, End

__all__ = ["Linked", "Surroundings", "command_for", "link", "no_rendezvous"]

_LINK_PATIENCE = 10.0  # seconds to reach a rendezvous,
_OTHERS_PATIENCE = 1.5  # and another one once there is one
_ROUTER_PATIENCE = 2.5  # seconds for the router's word whether it opens a port
_ADDRESSES_MAX = 32


@dataclasses.dataclass(frozen=True)
class Linked:
    """The rendezvous that were reached."""

    contacts: tuple[crust.Contact, ...] = ()
    relays: bool = False
    """One of them carries data for others."""

    def __bool__(self) -> bool:
        return bool(self.contacts)


def link(node: crust.Service, contacts: Sequence[crust.Contact], context: Context) -> Linked:
    """Connect to those; who cannot be reached is named in a warning, as is who carries no data."""
    if contacts:
        named = ", ".join(context.call(each.peer_id) for each in contacts)
        context.terminal.say(f"connecting to the rendezvous {named}")
    dials = [(contact, node.dial(contact, timeout=_LINK_PATIENCE)) for contact in contacts]
    _await_links([dial for _, dial in dials])
    linked = []
    relays = False
    for contact, dial in dials:
        try:
            peer = dial.result(timeout=0)
        except (crust.CrustError, futures.TimeoutError, futures.CancelledError) as error:
            why = printable(str(error), 1000) or "no answer in time"
            context.terminal.warn(f"the rendezvous {context.call(contact.peer_id)} cannot be reached: {why}")
            continue
        linked.append(contact)
        relays = relays or peer.relays
        if not peer.relays:
            context.terminal.warn(
                f"the rendezvous {context.call(contact.peer_id)} carries no data for others: if no direct connection "
                "comes about there will be none; `crust node --serve-relay` does that"
            )
    return Linked(tuple(linked), relays)


def _await_links(dials: Sequence[futures.Future[crust.Peer]]) -> None:
    """Until each dial has ended; once one has succeeded the others have little time left."""
    end = time.monotonic() + _LINK_PATIENCE
    waiting = set(dials)
    while waiting and time.monotonic() < end:
        done, waiting = futures.wait(waiting, max(0.0, end - time.monotonic()), futures.FIRST_COMPLETED)
        if any(dial.exception() is None for dial in done):
            end = min(end, time.monotonic() + _OTHERS_PATIENCE)
    for dial in waiting:
        dial.cancel()


def command_for(node: crust.Service, linked: Sequence[crust.Contact], config: crust.Config) -> str:
    """The one line for the other end."""
    return command_line(["punch-test", "connect", str(node.contact)], linked, config)


class Surroundings:
    """
    What the node of one end gets to know of its network. Thread-safe.

    Args:
        role: ``listen`` or ``connect``.
        asks_router: Whether its router is asked to open a port.
    """

    def __init__(self, role: str, *, asks_router: bool) -> None:
        self._role = role
        self._router = ("unknown", "") if asks_router else ("off", "")
        self._known = threading.Event()
        if not asks_router:
            self._known.set()

    def watch(self, node: crust.Service) -> None:
        """Before the start."""
        node.on(crust.PortMapped, self._mapped)
        node.on(crust.PortMapFailed, self._failed)

    def _mapped(self, event: crust.PortMapped) -> None:
        text = f"{event.endpoint} by {event.protocol}"
        self._router = ("failed", event.reason) if event.reason else ("opened", text)
        self._known.set()

    def _failed(self, event: crust.PortMapFailed) -> None:
        if self._router[0] != "opened":
            self._router = ("failed", event.reason)
        self._known.set()

    def wait(self) -> None:
        """Until the router has said something, or long enough."""
        self._known.wait(_ROUTER_PATIENCE)

    def end(self, node: crust.Service, *, linked: bool, attempts: Sequence[crust.Attempt] = ()) -> End:
        """All that is known now."""
        addresses = []
        for candidate in node.candidates:
            if not candidate.endpoint.is_link_local:
                addresses.append(Address(candidate.kind.value, str(candidate.endpoint)))
        router, text = self._router
        kept = tuple(addresses[:_ADDRESSES_MAX])
        return End(self._role, crust.__version__, kept, router, text, linked, tuple(attempts))


def no_rendezvous(contacts: Sequence[crust.Contact]) -> CommandError:
    """The error if there is none."""
    if contacts:
        return CommandError("no rendezvous can be reached: look at its address, and whether it runs")
    return CommandError(
        "no rendezvous was named: give a crust node that both ends can reach with --contact; on a server, "
        "`crust node --serve-relay --allow-bootstrap --listen tcp://0.0.0.0:443` is one"
    )
