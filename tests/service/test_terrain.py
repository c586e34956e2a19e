"""What a running node learns of the network around it, and tells those with whom it looks for a path."""

from __future__ import annotations

import pytest

import crust
from crust import Endpoint, ListenConfig, Service, limits
from crust.service.network import echo_desk, filtering, outlook, reflection, way_out
from crust.service.network.echo_desk import EchoDesk
from crust.wire.frames import PlaceKind, Standing, TransportCode
from crust.wire.handshake import Capability
from tests.support.modes import on_greenlets, run_python
from tests.support.nodes import Nodes, config
from tests.support.stun import StunServer
from tests.support.waiting import wait_until

ANYWHERE = ListenConfig(addresses=("tcp://0.0.0.0:0", "utp://0.0.0.0:0"))


@pytest.fixture(autouse=True)
def far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers on loopback pass for distant ones."""
    for module in (filtering, reflection, outlook, way_out):
        monkeypatch.setattr(module, "is_near", lambda endpoint, networks: False)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes at 127.0.1.x and the like pass for public ones."""
    monkeypatch.setattr(echo_desk, "is_public", lambda end: not end.host.startswith("127.0.0."))


def at(host: str) -> ListenConfig:
    return ListenConfig(addresses=(f"tcp://{host}:0", f"utp://{host}:0"))


def desk(node: Service) -> EchoDesk:
    assert node._network is not None
    return node._network.reflection.desk


def told(node: Service, count: int = 1) -> None:
    """Wait until so many peers have named their ports."""
    wait_until(lambda: len(desk(node).introducers()) == count, what="the echo ports")


def standings(node: Service) -> dict[tuple[TransportCode, int], Standing]:
    assert node._network is not None
    return {(each.transport, each.family): each for each in node._network.standings()}


def answered(node: Service) -> int:
    assert node._network is not None
    return node._network.reflection.responder.answered


def places(node: Service) -> list[tuple[PlaceKind, Endpoint]]:
    assert node._network is not None
    names = {TransportCode.TCP: "tcp", TransportCode.UTP: "utp"}
    return [(each.kind, Endpoint(names[each.transport], *each.address)) for each in node._network.places()]


# --- more ports -------------------------------------------------------------------------------------------------------


def test_a_peer_is_told_more_ports(nodes: Nodes, public: None) -> None:
    """As soon as there is a link; a second one gets the same; all are closed when nobody listens."""
    introducer = nodes.start(config(listen=at("127.0.1.1")))
    assert desk(introducer)._ours == {}
    one, other = (nodes.start(config(listen=at("127.0.0.1"))) for _ in range(2))
    found = []
    for node in (one, other):
        node.connect(introducer.contact)
        told(node)
        conversation = desk(node).introducers()[0]
        found.append(desk(node).ports_of(conversation))
    assert found[0] is not None and found[0] == found[1]
    assert (len(found[0].udp), len(found[0].tcp)) == (limits.ECHO_PORTS_UDP, limits.ECHO_PORTS_TCP)
    assert desk(one)._ours == {}  # its own end of the link is not public
    sockets = desk(introducer)._ours["127.0.1.1"]
    introducer.stop_listening()
    wait_until(lambda: sockets.closed, what="the end of the ports")
    introducer.start_listening()
    wait_until(lambda: desk(one).ports_of(desk(one).introducers()[0]) not in (None, found[0]), what="the new ones")


def test_nobody_else_is_told(nodes: Nodes, public: None) -> None:
    """Behind a router nothing would lead there, and a program without traversal has no use for it."""
    introducer = nodes.start(config(listen=at("127.0.0.1")))
    near = nodes.start(config(listen=at("127.0.0.1")))
    conversation = near.connect(introducer.contact)._conversation
    desk(introducer).met(conversation)
    assert desk(introducer)._ours == {}
    open_one = nodes.start(config(listen=at("127.0.1.1")))
    assert open_one._node is not None
    other = near.connect(open_one.contact)._conversation
    told(near)
    desk(open_one).stop()
    theirs = open_one._node.registry.all()[0]
    theirs.capabilities &= ~Capability.TRAVERSAL
    desk(open_one).met(theirs)
    assert desk(open_one)._ours == {}
    assert desk(near).ports_of(conversation) is None
    assert desk(near).ports_of(other) is not None


