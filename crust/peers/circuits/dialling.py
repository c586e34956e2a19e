"""How a caller comes by its end of a circuit: at once, since the first bytes go along with the wish for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from ...addresses import Endpoint
from ...runtime.clock import Event
from .connection import CircuitConnection

__all__ = ["CircuitDialling"]


class CircuitDialling:
    """
    See :class:`crust.transports.contract.Dialling`.

    Args:
        endpoint: The introducer's.
        make: Makes our end.
        cancelled: An event of the node's clock.
        handicap: Seconds that others have for themselves.
    """

    def __init__(
        self, endpoint: Endpoint, make: Callable[[], CircuitConnection], cancelled: Event, handicap: float = 0.0
    ) -> None:
        self.endpoint = endpoint
        self._make = make
        self._cancelled = cancelled
        self._handicap = handicap

    def run(self) -> CircuitConnection:
        """
        Our end of the circuit; nothing has been sent. Waits for no more than the handicap.

        Raises:
            OSError: There is no link to the introducer any more; or ECANCELED.
        """
        if self._handicap:
            self._cancelled.wait(self._handicap)
        if self._cancelled.is_set():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED), str(self.endpoint))
        return self._make()

    def cancel(self) -> None:
        """Have :meth:`run` raise, if it has not made our end."""
        self._cancelled.set()
