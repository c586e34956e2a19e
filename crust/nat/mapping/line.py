"""What speaks to one router for a :class:`~crust.nat.mapping.mapper.Mapper`: sockets, and a native thread."""

from __future__ import annotations

import functools
import os
import random
import selectors
import socket
import time
from collections.abc import Callable
from typing import Protocol

from ... import limits
from ...runtime.native import NativeWorker
from ...runtime.rates import Bucket
from ...runtime.threads import abandon_socket
from .gateway import Gateway
from .igd import IgdError, IgdRouter
from .igd_http import Route
from .igd_relay import Relay
from .igd_way import Job
from .mapper import Mapper

__all__ = ["Line"]

_READS_MAX = 64  # datagrams taken before others have their turn


class _Settings(Protocol):
    """The part of :class:`crust.nat.mapping.keeper.Settings` that is needed here."""

    @property
    def protocols(self) -> tuple[str, ...]: ...

    @property
    def lifetime(self) -> int: ...

    @property
    def description(self) -> str: ...


class Line:
    """
    One router and all that goes to and comes from it. For one thread.

    Args:
        gateway: The router.
        settings: Of the keeper.
        now: The clock.
        source: Of random ports.
        bites: Told the name of a limit that has bitten.

    Raises:
        OSError: There are no sockets for it.
    """

    def __init__(
        self,
        gateway: Gateway,
        settings: _Settings,
        now: Callable[[], float],
        source: random.Random,
        bites: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self.gateway = gateway
        self.mapper = Mapper(gateway, settings.protocols, settings.lifetime, source, os.urandom)
        self._settings = settings
        self._now = now
        self._routers: dict[str, IgdRouter] = {}  # by URL, the one asked last at the end
        self._worker: NativeWorker | None = None
        self._relay: Relay | None = None
        self._bites = bites
        rate = limits.MAPPING_READS_PER_SECOND
        self._reading, self._relaying = Bucket(rate, 4 * rate), Bucket(rate, 4 * rate)
        self._selector: selectors.BaseSelector | None = None
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._search = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        except BaseException:
            self._control.close()
            raise
        try:
            self._control.setblocking(False)
            self._control.bind((gateway.local, 0))
            # Connected: only the router's own answers come in, and its saying that nobody is there.
            self._control.connect((gateway.address, gateway.port))
            self._search.setblocking(False)
            self._search.bind((gateway.local, 0))
            self._search.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(gateway.local)
            )
            self._search.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        except BaseException:
            self._control.close()
            self._search.close()
            raise

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have it watched; the data of each key is what to call."""
        self._selector = selector
        selector.register(self._control, selectors.EVENT_READ, self._read_control)
        selector.register(self._search, selectors.EVENT_READ, self._read_search)

    def send(self, now: float) -> None:
        """Send, and begin to call, what the mapper wants."""
        if any(not self._sent(self._control, data, None) for data in self.mapper.datagrams()):
            self.mapper.unreachable(now)
        group = (limits.SSDP_GROUP, self.gateway.search_port)
        router = (self.gateway.address, self.gateway.search_port)
        for data in self.mapper.searches():
            self._sent(self._search, data, group)
            self._sent(self._search, data, router)
        if self._relay is not None:
            self._relay.handle_timer(now)
        job = self.mapper.next_job(now)
        if job is not None:
            self._call(job, now)

    def get_timer(self) -> float | None:
        """When something is due: to be seen to by the mapper's ``handle_timer`` and :meth:`send`; None: never."""
        timers = self.mapper.get_timer(), self._relay.get_timer() if self._relay is not None else None
        return min((each for each in timers if each is not None), default=None)

    @staticmethod
    def _sent(sock: socket.socket, data: bytes, to: tuple[str, int] | None) -> bool:
        """False if the system knows that nobody is there."""
        try:
            if to is None:
                sock.send(data)
            else:
                sock.sendto(data, to)
        except BlockingIOError:
            return True  # as if it had been lost on the way: it is sent again
        except ConnectionRefusedError:
            return False
        except OSError:
            return to is not None  # no way there, such as for multicast: others may do
        return True

    def _may_read(self, bucket: Bucket) -> bool:
        """
        Whether one more datagram is looked at, or piece of an answer. Anybody near may send them, and a router
        thousands a second: what is too much waits in the socket, whose buffer is soon full.
        """
        if bucket.tokens(self._now()) < 1.0:
            self._bites("MAPPING_READS_PER_SECOND")
            time.sleep(limits.MAPPING_REST)  # the thread has nothing else to do that is urgent
            return False
        bucket.take()
        return True

    def _read_control(self) -> None:
        for _ in range(_READS_MAX):
            if not self._may_read(self._reading):
                return
            try:
                data = self._control.recv(2048)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self.mapper.unreachable(self._now())
                return
            except OSError:
                return  # what else ICMP says: the timers see to it
            self.mapper.receive(data, self._now())

    def _read_search(self) -> None:
        for _ in range(_READS_MAX):
            if not self._may_read(self._reading):
                return
            try:
                data, source = self._search.recvfrom(limits.SSDP_ANSWER_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody is at the gateway's port for searches; the group may answer
            self.mapper.receive_answer(data, str(source[0]), self._now())

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, job: Job, now: float) -> None:
        assert self._selector is not None, "register() comes first"
        try:
            if self._relay is None:
                self._relay = Relay(
                    self.gateway.local, self._selector, self._now, lambda: self._may_read(self._relaying)
                )
            if self._worker is None:
                self._worker = NativeWorker("crust-upnp")
                self._selector.register(self._worker.fileno(), selectors.EVENT_READ, self._read_calls)
            router = self._routers.pop(job.url, None)
            if router is None or job.what == "open":
                route = Route(job.url, self._relay.port)
                router = IgdRouter(route, self.gateway.local, self._settings.description)
            self._routers[job.url] = router
            if len(self._routers) > limits.IGD_ROUTERS_KEPT:
                del self._routers[next(iter(self._routers))]
            self._relay.begin(router.route)
        except (OSError, RuntimeError) as error:
            self.mapper.lost_thread(f"there is no thread for it: {error}", now)
            return
        call: Callable[..., object] = getattr(router, job.what)
        self._worker.submit(job, call if job.ask is None else functools.partial(call, job.ask))

    def _read_calls(self) -> None:
        if self._worker is None or self._relay is None:  # closed in the same round of the selector
            return
        for job, result, error in self._worker.results():
            self._relay.end()
            if job.what == "open" and error is not None:
                self._routers.pop(job.url, None)
            if error is None:
                self.mapper.job_done(job, result, self._now())
            elif isinstance(error, IgdError):
                self.mapper.job_done(job, error, self._now())
            else:
                raise error

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self, selector: selectors.BaseSelector | None) -> None:
        """Let go of all of it. A call under way finds the relay closed, and so its thread ends, without us."""
        if selector is not None:
            selector.unregister(self._control)
            selector.unregister(self._search)
        self._control.close()
        self._search.close()
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close()
        worker, self._worker = self._worker, None
        if worker is not None:
            if selector is not None:
                selector.unregister(worker.fileno())
            worker.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors."""
        abandon_socket(self._control)
        abandon_socket(self._search)
        if self._relay is not None:
            self._relay.abandon()
        if self._worker is not None:
            self._worker.abandon()
