"""Nodes that find each other on loopback, the one link that tests may use outside the laboratory."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import crust
from crust import limits
from crust.addresses import network_id
from crust.crypto.agreement import derive_secret
from crust.discovery.beacon.packet import AskingKey, NetworkKey, seal_query
from crust.runtime.identity_file import load_network_secrets
from tests.support.nodes import Nodes, call, config
from tests.support.programs import Program
from tests.support.sockets import reserved_port
from tests.support.waiting import busy, eventually, wait_until


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUST_LAN", "loopback")


@pytest.fixture
def port() -> int:
    """One that nobody uses now."""
    return reserved_port()


def on_lan(port: int, **changes: object) -> crust.Config:
    return config(**{"lan__seek": "bootstrap", "lan__port": port, **changes})


def discovered(nodes: Nodes, service: crust.Service) -> list[crust.PeerId]:
    return [event.contact.peer_id for event in nodes.heard(service).of(crust.PeerDiscovered)]


def thread_runs() -> bool:
    return any(thread.name == "crust-lan" for thread in threading.enumerate())


def test_two_default_nodes_do_not_see_each_other(nodes: Nodes, port: int) -> None:
    """And have neither a socket nor a thread for it."""
    one, other = nodes.start(on_lan(port)), nodes.start(on_lan(port))
    assert not thread_runs()
    assert not one.has_peers_on_lan(0.4) and not other.has_peers_on_lan(0.4)
    assert one.lan_peers == () and discovered(nodes, one) == []
    assert eventually(lambda: not thread_runs())


def test_one_call_makes_them_see_each_other(nodes: Nodes, port: int) -> None:
    """Within a second; a contact that connects, told once."""
    one, other = nodes.start(on_lan(port)), nodes.start(on_lan(port))
    began = time.monotonic()
    for service in (one, other):
        service.start_service_discovery()
        service.start_service_discovery()
    event = nodes.heard(one).wait(crust.PeerDiscovered)
    nodes.heard(other).wait(crust.PeerDiscovered)
    assert time.monotonic() - began < 10.0 * busy()  # the second round of questions comes after a minute
    assert (event.contact.peer_id, event.interface, event.role) == (other.id, "lo", "node")
    assert set(event.contact.endpoints) <= set(other.addresses)
    assert one.connect(event.contact).id == other.id
    assert all(each.has_peers_on_lan() for _ in range(3) for each in (one, other))
    assert discovered(nodes, one) == [other.id] and discovered(nodes, other) == [one.id]
    (peer,) = one.lan_peers
    assert (peer.contact, peer.role, peer.interface) == (event.contact, "node", "lo") and 0 <= peer.age < 5


def test_a_peer_of_the_lan_is_connected_to_by_its_id(nodes: Nodes, port: int) -> None:
    """The LAN is one of the places where a node looks for whom it has no address of."""
    one, other = nodes.start(on_lan(port)), nodes.start(on_lan(port, lan__announce=True))
    assert one.has_peers_on_lan(5.0)
    wait_until(lambda: bool(one.lan_peers), what="a peer to be told of")
    assert one.connect(other.id).id == other.id


def test_several_nodes_on_one_port(nodes: Nodes, port: int) -> None:
    """Each hears every query, and finds all others."""
    four = [nodes.start(on_lan(port, lan__announce=True, lan__seek="always")) for _ in range(4)]
    wait_until(lambda: all(len(set(discovered(nodes, each))) == 3 for each in four), what="all to be found")


def test_a_client_says_so(nodes: Nodes, port: int) -> None:
    """Its role is told."""
    one, _ = nodes.start(on_lan(port)), nodes.start(on_lan(port, lan__announce=True, network__role="client"))
    one.start_service_discovery()
    assert nodes.heard(one).wait(crust.PeerDiscovered).role == "client"


def test_never_is_never(nodes: Nodes, port: int) -> None:
    """Nothing is asked and nobody found, whatever is called; but others are answered."""
    one, other = nodes.start(config(lan__port=port)), nodes.start(on_lan(port))
    one.start_service_discovery()
    assert other.has_peers_on_lan(5.0)
    assert not one.has_peers_on_lan(0.3) and one.lan_peers == ()
    other.start_service_discovery()
    assert discovered(nodes, one) == []


def test_networks_are_apart(nodes: Nodes, port: int, tmp_path: Path) -> None:
    """Another name, or a secret that one of them lacks: nobody answers. With the same secret they meet."""
    path = tmp_path / "secret"
    path.write_text(f"{'a' * 52}\n")
    path.chmod(0o600)
    closed = {"network__secret_file": str(path)}
    nodes.start(on_lan(port, lan__announce=True))
    assert not nodes.start(on_lan(port, network__name="other")).has_peers_on_lan(0.6)
    member = nodes.start(on_lan(port, **closed))
    assert not member.has_peers_on_lan(0.6)
    nodes.start(on_lan(port, lan__announce=True, **closed))
    assert member.has_peers_on_lan(5.0)


def test_other_ports_are_told(nodes: Nodes, port: int) -> None:
    """After a rotation, without being asked."""
    one, other = nodes.start(on_lan(port)), nodes.start(on_lan(port))
    one.start_service_discovery()
    other.start_service_discovery()
    first = nodes.heard(one).wait(crust.PeerDiscovered).contact
    nodes.heard(other).wait(crust.PeerDiscovered)
    other.rotate_ports()
    second = nodes.heard(one).wait(crust.PeerDiscovered, 2).contact
    assert second.peer_id == first.peer_id and second.endpoints != first.endpoints
    assert set(second.endpoints) <= set(other.addresses)


def test_a_node_that_does_not_listen_is_not_announced(nodes: Nodes, port: int) -> None:
    """There is nothing to tell; once it listens there is."""
    one, other = nodes.start(on_lan(port)), nodes.start(on_lan(port, lan__announce=True))
    other.stop_listening()
    assert not one.has_peers_on_lan(0.6)
    other.start_listening()
    assert one.has_peers_on_lan(5.0)


def test_the_port_may_be_taken(nodes: Nodes, port: int) -> None:
    """By a program that does not share it: the node runs on, and announces when the port is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))
        one, _ = nodes.start(on_lan(port)), nodes.start(on_lan(port, lan__announce=True))
        assert not one.has_peers_on_lan(0.3)
    wait_until(lambda: one.has_peers_on_lan(0.5), 10.0, "the port to be heard on")


