"""
Does for one runner what concerns UDP: sockets, probes, questions how a router translates one, and the winner.

``udp4`` and ``udp6`` are sockets on which the node listens; what comes to them for this attempt is brought by the
node's :class:`crust.nat.punch.udp_desk.Desk`. Others belong to the attempt (:mod:`crust.nat.punch.udp_sockets`) until
one of them wins: it becomes a hub of the µTP transport then, which is told to the plan by no new name.
"""

from __future__ import annotations

import collections
import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ... import limits
from ...exceptions import MalformedMessage
from ...runtime.flusher import IoLoop
from ...runtime.threads import CrashHook, Spawn
from ...transports.udp import UdpHub
from ...values import dataclass
from ..stun.message import TRANSACTION_SIZE, Class, Message, looks_like_stun, parse_stun_untrusted
from ..stun.transaction import Transaction
from ..stun.udp import Question, UdpStun
from .allowance import Allowance
from .contract import Action, Address, Close, OpenUdp, Plan, Probe, Proven, Sample, Win, family_of
from .probe_packet import expected_tag, tag_of
from .runner import Runner
from .udp_desk import Desk
from .udp_sockets import PunchSockets

__all__ = ["UdpHand", "UdpTransport", "WonUdp"]

_SHARED = ("udp4", "udp6")


class UdpTransport(Protocol):
    """What the hand needs of :class:`crust.transports.utp.transport.UtpTransport`."""

    io: IoLoop
    spawn: Spawn
    on_crash: CrashHook

    def adopt(self, sock: socket.socket, *, silent: bool = False) -> UdpHub:
        """Make a hub of a socket."""

    def read(self, hub: UdpHub) -> UdpHub:
        """Let it read."""


@dataclass(frozen=True)
class WonUdp:
    """A UDP socket from which something gets through to ``address``, and back."""

    hub: UdpHub
    """It reads already; held once for whoever gets this: ``hub.release()`` when nothing (more) is to come of it."""

    address: Address


