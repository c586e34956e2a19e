"""The listeners of a node: opened as configured, closed, opened again; and the addresses that follow from them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from ..addresses import Endpoint
from ..config import ListenConfig
from ..exceptions import ListenError, ServiceClosed
from ..peers.acceptor import Acceptor
from ..runtime.interfaces import InterfaceAddress
from ..runtime.logs import NodeLog
from ..transports.contract import Listener, Transport

__all__ = ["Listeners", "reachable_endpoints"]

_PORT_TRIES = 8  # random ports tried for all address families together


class _Host(Protocol):
    transports: dict[str, Transport]
    acceptor: Acceptor
    log: NodeLog

    @property
    def local_addresses(self) -> Callable[[Iterable[str] | None, Iterable[str]], list[InterfaceAddress]]: ...

    def spawn(self, name: str, target: Callable[..., object], *args: object) -> threading.Thread: ...


class Listeners:
    """
    All listeners of one node. Thread-safe.

    Args:
        host: The node.
        config: The ``listen`` section.
        configured: False if the addresses are the defaults: one that this machine lacks (no IPv6) is then skipped.
        on_failed: Told about an address that is not, or no longer, served.
    """

    def __init__(
        self, host: _Host, config: ListenConfig, *, configured: bool, on_failed: Callable[[Endpoint, str], object]
    ) -> None:
        self._host = host
        self._config = config
        self._configured = configured
        self._on_failed = on_failed
        self._lock = threading.Lock()  # guards _listeners and _closed
        self._listeners: list[Listener] = []
        self._closed = False

    def open(self) -> list[Endpoint]:
        """
        Listen on every configured address that is not listened on yet; port 0 is the same random port for all, if free.

        Returns:
            The endpoints that were opened now.

        Raises:
            ListenError: A configured address cannot be used; none stays open then.
            ServiceClosed: They have been closed for good.
        """
        with self._lock:
            if self._closed:
                raise ServiceClosed("the service has been closed")
            if self._listeners:
                return []
            wanted = [Endpoint.parse(text, allow_port_zero=True) for text in self._config.addresses]
            listeners = self._open_all(wanted)
            self._listeners = listeners
        for listener in listeners:
            self._host.spawn(f"crust-listen-{listener.endpoint.port}", self._run, listener)
        return [listener.endpoint for listener in listeners]

    def _open_all(self, wanted: list[Endpoint]) -> list[Listener]:
        for attempt in range(_PORT_TRIES + 1):
            opened: list[Listener] = []
            port = 0  # the random port that all share; the last attempt lets each have its own
            try:
                for endpoint in wanted:
                    shared = port if attempt < _PORT_TRIES and not endpoint.port else endpoint.port
                    listener = self._open_one(endpoint.with_port(shared))
                    if listener is not None:
                        opened.append(listener)
                        port = port or (0 if endpoint.port else listener.endpoint.port)
                break
            except ListenError as error:
                _close_all(opened)
                if error.errno == errno.EADDRINUSE and port and attempt < _PORT_TRIES:
                    continue
                self._on_failed(endpoint, str(error))
                raise
            except BaseException:
                _close_all(opened)
                raise
        return opened

    def _open_one(self, endpoint: Endpoint) -> Listener | None:
        """None if the address is one of the defaults and this machine lacks it."""
        transport = self._host.transports.get(endpoint.transport)
        if transport is None:
            raise ListenError(f"cannot listen on {endpoint}: this version has no transport {endpoint.transport!r}")
        try:
            return transport.listen(endpoint)
        except ListenError as error:
            if self._configured or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            self._host.log.info("not listening on %s, which this machine lacks: %s", endpoint, error)
            return None

    def _run(self, listener: Listener) -> None:
        """A listener's thread."""
        try:
            self._host.acceptor.run(listener)
        except OSError as error:
            with self._lock:
                if listener not in self._listeners:
                    return  # closed by us
                self._listeners.remove(listener)
            self._on_failed(listener.endpoint, str(error))

    def close(self, *, for_good: bool = False) -> None:
        """Stop listening, until :meth:`open` or for good; connections stay. Idempotent."""
        with self._lock:
            self._closed = self._closed or for_good
            listeners, self._listeners = self._listeners, []
        _close_all(listeners)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where this node listens, as bound: the address may be the unspecified one."""
        with self._lock:
            return tuple(listener.endpoint for listener in self._listeners)

    def open_now(self) -> tuple[Listener, ...]:
        """The listeners themselves."""
        with self._lock:
            return tuple(self._listeners)

    def addresses(self) -> tuple[Endpoint, ...]:
        """Where others may reach this node: what it listens on, and what the configuration advertises."""
        return tuple(dict.fromkeys((*self.advertised(), *self.on_interfaces())))

    def advertised(self) -> tuple[Endpoint, ...]:
        """What the configuration advertises."""
        return tuple(Endpoint.parse(text) for text in self._config.advertise)

    def on_interfaces(self) -> list[Endpoint]:
        """What it listens on, with addresses of interfaces in place of the unspecified one."""
        interfaces = self._config.interfaces
        bound = self.endpoints()
        needed = any(endpoint.ip is not None and endpoint.ip.is_unspecified for endpoint in bound)
        here = self._host.local_addresses(interfaces.include, interfaces.exclude) if needed else []
        return reachable_endpoints(bound, here)


def reachable_endpoints(bound: tuple[Endpoint, ...], here: list[InterfaceAddress]) -> list[Endpoint]:
    """
    The endpoints behind bound ones: an unspecified address stands for those of all interfaces.

    Loopback and link-local addresses are named only if there is nothing better.
    """
    found: list[Endpoint] = []
    for endpoint in bound:
        if endpoint.ip is None or not endpoint.ip.is_unspecified:
            found.append(endpoint)
            continue
        same = [each for each in here if each.family == endpoint.family]
        usable = [each for each in same if not each.is_loopback and not each.is_link_local]
        found.extend(Endpoint(endpoint.transport, str(each.ip), endpoint.port) for each in usable)
    if not found:
        for endpoint in bound:
            same = [each for each in here if each.family == endpoint.family and each.is_loopback]
            found.extend(Endpoint(endpoint.transport, str(each.ip), endpoint.port) for each in same)
    return found


def _close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()
