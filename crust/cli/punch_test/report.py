"""``punch-test report``: the survey, its progress, once or again and again."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from collections.abc import Sequence
from concurrent import futures

import crust

from ..context import Context
from ..errors import UsageError
from ..options import config_file
from ..terminal import Terminal, printable
from .changes import Seen, carried, changes, seen
from .document import as_document
from .file import check_writable, save
from .page import as_page
from .text import Paint, as_text

__all__ = ["FINE", "LIMITED", "report"]

FINE, LIMITED = 0, 1

_LOOK = 0.5  # seconds
_HELPER_TIMEOUT = 5.0  # seconds to connect to those that are to call back
_HELPER_PAUSE = 61.0  # seconds between two surveys with them: each takes all the calls of a minute that they grant us


def report(arguments: argparse.Namespace, context: Context) -> int:
    """Look at the network and tell; with ``--watch`` again and again, until interrupted."""
    if arguments.offline and (arguments.stun or arguments.contact):
        raise UsageError("--offline asks nobody: it goes with neither --stun nor --contact")
    if arguments.html is not None:
        check_writable(arguments.html)
    config = _config(arguments, context)
    contacts = [context.book.resolve(text) for text in arguments.contact]
    servers = _servers(arguments, config, context.terminal)
    with contextlib.ExitStack() as stack:
        helpers = _helpers(contacts, config, context, stack)
        look = _Look(arguments, context.terminal, servers, helpers)
        fine = look.tell()
        pause = _pause(arguments, context.terminal)
        while pause is not None:
            rest(pause)
            fine = look.tell()
    return FINE if fine else LIMITED


def rest(seconds: float) -> None:
    """Sleep in pieces: a Ctrl-C that comes just before a long sleep is not noticed before its end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK))


def _pause(arguments: argparse.Namespace, terminal: Terminal) -> float | None:
    """Seconds between two looks; None: one is enough."""
    pause: float | None = arguments.watch
    if pause is None or not arguments.contact or pause >= _HELPER_PAUSE:
        return pause
    terminal.say(f"nodes that call back do so once a minute: looking again every {_HELPER_PAUSE:g} s")
    return _HELPER_PAUSE


# --- whom to ask ------------------------------------------------------------------------------------------------------


def _config(arguments: argparse.Namespace, context: Context) -> crust.Config:
    """The configuration of the file, with the servers that were named."""
    path = config_file(arguments.config, context.environ)
    config = crust.Config() if path is None else crust.Config.load(path)
    if not arguments.stun:
        return config
    try:
        return config.replace(**{"nat.stun_servers": arguments.stun})
    except crust.ConfigError as error:
        raise UsageError(f"--stun: {error}") from error


def _servers(arguments: argparse.Namespace, config: crust.Config, terminal: Terminal) -> list[str]:
    """Those named; else those of the configuration; else the public ones, and says which before they are asked."""
    if arguments.offline:
        return []
    if config.nat.stun_servers:
        terminal.say(f"asking {', '.join(printable(name) for name in config.nat.stun_servers)}")
        return list(config.nat.stun_servers)
    public = crust.config.public_servers()
    named = ", ".join(f"{server.address} ({server.operator})" for server in public)
    terminal.say(
        f"asking public servers, as none was named: {named}. They see the public address of this machine; "
        "--stun names others, --offline asks nobody"
    )
    return [server.address for server in public]


def _helpers(
    contacts: Sequence[crust.Contact | crust.ConnectionInfo],
    config: crust.Config,
    context: Context,
    stack: contextlib.ExitStack,
) -> list[crust.Peer]:
    """Peers that are to call back, connected by a node that listens nowhere; who cannot be reached is left out."""
    if not contacts:
        return []
    context.terminal.say(f"connecting to {len(contacts)} crust node{'s' if len(contacts) > 1 else ''} that may help")
    quiet = {"listen.addresses": (), "listen.advertise": (), "identity.file": None, "nat.stun_servers": ()}
    node = crust.Service(config.replace(**quiet))
    stack.callback(node.close)
    node.start()
    dials = [(contact, node.dial(contact)) for contact in contacts]
    futures.wait([dial for _, dial in dials], _HELPER_TIMEOUT)
    connected = []
    for contact, dial in dials:
        try:
            connected.append(dial.result(timeout=0))
        except (crust.CrustError, OSError, futures.TimeoutError) as error:
            dial.cancel()
            why = printable(str(error)) or f"no answer within {_HELPER_TIMEOUT:g} s"
            context.terminal.warn(f"{context.call(contact.peer_id)} cannot help: {why}")
    return connected


# --- looking and telling ----------------------------------------------------------------------------------------------


class _Look:
    """One survey after the other, told in the ways that were asked for."""

    def __init__(
        self, arguments: argparse.Namespace, terminal: Terminal, servers: list[str], helpers: list[crust.Peer]
    ) -> None:
        self._arguments = arguments
        self._terminal = terminal
        self._servers = servers
        self._helpers = helpers
        self._before: Seen | None = None

    def tell(self) -> bool:
        """Survey, show, save; whether most peers can be reached."""
        survey = self._survey()
        assessment = crust.assess(survey)
        if self._arguments.json:
            self._terminal.out(as_document(survey, assessment))
        elif self._before is None:
            self._show(as_text(survey, assessment, width=self._width(), paint=self._paint()))
        else:
            self._show(self._changed(survey, assessment))
        if self._arguments.html is not None:
            save(self._arguments.html, as_page(survey, assessment))
            if self._before is None:
                self._terminal.say(f"the same as a page: {printable(str(self._arguments.html))}")
        self._before = carried(self._before or {}, seen(survey, assessment))
        return assessment.fine

    def _survey(self) -> crust.NetworkSurvey:
        arguments = self._arguments
        try:
            return crust.survey(
                self._servers,
                helpers=self._helpers,
                offline=arguments.offline,
                families=arguments.families or (4, 6),
                ask_router=not (arguments.offline or arguments.no_router),
                lifetime=arguments.lifetime,
                timeout=arguments.timeout,
                on_progress=self._progress,
            )
        finally:
            self._terminal.show_bar("")

    def _progress(self, progress: crust.SurveyProgress) -> None:
        """A line a stage, on a terminal, the first time."""
        if not self._terminal.bars:
            return
        if not progress.done:
            self._terminal.show_bar(f"{printable(progress.text)} …")
        elif self._before is None:
            self._terminal.show_bar("")
            self._terminal.say(f"{progress.seconds:5.1f} s  {printable(progress.text)}")

    def _changed(self, survey: crust.NetworkSurvey, assessment: crust.Assessment) -> list[str]:
        """Lines for what is different, with the time; none if nothing is."""
        now = time.strftime("%H:%M:%S", time.localtime(survey.started))
        found = changes(self._before or {}, seen(survey, assessment))
        if not found and self._terminal.bars:
            self._terminal.show_bar(f"{now}  no change")
        return [f"{now}  {printable(line)}" for line in found]

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            self._terminal.out(line)

    def _width(self) -> int:
        return shutil.get_terminal_size((80, 24)).columns

    def _paint(self) -> Paint:
        if self._terminal.colours and self._terminal.stdout.isatty():
            return self._terminal.paint
        return lambda text, *styles: text
