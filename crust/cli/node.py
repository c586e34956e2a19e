"""``crust node``: a node on its own, for people to watch or, with ``--json``, for scripts to drive."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import crust

from . import control_socket
from .as_json import JSON, event_as_json, snake_case
from .control import BadRequest, Control
from .hangup import Hangups
from .lines import Lines
from .options import add_common, load_config, start_node
from .rendezvous import Links, rendezvous_of
from .terminal import Terminal, printable

if TYPE_CHECKING:
    from .context import Context

__all__ = ["EVENTS", "register"]

_LOOK_INTERVAL = 1.0  # seconds

EVENTS: tuple[type[Any], ...] = (
    crust.AddressesChanged,
    crust.BootstrapAccept,
    crust.BootstrapConnect,
    crust.BootstrapFailed,
    crust.ConfigReloaded,
    crust.ConnectFailure,
    crust.ConnectSuccess,
    crust.ConnectionInfoPrepared,
    crust.EventsLost,
    crust.FileFailed,
    crust.FileReceived,
    crust.GroupReady,
    crust.GroupShort,
    crust.IdentityShared,
    crust.ListenerFailed,
    crust.ListenerStarted,
    crust.LostPeer,
    crust.MessageRefused,
    crust.MessagesDropped,
    crust.NewMessage,
    crust.PathAttempted,
    crust.PathChanged,
    crust.PeerDiscovered,
    crust.PeerMisbehaved,
    crust.PeerResumed,
    crust.PeerSuspended,
    crust.PortMapFailed,
    crust.PortMapped,
    crust.SendReady,
)


def register(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "node",
        parents=[common],
        help="run a node on its own",
        description="Run a node until interrupted: its contact goes to stdout, what happens to stderr. With --json it "
        "is driven by a script: a JSON object a line on stdin and on stdout (docs/control-channel.md); it stops at "
        "the end of stdin. With --control several programs share it, in the same language, by a Unix socket.",
        allow_abbrev=False,
    )
    driven = parser.add_mutually_exclusive_group()
    driven.add_argument("--json", action="store_true", help="commands on stdin, replies and events on stdout")
    driven.add_argument(
        "--control",
        metavar="SOCKET",
        help="the same for any number of programs, by a Unix socket at this path",
    )
    parser.add_argument(
        "--no-status",
        action="store_true",
        help="open no status socket: crust status does not find this node (default: one for this user alone)",
    )
    add_common(parser, identity="the user's, ~/.config/crust/identity; with --json a fresh one")
    parser.set_defaults(run=run, found_on_lan=True, until_stopped=True)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run until Ctrl-C (130), SIGTERM (0: it did what it was for), ``stop`` or the end of stdin (0)."""
    if arguments.control is not None:
        return control_socket.run(arguments, context, EVENTS)
    return _run_json(arguments, context) if arguments.json else _run_for_people(arguments, context)


# --- for people ---------------------------------------------------------------------------------------------------


def _run_for_people(arguments: argparse.Namespace, context: Context) -> int:
    terminal = context.terminal

    def tell(event: Any) -> None:
        # Attempts are many, and what they come to is told anyway; that bootstrap failed is in the log, as a warning.
        is_known = isinstance(event, crust.PathAttempted | crust.BootstrapFailed)
        show = terminal.detail if is_known else terminal.say
        show(describe(event, context))

    links = Links(rendezvous_of(arguments, context), context)

    def watch(node: crust.Service) -> None:
        links.watch(node)
        links.follow(node, functools.partial(rendezvous_of, arguments, context))
        for kind in EVENTS:
            node.on(kind, tell)

    with (
        Hangups(terminal, tells=True) as hangups,
        links,
        contextlib.closing(start_node(arguments, context, one_shot=False, prepare=watch)) as node,
    ):
        hangups.serve(node)
        terminal.out(str(node.contact))
        links.begin(node)
        node.start_bootstrap()  # back into its network, of which it knows nodes from before
        while not node.wait(_LOOK_INTERVAL):
            pass  # a signal that came just before the wait is heard at its end
    return 0


