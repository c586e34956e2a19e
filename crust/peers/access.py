"""
Who may talk to us: bans, made while running or configured, and the allow lists of the configuration.

Bans of the configuration and those made while running are kept apart: a configuration that is read again changes the
former only, and lets go of nobody whom the application has banned. What is lifted by name is lifted in both. Those of
whom a predicate was true (:mod:`crust.peers.judging`) are banned by id for as long as it is in force.

Two questions are asked. Before a handshake only the address is known, so only bans of addresses and networks are looked
at (:meth:`Access.address_allowed`; the caller gets no byte). After message 3 the id and the role are known too
(:meth:`Access.verdict`; the caller is told why).
"""

from __future__ import annotations

import collections
import heapq
import ipaddress
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from .. import limits
from ..addresses import ConnectionInfo, Contact, IPAddress, IPNetwork, PeerId, parse_ip, parse_networks
from ..config import AccessConfig
from ..values import dataclass
from ..wire.handshake import DenialCode, Role

__all__ = ["Access", "Entry", "Target", "Who", "end_of", "target_of"]

Who = str | PeerId | Contact | ConnectionInfo | IPAddress | IPNetwork
"""What a ban can name."""

Target = PeerId | IPNetwork
"""What it is about then: one address is a network of one."""

_T = TypeVar("_T")

_ADDRESS_TYPES = (ipaddress.IPv4Address, ipaddress.IPv6Address)
_NETWORK_TYPES = (ipaddress.IPv4Network, ipaddress.IPv6Network)

_BATCH = 1024  # bans that are made or lifted while everybody else waits
_LEFT_BEHIND = 64  # ends of bans that are no more, beside as many as there are bans


@dataclass(frozen=True)
class Entry:
    """One entry of the ban list."""

    who: Target
    """A peer, or a network; one address is a network of one."""

    until: float | None
    """When it ends, on the clock that :meth:`Access.ban` was given; None: with the process, or at ``unban``."""

    configured: bool = False
    """The configuration has it, and nobody has lifted it."""


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

    def __len__(self) -> int:
        return sum(map(len, self._by_length.values()))

    def __iter__(self) -> Iterator[tuple[IPNetwork, float]]:
        for (version, length), entries in self._by_length.items():
            for number, until in entries.items():
                if version == 4:
                    yield ipaddress.IPv4Network((number, length)), until
                else:
                    yield ipaddress.IPv6Network((number, length)), until


class _Ends:
    """
    What ends next, so that nobody looks through all that does not. Not thread-safe.

    A ban that is made longer or lifted leaves its old end here; there are never many more of these than bans.
    """

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Target]] = []
        self._numbers = itertools.count()  # targets of two kinds cannot be compared

    def note(self, target: Target, until: float, table: _Bans | _Condemned) -> None:
        if until == math.inf:
            return
        heapq.heappush(self._heap, (until, next(self._numbers), target))
        if len(self._heap) > 2 * len(table) + _LEFT_BEHIND:
            self._heap = [(end, next(self._numbers), who) for who, end in table if end != math.inf]
            heapq.heapify(self._heap)

    def passed(self, now: float) -> Iterator[Target]:
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]

    def __len__(self) -> int:
        return len(self._heap)


class _Bans:
    """Peers and networks, each with the time its ban ends. Not thread-safe."""

    __slots__ = ("ends", "networks", "peers")

    def __init__(self) -> None:
        self.peers: dict[PeerId, float] = {}
        self.networks = _Networks()
        self.ends = _Ends()

    def get(self, target: Target) -> float | None:
        return self.peers.get(target) if isinstance(target, PeerId) else self.networks.get(target)

    def set(self, target: Target, until: float) -> None:
        if isinstance(target, PeerId):
            self.peers[target] = until
        else:
            self.networks.set(target, until)
        self.ends.note(target, until, self)

    def remove(self, target: Target) -> float | None:
        return self.peers.pop(target, None) if isinstance(target, PeerId) else self.networks.remove(target)

    def cover(self, peer_id: PeerId | None, address: IPAddress | None, now: float) -> bool:
        if peer_id is not None and self.peers.get(peer_id, now) > now:
            return True
        return address is not None and self.networks.covers(address, now)

    def __len__(self) -> int:
        return len(self.peers) + len(self.networks)

    def __iter__(self) -> Iterator[tuple[Target, float]]:
        yield from self.peers.items()
        yield from self.networks


