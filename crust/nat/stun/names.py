"""The addresses of a server's name, to be asked one by one."""

from __future__ import annotations

from ... import limits
from ...addresses import Endpoint
from ...runtime.threads import Deadline
from ...transports.resolving import Lookup, Resolver

__all__ = ["NameQuestion"]


class NameQuestion:
    """
    One look-up; :meth:`run` does it.

    Args:
        resolver: The node's.
        endpoint: A name and a port, or an address, which needs no look-up.
    """

    def __init__(self, resolver: Resolver, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lookup = Lookup(resolver, endpoint, limits.STUN_TIMEOUT)

    def run(self) -> list[Endpoint]:
        """
        One address of each family. Blocks for :data:`crust.limits.STUN_TIMEOUT` seconds at the most.

        Raises:
            OSError: There is none, not in time, or :meth:`cancel` was called.
        """
        answers = self._lookup.run(Deadline(limits.STUN_TIMEOUT))
        found: dict[int | None, Endpoint] = {}
        for answer in answers:
            endpoint = Endpoint(self._endpoint.transport, str(answer[4][0]), self._endpoint.port)
            found.setdefault(endpoint.family, endpoint)
        return list(found.values())

    def cancel(self) -> None:
        """Make :meth:`run` raise soon. Any thread; idempotent."""
        self._lookup.cancel()
