"""
What a traversal method promises, and what it may ask for.

A method's *plan* is the sans-IO state machine of one end for one attempt: it is told what happens, and asks for
*actions*. One runner (:mod:`crust.nat.punch.runner`) carries out the actions of all methods, so that a method needs no
socket, thread or clock, and none can send more than it may: see :class:`crust.nat.punch.allowance.Allowance`.

Both ends run a plan of the same method at the same time. They speak with each other by :class:`Tell`, over the circuit
on which the session began; what they say is the method's own, and comes from a peer that is authenticated, but may lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from ...values import dataclass
from ...wire.frames import Place, Standing, TransportCode

__all__ = [
    "Action",
    "Address",
    "Close",
    "Connect",
    "Context",
    "Finish",
    "Note",
    "OpenUdp",
    "Plan",
    "Probe",
    "Proven",
    "Sample",
    "Tell",
    "Terrain",
    "Win",
    "family_of",
]

Address: TypeAlias = tuple[str, int]
"""An IP address in its shortest form, and a port."""


def family_of(address: Address) -> int:
    """4 or 6."""
    return 6 if ":" in address[0] else 4


@dataclass(frozen=True)
class Terrain:
    """What is known of the network at one end."""

    standings: tuple[Standing, ...] = ()
    places: tuple[Place, ...] = ()
    """Best first."""

    def standing(self, transport: TransportCode, family: int) -> Standing | None:
        """That of a transport and family, if it is known."""
        for each in self.standings:
            if (each.transport, each.family) == (transport, family):
                return each
        return None


@dataclass(frozen=True)
class Context:
    """What a plan begins with. The ``theirs`` of one end are the ``ours`` of the other."""

    leads: bool
    """Of the two ends this one decides, and begins: it is the one with the greater id."""

    rtt: float
    """Seconds from one end to the other and back, over the circuit."""

    ours: Terrain
    theirs: Terrain

    targets: tuple[Place, ...]
    """Those of ``theirs.places`` that may be tried from here, best first."""

    seen: frozenset[str]
    """IP addresses at which the introducer saw the other end. A search goes nowhere else."""

    key_out: bytes
    """32 bytes that only the two ends know, for what goes to the other one; its ``key_in``."""

    key_in: bytes

    timeout: float
    """Seconds after which the whole attempt ends, counted from its beginning."""

    uniform: Callable[[], float]
    """A random number in [0, 1) at each call."""

    random: Callable[[int], bytes]
    """So many random bytes."""


# --- actions ----------------------------------------------------------------------------------------------------------

# Sockets have names, which the plan makes up. There before a plan begins, and not to be closed by it: ``udp4`` and
# ``udp6``, the UDP sockets on which the node listens; ``tcp4`` and ``tcp6`` stand for its TCP listening ports.


@dataclass(frozen=True)
class Tell:
    """Say something to the plan at the other end: ``receive_signal`` there."""

    body: bytes
    """At most ``crust.limits.SIGNAL_MAX`` bytes."""


@dataclass(frozen=True)
class OpenUdp:
    """Have a UDP socket of a fresh port."""

    name: str
    family: int


@dataclass(frozen=True)
class Probe:
    """Send one datagram. Its first byte is at least 0x80, so that it is neither STUN nor µTP."""

    socket: str
    to: Address
    data: bytes
    ttl: int | None = None
    """It gets no farther than so many routers; None: as far as usual."""


@dataclass(frozen=True)
class Proven:
    """The other end has proven to be at that IP address, by what only it could answer: more may be sent there."""

    host: str


@dataclass(frozen=True)
class Connect:
    """Begin a TCP connection: ``connected`` or ``failed`` tells what becomes of it; :class:`Close` is its deadline."""

    name: str
    to: Address
    source: str = ""
    """``tcp4``, ``tcp6``: come from the port on which the node listens; empty: from a fresh port."""


@dataclass(frozen=True)
class Sample:
    """Ask a STUN server how a router translates a socket now: ``sampled`` has the answer."""

    socket: str
    """A UDP socket; or ``tcp4``, ``tcp6``: a connection from the listening port, which is closed after the answer."""


@dataclass(frozen=True)
class Close:
    """Close a socket or connection, without a word to the other side; whatever it was is forgotten."""

    name: str


@dataclass(frozen=True)
class Win:
    """
    This way works. The runner has the session move there.

    UDP: the leading end dials µTP from that socket to ``remote``, the other answers: both ends ask for this. TCP: a
    connection that was ``connected``; the end that has it asks.
    """

    name: str
    remote: Address


@dataclass(frozen=True)
class Note:
    """Something was tried, for :class:`crust.Attempt`."""

    endpoint: str
    """``utp://192.0.2.7:5483``."""

    duration: float
    """Seconds."""

    verdict: str
    error: str = ""
    local: str = ""
    """Where from, as an endpoint, if that is known."""


@dataclass(frozen=True)
class Finish:
    """The plan is over: nothing of it is left open but what has won."""

    reason: str = ""
    """Why nothing came of it, in a sentence; empty if something did."""


Action: TypeAlias = Tell | OpenUdp | Probe | Proven | Connect | Sample | Close | Win | Note | Finish


class Plan(Protocol):
    """One end of one attempt of a method. Called by one thread at a time; no method blocks."""

    def start(self, now: float) -> None:
        """The attempt begins. ``now`` is seconds on any clock that only goes forward, here and below."""

    def receive_signal(self, body: bytes, now: float) -> None:
        """The plan at the other end said something. MalformedMessage: that cannot be; the attempt ends."""

    def receive_datagram(self, socket: str, source: Address, data: bytes, now: float) -> None:
        """A datagram came that may be the other end's: its first byte is at least 0x80. It may be anybody's."""

    def sampled(self, socket: str, address: Address | None, now: float) -> None:
        """How a router translates ``socket`` now; None: no answer."""

    def connected(self, name: str, now: float) -> None:
        """That connection stands."""

    def failed(self, name: str, number: int, now: float) -> None:
        """That connection, or opening that socket, failed with this ``errno``; it is closed."""

    def learned(self, context: Context, now: float) -> None:
        """More is known of the two ends than at the start."""

    def get_timer(self) -> float | None:
        """When to call :meth:`handle_timer`; None: not before something happens."""

    def handle_timer(self, now: float) -> None:
        """That time has come."""

    def actions(self) -> Iterable[Action]:
        """What is to be done now, in order; each once."""
