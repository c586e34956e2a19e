"""``crust peers``: the nodes on the LAN."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import crust

from .as_json import JSON
from .options import add_network, parse_seconds, start_node
from .status.live import Live
from .terminal import human_duration, printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["register"]

_WAIT = 1.5  # seconds: three queries within the first, and the answer to the last
_REDRAW = 1.0  # seconds

_OUTBOUND = {
    "identity.file": None,
    "listen.addresses": (),
    "nat.port_mapping": (),
    "lan.announce": False,
    "lan.seek": "always",
}
"""The node that asks: nobody hears of it, and nobody can call it."""


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "peers",
        parents=[common],
        help="list the nodes on the LAN",
        description="Ask all links of this machine which nodes of the network are there, and list those that answer: "
        "`crust node` does, applications if they say so. Nobody hears who asks. Exit code 1 if there is none.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line for each node and address")
    until = parser.add_mutually_exclusive_group()
    until.add_argument(
        "--wait",
        metavar="SECONDS",
        type=parse_seconds,
        default=_WAIT,
        help=f"how long to wait for answers (default: {_WAIT})",
    )
    until.add_argument("--watch", action="store_true", help="go on until interrupted, and show who comes and goes")
    add_network(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """0 if somebody has answered, 1 if not."""

    def prepare(node: crust.Service) -> None:
        if arguments.json:
            node.on(crust.PeerDiscovered, lambda event: context.terminal.out(json.dumps(_as_json(event, context))))

    with contextlib.closing(start_node(arguments, context, overrides=_OUTBOUND, prepare=prepare)) as node:
        if arguments.watch:
            _watch(node, context, draws=not arguments.json)
        else:
            node.wait(arguments.wait)
        found = node.lan_peers
    if not found:
        context.terminal.say("nobody answers on the LAN")
        return 1
    if not arguments.json:
        for line in _table(found, context):
            context.terminal.out(line)
    return 0


def _watch(node: crust.Service, context: Context, *, draws: bool) -> None:
    """Until interrupted."""
    if not draws:
        node.wait()
        return
    with Live(context.terminal, context.environ) as live:
        before: list[str] | None = None
        while True:
            lines = _table(node.lan_peers, context, ages=live.moves) or ["nobody answers on the LAN"]
            if lines != before:
                live.show(lines)
                before = lines
            if node.wait(_REDRAW):
                return


def _as_json(event: crust.PeerDiscovered, context: Context) -> dict[str, JSON]:
    contact = event.contact
    return {
        "peer": str(contact.peer_id),
        "name": context.book.name_of(contact.peer_id),
        "role": event.role,
        "interface": event.interface,
        "addresses": [str(each) for each in contact.endpoints],
    }


def _table(found: Iterable[crust.LanPeer], context: Context, *, ages: bool = False) -> list[str]:
    """A line for each peer and address, with the peers in order."""
    rows = []
    for each in sorted(found, key=lambda each: (each.contact.peer_id, each.interface, str(each.contact))):
        peer_id = each.contact.peer_id
        addresses = ",".join(str(endpoint) for endpoint in each.contact.endpoints)
        row = [str(peer_id), context.book.name_of(peer_id) or "-", each.role, each.interface, addresses]
        rows.append([printable(word) for word in row] + ([human_duration(each.age)] if ages else []))
    if not rows:
        return []
    rows.insert(0, ["PEER", "NAME", "ROLE", "INTERFACE", "ADDRESSES", *(["HEARD"] if ages else [])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
