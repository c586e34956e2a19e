"""What strangers and liars can do: nothing to others, and they hear nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

import crust
from crust import limits
from crust.peers.gate import Gate
from crust.wire import frames
from tests.support.nodes import Nodes, config, through
from tests.support.proxy import DOWN, UP
from tests.support.waiting import wait_until

TLS_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(240)
GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" * 40,
    TLS_HELLO * 8,
    b"\x00" * 5000,
    b"\xff" * 5000,
    bytes(range(256)) * 10,
]


def knock(port: int, data: bytes, *, half: bool = False) -> bytes:
    """Send ``data`` to a node and return every byte that it answers until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:  # a node may wait 10 s for the rest
        answer = b""
        try:
            sock.sendall(data)
            if half:
                with contextlib.suppress(OSError):  # closed from there already
                    sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65536):
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


@pytest.mark.parametrize("data", GARBAGE)
def test_a_stranger_gets_no_byte(nodes: Nodes, data: bytes) -> None:
    """Whatever is not a message 1 for this very node is answered by closing; sessions go on meanwhile."""
    pair = nodes.pair()
    assert knock(pair.far.addresses[0].port, data) == b""
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(timeout=5) == b"still here"


@pytest.mark.parametrize("size", [0, 1, 15, 17, 18, 60])
def test_a_truncated_hello_gets_no_byte(nodes: Nodes, size: int) -> None:
    """A caller that goes away half-way leaves nothing behind."""
    node = nodes.start(config(session__handshake_timeout=0.5))
    assert knock(node.addresses[0].port, bytes(size), half=True) == b""
    wait_until(lambda: node.stats().gate.current == 0, what="the slot to be free")


def test_a_caller_that_stalls_is_cut(nodes: Nodes) -> None:
    """Silence after the connect ends at the deadline, without a byte, and frees the slot."""
    node = nodes.start(config(session__handshake_timeout=0.3))
    assert knock(node.addresses[0].port, b"") == b""
    wait_until(lambda: node.stats().gate.current == 0, what="the slot to be free")


def test_the_wrong_key_meets_silence(nodes: Nodes) -> None:
    """Whoever dials this address for another key learns nothing but that nobody answers."""
    # A message 1 for another key looks too short for ever in one case of seventy: far does not wait long for its rest.
    near, far = nodes.start(), nodes.start(config(session__handshake_timeout=0.5))
    with pytest.raises(crust.ConnectError) as caught:
        near.connect(crust.Contact(crust.Identity.generate().peer_id, far.addresses), timeout=20)
    assert caught.value.attempts[0].verdict == "failed"
    assert nodes.heard(far).of(crust.ConnectSuccess) == []


def test_a_replayed_hello_gets_no_byte(nodes: Nodes) -> None:
    """The first bytes of an honest caller, sent again, are answered by closing."""
    near, far = nodes.start(), nodes.start()
    with socket.create_server(("127.0.0.1", 0)) as tap:
        port = tap.getsockname()[1]
        contact = crust.Contact(far.id, [crust.Endpoint("tcp", "127.0.0.1", port)])
        future = near.dial(contact, timeout=5)
        caller, _ = tap.accept()
        with caller:
            caller.settimeout(5)
            hello = caller.recv(4096)
            with socket.create_connection(("127.0.0.1", far.addresses[0].port), timeout=5) as first:
                first.sendall(hello)
                assert first.recv(4096)  # the honest answer to the first use
                assert knock(far.addresses[0].port, hello) == b""
        future.cancel()


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_flipped_bit_costs_the_link_and_nothing_else(nodes: Nodes, direction: str) -> None:
    """A corrupted record closes the link; the session resumes on another, and everything arrives once and in order."""
    near, far = nodes.start(), nodes.start()
    proxy = nodes.proxy(far)
    proxy.corrupt(direction, 200_000)
    to_far = near.connect(through(proxy, far))
    to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
    sender, receiver = (to_far, to_near) if direction == UP else (to_near, to_far)
    for index in range(40):
        sender.send(b"%d:" % index + bytes(20_000), timeout=10)
    nodes.heard(near).wait(crust.PeerSuspended)
    proxy.heal()
    assert [int(receiver.recv(timeout=10).split(b":")[0]) for _ in range(40)] == list(range(40))
    assert nodes.heard(near).of(crust.LostPeer) == []


