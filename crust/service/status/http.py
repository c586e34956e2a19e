"""As much of HTTP/1.1 as Prometheus needs: ``GET /metrics``, one question a connection. (sans-IO)"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

__all__ = ["MetricsPage"]

REQUEST_MAX = 8192  # bytes
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    505: "HTTP Version Not Supported",
}


class MetricsPage:
    """
    One connection.

    Args:
        text: Makes the page.
        local: Only this machine is served. A page of the web that a browser here shows must not read it by a name that
            it has made to mean this machine, so the host that is asked for has to be an address, or ``localhost``.
    """

    def __init__(self, text: Callable[[], str], *, local: bool) -> None:
        self._text = text
        self._local = local
        self._data = b""

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        """Take bytes; the response once the request is complete, and whether the connection is over."""
        if not data:
            return b"", True
        self._data += data
        end = _end(self._data)
        if end < 0:
            if len(self._data) > REQUEST_MAX:
                return _response(431, "the request is too long\n"), True
            return b"", False
        if end > REQUEST_MAX:
            return _response(431, "the request is too long\n"), True
        return self._answer(self._data[:end].decode("latin-1").splitlines()), True

    def _answer(self, lines: list[str]) -> bytes:
        words = lines[0].split(" ") if lines else []
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            return _response(400, "this is not a request of HTTP\n")
        method, target, version = words
        if not version.startswith("HTTP/1."):
            return _response(505, "HTTP/1.1, please\n")
        headers = dict(_headers(lines[1:]))
        if self._local and not _is_this_machine(headers.get("host", "")):
            return _response(403, "ask for it by an address, or as localhost\n")
        if target.partition("?")[0] != "/metrics":
            return _response(404, "there is /metrics, and nothing else\n")
        if method not in ("GET", "HEAD"):
            return _response(405, "there is nothing to change here\n", "Allow: GET, HEAD\r\n")
        return _response(200, self._text(), body=method == "GET")


def _end(data: bytes) -> int:
    """Where the head of a request ends; -1: it has not come yet."""
    found = [place for mark in (b"\r\n\r\n", b"\n\n") if (place := data.find(mark)) >= 0]
    return min(found, default=-1)


def _headers(lines: list[str]) -> list[tuple[str, str]]:
    return [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names no place but an address, or this machine. HTTP/1.0 has none."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _response(code: int, text: str, more: str = "", *, body: bool = True) -> bytes:
    content = text.encode()
    kind = CONTENT_TYPE if code == 200 else "text/plain; charset=utf-8"
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{more}"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (content if body else b"")
