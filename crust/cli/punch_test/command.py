"""The arguments: ``punch-test report``, ``listen`` and ``connect``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..options import add_common, parse_seconds
from .pair.connect import connect
from .pair.listen import listen
from .report import report

__all__ = ["DESCRIPTION", "add_actions", "register"]

DESCRIPTION = "What the network around this machine allows: whom you can reach, how fast, and what would help."

_WATCH = 30.0
_TIMEOUT = 5.0
_PAIR_TIMEOUT = 30.0


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """``crust punch-test``."""
    parser = commands.add_parser(
        "punch-test",
        parents=[common],
        help="find out what this network allows",
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    add_actions(parser, common)


def add_actions(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """The actions, for ``crust punch-test`` and for ``punch-test``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_report(actions, common)
    _add_listen(actions, common)
    _add_connect(actions, common)


def _add_report(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = actions.add_parser(
        "report",
        parents=[common],
        help="look at the network and say what it allows, in plain words",
        description="Look at the network around this machine, for five seconds at most unless told otherwise, and say "
        "in plain words what it allows. Needs no rights; the router is asked to open a port, and closes it again.",
        epilog="Exit status: 0 most kinds of peers can be reached (grade A or B); 1 few or none, or it is not known, "
        "or the report could not be made; 2 wrong arguments; 130 interrupted.",
        allow_abbrev=False,
    )
    whom = parser.add_argument_group("whom to ask")
    whom.add_argument(
        "--stun",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="ask this STUN server; may be repeated (default: nat.stun_servers of the configuration, else a short list "
        "of public ones, which are named first)",
    )
    whom.add_argument(
        "--contact",
        metavar="CONTACT",
        action="append",
        default=[],
        help="have this crust node call back, which shows what becomes of strangers' calls; may be repeated",
    )
    whom.add_argument("--offline", action="store_true", help="ask nobody: look at this machine alone")
    whom.add_argument("--no-router", action="store_true", help="do not ask the router to open a port")
    whom.add_argument("--config", metavar="FILE", help="configuration file (default: as for `crust node`)")
    families = whom.add_mutually_exclusive_group()
    families.add_argument("-4", dest="families", action="store_const", const=(4,), help="IPv4 alone")
    families.add_argument("-6", dest="families", action="store_const", const=(6,), help="IPv6 alone")
    _add_form(parser)
    parser.set_defaults(run=report)


def _add_form(parser: argparse.ArgumentParser) -> None:
    form = parser.add_argument_group("how long, and in what form")
    form.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=parse_seconds,
        default=_TIMEOUT,
        help=f"how long to wait for answers (default: {_TIMEOUT:g})",
    )
    form.add_argument(
        "--lifetime",
        action="store_true",
        help="find out too how long quiet connections are remembered: takes minutes",
    )
    form.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=parse_seconds,
        const=_WATCH,
        help=f"look again every so often (default: {_WATCH:g}), and show what has changed, until Ctrl-C",
    )
    form.add_argument("--json", action="store_true", help="a JSON object instead of text; with --watch one a line")
    form.add_argument(
        "--html", metavar="FILE", type=Path, help="write a page too, in one file that can be sent to who helps you"
    )


# --- between two machines ---------------------------------------------------------------------------------------------


def _add_listen(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = actions.add_parser(
        "listen",
        parents=[common],
        help="wait for `punch-test connect` on another machine, and test the way to it",
        description="Wait to be called by `punch-test connect`, and show what both ends try, what works and why not. "
        "stdout gets the one line to run on the other machine, and the result. Name a crust node that both ends can "
        "reach with --contact: it introduces them to each other.",
        epilog="Exit status: with --once, 0 connected directly, through NATs or not; 1 only by way of the rendezvous, "
        "or not connected, or the test was not carried out. 2 wrong arguments; 130 interrupted, which is how it ends "
        "without --once.",
        allow_abbrev=False,
    )
    parser.add_argument("--once", action="store_true", help="end after one caller; the exit code tells what came of it")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=parse_seconds,
        help="end with exit status 1 if nobody has called by then (default: wait for ever)",
    )
    _add_pair(parser)
    parser.set_defaults(run=listen)


def _add_connect(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = actions.add_parser(
        "connect",
        parents=[common],
        help="call `punch-test listen` on another machine, and test the way to it",
        description="Call `punch-test listen` on another machine by all ways that there are, show what both ends try, "
        "what works and why not, and measure round trip and throughput of each way that is found.",
        epilog="Exit status: 0 connected directly, through NATs or not; 1 only by way of the rendezvous, or not "
        "connected, or the test was not carried out; 2 wrong arguments; 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("to", metavar="CONTACT", help="what `punch-test listen` shows, or a name from `crust contacts`")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=parse_seconds,
        default=_PAIR_TIMEOUT,
        help=f"how long to look for a way, and for better ones (default: {_PAIR_TIMEOUT:g})",
    )
    _add_pair(parser)
    parser.set_defaults(run=connect)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="JSON on stdout: a line for each event, and the result as the last one"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the result as a page, too")
    parser.add_argument(
        "--rendezvous",
        metavar="CONTACT",
        dest="contact",
        action="append",
        default=argparse.SUPPRESS,
        help="the same as --contact: a crust node that introduces the two ends to each other; may be repeated",
    )
    add_common(parser, identity="a fresh one")
