"""What is learned of a router is kept without holding up the sessions."""

from __future__ import annotations

import threading
import types
from typing import Any

from crust.addresses import Endpoint
from crust.service.network.sounding import Sounder

LOCAL = Endpoint.parse("tcp://0.0.0.0:7000")
SERVER = Endpoint.parse("tcp://20.0.1.1:7000")
SEEN = ("20.0.2.1", 7000)


def test_sessions_are_asked_without_a_lock() -> None:
    """Who holds the lock of the sessions may wait for one whose holder waits for this one: no node may hang then."""
    unused: Any = None
    node: Any = types.SimpleNamespace(io=types.SimpleNamespace(now=lambda: 1.0))
    sounder = Sounder(node, unused, unused, lambda: None)
    sounder.heard(LOCAL, sounder.asked(LOCAL), SERVER, SEEN)
    free: list[bool] = []

    def passes(transport: str, family: int) -> bool:
        kept = threading.Event()

        def keep() -> None:
            sounder.keep((LOCAL,))
            kept.set()

        thread = threading.Thread(target=keep, name="test-keep", daemon=True)
        thread.start()
        free.append(kept.wait(5.0))
        return (transport, family) == ("tcp", 4)

    (standing,) = sounder.standings((LOCAL,), ("192.168.1.2",), passes)
    assert free == [True] and standing.family == 4
