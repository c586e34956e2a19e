"""
A router for tests, without sockets: one table, and what it answers by NAT-PMP, PCP and UPnP's SOAP. Every quirk of real
ones that crust must bear is an attribute.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from crust.exceptions import MalformedMessage
from crust.nat.mapping import natpmp, pcp

Key = tuple[str, int]
"""Protocol and outer port."""


class SoapError(Exception):
    """A number of UPnP's."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


@dataclasses.dataclass
class Line:
    """One mapping."""

    client: str
    internal: int
    lease: int
    description: str = ""
    nonce: bytes = b""
    by: str = "igd"


class Router:
    """
    Args:
        client: The address that requests come from.
    """

    def __init__(self, client: str = "192.168.1.10") -> None:
        self.client = client
        self.external_ip = "20.0.1.1"
        self.pcp = True
        self.natpmp = True
        self.igd = True
        self.table: dict[Key, Line] = {}
        self.booted = 0.0
        self.asked: list[str] = []  # what it was asked for, a word each, in order
        self.life_max = 7200
        self.pcp_result = 0  # the error of every MAP
        self.natpmp_result = 0
        self.sees = ""  # another address on our packets than ours: a NAT in between
        self.soap_errors: dict[
            str, list[int]
        ] = {}  # by action: errors that come before it works; -1 for ever
        self.taken: set[Key] = set()  # outer ports of others
        self.permanent_only: int = 0  # 725 or 402: the error for a lease
        self.liar = False  # it agrees, and does nothing
        self.blind = False  # it does not show its table

    def reboot(self, now: float) -> None:
        """It loses its table."""
        self.table.clear()
        self.booted = now

    def ours(self) -> dict[Key, tuple[str, int]]:
        """Each mapping with the inner end that it leads to."""
        return {key: (line.client, line.internal) for key, line in self.table.items()}

    # --- NAT-PMP and PCP ----------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now: float) -> list[bytes]:
        """What comes back for a datagram to port 5351."""
        epoch = int(now - self.booted)
        if data[:1] == b"\2":
            if self.pcp:
                return self._answer_pcp(data, epoch)
            return [natpmp.build_natpmp(natpmp.Error(0, 1, epoch))] if self.natpmp else []
        return self._answer_natpmp(data, epoch) if self.natpmp else []

    def _answer_pcp(self, data: bytes, epoch: int) -> list[bytes]:
        try:
            request = pcp.parse_pcp_untrusted(data)
        except MalformedMessage:
            return []
        if isinstance(request, pcp.AnnounceRequest):
            self.asked.append("announce")
            return [pcp.build_pcp(pcp.AnnounceResponse(0, epoch))]
        assert isinstance(request, pcp.MapRequest)
        protocol = "tcp" if request.protocol is pcp.Protocol.TCP else "udp"
        self.asked.append(f"pcp {'map' if request.lifetime else 'unmap'} {protocol} {request.internal}")
        result, external, lifetime = self.pcp_result, request.external, min(request.lifetime, self.life_max)
        if self.sees:
            result = pcp.Result.ADDRESS_MISMATCH
        if not result:
            try:
                external = self._map(protocol, request.internal, external, lifetime, request.nonce, "pcp")
            except PermissionError:
                result = pcp.Result.NOT_AUTHORIZED
        response = pcp.MapResponse(
            result,
            lifetime if not result else 30,
            epoch,
            request.nonce,
            request.protocol,
            request.internal,
            external,
            self.external_ip,
        )
        return [pcp.build_pcp(response)]

    def _answer_natpmp(self, data: bytes, epoch: int) -> list[bytes]:
        try:
            request = natpmp.parse_natpmp_untrusted(data)
        except MalformedMessage:
            return []
        if isinstance(request, natpmp.AddressRequest):
            self.asked.append("address")
            return [natpmp.build_natpmp(natpmp.AddressResponse(epoch, self.external_ip))]
        assert isinstance(request, natpmp.MapRequest)
        protocol, lifetime = request.protocol, min(request.lifetime, self.life_max)
        self.asked.append(f"natpmp {'map' if request.lifetime else 'unmap'} {protocol} {request.internal}")
        if self.natpmp_result:
            code = natpmp.MAP_TCP if protocol == "tcp" else natpmp.MAP_UDP
            return [natpmp.build_natpmp(natpmp.Error(code, self.natpmp_result, epoch))]
        try:
            external = self._map(protocol, request.internal, request.external, lifetime, b"", "natpmp")
        except PermissionError:  # a client that speaks PCP has it
            code = natpmp.MAP_TCP if protocol == "tcp" else natpmp.MAP_UDP
            return [natpmp.build_natpmp(natpmp.Error(code, natpmp.Result.NOT_AUTHORIZED, epoch))]
        response = natpmp.MapResponse(protocol, epoch, request.internal, external, lifetime)
        return [natpmp.build_natpmp(response)]

    def _map(self, protocol: str, internal: int, external: int, lifetime: int, nonce: bytes, by: str) -> int:
        old = next(
            (key for key, line in self.table.items() if (key[0], line.internal) == (protocol, internal)), None
        )
        if old is not None and self.table[old].nonce != nonce:
            raise PermissionError
        if not lifetime:
            if old is not None:
                del self.table[old]
            return 0
        if old is not None:
            self.table[old].lease = lifetime
            return old[1]
        key = (protocol, external)
        while key in self.taken or key in self.table or not key[1]:
            key = (protocol, (key[1] or 40000) + 1)
        self.table[key] = Line(self.client, internal, lifetime, nonce=nonce, by=by)
        return key[1]

    # --- UPnP ---------------------------------------------------------------------------------------------------------

    def soap(self, action: str, arguments: dict[str, str]) -> dict[str, Any]:
        """
        What an action returns.

        Raises:
            SoapError: It says no.
        """
        self.asked.append(action)
        errors = self.soap_errors.get(action, [])
        if errors:
            code = errors[0]
            if len(errors) == 1 and code < 0:
                raise SoapError(501)
            raise SoapError(errors.pop(0))
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.external_ip}
        if action == "GetStatusInfo":
            return {
                "NewConnectionStatus": "Connected",
                "NewLastConnectionError": "ERROR_NONE",
                "NewUptime": "4711",
            }
        key = (arguments.get("NewProtocol", "").lower(), int(arguments.get("NewExternalPort", "0")))
        if action == "AddPortMapping":
            return self._add(key, arguments)
        if action == "GetSpecificPortMappingEntry":
            if self.blind or key not in self.table:
                raise SoapError(714)
            line = self.table[key]
            return {
                "NewInternalPort": line.internal,
                "NewInternalClient": line.client,
                "NewEnabled": 1,
                "NewPortMappingDescription": line.description,
                "NewLeaseDuration": line.lease,
            }
        if action == "DeletePortMapping":
            if self.table.pop(key, None) is None:
                raise SoapError(714)
            return {}
        raise SoapError(401)

    def _add(self, key: Key, arguments: dict[str, str]) -> dict[str, Any]:
        assert arguments["NewProtocol"] in ("TCP", "UDP"), "some routers refuse it in lower case"
        assert 1024 <= key[1] <= 65535 and arguments["NewRemoteHost"] == ""
        assert (
            arguments["NewPortMappingDescription"].isascii()
            and len(arguments["NewPortMappingDescription"]) < 32
        )
        lease = int(arguments["NewLeaseDuration"])
        if lease and self.permanent_only:
            raise SoapError(self.permanent_only)
        client, internal = arguments["NewInternalClient"], int(arguments["NewInternalPort"])
        other = self.table.get(key)
        if key in self.taken or (other is not None and other.client != client):
            raise SoapError(718)
        if not self.liar:
            self.table[key] = Line(client, internal, lease, arguments["NewPortMappingDescription"])
        return {}
