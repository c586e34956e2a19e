"""Echoes: what a peer sends when it is asked to, to whom, how often, and what it says of it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

import crust
import crust.testing
from crust import EchoRefused, ListenConfig, limits
from crust.nat.stun.message import Class, Message, parse_stun_untrusted
from crust.peers.echoes import Echoes
from crust.wire import frames
from crust.wire.handshake import Capability
from tests.support.nodes import Nodes, Pair, config, pair_of_identities
from tests.support.puppet import Caller
from tests.support.sockets import has_ipv6, loopback, silent_listener, unused_port
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

TOKEN = bytes(range(12))


@pytest.fixture
def pair(nodes: Nodes) -> Pair:
    return nodes.pair()


@contextlib.contextmanager
def bound(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(5)
        yield sock


def heard(sock: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    """What waits in a socket."""
    found = []
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            data, source = sock.recvfrom(2000)
            found.append((data, source[:2]))
    return found


# --- what it does -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6"))])
def test_by_udp_three_datagrams_come(nodes: Nodes, family: int) -> None:
    """From a port that nobody has seen before, with the token that was asked for."""
    host = loopback(family)
    name = f"[{host}]" if family == 6 else host
    listen = ListenConfig(addresses=(f"tcp://{name}:0", f"utp://{name}:0"))
    pair = nodes.pair(config(listen=listen), config(listen=listen))
    with bound(host) as sock:
        here = sock.getsockname()[:2]
        echo = pair.to_far.echo("udp", here[1], TOKEN)
        assert echo.outcome == "sent"
        assert 0 < echo.seconds < 5
        received = heard(sock)
    assert [parse_stun_untrusted(data) for data, _ in received] == [
        Message(Class.SUCCESS, TOKEN, xor_mapped=here)
    ] * len(limits.ECHO_PAUSES)
    sources = {source for _, source in received}
    assert len(sources) == 1
    assert sources.pop() not in {(each.host, each.port) for each in pair.far.addresses}


def test_tokens_differ_unless_given(pair: Pair) -> None:
    """So that one echo cannot be taken for another."""
    with bound() as sock:
        for _ in range(2):
            pair.to_far.echo("udp", sock.getsockname()[1])
        assert len({parse_stun_untrusted(data).transaction for data, _ in heard(sock)}) == 2


def test_by_tcp_it_connects(pair: Pair) -> None:
    """From another port than those it listens on, and closes at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        assert pair.to_far.echo("tcp", server.getsockname()[1]).outcome == "connected"
        caller, source = server.accept()
        with caller:
            assert caller.recv(1) == b""
    assert source[1] not in {each.port for each in pair.far.addresses}


def test_by_tcp_it_may_be_refused(pair: Pair) -> None:
    """That is what a reset looks like from there."""
    assert pair.to_far.echo("tcp", unused_port()).outcome == "refused"


