"""
Who may talk to us: bans, made while running or configured, and the allow lists of the configuration.

Two questions are asked. Before a handshake only the address is known, so only bans of addresses and networks are looked
at (:meth:`Access.address_allowed`; the caller gets no byte). After message 3 the id and the role are known too
(:meth:`Access.verdict`; the caller is told why).
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections.abc import Iterator, Sequence

from ..addresses import ConnectionInfo, Contact, IPAddress, IPNetwork, PeerId, parse_ip, parse_networks
from ..config import AccessConfig
from ..values import dataclass
from ..wire.handshake import DenialCode, Role

__all__ = ["Access", "Ban", "Who"]

Who = str | PeerId | Contact | ConnectionInfo | IPAddress | IPNetwork
"""What a ban can name."""

_ADDRESS_TYPES = (ipaddress.IPv4Address, ipaddress.IPv6Address)
_NETWORK_TYPES = (ipaddress.IPv4Network, ipaddress.IPv6Network)


@dataclass(frozen=True)
class Ban:
    """One entry of the ban list."""

    who: PeerId | IPNetwork
    """A peer, or a network; one address is a network of one."""

    until: float | None
    """When it ends, on the clock that :meth:`Access.ban` was given; None: with the process, or at ``unban``."""


class _Networks:
    """A set of networks, each with the time it ends. Looking an address up costs one probe for each length in use."""

    __slots__ = ("_by_length",)

    def __init__(self) -> None:
        self._by_length: dict[tuple[int, int], dict[int, float]] = {}

    def get(self, network: IPNetwork) -> float | None:
        return self._by_length.get((network.version, network.prefixlen), {}).get(int(network.network_address))

    def set(self, network: IPNetwork, until: float) -> None:
        entries = self._by_length.setdefault((network.version, network.prefixlen), {})
        entries[int(network.network_address)] = until

    def remove(self, network: IPNetwork) -> float | None:
        key = (network.version, network.prefixlen)
        entries = self._by_length.get(key, {})
        until = entries.pop(int(network.network_address), None)
        if not entries:
            self._by_length.pop(key, None)
        return until

    def covers(self, address: IPAddress, now: float) -> bool:
        number = int(address)
        for (version, length), entries in self._by_length.items():
            if version == address.version:
                host_bits = address.max_prefixlen - length
                until = entries.get(number >> host_bits << host_bits)
                if until is not None and until > now:
                    return True
        return False

    def __iter__(self) -> Iterator[tuple[IPNetwork, float]]:
        for (version, length), entries in self._by_length.items():
            for number, until in entries.items():
                if version == 4:
                    yield ipaddress.IPv4Network((number, length)), until
                else:
                    yield ipaddress.IPv6Network((number, length)), until


class Access:
    """
    The ban list and the allow lists.

    Thread-safe. Reads no clock: ``now`` is seconds on the caller's monotonic clock.

    Args:
        config: The ``access`` section of the configuration. Its bans have no end.

    Raises:
        ContactSyntaxError, ValueError: An entry of the section is neither a peer id nor a network.
    """

    __slots__ = ("_allow_peers", "_lock", "_networks", "_peers", "_role_networks")

    def __init__(self, config: AccessConfig) -> None:
        self._lock = threading.Lock()
        """Guards the two tables of bans. The allow lists never change."""
        self._peers: dict[PeerId, float] = {}
        self._networks = _Networks()
        self._allow_peers = None if config.allow_peers is None else frozenset(map(_peer, config.allow_peers))
        self._role_networks = {
            Role.NODE: _allow_list(config.node_networks),
            Role.CLIENT: _allow_list(config.client_networks),
        }
        self.ban(*config.ban.peers, *config.ban.networks, now=0.0)

    def ban(self, *who: Who, now: float, seconds: float | None = None) -> int:
        """
        Refuse these from now on. Sessions that exist are the caller's to end: see :meth:`is_banned`.

        Args:
            who: Peer ids, contacts (of which only the id counts), IP addresses, networks; as objects or as text. One
                IPv6 address is one address: ban its /64 if you mean the household.
            seconds: How long; None: until :meth:`unban`. A ban that exists is made longer by this, never shorter.

        Returns:
            How many were not banned before.

        Raises:
            ContactSyntaxError: A text is neither an id, a contact, an address nor a network.
            TypeError, ValueError: Something else is wrong with an argument. Whatever is raised, nobody was banned.
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a ban must last longer than {seconds!r} seconds; None bans until unban()")
        targets = dict.fromkeys(_target(item) for item in who)
        until = math.inf if seconds is None else now + seconds
        new = 0
        with self._lock:
            self._forget_ended_locked(now)
            for target in targets:
                old = self._peers.get(target) if isinstance(target, PeerId) else self._networks.get(target)
                new += old is None
                later = until if old is None else max(old, until)
                if isinstance(target, PeerId):
                    self._peers[target] = later
                else:
                    self._networks.set(target, later)
        return new

    def unban(self, *who: Who, now: float = -math.inf) -> int:
        """
        Lift bans. Each must be named as it was banned: lifting one address leaves a ban of its network in force.

        Args:
            now: If given, bans that have ended by then do not count.

        Returns:
            How many bans were lifted.

        Raises:
            ContactSyntaxError, TypeError, ValueError: As :meth:`ban`; nothing was lifted.
        """
        targets = dict.fromkeys(_target(item) for item in who)
        with self._lock:
            lifted = [
                self._peers.pop(target, None) if isinstance(target, PeerId) else self._networks.remove(target)
                for target in targets
            ]
        return sum(until is not None and until > now for until in lifted)

    def banned(self, now: float = -math.inf) -> tuple[Ban, ...]:
        """The ban list, peers first, each kind in order; without those that have ended by ``now``."""
        with self._lock:
            peers = sorted(self._peers.items())
            networks = sorted(self._networks, key=lambda entry: (entry[0].version, entry[0]))
        entries: list[tuple[PeerId | IPNetwork, float]] = [*peers, *networks]
        return tuple(Ban(who, None if until == math.inf else until) for who, until in entries if until > now)

    def is_banned(self, peer_id: PeerId | None, address: str | IPAddress | None, now: float) -> bool:
        """True if the peer, or the address it uses, is banned; None: not known, so not looked at."""
        plain = None if address is None else _address(address)
        with self._lock:
            if peer_id is not None and self._peers.get(peer_id, now) > now:
                return True
            return plain is not None and self._networks.covers(plain, now)

    def address_allowed(self, address: str | IPAddress, now: float) -> bool:
        """False if the address is banned: close the connection before any handshake and send nothing."""
        return not self.is_banned(None, address, now)

    def verdict(self, peer_id: PeerId, role: Role, address: str | IPAddress, now: float) -> DenialCode | None:
        """
        May this peer, now that it has proven its id, have a session?

        Args:
            peer_id: Its id.
            role: The role it has introduced itself with.
            address: The IP address that we see it at.

        Returns:
            None if it may, else why not: ``BANNED``, or ``ROLE`` for the allow lists.
        """
        if self.is_banned(peer_id, address, now):
            return DenialCode.BANNED
        if self._allow_peers is not None and peer_id not in self._allow_peers:
            return DenialCode.ROLE
        networks = self._role_networks[role]
        if networks is not None and not networks.covers(_address(address), now):
            return DenialCode.ROLE
        return None

    def _forget_ended_locked(self, now: float) -> None:
        for peer_id in [peer_id for peer_id, until in self._peers.items() if until <= now]:
            del self._peers[peer_id]
        for network in [network for network, until in self._networks if until <= now]:
            self._networks.remove(network)


