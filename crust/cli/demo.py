"""
``crust demo``: everything that crust does, on this machine, with programs in processes of their own.

The programs are the commands that anybody can run: two ``crust node --json``, and a ``crust recv`` with a
``crust send``. What happens between them goes through a proxy here, whose connections are cut on purpose.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crust

from .programs import Program, ProgramError, clean_environment, running
from .proxy import Proxy
from .terminal import human_duration, human_size

if TYPE_CHECKING:
    from .context import Context
    from .terminal import Terminal

__all__ = ["register"]

_TIME_LIMIT = 60  # seconds, of which it should need a tenth: more on a busy machine
_CUTS = 2  # of the cable, during messages
_PART = 400  # messages before, between and after the cuts
_CUT_FILE = 24_000_000  # bytes of the file whose transfer is cut
_CUT_AFTER = (0.15, 0.5)  # shares of it at which the cable is cut
_FAST_FILE = 48_000_000  # bytes of the file that shows the speed
_LOCAL = "tcp://127.0.0.1:0"


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "demo",
        parents=[common],
        help="see everything at once, on this machine",
        description="Start several crust programs on this machine and show, step by step, what they do: identities, "
        f"handshake, messages, files, and a cut link that loses nothing. Takes less than {_TIME_LIMIT} s, uses only "
        "loopback and a temporary directory, and leaves nothing behind.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run all steps; an error in one ends it with exit code 1."""
    show = _Show(context.terminal)
    with (
        _time_limit(_TIME_LIMIT),
        tempfile.TemporaryDirectory(prefix="crust-demo-", ignore_cleanup_errors=True) as home,
    ):
        environ = clean_environment(Path(home))
        _caller(Path(home)).write_text("version: 1\nlisten: {addresses: []}\n", encoding="utf-8")
        show.say(f"crust {crust.__version__}: two programs, alice and bob, each in a process of its own.")
        calls, listens = ("--config", str(_caller(Path(home)))), ("--listen", _LOCAL)
        with _node("alice", calls, environ) as alice, _node("bob", listens, environ) as bob:
            _identities(show, alice, bob)
            _stranger(show, bob)
            endpoint = _endpoint(bob)
            with Proxy(endpoint.host, endpoint.port) as proxy:
                _handshake(show, alice, bob, proxy)
                _messages(show, alice, bob)
                _cut_link(show, alice, bob, proxy)
                _goodbye(show, alice, bob)
        _files(show, Path(home), environ)
    show.done()
    return 0


class _Show:
    """The steps, numbered, as they happen. All of it is what the command is for, so it goes to stdout."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._number = 0
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        self._terminal.out(text)

    def step(self, title: str) -> None:
        self._number += 1
        self._terminal.out("")
        self._terminal.out(self._terminal.paint(f"{self._number}. {title}", "bold"))

    def fact(self, text: str) -> None:
        self._terminal.out(f"   {text}")

    def done(self) -> None:
        self._terminal.out("")
        seconds = time.monotonic() - self._started
        self._terminal.out(self._terminal.paint(f"All of it worked, in {human_duration(seconds)}.", "green"))
        self._terminal.out(
            "Now between two machines:  crust recv   there, and here   crust send CONTACT FILE"
        )


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Whatever hangs, the demonstration ends: by SIGALRM, where there is one and we are the main thread."""

    def expired(*_: object) -> None:
        raise ProgramError(f"the demonstration took longer than {seconds} s; this machine may be very busy")

    try:
        before = signal.signal(signal.SIGALRM, expired)
    except (AttributeError, ValueError):  # Windows; not the main thread
        yield
        return
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _node(name: str, options: Sequence[str], environ: dict[str, str]) -> contextlib.AbstractContextManager[Program]:
    return running(name, ["node", "--json", *options], environ)


def _caller(home: Path) -> Path:
    """The configuration of those whose cable is cut: they only call, or the other side might call them beside it."""
    return home / "caller.yaml"


def _endpoint(program: Program) -> crust.Endpoint:
    address = program.ask(cmd="info")["addresses"][0]
    return crust.Endpoint.parse(address)


def _identities(show: _Show, alice: Program, bob: Program) -> None:
    show.step("Identities")
    for program in (alice, bob):
        peer = program.event("started")["peer"]
        show.fact(f"{program.name} is {peer}  (process {program.pid})")
    show.fact(
        "An id is a public key. Whoever has it can call, wherever the other one is; nobody can pretend to be it."
    )


def _stranger(show: _Show, bob: Program) -> None:
    show.step("A stranger knocks")
    endpoint = _endpoint(bob)
    with socket.create_connection((endpoint.host, endpoint.port), timeout=5.0) as sock:
        with contextlib.suppress(OSError):  # closed in our face while we still talk: fine
            sock.sendall(b"GET / HTTP/1.1\r\nHost: bob\r\n\r\n".ljust(2048, b"x"))
            sock.shutdown(socket.SHUT_WR)
        got = 0
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(4096):
                got += len(data)
    if got:
        raise ProgramError(f"bob answered a stranger with {got} bytes")
    show.fact(
        f"A program that knows bob's port {endpoint.port} but not his key asks for a web page: 0 bytes came back."
    )


def _handshake(show: _Show, alice: Program, bob: Program, proxy: Proxy) -> None:
    show.step("Alice calls bob by his key")
    peer = bob.ask(cmd="info")["peer"]
    before = time.monotonic()
    reply = alice.ask(cmd="connect", peer=f"{peer}@tcp://127.0.0.1:{proxy.port}")
    taken = time.monotonic() - before
    bob.event("connect_success")
    path = reply["path"]
    show.fact(
        f"Connected in {taken * 1000:.0f} ms: handshake Noise XK, both keys proven, path {path['class']}."
    )
    show.fact(
        f"Cipher {path['cipher']}: the best that both processors do well. Each conversation has keys of its own."
    )


