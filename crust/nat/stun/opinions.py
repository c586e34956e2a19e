"""
What others say where one port of ours is: whom to believe, and for how long. Sans-IO.

A configured server is believed. What peers say is hearsay until two of them agree that are in different networks: one
liar, or several in one place, cannot make us tell a wrong address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from ... import limits
from ...values import dataclass

__all__ = ["Opinions", "network_of"]

Address = tuple[str, int]


@dataclass(frozen=True)
class _Opinion:
    address: Address
    network: str
    trusted: bool
    until: float


class Opinions:
    """About one port. Not thread-safe. Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._opinions: dict[str, _Opinion] = {}
        self._settled: tuple[Address, ...] = ()  # what counted last

    def heard(self, source: str, host: str, address: Address, now: float, *, trusted: bool) -> None:
        """
        ``source`` says that we are at ``address``.

        Args:
            source: Who; its earlier opinion is forgotten.
            host: The IP address that it was asked at.
            trusted: It is one of ours to believe alone.
        """
        self._opinions.pop(source, None)
        self._opinions[source] = _Opinion(address, network_of(host), trusted, now + limits.REFLEXIVE_LIFE)
        if len(self._opinions) > limits.REFLEXIVE_SOURCES_MAX:
            oldest = next((each for each, said in self._opinions.items() if not said.trusted), source)
            del self._opinions[oldest]

    def forget(self, sources: Collection[str]) -> None:
        """What these said counts no more."""
        self._opinions = {source: said for source, said in self._opinions.items() if source not in sources}

    def is_trusted(self, now: float) -> bool:
        """Whether one that is believed alone has spoken lately."""
        return any(said.trusted and said.until > now for said in self._opinions.values())

    def settled(self, now: float) -> tuple[Address, ...]:
        """
        The addresses that count, those with most voices first; of as many, those that were first before: who spoke last
        is no reason to take another one for ours.
        """
        self._opinions = {source: said for source, said in self._opinions.items() if said.until > now}
        voices: dict[Address, set[str]] = {}
        believed: set[Address] = set()
        for said in self._opinions.values():
            voices.setdefault(said.address, set()).add(said.network)
            if said.trusted:
                believed.add(said.address)
        counted = [each for each in voices if each in believed or len(voices[each]) > 1]
        before = {address: place for place, address in enumerate(self._settled)}
        self._settled = tuple(sorted(counted, key=lambda each: (-len(voices[each]), before.get(each, len(before)))))
        return self._settled


def network_of(host: str) -> str:
    """The network that an address is counted for: its /24 (IPv4) or /48 (IPv6)."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    return str(ipaddress.ip_network((ip.packed, 24 if ip.version == 4 else 48), strict=False))