class _Condemned:
    """Peers of whom a predicate was true, the last one ``BANS_CONDEMNED_MAX``. Not thread-safe."""

    __slots__ = ("_by", "ends")

    def __init__(self) -> None:
        self._by: collections.OrderedDict[PeerId, tuple[object, float]] = collections.OrderedDict()
        self.ends = _Ends()

    def get(self, target: Target) -> float | None:
        return self._by.get(target, (None, None))[1] if isinstance(target, PeerId) else None

    def set(self, peer_id: PeerId, by: object, until: float) -> None:
        self._by[peer_id] = by, until
        self._by.move_to_end(peer_id)
        self.ends.note(peer_id, until, self)

    def surplus(self) -> list[PeerId]:
        """Those who have to make room."""
        return list(itertools.islice(self._by, max(0, len(self._by) - limits.BANS_CONDEMNED_MAX)))

    def found_by(self, by: object) -> list[PeerId]:
        return [peer_id for peer_id, (judge, _) in self._by.items() if judge is by]

    def covers(self, peer_id: PeerId, now: float) -> bool:
        found = self._by.get(peer_id)
        return found is not None and found[1] > now

    def remove(self, peer_id: Target) -> float | None:
        return self._by.pop(peer_id, (None, None))[1] if isinstance(peer_id, PeerId) else None

    def __len__(self) -> int:
        return len(self._by)

    def __iter__(self) -> Iterator[tuple[PeerId, float]]:
        return iter([(peer_id, until) for peer_id, (_, until) in self._by.items()])


class _Allowed:
    """The allow lists of a configuration."""

    __slots__ = ("networks", "peers")

    def __init__(self, config: AccessConfig) -> None:
        self.peers = None if config.allow_peers is None else frozenset(map(_peer, config.allow_peers))
        self.networks = {
            Role.NODE: _allow_list(config.node_networks),
            Role.CLIENT: _allow_list(config.client_networks),
        }

    def admit(self, peer_id: PeerId, role: Role, address: str | IPAddress | None, now: float) -> bool:
        if self.peers is not None and peer_id not in self.peers:
            return False
        networks = self.networks[role]
        return networks is None or (address is not None and networks.covers(_address(address), now))


