"""
All of µTP for one node: what it has opened, and which sockets its dials leave from.

Dials leave from a listening socket if there is one that fits: routers then show one outside port for both, and whoever
we dialled can dial us there. Else they share a socket of their own, which closes with its last connection.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable

from ... import limits
from ...addresses import Endpoint, address_key
from ...runtime.flusher import IoLoop
from ...runtime.threads import CrashHook, Spawn, log_crash, spawn
from ..contract import Sink
from ..living import Living, Openings
from ..resolving import Resolver
from ..tcp_connection import endpoint_of
from ..udp import Source, StunHook, UdpHub
from ..udp_offload import Address, route, unbound
from .connection import UtpConnection
from .dialling import UtpDialling
from .listener import UtpListener
from .packet import Packet
from .patience import Patiences
from .reserve import Reserve, Share
from .settings import Settings, window_among
from .stream import UtpStream

__all__ = ["UtpTransport"]

_logger = logging.getLogger("crust.transports.utp")


class UtpTransport:
    """
    µTP for one node; see :class:`crust.transports.contract.Transport`.

    Args:
        io: The node's I/O loop; running while there are connections.
        spawn: Makes the sockets' readers.
        on_crash: Gets what a sink, or a listener's ``on_connection``, raised; without it that is logged.
        congestion: ``fair`` or ``background``, for all connections.
    """

    name = "utp"

    def __init__(
        self, io: IoLoop, spawn: Spawn = spawn, on_crash: CrashHook | None = None, congestion: str = "fair"
    ) -> None:
        self.on_crash: CrashHook = on_crash or log_crash
        self.io = io
        self.spawn = spawn
        self.congestion = congestion
        self.resolver = Resolver()
        """Looks names up for the dials."""
        self.stun: StunHook | None = None
        """Gets what looks like STUN on any socket that is opened from now on."""
        self.refuses: Callable[[str], bool] = lambda host: False
        """Whose SYNs get no answer, by IP address; must be quick."""
        self.half_open = (limits.UTP_HALF_OPEN_MAX, limits.UTP_HALF_OPEN_PER_NETWORK)
        """How many callers of a listener may be waited for, and of one network; may be changed at any time."""
        self.on_limit: Callable[[str, str, int], object] = lambda limit, host, count: None
        """Told, by a hub's thread, of a limit that some packets have met, and of an IP address that they say they are
        from; must be quick."""
        self.reserve = Reserve()
        """What all connections may keep of streams that nobody takes yet."""
        self._patience = Patiences()
        self._told_scarce = False  # that the system grants small buffers only
        self._lock = threading.Lock()  # guards the order of making hubs for dials
        # Whatever has descriptors, sinks, or somebody who waits.
        self._hubs: Living[UdpHub] = Living()
        self._streams: Living[UtpStream] = Living()
        self._openings: Openings[UtpDialling, UtpListener] = Openings()

    # --- the contract -------------------------------------------------------------------------------------------------

    def dialling(self, endpoint: Endpoint, timeout: float, *, local_port: int | None = None) -> UtpDialling:
        """Prepare to connect to ``endpoint`` within ``timeout`` seconds; see the contract."""
        return self._openings.dialling(UtpDialling(self, endpoint, timeout, local_port))

    def dial(self, endpoint: Endpoint, timeout: float, *, local_port: int | None = None) -> UtpStream:
        """Connect now; the same as ``dialling(…).run()``."""
        return self.dialling(endpoint, timeout, local_port=local_port).run()

    def listen(self, endpoint: Endpoint) -> UtpListener:
        """Open a socket that callers are answered on; see the contract."""
        return self._openings.listener(UtpListener(self, endpoint))

    def change_ports(self) -> None:
        """See the contract."""
        for hub in self._hubs.all():
            if hub.acceptor is None:
                hub.retired = True

    def dialling_over(self, hub: UdpHub, address: Address, timeout: float) -> UtpDialling:
        """
        Prepare to connect to an IP address and port over a socket that is open, such as one that :meth:`adopt` made.

        Args:
            hub: Held for the dial from now on, whoever else lets go of it.
            timeout: Seconds.
        """
        endpoint = _utp(endpoint_of(address))
        return self._openings.dialling(UtpDialling(self, endpoint, timeout, None, hub))

    def listen_over(self, hub: UdpHub) -> UtpListener:
        """
        Answer callers on a socket that is open and has no listener yet, :meth:`UtpListener.run` being called. A silent
        one goes on answering nothing else.

        Raises:
            ListenError: It has a listener, or has been closed.
        """
        return self._openings.listener(UtpListener(self, Endpoint("utp", str(hub.name[0]), hub.port), hub))

    def close(self) -> None:
        """End everything; see the contract."""
        self._openings.close()
        for stream in self._streams.close():
            self._cut(stream)
        for hub in self._hubs.close():
            hub.close()

    def _cut(self, stream: UtpStream) -> None:
        stream.abort()
        stream._pump(self.io.now())  # the I/O thread may not come to it any more

    def abandon(self) -> list[Sink]:
        """Close the copies of all descriptors in a forked child; see the contract."""
        self._lock = threading.Lock()
        self.resolver.abandon()
        for hub in self._hubs.abandon():
            hub.abandon()
        sinks = [stream.abandon() for stream in self._streams.abandon()]
        return [sink for sink in sinks if sink is not None]

    # --- sockets ------------------------------------------------------------------------------------------------------

    def adopt(self, sock: socket.socket, *, silent: bool = False) -> UdpHub:
        """
        Make a hub of a bound UDP socket, held once, such as one that has punched a hole. It belongs to the hub, which
        does not read before :meth:`read`.

        Args:
            silent: Answer nothing that no connection knows: neither SYN nor stray packets.

        Raises:
            OSError: It is not bound (any more), or the transport has been closed; so has the socket.
        """
        try:
            hub = UdpHub(sock, self.io, self.on_crash)
        except BaseException:
            sock.close()
            raise
        hub.silent, hub.stun, hub.patience = silent, self.stun, self._patience
        hub.on_limit = lambda limit, host, count: self.on_limit(limit, host, count)
        hub.hold()
        if not self._hubs.add(hub):
            hub.close()
            raise OSError(errno.ECANCELED, "the transport has been closed")
        offload = hub.offload
        # Linux counts twice what it grants.
        scarce = offload.receive_size < limits.UTP_SOCKET_BUFFER // 4
        _logger.log(
            logging.INFO if scarce and not self._told_scarce else logging.DEBUG,
            "UDP socket %s: buffers of %d bytes for receiving and %d for sending (asked for %d); GSO %s, GRO %s",
            hub.name,
            offload.receive_size,
            offload.send_size,
            limits.UTP_SOCKET_BUFFER,
            "on" if offload.gso else "off",
            "on" if offload.gro else "off",
        )
        if scarce and not self._told_scarce:
            self._told_scarce = True
            _logger.info("fast µTP wants larger buffers; on Linux: sysctl -w net.core.rmem_max=8388608 (docs/utp.md)")
        return hub

    def read(self, hub: UdpHub) -> UdpHub:
        """
        Let a hub read, if it does not yet.

        Raises:
            OSError: There is no thread for it; it has been closed.
        """
        try:
            hub.start(self.spawn)
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, f"no thread to read a UDP socket with: {error}") from error
        return hub

    def hub_for(self, address: Address, family: int, host: str, local_port: int | None) -> UdpHub:
        """
        A held hub to dial ``address`` from: on ``local_port`` if possible, else one that listens, else any.

        Args:
            host: Our address on the way there.

        Raises:
            OSError: There is no socket to be had.
        """
        with self._lock:
            found = [hub for hub in self._hubs.all() if _fits(hub, address, family, host)]
            found.sort(key=lambda hub: (hub.port != local_port, hub.acceptor is None, hub.port))
            for hub in found:
                if hub.hold():
                    return self.read(hub)
            return self.read(self._fresh(family))

    def fresh(self, version: int) -> UdpHub:
        """
        A held hub on a port of its own, which does not read before :meth:`read`.

        Args:
            version: 4 or 6.

        Raises:
            OSError: There is no socket to be had.
        """
        return self._fresh(socket.AF_INET6 if version == 6 else socket.AF_INET)

    def _fresh(self, family: int) -> UdpHub:
        sock = unbound(family)
        try:
            sock.bind(("::" if family == getattr(socket, "AF_INET6", None) else "0.0.0.0", 0))
        except BaseException:
            sock.close()
            raise
        return self.adopt(sock)

    def connect(
        self, hub: UdpHub, address: Address, way: tuple[int, str], on_open: Callable[[UtpStream], object]
    ) -> UtpStream:
        """
        Begin to connect over a hub that is held for it: ``on_open`` hears how that ends. The SYN is out on return.

        Args:
            way: The way there: see :func:`crust.transports.udp_offload.route`.

        Raises:
            OSError: The hub has closed; it is released.
        """
        mtu, host = way
        remote = _utp(endpoint_of(address))
        now = self.io.now()
        while True:
            core = UtpConnection.dial(_u16(), _u16(), self.settings(hub, address, mtu), now)
            local = Endpoint("utp", host if hub.wildcard and host else str(hub.name[0]), hub.port)
            stream = UtpStream(core, hub, address, local, remote, None, self.on_crash, on_open)
            if hub.add(address, core.receive_id, stream):
                break
            if hub.closed:
                hub.release()
                raise OSError(errno.ECONNABORTED, "the socket has been closed", str(remote))
        stream.begin()
        if not self._streams.add(stream):
            self._cut(stream)
        return stream

    def settings(self, hub: UdpHub, address: Address, mtu: int) -> Settings:
        """For a new connection over ``hub``."""
        return Settings(
            window=window_among(hub.population, hub.offload.receive_size),
            share=Share(self.reserve, address_key(str(address[0]))),
            mtu_ceiling=mtu,
            cut_beyond=hub.offload.cut_beyond(mtu),
            congestion=self.congestion,
            clock_offset=int.from_bytes(os.urandom(4), "big"),
        )

    def accepted(
        self, hub: UdpHub, syn: Packet, address: Address, source: Source | None, on_open: Callable[[UtpStream], object]
    ) -> UtpStream | None:
        """Answer a SYN: ``on_open`` hears when its caller has proven to be where it came from, or has not in time."""
        if not hub.hold():
            return None
        mtu, host = route(hub.family, address)
        if source is not None:
            host = hub.offload.host_of(source)
        core = UtpConnection.accept(syn, _u16(), self.settings(hub, address, mtu), self.io.now())
        local = Endpoint("utp", host if hub.wildcard and host else str(hub.name[0]), hub.port)
        stream = UtpStream(core, hub, address, local, _utp(endpoint_of(address)), source, self.on_crash, on_open)
        if not hub.add(address, core.receive_id, stream):
            hub.release()
            return None
        if not self._streams.add(stream):
            self._cut(stream)
            return None
        return stream


def _fits(hub: UdpHub, address: Address, family: int, host: str) -> bool:
    """Whether ``address`` can be dialled from that socket."""
    if hub.closed or hub.silent or hub.retired or hub.family != family or address[:2] == hub.name[:2]:
        return False
    return hub.wildcard or str(hub.name[0]) == host


def _u16() -> int:
    return int.from_bytes(os.urandom(2), "big")


def _utp(endpoint: Endpoint) -> Endpoint:
    return Endpoint("utp", endpoint.host, endpoint.port)
