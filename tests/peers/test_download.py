"""Receiving files: a disk that fails, peers that vanish, lie or do not read, and the bounds on all of them."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import pathlib
import resource
import signal
import threading
import weakref
from collections.abc import Iterator

import pytest

from crust import limits
from crust.exceptions import (
    MalformedMessage,
    RemoteProtocolError,
    TransferError,
)
from crust.peers import download as download_module
from crust.peers.download import PartFile
from crust.peers.file_contract import FileOffer
from crust.wire.transfer import Accept, Done, End, Fail, FileData, Offer, Progress, Refuse, build_transfer
from tests.support.filepeers import FileNode, MemoryChannel, joined, puppet
from tests.support.waiting import wait_until

BIG = bytes(range(256)) * (3 * limits.FILE_IN_FLIGHT // 256) + b"and a tail"


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


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


# --- faults of the receiving side -------------------------------------------------------------------------------------


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_leaves_nothing(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """Both sides learn the cause, the temporary is gone, and the next file that fits arrives."""
    there, here = joined(node, other)
    other.files.accept_files(inbox)
    with largest_file(1_000_000), pytest.raises(TransferError, match="the receiving disk: File too large"):
        node.files.send_file(there, source)
    wait_until(lambda: other.failed)
    assert other.failed == [(here, "holiday.jpg", "the receiving disk: File too large")]
    assert names(inbox) == [] and other.received == []
    wait_until(lambda: there.under_way == here.under_way == 0)
    node.files.send_file(there, source)
    assert names(inbox) == ["holiday.jpg"]


@pytest.mark.parametrize("step", ["open", "write", "publish"])
def test_every_step_on_the_disk_may_fail(
    node: FileNode,
    other: FileNode,
    inbox: pathlib.Path,
    source: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """No space left, wherever it strikes: no half file, no event of success, a reason at both ends."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "open":
        monkeypatch.setattr(download_module, "PartFile", full)
    elif step == "write":
        monkeypatch.setattr(PartFile, "write", full)
    else:
        monkeypatch.setattr(download_module, "publish_new", full)
    there, _ = joined(node, other)
    other.files.accept_files(inbox)
    with pytest.raises(TransferError, match="No space left on device"):
        node.files.send_file(there, source)
    wait_until(lambda: other.failed)
    assert names(inbox) == [] and other.received == []


