"""
One UPnP router, by miniupnpc: a library in C whose calls block for seconds, and raise nothing but ``Exception`` with a
text. Everything here runs on a :class:`crust.runtime.native.NativeWorker` and touches no lock, no socket and no clock
of Python's. The library speaks to nobody but our relay (:mod:`crust.nat.mapping.igd_relay`), which bounds what it is
told and for how long, and whose end is that of its calls.
"""

from __future__ import annotations

from typing import Any

from ...exceptions import CrustError
from ...values import dataclass
from .igd_http import Route
from .layers import usable_ipv4
from .ways import Ask, Refusal, Wanted

__all__ = ["Entry", "IgdError", "IgdInfo", "IgdRouter", "refusal_of"]

_LEASE_MAX = 604_800  # a week: what IGD:2 allows
_CONNECTED = ("connected", "up")


class IgdError(CrustError):
    """
    The router, or the library, says no.

    Attributes:
        kind: What to do about it.
    """

    def __init__(self, reason: str, kind: Refusal = Refusal.OTHER) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class IgdInfo:
    """What a router says of itself."""

    external_ip: str
    """Its outer address; empty: it names none that is one."""
    connected: bool
    uptime: int
    """Seconds since it was connected; 0: it does not say."""


@dataclass(frozen=True)
class Entry:
    """One line of a router's table."""

    client: str
    port: int
    description: str


# Texts of miniupnpc for UPnP's error numbers, which it does not give; and what they mean here.
_ERRORS: dict[str, tuple[Refusal, str]] = {
    "OnlyPermanentLeasesSupported": (Refusal.PERMANENT_ONLY, "it knows no leases (725)"),
    "Invalid Args": (Refusal.PERMANENT_ONLY, "it does not understand the request (402)"),
    "ConflictInMappingEntry": (Refusal.CONFLICT, "the port belongs to another machine (718)"),
    "Action Failed": (Refusal.CONFLICT, "it failed (501)"),
    "SamePortValuesRequired": (Refusal.SAME_PORT, "it opens a port only under its own number (724)"),
    "ConflictWithOtherMechanisms": (Refusal.CONFLICT, "the port is used otherwise (729)"),
    "ExternalPortOnlySupportsWildcard": (Refusal.OTHER, "it opens all ports or none (727)"),
    "RemoteHostOnlySupportsWildcard": (Refusal.OTHER, "it refuses the request (726)"),
    "Action not authorized": (
        Refusal.OTHER,
        "it does not allow that (606): port mapping is restricted in it",
    ),
    "Invalid Action": (Refusal.OTHER, "it does not open ports (401)"),
    "Miniupnpc HTTP error": (Refusal.NO_ANSWER, "it did not answer properly, or in time"),
    "Miniupnpc Socket error": (Refusal.NO_ANSWER, "it could not be reached"),
    "Miniupnpc Invalid response": (Refusal.NO_ANSWER, "its answer is garbled"),
    "No UPnP device discovered": (
        Refusal.NO_ANSWER,
        "its description could not be read, or is not that of a router",
    ),
}
# "Success" as the text of an exception is the library's way to say that a call came back with nothing.
_ERRORS["Success"] = _ERRORS["No UPnP device discovered"]


def refusal_of(error: Exception) -> IgdError:
    """What an exception of miniupnpc means."""
    text = str(error)
    kind, reason = _ERRORS.get(text, (Refusal.OTHER, ""))
    if not reason:
        known = "".join(c for c in text if c.isascii() and c.isprintable())[:80]
        reason = f"it says: {known}" if known else "it gives no reason"
    return IgdError(reason, kind)


