"""
What a node tells a peer about the network around it, so that both find a way to each other: its places and standings.

They are put together on a thread of their own, ``crust-outlook``, whenever something has been learned, and kept:
whoever wants them gets what was put together last, and never waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from ... import limits
from ...addresses import Endpoint, IPNetwork
from ...candidates import Candidate
from ...nat.punch.contract import Terrain
from ...nat.punch.places import places
from ...nat.punch.targets import targets
from ...peers.conversation import Conversation
from ...wire.frames import Place, TransportCode
from ..node import Node
from .filtering import is_near
from .port_mapping import PortMapping
from .reflection import Reflection

__all__ = ["Outlook"]

_CODES = {"tcp": TransportCode.TCP, "utp": TransportCode.UTP}


class Outlook:
    """
    Thread-safe.

    Args:
        node: The node, not started.
        bound: Where it listens.
        candidates: Where it may be reached.
        reflection: Where others see it.
        port_mapping: What its router leads to it.
    """

    def __init__(
        self,
        node: Node,
        bound: Callable[[], tuple[Endpoint, ...]],
        candidates: Callable[[], tuple[Candidate, ...]],
        reflection: Reflection,
        port_mapping: PortMapping,
    ) -> None:
        self._node = node
        self._bound = bound
        self._candidates = candidates
        self._reflection = reflection
        self._port_mapping = port_mapping
        self.on_change: list[Callable[[], object]] = []
        """Called, on a thread of the node, when :attr:`terrain` is another. Filled before the start."""
        self.terrain = Terrain()
        """What is known now."""
        self.networks: tuple[IPNetwork, ...] = ()
        """Those of this machine's interfaces."""
        self._entered: frozenset[tuple[str, int]] = frozenset()  # how strangers came in
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._scheduled = False

    # --- when ---------------------------------------------------------------------------------------------------------

    def met(self, conversation: Conversation) -> None:
        """A link carries that session (locks may be held)."""
        path = conversation.path
        if path is None or not path.inbound or not path.path_class.startswith("direct"):
            return
        remote = Endpoint.parse(path.remote)
        how = path.transport, remote.family or 4
        if how not in self._entered and not is_near(remote, list(self.networks)):
            self._entered |= {how}  # somebody whom we never called
            self.changed()

    @property
    def entered(self) -> frozenset[tuple[str, int]]:
        """By which transports and families strangers came in."""
        return self._entered

    def changed(self) -> None:
        """More has been learned: see what it comes to, soon. Does not block."""
        with self._lock:
            if self._closed or self._scheduled:
                return
            self._scheduled = True
        self._node.io.call_later(limits.OUTLOOK_DELAY, self._begin)

    def _begin(self, _now: float) -> None:
        try:
            self._node.spawn("crust-outlook", self.look)
        except RuntimeError:  # no thread to be had: what is learned next tries again
            with self._lock:
                self._scheduled = False

    def look(self) -> None:
        """See what all that is known comes to. Asks the system for this machine's addresses."""
        with self._lock:
            self._scheduled = False  # what comes from here on is for another look
            if self._closed:
                return
        try:
            here = self._node.local_addresses(None, ())
            known = self._candidates()
        except OSError as error:  # the system does not tell at the moment
            self._node.log.debug("cannot see this machine's addresses: %s", error)
            return
        self.networks = tuple(each.network for each in here)
        bound = self._bound()
        hearsay = self._reflection.sounder.hearsay(bound)
        found = places(known, hearsay, opened=self.opened(), entered=self._entered)
        ips = [str(each.ip).partition("%")[0] for each in here]
        terrain = Terrain(self._reflection.sounder.standings(bound, ips, self._passes), found)
        with self._lock:
            if self._closed or terrain == self.terrain:
                return
            self.terrain = terrain
        for heard in self.on_change:
            heard()

    def opened(self) -> Collection[Endpoint]:
        """Addresses beyond a translator at which strangers get in."""
        mapped = {each.endpoint for each in self._port_mapping.mapped() if each.public and not each.reason}
        return mapped | set(self._reflection.filtering.open_places().values())

    def _passes(self, transport: str, family: int) -> bool:
        """Whether a link stands by that transport and family."""
        for conversation in self._node.registry.all()[: limits.REFLEXIVE_LOOKED_AT]:
            path = conversation.path
            if path is not None and path.transport == transport and conversation.link is not None:
                if path.path_class != "relay" and Endpoint.parse(path.remote).family == family:
                    return True
        return False

    # --- for those who look for a path --------------------------------------------------------------------------------

    def targets(self, ours: Terrain, theirs: Terrain, seen: Collection[str]) -> tuple[Place, ...]:
        """Which of the other's places may be tried from here, best first; ``seen``: where others see it."""
        codes = [_CODES[name] for name in self._node.transports if name in _CODES]
        found = targets(ours, theirs.places, (), self.networks, codes, seen=seen)
        return tuple(each for each in found if not self._node.is_banned(None, each.address[0]))

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Look no more. Never blocks; idempotent."""
        with self._lock:
            self._closed = True

    def abandon(self) -> None:
        """In a forked child (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
