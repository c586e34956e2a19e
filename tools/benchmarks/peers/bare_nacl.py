"""PyNaCl alone: how many signatures one thread verifies; what signed messages are measured by."""

from __future__ import annotations

import time

from nacl.signing import SigningKey

from ..contract import Options

__all__ = ["Hub", "Spokes"]

_KEPT = 256  # messages with their signatures, in turn
_BLOCK = 64  # of them between looks at the clock


class Hub:
    """Nobody sends anything here."""

    def __init__(self, role: str, options: Options) -> None:
        pass

    def listen(self) -> None:
        """Nothing."""

    def wait_for(self, count: int) -> None:
        """Nothing."""


class Spokes:
    """Where messages would arrive."""

    def __init__(self, role: str, options: Options) -> None:
        pass

    def dial(self, address: object, count: int) -> None:
        """Nothing."""

    def verify(self, size: int, seconds: float) -> float:
        """``VerifyKey.verify`` for so long; how many a second."""
        key = SigningKey.generate()
        signed = [key.sign(bytes(size - 1) + bytes((number,))) for number in range(_KEPT)]
        pairs = [(each.message, each.signature) for each in signed]
        verify = key.verify_key.verify
        done = 0
        began = now = time.perf_counter()
        while now < began + seconds:
            for message, signature in pairs[:_BLOCK]:
                verify(message, signature)
            done += _BLOCK
            now = time.perf_counter()
        return done / (now - began)
