"""What the parts that find and keep peers say in the status of a node."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import crust
from crust.service.finding import telling
from crust.service.finding.lan_peer import LanPeer
from tests.support.nodes import Nodes, config
from tests.support.waiting import wait_until


def section(node: crust.Service, name: str) -> dict[str, Any]:
    return dict(node.status().sections.get(name, {}))


def test_the_cache(nodes: Nodes, tmp_path: Path) -> None:
    """How many nodes are in it, and how fresh it is; nothing if there is none."""
    cached = config(bootstrap__cache__max_peers=10, bootstrap__cache__file=str(tmp_path / "cache.json"))
    node, far, without = nodes.start(cached), nodes.start(), nodes.start()
    assert section(node, "cache") == {"entries": 0, "failing": 0, "newest_seconds": None}
    node.connect(far.contact)
    wait_until(lambda: section(node, "cache")["entries"] == 1, what="an entry")
    assert 0 <= section(node, "cache")["newest_seconds"] < 60
    assert "cache" not in without.status().sections


def test_the_age_of_the_cache() -> None:
    """By the clock of the node, which has put down when each was seen."""
    seen = [SimpleNamespace(failures=number, seen=100.0 + number) for number in range(3)]
    said = telling._cache(cast(Any, SimpleNamespace(enabled=True, entries=seen)), 162.0)
    assert said == {"entries": 3, "failing": 2, "newest_seconds": 60.0}


def test_groups(nodes: Nodes) -> None:
    """What each wants and has; nothing while there are none."""
    node, far = nodes.start(), nodes.start()
    assert section(node, "groups") == {}
    group = node.group("mirrors", want=2)
    group.add(far.contact)
    wait_until(lambda: len(group.peers) == 1, what="a peer of the group")
    found = section(node, "groups")
    (row,) = found["groups"]
    assert (row["name"], row["want"], row["connected"], row["members"]) == ("mirrors", 2, 1, 1)
    assert (found["want"], found["connected"], found["kept"]) == (2, 1, 0)
    node.disconnect(far.id)
    wait_until(lambda: section(node, "groups")["dropped"] == 1, what="who was let go")
    assert section(node, "groups")["connected"] == 0


def test_the_lan() -> None:
    """Who was heard, and where; nothing for who neither announces itself nor hears anybody."""
    contact = crust.Contact.parse(f"{crust.Identity.generate().peer_id}@tcp://192.0.2.7:1,utp://192.0.2.7:1")

    def said(announces: bool, *peers: LanPeer) -> Any:
        return telling._lan(cast(Any, SimpleNamespace(peers=lambda: peers, is_announcing=announces)))

    assert said(False) is None
    assert said(True) == {"announces": True, "peers": []}
    found = said(False, LanPeer(contact, "eth0", "node", 3.5))
    assert found["peers"] == [
        {
            "peer": str(contact.peer_id),
            "address": "tcp://192.0.2.7:1, utp://192.0.2.7:1",
            "interface": "eth0",
            "role": "node",
            "heard_seconds": 3.5,
        }
    ]
