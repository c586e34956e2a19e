"""The hand of UDP: real sockets on loopback, in both worlds."""

from __future__ import annotations

import collections
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from crust import limits
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Close, Context, Finish, OpenUdp, Probe, Proven, Sample, Win
from crust.nat.punch.probe_packet import Kind, ProbeSealer
from crust.nat.punch.punch_udp import PunchUdp
from crust.nat.punch.runner import Runner
from crust.nat.punch.udp_hand import UdpHand
from crust.transports.blocking import BlockingStream
from crust.transports.utp.packet import PacketType, build_header
from tests.nat.punch.hands import Node, Script, contexts, punch_threads
from tests.support.modes import on_greenlets
from tests.support.sockets import has_ipv6, loopback
from tests.support.threads import Background, Crew
from tests.support.waiting import wait_until

FAMILIES = [4, pytest.param(6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


class Pair:
    """Two nodes, each with a runner whose plan is a script."""

    def __init__(self, crew: Crew, family: int = 4) -> None:
        self.nodes = Node(crew, loopback(family)), Node(crew, loopback(family))
        self.contexts = contexts(*self.nodes)
        self.scripts = Script(), Script()
        servers = [self.nodes[1].address], [self.nodes[0].address]
        self.runners = [
            node.run(script, context, servers=where)
            for node, script, context, where in zip(self.nodes, self.scripts, self.contexts, servers, strict=True)
        ]
        for runner in self.runners:
            runner.start()

    def probe(self, number: int = 0) -> bytes:
        """A datagram that the other end expects."""
        return ProbeSealer(self.contexts[number].key_out, "punch-udp", os.urandom).seal(Kind.PROBE, os.urandom(8))

    def close(self) -> None:
        for runner in self.runners:
            runner.end("the test is over")
        for node in self.nodes:
            node.close()


@pytest.fixture
def pair(crew: Crew) -> Iterator[Pair]:
    pair = Pair(crew)
    yield pair
    pair.close()


def carry(near: Node, far: Node) -> None:
    """µTP over what two nodes have won, the first one calling."""
    here, there = near.won[0], far.won[0]
    accepted: list[Any] = []
    listener = None
    if there.hub.acceptor is None:
        listener = far.transport.listen_over(there.hub)
        far.crew.spawn("crust-listener", listener.run, accepted.append)
    else:
        accepted = far.connections
    stream = near.transport.dialling_over(here.hub, here.address, 5.0).run()
    wait_until(lambda: accepted, what="the call")
    ends = [BlockingStream(each, near.crew.spawn) for each in (stream, accepted[0])]
    ends[0].sendall(b"hello", 5.0)
    assert ends[1].recv_exactly(5, 5.0) == b"hello"
    if listener is not None:
        listener.close()
    for end in ends:
        end.abort()
        assert end.wait_lost(5.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_nodes_find_each_other(crew: Crew, family: int) -> None:
    """Both agree on the way, and µTP takes it."""
    one, other = Node(crew, loopback(family)), Node(crew, loopback(family))
    runners = [
        node.run(PunchUdp(context), context) for node, context in zip((one, other), contexts(one, other), strict=True)
    ]
    one.other, other.other = runners[1], runners[0]
    for runner in runners:
        runner.start()
    wait_until(lambda: one.won and other.won, what="the way")
    assert (one.won[0].address, other.won[0].address) == (other.address, one.address)
    assert one.notes[0].verdict == other.notes[0].verdict == "connected"
    carry(one, other)
    wait_until(lambda: one.ended == [""], what="the end")
    runners[1].end("")
    one.close()
    other.close()


def test_a_socket_of_its_own_wins(pair: Pair) -> None:
    """It becomes a hub, on which callers are answered only then; what comes afterwards still reaches the plan."""
    (one, other), (near, far) = pair.nodes, pair.scripts
    near.ask(pair.runners[0], OpenUdp("a", 4), Probe("a", other.address, pair.probe()))
    came = far.wait("datagram")
    far.ask(pair.runners[1], OpenUdp("b", 4), Probe("b", came[2], pair.probe(1)))
    reached = near.wait("datagram")
    assert (reached[1], punch_threads()) == ("a", 2)
    near.ask(pair.runners[0], Win("a", reached[2]))
    far.ask(pair.runners[1], Win("b", came[2]))
    wait_until(lambda: one.won and other.won and not punch_threads(), what="the hubs")
    assert one.won[0].hub.silent and other.won[0].hub.acceptor is None
    carry(one, other)
    far.ask(pair.runners[1], Probe("b", came[2], pair.probe(1)))
    assert near.wait("datagram", 2)[1] == "a"


def test_the_listening_socket_wins(pair: Pair) -> None:
    """It is held for whoever gets it, and goes on serving others."""
    (one, other), (near, _) = pair.nodes, pair.scripts
    near.ask(pair.runners[0], Win("udp4", other.address), Finish())
    wait_until(lambda: one.won and one.ended, what="the win")
    assert one.won[0].hub is one.listener.hub
    one.listener.close()
    assert not one.won[0].hub.closed


@pytest.mark.parametrize("family", FAMILIES)
def test_how_a_socket_is_translated(crew: Crew, family: int) -> None:
    """From the listening one, and from one of its own: not at all, on loopback."""
    pair = Pair(crew, family)
    near, runner, name = pair.scripts[0], pair.runners[0], f"udp{family}"
    near.ask(runner, Sample(name))
    assert near.wait("sampled") == ("sampled", name, pair.nodes[0].address)
    near.ask(runner, OpenUdp("a", family), Sample("a"), Probe("a", pair.nodes[1].address, pair.probe()))
    answer = near.wait("sampled", 2)
    assert answer[1:] == ("a", pair.scripts[1].wait("datagram")[2])
    pair.close()


def test_servers_are_asked_in_turn_and_not_without_end(crew: Crew) -> None:
    """A server that says nothing is asked three times within a second; one without servers is not asked."""
    node = Node(crew)
    context = contexts(node, node)[0]
    # A machine that stands still for a second leaves questions out: not five times.
    assert any(_questions(node, context) == [3, 3] for _ in range(5))
    script = Script()
    lonely = node.run(script, context)
    script.ask(lonely, OpenUdp("b", 4), Sample("b"), Sample("nothing"))
    assert script.wait("sampled", 2)[2] is None
    lonely.end("")
    node.close()


def _questions(node: Node, context: Context) -> list[int]:
    """How often a server that says nothing is asked by each of two sockets: three times at most."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        script = Script()
        runner = node.run(script, context, servers=[silent.getsockname(), node.address])
        script.ask(runner, OpenUdp("a", 4), Sample("a"), Sample("a"), Sample("udp4"))
        wait_until(lambda: len(script.heard("sampled")) == 3, what="the answers")
        assert sorted(str(each[2]) for each in script.heard("sampled"))[1:] == ["None", "None"]
        silent.setblocking(False)  # whatever is asked has been: both sockets have been told that nobody answers
        senders = collections.Counter(_source(silent) for _ in range(20))
        del senders[None]
        runner.end("")
    assert len(senders) == 2 and max(senders.values()) <= 3
    return list(senders.values())


def _source(sock: socket.socket) -> Any:
    """Where the next datagram comes from; None: there is none."""
    try:
        return sock.recvfrom(100)[1]
    except BlockingIOError:
        return None


def test_nothing_goes_where_it_may_not(pair: Pair) -> None:
    """What the allowance refuses is not sent, until the other end has proven to be there."""
    one, other = pair.nodes
    allowance = Allowance()
    script = Script()
    runner = one.run(script, pair.contexts[0], "predict-udp", allowance=allowance)
    script.ask(runner, *[Probe("udp4", other.address, pair.probe())] * 20)
    pair.scripts[1].wait("datagram", limits.UNSEEN_PROBES)
    script.ask(runner, Proven(other.address[0]), Probe("udp4", other.address, pair.probe()))
    pair.scripts[1].wait("datagram", limits.UNSEEN_PROBES + 1)
    assert len(pair.scripts[1].heard("datagram")) == limits.UNSEEN_PROBES + 1
    runner.end("")


def test_a_hop_limit_is_of_one_datagram(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket, which others use too, keeps its own: to both kinds of sockets; loopback is no router."""
    one, other = pair.nodes
    near, far = pair.scripts
    before = one.listener.hub._sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
    near.ask(pair.runners[0], OpenUdp("a", 4))
    for name in ("udp4", "a"):
        near.ask(pair.runners[0], Probe(name, other.address, pair.probe(), 1))
    far.wait("datagram", 2)
    assert one.listener.hub._sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == before


def test_strangers_reach_no_plan(pair: Pair) -> None:
    """Neither at the listening socket nor at one of its own; datagrams of any size and content."""
    one, _ = pair.nodes
    near = pair.scripts[0]
    near.ask(pair.runners[0], OpenUdp("a", 4), Probe("a", pair.nodes[1].address, pair.probe()))
    own = pair.scripts[1].wait("datagram")[2]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for size in (1, 8, 54, 118, 119, 1400, 9000):
            for first in (b"\x00", b"\x80", b"\xff"):
                for address in (one.address, own):
                    sock.sendto(first + os.urandom(size), address)
        for address in (one.address, own):
            sock.sendto(pair.probe(1), address)
    near.wait("datagram", 2)
    assert len(near.heard("datagram")) == 2


def test_a_flood_of_probes_is_looked_at_for_a_while(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other end can make ones that look right; who reads the socket has others' datagrams to bring."""
    monkeypatch.setattr(limits, "PUNCH_HEARD_MAX", 5)
    one, near = pair.nodes[0], pair.scripts[0]
    bitten: list[str] = []
    for hand in pair.runners[0]._hands:
        hand._allowance.bites = bitten.append  # type: ignore[attr-defined]
    near.ask(pair.runners[0], OpenUdp("a", 4))
    strays = one.listener.hub.strays
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(50):
            sock.sendto(pair.probe(1), one.address)
        sock.sendto(build_header(PacketType.STATE, 4711, 0, 0, 0, 1, 1), one.address)  # what comes after them
    wait_until(lambda: one.listener.hub.strays > strays, what="the packet")
    assert len(near.heard("datagram")) == 5 and bitten == ["PUNCH_HEARD_MAX"] * 45


def test_an_address_that_is_tried_gets_no_reset(pair: Pair) -> None:
    """As long as the attempt lasts: a connection that it began might be this one."""
    one, _ = pair.nodes
    packet = build_header(PacketType.STATE, 4711, 0, 0, 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        probe = Probe("udp4", sock.getsockname(), pair.probe())
        pair.scripts[0].ask(pair.runners[0], probe)
        sock.recv(100)
        strays = one.listener.hub.strays
        sock.sendto(packet, one.address)
        wait_until(lambda: one.listener.hub.strays > strays, what="the packet")
        pair.runners[0].end("")
        sock.sendto(packet, one.address)
        assert sock.recv(100)[0] >> 4 == PacketType.RESET
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)


# --- what a system may lack -------------------------------------------------------------------------------------------


def test_without_descriptors_that_socket_fails(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is told so; the others go on, and closing it is harmless."""
    near, runner = pair.scripts[0], pair.runners[0]
    near.ask(runner, OpenUdp("a", 4))
    wait_until(lambda: punch_threads() == 1, what="the thread")
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", _exhausted)
        near.ask(runner, OpenUdp("b", 4), Sample("b"), Win("b", ("127.0.0.1", 9)), Close("b"))
    assert near.wait("failed") == ("failed", "b", errno.EMFILE)
    near.ask(runner, Probe("a", pair.nodes[1].address, pair.probe()))
    pair.scripts[1].wait("datagram")
    assert not pair.nodes[0].won and not pair.nodes[0].ended


def _exhausted(*_arguments: object) -> socket.socket:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_plan_has_only_so_many_sockets(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process needs descriptors for others; closed ones make room."""
    monkeypatch.setattr(limits, "PUNCH_SOCKETS_MAX", 2)
    near, runner = pair.scripts[0], pair.runners[0]
    near.ask(runner, OpenUdp("a", 4), OpenUdp("b", 4), OpenUdp("c", 4))
    assert near.wait("failed") == ("failed", "c", errno.EMFILE)
    near.ask(runner, Close("a"), OpenUdp("d", 4), Probe("d", pair.nodes[1].address, pair.probe()))
    pair.scripts[1].wait("datagram")
    assert near.heard("failed") == [("failed", "c", errno.EMFILE)]


def test_without_a_thread_that_socket_fails(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is tried anew."""
    near, runner, node = pair.scripts[0], pair.runners[0], pair.nodes[0]
    assert node.hand is not None

    def none(*_arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    spawn = node.hand._sockets._spawn
    node.hand._sockets._spawn = none  # type: ignore[assignment]
    near.ask(runner, OpenUdp("a", 4))
    assert near.wait("failed")[2] == errno.EAGAIN
    node.hand._sockets._spawn = spawn
    near.ask(runner, OpenUdp("b", 4), Probe("b", pair.nodes[1].address, pair.probe()))
    pair.scripts[1].wait("datagram")


# --- life -------------------------------------------------------------------------------------------------------------


def test_the_thread_lives_as_long_as_the_sockets(pair: Pair) -> None:
    """Opened and closed in turns; with the end of the runner all is gone."""
    near, runner = pair.scripts[0], pair.runners[0]
    for number in range(20):
        near.ask(runner, OpenUdp(f"a{number}", 4), OpenUdp(f"b{number}", 4), Close(f"a{number}"))
        assert punch_threads() == 1
        near.ask(runner, Close(f"b{number}"))
    wait_until(lambda: not punch_threads(), what="the end of the thread")
    near.ask(runner, *[OpenUdp(f"c{number}", 4) for number in range(256)])
    runner.end("")
    wait_until(lambda: not punch_threads(), what="the end of the thread")


def test_a_winner_outlives_its_runner(pair: Pair) -> None:
    """Also if the plan ends in the same breath; the other sockets are closed."""
    node = pair.nodes[0]
    pair.scripts[0].ask(
        pair.runners[0], OpenUdp("a", 4), OpenUdp("b", 4), Win("b", pair.nodes[1].address), Finish()
    )
    wait_until(lambda: node.won and node.ended == [""] and not punch_threads(), what="the win")
    assert not node.won[0].hub.closed


def test_a_winner_that_cannot_be_handed_over_is_told(pair: Pair) -> None:
    """The transport has been closed meanwhile."""
    node, near = pair.nodes[0], pair.scripts[0]
    near.ask(pair.runners[0], OpenUdp("a", 4))
    node.transport.close()
    near.ask(pair.runners[0], Win("a", pair.nodes[1].address))
    assert near.wait("failed")[1:] == ("a", errno.ECANCELED)
    assert not node.won


def test_many_runners_open_and_close_at_once(crew: Crew) -> None:
    """From several threads; nothing is left, and nothing crashes."""
    node = Node(crew)
    context = contexts(node, node)[0]

    def churn() -> None:
        for _ in range(10):
            script = Script()
            runner = node.run(script, context)
            script.ask(runner, *[OpenUdp(f"{number}", 4) for number in range(8)], Sample("1"), Close("3"))
            script.ask(runner, Probe("1", node.address, bytes(60)), Win("2", node.address))
            runner.end("")

    jobs = [Background(churn) for _ in range(4)]
    for job in jobs:
        job.result(20.0)
    wait_until(lambda: len(node.won) == 40 and not punch_threads(), what="the end of the threads")
    node.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_lets_go(pair: Pair) -> None:
    """Its copies are closed, and the parent's sockets go on."""
    near, node = pair.scripts[0], pair.nodes[0]
    near.ask(pair.runners[0], OpenUdp("a", 4), OpenUdp("b", 4))
    wait_until(lambda: punch_threads() == 1, what="the thread")
    hand = node.hand
    assert hand is not None
    descriptors = [sock.fileno() for sock, _ in hand._sockets._sockets.values()]
    child = os.fork()
    if child == 0:
        os._exit(_let_go(pair.runners[0], hand, descriptors))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    near.ask(pair.runners[0], Probe("a", pair.nodes[1].address, pair.probe()))
    pair.scripts[1].wait("datagram")


def _let_go(runner: Runner, hand: UdpHand, descriptors: list[int]) -> int:
    """In the child: 0 if nothing of the sockets is left."""
    runner.abandon()
    for descriptor in descriptors:
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        if not on_greenlets():  # there something harmless may have taken its place
            return 1
    return 0 if not hand._sockets._sockets else 2
