"""
The record layer: what flows after the handshake (docs/wire-format.md, "Records").

Each direction has its own keys, derived from its handshake key ``k`` and the handshake hash ``h``. ``H(key, data)`` is
keyed BLAKE2b-256, and ``aead`` one byte, the number of the AEAD chosen::

    record key  = H(k, "crust/1 record" || aead || h)
    length key  = H(k, "crust/1 length" || h)
    export key  = H(k, "crust/1 export" || h)

Records are numbered from 0 in each direction. Record ``j`` is::

    length ^ mask[j]   2 bytes, big-endian; length counts the ciphertext with its tag
    ciphertext         AEAD(record key, nonce = j, associated data = the two bytes before it as sent)

The nonce is ``j`` as a big-endian integer as wide as the AEAD's nonce. The masks are big-endian 16-bit numbers, drawn
256 at a time: ``mask[256 * i] … mask[256 * i + 255] = SHAKE128(length key || i as 8 bytes).digest(512)``. (A block is
small, so that an idle link keeps 512 bytes a direction, and still costs only 6 nanoseconds a record.)

After a KeyUpdate frame the sender's next record uses ``H(record key, "crust/1 rekey")``. Numbers, nonces and masks go
on. The plaintext is 1 to 65,280 bytes, so a length is ``tag + 1`` to ``tag + 65,280``; any other closes the link,
before the record's body is waited for.

No randomness, no clock: ``now`` is an argument. Neither class is thread-safe: one caller at a time.
"""

from __future__ import annotations

import array
import hashlib
import os
import sys
from collections.abc import Iterator

from .. import limits
from ..exceptions import ForkedError, LocalProtocolError, MalformedMessage
from .keys import CIPHERS, hash32

__all__ = ["RECORD_MAX", "RecordOpener", "RecordSealer", "export_key"]

HEADER_SIZE = 2
RECORD_MAX = HEADER_SIZE + limits.RECORD_PLAINTEXT_MAX + max(cipher.tag_size for cipher in CIPHERS.values())
"""Bytes of the longest record."""
_MASKS = limits.MASKS_PER_DRAW
_AT_HAND = 64  # of these kept: each direction of each idle link keeps so many (a part of _MASKS)
_PLAINTEXT_MAX = limits.RECORD_PLAINTEXT_MAX

# The process that this module's state belongs to. Comparing with it costs 10 ns, a getpid() up to 200.
_process = os.getpid()


def _note_fork() -> None:
    global _process
    _process = os.getpid()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_note_fork)


def export_key(key: bytes, handshake_hash: bytes) -> bytes:
    """32 bytes from which keys for uses outside the records are derived, one for each direction's handshake key."""
    return hash32(b"crust/1 export" + handshake_hash, key=key)


def _draw_masks(length_key: bytes, number: int) -> array.array[int]:
    """The masks from record ``number`` on, a multiple of ``_AT_HAND``; those of its draw before it are drawn again."""
    block, first = divmod(number, _MASKS)
    drawn = hashlib.shake_128(length_key + block.to_bytes(8, "big")).digest(2 * (first + _AT_HAND))
    masks = array.array("H", drawn[2 * first :])
    if sys.byteorder == "little":
        masks.byteswap()
    return masks


class _Direction:
    """What sealing and opening have in common: keys, masks and the record number."""

    __slots__ = ("_key", "_length_key", "_masks", "_nonce_size", "_number", "_rekeyed_at", "_tag_size")

    def __init__(self, key: bytes, handshake_hash: bytes, aead: int) -> None:
        cipher = CIPHERS[aead]
        self._key = hash32(b"crust/1 record" + bytes((aead,)) + handshake_hash, key=key)
        self._length_key = hash32(b"crust/1 length" + handshake_hash, key=key)
        self._nonce_size = cipher.nonce_size
        self._tag_size = cipher.tag_size
        self._number = 0
        self._rekeyed_at = 0  # number of the first record under the present key
        self._masks = array.array("H")

    def update_key(self) -> None:
        """Use the next key from the next record on; the present one is forgotten."""
        self._key = hash32(b"crust/1 rekey", key=self._key)
        self._rekeyed_at = self._number

    def forget(self) -> None:
        """Drop the keys. Every later call raises LocalProtocolError."""
        self._key = b""
        self._length_key = b""


