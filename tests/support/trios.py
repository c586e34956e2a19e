"""Two nodes that are both linked to a third, and know each other's id alone."""

from __future__ import annotations

from typing import Any

import crust
from crust import Config, Peer
from crust.peers.race import Candidate
from tests.support.nodes import Nodes, config, pair_of_identities
from tests.support.waiting import wait_until

SERVES = config(relay__serve=True, relay__bytes_per_second=2**30)


def hidden(**changes: Any) -> Config:
    """A node that nobody can reach as long as it does not listen, so that a circuit is all there is; it asks nobody."""
    return config(**{"nat__punch__tcp": False, "nat__punch__udp": False, "gossip__enabled": False, **changes})


class Trio:
    """
    ``near`` and ``far`` are linked to every one of ``relays``, and hidden unless told otherwise.

    Args:
        relays: The configurations of the introducers.
        controller: Which of the two has the greater id; any, if empty.
    """

    def __init__(
        self,
        nodes: Nodes,
        *relays: Config,
        near: Config | None = None,
        far: Config | None = None,
        controller: str = "",
    ) -> None:
        self.nodes = nodes
        lesser, greater = pair_of_identities()
        ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
        self.relays = [nodes.start(each) for each in relays or (SERVES,)]
        self.near = nodes.start(near or hidden(), identity=ours)
        self.far = nodes.start(far or hidden(), identity=theirs)
        for each in (self.near, self.far):
            each.stop_listening()
        self._ways = {f"relay://{str(each.addresses[0]).partition('//')[2]}": each for each in self.relays}
        for relay in self.relays:
            for each in (self.near, self.far):
                each.connect(relay.contact)
            nodes.heard(relay).wait(crust.ConnectSuccess, 2)

    @property
    def relay(self) -> crust.Service:
        """The first introducer."""
        return self.relays[0]

    def meet(self) -> tuple[Peer, Peer]:
        """The session between the two, as both see it."""
        to_far = self.near.connect(self.far.id)
        return to_far, self.to_near()

    def to_near(self) -> Peer:
        """The session as the far one sees it, once it does."""
        wait_until(lambda: self.far.is_connected(self.near.id), what="the far end")
        (peer,) = [each for each in self.far.peers if each.id == self.near.id]
        return peer

    def move(self, peer: Peer) -> None:
        """Have the session that the near one sees go on without a circuit."""
        self.far.start_listening()
        node = self.near._node
        assert node is not None
        node.dialer.pursue(peer._conversation, Candidate(self.far.addresses[0]))
        wait_until(lambda: (path := peer.path) is not None and path.path_class == "direct-tcp", what="the move")

    def carrier(self, peer: Peer) -> crust.Service:
        """Whose link carries that session now."""
        path = peer.path
        assert path is not None and path.transport == "relay"
        return self._ways[path.remote]

    def circuits(self) -> int:
        """How many pass through the introducers now."""
        return sum(each.stats().circuits.current for each in self.relays if not each.closed)