def _allow_list(networks: Sequence[Who] | None) -> _Networks | None:
    """None allows everybody; an empty list nobody."""
    if networks is None:
        return None
    allowed = _Networks()
    for item in networks:
        network = _target(item)
        if isinstance(network, PeerId):
            raise ValueError(f"expected a network, found a peer id: {network}")
        allowed.set(network, math.inf)
    return allowed


def _peer(item: PeerId | str) -> PeerId:
    return PeerId.parse(item) if isinstance(item, str) else item


def _address(address: str | IPAddress) -> IPAddress:
    """The address as it is compared: an IPv4-mapped IPv6 address is the IPv4 one, a scope does not count."""
    plain = parse_ip(str(address))
    return ipaddress.IPv6Address(int(plain)) if isinstance(plain, ipaddress.IPv6Address) else plain


def _target(item: object) -> PeerId | IPNetwork:
    """What a ban of ``item`` is about."""
    if isinstance(item, PeerId):
        return item
    if isinstance(item, Contact | ConnectionInfo):
        return item.peer_id
    if isinstance(item, _ADDRESS_TYPES):
        return parse_networks([str(_address(item))])[0]
    if isinstance(item, _NETWORK_TYPES):
        return parse_networks([str(item)])[0]
    if isinstance(item, str):
        return _target_of_text(item.strip())
    raise TypeError(
        f"expected a peer id, contact, IP address or network, not {type(item).__name__}: {item!r}"
    )


def _target_of_text(text: str) -> PeerId | IPNetwork:
    if text.startswith("crust1:"):
        return ConnectionInfo.parse(text).peer_id
    if "@" in text:
        return Contact.parse(text).peer_id
    try:
        return _target(parse_ip(text))
    except ValueError:
        if "/" in text or ":" in text or "." in text:  # a peer id has none of these
            return parse_networks([text])[0]
    return PeerId.parse(text)
