"""
The control channel of ``crust node --json`` and ``--control``: one JSON object a line in, one a line out.

A command is ``{"id": 7, "cmd": "connect", "peer": "…"}``; its reply carries the same ``id`` and ``ok``. Commands
that may take long run beside each other, so replies overtake; sends to one peer keep their order.
docs/control-channel.md is the reference. `Control` knows no stream and no signal: lines go in through `handle`,
objects come out through a function.
"""

from __future__ import annotations

import base64
import binascii
import collections
import concurrent.futures
import dataclasses
import difflib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import crust

from .as_json import JSON, error_as_json, value_as_json
from .book import Book
from .errors import CommandError
from .options import restricted

__all__ = ["COMMANDS", "BadRequest", "Control", "Unsupported"]

_log = logging.getLogger("crust.cli.control")

_WORKERS = 256  # slow commands at once; threads are only made when needed
_LANES = 1024  # peers whose sends wait at once; they have threads of their own, which no slow command takes
_LANE_SENDS = 10_000  # sends that wait for one slow peer, and
_DEPTH_MAX = 32  # of what a line nests; the commands need 2, and deeper ones could not be repeated in a reply
_LANE_BYTES = 16 * 1024 * 1024  # their data; beyond either, no command is read until there is room


class BadRequest(CommandError):
    """The line is not a command of this channel."""


class Unsupported(CommandError):
    """The command exists in the language, but not in this version."""


Check = Callable[[str, object], object]
Subscribe = Callable[[list[str], "list[crust.PeerId] | None"], object]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name}: expected a string, found {_found(value)}")
    return value


def _texts(name: str, value: object) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadRequest(f"{name}: expected an array of strings, found {_found(value)}")
    return items


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadRequest(f"{name}: expected seconds or null (for ever), found {_found(value)}")
    return float(value)


