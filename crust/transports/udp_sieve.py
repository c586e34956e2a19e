"""
A sieve in the kernel for a UDP socket that strangers flood: what is for nobody here is thrown away before it is queued,
so that it costs the node nothing and takes no room from what its peers send.

Theory of operation: the hub tells of each datagram that no connection claimed (:meth:`Sieve.met`), apart for those that
look like µTP and all others. While more come in a second than :data:`crust.limits.SIEVE_FROM`, a classic BPF program
(Linux, ``SO_ATTACH_FILTER``, `Documentation/networking/filter.rst` there) stands before the socket. It lets through
what comes from the address, and to the id, of a connection of ours; of the rest a random share, so that new peers and
old attempts still get through: about ``SIEVE_PASS`` a second of either kind. It is taken away when the strangers have
gone, and have not come in pulses. Spoofed sources make no difference: no source is held against anybody.

A machine that is slow, or has other things to do, is behind before so many come: what connections get then lies in the
socket's buffer behind thousands of strangers' datagrams, for seconds. So while more than ``SIEVE_BEHIND`` waits there,
half as many strangers get through with each look, however few they are. So it is in the first moments of a flood, too:
before as many have been met as make one, 22,000 wait, which is all that there is room for. Therefore what waits is
looked at as soon as strangers come: it is strangers' as far as what has been read since the last look was, since a busy
connection may have megabytes there. Of those that were queued before there was a sieve the node hears as small a share
(:meth:`Sieve.lets_in`), though it counts them all.

Callers who have yet to show that they are there are among the connections, the latest of them, as far as there is room:
they come and go as anybody likes. Where the system has no such filters, or a socket has more than ``SIEVE_MEMBERS``
connections without those (or fewer, where the kernel lends sockets little memory: ``net.core.optmem_max``), there is no
sieve.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence

from .. import limits

__all__ = ["Sieve", "attach", "looks_like_utp", "program", "waiting"]

_SO_ATTACH_FILTER = 26  # Linux' asm-generic/socket.h, which the socket module does not name
_SO_DETACH_FILTER = 27
_SO_MEMINFO = 55  # u32s of Linux' linux/sock_diag.h, of which the first is what waits to be read
_MEMINFO_SIZE = 36

# Classic BPF, Linux' linux/bpf_common.h and linux/filter.h.
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | size | BPF_ABS
_AND, _OR_X, _SHIFT_LEFT = 0x54, 0x4C, 0x64
_TO_X = 0x07
_JUMP, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL = 0x05, 0x15, 0x35
_RETURN = 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: a random word
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF
_ALL = 0xFFFFFFFF
_PASS = (_RETURN, 0, 0, 0x40000)
_DROP = (_RETURN, 0, 0, 0)
_AWAY = (_JUMP, 0, 0, _ALL)  # to what becomes of strangers: the distance is put in when all is there

_SOURCE = {4: _NETWORK_HEADER + 12, 6: _NETWORK_HEADER + 20}  # the last word of the source address: RFC 791, RFC 8200
# The datagram begins with UDP's header, RFC 768; µTP's has its version, type and connection id first, BEP 29.
_SOURCE_PORT = 0
_TYPE = 8
_CONNECTION_ID = 10
_TYPES = 5 << 4  # µTP's are less
_LEAF = 4  # members compared one by one
_SHARING = 64  # of one port and id, at as many addresses: a jump reaches so far

Origin = tuple[str, int, int]
"""IP address and port that a connection's datagrams come from, and the id that it receives on."""
_Step = tuple[int, int, int, int]
_SOON = 0.01  # seconds in which it is seen how many come
_FINEST_BEHIND = 1 / 64  # the least share for being behind alone: of so few it still shows how many come
_CAUTION = 1.25  # how many more get through with each look after that
_FINEST = 1e-4  # the least share: what is not a stranger's may be taken for one, and would make it less and less


