"""How long the thread of the bootstrap cache stays, on a clock that the test turns."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import crust.testing
from crust import Config, limits
from tests.support.waiting import wait_until

PLAIN = Config().replace(**{"lan.seek": "never", "gossip.enabled": False})


def test_the_thread_waits_for_more_after_it_has_saved(tmp_path: pathlib.Path) -> None:
    """What comes every few seconds is done by one thread; it ends when nothing has come for CACHE_LINGER."""
    path = tmp_path / "cache.json"
    with crust.testing.network() as net:
        near = net.service(PLAIN.replace(**{"bootstrap.cache.file": str(path)}), address="45.0.0.1")
        fars = [net.service(PLAIN, address=f"45.0.0.{number + 2}") for number in range(4)]
        assert near._node is not None
        node = near._node
        spawn, begun = node.spawn, list[str]()

        def spawning(name: str, *args: Any) -> Any:
            begun.append(name)
            return spawn(name, *args)

        node.spawn = spawning  # type: ignore[method-assign]
        for count, far in enumerate(fars, 1):
            net.connect(near, far)
            net.advance(limits.CACHE_LINGER - 1.0)
            wait_until(path.exists, what="the file")
            assert len(json.loads(path.read_text())["nodes"]) == count
        assert begun.count("crust-cache") == 1
        net.advance(2 * limits.CACHE_LINGER)
        wait_until(lambda: "crust-cache" not in node.threads.alive(), what="the end of the thread")
