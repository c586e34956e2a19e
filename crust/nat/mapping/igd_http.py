"""
What passes between miniupnpc and a router, sans-IO: which requests of its go where, and what it gets of an answer.

miniupnpc reads an answer of any length, for as long as it comes. So it never speaks to a router itself, but to our
relay on loopback (:mod:`crust.nat.mapping.igd_relay`), by the URLs of a :class:`Route`, and is given an
:class:`Answer` only when that has been read to its end. What it says goes on as it wrote it but for the name of the
host: routers are used to its words.

The description is not parsed here. The library says which URL it has made of it, which is checked, and if that names
the router itself, those words are replaced, and it reads again: what counts is what *it* understands, whatever the
description looks like to a proper parser; and until then it has connected to nobody but the relay.
"""

from __future__ import annotations

import re
import urllib.parse

from ... import limits

__all__ = ["LOOPBACK", "Answer", "Route"]

LOOPBACK = "127.0.0.1"

_PLACE = re.compile(r"http://([^/:]*)(?::([0-9]{1,5})[^/]*)?(/.*)", re.DOTALL)  # as the library reads a URL
_REQUEST = re.compile(rb"(GET|POST) ([^\r\n]*) HTTP/1\.[01]\r\n")
_HOST = re.compile(rb"(?i)(?<=\r\nhost: )[^\r\n]*")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"[^\r\n ]* +([1-9][0-9]{2})\b")
_LENGTH = re.compile(rb"(?i)\ncontent-length:[ \t]*([0-9]{1,12})")
_CHUNKED = re.compile(rb"(?i)\ntransfer-encoding:[ \t]*chunked")
_CHUNK = re.compile(rb"[0-9a-fA-F]{1,8}")

_TOO_LONG = "its answer is too long"
_NO_ROUTER = "its description is not that of a router"


class Route:
    """
    One router's description and its control, by URLs of the relay that lead to nothing else.

    The library's thread and the relay's both have it; neither changes it while the other looks, since the library waits
    for what the relay gives.

    Args:
        url: Of the description: http, with an IPv4 address.
        relay: The relay's port.

    Attributes:
        url: Of the description, for the library.
        text: The description as it came; empty: it has not.
        trouble: Why the last request has no answer; empty: it has.
        closed: The relay is no longer there.
    """

    def __init__(self, url: str, relay: int) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host = parts.hostname or ""
        self._port = parts.port or 80
        self._path = url.partition("://")[2].removeprefix(parts.netloc)
        self._relay = f"http://{LOOPBACK}:{relay}"
        self.url = self._relay + self._path
        self.text = b""
        self.trouble = ""
        self.closed = False
        self._rewritten = b""
        self._control = (0, "")

    def control(self, found: str) -> str:
        """
        Have requests for the control led to it, wherever on the router's machine it is.

        Args:
            found: Its URL, as the library made it of the description.

        Returns:
            The same by the relay. If that is another one the library must read the description again, which names it.

        Raises:
            ValueError: It is not the router's, or none.
        """
        if found.startswith(self._relay + "/"):  # relative in the description
            port, path = self._port, found.removeprefix(self._relay)
        else:
            match = _PLACE.fullmatch(found)
            if match is None or not match[1]:
                raise ValueError(_NO_ROUTER)
            port, path = int(match[2] or 80), match[3]
            if match[1] != self.host:
                there = "".join(c for c in match[1] if c.isascii() and c.isprintable())[:80]
                raise ValueError(f"its description sends us to another machine ({there})")
        # "/" is what the library makes of any text at all.
        if path.partition("?")[0] == "/" or not path.isprintable() or not 0 < port <= 65535:
            raise ValueError(_NO_ROUTER)
        self._control = port, path
        if found != self._relay + path:
            # The library wrote that URL of the description's own words: so they stand there, up to the path.
            self._rewritten = self.text.replace(found.removesuffix(path).encode(), self._relay.encode())
        return self._relay + path

    def forget_text(self) -> None:
        """The description is not needed any more."""
        self.text = self._rewritten = b""

    def carry(self, request: bytes) -> tuple[int, bytes] | None:
        """
        Where a request goes: port of the router, and what is sent there; port 0: that is the answer. None: it has not
        come to its end.

        Raises:
            ValueError: Nothing of that kind is carried.
        """
        end = request.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        match, host = _REQUEST.match(request), _HOST.search(request, 0, end)
        # A page in a browser that takes our port for its own server's names another host.
        if match is None or host is None or host[0] != self._relay.removeprefix("http://").encode():
            raise ValueError("not from the library")
        is_get, path = match[1] == b"GET", match[2].decode("utf-8", "replace")
        port, wanted = (self._port, self._path) if is_get else self._control
        if not wanted or path != wanted:
            raise ValueError("not of this router")
        length = _LENGTH.search(request, 0, end)
        if len(request) < end + int(length[1] if length else 0):
            return None
        if is_get and self._rewritten:
            return 0, _response(200, self._rewritten)
        there = f"{self.host}:{port}" if is_get or port != 80 else self.host  # as the library does
        return port, request[: host.start()] + there.encode() + request[host.end() :]


