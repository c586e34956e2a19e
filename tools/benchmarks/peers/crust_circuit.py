"""
crust between nodes that know each other's id alone, and a third one, the introducer, that all are linked to.

With the library ``crust-relay`` nobody but the introducer listens, and a session stays on its circuit. With
``crust-moved`` all listen, and the session moves to what one of them dials. With ``crust-punched`` nobody dials, nor
tells its addresses, so that it moves to what punching opens.

An address is two here: the introducer's contact, and the hub's id.
"""

from __future__ import annotations

from typing import Any

import crust
from crust import limits

from ..contract import WAIT, Options, wait_until
from . import crust_node

__all__ = ["Hub", "Spokes"]

_PATHS = {
    "crust-relay": ("relay",),
    "crust-moved": ("direct-tcp", "punched-tcp"),
    "crust-punched": ("punched-tcp",),
}
"""The class of paths that sessions are to end on."""

_HERE = ["tcp://127.0.0.1:0"]
_SILENT = {"publish": "none"}  # gossip, but no record that says where to dial
_RATE = 2**40  # bytes a second: no limit


def _prepare(library: str) -> None:
    if library == "crust-punched":
        limits.DIRECT_DIALS_MAX = 0


class Hub(crust_node.Hub):
    """
    The node that is called, or, in two roles, the introducer, which answers messages to itself with themselves:
    ``introduce`` lends circuits all bytes a second there are, ``introduce-as-usual`` as many as the default says.
    """

    def __init__(self, role: str, options: Options) -> None:
        _prepare(options.library)
        self._wanted = _PATHS[options.library]
        super().__init__(role, options)

    @property
    def _introduces(self) -> bool:
        return self.role.startswith("introduce")

    def _config(self) -> crust.Config:
        peers = self.options.peers
        listens = self._introduces or self.options.library != "crust-relay"
        relay: dict[str, Any] = {"serve": True, "max_circuits": peers + 64} if self._introduces else {}
        if self.role == "introduce":
            relay["bytes_per_second"] = _RATE
        return crust.Config.from_dict(
            {
                "listen": {"addresses": _HERE if listens else []},
                "nat": {"port_mapping": []},
                "session": {"handshake_timeout": WAIT},
                "limits": crust_node.limits_for(2 * peers),
                "relay": relay,
                "gossip": _SILENT if self.options.library == "crust-punched" else {},
            }
        )

    def listen(self, via: str = "") -> Any:
        """Begin; returns the contact, or if there is an introducer what leads through it."""
        service = self.service.start()
        if not via:
            return str(service.contact)
        service.connect(via, timeout=WAIT)
        return [via, str(service.id)]

    def audience(self) -> list[crust.Peer]:
        """The peers that are connected on a path of the class that is wanted: all but the introducer."""
        return [peer for peer in self.service.peers if is_on(peer, self._wanted)]

    def connections(self) -> int:
        return len(self.audience())


def is_on(peer: crust.Peer, classes: tuple[str, ...]) -> bool:
    """Whether that is how the peer is reached now."""
    path = peer.path
    return path is not None and path.path_class in classes


class Spokes(crust_node.Spokes):
    """A node for each session, linked to the introducer first."""

    def __init__(self, role: str, options: Options) -> None:
        super().__init__(role, options)
        _prepare(options.library)
        self._wanted = _PATHS[options.library]
        listens = options.library != "crust-relay"
        self._config = crust.Config.from_dict(
            {
                "listen": {"addresses": _HERE if listens else []},
                "nat": {"port_mapping": []},
                "session": {"handshake_timeout": WAIT},
                "gossip": _SILENT if options.library == "crust-punched" else {},
            }
        )

    def begin(self) -> crust.Service:
        service = super().begin()
        service.connect(self.address[0], timeout=WAIT)
        return service

    def reach(self, service: crust.Service) -> crust.Peer:
        return service.connect(self.address[1], timeout=WAIT)

    def dial(self, address: Any, count: int) -> None:
        """Open so many sessions, and wait until each is on the path that is wanted."""
        super().dial(address, count)
        wait_until(
            lambda: all(is_on(channel.peer, self._wanted) for channel in self.channels),
            f"a path of class {self._wanted[0]} for all",
        )

    def dial_introducer(self, address: Any) -> None:
        """A session with the introducer itself."""
        self.address = address
        service = super().begin()
        self.channels.append(crust_node.PeerChannel(service.connect(address[0], timeout=WAIT)))
