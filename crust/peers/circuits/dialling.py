"""How a caller comes by its end of a circuit: at once, since the first bytes go along with the wish for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from ...addresses import Endpoint
from .connection import CircuitConnection

__all__ = ["CircuitDialling"]


class CircuitDialling:
    """
    See :class:`crust.transports.contract.Dialling`.

    Args:
        endpoint: The introducer's.
        make: Makes our end.
    """

    def __init__(self, endpoint: Endpoint, make: Callable[[], CircuitConnection]) -> None:
        self.endpoint = endpoint
        self._make = make
        self._cancelled = False

    def run(self) -> CircuitConnection:
        """
        Our end of the circuit; nothing has been sent.

        Raises:
            OSError: There is no link to the introducer any more; or ECANCELED.
        """
        if self._cancelled:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED), str(self.endpoint))
        return self._make()

    def cancel(self) -> None:
        """Have :meth:`run` raise, if it has not begun."""
        self._cancelled = True
