"""Sites: machines on a LAN behind a router, and carriers with sites behind them. A `Lab` makes them."""

from __future__ import annotations

import dataclasses
import ipaddress

from tests.natlab.hosts import Host, Machine, counted, ip
from tests.natlab.internet import Internet, Link
from tests.natlab.routers import rules
from tests.natlab.routers.kinds import Kind
from tests.natlab.routers.router import LAN, Line, Router

INTERFACE = "eth0"
HAIRPINS = ("full", "addr", "port", "udpblock", "strict", "rst", "tcpblock")
"""The kinds whose mappings can be told in advance, so that the rules can lead back what is sent to them from inside."""


class LanHost(Machine):
    """A machine on a site's LAN, with a private address of IPv4, and a global one of IPv6 if the site has that."""

    def __init__(self, internet: Internet, name: str, router: Router, index: int) -> None:
        super().__init__(internet, name, INTERFACE)
        self.router = router
        network = ipaddress.ip_network(router.plan.lan)
        self.all_ipv4 = (str(network[10 + index]),)
        self._next = counted(str(network.network_address).rpartition(".")[0], 100 + 10 * index)
        if router.lan_ipv6:
            self.all_ipv6 = (router.lan_ipv6[:-1] + f"{0x10 + index:x}",)

    def join(self) -> None:
        """Set up its interface."""
        lines = ["link set lo up", f"link set {INTERFACE} up", f"addr add {self.ipv4}/24 dev {INTERFACE}"]
        lines += [f"route add default via {self.router.lan_ipv4}"]
        if self.ipv6:
            lines += [f"addr add {self.ipv6}/64 dev {INTERFACE} nodad"]
            lines += [f"route add default via {self.router.lan_ipv6} dev {INTERFACE}"]
        # As on any machine there is a link-local address, too, whether the site has IPv6 or not.
        self.prepare(**{f"ipv6__conf__{INTERFACE}__addr_gen_mode": 0})
        self.configure(*lines)


    def renumber(self, ipv4: str = "") -> None:
        """Get another private address, by default one that it has not had: what was open at the old one is cut."""
        old, self.all_ipv4 = self.ipv4, (ipv4 or self._next(),)
        self.configure(
            f"addr del {old}/24 dev {INTERFACE}",
            f"addr add {self.ipv4}/24 dev {INTERFACE}",
            f"route replace default via {self.router.lan_ipv4}",
        )


@dataclasses.dataclass(frozen=True)
class Site:
    """What `Lab.site` makes."""

    name: str
    kind: Kind
    hosts: list[Machine]
    """`Host` where there is no router, else `LanHost`."""

    router: Router | None
    """None in a site of kind ``none``, whose hosts are on the Internet themselves."""

    carrier: Carrier | None = None
    """Whom the router is a subscriber of."""

    @property
    def host(self) -> Machine:
        """The first of its hosts."""
        return self.hosts[0]

    @property
    def edge(self) -> Host:
        """What the line to the provider ends at: the router, or the host itself."""
        edge = self.router or self.hosts[0]
        assert isinstance(edge, Host)
        return edge

    @property
    def link(self) -> Link:
        """That line: its delay, loss and so on."""
        return self.edge.link

    @property
    def wan_ipv4(self) -> str:
        """The address of the router's ``wan``; behind a carrier one of 100.64.0.0/10."""
        return self.edge.ipv4

    @property
    def public_ipv4(self) -> str:
        """The address that the world sees."""
        return self.carrier.router.ipv4 if self.carrier else self.edge.ipv4

    def cut(self) -> None:
        """Nothing passes the line to the provider from now on; the LAN works on, and nobody is told."""
        self.link.cut()

    def restore(self) -> None:
        """The end of `cut`."""
        self.link.restore()

    def renumber(self) -> None:
        """Get the next address of IPv4 from the provider; what was mapped at the old one is lost."""
        self.edge.renumber()


class Carrier:
    """
    An Internet provider with one public address for all its subscribers. `Lab.carrier` makes it.

    Its NAT maps endpoint-independently and filters by port (or as `kind` says), and gives ports other than the inner
    ones. What subscribers send goes through it, also what they send each other.
    """

    def __init__(self, internet: Internet, router: Router) -> None:
        self.name, self.router = router.name, router
        self._internet = internet
        network = ipaddress.ip_network(router.plan.lan)
        self._next = counted(str(network.network_address).rpartition(".")[0], 2)
        self._lan = Link(internet, f"{self.name}_lan")

    def create(self) -> None:
        """Make it, without subscribers."""
        router = self.router
        ip("netns", "add", router.namespace)
        router.attach()
        self._internet.ask(
            "attach",
            name=f"{self.name}_lan",
            namespace=f"/run/netns/{router.namespace}",
            mtu=1500,
            interface=LAN,
            realm=self.name,
            exit=True,
        )
        router.configure(
            "link set lo up",
            *router.wan_lines(),
            f"link set {LAN} txqueuelen 5000 up",
            f"addr add {router.lan_ipv4}/24 dev {LAN}",
        )
        router.start_forwarding()

    def line(self) -> Line:
        """A line for one more subscriber, who may get further addresses later."""
        place = len(self.router.plan.subscribers)
        assert place < len(rules.SHUFFLES), f"a carrier here has at most {len(rules.SHUFFLES)} subscribers"

        def next_address() -> str:
            plan, address = self.router.plan, self._next()
            subscribers = (*plan.subscribers[:place], address, *plan.subscribers[place + 1 :])
            self.router.translate(dataclasses.replace(plan, subscribers=subscribers))
            return address

        return Line(self.name, self.router.lan_ipv4, next_address)

    def route(self, addresses: list[str], prefix: str) -> None:
        """These addresses of IPv6 are behind it."""
        self._internet.ask("route", name=self.name, addresses=addresses)
        self.router.configure(f"route add {prefix} dev {LAN}")


def connect(internet: Internet, router: Router, hosts: list[LanHost], carrier: Carrier | None) -> None:
    """Make a router and the hosts on its LAN. They are registered for removal before."""
    spaces = [router.namespace, *(each.namespace for each in hosts)]
    ip("-batch", "-", lines="".join(f"netns add {each}\n" for each in spaces))
    router.attach()
    lines = ["link set lo up", *router.wan_lines(), f"link add {LAN} type bridge", f"link set {LAN} up"]
    lines += [f"addr add {router.lan_ipv4}/24 dev {LAN}"]
    if router.lan_ipv6:
        # The other one is what it asks by where a machine is, whenever it has forgotten.
        lines += [f"addr add {address}/64 dev {LAN} nodad" for address in (router.lan_ipv6, "fe80::1")]
    for index, host in enumerate(hosts, 1):
        lines += [f"link add {LAN}{index} type veth peer name {INTERFACE} netns {host.namespace}"]
        lines += [f"link set {LAN}{index} master {LAN} up"]
    router.configure(*lines)
    for host in hosts:
        host.join()
    addresses = [each.ipv6 for each in hosts if each.ipv6]
    if addresses:
        internet.ask("route", name=router.name, addresses=[router.lan_ipv6, *addresses])
        if carrier:
            carrier.route([router.ipv6, router.lan_ipv6, *addresses], f"2a10:20:{router.number}::/48")
    router.start_forwarding()
