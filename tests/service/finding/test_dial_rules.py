"""What of hearsay may be dialled: never ourselves, nobody banned or dropped, no address that is to be avoided."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import crust
import crust.testing
from crust import Endpoint, Identity, Service, limits
from crust.service.finding.dial_rules import DialRules
from crust.testing import Network

SOMEWHERE = tuple(Endpoint("tcp", f"8.8.8.{number}", 5000) for number in range(1, 5))


@pytest.fixture
def net() -> Iterator[Network]:
    with crust.testing.network() as net:
        yield net


def rules(service: Service) -> DialRules:
    assert service._finding is not None
    return service._finding._rules


def test_who_may_be_dialled(net: Network) -> None:
    """Whatever records say, and whoever has signed them."""
    banned, avoided, dropped, stranger = (Identity.generate().peer_id for _ in range(4))
    service = net.service(crust.Config().replace(**{"bootstrap.blacklist": [str(avoided)]}))
    assert service._finding is not None and service._node is not None
    service.ban(banned)
    service._finding.dropped.add(dropped, service._node.clock.now())
    mine = rules(service)
    for unasked in (True, False):
        assert mine.may_dial(stranger, unasked=unasked)
        assert not mine.may_dial(service.id, unasked=unasked)
        assert not mine.may_dial(banned, unasked=unasked)
        assert not mine.may_dial(avoided, unasked=unasked)
    assert not mine.may_dial(dropped)
    assert mine.may_dial(dropped, unasked=False), "the application asks for it"
    service.unban(banned)
    assert mine.may_dial(banned)
    net.advance(limits.DROPPED_SECONDS)
    assert mine.may_dial(dropped)


def test_where_one_may_be_dialled(net: Network) -> None:
    """Neither at addresses of the blacklist, which may change, nor at more places than are asked for."""
    service = net.service(crust.Config().replace(**{"bootstrap.blacklist": ["8.8.8.1", "8.8.8.2/32"]}))
    mine = rules(service)
    assert mine.usable(SOMEWHERE, 4) == SOMEWHERE[2:]
    assert mine.usable(SOMEWHERE, 1) == SOMEWHERE[2:3]
    assert mine.avoid("8.8.8.1") and not mine.avoid("8.8.8.3")
    service.reload(service.config.replace(**{"bootstrap.blacklist": ["8.8.8.3"]}))
    assert mine.usable(SOMEWHERE, 4) == (*SOMEWHERE[:2], SOMEWHERE[3])


@pytest.mark.parametrize("circuit", [True, False])
def test_where_a_node_has_answered_more_are_dialled(net: Network, circuit: bool) -> None:
    """But a circuit leads to no address: whoever is at its other end shows nothing of where it says it is."""
    mine = rules(net.service())
    place = SOMEWHERE[:1]
    link = SimpleNamespace(circuit=object() if circuit else None, connection=SimpleNamespace(remote=place[0]))
    session: Any = SimpleNamespace(link=link)
    assert mine.afford(place) == place
    assert mine.afford(place) == () and not mine.can_afford(place)
    mine.connected(session)
    assert mine.can_afford(place) is not circuit