class UdpHand:
    """
    See :class:`crust.nat.punch.runner.Hand`. Made with its runner, and closed by it.

    Args:
        runner: Whose actions are done.
        transport: Whose sockets winners become, silent ones: no SYN is answered before
            :meth:`crust.transports.utp.transport.UtpTransport.listen_over`.
        desk: The node's, which serves all of ``hubs``.
        stun: The node's, for questions from ``hubs``.
        hubs: ``udp4`` and ``udp6``, as far as the node listens there.
        servers: STUN servers of either family, asked in turn: the introducer's echo ports.
        allowance: Asked before each probe; what it does not allow is not sent.
        key_in: ``Context.key_in``.
        won: Called for each :class:`Win`, once, on any thread; must not block. It is not called if the socket cannot be
            handed over: the plan hears ``failed`` then.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        transport: UdpTransport,
        desk: Desk,
        stun: UdpStun,
        hubs: Mapping[str, UdpHub],
        servers: Sequence[Address],
        allowance: Allowance,
        key_in: bytes,
        won: Callable[[Runner, WonUdp], object],
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._io = transport.io
        self._desk = desk
        self._stun = stun
        self._allowance = allowance
        self._servers = {family: [each for each in servers if family_of(each) == family] for family in (4, 6)}
        self._asked: collections.Counter[str] = collections.Counter()  # questions so far, of each socket
        self._won = won
        self._lock = threading.Lock()  # guards what follows, but not the hubs' and sockets' own state
        self._hubs = dict(hubs)
        self._known = set(_SHARED)  # names that are or were those of UDP sockets
        self._names = {hub: name for name, hub in hubs.items()}
        self._transactions: dict[bytes, tuple[str, Address, Transaction]] = {}
        self._questions: set[Question] = set()
        self._hushed: set[str] = set()
        self._closed = False
        self._sockets = PunchSockets(transport.spawn, self._arrived, transport.on_crash)
        self._tag = tag_of(key_in, runner.name)
        self._expects = False
        self._heard = 0  # probes brought; about

    # --- what plans ask for -------------------------------------------------------------------------------------------

    def does(self, action: Action, now: float) -> bool:
        """See the contract."""
        if not self._expects:  # not before: what comes would come before the plan's start
            self._expects = True
            self._desk.expect(self._tag, self._from_desk)
        if isinstance(action, Probe):
            self._probe(action)
        elif isinstance(action, OpenUdp):
            self._open(action)
        elif isinstance(action, Proven):
            self._allowance.answered(action.host)
        elif isinstance(action, Sample) and not action.socket.startswith("tcp"):
            self._sample(action.socket, now)
        elif isinstance(action, Win) and action.name in self._known:
            self._win(action)
        elif isinstance(action, Close) and action.name in self._known:
            self._sockets.close(action.name)
        else:
            return False
        return True

    def _has(self, name: str) -> bool:
        return name in self._hubs or name in self._sockets

    def _probe(self, action: Probe) -> None:
        host = action.to[0]
        if not self._has(action.socket) or not self._allowance.probe(host):
            return
        with self._lock:
            if self._closed:
                return
            fresh = host not in self._hushed
            self._hushed.add(host)
        if fresh:
            self._desk.hush(host)
        hub = self._hubs.get(action.socket)
        if hub is not None:
            hub.lob(action.data, action.to, action.ttl)
        else:
            self._sockets.send(action.socket, action.data, action.to, action.ttl)

    def _open(self, action: OpenUdp) -> None:
        self._known.add(action.name)
        try:
            if len(self._sockets) >= limits.PUNCH_SOCKETS_MAX:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._sockets.open(action.name, action.family)
        except OSError as error:
            self._failed(action.name, error)

    def _failed(self, name: str, error: OSError) -> None:
        number = error.errno or errno.EIO
        self._runner.happened(lambda plan, now: plan.failed(name, number, now))

    def _win(self, action: Win) -> None:
        hub = self._hubs.get(action.name)
        if hub is not None and hub.hold():
            self._won(self._runner, WonUdp(hub, action.remote))
        elif hub is None and action.name in self._sockets:
            self._sockets.give(action.name, lambda sock: self._adopt(action, sock))
        else:
            self._failed(action.name, OSError(errno.ECONNABORTED, "the socket has been closed"))

    def _adopt(self, action: Win, sock: socket.socket) -> None:
        """(The sockets' thread.) What comes for the plan afterwards comes by the desk."""
        try:
            hub = self._transport.adopt(sock, silent=True)
        except OSError as error:
            self._failed(action.name, error)
            return
        with self._lock:
            self._hubs[action.name] = hub
            self._names[hub] = action.name
        self._desk.serve(hub)
        try:
            self._transport.read(hub)
        except OSError as error:
            hub.release()
            self._failed(action.name, error)
            return
        self._won(self._runner, WonUdp(hub, action.remote))

    def close(self) -> None:
        """See the contract."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            hushed, self._hushed = self._hushed, set()
            questions, self._questions = self._questions, set()
            self._transactions = {}
        self._desk.forget(self._tag, self._from_desk)
        for question in questions:
            question.cancel()
        for host in hushed:
            self._desk.unhush(host)
        self._sockets.close_all()

    def abandon(self) -> None:
        """See the contract."""
        self._lock = threading.Lock()
        self._closed = True
        self._sockets.abandon()

    # --- what arrives -------------------------------------------------------------------------------------------------

    def _from_desk(self, hub: UdpHub, data: bytes, address: tuple[Any, ...]) -> None:
        name = self._names.get(hub)
        if name is not None:
            self._bring(name, data, address)

    def _arrived(self, name: str, data: bytes, address: tuple[Any, ...]) -> None:
        """To a socket of our own."""
        if expected_tag(data) == self._tag:
            self._bring(name, data, address)
        elif looks_like_stun(data):
            self._answered(name, data, address)

    def _bring(self, name: str, data: bytes, address: tuple[Any, ...]) -> None:
        self._heard += 1
        if self._heard > limits.PUNCH_HEARD_MAX:
            self._allowance.bites("PUNCH_HEARD_MAX")
            return  # the thread that reads the socket has others' datagrams to bring, too
        source = _plain(address)

        def verb(plan: Plan, now: float) -> None:
            plan.receive_datagram(name, source, data, now)

        self._runner.happened(verb)

    # --- questions how a router translates a socket -------------------------------------------------------------------

    def _sample(self, name: str, now: float) -> None:
        family = self._family_of(name)
        servers = self._servers.get(family, [])
        if not servers:
            self._sampled(name, None)
            return
        # In turn: where each destination gets a port of its own, only a new destination says something new.
        server = servers[self._asked[name] % len(servers)]
        self._asked[name] += 1
        hub = self._hubs.get(name)
        if hub is not None:
            self._ask_over(hub, name, server)
            return
        request = Message(Class.REQUEST, os.urandom(TRANSACTION_SIZE))
        transaction = Transaction(request, now, limits.SAMPLE_SCHEDULE, limits.SAMPLE_TIMEOUT)
        with self._lock:
            if self._closed:
                return
            self._transactions[transaction.id] = name, server, transaction
        self._step(transaction.id, now)

    def _family_of(self, name: str) -> int:
        if name in self._hubs:
            return 6 if self._hubs[name].family == getattr(socket, "AF_INET6", None) else 4
        return self._sockets.family(name)

    def _ask_over(self, hub: UdpHub, name: str, server: Address) -> None:
        def ended(question: Question) -> None:
            with self._lock:
                self._questions.discard(question)
            answer = question.transaction.answer
            self._sampled(name, None if answer is None else answer.reflexive)

        question = self._stun.ask(hub, server, ended, limits.SAMPLE_SCHEDULE, limits.SAMPLE_TIMEOUT)
        with self._lock:
            if not question.transaction.finished:
                self._questions.add(question)

    def _step(self, token: bytes, now: float) -> None:
        """Send a question of a socket of our own when it is due, and see to the next time."""
        with self._lock:
            found = self._transactions.get(token)
            if found is None:
                return
            name, server, transaction = found
            data = transaction.handle_timer(now)
            due = transaction.get_timer()
            if transaction.finished:
                del self._transactions[token]
        if data is not None:
            self._sockets.send(name, data, server)
        if transaction.finished:
            self._sampled(name, None)
        elif due is not None:
            self._io.call_at(due, lambda later: self._step(token, later))

    def _answered(self, name: str, data: bytes, address: tuple[Any, ...]) -> None:
        try:
            message = parse_stun_untrusted(data)
        except MalformedMessage:
            return  # another one may come, until the time is over
        with self._lock:
            found = self._transactions.get(message.transaction)
            if found is None or found[0] != name or found[1] != _plain(address):
                return
            transaction = found[2]
            if not transaction.receive(message, self._io.now()):
                return
            del self._transactions[message.transaction]
        answer = transaction.answer
        self._sampled(name, None if answer is None else answer.reflexive)

    def _sampled(self, name: str, address: Address | None) -> None:
        self._runner.happened(lambda plan, now: plan.sampled(name, address, now))


def _plain(address: tuple[Any, ...]) -> Address:
    """An address as plans know it."""
    return str(address[0]).partition("%")[0], int(address[1])
