"""``crust send``, ``recv`` and ``chat`` by id alone, with a rendezvous: processes, loopback."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import crust
from crust.service.node import Node
from tests.cli.processes import LOCAL, PATIENCE, Process, no_traceback
from tests.support.nodes import Nodes, config
from tests.support.sockets import unused_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # several processes each

READY = "on the other side run:  "


def rendezvous(home: Path, listen: str = LOCAL) -> Process:
    return Process(home, "node", "--serve-relay", "--allow-bootstrap", "--listen", listen, "--identity", "server")


def recv(home: Path, *words: str) -> Process:
    (home / "in").mkdir(exist_ok=True)
    return Process(home, "recv", "--dir", "in", "--listen", LOCAL, "--identity", "carol", *words)


def line_of(process: Process) -> list[str]:
    """The words of the line that it shows for the other side."""
    process.shows(READY)
    (shown,) = (line for line in process.errors.splitlines() if READY in line)
    return shlex.split(shown.partition(READY)[2])


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """The contact of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"{crust.Identity.generate().peer_id}@tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    data = os.urandom(300_000)
    (tmp_path / "photo.jpg").write_bytes(data)
    return data


def test_a_file_by_id_alone(tmp_path: Path, photo: bytes) -> None:
    """The contact of the receiver comes once it can be reached; the rendezvous is told of as such."""
    with rendezvous(tmp_path) as server:
        meeting = server.line()
        with recv(tmp_path, "--yes", "--once", "--contact", meeting) as receiver:
            peer_id = str(crust.Contact.parse(receiver.line()).peer_id)
            words = ("send", "--identity", "dave", "--listen", LOCAL, peer_id, "photo.jpg", "--contact", meeting)
            with Process(tmp_path, *words) as sender:
                assert sender.ends() == 0, sender.errors
            assert receiver.ends() == 0
    assert (tmp_path / "in" / "photo.jpg").read_bytes() == photo
    for each in (receiver, sender):
        assert each.errors.count("linked to the rendezvous") == 1 and "warning" not in each.errors
        no_traceback(each)
    assert receiver.errors.count("is connected") == 1  # the sender


def test_the_line_that_it_shows_works(tmp_path: Path, photo: bytes) -> None:
    """Pasted, with the file's name in the place of FILE."""
    with rendezvous(tmp_path) as server:
        meeting = server.line()
        with recv(tmp_path, "--yes", "--once", "--contact", meeting, "--network", "our net") as receiver:
            assert receiver.line()
            words = line_of(receiver)
            assert words[:2] == ["crust", "send"] and words[3:6] == ["FILE", "--contact", meeting]
            assert "cannot be reached" in receiver.errors  # it is in another network
            receiver.interrupt()
            assert receiver.ends() == 130
            no_traceback(receiver)
        with recv(tmp_path, "--yes", "--once", "--contact", meeting) as receiver:
            words = [word.replace("FILE", "photo.jpg") for word in line_of(receiver)]
            with Process(tmp_path, *words[1:], "--identity", "dave") as sender:
                assert sender.ends() == 0, sender.errors
            assert receiver.ends() == 0
    assert (tmp_path / "in" / "photo.jpg").read_bytes() == photo


def test_a_chat_by_id_alone(tmp_path: Path) -> None:
    """The rendezvous is not among the people: it gets no line, and nobody hears that it came."""
    with rendezvous(tmp_path) as server:
        meeting = server.line()
        name = crust.Contact.parse(meeting).peer_id.short
        chat = ("chat", "--listen", LOCAL, "--contact", meeting, "--identity")
        with Process(tmp_path, *chat, "bob") as bob:
            words = line_of(bob)
            bob.type("anybody?")
            bob.shows("nobody is here yet")
            with Process(tmp_path, *words[1:], "--listen", LOCAL, "--identity", "alice") as alice:
                alice.shows(" is here (")
                bob.shows(" is here (")
                alice.type("hello")
                bob.line()  # its contact
                assert bob.line().endswith(": hello")
                bob.type("hello to you")
                assert alice.line().endswith(": hello to you")
                alice.close_stdin()
                assert alice.ends() == 0
            peer_id = str(crust.Contact.parse(words[2]).peer_id)
            with Process(tmp_path, "chat", peer_id, *chat[1:], "carol") as carol:
                carol.type("by id")
                assert bob.line().endswith(": by id")
                bob.interrupt()
                assert bob.ends() == 130
                assert carol.ends() == 0
        assert "new message" not in server.errors
    for each in (alice, bob, carol):
        assert f"{name}… is here" not in each.errors and f"linked to the rendezvous {name}" in each.errors
        no_traceback(each)


