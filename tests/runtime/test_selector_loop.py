"""A thread's wait for sockets, which others can end."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from crust.runtime.selector_loop import SelectorLoop

PATIENCE = 10.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def loop(ends: tuple[socket.socket, socket.socket]) -> Iterator[SelectorLoop]:
    made = SelectorLoop([ends[0]])
    yield made
    made.release()


def test_it_tells_which_sockets_are_ready(loop: SelectorLoop, ends: tuple[socket.socket, socket.socket]) -> None:
    assert loop.select(0) == []
    ends[1].send(b"!")
    assert loop.select(PATIENCE) == [(ends[0], selectors.EVENT_READ)]


def test_to_be_woken_ends_one_wait(loop: SelectorLoop) -> None:
    """Of all wakes before it, and it is no socket that anybody would read."""
    loop.wake()
    loop.wake()
    assert loop.select(None) == []
    assert loop.selector.select(0) == []


def test_close_ends_the_run_and_all_is_released(ends: tuple[socket.socket, socket.socket]) -> None:
    """From another thread, while it waits; what is ready then is not looked at any more."""
    loop, waits, seen = SelectorLoop([ends[0]]), threading.Event(), []

    def turn() -> None:
        waits.set()
        seen.append(loop.select(None))

    def release() -> None:
        seen.append("released")
        loop.release()

    def close() -> None:
        waits.wait(PATIENCE)
        loop.closed = True  # before the byte, so that the wait cannot end without it
        ends[1].send(b"!")
        loop.close()

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    loop.run(turn, release)
    closing.join()
    assert seen == [[], "released"]


def test_what_a_turn_raises_ends_the_run_and_all_is_released() -> None:
    loop = SelectorLoop()
    with pytest.raises(ZeroDivisionError):
        loop.run(lambda: 1 // 0, loop.release)
    assert loop.selector.get_map() is None


def test_a_greenlet_that_a_child_has_inherited_releases_nothing() -> None:
    """The descriptors' numbers may be somebody else's by then."""
    loop, released = SelectorLoop(), []
    loop.run(loop.abandon, lambda: released.append(True))
    assert loop.closed and not released
    loop.selector.close()
