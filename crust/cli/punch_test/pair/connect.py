"""``punch-test connect CONTACT``: the end that calls, and leads the test."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time

import crust

from ...context import Context
from ...options import load_config, restricted, start_node
from ...rendezvous import contact_of, rendezvous_of
from ...terminal import printable
from ..file import check_writable
from .ends import Linked, Surroundings, link, no_rendezvous
from .measure import measure
from .meeting import (
    End,
    MalformedReport,
    Measurement,
    Meeting,
    end_as_json,
    measurements_as_json,
    parse_end_untrusted,
)
from .messages import NotOurLanguage
from .outcome import finish
from .talk import Talk
from .watch import Watch

__all__ = ["connect"]

HELLO_PATIENCE = 10.0  # seconds for the first answer
_REPORT_PATIENCE = 10.0
QUIET = 3.0  # seconds without an attempt after which a direct path will not be followed by a better one
_LOOK = 1.0  # seconds between two pings while a better path is awaited
_BYE_PATIENCE = 3.0


def connect(arguments: argparse.Namespace, context: Context) -> int:
    """Reach the other end, measure every path on the way to the best one, and tell."""
    if arguments.html is not None:
        check_writable(arguments.html)
    to = restricted(context.book.resolve(arguments.to), arguments.only)
    contacts = rendezvous_of(arguments, context)
    if not contact_of(to).endpoints and not contacts:
        raise no_rendezvous(contacts)
    watch = Watch(context, arguments.json)
    asks = bool(load_config(arguments, context.environ).nat.port_mapping)
    surroundings = Surroundings("connect", asks_router=asks)

    def prepare(node: crust.Service) -> None:
        watch.follow(node)
        surroundings.watch(node)

    with contextlib.closing(start_node(arguments, context, fresh=True, prepare=prepare)) as node:
        linked = link(node, contacts, context)
        if not linked and not contact_of(to).endpoints:
            raise no_rendezvous(contacts)
        watch.introduced_by(linked.contacts)
        context.terminal.say(f"calling {context.call(contact_of(to).peer_id)}")
        watch.begin(contact_of(to).peer_id)
        caller = _Caller(node, watch, surroundings, linked, arguments.timeout)
        meeting = caller.test(to)
        return finish(meeting, arguments, context)


class _Caller:
    """One test, from the call to the farewell."""

    def __init__(
        self, node: crust.Service, watch: Watch, surroundings: Surroundings, linked: Linked, timeout: float
    ) -> None:
        self._node = node
        self._watch = watch
        self._surroundings = surroundings
        self._linked = linked
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._paths: list[crust.Path] = []  # that the session had, as far as we looked
        self._measurements: list[Measurement] = []
        self._there: End | None = None
        self._error = ""
        self._attempts: tuple[crust.Attempt, ...] | None = None

    def test(self, to: crust.Contact | crust.ConnectionInfo) -> Meeting:
        """Never raises for what the network or the other end do."""
        peer_id = contact_of(to).peer_id
        try:
            peer = self._node.connect(to, timeout=self._timeout)
        except crust.ServiceClosed:
            raise
        except (crust.ConnectError, crust.Timeout) as error:
            self._watch.await_failure()
            self._watch.end()
            self._attempts = getattr(error, "attempts", ()) or None
            self._error = self._not_reached(error)
            return self._meeting(peer_id)
        try:
            self._converse(Talk(peer))
        except (NotOurLanguage, MalformedReport) as error:
            self._error = printable(f"{error}")
        except crust.Timeout:
            self._error = "the other end fell silent"
        except crust.PeerLost as error:
            self._error = printable(f"the connection was lost ({error.reason})")
        self._look(peer)
        self._watch.end()
        peer.disconnect()
        return self._meeting(peer_id)

    def _not_reached(self, error: crust.CrustError) -> str:
        if isinstance(error, crust.Timeout):
            return f"No connection came about within {self._timeout:g} s."
        if isinstance(error, crust.Denied | crust.NoRoute):
            return f"{printable(str(error), 1000)}."
        return "None of the ways led to the other end."

    def _converse(self, talk: Talk) -> None:
        talk.say("hello", role="connect", crust=crust.__version__)
        held = self._is_held_up(talk.peer)
        try:
            talk.hear_said("hello", max(HELLO_PATIENCE, self._left() if held else 0.0))
        except crust.Timeout:
            raise NotOurLanguage(self._unanswered(talk.peer)) from None
        self._measure_all(talk)
        mine = self._surroundings.end(self._node, linked=bool(self._linked), attempts=talk.peer.attempts)
        told = measurements_as_json(tuple(self._measurements))
        talk.say("report", end=end_as_json(mine), measurements=told)
        self._there = parse_end_untrusted(talk.hear_said("report", _REPORT_PATIENCE).fields.get("end"))
        talk.say("bye")
        with contextlib.suppress(crust.Timeout, crust.PeerLost):  # it hangs up when it has heard that
            talk.peer.flush(_BYE_PATIENCE)

    def _unanswered(self, peer: crust.Peer) -> str:
        if self._is_held_up(peer):
            return (
                "the rendezvous introduced the two ends to each other, but it carries no data, and no direct "
                "connection came about in time"
            )
        return "the other end is there, but does not answer: it is no punch-test; start `punch-test listen` there"

    def _is_held_up(self, peer: crust.Peer) -> bool:
        """Whether what is sent waits for a direct path, since nobody carries data."""
        path = peer.path
        return path is not None and path.path_class == "relay" and not self._linked.relays

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _measure_all(self, talk: Talk) -> None:
        """Measure each path that the session takes, until there will be none better, or the time is up."""
        measured: set[tuple[str, str]] = set()
        while True:
            self._watch.changed.clear()
            path = self._look(talk.peer)
            key = ("", "") if path is None else (path.path_class, path.remote)
            if path is not None and key not in measured:
                found = measure(talk)
                if found is not None:
                    measured.add(key)
                    self._measurements.append(found)
                    self._watch.measured(found)
                continue
            left = self._left()
            if not left or path is None or path.path_class.endswith("-tcp"):
                return
            quiet = not self._watch.changed.wait(min(left, _LOOK if path.path_class == "relay" else QUIET))
            if quiet and path.path_class != "relay":
                return
            talk.ping(HELLO_PATIENCE)  # lest the other end thinks that we have gone

    def _look(self, peer: crust.Peer) -> crust.Path | None:
        path = peer.path
        if path is not None and (not self._paths or self._paths[-1].since != path.since):
            self._paths.append(path)
        return path

    def _meeting(self, peer_id: crust.PeerId) -> Meeting:
        attempts = self._watch.attempts if self._attempts is None else self._attempts
        began = self._watch.began
        paths = self._paths
        return Meeting(
            started=began,
            seconds=max(0.0, time.time() - began),
            peer=str(peer_id),
            here=self._surroundings.end(self._node, linked=bool(self._linked), attempts=attempts),
            there=self._there,
            path=dataclasses.replace(paths[-1], attempts=()) if paths else None,
            connected=max(0.0, paths[0].since - began) if paths else None,
            best=max(0.0, paths[-1].since - began) if paths else None,
            measurements=tuple(self._measurements),
            error=self._error,
        )
