"""
One peer that has proven its key, and sends a node what brings it nothing, as fast as it can:
``python -m benchmarks.villain ORDER``. It is made of crust's own parts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crust.crypto.identity import KeyPair

__all__ = ["KINDS", "Villain"]

KINDS = ("tiny", "acks", "heartbeats", "keys", "duplicates", "requests", "resumes", "signatures", "files", "shreds")
_TOOLS = pathlib.Path(__file__).resolve().parents[1]
_AT_ONCE = 200  # records written together,
_FULL = 100  # and messages in a record that is full of them: then
_FULL_AT_ONCE = 2
_SHRED = 16  # bytes sent at once of a record that brings a lot


class Villain:
    """
    The process, in a ``with`` statement: it is killed at the end.

    Args:
        kind: One of ``KINDS``.
        contact: Of the node.
        seconds: How long.
    """

    def __init__(self, kind: str, contact: str, seconds: float) -> None:
        order = {"kind": kind, "contact": contact, "seconds": seconds}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.villain", json.dumps(order)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(_TOOLS), str(_TOOLS.parent)))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's business
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"begun\n":
            raise RuntimeError("the villain did not get in")

    def __enter__(self) -> Villain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _main(kind: str, contact: str, seconds: float) -> None:
    from crust import limits
    from crust.addresses import Contact, network_id
    from crust.crypto.handshake import HandshakeConfig, Initiator
    from crust.crypto.identity import KeyPair
    from crust.crypto.keys import supported_aeads
    from crust.crypto.records import RecordOpener, RecordSealer
    from crust.wire import codec, frames
    from crust.wire.handshake import Introduction, Manner, Purpose, Resume, Role

    codec.load()
    hub = Contact.parse(contact)
    keys = KeyPair.generate()
    incarnation = os.urandom(limits.INCARNATION_SIZE)

    def call(resume: Resume | None) -> tuple[socket.socket, RecordSealer, frames.Welcome]:
        sock = socket.create_connection((hub.endpoints[0].host, hub.endpoints[0].port), timeout=10)
        handshake = Initiator(HandshakeConfig(keys, network_id(None), (), supported_aeads()), hub.peer_id)
        sock.sendall(handshake.start())
        while not handshake.receive(_some(sock)):
            pass
        introduction = Introduction(
            peer_id=keys.peer_id.public_key,
            role=Role.NODE,
            purpose=Purpose.CONNECT,
            manner=Manner.DIRECT,
            capabilities=0,
            incarnation=incarnation,
            observed=None,
            window=limits.RECEIVE_BUFFER,
            max_message=limits.MAX_MESSAGE_SIZE,
            resume=resume,
        )
        sock.sendall(handshake.introduce(introduction))
        result = handshake.result
        assert result is not None
        sealer = RecordSealer(result.send_key, result.hash, result.aead)
        opener = RecordOpener(result.receive_key, result.hash, result.aead)
        plaintexts = list(opener.receive(handshake.leftover))
        while not plaintexts:
            plaintexts += opener.receive(_some(sock))
        [welcome] = frames.parse_record_untrusted(bytes(plaintexts[0]))
        assert isinstance(welcome, frames.Welcome)
        if not welcome.use:
            sock.sendall(sealer.seal(frames.build_record([frames.Use(1)])))
        return sock, sealer, welcome

    sock, sealer, welcome = call(None)
    print("begun", flush=True)
    end = time.monotonic() + seconds
    if kind == "resumes":
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                call(Resume(welcome.session_id, 0))[0].close()
        return

    made = _floods(keys, hub.peer_id.public_key, welcome.session_id)
    at_once = _FULL_AT_ONCE if kind in ("signatures", "files") else _AT_ONCE
    if kind == "duplicates":
        sock.sendall(sealer.seal(made[kind]()))

    def records() -> Iterator[bytes]:
        for _ in range(at_once):
            yield sealer.seal(made[kind]())
            if kind == "keys":
                sealer.update_key()

    sock.settimeout(None)
    threading.Thread(target=_drain, args=(sock,), daemon=True).start()
    if kind == "shreds":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while time.monotonic() < end:
        data = b"".join(records())
        step = _SHRED if kind == "shreds" else len(data)
        for position in range(0, len(data), step):
            sock.sendall(data[position : position + step])


def _floods(keys: KeyPair, receiver: bytes, session_id: bytes) -> dict[str, Callable[[], bytes]]:
    """What makes the plaintext of the next record, of each kind but ``resumes``."""
    from crust.addresses import network_id
    from crust.crypto.proofs import Numbers, Signatory
    from crust.wire import frames
    from crust.wire.transfer import Refuse, build_transfer

    numbers, firsts = itertools.count(), itertools.count(0, _FULL)
    # Made beforehand: it would cost the sender five times what it costs the receiver.
    words = itertools.cycle([build_transfer(Refuse(number, "")) for number in range(1024)])
    signatory, ids = Signatory(keys, network_id(None)), Numbers(session_id, os.urandom)

    def signed() -> bytes:
        return signatory.sign_message(receiver, ids.next(1), 1, b"x")

    def full(kind: frames.Kind, make: Callable[[], bytes]) -> bytes:
        return frames.build_batch(next(firsts), kind, 1, [make() for _ in range(_FULL)])

    request = frames.EchoRequest(1, frames.EchoTransport.TCP, 4711, bytes(12))
    return {
        "tiny": lambda: frames.build_batch(next(numbers), 0, 1, [b"x"]),
        "acks": lambda: frames.build_ack(0, 1 << 20),
        "heartbeats": lambda: frames.build_record([frames.Ping(7)]),
        "keys": lambda: frames.build_record([frames.KeyUpdate()]),
        "duplicates": lambda: frames.build_batch(0, 0, 1, [b"x"]),
        "requests": lambda: frames.build_record([request]),
        "signatures": lambda: full(frames.Kind.SIGNED, signed),
        "files": lambda: full(frames.Kind.FILE, lambda: next(words)),
        "shreds": lambda: frames.build_batch(next(numbers), 0, 1, [bytes(6000)]),
    }


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(65_536)
    if not data:
        raise ConnectionResetError("the node closed the connection")
    return data


def _drain(sock: socket.socket) -> None:
    """Take what the node says, so that nothing of it waits."""
    with contextlib.suppress(OSError):
        while sock.recv(65_536):
            pass


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
