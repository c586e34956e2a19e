"""
What a forked child does with the node that it has inherited: it lets go of it.

The parent goes on with the same sockets and keys. So the copy must neither read (the messages are the parent's), nor
write (record numbers would be used twice), nor shut a connection down (which ends it for the parent too). It closes its
descriptors, forgets the keys, and from then on raises ForkedError.

All of this runs inside ``fork()``, before anything else of the child, and takes no lock: a thread that is gone may hold
it. On greenlets the child inherits the node's threads too; they find nothing left to do, and end.
"""

from __future__ import annotations

from ..exceptions import ForkedError
from ..peers.link import Link
from ..peers.meeting import Meeting
from .node import Node

__all__ = ["abandon_node"]


def abandon_node(node: Node, error: ForkedError, *, clear_identity: bool) -> None:
    """
    Let go of a node in a forked child.

    Args:
        error: What readers of its streams hear.
        clear_identity: Forget its key pair, which nobody else uses.
    """
    for transport in node.transports.values():
        for sink in transport.abandon():
            if isinstance(sink, (Link, Meeting)):
                sink.abandon()
    for sink in node.circuits.abandon():
        if isinstance(sink, Link):
            sink.abandon()
    if clear_identity:
        node.handshake.key_pair.clear()
    node.handshake.clear_secrets()
    node.io.abandon()
    node.dispatcher.discard()
    node.registry.abandon()
    node.dialer.abandon()
    node.knocks.abandon()
    node.judging.abandon()
    node.relocation.abandon()
    node.acceptor.abandon()
    node.echoes.abandon()
    node.files.abandon()
    node.signed.abandon()
    node.subscriptions.abandon(error)
