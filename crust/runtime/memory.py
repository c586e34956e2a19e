"""What a process that carries much data asks of its memory allocator."""

from __future__ import annotations

from .. import limits
from .threads import mode

__all__ = ["keep_freed_memory", "linger"]


def keep_freed_memory() -> None:
    """
    Have the C library keep a few MiB of freed memory at hand.

    glibc gives memory at the end of its heap back to the system as soon as 128 KiB of it are free, and gets it back
    page by page, zeroed: a third of the time that 64 KiB of data take on their way. When a process frees a large block,
    glibc raises that limit to twice the block's size, for good (mallopt(3), M_MMAP_THRESHOLD: "dynamic"). So we free
    one, whose pages have never been touched. Other C libraries do without it, and are not harmed.
    """
    bytearray(limits.KEPT_FREE_MEMORY // 2)


def linger(seconds: float) -> float:
    """
    How long a thread that comes and goes waits for more before it ends: so long, or on greenlets not at all.

    glibc gives each new thread another of its heaps, and each heap keeps what once was needed. Greenlets share one.
    """
    return seconds if mode() == "threads" else 0.0