class Access:
    """
    The ban list and the allow lists.

    Thread-safe. Reads no clock: ``now`` is seconds on the caller's monotonic clock.

    Args:
        config: The ``access`` section of the configuration. Its bans have no end.

    Raises:
        ContactSyntaxError, ValueError: An entry of the section is neither a peer id nor a network.
    """

    __slots__ = (
        *("_allowed", "_condemned", "_config", "_configured", "_lock", "_made", "_networks", "_peers"),
        *("bites", "refused"),
    )

    def __init__(self, config: AccessConfig) -> None:
        self._lock = threading.Lock()
        """Guards the tables of bans. The allow lists are replaced as a whole."""
        self._config = AccessConfig()
        self.refused = 0
        """How many have been turned away for a ban, by address or by id, since the start; about."""
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        self._made = _Bans()  # by ban()
        self._configured = _Bans()
        self._condemned = _Condemned()  # by predicates
        self._peers = self._networks = 0  # that are in one of these tables at least
        self._allowed = _Allowed(self._config)
        self.configure(config)

    def configure(self, config: AccessConfig) -> None:
        """
        Another section counts from now on. Its new bans are made, those that it has no more are lifted; others stay as
        they are, so that one which was lifted by name does not come back. Sessions are the caller's to end.

        Raises:
            ContactSyntaxError, ValueError: As the constructor; nothing has changed.
        """
        allowed = _Allowed(config)
        wanted = {target_of(item) for item in (*config.ban.peers, *config.ban.networks)}
        with self._lock:
            before = {target_of(item) for item in (*self._config.ban.peers, *self._config.ban.networks)}
            for target in before - wanted:
                self._remove_locked(self._configured, target)
            for target in wanted - before:
                self._count_locked(target)
                self._configured.set(target, math.inf)
            self._config, self._allowed = config, allowed

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
        until = end_of(seconds, now)
        new = 0
        for batch in _batches(dict.fromkeys(target_of(item) for item in who)):
            with self._lock:
                self._forget_ended_locked(now)
                new += sum([self._ban_locked(target, until) for target in batch])
        return new

    def adopt(self, bans: Mapping[Target, float | None], now: float) -> list[Target]:
        """
        Many bans of many lengths at once, as :meth:`ban` makes them: of each, the seconds that it has left, or None.

        Returns:
            Those who were not banned before.

        Raises:
            ValueError: One has no length; some of the others may be banned.
        """
        new = list[Target]()
        for batch in _batches(bans.items()):
            with self._lock:
                self._forget_ended_locked(now)
                new += [target for target, seconds in batch if self._ban_locked(target, end_of(seconds, now))]
        return new

    def condemn(self, peer_id: PeerId, by: object, *, now: float, until: float = math.inf) -> bool:
        """
        A predicate is true of that peer: it is banned until then, or until the predicate is lifted.

        Returns:
            Whether it was not banned before.
        """
        with self._lock:
            self._forget_ended_locked(now)
            new = self._count_locked(peer_id)
            self._condemned.set(peer_id, by, until)
            surplus = self._condemned.surplus()
            self._remove_all_locked(self._condemned, surplus)
        for _ in surplus:
            self.bites("BANS_CONDEMNED_MAX")
        return new

    def release(self, by: object) -> None:
        """That predicate has been lifted: those whom it alone had banned are free."""
        with self._lock:
            self._remove_all_locked(self._condemned, self._condemned.found_by(by))

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
        tables = (self._made, self._configured, self._condemned)
        lifted = 0
        for batch in _batches(dict.fromkeys(target_of(item) for item in who)):
            with self._lock:
                ends = [[self._remove_locked(table, target) for table in tables] for target in batch]
            lifted += sum(any(until is not None and until > now for until in each) for each in ends)
        return lifted

    def banned(self, now: float = -math.inf) -> tuple[Entry, ...]:
        """The ban list, peers first, each kind in order; without those that have ended by ``now``."""
        with self._lock:
            self._forget_ended_locked(now)
            configured = dict(self._configured)  # these have no end
            made = dict(self._made)
            until: dict[Target, float] = {who: max(end, made.get(who, end)) for who, end in self._condemned}
            until = made | until | configured
        peers = sorted(who for who in until if isinstance(who, PeerId))
        networks = (who for who in until if not isinstance(who, PeerId))
        ordered = (*peers, *sorted(networks, key=lambda network: (network.version, network)))
        return tuple(
            Entry(who, None if until[who] == math.inf else until[who], who in configured)
            for who in ordered
            if until[who] > now
        )

    def count(self, now: float) -> tuple[int, int]:
        """How many peers and how many networks :meth:`banned` would name; cheap, however many there are."""
        with self._lock:
            self._forget_ended_locked(now)
            return self._peers, self._networks

    def is_banned(self, peer_id: PeerId | None, address: str | IPAddress | None, now: float) -> bool:
        """True if the peer, or the address it uses, is banned; None: not known, so not looked at."""
        plain = None if address is None else _address(address)
        with self._lock:
            if self._made.cover(peer_id, plain, now) or self._configured.cover(peer_id, plain, now):
                return True
            return peer_id is not None and self._condemned.covers(peer_id, now)

    def address_allowed(self, address: str | IPAddress, now: float) -> bool:
        """False if the address is banned: close the connection before any handshake and send nothing."""
        allowed = not self.is_banned(None, address, now)
        self.refused += not allowed
        return allowed

    def verdict(
        self, peer_id: PeerId, role: Role, address: str | IPAddress | None, now: float
    ) -> DenialCode | None:
        """
        May this peer, now that it has proven its id, have a session?

        Args:
            peer_id: Its id.
            role: The role it has introduced itself with.
            address: The IP address that we see it at; None: not known, so that no network is proven.

        Returns:
            None if it may, else why not: ``BANNED``, or ``ROLE`` for the allow lists.
        """
        if self.is_banned(peer_id, address, now):
            self.refused += 1
            return DenialCode.BANNED
        return None if self.lists(peer_id, role, address, now) else DenialCode.ROLE

    def lists(self, peer_id: PeerId, role: Role, address: str | IPAddress | None, now: float) -> bool:
        """Whether the allow lists let this peer begin a session from that address."""
        return self._allowed.admit(peer_id, role, address, now)

    def _ban_locked(self, target: Target, until: float) -> bool:
        """Whether it was not banned before."""
        new = self._count_locked(target)
        old = self._made.get(target)
        if old is None or until > old:
            self._made.set(target, until)
        return new

    def _is_known_locked(self, target: Target) -> bool:
        tables = (self._made, self._configured, self._condemned)
        return any(table.get(target) is not None for table in tables)

    def _count_locked(self, target: Target) -> bool:
        """It comes into a table; whether it is in none yet."""
        if self._is_known_locked(target):
            return False
        if isinstance(target, PeerId):
            self._peers += 1
        else:
            self._networks += 1
        return True

    def _remove_locked(self, table: _Bans | _Condemned, target: Target) -> float | None:
        """Until when it was there."""
        until = table.remove(target)
        if until is not None and not self._is_known_locked(target):
            if isinstance(target, PeerId):
                self._peers -= 1
            else:
                self._networks -= 1
        return until

    def _remove_all_locked(self, table: _Bans | _Condemned, targets: Iterable[Target]) -> None:
        for target in targets:
            self._remove_locked(table, target)

    def _forget_ended_locked(self, now: float) -> None:
        for table in (self._made, self._condemned):
            for target in table.ends.passed(now):
                until = table.get(target)
                if until is not None and until <= now:  # else it has been made longer, or lifted
                    self._remove_locked(table, target)


