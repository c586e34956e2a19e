"""
crust with a crowd around it: the hub is a node like any other, its spokes are the peers of ``light_peer``.

Each spoke has an identity and, as in life, an address of its own, 127.x.y.z; one thread with one selector serves all of
a process. Of the hub's limits those are raised that count all callers together, since everybody comes at once.

The library ``crust-crowd`` has gossip on, as it is by default; ``crust-crowd-silent`` has it off.
"""

from __future__ import annotations

import collections
import concurrent.futures
import heapq
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import crust
from crust.exceptions import RemoteProtocolError

from ..contract import ROUND_TRIP, WAIT, Options
from . import crust_node
from .light_peer import Broken, LightPeer

__all__ = ["Hub", "Spokes"]

_UNDER_WAY = 48  # connections that begin at once
_READ = 65_536
_WAIT_MAX = 0.1  # seconds that the thread waits at most
_BIND_LATE = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)
_PATIENCE = 600.0  # seconds for all to be connected
_LOSSES_KEPT = 5


def _gossips(library: str) -> bool:
    return library == "crust-crowd"


class Hub(crust_node.Hub):
    """One node that listens."""

    def __init__(self, role: str, options: Options) -> None:
        super().__init__(role, options)
        time.sleep(0.001)  # what greenlets need is made by the first that waits
        self._before = _in_use()

    def _config(self) -> crust.Config:
        return crust.Config.from_dict(
            {
                "listen": {"addresses": ["tcp://127.0.0.1:0"]},
                "nat": {"port_mapping": []},
                "limits": crust_node.limits_for(self.options.peers),
                "gossip": {"enabled": _gossips(self.options.library)},
            }
        )

    def watched(self) -> dict[str, float]:
        """Also whether anything of the node has failed unexpectedly."""
        return {**super().watched(), "crashes": self.service.stats().crashes}

    def remains(self) -> dict[str, int]:
        """Threads, but the one that watches, and descriptors that there are more than before the node was started."""
        threads, descriptors = _in_use()
        threads -= self._watching
        return {"threads": threads - self._before[0], "descriptors": descriptors - self._before[1]}


def _in_use() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


class Spokes:
    """Many peers, served by one thread."""

    def __init__(self, role: str, options: Options) -> None:
        self._options = options
        self._crowd: _Crowd | None = None

    def dial(self, address: Any, count: int) -> None:
        """Have so many more peers connect."""
        if self._crowd is None:
            self._crowd = _Crowd(crust.Contact.parse(address), _gossips(self._options.library))
            threading.Thread(target=self._crowd.run, daemon=True).start()
        self._crowd.do(lambda crowd, done: crowd.dial(count, done), _PATIENCE)

    def talk(self, talkers: int, interval: float, seconds: float) -> list[float]:
        """As :meth:`benchmarks.sides.ChannelSpokes.talk`."""
        assert self._crowd is not None
        times: list[float] = self._crowd.do(
            lambda crowd, done: crowd.talk(talkers, interval, seconds, done), seconds + WAIT
        )
        return times

    def losses(self) -> dict[str, Any]:
        """How many sessions have ended, why the first of them did, and how many links seemed dead."""
        assert self._crowd is not None
        crowd = self._crowd
        return {
            "lost": crowd.lost,
            "why": crowd.why,
            "suspected": sum(each.peer.suspected for each in crowd.open),
        }


class _Talk:
    """Of one spoke: what it says, and when."""

    def __init__(self, begin: float, interval: float, seconds: float) -> None:
        self.due = begin
        self.end = begin + seconds
        self.interval = interval
        self.sent = 0.0
        self.waits = False
        self.is_late = False


class _Spoke:
    """A peer and its socket."""

    __slots__ = ("armed", "peer", "sock", "talk", "unsent")

    def __init__(self, peer: LightPeer, sock: socket.socket) -> None:
        self.peer = peer
        self.sock = sock
        self.unsent = b""
        self.armed = float("inf")
        self.talk: _Talk | None = None


