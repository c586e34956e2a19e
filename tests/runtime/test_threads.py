"""Threads that are named, joined and never lost; gevent patched in time or refused; forks noticed."""

from __future__ import annotations

import selectors
import socket
import threading
import time

import pytest

from crust.exceptions import LocalProtocolError
from crust.runtime import threads
from crust.runtime.threads import (
    Deadline,
    Threads,
    Waker,
    check_patching,
    close_socket,
    mode,
    spawn,
    stack_of,
)
from tests.support.modes import on_greenlets, run_python
from tests.support.threads import Background
from tests.support.waiting import wait_until

# --- spawn ------------------------------------------------------------------------------------------------------------


def test_a_thread_is_named_and_a_daemon() -> None:
    """The name gets crust's prefix once; the program's end waits for no thread of crust."""
    seen: list[object] = []
    for name in ("reader", "crust-writer"):
        thread = spawn(name, lambda *args: seen.append(args), 1, "two")
        thread.join(5)
        assert thread.daemon
        assert thread.name.startswith("crust-") and thread.name.count("crust-") == 1
    assert seen == [(1, "two"), (1, "two")]


def test_an_exception_that_ends_a_thread_reaches_the_hook(caplog: pytest.LogCaptureFixture) -> None:
    """Any exception; the hook runs on that thread; without one, or if it fails too, the log has the traceback."""
    crashes: list[tuple[str, str]] = []

    class Struck(BaseException):
        pass

    def crash() -> None:
        raise Struck("struck")

    spawn("a", crash, on_crash=lambda name, error: crashes.append((name, str(error)))).join(5)
    assert crashes == [("crust-a", "struck")]
    spawn("b", crash).join(5)
    assert "crust-b ended" in caplog.text and "struck" in caplog.text
    spawn("c", crash, on_crash=lambda name, error: 1 / 0).join(5)
    assert "the crash hook failed for crust-c" in caplog.text


def test_the_threads_of_a_node_are_known_and_joined() -> None:
    """alive names them; join waits until its deadline and returns who is left."""
    crew = Threads()
    gate = threading.Event()
    crew.spawn("crust-second", gate.wait, 10)
    crew.spawn("crust-first", gate.wait, 10)
    assert crew.alive() == ["crust-first", "crust-second"]
    assert crew.join(Deadline(0.02)) == ["crust-first", "crust-second"]
    gate.set()
    assert crew.join(Deadline(5)) == []
    assert crew.alive() == []