class RecordSealer(_Direction):
    """
    Makes the records of one direction of one link.

    Args:
        key: ``HandshakeResult.send_key``, 32 bytes.
        handshake_hash: ``HandshakeResult.hash``.
        aead: ``HandshakeResult.aead``.
        pid: The process that may seal; by default this one.
    """

    __slots__ = ("_key_since", "_pid", "_seal", "_seal_into")

    def __init__(self, key: bytes, handshake_hash: bytes, aead: int, pid: int | None = None) -> None:
        super().__init__(key, handshake_hash, aead)
        self._seal = CIPHERS[aead].seal
        self._seal_into = CIPHERS[aead].seal_into
        self._pid = _process if pid is None else pid
        self._key_since: float | None = None

    def seal(self, plaintext: bytes) -> bytes:
        """
        The whole record for 1 to 65,280 bytes of plaintext.

        An exception that strikes from outside (KeyboardInterrupt, gevent.Timeout) may lose the record's number, never
        use it twice: the link must be dropped then.

        Raises:
            ForkedError: This process inherited the link from its parent, which goes on using the same nonces.
            LocalProtocolError: The plaintext is empty or too long, or the keys have been forgotten.
        """
        nonce, header = self._next_record(len(plaintext))
        return header + self._seal(self._key, nonce, header, plaintext)

    def seal_into(self, plaintext: bytes, target: bytearray, at: int = 0) -> int:
        """
        Like :meth:`seal`, the record going into ``target`` from ``at`` on; :data:`RECORD_MAX` bytes are always enough.

        Returns:
            The size of the record.

        Raises:
            ValueError: The target is too small; the link must be dropped.
        """
        nonce, header = self._next_record(len(plaintext))
        body = at + HEADER_SIZE
        target[at:body] = header
        self._seal_into(self._key, nonce, header, plaintext, target, body)
        return HEADER_SIZE + len(plaintext) + self._tag_size

    def _next_record(self, size: int) -> tuple[bytes, bytes]:
        """Nonce and header of the next record."""
        if self._pid != _process:
            raise ForkedError(
                f"this link belongs to process {self._pid}, and this is process {_process}, forked from it: "
                "make a node of its own after the fork"
            )
        if not 0 < size <= _PLAINTEXT_MAX or not self._key:
            raise self._misuse(size)
        number = self._number
        slot = number % _AT_HAND
        if slot == 0:
            self._masks = _draw_masks(self._length_key, number)
        header = ((size + self._tag_size) ^ self._masks[slot]).to_bytes(HEADER_SIZE, "big")
        self._number = number + 1  # before it is used: an interrupt must not make it be used again
        return number.to_bytes(self._nonce_size, "big"), header

    def needs_update(self, now: float, records: int = 1) -> bool:
        """
        True if a KeyUpdate is due: 2^20 records or 15 minutes under one key.

        Ask before every record, or before several. The first question under a key starts its 15 minutes.

        Args:
            now: Seconds on the caller's monotonic clock.
            records: How many are to be sealed before the next question.
        """
        if self._key_since is None:
            self._key_since = now
        # One record less, because the KeyUpdate itself still goes out under the old key.
        return (
            self._number - self._rekeyed_at + records >= limits.REKEY_RECORDS
            or now - self._key_since >= limits.REKEY_SECONDS
        )

    def update_key(self) -> None:
        """Call right after sealing the record that ends with the KeyUpdate frame."""
        super().update_key()
        self._key_since = None

    def _misuse(self, size: int) -> LocalProtocolError:
        if not self._key:
            return LocalProtocolError("the keys of this link have been forgotten: it is closed")
        return LocalProtocolError(f"a record holds 1 to {_PLAINTEXT_MAX} bytes, not {size}")