def _messages(show: _Show, alice: Program, bob: Program) -> None:
    show.step("Messages")
    ids = {program: program.ask(cmd="info")["peer"] for program in (alice, bob)}
    for sender, receiver, text in ((alice, bob, "Hello bob!"), (bob, alice, "Hello alice, I see it is you.")):
        before = time.monotonic()
        sender.ask(cmd="send", peer=ids[receiver], data=_encoded(text.encode()))
        event = receiver.event("new_message")
        taken = time.monotonic() - before
        _expect(event["peer"] == ids[sender], "the message came from somebody else")
        _expect(base64.b64decode(event["data"]) == text.encode(), "the message was changed")
        show.fact(
            f"{sender.name} to {receiver.name}: {text!r}  ({taken * 1000:.1f} ms from script to script)"
        )


def _cut_link(show: _Show, alice: Program, bob: Program, proxy: Proxy) -> None:
    show.step("The cable is cut, nothing is lost")
    peer = bob.ask(cmd="info")["peer"]
    got: list[int] = []
    for part in range(_CUTS + 1):
        for number in range(part * _PART, (part + 1) * _PART):
            alice.write({"cmd": "send", "peer": peer, "data": _encoded(str(number).encode()), "timeout": _TIME_LIMIT})
        if part < _CUTS:
            while len(got) < part * _PART + _PART // 2:  # in the midst of them
                got.append(_number_of(bob))
            proxy.cut()
    total = (_CUTS + 1) * _PART
    while len(got) < total:
        got.append(_number_of(bob))
    _expect(got == list(range(total)), "messages were lost, doubled or out of order")
    for _ in range(_CUTS):
        alice.event("peer_resumed")  # not bob: she may be back before he has noticed anything
    _expect(not alice.seen("lost_peer") and not bob.seen("lost_peer"), "the conversation was lost")
    show.fact(f"alice sent {total:,} numbered messages while their connection was cut {_CUTS} times.")
    show.fact("Each time she dialled again by herself, and the session went on where it broke.")
    show.fact(f"bob has all {total:,}: each once, in order.")


def _number_of(receiver: Program) -> int:
    return int(base64.b64decode(receiver.event("new_message")["data"]))


def _goodbye(show: _Show, alice: Program, bob: Program) -> None:
    show.step("Goodbye")
    alice.ask(cmd="stop")
    reason = bob.event("lost_peer")["reason"]
    _expect(alice.end() == 0, "alice did not end well")
    bob.ask(cmd="stop")
    _expect(bob.end() == 0, "bob did not end well")
    show.fact(f"alice stops and says so; bob hears of it at once (reason: {reason}). Both have ended.")


def _files(show: _Show, home: Path, environ: dict[str, str]) -> None:
    inbox = home / "received"
    inbox.mkdir()
    receive = [
        "recv",
        "--yes",
        "--json",
        "--dir",
        str(inbox),
        "--listen",
        _LOCAL,
        "--identity",
        str(home / "carol"),
    ]
    with running("carol", receive, environ) as carol:
        contact = crust.Contact.parse(carol.event("started")["contact"])
        endpoint = contact.endpoints[0]
        with Proxy(endpoint.host, endpoint.port) as proxy:
            show.step("A file, and the cable is cut again")
            source = _make_file(home / "holiday.jpg", _CUT_FILE)
            through = f"{contact.peer_id}@tcp://127.0.0.1:{proxy.port}"
            with _send(home, through, source, environ) as sender:
                cuts = 0
                for share in _CUT_AFTER:
                    _wait_for_bytes(sender, proxy, int(share * _CUT_FILE))
                    cuts += proxy.cut()
                sent = sender.event("file_sent")
                _expect(sender.end() == 0, "the sender did not end well")
            _compare(carol, source, sent)
            show.fact(
                f"`crust send` gave `crust recv` {human_size(_CUT_FILE)}; the connection was cut {cuts} times."
            )
            show.fact(f"It went on where it broke; BLAKE2b on both sides: {sent['digest'][:16]}…")
        show.step("Speed")
        source = _make_file(home / "film.mkv", _FAST_FILE)
        with _send(home, str(contact), source, environ) as sender:
            sent = sender.event("file_sent")
            _expect(sender.end() == 0, "the sender did not end well")
        _compare(carol, source, sent)
        rate = _FAST_FILE / sent["seconds"]
        show.fact(
            f"{human_size(_FAST_FILE)} from process to process, encrypted, disk to disk: {human_size(rate)}/s."
        )


def _send(
    home: Path, contact: str, source: Path, environ: dict[str, str]
) -> contextlib.AbstractContextManager[Program]:
    options = ["--json", "--config", str(_caller(home)), "--identity", str(home / "dave")]
    return running("dave", ["send", *options, contact, str(source)], environ)


def _make_file(path: Path, size: int) -> Path:
    block = os.urandom(1_000_000)
    with open(path, "wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    return path


def _compare(receiver: Program, source: Path, sent: dict[str, Any]) -> None:
    event = receiver.event("file_received")
    arrived = hashlib.blake2b(Path(event["path"]).read_bytes(), digest_size=32).hexdigest()
    original = hashlib.blake2b(source.read_bytes(), digest_size=32).hexdigest()
    _expect(arrived == original == sent["digest"] == event["digest"], "the file that arrived is another one")


def _wait_for_bytes(sender: Program, proxy: Proxy, count: int, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while proxy.passed < count:
        if time.monotonic() > deadline:
            raise sender.trouble("the transfer did not move")
        time.sleep(0.002)


def _expect(fact: bool, trouble: str) -> None:
    if not fact:
        raise ProgramError(trouble)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
