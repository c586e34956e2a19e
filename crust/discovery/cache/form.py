"""The text of the file of nodes that were reached before: JSON. Sans-IO."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ... import limits
from ...addresses import Contact, PeerId
from ...wire.labelled import UnusableFile, build_labelled, parse_labelled_untrusted
from .core import Entry

__all__ = ["build_cache", "parse_cache_untrusted"]

_FORMAT = "crust bootstrap cache"
_VERSION = 1


def build_cache(entries: Iterable[Entry], network: bytes, wall: float) -> bytes:
    """
    The content of the file.

    Args:
        entries: The last seen first.
        network: The network that they belong to.
        wall: Seconds since the epoch, for people who look into it.
    """
    nodes = []
    for each in entries:
        node: dict[str, Any] = {"contact": str(each.contact), "seen": each.seen}
        if each.failures:
            node["failures"] = each.failures
        if each.around:
            node["around"] = each.around
        nodes.append(node)
    return build_labelled(_FORMAT, _VERSION, {"network": network.hex(), "saved": wall, "nodes": nodes})


def parse_cache_untrusted(data: bytes, network: bytes, wall: float) -> tuple[list[Entry], int]:
    """
    The entries of a file that anybody may have written, and how many others in it are none.

    Raises:
        UnusableFile: It is no such file, or one of another network or version.
    """
    told = parse_labelled_untrusted(data, _FORMAT, _VERSION, limits.CACHE_FILE_MAX)
    if told.get("network") != network.hex():
        raise UnusableFile("belongs to another network")
    nodes = told.get("nodes")
    if not isinstance(nodes, list):
        raise UnusableFile("is damaged: it has no list of nodes")
    found: dict[PeerId, Entry] = {}
    for node in nodes[: limits.CACHE_FILE_NODES]:
        entry = _entry(node, wall)
        if entry is not None:
            found.setdefault(entry.peer_id, entry)
    return list(found.values()), len(nodes) - len(found)


def _entry(node: Any, wall: float) -> Entry | None:
    if not isinstance(node, dict):
        return None
    text, seen, failures, around = (node.get(key) for key in ("contact", "seen", "failures", "around"))
    failures, around = failures or 0, around or ""
    if not isinstance(text, str) or not isinstance(around, str) or len(around) > limits.CACHE_AROUND_MAX:
        return None
    if isinstance(seen, bool) or not isinstance(seen, int | float) or not _is_time(seen):
        return None
    if isinstance(failures, bool) or not isinstance(failures, int) or not 0 <= failures < limits.CACHE_FAILURES:
        return None
    try:
        contact = Contact.parse(text)
    except ValueError:
        return None
    endpoints = [each for each in contact.endpoints if each.is_single_host][: limits.CACHE_ENDPOINTS]
    if not endpoints:
        return None
    return Entry(Contact(contact.peer_id, endpoints), min(float(seen), wall), failures, around)


def _is_time(seen: int | float) -> bool:
    return 0 <= seen < 1e12 and math.isfinite(seen)
