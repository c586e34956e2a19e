"""
A node of a soak: a program that runs in the laboratory, on threads or patched by gevent.

``python worker.py TEXT`` with JSON (`Orders`). Its standard input is a socket: lines of JSON come in, what to do; and
go out, what has happened. What it has told stays told when it is killed: the kernel keeps it for who listens.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import json
import logging
import os
import pathlib
import random
import socket
import sys
import threading
import time
import weakref
from typing import Any

import crust
from tests.soak.payload import BIGGEST, Note, read, written
from tests.support.waiting import eventually

PRIORITIES = (0, 1, 1, 1, 1, 1, 2, 2, 7)
BIG = 0.01  # of all messages
LOOK = 1.0  # seconds from one look for peers that are not there to the next
ATTEMPT = 15.0  # seconds to connect
GRACE = 2.0  # seconds for what is ending when the node is closed
FEW = 10  # objects of a class that are not worth telling


@dataclasses.dataclass(frozen=True)
class Orders:
    """What a node is told when it begins."""

    number: int
    process: int
    seed: int
    config: dict[str, Any]
    peers: list[str]
    """The ids of those whom it keeps up a session with."""

    by_group: bool
    """Whether crust does that, by a group; else this program."""

    rate: float
    """Messages a second."""

    fault: str = ""
    """What it does wrong, to show that this is noticed: ``deaf``, ``twice``."""


@dataclasses.dataclass
class Session:
    """One of the node's."""

    number: int
    sequences: dict[int, int] = dataclasses.field(default_factory=dict)
    """The next message of each priority; the sending thread's alone."""


