"""What the kernel says about the network, and waiting for it."""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Callable

import pytest

from crust import limits
from crust.runtime import network_news
from crust.runtime.network_news import LinkStates, NetworkNews
from crust.runtime.threads import Threads

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="netlink is Linux's")


def link(index: int, *, runs: bool, gone: bool = False) -> bytes:
    """A message about an interface, with an attribute behind it, as the kernel pads it."""
    body = struct.pack("=BBHiII", 0, 0, 1, index, 0x41 if runs else 0x1, 0) + b"\x08\x00\x01\x00abcd" + b"xyz"
    message = struct.pack("=IHHII", 16 + len(body), 17 if gone else 16, 0, 0, 0) + body
    return message + bytes(-len(message) % 4)


# --- the kernel's words -----------------------------------------------------------------------------------------------


def test_a_cable_that_is_plugged_in_again() -> None:
    """That counts, not that it was pulled, nor what has always run."""
    states = LinkStates()
    assert not states.receive(link(2, runs=True))
    assert not states.receive(link(2, runs=False))
    assert not states.receive(link(3, runs=True))
    assert states.receive(link(2, runs=True))
    assert not states.receive(link(2, runs=True))


def test_several_words_at_once() -> None:
    """They come together as a rule; one that is gone has stopped, too."""
    states = LinkStates()
    assert states.receive(link(2, runs=False) + link(3, runs=False) + link(2, runs=True))
    assert states.receive(link(4, runs=True, gone=True) + link(4, runs=True))


@pytest.mark.parametrize("data", [b"", b"x" * 15, struct.pack("=IHHII", 0, 16, 0, 0, 0), link(2, runs=True)[:20]])
def test_what_is_cut_short_says_nothing(data: bytes) -> None:
    """It ends there."""
    states = LinkStates()
    states.receive(link(2, runs=False))
    assert not states.receive(data)


# --- waiting ----------------------------------------------------------------------------------------------------------


class Waiting:
    """News on a thread of their own, and who has looked how often."""

    def __init__(self) -> None:
        self.looked = threading.Semaphore(0)
        self.news = NetworkNews(lambda _: self.looked.release())
        self._crashes: list[BaseException] = []
        self._threads = Threads(lambda _, error: self._crashes.append(error))
        self._thread = self._threads.spawn("crust-network", self.news.run)

    def end(self) -> None:
        self.news.close()
        self._thread.join(5)
        assert not self._thread.is_alive() and self._crashes == []


def test_without_the_kernels_words_it_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other systems, and in containers that have no netlink."""
    monkeypatch.setattr(network_news, "_netlink", lambda: None)
    monkeypatch.setattr(limits, "NETWORK_POLL", 0.01)
    waiting = Waiting()
    assert waiting.looked.acquire(timeout=5) and waiting.looked.acquire(timeout=5)
    waiting.end()


@LINUX
def test_a_word_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at a moment later; the words that follow belong to it."""
    monkeypatch.setattr(limits, "NETWORK_SETTLE", 0.01)
    sent, received = _pair()
    monkeypatch.setattr(network_news, "_netlink", received)
    waiting = Waiting()
    sent(link(2, runs=True))
    assert waiting.looked.acquire(timeout=5)
    waiting.end()
    assert not waiting.looked.acquire(timeout=0)


@LINUX
def test_the_real_one_is_to_be_had() -> None:
    """Without any privilege."""
    sock = network_news._netlink()
    assert sock is not None
    sock.close()


def test_closing_before_it_begins() -> None:
    """It ends at once, and nothing is left."""
    before = len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0
    news = NetworkNews(lambda _: None)
    news.close()
    news.run()
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_without_descriptors_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened before is closed."""

    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(network_news, "_netlink", fail)
    before = len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0
    with pytest.raises(OSError, match="Too many"):
        NetworkNews(lambda _: None)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def _pair() -> tuple[Callable[[bytes], object], Callable[[], object]]:
    """A socket that says what the test says."""
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)

    def send(data: bytes) -> None:
        ours.send(data)
        ours.close()

    return send, lambda: theirs
