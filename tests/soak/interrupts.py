"""Signals that ask a program to end, as answers to a question."""

from __future__ import annotations

import signal


class Interrupts:
    """
    The first SIGINT or SIGTERM, as an answer; further ones are exceptions, as ever.

    SIGINT is blocked until then, and so it is in commands of the laboratory that run meanwhile: the terminal sends it
    to them as well, and a rule that is half made would be no end in order.
    """

    def __init__(self) -> None:
        self._terminated = False
        signal.signal(signal.SIGTERM, self._terminate)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def __call__(self) -> bool:
        if signal.SIGINT not in signal.sigpending():
            return self._terminated
        signal.sigwait({signal.SIGINT})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return True

    def _terminate(self, *_: object) -> None:
        if self._terminated:
            raise KeyboardInterrupt
        self._terminated = True
