"""The instruments of the tests measure what they say: the proxy's faults, the search for leaks."""

from __future__ import annotations

import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.support import leaks, slow, waiting
from tests.support.proxy import DOWN, UP, Proxy
from tests.support.waiting import STRIDE, Patience, busy, eventually, wait_until


class Wire:
    """A proxy between two plain sockets."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(self.server.getsockname()[1])
        self.sockets: list[socket.socket] = []

    def connect(self) -> tuple[socket.socket, socket.socket]:
        near = socket.create_connection(("127.0.0.1", self.proxy.port))
        far = self.server.accept()[0]
        self.sockets += [near, far]
        for sock in (near, far):
            sock.settimeout(5.0)
        return near, far

    def close(self) -> None:
        for sock in [*self.sockets, self.server]:
            sock.close()
        self.proxy.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def silent(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(5.0)
    return False


def test_the_proxy_passes_bytes_and_ends(wire: Wire) -> None:
    """Both ways, counted, with the ends in order."""
    near, far = wire.connect()
    near.sendall(b"there")
    far.sendall(b"back")
    assert (far.recv(10), near.recv(10)) == (b"there", b"back")
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    far.close()
    assert near.recv(1) == b""
    assert wire.proxy.forwarded == {UP: 5, DOWN: 4} and wire.proxy.connections == 1
    wait_until(lambda: not wire.proxy._links, what="the end of the link")


def test_cut_resets_both_sides_and_the_next_connection_works(wire: Wire) -> None:
    """Also while it is stalled."""
    near, far = wire.connect()
    wire.proxy.stall()
    assert wire.proxy.cut() == 1
    for sock in (near, far):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    wire.proxy.heal()
    near, far = wire.connect()
    near.sendall(b"x")
    assert far.recv(1) == b"x"


def test_stall_holds_everything_and_lets_it_go(wire: Wire) -> None:
    """One direction or both; the sender feels it."""
    near, far = wire.connect()
    wire.proxy.stall(UP)
    near.sendall(b"held")
    far.sendall(b"free")
    assert near.recv(4) == b"free" and silent(far)
    wire.proxy.stall(on=False)
    assert far.recv(4) == b"held"


def test_delay_adds_latency_only(wire: Wire) -> None:
    """Ten pieces take the delay once, not ten times."""
    near, far = wire.connect()
    wire.proxy.delay(0.5, UP)
    began = time.monotonic()
    for _ in range(10):
        near.sendall(b"0123456789")
    received = b""
    while len(received) < 100:
        received += far.recv(100)
    assert 0.5 <= time.monotonic() - began < 4.0 * busy()


def test_swallow_corrupt_truncate_and_cut_after(wire: Wire) -> None:
    """What goes missing, and where."""
    near, far = wire.connect()
    wire.proxy.swallow(UP)
    near.sendall(b"lost")
    assert silent(far)
    wire.proxy.heal()

    near, far = wire.connect()
    wire.proxy.corrupt(UP, 2)
    near.sendall(b"ab")
    assert far.recv(2) == b"ab"
    near.sendall(b"cd")
    assert far.recv(2) == bytes([ord("c") ^ 0xFF]) + b"d"
    wire.proxy.heal()

    near, far = wire.connect()
    wire.proxy.truncate(DOWN, 3)
    far.sendall(b"abcdef")
    assert read_all(near) == b"abc"
    wire.proxy.heal()

    near, far = wire.connect()
    wire.proxy.cut_after(UP, 3)
    near.sendall(b"abcdef")
    with pytest.raises(ConnectionResetError):
        read_all(far)
        read_all(near)


def test_refuse_and_no_target(wire: Wire) -> None:
    """A connection that ends at once, by order or because nobody listens behind."""
    wire.proxy.refuse()
    with socket.create_connection(("127.0.0.1", wire.proxy.port), 5.0) as near:
        assert near.recv(1) == b""
    wire.proxy.heal()
    wire.server.close()
    with socket.create_connection(("127.0.0.1", wire.proxy.port), 5.0) as near:
        assert near.recv(1) == b""


def test_leaks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that still runs, a descriptor that is still open."""
    monkeypatch.setattr(leaks, "GRACE", 0.05)
    before = leaks.snapshot()
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, args=(10,), name="crust-forgotten", daemon=True)
    thread.start()
    with pytest.raises(AssertionError, match="crust-forgotten"):
        leaks.check(before)
    gate.set()
    thread.join()
    leaks.check(before)
    sock = socket.socket()
    with pytest.raises(AssertionError, match="socket:"):
        leaks.check(before)
    sock.close()
    leaks.check(before)


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_the_list_of_slow_tests_is_of_tests() -> None:
    """Each line begins the name of some that there are; `make timings` writes it anew."""
    root = pathlib.Path(__file__).parents[1]
    files = {str(each.relative_to(root)): each.read_text("utf-8") for each in root.glob("tests/**/test_*.py")}
    for line in slow.listed():
        path, _, name = line.partition("::")
        found = [text for file, text in files.items() if file.startswith(path)]
        spellings = [form.format(name.partition("::")[0]) for form in ("def {}", "class {}", "{} = ")] if name else [""]
        assert any(each in text for text in found for each in spellings), line


def test_a_standstill_is_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks all the time has been asleep, as has whom it waits for. Who does something between, has not."""
    now = [100.0]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(waiting, "_crowd", lambda: 1.0)
    steady, other = Patience(5.0, STRIDE), Patience(5.0)
    now[0] += 10.0
    assert (steady.left, other.left) == (5.0 - STRIDE, -5.0)
    looks = iter((False, False, True))

    def predicate() -> bool:
        now[0] += 10.0
        return next(looks)

    assert eventually(predicate)
    assert not eventually(lambda: False, 0.0)
