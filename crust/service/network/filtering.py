"""
Whether strangers get in at an address where others see a listener: a peer that has never heard from that port tries.

The peer sends an echo (:mod:`crust.peers.echoes`) to our address from a fresh port. If it gets in, the router lets in
everybody, and the address is worth telling. A peer that the port has sent something to, be it a question of STUN or a
µTP packet, could only show that it lets in those.

No helper need be honest. That it has got in counts if we have seen it: by UDP its token has come, by TCP a connection
from somewhere that the port has sent nothing to, whatever its address (a helper may have several, and where a program
forwards a port all come from the router's). That it has not is not to be seen here, so others are asked, too, soon; and
where somebody has come before, it is believed when it has been heard twice.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Mapping

from ... import limits
from ...addresses import Endpoint, IPNetwork, address_key
from ...exceptions import CrustError, Timeout
from ...nat.stun.udp import UdpStun
from ...paths import Path
from ...peers.conversation import Conversation
from ...runtime.clock import Event
from ...wire.handshake import Capability
from ..node import Node

__all__ = ["Filtering", "is_near"]

_Place = tuple[Endpoint, Endpoint]  # a listener, as bound, and where others see it


class Filtering:
    """
    Thread-safe.

    Args:
        node: The node.
        udp: Hears the datagrams that get in.
        changed: Called when :meth:`open_places` has changed, on a thread of the node.
        tried: Called whenever an attempt is over, on a thread of the node.
    """

    def __init__(
        self, node: Node, udp: UdpStun, changed: Callable[[], object], tried: Callable[[], object] = lambda: None
    ) -> None:
        self._node = node
        self._now = node.clock.now
        self._udp = udp
        self._changed = changed
        self._tried = tried
        self._lock = threading.Lock()  # guards the fields below
        self._closed = False
        self._told: dict[tuple[Endpoint, str], float] = {}  # to whom a listener has sent, and until when that matters
        self._places: set[_Place] = set()
        # What came of attempts, and when to try again: also where nobody sees us any more, for as long as that holds.
        # What others see may go to and fro, and each time is no reason to try.
        self._open: dict[_Place, bool] = {}
        self._doubted: set[_Place] = set()  # open ones at which the last helper did not get in
        self._due: dict[_Place, float] = {}
        self._busy: dict[_Place, Conversation] = {}  # who tries
        self._coming: dict[Endpoint, Event] = {}  # by listener: set when a stranger has come
        # The addresses of helpers by whose help nobody has got in, and until when they are not asked again.
        self._failed: dict[_Place, dict[str | bytes, float]] = {}
        node.acceptor.came = self._came

    def open_places(self) -> dict[Endpoint, Endpoint]:
        """Where strangers reach listeners, by these as bound."""
        with self._lock:
            return self._open_places_locked()

    def _open_places_locked(self) -> dict[Endpoint, Endpoint]:
        return {local: seen for local, seen in self._places if self._open.get((local, seen))}

    def tried_places(self) -> dict[_Place, bool]:
        """By listener, as bound, and where others see it: whether a stranger who tried got in."""
        with self._lock:
            return {place: is_open for place, is_open in self._open.items() if place in self._places}

    def sends(self, local: Endpoint, host: str) -> None:
        """A listener sends something to that address: a filter may let it in from now on."""
        with self._lock:
            self._told.pop((local, host), None)
            self._told[local, host] = self._now() + limits.FILTER_MEMORY
            if len(self._told) > limits.FILTER_HOSTS_MAX:
                del self._told[next(iter(self._told))]

    def look(self, seen: Mapping[Endpoint, tuple[Endpoint, ...]]) -> None:
        """See whether there is something to try, given where others see each listener."""
        now = self._now()
        try:
            here = self._node.local_addresses(None, ())
        except OSError:  # the system does not tell at the moment: the next round tries again
            return
        near = [each.network for each in here]
        ours = {str(each.ip) for each in here}
        places = {(local, found[0]) for local, found in seen.items() if found and found[0].host not in ours}
        with self._lock:
            if self._closed:
                return
            before, self._places = self._open_places_locked(), places
            self._forget_locked(now)
            changed = self._open_places_locked() != before
            wanted = [place for place in places if self._due.get(place, now) <= now]
        for place in wanted:
            helper = self._helper(place, near, now)
            if helper is None or not self._node.echoes.may_ask(helper):
                continue
            with self._lock:
                if self._due.get(place, now) > now:
                    continue  # somebody else has begun
                self._due[place] = now + limits.FILTER_INTERVAL
                self._busy[place] = helper
            try:
                self._node.spawn("crust-filter", self._try, place, helper)
            except RuntimeError:
                with self._lock:
                    self._busy.pop(place, None)
                break  # no thread to be had
        if changed:
            self._changed()

    def _forget_locked(self, now: float) -> None:
        """Attempts that are too old about places that are none now, or too many."""
        gone = sorted((place for place in self._due if place not in self._places), key=lambda each: self._due[each])
        for number, place in enumerate(gone):
            if self._due[place] <= now or number < len(gone) - limits.FILTER_PLACES_MAX:
                del self._due[place]
                self._open.pop(place, None)
                self._doubted.discard(place)
                self._failed.pop(place, None)

    def awaits(self, local: Endpoint, seen: Endpoint | None) -> bool:
        """
        Whether an attempt about the listener is under way or about to begin: a peer that its port sends something to
        now would be no stranger any more.
        """
        if seen is None:
            return False
        now, place = self._now(), (local, seen)
        with self._lock:
            if place in self._busy:
                return True
            if self._closed or place in self._open or self._due.get(place, now) > now:
                return False
        try:
            here = self._node.local_addresses(None, ())
        except OSError:  # the system does not tell at the moment: nothing can be tried either
            return False
        if seen.host in {str(each.ip) for each in here}:
            return False
        return self._helper(place, [each.network for each in here], now) is not None

    def _helper(self, place: _Place, near: list[IPNetwork], now: float) -> Conversation | None:
        """A peer that can tell."""
        local, seen = place
        with self._lock:
            told = self._told_locked(local, now)
            failed = {where for where, until in self._failed.get(place, {}).items() if until > now}
        if len(failed) >= limits.FILTER_HELPERS:
            return None
        everybody = self._node.registry.all()
        for conversation in random.sample(everybody, min(limits.REFLEXIVE_LOOKED_AT, len(everybody))):
            path, link = conversation.path, conversation.link
            if path is None or link is None or not conversation.capabilities & Capability.ECHO:
                continue
            remote = link.connection.remote
            if link.circuit is not None or remote.family != seen.family or is_near(remote, near) or remote.host in told:
                continue
            if _has_heard(local, path) or address_key(remote.host) in failed:
                continue
            if link.observed is None or link.observed[0] == seen.host:  # else it would send to another address
                return conversation
        return None

    def _told_locked(self, local: Endpoint, now: float) -> set[str]:
        return {host for (listener, host), until in self._told.items() if listener == local and until > now}

    def _came(self, local: Endpoint, host: str) -> None:
        """Somebody has called that listener, who need not be anybody we know (its thread)."""
        if local not in self._coming:
            return
        with self._lock:
            coming = self._coming.get(local)
            if coming is not None and host not in self._told_locked(local, self._now()):
                coming.set()

    def _try(self, place: _Place, helper: Conversation) -> None:
        """The thread of one attempt."""
        try:
            self._try_now(place, helper)
        finally:
            with self._lock:
                self._busy.pop(place, None)
            self._tried()

    def _try_now(self, place: _Place, helper: Conversation) -> None:
        local, seen = place
        link = helper.link
        where = "" if link is None else address_key(link.connection.remote.host)
        try:
            is_open = self._arrives(local, seen, helper)
        except (CrustError, ValueError) as error:  # ValueError: a port that nobody may try
            self._node.log.debug("cannot see whether strangers reach %s: %s", seen, error)
            if isinstance(error, CrustError):
                self._ask_another(place, where)
            return
        if not is_open:
            self._ask_another(place, where)
        with self._lock:
            if self._closed or place not in self._due:
                return
            before = self._open_places_locked()
            if is_open or place in self._doubted or not self._open.get(place):
                self._doubted.discard(place)
                self._open[place] = is_open
            else:
                self._doubted.add(place)
            changed = self._open_places_locked() != before
        self._node.log.debug("strangers %s %s", "reach" if is_open else "do not reach", seen)
        if changed:
            self._changed()

    def _ask_another(self, place: _Place, where: str | bytes) -> None:
        """Nobody got in by the help of who is at that address: it may have done nothing for that."""
        now = self._now()
        with self._lock:
            if place not in self._due:
                return
            known = self._failed.get(place, {})
            self._failed[place] = {each: until for each, until in known.items() if until > now}
            self._failed[place][where] = now + limits.FILTER_INTERVAL
            self._due[place] = min(self._due[place], now + limits.FILTER_AGAIN)

    def _arrives(self, local: Endpoint, seen: Endpoint, helper: Conversation) -> bool:
        came = self._node.clock.event()
        if local.transport == "tcp":
            return self._is_called(local, seen, helper, came)
        token = os.urandom(limits.ECHO_TOKEN_SIZE)
        self._udp.expect(token, came.set)
        try:
            helper.peer.echo("udp", seen.port, token)
            return came.wait(limits.ECHO_GRACE)
        finally:
            self._udp.expect(token, None)

    def _is_called(self, local: Endpoint, seen: Endpoint, helper: Conversation, came: Event) -> bool:
        with self._lock:
            self._coming[local] = came
        try:
            if helper.peer.echo("tcp", seen.port).outcome != "connected":
                return False
            if not came.wait(limits.ECHO_GRACE):
                raise Timeout(f"peer {helper.peer_id} says that it has got in, and nobody has")
            return True
        finally:
            with self._lock:
                if self._coming.get(local) is came:
                    del self._coming[local]

    def close(self) -> None:
        """Try no more. Never blocks; idempotent. What is under way ends with the peers' sessions."""
        with self._lock:
            self._closed = True

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True


def _has_heard(local: Endpoint, path: Path) -> bool:
    """Whether a peer that we have that path to has had a packet from the listener's port."""
    if local.transport == "tcp":
        if path.transport != "tcp":
            return False
        return path.inbound or Endpoint.parse(path.local).port == local.port  # most dials leave from ports of their own
    tried = (attempt.endpoint.partition("://")[0] for attempt in path.attempts)
    return "utp" in (path.transport, *tried)


def is_near(endpoint: Endpoint, networks: list[IPNetwork]) -> bool:
    """Whether nothing that translates addresses can be on the way there."""
    ip = endpoint.ip
    return ip is None or ip.is_loopback or ip.is_link_local or any(ip in each for each in networks)
