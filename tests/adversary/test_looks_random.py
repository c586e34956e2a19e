"""
Promise: what two nodes say to each other looks random, bit by bit, to everybody else.

The observer records many connections of the same two nodes, and knows where each begins. After the header of the
transport (of TCP in the kernel, of µTP 20 bytes or more) no bit has a favourite value, nothing comes twice, and lengths
vary. What does show is listed in docs/security.md: addresses, sizes, times, µTP's header.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import crust
from crust import Contact, Endpoint, ListenConfig, Service
from tests.support.nodes import Nodes, config
from tests.support.overheard import Recording, check_bits, check_never_again
from tests.support.proxy import DOWN, UP
from tests.support.udp_relay import UdpRelay

PATIENCE = 10.0
CALLS = 80
UP_SIZE, DOWN_SIZE = 400, 160
"""Bytes of each direction that every connection has: the handshake and the first records."""


def call(nodes: Nodes, near: Service, far: Service, endpoint: str, count: int) -> None:
    """So many sessions, one after the other; something is said in each."""
    for number in range(1, count + 1):
        peer = near.connect(Contact(far.id, (Endpoint.parse(endpoint),)), timeout=PATIENCE)
        peer.send(bytes(100))  # of zeros: they would show
        peer.flush(PATIENCE)
        near.disconnect(far.id)
        nodes.heard(far).wait(crust.LostPeer, number)


def check(recording: Recording) -> None:
    up, down = recording.streams(UP), recording.streams(DOWN)
    assert len(up) == len(down) == CALLS
    check_bits(up, UP_SIZE)
    check_bits(down, DOWN_SIZE)
    check_never_again(up + down)
    for direction in (UP, DOWN):
        first = {len(pieces[0]) for pieces in recording.pieces(direction)}
        whole = {len(stream) for stream in recording.streams(direction)}
        assert min(len(first), len(whole)) > CALLS // 5, "lengths that are always the same"


@pytest.mark.parametrize("closed", [False, True])
def test_tcp(nodes: Nodes, tmp_path: Path, closed: bool) -> None:
    """In an open network and in one with a secret."""
    changes: dict[str, object] = {"gossip__enabled": False}  # or it may find a shorter way than that past the observer
    if closed:
        secret = tmp_path / "secret"
        secret.write_text(f"{'a' * 52}\n")
        secret.chmod(0o600)
        changes["network__secret_file"] = str(secret)
    far, near = nodes.start(config(**changes)), nodes.start(config(**changes))
    proxy = nodes.proxy(far)
    recording = Recording()
    for direction in (UP, DOWN):
        proxy.change(direction, recording.recorder(direction))
    call(nodes, near, far, proxy.endpoint, CALLS)
    check(recording)


def test_utp(nodes: Nodes) -> None:
    """The payload of its packets; their header is that of BEP 29, as that of any µTP."""
    listening = config(listen=ListenConfig(addresses=("utp://127.0.0.1:0",)), gossip__enabled=False)
    far, near = nodes.start(listening), nodes.start(listening)
    recording = Recording()
    with UdpRelay(far.addresses[0].port, 0.0, also=recording.datagram) as relay:
        call(nodes, near, far, f"utp://127.0.0.1:{relay.port}", CALLS)
        check(recording)
    sizes = {len(header) for header in recording.headers}
    assert min(sizes) == 20 and all(header[0] & 0x0F == 1 for header in recording.headers)
