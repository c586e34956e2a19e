"""The I/O loop: timers, flushes, writable sockets, and ends of all kinds."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time

import pytest

from crust import limits
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from tests.support.threads import Crew
from tests.support.waiting import busy, wait_until


class Target:
    """Counts its flushes; may do something in them."""

    def __init__(self) -> None:
        self.flushes = 0
        self.action: object = None

    def flush(self) -> None:
        self.flushes += 1
        if callable(self.action):
            self.action()


def full_socket() -> tuple[socket.socket, socket.socket]:
    """A connected pair of which the left one cannot be written to."""
    left, right = socket.socketpair()
    left.setblocking(False)
    try:
        while True:
            left.send(bytes(65536))
    except BlockingIOError:
        return left, right


def drain(sock: socket.socket) -> None:
    sock.setblocking(False)
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        pass


def test_timers_fire_when_due_on_the_io_thread() -> None:
    """In order of time, also one that is due before the one the thread sleeps for."""
    fired: list[tuple[str, bool]] = []
    with Crew() as crew:
        io = crew.io
        began = io.now()
        io.call_later(limits.IO_SLEEP_MAX, lambda now: fired.append(("late", io.on_io_thread())))
        wait_until(lambda: io._nap is not None)  # the thread sleeps for the late one
        io.call_later(0.02, lambda now: fired.append(("soon", now - began >= 0.02)))
        wait_until(lambda: fired)
        assert io.now() - began < limits.IO_SLEEP_MAX / 2
        wait_until(lambda: len(fired) == 2)
        assert fired == [("soon", True), ("late", True)]
        assert io.now() - began >= limits.IO_SLEEP_MAX
        assert not io.on_io_thread()


def test_a_cancelled_timer_does_not_fire() -> None:
    """Nor does it delay others."""
    fired: list[str] = []
    with Crew() as crew:
        crew.io.call_later(0.02, lambda now: fired.append("cancelled")).cancel()
        crew.io.call_later(0.03, lambda now: fired.append("kept"))
        wait_until(lambda: fired)
        assert fired == ["kept"]


def test_a_timer_that_repeats_itself_starves_nobody() -> None:
    """A callback due at once, again and again, leaves turns for flushes."""
    target = Target()
    with Crew() as crew:
        stop = False

        def again(now: float) -> None:
            if not stop:
                crew.io.call_at(now, again)

        crew.io.call_later(0, again)
        crew.io.flush_soon(target)
        wait_until(lambda: target.flushes == 1)
        stop = True


def test_every_request_to_flush_is_one_flush() -> None:
    """Nothing is merged and nothing lost, from many threads at once, asleep or awake."""
    with Crew() as crew:
        targets = [Target() for _ in range(4)]

        def ask(target: Target) -> None:
            for number in range(500):
                crew.io.flush_soon(target)
                if number % 100 == 0:
                    threading.Event().wait(0.001)

        workers = [threading.Thread(target=ask, args=(target,), name="test-ask", daemon=True) for target in targets]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        wait_until(lambda: [target.flushes for target in targets] == [500] * 4)


def test_no_wake_is_lost() -> None:
    """A thousand times alone: each flush is asked for just when the loop goes to sleep, and comes at once."""
    with Crew() as crew:
        done = threading.Semaphore(0)
        target = Target()
        target.action = done.release
        slow = 0
        for _ in range(1000):
            began = time.monotonic()
            crew.io.flush_soon(target)
            assert done.acquire(timeout=5)
            slow += time.monotonic() - began > limits.IO_SLEEP_MAX / 2
        assert slow == 0


def test_work_that_comes_while_the_loop_falls_asleep_is_seen() -> None:
    """The worst moment: all was done, and nobody can see yet that the loop is about to sleep."""
    target = Target()
    armed = False

    def clock() -> float:
        nonlocal armed
        if armed and sys._getframe(1).f_code.co_name == "_sleep":
            armed = False
            io.flush_soon(target)
        return time.monotonic()

    crew = Threads()
    io = IoLoop(clock=clock)
    io.start(crew.spawn)
    armed = True
    io.call_later(0, lambda now: None)
    wait_until(lambda: target.flushes, limits.IO_SLEEP_MAX / 2)
    io.stop()
    assert crew.join(Deadline(5)) == []


def test_a_flush_that_asks_again_lets_others_run() -> None:
    """A busy link leaves room for timers, for sockets that become writable, and for greenlets."""
    left, right = full_socket()
    seen: list[str] = []
    with Crew() as crew:
        busy = Target()
        busy.action = lambda: crew.io.flush_soon(busy)
        crew.io.flush_soon(busy)
        crew.io.wait_writable(left, lambda: seen.append("writable"))
        crew.io.call_later(0.01, lambda now: seen.append("timer"))
        wait_until(lambda: "timer" in seen)
        drain(right)
        wait_until(lambda: "writable" in seen)
        busy.action = None
    left.close()
    right.close()


def test_a_readable_socket_is_told_once() -> None:
    """Not before something has come, or the other side has gone."""
    left, right = socket.socketpair()
    seen: list[str] = []
    with Crew() as crew:
        crew.io.wait_readable(left, lambda: seen.append("data"))
        crew.io.wait_writable(right, lambda: seen.append("there is room"))
        wait_until(lambda: seen)
        right.send(b"some")
        wait_until(lambda: len(seen) == 2)
        left.recv(4)
        crew.io.wait_readable(left, lambda: seen.append("end"))
        right.close()
        wait_until(lambda: len(seen) == 3)
    assert seen == ["there is room", "data", "end"]
    left.close()


def test_a_writable_socket_is_told_once() -> None:
    """Not before there is room; once; the last callback given counts."""
    left, right = full_socket()
    seen: list[str] = []
    with Crew() as crew:
        crew.io.wait_writable(left, lambda: seen.append("replaced"))
        crew.io.wait_writable(left, lambda: seen.append("told"))
        threading.Event().wait(0.03)
        assert seen == []
        drain(right)
        wait_until(lambda: seen)
        threading.Event().wait(0.02)
        assert seen == ["told"]
    left.close()
    right.close()


def test_a_dead_socket_counts_as_writable() -> None:
    """So that its owner tries to write, and sees."""
    left, right = full_socket()
    seen: list[str] = []
    with Crew() as crew:
        crew.io.wait_writable(left, lambda: seen.append("told"))
        right.close()
        wait_until(lambda: seen)
        left.close()
        crew.io.wait_writable(left, lambda: seen.append("closed"))
        wait_until(lambda: seen == ["told", "closed"])


def test_a_socket_that_cannot_be_watched_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while its owner asks, maybe with the lock that its callback takes; and not over and over without a pause."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room for another descriptor")

    left, right = socket.socketpair()
    lock, told, over = threading.Lock(), [], threading.Event()
    with Crew() as crew:
        io = crew.io
        assert io._selector is not None
        monkeypatch.setattr(io._selector, "register", full)

        def writable() -> None:
            told.append((lock.acquire(timeout=1.0), io.now()))
            if len(told) == 4:
                over.set()
            else:
                io.wait_writable(left, writable)
            if told[-1][0]:
                lock.release()

        io.wait_writable(left, writable)
        assert over.wait(5.0)
    assert [free for free, _ in told] == [True] * 4
    assert told[-1][1] - told[0][1] >= 3 * limits.SELECT_RETRY
    left.close()
    right.close()


def test_forgotten_sockets_may_be_closed() -> None:
    """then() runs after the loop has let go; the descriptor's next owner is not confused with it."""
    with Crew() as crew:
        for _ in range(20):  # the same descriptor numbers come again and again
            left, right = full_socket()
            seen: list[str] = []
            closed = threading.Event()
            crew.io.wait_writable(left, lambda seen=seen: seen.append("told"))
            crew.io.forget(left, then=lambda left=left, closed=closed: (left.close(), closed.set()))
            assert closed.wait(5)
            drain(right)
            right.close()
            assert seen == []


