"""A router: a namespace between ``wan``, its line to the Internet or to a carrier, and ``lan``."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable

from tests.natlab.hosts import Host
from tests.natlab.internet import Internet
from tests.natlab.routers import rules
from tests.natlab.routers.gateway import Gateway

LAN = "lan"
_TURN = 0x2B5  # what is added to the turn of the ports with each rebinding: it takes 4096 of them until one comes again
_FORWARDING = {
    "ipv4__ip_forward": 1,
    "ipv6__conf__all__forwarding": 1,
    "ipv4__conf__all__send_redirects": 0,
    "ipv4__conf__default__send_redirects": 0,
    "ipv4__conf__all__rp_filter": 0,
    "ipv4__conf__default__rp_filter": 0,
}


@dataclasses.dataclass(frozen=True)
class Line:
    """What a router's ``wan`` is joined to, if not to the Internet itself."""

    realm: str
    """The name of the carrier."""

    gateway: str
    next_address: Callable[[], str]
    """One more address of IPv4 for this router."""


class Router(Host):
    """
    A home's or a carrier's. A `Site` or `Carrier` makes it.

    Args:
        number: Of its networks of IPv6 (``2a10:20:NUMBER::/48``), and of IPv4 unless `line` says otherwise.
        plan: Its rules; its outer address is set here.
        line: None: one to the Internet.
        has_ipv6: Whether it routes IPv6.
    """

    def __init__(
        self,
        internet: Internet,
        name: str,
        number: int,
        plan: rules.Plan,
        *,
        line: Line | None = None,
        has_ipv6: bool = False,
    ) -> None:
        super().__init__(internet, name, number, has_ipv6=has_ipv6)
        self.number = number
        if line:
            self._realm, self.gateway4, self.next_address = line.realm, line.gateway, line.next_address
            self.all_ipv4 = (self.next_address(),)
        self.plan = dataclasses.replace(plan, wan=self.ipv4)
        network = ipaddress.ip_network(plan.lan)
        self.lan_ipv4 = str(network[1])
        self.lan_ipv6 = f"2a10:20:{number}:1::1" if has_ipv6 else ""
        self.gateway: Gateway | None = None
        """miniupnpd, if there is one."""

    def attach(self) -> None:
        super().attach()
        self.prepare(**_FORWARDING)

    def start_forwarding(self) -> None:
        """Load the rules; what goes through is translated and filtered from now on."""
        self.run("nft", "-f", "-", lines=self._ruleset())
        timeouts = dict.fromkeys(("udp_timeout", "udp_timeout_stream"), self.plan.udp_timeout)
        self.prepare(**{f"netfilter__nf_conntrack_{name}": value for name, value in timeouts.items()})
        if self.gateway:
            self.gateway.start()

    def _ruleset(self) -> str:
        gateway = self.gateway.rules() if self.gateway else ""
        return "flush ruleset\n" + rules.filters(self.plan) + rules.translation(self.plan) + gateway

    def translate(self, plan: rules.Plan) -> None:
        """Change the translation while it runs; what the rules remember is lost."""
        self.plan = plan
        self.run("nft", "-f", "-", lines="delete table ip nat\n" + rules.translation(plan))

    def forget(self) -> None:
        """All mappings but those of UPnP are lost, as in a router whose table overflowed; it runs on."""
        self.translate(self.plan)
        self._internet.ask("forget", name=self.name)

    def rebind(self) -> None:
        """As `forget`, and what goes on gets other outer ports than it had: those of no kind of NAT stay."""
        self.plan = dataclasses.replace(self.plan, turn=(self.plan.turn + _TURN) % 0x1000)
        self.forget()

    def reboot(self) -> None:
        """
        Off and on again: all mappings, also those of UPnP, are lost, and miniupnpd counts its age from zero.

        It is off for as long as that takes; the addresses stay.
        """
        self.cut()
        if self.gateway:
            self.gateway.stop()
        self.run("nft", "-f", "-", lines=self._ruleset())
        self._internet.ask("forget", name=self.name)
        if self.gateway:
            self.gateway.start()
        self.restore()

    def renumber(self, ipv4: str = "") -> None:
        """Get another address from the provider (IPv4 only), by default the next; mappings of the old one are lost."""
        super().renumber(ipv4)
        self.translate(dataclasses.replace(self.plan, wan=self.ipv4))
        self._internet.ask("forget", name=self.name)

    def cut(self) -> None:
        """Nothing passes the line to the provider; the LAN works on, and nobody is told."""
        self.link.cut()

    def restore(self) -> None:
        """The end of `cut`."""
        self.link.restore()
