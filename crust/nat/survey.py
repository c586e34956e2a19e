"""
``crust.survey``: what the network around this machine does to packets, found out in seconds. It needs no node.

The plans of :mod:`crust.nat.probe` run on the caller's thread; the gateway and helping peers are asked on threads of
their own meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .. import limits
from ..findings import NetworkSurvey, SurveyProgress

if TYPE_CHECKING:
    from .probe.helping import Helper

__all__ = ["OnProgress", "survey"]

OnProgress = Callable[[SurveyProgress], object]


def survey(
    stun: Sequence[str] = (),
    *,
    helpers: Sequence[Helper] = (),
    offline: bool = False,
    families: Sequence[int] = (4, 6),
    ask_router: bool = True,
    lifetime: bool = False,
    timeout: float = limits.PROBE_SECONDS,
    on_progress: OnProgress | None = None,
) -> NetworkSurvey:
    """
    Find out what the network allows: translation, filters, ports, the router. Blocks; any thread.

    Only the servers and helpers that are named are contacted, and the router.

    Args:
        stun: Servers as ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``. One that tests filtering (RFC 5780), or two at
            different addresses, or helpers, are needed for a full answer.
        helpers: Connected peers that are asked to call this machine back (:meth:`crust.Peer.echo`): only they can
            show what becomes of a stranger's TCP.
        offline: Contact nobody outside; the router is still asked, unless ``ask_router`` says otherwise.
        families: 4 and 6, or one of them.
        ask_router: Have it open a port, and close it again, to see by which protocols it would.
        lifetime: Find out how long a quiet UDP mapping lives, too: that takes three minutes more.
        timeout: Seconds after which what is not known stays so. With servers that do not answer it takes all of them.
        on_progress: Told on the caller's thread when a part begins and ends.

    Raises:
        ValueError: A server's name cannot be read.
        OSError, RuntimeError: The system has no descriptors, or no threads, to spare. A network that does nothing at
            all raises nothing; what ``on_progress`` raises comes out when all sockets are closed.
    """
    from .probe.names import read_server  # not before they are wanted: `import crust` stays cheap
    from .probe.survey import Survey

    servers = [read_server(text) for text in stun]
    if offline:
        servers, helpers = [], []
    return Survey(servers, helpers, families, timeout, on_progress).run(ask_router, offline, lifetime)


