"""Who may connect, and what that may cost."""

from __future__ import annotations

from typing import ClassVar

from ... import limits
from ...values import dataclass
from ..kinds import Number, OrNull
from ..sections import Section, key, section
from .shapes import COUNT_MAX, NETWORKS, PATH, PEERS

__all__ = ["AccessConfig", "BanConfig", "LimitsConfig"]


@dataclass(frozen=True, slots=True)
class LimitsConfig(Section):
    """What strangers and peers can cost this node at most."""

    KEY: ClassVar[str] = "limits"

    max_peers: int = key(
        limits.PEERS_MAX,
        Number("peers", 1, COUNT_MAX),
        "Peers connected at once; others hear that we are busy.",
        live=True,
    )
    peers_per_address: int = key(
        limits.PEERS_PER_ADDRESS,
        Number("peers", 1, COUNT_MAX),
        "Of those, callers at one IPv4 address or one IPv6 /64: more if many share one, as behind a proxy.",
        live=True,
    )
    total_buffers: int = key(
        limits.TOTAL_BUFFERS,
        Number("bytes", 1, 2**50),
        "Bytes of messages buffered for all peers together.",
        live=True,
    )
    half_open: int = key(
        limits.HALF_OPEN_MAX,
        Number("connections", 1, COUNT_MAX),
        "Connections that have not yet proven who they are.",
        live=True,
    )
    half_open_per_address: int = key(
        limits.HALF_OPEN_PER_ADDRESS,
        Number("connections", 1, COUNT_MAX),
        "Of those, from one IPv4 address or one IPv6 /64.",
        live=True,
    )
    starts_per_address_per_second: int = key(
        limits.STARTS_PER_ADDRESS_PER_SECOND,
        Number("connections", 1, COUNT_MAX),
        "New connections a second from one IPv4 address or one IPv6 /64.",
        live=True,
    )
    starts_per_second: int = key(
        limits.STARTS_PER_SECOND,
        Number("connections", 1, COUNT_MAX),
        "New connections a second in all.",
        live=True,
    )
    utp_half_open: int = key(
        limits.UTP_HALF_OPEN_MAX,
        Number("connections", 1, COUNT_MAX),
        "Callers over µTP that have not yet shown that they are where they say, for each listener.",
        live=True,
    )
    utp_half_open_per_network: int = key(
        limits.UTP_HALF_OPEN_PER_NETWORK,
        Number("connections", 1, COUNT_MAX),
        "Of those, from one IPv4 /24 or one IPv6 /48.",
        live=True,
    )
    sessions_per_peer_per_second: int = key(
        limits.SESSIONS_PER_PEER_PER_SECOND,
        Number("sessions", 1, COUNT_MAX),
        f"Sessions a second that one peer may begin or resume; it may save up {limits.SESSIONS_PER_PEER_BURST}.",
        live=True,
    )
    overhead_per_peer: float = key(
        limits.OVERHEAD_PER_PEER,
        Number("cores", 0, 1000, whole=False, above_least=True),
        "Share of one processor core that a peer may cost with what brings no data, before its link is read less.",
        live=True,
    )
    ban_seconds: float = key(
        limits.BAN_SECONDS,
        Number("seconds", 0, 10**9, whole=False, above_least=True),
        "For how long who misbehaves is banned, if the policy bans it.",
        live=True,
    )

    @property
    def part_per_address(self) -> float:
        """Of the places for peers, and of what they share, that which one address may take: from 0 to 1."""
        return min(1.0, self.peers_per_address / self.max_peers)


@dataclass(frozen=True, slots=True)
class BanConfig(Section):
    """Who is refused whatever else holds."""

    KEY: ClassVar[str] = "access.ban"

    peers: tuple[str, ...] = key((), PEERS, "Peer ids.", live=True)
    networks: tuple[str, ...] = key(
        (), NETWORKS, 'Addresses and networks, such as "192.0.2.0/24".', live=True
    )
    file: str | None = key(
        None,
        OrNull(PATH, "none"),
        "File of the bans that outlive the node: those of ban(…, keep=True). Programs may share it. null: none.",
    )


@dataclass(frozen=True, slots=True)
class AccessConfig(Section):
    """Who may connect to this node."""

    KEY: ClassVar[str] = "access"

    node_networks: tuple[str, ...] | None = key(
        None,
        OrNull(NETWORKS, "all"),
        "Networks that peers with the role node may come from. null: all. []: none.",
        live=True,
    )
    client_networks: tuple[str, ...] | None = key(
        None,
        OrNull(NETWORKS, "all"),
        "Networks that peers with the role client may come from. null: all. []: none.",
        live=True,
    )
    allow_peers: tuple[str, ...] | None = key(
        None,
        OrNull(PEERS, "all"),
        "Peer ids that may connect. null: all. []: none.",
        live=True,
    )
    ban: BanConfig = section(BanConfig, "Who is refused whatever else holds.")