def test_ports_are_those_of_one_link(nodes: Nodes, public: None) -> None:
    """When it is gone, so are they; with the next one they come again."""
    introducer = nodes.start(config(listen=at("127.0.1.1")))
    node = nodes.start(config(listen=at("127.0.0.1")))
    peer = node.connect(introducer.contact)
    told(node)
    link = peer._conversation.link
    assert link is not None
    link.fail("failed", "the test cuts it")
    nodes.heard(node).wait(crust.PeerResumed)
    told(node)
    assert peer._conversation.link is not link


# --- standings and places ---------------------------------------------------------------------------------------------


def test_one_introducer_is_enough(nodes: Nodes, public: None) -> None:
    """It answers at all its ports; nobody translates here, so all see one port, which is our own."""
    introducer = nodes.start(config(listen=at("127.0.1.1")))
    node = nodes.start(config(listen=ANYWHERE))
    node.connect(introducer.contact)
    wait_until(lambda: len(standings(node)) == 2, what="the standings")
    wait_until(lambda: {each.mapping for each in standings(node).values()} == {1}, what="the mapping")
    wait_until(lambda: answered(introducer) >= limits.ECHO_PORTS_UDP + limits.ECHO_PORTS_TCP, what="the answers")
    for each in standings(node).values():
        assert (each.family, each.step, each.low, each.high, each.resets) == (4, 0, 0, 0, False)
    ours = {(endpoint.transport, endpoint.port) for _, endpoint in places(node)}
    assert ours == {(each.transport, each.port) for each in node.addresses}


def test_what_one_peer_sees_is_told_peers_alone(nodes: Nodes, public: None) -> None:
    """A place in a session is no address that strangers are told; those are where two agree. People see it."""
    introducer = nodes.start(config(listen=at("127.0.1.1")))
    node = nodes.make(config(listen=ANYWHERE))
    node._machine.addresses = lambda include, exclude: []  # type: ignore[method-assign]  # as if behind a router
    node.start()
    changes: list[bool] = []
    assert node._network is not None
    node._network.outlook.on_change.append(lambda: changes.append(True))
    node.connect(introducer.contact)
    wait_until(lambda: len(places(node)) == 2, what="both places")
    assert {kind for kind, _ in places(node)} == {PlaceKind.REFLEXIVE}
    assert {endpoint.host for _, endpoint in places(node)} == {"127.0.0.1"}
    assert changes
    assert node.addresses == ()
    assert {(each.kind, each.endpoint.host, each.shown) for each in node.candidates} == {
        (crust.CandidateKind.REFLEXIVE, "127.0.0.1", False)
    }
    assert {each.local for each in node.candidates} == set(node._network.listeners.endpoints())
    node.stop_listening()
    wait_until(lambda: places(node) == [], what="that nothing leads to closed listeners")


def test_a_node_for_its_own_machine(nodes: Nodes) -> None:
    """It says where it listens, at once."""
    node = nodes.start(config(listen=at("127.0.0.1")))
    assert [endpoint for _, endpoint in places(node)] == sorted(node.addresses, key=lambda each: each.transport)


def test_strangers_come_first(nodes: Nodes, public: None) -> None:
    """Where a server says where we are, the one peer shows whether strangers get in before it is asked anything."""
    helper = nodes.start(config(listen=at("127.0.1.1")))
    with StunServer("127.0.3.1") as server:
        node = nodes.make(config(listen=ANYWHERE, nat__stun_servers=[server.name], nat__port_mapping=[]))
        node._machine.addresses = lambda include, exclude: []  # type: ignore[method-assign]
        node.start()
        assert node._network is not None
        about = node._network.reflection
        wait_until(lambda: len(about.reflexive()) == 2, what="where it is")
        node.connect(helper.contact)
        wait_until(lambda: len(about.filtering.open_places()) == 2, what="that strangers get in")
        wait_until(lambda: {each.mapping for each in standings(node).values()} == {1}, what="the mapping")
        wait_until(lambda: answered(helper) >= 5, what="the helper's answers, afterwards")
        assert all(each.is_open for each in node._network.places())


