"""Files between two nodes: disk, threads, decisions, and everything that can go wrong on the way."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import pathlib
import stat
import threading
from collections.abc import Iterator

import pytest

from crust import limits
from crust.exceptions import (
    FileRefused,
)
from crust.peers.file_contract import FileOffer, FileProgress, FileSent
from crust.wire.transfer import (
    TRANSFER_DATA_OVERHEAD,
    Accept,
    Done,
    End,
    Fail,
    FileData,
    Offer,
    Refuse,
    SignedOffer,
)
from tests.support.filepeers import WINDOW, FileNode, joined, puppet
from tests.support.threads import Background
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


# --- the way it should go ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(limits.FILE_CHUNK), BIG], ids=["empty", "byte", "chunk", "big"]
)
def test_a_file_arrives(
    node: FileNode, other: FileNode, inbox: pathlib.Path, tmp_path: pathlib.Path, content: bytes
) -> None:
    """Same bytes, same digest at both ends, private, one event, and every message's credit is given back."""
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    there, here = joined(node, other)
    other.files.accept_files(inbox)
    sent = node.files.send_file(there, path)
    assert sent == FileSent("holiday.jpg", len(content), digest(content).hex())
    assert names(inbox) == ["holiday.jpg"]
    assert (inbox / "holiday.jpg").read_bytes() == content
    assert stat.S_IMODE((inbox / "holiday.jpg").stat().st_mode) == 0o600
    wait_until(lambda: other.received)
    assert other.received == [(here, inbox / "holiday.jpg", "holiday.jpg", len(content), sent.digest, None)]
    wait_until(lambda: there.under_way == here.under_way == there.taken == here.taken == 0)
    assert node.received == node.failed == other.failed == []


@pytest.mark.parametrize(
    "window", [3 * (limits.FILE_CHUNK + TRANSFER_DATA_OVERHEAD), WINDOW], ids=["narrow", "wide"]
)
def test_both_sides_send_at_once(
    node: FileNode, other: FileNode, tmp_path: pathlib.Path, window: int
) -> None:
    """Several files each way at the same time, all whole: numbers do not meet, and full buffers do not lock up."""
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir()
    right.mkdir()
    there, here = joined(node, other, window)
    node.files.accept_files(left)
    other.files.accept_files(right)
    jobs = []
    for number in range(3):
        path = tmp_path / f"file{number}"
        path.write_bytes(BIG[number:])
        jobs.append(Background(node.files.send_file, there, path))
        jobs.append(Background(other.files.send_file, here, path))
    for job in jobs:
        assert isinstance(job.result(30.0), FileSent)
    for directory in (left, right):
        assert names(directory) == ["file0", "file1", "file2"]
        assert [(directory / f"file{n}").read_bytes() == BIG[n:] for n in range(3)] == [True] * 3