class RecordOpener(_Direction):
    """
    Takes apart the records of one direction of one link.

    Args:
        key: ``HandshakeResult.receive_key``, 32 bytes.
        handshake_hash: ``HandshakeResult.hash``.
        aead: ``HandshakeResult.aead``.
    """

    __slots__ = ("_open", "_open_into", "_partial", "_wanted", "taken")

    def __init__(self, key: bytes, handshake_hash: bytes, aead: int) -> None:
        super().__init__(key, handshake_hash, aead)
        self._open = CIPHERS[aead].open
        self._open_into = CIPHERS[aead].open_into
        self._partial = bytearray()  # the beginning of a record whose end has not arrived
        self._wanted = 0  # size of that record with its header, once the header is complete
        self.taken = 0
        """Bytes of what was received last, up to the end of the record that was yielded."""

    def receive(
        self, data: bytes | bytearray | memoryview, scratch: bytearray | None = None
    ) -> Iterator[bytes | memoryview]:
        """
        Plaintexts of the records that ``data`` completes, one at a time and lazily, so that ``update_key`` between two
        of them takes effect. Iterate to the end before ``data`` is overwritten, or drop the link: an iteration given up
        half-way (by an interrupt, say) has lost records, unless what is behind :attr:`taken` is received once more.
        ``forget`` in between ends it.

        Args:
            data: What has come.
            scratch: Where plaintexts are put, :data:`RECORD_MAX` bytes: each is a view of it then, good until the next
                one is asked for. Without it they are bytes of their own.

        Raises:
            MalformedMessage: A length or a tag is wrong. The link is over; every later call raises LocalProtocolError.
        """
        if not self._key:
            raise LocalProtocolError("this link has failed or is closed: it receives nothing more")
        view = memoryview(data)
        end = len(view)
        position = 0
        if self._partial:
            position = self._complete(view)
            if len(self._partial) != self._wanted:
                return
            record, self._partial, self._wanted = self._partial, bytearray(), 0
            self.taken = position
            yield self._open_record(bytes(record[:HEADER_SIZE]), memoryview(record)[HEADER_SIZE:], scratch)
        while end - position >= HEADER_SIZE and self._key:
            header = bytes(view[position : position + HEADER_SIZE])
            stop = position + HEADER_SIZE + self._length(header)
            if stop > end:
                self._wanted = stop - position
                break
            body = view[position + HEADER_SIZE : stop]
            self.taken = position = stop
            yield self._open_record(header, body, scratch)
        if position < end:
            self._partial += view[position:]

    def _complete(self, view: memoryview) -> int:
        """Move what the partial record lacks out of ``view``; returns how many bytes were taken."""
        partial = self._partial
        position = 0
        if not self._wanted:
            position = max(HEADER_SIZE - len(partial), 0)
            partial += view[:position]
            if len(partial) < HEADER_SIZE:
                return position
            self._wanted = HEADER_SIZE + self._length(bytes(partial))
        stop = position + self._wanted - len(partial)
        partial += view[position:stop]
        return stop

    def _length(self, header: bytes) -> int:
        """Unmask and check a record's length. Asking twice for the same record is harmless."""
        slot = self._number % _AT_HAND
        if slot == 0:
            self._masks = _draw_masks(self._length_key, self._number)
        length = (header[0] << 8 | header[1]) ^ self._masks[slot]
        if not self._tag_size < length <= self._tag_size + _PLAINTEXT_MAX:
            self.forget()
            raise MalformedMessage(
                "a record's length is out of bounds: it was changed on the way, or the keys differ"
            )
        return length

    def _open_record(self, header: bytes, ciphertext: memoryview, scratch: bytearray | None) -> bytes | memoryview:
        number = self._number
        self._number = number + 1
        nonce = number.to_bytes(self._nonce_size, "big")
        try:
            if scratch is None:
                return self._open(self._key, nonce, header, ciphertext)
            self._open_into(self._key, nonce, header, ciphertext, scratch)
        except MalformedMessage:
            self.forget()
            raise
        return memoryview(scratch)[: len(ciphertext) - self._tag_size]
