"""Questions of other programs, answered on one thread: what they may cost, and how it ends."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crust.runtime import local_server as module
from crust.runtime.local_server import Exchange, LocalServer
from tests.support.bitten import Bitten
from tests.support.waiting import wait_until


class Upper:
    """Says everything again in capitals, until a full stop; ``!`` is its fault."""

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        if b"!" in data:
            raise ValueError("a fault")
        if b"*" in data:
            return b"x" * 20_000_000, True
        return data.upper(), b"." in data


class Served:
    """A server on a thread of the test."""

    def __init__(self, **options: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.faults: list[BaseException] = []
        self.welcome: Callable[[socket.socket], tuple[Exchange, bytes] | None] = lambda _: (Upper(), b"hello\n")
        self.bitten = Bitten()
        settings = {"clients": 4, "patience": 20.0, "bites": self.bitten, **options}
        self.server = LocalServer(
            [(self.listener, lambda sock: self.welcome(sock))], time.monotonic, report=self.faults.append, **settings
        )
        self._thread = threading.Thread(target=self.server.run, name="test-server", daemon=True)
        self._thread.start()
        self._clients: list[socket.socket] = []

    def join(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # or the kernel takes all for who reads nothing
        sock.settimeout(10.0)
        sock.connect(self.listener.getsockname())
        self._clients.append(sock)
        return sock

    def end(self) -> None:
        self.server.close()
        self._thread.join(5.0)
        assert not self._thread.is_alive()
        self.listener.close()
        for sock in self._clients:
            sock.close()


@contextlib.contextmanager
def served(**options: Any) -> Iterator[Served]:
    made = Served(**options)
    try:
        yield made
    finally:
        made.end()


def all_of(sock: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65_536):
            found += data
    return found


def exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := sock.recv(size - len(found))):
        found += data
    return found


def test_questions_and_answers_until_the_last_word() -> None:
    """A greeting, then answers; after the last one the connection ends."""
    with served() as made:
        sock = made.join()
        assert exactly(sock, 6) == b"hello\n"
        sock.sendall(b"abc")
        assert exactly(sock, 3) == b"ABC"
        sock.sendall(b"bye. and more that nobody wants" * 100)
        assert all_of(sock).startswith(b"BYE. AND")


def test_the_end_of_the_questions_is_the_end_of_the_connection() -> None:
    with served() as made:
        sock = made.join()
        sock.sendall(b"abc")
        sock.shutdown(socket.SHUT_WR)
        assert all_of(sock) == b"hello\nABC"


def test_a_large_answer_goes_out_as_the_reader_takes_it() -> None:
    """It fits into no buffer of the system; others are answered meanwhile."""
    with served() as made:
        slow, quick = made.join(), made.join()
        slow.sendall(b"*")
        quick.sendall(b"abc.")
        assert all_of(quick) == b"hello\nABC."
        assert len(all_of(slow)) == 6 + 20_000_000


@pytest.mark.parametrize("said", [b"", b"*"], ids=["says nothing", "reads nothing"])
def test_who_is_too_slow_is_cut_off(said: bytes) -> None:
    with served(patience=0.1) as made:
        sock = made.join()
        if said:
            sock.sendall(said)
        wait_until(lambda: not made.server._clients and sock.recv(1, socket.MSG_PEEK), what="the greeting, and the end")
        assert len(all_of(sock)) < 20_000_000
        assert made.bitten["STATUS_PATIENCE"] == 1


def test_who_is_silent_makes_room() -> None:
    """With all places taken the newest is served, and the one that was heard of least recently goes."""
    with served(clients=2) as made:
        first = made.join()
        assert exactly(first, 6)
        second = made.join()
        assert exactly(second, 6)
        first.sendall(b"a")
        assert exactly(first, 1) == b"A"
        third = made.join()
        third.sendall(b"c.")
        assert all_of(third) == b"hello\nC."
        assert made.bitten["STATUS_CLIENTS"] == 1
        assert all_of(second) == b""
        first.sendall(b"b.")
        assert all_of(first) == b"B."


def test_some_are_turned_away() -> None:
    with served() as made:
        made.welcome = lambda _: None
        assert all_of(made.join()) == b""


def test_a_fault_costs_one_program_its_answer() -> None:
    """It is reported; others are served."""
    with served() as made:
        unlucky, other = made.join(), made.join()
        unlucky.sendall(b"!")
        assert all_of(unlucky) == b"hello\n"
        other.sendall(b"abc.")
        assert all_of(other) == b"hello\nABC."
        assert [str(each) for each in made.faults] == ["a fault"]


def test_a_lack_of_descriptors_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener rests for a moment instead of spinning, and goes on."""
    monkeypatch.setattr(module, "_PAUSE", 0.05)
    failures = [errno.EMFILE, errno.ENFILE]
    accept = socket.socket.accept

    def poor(listener: socket.socket) -> Any:
        if failures:
            raise OSError(failures.pop(), "too many")
        return accept(listener)

    with served() as made:
        monkeypatch.setattr(socket.socket, "accept", poor)
        sock = made.join()
        sock.sendall(b"abc.")
        assert all_of(sock) == b"hello\nABC."
        assert failures == []


def test_closing_ends_everything_at_once() -> None:
    """Whatever is under way."""
    with served() as made:
        idle, busy = made.join(), made.join()
        busy.sendall(b"*")
        assert exactly(idle, 6) and exactly(busy, 1000)
    for sock in (idle, busy):
        assert sock.fileno() == -1
