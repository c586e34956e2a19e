"""Looking up names: on threads that may be left behind, but never on many, and with an answer in every case."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports.resolving import Answers, Resolver, look_up, read
from tests.support.bitten import Bitten
from tests.support.threads import Background
from tests.support.waiting import wait_until

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1))]


def name(number: int) -> Endpoint:
    return Endpoint("tcp", f"name{number}.example", 1)


def workers() -> int:
    return sum(thread.name == "crust-resolve" for thread in threading.enumerate())


class System:
    """A resolver of the system's that answers when it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[str] = []

    def __call__(self, endpoint: Endpoint) -> list[Any]:
        self.asked.append(endpoint.host)
        self.go.wait(10)
        return FOUND


def test_many_names_share_a_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest wait their turn, and all are answered; then no thread is left."""
    monkeypatch.setattr(limits, "LOOKUPS_MAX", 3)
    system = System()
    resolver, bitten = Resolver(system), Bitten()
    resolver.bites = bitten
    answers: list[Answers] = [queue.SimpleQueue() for _ in range(10)]
    for number, each in enumerate(answers):
        resolver.begin(name(number), each)
    wait_until(lambda: len(system.asked) == 3)
    assert workers() == 3 and bitten["LOOKUPS_MAX"] == 7
    system.go.set()
    assert [each.get(timeout=5) for each in answers] == [FOUND] * 10
    assert sorted(system.asked) == sorted(name(number).host for number in range(10))
    wait_until(lambda: workers() == 0)


def test_what_nobody_waits_for_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dial that was given up leaves its turn to others; withdrawing later, or twice, does no harm."""
    monkeypatch.setattr(limits, "LOOKUPS_MAX", 1)
    system = System()
    resolver = Resolver(system)
    first, second, third = answers = [queue.SimpleQueue[Any]() for _ in range(3)]
    for number, each in enumerate(answers):
        resolver.begin(name(number), each)
    wait_until(lambda: system.asked)
    resolver.withdraw(second)
    resolver.withdraw(second)
    system.go.set()
    assert first.get(timeout=5) == third.get(timeout=5) == FOUND
    resolver.withdraw(third)
    assert system.asked == [name(0).host, name(2).host]
    assert second.empty()


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), LookupError("idna")])
def test_every_failure_is_an_answer(error: Exception) -> None:
    """Also those of the codec for names; nobody waits for ever, and the thread goes on to the next."""

    def fail(endpoint: Endpoint) -> list[Any]:
        raise error

    resolver = Resolver(fail)
    for _ in range(2):
        answers: Answers = queue.SimpleQueue()
        resolver.begin(name(0), answers)
        assert answers.get(timeout=5) is error


def test_a_name_does_not_stand_for_thousands() -> None:
    """Each would be dialled: some of both families are left, in the system's order, and a few are as they were."""
    v6 = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"2001:db8::{each:x}", 1, 0, 0)) for each in range(1, 2001)]
    v4 = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{each % 250}", each)) for each in range(1, 2001)]
    most = limits.NAME_ADDRESSES_MAX
    for found, told, bites in ((v6 + v4, v6[:most] + v4[:most], 1), (v4[:most], v4[:most], 0)):
        resolver, bitten = Resolver(lambda endpoint, found=found: found), Bitten()  # type: ignore[misc]
        resolver.bites = bitten
        answers: Answers = queue.SimpleQueue()
        resolver.begin(name(0), answers)
        assert answers.get(timeout=5) == told
        assert bitten["NAME_ADDRESSES_MAX"] == bites


def test_a_name_stands_for_machines_alone() -> None:
    """What is sent to a group, or to all, would go to every machine of a LAN, whoever has the name."""
    groups = ["224.0.0.251", "239.1.2.3", "255.255.255.255", "0.0.0.0"]
    v4 = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 1)) for host in groups]
    groups = ["ff02::1", "ff02::1%2", "::", "::ffff:224.0.0.1"]
    v6 = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, 1, 0, 0)) for host in groups]
    good = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%2", 1, 0, 2)), *FOUND]
    answers: Answers = queue.SimpleQueue()
    Resolver(lambda endpoint: v4 + good + v6).begin(name(0), answers)
    assert answers.get(timeout=5) == good
    Resolver(lambda endpoint: v4 + v6).begin(name(0), answers)
    assert "no address that one node can have, but for groups, or none: check it" in str(answers.get(timeout=5))


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the interpreter's end: an error like every other of a dial, and the next try begins anew."""
    resolver = Resolver(lambda endpoint: FOUND)
    answers: Answers = queue.SimpleQueue()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="no thread to look its name up: none left"):
            resolver.begin(name(0), answers)
    resolver.begin(name(1), answers)
    assert answers.get(timeout=5) == FOUND
    assert answers.empty()


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("none left")


def test_the_system_knows_addresses() -> None:
    """What is written in digits needs no resolver; each answer is there once."""
    for host, address in (("127.0.0.1", ("127.0.0.1", 7)), ("::1", ("::1", 7, 0, 0))):
        (found,) = read(Endpoint("tcp", host, 7))
        assert found[4] == address


def test_digits_do_not_wait_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    gevent asks the system on ten threads, digits, too. While the system's resolver is silent names have them all, and
    nothing in digits was dialled: a session that had lost its link was not back for half a minute.
    """
    silent = threading.Event()

    def getaddrinfo(*_: object) -> list[Any]:
        silent.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        (found,) = Background(read, Endpoint("tcp", "127.0.0.1", 7)).result(5)
        assert found[4] == ("127.0.0.1", 7)
    finally:
        silent.set()


def test_the_system_has_no_thread_to_look_a_name_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """gevent takes one: a lack of them is an error like every other of a dial."""

    def getaddrinfo(*_: object) -> list[Any]:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="no thread to look it up: can't start new thread"):
        look_up(name(0))