def test_joining_many_threads_looks_at_each_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at all that are left after each one that ends: with thousands that would take longer than they do."""
    crew = Threads()
    gate = threading.Event()
    for number in range(60):
        crew.spawn(f"crust-{number}", gate.wait, 10)
    looks = 0
    running = crew._running

    def counted() -> list[threading.Thread]:
        nonlocal looks
        found = running()
        looks += len(found)
        return found

    monkeypatch.setattr(crew, "_running", counted)
    job = Background(crew.join, Deadline(10))
    wait_until(lambda: looks > 0, what="the first look")
    gate.set()
    assert job.result() == []
    assert looks <= 3 * 60


def test_join_waits_for_threads_that_start_meanwhile_but_not_for_itself() -> None:
    """A worker may spawn its successor during the join, and may call join itself."""
    crew = Threads()
    left: list[list[str]] = []
    gate = threading.Event()

    def successor() -> None:
        gate.wait(10)
        left.append(crew.join(Deadline(5)))

    def first() -> None:
        crew.spawn("crust-successor", successor)

    crew.spawn("crust-first", first)
    job = Background(crew.join, Deadline(5))
    gate.set()
    assert job.result() == []
    assert left == [[]]


def test_each_thread_can_be_shown() -> None:
    """Where those that run are, on greenlets too; those that have ended are nowhere."""
    of_a_node = Threads()
    gate, entered = threading.Event(), threading.Event()

    def pondering() -> None:
        entered.set()
        gate.wait(10)

    thinker = of_a_node.spawn("thinker", pondering)
    of_a_node.spawn("done", lambda: None).join(5)
    assert entered.wait(5)
    wait_until(lambda: "gate.wait(10)" in stack_of(thinker))
    ((name, stack),) = of_a_node.stacks()
    assert name == "crust-thinker" and "in pondering" in stack
    assert "test_each_thread_can_be_shown" in stack_of(threading.current_thread())
    gate.set()
    thinker.join(5)
    assert stack_of(thinker) == ""
    assert of_a_node.stacks() == []


def test_a_long_life_does_not_gather_dead_threads() -> None:
    """Thousands of short connections leave no trace."""
    crew = Threads()
    for _ in range(300):
        crew.spawn("crust-short", int).join(5)
    assert len(crew._threads) <= 130


def test_a_crash_is_handed_to_the_hook_set_last() -> None:
    """The service may set its hook after making the registry."""
    crew = Threads()
    crashes: list[str] = []
    crew.on_crash = lambda name, error: crashes.append(name)
    crew.spawn("crust-x", lambda: 1 / 0).join(5)
    assert crashes == ["crust-x"]


# --- deadlines, wakers, sockets ---------------------------------------------------------------------------------------


def test_deadline() -> None:
    """Counts down to 0, never below; None never comes."""
    deadline = Deadline(0.5)
    first = deadline.remaining()
    assert first is not None and 0 < first <= 0.5 and not deadline.expired
    wait_until(lambda: deadline.expired, 5.0)
    assert deadline.remaining() == 0.0
    never = Deadline(None)
    assert never.remaining() is None and not never.expired


def test_a_waker_wakes_a_selector_once_for_many_wakes() -> None:
    """From another thread; after drain it sleeps again; ten thousand wakes do not block."""
    waker = Waker()
    with selectors.DefaultSelector() as selector:
        selector.register(waker.fileno(), selectors.EVENT_READ)
        job = Background(selector.select, 10.0)
        waker.wake()
        assert job.result(2.0)
        for _ in range(10_000):
            waker.wake()
        assert selector.select(1.0)
        waker.drain()
        assert not selector.select(0.01)
        selector.unregister(waker.fileno())
    waker.close()
    waker.wake()
    waker.close()


def test_close_socket_wakes_a_blocked_reader() -> None:
    """It sees EOF or an OSError; closing twice is harmless."""
    left, right = socket.socketpair()

    def read() -> bytes:
        try:
            return right.recv(1)
        except OSError:
            return b""

    reading = threading.Event()
    job = Background(lambda: (reading.set(), read())[1])
    assert reading.wait(5)
    threading.Event().wait(0.02)
    close_socket(right)
    assert job.result(2.0) == b""
    close_socket(right)
    left.close()


# --- gevent -----------------------------------------------------------------------------------------------------------


def test_mode_tells_the_world_we_run_in() -> None:
    """And the world of this test run is one that crust accepts."""
    assert mode() == ("gevent" if on_greenlets() else "threads")
    check_patching()


START = """
from crust.runtime.threads import Deadline, Threads, check_patching, mode
from crust.exceptions import LocalProtocolError
from crust.runtime.flusher import IoLoop
try:
    check_patching()
except LocalProtocolError as error:
    print("refused:", error)
else:
    crew, io = Threads(), IoLoop()
    io.start(crew.spawn)
    import threading
    done = threading.Event()
    io.call_later(0.01, lambda now: done.set())
    print(mode(), done.wait(5))
    io.stop()
    print(crew.join(Deadline(5)))
