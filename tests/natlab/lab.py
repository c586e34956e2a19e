"""
A laboratory of network namespaces: hosts, and between them a network that delays, loses, and has bottlenecks.

    with Lab() as lab:
        alice, bob = lab.pair(delay=0.04, loss=0.01, rate=20e6)
        alice.run("ping", "-c1", bob.ipv4)
        alice.link.set(mtu=1280, tells=False)
        bob.firewall.drop("udp")

It needs Linux, root, iproute2, nftables and /dev/net/tun (docs/laboratory.md). Everything it makes goes with it,
whatever happens in the body. What a killed run left behind goes when the next one begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, TypeVar

from tests.natlab import disks, names
from tests.natlab.hosts import Host, remove_namespace
from tests.natlab.internet import Internet
from tests.natlab.routers import rules
from tests.natlab.routers.gateway import PROTOCOLS, Gateway
from tests.natlab.routers.kinds import KINDS
from tests.natlab.routers.router import Router
from tests.natlab.routers.sites import HAIRPINS, Carrier, LanHost, Site, connect
from tests.natlab.server import Server

CAPTURE = "CRUST_LAB_CAPTURE"
"""The variable that names a folder for captures: a file for each laboratory."""


_H = TypeVar("_H", bound=Host)


def remove_orphans() -> None:
    """Remove what killed runs have left behind."""
    for name in names.orphans():
        remove_namespace(name)
    for folder in names.orphaned_folders():
        disks.unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _names(site: str, count: int) -> list[str]:
    return [site, *(f"{site}_{number}" for number in range(2, count + 1))]


class Lab:
    """Hosts and the network between them; a context manager. Not thread-safe."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        """Those that are joined to the Internet or to a carrier, routers as well."""

        self._number = 0
        self._names: set[str] = set()

    def __enter__(self) -> Lab:
        remove_orphans()
        self.folder = pathlib.Path(names.FILES, names.fresh("files"))  # of what its programs read and write
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.folder.mkdir(0o700)
            self._internet = Internet()
            stack.callback(self._internet.close)
            if folder := os.environ.get(CAPTURE):
                path = os.path.join(os.path.abspath(folder), names.fresh("capture") + ".pcap")
                self._internet.ask("capture", path=path)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._show_counts()

    def host(self, name: str, interface_mtu: int = 1500, *, has_ipv6: bool = True, **settings: Any) -> Host:
        """
        One more host, on the Internet.

        Args:
            name: A word, for people, and for its namespace.
            interface_mtu: Bytes of the biggest packet that its interface sends.
            has_ipv6: Whether it has an address of IPv6.
            settings: What its link does, the same in both directions (`Settings`); `mtu` is that of the link.
        """
        return self._created(Host(self._internet, name, self._next(name), interface_mtu, has_ipv6=has_ipv6), settings)

    def server(self, name: str = "srv", **settings: Any) -> Server:
        """One more host, with two addresses of each family, which can run coturn (`Server.coturn`)."""
        return self._created(Server(self._internet, name, self._next(name), self.folder), settings)

    def carrier(
        self, name: str, *, kind: str = "port", hairpin: bool = False, isolates: bool = True, **settings: Any
    ) -> Carrier:
        """
        An Internet provider with one public address for many subscribers: sites made with ``behind=`` it.

        Args:
            name: A word.
            kind: What its NAT does: ``full``, ``addr`` or ``port``; the ports are other ones than inside.
            hairpin: Whether subscribers reach each other at the public address.
            isolates: Whether they cannot reach each other at their inner addresses.
            settings: Of its own link to the Internet (`Settings`).
        """
        assert kind in ("full", "addr", "port"), f"no carrier here is {kind}"
        number = self._next(name)
        plan = rules.Plan(kind, "", f"100.64.{number}.0/24", hairpin=hairpin, isolates=isolates, open_ipv6=True)
        router = Router(self._internet, name, number, plan, has_ipv6=True)
        carrier = Carrier(self._internet, router)
        self._created(router, settings, carrier.create)
        return carrier

    def site(
        self,
        name: str,
        kind: str = "port",
        *,
        hosts: int = 1,
        hairpin: bool = False,
        upnp: bool | Collection[str] = False,
        rst: bool = False,
        ipv6: str = "none",
        mapping_timeout: int = rules.UDP_TIMEOUT,
        step: int = 1,
        lan: str = "",
        behind: Carrier | None = None,
        **settings: Any,
    ) -> Site:
        """
        Machines on a LAN behind a router.

        Args:
            name: A word: that of its first host; the others are ``NAME_2`` and so on, the router is ``NAME_router``.
            kind: One of `KINDS`; ``cgnat`` is ``port`` behind a carrier, by default one of its own, ``NAME_carrier``.
            hosts: How many.
            hairpin: Whether what a host sends to the outer address of another is led back in.
            upnp: Whether the router runs miniupnpd, or what of it: some of ``igd``, ``natpmp``, ``pcp``.
            rst: Whether TCP that comes unasked is answered by RST, as in kind ``rst``.
            ipv6: ``none``; ``firewall``: global addresses, behind a firewall that lets in only what was asked for;
                ``open``: without it.
            mapping_timeout: Seconds that a UDP mapping outlives its last packet.
            step: Between one port and the next, in kind ``symseq``.
            lan: Its network, by default ``192.168.NUMBER.0/24``; always a /24.
            behind: The carrier whose subscriber it is.
            settings: What the link of the router does, the same in both directions (`Settings`).

        Raises:
            ValueError: A combination that there is no router for.
        """
        if kind not in KINDS or ipv6 not in ("none", "firewall", "open"):
            raise ValueError(f"kinds are {', '.join(KINDS)}, and ipv6 none, firewall or open: not {kind}, {ipv6}")
        found = KINDS[kind]
        if hairpin and kind not in HAIRPINS:
            raise ValueError(f"{kind} has no hairpin: give it to the carrier, or take one of {', '.join(HAIRPINS)}")
        if kind == "none":
            if hairpin or upnp or rst or behind or ipv6 == "firewall":
                raise ValueError("a host on the Internet itself has neither router nor firewall")
            machines = [self.host(each, has_ipv6=ipv6 == "open", **settings) for each in _names(name, hosts)]
            return Site(name, found, list(machines), None)
        if found.carrier and behind is None:
            behind = self.carrier(f"{name}_carrier")
        number = self._next(f"{name}_router")
        plan = rules.Plan(
            "port" if found.carrier else kind,
            "",
            lan or f"192.168.{number}.0/24",
            hairpin=hairpin,
            upnp=bool(upnp),
            resets=rst or found.stranger == "reset",
            open_ipv6=ipv6 == "open",
            udp_timeout=mapping_timeout,
            step=step,
        )
        line = behind.line() if behind else None
        router = Router(self._internet, f"{name}_router", number, plan, line=line, has_ipv6=ipv6 != "none")
        if upnp:
            protocols = PROTOCOLS if upnp is True else tuple(upnp)
            router.gateway = Gateway(router, self.folder, protocols)
        inside = [LanHost(self._internet, each, router, index) for index, each in enumerate(_names(name, hosts))]
        for each in inside:
            self._check(each.name)
            self._names.add(each.name)
            self._stack.callback(each.remove)
        self._created(router, settings, lambda: connect(self._internet, router, inside, behind))
        return Site(name, dataclasses.replace(found, stranger="reset") if rst else found, list(inside), router, behind)

    def disk(self, name: str, size: int) -> disks.Disk:
        """One more disk, of so many bytes, in the laboratory's folder; it need not be any machine's."""
        disk = disks.Disk(self.folder / name, size)
        self._stack.callback(disk.remove)
        disk.mount()
        return disk

    def _next(self, name: str) -> int:
        """The number of one more machine on the Internet."""
        self._check(name)
        self._names.add(name)
        self._number += 1
        return self._number

    def _check(self, name: str) -> None:
        assert name.isidentifier() and name not in self._names, f"no name for a host: {name}"

    def _created(self, host: _H, settings: dict[str, Any], create: Callable[[], object] | None = None) -> _H:
        self._stack.callback(host.remove)  # before anything is made: an interrupt may come in between
        (create or host.create)()
        if settings:
            host.link.set(**settings)
        self.hosts.append(host)
        return host

    def pair(self, interface_mtu: int = 1500, **settings: Any) -> tuple[Host, Host]:
        """Hosts ``a`` and ``b``. The settings are those of a's link: every packet between them passes it once."""
        return self.host("a", interface_mtu, **settings), self.host("b", interface_mtu)

    def _show_counts(self) -> None:
        """pytest shows them when a test fails."""
        for host in self.hosts:
            for way in ("up", "down"):
                counts = dataclasses.asdict(getattr(host.link, way).counts())
                words = [f"{name} {count:,}" for name, count in counts.items() if count]
                sys.stdout.write(f"--- {host.name} {way}: {', '.join(words) or 'no packets'}\n")
