"""A node knows its own addresses at any time."""

from __future__ import annotations

import errno
import types
from typing import Any

from crust import Config, Endpoint
from crust.config import ListenConfig
from crust.service.network.listeners import Listeners
from tests.support.nodes import Nodes


def test_a_system_that_does_not_tell_its_addresses(nodes: Nodes) -> None:
    """Neither threads of the node nor applications that ask get an error: what it told before counts."""
    service = nodes.start(Config().replace(**{"listen.addresses": ("tcp://0.0.0.0:0",), "nat.port_mapping": ()}))
    before = service.addresses
    assert before and service._node is not None

    def fail(*_: object) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    service._node.local_addresses = fail
    assert service.addresses == before and service.contact.endpoints == before


def test_one_that_never_told() -> None:
    """There is nothing to say of listeners on all interfaces; those on one are known."""

    def fail(*_: object) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    host: Any = types.SimpleNamespace(local_addresses=fail)
    listeners = Listeners(host, ListenConfig(), configured=True, on_failed=lambda *_: None)
    bound = (Endpoint.parse("tcp://0.0.0.0:7000"), Endpoint.parse("tcp://192.0.2.1:7000"))
    listeners.endpoints = lambda: bound  # type: ignore[method-assign]
    assert listeners.on_interfaces() == [bound[1]]
