"""What errors of sockets mean, in words."""

from __future__ import annotations

import errno
import os
import socket

from ..addresses import Endpoint
from ..exceptions import ListenError
from ..runtime.descriptors import exhaustion

__all__ = ["LeftUnread", "listen_error", "text_of"]


class LeftUnread(ConnectionError):
    """
    The other end has reset the stream, and takes no more. What it said before may not have been read yet: whoever reads
    meets the end after it.
    """


def text_of(number: int) -> str:
    """What an error of a socket means; the numbers of Windows' are unknown to strerror()."""
    texts: dict[int, str] = getattr(socket, "errorTab", {})
    return texts.get(number) or os.strerror(number)


def listen_error(endpoint: Endpoint, error: OSError) -> ListenError:
    """Why listening on ``endpoint`` failed, and what to do about it."""
    number = error.errno or 0
    cause = exhaustion(error) or error.strerror or str(error)
    advice = {
        errno.EADDRINUSE: "; another program listens there: choose another port, or 0 for any free one",
        errno.EADDRNOTAVAIL: "; this machine does not have that address",
        errno.EACCES: "; ports below 1024 need privileges: choose a higher one",
    }.get(number, "")
    return ListenError(number, f"cannot listen on {endpoint}: {cause}{advice}")
