"""Sending a file: what the caller of send_file gets to see, whatever the other side, the file or the user does."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from crust import limits
from crust.exceptions import FileRefused, PeerLost, ServiceClosed, Timeout, TransferError
from crust.runtime.threads import Deadline
from crust.wire.transfer import Accept, Done, Fail, Offer, Progress, Refuse
from tests.support.filepeers import FileNode, joined, puppet
from tests.support.threads import Background
from tests.support.waiting import wait_until

BIG = bytes(range(256)) * (3 * limits.FILE_IN_FLIGHT // 256) + b"and a tail"


def names(directory: pathlib.Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.fixture
def node() -> Iterator[FileNode]:
    with FileNode() as node:
        yield node


@pytest.fixture
def other() -> Iterator[FileNode]:
    with FileNode() as node:
        yield node


@pytest.fixture
def inbox(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(BIG)
    return path


def test_only_regular_files_can_be_sent(node: FileNode, tmp_path: pathlib.Path) -> None:
    """A directory, a pipe without a writer, a device, a missing file: an error at once, and no offer."""
    peer = puppet(node)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(TransferError, match="not a regular file"):
            node.files.send_file(peer, path)
    with pytest.raises(FileNotFoundError):
        node.files.send_file(peer, tmp_path / "missing")
    assert peer.sent == []


@pytest.mark.parametrize("name", ["", "é" * 513])
def test_a_name_must_fit(node: FileNode, source: pathlib.Path, name: str) -> None:
    """One to 1,024 bytes."""
    with pytest.raises(TransferError, match="1 to 1024 bytes"):
        node.files.send_file(puppet(node), source, name=name)


@pytest.mark.parametrize("change", ["shorter", "longer", "other"])
def test_a_file_that_changes_is_not_sent(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path, change: str
) -> None:
    """A mixture of two versions must not arrive as if it were one."""
    there, _ = joined(node, other)
    other.files.accept_files(inbox)

    def meddle(sent: int, size: int) -> None:
        if sent == limits.FILE_CHUNK:
            if change == "shorter":
                os.truncate(source, sent)
            elif change == "longer":
                os.truncate(source, size + 1)
            else:
                os.utime(source, ns=(0, 0))

    with pytest.raises(TransferError, match="while it was being sent"):
        node.files.send_file(there, source, progress=meddle)
    wait_until(lambda: other.failed)
    assert "changed while it was being sent" in other.failed[0][2] and names(inbox) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, MemoryError])
def test_an_interrupted_sender_says_so(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path, error: type[BaseException]
) -> None:
    """Ctrl-C and its like pass through unchanged; the receiver drops what it has."""
    there, _ = joined(node, other)
    other.files.accept_files(inbox)

    def interrupt(sent: int, size: int) -> None:
        raise error

    with pytest.raises(error):
        node.files.send_file(there, source, progress=interrupt)
    wait_until(lambda: other.failed and not names(inbox))
    assert not node.files._exchanges[there].uploads


def test_an_interrupt_with_a_full_buffer_is_told_later(node: FileNode, source: pathlib.Path) -> None:
    """There is no room to say it and no time to wait: it is said as soon as there is room."""
    peer = puppet(node)

    def interrupt(sent: int, size: int) -> None:
        peer.set_window(-1)
        peer.set_window(0)
        raise KeyboardInterrupt

    job = Background(lambda: node.files.send_file(peer, source, progress=interrupt))
    offer = peer.expect(Offer)
    peer.say(Accept(offer.transfer))
    with pytest.raises(KeyboardInterrupt):
        job.result()
    assert not any(isinstance(message, Fail) for message in peer.sent)
    peer.set_window(10_000)
    assert "interrupted" in peer.expect(Fail).text  # type: ignore[union-attr]


@pytest.mark.parametrize("moment", ["decision", "data", "end"])
def test_the_timeout_covers_everything(node: FileNode, source: pathlib.Path, moment: str) -> None:
    """A receiver that does not decide, write or confirm in time gets a FAIL, the caller a Timeout that says where."""
    peer = puppet(node)
    if moment == "end":
        source.write_bytes(b"")
    job = Background(lambda: node.files.send_file(peer, source, timeout=0.2))
    offer = peer.expect(Offer)
    if moment != "decision":
        peer.say(Accept(offer.transfer))
    nothing = "; the other side keeps nothing of it"
    where = {
        "decision": f"had not decided yet{nothing}",
        "data": f"0 of {len(BIG)} bytes were there{nothing}",
        "end": "had not confirmed it yet, and may keep it$",
    }[moment]
    with pytest.raises(Timeout, match=where):
        job.result()
    assert peer.expect(Fail) == Fail(offer.transfer, "it took too long")


def test_the_timeout_ends_what_has_to_wait_for_nothing(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """Where the other side takes all as fast as it comes: no more is sent than there was time for."""
    there, _ = joined(node, other)
    other.files.accept_files(inbox)
    passed: list[int] = []

    def progress(sent: int, size: int) -> None:
        passed.append(sent)
        (upload,) = node.files._exchanges[there].uploads.values()
        upload._deadline = Deadline(0.0)  # as if it had taken longer than there is time

    with pytest.raises(Timeout, match="keeps nothing of it$"):
        node.files.send_file(there, source, progress=progress, timeout=30.0)
    assert len(passed) == 1 and passed[0] < source.stat().st_size
    wait_until(lambda: other.failed and not names(inbox))


def test_no_room_in_time_is_a_timeout(node: FileNode, source: pathlib.Path) -> None:
    """A send buffer that stays full counts as well."""
    with pytest.raises(Timeout, match=r"within 0\.05 s"):
        node.files.send_file(puppet(node, window=0), source, timeout=0.05)


@pytest.mark.parametrize("moment", ["decision", "data"])
def test_a_lost_peer_ends_sending(node: FileNode, source: pathlib.Path, moment: str) -> None:
    """The waiting caller gets PeerLost with the reason, whatever it waits for, and nothing is left behind."""
    peer = puppet(node)
    job = Background(node.files.send_file, peer, source)
    offer = peer.expect(Offer)
    if moment == "data":
        peer.say(Accept(offer.transfer))
        wait_until(lambda: len(peer.sent) > limits.FILE_IN_FLIGHT // limits.FILE_CHUNK)
    peer.lose()
    with pytest.raises(PeerLost) as caught:
        job.result()
    assert caught.value.reason == "test" and not node.files._exchanges


def test_what_a_peer_said_before_it_left_says_more(node: FileNode, source: pathlib.Path) -> None:
    """It gave the file up, and went, while the caller waited for room: the reason is the file's, not the session's."""
    peer = puppet(node)
    job = Background(node.files.send_file, peer, source)
    offer = peer.expect(Offer)
    peer.set_window(100)
    peer.say(Accept(offer.transfer))
    wait_until(lambda: peer._changed._waiters, what="the sender to wait for room")  # type: ignore[attr-defined]
    peer.say(Fail(offer.transfer, "the disk is full"))
    peer.lose()
    with pytest.raises(TransferError, match="the disk is full"):
        job.result()
    assert not node.files._exchanges


def test_sending_to_somebody_lost_leaves_nothing(node: FileNode, source: pathlib.Path) -> None:
    """The session was over before: PeerLost, and no memory of it."""
    peer = puppet(node)
    peer.lose()
    with pytest.raises(PeerLost):
        node.files.send_file(peer, source)
    assert not node.files._exchanges


def test_closing_the_node_ends_sending(source: pathlib.Path) -> None:
    """Waiting callers get ServiceClosed, and so do later ones."""
    with FileNode() as node:
        peer = puppet(node)
        job = Background(node.files.send_file, peer, source)
        peer.expect(Offer)
        node.files.close()
        with pytest.raises(ServiceClosed):
            job.result()
        with pytest.raises(ServiceClosed):
            node.files.send_file(peer, source)


def test_a_lying_receiver_ends_sending(node: FileNode, source: pathlib.Path) -> None:
    """It claims bytes that were never sent: TransferError here, FAIL there."""
    peer = puppet(node)
    job = Background(node.files.send_file, peer, source)
    offer = peer.expect(Offer)
    peer.say(Accept(offer.transfer), Progress(offer.transfer, len(BIG)))
    with pytest.raises(TransferError, match="broke the protocol"):
        job.result()
    assert "broke the protocol" in peer.expect(Fail).text  # type: ignore[union-attr]
    peer.say(Progress(offer.transfer, 0), Done(offer.transfer + 2))  # late, or about nothing: ignored
    wait_until(lambda: peer.taken == 0)


def test_files_of_one_node_have_different_numbers(node: FileNode, source: pathlib.Path) -> None:
    """All odd for the controller, never the same twice, so that late messages cannot hit a younger transfer."""
    peer = puppet(node)
    jobs = [Background(node.files.send_file, peer, source) for _ in range(4)]
    wait_until(lambda: len(peer.sent) == 4)
    assert sorted(message.transfer for message in peer.sent) == [1, 3, 5, 7]
    for number in (1, 3, 5, 7):
        peer.say(Refuse(number, "no"))
    for job in jobs:
        with pytest.raises(FileRefused, match="does not want 'holiday.jpg': no"):
            job.result()
