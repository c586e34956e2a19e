"""
One attempt to connect over µTP. It blocks on an event, which the connection's verdict, :meth:`UtpDialling.cancel` and
the deadline set.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

from ...addresses import Endpoint
from ...exceptions import LocalProtocolError
from ...runtime.threads import Deadline
from ..resolving import Lookup
from ..udp import UdpHub
from ..udp_offload import Address, route
from .stream import UtpStream

if TYPE_CHECKING:
    from .transport import UtpTransport

__all__ = ["UtpDialling"]


class UtpDialling:
    """
    One attempt to connect; see :class:`crust.transports.contract.Dialling`.

    Args:
        hub: The socket to use, held until :meth:`run` has ended, or :meth:`cancel` before it; None: see
            :meth:`UtpTransport.hub_for`.
    """

    def __init__(
        self,
        transport: UtpTransport,
        endpoint: Endpoint,
        timeout: float,
        local_port: int | None,
        hub: UdpHub | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._hub = hub if hub is not None and hub.hold() else None
        self._over = hub is not None
        self._transport = transport
        self._timeout = timeout
        self._local_port = local_port
        self._lookup = Lookup(transport.resolver, endpoint, timeout)
        self._lock = threading.Lock()  # guards the fields below
        self._begun = False
        self._cancelled = False
        self._settled: threading.Event | None = None

    def cancel(self) -> None:
        """Make :meth:`run` raise soon; see the contract."""
        with self._lock:
            self._cancelled = True
            if self._settled is not None:
                self._settled.set()
            hub = None if self._begun else self._take_hub()
        self._lookup.cancel()
        if hub is not None:
            hub.release()

    def _take_hub(self) -> UdpHub | None:
        """The socket that was given, for whoever releases it (the lock is held)."""
        hub, self._hub = self._hub, None
        return hub

    def run(self) -> UtpStream:
        """Connect; see the contract."""
        with self._lock:
            if self._begun:
                raise LocalProtocolError("a dial runs only once; make a new one")
            self._begun = True
        try:
            return self._run()
        finally:
            with self._lock:
                hub = self._take_hub()
            if hub is not None:
                hub.release()

    def _run(self) -> UtpStream:
        deadline = Deadline(self._timeout)
        addresses = self._lookup.run(deadline)
        failure: OSError | None = None
        for position, (family, _, _, _, address) in enumerate(addresses, 1):
            left = deadline.remaining() or 0.0
            # An address that swallows packets leaves a share of the time to each one after it.
            share = Deadline(left / (len(addresses) - position + 1))
            try:
                return self._connect(family, address, share)
            except OSError as error:
                self._lookup.check()
                failure = OSError(error.errno, error.strerror or str(error), str(self.endpoint))
                failure.__cause__ = error
        assert failure is not None
        raise failure

    def _connect(self, family: int, address: Address, deadline: Deadline) -> UtpStream:
        transport = self._transport
        with self._lock:
            self._lookup.check()
            settled = self._settled = threading.Event()
        way = route(family, address)
        if self._over:
            hub = self._given(family)
        else:
            hub = transport.hub_for(address, family, way[1], self._local_port)
        stream = transport.connect(hub, address, way, lambda _: settled.set())
        try:
            settled.wait(deadline.remaining())
            self._lookup.check()
            if stream.failure is not None:
                raise stream.failure
            if not settled.is_set():
                raise OSError(errno.ETIMEDOUT, f"no answer within {self._timeout:g} s")
            return stream
        except BaseException:
            stream.abort()
            raise

    def _given(self, family: int) -> UdpHub:
        """The socket that was given, held once more, for the connection."""
        hub = self._hub
        if hub is None or not hub.hold():
            raise OSError(errno.ECONNABORTED, "the socket has been closed")
        if hub.family != family:
            hub.release()
            raise OSError(errno.EAFNOSUPPORT, "the socket is of the other family")
        try:
            return self._transport.read(hub)
        except BaseException:
            hub.release()
            raise