def test_by_tcp_it_may_meet_silence(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the peer does not wait for longer than the asker does."""
    assert sum(limits.ECHO_DIALS) < limits.ECHO_TIMEOUT
    monkeypatch.setattr(limits, "ECHO_DIALS", (0.1, 0.2))
    sockets, port = silent_listener()
    try:
        assert pair.to_far.echo("tcp", port).outcome == "timeout"
    finally:
        for sock in sockets:
            sock.close()


def test_both_sides_may_ask(pair: Pair) -> None:
    """The session goes on all the while."""
    jobs = [Background(peer.echo, "tcp", unused_port()) for peer in (pair.to_far, pair.to_near)]
    pair.to_far.send(b"meanwhile")
    assert pair.to_near.recv(timeout=5) == b"meanwhile"
    for job in jobs:
        echo = job.result()
        assert isinstance(echo, crust.Echo)
        assert echo.outcome == "refused"


def test_over_utp_too(nodes: Nodes) -> None:
    """The link is the same to it."""
    listen = ListenConfig(addresses=("utp://127.0.0.1:0",))
    pair = nodes.pair(config(listen=listen), config(listen=listen))
    assert pair.to_far.echo("tcp", unused_port()).outcome == "refused"
    path = pair.to_near.path
    assert path is not None
    port = crust.Endpoint.parse(path.remote).port
    with pytest.raises(EchoRefused, match="the link itself uses that port"):
        pair.to_far.echo("udp", port)
    # The same number by the other protocol is another port, which may be anybody's.
    assert pair.to_far.echo("tcp", port).outcome in ("refused", "connected")


# --- what it does not -------------------------------------------------------------------------------------------------


def test_not_to_the_port_of_the_link(pair: Pair) -> None:
    """What is open already shows nothing."""
    path = pair.to_near.path
    assert path is not None
    with pytest.raises(EchoRefused, match="the link itself uses that port"):
        pair.to_far.echo("tcp", crust.Endpoint.parse(path.remote).port)


def test_not_for_others_if_it_is_off(nodes: Nodes) -> None:
    """``nat.echo_for_others``; the reason is told, and nothing is sent."""
    pair = nodes.pair(far=config(nat__echo_for_others=False))
    with bound() as sock:
        with pytest.raises(EchoRefused, match="nat.echo_for_others"):
            pair.to_far.echo("udp", sock.getsockname()[1])
        assert pair.to_near.echo("udp", sock.getsockname()[1]).outcome == "sent"
        assert len(heard(sock)) == len(limits.ECHO_PAUSES)


def test_not_more_often_than_a_few_times(pair: Pair) -> None:
    """What is refused sends nothing, and the session does not suffer."""
    with bound() as sock:
        for _ in range(limits.ECHOES_PER_MINUTE):
            pair.to_far.echo("udp", sock.getsockname()[1])
        for _ in range(20):
            with pytest.raises(EchoRefused, match="too many"):
                pair.to_far.echo("udp", sock.getsockname()[1])
        assert len(heard(sock)) == limits.ECHOES_PER_MINUTE * len(limits.ECHO_PAUSES)
    pair.to_far.send(b"still here")
    assert pair.to_near.recv(timeout=5) == b"still here"


def test_not_for_all_together_either(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many peers cannot make one node a machine for it."""
    monkeypatch.setattr(limits, "ECHOES_ALL_PER_MINUTE", 2)
    far = nodes.start()
    peers = [nodes.start().connect(far.contact) for _ in range(3)]
    port = unused_port()
    assert [peer.echo("tcp", port).outcome for peer in peers[:2]] == ["refused"] * 2
    with pytest.raises(EchoRefused, match="too many"):
        peers[2].echo("tcp", port)
    assert far.stats().refusals["ECHOES_ALL_PER_MINUTE"] == 1
    assert nodes.heard(far).of(crust.PeerMisbehaved) == [], "it was not this one's doing"


def test_many_keys_at_one_address_leave_some(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a part of what there is, as of the places for peers, and no less than one peer."""
    monkeypatch.setattr(limits, "ECHOES_PER_MINUTE", 1)
    monkeypatch.setattr(limits, "ECHOES_ALL_PER_MINUTE", 8)
    far = nodes.start(config(limits__max_peers=8, limits__peers_per_address=4))
    peers = [nodes.start().connect(far.contact) for _ in range(3)]
    far.reload(config(limits__max_peers=8, limits__peers_per_address=2))
    port = unused_port()
    assert [peer.echo("tcp", port).outcome for peer in peers[:2]] == ["refused"] * 2
    with pytest.raises(EchoRefused, match="too many"):
        peers[2].echo("tcp", port)
    assert far.stats().refusals["limits.peers_per_address"] == 1


def test_not_a_word_to_those_who_do_not_listen(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again and again and reads no refusal finds that none are kept for it."""
    lesser, greater = pair_of_identities()
    node = nodes.start(config(nat__echo_for_others=False), identity=lesser)
    with Caller(node, greater) as caller:
        caller.begin()
        link = nodes.heard(node).wait(crust.ConnectSuccess).peer._conversation.link
        assert link is not None
        assert node._node is not None
        echoes, seen = node._node.echoes, []
        monkeypatch.setattr(echoes, "received", lambda *said: (Echoes.received(echoes, *said), seen.append(said)))
        waiting = link._pending = b"what the connection has no room for"
        for number in range(20):
            caller.send(frames.EchoRequest(number, frames.EchoTransport.TCP, 5483, TOKEN))
        wait_until(lambda: len(seen) == 20, what="the last question")
        assert link._pending.startswith(waiting)
        assert len(link._pending) < len(waiting) + 700  # room for a frame of the session's own


@pytest.mark.parametrize(
    "arguments", [("tcp", 1023), ("udp", 80), ("tcp", 0), ("udp", 65536), ("utp", 5483), ("udp", 5483, b"short")]
)
def test_not_what_makes_no_sense(pair: Pair, arguments: tuple[str, int]) -> None:
    """Ports of the system are not even asked for; :mod:`tests.wire.test_frames` has what becomes of those who ask."""
    with pytest.raises(ValueError, match=r"echo|token"):
        pair.to_far.echo(*arguments)


def test_not_of_those_who_cannot(pair: Pair) -> None:
    """An older version would take the question for an attack."""
    pair.to_far._conversation.capabilities = 0
    with pytest.raises(EchoRefused, match="its program cannot"):
        pair.to_far.echo("tcp", 5483)


@pytest.mark.parametrize(
    "text",
    [
        "0a 00000007 01 0050 000102030405060708090a0b",  # to a port of the system
        "0a 00000007 02 1234 000102030405060708090a0b",  # by what does not exist
        "0a 00000007 01 1234 000102030405060708090a0b 05 00000001",  # with something else in its record
        "0b 00000007 09 00",
    ],
)
def test_whoever_asks_for_what_cannot_be_breaks_the_protocol(nodes: Nodes, text: str) -> None:
    """The session ends, loudly, and nothing is sent."""
    lesser, greater = pair_of_identities()
    node = nodes.start(identity=lesser)
    with Caller(node, greater) as caller:
        caller.begin()
        caller.send_plaintext(bytes.fromhex(text))
        goodbye = caller.expect(frames.Goodbye)
        assert isinstance(goodbye, frames.Goodbye)
        assert goodbye.code is frames.GoodbyeCode.PROTOCOL
    assert nodes.heard(node).wait(crust.LostPeer).reason == "protocol"


def test_an_answer_to_nothing_means_nothing(nodes: Nodes) -> None:
    """Nor does one that comes twice, or from another peer; a text is made harmless."""
    lesser, greater = pair_of_identities()
    node = nodes.start(identity=lesser)
    with Caller(node, greater) as caller:
        caller.begin()
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        caller.send(frames.EchoReply(1, frames.EchoOutcome.SENT))
        caller.send(frames.Ping(5))
        assert caller.expect(frames.Pong) == frames.Pong(5)  # it has read both
        peer._conversation.capabilities = Capability.ECHO
        job = Background(peer.echo, "tcp", 5483, TOKEN)
        request = caller.expect(frames.EchoRequest)
        assert request == frames.EchoRequest(1, frames.EchoTransport.TCP, 5483, TOKEN)
        caller.send(frames.EchoReply(2, frames.EchoOutcome.CONNECTED))
        caller.send(frames.EchoReply(1, frames.EchoOutcome.DENIED, "no\x1b[31m"))
        caller.send(frames.EchoReply(1, frames.EchoOutcome.CONNECTED))
        with pytest.raises(EchoRefused, match="no\ufffd"):
            job.result()


def test_nobody_answers_for_another_peer(nodes: Nodes) -> None:
    """Numbers can be guessed."""
    node = nodes.start()
    with contextlib.ExitStack() as callers:
        asked = callers.enter_context(Caller(node, crust.Identity.generate()))
        asked.begin()
        peer = nodes.heard(node).wait(crust.ConnectSuccess).peer
        other = callers.enter_context(Caller(node, crust.Identity.generate()))
        other.begin()
        peer._conversation.capabilities = Capability.ECHO
        job = Background(peer.echo, "tcp", 5483, TOKEN)
        request = asked.expect(frames.EchoRequest)
        assert isinstance(request, frames.EchoRequest)
        other.send(frames.EchoReply(request.number, frames.EchoOutcome.CONNECTED))
        other.send(frames.Ping(5))
        assert other.expect(frames.Pong) == frames.Pong(5)  # it has been read
        asked.send(frames.EchoReply(request.number, frames.EchoOutcome.REFUSED))
        echo = job.result()
        assert isinstance(echo, crust.Echo)
        assert echo.outcome == "refused"


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_whoever_asks_need_not_wait_long(pair: Pair) -> None:
    """The answer that comes later is nobody's; closing waits for no echo."""
    sockets, port = silent_listener()
    try:
        with pytest.raises(crust.Timeout, match=r"within 0\.1 s"):
            pair.to_far.echo("tcp", port, timeout=0.1)
        job = Background(pair.to_far.echo, "tcp", port)
        assert pair.far._node is not None
        echoes = pair.far._node.echoes
        wait_until(lambda: len(echoes._dials) == 2, what="the echoes")
        began = time.monotonic()
        assert pair.far.close()
        with pytest.raises(crust.PeerLost):
            job.result()
        assert time.monotonic() - began < sum(limits.ECHO_DIALS) * busy()
    finally:
        for sock in sockets:
            sock.close()


def test_without_a_link_nobody_is_asked(nodes: Nodes) -> None:
    """A suspended peer comes back, perhaps."""
    pair = nodes.proxied()
    assert pair.proxy is not None
    pair.proxy.refuse()
    pair.proxy.cut()
    pair.near_heard.wait(crust.PeerSuspended)
    with pytest.raises(crust.Timeout, match="no link"):
        pair.to_far.echo("tcp", 5483)
    pair.near.disconnect(pair.far.id)
    with pytest.raises(crust.PeerLost):
        pair.to_far.echo("tcp", 5483)


def test_in_memory_too() -> None:
    """Where there are connections, but no datagrams."""
    with crust.testing.network() as net:
        near, far = net.service(), net.service()
        to_far, _ = net.connect(near, far)
        port = next(each.port for each in near.addresses if each.transport == "tcp")
        assert to_far.echo("tcp", port).outcome == "connected"
        assert to_far.echo("udp", port).outcome == "unreachable"