@pytest.mark.parametrize(
    "lie",
    [
        frames.build_ack(10_000, 1 << 20),
        frames.build_batch(7, 0, 1, [b"from the future"]),
        frames.build_piece(0, 0, 1, 0, True, False, 1 << 31, b"x"),
        frames.build_piece(0, 0, 1, 3, False, False, 100, b"x"),
        frames.build_record([frames.Use(5)]),
        b"\x7funknown",
    ],
)
def test_a_peer_that_breaks_the_rules_is_told_apart_from_others(nodes: Nodes, lie: bytes) -> None:
    """It loses its session, the application hears of it, and other peers notice nothing."""
    pair = nodes.pair()
    third = nodes.start()
    friend = third.connect(pair.far.contact)
    conversation = pair.to_far._conversation
    with conversation.lock:
        assert conversation.link is not None
        conversation.link.write([lie], 0.0)
    misbehaved = pair.far_heard.wait(crust.PeerMisbehaved)
    assert misbehaved.peer is pair.to_near and misbehaved.kind == "protocol" and misbehaved.detail
    assert pair.far_heard.wait(crust.LostPeer).reason == crust.LostReason.PROTOCOL
    assert pair.near_heard.wait(crust.LostPeer).reason == crust.LostReason.PROTOCOL
    friend.send(b"undisturbed")
    assert pair.far_heard.wait(crust.ConnectSuccess, 2).peer.recv(timeout=5) == b"undisturbed"


def test_where_peers_are_is_known_at_once(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a session there lives, and without a look at each of them whenever somebody knocks."""
    node = nodes.start()
    assert node._node is not None
    registry = node._node.registry
    assert not registry.knows_host("127.0.0.1")
    callers = [nodes.start(), nodes.start()]
    peers = [caller.connect(node.contact) for caller in callers]
    nodes.heard(node).wait(crust.ConnectSuccess, 2)
    wait_until(lambda: registry.knows_host("127.0.0.1"), what="the address to be known")
    looks: list[str] = []
    with monkeypatch.context() as patch:
        knocked = gate_of(node).counters.admitted
        patch.setattr(registry, "all", lambda: looks.append(threading.current_thread().name) or [])
        with socket.create_connection(("127.0.0.1", node.addresses[0].port), timeout=5):
            wait_until(lambda: gate_of(node).counters.admitted > knocked, what="the knock to be heard")
        assert not [name for name in looks if name.startswith(("crust-listen", "crust-link"))]
    for number, peer in enumerate(peers, 1):
        assert registry.knows_host("127.0.0.1")
        peer.disconnect()
        nodes.heard(node).wait(crust.LostPeer, number)
    assert not registry.knows_host("127.0.0.1")


def gate_of(node: crust.Service) -> Gate:
    assert node._node is not None
    return node._node.acceptor.gate


def test_a_flood_of_silent_callers_does_not_keep_an_honest_one_out(nodes: Nodes) -> None:
    """Slots are bounded: the oldest silent callers make room."""
    node = nodes.start(config(limits__half_open=8, limits__half_open_per_address=8))
    near = nodes.start()
    sockets = [socket.create_connection(("127.0.0.1", node.addresses[0].port), timeout=5) for _ in range(40)]
    try:
        assert near.connect(node.contact, timeout=5).state == "connected"
        assert node.stats().gate.current <= 8
    finally:
        for sock in sockets:
            sock.close()


def test_who_calls_again_at_once_is_refused_only_so_often(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that is turned away has the listener rest; else who comes back at once would take a core."""
    monkeypatch.setattr(limits, "REFUSAL_REST", 0.25)
    monkeypatch.setattr(limits, "REFUSAL_REST_ALONE", 1.0)
    monkeypatch.setattr(limits, "REFUSAL_REST_SAVED", 0.25)
    monkeypatch.setattr(limits, "ACCEPTS_PER_TURN", 1)  # who is in the kernel's queue already must wait, too
    node = nodes.start(config(limits__starts_per_address_per_second=1))
    port = node.addresses[0].port
    began = time.monotonic()
    while node.stats().refusals["limits.starts_per_address_per_second"] < 5:
        with contextlib.suppress(ConnectionError):  # it may be reset while it connects
            knock(port, GARBAGE[0])
    assert time.monotonic() - began >= 3 * 0.25
    assert node.stats().gate.admitted <= 1 + (time.monotonic() - began)


def test_who_calls_all_the_time_is_let_in_only_so_often(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger that is let in each time has the listener rest, too; the first calls of an address do not."""
    monkeypatch.setattr(limits, "REFUSAL_REST", 0.25)
    monkeypatch.setattr(limits, "REFUSAL_REST_ALONE", 1.0)
    monkeypatch.setattr(limits, "REFUSAL_REST_SAVED", 0.0)
    monkeypatch.setattr(limits, "ACCEPTS_PER_TURN", 1)
    node = nodes.start(config(limits__starts_per_address_per_second=1000))
    rests: list[float] = []
    inner = node._node
    assert inner is not None
    accepted = inner.acceptor.accepted
    monkeypatch.setattr(inner.acceptor, "accepted", lambda connection: rests.append(accepted(connection)) or rests[-1])
    began = time.monotonic()
    for _ in range(limits.CALLS_FEW + 4):
        knock(node.addresses[0].port, bytes(1100))
    assert rests[: limits.CALLS_FEW] == [0.0] * limits.CALLS_FEW and rests[-3:] == [0.25] * 3
    assert time.monotonic() - began >= 3 * 0.25 and node.stats().gate.admitted == limits.CALLS_FEW + 4
