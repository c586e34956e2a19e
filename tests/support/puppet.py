"""A peer that speaks the protocol over a plain socket and says what the test wants, right or wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator
from typing import TypeVar

from crust import limits
from crust.addresses import Contact, Endpoint, network_id
from crust.crypto.handshake import (
    AnswerDenied,
    AnswerReceived,
    HandshakeConfig,
    HandshakeResult,
    HelloReceived,
    Initiator,
    IntroductionReceived,
    Responder,
    SaltMemory,
    Secret,
)
from crust.crypto.keys import supported_aeads
from crust.crypto.records import RecordOpener, RecordSealer
from crust.runtime.identity_file import Identity
from crust.service.service import Service
from crust.wire import frames
from crust.wire.handshake import DenialCode, Introduction, Manner, Purpose, Resume, Role

PATIENCE = 20.0  # seconds that a puppet waits for what must come, on a busy machine

W = TypeVar("W", bound="Wire")


def handshake_config(identity: Identity, secrets: tuple[Secret, ...] = ()) -> HandshakeConfig:
    """What a puppet brings to its handshakes."""
    return HandshakeConfig(identity, network_id(None), secrets, supported_aeads())


def introduction_of(identity: Identity, manner: Manner) -> Introduction:
    """What a node says of itself that wants a session and offers nothing."""
    return Introduction(
        peer_id=identity.peer_id.public_key,
        role=Role.NODE,
        purpose=Purpose.CONNECT,
        manner=manner,
        capabilities=0,
        incarnation=os.urandom(limits.INCARNATION_SIZE),
        observed=None,
        window=limits.RECEIVE_BUFFER,
        max_message=limits.MAX_MESSAGE_SIZE,
        resume=None,
    )


def read_until_end(sock: socket.socket, timeout: float = PATIENCE) -> bytes:
    """Everything until the other side ends the connection, in order or with a reset; fails if it does not."""
    sock.settimeout(timeout)
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


class Wire:
    """An encrypted link on a plain socket: what the two kinds of puppets share. A context manager."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.sealer: RecordSealer
        self.opener: RecordOpener
        self._plaintexts: list[bytes] = []

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def open(self, result: HandshakeResult, leftover: bytes) -> None:
        """The handshake is done: records follow."""
        self.sealer = RecordSealer(result.send_key, result.hash, result.aead)
        self.opener = RecordOpener(result.receive_key, result.hash, result.aead)
        self._plaintexts += self.opener.receive(leftover)

    def send(self, *sent: frames.Frame) -> None:
        """A record of these frames."""
        self.send_plaintext(frames.build_record(sent))

    def send_plaintext(self, plaintext: bytes) -> None:
        """A record of these bytes, whatever they are."""
        self.sock.sendall(self.sealer.seal(plaintext))

    def receive(self) -> list[frames.Frame]:
        """The frames of the next record."""
        while not self._plaintexts:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the node closed the connection")
            self._plaintexts += self.opener.receive(data)
        return frames.parse_record_untrusted(self._plaintexts.pop(0))

    def expect(self, kind: type[frames.Frame]) -> frames.Frame:
        """The next frame of a kind; others are passed over."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for frame in self.receive():
                if isinstance(frame, kind):
                    return frame
        raise AssertionError(f"no {kind.__name__} came")

    def rest(self) -> list[frames.Frame]:
        """Every frame until the end of the connection."""
        found: list[frames.Frame] = []
        with contextlib.suppress(ConnectionError):
            while True:
                found += self.receive()
        return found


class Caller(Wire):
    """
    Calls a node.

    Args:
        introduce: Go through the handshake and introduce itself; else the test does what it wants with ``handshake``.
        resume: As in :class:`crust.wire.handshake.Introduction`.
        source: The address to call from; empty: as the system likes.
    """

    def __init__(
        self,
        service: Service,
        identity: Identity,
        *,
        introduce: bool = True,
        purpose: Purpose = Purpose.CONNECT,
        resume: Resume | None = None,
        claimed: bytes | None = None,
        incarnation: bytes | None = None,
        max_message: int = limits.MAX_MESSAGE_SIZE,
        capabilities: int = 0,
        manner: Manner = Manner.DIRECT,
        source: str = "",
    ) -> None:
        endpoint = service.addresses[0]
        super().__init__(socket.create_connection((endpoint.host, endpoint.port), source_address=(source, 0)))
        self.handshake = Initiator(handshake_config(identity), service.id)
        self.introduction = dataclasses.replace(
            introduction_of(identity, manner),
            peer_id=claimed or identity.peer_id.public_key,
            purpose=purpose,
            capabilities=capabilities,
            incarnation=incarnation or os.urandom(limits.INCARNATION_SIZE),
            max_message=max_message,
            resume=resume,
        )
        self.controller = service.id < identity.peer_id
        if introduce:
            self.sock.sendall(self.handshake.start())
            self.answer()
            self.introduce()

    def answer(self) -> None:
        """Wait for message 2."""
        events: list[object] = []
        while not events:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the node closed the connection")
            events += self.handshake.receive(data)
        if isinstance(events[0], AnswerDenied):
            raise ConnectionRefusedError(events[0].code.name)
        assert isinstance(events[0], AnswerReceived)

    def introduce(self) -> None:
        """Send message 3."""
        self.sock.sendall(self.handshake.introduce(self.introduction))
        assert self.handshake.result is not None
        self.open(self.handshake.result, self.handshake.leftover)

    def begin(self) -> frames.Welcome:
        """Wait for the welcome, and decide for this link if that is ours to do: the session carries data then."""
        welcome = self.expect(frames.Welcome)
        assert isinstance(welcome, frames.Welcome)
        if self.controller:
            self.send(frames.Use(1))
        return welcome


def answered(service: Service, identity: Identity, run: bytes) -> Caller:
    """A call that has been answered, and says who calls when the test wants it."""
    caller = Caller(service, identity, incarnation=run, introduce=False)
    caller.sock.sendall(caller.handshake.start())
    caller.answer()
    return caller


def bring(introducer: Caller, node: Service, number: int, seen: tuple[str, int] | None) -> frames.Frame:
    """
    What the node says to a caller that is made up by an introducer.

    Args:
        number: Of the circuit: one that the introducer may use.
        seen: Where it says that the caller is.
    """
    identity = Identity.generate()
    while identity.peer_id > node.id:  # the node decides then, at once
        identity = Identity.generate()
    handshake = Initiator(handshake_config(identity), node.id)
    introducer.send(frames.CircuitOffer(number, seen, True, handshake.start()))
    accept = introducer.expect(frames.CircuitAccept)
    assert isinstance(accept, frames.CircuitAccept)
    assert handshake.receive(accept.data)
    introducer.send(frames.CircuitData(number, handshake.introduce(introduction_of(identity, Manner.RELAY))))
    assert handshake.result is not None
    opener = RecordOpener(handshake.result.receive_key, handshake.result.hash, handshake.result.aead)
    plaintexts = list(opener.receive(handshake.leftover))
    while not plaintexts:
        data = introducer.expect(frames.CircuitData)
        assert isinstance(data, frames.CircuitData)
        if data.number == number:  # the sessions that have begun have something to say, too
            plaintexts += opener.receive(data.data)
    return frames.parse_record_untrusted(plaintexts[0])[0]


class Callee:
    """Is called by nodes: a listener, and what it says to each call. A context manager."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._wires: list[Wire] = []
        self.salts = SaltMemory()

    def __enter__(self) -> Callee:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for wire in self._wires:
            wire.sock.close()

    @property
    def contact(self) -> Contact:
        """Where to call it."""
        port: int = self._listener.getsockname()[1]
        return Contact(self.identity.peer_id, (Endpoint("tcp", "127.0.0.1", port),))

    def accept(self) -> Wire:
        """The next connection, with nothing said yet."""
        wire = Wire(self._listener.accept()[0])
        self._wires.append(wire)
        return wire

    def greet(self) -> tuple[Wire, Introduction]:
        """The next connection, after the handshake: the caller waits for Welcome or Denied."""
        wire = self.accept()
        handshake = Responder(handshake_config(self.identity), salts=self.salts)
        for event in self._events(wire, handshake):
            if isinstance(event, HelloReceived):
                wire.sock.sendall(handshake.answer(None))
            elif isinstance(event, IntroductionReceived):
                assert handshake.result is not None
                wire.open(handshake.result, handshake.leftover)
                return wire, event.introduction
        raise AssertionError("no introduction came")

    def welcome(self, **changes: object) -> tuple[Wire, Introduction]:
        """The next connection, welcomed to a new session; ``changes`` are fields of the Welcome."""
        wire, introduction = self.greet()
        controller = introduction.peer_id < self.identity.peer_id.public_key
        fields: dict[str, object] = {
            "role": Role.NODE,
            "capabilities": 0,
            "session_id": os.urandom(limits.SESSION_ID_SIZE),
            "outcome": frames.Outcome.FRESH,
            "next": 0,
            "window": limits.RECEIVE_BUFFER,
            "max_message": limits.MAX_MESSAGE_SIZE,
            "use": 1 if controller else 0,
            "incarnation": os.urandom(limits.INCARNATION_SIZE),
            **changes,
        }
        wire.send(frames.Welcome(**fields))  # type: ignore[arg-type]
        return wire, introduction

    def deny(self, code: DenialCode, text: str = "", alternates: tuple[str, ...] = ()) -> None:
        """Refuse the next call."""
        wire, _ = self.greet()
        wire.send(frames.Denied(code, text, alternates))
        with contextlib.suppress(OSError):  # the caller may be gone by now
            wire.sock.shutdown(socket.SHUT_WR)

    @staticmethod
    def _events(wire: Wire, handshake: Responder) -> Iterator[object]:
        while data := wire.sock.recv(65536):
            yield from handshake.receive(data)
