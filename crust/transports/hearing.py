"""
What a hub hears of ICMP, and when it hears nothing for a while.

Anybody can feign ICMP: it only takes the hub's address and port. Each word costs more than a datagram that is thrown
away, waits in the same memory as what peers have sent, and passes a sieve in the kernel unseen. It is good for finding
out soon what would be found out anyway, so a hub that hears too much is deaf for some seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import limits
from ..runtime.flusher import IoLoop
from ..runtime.rates import Bucket
from .icmp import IcmpError
from .udp_offload import Offload

__all__ = ["Hearing"]


class Hearing:
    """
    Of one hub. Not exact where two threads ask at once.

    Args:
        offload: Its socket's abilities.
        io: Calls when it is to hear again.
    """

    def __init__(self, offload: Offload, io: IoLoop) -> None:
        self.bites: Callable[[], object] = lambda: None
        """Told that it is deaf from now on."""
        self._offload = offload
        self._io = io
        self._left = Bucket(limits.ICMP_HEARD_PER_SECOND)

    def heard(self, now: float) -> list[IcmpError]:
        """What has been said since. Never waits."""
        errors = self._offload.icmp_errors()
        if self._left.tokens(now) < len(errors):
            if self._offload.errors:
                self._offload.hear(False)
                self._io.call_later(limits.ICMP_DEAF_SECONDS, lambda _: self._offload.hear(True))
                self.bites()
        else:
            self._left.take(len(errors))
        return errors
