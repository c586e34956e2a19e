"""Asks a node for its status, by its status socket or the socket of ``crust node --control``."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

from ...runtime.local_socket import PATH_MAX, owner_of
from ..errors import CommandError

__all__ = ["Denied", "Gone", "ask"]

TIMEOUT = 5.0  # seconds for the whole
SCHEMA = 1
_ANSWER_MAX = 256 * 1024 * 1024  # bytes
_READ = 65_536


class Gone(CommandError):
    """There is no node at that socket, or no longer."""


class Denied(CommandError):
    """It is another user's."""


def ask(path: Path) -> dict[str, Any]:
    """
    The status of the node at that socket, as ``crust.Status.as_dict`` gives it.

    Raises:
        Gone: Nobody is there.
        Denied: It is another user's.
        CommandError: It is no such socket, or gives no status.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise CommandError("this system has no Unix sockets for Python: use Service.status(), or status.metrics")
    end = time.monotonic() + TIMEOUT
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        _connect(sock, path)
        try:
            sock.sendall(b'{"id": 1, "cmd": "status"}\n')
            reply = _reply(sock, path, end)
        except TimeoutError:
            raise CommandError(f"{path}: the node does not answer within {TIMEOUT:g} s") from None
        except (ConnectionResetError, BrokenPipeError):
            raise Gone(f"{path}: the node has ended, or turned us away") from None
    if reply.get("ok") is not True:
        raise CommandError(f"{path}: the node gives no status: {reply.get('text', 'no reason given')}")
    status = reply.get("status")
    if not isinstance(status, dict) or status.get("schema") != SCHEMA:
        raise CommandError(f"{path}: that node is of another version; ask it with its own crust status")
    return status


def _connect(sock: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) > PATH_MAX:
        raise CommandError(f"{path}: too long for the path of a Unix socket ({PATH_MAX} bytes)")
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise CommandError(f"{path}: this is not a socket")
        sock.connect(os.fspath(path))
    except FileNotFoundError:
        raise Gone(f"{path}: there is no such socket: the node does not run, or has none (status.socket)") from None
    except ConnectionRefusedError:
        raise Gone(
            f"{path}: nobody listens there any more: the node died and left it behind; the next one removes it"
        ) from None
    except PermissionError:
        raise Denied(f"{path}: no permission: a node tells its own user alone (and root)") from None
    except TimeoutError:
        raise CommandError(f"{path}: the node does not answer within {TIMEOUT:g} s") from None
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise CommandError(f"{path}: the node is busy with others who ask; try again") from None
        raise CommandError(f"{path}: {error.strerror}") from error
    owner = owner_of(sock)
    if owner not in (None, 0, os.geteuid()) and os.geteuid() != 0:
        raise Denied(f"{path}: who listens there is another user ({owner}): not asked")


def _reply(sock: socket.socket, path: Path, end: float) -> dict[str, Any]:
    """The reply to our command; other lines are events, as the first one."""
    data = bytearray()
    start = 0
    while True:
        newline = data.find(b"\n", start)
        if newline < 0:
            start = len(data)
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            more = sock.recv(_READ)
            if not more:
                raise Gone(f"{path}: the node has ended, or turned us away")
            data += more
            if len(data) > _ANSWER_MAX:
                raise CommandError(f"{path}: no end of the answer")
            continue
        line = _parsed(bytes(data[:newline]), path)
        if "ok" in line and line.get("id") == 1:
            return line
        del data[: newline + 1]
        start = 0


def _parsed(line: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CommandError(f"{path}: what answers there is not a node of crust")
    return found
