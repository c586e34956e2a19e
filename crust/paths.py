"""How two peers are connected, and what was tried to get there: values that events, errors and ``peer.path`` carry."""

from __future__ import annotations

from .values import dataclass

__all__ = ["Attempt", "Path"]


@dataclass(frozen=True)
class Attempt:
    """One try to reach a peer."""

    method: str
    """How: ``direct`` (a dialled endpoint), ``circuit`` (through a peer), or a method of punching: ``punch-tcp``."""

    endpoint: str
    """Where to, as text: ``tcp://192.0.2.7:5483``. It begins with the transport. Empty: about the method as a whole."""

    duration: float
    """Seconds until the verdict."""

    verdict: str
    """One word: ``connected``, ``refused``, ``unreachable``, ``timeout``, ``denied``, ``lost_race``, ``failed``,
    ``cancelled``."""

    error: str = ""
    """What went wrong, in a sentence; empty if nothing did."""

    local: str = ""
    """Where from, as an endpoint, if that is known."""

    started: float = 0.0
    """When it began, seconds since the epoch; 0: not known."""

    def __str__(self) -> str:
        tail = f": {self.error}" if self.error else ""
        if not self.endpoint:
            return f"{self.method} ({self.duration:.2f} s): {self.verdict}{tail}"
        return f"{self.endpoint} ({self.method}, {self.duration:.2f} s): {self.verdict}{tail}"


@dataclass(frozen=True)
class Path:
    """The way a session's data takes now."""

    path_class: str
    """``direct-tcp``, ``direct-utp``, ``punched-tcp``, ``punched-utp``, ``predicted``, ``birthday`` or ``relay``, best
    first: the class decides which of two paths is better, and a session moves there."""

    transport: str
    """``tcp``, ``utp`` or ``relay``."""

    local: str
    """Our end, as an endpoint."""

    remote: str
    """The other end, as an endpoint."""

    cipher: str
    """The AEAD in use: ``AEGIS-256`` or ``ChaCha20-Poly1305``."""

    inbound: bool
    """True if the other side dialled this link."""

    since: float
    """When data began to flow here, seconds since the epoch."""

    rtt: float | None = None
    """Round trip in seconds, smoothed; None until measured."""

    attempts: tuple[Attempt, ...] = ()
    """What was tried to get here; empty on the side that was dialled."""

    def as_dict(self) -> dict[str, object]:
        """The same for JSON: keys ``class``, ``transport``, ``local``, ``remote``, ``cipher``, ``inbound``, ``since``
        and ``rtt``."""
        return {
            "class": self.path_class,
            "transport": self.transport,
            "local": self.local,
            "remote": self.remote,
            "cipher": self.cipher,
            "inbound": self.inbound,
            "since": self.since,
            "rtt": self.rtt,
        }
