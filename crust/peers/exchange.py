"""All that is under way, or waits, of files from and to one peer: what the driver of files keeps of a session."""

from __future__ import annotations

import collections
from collections.abc import Callable

from ..wire.transfer import TransferMessage
from .download import Download
from .file_contract import FileChannel
from .transfer import Fresh
from .upload import Upload

__all__ = ["Exchange"]


class Exchange:
    """All file transfers with one peer. Not thread-safe: who guards what is said below."""

    __slots__ = (
        "channel",
        "downloads",
        "ended",
        "fresh",
        "inbound",
        "lost",
        "place",
        "queued",
        "replies",
        "then",
        "uploads",
    )

    def __init__(self, channel: FileChannel) -> None:
        self.channel = channel
        # Guarded by the lock of Files:
        self.uploads: dict[int, Upload] = {}
        self.inbound: collections.deque[tuple[TransferMessage | None, int]] = collections.deque()
        self.replies: collections.deque[TransferMessage] = collections.deque()
        self.lost = False
        self.queued = False  # the worker has it in hand or will come to it
        self.then: Callable[[], object] | None = None  # to be done once nothing of it is kept
        # The worker's own:
        self.downloads: dict[int, Download] = {}
        self.ended: dict[int, None] = {}  # oldest first, bounded
        self.place: bytes | None = None  # where the peer was at its last offer; read with the lock, too
        self.fresh = Fresh()