def test_another_network(nodes: Nodes, public: None) -> None:
    """Other addresses of this machine: what was seen from the old ones counts no more."""
    introducer = nodes.start(config(listen=at("127.0.1.1")))
    node = nodes.start(config(listen=ANYWHERE))
    node.connect(introducer.contact)
    wait_until(lambda: {each.mapping for each in standings(node).values()} == {1}, what="the mapping")
    assert node._network is not None
    about = node._network.reflection
    node._node.local_addresses = lambda include, exclude: []  # type: ignore[union-attr, method-assign]
    before = dict(about.sounder._soundings)
    assert before
    about._see_network()
    assert about._ips == frozenset() and about._opinions == {}
    assert all(each.latest(0.0) == () for each in before.values())


def test_a_port_is_held(nodes: Nodes, public: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a router that keeps it: one question by UDP again and again, always to the same port of one peer."""
    monkeypatch.setattr(limits, "HOLD_INTERVAL", 0.1)
    introducer = nodes.start(config(listen=at("127.0.1.1")))
    node = nodes.make(config(listen=ANYWHERE))
    node._machine.addresses = lambda include, exclude: []  # type: ignore[method-assign]
    node.start()
    node.connect(introducer.contact)
    wait_until(lambda: {each.mapping for each in standings(node).values()} == {1}, what="the mapping")
    before = answered(introducer)
    wait_until(lambda: answered(introducer) >= before + 5, what="the questions that hold it")


# --- from which port --------------------------------------------------------------------------------------------------


def own_port(peer: crust.Peer) -> int:
    assert peer.path is not None
    return Endpoint.parse(peer.path.local).port


def test_one_link_leaves_from_the_listening_port(nodes: Nodes) -> None:
    """The first that is dialled, and when that is gone the next one; never one that is resumed."""
    one, other, third = (nodes.start(config(listen=at(f"127.0.{number}.1"))) for number in (1, 2, 3))
    node = nodes.start(config(listen=ANYWHERE))
    listening = {each.port for each in node.addresses if each.transport == "tcp"}
    first, second = (node.connect(each.contact.endpoints and each.contact) for each in (one, other))
    assert own_port(first) in listening
    assert own_port(second) not in listening
    link = second._conversation.link
    assert link is not None
    link.fail("failed", "the test cuts it")
    nodes.heard(node).wait(crust.PeerResumed)
    path = second.path  # the other side may have dialled
    assert path is not None and (path.inbound or own_port(second) not in listening)
    first.disconnect()
    nodes.heard(node).wait(crust.LostPeer)
    assert own_port(node.connect(third.contact)) in listening


def test_with_servers_all_links_leave_from_other_ports(nodes: Nodes) -> None:
    """A peer that has had nothing from the port that listens can show whether strangers get in."""
    peer = nodes.start(config(listen=at("127.0.1.1")))
    with StunServer() as server:
        node = nodes.start(config(listen=ANYWHERE, nat__stun_servers=[server.name]))
        listening = {each.port for each in node.addresses if each.transport == "tcp"}
        assert own_port(node.connect(peer.contact)) not in listening


# --- fork -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(on_greenlets(), reason="the program runs on threads and on greenlets by itself")
@pytest.mark.parametrize("gevent", [False, True], ids=["threads", "greenlets"])
def test_a_child_has_none_of_the_ports(gevent: bool) -> None:
    """The parent goes on answering; the child has closed its copies."""
    code = """
import os, socket, threading
import crust
from crust.service.network import echo_desk
from tests.support.nodes import config
from tests.support.stun import ask_udp, request
from tests.support.waiting import wait_until
echo_desk.is_public = lambda end: True
both = crust.ListenConfig(addresses=("tcp://127.0.0.1:0", "utp://127.0.0.1:0"))
near, far = (crust.Service(config(listen=both)).start() for _ in range(2))
near.connect(far.contact)
desk = near._network.reflection.desk
wait_until(lambda: desk.introducers(), what="the ports")
ports = desk.ports_of(desk.introducers()[0])
asking = ("crust-stun", "crust-filter")  # what is being opened at the fork nobody can close
wait_until(lambda: not any(each.name.startswith(asking) for each in threading.enumerate()), what="no questions")
pid = os.fork()
if pid == 0:
    mine = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{each}")]
    os._exit(1 if any(each.startswith("socket:") for each in mine) else 0)
assert os.waitpid(pid, 0)[1] == 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    assert ask_udp(sock, ("127.0.0.1", ports.udp[0]), request()).xor_mapped == sock.getsockname()
assert near.close() and far.close()
print("done")
"""
    done = run_python(code, gevent=gevent, forks=True, timeout=20.0)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr


