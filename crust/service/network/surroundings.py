"""How the network around this machine looks: what is compared to see whether it is another one."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable

from ...runtime.interfaces import InterfaceAddress
from ...values import dataclass

__all__ = ["Surroundings", "surroundings", "ways_out"]

# Nothing is sent there: the system only says which address of ours would be used (RFC 5737, RFC 3849).
_FAR = ((4, "192.0.2.1"), (6, "2001:db8::1"))


@dataclass(frozen=True)
class Surroundings:
    """At one moment."""

    addresses: frozenset[str]
    """Those that reach farther than one link."""

    nearby: frozenset[str]
    """Those that do not, without a scope."""

    ways_out: tuple[str, ...]
    """Which address of ours packets to far away have, and by which routers they go, as far as the system tells."""

    @property
    def all_addresses(self) -> frozenset[str]:
        """All but loopback."""
        return self.addresses | self.nearby


def surroundings(here: Iterable[InterfaceAddress], ways_out: tuple[str, ...]) -> Surroundings:
    """Sort the addresses of a machine."""
    near: set[str] = set()
    far: set[str] = set()
    for each in here:
        if not each.is_loopback:
            (near if each.is_link_local else far).add(str(each.ip).partition("%")[0])
    return Surroundings(frozenset(far), frozenset(near), ways_out)


def ways_out() -> tuple[str, ...]:
    """
    See :attr:`Surroundings.ways_out`.

    Raises:
        OSError: There are no descriptors to ask with.
    """
    from ...nat.mapping.gateway import routers  # not before the first start: `import crust` stays cheap

    found = []
    for family, host in _FAR:
        try:
            sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            continue  # there is no IPv6
        with sock, contextlib.suppress(OSError):
            sock.connect((host, 9))
            found.append(str(sock.getsockname()[0]))
        found += routers(family)
    return tuple(found)