def test_a_chat_with_whom_a_full_rendezvous_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name anybody as another rendezvous, so also who calls here to talk, or to send a file."""
    with Nodes() as nodes:
        bob = nodes.start(config())
        server = nodes.start(config(limits__max_peers=1))
        bob.connect(server.contact, timeout=PATIENCE)
        monkeypatch.setattr(Node, "alternates", lambda *_: (str(bob.contact),))
        chat = ("chat", "--listen", LOCAL, "--identity", "alice", "--contact", str(server.contact))
        with Process(tmp_path, *chat) as alice:
            contact = crust.Contact.parse(alice.line())
            wait_until(functools.partial(bob.is_connected, contact.peer_id), PATIENCE, "the link by hearsay")
            bob.connect(contact, timeout=PATIENCE).send(b"hello")
            assert alice.line().endswith(": hello")
            alice.type("hello to you")
            assert bob.connect(contact, timeout=PATIENCE).recv(timeout=PATIENCE) == b"hello to you"
        wait_until(lambda: not bob.is_connected(contact.peer_id), PATIENCE, "its end")
        (tmp_path / "a.txt").write_text("a")
        with recv(tmp_path, "--yes", "--once", "--contact", str(server.contact)) as receiver:
            contact = crust.Contact.parse(receiver.line())
            wait_until(functools.partial(bob.is_connected, contact.peer_id), PATIENCE, "the link by hearsay")
            assert bob.connect(contact, timeout=PATIENCE).send_file(tmp_path / "a.txt", timeout=PATIENCE).size == 1
            assert receiver.ends() == 0


def test_the_link_comes_back(tmp_path: Path, photo: bytes) -> None:
    """The rendezvous is killed, and starts anew with its key and its port: whoever waits is found again."""
    listen = f"tcp://127.0.0.1:{unused_port()}"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(rendezvous(tmp_path, listen))
        meeting = server.line()
        receiver = stack.enter_context(recv(tmp_path, "--yes", "--once", "--contact", meeting))
        peer_id = str(crust.Contact.parse(receiver.line()).peer_id)
        server.interrupt(signal.SIGTERM)
        assert server.ends() == 0
        receiver.shows("linking again")
        again = stack.enter_context(rendezvous(tmp_path, listen))
        assert again.line() == meeting
        wait_until(lambda: receiver.errors.count("linked to the rendezvous") == 2, PATIENCE, "the second link")
        words = ("send", "--identity", "dave", "--listen", LOCAL, peer_id, "photo.jpg", "--contact", meeting)
        sender = stack.enter_context(Process(tmp_path, *words))
        assert sender.ends() == 0, sender.errors
        assert receiver.ends() == 0
    assert (tmp_path / "in" / "photo.jpg").read_bytes() == photo


def test_who_is_not_there_is_told_and_done_without(tmp_path: Path, photo: bytes) -> None:
    """By the addresses of the contact; by an id alone there is no way, and the error says so."""
    nobody = f"{crust.Identity.generate().peer_id}@tcp://127.0.0.1:{unused_port()}"
    with recv(tmp_path, "--yes", "--once", "--contact", nobody) as receiver:
        contact = crust.Contact.parse(receiver.line())
        receiver.shows("refused")
        assert "cannot be reached" in receiver.errors
        words = ("--identity", "dave", "photo.jpg", "--contact", nobody)
        with Process(tmp_path, "send", str(contact.peer_id), *words) as sender:
            assert sender.ends() == 1
            assert "warning: the rendezvous" in sender.errors and "no address is known for peer" in sender.errors
            no_traceback(sender)
        with Process(tmp_path, "send", str(contact), *words) as sender:
            assert sender.ends() == 0, sender.errors
            assert "warning: the rendezvous" in sender.errors
        assert receiver.ends() == 0
    assert (tmp_path / "in" / "photo.jpg").read_bytes() == photo


def test_ctrl_c_while_it_waits_for_the_rendezvous(tmp_path: Path, photo: bytes) -> None:
    """It ends at once, in each of the commands; and with ``--timeout`` it waits no longer than that."""
    with silent() as meeting:
        peer_id = str(crust.Identity.generate().peer_id)
        for words in (("recv", "--yes"), ("send", peer_id, "photo.jpg"), ("chat",), ("chat", peer_id)):
            with Process(tmp_path, *words, "--contact", meeting, "--identity", "me") as process:
                process.shows("linking to the rendezvous")
                process.interrupt()
                assert process.ends(5.0) == 130, process.errors
                no_traceback(process)
        with Process(tmp_path, "send", peer_id, "photo.jpg", "--contact", meeting, "--timeout", "0.3") as process:
            assert process.ends() == 1
            assert "no rendezvous has answered within 0.3 s" in process.errors


def test_no_file_is_taken_from_a_rendezvous(tmp_path: Path, photo: bytes) -> None:
    """Though ``--yes`` takes them from anyone; ``--from`` makes it one of those who may."""
    with Nodes() as nodes:
        server = nodes.start(config(relay__serve=True))
        for words, taken in ((("--yes",), False), (("--from", str(server.id)), True)):
            with recv(tmp_path, *words, "--contact", str(server.contact)) as receiver:
                peer_id = crust.Contact.parse(receiver.line()).peer_id
                wait_until(functools.partial(server.is_connected, peer_id), PATIENCE, "the link, at both ends")
                (peer,) = server.peers
                if taken:
                    assert peer.send_file(tmp_path / "photo.jpg", timeout=PATIENCE).size == len(photo)
                else:
                    with pytest.raises(crust.FileRefused, match="takes no files from a rendezvous"):
                        peer.send_file(tmp_path / "photo.jpg", timeout=PATIENCE)
                    receiver.shows("refused photo.jpg of ")
                receiver.interrupt()
                assert receiver.ends() == 130
                wait_until(lambda: not server.peers, PATIENCE, "its end, as the rendezvous sees it")


def test_a_shared_node_links_too(tmp_path: Path) -> None:
    """``crust node --control`` and ``crust node``."""
    with rendezvous(tmp_path) as server:
        meeting = server.line()
        for words in (("--control", "socket"), ()):
            with Process(
                tmp_path, "node", *words, "--contact", meeting, "--listen", LOCAL, "--identity", "shared"
            ) as shared:
                shared.shows("linked to the rendezvous")
                shared.interrupt()
                assert shared.ends() == 130
                no_traceback(shared)
