"""The listeners of a node: opened as configured, closed, opened again; and the addresses that follow from them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Container, Iterable
from typing import Protocol

from ...addresses import Endpoint
from ...config import ListenConfig
from ...exceptions import ListenError, ServiceClosed
from ...peers.acceptor import Acceptor
from ...runtime.interfaces import InterfaceAddress
from ...runtime.logs import NodeLog
from ...transports.contract import Listener, Transport

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
        self.advertise = tuple(Endpoint.parse(text) for text in config.advertise)
        """Addresses that lead here besides; may be replaced at any time."""
        self._here: list[InterfaceAddress] = []  # of this machine, as the system told last
        self._lock = threading.Lock()  # guards what follows
        self._open: list[tuple[Endpoint, Listener]] = []  # as configured, and what serves it
        self._retired: list[Listener] = []  # replaced by others, and not yet closed
        self._listening = False  # wanted: not stopped
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
            if self._open:
                return []
            opened = self._open = self._open_all(self._wanted())
            self._listening = True
        return self._serve(opened)

    def _wanted(self) -> list[Endpoint]:
        return [Endpoint.parse(text, allow_port_zero=True) for text in self._config.addresses]

    def _serve(self, opened: list[tuple[Endpoint, Listener]]) -> list[Endpoint]:
        for _, listener in opened:
            self._host.spawn(f"crust-listen-{listener.endpoint.port}", self._run, listener)
        return [listener.endpoint for _, listener in opened]

    def reopen(self) -> list[Endpoint]:
        """
        Listen again where that came to an end by itself, and on addresses that the machine lacked before: on the random
        port that the others have, if free. What cannot be opened is left for the next time.

        Returns:
            The endpoints that were opened now.
        """
        opened: list[tuple[Endpoint, Listener]] = []
        with self._lock:
            if not self._listening:
                return []
            missing = self._wanted()
            for wanted, _ in self._open:
                missing.remove(wanted)
            ports = [listener.endpoint.port for wanted, listener in self._open if not wanted.port]
            for endpoint in missing:
                for port in (endpoint.port,) if endpoint.port else (*ports[:1], 0):
                    try:
                        listener = self._open_one(endpoint.with_port(port))
                    except ListenError as error:
                        self._host.log.info("still not listening on %s: %s", endpoint, error)
                        continue
                    if listener is not None:
                        opened.append((endpoint, listener))
                    break
            self._open += opened
        return self._serve(opened)

    def rotate(self, avoid: Container[int]) -> tuple[list[Endpoint], list[Listener]]:
        """
        Listen on other random ports in place of those so far. Configured ports stay.

        Args:
            avoid: Ports that are not to be used.

        Returns:
            The endpoints that were opened now; and the listeners that they replace, which nobody is told of any more,
            but which go on until :meth:`end`.

        Raises:
            ListenError: There are no ports to be had; nothing has changed.
        """
        with self._lock:
            leaving = [each for each in self._open if not each[0].port]
            if not leaving:
                return [], []
            opened = self._open_all([wanted for wanted, _ in leaving], avoid)
            self._open = [each for each in self._open if each[0].port] + opened
            old = [listener for _, listener in leaving]
            self._retired += old
        for listener in old:
            listener.retire()
        return self._serve(opened), old

    def end(self, listeners: Iterable[Listener]) -> None:
        """Close listeners that :meth:`rotate` has replaced. Connections stay."""
        ended = list(listeners)
        with self._lock:
            self._retired = [each for each in self._retired if each not in ended]
        _close_all(ended)

    def retired(self) -> tuple[Endpoint, ...]:
        """Where callers are still answered, but nobody is told to call any more."""
        with self._lock:
            return tuple(listener.endpoint for listener in self._retired)

    def _open_all(self, wanted: list[Endpoint], avoid: Container[int] = ()) -> list[tuple[Endpoint, Listener]]:
        for attempt in range(_PORT_TRIES + 1):
            opened: list[tuple[Endpoint, Listener]] = []
            port = 0  # the random port that all share; the last attempt lets each have its own
            try:
                for endpoint in wanted:
                    shared = port if attempt < _PORT_TRIES and not endpoint.port else endpoint.port
                    listener = self._open_one(endpoint.with_port(shared))
                    if listener is not None:
                        opened.append((endpoint, listener))
                        port = port or (0 if endpoint.port else listener.endpoint.port)
                        if not endpoint.port and listener.endpoint.port in avoid:
                            raise ListenError(errno.EADDRINUSE, f"port {listener.endpoint.port} was used lately")
                break
            except ListenError as error:
                _close_all(listener for _, listener in opened)
                if error.errno == errno.EADDRINUSE and port and attempt < _PORT_TRIES:
                    continue
                self._on_failed(endpoint, str(error))
                raise
            except BaseException:
                _close_all(listener for _, listener in opened)
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
                mine = [each for each in self._open if each[1] is listener]
                if not mine:
                    return  # closed by us, or replaced
                self._open.remove(mine[0])
            self._on_failed(listener.endpoint, str(error))

    def close(self, *, for_good: bool = False) -> None:
        """Stop listening, until :meth:`open` or for good; connections stay. Idempotent."""
        with self._lock:
            self._closed = self._closed or for_good
            self._listening = False
            listeners = [*(listener for _, listener in self._open), *self._retired]
            self._open, self._retired = [], []
        _close_all(listeners)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where this node listens, as bound: the address may be the unspecified one."""
        with self._lock:
            return tuple(listener.endpoint for _, listener in self._open)

    def open_now(self) -> tuple[Listener, ...]:
        """The listeners themselves."""
        with self._lock:
            return tuple(listener for _, listener in self._open)

    def addresses(self) -> tuple[Endpoint, ...]:
        """Where others may reach this node: what it listens on, and what the configuration advertises."""
        return tuple(dict.fromkeys((*self.advertised(), *self.on_interfaces())))

    def advertised(self) -> tuple[Endpoint, ...]:
        """What the configuration advertises."""
        return self.advertise

    def on_interfaces(self) -> list[Endpoint]:
        """What it listens on, with addresses of interfaces in place of the unspecified one."""
        interfaces = self._config.interfaces
        bound = self.endpoints()
        needed = any(endpoint.ip is not None and endpoint.ip.is_unspecified for endpoint in bound)
        if needed:
            try:
                self._here = self._host.local_addresses(interfaces.include, interfaces.exclude)
            except OSError:
                pass  # no descriptor to ask with, say: those that it told last are the best that is known
        return reachable_endpoints(bound, self._here)


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


def _close_all(listeners: Iterable[Listener]) -> None:
    for listener in listeners:
        listener.close()
