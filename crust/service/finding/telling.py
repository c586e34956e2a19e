"""What the parts that find and keep peers say in the status of a node: see :mod:`crust.service.status.sections`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..node import Node
from .caching import Caching
from .dropped import Dropped
from .lan import Lan

if TYPE_CHECKING:
    from ..groups.groups import Groups

__all__ = ["add_groups", "add_sections"]


def add_sections(node: Node, caching: Caching, lan: Lan) -> None:
    """Have the cache and the LAN in the status, as far as they are in use."""
    node.sections.add("cache", lambda: _cache(caching, node.wall()))
    node.sections.add("lan", lambda: _lan(lan))


def add_groups(node: Node, groups: Groups, dropped: Dropped) -> None:
    """Have the groups in the status, if there are any."""
    node.sections.add("groups", lambda: _groups(groups, dropped, node))


def _groups(groups: Groups, dropped: Dropped, node: Node) -> Mapping[str, object] | None:
    opened, kept, let_go = groups.all, groups.kept, dropped.all(node.clock.now())
    if not opened and not kept and not let_go:
        return None
    rows = [
        {
            "name": each.name,
            "want": each.want,
            "connected": len(each.peers),
            "dialling": len(each.dialling),
            "members": len(each.members),
        }
        for each in opened
    ]
    return {
        "want": sum(each.want for each in opened),
        "connected": len({peer.id for each in opened for peer in each.peers}),
        "kept": len(kept),
        "dropped": len(let_go),
        "groups": rows,
    }


def _cache(caching: Caching, wall: float) -> Mapping[str, object] | None:
    if not caching.enabled:
        return None
    entries = caching.entries
    return {
        "entries": len(entries),
        "failing": sum(each.failures > 0 for each in entries),
        "newest_seconds": max(0.0, wall - max(each.seen for each in entries)) if entries else None,
    }


def _lan(lan: Lan) -> Mapping[str, object] | None:
    peers = lan.peers()
    if not peers and not lan.is_announcing:
        return None
    rows = [
        {
            "peer": str(each.contact.peer_id),
            "address": ", ".join(map(str, each.contact.endpoints)),
            "interface": each.interface,
            "role": each.role,
            "heard_seconds": each.age,
        }
        for each in peers
    ]
    return {"announces": lan.is_announcing, "peers": rows}
