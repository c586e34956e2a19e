"""A queue that is worked off by whoever comes."""

from __future__ import annotations

import threading

import pytest

from crust.runtime.serial import Serial


def test_tasks_come_in_order_also_those_that_tasks_bring() -> None:
    """What a task brings comes after it, not inside it."""
    done: list[str] = []
    serial = Serial(lambda error: done.append(repr(error)))

    def first() -> None:
        serial.do(lambda: done.append("second"))
        done.append("first")

    serial.do(first)
    assert done == ["first", "second"]


def test_a_fault_is_told_and_the_next_task_goes_on() -> None:
    """The queue does not stay busy for ever."""
    faults: list[BaseException] = []
    done: list[int] = []
    serial = Serial(faults.append)

    def bad() -> None:
        raise ValueError("bad")

    serial.do(bad)
    serial.do(lambda: done.append(1))
    assert [str(fault) for fault in faults] == ["bad"]
    assert done == [1]


def test_an_interrupt_leaves_nothing_behind() -> None:
    """What others have brought is done all the same, then the interrupt goes on, and the queue is not busy for ever."""
    done: list[int] = []
    serial = Serial(lambda error: done.append(-1))

    def struck() -> None:
        serial.do(lambda: done.append(1))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serial.do(struck)
    assert done == [1]
    serial.do(lambda: done.append(2))
    assert done == [1, 2]


def test_nobody_waits_for_a_thread_that_is_at_it() -> None:
    """A second thread leaves its task to the first one."""
    done: list[str] = []
    serial = Serial(lambda error: done.append(repr(error)))
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        done.append("slow")

    thread = threading.Thread(target=serial.do, args=(slow,), daemon=True)
    thread.start()
    begun.wait(10)
    serial.do(lambda: done.append(threading.current_thread().name))
    assert done == []
    go_on.set()
    thread.join(10)
    assert done == ["slow", thread.name]


def test_a_forked_child_does_nothing() -> None:
    """Whoever was at it in the parent is not there."""
    done: list[int] = []
    serial = Serial(lambda error: None)
    serial.abandon()
    serial.do(lambda: done.append(1))
    assert done == []
