"""Lines from a descriptor: whole, bounded, and the waiting can be ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.cli.lines import Lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """A pipe: its reading descriptor, and an unbuffered file to write to and close."""
    out, into = os.pipe()
    # Closed as a file: gevent's os.close() waits for its loop, and the loop would wait for the end of the pipe.
    with open(into, "wb", buffering=0) as file:
        yield out, file
    os.close(out)


def everything(descriptor: int, limit: int = 1000) -> list[bytes | None]:
    """All lines; None for each that was too long."""
    found: list[bytes | None] = []
    with Lines(descriptor, limit) as lines:
        while True:
            try:
                line = lines.read()
            except ValueError:
                found.append(None)
                continue
            if line is None:
                return found
            found.append(line)


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b and not b.endswith(b"\r"))))
def test_lines_come_out_as_they_went_in(wanted: list[bytes]) -> None:
    out, into = os.pipe()
    with open(into, "wb", buffering=0) as file:
        file.write(b"".join(line + b"\n" for line in wanted))
    try:
        assert everything(out) == wanted
    finally:
        os.close(out)


def test_the_last_line_needs_no_end(pipe: tuple[int, BinaryIO]) -> None:
    pipe[1].write(b"one\r\ntwo")
    pipe[1].close()
    assert everything(pipe[0]) == [b"one", b"two"]


def test_a_long_line_is_an_error_and_the_next_one_is_read(pipe: tuple[int, BinaryIO]) -> None:
    writer = threading.Thread(target=lambda: (pipe[1].write(b"x" * 50_000 + b"\nok\n"), pipe[1].close()), daemon=True)
    writer.start()
    assert everything(pipe[0], limit=10) == [None, b"ok"]
    writer.join()


def test_a_long_last_line_is_an_error_too(pipe: tuple[int, BinaryIO]) -> None:
    pipe[1].write(b"x" * 11)
    pipe[1].close()
    assert everything(pipe[0], limit=10) == [None]


def test_stop_ends_the_waiting(pipe: tuple[int, BinaryIO]) -> None:
    """stop() from another thread ends a read() that waits for an open but silent descriptor."""
    found: list[bytes | None] = [b"nothing yet"]
    with Lines(pipe[0], 10) as lines:
        reader = threading.Thread(target=lambda: found.append(lines.read()), daemon=True)
        reader.start()
        lines.stop()
        reader.join(5.0)
        assert not reader.is_alive()
        assert found[-1] is None
        assert lines.read() is None


def test_a_plain_file_can_be_read(tmp_path: object) -> None:
    """``crust node --json <script`` reads a file, which epoll would refuse."""
    path = os.path.join(str(tmp_path), "script")
    with open(path, "wb") as file:
        file.write(b"one\ntwo\n")
    with open(path, "rb") as file:
        assert everything(file.fileno()) == [b"one", b"two"]