def test_progress_is_told_on_both_sides(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """Rising figures that end with all of it, once."""
    there, here = joined(node, other)
    told: list[FileProgress] = []
    sent: list[tuple[int, int]] = []
    other.files.accept_files(inbox, progress=told.append)
    node.files.send_file(there, source, progress=lambda *figures: sent.append(figures))
    size = len(BIG)
    assert [figure for figure, _ in sent] == sorted({figure for figure, _ in sent})
    assert sent[-1] == (size, size) and {total for _, total in sent} == {size}
    received = [figure.received for figure in told]
    assert received == sorted(set(received)) and received[-1] == size and len(received) > 8
    assert {(figure.peer, figure.name, figure.size) for figure in told} == {(here, "holiday.jpg", size)}


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_failing_progress_function_does_not_harm_the_file(
    node: FileNode,
    other: FileNode,
    inbox: pathlib.Path,
    source: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    """On the receiving side it is logged and never called again; on the sending side it is the caller's own error."""
    there, _ = joined(node, other)
    calls = []

    def fail(*figures: object) -> None:
        calls.append(figures)
        raise error

    other.files.accept_files(inbox, progress=fail)
    node.files.send_file(there, source, timeout=30)
    assert len(calls) == 1 and error.__name__ in caplog.text
    with pytest.raises(error):
        node.files.send_file(there, source, name="second", progress=fail)
    wait_until(lambda: other.failed)
    assert "gave up" in other.failed[0][2] and names(inbox) == ["holiday.jpg"]


def test_existing_files_are_never_overwritten(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """The second file of a name gets a number; a link that waits there is not followed."""
    (inbox / "holiday.jpg").write_bytes(b"mine")
    (inbox / "holiday (1).jpg").symlink_to(inbox / "target")
    there, _ = joined(node, other)
    other.files.accept_files(inbox)
    node.files.send_file(there, source)
    assert names(inbox) == ["holiday (1).jpg", "holiday (2).jpg", "holiday.jpg"]
    assert (inbox / "holiday.jpg").read_bytes() == b"mine"
    assert (inbox / "holiday (2).jpg").read_bytes() == BIG


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "..",
        ".bashrc",
        "a\0b",
        "x\x1b[2J\n",
        "\u202egpj.exe",
        "é" * 400,
    ],
    ids=ascii,
)
def test_hostile_names_are_harmless(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path, name: str
) -> None:
    """Whatever a file is called, it lands in the directory, visibly, under a printable name."""
    there, _ = joined(node, other)
    seen: list[FileOffer] = []
    other.files.accept_files(inbox, decide=lambda offer: bool(seen.append(offer) or True))
    before = names(inbox.parent)
    node.files.send_file(there, source, name=name)
    (found,) = names(inbox)
    assert found.isprintable() and not found.startswith(".") and "/" not in found
    assert seen[0].name == found
    assert names(inbox.parent) == before


def test_the_temporary_is_private_and_hidden(node: FileNode, inbox: pathlib.Path) -> None:
    """While it comes: nothing under the final name, and nobody else can read or guess the temporary."""
    peer = puppet(node)
    node.files.accept_files(inbox)
    peer.say(Offer(0, 10, "é" * 500), FileData(0, 0, b"half"))
    peer.expect(Accept(0))
    (part,) = names(inbox)
    assert part.startswith(".éé") and part.endswith(".part") and len(part.encode()) <= 255
    assert stat.S_IMODE((inbox / part).stat().st_mode) == 0o600
    peer.say(Fail(0, "no"))
    wait_until(lambda: not names(inbox))


def test_a_file_is_on_the_disk_before_it_has_its_name(
    node: FileNode, inbox: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after DONE must not leave an empty or a half file: first synced, then named, then confirmed."""
    peer, steps, fsync = puppet(node), list[object](), os.fsync

    def noted(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            steps.append((os.fstat(descriptor).st_size, "name" in names(inbox), Done(0) in peer.sent))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    node.files.accept_files(inbox)
    peer.say(Offer(0, 4, "name"), FileData(0, 0, b"data"), End(0, digest(b"data")))
    peer.expect(Done(0))
    assert steps == [(4, False, False)]


def test_a_slow_disk_leaves_others_their_turns(
    node: FileNode, inbox: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On greenlets nobody runs while the disk is waited for: so others do after each file, and not after many."""
    peer, synced, fsync = puppet(node), list[int](), os.fsync
    usleep = ctypes.CDLL(None).usleep  # blocks in C, unknown to gevent

    def slow(descriptor: int) -> None:
        usleep(30_000)
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    node.files.accept_files(inbox)
    for number in range(0, 16, 2):
        peer.say(Offer(number, 0, f"{number}"), End(number, digest(b"")))
    steps, pause = [0], threading.Event()
    while len(node.received) < 8:
        pause.wait(0.001)
        steps.append(len(synced))
    most = max(after - before for before, after in itertools.pairwise(steps))
    assert most <= 6, f"{most} times the disk was waited for, and nobody else had a turn"


# --- decisions --------------------------------------------------------------------------------------------------------


def test_without_permission_files_are_refused(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """By default, and again after refuse_files."""
    there, _ = joined(node, other)
    with pytest.raises(FileRefused, match="does not accept files"):
        node.files.send_file(there, source)
    other.files.accept_files(inbox)
    other.files.refuse_files()
    with pytest.raises(FileRefused, match="does not accept files"):
        node.files.send_file(there, source)
    assert names(inbox) == [] and other.failed == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(False, "declined"), ("", "declined"), ("wrong\nday", "wrong.day"), (None, "declined")],
)
def test_the_application_decides(
    node: FileNode,
    other: FileNode,
    inbox: pathlib.Path,
    source: pathlib.Path,
    answer: bool | str,
    reason: str,
) -> None:
    """It sees who offers what, and its refusal reaches the sender, made printable; a forgotten return refuses."""
    there, here = joined(node, other)
    offers: list[FileOffer] = []

    def decide(offer: FileOffer) -> bool | str:
        offers.append(offer)
        return answer

    other.files.accept_files(inbox, decide=decide)
    with pytest.raises(FileRefused, match=reason):
        node.files.send_file(there, source)
    assert offers == [FileOffer(here, "holiday.jpg", len(BIG))]
    assert names(inbox) == [] and other.failed == []


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_decision_that_fails_refuses(
    node: FileNode,
    other: FileNode,
    inbox: pathlib.Path,
    source: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    """Its exception is logged, and is no crash of ours; the sender hears no internals."""
    there, _ = joined(node, other)

    def fail(offer: FileOffer) -> bool:
        raise error

    other.files.accept_files(inbox, decide=fail)
    with pytest.raises(FileRefused, match="could not decide"):
        node.files.send_file(there, source)
    assert "decide() failed" in caplog.text and error.__name__ in caplog.text


def test_a_slow_decision_delays_nobody_else(node: FileNode, inbox: pathlib.Path) -> None:
    """While a person thinks about one peer's file, another peer's file is asked about and arrives."""
    slow, quick = puppet(node, "slow"), puppet(node, "quick")
    thinking, asked = threading.Event(), []

    def decide(offer: FileOffer) -> bool:
        asked.append(offer.name)
        return offer.peer is quick or thinking.wait(10.0)

    node.files.accept_files(inbox, decide=decide)
    slow.say(Offer(0, 1, "one"), Offer(2, 1, "two"))
    wait_until(lambda: asked == ["one"])
    quick.say(
        Offer(0, 1, "three"),
    )
    quick.expect(Accept(0))
    quick.say(FileData(0, 0, b"x"), End(0, digest(b"x")))
    quick.expect(Done(0))
    assert slow.sent == [] and asked == ["one", "three"]  # never two questions about one peer
    thinking.set()
    slow.expect(Accept(2))
    assert asked == ["one", "three", "two"]


def test_questions_are_bounded(node: FileNode, inbox: pathlib.Path) -> None:
    """However many peers offer something, so many questions are open at once, and the rest get their turn."""
    thinking, lock = threading.Event(), threading.Lock()
    open_now, most = [0], [0]

    def decide(offer: FileOffer) -> bool:
        with lock:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])
        thinking.wait(10.0)
        with lock:
            open_now[0] -= 1
        return False

    node.files.accept_files(inbox, decide=decide)
    peers = [puppet(node, f"peer{number}") for number in range(limits.FILE_TRANSFERS_MAX + 4)]
    for peer in peers:
        peer.say(Offer(0, 1, "name"))
    wait_until(lambda: open_now[0] == limits.FILE_TRANSFERS_MAX)
    thinking.set()
    for peer in peers:
        peer.expect(Refuse)
    assert most[0] == limits.FILE_TRANSFERS_MAX