def program(members: Sequence[Origin], utp_share: float, other_share: float) -> bytes:
    """
    The program, as ``struct sock_filter`` in a row.

    Args:
        members: The connections of the socket, all of one family.
        utp_share: Of what looks like µTP and is no member's, from 0 to 1.
        other_share: Of what does not.
    """
    keys = _keys(members)
    family = 6 if any(":" in host for host, _, _ in members) else 4
    search = [
        (_LOAD_HALF, 0, 0, _SOURCE_PORT),
        (_SHIFT_LEFT, 0, 0, 16),
        (_TO_X, 0, 0, 0),
        (_LOAD_HALF, 0, 0, _CONNECTION_ID),  # a datagram too short for that is dropped
        (_OR_X, 0, 0, 0),
        *_search(sorted(keys.items()), _SOURCE[family]),
    ]
    for index, step in enumerate(search):
        if step == _AWAY:
            search[index] = (_JUMP, 0, 0, len(search) - index - 1)
    strangers = [*search, *_some(utp_share)]
    code = [
        (_LOAD_BYTE, 0, 0, _TYPE),
        (_JUMP_GREATER_OR_EQUAL, 2, 0, _TYPES),
        (_AND, 0, 0, 0x0F),  # its version, which is 1
        (_JUMP_EQUAL, 1, 0, 1),
        (_JUMP, 0, 0, len(strangers)),
        *strangers,
        *_some(other_share),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in code)


def looks_like_utp(data: bytes | memoryview) -> bool:
    """
    What :func:`program` takes for µTP: by type and version alone, whatever follows. Who counts strangers by another
    rule has one kind held back for what the other sends, which goes on unhindered.
    """
    return len(data) > 0 and data[0] < _TYPES and data[0] & 0x0F == 1


def _keys(members: Iterable[Origin]) -> dict[int, set[int]]:
    """Port and id as the program has them in one word, and the last words of the addresses that go with them."""
    keys: dict[int, set[int]] = {}
    for host, port, receive_id in members:
        address = int(ipaddress.ip_address(host.partition("%")[0]))
        keys.setdefault(port << 16 | receive_id, set()).add(address & _ALL)
    return keys


def _search(keys: list[tuple[int, set[int]]], source: int) -> list[_Step]:
    """Return for those, go on for others."""
    if len(keys) > _LEAF:
        middle = len(keys) // 2
        low, high = _search(keys[:middle], source), _search(keys[middle:], source)
        return [(_JUMP_GREATER_OR_EQUAL, 0, 1, keys[middle][0]), (_JUMP, 0, 0, len(low)), *low, *high]
    code: list[_Step] = []
    for key, words in keys:
        there = [(_LOAD_WORD, 0, 0, source)]
        for word in sorted(words)[:_SHARING]:
            there += [(_JUMP_EQUAL, 0, 1, word), _PASS]
        there.append(_AWAY)
        code += [(_JUMP_EQUAL, 0, len(there), key), *there]
    return [*code, _AWAY]


def _some(share: float) -> list[_Step]:
    if share >= 1.0:
        return [_PASS]
    return [(_LOAD_WORD, 0, 0, _RANDOM), (_JUMP_GREATER_OR_EQUAL, 1, 0, int(share * _ALL)), _PASS, _DROP]


def attach(sock: socket.socket, code: bytes | None) -> bool:
    """Put the program before the socket, in place of another one, or take that away (None); False: it cannot be."""
    try:
        if code is None:
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        else:
            kept = ctypes.create_string_buffer(code, len(code))
            sock.setsockopt(
                socket.SOL_SOCKET,
                _SO_ATTACH_FILTER,
                struct.pack("@HP", len(code) // 8, ctypes.addressof(kept)),
            )
    except OSError:
        return False
    return True


def waiting(sock: socket.socket) -> int:
    """Bytes of the kernel's memory that what waits to be read takes; 0 if the system does not tell."""
    if sys.platform != "linux":  # the number means something else elsewhere
        return 0
    try:
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO_SIZE)
    except OSError:
        return 0
    return int.from_bytes(told[:4], sys.byteorder)


