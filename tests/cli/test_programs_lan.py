"""``crust node`` and ``crust peers`` on loopback: who finds whom, and who is not found."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import Process, no_traceback, node
from tests.support.sockets import reserved_port
from tests.support.waiting import busy

HERE: Any = {"CRUST_LAN": "loopback"}


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A file that names a port of its own, so that other tests are not heard."""
    port = reserved_port()
    path = tmp_path / "lan.yaml"
    path.write_text(f"lan: {{port: {port}}}\n", encoding="utf-8")
    return str(path)


def test_nodes_find_each_other_and_are_listed(tmp_path: Path, config: str) -> None:
    """Two nodes tell of each other within a second of the second one's start; `crust peers` lists both."""
    book = ("contacts", "add", "bob")
    with node(tmp_path, "--config", config, **HERE) as alice, node(tmp_path, "--config", config, **HERE) as bob:
        first, second = alice.told(event="started"), bob.told(event="started")
        began = time.monotonic()
        assert alice.told(event="peer_discovered")["contact"] == second["contact"]
        assert bob.told(event="peer_discovered")["contact"] == first["contact"]
        assert time.monotonic() - began < 10.0 * busy()  # the second round of questions comes after a minute
        with Process(tmp_path, *book, second["contact"]) as adding:
            assert adding.ends() == 0
        with Process(tmp_path, "peers", "--json", "--config", config, **HERE) as listing:
            assert listing.ends() == 0
            listed = {each["peer"]: each for each in map(json.loads, listing.rest())}
        assert set(listed) == {first["peer"], second["peer"]}
        assert listed[second["peer"]] == {
            "peer": second["peer"],
            "name": "bob",
            "role": "node",
            "interface": "lo",
            "addresses": [second["contact"].partition("@")[2]],
        }
        with Process(tmp_path, "peers", "--config", config, **HERE) as listing:
            assert listing.ends() == 0
            head, *rows = listing.rest()
        assert head.split() == ["PEER", "NAME", "ROLE", "INTERFACE", "ADDRESSES"]
        assert sorted(row.split()[:2] for row in rows) == sorted([[first["peer"], "-"], [second["peer"], "bob"]])
        with Process(tmp_path, "peers", "--watch", "--config", config, **HERE) as watching:
            while first["peer"] not in watching.line():
                pass
            watching.interrupt()
            assert watching.ends() == 130
            no_traceback(watching)


def test_nobody_is_there(tmp_path: Path, config: str) -> None:
    """Exit code 1, and a line that says so; a node without a beacon, or of another network, is not found."""
    others = (("--no-beacon",), ("--network", "other"))
    with node(tmp_path, *others[0], "--config", config, **HERE) as quiet:
        with node(tmp_path, *others[1], "--config", config, **HERE) as other:
            quiet.told(event="started")
            other.told(event="started")
            with Process(tmp_path, "peers", "--wait", "0.6", "--config", config, **HERE) as listing:
                assert listing.ends() == 1
                assert listing.rest() == [] and "nobody answers" in listing.errors
                no_traceback(listing)
