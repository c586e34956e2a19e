"""Records: what is sealed opens, once, in order, whole, with the right keys; nothing else does."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.crypto import records
from crust.crypto.keys import AEGIS_256, CHACHA20_POLY1305, CIPHERS, Cipher, hash32
from crust.crypto.records import RecordOpener, RecordSealer, export_key
from crust.exceptions import ForkedError, LocalProtocolError, MalformedMessage

KEY, HASH = bytes(range(32)), bytes(range(64))
BIGGEST = limits.RECORD_PLAINTEXT_MAX

both_ciphers = pytest.mark.parametrize("cipher", CIPHERS.values(), ids=lambda cipher: cipher.name)


def pair(
    cipher: Cipher = AEGIS_256, key: bytes = KEY, handshake_hash: bytes = HASH
) -> tuple[RecordSealer, RecordOpener]:
    return RecordSealer(key, handshake_hash, cipher.aead), RecordOpener(key, handshake_hash, cipher.aead)


def feed(opener: RecordOpener, parts: Iterable[bytes]) -> list[bytes]:
    return [plaintext for part in parts for plaintext in opener.receive(part)]


def pieces(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """``data`` cut into pieces of these sizes, and the rest."""
    result, position = [], 0
    for size in sizes:
        result.append(data[position : position + size])
        position += size
    return [*result, data[position:]]


@both_ciphers
@given(
    plaintexts=st.lists(st.binary(min_size=1, max_size=200), max_size=8),
    sizes=st.lists(st.integers(0, 120), max_size=20),
)
def test_what_is_sealed_opens_however_it_is_cut(
    cipher: Cipher, plaintexts: list[bytes], sizes: list[int]
) -> None:
    """Any records, in pieces of any sizes, come out as they went in."""
    sealer, opener = pair(cipher)
    stream = b"".join(map(sealer.seal, plaintexts))
    assert feed(opener, pieces(stream, sizes)) == plaintexts


@both_ciphers
def test_byte_at_a_time_across_many_mask_blocks(cipher: Cipher) -> None:
    """Several draws of masks, fed byte by byte."""
    sealer, opener = pair(cipher)
    plaintexts = [b"%d" % number for number in range(2 * limits.MASKS_PER_DRAW + 3)]
    stream = b"".join(map(sealer.seal, plaintexts))
    assert feed(opener, (stream[at : at + 1] for at in range(len(stream)))) == plaintexts


@both_ciphers
def test_the_shortest_and_the_longest_record(cipher: Cipher) -> None:
    """1 and 65,280 bytes pass, 0 and 65,281 are refused before a number is used."""
    sealer, opener = pair(cipher)
    for size in (0, BIGGEST + 1):
        with pytest.raises(LocalProtocolError):
            sealer.seal(bytes(size))
    stream = sealer.seal(b"x") + sealer.seal(bytes(BIGGEST))
    assert feed(opener, [stream]) == [b"x", bytes(BIGGEST)]
    sealer, opener = pair(cipher)
    assert feed(opener, [sealer.seal(bytes(BIGGEST))[:9], b""]) == []


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken_and_results_are_bytes(form: type) -> None:
    """What comes out does not change when the reader's buffer is used again."""
    sealer, opener = pair()
    source = bytearray(sealer.seal(b"text") + sealer.seal(b"more")[:5])
    if form is memoryview:
        plaintexts = list(opener.receive(memoryview(source)))
        source[:] = bytes(len(source))
    else:
        plaintexts = list(opener.receive(form(source)))
    assert plaintexts == [b"text"] and type(plaintexts[0]) is bytes