def _batches(many: Iterable[_T]) -> Iterator[list[_T]]:
    """Who comes meanwhile does not wait for all of them."""
    left = iter(many)
    while batch := list(itertools.islice(left, _BATCH)):
        yield batch


def end_of(seconds: float | None, now: float) -> float:
    """
    When a ban of that length ends.

    Raises:
        ValueError: It has none.
    """
    if seconds is not None and not seconds > 0:
        raise ValueError(f"a ban must last longer than {seconds!r} seconds; None bans until unban()")
    return math.inf if seconds is None else now + seconds


def _allow_list(networks: Sequence[Who] | None) -> _Networks | None:
    """None allows everybody; an empty list nobody."""
    if networks is None:
        return None
    allowed = _Networks()
    for item in networks:
        network = target_of(item)
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


def target_of(item: object) -> Target:
    """
    What a ban of ``item`` is about.

    Raises:
        ContactSyntaxError, TypeError, ValueError: Nothing.
    """
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


def _target_of_text(text: str) -> Target:
    if text.startswith("crust1:"):
        return ConnectionInfo.parse(text).peer_id
    if "@" in text:
        return Contact.parse(text).peer_id
    try:
        return target_of(parse_ip(text))
    except ValueError:
        if "/" in text or ":" in text or "." in text:  # a peer id has none of these
            return parse_networks([text])[0]
    return PeerId.parse(text)
