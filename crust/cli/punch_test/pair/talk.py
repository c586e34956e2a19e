"""The language of `messages` on a peer: requests, answers, loads of bytes."""

from __future__ import annotations

import time

import crust

from ...as_json import JSON
from .messages import LOAD_MAX, Load, NotOurLanguage, Said, build, chunks, parse_untrusted

__all__ = ["Talk"]

_SEND_PATIENCE = 10.0  # seconds for room in the send buffer
_VOLUME_MAX = 64 * 1024 * 1024  # bytes that we send, and take, in one test


class Talk:
    """
    One end of a test. For one thread.

    Args:
        peer: The other end.
    """

    def __init__(self, peer: crust.Peer) -> None:
        self.peer = peer
        self.volume = 0
        """Bytes of all loads, both ways."""
        self._number = 0

    def say(self, kind: str, **fields: JSON) -> None:
        """
        Send a message.

        Raises:
            crust.Timeout, crust.PeerLost, crust.ServiceClosed: It cannot be sent.
        """
        self.peer.send(build(kind, **fields), timeout=_SEND_PATIENCE)

    def hear(self, timeout: float) -> Said | Load:
        """
        The next message of any kind.

        Raises:
            crust.Timeout: None came in time.
            crust.PeerLost, crust.ServiceClosed: It is over.
            NotOurLanguage: It is none of ours.
        """
        return parse_untrusted(self.peer.recv(timeout))

    def hear_said(self, kind: str, timeout: float, number: int | None = None) -> Said:
        """
        The next message of that kind, to the request of that number; what else comes belongs to requests given up.

        Raises:
            NotOurLanguage, crust.CrustError: As `hear`; also if the other end is busy.
        """
        end = time.monotonic() + timeout
        while True:
            found = self.hear(max(0.0, end - time.monotonic()))
            if not isinstance(found, Said):
                continue
            if found.kind == "busy":
                raise NotOurLanguage("the other end is in a test with somebody else: try again in a minute")
            if found.kind == kind and (number is None or found.fields.get("number") == number):
                return found

    # --- requests -----------------------------------------------------------------------------------------------------

    def ping(self, timeout: float) -> float:
        """Seconds of one round trip; raises as `hear_said`."""
        number = self._next()
        began = time.monotonic()
        self.say("ping", number=number)
        self.hear_said("pong", timeout, number)
        return time.monotonic() - began

    def load(self, size: int, timeout: float) -> float:
        """Send so many bytes; seconds that they took to arrive, as the other end says. Raises as `hear_said`."""
        number = self._next()
        self.send_load(number, size)
        return self.hear_said("loaded", timeout, number).seconds("seconds")

    def ask_for_load(self, size: int, timeout: float) -> float:
        """Have the other end send so many bytes; seconds that they took. Raises as `hear_said`."""
        number = self._next()
        self.say("give", number=number, bytes=size)
        coming = self.hear_said("load", timeout, number)
        return self.take_load(coming, timeout)

    def _next(self) -> int:
        self._number += 1
        return self._number

    # --- loads --------------------------------------------------------------------------------------------------------

    def send_load(self, number: int, size: int) -> None:
        """
        Announce a load, and send it.

        Raises:
            NotOurLanguage: That would be too much.
        """
        self._account(size)
        self.say("load", number=number, bytes=size)
        for data in chunks(size):
            self.peer.send(data, timeout=_SEND_PATIENCE)

    def take_load(self, announced: Said, timeout: float) -> float:
        """Receive it; seconds from its first part to its last. Raises as `hear`."""
        size = announced.number("bytes", LOAD_MAX)
        self._account(size)
        end = time.monotonic() + timeout
        first = None
        while size > 0:
            found = self.hear(max(0.0, end - time.monotonic()))
            if not isinstance(found, Load) or found.size > size:
                raise NotOurLanguage("the other end sent something else than it had announced")
            size -= found.size
            first = time.monotonic() if first is None else first
        return 0.0 if first is None else time.monotonic() - first

    def _account(self, size: int) -> None:
        self.volume += size
        if self.volume > _VOLUME_MAX:
            raise NotOurLanguage("the other end wants more data to be sent than a test takes")

    # --- answers ------------------------------------------------------------------------------------------------------

    def answer(self, asked: Said, timeout: float) -> bool:
        """
        Do what a request of the other end wants; False if it is none of these.

        Raises:
            NotOurLanguage, crust.CrustError: As `hear` and `say`.
        """
        if asked.kind == "ping":
            self.say("pong", number=asked.number("number", 1e9))
        elif asked.kind == "give":
            self.send_load(asked.number("number", 1e9), asked.number("bytes", LOAD_MAX))
        elif asked.kind == "load":
            number, size = asked.number("number", 1e9), asked.number("bytes", LOAD_MAX)
            self.say("loaded", number=number, bytes=size, seconds=self.take_load(asked, timeout))
        else:
            return False
        return True


