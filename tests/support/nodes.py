"""Real nodes on loopback for the tests of the service: made in a line, watched, and closed with a look at the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import crust
from crust import Config, Contact, Endpoint, Identity, ListenConfig, PeerId, Service, limits
from tests.support.proxy import Proxy
from tests.support.waiting import LOOK, Patience, busy, wait_until

STATE_EVENTS: tuple[type[crust.Event], ...] = (
    crust.AddressesChanged,
    crust.BootstrapAccept,
    crust.BootstrapConnect,
    crust.BootstrapFailed,
    crust.ConfigReloaded,
    crust.ConnectFailure,
    crust.ConnectSuccess,
    crust.ConnectionInfoPrepared,
    crust.GroupReady,
    crust.GroupShort,
    crust.IdentityShared,
    crust.ListenerFailed,
    crust.ListenerStarted,
    crust.LostPeer,
    crust.MessageRefused,
    crust.MessagesDropped,
    crust.PathChanged,
    crust.PeerDiscovered,
    crust.PeerMisbehaved,
    crust.PeerResumed,
    crust.PeerSuspended,
    crust.SendReady,
)
SESSION_BEGAN = (crust.ConnectSuccess, crust.BootstrapConnect, crust.BootstrapAccept)
LOOPBACK = "tcp://127.0.0.1:0"
_REDIAL = 15.0  # seconds: on a busy machine a link's handshake may be given up after three, and again
LOOPBACK_6 = "tcp://[::1]:0"

E = TypeVar("E")

_RATES = {
    "listen": ListenConfig(addresses=(LOOPBACK,)),
    "limits.starts_per_address_per_second": 100_000,
    "limits.sessions_per_peer_per_second": 100_000,
    "limits.starts_per_second": 100_000,
    "limits.half_open_per_address": 64,
    "bootstrap.cache.max_peers": 0,
    "bootstrap.links": 0,
    "lan.seek": "never",
}


def config(**changes: Any) -> Config:
    """
    A node on IPv4 loopback whose rates allow for what all tests do from one address. It remembers nobody, asks no LAN,
    and looks for nobody by itself.

    Args:
        changes: More keys; ``__`` stands for the dot: ``session__resume_timeout=1.0``.
    """
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return Config().replace(**{**_RATES, **dotted})


def pair_of_identities() -> tuple[Identity, Identity]:
    """Two identities, the lesser first: the second one is the controller of the pair."""
    one, other = Identity.generate(), Identity.generate()
    return (one, other) if one.peer_id < other.peer_id else (other, one)


class Heard:
    """The state events of one node in the order in which its callbacks ran. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._changed = threading.Condition()
        self._events: list[Any] = []
        for kind in STATE_EVENTS:
            service.on(kind, self._add)

    def _add(self, event: Any) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def all(self) -> list[Any]:
        """Everything so far."""
        with self._changed:
            return list(self._events)

    def of(self, *kinds: type[E]) -> list[E]:
        """Those of these kinds so far."""
        return [each for each in self.all if isinstance(each, kinds)]

    def names(self, peer_id: PeerId | None = None) -> list[str]:
        """The kinds, as words, of those about one peer, or of all."""
        return [
            type(each).__name__
            for each in self.all
            if peer_id is None or getattr(getattr(each, "peer", None), "id", None) == peer_id
        ]

    def wait(self, kind: type[E], count: int = 1, timeout: float = 5.0) -> E:
        """
        The ``count``-th event of that kind, once there is one; fails the test after ``timeout`` seconds of patience.
        """
        patience = Patience(timeout)
        with self._changed:
            while True:
                found = [each for each in self._events if isinstance(each, kind)]
                if len(found) >= count:
                    return found[count - 1]
                if not self._changed.wait(min(LOOK, max(0.0, patience.left))) and patience.left <= 0:
                    names = [type(each).__name__ for each in self._events]
                    raise AssertionError(f"no {kind.__name__} ({count}) within {timeout:g} s; heard {names}")