def test_forget_runs_at_once_on_the_io_thread() -> None:
    """A callback may close its socket."""
    order: list[str] = []
    left, right = socket.socketpair()
    with Crew() as crew:

        def writable() -> None:
            crew.io.wait_writable(left, lambda: order.append("never"))
            crew.io.forget(left, then=lambda: order.append("then"))
            order.append("after")
            left.close()

        crew.io.wait_writable(left, writable)
        wait_until(lambda: len(order) == 2)
    assert order == ["then", "after"]
    right.close()


def test_after_the_end_forget_still_closes() -> None:
    """Whoever comes late closes on its own thread; everything else is harmless."""
    with Crew() as crew:
        pass
    done: list[str] = []
    left, right = full_socket()
    crew.io.wait_writable(left, lambda: done.append("never"))
    crew.io.forget(left, then=lambda: done.append("then"))
    crew.io.flush_soon(Target())
    crew.io.call_later(0, lambda now: done.append("never"))
    crew.io.stop()
    assert done == ["then"] and not crew.io.running
    left.close()
    right.close()


def forget_all(io: IoLoop, pairs: list[tuple[socket.socket, socket.socket]], done: list[int]) -> None:
    for number, (left, _) in enumerate(pairs):
        io.forget(left, then=lambda number=number: done.append(number))


