"""
A peer that costs next to nothing: crust's own cores for handshake, records and session, without I/O, thread or clock.

It is caller and introduces itself as a node behind a NAT does. With gossip it says that it takes part, announces its
record and gives it to whoever asks. What it is told of others, and asked of its network, it passes over.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

from crust import limits
from crust.addresses import Contact, network_id
from crust.crypto.handshake import AnswerReceived, HandshakeConfig, Initiator
from crust.crypto.identity import KeyPair
from crust.crypto.keys import supported_aeads
from crust.crypto.records import RecordOpener, RecordSealer
from crust.discovery.gossip.record import Record, make_record
from crust.discovery.gossip.store import EVERYTHING
from crust.peers.session import Session, Settings
from crust.wire import frames, gossip
from crust.wire.handshake import Capability, Introduction, Manner, Purpose, Role

__all__ = ["Broken", "LightPeer"]

_CAN = Capability.FILES | Capability.ECHO | Capability.CIRCUITS | Capability.TRAVERSAL
_OF_THE_SESSION = (frames.Ack, frames.Ping, frames.Pong, frames.Batch, frames.Piece)
_NETWORK = network_id(None)
_SETTINGS = Settings()
_AEADS = supported_aeads()


class Broken(Exception):
    """The session is over, or never was; the text says why."""


class LightPeer:
    """
    One side of one session. ``now`` is a monotonic clock, ``wall`` Unix time, both in seconds.

    Args:
        hub: Whom it calls.
        gossips: Whether it takes part in gossip.
        wall: When its record is made.
    """

    __slots__ = (
        "_gossips",
        "_handshake",
        "_hub",
        "_opener",
        "_outgoing",
        "_record",
        "_sealer",
        "_wall",
        "is_open",
        "keys",
        "received",
        "session",
        "suspected",
    )

    def __init__(self, hub: Contact, gossips: bool, wall: float) -> None:
        self.keys = KeyPair.generate()
        self.is_open = False
        """The session carries messages."""
        self.received: list[bytes] = []
        """Messages that have come; whoever takes them clears the list."""
        self.session: Session | None = None
        self.suspected = 0
        """How often the link seemed dead."""
        self._hub = hub
        self._gossips = gossips
        self._wall = wall
        self._handshake: Initiator | None = Initiator(
            HandshakeConfig(self.keys, _NETWORK, (), _AEADS), hub.peer_id
        )
        self._sealer: RecordSealer
        self._opener: RecordOpener | None = None
        self._record: Record | None = None
        self._outgoing: list[bytes] = []

    def bytes_to_send(self) -> bytes:
        """What is to be written now, each once."""
        outgoing, self._outgoing = b"".join(self._outgoing), []
        return outgoing

    def start(self) -> None:
        """The connection stands."""
        assert self._handshake is not None
        self._outgoing.append(self._handshake.start())

    def send(self, message: bytes, now: float) -> None:
        """One message."""
        assert self.session is not None
        self.session.outbox.push(message, 0, frames.Kind.MESSAGE, now)
        self._transmit(now)

    def get_timer(self) -> float:
        """When :meth:`handle_timer` is due."""
        due = self.session.get_timer() if self.session is not None and self.is_open else None
        return float("inf") if due is None else due

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self.session is None:
            return
        tick = self.session.handle_timer(now)
        self.suspected += tick.suspect
        if tick.lost:
            raise Broken("nothing has come for too long")
        if tick.send:
            self._transmit(now)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """
        Bytes have come.

        Raises:
            Broken: The session is over.
            RemoteProtocolError: The hub broke a rule.
        """
        if self._opener is None:
            data = self._advance(data)
        if self._opener is not None:
            for plaintext in self._opener.receive(data):
                self._take(frames.parse_record_untrusted(plaintext), now)
        if self.is_open and self.session is not None and self.session.ack_now:
            self._transmit(now)

    def _advance(self, data: bytes) -> bytes:
        """The handshake; what comes after it."""
        handshake = self._handshake
        assert handshake is not None
        events = handshake.receive(data)
        if not events:
            return b""
        if not isinstance(events[0], AnswerReceived):
            raise Broken(f"the handshake ended with {type(events[0]).__name__}")
        can = _CAN | Capability.GOSSIP if self._gossips else _CAN
        introduction = Introduction(
            peer_id=self.keys.peer_id.public_key,
            role=Role.NODE,
            purpose=Purpose.CONNECT,
            manner=Manner.DIRECT,
            capabilities=can,
            incarnation=os.urandom(limits.INCARNATION_SIZE),
            observed=None,
            window=_SETTINGS.receive_buffer,
            max_message=_SETTINGS.max_message_size,
        )
        self._outgoing.append(handshake.introduce(introduction))
        result = handshake.result
        assert result is not None
        self._sealer = RecordSealer(result.send_key, result.hash, result.aead)
        self._opener = RecordOpener(result.receive_key, result.hash, result.aead)
        self._handshake = None
        return handshake.leftover

    def _take(self, received: Sequence[frames.Frame], now: float) -> None:
        first = received[0]
        if isinstance(first, _OF_THE_SESSION):
            if self.session is None:
                raise Broken("frames of a session that there is not")
            for delivery in self.session.receive_frames(received, now):
                self.received += delivery.messages
                self.session.consumed(delivery.cost)
        elif isinstance(first, frames.Welcome):
            self._welcomed(first, now)
        elif isinstance(first, frames.KeyUpdate):
            assert self._opener is not None
            self._opener.update_key()
        elif isinstance(first, frames.Goodbye):
            raise Broken(f"goodbye: {first.code.name.lower()}")
        elif isinstance(first, frames.Denied):
            raise Broken(f"denied: {first.code.name.lower()}")
        elif isinstance(first, gossip.Request) and self._record is not None:
            if self._record.prefix in first.prefixes:
                self._say(now, gossip.Records((self._record.data,)))

    def _welcomed(self, welcome: frames.Welcome, now: float) -> None:
        self.session = Session(_SETTINGS, window=welcome.window, now=now, uniform=random.random, rtt=0.01)
        self.session.attach(welcome.next, welcome.window, now)
        self.session.asks = True
        self.is_open = True
        if not welcome.use:  # the greater id decides
            self._say(now, frames.Use(1))
        self._transmit(now)
        if self._gossips:
            self._record = make_record(
                self.keys, _NETWORK, wall=self._wall, last=0, endpoints=(), via=(self._hub,), role=Role.NODE,
                is_public=False,
            )  # fmt: skip
            assert self._record is not None
            self._say(now, gossip.Summary(EVERYTHING, False, ()))
            self._say(now, gossip.Announce(((self._record.prefix, self._record.version),)))

    # --- sending ------------------------------------------------------------------------------------------------------

    def _transmit(self, now: float) -> None:
        assert self.session is not None
        while (plaintext := self.session.record_to_send(now)) is not None:
            self._seal(plaintext, now)

    def _say(self, now: float, frame: frames.Frame) -> None:
        self._seal(frames.build_record((frame,)), now)

    def _seal(self, plaintext: bytes, now: float) -> None:
        if self._sealer.needs_update(now):
            self._outgoing.append(self._sealer.seal(frames.build_record((frames.KeyUpdate(),))))
            self._sealer.update_key()
        self._outgoing.append(self._sealer.seal(plaintext))
