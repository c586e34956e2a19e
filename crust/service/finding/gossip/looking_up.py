"""``find``: where a node is, by its record."""

from __future__ import annotations

from .... import limits
from ....addresses import Contact, PeerId
from ....discovery.gossip.record import Record
from ....exceptions import NoRoute, ServiceClosed, Timeout
from ...node import Node
from .gossiping import Gossiping

__all__ = ["find"]


def find(node: Node, gossiping: Gossiping, peer_id: PeerId, seconds: float | None) -> Contact:
    """
    Wait for the record of a node; see :meth:`crust.Service.find`.

    Raises:
        NoRoute, Timeout, ServiceClosed: There is none.
    """
    if not gossiping.is_on:
        raise NoRoute("gossip.enabled is false: this node looks nobody up")
    done = node.clock.event()
    outcome: list[tuple[Record | None, int]] = []

    def found(record: Record | None, asked: int) -> None:
        outcome.append((record, asked))
        done.set()

    cancel = gossiping.find(peer_id, found, done.set)
    try:
        in_time = done.wait(seconds)
    finally:
        cancel()
    if not outcome:
        if in_time:
            raise ServiceClosed("the service has been closed")
        raise Timeout(f"peer {peer_id} was not found within {seconds} s")
    record, asked = outcome[0]
    if record is None:
        asked_text = f"nor do the {asked} nodes that were asked" if asked else "and there is nobody to ask"
        raise NoRoute(f"where peer {peer_id} is, this node does not know, {asked_text}")
    return Contact(peer_id, record.endpoints[: limits.CONTACT_ENDPOINTS_MAX])