def test_forget_races_with_the_end_and_is_never_lost() -> None:
    """While the loop ends, each then() runs exactly once."""
    for _ in range(20):
        done: list[int] = []
        with Crew() as crew:
            pairs = [socket.socketpair() for _ in range(3)]

            worker = threading.Thread(target=forget_all, args=(crew.io, pairs, done), name="test-ask", daemon=True)
            worker.start()
        worker.join()
        assert sorted(done) == [0, 1, 2]
        for left, right in pairs:
            left.close()
            right.close()


def test_a_callback_that_raises_is_reported_and_the_loop_goes_on() -> None:
    """Timer, flush and writable alike."""
    left, right = socket.socketpair()
    with Crew() as crew:
        bad = Target()
        bad.action = lambda: 1 / 0
        crew.io.call_later(0, lambda now: 1 / 0)
        crew.io.flush_soon(bad)
        crew.io.wait_writable(left, lambda: 1 / 0)
        wait_until(lambda: len(crew.crashes) == 3)
        assert {name for name, _ in crew.crashes} == {"crust-io"}
        good = Target()
        crew.io.flush_soon(good)
        wait_until(lambda: good.flushes)
        crew.crashes.clear()
    left.close()
    right.close()


def test_stop_is_prompt_and_idempotent() -> None:
    """A sleeping loop ends at once, with sockets watched and timers waiting."""
    left, right = full_socket()
    crew = Threads()
    io = IoLoop()
    io.start(crew.spawn)
    io.wait_writable(left, lambda: None)
    io.call_later(100, lambda now: None)
    wait_until(lambda: io._watched)
    began = time.monotonic()
    io.stop()
    io.stop()
    assert crew.join(Deadline(5)) == []
    assert time.monotonic() - began < 4.0 * busy()
    assert not io.running
    left.close()
    right.close()


def test_work_handed_over_before_the_start_is_done() -> None:
    """Timers and flushes wait for the thread."""
    target = Target()
    crew = Crew()
    crew.io.flush_soon(target)
    crew.io.call_later(0, lambda now: target.flush())
    with crew:
        wait_until(lambda: target.flushes == 2)


def test_no_thread_no_loop() -> None:
    """A failed start leaves nothing open."""
    io = IoLoop()

    def no_threads(name: str, target: object, *args: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError):
        io.start(no_threads)
    assert not io.running