@both_ciphers
def test_the_layout_is_the_documented_one(cipher: Cipher) -> None:
    """Keys, masks, nonces and rekeying as docs/wire-format.md says, computed here in another way."""
    sealer, _ = pair(cipher)
    record_key = hash32(b"crust/1 record" + bytes([cipher.aead]) + HASH, key=KEY)
    length_key = hash32(b"crust/1 length" + HASH, key=KEY)
    for number in range(600):
        if number == 300:
            sealer.update_key()
            record_key = hash32(b"crust/1 rekey", key=record_key)
        plaintext = b"number %d" % number
        block = hashlib.shake_128(length_key + (number // 256).to_bytes(8, "big")).digest(512)
        at = 2 * (number % 256)
        length = len(plaintext) + cipher.tag_size
        header = bytes((block[at] ^ length >> 8, block[at + 1] ^ length & 0xFF))
        nonce = bytes(cipher.nonce_size - 8) + number.to_bytes(8, "big")
        assert sealer.seal(plaintext) == header + cipher.seal(record_key, nonce, header, plaintext)
    assert export_key(KEY, HASH) == hash32(b"crust/1 export" + HASH, key=KEY)


def test_masks_do_not_depend_on_the_machines_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other byte order gives the swapped numbers from the same draw, so swapping is tied to ``sys.byteorder``."""
    here = records._draw_masks(KEY, 0)
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    there = records._draw_masks(KEY, 0)
    there.byteswap()
    assert here == there


@both_ciphers
def test_every_changed_byte_is_noticed(cipher: Cipher) -> None:
    """Each byte of a record, header and tag included: MalformedMessage at the latest when the record is whole."""
    record = pair(cipher)[0].seal(b"plaintext")
    for at in range(len(record)):
        for bit in (1, 0x80):
            _, opener = pair(cipher)
            changed = bytearray(record)
            changed[at] ^= bit
            with pytest.raises(MalformedMessage):
                feed(opener, [bytes(changed) + bytes(70_000)])
            with pytest.raises(LocalProtocolError):
                feed(opener, [record])


@both_ciphers
@pytest.mark.parametrize("order", [(1,), (0, 0), (0, 2), (1, 0), (0, 1, 1)], ids=str)
def test_records_lost_repeated_or_swapped_are_noticed(cipher: Cipher, order: tuple[int, ...]) -> None:
    """Only 0, 1, 2, … opens; what came before the fault is still delivered."""
    sealer, opener = pair(cipher)
    sealed = [sealer.seal(b"record %d" % number * 9) for number in range(3)]
    got: list[bytes] = []
    with pytest.raises(MalformedMessage):
        for number in order:
            got += opener.receive(sealed[number])
        got += opener.receive(bytes(70_000))  # a wrong length may first wait for its bytes
    assert len(got) <= len(order) - 1
    assert got == [b"record %d" % number * 9 for number in range(len(got))]


def test_a_record_does_not_open_in_another_records_place() -> None:
    """Header of one, body of another: spliced records are noticed even if the lengths fit."""
    sealer, opener = pair()
    first, second = sealer.seal(b"aaaa"), sealer.seal(b"bbbb")
    with pytest.raises(MalformedMessage):
        feed(opener, [first[:2] + second[2:]])


@pytest.mark.parametrize(
    "other",
    [
        pair(key=bytes(32))[1],
        pair(handshake_hash=bytes(64))[1],
        RecordOpener(KEY, HASH, CHACHA20_POLY1305.aead),
    ],
    ids=["key", "hash", "aead"],
)
def test_other_keys_do_not_open(other: RecordOpener) -> None:
    """Handshake key, handshake hash and AEAD each go into the keys."""
    record = pair()[0].seal(bytes(1000))
    with pytest.raises(MalformedMessage):
        feed(other, [record + bytes(70_000)])


@both_ciphers
@pytest.mark.parametrize("outside", ["below", "above"])
def test_an_impossible_length_fails_with_the_header(cipher: Cipher, outside: str) -> None:
    """No body is waited for: the two bytes are enough."""
    length = cipher.tag_size if outside == "below" else cipher.tag_size + BIGGEST + 1
    mask = records._draw_masks(hash32(b"crust/1 length" + HASH, key=KEY), 0)[0]
    header = (length ^ mask).to_bytes(2, "big")
    for parts in ([header], [header[:1], header[1:]]):
        _, opener = pair(cipher)
        with pytest.raises(MalformedMessage):
            feed(opener, parts)


def test_a_key_update_takes_effect_between_two_records_of_one_read() -> None:
    """The opener is lazy: the consumer changes the key when it meets the frame."""
    sealer, opener = pair()
    stream = sealer.seal(b"update")
    sealer.update_key()
    stream += sealer.seal(b"after") + sealer.seal(b"update")
    sealer.update_key()
    stream += sealer.seal(b"last")
    got = []
    for plaintext in opener.receive(stream):
        got.append(plaintext)
        if plaintext == b"update":
            opener.update_key()
    assert got == [b"update", b"after", b"update", b"last"]


@pytest.mark.parametrize("size", [1, 90, 200, 1000])
def test_what_is_behind_a_record_may_come_later(size: int) -> None:
    """Whoever stops after one of several hands in the rest once more, however they were cut."""
    sealer, opener = pair()
    stream = b"".join(sealer.seal(bytes([number]) * 50) for number in range(9))
    opened: list[int] = []
    position = 0
    while position < len(stream):
        data = stream[position : position + size]
        taken = len(data)
        for plaintext in opener.receive(data):
            opened.append(plaintext[0])
            taken = opener.taken
            break
        position += taken
    assert opened == list(range(9))


def test_after_a_key_update_the_old_key_opens_nothing() -> None:
    """A receiver that did not change keys cannot read on."""
    sealer, opener = pair()
    sealer.update_key()
    with pytest.raises(MalformedMessage):
        feed(opener, [sealer.seal(b"text")])


def test_an_update_is_due_by_count_and_by_time() -> None:
    """2^20 records or 15 minutes under one key; both start again with the next."""
    sealer, _ = pair()
    sealer.seal(b"x")
    assert not sealer.needs_update(1000.0)
    assert not sealer.needs_update(1000.0 + limits.REKEY_SECONDS - 1)
    assert sealer.needs_update(1000.0 + limits.REKEY_SECONDS)
    sealer.update_key()
    assert not sealer.needs_update(5000.0)
    sealer._number += limits.REKEY_RECORDS - 2
    assert not sealer.needs_update(5000.0)
    assert sealer.needs_update(5000.0, 2), "the second of these would be one too many"
    sealer.seal(b"x")
    assert sealer.needs_update(5000.0)
    sealer.seal(b"the update")
    sealer.update_key()
    assert not sealer.needs_update(5000.0)
    sealer._number += limits.REKEY_RECORDS - 1
    assert sealer.needs_update(5000.0)


def test_an_interrupt_never_makes_a_nonce_be_used_twice() -> None:
    """If sealing is interrupted, its number is gone."""
    sealer, _ = pair()
    seal, nonces = sealer._seal, []

    def interrupted(key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
        nonces.append(nonce)
        if len(nonces) == 1:
            raise KeyboardInterrupt
        return seal(key, nonce, associated, plaintext)

    sealer._seal = interrupted
    with pytest.raises(KeyboardInterrupt):
        sealer.seal(b"one")
    sealer.seal(b"two")
    assert len(set(nonces)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_cannot_seal() -> None:
    """Two processes with one key and one counter would use each nonce twice."""
    sealer, _ = pair()
    sealer.seal(b"parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sealer.seal(b"child")
        except ForkedError as error:
            status = 0 if str(os.getpid()) in str(error) and str(os.getppid()) in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sealer.seal(b"parent again")


def test_forgotten_keys_are_gone() -> None:
    """After ``forget`` nothing is sealed or opened, and an iteration under way ends."""
    sealer, opener = pair()
    stream = sealer.seal(b"one") + sealer.seal(b"two")
    got = []
    for plaintext in opener.receive(stream):
        got.append(plaintext)
        opener.forget()
    assert got == [b"one"]
    sealer.forget()
    with pytest.raises(LocalProtocolError):
        sealer.seal(b"x")
    with pytest.raises(LocalProtocolError):
        feed(opener, [b"x"])


def test_no_byte_of_a_header_is_constant() -> None:
    """Records of one length, under many keys and under one key: each header byte takes most of its 256 values."""
    source = random.Random(1)
    first = [pair(key=source.randbytes(32))[0].seal(b"x")[:2] for _ in range(2000)]
    sealer, _ = pair()
    for headers in (first, [sealer.seal(b"x")[:2] for _ in range(2000)]):
        for at in range(2):
            assert len({header[at] for header in headers}) > 240


def test_an_idle_link_keeps_little() -> None:
    """Both directions together stay far below 10 KiB, and a record that is complete leaves nothing behind."""
    sealer, opener = pair()
    feed(opener, pieces(sealer.seal(bytes(BIGGEST)), [100, 4096]))
    total = 0
    for side in (sealer, opener):
        for holder in type(side).__mro__:
            for name in getattr(holder, "__slots__", ()):
                total += sys.getsizeof(getattr(side, name))
    assert total < 3000
