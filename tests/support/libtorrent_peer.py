"""libtorrent, the BitTorrent library that many clients are made of, as the other end of a stream."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.torrents import Torrent


def require_libtorrent() -> None:
    """Skip the test, loudly, where there is no libtorrent; in CI that fails it."""
    if importlib.util.find_spec("libtorrent") is None:
        assert not os.environ.get("CRUST_REQUIRE_LAB"), "libtorrent is not installed: pip install libtorrent"
        pytest.skip("libtorrent is not installed, or has no wheel for this Python")


class LibtorrentPeer:
    """
    A process that has a torrent, or wants it; a context manager.

    Args:
        folder: An empty one, for the data.
        transport: ``tcp`` or ``utp``: the only one it uses.
        seed: Whether it has the data from the beginning.
    """

    def __init__(self, torrent: Torrent, folder: Path, *, transport: str, seed: bool) -> None:
        self._data = folder / torrent.name
        self._torrent = torrent
        file = folder / "wanted.torrent"
        file.write_bytes(torrent.file)
        if seed:
            self._data.write_bytes(torrent.data)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("libtorrent_child.py")), str(file), str(folder), transport],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="test-libtorrent", daemon=True)
        self._reader.start()
        self.port = 0

    def __enter__(self) -> LibtorrentPeer:
        self.port = self.wait_for("listen_succeeded", "udp")["port"]
        self.wait_for("torrent_checked")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(5.0)
        self._reader.join(5.0)
        self._process.stdout.close()
        if kind is None:
            assert code == 0, f"libtorrent ended with {code}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(json.loads(line))
        self._queue.put(None)

    def connect(self, port: int) -> None:
        """Let it dial a peer on 127.0.0.1."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"connect 127.0.0.1 {port}\n")
        self._process.stdin.flush()

    def wait_for(self, event: str, text: str = "", timeout: float = 60.0) -> dict[str, Any]:
        """The next event of that name with that in its values; fails the test if there is none, or damage before."""
        end = time.monotonic() + timeout
        while True:
            try:
                found = self._queue.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                found = None
            assert found is not None, f"{event} {text} did not come from libtorrent: {self.events}"
            self.events.append(found)
            assert found["event"] not in {"hash_failed", "file_error"}, found
            if found["event"] == event and text in str(list(found.values())):
                return found

    @property
    def has_it(self) -> bool:
        """Whether the file on its disk is the torrent's."""
        return self._data.read_bytes() == self._torrent.data
