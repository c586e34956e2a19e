"""
The first bytes of a caller's stream: requests of STUN are answered there and then, anything else is a handshake.

They cannot be mistaken for each other: callers begin with 16 random bytes, and take no such that look like a request.
Sans-IO.
"""

from __future__ import annotations

from ... import limits
from ...exceptions import MalformedMessage, RemoteProtocolError
from .message import HEADER_SIZE, MAGIC_COOKIE, stun_length
from .responder import Responder, is_request

__all__ = ["Door"]

_REQUEST = b"\x00\x01"
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")


class Door:
    """
    For one incoming stream, until it turns out to be something else. Not thread-safe.

    Args:
        responder: Who answers.
        source: IP address and port of the caller.
    """

    def __init__(self, responder: Responder, source: tuple[str, int]) -> None:
        self.requests = 0
        """How many were answered; there is no handshake after the first."""
        self._responder = responder
        self._source = source
        self._buffer = bytearray()

    def receive(self, data: bytes | memoryview, now: float) -> tuple[bytes, bytes | None]:
        """
        Take what arrived next.

        Returns:
            What to send, and all bytes so far if they are no STUN: the door has done its work. None: it goes on.

        Raises:
            RemoteProtocolError: The caller asks for what it does not get, or too often: end the stream.
        """
        buffer = self._buffer
        buffer += data
        answers = bytearray()
        while buffer:
            if not _may_be_request(buffer):
                if self.requests:
                    raise RemoteProtocolError("something else follows a request of STUN")
                return b"", bytes(buffer)
            if len(buffer) < HEADER_SIZE:
                break
            size = stun_length(buffer[:HEADER_SIZE])
            if len(buffer) < size:
                break
            answers += self._answer(bytes(buffer[:size]), now)
            del buffer[:size]
        return bytes(answers), None

    def _answer(self, request: bytes, now: float) -> bytes:
        if self.requests >= limits.STUN_REQUESTS_PER_CONNECTION:
            self._responder.on_limit("STUN_REQUESTS_PER_CONNECTION", self._source[0])
            raise RemoteProtocolError(f"more than {self.requests} requests of STUN on one connection")
        answer = self._responder.answer(request, self._source, now) if is_request(request) else None
        self.requests += 1
        if answer is None:
            raise MalformedMessage("a request of STUN that gets no answer here")
        return answer


def _may_be_request(head: bytearray) -> bool:
    """Whether a stream that begins so may be one of STUN."""
    return _REQUEST.startswith(head[:2]) and _COOKIE.startswith(head[4:8])