class Nodes:
    """
    Makes services and proxies, and closes them; a context manager.

    At the end every node must have closed cleanly within its time and without a failure inside crust, unless the test
    says otherwise with :meth:`release`.
    """

    def __init__(self) -> None:
        self._services: list[Service] = []
        self._heard: dict[int, Heard] = {}
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        for proxy in self._proxies:
            proxy.heal()  # or closing would wait for answers that cannot come
        clean = [service.close(timeout=limits.CLOSE_TIMEOUT * busy()) for service in self._services]
        for proxy in self._proxies:
            proxy.close()
        if kind is None:
            assert all(clean), "a node did not close in time"
            for service in self._services:
                assert crashes(service) == 0, "something failed inside crust; see the log"

    def make(self, configuration: Config | None = None, *, heard: bool = True, **arguments: Any) -> Service:
        """A service that has not been started; its events are recorded unless ``heard`` is false."""
        service = Service(config() if configuration is None else configuration, **arguments)
        self._services.append(service)
        if heard:
            self._heard[id(service)] = Heard(service)
        return service

    def start(self, configuration: Config | None = None, *, heard: bool = True, **arguments: Any) -> Service:
        """A running service."""
        return self.make(configuration, heard=heard, **arguments).start()

    def heard(self, service: Service) -> Heard:
        """The events of a service made here."""
        return self._heard[id(service)]

    def release(self, service: Service) -> None:
        """The test looks after this one's end itself."""
        self._services.remove(service)

    def proxy(self, target: Service) -> Proxy:
        """A proxy in front of a node's first listener."""
        proxy = Proxy(target.addresses[0].port)
        self._proxies.append(proxy)
        return proxy

    def pair(
        self, near: Config | None = None, far: Config | None = None, *, controller: str = "", **arguments: Any
    ) -> Pair:
        """
        Two running nodes with a session: ``near`` called ``far``.

        Args:
            controller: ``near`` or ``far``: who has the greater id; any, if empty.
        """
        lesser, greater = pair_of_identities()
        ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
        return Pair(
            self,
            self.start(near, identity=ours, **arguments),
            self.start(far, identity=theirs, **arguments),
        )


    def proxied(self, near: Config | None = None, far: Config | None = None, *, controller: str = "") -> Pair:
        """Like :meth:`pair`, through a proxy."""
        lesser, greater = pair_of_identities()
        ours, theirs = (greater, lesser) if controller == "near" else (lesser, greater)
        callee = self.start(far, identity=theirs)
        return Pair(self, self.start(near, identity=ours), callee, self.proxy(callee))


class Pair:
    """Two nodes with a session between them, straight or through a proxy."""

    def __init__(self, nodes: Nodes, near: Service, far: Service, proxy: Proxy | None = None) -> None:
        self.near = near
        self.far = far
        self.proxy = proxy
        self.near_heard = nodes.heard(near)
        self.far_heard = nodes.heard(far)
        self.to_far = near.connect(far.contact if proxy is None else through(proxy, far))
        self.to_near = self.far_heard.wait(crust.ConnectSuccess).peer
        self._settle()

    def _settle(self) -> None:
        """The side that is called hears of a session, or of its new link, a moment before the link carries it."""
        links = [peer._conversation for peer in (self.to_far, self.to_near)]
        wait_until(lambda: all(each.link is not None for each in links), what="both ends to have their link")

    @property
    def wire(self) -> Proxy:
        """The proxy between the two."""
        assert self.proxy is not None
        return self.proxy

    def cut(self) -> None:
        """Cut the link and wait until the caller has resumed once more."""
        before = len(self.near_heard.of(crust.PeerResumed))
        wait_until(self.wire.cut, _REDIAL, "a link to cut")
        self.near_heard.wait(crust.PeerResumed, before + 1, _REDIAL)
        self._settle()

    def suspend(self) -> None:
        """Cut the link and let no other come, until the proxy is healed; both sides have noticed."""
        self.wire.refuse()
        self.wire.cut()
        for heard in (self.near_heard, self.far_heard):
            heard.wait(crust.PeerSuspended)


def crashes(service: Service) -> int:
    """Failures inside crust, also of a node that is closed."""
    node = service._node
    return 0 if node is None else node.crashes


def through(proxy: Proxy, service: Service) -> Contact:
    """The contact of a node behind a proxy."""
    return Contact(service.id, (Endpoint.parse(proxy.endpoint),))


def at(service: Service, address: str) -> Contact:
    """The contact of a node at an address of the test's choice."""
    return Contact(service.id, (Endpoint.parse(address),))


def call(function: Callable[[], object]) -> BaseException | None:
    """What ``function()`` raises, or None."""
    try:
        function()
    except BaseException as error:
        return error
    return None


def dials(service: Service) -> list[str]:
    assert service._node is not None
    return [name for name in service._node.threads.alive() if name.startswith("crust-dial")]