class Answer:
    """
    A router's answer as it comes in. What the library would bear is borne: lengths that are wrong, or not said.

    Attributes:
        is_over: It is all there.
        trouble: Why no more of it is taken; empty: it is.
    """

    def __init__(self) -> None:
        self.is_over = False
        self.trouble = ""
        self._taken = 0
        self._raw = bytearray()  # what has not been read; without chunks, once the head has been: the body
        self._body = bytearray()  # of chunks
        self._status: int | None = None
        self._length: int | None = None
        self._chunked = False
        self._left = 0  # of a chunk

    def feed(self, data: bytes) -> None:
        """Take what came, unless it is over."""
        if self.is_over or self.trouble:
            return
        self._taken += len(data)
        if self._taken > limits.IGD_ANSWER_MAX:
            self.trouble = _TOO_LONG
            return
        seen = len(self._raw)
        self._raw += data
        if self._status is None:
            self._read_head(max(0, seen - 3))
        if self._status is None or self.trouble:
            return
        if self._chunked:
            self._read_chunks()
        elif self._length is not None and len(self._raw) >= self._length:
            del self._raw[self._length :]
            self.is_over = True

    def end(self) -> None:
        """No more comes: what is there is all."""
        if self._status is None:
            self.trouble = self.trouble or "it did not answer properly"
        self.is_over = not self.trouble

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self._taken > 0

    @property
    def has_body(self) -> bool:
        """Whether some of the body is there."""
        return self._status is not None and bool(self._body if self._chunked else self._raw)

    @property
    def tells_end(self) -> bool:
        """Whether its own words say where it ends; otherwise the end of the connection does."""
        return self._status is None or self._chunked or self._length is not None

    @property
    def body(self) -> bytes:
        """What is there of it."""
        return bytes(self._body if self._chunked else self._raw)

    def response(self) -> bytes:
        """The answer for the library."""
        return _response(self._status or 200, self.body)

    def _read_head(self, start: int) -> None:
        end = _HEAD_END.search(self._raw, start)
        if end is None:
            return
        head = bytes(self._raw[: end.start()])
        del self._raw[: end.end()]
        status, length = _STATUS.match(head), _LENGTH.search(head)
        self._status = int(status[1]) if status else 200  # the library does not look at it
        self._chunked = _CHUNKED.search(head) is not None
        self._length = int(length[1]) if length else None
        if not self._length:  # 0 is no length for the library: some say so, and send a body
            self._length = None
        elif self._length > limits.IGD_ANSWER_MAX and not self._chunked:
            self.trouble = _TOO_LONG

    def _read_chunks(self) -> None:
        at = 0
        while True:
            if self._left:
                part = self._raw[at : at + self._left]
                self._body += part
                self._left -= len(part)
                at += len(part)
            end = self._raw.find(b"\n", at)
            if self._left or end < 0:
                break
            line = self._raw[at:end].strip()
            at = end + 1
            if not line:  # the end of the chunk before
                continue
            size = _CHUNK.match(line)
            if size is None:
                self.trouble = "its answer is garbled"
                break
            self._left = int(size[0], 16)
            if self._left > limits.IGD_ANSWER_MAX:
                self.trouble = _TOO_LONG
                break
            if not self._left:
                self.is_over = True
                break
        del self._raw[:at]


def _response(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
