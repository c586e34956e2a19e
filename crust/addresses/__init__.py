"""
Whom to reach and where: ``PeerId``, ``Endpoint``, ``Contact``, ``ConnectionInfo``, and helpers for networks.

All of them are immutable values: hashable, picklable, safe to share between threads. Each has exactly one text form;
``parse`` also takes other spellings of the same thing (upper case, a long IPv6 address) and ``str`` gives the one form.
Text may come from anyone: ``parse`` raises nothing but ``ContactSyntaxError``, which names the offending column.
The forms are described in docs/wire-format.md, "Text forms".

``peer_id``: whom. ``endpoint``: where. ``contact``: both, and what connection info adds: the network.
``ip``: addresses and networks of IP, and what quotas count by. ``text``: what reading text has in common.
"""

from __future__ import annotations

from .contact import ConnectionInfo, Contact, network_id
from .endpoint import RELAY, TRANSPORTS, Endpoint
from .ip import IPAddress, IPNetwork, address_key, is_translated, is_unicast, parse_ip, parse_networks
from .peer_id import PeerId

__all__ = [
    "RELAY",
    "TRANSPORTS",
    "ConnectionInfo",
    "Contact",
    "Endpoint",
    "IPAddress",
    "IPNetwork",
    "PeerId",
    "address_key",
    "is_translated",
    "is_unicast",
    "network_id",
    "parse_ip",
    "parse_networks",
]
