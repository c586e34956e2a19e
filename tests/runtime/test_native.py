"""Real threads for calls into C: nothing waits for them, and greenlets go on."""

from __future__ import annotations

import ctypes
import selectors
import threading
import time
from collections.abc import Iterator

import pytest

from crust.runtime.native import NativeWorker, native_workers
from tests.support.modes import run_python
from tests.support.waiting import busy, eventually, wait_until

usleep = ctypes.CDLL(None).usleep  # blocks in C, without the lock of the interpreter, and unknown to gevent


@pytest.fixture
def worker() -> Iterator[NativeWorker]:
    made = NativeWorker("test")
    yield made
    made.close()
    wait_until(lambda: native_workers() == [], what="the thread's end")


def wait_for(worker: NativeWorker, count: int) -> list[tuple[object, object, BaseException | None]]:
    found: list[tuple[object, object, BaseException | None]] = []
    with selectors.DefaultSelector() as selector:
        selector.register(worker.fileno(), selectors.EVENT_READ)
        while len(found) < count:
            assert selector.select(10.0), "no result came"
            found += worker.results()
    return found


def test_calls_are_made_in_order_and_their_results_come_back(worker: NativeWorker) -> None:
    """What a call raises comes back too, and the next one is made all the same."""
    assert native_workers() == ["crust-test"]
    worker.submit(1, lambda: "one")
    worker.submit(2, lambda: 1 // 0)
    worker.submit(3, threading.get_ident)
    results = wait_for(worker, 3)
    assert [tag for tag, _, _ in results] == [1, 2, 3]
    assert results[0][1:] == ("one", None)
    assert isinstance(results[1][2], ZeroDivisionError)
    assert results[2][1] != threading.get_ident()


def test_a_call_that_blocks_in_c_holds_up_nobody(worker: NativeWorker) -> None:
    """Other threads, or greenlets, run meanwhile."""
    worker.submit(0, lambda: usleep(2_000_000))
    pause, longest = threading.Event(), 0.0
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        before = time.monotonic()
        pause.wait(0.005)
        longest = max(longest, time.monotonic() - before)
    assert longest < 1.5
    wait_for(worker, 1)


def test_close_waits_for_no_call() -> None:
    """The thread ends when its call does, makes no other one, and finds its owner gone."""
    worker = NativeWorker("test")
    made: list[int] = []
    begun = threading.Event()
    worker.submit(0, lambda: (made.append(1), usleep(2_000_000)))
    worker.submit(1, lambda: made.append(2))
    wait_until(lambda: made == [1], what="the call")
    before = time.monotonic()
    worker.close()
    worker.close()
    assert time.monotonic() - before < 1.5 * busy()
    assert native_workers() == ["crust-test"]
    wait_until(lambda: native_workers() == [], what="the thread's end")
    assert made == [1] and not begun.is_set()


def test_many_calls(worker: NativeWorker) -> None:
    """No wake is lost, however owner and thread meet."""
    for number in range(2000):
        worker.submit(number, lambda number=number: number)
    assert [value for _, value, _ in wait_for(worker, 2000)] == list(range(2000))
    for number in range(200):
        worker.submit(number, lambda: None)
        assert len(wait_for(worker, 1)) == 1


@pytest.mark.parametrize("gevent", [False, True])
def test_the_interpreter_ends_while_a_call_is_stuck(gevent: bool) -> None:
    """Nothing waits for it."""
    code = """
import ctypes, time
from crust.runtime.native import NativeWorker
worker = NativeWorker("test")
worker.submit(0, lambda: ctypes.CDLL(None).sleep(60))
time.sleep(0.2)
print("end", flush=True)
"""
    before = time.monotonic()
    done = run_python(code, gevent=gevent, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    assert time.monotonic() - before < 20 * busy()
    assert eventually(lambda: native_workers() == [])
