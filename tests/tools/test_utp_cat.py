"""``tools/utp-cat``: bytes go through two of them whole, ends and failures are told, and nothing is left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from crust.transports.utp.packet import PacketType, parse_packet_untrusted
from tests.support.source import ROOT
from tests.support.threads import Background
from tests.support.udp_relay import UdpRelay
from tests.support.waiting import wait_until

CAT = [sys.executable, str(ROOT / "tools" / "utp-cat")]
LOCAL = "127.0.0.1"
WAIT = 30.0


class Cat:
    """One process; its stderr is kept."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*CAT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name="test-stderr", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode())

    @property
    def errors(self) -> str:
        return "".join(self.lines)

    def said(self, pattern: str) -> re.Match[str]:
        """Wait for it to say that."""
        wait_until(lambda: re.search(pattern, self.errors), WAIT, f"{pattern!r} in {self.errors!r}")
        found = re.search(pattern, self.errors)
        assert found is not None
        return found

    def code(self) -> int:
        """Its exit status, when it has ended by itself."""
        return self.process.wait(WAIT)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stdin.close()
        self.process.kill()
        self.process.wait(WAIT)
        self._reader.join(WAIT)
        self.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def cats(listening: Sequence[str] = (), dialling: Sequence[str] = ()) -> Iterator[tuple[Cat, Cat]]:
    """One that listens, and one that has dialled it."""
    listener = Cat("-l", *listening, LOCAL, "0")
    try:
        port = listener.said(r"listening on utp://127\.0\.0\.1:(\d+)")[1]
        dialler = Cat(*dialling, LOCAL, port)
        try:
            yield listener, dialler
        finally:
            dialler.close()
    finally:
        listener.close()


def feed(cat: Cat, data: bytes) -> Background:
    """Give it all of that, and then the end of its input."""

    def write() -> None:
        with cat.stdin:
            cat.stdin.write(data)

    return Background(write)


def drain(cat: Cat) -> Background:
    """Take all of its output."""
    return Background(cat.stdout.read)


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("congestion", ["fair", "background"])
def test_bytes_go_both_ways_whole(congestion: str) -> None:
    """Megabytes in both directions at once: what comes out has the hash of what went in, and both end with 0."""
    there, back = random.Random(1).randbytes(6_000_011), random.Random(2).randbytes(2_000_003)
    options = ["--congestion", congestion]
    with cats(options, options) as (listener, dialler):
        jobs = [feed(dialler, there), feed(listener, back), drain(listener), drain(dialler)]
        outcomes = [job.result(WAIT) for job in jobs]
        assert (listener.code(), dialler.code()) == (0, 0), listener.errors + dialler.errors
    for sent, received in ((there, outcomes[2]), (back, outcomes[3])):
        assert isinstance(received, bytes) and len(received) == len(sent)
        assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


@pytest.mark.parametrize("first", ["listener", "dialler"])
def test_one_direction_ends_and_the_other_goes_on(first: str) -> None:
    """After the end of its input it goes on receiving, until the peer's end; the peer sees the first end at once."""
    with cats() as (listener, dialler):
        early, late = (listener, dialler) if first == "listener" else (dialler, listener)
        late.stdin.write(b"begin ")
        late.stdin.flush()
        assert early.stdout.read(6) == b"begin "
        early.stdin.write(b"all I have")
        early.stdin.close()
        assert late.stdout.read() == b"all I have"
        for number in range(3):  # the late one's direction is as it was
            late.stdin.write(b"more %d" % number)
            late.stdin.flush()
            assert early.stdout.read(6) == b"more %d" % number
        assert early.process.poll() is None and late.process.poll() is None
        late.stdin.close()
        assert early.stdout.read() == b""
        assert (early.code(), late.code()) == (0, 0), early.errors + late.errors


def test_empty_inputs_are_fine() -> None:
    """Nothing in either direction is a transfer of nothing."""
    with cats() as (listener, dialler):
        dialler.stdin.close()
        listener.stdin.close()
        assert (dialler.stdout.read(), listener.stdout.read()) == (b"", b"")
        assert (listener.code(), dialler.code()) == (0, 0), listener.errors + dialler.errors


def test_progress_is_told_if_wanted() -> None:
    """With ``-v`` who is connected, and what has moved, with its rate; without it nothing but the port."""
    with cats(dialling=["-v"]) as (listener, dialler):
        jobs = [feed(dialler, bytes(500_000)), feed(listener, b""), drain(listener), drain(dialler)]
        for job in jobs:
            job.result(WAIT)
        assert (listener.code(), dialler.code()) == (0, 0), listener.errors + dialler.errors
        dialler.said(r"connected: utp://127\.0\.0\.1:\d+ to utp://127\.0\.0\.1:\d+, fair")
        dialler.said(r"done, 500 kB sent \(\S+ \S?B/s\), 0 B received .*, round trip \S+ ms, window .*, \d+ lost")
        assert len(listener.lines) == 1


@pytest.mark.parametrize("first", ["listener", "dialler"])
def test_a_lost_last_packet_is_no_failure(first: str) -> None:
    """The acknowledgement of the last end is lost on the way: whoever sent it is still there to send it again."""
    ends: list[bool] = []  # who has sent one, as directions
    lost: list[bytes] = []

    def lose(data: bytes, upwards: bool) -> bool:
        kind = parse_packet_untrusted(data).type
        if kind is PacketType.FIN and upwards not in ends:
            ends.append(upwards)
        if len(ends) < 2 or lost or kind is not PacketType.STATE or upwards is not ends[0]:
            return False
        lost.append(data)
        return True

    listener = Cat("-l", LOCAL, "0")
    with contextlib.closing(listener), UdpRelay(int(listener.said(r":(\d+)")[1]), 0, also=lose) as relay:
        with contextlib.closing(Cat(LOCAL, str(relay.port))) as dialler:
            early, late = (listener, dialler) if first == "listener" else (dialler, listener)
            early.stdin.close()
            assert late.stdout.read() == b""
            late.stdin.close()
            assert (early.code(), late.code()) == (0, 0), early.errors + late.errors
    assert lost