def test_an_offer_withdrawn_while_being_decided_is_over(node: FileNode, inbox: pathlib.Path) -> None:
    """The late answer changes nothing, and the number may be used again."""
    peer, thinking = puppet(node), threading.Event()
    node.files.accept_files(inbox, decide=lambda offer: thinking.wait(10.0))
    peer.say(Offer(0, 1, "name"), Fail(0, "changed my mind"))
    wait_until(lambda: node.failed)
    assert node.failed == [(peer, "name", "the sender gave up: changed my mind")]
    thinking.set()
    peer.say(Offer(0, 1, "again"))
    peer.expect(Accept(0))
    assert peer.sent == [Accept(0)]


def test_too_large_a_file_is_refused_unasked(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """Both sides learn the limit; nobody is asked."""
    there, here = joined(node, other)
    other.files.accept_files(inbox, decide=lambda offer: pytest.fail("asked"), max_size=len(BIG) - 1)
    with pytest.raises(FileRefused, match=f"the limit is {len(BIG) - 1}"):
        node.files.send_file(there, source)
    wait_until(lambda: other.failed)
    assert other.failed[0][:2] == (here, "holiday.jpg") and "limit" in other.failed[0][2]
    other.files.accept_files(inbox, max_size=len(BIG))
    node.files.send_file(there, source)


def test_the_disk_must_have_room_for_all_that_was_promised(node: FileNode, inbox: pathlib.Path) -> None:
    """A file that would not fit beside those already accepted is refused before a byte is sent."""
    free = os.statvfs(inbox).f_bavail * os.statvfs(inbox).f_frsize
    peer = puppet(node)
    node.files.accept_files(inbox)
    peer.say(Offer(0, 2**63, "huge"))
    assert "there is room for" in peer.expect(Refuse).text  # type: ignore[union-attr]
    peer.say(Offer(2, free * 3 // 4, "most"))
    peer.expect(Accept(2))
    peer.say(Offer(4, free * 3 // 4, "most again"))
    wait_until(lambda: len(peer.sent) == 3)
    assert isinstance(peer.sent[2], Refuse)
    wait_until(lambda: [name for _, name, _ in node.failed] == ["huge", "most again"])


def test_accept_files_wants_a_directory(node: FileNode, inbox: pathlib.Path, source: pathlib.Path) -> None:
    """The mistake shows at the call, not when a file comes."""
    with pytest.raises(FileNotFoundError, match="no such directory"):
        node.files.accept_files(inbox / "missing")
    with pytest.raises(NotADirectoryError):
        node.files.accept_files(source)
    with pytest.raises(ValueError, match="max_size"):
        node.files.accept_files(inbox, max_size=-1)


# --- signed files -----------------------------------------------------------------------------------------------------


def test_a_signed_file_comes_with_its_proof(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """The application that decides knows before, and gets it with the file."""
    offers: list[FileOffer] = []
    there, here = joined(node, other)
    other.files.accept_files(inbox, decide=lambda offer: not offers.append(offer))  # type: ignore[func-returns-value]
    there.takes_signed_only = here.takes_signed_only = True
    sent = node.files.send_file(there, source, sign=True)
    wait_until(lambda: other.received)
    expected = (here, inbox / "holiday.jpg", "holiday.jpg", len(BIG), sent.digest, b"proof of holiday.jpg")
    assert other.received == [expected]
    assert [offer.signed for offer in offers] == [True]


def test_a_file_that_is_not_signed_is_refused_where_it_must_be(
    node: FileNode, other: FileNode, inbox: pathlib.Path, source: pathlib.Path
) -> None:
    """At its offer: nobody is asked, nothing is sent, and it is told."""
    there, here = joined(node, other)
    other.files.accept_files(inbox, decide=lambda offer: pytest.fail("asked"))
    here.takes_signed_only = True
    with pytest.raises(FileRefused, match="takes only files that are signed"):
        node.files.send_file(there, source)
    assert (here.refused, names(inbox), other.received) == (1, [], [])


def test_a_number_is_not_signed_for_twice(node: FileNode, inbox: pathlib.Path) -> None:
    """The second offer under it is refused, whatever became of the first: two files would have one proof."""
    channel = puppet(node)
    node.files.accept_files(inbox)
    channel.say(SignedOffer(0, 1, "name"), Fail(0, "never mind"))
    channel.expect(Accept(0))
    channel.say(SignedOffer(0, 1, "name"))
    channel.expect(Refuse)
