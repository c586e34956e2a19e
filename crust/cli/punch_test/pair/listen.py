"""``punch-test listen``: the end that is called, by one after the other."""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import threading
import time
from collections.abc import Sequence

import crust

from ...as_json import JSON, value_as_json
from ...context import Context
from ...errors import CommandError
from ...options import load_config, start_node
from ...rendezvous import rendezvous_of
from ...terminal import printable
from ..file import check_writable
from .ends import Surroundings, command_for, link, no_rendezvous
from .meeting import (
    End,
    MalformedReport,
    Measurement,
    Meeting,
    end_as_json,
    parse_end_untrusted,
    parse_measurements_untrusted,
)
from .messages import NotOurLanguage, Said, build
from .outcome import FAILED, SCHEMA, finish
from .talk import Talk
from .text import end_lines
from .watch import Watch

__all__ = ["listen"]

_LOOK = 1.0  # seconds between two looks whether the node still runs
_HELLO_PATIENCE = 15.0  # seconds for a caller's first word,
_HELD_PATIENCE = 120.0  # and if it may be held up, since the rendezvous carries no data
_PATIENCE = 30.0  # seconds for its next one
_LOAD_PATIENCE = 20.0


def listen(arguments: argparse.Namespace, context: Context) -> int:
    """Show the line for the other end, then be tested by whoever calls."""
    if arguments.html is not None:
        check_writable(arguments.html)
    contacts = rendezvous_of(arguments, context)
    config = load_config(arguments, context.environ)
    callers = _Callers()
    watch = Watch(context, arguments.json, callers.came)
    surroundings = Surroundings("listen", asks_router=bool(config.nat.port_mapping))

    def prepare(node: crust.Service) -> None:
        watch.follow(node)
        surroundings.watch(node)

    with contextlib.closing(start_node(arguments, context, fresh=True, prepare=prepare)) as node:
        linked = link(node, contacts, context)
        if contacts and not linked:
            raise no_rendezvous(contacts)
        if not contacts:
            context.terminal.warn(f"{no_rendezvous(contacts)}; without it only who can dial this machine gets here")
        watch.introduced_by(linked.contacts)
        surroundings.wait()
        invitation = _Invitation(node, linked.contacts, config, surroundings, arguments.json, context)
        node.on(crust.AddressesChanged, lambda _: invitation.again())
        invitation.show()
        return _serve(node, callers, watch, surroundings, bool(linked), arguments, context)


class _Invitation:
    """The line for the other end: shown at first, and again when a better one is known. Thread-safe."""

    def __init__(
        self,
        node: crust.Service,
        linked: Sequence[crust.Contact],
        config: crust.Config,
        surroundings: Surroundings,
        as_json: bool,
        context: Context,
    ) -> None:
        self._node = node
        self._linked = linked
        self._config = config
        self._surroundings = surroundings
        self._as_json = as_json
        self._terminal = context.terminal
        self._lock = threading.Lock()  # guards what follows, and that it is shown once
        self._shown = ""

    def show(self) -> None:
        """What this network looks like, and the line."""
        end = self._surroundings.end(self._node, linked=bool(self._linked))
        for line in end_lines(end):
            self._terminal.say(line)
        self._terminal.say("ready; on the other machine run this one line:")
        self._tell("ready", end)

    def again(self) -> None:
        """The addresses have changed."""
        if self._shown and self._shown != command_for(self._node, self._linked, self._config):
            self._terminal.say("the addresses have changed; from now on this line is better:")
            self._tell("ready", self._surroundings.end(self._node, linked=bool(self._linked)))

    def _tell(self, event: str, end: End) -> None:
        with self._lock:
            command = command_for(self._node, self._linked, self._config)
            if command == self._shown:
                return
            self._shown = command
            if not self._as_json:
                self._terminal.out(command)
                return
            told: dict[str, JSON] = {
                "event": event,
                "schema": SCHEMA,
                "crust": crust.__version__,
                "peer": str(self._node.id),
                "contact": str(self._node.contact),
                "command": command,
                "end": value_as_json(end),
            }
            self._terminal.say(command)
            self._terminal.out(json.dumps(told))


