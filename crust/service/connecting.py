"""Whom an application means, and how ``connect`` waits for them and ``dial`` does not."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable

from ..addresses import ConnectionInfo, Contact, PeerId
from ..exceptions import ConnectError, CrustError, Timeout
from ..paths import Attempt
from ..peers.conversation import Conversation
from ..peers.dialer import Avoid, Waiter
from ..peers.peer import Peer
from ..runtime.threads import forked_error
from ..wire.handshake import Purpose
from .finding.directory import Directory
from .node import Node

__all__ = ["DialFuture", "Dialled", "Target", "as_contact", "as_peer_id", "connect", "dial", "resolve"]

Target = str | Contact | PeerId | ConnectionInfo


class Dialled:
    """
    An application's interest in reaching a peer. The dialer does not wait, but must not be interrupted half-way: both
    methods are carried out in their order, whatever becomes of the caller.
    """

    def __init__(
        self,
        node: Node,
        contact: Contact,
        purpose: Purpose,
        seconds: float | None,
        waiter: Waiter,
        avoid: Avoid | None = None,
        *,
        quiet: bool = False,
        seek: bool = True,
        circuits: bool = True,
        unasked: bool = False,
    ) -> None:
        self._node = node
        self._contact = contact
        self._purpose = purpose
        self._seconds = seconds
        self._waiter = waiter
        self._avoid = avoid
        self._quiet = quiet
        self._seek = seek
        self._circuits = circuits
        self._unasked = unasked or quiet
        self._cancel: Callable[[], None] | None = None

    def begin(self) -> None:
        """Tell the dialer."""
        self._node.io.shielded(self._begin)

    def lose_interest(self) -> None:
        """Tell it that nobody waits any more. Harmless when it is over."""
        self._node.io.shielded(self._lose_interest)

    def _begin(self) -> None:
        contact = self._contact
        self._cancel = self._node.dialer.dial(
            contact.peer_id,
            contact.endpoints,
            self._purpose,
            self._seconds,
            self._waiter,
            self._avoid,
            quiet=self._quiet,
            seek=self._seek,
            circuits=self._circuits,
            unasked=self._unasked,
        )

    def _lose_interest(self) -> None:
        if self._cancel is not None:
            self._cancel()


def _nobody() -> None:
    """Nobody is to be told."""


class DialFuture(concurrent.futures.Future[Peer]):
    """A future whose callbacks run on the dispatcher, since no user code runs on threads of input and output."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._over = node.clock.event()
        super().add_done_callback(_settled)
        self.lose_interest: Callable[[], None] = _nobody

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[Peer]], object]) -> None:
        node = self._node

        def run(future: concurrent.futures.Future[Peer]) -> None:
            node.dispatcher.post(node.subscriptions.run, fn, future)

        super().add_done_callback(run)

    def when_over(self, fn: Callable[[concurrent.futures.Future[Peer]], object]) -> None:
        """Call ``fn`` on whichever thread settles it, maybe with the dialer's lock held. For the node's own parts."""
        super().add_done_callback(fn)

    def result(self, timeout: float | None = None) -> Peer:
        self._check_fork()
        self._over.wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check_fork()
        self._over.wait(timeout)
        return super().exception(0)

    def _check_fork(self) -> None:
        if self._node.pid != os.getpid():
            raise forked_error(self._node.pid)

    def cancel(self) -> bool:
        self._check_fork()
        lose_interest = self.lose_interest
        cancelled = super().cancel()
        if cancelled:
            lose_interest()
        return cancelled

    def expire(self, contact: Contact, seconds: float, ended: Callable[[None, CrustError], object]) -> None:
        attempts = self._node.dialer.attempts(contact.peer_id)
        self.lose_interest()  # from here on nobody else settles it
        if not self.done():
            error = _too_late(contact, seconds, attempts)
            self._node.dial_failed(contact.peer_id, Purpose.CONNECT, error)
            ended(None, error)


def _settled(future: concurrent.futures.Future[Peer]) -> None:
    """It and the attempt need not keep each other, and so the peer, until Python looks for such circles."""
    assert isinstance(future, DialFuture)
    future._over.set()
    future.lose_interest = _nobody


def _too_late(contact: Contact, seconds: float | None, attempts: tuple[Attempt, ...]) -> Timeout:
    tried = "; ".join(map(str, attempts)) or "no attempt has begun yet"
    return Timeout(f"no connection to peer {contact.peer_id} within {seconds} s: {tried}", attempts)


def connect(node: Node, contact: Contact, seconds: float | None) -> Peer:
    """
    Wait for a session with that peer, at most ``seconds``; see :meth:`crust.Service.connect`.

    Raises:
        CrustError: There is none.
    """
    done = node.clock.event()
    outcome: list[tuple[Peer | None, CrustError | None]] = []

    def ended(conversation: Conversation | None, error: CrustError | None) -> None:
        peer = None if conversation is None else conversation.peer  # keeps its inbox, should it end now
        outcome.append((peer, error))
        done.set()

    effort = Dialled(node, contact, Purpose.CONNECT, seconds, ended)
    try:
        effort.begin()
        in_time = done.wait(seconds)
        attempts = node.dialer.attempts(contact.peer_id) if not in_time else ()
    finally:
        if not outcome:
            effort.lose_interest()  # from here on the outcome stays what it is
    if not outcome:
        error: CrustError = _too_late(contact, seconds, attempts)
        node.dial_failed(contact.peer_id, Purpose.CONNECT, error)
        raise error
    peer, failure = outcome[0]
    if peer is None:
        raise failure if failure is not None else ConnectError("the attempt was given up")
    return peer


def dial(node: Node, contact: Contact, seconds: float | None) -> DialFuture:
    """The same without waiting; see :meth:`crust.Service.dial`."""
    future = DialFuture(node)

    def ended(conversation: Conversation | None, error: CrustError | None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if conversation is not None:
            future.set_result(conversation.peer)
        else:
            future.set_exception(error or ConnectError("the attempt was given up"))

    effort = Dialled(node, contact, Purpose.CONNECT, seconds, ended)
    future.lose_interest = effort.lose_interest
    effort.begin()
    if seconds is not None and not future.done():
        limit = node.io.call_later(seconds, lambda _: future.expire(contact, seconds, ended))
        future.when_over(lambda _: limit.cancel())  # else it would keep the peer, and what its session leaves behind
    return future


def resolve(to: Target, network: bytes, directory: Directory) -> Contact:
    """
    Whom and where to call; a bare id gets the addresses that are known.

    Raises:
        ConnectError: ``to`` belongs to another network.
        ContactSyntaxError: It is mistyped, or lacks the key.
    """
    if isinstance(to, str) and to.startswith("crust1:"):
        to = ConnectionInfo.parse(to)
    if isinstance(to, ConnectionInfo):
        if not to.same_network(network):
            raise ConnectError(
                "this connection info belongs to another network; both sides need the same network.name"
            )
        to = to.contact
    contact = as_contact(to)
    return contact if contact.endpoints else Contact(contact.peer_id, directory.places(contact.peer_id))


def as_contact(given: str | Contact | PeerId) -> Contact:
    if isinstance(given, Contact):
        return given
    if isinstance(given, PeerId):
        return Contact(given)
    if not isinstance(given, str):
        raise TypeError(f"expected a contact (text, Contact, PeerId or ConnectionInfo), not {type(given).__name__}")
    return Contact.parse(given)


def as_peer_id(who: PeerId | Peer | str) -> PeerId:
    if isinstance(who, PeerId):
        return who
    return who.id if isinstance(who, Peer) else Contact.parse(who).peer_id
