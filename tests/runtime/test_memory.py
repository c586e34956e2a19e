"""What threads do for the sake of the memory allocator."""

from __future__ import annotations

from crust.runtime import memory
from crust.runtime.threads import mode


def test_only_threads_linger() -> None:
    """Greenlets share one heap: there is nothing to spare."""
    assert memory.linger(5.0) == (5.0 if mode() == "threads" else 0.0)
