"""
Two hosts that meet by a TCP method of crust's, with no more of crust than its plan, its runner and its hand.

``python -m tests.natlab.punchers PROGRAM ARGUMENTS``: ``introduce`` runs on a server, ``punch`` on each host. What the
two plans tell each other goes through the server, over one connection from each host's listening port.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from crust.nat.methods import methods
from crust.nat.punch.allowance import Allowance
from crust.nat.punch.contract import Address, Context, Note, Terrain
from crust.nat.punch.runner import Hand, Runner
from crust.nat.punch.tcp_hand import TcpHand, WonTcp
from crust.nat.stun.message import HEADER_SIZE, Class, Message, build_stun, parse_stun_untrusted
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import spawn
from crust.wire.frames import Place, PlaceKind, Standing, TransportCode

ECHOES = 3
TIMEOUT = 15.0


def tell(**found: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def introduce(address: str) -> None:
    """Tell two callers where they are seen, and carry lines between them; answer STUN on other ports."""
    listeners = [socket.create_server((address, 0)) for _ in range(1 + ECHOES)]
    for echo in listeners[1:]:
        spawn("echo", _answer_all, echo)
    tell(port=listeners[0].getsockname()[1], echoes=[each.getsockname()[1] for each in listeners[1:]])
    while True:
        calls = [listeners[0].accept() for _ in range(2)]
        pairs = list(zip(calls, reversed(calls), strict=True))
        for (one, seen), (_, other_seen) in pairs:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(json.dumps({"you": seen[:2], "other": other_seen[:2]}).encode() + b"\n")
        for (one, _), (other, _) in pairs:  # not before: the first one speaks at once
            spawn("relay", _carry, one, other)


def _carry(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    one.close()


def _answer_all(listener: socket.socket) -> None:
    while True:
        call, seen = listener.accept()
        with call, contextlib.suppress(OSError):
            call.settimeout(2.0)
            request = parse_stun_untrusted(call.recv(HEADER_SIZE, socket.MSG_WAITALL))
            call.sendall(build_stun(Message(Class.SUCCESS, request.transaction, xor_mapped=seen[:2])))
            call.recv(1)


class Puncher:
    """One end: the host of a runner."""

    def __init__(self, address: str, server: Address, echoes: list[int]) -> None:
        self.io = IoLoop()
        self.io.start(spawn)
        self.echoes = [(server[0], port) for port in echoes]
        self.notes: list[Note] = []
        self.met: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.began = 0.0
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, 0))
        self.listener.listen()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.local: Address = self.listener.getsockname()
        self.line = socket.socket()
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.line.bind(self.local)
        self.line.connect(server)
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.line.makefile("rb")
        self.allowance = Allowance()
        spawn("accept", self._accept)

    # --- what the runner needs ----------------------------------------------------------------------------------------

    def tell(self, runner: Runner, body: bytes) -> None:
        self.say(signal=body.hex())

    def note(self, runner: Runner, note: Note) -> None:
        self.notes.append(note)

    def finished(self, runner: Runner, reason: str) -> None:
        if reason:
            self.met.put({"met": False, "reason": reason, "notes": [str(note) for note in self.notes]})

    def crashed(self, name: str, error: BaseException) -> None:
        self.met.put({"met": False, "reason": f"{name}: {error!r}"})

    def hands(self, runner: Runner) -> Sequence[Hand]:
        listening = {"tcp4": self.local}
        return [TcpHand(runner, self.io, self.allowance, listening, lambda family: self.echoes, self._won)]

    # --- the other end ------------------------------------------------------------------------------------------------

    def say(self, **words: Any) -> None:
        self.line.sendall(json.dumps(words).encode() + b"\n")

    def heard(self) -> dict[str, Any]:
        return json.loads(self.lines.readline())  # type: ignore[no-any-return]

    def _accept(self) -> None:
        while True:
            sock, remote = self.listener.accept()
            spawn("greet", self._greet, sock, "accepted", remote[:2])

    def _won(self, runner: Runner, won: WonTcp) -> None:
        won.sock.setblocking(True)
        spawn("greet", self._greet, won.sock, "connected", won.remote)

    def _greet(self, sock: socket.socket, how: str, remote: Address) -> None:
        """See whether the other end is there, which has the same secret."""
        sock.settimeout(5.0)
        with contextlib.suppress(OSError):
            sock.sendall(b"hello")
            if sock.recv(5, socket.MSG_WAITALL) == b"hello":
                self.met.put({"met": True, "how": how, "seconds": time.monotonic() - self.began})
                sock.recv(1)  # it stays open as long as the other end has it

    def punch(self, name: str, leads: bool, standings: list[dict[str, Any]], skew: float) -> None:
        """Both ends know of each other what they have been told; this one begins so many seconds late."""
        seen = self.heard()
        rtt = self._measure()
        ours, theirs = (
            Terrain(
                (Standing(TransportCode.TCP, 4, **standing),),
                (Place(PlaceKind.REFLEXIVE, TransportCode.TCP, False, tuple(address)),),
            )
            for standing, address in zip(standings, (seen["you"], seen["other"]), strict=True)
        )
        host = seen["other"][0]
        self.allowance.begin([host])
        context = Context(
            leads, rtt, ours, theirs, theirs.places, frozenset((host,)), bytes(32), bytes(32), TIMEOUT,
            random.random, os.urandom,
        )  # fmt: skip
        method = next(each for each in methods() if each.name == name)
        assert method.plan is not None
        plan = method.plan(context)
        assert plan is not None, "that method is not for these networks"
        runner = Runner(name, plan, self, self.hands)
        threading.Event().wait(skew)
        self.began = time.monotonic()
        runner.start()
        spawn("signals", self._signals, runner)  # a plan that has not begun hears nothing
        found = self.met.get(timeout=TIMEOUT + 5.0)
        tell(rtt=rtt, **found)
        runner.end("met")

    def _measure(self) -> float:
        """The round trip to the other end, by way of the server; both have begun then."""
        self.say(ping=1)
        began = time.monotonic()
        rtt = None
        waits = 2  # for the other's ping, and for the answer to ours
        while waits:
            words = self.heard()
            waits -= 1
            if "ping" in words:
                self.say(pong=1)
            else:
                rtt = time.monotonic() - began
        assert rtt is not None
        return rtt

    def _signals(self, runner: Runner) -> None:
        while line := self.lines.readline():
            body = bytes.fromhex(json.loads(line)["signal"])
            runner.happened(functools.partial(_receive, body))


def _receive(body: bytes, plan: Any, now: float) -> None:
    plan.receive_signal(body, now)


def punch(
    address: str,
    server: str,
    port: int,
    echoes: list[int],
    method: str,
    leads: bool,
    standings: list[dict[str, Any]],
    skew: float = 0.0,
) -> None:
    """Meet the other host; how, and after how many seconds."""
    Puncher(address, (server, port), echoes).punch(method, leads, standings, skew)
    threading.Event().wait(1.0)  # the other one may need a moment more for its greeting


if __name__ == "__main__":
    programs = {each.__name__: each for each in (introduce, punch)}
    programs[sys.argv[1]](**json.loads(sys.argv[2]))