class _Callers:
    """Takes one caller at a time. Thread-safe; `came` runs on the dispatcher."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _busy
        self._busy = False
        self._queue: queue.SimpleQueue[crust.Peer] = queue.SimpleQueue()

    def came(self, peer: crust.Peer) -> bool:
        """Somebody calls: is the test with that one from now on?"""
        with self._lock:
            if not self._busy:
                self._busy = True
                self._queue.put(peer)
                return True
        with contextlib.suppress(crust.CrustError):
            peer.send(build("busy"), timeout=0)
        return False

    def next(self, timeout: float) -> crust.Peer | None:
        """Whom to serve; None: nobody came in time."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def done(self) -> None:
        """The next one may come."""
        with self._lock:
            self._busy = False


def _serve(
    node: crust.Service,
    callers: _Callers,
    watch: Watch,
    surroundings: Surroundings,
    linked: bool,
    arguments: argparse.Namespace,
    context: Context,
) -> int:
    end = float("inf") if arguments.timeout is None else time.monotonic() + arguments.timeout
    while True:
        peer = callers.next(max(0.0, min(_LOOK, end - time.monotonic())))
        if peer is None:
            if node.closed:
                raise CommandError("the node has stopped by itself; -v shows why")
            if time.monotonic() >= end:
                context.terminal.error(f"nobody called within {arguments.timeout:g} s")
                return FAILED
            continue
        meeting = _Called(peer, node, watch, surroundings, linked).test()
        code = finish(meeting, arguments, context)
        callers.done()
        if arguments.once:
            return code
        context.terminal.say("waiting for the next one; Ctrl-C ends it")
        end = float("inf")  # it was about the first one


class _Called:
    """One test by somebody who called."""

    def __init__(
        self, peer: crust.Peer, node: crust.Service, watch: Watch, surroundings: Surroundings, linked: bool
    ) -> None:
        self._peer = peer
        self._node = node
        self._watch = watch
        self._surroundings = surroundings
        self._linked = linked
        self._there: End | None = None
        self._measurements: tuple[Measurement, ...] = ()
        self._error = ""

    def test(self) -> Meeting:
        """Answer until the caller has said goodbye. Never raises for what the network or the other end do."""
        try:
            self._answer(Talk(self._peer))
        except (NotOurLanguage, MalformedReport) as error:
            self._error = printable(f"{error}")
        except crust.Timeout:
            self._error = "the other end fell silent"
        except crust.PeerLost as error:
            if self._there is None:
                self._error = printable(f"the other end left before the test was over ({error.reason})")
        path = self._peer.path
        self._watch.end()
        self._peer.disconnect()
        began = self._watch.began
        return Meeting(
            started=began,
            seconds=max(0.0, time.time() - began),
            peer=str(self._peer.id),
            here=self._surroundings.end(self._node, linked=self._linked, attempts=self._watch.attempts),
            there=self._there,
            path=path,
            connected=None if path is None else 0.0,
            best=None if path is None else max(0.0, path.since - began),
            measurements=self._measurements,
            error=self._error,
        )

    def _answer(self, talk: Talk) -> None:
        try:
            path = self._peer.path
            held = path is not None and path.path_class == "relay"
            talk.hear_said("hello", _HELD_PATIENCE if held else _HELLO_PATIENCE)
        except crust.Timeout:
            raise NotOurLanguage("who called says nothing: it is no punch-test") from None
        talk.say("hello", role="listen", crust=crust.__version__)
        while True:
            asked = talk.hear(_PATIENCE)
            if not isinstance(asked, Said):
                raise NotOurLanguage("the other end sent data that nobody asked for")
            if talk.answer(asked, _LOAD_PATIENCE):
                continue
            if asked.kind == "report":
                self._there = parse_end_untrusted(asked.fields.get("end"))
                self._measurements = parse_measurements_untrusted(asked.fields.get("measurements"))
                mine = self._surroundings.end(self._node, linked=self._linked, attempts=self._watch.attempts)
                talk.say("report", end=end_as_json(mine))
            elif asked.kind == "bye":
                return