def test_a_bug_costs_one_transfer(
    node: FileNode, inbox: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unforeseen exception is logged; the transfer fails, the worker goes on."""
    peer = puppet(node)
    node.files.accept_files(inbox)
    with monkeypatch.context() as patch:
        patch.setattr(PartFile, "write", lambda *_: [][0])
        peer.say(Offer(0, 1, "one"), FileData(0, 0, b"x"))
        peer.expect(Fail(0, "an internal error"))
    assert "IndexError" in caplog.text
    peer.say(Offer(2, 0, "two"), End(2, digest(b"")))
    peer.expect(Done(2))
    assert names(inbox) == ["two"]


def test_a_worker_that_cannot_start_is_tried_again(
    inbox: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of threads: the messages stay, the next one tries again; meanwhile a peer may be lost."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    over: list[str] = []
    with FileNode() as node:
        peer, lost = puppet(node), puppet(node, "lost")
        node.files.accept_files(inbox)
        with monkeypatch.context() as patch:
            patch.setattr(node.files, "_spawn", fail)
            peer.say(Offer(0, 1, "name"))
            lost.say(Offer(0, 1, "name"))
            lost.lose()
            node.files.afterwards(peer, lambda: over.append("kept nothing"))
            node.files.afterwards(lost, lambda: over.append("kept a word"))
        assert "next message tries again" in caplog.text
        assert peer.taken > 0 and lost.taken > 0 and over == ["kept nothing"]
        peer.say(FileData(0, 0, b"x"), End(0, digest(b"x")))
        peer.expect(Done(0))
        wait_until(lambda: over == ["kept nothing", "kept a word"])
        assert lost.taken == 0 and not node.files._leaving


def test_a_peer_that_is_lost_leaves_nothing(node: FileNode, inbox: pathlib.Path) -> None:
    """The temporary goes with the session, and the application is told; other peers are not touched."""
    peer, friend = puppet(node), puppet(node, "friend")
    node.files.accept_files(inbox)
    for each in (peer, friend):
        each.say(Offer(0, 10, each.peer_text), FileData(0, 0, b"half"))
        each.expect(Accept(0))
    peer.lose()
    wait_until(lambda: node.failed)
    assert node.failed == [(peer, "puppet", "the session with puppet ended")]
    assert len(names(inbox)) == 1 and peer.taken == 0
    friend.say(FileData(0, 4, b"second"), End(0, digest(b"halfsecond")))
    friend.expect(Done(0))


def test_closing_the_node_leaves_nothing(inbox: pathlib.Path) -> None:
    """The sender is told, the temporary is gone, messages that come later are taken and dropped."""
    with FileNode() as node:
        peer = puppet(node)
        node.files.accept_files(inbox)
        peer.say(Offer(0, 10, "name"), FileData(0, 0, b"half"))
        peer.expect(Accept(0))
        node.files.close()
        node.files.close()
        peer.expect(Fail(0, "the receiving node is closing"))
        wait_until(lambda: not node.crew.threads.alive())
        assert names(inbox) == []
        peer.say(FileData(0, 4, b"more"))
        node.files.peer_lost(peer)
        assert not node.files._exchanges


# --- lying peers ------------------------------------------------------------------------------------------------------


def test_a_wrong_checksum_publishes_nothing(node: FileNode, inbox: pathlib.Path) -> None:
    """What arrived is not what was sent: nobody gets to see it."""
    peer = puppet(node)
    node.files.accept_files(inbox)
    peer.say(Offer(0, 4, "name"), FileData(0, 0, b"data"), End(0, bytes(32)))
    assert "checksum" in peer.expect(Fail).text  # type: ignore[union-attr]
    wait_until(lambda: node.failed)
    assert names(inbox) == [] and node.received == []


def test_too_much_data_is_not_written(node: FileNode, inbox: pathlib.Path) -> None:
    """A peer that sends more than it offered loses the transfer, not we the disk."""
    peer = puppet(node)
    node.files.accept_files(inbox)
    peer.say(Offer(0, 4, "name"), FileData(0, 0, b"data"), FileData(0, 4, b"!"), FileData(0, 5, b"!"))
    peer.expect(Fail)
    wait_until(lambda: peer.taken == 0)
    assert peer.sent[0] == Accept(0) and len(peer.sent) == 2  # told once
    assert names(inbox) == []


def test_data_for_no_transfer_is_answered_once(node: FileNode) -> None:
    """The sender of something we do not know hears of it once, and what it still has under way is dropped."""
    peer = puppet(node)
    peer.say(*(FileData(8, n, b"x") for n in range(5)), Done(8), Fail(10, "never mind"))
    wait_until(lambda: peer.taken == 0)
    assert peer.sent == [Fail(8, "there is no such transfer")] and peer.strayed == 5


def test_the_memory_of_ended_transfers_is_bounded(node: FileNode, inbox: pathlib.Path) -> None:
    """A peer cannot make us remember more than so many."""
    peer = puppet(node)
    peer.say(*(FileData(2 * n, 0, b"x") for n in range(10 * limits.FILE_ENDED_MEMORY)))
    wait_until(lambda: peer.taken == 0)
    assert len(node.files._exchanges[peer].ended) == limits.FILE_ENDED_MEMORY


def test_one_peer_may_send_only_so_many_at_once(node: FileNode, inbox: pathlib.Path) -> None:
    """Beyond the limit offers are refused; when one is done there is room for another; others are not affected."""
    peer, friend = puppet(node), puppet(node, "friend")
    node.files.accept_files(inbox)
    for number in range(limits.FILE_TRANSFERS_MAX + 1):
        peer.say(Offer(2 * number, 1, f"file{number}"))
    refused = peer.expect(Refuse)
    assert refused.transfer == 2 * limits.FILE_TRANSFERS_MAX and node.bitten["FILE_TRANSFERS_MAX"] == 1
    friend.say(Offer(0, 1, "mine"))
    friend.expect(Accept(0))
    peer.say(Fail(0, ""), Offer(100, 1, "next"))
    peer.expect(Accept(100))


def test_all_peers_together_may_send_only_so_many_at_once(
    node: FileNode, inbox: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds an open file, and descriptors are few."""
    monkeypatch.setattr(limits, "FILE_TRANSFERS_ALL_MAX", 2)
    node.files.accept_files(inbox)
    peers = [puppet(node, f"peer{number}") for number in range(3)]
    for peer, answer in zip(peers, (Accept, Accept, Refuse), strict=True):
        peer.say(Offer(0, 1, "name"))
        peer.expect(answer)
    assert node.bitten["FILE_TRANSFERS_ALL_MAX"] == 1


def test_keys_at_one_address_leave_files_to_others(
    node: FileNode, inbox: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, all of them together get a part: more than one peer, or as many as one peer."""
    for most, part, taken in ((8, 0.5, 4), (8, 0.0, 2)):
        monkeypatch.setattr(limits, "FILE_TRANSFERS_MAX", 2)
        monkeypatch.setattr(limits, "FILE_TRANSFERS_ALL_MAX", most)
        node.files.accept_files(inbox)
        node.files.part = part
        here = [puppet(node, f"peer{number}") for number in range(taken + 1)]
        for number, peer in enumerate(here):
            peer.place = b"here"
            peer.say(Offer(0, 1, "name"))
            peer.expect(Accept if number < taken else Refuse)
        other = puppet(node, "other")
        other.place = b"there"
        other.say(Offer(0, 1, "name"))
        other.expect(Accept)
        for peer in (*here, other):
            peer.lose()
        wait_until(lambda: names(inbox) == [], what="the end of all files")
    assert node.bitten == {"limits.peers_per_address": 2}


def test_keys_at_one_address_leave_turns_to_others(node: FileNode, inbox: pathlib.Path) -> None:
    """However many of them have something to say about files, every other message taken is one from elsewhere."""
    here, other = [puppet(node, f"peer{number}") for number in range(8)], puppet(node, "other")
    taken: list[bytes | None] = []
    for peer in (*here, other):
        peer.place = b"there" if peer is other else b"here"
        peer.stray_data = lambda place=peer.place: taken.append(place)  # type: ignore[method-assign]
        peer.say(FileData(2, 0, b"x"))
    wait_until(lambda: len(taken) == 9, what="a message of each: where they are is known")
    wait_until(lambda: not any(exchange.queued for exchange in node.files._exchanges.values()))
    taken.clear()
    at_work, go_on = threading.Event(), threading.Event()
    node.files.accept_files(inbox, progress=lambda _: (at_work.set(), go_on.wait(20)))
    busy = puppet(node, "busy")
    busy.say(Offer(0, 1, "name"), FileData(0, 0, b"x"), End(0, digest(b"x")))
    assert at_work.wait(20)
    for peer in (*here, other):
        peer.say(*[FileData(2, 0, b"x")] * 4)
    go_on.set()
    wait_until(lambda: len(taken) == 36, what="all messages")
    assert taken[:8].count(b"there") == 4


def test_keys_at_one_address_leave_questions_to_others(node: FileNode, inbox: pathlib.Path) -> None:
    """A person who thinks about the files of one address is still asked about others'."""
    thinking = threading.Event()
    asked: list[object] = []

    def decide(offer: FileOffer) -> bool:
        asked.append(offer.peer)
        if offer.peer is not other:
            thinking.wait(20)
        return True

    node.files.accept_files(inbox, decide=decide)
    node.files.part = 0.25
    here = [puppet(node, f"peer{number}") for number in range(limits.FILE_TRANSFERS_MAX)]
    other = puppet(node, "other")
    other.place = b"there"
    for peer in here:
        peer.place = b"here"
        peer.say(Offer(0, 1, "name"))
    other.say(Offer(0, 1, "name"))
    other.expect(Accept)
    assert len(asked) == limits.FILE_TRANSFERS_MAX // 4 + 1
    thinking.set()
    for peer in here:
        peer.expect(Accept)


def test_files_keep_nothing_of_sessions_that_are_over(node: FileNode, inbox: pathlib.Path) -> None:
    """Neither do questions that wait for others, nor the thread that writes: what is left in one counts nowhere."""
    thinking = threading.Event()
    asked: list[str] = []

    def decide(offer: FileOffer) -> bool:
        asked.append(offer.name)
        return thinking.wait(20)

    def come_and_go(called: list[str]) -> list[weakref.ref[MemoryChannel]]:
        peers = [puppet(node, name) for name in called]
        for peer in peers:
            peer.say(Offer(0, 1, peer.peer_text))
        wait_until(lambda: not any(peer.taken for peer in peers), what="the offers")
        for peer in peers:
            peer.lose()
        return [weakref.ref(peer) for peer in peers]

    def are_gone(kept: list[weakref.ref[MemoryChannel]]) -> bool:
        node.failed.clear()  # that is the application's
        gc.collect()
        return not any(each() for each in kept)

    node.files.accept_files(inbox, decide=decide)
    first = come_and_go([f"first{number}" for number in range(limits.FILE_TRANSFERS_MAX)])
    wait_until(lambda: len(asked) == len(first), what="the questions")
    others = come_and_go(["other", "another"])
    wait_until(lambda: are_gone(others), what="the end of those of whom nobody is asked")
    thinking.set()
    wait_until(lambda: are_gone(first), what="the end of the others")
    assert len(asked) == len(first)


def test_numbers_that_are_ours_to_give_are_a_violation(node: FileNode) -> None:
    """An offer in our half of the numbers raises, so that the session ends; so does what cannot be read."""
    peer = puppet(node)
    with pytest.raises(RemoteProtocolError, match="ours to give"):
        peer.say(Offer(1, 1, "name"))
    with pytest.raises(MalformedMessage):
        node.files.receive(peer, b"\xff")


def test_a_full_buffer_does_not_stop_writing(node: FileNode, inbox: pathlib.Path) -> None:
    """The file is written and in its place; only the answers wait, and of the reports only the newest."""
    deaf, step = puppet(node, "deaf", window=0), limits.FILE_IN_FLIGHT // 4
    node.files.accept_files(inbox)
    content = bytes(3 * step)
    piece = step // 16
    deaf.say(Offer(0, len(content), "one"))
    deaf.say(*(FileData(0, n * piece, bytes(piece)) for n in range(48)))
    deaf.say(End(0, digest(content)))
    wait_until(lambda: names(inbox) == ["one"] and deaf.taken == 0)
    assert deaf.sent == []
    deaf.set_window(10_000)
    deaf.expect(Done(0))
    assert deaf.sent == [Accept(0), Progress(0, 2 * step), Done(0)]


def test_a_peer_that_does_not_read_stops_only_itself(node: FileNode, inbox: pathlib.Path) -> None:
    """Its answers pile up to a bound, then its credit stays away; others are served; with room it all goes on."""
    deaf, friend = puppet(node, "deaf", window=0), puppet(node, "friend")
    node.files.accept_files(inbox)
    count = 2 * limits.FILE_REPLIES_MAX
    deaf.say(*(FileData(2 * n, 0, b"x") for n in range(count)))
    friend.say(Offer(0, 1, "two"), FileData(0, 0, b"y"), End(0, digest(b"y")))
    friend.expect(Done(0))
    each = len(build_transfer(FileData(0, 0, b"x")))
    wait_until(lambda: deaf.taken == (count - limits.FILE_REPLIES_MAX) * each)
    assert deaf.sent == [] and len(node.files._exchanges[deaf].replies) == limits.FILE_REPLIES_MAX
    assert node.bitten["FILE_REPLIES_MAX"] >= 1
    deaf.set_window(10_000)
    wait_until(lambda: len(deaf.sent) == count and deaf.taken == 0)


def test_a_deaf_peer_that_is_lost_is_forgotten(node: FileNode, inbox: pathlib.Path) -> None:
    """Its waiting answers, its messages and its credit go with it."""
    deaf = puppet(node, "deaf", window=0)
    node.files.accept_files(inbox)
    deaf.say(Offer(0, 1, "one"), FileData(0, 0, b"x"))
    wait_until(lambda: names(inbox))
    deaf.lose()
    wait_until(lambda: deaf.taken == 0 and not names(inbox) and node.failed)
    assert not node.files._exchanges and [name for _, name, _ in node.failed] == ["one"]
