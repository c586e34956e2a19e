"""
Helping peers: each is asked to call this machine back, which shows whom the filter lets in.

Two ports are called at once: one from which nothing has been sent to the helper, who is a stranger there, and one from
which something has. A helper whose address was asked as a STUN server already can only show the second.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from ... import limits
from ...addresses import Endpoint, PeerId
from ...exceptions import CrustError
from ...paths import Path
from ...runtime.clock import Clock, Event
from ...runtime.threads import spawn
from .classes import Address
from .runner import Runner
from .tcp_plan import TcpPlan
from .udp_plan import UdpPlan

__all__ = ["Echo", "Helper", "Helping"]


class Echo(Protocol):
    """What a helper's call came to."""

    @property
    def outcome(self) -> str:
        """``sent`` (UDP), ``connected``, ``refused``, ``timeout`` or ``unreachable``."""


class Helper(Protocol):
    """What is needed of a :class:`crust.Peer`."""

    @property
    def id(self) -> PeerId: ...

    @property
    def path(self) -> Path | None: ...

    def echo(self, transport: str, port: int, token: bytes, *, timeout: float) -> Echo: ...


class Helping:
    """
    The helpers of one survey. :meth:`look` is the runner's; each plan's helper is asked on a thread of its own.

    Args:
        plans: What to test.
        helpers: Whom to ask; the first that has an address of the plan's family is asked.
        runner: Runs the plans.
        clock: What to wait with.
        until: When all must be over, on that clock.
    """

    def __init__(
        self,
        plans: Sequence[UdpPlan | TcpPlan],
        helpers: Sequence[Helper],
        runner: Runner,
        clock: Clock,
        until: float,
    ) -> None:
        self._waiting = [plan for plan in plans if plan.servers] if helpers else []
        self._prepared: list[tuple[UdpPlan | TcpPlan, Helper, Address]] = []
        self._helpers = helpers
        self._runner = runner
        self._clock = clock
        self._until = until
        self._threads: list[threading.Thread] = []
        self._waits: list[Event] = []  # what the threads wait for; appended by them
        self._ended = False

    def look(self) -> None:
        """Begin with each plan that knows its outer address by now."""
        for plan in list(self._waiting):
            mapped = plan.mapped
            if mapped is None:
                if plan.done:
                    self._waiting.remove(plan)
                continue
            self._waiting.remove(plan)
            for helper, address in self._helper_for(plan):
                plan.prepare(self._clock.now())
                self._prepared.append((plan, helper, address))
                if address[0] not in plan.asked:
                    self._begin(plan, helper, mapped[1], "stranger")
        for plan, helper, address in list(self._prepared):
            known = plan.known
            if known is not None:
                plan.greet(address, self._clock.now())
                self._begin(plan, helper, known[1], "known_address")
            if known is not None or plan.done:
                self._prepared.remove((plan, helper, address))

    def _begin(self, plan: UdpPlan | TcpPlan, helper: Helper, port: int, which: str) -> None:
        name = f"crust-survey-{plan.protocol}{plan.family}-{which}"
        self._threads.append(spawn(name, self._call, plan, helper, port, which))

    @property
    def done(self) -> bool:
        """Nobody is being asked, or will be."""
        return not self._waiting and not self._prepared and not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """
        The sockets are closed: what helpers find from now on says nothing. Waits for the threads, which are over when
        the helpers' present calls are.
        """
        self._ended = True
        for event in list(self._waits):
            event.set()
        for thread in self._threads:
            thread.join()

    def _helper_for(self, plan: UdpPlan | TcpPlan) -> list[tuple[Helper, Address]]:
        """The first that has an address of the plan's family, if any has."""
        found = []
        for helper in self._helpers:
            if helper.path is not None and helper.path.transport != "relay":
                endpoint = Endpoint.parse(helper.path.remote)
                if endpoint.family == plan.family:
                    found.append((helper, (endpoint.host, endpoint.port)))
        return found[:1]

    def _on_runner(self, function: Callable[[], None]) -> bool:
        """Have it done on the runner's thread, and wait for that; False if the runner has ended."""
        done: Event = self._clock.event()

        def do() -> None:
            function()
            done.set()

        self._runner.call(do)
        return self._wait(done, limits.PROBE_ECHO_SECONDS)

    def _wait(self, event: Event, seconds: float) -> bool:
        """Whether it comes to that before the end."""
        self._waits.append(event)
        if not self._ended:
            event.wait(min(seconds, self._left))
        return event.is_set() and not self._ended

    @property
    def _left(self) -> float:
        """Seconds."""
        return max(0.0, self._until - self._clock.now())

    def _call(self, plan: UdpPlan | TcpPlan, helper: Helper, port: int, which: str) -> None:
        """Have the helper try to get in. One that refuses, or is too slow, shows nothing."""
        token = os.urandom(12)
        came: Event = self._clock.event()
        if isinstance(plan, UdpPlan):
            self._on_runner(lambda: plan.expect(token, came.set))
        try:
            timeout = min(limits.PROBE_ECHO_SECONDS, self._left)
            outcome = helper.echo(plan.protocol, port, token, timeout=timeout).outcome
        except (CrustError, OSError):
            return
        if isinstance(plan, UdpPlan):
            got_in = self._wait(came, limits.PROBE_ECHO_WAIT)
            if not self._ended:
                plan.echoed[which] = got_in
        elif not self._ended:
            plan.echoed[which] = outcome
