"""What a machine on the LAN costs that answers with many ids: a few dials."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator

import pytest

import crust
from crust import Endpoint, Identity, PeerId, limits
from crust.discovery.beacon.links import Link
from crust.discovery.beacon.packet import Offer
from crust.discovery.beacon.seeker import Found
from crust.service.finding import neighbours
from crust.service.finding.neighbours import Neighbours
from crust.wire.handshake import Role
from tests.support.bitten import Bitten
from tests.support.nodes import Nodes, config
from tests.support.waiting import wait_until

ONCE = limits.LAN_DIALS_AT_ONCE


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as made:
        yield made


def at(host: str, port: int = 5483, transport: str = "tcp") -> Endpoint:
    return Endpoint(transport, host, port)


def somebody() -> PeerId:
    return Identity.generate().peer_id


class Turnstile:
    """Takes whoever comes to its port, counts, and closes: no node. Use it in a ``with``."""

    def __enter__(self) -> Turnstile:
        self.count = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="test-turnstile", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with sock:
                if sock.getpeername() == self._ours:
                    return
                self.count += 1

    _ours: object = None

    def __exit__(self, *_: object) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self._ours = sock.getsockname()
            sock.connect(("127.0.0.1", self.port))
            self._thread.join()
        self._listener.close()


def know(node: crust.Service, places: Iterable[tuple[PeerId, int]]) -> None:
    """Have the node think that these have answered, from that port of 127.0.0.1."""
    assert node._finding is not None and node._node is not None
    link, now = Link("lo", 1, "127.0.0.1", 8), node._node.clock.now()
    node._finding.lan._tell(
        [
            (Found(link, peer_id, "127.0.0.1", Offer(Role.NODE, port, 0), True, ("127.0.0.1", port)), now)
            for peer_id, port in places
        ]
    )


def test_an_address_costs_a_few_dials_in_vain() -> None:
    """However many ids it answers with; more come back, slowly."""
    bitten = Bitten()
    near = Neighbours(bitten)
    dialled = [near.afford(somebody(), [at("192.168.1.7", 1000 + number)], 1.0) for number in range(64)]
    assert [bool(each) for each in dialled] == [True] * ONCE + [False] * (64 - ONCE)
    assert bitten["LAN_DIALS_PER_SECOND"] == 64 - ONCE
    assert near.afford(somebody(), [at("192.168.1.8")], 1.0)
    in_a_minute = sum(bool(near.afford(somebody(), [at("192.168.1.7")], 1.0 + second)) for second in range(60))
    assert in_a_minute == 5  # one in ten seconds


def test_who_proves_its_key_costs_nothing() -> None:
    """So all programs of a machine are dialled at once, however many there are."""
    near = Neighbours()
    for number in range(100):
        peer_id = somebody()
        assert near.afford(peer_id, [at("192.168.1.7", 1000 + number)], 1.0), number
        near.answered(peer_id)


def test_who_proves_its_key_at_one_address_pays_for_none() -> None:
    """It is dialled at all of them, and comes by one."""
    near = Neighbours()
    both = [at("192.168.1.7"), at("fe80::1%eth0")]
    for _ in range(2 * limits.LAN_DIALS_IN_ALL_AT_ONCE):
        peer_id = somebody()
        assert near.afford(peer_id, both, 1.0) == tuple(both)
        near.answered(peer_id)


def test_who_was_not_dialled_gives_nothing_back() -> None:
    """Nor does it twice: what others cost stays."""
    near = Neighbours()
    first, *others = [somebody() for _ in range(ONCE)]
    for peer_id in (first, *others):
        assert near.afford(peer_id, [at("192.168.1.7")], 1.0)
    for peer_id in (first, first, somebody()):
        near.answered(peer_id)
    assert near.afford(somebody(), [at("192.168.1.7")], 1.0)
    assert not near.afford(somebody(), [at("192.168.1.7")], 1.0)


def test_one_peer_counts_once_at_an_address() -> None:
    """By whichever transports; an address that has had its share is left out, another one of that peer is not."""
    near = Neighbours()
    both = [at("192.168.1.7"), at("192.168.1.7", transport="utp")]
    for _ in range(ONCE):
        assert near.afford(somebody(), both, 1.0) == tuple(both)
    assert near.afford(somebody(), [*both, at("fe80::1%eth0")], 1.0) == (at("fe80::1%eth0"),)


def test_many_addresses_are_bounded_too() -> None:
    near = Neighbours()
    places = [at(f"192.168.{number // 250}.{number % 250 + 1}") for number in range(500)]
    dialled = [near.afford(somebody(), [each], 1.0) for each in places]
    assert sum(map(bool, dialled)) == limits.LAN_DIALS_IN_ALL_AT_ONCE


def test_a_search_and_a_group_dial_a_few_of_many_ids(nodes: Nodes) -> None:
    """64 made-up ids at the address of one program: together they cost it, and us, what one address may."""
    near = nodes.start(config(bootstrap__accept=True))
    with Turnstile() as turnstile:
        know(near, ((Identity.generate().peer_id, turnstile.port) for _ in range(64)))
        with pytest.raises(crust.ConnectError, match="and 56 more"):
            near.bootstrap(timeout=60)
        assert turnstile.count == ONCE
        group = near.group("any", want=64)
        assert near._finding is not None
        core = near._finding.groups._core
        wait_until(lambda: sum(each.failures > 0 for each in core._peers.values()) >= 64, 20.0, "all to be looked at")
        group.close()
        assert turnstile.count <= ONCE + 3  # what has come back meanwhile


def test_real_nodes_are_all_dialled(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one address, though it may cost only two dials in vain; on this machine each program has its own."""
    monkeypatch.setattr(neighbours, "place_of", lambda endpoint: endpoint.host)
    monkeypatch.setattr(limits, "LAN_DIALS_AT_ONCE", 2)
    near, fars = nodes.start(), [nodes.start() for _ in range(6)]
    know(near, [(far.id, far.addresses[0].port) for far in fars])
    assert near.group("all", want=len(fars)).wait(20.0)
