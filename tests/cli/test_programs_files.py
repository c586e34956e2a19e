"""``crust send`` and ``crust recv`` for real."""

from __future__ import annotations

import hashlib
import os
import resource
import selectors
import signal
import time
from pathlib import Path

import pytest

import crust
from tests.cli.processes import LOCAL, PATIENCE, Process, no_traceback
from tests.support.proxy import UP, Proxy
from tests.support.sockets import silent_listener
from tests.support.waiting import LOOK, Patience, busy, wait_until

pytestmark = pytest.mark.slow  # several processes each


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def recv(home: Path, *words: str, **options: object) -> Process:
    (home / "in").mkdir(exist_ok=True)
    return Process(home, "recv", "--dir", "in", "--listen", LOCAL, "--identity", "carol", *words, **options)  # type: ignore[arg-type]


def send(home: Path, contact: object, *files: str, **options: object) -> Process:
    return Process(home, "send", "--identity", "dave", str(contact), *files, **options)  # type: ignore[arg-type]


def contact_of(receiver: Process) -> crust.Contact:
    return crust.Contact.parse(receiver.line())


def through(contact: crust.Contact, proxy: Proxy) -> crust.Contact:
    return crust.Contact(contact.peer_id, [crust.Endpoint.parse(proxy.endpoint)])


def received(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / "in").iterdir()}


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    data = os.urandom(300_000)
    (tmp_path / "photo.jpg").write_bytes(data)
    return data


def test_files_arrive_whole_and_never_overwrite(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "empty").touch()
    with recv(tmp_path, "--yes") as receiver:
        contact = contact_of(receiver)
        (tmp_path / "in" / "photo.jpg").write_bytes(b"mine")
        with send(tmp_path, contact, "photo.jpg", "empty") as sender:
            assert sender.line() == f"{digest(photo)}  photo.jpg"
            assert sender.line() == f"{digest(b'')}  empty"
            assert sender.ends() == 0
            assert "checksum verified there" in sender.errors
        first, second = receiver.line(), receiver.line()
        assert first.startswith(digest(photo)) and second.startswith(digest(b""))
        assert Path(tmp_path, first.split("  ", 1)[1]).read_bytes() == photo
        found = received(tmp_path)
        assert found.pop("photo.jpg") == b"mine"
        assert sorted(found.values(), key=len) == [b"", photo]
        receiver.interrupt()
        assert receiver.ends() == 130
        no_traceback(receiver)


def test_a_cut_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    data = os.urandom(8_000_000)
    (tmp_path / "film").write_bytes(data)
    with recv(tmp_path, "--yes", "--once") as receiver:
        contact = contact_of(receiver)
        with Proxy(contact.endpoints[0].port) as proxy:
            proxy.cut_after(UP, 2_000_000)
            with send(tmp_path, through(contact, proxy), "film") as sender:
                wait_until(lambda: proxy.connections >= 3, PATIENCE, "a second cut")
                proxy.cut_after(UP, None)
                assert sender.line() == f"{digest(data)}  film"
                assert sender.ends() == 0
                assert "link lost, reconnecting" in sender.errors
                assert "going on where it broke" in sender.errors
            assert receiver.ends() == 0
    assert received(tmp_path) == {"film": data}


def test_from_takes_only_from_these(tmp_path: Path, photo: bytes) -> None:
    friend = crust.Identity.load_or_create(tmp_path / "dave").peer_id
    with Process(tmp_path, "contacts", "add", "dave", str(friend)) as adding:
        assert adding.ends() == 0
    with recv(tmp_path, "--from", "dave", "--once") as receiver:
        contact = contact_of(receiver)
        with Process(tmp_path, "send", "--identity", "eve", str(contact), "photo.jpg") as stranger:
            assert stranger.ends() == 1
            assert "does not take files from this peer" in stranger.errors
            no_traceback(stranger)
        assert received(tmp_path) == {}
        with send(tmp_path, contact, "photo.jpg") as sender:
            assert sender.ends() == 0
        assert receiver.ends() == 0
        assert "dave" in receiver.errors
    assert received(tmp_path) == {"photo.jpg": photo}


def test_a_file_beyond_the_limit_is_refused_and_the_next_taken(tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "small").write_bytes(b"x")
    with recv(tmp_path, "--yes", "--once", "--max-size", "100k") as receiver:
        with send(tmp_path, contact_of(receiver), "photo.jpg", "small") as sender:
            assert sender.ends() == 1
            assert "photo.jpg: " in sender.errors
            no_traceback(sender)
        assert receiver.ends() == 0
    assert received(tmp_path) == {"small": b"x"}


def test_a_full_disk_ends_in_errors_on_both_sides(tmp_path: Path) -> None:
    """The receiver cannot write beyond 1 MB: both say so, and no half file is left."""
    (tmp_path / "film").write_bytes(bytes(3_000_000))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with recv(tmp_path, "--yes", "--once", limit=limit) as receiver:
        with send(tmp_path, contact_of(receiver), "film") as sender:
            assert sender.ends() == 1
            assert "film: " in sender.errors
            no_traceback(sender)
        assert receiver.ends() == 1
        assert "film of " in receiver.errors and "did not arrive" in receiver.errors
        no_traceback(receiver)
    assert received(tmp_path) == {}


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_ctrl_c_in_the_middle_leaves_no_half_file(tmp_path: Path, who: str) -> None:
    (tmp_path / "film").write_bytes(os.urandom(30_000_000))
    with recv(tmp_path, "--yes", "--once") as receiver:
        contact = contact_of(receiver)
        with Proxy(contact.endpoints[0].port) as proxy:
            proxy.delay(0.05)
            with send(tmp_path, through(contact, proxy), "film") as sender:
                wait_until(lambda: proxy.forwarded[UP] > 3_000_000, PATIENCE, "the middle")
                interrupted, other = (sender, receiver) if who == "sender" else (receiver, sender)
                began = time.monotonic()
                interrupted.interrupt()
                assert interrupted.ends() == 130
                assert time.monotonic() - began < 8.0 * busy()
                assert interrupted.errors.endswith("interrupted\n")
                no_traceback(interrupted)
                assert other.ends() == 1
                no_traceback(other)
    assert received(tmp_path) == {}


