"""miniupnpd on a router of the laboratory: UPnP-IGD, NAT-PMP and PCP, each of which can be switched off."""

from __future__ import annotations

import pathlib
import re
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING

from tests.natlab import needs
from tests.support.programs import Program

if TYPE_CHECKING:
    from tests.natlab.routers.router import Router

PROTOCOLS = ("igd", "natpmp", "pcp")
PORT = 5000
"""Of its descriptions and commands, over HTTP; NAT-PMP and PCP have 5351."""

_VERSIONS = {"natpmp": 0, "pcp": 2}  # the first byte of a request tells the two apart


class Gateway:
    """
    What opens ports on request. It refuses to if the router's own outer address is not public, as behind a carrier.

    Args:
        router: Where it runs.
        folder: Where its files go.
        protocols: Some of `PROTOCOLS`; it does not answer to the others.
    """

    def __init__(self, router: Router, folder: pathlib.Path, protocols: Collection[str]) -> None:
        assert protocols and set(protocols) <= set(PROTOCOLS), f"UPnP here is {PROTOCOLS}, not {protocols}"
        self._router, self._protocols = router, protocols
        self._path = folder / f"{router.name}.miniupnpd"
        self._boots = 0
        self.program: Program | None = None

    def rules(self) -> str:
        """What switches off one of the two that share a port; they answer nothing then."""
        off = [str(number) for name, number in _VERSIONS.items() if name not in self._protocols]
        if not off:
            return ""
        rule = f'iifname "lan" udp dport 5351 @th,64,8 {{ {", ".join(off)} }} drop'
        return f"table inet gateway {{\nchain input {{\ntype filter hook input priority -1;\n{rule}\n}}\n}}\n"

    def start(self) -> None:
        """Until it answers."""
        needs.require("miniupnpd")
        self._boots += 1
        path = self._path.with_suffix(".conf")
        path.write_text(self._settings())
        pid = self._path.with_suffix(f".{self._boots}.pid")  # it does not start where an old one is in the way
        options = ("-d", "-f", str(path), "-P", str(pid), "-b", str(self._boots))
        self.program = self._router.start("miniupnpd", *options)
        if "igd" in self._protocols:
            self.program.wait_for(rf"HTTP listening on port {PORT}")
        if self._mappers:
            self.program.wait_for("Listening for NAT-PMP/PCP")

    def stop(self) -> None:
        """Its mappings stay in the router's rules."""
        assert self.program is not None
        self.program.stop()
        self.program = None

    @property
    def _mappers(self) -> bool:
        return not _VERSIONS.keys().isdisjoint(self._protocols)

    def _settings(self) -> str:
        text = f"""
            ext_ifname=wan
            listening_ip=lan
            port={PORT}
            ipv6_disable=yes
            enable_upnp={"yes" if "igd" in self._protocols else "no"}
            enable_natpmp={"yes" if self._mappers else "no"}
            secure_mode=yes
            upnp_table_name=filter
            upnp_nat_table_name=filter
            upnp_forward_chain=miniupnpd
            upnp_nat_chain=miniupnpd_in
            upnp_nat_postrouting_chain=miniupnpd_out
            uuid={uuid.uuid5(uuid.NAMESPACE_DNS, self._router.namespace)}
            friendly_name={self._router.name}
            allow 1024-65535 {self._router.plan.lan} 1024-65535
            deny 0-65535 0.0.0.0/0 0-65535
        """
        return re.sub(r"(?m)^ +", "", text).lstrip()
