"""``crust status``: finds the node, looks at it once or again and again, and shows what it does."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crust

from ..errors import CommandError
from ..options import parse_seconds
from ..punch_test.report import rest
from ..terminal import human_duration, printable
from .client import Denied, Gone, ask
from .live import Live
from .places import sockets, status_folder
from .rates import with_rates
from .text import Paint, as_text

if TYPE_CHECKING:
    from ..context import Context

__all__ = ["register"]

_WATCH = 2.0  # seconds between two looks, if nothing else is said
_GLANCE = 0.5  # seconds between the two looks that make the rates of a single picture


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "status",
        parents=[common],
        help="what a running node does: peers, paths, rates, addresses",
        description="Look at a node that runs on this machine, by its status socket: who it is, where it can be "
        "reached, who its peers are and how much goes to and fro. It is asked, and not disturbed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        type=Path,
        help="the node's status.socket, or that of crust node --control (default: the one crust node of this user)",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object instead of text; with --watch one a line")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=parse_seconds,
        const=_WATCH,
        help=f"look again every so often (default: {_WATCH:g}), until Ctrl-C",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Show it, once or until Ctrl-C."""
    path = arguments.socket if arguments.socket is not None else _the_one(context)
    if arguments.watch is not None:
        return _watch(path, arguments, context)
    first = ask(path)
    rest(_GLANCE)
    now = with_rates(first, ask(path))
    if arguments.json:
        context.terminal.out(json.dumps(now, indent=2))
    else:
        for line in _picture(now, context):
            context.terminal.out(line)
    return 0


def _watch(path: Path, arguments: argparse.Namespace, context: Context) -> int:
    before: dict[str, Any] | None = None
    if arguments.json:
        while True:
            now = ask(path)
            context.terminal.out(json.dumps(with_rates(before, now)))
            before = now
            rest(arguments.watch)
    with Live(context.terminal, context.environ) as live:
        while True:
            now = ask(path)
            when = time.strftime("%H:%M:%S", time.localtime(now["at"]))
            head = f"{when}, every {arguments.watch:g} s; Ctrl-C ends this" if live.moves else when
            live.show([head, *_picture(with_rates(before, now), context)])
            before = now
            rest(arguments.watch)


def _picture(status: dict[str, Any], context: Context) -> list[str]:
    terminal = context.terminal
    paint: Paint = lambda text, *styles: text  # noqa: E731
    if terminal.colours and terminal.stdout.isatty():
        paint = terminal.paint
    width = shutil.get_terminal_size((80, 24)).columns
    return as_text(status, width=width, paint=paint, call=lambda peer: context.call(crust.PeerId.parse(peer)))


# --- which node -------------------------------------------------------------------------------------------------------


def _the_one(context: Context) -> Path:
    """The socket of the only node of this user; else say what there is, and what to do."""
    found: list[tuple[Path, dict[str, Any]]] = []
    dead: list[Path] = []
    others: list[CommandError] = []
    for path in sockets(context.environ):
        try:
            found.append((path, ask(path)))
        except Gone:
            dead.append(path)
        except (Denied, CommandError) as error:
            others.append(error)
    if len(found) == 1 and not others:
        return found[0][0]
    if found:
        lines = [f"  {path}  {_in_a_line(status)}" for path, status in found]
        raise CommandError(_several(len(found), lines, others, context))
    if others:
        raise others[0]
    folder = status_folder(context.environ)
    left = f" ({len(dead)} that died left a socket behind)" if dead else ""
    raise CommandError(
        f"no crust node of this user runs here{left}: nobody listens in {folder}. Start one with crust node; of a "
        "program that embeds crust, name its status.socket: crust status --socket PATH"
    )


def _several(count: int, lines: list[str], others: list[CommandError], context: Context) -> str:
    """The list goes out by itself: the error is one line."""
    for line in lines:
        context.terminal.say(printable(line))
    for error in others:
        context.terminal.say(f"  {printable(str(error))}")
    if count == 1:
        return "one node answers, others do not: name the one you mean with --socket PATH"
    return f"{count} nodes run here: name one with --socket PATH"


def _in_a_line(status: dict[str, Any]) -> str:
    peers = len(status["peers"])
    network = f"network {status['network']}" if status["network"] else "no network name"
    return (
        f"{status['id'][:8]}… ({network}, {peers} peer{'' if peers == 1 else 's'}, process {status['process']}, "
        f"up {human_duration(status['uptime'])})"
    )