class IgdRouter:
    """
    A router by the way to its description. Every method blocks; one at a time.

    Args:
        route: To its description, and its control.
        local: Our address towards it.
        description: Under which its table shows our ports: short ASCII.
    """

    def __init__(self, route: Route, local: str, description: str) -> None:
        self.route = route
        self._local = local
        self._description = description
        self._upnp: Any = None

    def open(self) -> IgdInfo:
        """
        Read its description, and what it says of its connection.

        Raises:
            IgdError: It is no router, or does not answer.
        """
        try:
            import miniupnpc
        except ImportError as error:
            raise IgdError("the package miniupnpc is not installed: pip install miniupnpc") from error
        upnp = miniupnpc.UPnP()
        try:
            self._select(upnp)
        finally:
            self.route.forget_text()
        self._upnp = upnp
        return self.status()

    def _select(self, upnp: Any) -> None:
        """Have the library read the description. That connects it to the relay, which leads to nobody else."""
        found = self._found(upnp)
        try:
            wanted = self.route.control(found)
        except ValueError as error:
            raise IgdError(str(error)) from error
        # It may name its host, where the library must not go: then again, with the relay in its place.
        if found != wanted and self._found(upnp) != wanted:
            raise IgdError("its description names its address in a way that is not understood")

    def _found(self, upnp: Any) -> str:
        """The URL of the control, as the library makes it of the description."""
        try:
            return upnp.selectigd(self.route.url) or ""
        except Exception as error:
            raise self._refusal(error) from error

    def status(self) -> IgdInfo:
        """
        Its outer address, and whether it is connected.

        Raises:
            IgdError: It does not answer.
        """
        try:
            external = self._library.externalipaddress()
        except Exception as error:
            if self._refusal(error).kind is Refusal.NO_ANSWER:
                raise self._refusal(error) from error
            external = ""
        try:
            state, uptime, *_ = self._library.statusinfo()
        except Exception as error:
            if self._refusal(error).kind is Refusal.NO_ANSWER:
                raise self._refusal(error) from error
            state, uptime = "", 0  # some do not implement it
        connected = str(state).lower() in _CONNECTED if state else bool(usable_ipv4(external))
        return IgdInfo(usable_ipv4(external), connected, uptime if isinstance(uptime, int) else 0)

    def add(self, ask: Ask) -> bool:
        """
        Make or refresh a mapping.

        Returns:
            Whether its table was seen to have it; False if it does not let us look.

        Raises:
            IgdError: It will not, or the port is somebody else's.
        """
        lease = min(max(0, ask.lifetime), _LEASE_MAX)  # the library passes anything on, -1 as 4294967295
        if not 1024 <= ask.external <= 65535:
            raise IgdError(f"port {ask.external} is not to be asked for", Refusal.CONFLICT)
        wanted = ask.wanted
        try:
            self._library.addportmapping(
                ask.external,
                wanted.protocol.upper(),  # some refuse it in lower case
                self._local,
                wanted.port,
                self._description,
                "",
                lease,
            )
        except Exception as error:
            raise self._refusal(error) from error
        entry = self.entry(ask)
        if entry is None:
            return False
        if not self._is_ours(entry, wanted):
            raise IgdError(f"it agreed, and still leads the port to {entry.client}", Refusal.CONFLICT)
        return True

    def entry(self, ask: Ask) -> Entry | None:
        """The line of its table for an outer port; None: it has none, or does not show it."""
        try:
            found = self._library.getspecificportmapping(ask.external, ask.wanted.protocol.upper())
            if not found:
                return None
            client, port, description, *_ = found
            return Entry(str(client), int(port), str(description))
        except Exception:  # miniupnpc raises nothing more exact; whatever it was, there is no line to see
            return None

    def holds(self, ask: Ask) -> bool:
        """Whether its table still has our mapping."""
        entry = self.entry(ask)
        return entry is not None and self._is_ours(entry, ask.wanted)

    def delete(self, ask: Ask) -> None:
        """
        Remove a mapping, unless it has become somebody else's.

        Raises:
            IgdError: It will not.
        """
        entry = self.entry(ask)
        if entry is not None and not self._is_ours(entry, ask.wanted):
            return
        try:
            self._library.deleteportmapping(ask.external, ask.wanted.protocol.upper())
        except Exception as error:
            if str(error) in ("NoSuchEntryInArray", "NoSuchEntry"):
                return
            raise self._refusal(error) from error

    def _is_ours(self, entry: Entry, wanted: Wanted) -> bool:
        return entry.client == self._local and entry.port == wanted.port

    @property
    def _library(self) -> Any:
        if self.route.closed:  # it would write to the program's stderr that nobody is there
            raise IgdError("it is no longer asked", Refusal.NO_ANSWER)
        return self._upnp

    def _refusal(self, error: Exception) -> IgdError:
        """What an exception of miniupnpc means; the relay knows better why there is no answer."""
        if isinstance(error, IgdError):
            return error
        refusal = refusal_of(error)
        if refusal.kind is Refusal.NO_ANSWER and self.route.trouble:
            return IgdError(self.route.trouble, Refusal.NO_ANSWER)
        return refusal