"""


@pytest.mark.parametrize(
    ("before", "patched", "expected"),
    [
        ("", False, "threads True\n[]\n"),
        ("import gevent.monkey", False, "threads True\n[]\n"),
        ("import threading, queue, socket, select, selectors", True, "gevent True\n[]\n"),
        ("from gevent import monkey; monkey.patch_all()", False, "gevent True\n[]\n"),
    ],
    ids=["no gevent", "gevent unused", "patched", "patched by hand"],
)
def test_worlds_that_work(before: str, patched: bool, expected: str) -> None:
    """No patching, or all of it before crust is imported."""
    result = run_python(before + START, gevent=patched)
    assert (result.stdout, result.returncode) == (expected, 0), result.stderr


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("import crust.runtime.threads\nfrom gevent import monkey; monkey.patch_all()", "after crust was imported"),
        ("from gevent import monkey; monkey.patch_socket()", "patched socket but not threading, queue, time, select"),
        ("from gevent import monkey; monkey.patch_all(thread=False)", "but not threading"),
        ("from gevent import monkey; monkey.patch_all(queue=False, select=False)", "but not queue, select"),
        ("from gevent import monkey; monkey.patch_all(time=False)", "but not time"),
        ("from gevent import monkey; monkey.patch_all(socket=False)", "but not socket"),
    ],
)
def test_late_or_partial_patching_is_refused_with_the_fix(before: str, words: str) -> None:
    """Instead of a hang: what is wrong, and what to write where."""
    result = run_python(before + START)
    assert result.stdout.startswith("refused: "), result.stdout + result.stderr
    assert words in result.stdout
    assert "monkey.patch_all()` at the very top" in result.stdout


def test_the_judgement_itself() -> None:
    """The table of cases, without interpreters."""
    every = threads._PATCH_TARGETS
    threads._judge_patching((), ())
    threads._judge_patching(every, every)
    for now, before in [(every, ()), (every, every[:2]), (every[:1], every[:1]), (every[1:], ())]:
        with pytest.raises(LocalProtocolError):
            threads._judge_patching(now, before)


# --- fork -------------------------------------------------------------------------------------------------------------

FORK = """
import os
from crust.runtime.threads import after_fork_in_child, fork_generation
class Node:
    pass
node, gone = Node(), Node()
calls = []
def broken(owner):
    raise RuntimeError("hook")
after_fork_in_child(gone, lambda owner: calls.append("gone"))
del gone
other = Node()
after_fork_in_child(other, broken)
after_fork_in_child(node, lambda owner: calls.append(owner is node))
before = fork_generation()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"%d %d" % (fork_generation() - before, calls == [True]))
    os._exit(0)
print(os.read(reader, 100).decode(), fork_generation() - before, calls)
"""


@pytest.mark.parametrize("patched", [False, True], ids=["threads", "gevent"])
def test_a_forked_child_knows_and_lets_go(patched: bool) -> None:
    """The generation differs in the child only; hooks of living owners run there, whatever others do."""
    result = run_python(FORK, gevent=patched)
    assert result.stdout == "1 1 0 []\n", result.stderr


UNBORN = """
import os, sys, threading, gevent
from crust.runtime.threads import Threads, spawn

ran = []
crew = Threads()
for begin in (spawn, crew.spawn):
    gevent.spawn(begin, "late", ran.append, os.getpid())
gevent.sleep(0)  # both wait for their threads, which have not begun
assert not ran and [thread.name for thread in threading._limbo] == ["crust-late"] * 2
pid = os.fork()
gevent.sleep(0.05)
if pid == 0:
    assert not ran, ran
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0 and ran == [os.getpid()] * 2
"""


def test_a_fork_while_greenlets_start() -> None:
    """In the child they do nothing, quietly."""
    result = run_python(UNBORN, gevent=True, forks=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_threads_are_cheap_enough_to_spawn() -> None:
    """A half-open connection may cost a thread: far below a millisecond each, with a wide margin here."""
    crew = Threads()
    began = time.process_time()  # what others do on this machine meanwhile does not count
    for _ in range(50):
        crew.spawn("crust-short", int)
    assert crew.join(Deadline(30)) == []
    assert time.process_time() - began < 2.0
