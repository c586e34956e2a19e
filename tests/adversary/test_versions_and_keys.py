"""
Promise: nobody on the path chooses a version or a cipher for others, and a record under a wrong key is none.

What a caller offers and a callee chooses is sealed inside the handshake: whoever changes a bit of it has no connection
instead of a weaker one. Keys of records change again and again; what was sealed with one that is over, or not yet due,
ends the link, and the session goes on over the next.

Every byte of each message: tests/crypto/test_handshake.py. Keys that change under load: tests/service/test_rekey.py.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Callable

import pytest

import crust
from crust import Identity, limits
from crust.crypto.handshake import AnswerDenied, Initiator
from crust.crypto.keys import CIPHERS, supported_aeads
from crust.wire import frames
from crust.wire.handshake import Aead, DenialCode, Resume
from tests.support.nodes import Nodes, config, through
from tests.support.proxy import DOWN, UP
from tests.support.puppet import Caller, handshake_config, read_until_end
from tests.support.waiting import wait_until

PATIENCE = 10.0
BEST = CIPHERS[supported_aeads()[0]].name


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_bit_changed_on_the_path_is_no_weaker_cipher(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    """But no connection; and what comes about without him has the best cipher that both have."""
    monkeypatch.setattr(limits, "FIRST_MESSAGE_REST", 0.2)
    far = nodes.start(config(session__handshake_timeout=2.0, gossip__enabled=False))
    near = nodes.start(config(session__handshake_timeout=2.0, gossip__enabled=False))
    proxy = nodes.proxy(far)
    chance = random.Random(1)
    for _ in range(12):
        first, bit = True, 1 << chance.randrange(8)
        at = chance.uniform(0.2, 1.0)

        def change(number: int, data: bytes, at: float = at, bit: int = bit) -> bytes:
            nonlocal first
            place = int(at * (len(data) - 1))
            if first:
                first = False
                data = data[:place] + bytes((data[place] ^ bit,)) + data[place + 1 :]
            return data

        proxy.change(direction, change)
        with pytest.raises(crust.ConnectError):
            near.connect(through(proxy, far), timeout=PATIENCE)
        assert not first
    proxy.change(direction, None)
    peer = near.connect(through(proxy, far), timeout=PATIENCE)
    assert peer.path is not None and peer.path.cipher == BEST
    assert nodes.heard(far).of(crust.PeerMisbehaved) == []


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        ({"versions": (2,)}, DenialCode.VERSION),
        ({"versions": (65_535, 2, 7)}, DenialCode.VERSION),
        ({"aeads": (99,)}, DenialCode.VERSION),
        ({"versions": (9, limits.PROTOCOL_VERSION), "aeads": (99, Aead.CHACHA20_POLY1305)}, None),
    ],
)
def test_what_a_caller_offers(nodes: Nodes, offer: dict[str, tuple[int, ...]], expected: DenialCode | None) -> None:
    """Of versions and ciphers that the node does not know it takes none; if it knows one of them, that."""
    node = nodes.start()
    identity = Identity.generate()
    with Caller(node, identity, introduce=False) as caller:
        caller.handshake = Initiator(dataclasses.replace(handshake_config(identity), **offer), node.id)  # type: ignore[arg-type]
        caller.sock.sendall(caller.handshake.start())
        if expected is not None:
            events = caller.handshake.receive(caller.sock.recv(65536))
            assert [each.code for each in events if isinstance(each, AnswerDenied)] == [expected]
            assert read_until_end(caller.sock) == b""
            return
        caller.answer()
        caller.introduce()
        caller.begin()
        wait_until(lambda: node.is_connected(identity.peer_id), what="the session")
        assert caller.handshake.result is not None and caller.handshake.result.aead == Aead.CHACHA20_POLY1305


# --- keys of records --------------------------------------------------------------------------------------------------


def old_key(caller: Caller) -> None:
    caller.send(frames.KeyUpdate())


def early(caller: Caller) -> None:
    caller.sealer.update_key()


def too_far(caller: Caller) -> None:
    caller.send(frames.KeyUpdate())
    caller.sealer.update_key()
    caller.sealer.update_key()


def told_twice(caller: Caller) -> None:
    for _ in range(2):
        caller.send(frames.KeyUpdate())
    caller.sealer.update_key()


@pytest.mark.parametrize("wrong", [old_key, early, too_far, told_twice])
def test_a_record_under_a_wrong_key(nodes: Nodes, wrong: Callable[[Caller], None]) -> None:
    """The link ends without a word, the session waits and goes on; nobody is blamed, and nothing has got in."""
    node = nodes.start()
    heard = nodes.heard(node)
    identity, run = Identity.generate(), os.urandom(limits.INCARNATION_SIZE)
    with Caller(node, identity, incarnation=run) as caller:
        session_id = caller.begin().session_id
        peer = heard.wait(crust.ConnectSuccess).peer
        for number in range(20):
            caller.send(frames.KeyUpdate())
            caller.sealer.update_key()
            caller.send(frames.Batch(number, 0, 1, [b"%d" % number]))
        assert [peer.recv(PATIENCE) for _ in range(20)] == [b"%d" % number for number in range(20)]
        wrong(caller)
        caller.send(frames.Batch(20, 0, 1, [b"under a wrong key"]))
        assert not [frame for frame in caller.rest() if isinstance(frame, frames.Goodbye)]
    heard.wait(crust.PeerSuspended)
    with Caller(node, identity, incarnation=run, resume=Resume(session_id, 0)) as caller:
        answer = caller.expect(frames.Welcome)
        assert isinstance(answer, frames.Welcome)
        assert (answer.outcome, answer.next) == (frames.Outcome.RESUMED, 20)
    assert heard.of(crust.PeerMisbehaved, crust.LostPeer) == []
    with pytest.raises(crust.Timeout):
        peer.recv(0)
