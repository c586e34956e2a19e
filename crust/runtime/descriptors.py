"""Running out of descriptors: how to recognise it, and what to tell people."""

from __future__ import annotations

import errno
import sys

if sys.platform != "win32":
    import resource  # now: when there are no descriptors left, nothing can be imported

__all__ = ["exhaustion"]

_OF_THE_PROCESS = {errno.EMFILE, getattr(errno, "WSAEMFILE", errno.EMFILE)}


def exhaustion(error: OSError) -> str:
    """What limit is used up and how to raise it, if that is what ``error`` means; else empty."""
    if error.errno == errno.ENFILE:
        return "this system has no file descriptors left: raise fs.file-max, or end what uses them"
    if error.errno not in _OF_THE_PROCESS:
        return ""
    limit = _limit()
    return (
        f"this process has no file descriptors left{f' of its {limit}' if limit else ''}: raise the limit (ulimit -n, "
        "or LimitNOFILE= in a unit of systemd), or close what it does not need"
    )


def _limit() -> int | None:
    if sys.platform == "win32":
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
