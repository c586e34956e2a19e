"""
One connection against a bad network, chosen at random by a seed, and what must hold whatever happens.

Every byte arrives once and in order, or the connection ends with an error; nothing waits for ever; buffers stay within
their limits; and when it is over, no timer is left.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from crust import limits
from crust.transports.utp.connection import Settings, UtpConnection
from crust.transports.utp.states import State
from tests.simulation.network import Behaviour, Link, World
from tests.simulation.utp import Peer, connect

__all__ = ["Outcome", "trial"]

PATIENCE = 1200.0  # seconds until what is not over counts as stuck
_OVER = (State.CLOSED, State.TIME_WAIT)


@dataclass
class Outcome:
    """How a trial ended."""

    seed: int
    story: str
    """What the network was like."""
    complete: bool
    """Everything arrived, both ways."""
    excusable: bool
    """The network was such that an error is in order."""
    problem: str = ""
    """What must not be; empty if all is well."""
    seconds: float = 0.0
    packets: int = 0


def trial(seed: int) -> Outcome:
    """Run one connection through a network made of ``seed``."""
    return _Trial(seed).run()


class _Trial:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.world = World()
        self.there = Link(self.world, self._behaviour(), seed=2 * seed)
        self.back = Link(self.world, self._behaviour(), seed=2 * seed + 1)
        self.story = f"there {self.there.behaviour} back {self.back.behaviour}"
        self.excusable = False
        self.problem = ""
        pick = self.random
        self.data = pick.randbytes(pick.choice((0, 1, 1000, 20_000, 200_000, 600_000)))
        self.answer = pick.randbytes(pick.choice((0, 0, 1, 5000, 100_000)))
        self.caller, self.callee = connect(
            self.world,
            self.there,
            self.back,
            settings=self._settings(),
            callee_settings=self._settings(),
            sequence=pick.choice((0, 0x7FFF, 0xFFFF, 0xFFF0, pick.randrange(0x10000))),
            tick=pick.choice((0.0, 0.001, 0.015)),
            keep=True,
            data=self.data,
            answer=self.answer,
            finish=True,
        )
        for peer in (self.caller, self.callee):
            peer.on_round = self._check
        self._plan()

    def _behaviour(self) -> Behaviour:
        pick = self.random
        rate = pick.choice((float("inf"), 12_500_000.0, 1_250_000.0, 125_000.0, 25_000.0))
        return Behaviour(
            delay=pick.choice((0.0005, 0.005, 0.02, 0.1, 0.3)),
            rate=rate,
            queue=pick.choice((8_000.0, 64_000.0, 500_000.0)),
            loss=pick.choice((0.0, 0.0001, 0.01, 0.05, 0.1, 0.2)),
            duplication=pick.choice((0.0, 0.0, 0.01, 0.3)),
            reordering=pick.choice((0.0, 0.0, 0.01, 0.3)),
            late=pick.choice((0.002, 0.02, 0.2)),
            jitter=pick.choice((0.0, 0.0, 0.01, 0.1)),
            mtu=pick.choice((65_535, 1500, 1500, 1400, 1280)),
            tells_mtu=pick.random() < 0.5,
            fragments=pick.random() < 0.5,
        )

    def _settings(self) -> Settings:
        pick = self.random
        return Settings(
            window=pick.choice((20_000, 262_144, 4 << 20)),
            mtu_ceiling=pick.choice((1472, 1472, 8972)),
            congestion=pick.choice(("fair", "fair", "background")),
            clock_offset=pick.choice((0, 0xFFFFFF00, pick.randrange(1 << 32))),
        )

    # --- what happens meanwhile -----------------------------------------------------------------------------------

    def _plan(self) -> None:
        """One thing in most of the trials."""
        pick, world = self.random, self.world
        when = world.now + pick.uniform(0.0, 3.0)
        event = pick.choice(("nothing", "nothing", "mtu", "rate", "route", "outage", "pause", "vanish", "abort"))
        link = pick.choice((self.there, self.back))
        peer = pick.choice((self.caller, self.callee))
        if event == "mtu":
            world.at(when, lambda: link.change(mtu=1280))
        elif event == "rate":
            world.at(when, lambda: link.change(rate=pick.choice((20_000.0, 10_000_000.0))))
        elif event == "route":
            world.at(when, lambda: link.change(delay=pick.choice((0.001, 0.15))))
        elif event == "outage":
            lasts = pick.uniform(0.1, 10.0)
            loss = self.there.behaviour.loss, self.back.behaviour.loss
            world.at(when, lambda: (self.there.change(loss=1.0), self.back.change(loss=1.0)))
            world.at(when + lasts, lambda: (self.there.change(loss=loss[0]), self.back.change(loss=loss[1])))
            event += f" of {lasts:.1f} s"
        elif event == "pause":
            lasts = pick.uniform(0.1, 50.0)
            world.at(when, lambda: setattr(peer, "paused", True))
            world.at(when + lasts, lambda: (setattr(peer, "paused", False), peer.work()))
            event += f" of {lasts:.1f} s"
        elif event == "vanish":
            self.excusable = True
            event += " and abort"
            world.at(when, peer.forget)
            world.at(when + 90.0, self._abort, peer.other)  # who only listens cannot tell; the session above can
        elif event == "abort":
            self.excusable = True
            world.at(when, self._abort, peer)
            world.at(when + 90.0, self._abort, peer.other)
        if event != "nothing":
            self.story += f" {event} at {when - world.now:.2f} s"

    @staticmethod
    def _abort(peer: Peer) -> None:
        if peer.core is not None:
            peer.core.abort()
            peer.work()

    # --- what must hold -------------------------------------------------------------------------------------------

    def _check(self) -> None:
        for peer, window in ((self.caller, self.caller.settings.window), (self.callee, self.callee.settings.window)):
            core = peer.core
            if core is None or self.problem:
                continue
            held = core.receiver.held + core.receiver._early_bytes
            if held > window:
                self.problem = f"{held} bytes are kept, {window} may be"
            if core.sender.queued > limits.UTP_SEND_QUEUE:
                self.problem = f"{core.sender.queued} bytes wait to be sent"
            if core.sender.in_flight < 0:
                self.problem = f"{core.sender.in_flight} bytes in flight"
            if core.sender.next - core.sender.una > limits.UTP_PACKETS_MAX:
                self.problem = "too many packets under way"

    def _over(self) -> bool:
        return bool(self.problem) or all(_is_over(peer.core) for peer in (self.caller, self.callee))

    def run(self) -> Outcome:
        world = self.world
        began = world.now
        world.run(began + PATIENCE, self._over)
        seconds = world.now - began
        caller, callee = self.caller, self.callee
        for peer in (caller, callee):
            peer.paused = False
            peer.work()
        complete = callee.kept == self.data and caller.kept == self.answer
        # A caller whose answers are lost until the callee gives up speaks to nobody then.
        half_open = callee.core is not None and callee.core.error is not None and not callee.received
        self.excusable = self.excusable or (half_open and not caller.received)
        if not self.problem:
            self.problem = self._judge(complete)
        if not self.problem:
            world.run(world.now + 120.0)
            if not world.empty:
                self.problem = "a timer is left"
        packets = self.there.packets + self.back.packets
        return Outcome(self.seed, self.story, complete, self.excusable, self.problem, seconds, packets)

    def _judge(self, complete: bool) -> str:
        caller, callee = self.caller, self.callee
        if not (self.data.startswith(bytes(callee.kept or b"")) and self.answer.startswith(bytes(caller.kept or b""))):
            return "other bytes arrived than were sent"
        if not self._over():
            states = [peer.core.state.name if peer.core else "-" for peer in (caller, callee)]
            return f"stuck: {states}, {callee.received} of {len(self.data)} and {caller.received} of {len(self.answer)}"
        if not complete and not self.excusable:
            errors = [peer.core.error if peer.core else None for peer in (caller, callee)]
            loss = self.there.behaviour.loss + self.back.behaviour.loss
            if loss >= 0.2 and any(isinstance(error, TimeoutError) for error in errors):
                self.excusable = True  # every try of a closed window, or in an outage and after it, was lost
                return ""
            return f"incomplete without a reason: {errors}"
        for peer, whole in ((caller, self.answer), (callee, self.data)):
            if peer.core is None:
                continue
            if peer.ended is None:
                return "the application does not learn of the end"
            if peer.ended.error is None and peer.received < len(whole) and "abort" not in self.story:
                return "what is cut short looks like the end"
        return ""


def _is_over(core: UtpConnection | None) -> bool:
    return core is None or core.state in _OVER
