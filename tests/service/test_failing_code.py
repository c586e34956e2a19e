"""Code of the application that raises where it costs others most: what has been acknowledged is still handed over."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import crust
from tests.support.nodes import Nodes
from tests.support.waiting import wait_until


def test_a_hook_that_ends_the_program_does_not(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """SystemExit in it costs neither the other callbacks their event nor anybody a message, or the room for more."""

    def stumble(*arguments: object) -> None:
        raise SystemExit(3)

    heard: list[crust.NewMessage] = []
    began: list[object] = []
    far = nodes.make(on_callback_error=stumble)
    for kind, then in ((crust.ConnectSuccess, began.append), (crust.NewMessage, heard.append)):
        far.on(kind, stumble)
        far.on(kind, then)
    far.start()
    peer = nodes.start().connect(far.contact)
    peer.send_many([b"%d" % number for number in range(100)])
    wait_until(lambda: len(heard) == 100, what="all of them")
    assert len(began) == 1 and [message.data for message in heard] == [b"%d" % number for number in range(100)]
    wait_until(lambda: far.peers[0].stats().unread_bytes == 0, what="their room")
    assert far.stats().callback_errors == 101 and far.stats().crashes == 0
    assert "hook itself raised" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_log_handler_that_raises(
    nodes: Nodes, error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    """It costs nobody a message, nor anything else of the node, and is shown as logging does that."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise error

    def stumble(message: crust.NewMessage) -> None:
        heard.append(message.data)
        raise ValueError

    heard: list[bytes] = []
    far, broken = nodes.start(), Broken()
    far.on(crust.NewMessage, stumble)
    logging.getLogger("crust").addHandler(broken)
    try:
        peer = nodes.start().connect(far.contact)
        peer.send_many([b"%d" % number for number in range(100)])
        wait_until(lambda: len(heard) == 100, what="all of them")
        wait_until(lambda: far.peers[0].stats().unread_bytes == 0, what="their room")
        assert far.stats().crashes == 0 and far.close()
    finally:
        logging.getLogger("crust").removeHandler(broken)
    assert "raise error" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_callback_without_a_name(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """One that is an object which cannot say what it is has its error logged, and ends nothing."""

    class Kind(type):
        def __getattribute__(cls, name: str) -> Any:
            if name == "__qualname__":
                raise error
            return super().__getattribute__(name)

    class Nameless(metaclass=Kind):
        def __call__(self, message: crust.NewMessage) -> None:
            heard.append(message.data)
            raise ZeroDivisionError

        def __repr__(self) -> str:
            raise error

    heard: list[bytes] = []
    far = nodes.start()
    far.on(crust.NewMessage, Nameless())
    peer = nodes.start().connect(far.contact)
    peer.send_many([b"one", b"two"])
    wait_until(lambda: far.stats().callback_errors == 2, what="both errors")
    assert heard == [b"one", b"two"]
    wait_until(lambda: "Nameless raised on NewMessage" in caplog.text, what="its line in the log")


def test_an_error_that_cannot_be_shown(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    class Hidden(Exception):
        @property
        def __traceback__(self) -> None:  # type: ignore[override]
            raise SystemExit(3)

    def stumble(message: crust.NewMessage) -> None:
        heard.append(message.data)
        raise Hidden

    heard: list[bytes] = []
    far = nodes.start()
    far.on(crust.NewMessage, stumble)
    peer = nodes.start().connect(far.contact)
    peer.send_many([b"one", b"two"])
    wait_until(lambda: far.stats().callback_errors == 2, what="both errors")
    assert heard == [b"one", b"two"] and far.stats().crashes == 0
    wait_until(lambda: "raised on NewMessage what cannot be shown" in caplog.text, what="its line in the log")
