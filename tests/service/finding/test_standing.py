"""Which links count as those that bootstrap keeps up, and which of them are to spare."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import crust
import crust.testing
from crust import Contact, Endpoint, Identity, PeerId
from crust.peers.session import State
from crust.service.finding.bootstrap import Bootstrap
from crust.testing import Network
from crust.wire.handshake import Role


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net


class Linked:
    """A node, and the sessions that it seems to have."""

    def __init__(self, net: Network, monkeypatch: pytest.MonkeyPatch, *contacts: Contact) -> None:
        service = net.service(crust.Config().replace(**{"bootstrap.links": 2}), contacts=contacts)
        assert service._finding is not None and service._node is not None
        self.bootstrap: Bootstrap = service._finding.bootstrap
        self.sessions: list[Any] = []
        monkeypatch.setattr(service._node.registry, "all", lambda: self.sessions)
        monkeypatch.setattr(self.bootstrap, "_is_public", lambda peer_id: peer_id in self.public)
        self.public: set[PeerId] = set()

    def add(
        self,
        host: str = "10.0.0.7",
        *,
        inbound: bool = False,
        circuit: bool = False,
        role: Role = Role.NODE,
        state: State = State.CONNECTED,
    ) -> PeerId:
        peer_id = Identity.generate().peer_id
        remote = Endpoint("tcp", host, 5000)
        link = SimpleNamespace(
            circuit=object() if circuit else None, inbound=inbound, connection=SimpleNamespace(remote=remote)
        )
        self.sessions.append(
            SimpleNamespace(peer_id=peer_id, link=link, role=role, session=SimpleNamespace(state=state))
        )
        return peer_id

    @property
    def standing(self) -> set[PeerId]:
        return set(self.bootstrap._standing())


def test_which_links_count(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Direct ones that carry a session, to nodes that we dialled, or that strangers reach."""
    linked = Linked(net, monkeypatch)
    dialled, public = linked.add(), linked.add(inbound=True)
    linked.public = {public}
    linked.add(inbound=True)
    linked.add(circuit=True)
    linked.add(role=Role.CLIENT)
    linked.add(state=State.SUSPENDED)
    assert linked.standing == {dialled, public}


@pytest.mark.parametrize("host", ["8.8.8.8", "10.0.0.9"])
def test_who_has_public_contacts_is_not_in_the_network_by_neighbours_alone(
    net: Network, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Two nodes in one house would keep each other company, and hear of nobody else."""
    contact = Contact(Identity.generate().peer_id, (Endpoint("tcp", host, 5000),))
    linked = Linked(net, monkeypatch, contact)
    near, far = linked.add("10.0.0.7"), linked.add("8.8.4.4")
    assert linked.standing == ({far} if host == "8.8.8.8" else {near, far})


def test_which_links_are_to_spare(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """None as long as there are no more than are kept up; others never are needed, and none if none are kept up."""
    linked = Linked(net, monkeypatch)
    one, other, circuit = linked.add(), linked.add(), linked.add(circuit=True)
    assert not linked.bootstrap.needs(one)
    monkeypatch.setattr(linked.bootstrap, "_kept", True)
    assert linked.bootstrap.needs(one) and linked.bootstrap.needs(other) and not linked.bootstrap.needs(circuit)
    third = linked.add()
    assert not any(linked.bootstrap.needs(each) for each in (one, other, third, circuit))
