"""
The bootstrap cache of a running node: it follows whom the node reaches, and whom it loses.

A node goes in that we dialled, at an address that it had told strangers: not by way of an introducer, who may have told
it of us, and not if it dialled us first, since its router may let us in then and nobody else. Who was met so, and is
reached by a direct link of ours later on, goes in if it answers when it is knocked at (:mod:`crust.peers.knocks`) from
a port that it has never heard of. When the link is lost, it is knocked at, too: three failures, and it is gone. Silence
counts only while others are heard, as it may be our own network that is cut.

All of it happens on one thread, ``crust-cache``, which begins with the first node, or where there is a file already. It
ends when there has been nothing to do for ``CACHE_LINGER``, everything is on disk, and no look is due as soon; the next
one is begun by whatever there is to do, or by a timer when a look is due. The rest of the node reads what that thread
has put down.
"""

from __future__ import annotations

import os
import queue
import random
import threading
from collections.abc import Callable, Iterable, Sequence

from ... import limits
from ...addresses import Contact, Endpoint, IPNetwork, PeerId
from ...discovery.cache.core import Cache, Entry, in_turns
from ...discovery.cache.file import CacheFile
from ...discovery.hearsay import LOOPBACK, usable
from ...peers.conversation import Conversation
from ...peers.knocks import Knocked
from ...peers.session import State
from ...runtime.timers import Timer
from ...transports.contract import Dialling
from ...wire.handshake import Role
from ..events import LostReason
from ..node import Node
from ..traversal.direct import fresh_utp
from .dropped import Dropped

__all__ = ["Caching", "as_a_stranger"]

_Job = Callable[[], object]


