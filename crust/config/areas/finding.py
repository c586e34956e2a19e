"""How a node finds others."""

from __future__ import annotations

from typing import ClassVar

from ... import limits
from ...addresses import Contact, PeerId
from ...values import dataclass
from ..kinds import Choice, Flag, ListOf, Number, OrNull, Text, read_ban_entry, read_contact
from ..sections import Section, key, section
from .shapes import COUNT_MAX, PATH, SECONDS, SECONDS_OR_ZERO

__all__ = ["BootstrapConfig", "CacheConfig", "GossipConfig", "LanConfig"]


@dataclass(frozen=True, slots=True)
class CacheConfig(Section):
    """Nodes that were reached before, kept on disk for the next start."""

    KEY: ClassVar[str] = "bootstrap.cache"

    file: str | None = key(
        None,
        OrNull(PATH, "one for each network in the user's state folder"),
        "Where they are kept; several processes may share it. null: <state folder>/crust/<network>.json, where the"
        " state folder is $XDG_STATE_HOME, else ~/.local/state.",
    )
    max_peers: int = key(
        limits.CACHE_PEERS,
        Number("peers", 0, COUNT_MAX),
        "Nodes kept; the longest unseen go first, of those at the address that has most. 0: nothing is read or kept.",
    )


@dataclass(frozen=True, slots=True)
class BootstrapConfig(Section):
    """How this node finds its first peer."""

    KEY: ClassVar[str] = "bootstrap"

    contacts: tuple[str, ...] = key(
        (),
        ListOf(
            Text('a contact such as "<peer id>@tcp://192.0.2.7:5483"', read_contact, (Contact,)),
            'contacts such as "<peer id>@tcp://192.0.2.7:5483"',
        ),
        'Contacts that bootstrap() dials: "<peer id>@tcp://192.0.2.7:5483".',
        live=True,
    )
    only_contacts: bool = key(False, Flag(), "Whether the cache, the LAN and gossip are left out of it.", live=True)
    accept: bool = key(False, Flag(), "Whether strangers may bootstrap off this node.", live=True)
    blacklist: tuple[str, ...] = key(
        (),
        ListOf(
            Text("a peer id, an address or a network", read_ban_entry, (PeerId,)),
            "peer ids, addresses or networks",
        ),
        "Peer ids, addresses and networks that bootstrap() never dials.",
        live=True,
    )
    reachability_test: bool = key(
        True,
        Flag(),
        "Whether a node that joins here is dialled back, to learn if strangers reach it. If not it is no worse a peer:"
        " it is only not told to others as a way in.",
        live=True,
    )
    links: int = key(
        limits.BOOTSTRAP_LINKS,
        Number("links", 0, COUNT_MAX),
        "Links to nodes that introduce this one, kept up once bootstrap() has reached a first. 0: none.",
        live=True,
    )
    max_links: int = key(
        limits.BOOTSTRAP_GUESTS,
        Number("links", 1, COUNT_MAX),
        "Nodes that have bootstrapped off this one, from which on whoever comes for that is told of others, if some are"
        " known. Who finds no room there is taken, up to limits.max_peers.",
        live=True,
    )
    timeout: float = key(limits.BOOTSTRAP_TIMEOUT, SECONDS, "Seconds that bootstrap() tries.", live=True)
    cache: CacheConfig = section(CacheConfig, "Nodes that were reached before.")


@dataclass(frozen=True, slots=True)
class LanConfig(Section):
    """Finding nodes on the same link, by broadcast (IPv4) and link-local multicast (IPv6)."""

    KEY: ClassVar[str] = "lan"

    seek: str = key(
        "bootstrap",
        Choice(("always", "bootstrap", "never")),
        "When to ask the LAN for nodes: always, bootstrap (only while bootstrap() or has_peers_on_lan() looks for some,"
        " and once when announcing begins), never.",
        live=True,
    )
    announce: bool = key(
        False,
        Flag(),
        "Whether to answer those who ask. Off for the library, whose import must not make a web worker known to its"
        " LAN; on for crust node.",
        live=True,
    )
    port: int = key(limits.BEACON_PORT, Number("", 1, 65_535), "UDP port that is asked.")
    listen_port: int | None = key(
        None,
        OrNull(Number("", 1, 65_535), "the same as port"),
        "UDP port that is answered on. null: the same as port.",
    )
    wait: float = key(
        limits.LAN_WAIT, SECONDS_OR_ZERO, "Seconds that bootstrap() waits for answers before contacts.", live=True
    )


@dataclass(frozen=True, slots=True)
class GossipConfig(Section):
    """Signed records that nodes pass on, so that any of them is found by key."""

    KEY: ClassVar[str] = "gossip"

    enabled: bool = key(True, Flag(), "Whether this node passes on what it knows, and looks others up.")
    publish: str = key(
        "full",
        Choice(("full", "via", "none")),
        "What others are told of this node: full (its addresses, and who introduces it), via (only that), none.",
        live=True,
    )
    max_records: int = key(limits.GOSSIP_RECORDS, Number("records", 16, COUNT_MAX), "Records of others kept.")