def test_closing_ends_a_wait(nodes: Nodes, port: int) -> None:
    """Whoever waits for peers hears that the service is closed."""
    service = nodes.start(on_lan(port))
    caught: list[BaseException | None] = []
    thread = threading.Thread(
        target=lambda: caught.append(call(lambda: service.has_peers_on_lan(60.0))), name="test-waiter", daemon=True
    )
    thread.start()
    wait_until(thread_runs, what="the question to be asked")
    service.close()
    thread.join(5.0)
    assert isinstance(caught[0], crust.ServiceClosed)
    assert isinstance(call(service.start_service_discovery), crust.ServiceClosed)


def test_two_with_one_identity_are_warned(nodes: Nodes, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """They hear of each other, and are no peers."""
    identity = crust.Identity.generate()
    one, other = (nodes.start(on_lan(port), identity=identity) for _ in range(2))
    one.start_service_discovery()
    other.start_service_discovery()
    wait_until(lambda: "has our identity" in caplog.text, what="a warning")
    assert nodes.heard(one).wait(crust.IdentityShared).endpoints == other.addresses
    assert one.lan_peers == () and discovered(nodes, one) == []


def test_a_flood(nodes: Nodes, port: int) -> None:
    """10,000 queries in a row, and as many datagrams of garbage: few answers; a real asker is answered then."""
    nodes.start(on_lan(port, lan__announce=True))
    rng = random.Random(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(1.0)
        key = AskingKey(NetworkKey(network_id(None), None), rng.randbytes)
        queries = [seal_query(key, sock.getsockname(), [], rng.randbytes) for _ in range(1000)]
        before, began = time.process_time(), time.monotonic()
        for number in range(10_000):
            sock.sendto(queries[number % len(queries)], ("127.255.255.255", port))
            sock.sendto(rng.randbytes(480), ("127.255.255.255", port))
            if number % 100 == 0:
                time.sleep(0)
        answers = 0
        while True:
            try:
                sock.recv(2000)
            except TimeoutError:
                break
            answers += 1
        spent = time.process_time() - before
    allowed = limits.BEACON_ANSWERS_AT_ONCE + limits.BEACON_ANSWERS_PER_ADDRESS * (time.monotonic() - began)
    assert 1 <= answers <= allowed + 1, answers
    assert spent < 10.0, spent
    assert nodes.start(on_lan(port)).has_peers_on_lan(10.0)


def test_secrets_of_a_file_make_the_key(tmp_path: Path) -> None:
    """What seals a closed network's queries follows from its secret, and from its name."""
    path = tmp_path / "secret"
    path.write_text(f"{'a' * 52}\n")
    path.chmod(0o600)
    (secret,) = map(derive_secret, load_network_secrets(path))
    keys = {NetworkKey(network_id(name), psk).key for name in (None, "home") for psk in (None, secret.psk)}
    assert len(keys) == 4


def test_the_example() -> None:
    """Two of it say hello to each other."""
    with Program("python", "on_the_lan.py") as one, Program("python", "on_the_lan.py") as other:
        for program in (one, other):
            program.wait_for("^[a-z2-7]{8} says hello$", 20.0)


def test_who_asks_nobody_pays_nothing() -> None:
    """A node with the default configuration does not even load the beacon."""
    words = "import crust, sys; crust.Service().start().close(); print('crust.discovery.beacon.driver' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == ["False"]