class Caching:
    """
    See :class:`crust.service.finding.directory.Source`. Thread-safe.

    Args:
        node: The node, not started.
        dropped: Whom nobody is to dial.
    """

    name = "cache"

    def __init__(self, node: Node, dropped: Dropped) -> None:
        self._node = node
        self._dropped = dropped
        self._jobs = node.clock.queue()
        self._begun = False  # the thread
        self._beginning = threading.Lock()  # whoever has it begins; the thread lets it go when it ends
        self._alarm: Timer | None = None  # begins it; the thread's, as is what follows below
        self._closing = False
        self._loaded = node.clock.event()
        self._entries: tuple[Entry, ...] = ()  # as put down by the thread: what others read
        self._places: dict[PeerId, tuple[Endpoint, ...]] = {}
        self._networks: tuple[IPNetwork, ...] = ()
        self._introduced: dict[Conversation, bool] = {}  # not reached directly alone; whether they were knocked at
        # What follows is the thread's.
        self._cache = Cache(0, random.random)
        self._file: CacheFile | None = None
        self._save_at: float | None = None
        self._trouble = False
        self._looking = 0
        self._present_at = 0.0
        self._done_at = float("-inf")  # when the thread began, or did a job last
        node.on_connected.append(self._connected)
        node.on_detached.append(self._detached)
        node.on_lost.append(self._lost)

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether there is a cache."""
        return self._node.config.bootstrap.cache.max_peers > 0 and self._path() is not None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All, the last seen first. Empty before it has been read: see :meth:`load`."""
        return self._entries

    def places(self, peer_id: PeerId) -> Sequence[Endpoint]:
        return self._places.get(peer_id, ())

    def contacts(self) -> Sequence[Contact]:
        places = self._places
        found = in_turns(self._entries)
        return [Contact(each.peer_id, places[each.peer_id]) for each in found if each.peer_id in places]

    def load(self) -> None:
        """Have it read, if it has not been; waits for the disk, for a while."""
        if self.enabled and not self._loaded.is_set():
            self._begin()
            self._loaded.wait(limits.CACHE_LOAD_SECONDS)

    def met(self, contact: Contact, local: str = "") -> None:
        """Strangers reach that node there: we did, from that address of ours, or somebody whom we believe."""
        self._post(lambda: self._met(contact, local))

    def failed(self, peer_id: PeerId) -> None:
        """It was dialled, and is not there, though our own network is well."""
        self._post(lambda: self._failed(peer_id))

    def moved(self) -> None:
        """Our network is another one: other private addresses mean something now."""
        if self._loaded.is_set():
            self._post(self._networks_now)

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The node runs: read the file, if there is one."""
        path = self._path()
        if self.enabled and path is not None and os.path.exists(path):
            self._begin()

    def _path(self) -> str | None:
        given = self._node.config.bootstrap.cache.file
        if given is not None:
            return given
        folder = self._node.state_folder()
        return None if folder is None else os.path.join(folder, f"{self._node.handshake.network_id.hex()[:32]}.json")

    def _begin(self) -> None:
        if self._begun or self._closing or not self._beginning.acquire(blocking=False):
            return
        self._begun = True
        try:
            self._node.spawn("crust-cache", self._run)
        except RuntimeError as error:
            self._begun = False
            self._beginning.release()
            self._node.log.warning("no thread for the bootstrap cache: %s", error)

    def _post(self, job: _Job) -> None:
        """Have it done on the thread; never blocks."""
        if self.enabled and not self._closing:
            self._jobs.put(job)
            self._begin()

    def close(self) -> None:
        """Write down what there is, while the node ends, and do nothing more. Never blocks; idempotent."""
        if not self._closing:
            linked = self._linked()
            self._closing = True
            self._jobs.put(lambda: self._end(linked))

    def abandon(self) -> None:
        """In a forked child: do nothing any more (takes no lock)."""
        self._closing = True
        self._file = None

    # --- what the node tells (any thread, locks may be held) ----------------------------------------------------------

    def _connected(self, conversation: Conversation) -> None:
        path = conversation.path
        if path is None:
            return
        is_direct = not path.inbound and path.path_class.startswith("direct")
        if conversation.inbound or not is_direct:
            self._introduced.setdefault(conversation, False)
        if not is_direct or conversation.role is not Role.NODE:
            return
        remote, local = Endpoint.parse(path.remote), Endpoint.parse(path.local)
        if not remote.is_ip:
            return
        contact = Contact(conversation.peer_id, (remote,))
        if conversation not in self._introduced:
            self._post(lambda: self._met(contact, local.host))
        elif not self._introduced[conversation]:
            self._introduced[conversation] = True
            self._post(lambda: self._try(contact, local.host))

    def _detached(self, conversation: Conversation) -> None:
        if conversation.peer_id in self._places:
            self._post(lambda: self._cache.lost(conversation.peer_id, self._node.clock.now()))

    def _lost(self, conversation: Conversation, reason: str) -> None:
        self._introduced.pop(conversation, None)
        if reason in (LostReason.CLOSED, LostReason.TIMEOUT):  # else it was there just now
            self._detached(conversation)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        path = self._path()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if path is not None and self._file is None:
            node = self._node
            self._file = CacheFile(path, node.handshake.network_id, node.log.warning, self._pause)
            self._read(self._file)
            self._networks_now()
        self._put_down()
        self._loaded.set()
        self._done_at = self._node.clock.now()
        while self._file is not None:
            job = self._next_job()
            if job is not None:
                job()
                self._done_at = self._node.clock.now()
            self._cache.max_peers = self._node.config.bootstrap.cache.max_peers
            self._look()
            self._see_to_saving()
            if self._jobs.empty():
                self._put_down()
            if job is None and self._ends():
                return

    def _ends(self) -> bool:
        """Whether the thread ends here: nothing has come for a while, and nothing is due as soon."""
        node, now = self._node, self._node.clock.now()
        due = self._next_look(now)
        if self._closing or self._looking or min(due - now, now - self._done_at) < limits.CACHE_LINGER:
            return False
        if self._save_at is not None and not self._trouble:
            self._save(self._linked())
        if self._cache.changed:  # the disk refuses it: whoever ends the node counts on this thread
            return False
        if len(self._cache):
            self._alarm = node.io.call_at(due, lambda _: self._begin())
        self._begun = False
        self._beginning.release()
        if self._jobs.empty() or not self._beginning.acquire(blocking=False):
            return True
        self._begun = True  # whoever has put down a job just now took this thread for one that goes on
        if self._alarm is not None:
            self._alarm.cancel()
        return False

    def _next_look(self, now: float) -> float:
        """When to look whether somebody is there, at the latest."""
        due = [self._present_at or now]
        if self._looking < limits.CACHE_LOOKS and len(self._cache):
            due.append(self._cache.next_at(now))
        return min(due)

    def _pause(self, seconds: float) -> None:
        self._node.clock.event().wait(seconds)

    def _next_job(self) -> _Job | None:
        now = self._node.clock.now()
        ends_at = self._done_at + limits.CACHE_LINGER
        due = [self._next_look(now), ends_at if ends_at > now else now + limits.CACHE_LINGER]
        if self._save_at is not None:
            due.append(self._save_at)
        try:
            job: _Job = self._jobs.get(timeout=max(limits.CACHE_PACE_MIN, min(due) - now))
        except queue.Empty:
            return None
        return job

    def _read(self, file: CacheFile) -> None:
        cache, wall = self._cache, self._node.wall()
        cache.max_peers = self._node.config.bootstrap.cache.max_peers
        try:
            entries = file.read(wall)
        except OSError as error:
            self._complain("read", error)
            return
        if entries is not None:
            cache.merge(entries, wall)
            cache.saved()

    def _put_down(self) -> None:
        """For the rest of the node to read."""
        own = self._node.handshake.key_pair.peer_id  # another process may have met us
        entries = [each for each in self._cache.entries() if each.peer_id != own]
        found = {each.peer_id: usable(each.contact, self._networks, each.around) for each in entries}
        self._places = {peer_id: contact.endpoints for peer_id, contact in found.items() if contact is not None}
        self._entries = tuple(entries)

    def _met(self, contact: Contact, local: str) -> None:
        """It was reached from that address of ours; empty: from elsewhere."""
        around = ""
        if local and not contact.endpoints[0].is_global:
            ip = Endpoint("tcp", local, 1).ip
            near = [str(each) for each in self._networks_now() if ip is not None and ip in each]
            around = LOOPBACK if ip is not None and ip.is_loopback else next(iter(near), "")
        self._cache.met(contact, self._node.wall(), around)
        self._save_by(limits.CACHE_SAVE_DELAY)

    def _failed(self, peer_id: PeerId) -> None:
        if self._cache.failed(peer_id, self._node.clock.now()):
            self._node.log.debug("peer %s is forgotten: it is not there any more", peer_id)
            self._save_by(limits.CACHE_SAVE_DELAY)

    def _networks_now(self) -> tuple[IPNetwork, ...]:
        try:
            self._networks = tuple(each.network for each in self._node.local_addresses(None, ()))
        except OSError as error:  # the system does not tell at the moment
            self._node.log.debug("the system does not tell its addresses: %s", error)
        return self._networks

    # --- looking whether they are there -------------------------------------------------------------------------------

    def _linked(self) -> list[PeerId]:
        """Those that we have a direct link with."""
        found = []
        for each in self._node.registry.all():
            link = each.link
            if each.session.state is State.CONNECTED and link is not None and link.circuit is None:
                found.append(each.peer_id)
        return found

    def _look(self) -> None:
        node, cache = self._node, self._cache
        now = node.clock.now()
        if now >= self._present_at:
            self._present_at = now + limits.CACHE_PACE
            self._networks_now()
            cache.present(self._linked(), node.wall())
        while not self._closing and self._looking < limits.CACHE_LOOKS and len(cache):
            skipped = {*self._linked(), node.handshake.key_pair.peer_id}
            skipped.update(each.peer_id for each in cache.entries() if self._is_unwanted(each.peer_id, now))
            entry = cache.due(now, node.wall(), skipped)
            if entry is None:
                return
            contact = usable(entry.contact, self._networks, entry.around)
            if contact is None:  # another network: nobody can say
                cache.undecided(entry.peer_id, now, again=False)
                continue
            self._looking += 1
            self._knock(entry, list(contact.endpoints), now)

    def _is_unwanted(self, peer_id: PeerId, now: float) -> bool:
        return self._dropped.covers(peer_id, now) or self._node.access.is_banned(peer_id, None, now)

    def _knock(self, entry: Entry, left: list[Endpoint], began: float, blamed: bool = False) -> None:
        """At the first of those places; then at the next one."""
        endpoint = left.pop(0)

        def heard(came: Knocked) -> None:
            self._jobs.put(lambda: self._heard(entry, endpoint, left, began, came, blamed or came.is_somebody_else))

        self._node.knocks.knock(entry.peer_id, endpoint, heard, prepare=as_a_stranger(self._node, endpoint))

    def _heard(
        self, entry: Entry, endpoint: Endpoint, left: list[Endpoint], began: float, came: Knocked, blamed: bool
    ) -> None:
        cache, node = self._cache, self._node
        if not came.is_there and left and not self._closing:
            self._knock(entry, left, began, blamed)
            return
        self._looking -= 1
        if came.is_there:
            cache.answered(entry.peer_id, node.wall(), Contact(entry.peer_id, (endpoint, *left)))
        elif blamed or (came.verdict != "cancelled" and self._hear_others(began)):
            self._failed(entry.peer_id)
        else:
            cache.undecided(entry.peer_id, node.clock.now(), again=bool(entry.failures))

    def _try(self, contact: Contact, local: str) -> None:
        """A link of ours leads there, but strangers may not get in: see."""
        node, endpoint = self._node, contact.endpoints[0]
        if contact.peer_id in self._places or self._is_unwanted(contact.peer_id, node.clock.now()):
            return

        def tried(came: Knocked) -> None:
            if came.is_there:
                self._post(lambda: self._met(contact, local))

        node.knocks.knock(contact.peer_id, endpoint, tried, prepare=as_a_stranger(node, endpoint))

    def _hear_others(self, since: float) -> bool:
        """Whether our own network is well: somebody has been heard lately."""
        since -= limits.CACHE_EVIDENCE
        conversations = self._node.registry.all()
        return any(
            each.session.state is State.CONNECTED and each.session.last_received > since for each in conversations
        )

    # --- saving -------------------------------------------------------------------------------------------------------

    def _save_by(self, seconds: float) -> None:
        at = self._node.clock.now() + seconds
        if not self._trouble or self._save_at is None:
            self._save_at = at if self._save_at is None else min(at, self._save_at)

    def _see_to_saving(self) -> None:
        if self._cache.changed:
            self._save_by(limits.CACHE_SAVE_RETRY if self._trouble else limits.CACHE_SAVE_INTERVAL)
        if self._save_at is not None and self._node.clock.now() >= self._save_at:
            self._save(self._linked())

    def _save(self, linked: Iterable[PeerId]) -> None:
        cache, file = self._cache, self._file
        self._save_at = None
        if file is None:
            return
        wall = self._node.wall()

        def change(theirs: list[Entry] | None) -> Sequence[Entry]:
            if theirs is None:
                cache.begin()
            cache.merge(theirs or [], wall)
            cache.present(linked, wall)
            return cache.entries()

        try:
            file.update(change, wall)
        except OSError as error:
            self._complain("written", error)
            return
        cache.saved()
        if self._trouble:
            self._trouble = False
            self._node.log.info("the bootstrap cache %s is written again", file.path)

    def _complain(self, what: str, error: OSError) -> None:
        if not self._trouble and self._file is not None:
            self._node.log.warning(
                "the bootstrap cache %s cannot be %s: %s; going on without, and trying again from time to time",
                self._file.path,
                what,
                error.strerror or error,
            )
        self._trouble = True

    def _end(self, linked: Iterable[PeerId]) -> None:
        if self._cache.changed:
            self._save(linked)
        self._file = None


def as_a_stranger(node: Node, endpoint: Endpoint) -> Callable[[float], Dialling] | None:
    """What dials from a port that nobody knows, given its seconds; None: any dial does."""
    transport = node.transport_for(endpoint)
    if endpoint.transport != "utp" or transport is None:  # dials by TCP leave from fresh ports as a rule
        return None
    return lambda seconds: fresh_utp(transport, endpoint, seconds)