class Worker:
    """One node."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self._lock = threading.Lock()  # guards what is written to the socket, and the two below
        self._socket = socket.socket(fileno=os.dup(0))
        self._sessions: weakref.WeakKeyDictionary[crust.Peer, Session] = weakref.WeakKeyDictionary()
        self._count = 0
        self._dials: dict[str, Any] = {}
        self._chance = random.Random(f"{orders.seed}/{orders.number}/{orders.process}")
        self._sending = threading.Event()
        self._over = threading.Event()
        self._behind = 0.0
        self._forgery = 0
        self.node = crust.Service(crust.Config.from_dict(orders.config))

    # --- telling ------------------------------------------------------------------------------------------------------

    def tell(self, kind: str, *fields: Any) -> None:
        """A line, with the time of the system's monotonic clock, which all processes share."""
        with self._lock:
            self._tell(kind, *fields)

    def _tell(self, kind: str, *fields: Any) -> None:
        self._socket.sendall(json.dumps([kind, time.monotonic(), *fields]).encode() + b"\n")

    def session(self, peer: crust.Peer) -> Session:
        """What belongs to a session; the first time, it is told."""
        with self._lock:
            session = self._sessions.get(peer)
            if session is None:
                session = self._sessions[peer] = Session(self._count)
                self._count += 1
                self._tell("begun", session.number, str(peer.id))
            return session

    # --- events, on the dispatcher thread -----------------------------------------------------------------------------

    def got(self, message: crust.NewMessage) -> None:
        there = self.session(message.peer).number
        note = read(message.data)
        if note is None or note.priority != message.priority:
            self.tell("wrong", f"node {self.orders.number} got {len(message.data)} bytes that nobody sent so")
            return
        self._forgery += 1
        if self.orders.fault == "deaf" and self._forgery % 100 == 0:
            return
        for _ in range(2 if self.orders.fault == "twice" and self._forgery % 100 == 0 else 1):
            fields = (note.node, note.process, note.session, note.priority, note.sequence)
            self.tell("got", there, *fields, len(message.data))

    def heard(self, event: crust.Event) -> None:
        """Everything else; a session is told of before what happens to it."""
        if isinstance(event, crust.LostPeer):
            self.tell("lost", self.session(event.peer).number, str(event.reason), event.unacknowledged)
        elif isinstance(event, crust.MessagesDropped):
            self.tell("dropped", self.session(event.peer).number, event.numbers)
        elif isinstance(event, (crust.ConnectSuccess, crust.BootstrapAccept, crust.BootstrapConnect)):
            self.session(event.peer)
        elif isinstance(event, (crust.PeerMisbehaved, crust.IdentityShared, crust.EventsLost)):
            self.tell("wrong", f"node {self.orders.number}: {event!r}")
        elif not isinstance(event, crust.NewMessage):
            self.tell("event", type(event).__name__)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self) -> None:
        """One message to somebody, if there is anybody."""
        peers = [peer for peer in self.node.peers if peer.state != "lost"]
        if not peers:
            return
        peer = self._chance.choice(peers)
        priority = self._chance.choice(PRIORITIES)
        size = self._chance.randrange(1000 if self._chance.random() >= BIG else BIGGEST)
        session = self.session(peer)
        sequence = session.sequences.get(priority, 0)
        note = Note(self.orders.number, self.orders.process, session.number, priority, sequence)
        self.tell("want", session.number, priority, sequence)
        before = peer.accepted
        try:
            number = peer.send(written(note, size), priority=priority, timeout=0)
        except (crust.WouldBlock, crust.PeerLost, crust.ServiceClosed):
            self.tell("refused", session.number, priority, sequence)
        except MemoryError:
            if peer.accepted == before:
                self.tell("refused", session.number, priority, sequence)
            else:
                self._took(session, priority, sequence, before)
        else:
            self._took(session, priority, sequence, number)

    def _took(self, session: Session, priority: int, sequence: int, number: int) -> None:
        session.sequences[priority] = sequence + 1
        self.tell("took", session.number, priority, sequence, number)

    def look(self) -> None:
        """Dial whom there is no session with."""
        there = {str(peer.id) for peer in self.node.peers}
        for peer in self.orders.peers:
            dial = self._dials.get(peer)
            if peer not in there and (dial is None or dial.done()):
                with contextlib.suppress(crust.CrustError):
                    self._dials[peer] = self.node.dial(peer, timeout=ATTEMPT)

    # --- orders -------------------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """Until the socket ends; on a thread of its own."""
        rest = b""
        while not self._over.is_set() and (data := self._socket.recv(65536)):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                order, *fields = json.loads(line)
                getattr(self, f"do_{order}")(*fields)
        self._over.set()

    def do_send(self, wanted: bool) -> None:
        (self._sending.set if wanted else self._sending.clear)()

    def do_clock(self, behind: float) -> None:
        """From now on the wall clock is so many seconds off, for all of the process."""
        real = time.clock_gettime
        time.time = lambda: real(time.CLOCK_REALTIME) + behind

    def do_ports(self) -> None:
        with contextlib.suppress(crust.ServiceClosed, crust.ListenError):
            self.node.rotate_ports(grace=2.0)

    def do_goodbye(self) -> None:
        """End a session of those that this program keeps up: crust itself would not dial it for a while."""
        peers = [peer for peer in self.node.peers if str(peer.id) in self.orders.peers]
        if peers and not self.orders.by_group:
            self.node.disconnect(self._chance.choice(peers), "for the soak")

    def do_figures(self, question: int) -> None:
        stats = self.node.stats()
        kinds: dict[str, int] = {}
        for peer in self.node.peers:
            name = peer.path.as_dict()["class"] if peer.path else "none"
            kinds[name] = kinds.get(name, 0) + 1
        names = sorted(each.name for each in threading.enumerate())
        found = {
            "threads": names,
            "peers": stats.peers_connected,
            "suspended": stats.peers_suspended,
            "buffered": stats.buffered_bytes,
            "crashes": stats.crashes,
            "errors": stats.callback_errors,
            "paths": kinds,
            "objects": objects(),
        }
        self.tell("figures", question, found)

    def do_close(self) -> None:
        self._over.set()

    # --- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        before = descriptors()
        self.node.on(crust.NewMessage, self.got)
        self.node.on(crust.Event, self.heard)
        self.node.start()
        self.tell("started", str(self.node.contact))
        obeying = threading.Thread(target=self.obey, name="soak-orders", daemon=True)
        obeying.start()
        joining = threading.Thread(target=self.join, name="soak-join", daemon=True)
        joining.start()
        looked = due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / self.orders.rate, time.monotonic() - 1.0)  # no more than a second is made up for
            if self._sending.is_set():
                self.send()
            if not self.orders.by_group and time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                self.look()
        clean = self.node.close()
        joining.join()
        eventually(lambda: not any(self._left(before)), GRACE)
        gc.collect()
        threads, targets = self._left(before)
        self.tell("closed", clean, threads, [described(each) for each in targets])

    def _left(self, before: dict[int, str]) -> tuple[list[str], list[str]]:
        """Threads and descriptors that were not there before."""
        threads = sorted(each.name for each in threading.enumerate() if each.name.startswith("crust-"))
        return threads, [target for number, target in descriptors().items() if before.get(number) != target]

    def join(self) -> None:
        """Have the first peers; the group, if there is one, sees to the others from then on."""
        with contextlib.suppress(crust.CrustError):
            while self.node.config.bootstrap.contacts and not self._over.is_set():
                with contextlib.suppress(crust.ConnectError):
                    self.node.bootstrap()
                    break
            if self.orders.by_group:
                self.node.group("soak", len(self.orders.peers), members=self.orders.peers)


def objects() -> dict[str, int]:
    """How many there are of crust's classes: those of which there are most."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    counts = collections.Counter(f"{each.__module__}.{each.__qualname__}" for each in kinds)
    return {name: count for name, count in counts.most_common() if name.startswith("crust.") and count >= FEW}


def descriptors() -> dict[int, str]:
    """Those that are open, but for those of the interpreter, of this program, and of gevent's hub."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if not target.startswith(("/dev/", "/proc/", "anon_inode:")):
                found[int(name)] = target
    return found


def described(target: str) -> str:
    """With what the system's tables say of it, if it is a socket: its state and addresses."""
    inode = target.removeprefix("socket:[").rstrip("]")
    for table in ("tcp", "tcp6", "udp", "udp6", "unix", "netlink"):
        for line in pathlib.Path("/proc/self/net", table).read_text().splitlines():
            if inode in line.split():
                return f"{target} {table}: {line.strip()}"
    return target


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    Worker(Orders(**json.loads(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
