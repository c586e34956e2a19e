"""
Echoes: a peer is asked to send something to our address, as it sees that, to show whether it gets in; and the other way
round.

Nobody can have somebody else tried by us: an echo goes to the address that the asker's own link comes from, from a
fresh port, never to a port below 1,024 nor to the one that the link itself uses, and only so often.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import threading
from collections.abc import Callable
from typing import Protocol

from .. import limits
from ..addresses import Endpoint, address_key
from ..exceptions import EchoRefused, Timeout
from ..runtime.clock import Clock, Event
from ..runtime.flusher import IoLoop
from ..runtime.rates import Rates
from ..transports.contract import Dialling, Transport
from ..values import dataclass
from ..wire.frames import EchoOutcome, EchoReply, EchoRequest, EchoTransport
from ..wire.handshake import Capability
from .conversation import Conversation
from .link import Link
from .transfer import printable

__all__ = ["Echo", "EchoHost", "Echoes", "Shots"]

_TRANSPORTS = {"udp": EchoTransport.UDP, "tcp": EchoTransport.TCP}
_LINKS = {EchoTransport.UDP: "utp", EchoTransport.TCP: "tcp"}  # what uses the same kind of port
_OUTCOMES = {errno.ECONNREFUSED: EchoOutcome.REFUSED, errno.ETIMEDOUT: EchoOutcome.TIMEOUT}


@dataclass(frozen=True)
class Echo:
    """What came of an echo, as the peer that sent it says."""

    outcome: str
    """``sent`` (UDP: whether it arrives is for us to see); TCP: ``connected``, ``refused`` (by a reset), ``timeout``;
    ``unreachable`` (no way there)."""

    seconds: float
    """From the question to the answer."""


class Shots(Protocol):
    """A socket that sends datagrams to one address: :class:`crust.transports.udp_once.UdpOnce`."""

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class EchoHost(Protocol):
    """What echoes need of their node."""

    clock: Clock
    io: IoLoop
    transports: dict[str, Transport]

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread:
        """Start a thread of the node."""


class _Asked:
    """A question of ours, until it is answered."""

    def __init__(self, conversation: Conversation, answered: Event) -> None:
        self.conversation = conversation
        self.answered = answered
        self.reply: EchoReply | None = None


class Echoes:
    """
    Those of one node, asked for and sent. Thread-safe.

    Args:
        host: See :class:`EchoHost`.
        allowed: Peers may have some (``nat.echo_for_others``).
        datagrams: Makes a socket for datagrams to an address, from an address of ours.
        part: Of all that there are, those at one address may have; from 0 to 1.
    """

    def __init__(
        self, host: EchoHost, *, allowed: bool, datagrams: Callable[[Endpoint, str], Shots], part: float
    ) -> None:
        self._host = host
        self.allowed = allowed
        """Peers may have some."""
        self._datagrams = datagrams
        self._rates: Rates = Rates(
            limits.ECHOES_PER_MINUTE / 60,
            limits.ECHOES_ALL_PER_MINUTE / 60,
            each_size=limits.ECHOES_PER_MINUTE,
            all_size=limits.ECHOES_ALL_PER_MINUTE,
            names=("ECHOES_PER_MINUTE", "ECHOES_ALL_PER_MINUTE"),
            part=part,
        )
        self._ours: Rates = Rates(
            limits.ECHOES_ASKED_PER_MINUTE / 60, math.inf, each_size=limits.ECHOES_ASKED_PER_MINUTE
        )
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards the fields below
        self.on_limit: Callable[[Conversation, str], object] = lambda conversation, limit: None
        """Told of a peer that gets none, and of the limit that it has met; any thread, must be quick."""
        self._asked: dict[int, _Asked] = {}
        self._dials: dict[Dialling, Conversation] = {}  # for whom
        self._shots: set[Shots] = set()
        self._closing = host.clock.event()

    def configure(self, allowed: bool, part: float) -> None:
        """Other terms for what is asked for from now on."""
        self.allowed, self._rates.part = allowed, part

    # --- ours ---------------------------------------------------------------------------------------------------------

    def may_ask(self, conversation: Conversation) -> bool:
        """Whether the node itself may ask that peer once more, fewer times than it answers; if so, that is counted."""
        return self._ours.permit(conversation.peer_id, self._host.clock.now())

    def ask(self, conversation: Conversation, transport: str, port: int, token: bytes | None, timeout: float) -> Echo:
        """See :meth:`crust.Peer.echo`."""
        if transport not in _TRANSPORTS:
            raise ValueError(f"there is no echo by {transport!r}: udp or tcp")
        if not limits.ECHO_PORT_MIN <= port <= 65535:
            raise ValueError(f"no echo to port {port}: {limits.ECHO_PORT_MIN} to 65535")
        token = os.urandom(limits.ECHO_TOKEN_SIZE) if token is None else token
        if len(token) != limits.ECHO_TOKEN_SIZE:
            raise ValueError(f"a token of {len(token)} bytes; {limits.ECHO_TOKEN_SIZE} are needed")
        conversation.check_alive()
        if not conversation.capabilities & Capability.ECHO:
            raise EchoRefused(f"peer {conversation.peer_id} sends no echoes: its program cannot")
        link = conversation.link
        if link is None:
            raise Timeout(f"peer {conversation.peer_id} has no link at the moment")
        number = next(self._numbers) & 0xFFFFFFFF
        asked = _Asked(conversation, self._host.clock.event())
        began = self._host.clock.now()
        with self._lock:
            self._asked[number] = asked
        try:
            conversation.check_alive()  # again: from now on we hear of its end
            request = EchoRequest(number, _TRANSPORTS[transport], port, bytes(token))
            self._host.io.shielded(lambda: link.write_control(request))
            asked.answered.wait(timeout)
        finally:
            with self._lock:
                self._asked.pop(number, None)
        reply = asked.reply
        if reply is None:
            conversation.check_alive()
            raise Timeout(f"peer {conversation.peer_id} has not said within {timeout:g} s what came of the echo")
        if reply.outcome is EchoOutcome.DENIED:
            raise EchoRefused(f"peer {conversation.peer_id} sends no echo: {printable(reply.text)}")
        return Echo(reply.outcome.name.lower(), self._host.clock.now() - began)

    def peer_lost(self, conversation: Conversation) -> None:
        """A session is over: it answers no more."""
        with self._lock:
            over = [asked for asked in self._asked.values() if asked.conversation is conversation]
            dials = [dialling for dialling, caller in self._dials.items() if caller is conversation]
        for asked in over:
            asked.answered.set()
        for dialling in dials:
            dialling.cancel()

    # --- both ---------------------------------------------------------------------------------------------------------

    def received(self, conversation: Conversation, link: Link, frame: EchoRequest | EchoReply) -> None:
        """A frame came (the link's reader thread)."""
        if isinstance(frame, EchoRequest):
            self._wanted(conversation, link, frame)
            return
        with self._lock:
            asked = self._asked.get(frame.number)
        if asked is not None and asked.conversation is conversation and asked.reply is None:
            asked.reply = frame
            asked.answered.set()

    # --- others' ------------------------------------------------------------------------------------------------------

    def _wanted(self, conversation: Conversation, link: Link, request: EchoRequest) -> None:
        reason = self._objection(conversation, link, request)
        if not reason:
            try:
                self._host.spawn("crust-echo", self._run, conversation, link, request)
                return
            except RuntimeError:
                reason = "it has no thread to spare"
        if not link.blocked:  # else it asks, but reads no answers: these must not pile up here
            link.write_control(EchoReply(request.number, EchoOutcome.DENIED, reason))

    def _objection(self, conversation: Conversation, link: Link, request: EchoRequest) -> str:
        """Why there is no echo; empty if there is one."""
        remote = link.connection.remote
        if not self.allowed or self._closing.is_set():
            return "it does so for nobody (nat.echo_for_others)"
        if remote.ip is None or not remote.port or link.circuit is not None:
            return "it does not see your address"
        if remote.port == request.port and remote.transport == _LINKS[request.transport]:
            return "the link itself uses that port, so that it would get in anyhow"
        place = address_key(remote.host)
        if limit := self._rates.refusal(conversation.peer_id, self._host.clock.now(), place):
            self.on_limit(conversation, limit)
            return "there have been too many"
        return ""

    def _run(self, conversation: Conversation, link: Link, request: EchoRequest) -> None:
        """The thread of one echo."""
        remote = link.connection.remote
        try:
            if request.transport is EchoTransport.UDP:
                to = Endpoint("utp", remote.host, request.port)
                outcome = self._send(conversation, link, to, request.token)
            else:
                outcome = self._connect(conversation, Endpoint("tcp", remote.host, request.port))
        except OSError as error:
            if error.errno == errno.ECANCELED:
                return  # we are closing, or nobody waits for it any more
            outcome = _OUTCOMES.get(error.errno or 0, EchoOutcome.UNREACHABLE)
            if isinstance(error, TimeoutError):
                outcome = EchoOutcome.TIMEOUT
        (conversation.link or link).write_control(EchoReply(request.number, outcome))

    def _send(self, conversation: Conversation, link: Link, to: Endpoint, token: bytes) -> EchoOutcome:
        from ..nat.stun.message import Class, Message, build_stun  # `import crust` stays cheap

        data = build_stun(Message(Class.SUCCESS, token, xor_mapped=(to.host.partition("%")[0], to.port)))
        shots = self._datagrams(to, link.connection.local.host)
        with self._lock:
            self._shots.add(shots)
        try:
            for pause in limits.ECHO_PAUSES:
                if self._closing.wait(pause):
                    raise OSError(errno.ECANCELED, "the service is closing")
                if conversation.ended_reason:
                    raise OSError(errno.ECANCELED, "the session is over")
                shots.send(data)
        finally:
            shots.close()
            with self._lock:
                self._shots.discard(shots)
        return EchoOutcome.SENT

    def _connect(self, conversation: Conversation, to: Endpoint) -> EchoOutcome:
        """Each try comes from a port of its own. Silence may be a loss, what is said is the outcome."""
        for timeout in limits.ECHO_DIALS[:-1]:
            with contextlib.suppress(TimeoutError):
                return self._connect_once(conversation, to, timeout)
        return self._connect_once(conversation, to, limits.ECHO_DIALS[-1])

    def _connect_once(self, conversation: Conversation, to: Endpoint, timeout: float) -> EchoOutcome:
        dialling = self._host.transports["tcp"].dialling(to, timeout)
        with self._lock:
            self._dials[dialling] = conversation
        try:
            if self._closing.is_set() or conversation.ended_reason:
                raise OSError(errno.ECANCELED, "the service is closing, or the session is over")
            dialling.run().close()
        finally:
            with self._lock:
                self._dials.pop(dialling, None)
        return EchoOutcome.CONNECTED

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send no more. Never blocks; idempotent."""
        self._closing.set()
        with self._lock:
            dials = list(self._dials)
        for dialling in dials:
            dialling.cancel()

    def abandon(self) -> None:
        """In a forked child: forget everything, and close the copies of descriptors (takes no lock)."""
        self._lock = threading.Lock()
        self.allowed = False
        for shots in list(self._shots):
            shots.abandon()
        self._dials, self._shots, self._asked = {}, set(), {}
