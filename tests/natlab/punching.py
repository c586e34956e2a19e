"""
Two hosts that punch holes for UDP through their NATs, with crust's methods and hands and nothing else of a node.

``python -m tests.natlab.punching PROGRAM ARGUMENTS``: ``introduce`` runs on a server, where it answers STUN and carries
lines from one caller to the other; ``end`` runs on each host.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import queue
import random
import selectors
import socket
import sys
import threading
import time
from typing import Any

from crust.addresses import Endpoint
from crust.nat import methods
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Context, Note, Terrain
from crust.nat.punch.runner import Runner
from crust.nat.punch.standing import step_of
from crust.nat.punch.udp_desk import Desk
from crust.nat.punch.udp_hand import UdpHand, WonUdp
from crust.nat.stun.responder import Responder
from crust.nat.stun.udp import Question, UdpStun
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from crust.transports.blocking import BlockingStream
from crust.transports.utp.transport import UtpTransport
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode

PATIENCE = 20.0  # seconds
GREETING = b"hello"


def tell(**found: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def introduce(address: str) -> None:
    """STUN on three ports; and two callers, told where the other one is seen, then carried what they write."""
    responder = Responder(lambda host: False, everybody=True)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        listener = stack.enter_context(socket.create_server((address, 0)))
        selector.register(listener, selectors.EVENT_READ, None)
        ports = []
        for _ in range(3):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((address, 0))
            ports.append(sock.getsockname()[1])
            selector.register(sock, selectors.EVENT_READ, sock)
        tell(port=listener.getsockname()[1], servers=ports)
        calls: list[socket.socket] = []
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    call, _ = listener.accept()
                    calls.append(stack.enter_context(call))
                    selector.register(call, selectors.EVENT_READ, call)
                    if len(calls) == 2:
                        for one, other in (calls, calls[::-1]):
                            one.sendall(json.dumps({"seen": other.getpeername()[0]}).encode() + b"\n")
                elif key.data in calls:
                    data = key.data.recv(65536)
                    if not data:
                        return
                    calls[1 - calls.index(key.data)].sendall(data)
                else:
                    request, sender = key.data.recvfrom(2000)
                    answer = responder.answer(memoryview(request), sender, time.monotonic())
                    if answer is not None:
                        key.data.sendto(answer, sender)


class End:
    """One host; also what its runners ask for."""

    def __init__(self, address: str, server: str, port: int, servers: list[int], leads: bool) -> None:
        self.servers = [(server, each) for each in servers]
        self.leads = leads
        self.crashes: list[str] = []
        self.threads = Threads(lambda name, error: self.crashed(name, error))
        self.io = IoLoop(self.crashed)
        self.io.start(self.threads.spawn)
        self.transport = UtpTransport(self.io, self.threads.spawn, self.crashed)
        self.stun = UdpStun(self.io, Responder(lambda host: False, everybody=True))
        self.transport.stun = self.stun.arrived
        self.listener = self.transport.listen(Endpoint("utp", address, 0))
        self.accepted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.threads.spawn("listener", self.listener.run, self.accepted.put)
        self.desk = Desk()
        self.desk.serve(self.listener.hub)
        self.won: queue.SimpleQueue[WonUdp | None] = queue.SimpleQueue()
        self.runners: dict[str, Runner] = {}
        self.early: dict[str, list[bytes]] = {}
        self.lock = threading.Lock()
        self.call = socket.create_connection((server, port))
        self.lines = self.call.makefile("r")

    # --- a runner's host ----------------------------------------------------------------------------------------------

    def tell(self, runner: Runner, body: bytes) -> None:
        self.write(method=runner.name, body=base64.b64encode(body).decode())

    def note(self, runner: Runner, note: Note) -> None: ...

    def finished(self, runner: Runner, reason: str) -> None:
        if reason:
            self.won.put(None)

    def crashed(self, name: str, error: BaseException) -> None:
        self.crashes.append(f"{name}: {error!r}")

    # --- words with the other end -------------------------------------------------------------------------------------

    def write(self, **line: Any) -> None:
        with self.lock:
            self.call.sendall(json.dumps(line).encode() + b"\n")

    def read(self) -> None:
        """What the other end says to its methods, until it has gone."""
        with contextlib.suppress(OSError, ValueError):
            for text in self.lines:
                line = json.loads(text)
                body = base64.b64decode(line["body"])
                with self.lock:
                    runner = self.runners.get(line["method"])
                    if runner is None:
                        self.early.setdefault(line["method"], []).append(body)
                if runner is not None:
                    self.deliver(runner, body)

    @staticmethod
    def deliver(runner: Runner, body: bytes) -> None:
        runner.happened(lambda plan, now: plan.receive_signal(body, now))

    # --- the attempt --------------------------------------------------------------------------------------------------

    def sample(self) -> list[tuple[str, int]]:
        """Where each server sees the listening socket."""
        answers: queue.SimpleQueue[Question] = queue.SimpleQueue()
        for server in self.servers:
            self.stun.ask(self.listener.hub, server, answers.put)
        found = {}
        for _ in self.servers:
            question = answers.get(timeout=PATIENCE)
            if question.transaction.answer is not None and question.transaction.answer.reflexive is not None:
                found[question.address] = question.transaction.answer.reflexive
        return [found[server] for server in self.servers if server in found]

    def context(self) -> Context:
        """Agree on what both know."""
        seen = self.sample()
        ports = [port for _, port in seen]
        mapping, step = (1, 0) if len({*ports}) == 1 else (2, step_of(ports))
        there = json.loads(self.lines.readline())["seen"]
        self.write(places=seen[:1], standing=[mapping, step])
        hello = json.loads(self.lines.readline())
        keys = [hashlib.blake2b(word, digest_size=32).digest() for word in (b"leading", b"other")]
        ours, theirs = (
            Terrain(
                (Standing(TransportCode.UTP, 4, *standing, 0, 0, False),),
                tuple(Place(PlaceKind.REFLEXIVE, TransportCode.UTP, False, (ip, port)) for ip, port in places),
            )
            for standing, places in (((mapping, step), seen[:1]), (hello["standing"], hello["places"]))
        )
        return Context(
            leads=self.leads,
            rtt=0.04,
            ours=ours,
            theirs=theirs,
            targets=theirs.places,
            seen=frozenset({there}),
            key_out=keys[0 if self.leads else 1],
            key_in=keys[1 if self.leads else 0],
            timeout=15.0,
            uniform=random.random,
            random=os.urandom,
        )

    def run(self, name: str, context: Context) -> Runner:
        """Begin a method."""
        method = next(each for each in methods.methods() if each.name == name)
        assert method.plan is not None
        plan = method.plan(context)
        assert plan is not None, f"{name} has nothing to attempt: {context.ours} {context.theirs}"
        allowance = Allowance()
        allowance.begin(context.seen)

        def hands(runner: Runner) -> tuple[UdpHand]:
            hand = UdpHand(
                runner,
                transport=self.transport,
                desk=self.desk,
                stun=self.stun,
                hubs={"udp4": self.listener.hub},
                servers=self.servers,
                allowance=allowance,
                key_in=context.key_in,
                won=lambda runner, won: self.won.put(won),
            )
            return (hand,)

        runner = Runner(name, plan, self, hands)
        runner.start()
        with self.lock:
            self.runners[name] = runner
            early = self.early.pop(name, [])
        for body in early:
            self.deliver(runner, body)
        return runner

    def greet(self, won: WonUdp) -> bool:
        """µTP over the way: the leading end calls, and each hears the other."""
        if self.leads:
            connection = self.transport.dialling_over(won.hub, won.address, PATIENCE).run()
        else:
            if won.hub.acceptor is None:
                self.threads.spawn("listener", self.transport.listen_over(won.hub).run, self.accepted.put)
            connection = self.accepted.get(timeout=PATIENCE)
        stream = BlockingStream(connection, self.threads.spawn)
        stream.sendall(GREETING, PATIENCE)
        heard = stream.recv_exactly(len(GREETING), PATIENCE) == GREETING
        connection.close()
        stream.wait_lost(5.0)
        return heard

    def close(self) -> list[str]:
        """Threads that do not end."""
        for runner in self.runners.values():
            runner.end("")
        with contextlib.suppress(OSError):
            self.call.shutdown(socket.SHUT_RDWR)
        self.call.close()
        self.stun.close()
        self.transport.close()
        self.io.stop()
        return [str(each) for each in self.threads.join(Deadline(5.0))]


def end(address: str, server: str, port: int, servers: list[int], leads: bool, method: str, skew: float = 0.0) -> None:
    """Try one method; how it went."""
    here = End(address, server, port, servers, leads)
    context = here.context()
    here.threads.spawn("words", here.read)
    standing = context.ours.standings[0]
    if skew:
        time.sleep(skew)
    began = time.monotonic()
    here.run(method, context)
    won = here.won.get(timeout=PATIENCE)
    took = time.monotonic() - began
    heard = won is not None and here.greet(won)
    if won is not None:
        won.hub.release()
    left = here.close()
    tell(
        heard=heard,
        seconds=round(took, 3),
        greeted=round(time.monotonic() - began, 3),
        standing=[standing.mapping, standing.step],
        crashes=here.crashes,
        left=left,
    )


if __name__ == "__main__":
    programs = {each.__name__: each for each in (introduce, end)}
    programs[sys.argv[1]](**json.loads(sys.argv[2]))