# --- failures ---------------------------------------------------------------------------------------------------------


def test_nobody_there() -> None:
    """A port where nothing listens: refused, with its address, exit status 1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOCAL, 0))
        port = sock.getsockname()[1]
    done = subprocess.run([*CAT, LOCAL, str(port)], input=b"", capture_output=True, timeout=WAIT, check=False)
    assert done.returncode == 1
    assert f"utp://127.0.0.1:{port}: " in done.stderr.decode() and "refused" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_nobody_answers() -> None:
    """A port that is silent: a timeout, after the time that was given."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOCAL, 0))
        port = silent.getsockname()[1]
        command = [*CAT, "--timeout", "0.5", LOCAL, str(port)]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=WAIT, check=False)
    assert done.returncode == 1
    assert "no answer within 0.5 s" in done.stderr.decode()


def test_nobody_calls() -> None:
    """The same for one that waits to be called."""
    command = [*CAT, "-l", "--timeout", "0.2", LOCAL, "0"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=WAIT, check=False)
    assert done.returncode == 1
    assert b"nobody has called within 0.2 s" in done.stderr


def test_nothing_moves() -> None:
    """With ``--idle`` a connection on which nothing happens is given up; the peer hears of it."""
    with cats(dialling=["--idle", "0.5"]) as (listener, dialler):
        assert dialler.code() == 1
        dialler.said("nothing has moved for 0.5 s")
        assert listener.code() == 1
        listener.said("reset")


def test_a_taken_port() -> None:
    """Told with its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOCAL, 0))
        port = taken.getsockname()[1]
        done = subprocess.run([*CAT, "-l", LOCAL, str(port)], input=b"", capture_output=True, timeout=WAIT, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [[], [LOCAL], [LOCAL, "65536"], [LOCAL, "0"], [LOCAL, "x"], ["[", "1"], ["-l", LOCAL, "1", "2"],
     ["--congestion", "none", LOCAL, "1"], ["--timeout", "0", LOCAL, "1"], ["--idle", "never", LOCAL, "1"]],
)  # fmt: skip
def test_wrong_arguments(arguments: list[str]) -> None:
    """Exit status 2, and what is wrong."""
    done = subprocess.run([*CAT, *arguments], capture_output=True, timeout=WAIT, check=False, text=True)
    assert done.returncode == 2
    assert "usage: utp-cat" in done.stderr and "Traceback" not in done.stderr


# --- other ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["listener", "dialler"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c(which: str, number: signal.Signals) -> None:
    """Exit status 130 without a traceback, at once; the peer hears a reset instead of waiting for ever."""
    with cats() as (listener, dialler):
        dialler.stdin.write(b"hello")
        dialler.stdin.flush()
        assert listener.stdout.read(5) == b"hello"
        one, other = (listener, dialler) if which == "listener" else (dialler, listener)
        one.process.send_signal(number)
        assert one.code() == 130
        one.said("interrupted")
        assert other.code() == 1
        other.said("reset")
        assert "Traceback" not in one.errors + other.errors


def test_ctrl_c_while_waiting() -> None:
    """Nobody has called yet."""
    cat = Cat("-l", LOCAL, "0")
    try:
        cat.said("listening")
        cat.process.send_signal(signal.SIGINT)
        assert cat.code() == 130
        assert "Traceback" not in cat.errors
    finally:
        cat.close()


def test_a_broken_pipe() -> None:
    """Whoever read the output has gone: it ends without a word, with status 1, and the peer hears a reset."""
    with cats() as (listener, dialler):
        listener.stdout.close()
        dialler.stdin.write(bytes(100_000))
        with contextlib.suppress(BrokenPipeError):
            dialler.stdin.flush()
        assert listener.code() == 1
        assert len(listener.lines) == 1  # its port
        assert dialler.code() == 1
        dialler.said("reset")


def test_a_slow_reader_holds_the_sender_up(tmp_path: Path) -> None:
    """What nobody takes is not piled up in memory: the sender waits, and all arrives in the end."""
    data = random.Random(3).randbytes(1 << 20) * 32
    source = tmp_path / "data"
    source.write_bytes(data)
    listener = Cat("-l", LOCAL, "0")
    try:
        port = listener.said(r":(\d+)")[1]
        listener.stdin.close()
        with source.open("rb") as stdin:
            sender = subprocess.Popen([*CAT, LOCAL, port], stdin=stdin, stdout=subprocess.DEVNULL)
        try:
            assert listener.stdout.read(100_000) == data[:100_000]
            with pytest.raises(subprocess.TimeoutExpired):
                sender.wait(1.0)
            assert memory_of(listener.process.pid) < 100_000_000
            assert listener.stdout.read() == data[100_000:]
            assert sender.wait(WAIT) == 0
        finally:
            sender.kill()
            sender.wait(WAIT)
        assert listener.code() == 0
    finally:
        listener.close()


def memory_of(process: int) -> int:
    """Bytes resident; 0 where the system does not tell."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
