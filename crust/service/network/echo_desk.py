"""
More ports on which peers answer STUN: ours, for those who reach us without a router in between, and theirs.

A node opens its ports when the first peer that takes part in traversal has a link to an address of ours that is global
(one of an interface: no router has to lead there). It tells those whose link comes to that address, in a frame of its
own, whenever a link begins to carry the session. Behind a router it opens none: nothing would lead to them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import limits
from ...addresses import Endpoint
from ...nat.stun.responder import Responder
from ...peers.conversation import Conversation
from ...peers.link import Link
from ...wire.frames import EchoPorts, TraversalFrame
from ...wire.handshake import Capability
from ..node import Node

if TYPE_CHECKING:
    from ...nat.stun.echo_ports import EchoSockets

__all__ = ["EchoDesk", "is_public"]


def is_public(end: Endpoint) -> bool:
    """Whether whoever has a link to that address of ours reaches it without a translator of ours."""
    return end.ip is not None and end.ip.is_global


class EchoDesk:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        responder: Answers at our ports.
        listens: Whether this node listens at all.
        told: Called when a peer has named its ports (its link's reader thread); must not block.
    """

    def __init__(
        self,
        node: Node,
        responder: Responder,
        listens: Callable[[], bool],
        told: Callable[[Conversation], object],
    ) -> None:
        self._node = node
        self._responder = responder
        self._listens = listens
        self._told = told
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._ours: dict[str, EchoSockets] = {}  # by our address
        self._theirs: dict[Conversation, tuple[Link, EchoPorts]] = {}

    # --- ours ---------------------------------------------------------------------------------------------------------

    def met(self, conversation: Conversation) -> None:
        """A link carries that session: see whether its peer is to be told something (locks may be held)."""
        link = conversation.link
        if link is None or not conversation.capabilities & Capability.TRAVERSAL:
            return
        end = link.connection.local
        if link.connection.transport == "relay" or not is_public(end) or not self._listens():
            return
        with self._lock:
            sockets = self._ours.get(end.host)
        if sockets is not None and not sockets.closed:
            self._node.io.call_soon(lambda: self._tell(link, sockets))
            return
        try:
            self._node.spawn("crust-echo-open", self._open, end.host, link)
        except RuntimeError:  # no thread to be had: this peer is asked by its own listening ports alone
            return

    def _tell(self, link: Link, sockets: EchoSockets) -> None:
        link.write_control(EchoPorts(sockets.udp, sockets.tcp))

    def _open(self, host: str, link: Link) -> None:
        """A thread: open the ports at an address, unless somebody has, and tell whose link caused it."""
        from ...nat.stun.echo_ports import EchoSockets  # `import crust` stays cheap

        with self._lock:
            sockets = self._ours.get(host)
            if self._closed or (sockets is None and len(self._ours) >= limits.ECHO_HOSTS_MAX):
                return
            if sockets is None or sockets.closed:
                udp = limits.ECHO_PORTS_UDP if "utp" in self._node.transports else 0
                tcp = limits.ECHO_PORTS_TCP if "tcp" in self._node.transports else 0
                try:
                    sockets = EchoSockets(host, self._responder, self._node.clock.now, udp, tcp)
                    sockets.start(self._node.spawn)
                except (OSError, RuntimeError) as error:
                    self._node.log.info("cannot answer STUN at more ports of %s: %s", host, error)
                    return
                self._ours[host] = sockets
                self._node.log.info(
                    "STUN is answered at more ports of %s: UDP %s, TCP %s", host, sockets.udp, sockets.tcp
                )
        self._tell(link, sockets)

    def stop(self) -> None:
        """The listeners are closed: so are these, until peers come again. Never blocks."""
        with self._lock:
            ours, self._ours = self._ours, {}
        for sockets in ours.values():
            sockets.close()

    # --- theirs -------------------------------------------------------------------------------------------------------

    def received(self, conversation: Conversation, link: Link, frame: TraversalFrame) -> None:
        """A peer names its ports (its link's reader thread)."""
        if not isinstance(frame, EchoPorts) or link.connection.transport == "relay":
            return  # where a circuit ends, nobody can be asked
        with self._lock:
            if self._closed or link is not conversation.link:
                return
            self._theirs = {**self._theirs, conversation: (link, frame)}
            if conversation.ended_reason:  # lost() may have looked for it before it was there
                self._theirs = {each: value for each, value in self._theirs.items() if each is not conversation}
        self._told(conversation)

    def lost(self, conversation: Conversation) -> None:
        """That session is over."""
        with self._lock:
            if conversation in self._theirs:
                self._theirs = {each: value for each, value in self._theirs.items() if each is not conversation}

    def ports_of(self, conversation: Conversation) -> EchoPorts | None:
        """The ports of a peer, at the address of its link; None if it has named none."""
        with self._lock:
            link, ports = self._theirs.get(conversation, (None, None))
        return ports if link is not None and link is conversation.link else None

    def introducers(self) -> list[Conversation]:
        """The peers that have named ports, and are there."""
        with self._lock:
            known = list(self._theirs)
        return [each for each in known if self.ports_of(each) is not None]

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """For good. Never blocks; idempotent."""
        with self._lock:
            self._closed = True
            self._theirs = {}
        self.stop()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        for sockets in self._ours.values():
            sockets.abandon()
        self._ours, self._theirs = {}, {}
