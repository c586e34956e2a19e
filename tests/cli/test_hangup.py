"""What listens to SIGHUP, where there is one and where there is none."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

import crust
from crust.cli.hangup import Hangups, outcome
from tests.cli.fakes import FakeService, make_terminal, shown
from tests.support.waiting import wait_until

needs_hup = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


@pytest.fixture
def node() -> Any:
    return FakeService(crust.Config())


def test_the_outcome_is_a_line() -> None:
    assert outcome(crust.ConfigReloaded((), ())) == "configuration read again; changed: nothing"
    assert outcome(crust.ConfigReloaded(("a.b", "c"), ("d",))) == (
        "configuration read again; changed: a.b, c; needs a restart: d"
    )


def test_where_there_is_no_such_signal(monkeypatch: pytest.MonkeyPatch, node: Any) -> None:
    """As on Windows: nothing is different."""
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    with Hangups(make_terminal()) as hangups:
        hangups.serve(node)
        assert not [each for each in threading.enumerate() if each.name == "crust-hangup"]
    assert node.calls == []


@needs_hup
def test_it_is_heard_and_let_go_of(node: Any) -> None:
    """On a thread of its own, as often as it comes; afterwards all is as it was."""
    before = signal.getsignal(signal.SIGHUP)
    node.answers["reload"] = crust.ConfigReloaded(("limits.max_peers",), ())
    terminal = make_terminal()
    with Hangups(terminal) as hangups:
        hangups._has_terminal = False  # the test's own may be none
        signal.raise_signal(signal.SIGHUP)  # too early: it is done when there is a node
        hangups.serve(node)
        wait_until(lambda: shown(terminal).count("changed: limits.max_peers") == 1)
        for count in (2, 3):
            signal.raise_signal(signal.SIGHUP)
            wait_until(lambda count=count: shown(terminal).count("changed: limits.max_peers") == count)
    assert signal.getsignal(signal.SIGHUP) == before
    assert [name for name, _, _ in node.calls] == ["reload"] * 3


@needs_hup
def test_what_is_an_event_is_not_said_twice(node: Any) -> None:
    terminal = make_terminal()
    with Hangups(terminal, tells=True) as hangups:
        hangups._has_terminal = False
        hangups.serve(node)
        for answer in (crust.ConfigReloaded((), ()), crust.ConfigError("no"), crust.ServiceClosed("over")):
            node.answers["reload"] = answer
            before = len(node.calls)
            signal.raise_signal(signal.SIGHUP)
            wait_until(lambda before=before: len(node.calls) > before)
    assert shown(terminal) == ""


@needs_hup
def test_more_than_anybody_hears(node: Any) -> None:
    """A flood of signals blocks nothing, and is one reload or a few."""
    node.answers["reload"] = crust.ConfigReloaded((), ())
    gate = threading.Event()
    node.answers["reload"] = lambda: gate.wait(5) and crust.ConfigReloaded((), ())
    with Hangups(make_terminal()) as hangups:
        hangups._has_terminal = False
        hangups.serve(node)
        for _ in range(100_000):  # more than a pipe holds
            hangups._heard(1, None)
        gate.set()
        wait_until(lambda: node.calls)
    assert 1 <= len(node.calls) < 50


@needs_hup
def test_other_threads_and_ignored_signals_are_left_alone(node: Any) -> None:
    """Whoever embeds us handles signals."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Hangups(make_terminal()) as hangups:
                hangups.serve(node)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    assert failures == []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Hangups(make_terminal()) as hangups:
            hangups.serve(node)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert node.calls == []
