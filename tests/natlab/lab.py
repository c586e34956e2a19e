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
import sys
from types import TracebackType
from typing import Any

from tests.natlab import names
from tests.natlab.hosts import Host, remove_namespace
from tests.natlab.internet import Internet

CAPTURE = "CRUST_LAB_CAPTURE"
"""The variable that names a folder for captures: a file for each laboratory."""


class Lab:
    """Hosts and the network between them; a context manager. Not thread-safe."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self._number = 0

    def __enter__(self) -> Lab:
        for name in names.orphans():
            remove_namespace(name)
        self._internet = Internet()
        with contextlib.ExitStack() as stack:
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

    def host(self, name: str, interface_mtu: int = 1500, **settings: Any) -> Host:
        """
        One more host.

        Args:
            name: A word, for people, and for its namespace.
            interface_mtu: Bytes of the biggest packet that its interface sends.
            settings: What its link does, the same in both directions (`Settings`); `mtu` is that of the link.
        """
        assert name.isidentifier() and name not in [each.name for each in self.hosts], f"no name for a host: {name}"
        self._number += 1
        host = Host(self._internet, name, self._number, interface_mtu)
        self._stack.callback(host.remove)  # before anything is made: an interrupt may come in between
        host.create()
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