class Sieve:
    """
    Decides when a socket gets a sieve, and how fine. Not thread-safe.

    Args:
        attach: Puts a program before the socket, or takes it away (None); False: the system has no such thing.
        members: The connections of the socket, and the callers who have yet to show that they are there, if all are no
            more than so many; else fewer of those.
        waiting: How much waits to be read; see :func:`waiting`.
    """

    def __init__(
        self,
        attach: Callable[[bytes | None], bool],
        members: Callable[[int], list[Origin]],
        waiting: Callable[[], int],
    ) -> None:
        self.shares = [1.0, 1.0]
        """Of strangers' datagrams that get through: of what looks like µTP, and of others."""
        self.heard = 0
        """The reader's: what all that has been read took of the kernel's memory while it waited, about."""
        self._heard_before = 0  # the last look
        self._attach = attach
        self._members = members
        self._waiting = waiting
        self._met = [0.0, 0.0]
        self._above = [0.0, 0.0]  # how many of either kind came beyond those for which there would be no sieve
        self._since = 0.0
        self._queued = 0.0  # how many wait, at most, that came before the sieve
        self._queued_since = 0.0
        self._owed = 0.0  # how many of these are to be heard
        self._waited = 0  # how much waited to be read at the last look
        self._most = limits.SIEVE_MEMBERS  # that the system has taken a program for, or may take
        self._attached = False
        self._set_at = 0.0
        self._known = 0  # members that the program has
        self._stale = False  # there are members that the program does not know
        self._slow = False  # it has been behind since there is a sieve
        self._finer = False  # it has become finer at the last look

    @property
    def closed(self) -> bool:
        """True while it holds anything back."""
        return self._attached

    def met(self, like_utp: bool, now: float, count: float = 1) -> bool:
        """Strangers' datagrams came through (to one thread). True if it is time for a :meth:`look`."""
        kind = not like_utp
        self._met[kind] += count if self._queued < 1.0 else count * self.shares[kind]  # it has passed no sieve
        return self.is_due(now)

    def lets_in(self) -> bool:
        """
        Whether a stranger's packet of µTP that has come is to be heard. Of those that were queued before the kernel
        had the program as many are as it lets through: to hear a buffer full of them takes seconds.
        """
        if self._queued < 1.0:
            return True
        self._queued -= 1.0
        self._owed += self.shares[0]
        if self._owed >= 1.0:
            self._owed -= 1.0
            return True
        return False

    def is_due(self, now: float) -> bool:
        """
        Whether it is time for a :meth:`look`. A sudden flood is not waited for, else one that comes in pulses would
        have most of each let in; still less if it leaves a busy node behind from the first moment on.
        """
        seconds = now - self._since
        if self._attached or not _SOON <= seconds < limits.SIEVE_PERIOD:
            return seconds >= limits.SIEVE_PERIOD
        met = sum(self._met)
        if met >= limits.SIEVE_SUDDEN:
            return True
        many = met >= limits.SIEVE_SUDDEN_FROM * max(seconds, 2 * _SOON)
        return many and met + self._strangers(met, self._waiting() - self._waited) >= limits.SIEVE_SUDDEN_WAITING

    def _strangers(self, met: float, waits: float) -> float:
        """How many are among what waits, if they are as great a part of it as of what has been read since the last
        look, of which ``met`` were."""
        heard = max(self.heard - self._heard_before, met * limits.SIEVE_DATAGRAM, 1.0)
        return met * max(0.0, waits) / heard

    def look(self, now: float) -> int:
        """
        To be called every :data:`crust.limits.SIEVE_PERIOD` seconds while :attr:`closed`.

        Returns:
            About how many datagrams have been thrown away since the last look.
        """
        seconds = now - self._since
        if not self.is_due(now):
            return 0
        met, self._met, self._since = self._met, [0.0, 0.0], now
        waits, waited = self._waiting(), self._waited
        queued, fresh = (self._strangers(sum(met), size) for size in (waits, waits - waited))
        self._heard_before = self.heard
        quiet = seconds > 2 * limits.SIEVE_PERIOD
        self._waited = 0 if quiet else waits  # what waits now has come since then
        behind = waits > limits.SIEVE_BEHIND
        sudden = behind and not self._attached and sum(met) >= limits.SIEVE_SUDDEN_FROM * seconds
        if not behind or now >= self._queued_since + limits.SIEVE_LINGERS:
            self._queued = 0.0
        if sudden:  # what waits comes, too, and most of it will be what most are that have been met
            met[met[1] > met[0]] += fresh
        # Of those that wait, most may have been queued before.
        for index, share in enumerate(self.shares):
            self._count_above(index, met[index] / (1.0 if behind else share), seconds)
        if self._finer:  # most of these were queued before: each would count for as many as are held back from now on
            self._finer = False
            if self._stale:
                self._set(now)
            return 0
        held = 0.0 if behind else sum(count / share - count for count, share in zip(met, self.shares, strict=True))
        if quiet and not self._attached and not behind:
            return 0  # few have come since the last look, or it is the first one
        self._slow = (behind and not sudden) or (self._slow and self._attached)
        shares = [
            _share(count / seconds, share, behind, self._slow, above > 0.0)
            for count, share, above in zip(met, self.shares, self._above, strict=True)
        ]
        if shares != self.shares or self._stale:
            finer = any(share < before for share, before in zip(shares, self.shares, strict=True))
            self.shares = shares
            self._set(now)
            self._finer = finer and self._attached
            if self._finer and behind:
                self._queued, self._queued_since = queued, now
        return round(held)

    def _count_above(self, kind: int, came: float, seconds: float) -> None:
        """What came beyond that for which there is no sieve is remembered until as much less has come: else a flood in
        pulses fills the socket's buffer with each before it is noticed."""
        most = limits.SIEVE_FROM * limits.SIEVE_LINGERS
        self._above[kind] = max(0.0, min(most, self._above[kind] + came - limits.SIEVE_FROM * seconds))

    def changed(self, now: float) -> float:
        """There are more members. Seconds until they count: call again then, once for all; 0.0: they do already."""
        if not self._attached:
            return 0.0
        self._stale = True
        left = self._set_at + limits.SIEVE_CHANGE * (1 + self._known // limits.SIEVE_CHANGE_MEMBERS) - now
        if left > 1e-6:
            return left
        self._set(now)
        return 0.0

    def _set(self, now: float) -> None:
        self._stale, self._set_at = False, now
        members = self._members(self._most)
        self._known = len(members)
        while min(self.shares) < 1.0 and len(members) <= self._most:
            if self._attach(program(members, *self.shares)):
                self._attached, self._known = True, len(members)
                return
            self._most = len(members) - 1  # it has no filters, or none of that length
            members = self._members(self._most // 2)  # fewer callers
        self.shares = [1.0, 1.0]
        if self._attached:
            self._attached = False
            self._attach(None)


def _share(rate: float, share: float, behind: bool, slow: bool, lingers: bool) -> float:
    """
    Of the strangers, if so many a second came through a sieve for that share of them.

    Args:
        behind: More waits than the node gets to.
        slow: It was so a while ago: it may be able to deal with fewer than others.
        lingers: On the average of a while many have come.
    """
    coming = rate / share
    wanted = share if lingers else 1.0
    if coming > (limits.SIEVE_FROM if share >= 1.0 else limits.SIEVE_UNTIL):
        wanted = max(limits.SIEVE_PASS / coming, _FINEST)
        if share / 2 < wanted < share * 2:
            wanted = share
    if coming < limits.SIEVE_BEHIND_FROM:
        return share if behind else wanted  # it is not for them that it is behind
    if behind:
        return max(min(share / 2, wanted), min(share, _FINEST_BEHIND))
    return min(wanted, share * _CAUTION) if slow else wanted