def _priority(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise BadRequest(f"{name}: expected 0 (most urgent) to 255, found {_found(value)}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name}: expected true or false, found {_found(value)}")
    return value


def _base64(name: str, value: object) -> bytes:
    try:
        return base64.b64decode(_text(name, value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{name}: expected base64: {error}") from None


def _found(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"


@dataclasses.dataclass(frozen=True)
class _Command:
    run: Callable[[Control, dict[str, Any]], Mapping[str, JSON]] | None
    """Does it and gives the fields of the reply. None for ``send``, which has a way of its own."""

    fields: Mapping[str, Check] = dataclasses.field(default_factory=dict)
    """What the command may carry, besides ``id`` and ``cmd``."""

    required: tuple[str, ...] = ()
    """Which of the fields it must carry."""

    slow: bool = False
    """It may wait for the network: run it beside the others."""


class _Lane:
    """The sends that wait for one slow peer, oldest first; the first one is under way."""

    __slots__ = ("size", "waiting")

    def __init__(self) -> None:
        self.size = 0
        self.waiting: collections.deque[tuple[int, Callable[[], object]]] = collections.deque()

    @property
    def full(self) -> bool:
        """Must the next one wait outside?"""
        return self.size >= _LANE_BYTES or len(self.waiting) >= _LANE_SENDS

    def add(self, size: int, work: Callable[[], object]) -> None:
        """Queue a send of ``size`` bytes."""
        self.waiting.append((size, work))
        self.size += size


class Control:
    """
    Runs the commands of one channel on one started node. `handle` is called by one thread.

    Args:
        node: The node.
        role: What it is: ``node`` or ``client``.
        book: Names for peers.
        only: The transport that ``--only`` names, or None.
        reply: Takes each reply, from any thread.
        subscribe: Takes the names of events, and the peers (None: all), that the other end wants to hear of; None if
            it hears everything anyway.
    """

    def __init__(
        self,
        node: crust.Service,
        role: str,
        book: Book,
        only: str | None,
        reply: Callable[[dict[str, JSON]], None],
        subscribe: Subscribe | None = None,
    ) -> None:
        self.stopped = False
        self._node = node
        self._role = role
        self._book = book
        self._only = only
        self._reply = reply
        self._subscribe_to = subscribe
        self._workers = concurrent.futures.ThreadPoolExecutor(_WORKERS, "crust-control")
        self._senders = concurrent.futures.ThreadPoolExecutor(_LANES, "crust-control-send")
        self._room = threading.Condition()  # guards _lanes and what is in them; notified when one has less
        self._lanes: dict[crust.PeerId, _Lane] = {}

    def close(self) -> None:
        """Wait for the commands under way; close the node first, so that they end."""
        self._workers.shutdown(wait=True)
        self._senders.shutdown(wait=True)

    def handle(self, line: bytes) -> None:
        """Run the command of one line, or begin to. Every line but an empty one gets exactly one reply."""
        if not line.strip():
            return
        request: dict[str, Any] = {}
        try:
            request = _parsed(line)
            command = _command(request)
            arguments = _checked(request, command)
            run = command.run
            if run is None:
                self._send(request, arguments)
            elif command.slow:
                self._workers.submit(self._answer, request, lambda: run(self, arguments))
            else:
                self._answer(request, lambda: run(self, arguments))
        except (crust.CrustError, CommandError, ValueError) as error:
            self.refuse(error, request)

    def refuse(self, error: Exception, request: Mapping[str, Any] | None = None) -> None:
        """Reply that it could not be done."""
        found = error_as_json(error)
        if isinstance(error, CommandError) and not isinstance(error, BadRequest | Unsupported):
            found["error"] = "unknown_contact"
        elif isinstance(error, ValueError | TypeError) and not isinstance(error, crust.CrustError):
            found["error"] = "bad_request"
        self._reply({**_id_of(request or {}), "ok": False, **found})

    def _answer(
        self,
        request: Mapping[str, Any],
        work: Callable[[], Mapping[str, JSON]],
        unless: type[Exception] | None = None,
    ) -> bool:
        """Do the work and reply; False, and no reply, if it raises ``unless``."""
        try:
            fields = work()
        except (crust.CrustError, CommandError, OSError, ValueError, TypeError) as error:
            if unless is not None and isinstance(error, unless):
                return False
            self.refuse(error, request)
        except Exception as error:  # a fault of crust: the channel goes on, and the script hears of it
            _log.exception("the command %s failed", request.get("cmd"))
            self.refuse(error, request)
        else:
            self._reply({**_id_of(request), "ok": True, **fields})
        return True

    # --- the commands, each with the checked fields of its request ----------------------------------------------

    def _info(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        node = self._node
        addresses = value_as_json(tuple(node.addresses))
        return {
            "peer": str(node.id),
            "contact": str(node.contact),
            "addresses": addresses,
            "role": self._role,
        }

    def _peers(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        return {
            "peers": [
                {
                    "peer": str(p.id),
                    "state": value_as_json(p.state),
                    "role": value_as_json(p.role),
                    "path": _path(p),
                }
                for p in self._node.peers
            ]
        }

    def _connect(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        if ("peer" in fields) == ("info" in fields):
            raise BadRequest("connect needs either peer or info")
        to = self._whom(fields.pop("peer" if "peer" in fields else "info"))
        peer = self._node.connect(restricted(to, self._only), **fields)
        return {"peer": str(peer.id), "path": _path(peer)}

    def _disconnect(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        who = self._whom(fields.pop("peer")).peer_id
        return {"was_connected": self._node.disconnect(who, **fields)}

    def _bootstrap(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        return {"peer": str(self._node.bootstrap(**self._with_contacts(fields)).id)}

    def _start_bootstrap(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        self._node.start_bootstrap(**self._with_contacts(fields))
        return {}

    def _stop_bootstrap(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        self._node.stop_bootstrap()
        return {}

    def _with_contacts(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "contacts" in fields:
            found = [self._whom(text) for text in fields["contacts"]]
            plain = [to.contact if isinstance(to, crust.ConnectionInfo) else to for to in found]
            fields["contacts"] = [restricted(contact, self._only) for contact in plain]
        return fields

    def _prepare_connection_info(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        return {"info": str(self._node.prepare_connection_info())}

    def _ban(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        who = fields.pop("who")
        return {"count": self._node.ban(*who, **fields)}

    def _bans(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        return {
            "bans": [
                {"who": str(ban.who), "seconds": ban.seconds, "kept": ban.kept, "configured": ban.configured}
                for ban in self._node.bans
            ]
        }

    def _unban(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        return {"count": self._node.unban(*fields["who"])}

    def _reload(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        told = self._node.reload()
        return {"applied": list(told.applied), "needs_restart": list(told.needs_restart)}

    def _find(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        found = self._node.find(self._whom(fields.pop("peer")).peer_id, **fields)
        return {"peer": str(found.peer_id), "contact": str(found) if found.endpoints else None}

    def _subscribe(self, fields: dict[str, Any]) -> Mapping[str, JSON]:
        if self._subscribe_to is None:
            raise Unsupported(
                "this channel has all events already: subscribe belongs to crust node --control"
            )
        peers = fields.get("peers")
        self._subscribe_to(
            fields["events"], None if peers is None else [self._whom(text).peer_id for text in peers]
        )
        return {}

    def _status(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        return {"status": self._node.status().as_dict()}

    def _stop(self, _: dict[str, Any]) -> Mapping[str, JSON]:
        self.stopped = True
        return {}

    # --- sending ------------------------------------------------------------------------------------------------

    def _send(self, request: Mapping[str, Any], fields: dict[str, Any]) -> None:
        """
        Send at once if there is room; else wait in the peer's lane, behind what waits there already, so that neither
        the order of the messages is lost nor a command to another peer held up.
        """
        peer_id = self._whom(fields.pop("peer")).peer_id
        data, timeout = fields.pop("data"), fields.pop("timeout", self._node.config.session.send_timeout)
        with self._room:
            waiting = peer_id in self._lanes
        if waiting and timeout == 0:
            raise crust.WouldBlock(
                "earlier sends to this peer are waiting for room: go on when they are done"
            )
        if not waiting:

            def send_now() -> Mapping[str, JSON]:
                return {"message": self._node.send(peer_id, data, timeout=0, **fields)}

            if self._answer(request, send_now, unless=None if timeout == 0 else crust.WouldBlock):
                return
        deadline = None if timeout is None else time.monotonic() + timeout

        def send_later() -> Mapping[str, JSON]:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            return {"message": self._node.send(peer_id, data, timeout=left, **fields)}

        self._enter_lane(peer_id, len(data), lambda: self._answer(request, send_later))

    def _enter_lane(self, peer_id: crust.PeerId, size: int, work: Callable[[], object]) -> None:
        with self._room:
            # Every send in a lane ends at its timeout or with its session, so this ends too.
            while (lane := self._lanes.get(peer_id)) is not None and lane.full:
                self._room.wait()
            if lane is not None:
                lane.add(size, work)
                return
            lane = self._lanes[peer_id] = _Lane()
            lane.add(size, work)
        self._senders.submit(self._run_lane, peer_id, lane)

    def _run_lane(self, peer_id: crust.PeerId, lane: _Lane) -> None:
        while True:
            with self._room:
                if not lane.waiting:
                    del self._lanes[peer_id]
                    self._room.notify_all()
                    return
                size, work = lane.waiting[0]
            work()
            with self._room:
                lane.waiting.popleft()
                lane.size -= size
                self._room.notify_all()

    def _whom(self, text: str) -> crust.Contact | crust.ConnectionInfo:
        return self._book.resolve(text)


_TIMEOUT = {"timeout": _seconds}
_PEER = {"peer": _text}

COMMANDS: Mapping[str, _Command] = {  # by name; docs/control-channel.md has the same table
    "ban": _Command(Control._ban, {"who": _texts, "seconds": _seconds, "keep": _flag}, ("who",)),
    "bans": _Command(Control._bans),
    "bootstrap": _Command(
        Control._bootstrap, {"contacts": _texts, "blacklist": _texts, **_TIMEOUT}, slow=True
    ),
    "connect": _Command(Control._connect, {**_PEER, "info": _text, "keep": _flag, **_TIMEOUT}, slow=True),
    "disconnect": _Command(Control._disconnect, {**_PEER, "reason": _text}, ("peer",)),
    "find": _Command(Control._find, {**_PEER, **_TIMEOUT}, ("peer",), slow=True),
    "info": _Command(Control._info),
    "peers": _Command(Control._peers),
    "prepare_connection_info": _Command(Control._prepare_connection_info, slow=True),
    "reload": _Command(Control._reload, slow=True),
    "send": _Command(
        None, {**_PEER, "data": _base64, "priority": _priority, "sign": _flag, **_TIMEOUT}, ("peer", "data")
    ),
    "start_bootstrap": _Command(Control._start_bootstrap, {"contacts": _texts, "blacklist": _texts}),
    "status": _Command(Control._status),
    "stop": _Command(Control._stop),
    "stop_bootstrap": _Command(Control._stop_bootstrap),
    "subscribe": _Command(Control._subscribe, {"events": _texts, "peers": _texts}, ("events",)),
    "unban": _Command(Control._unban, {"who": _texts}, ("who",)),
}


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
        _check_depth(request, _DEPTH_MAX)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the line is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise BadRequest('expected an object such as {"id": 1, "cmd": "info"}, found ' + _found(request))
    return request


def _check_depth(value: object, left: int) -> None:
    if isinstance(value, list | dict):
        if not left:
            raise ValueError(f"more than {_DEPTH_MAX} levels")
        for each in value.values() if isinstance(value, dict) else value:
            _check_depth(each, left - 1)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):  # it could not be repeated in a reply
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _command(request: Mapping[str, Any]) -> _Command:
    name = request.get("cmd")
    if not isinstance(name, str):
        raise BadRequest(f"cmd: expected the name of a command, found {_found(name)}")
    command = COMMANDS.get(name)
    if command is None:
        raise Unsupported(f"there is no command {_found(name)}{_advice(name, COMMANDS)}")
    return command


def _checked(request: Mapping[str, Any], command: _Command) -> dict[str, Any]:
    fields = {name: value for name, value in request.items() if name not in {"id", "cmd"}}
    for name in fields:
        if name not in command.fields:
            raise BadRequest(f"{request['cmd']} has no field {_found(name)}{_advice(name, command.fields)}")
    for name in command.required:
        if name not in fields:
            raise BadRequest(f"{request['cmd']} needs the field {name}")
    return {name: command.fields[name](name, value) for name, value in fields.items()}


def _advice(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(sorted(known))}" if known else "; it takes none"


def _id_of(request: Mapping[str, Any]) -> dict[str, JSON]:
    return {"id": request["id"]} if "id" in request else {}


def _path(peer: crust.Peer) -> JSON:
    return value_as_json(peer.path)
