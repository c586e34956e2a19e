"""
Promise: a session is between the two keys that it names, and no others.

Every Ed25519 key has a twin: the key with the other sign bit, which converts to the same X25519 key, and so would pass
for it in a handshake that knows X25519 alone. Who holds a key's seed can act under its twin's name as well; what he
cannot do is to be taken for the one while he says that he is the other. Nobody else can act under either.
"""

from __future__ import annotations

import pytest

import crust
from crust import Contact, ContactSyntaxError, Endpoint, Identity, ListenConfig, PeerId
from crust.wire import frames
from crust.wire.handshake import DenialCode, Resume
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller, read_until_end
from tests.support.waiting import wait_until

PATIENCE = 10.0
BOTH = ListenConfig(addresses=("tcp://127.0.0.1:0", "utp://127.0.0.1:0"))


def twin(peer_id: PeerId) -> PeerId:
    """The other id with the same X25519 key."""
    key = peer_id.public_key
    return PeerId(key[:31] + bytes((key[31] ^ 0x80,)))


@pytest.mark.parametrize("transport", ["tcp", "utp"])
@pytest.mark.parametrize("which", ["its twin", "somebody else"])
def test_nobody_is_reached_under_another_name(nodes: Nodes, which: str, transport: str) -> None:
    """A node at the right address that has not the key which was called is not taken for it, and hears of nothing."""
    near, far = (nodes.start(config(listen=BOTH, session__handshake_timeout=0.5)) for _ in range(2))
    wanted = twin(far.id) if which == "its twin" else Identity.generate().peer_id
    endpoint = next(each for each in far.addresses if each.transport == transport)
    with pytest.raises(crust.ConnectError) as caught:
        near.connect(Contact(wanted, (endpoint,)), timeout=PATIENCE)
    assert {attempt.verdict for attempt in caught.value.attempts} <= {"failed", "timeout"}
    assert near.peers == far.peers == []
    assert nodes.heard(far).of(crust.ConnectSuccess, crust.PeerMisbehaved) == []


@pytest.mark.parametrize("which", ["a peer", "its twin", "the node's own twin"])
def test_nobody_calls_under_a_name_that_is_not_his(nodes: Nodes, which: str) -> None:
    """A caller whose key is another one than that of the name he gives: closed without a byte."""
    node = nodes.start(config(session__handshake_timeout=2.0))
    friend = nodes.start()
    friend.connect(node.contact)
    nodes.heard(node).wait(crust.ConnectSuccess)
    claimed = {"a peer": friend.id, "its twin": twin(friend.id), "the node's own twin": twin(node.id)}[which]
    with Caller(node, Identity.generate(), claimed=claimed.public_key) as caller:
        assert read_until_end(caller.sock) == b""
    assert [peer.id for peer in node.peers] == [friend.id]


def test_the_twin_is_another_peer(nodes: Nodes) -> None:
    """Who calls as the twin of his own key is let in as that, and has nothing that belongs to the other name."""
    node = nodes.start()
    heard = nodes.heard(node)
    identity = Identity.generate()
    other = twin(identity.peer_id)
    with Caller(node, identity) as first:
        welcome = first.begin()
        session = Resume(welcome.session_id, 0)
        wait_until(lambda: node.is_connected(identity.peer_id), what="the session")
        with Caller(node, identity, claimed=other.public_key, resume=session) as second:
            answer = second.expect(frames.Welcome)
            assert isinstance(answer, frames.Welcome) and answer.outcome is frames.Outcome.GONE
        assert node.is_connected(identity.peer_id) and not node.is_connected(other)
    heard.wait(crust.PeerSuspended)
    assert heard.of(crust.LostPeer) == []


def test_an_allow_list_knows_the_twin_from_its_key(nodes: Nodes) -> None:
    """The name on the list is let in, its twin is not."""
    identity = Identity.generate()
    node = nodes.start(config(access__allow_peers=(str(identity.peer_id),)))
    with Caller(node, identity, claimed=twin(identity.peer_id).public_key) as caller:
        denied = caller.expect(frames.Denied)
        assert isinstance(denied, frames.Denied) and denied.code is DenialCode.ROLE
    with Caller(node, identity) as caller:
        caller.begin()
        wait_until(lambda: node.is_connected(identity.peer_id), what="the session")


def test_a_node_knows_its_own_twin(nodes: Nodes) -> None:
    """Who calls a node with its own key, under the twin's name, is that node itself."""
    identity = Identity.generate()
    node = nodes.start(identity=identity)
    with Caller(node, identity, claimed=twin(identity.peer_id).public_key) as caller:
        denied = caller.expect(frames.Denied)
        assert isinstance(denied, frames.Denied) and denied.code is DenialCode.SELF
    assert node.peers == []


WEAK = {
    "zero": bytes(32),
    "one": b"\1" + bytes(31),
    "order eight": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    "order eight, negative": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    "minus one": bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "not reduced": bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "not on the curve": b"\2" + bytes(31),
    "all ones": b"\xff" * 32,
}


@pytest.mark.parametrize("weak", WEAK)
def test_keys_that_are_none(nodes: Nodes, weak: str) -> None:
    """Points with which everybody would agree on the same secret are nobody's id: neither called nor calling."""
    node = nodes.start(config(session__handshake_timeout=0.5))
    with pytest.raises(ContactSyntaxError):
        node.connect(Contact(PeerId(WEAK[weak]), (Endpoint("tcp", "127.0.0.1", 1),)))
    with Caller(node, Identity.generate(), claimed=WEAK[weak]) as caller:
        assert read_until_end(caller.sock) == b""
    assert node.peers == []
