"""
The sockets of plans: one thread opens them, and hands over what they bring, until all plans are done.

One thread for all plans, so that what a plan does in one go leaves this machine in one go: a translator that counts its
ports shows its step only then.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
from collections.abc import Callable, Sequence

from ...runtime.threads import Waker
from ...transports.icmp import hear_icmp, icmp_errors
from .actions import Action, Close, Dial, Listen, Open, Send, Write
from .classes import Address
from .hops_plan import HopsPlan
from .lifetime_plan import LifetimePlan
from .tcp_plan import TcpPlan
from .udp_plan import UdpPlan

__all__ = ["Plan", "Runner", "way_to"]

Plan = UdpPlan | TcpPlan | LifetimePlan | HopsPlan

_READ = 65536
_LISTENERS = ("main", "known")  # slots of TCP plans
_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})
_HEARD = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO})
_WHOLE = {  # setsockopt arguments that send a datagram uncut, whatever is believed of the path (Linux)
    4: (socket.IPPROTO_IP, 10, 3),  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    6: (socket.IPPROTO_IPV6, 23, 3),  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE
}


def way_to(address: Address) -> str:
    """
    Our address on the way there; sends nothing.

    Raises:
        OSError: There is no way.
    """
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.connect((address[0], address[1] or 9))
        return str(sock.getsockname()[0])


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


class Runner:
    """
    Carries plans out. :meth:`run` on one thread; :meth:`call` from any.

    Args:
        plans: What to do.
        clock: The time, as plans get it.
    """

    def __init__(self, plans: Sequence[Plan], clock: Callable[[], float]) -> None:
        self._plans = tuple(plans)
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[tuple[Plan, str], socket.socket] = {}
        self._connecting: set[tuple[Plan, str]] = set()
        self._calls: list[Callable[[], object]] = []  # appended by any thread, taken by ours
        self._waker = Waker()
        self._selector.register(self._waker.fileno(), selectors.EVENT_READ, None)

    def call(self, function: Callable[[], object]) -> None:
        """Have ``function()`` called on the runner's thread, between two events."""
        self._calls.append(function)
        self._waker.wake()

    def run(self, go_on: Callable[[float], bool], on_change: Callable[[Plan], object]) -> None:
        """
        Work until told to stop; closes everything in the end. Once only.

        Args:
            go_on: Asked with the time after each event, at least five times a second.
            on_change: Told of each plan that has just learned that it is done.
        """
        try:
            told: set[Plan] = set()
            for plan in self._plans:
                plan.begin(self._clock())
                self._carry_out(plan)
            while go_on(self._clock()):
                self._turn()
                for plan in self._plans:
                    if plan.done and plan not in told:
                        told.add(plan)
                        on_change(plan)
        finally:
            self._close_all()

    def _turn(self) -> None:
        now = self._clock()
        timers = [timer for plan in self._plans if (timer := plan.get_timer()) is not None]
        wait = min([0.2, *(max(0.0, timer - now) for timer in timers)])
        for key, _ in self._selector.select(wait):
            if key.data is None:
                self._waker.drain()
                continue
            plan, slot = key.data
            sock = self._sockets.get((plan, slot))
            if sock is not None:
                self._ready(plan, slot, sock)
                self._carry_out(plan)
        while self._calls:
            self._calls.pop(0)()
        now = self._clock()
        for plan in self._plans:
            timer = plan.get_timer()
            if timer is not None and timer <= now:
                plan.handle_timer(now)
            self._carry_out(plan)

    def _close_all(self) -> None:
        for plan, slot in list(self._sockets):
            self._close(plan, slot)
        self._selector.close()
        self._waker.close()

    # --- what plans want ----------------------------------------------------------------------------------------------

    def _carry_out(self, plan: Plan) -> None:
        while actions := plan.actions():
            for action in actions:
                try:
                    self._do(plan, action)
                except OSError as error:
                    self._failed(plan, action.slot, error)

    def _do(self, plan: Plan, action: Action) -> None:
        slot = action.slot
        if isinstance(action, Send):
            sock = self._sockets.get((plan, slot))
            if sock is not None:
                self._send(plan, slot, sock, action)
        elif isinstance(action, Write):
            sock = self._sockets.get((plan, slot))
            if sock is not None:
                sock.send(action.data)  # a few bytes on a new connection: they fit
        elif isinstance(action, Open):
            self._open(plan, action)
        elif isinstance(action, Listen):
            self._listen(plan, action)
        elif isinstance(action, Dial):
            self._dial(plan, action)
        elif isinstance(action, Close):
            self._close(plan, slot)

    def _open(self, plan: Plan, action: Open) -> None:
        sock = socket.socket(_family(action.towards), socket.SOCK_DGRAM)
        try:
            if action.whole:
                if sys.platform != "linux":
                    raise OSError(errno.ENOTSUP, "this system cannot send a datagram uncut")
                sock.setsockopt(*_WHOLE[plan.family])
            if action.hops:
                if not hear_icmp(sock):
                    raise OSError(errno.ENOTSUP, "this system does not tell what routers say")
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, action.hops)
            sock.bind((way_to(action.towards), 0))
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        self._keep(plan, action.slot, sock, selectors.EVENT_READ)
        plan.opened(action.slot, sock.getsockname()[:2], self._clock())

    def _listen(self, plan: Plan, action: Listen) -> None:
        sock = self._stream(action.towards)
        try:
            sock.bind((way_to(action.towards), 0))
            sock.listen(8)
        except OSError:
            sock.close()
            raise
        self._keep(plan, action.slot, sock, selectors.EVENT_READ)
        plan.opened(action.slot, sock.getsockname()[:2], self._clock())

    def _dial(self, plan: Plan, action: Dial) -> None:
        sock = self._stream(action.address, shared=bool(action.source))
        try:
            listener = self._sockets.get((plan, action.source))
            if listener is not None:
                sock.bind(listener.getsockname())
            elif action.source:
                raise OSError(errno.EADDRNOTAVAIL, "the port that it was to come from is not open")
            else:
                sock.bind((way_to(action.address), 0))  # a port by chance: connect() would take one after the other
            number = sock.connect_ex(action.address)
            if number and number not in _IN_PROGRESS:
                raise OSError(number, os.strerror(number))
        except OSError:
            sock.close()
            raise
        self._connecting.add((plan, action.slot))
        self._keep(plan, action.slot, sock, selectors.EVENT_WRITE)

    @staticmethod
    def _stream(towards: Address, shared: bool = True) -> socket.socket:
        """All that share a port say so before they are bound."""
        sock = socket.socket(_family(towards), socket.SOCK_STREAM)
        sock.setblocking(False)
        if not shared:
            return sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return sock

    def _keep(self, plan: Plan, slot: str, sock: socket.socket, events: int) -> None:
        self._sockets[plan, slot] = sock
        self._selector.register(sock, events, (plan, slot))

    def _send(self, plan: Plan, slot: str, sock: socket.socket, action: Send) -> None:
        try:
            sock.sendto(action.data, action.address)
        except (BlockingIOError, InterruptedError):
            pass  # lost on the way, as it were: it is sent again
        except OSError as error:
            # It is sent again too: this may be about an earlier datagram, and other addresses must not suffer from it.
            if isinstance(plan, UdpPlan) and error.errno not in (errno.EMSGSIZE, errno.ECONNREFUSED, errno.ENOBUFS):
                plan.unsent(slot, action.address, (error.strerror or str(error)).lower())

    def _close(self, plan: Plan, slot: str) -> None:
        self._connecting.discard((plan, slot))
        sock = self._sockets.pop((plan, slot), None)
        if sock is None:
            return
        self._selector.unregister(sock)
        sock.close()

    # --- what sockets bring -------------------------------------------------------------------------------------------

    def _ready(self, plan: Plan, slot: str, sock: socket.socket) -> None:
        try:
            if not isinstance(plan, TcpPlan):
                self._receive_datagrams(plan, slot, sock)
            elif (plan, slot) in self._connecting:
                self._connected(plan, slot, sock)
            elif slot in _LISTENERS:
                self._accept(plan, sock)
            else:
                self._receive(plan, slot, sock)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._failed(plan, slot, error)

    def _receive_datagrams(self, plan: UdpPlan | LifetimePlan | HopsPlan, slot: str, sock: socket.socket) -> None:
        if isinstance(plan, HopsPlan):
            for error in icmp_errors(getattr(sock, "_sock", sock)):
                plan.reported(slot, error.reporter, self._clock())
        while True:
            try:
                data, source = sock.recvfrom(_READ)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _HEARD:  # an ICMP about an earlier datagram; the question is repeated anyway
                    continue
                raise
            plan.received(slot, data, source[:2], self._clock())

    def _connected(self, plan: TcpPlan, slot: str, sock: socket.socket) -> None:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        self._connecting.discard((plan, slot))
        self._selector.modify(sock, selectors.EVENT_READ, (plan, slot))
        plan.opened(slot, sock.getsockname()[:2], self._clock())

    def _accept(self, plan: TcpPlan, listener: socket.socket) -> None:
        while True:
            try:
                sock, source = listener.accept()
            except ConnectionAbortedError:
                continue  # it has gone again; the listener stands
            sock.close()
            plan.accepted(source[:2], self._clock())

    def _receive(self, plan: TcpPlan, slot: str, sock: socket.socket) -> None:
        data = sock.recv(_READ)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "it was closed without an answer")
        plan.received(slot, data, self._clock())

    def _failed(self, plan: Plan, slot: str, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        self._close(plan, slot)
        if isinstance(plan, TcpPlan):
            plan.failed(slot, reason, self._clock(), refused=error.errno == errno.ECONNREFUSED)
        else:
            plan.failed(slot, reason, self._clock())


