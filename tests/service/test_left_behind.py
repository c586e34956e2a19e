"""What ``close`` cannot end: it says so, shows where that is, and everything else has ended all the same."""

from __future__ import annotations

import logging
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

import crust
from crust import limits
from tests.support.nodes import Nodes, Pair, call, config
from tests.support.sockets import unused_port
from tests.support.threads import Background
from tests.support.waiting import busy, wait_until

PATIENCE = 5.0  # seconds in which what should be at once must have happened, on a busy machine


class Deciding:
    """A ``decide`` that does not return until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, offer: crust.FileOffer) -> bool:
        self.entered.set()
        self.i_ponder_for_ever()
        return True

    def i_ponder_for_ever(self) -> None:
        self.go.wait(60)


class Hanging(logging.Handler):
    """A handler of the log that does not return until it is let go, once it is told to hang."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())
        self.entered.set()
        assert self.go.wait(60)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """On crust's logger, from INFO on; let go at the end."""
    logger = logging.getLogger("crust")
    handler, level = Hanging(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        handler.go.set()
        logger.removeHandler(handler)
        logger.setLevel(level)


def nothing_lives_but(service: crust.Service, *names: str) -> bool:
    assert service._node is not None
    return set(service._node.threads.alive()) <= set(names)


def send(pair: Pair, path: pathlib.Path) -> Background:
    return Background(lambda: call(lambda: pair.to_far.send_file(path)))


def test_a_decision_that_is_never_made(
    nodes: Nodes, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """``close`` returns False in its time, the log has the stack; peers, port, files and identity are free."""
    identity = crust.Identity.load_or_create(tmp_path / "identity")
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.write_bytes(b"content")
    folder.mkdir()
    address = f"tcp://127.0.0.1:{unused_port()}"
    far = nodes.start(config(listen=crust.ListenConfig(addresses=(address,))), identity=identity)
    nodes.release(far)
    pair = Pair(nodes, nodes.start(), far)
    deciding = Deciding()
    far.accept_files(folder, decide=deciding)
    sending = send(pair, source)
    assert deciding.entered.wait(PATIENCE)
    pair.to_far.send(b"not held up")
    assert pair.to_near.recv(PATIENCE) == b"not held up"
    began = time.monotonic()
    with caplog.at_level(logging.ERROR, "crust"):
        assert far.close(timeout=0.3) is False
    assert time.monotonic() - began < (0.3 + PATIENCE) * busy()
    assert "thread crust-file-question still runs after close()" in caplog.text
    assert "i_ponder_for_ever" in caplog.text
    assert pair.near_heard.wait(crust.LostPeer).reason == "closed"
    assert isinstance(sending.result(), (crust.TransferError, crust.PeerLost))
    assert nothing_lives_but(far, "crust-file-question")
    assert list(folder.iterdir()) == []
    again = nodes.start(config(listen=crust.ListenConfig(addresses=(address,))), identity=identity)
    assert (again.id, str(again.addresses[0])) == (far.id, address)
    deciding.go.set()
    wait_until(lambda: nothing_lives_but(far), what="the end of the thread")
    assert list(folder.iterdir()) == []
    assert far._node is not None and far._node.crashes == 0


def test_a_decision_made_while_closing(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """In time for ``close``: then nothing is left, and the file is not taken."""
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.write_bytes(b"content")
    folder.mkdir()
    pair = nodes.pair()
    deciding = Deciding()
    pair.far.accept_files(folder, decide=deciding)
    sending = send(pair, source)
    assert deciding.entered.wait(PATIENCE)
    closing = Background(pair.far.close)
    assert isinstance(sending.result(), (crust.TransferError, crust.PeerLost))
    deciding.go.set()
    assert closing.result() is True
    assert list(folder.iterdir()) == []


def test_a_log_handler_that_hangs(nodes: Nodes, tmp_path: pathlib.Path, hanging: Hanging) -> None:
    """It holds up callbacks, and nothing else: ``close`` is False in its time, all else has ended, ``wait`` returns."""
    path = str(tmp_path / "identity")
    near = nodes.start()
    far = nodes.start(config(identity__file=path))
    nodes.release(far)
    near.connect(far.contact).send(b"x")
    assert hanging.entered.wait(PATIENCE)
    wait_until(lambda: far.peers and far.stats().callbacks_waiting, what="a record on its way to the handler")
    waiting = Background(far.wait)
    began = time.monotonic()
    assert far.close(timeout=0.3) is False
    assert time.monotonic() - began < (0.3 + 2 * limits.CLOSE_GRACE + PATIENCE) * busy()
    assert waiting.result(PATIENCE) is True
    assert nothing_lives_but(far, "crust-dispatcher", "crust-close")
    assert nodes.start(config(identity__file=path)).id == far.id
    hanging.go.set()
    wait_until(lambda: nothing_lives_but(far), what="the end of the threads")
    wait_until(lambda: [text for text in hanging.seen if "handler of the log" in text], what="the report")