class _Crowd:
    """The thread: everything but :meth:`do` is for it alone."""

    def __init__(self, hub: crust.Contact, gossips: bool) -> None:
        self._hub = hub
        self._gossips = gossips
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, _Spoke]] = []
        self._numbers = itertools.count()
        self._jobs: collections.deque[Callable[[_Crowd], None]] = collections.deque()
        self._to_begin = 0
        self._beginning = 0
        self._dialled: Callable[[Any], None] | None = None
        self._talkers = 0
        self._times: list[float] = []
        self._talked: Callable[[Any], None] | None = None
        # A process has hosts of its own: 127.(its number).y.z
        self._host = (os.getpid() % 200 + 2) << 16
        self.open: list[_Spoke] = []
        self.lost = 0
        self.why: list[str] = []

    def do(self, job: Callable[[_Crowd, Callable[[Any], None]], None], patience: float) -> Any:
        """Have that begun, and wait until it says what came of it."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._jobs.append(lambda crowd: job(crowd, future.set_result))
        return future.result(patience)

    def run(self) -> None:
        """Serve all, for ever."""
        clock = time.monotonic
        while True:
            while self._jobs:
                self._jobs.popleft()(self)
            wait = min(_WAIT_MAX, self._timers[0][0] - clock()) if self._timers else _WAIT_MAX
            for key, events in self._selector.select(max(0.0, wait)):
                spoke = key.data
                if events & selectors.EVENT_WRITE:
                    self._writable(spoke)
                if events & selectors.EVENT_READ:
                    self._readable(spoke)
            now = clock()
            while self._timers and self._timers[0][0] <= now:
                _, _, spoke = heapq.heappop(self._timers)
                spoke.armed = float("inf")
                self._due(spoke, now)

    # --- beginning ----------------------------------------------------------------------------------------------------

    def dial(self, count: int, done: Callable[[Any], None]) -> None:
        self._to_begin += count
        self._dialled = done
        self._begin_more()

    def _begin_more(self) -> None:
        while self._to_begin and self._beginning < _UNDER_WAY:
            self._to_begin -= 1
            self._beginning += 1
            self._host += 1
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_IP, _BIND_LATE, 1)
            sock.bind((f"127.{self._host >> 16}.{self._host >> 8 & 255}.{self._host & 255}", 0))
            place = self._hub.endpoints[0]
            sock.connect_ex((place.host, place.port))
            spoke = _Spoke(LightPeer(self._hub, self._gossips, time.time()), sock)
            spoke.peer.start()
            self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, spoke)
        if not (self._to_begin or self._beginning) and self._dialled is not None:
            done, self._dialled = self._dialled, None
            done(None)

    def _begun(self) -> None:
        self._beginning -= 1
        self._begin_more()

    # --- a spoke's life -----------------------------------------------------------------------------------------------

    def _readable(self, spoke: _Spoke) -> None:
        was_open = spoke.peer.is_open
        try:
            data = spoke.sock.recv(_READ)
            if not data:
                raise Broken("the hub closed the connection")
            spoke.peer.receive(data, time.monotonic())
            if spoke.peer.received:
                self._heard(spoke)
        except BlockingIOError:
            return
        except (OSError, Broken, RemoteProtocolError) as error:
            self._lose(spoke, error)
            return
        self._write(spoke)
        if spoke.peer.is_open:
            self._arm(spoke)
            if not was_open:
                self.open.append(spoke)
                self._begun()

    def _writable(self, spoke: _Spoke) -> None:
        self._selector.modify(spoke.sock, selectors.EVENT_READ, spoke)
        self._write(spoke)

    def _write(self, spoke: _Spoke) -> None:
        data = spoke.unsent + spoke.peer.bytes_to_send()
        if not data:
            return
        try:
            sent = spoke.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # reading says why
            return
        spoke.unsent = data[sent:]
        if spoke.unsent:
            self._selector.modify(spoke.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, spoke)

    def _lose(self, spoke: _Spoke, error: Exception) -> None:
        self._selector.unregister(spoke.sock)
        spoke.sock.close()
        self.lost += 1
        if len(self.why) < _LOSSES_KEPT:
            self.why.append(str(error))
        if not spoke.peer.is_open:
            self._begun()
        spoke.peer.is_open = False
        if spoke.talk is not None:
            self._silent(spoke)

    def _arm(self, spoke: _Spoke) -> None:
        due = spoke.peer.get_timer()
        talk = spoke.talk
        if talk is not None and not talk.waits:
            due = min(due, talk.due)
        if due < spoke.armed:
            spoke.armed = due
            heapq.heappush(self._timers, (due, next(self._numbers), spoke))

    def _due(self, spoke: _Spoke, now: float) -> None:
        if not spoke.peer.is_open:
            return
        if now >= spoke.peer.get_timer():
            try:
                spoke.peer.handle_timer(now)
            except Broken as error:
                self._lose(spoke, error)
                return
        talk = spoke.talk
        if talk is not None and not talk.waits and now >= talk.due:
            self._say(spoke, talk, now)
        self._write(spoke)
        self._arm(spoke)

    # --- talking ------------------------------------------------------------------------------------------------------

    def talk(self, talkers: int, interval: float, seconds: float, done: Callable[[Any], None]) -> None:
        self._times, self._talked = [], done
        begin = time.monotonic() + 0.1
        chosen = [each for each in self.open if each.peer.is_open][:talkers]
        self._talkers = len(chosen)
        for index, spoke in enumerate(chosen):
            spoke.talk = _Talk(begin + interval * index / talkers, interval, seconds)
            self._arm(spoke)

    def _say(self, spoke: _Spoke, talk: _Talk, now: float) -> None:
        talk.sent = talk.due if talk.is_late else now  # that it waited for the last answer counts
        talk.waits = True
        spoke.peer.send(struct.pack(">dd", talk.sent, 0.0) + bytes(ROUND_TRIP - 16), now)

    def _heard(self, spoke: _Spoke) -> None:
        answers, spoke.peer.received = spoke.peer.received, []
        talk = spoke.talk
        if talk is None or not talk.waits:
            return
        now = time.monotonic()
        _, arrived = struct.unpack_from(">dd", answers[-1])
        self._times += (arrived - talk.sent, now - arrived)
        talk.waits = False
        talk.due += talk.interval
        talk.is_late = talk.due <= now
        if talk.due >= talk.end:
            self._silent(spoke)

    def _silent(self, spoke: _Spoke) -> None:
        spoke.talk = None
        self._talkers -= 1
        if not self._talkers and self._talked is not None:
            done, self._talked = self._talked, None
            done(self._times)
