"""A host with two addresses of each family, and coturn on it: a STUN server that tells what NATs do (RFC 5780)."""

from __future__ import annotations

import pathlib
from typing import Any

from tests.natlab import needs
from tests.natlab.hosts import Host
from tests.natlab.internet import Internet


class Server(Host):
    """
    See `Lab.server`.

    Args:
        folder: Where files of its programs go.
    """

    def __init__(self, internet: Internet, name: str, number: int, folder: pathlib.Path) -> None:
        super().__init__(internet, name, number, addresses=2)
        self._folder = folder

    def coturn(self, port: int = 3478, alternate: int | None = None) -> str:
        """
        Run turnserver on all addresses, over UDP and TCP, until the laboratory is taken down.

        Args:
            port: Where it answers, on all addresses.
            alternate: Where else (OTHER-ADDRESS: the other address and this port); None: one more than `port`.

        Returns:
            ``IP:PORT`` of the first IPv4 address. It answers there.
        """
        needs.require("turnserver")
        other = port + 1 if alternate is None else alternate
        files = self._folder / f"{self.name}.turnserver.{port}"
        words: list[Any] = ["-n", "--stun-only", "--no-auth", "--no-cli", "--no-tls", "--no-dtls", "-m", "1"]
        for address in (*self.all_ipv4, *self.all_ipv6):
            words += ["-L", address]
        words += ["-p", str(port), "--alt-listening-port", str(other), "--log-file", "stdout", "--simple-log"]
        words += ["--pidfile", f"{files}.pid", "--userdb", f"{files}.db"]
        self.start("turnserver", *words)
        addresses = [*self.all_ipv4, *self.all_ipv6]
        self.run("python", "-m", "tests.natlab.stun", "await", *(f"{each} {port}" for each in addresses))
        return f"{self.ipv4}:{port}"