def describe(event: Any, context: Context) -> str:
    """One event as a line: its name, then its fields, peers by the names that the user gave them."""
    words = [snake_case(type(event).__name__).replace("_", " ")]
    for name, value in event_as_json(event).items():
        if name == "event" or value in (None, "", []):
            continue
        found = getattr(event, name, value)
        if isinstance(found, crust.Peer):
            words.append(context.call(found.id))
        elif isinstance(found, crust.Path):
            words.append(f"{name}={found.path_class} {found.remote}")
        elif isinstance(found, BaseException):
            words.append(f"{name}={value}")  # its sentence has a field of its own
        elif isinstance(found, bytes):
            words.append(f"{name}={printable(found.decode('utf-8', 'backslashreplace'), 200)}")
        elif isinstance(found, tuple | list):
            words.append(f"{name}={printable(', '.join(map(str, found)))}")
        else:
            words.append(f"{name}={printable(str(found))}")
    return " ".join(words)


# --- for scripts --------------------------------------------------------------------------------------------------


class Channel:
    """
    The outgoing half of the channel: objects as lines, from any thread. What happens before `start` is held back, so
    that ``started`` is the first line.

    Args:
        terminal: Whose stdout is written to.
        lost: Called once when nobody reads any more.
    """

    def __init__(self, terminal: Terminal, lost: Callable[[], object]) -> None:
        self._terminal = terminal
        self._lost = lost
        self._lock = threading.Lock()  # guards the two below, and the order of the first lines
        self._held: list[dict[str, JSON]] | None = []
        self._broken = False

    def start(self, first: dict[str, JSON]) -> None:
        """Write the first line, then what was held back."""
        with self._lock:
            held, self._held = self._held or [], None
            for told in (first, *held):
                self._write(told)

    def put(self, told: dict[str, JSON]) -> None:
        """Write one object. Blocks while the reader is slow: that slows the senders of messages down in turn."""
        with self._lock:
            if self._held is not None:
                self._held.append(told)
            else:
                self._write(told)

    def _write(self, told: dict[str, JSON]) -> None:
        if self._broken:
            return
        try:
            self._terminal.out(json.dumps(told))
        except (BrokenPipeError, ValueError):  # ValueError: the stream is closed
            self._broken = True
            self._lost()

    @property
    def broken(self) -> bool:
        """Has the reader gone?"""
        return self._broken


def _run_json(arguments: argparse.Namespace, context: Context) -> int:
    config = load_config(arguments, context.environ)
    limit = 2 * config.session.max_message_size + 65_536  # base64 of the largest message, and the rest
    with Hangups(context.terminal) as hangups, Lines(_stdin(context.terminal), limit) as lines:
        channel = Channel(context.terminal, lost=lines.stop)

        def watch(node: crust.Service) -> None:
            for kind in EVENTS:
                node.on(kind, lambda event: channel.put(event_as_json(event)))

        node = start_node(arguments, context, one_shot=False, fresh=True, prepare=watch)
        control = Control(
            node,
            config.network.role,
            context.book,
            arguments.only,
            channel.put,
        )
        try:
            hangups.serve(node)
            channel.start({"event": "started", "peer": str(node.id), "contact": str(node.contact)})
            _serve(lines, control)
            unread = channel.broken  # later it does not matter: who says stop may well leave
        finally:
            node.close()
            control.close()
    if unread:
        raise BrokenPipeError("nobody reads the events")
    return 0


def _serve(lines: Lines, control: Control) -> None:
    while not control.stopped:
        try:
            line = lines.read()
        except ValueError as error:
            control.refuse(BadRequest(str(error)))
            continue
        if line is None:
            return
        control.handle(line)


def _stdin(terminal: Terminal) -> int:
    return terminal.stdin.fileno()
