"""
Rendezvous: nodes that a command's own node stays linked to, so that others reach it by its id, and it reaches them.

They are those of ``--contact`` and ``bootstrap.contacts``. They introduce, and some carry; they are no people: no line
of a chat is for them, and nobody takes a file from one unless told so.

`crust.Service.start_bootstrap` stays linked, too, but to anybody who takes the node: nodes of the cache or the LAN
spare it the contacts. Here both ends have named the same nodes to meet at, so each has to be linked to those, in their
order, whoever else is there; the user hears why it does not come about; and a command that ends soon, such as
``crust send``, waits for them, and looks for no network. ``crust node`` does both.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import ipaddress
import queue
import random
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import TYPE_CHECKING

import crust

from .errors import UsageError
from .hearsay import Hearsay
from .options import load_config, restricted
from .terminal import printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["PATIENCE", "PATIENCE_WITH_ADDRESS", "Links", "command_line", "contact_of", "rendezvous_of"]

PATIENCE = 10.5  # seconds that a command waits for the first link,
PATIENCE_WITH_ADDRESS = 3.0  # if it can do something without,
_OTHERS_PATIENCE = 1.5  # and for others once there is one
_DIAL_TIMEOUT = 10.0
_LOOK = 0.5  # seconds between two looks, lest a Ctrl-C that comes just before a wait is heard at its end only
_LINKS = 3  # at once: as many as a node asks to introduce it
_KNOWN_MAX = 64  # with those that busy ones name instead
_HEARSAY_TIMEOUT = 3.0
_PAUSE = 1.0  # seconds before a lost link is tried again, doubled with each failure
_PAUSE_MAX = 60.0
_STEADY = 60.0  # seconds after which a link counts as a good one: the next pause is short
_JITTER = 0.25


def contact_of(to: crust.Contact | crust.ConnectionInfo) -> crust.Contact:
    """Whom and where."""
    return to.contact if isinstance(to, crust.ConnectionInfo) else to


def rendezvous_of(
    arguments: argparse.Namespace, context: Context, bootstrap: crust.BootstrapConfig | None = None
) -> list[crust.Contact]:
    """
    Those of ``--contact``, then the bootstrap contacts of the configuration that are not blacklisted there.

    Args:
        bootstrap: Its section; None: as the file says now.

    Raises:
        UsageError: One of ``--contact`` has no address, and the configuration knows none either.
        BookError: One is a name that the contact book does not have.
    """
    bootstrap = bootstrap or load_config(arguments, context.environ).bootstrap
    named = [contact_of(context.book.resolve(text)) for text in arguments.contact]
    found: dict[crust.PeerId, crust.Contact] = {}
    for contact in (*named, *map(crust.Contact.parse, bootstrap.contacts)):
        before = found.get(contact.peer_id, crust.Contact(contact.peer_id))
        endpoints = dict.fromkeys((*before.endpoints, *contact_of(restricted(contact, arguments.only)).endpoints))
        found[contact.peer_id] = crust.Contact(contact.peer_id, tuple(endpoints))
    for contact in named:
        if not found[contact.peer_id].endpoints:
            kind = "" if arguments.only is None or not contact.endpoints else f" for {arguments.only}"
            raise UsageError(
                f"--contact: no address{kind} is known for {context.call(contact.peer_id)}: give all of what "
                f"`crust node` prints there, as in {contact.peer_id}@{arguments.only or 'tcp'}://192.0.2.7:443"
            )
    allowed = (_allowed(contact, bootstrap.blacklist) for contact in found.values())
    return [contact for contact in allowed if contact.endpoints]


def _allowed(contact: crust.Contact, blacklist: Iterable[str]) -> crust.Contact:
    """The contact without what must not be dialled, as far as addresses are given by number."""
    endpoints = contact.endpoints
    for entry in blacklist:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            if entry == str(contact.peer_id):
                return crust.Contact(contact.peer_id)
            continue
        endpoints = tuple(each for each in endpoints if each.ip is None or each.ip not in network)
    return crust.Contact(contact.peer_id, endpoints)


def command_line(words: Sequence[str], rendezvous: Iterable[crust.Contact], config: crust.Config) -> str:
    """A line for the other side, to be pasted into its terminal: these words, and what leads here."""
    line = list(words)
    for contact in rendezvous:
        line += ["--contact", str(contact)]
    if config.network.name is not None:
        line += ["--network", config.network.name]
    if config.network.secret_file is not None:
        line += ["--network-secret-file", "FILE"]
    return shlex.join(line)


@dataclasses.dataclass
class _Link:
    contact: crust.Contact
    by_user: bool = True  # named so; else by a busy one,
    is_unproven: bool = False  # and nobody has answered there yet
    up_since: float | None = None  # None: not linked
    dialling: bool = False
    tried: bool = False  # at least one attempt has ended
    failures: int = 0  # since it was linked last
    pause: float = dataclasses.field(default_factory=lambda: _PAUSE)
    due: float = 0.0  # when to try again


class Links:
    """
    Keeps a node linked to up to three rendezvous: dials them, and again, less and less often, when one cannot be
    reached or its session is over. Thread-safe; a context manager, at whose end nothing is dialled any more.

    Args:
        contacts: Them, the preferred ones first. None of them: all of this does nothing.
        context: Its terminal is told what becomes of them.
        people: Who is a person all the same, such as whom the user calls.
    """

    def __init__(
        self, contacts: Iterable[crust.Contact], context: Context, *, people: Iterable[crust.PeerId] = ()
    ) -> None:
        self._context = context
        self._terminal = context.terminal
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # wakes the thread,
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()  # and who waits: a Condition bears no Ctrl-C
        self._lock = threading.Lock()  # guards what follows
        self._people = set(people)
        self._links = {contact.peer_id: _Link(contact) for contact in contacts}
        self._hearsay = Hearsay()
        self._relays = False
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __bool__(self) -> bool:
        """Whether there are any to link to."""
        return bool(self._links)

    def watch(self, node: crust.Service) -> None:
        """Before the start: hear when one is lost."""
        node.on(crust.LostPeer, self._lost)

    def covers(self, peer: crust.Peer) -> bool:
        """
        Whether that peer is a rendezvous and no person. A busy one may name anybody as one, so whom it alone has named
        is a person who has called here, or has said something: see `heard`.
        """
        with self._lock:
            link = self._links.get(peer.id)
            return link is not None and peer.id not in self._people and (link.by_user or not peer.inbound)

    def heard(self, peer: crust.Peer) -> None:
        """That peer has sent something that is for people, as no rendezvous does. Those named by the user stay such."""
        with self._lock:
            link = self._links.get(peer.id)
            if link is not None and not link.by_user:
                self._people.add(peer.id)

    @property
    def linked(self) -> tuple[crust.Contact, ...]:
        """Those linked now."""
        with self._lock:
            return self._linked()

    def _linked(self) -> tuple[crust.Contact, ...]:
        return tuple(link.contact for link in self._links.values() if link.up_since is not None)

    @property
    def relays(self) -> bool:
        """One that was linked carries data for others."""
        return self._relays

    @property
    def wanted(self) -> tuple[crust.Contact, ...]:
        """Those by which others get here: the linked ones, or while there is none, those that are tried first."""
        with self._lock:
            named = tuple(link.contact for link in self._links.values() if not link.is_unproven)
            return self._linked() or named[:_LINKS]

    def follow(self, node: crust.Service, contacts: Callable[[crust.BootstrapConfig], list[crust.Contact]]) -> None:
        """Before the start: link to others when the configuration names others, as ``contacts`` reads it."""

        def reloaded(event: crust.ConfigReloaded) -> None:
            if {"bootstrap.contacts", "bootstrap.blacklist"} & set(event.applied):
                self.replace(node, contacts(node.config.bootstrap))

        node.on(crust.ConfigReloaded, reloaded)

    def begin(self, node: crust.Service) -> None:
        """After the start: link to them from now on. Does not block."""
        with self._lock:
            own = self._links.pop(node.id, None)
            self._start(node)
        if own is not None:
            self._terminal.warn("the contact of --contact is this node itself; it is left out")

    def _start(self, node: crust.Service) -> None:
        """Have a thread, if there is anything to do (the lock is held)."""
        if self._links and self._thread is None and not self._closed:
            names = ", ".join(self._context.call(peer_id) for peer_id in [*self._links][:_LINKS])
            self._terminal.say(f"linking to the rendezvous {names}")
            self._thread = threading.Thread(target=self._run, args=(node,), name="crust-rendezvous", daemon=True)
            self._thread.start()

    def replace(self, node: crust.Service, contacts: Iterable[crust.Contact]) -> None:
        """Link to these from now on. Others that are linked stay so, and are not linked again."""
        wanted = {contact.peer_id: contact for contact in contacts if contact.peer_id != node.id}
        with self._lock:
            before, self._links = self._links, {}
            for peer_id, contact in wanted.items():
                link = self._links[peer_id] = before.get(peer_id) or _Link(contact)
                link.by_user, link.is_unproven = True, False
                if link.contact != contact:
                    link.contact, link.due, link.pause = contact, 0.0, _PAUSE
            self._start(node)
        self._ring()

    def wait(self, timeout: float) -> bool:
        """
        Until they are linked, or have failed once, or it has taken ``timeout`` seconds; others than the first have
        little time.

        Returns:
            Whether there is a link. If not, a warning has been shown.
        """
        end = time.monotonic() + timeout
        while True:
            with self._lock:
                settled = self._closed or not self._links or self._settled()
                since = [link.up_since for link in self._links.values() if link.up_since is not None]
            if since:
                end = min(end, min(since) + _OTHERS_PATIENCE)
            left = end - time.monotonic()
            if settled or left <= 0:
                break
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=min(left, _LOOK))
        if not since and not settled:
            self._terminal.warn(f"no rendezvous has answered within {timeout:g} s; going on without, and still trying")
        return bool(since)

    def _settled(self) -> bool:
        count = sum(link.up_since is not None for link in self._links.values())
        return count >= min(_LINKS, len(self._links)) or all(link.tried for link in self._links.values())

    def close(self) -> None:
        """Dial no more. Idempotent."""
        with self._lock:
            self._closed = True
        self._ring()
        if self._thread is not None:
            self._thread.join(_DIAL_TIMEOUT)

    def _ring(self) -> None:
        for each in (self._bell, self._news):
            if each.empty():  # else whoever comes looks anyway
                each.put(None)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self, node: crust.Service) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                pause = self._until_due()
                link = self._next()
                if link is not None:
                    link.dialling = True
            if link is None:
                with contextlib.suppress(queue.Empty):
                    self._bell.get(timeout=pause)
                continue
            try:
                dial = node.dial(link.contact, timeout=_HEARSAY_TIMEOUT if link.is_unproven else _DIAL_TIMEOUT)
                dial.add_done_callback(functools.partial(self._ended, node, link))
            except crust.ServiceClosed:
                return
            except crust.CrustError as error:
                self._failed(node, link, error)

    def _next(self) -> _Link | None:
        """Whom to dial now (the lock is held)."""
        first = min(self._idle(), key=lambda link: link.due, default=None)
        return first if first is not None and first.due <= time.monotonic() else None

    def _until_due(self) -> float | None:
        """Seconds until the next one is to be dialled; None: something has to happen first (the lock is held)."""
        due = [link.due for link in self._idle()]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _idle(self) -> list[_Link]:
        """
        Those that may be dialled (the lock is held). Whom a busy one has named takes no place from those of the user:
        the other side has to be met there.
        """
        links = self._links.values()
        busy = [link.by_user for link in links if link.dialling or link.up_since is not None]
        if sum(busy) >= _LINKS:
            return []
        anybody = len(busy) < _LINKS
        return [link for link in links if not link.dialling and link.up_since is None and (anybody or link.by_user)]

    # --- what becomes of them (the node's dispatcher) -----------------------------------------------------------------

    def _ended(self, node: crust.Service, link: _Link, dial: futures.Future[crust.Peer]) -> None:
        try:
            peer = dial.result(timeout=0)
        except crust.ServiceClosed:
            return
        except (crust.CrustError, futures.CancelledError) as error:
            self._failed(node, link, error)
            return
        name = self._context.call(link.contact.peer_id)
        only = "" if peer.relays else ", which introduces only: it carries no data where no direct path is found"
        self._terminal.say(f"linked to the rendezvous {name}{only}")
        with self._lock:
            link.dialling, link.tried, link.failures = False, True, 0
            link.up_since = time.monotonic()
            if link.is_unproven:
                self._proven(link, peer)
            self._relays = self._relays or peer.relays
        self._ring()
        if peer.state == "lost":  # since then
            self._gone(link, "lost at once")

    @staticmethod
    def _proven(link: _Link, peer: crust.Peer) -> None:
        """It is there: only where it answered is it looked for again (the lock is held)."""
        path = peer.path
        if path is None or path.transport == "relay":
            return
        host = crust.Endpoint.parse(path.remote).host
        endpoints = tuple(each for each in link.contact.endpoints if each.host == host)
        if endpoints:
            link.contact, link.is_unproven = crust.Contact(link.contact.peer_id, endpoints), False

    def _failed(self, node: crust.Service, link: _Link, error: BaseException) -> None:
        why = printable(str(error), 1000) or "the attempt was given up"
        name = self._context.call(link.contact.peer_id)
        if link.is_unproven:
            self._terminal.detail(f"{name}, whom a rendezvous without room has named, cannot be reached: {why}")
            with self._lock:
                self._forget(link)
            self._ring()
            return
        show = self._terminal.detail if link.failures else self._terminal.warn
        show(f"the rendezvous {name} cannot be reached: {why}; trying again from time to time")
        with self._lock:
            link.failures += 1
            link.dialling, link.tried = False, True
            self._put_off(link)
            self._hear_of(node, link.contact, getattr(error, "alternates", ()))
        self._ring()

    def _lost(self, event: crust.LostPeer) -> None:
        with self._lock:
            link = self._links.get(event.peer.id)
        if link is not None and event.reason != crust.LostReason.SERVICE_CLOSED:
            self._gone(link, str(event.reason))

    def _gone(self, link: _Link, why: str) -> None:
        with self._lock:
            if link.up_since is None:
                return
            if time.monotonic() - link.up_since >= _STEADY:
                link.pause = _PAUSE
            link.up_since = None
            self._put_off(link)
            if link.is_unproven:
                self._forget(link)
        self._ring()
        name = self._context.call(link.contact.peer_id)
        self._terminal.say(f"the rendezvous {name} has gone ({printable(why)}); linking again")

    @staticmethod
    def _put_off(link: _Link) -> None:
        """Try it again later, and the next time later still (the lock is held)."""
        link.due = time.monotonic() + link.pause * random.uniform(1 - _JITTER, 1 + _JITTER)
        link.pause = min(_PAUSE_MAX, 2 * link.pause)

    def _forget(self, link: _Link) -> None:
        """Whom a busy one has named once more is another one (the lock is held)."""
        if self._links.get(link.contact.peer_id) is link:
            del self._links[link.contact.peer_id]

    def _hear_of(self, node: crust.Service, by: crust.Contact, alternates: Iterable[str]) -> None:
        """A busy one, of the user's or that has answered where another named it, names others (the lock is held)."""
        for text in alternates:
            with contextlib.suppress(crust.ContactSyntaxError):  # bad advice harms nobody
                contact = _allowed(crust.Contact.parse(text), node.config.bootstrap.blacklist)
                if contact.peer_id in self._people or contact.peer_id in self._links or len(self._links) >= _KNOWN_MAX:
                    continue
                if endpoints := self._hearsay.believed(contact, by, time.monotonic()):
                    self._links[contact.peer_id] = _Link(
                        crust.Contact(contact.peer_id, endpoints), by_user=False, is_unproven=True
                    )
