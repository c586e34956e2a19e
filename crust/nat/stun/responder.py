"""
Answers to those who ask at which address we see them. Sans-IO.

What is answered is a Binding request, with the address that it came from and nothing else: no second address, no
software's name. Who may ask: addresses that we have a link with, or everybody, each only so often. An answer is at most
24 bytes longer than the request, and a refusal of anything else at most 12.
"""

from __future__ import annotations

from collections.abc import Callable

from ... import limits
from ...addresses import address_key
from ...exceptions import MalformedMessage
from ...runtime.rates import Rates
from .message import Class, Message, build_stun, looks_like_stun, parse_stun_untrusted

__all__ = ["Responder", "is_request"]

_REQUEST = b"\x00\x01"  # what a Binding request begins with
_CHANGE_REQUEST, _RESPONSE_PORT = 0x0003, 0x0027


def is_request(data: bytes | bytearray | memoryview) -> bool:
    """Whether a whole message is a Binding request, as far as its head tells. Quick."""
    return data[:2] == _REQUEST and looks_like_stun(data)


class Responder:
    """
    Thread-safe.

    Args:
        is_known: Whether we have a link with that IP address. Called for every request; must be quick.
        everybody: Answer strangers too.
    """

    def __init__(self, is_known: Callable[[str], bool], *, everybody: bool = False) -> None:
        self.answered = 0
        """Requests that got an answer, refusals included."""
        self.ignored = 0
        """Requests that got none: of strangers, too many, or broken."""
        self._is_known = is_known
        self.everybody = everybody
        """Answer strangers too; may be changed at any time."""
        self.refuses: Callable[[str], bool] = lambda host: False
        """Who gets no answer whatever else holds, such as a banned address."""
        self.on_limit: Callable[[str, str], object] = lambda limit, host: None
        """Told of a limit that has bitten, and whom, by IP address; any thread, must be quick."""
        self._rates = Rates(
            limits.STUN_ANSWERS_PER_SECOND,
            limits.STUN_ANSWERS_ALL_PER_SECOND,
            names=("STUN_ANSWERS_PER_SECOND", "STUN_ANSWERS_ALL_PER_SECOND"),
        )

    def may_ask(self, host: str) -> bool:
        """Whether that IP address gets answers at all."""
        return (self.everybody or self._is_known(host)) and not self.refuses(host)

    def answer(self, data: bytes | memoryview, source: tuple[str, int], now: float) -> bytes | None:
        """
        The answer to a message for which :func:`is_request` holds; None: say nothing.

        Args:
            source: IP address, without scope, and port that it came from.
            now: Seconds on the caller's clock.
        """
        built = self._answer(data, source, now)
        if built is None:
            self.ignored += 1
        else:
            self.answered += 1
        return built

    def _answer(self, data: bytes | memoryview, source: tuple[str, int], now: float) -> bytes | None:
        if not self.may_ask(source[0]):
            return None
        if limit := self._rates.refusal(address_key(source[0]), now):
            self.on_limit(limit, source[0])
            return None
        try:
            request = parse_stun_untrusted(data)
        except MalformedMessage:
            return None
        unknown = list(request.unknown)
        if request.change_ip or request.change_port:
            unknown.append(_CHANGE_REQUEST)  # we have no second address to answer from
        if request.response_port is not None:
            unknown.append(_RESPONSE_PORT)  # whoever asks gets the answer, nobody else
        if unknown:
            refusal = Message(
                Class.ERROR,
                request.transaction,
                error=(420, ""),
                unknown=tuple(unknown),
                fingerprint=request.fingerprint,
            )
            return build_stun(refusal)
        return build_stun(
            Message(Class.SUCCESS, request.transaction, xor_mapped=source, fingerprint=request.fingerprint)
        )