def test_ctrl_c_while_calling(tmp_path: Path, photo: bytes) -> None:
    stranger = crust.Identity.generate().peer_id
    sockets, port = silent_listener()  # where the call lasts, however slow this machine is
    with send(tmp_path, f"{stranger}@tcp://127.0.0.1:{port}", "photo.jpg", "--timeout", "60") as sender:
        sender.shows("calling")
        sender.interrupt()
        assert sender.ends() == 130
        no_traceback(sender)
    for sock in sockets:
        sock.close()


def test_ctrl_c_while_waiting(tmp_path: Path) -> None:
    with recv(tmp_path, "--yes") as receiver:
        contact_of(receiver)
        receiver.interrupt()
        assert receiver.ends() == 130
        assert receiver.errors.endswith("interrupted\n")


def test_nobody_there_is_told_with_what_was_tried(tmp_path: Path, photo: bytes) -> None:
    with recv(tmp_path, "--yes") as receiver:
        contact = contact_of(receiver)
        receiver.interrupt()
        receiver.ends()
    with send(tmp_path, contact, "photo.jpg") as sender:
        assert sender.ends() == 1
        assert str(contact.endpoints[0]) in sender.errors
        assert "refused" in sender.errors
        no_traceback(sender)


def test_a_bare_id_needs_an_address_from_somewhere(tmp_path: Path, photo: bytes) -> None:
    """No route is an error; --contact supplies the address."""
    with recv(tmp_path, "--yes", "--once") as receiver:
        contact = contact_of(receiver)
        with send(tmp_path, contact.peer_id, "photo.jpg") as sender:
            assert sender.ends() == 1
            assert "crust: error: " in sender.errors
        with send(tmp_path, contact.peer_id, "photo.jpg", "--contact", str(contact)) as sender:
            assert sender.ends() == 0
        assert receiver.ends() == 0


def test_an_identity_in_use_is_replaced_for_one_run(tmp_path: Path, photo: bytes) -> None:
    """Two commands of one user at once: the second takes a fresh identity and says so."""
    (tmp_path / "in").mkdir()
    words = ("recv", "--dir", "in", "--listen", LOCAL, "--yes", "--once")
    with Process(tmp_path, *words) as receiver:
        contact = contact_of(receiver)
        with Process(tmp_path, "send", str(contact), "photo.jpg") as sender:
            assert sender.ends() == 0
            assert "taking a fresh identity" in sender.errors
            assert str(receiver.process.pid) in sender.errors
        assert receiver.ends() == 0


class Screen:
    """A pseudo-terminal; what appears on it is in ``text``."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.text = ""

    def shows(self, text: str) -> None:
        """Wait until it appears."""
        patience = Patience(PATIENCE)
        with selectors.PollSelector() as selector:
            selector.register(self.master, selectors.EVENT_READ)
            while text not in self.text:
                assert patience.left > 0, f"not shown: {text!r}: {self.text}"
                if selector.select(LOOK):
                    self.text += os.read(self.master, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        for descriptor in (self.master, self.slave):
            with open(descriptor, "rb", buffering=0):
                pass


@pytest.fixture
def screen() -> object:
    made = Screen()
    yield made
    made.close()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_recv_asks(
    tmp_path: Path, photo: bytes, screen: Screen, answer: str, code: int
) -> None:
    with recv(tmp_path, stdin=screen.slave, stderr=screen.slave, TERM="xterm", NO_COLOR="1") as receiver:
        contact = contact_of(receiver)
        with send(tmp_path, contact, "photo.jpg") as sender:
            screen.shows("offers photo.jpg (300 kB). Take it? [y/N] ")
            screen.type(answer + "\n")
            assert sender.ends() == code
        screen.type("\x03" if answer == "y" else "")
        receiver.interrupt()
        assert receiver.ends() == 130
    assert received(tmp_path) == ({"photo.jpg": photo} if code == 0 else {})


def test_ctrl_c_while_asking_refuses(tmp_path: Path, photo: bytes, screen: Screen) -> None:
    with recv(tmp_path, stdin=screen.slave, stderr=screen.slave) as receiver:
        with send(tmp_path, contact_of(receiver), "photo.jpg") as sender:
            screen.shows("Take it?")
            receiver.interrupt()
            assert receiver.ends() == 130
            assert sender.ends() == 1
            no_traceback(sender)
    assert received(tmp_path) == {}


def test_a_terminal_shows_a_bar(tmp_path: Path, screen: Screen) -> None:
    (tmp_path / "film").write_bytes(bytes(5_000_000))
    with recv(tmp_path, "--yes", "--once") as receiver:
        contact = contact_of(receiver)
        with Proxy(contact.endpoints[0].port) as proxy:
            proxy.delay(0.08)
            with send(tmp_path, through(contact, proxy), "film", stderr=screen.slave, TERM="xterm") as sender:
                screen.shows("film [")
                screen.shows("of 5.00 MB")
                screen.shows("arrived whole")
                assert sender.ends() == 0
        assert receiver.ends() == 0
        assert "\x1b" not in receiver.errors  # its stderr is a pipe
