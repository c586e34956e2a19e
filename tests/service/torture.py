"""
A program that is interrupted all the time: it sends numbered messages to an echo and reads what comes back.

Usage: torture.py signals|timeouts MESSAGES SEED. Run by ``test_interrupts_torture.py`` in a process of its own. Prints
``ok`` and how often it was struck, or what went wrong.
"""

from __future__ import annotations

import faulthandler
import random
import signal
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import crust
from tests.support.nodes import config
from tests.support.waiting import wait_until

IN_FLIGHT = 40


class Strike(BaseException):
    """What a signal handler raises: Ctrl-C, a soft time limit."""


def message(number: int) -> bytes:
    """Each with its own number; now and then a big one."""
    return b"%d:" % number + bytes(number % 97 * 7 if number % 50 else 90_000)


class Application:
    """
    What an application has to do: begin again, and ask the peer what has been done already.

    Nothing else is remembered, so nothing can be out of step: the next message to send is number ``peer.accepted``.
    """

    def __init__(self, node: crust.Service, peer: crust.Peer, count: int) -> None:
        self.node = node
        self.peer = peer
        self.count = count
        self.got: list[bytes] = []

    def work(self) -> None:
        peer, got = self.peer, self.got
        while len(got) < self.count:
            number = peer.accepted
            if number < self.count and number < len(got) + IN_FLIGHT:
                if number % 3:
                    peer.send(message(number), timeout=20)
                else:
                    peer.send_many([message(each) for each in range(number, min(number + 4, self.count))], timeout=20)
            else:
                got.append(peer.recv(20))
                if len(got) % 16 == 0:
                    self.node.connect(peer.id, timeout=20)
        peer.flush(20)


def by_signals(application: Application, chance: random.Random) -> int:
    """Every 0.2 to 3 ms a signal handler raises, if it has interrupted ``work`` or what that calls."""
    struck = [0]
    code = Application.work.__code__

    def strike(_: int, frame: types.FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0002, 0.003))
        while frame is not None:
            if frame.f_code.co_name in ("_remove", "__del__"):
                return  # of a weak reference, a finaliser: Python drops what is raised there, and says so
            if frame.f_code is code:
                struck[0] += 1
                raise Strike
            frame = frame.f_back

    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while True:
        try:
            application.work()
            break
        except Strike:
            continue
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    return struck[0]


def by_timeouts(application: Application, chance: random.Random) -> int:
    """Every 0.2 to 3 ms a timeout of the greenlet, at whatever it waits for in ``work``."""
    import gevent

    struck = 0
    while True:
        timeout = gevent.Timeout(chance.uniform(0.0002, 0.003))
        try:
            with timeout:
                application.work()
            return struck
        except gevent.Timeout as raised:
            if raised is not timeout:
                raise
            struck += 1


def main(how: Callable[[Application, random.Random], int], count: int, seed: int) -> None:
    faulthandler.dump_traceback_later(100, exit=True)
    crashes: list[Any] = []
    with crust.Service(config()) as near, crust.Service(config()) as far:
        came = threading.Event()
        far.on(crust.ConnectSuccess, lambda event: came.set())
        peer = near.connect(far.contact)
        came.wait(10)
        other = far.peers[0]

        def echo() -> None:
            for data in other:
                other.send(data, timeout=None)

        threading.Thread(target=echo, daemon=True).start()
        application = Application(near, peer, count)
        struck = how(application, random.Random(seed))
        for number, data in enumerate(application.got):
            assert data == message(number), f"message {number} came as {data[:20]!r}"
        assert peer.accepted == count
        assert other.stats().messages_received == count
        peer.flush(10)
        other.flush(10)
        wait_until(lambda: near.stats().buffered_bytes == far.stats().buffered_bytes == 0, what="even accounts")
        assert peer.stats().unread_bytes == other.stats().unread_bytes == 0
        crashes += [near.stats().crashes, far.stats().crashes]
        resumed = peer.path.attempts if peer.path else ()
        assert near.close(), "near did not close"
        assert far.close(), "far did not close"
    assert crashes == [0, 0], f"{crashes} failures inside crust"
    print("ok", struck, len(resumed))


if __name__ == "__main__":
    main({"signals": by_signals, "timeouts": by_timeouts}[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3]))
