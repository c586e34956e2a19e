"""A node's UDP with hands of runners on it, and plans that do as a test says."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from crust.addresses import Endpoint
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Action, Address, Close, Context, Note, Plan, Terrain
from crust.nat.punch.runner import Runner
from crust.nat.punch.udp_desk import Desk
from crust.nat.punch.udp_hand import UdpHand, WonUdp
from crust.nat.stun.responder import Responder
from crust.nat.stun.udp import UdpStun
from crust.transports.utp.transport import UtpTransport
from crust.wire.frames import Place, PlaceKind, TransportCode
from tests.support.threads import Crew
from tests.support.waiting import wait_until


class Script:
    """A plan that keeps what it is told, and asks for what it is given."""

    def __init__(self) -> None:
        self.started = False
        self.told: list[tuple[Any, ...]] = []
        self._actions: list[Action] = []

    def ask(self, runner: Runner, *actions: Action) -> None:
        """Have these done now."""
        if not self.started:
            runner.start()
        runner.happened(lambda plan, now: self._actions.extend(actions))

    def start(self, now: float) -> None:
        self.started = True
        self._actions.append(Close("udp4"))  # does nothing, but the hand has something to do

    def receive_signal(self, body: bytes, now: float) -> None: ...

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        self.told.append(("datagram", socket, source, data))

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        self.told.append(("sampled", socket, address))

    def connected(self, name: str, now: float) -> None: ...

    def failed(self, name: str, number: int, now: float) -> None:
        self.told.append(("failed", name, number))

    def learned(self, context: Context, now: float) -> None: ...

    def get_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None: ...

    def actions(self) -> Iterable[Action]:
        asked = tuple(self._actions)
        self._actions.clear()
        return asked

    def heard(self, kind: str) -> list[tuple[Any, ...]]:
        """What it was told of one kind."""
        return [each for each in self.told if each[0] == kind]

    def wait(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """The last of so many."""
        wait_until(lambda: len(self.heard(kind)) >= count, what=f"{count} {kind}")
        return self.heard(kind)[count - 1]


class Node:
    """What a node has for UDP; also the host of its runners."""

    def __init__(self, crew: Crew, host: str = "127.0.0.1") -> None:
        self.io = crew.io
        self.crew = crew
        self.transport = UtpTransport(crew.io, crew.spawn, crew.crashed)
        self.stun = UdpStun(crew.io, Responder(lambda host: False, everybody=True))
        self.transport.stun = self.stun.arrived
        self.listener = self.transport.listen(Endpoint("utp", host, 0))
        self.connections: list[Any] = []
        crew.spawn("crust-listener", self.listener.run, self.connections.append)
        self.name = "udp6" if ":" in host else "udp4"
        self.desk = Desk()
        self.desk.serve(self.listener.hub)
        self.address: Address = self.listener.hub.name[:2]
        self.won: list[WonUdp] = []
        self.ended: list[str] = []
        self.notes: list[Note] = []
        self.other: Runner | None = None
        self.hand: UdpHand | None = None
        self._runners: list[Runner] = []
        self._closed = False
        crew.at_end.append(self.close)

    def run(
        self,
        plan: Plan,
        context: Context,
        name: str = "punch-udp",
        servers: Sequence[Address] = (),
        allowance: Allowance | None = None,
    ) -> Runner:
        """A runner with a hand, not started."""
        if allowance is None:
            allowance = Allowance()
            allowance.begin(context.seen)

        def hands(runner: Runner) -> tuple[UdpHand]:
            self.hand = UdpHand(
                runner,
                transport=self.transport,
                desk=self.desk,
                stun=self.stun,
                hubs={self.name: self.listener.hub},
                servers=servers,
                allowance=allowance,
                key_in=context.key_in,
                won=lambda runner, path: self.won.append(path),
            )
            return (self.hand,)

        runner = Runner(name, plan, self, hands)
        self._runners.append(runner)
        return runner

    def tell(self, runner: Runner, body: bytes) -> None:
        if self.other is not None:
            self.other.happened(lambda plan, now: plan.receive_signal(body, now))

    def note(self, runner: Runner, note: Note) -> None:
        self.notes.append(note)

    def finished(self, runner: Runner, reason: str) -> None:
        self.ended.append(reason)

    def crashed(self, name: str, error: BaseException) -> None:
        self.crew.crashed(name, error)

    def close(self) -> None:
        """End what a node would end; by itself when the test is over."""
        if self._closed:
            return
        self._closed = True
        for runner in self._runners:
            runner.end("the test is over")
        for won in self.won:
            won.hub.release()
        self.stun.close()
        self.transport.close()


def contexts(one: Node, other: Node) -> tuple[Context, Context]:
    """Of two ends that know each other's address; the first one leads."""
    keys = os.urandom(32), os.urandom(32)
    found = []
    for number, (here, there) in enumerate([(one, other), (other, one)]):
        ours, theirs = (
            Terrain((), (Place(PlaceKind.INTERFACE, TransportCode.UTP, False, each.address),)) for each in (here, there)
        )
        found.append(
            Context(
                leads=number == 0,
                rtt=0.01,
                ours=ours,
                theirs=theirs,
                targets=theirs.places,
                seen=frozenset({there.address[0]}),
                key_out=keys[number],
                key_in=keys[1 - number],
                timeout=15.0,
                uniform=random.random,
                random=os.urandom,
            )
        )
    return found[0], found[1]


def punch_threads() -> int:
    """How many threads read the sockets of attempts now."""
    return sum(thread.name == "crust-punch" for thread in threading.enumerate())
