"""Knocking: whether a peer is there, without a session, an event, or a name at the other side."""

from __future__ import annotations

import errno
import os
import pathlib
import queue
from collections.abc import Callable
from typing import Any, cast

import pytest

import crust
from crust import Endpoint, Identity, PeerId, Service
from crust.peers.knocks import Knocked
from crust.transports.contract import Connection
from tests.support.nodes import LOOPBACK, Nodes, config
from tests.support.sockets import silent_listener, unused_port
from tests.support.waiting import wait_until

BOTH = {"listen__addresses": (LOOPBACK, "utp://127.0.0.1:0")}
PATIENCE = 20.0


def knock(service: Service, peer_id: PeerId, endpoint: Endpoint, seconds: float = PATIENCE / 2) -> Knocked:
    heard: queue.SimpleQueue[Knocked] = queue.SimpleQueue()
    assert service._node is not None
    service._node.knocks.knock(peer_id, endpoint, heard.put, seconds=seconds)
    return heard.get(timeout=PATIENCE)


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_who_is_there_is_found_and_hears_nothing(nodes: Nodes, transport: str) -> None:
    """The key is proven; neither side has a peer or an event, and no thread or connection stays."""
    near, far = nodes.start(config(**BOTH)), nodes.start(config(**BOTH))
    for node in (near, far):
        nodes.heard(node).wait(crust.AddressesChanged)
    before = len(nodes.heard(far).all), len(nodes.heard(near).all)
    endpoint = next(each for each in far.addresses if each.transport == transport)
    assert knock(near, far.id, endpoint) == Knocked("connected")
    assert (near.peers, far.peers) == ([], [])
    assert near._node is not None
    threads = near._node.threads
    wait_until(lambda: not any("knock" in name for name in threads.alive()), what="the end of the thread")
    assert (len(nodes.heard(far).all), len(nodes.heard(near).all)) == before
    assert near.connect(far.contact).id == far.id


def test_who_is_not_there(nodes: Nodes) -> None:
    """Refused, silent, somebody else, another network, a transport that we lack: each is told apart."""
    # A message 1 for another key looks too short for ever in one case of seventy: far does not wait long for its rest.
    near, far = nodes.start(), nodes.start(config(session__handshake_timeout=0.5))
    stranger = Identity.generate().peer_id
    refused = knock(near, stranger, Endpoint("tcp", "127.0.0.1", unused_port()))
    assert (refused.verdict, refused.is_somebody_else) == ("refused", True)
    other = knock(near, stranger, far.addresses[0])
    assert (other.verdict, other.is_somebody_else, other.is_there) == ("failed", True, False)
    elsewhere = nodes.start(config(network__name="elsewhere"))
    denied = knock(near, elsewhere.id, elsewhere.addresses[0])
    assert denied == Knocked("denied", "refused: network")
    sockets, port = silent_listener()
    late = knock(near, stranger, Endpoint("tcp", "127.0.0.1", port), seconds=0.2)
    assert (late.verdict, late.is_somebody_else) == ("timeout", False)
    for sock in sockets:
        sock.close()


def test_among_several_secrets(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """A network that changes its secret has two for a while: both are tried."""
    first, second = "a" * 52, "b" * 51 + "a"
    files = {"both": f"{first}\n{second}\n", "new": f"{second}\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    near = nodes.start(config(network__secret_file=str(tmp_path / "both")))
    far = nodes.start(config(network__secret_file=str(tmp_path / "new")))
    assert knock(near, far.id, far.addresses[0]).is_there


def test_a_close_ends_what_is_under_way(nodes: Nodes) -> None:
    """It waits for no silent one, and nothing begins afterwards."""
    near = nodes.start()
    node = near._node
    assert node is not None
    sockets, port = silent_listener()
    heard: queue.SimpleQueue[Knocked] = queue.SimpleQueue()
    endpoint = Endpoint("tcp", "127.0.0.1", port)
    node.knocks.knock(Identity.generate().peer_id, endpoint, heard.put, seconds=60)
    assert near.close()
    assert heard.get(timeout=PATIENCE).verdict == "cancelled"
    node.knocks.knock(Identity.generate().peer_id, endpoint, heard.put)
    assert heard.get(timeout=PATIENCE).verdict == "cancelled"
    for sock in sockets:
        sock.close()


def test_nobody_banned_is_asked(nodes: Nodes) -> None:
    """Neither by id nor by address."""
    near, far = nodes.start(), nodes.start()
    near.ban(far.id)
    assert knock(near, far.id, far.addresses[0]).verdict == "cancelled"
    assert nodes.heard(far).of(crust.ConnectSuccess) == []


class Dial:
    """A dial that does as it is told."""

    def __init__(self, run: Callable[[], Connection]) -> None:
        self.run = run

    def cancel(self) -> None:
        """It is over by then."""


def knock_by(service: Service, peer_id: PeerId, run: Callable[[], Connection]) -> Knocked:
    heard: queue.SimpleQueue[Knocked] = queue.SimpleQueue()
    assert service._node is not None
    nowhere = Endpoint("tcp", "127.0.0.1", 1)
    service._node.knocks.knock(peer_id, nowhere, heard.put, prepare=lambda seconds: cast(Any, Dial(run)))
    return heard.get(timeout=PATIENCE)


def test_a_close_in_the_moment_in_which_somebody_is_reached(nodes: Nodes) -> None:
    """The node that closes does not see to that link any more: nothing is said on it."""
    near, far = nodes.start(), nodes.start()
    node = near._node
    assert node is not None

    def run() -> Connection:
        transport = node.transport_for(far.addresses[0])
        assert transport is not None
        connection = transport.dialling(far.addresses[0], 5.0).run()
        node.knocks.close()
        return connection

    assert knock_by(near, far.id, run) == Knocked("cancelled", "the service is closing")
    wait_until(lambda: not any("knock" in name for name in node.threads.alive()), what="the end of the thread")


@pytest.mark.parametrize(
    ("code", "verdict"), [(errno.EMFILE, "cancelled"), (errno.ENFILE, "cancelled"), (errno.ENETUNREACH, "unreachable")]
)
def test_what_is_our_own_fault_is_nobody_elses(nodes: Nodes, code: int, verdict: str) -> None:
    """We lack descriptors, or a way out: nobody is forgotten for that."""

    def run() -> Connection:
        raise OSError(code, os.strerror(code))

    came = knock_by(nodes.start(), Identity.generate().peer_id, run)
    assert (came.verdict, came.is_there, came.is_somebody_else) == (verdict, False, False)
