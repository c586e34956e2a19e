"""docs/wire-format.md: its example is what crust computes, and what a stranger computes who has only the document."""

from __future__ import annotations

import enum
import hashlib
import re

import pytest
from nacl import bindings
from noise.connection import Keypair, NoiseConnection

from crust import limits
from crust.wire import frames, handshake, transfer
from tests.support import wire_example
from tests.support.source import ROOT

DOCUMENT = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
EXAMPLE = DOCUMENT.split("## Worked example", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]


def documented() -> dict[str, bytes]:
    """The values of the document's example that are in hex."""
    values = {}
    for name, text in re.findall(r"^(\S+) =((?:.|\n    )*)", EXAMPLE, re.MULTILINE):
        digits = re.sub(r"\s", "", text)
        if re.fullmatch(r"[0-9a-f]+", digits) and not len(digits) % 2:
            values[name] = bytes.fromhex(digits)
    return values


def test_the_example_is_what_crust_computes() -> None:
    """Every value; ``python -m tests.support.wire_example`` prints the block anew."""
    assert wire_example.as_text(wire_example.example()) == EXAMPLE


# --- by the document alone, with other people's code ------------------------------------------------------------------


def xor(data: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, mask, strict=True))


def keyed(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


def unmasked(number: int, stream: bytes, mask: bytes) -> bytes:
    """A message of the handshake, out of its length and masks."""
    at = (0, 34, 68)[number]
    message = stream[2:]
    assert int.from_bytes(xor(stream[:2], mask[at : at + 2]), "big") == len(message)
    return message if number == 2 else xor(message[:32], mask[at + 2 : at + 34]) + message[32:]


def stranger(name: bytes, values: dict[str, bytes], gate: bytes, psk: bytes | None = None) -> NoiseConnection:
    """A callee made of noiseprotocol."""
    noise = NoiseConnection.from_name(name)
    noise.set_as_responder()
    private = bindings.crypto_sign_ed25519_sk_to_curve25519(
        bindings.crypto_sign_seed_keypair(values["callee.seed"])[1]
    )
    noise.set_keypair_from_private_bytes(Keypair.STATIC, private)
    noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, values["callee.ephemeral"])
    noise.set_prologue(b"crust/1\0" + values["callee.public"] + gate)
    if psk is not None:
        noise.set_psks(psk=psk)
    noise.start_handshake()
    return noise


@pytest.mark.filterwarnings("ignore")  # noiseprotocol warns that a fixed ephemeral key is unsafe
def test_a_stranger_can_follow_the_handshake() -> None:
    """Masks, prologue, Noise messages, payloads and hash, with noiseprotocol in the place of crust."""
    values = documented()
    assert hashlib.blake2b(b"crust/1 network\0example", digest_size=32).digest() == values["network"]
    gate = bytes(32)
    source = b"crust/1 mask" + values["salt"] + values["callee.public"] + gate
    mask = hashlib.shake_128(source).digest(70)
    assert mask == values["mask"]
    noise = stranger(b"Noise_XK_25519_ChaChaPoly_BLAKE2b", values, gate)

    assert values["stream.1"][:16] == values["salt"]
    assert noise.read_message(unmasked(0, values["stream.1"][16:], mask)) == values["payload.1"]
    assert values["payload.1"] == len(values["hello"]).to_bytes(2, "big") + values["hello"] + b"pad"

    body = values["accepted"]
    message = bytes(noise.write_message(len(body).to_bytes(2, "big") + body + b"pad"))
    assert message == unmasked(1, values["stream.2"], mask)

    body = values["introduction"]
    payload = noise.read_message(unmasked(2, values["stream.3"], mask))
    assert payload == len(body).to_bytes(2, "big") + body + b"pad"
    assert noise.get_handshake_hash() == values["hash"]
    assert noise.noise_protocol.cipher_state_decrypt.k == values["key.caller"]
    assert noise.noise_protocol.cipher_state_encrypt.k == values["key.callee"]


@pytest.mark.filterwarnings("ignore")
def test_a_stranger_can_join_a_closed_network() -> None:
    """Psk, gate and the first message under them."""
    values = documented()
    psk, gate = keyed(values["secret"], b"psk"), keyed(values["secret"], b"gate")
    assert (psk, gate) == (values["secret.psk"], values["secret.gate"])
    mask = hashlib.shake_128(b"crust/1 mask" + values["salt"] + values["callee.public"] + gate).digest(70)
    noise = stranger(b"Noise_XKpsk3_25519_ChaChaPoly_BLAKE2b", values, gate, psk)
    assert noise.read_message(unmasked(0, values["secret.stream.1"][16:], mask)) == values["payload.1"]


def test_a_stranger_can_open_the_records() -> None:
    """Derivations, masks, nonces and the next key, with libsodium's AEADs."""
    values = documented()
    key = keyed(values["key.callee"], b"crust/1 record\x02" + values["hash"])
    length_key = keyed(values["key.callee"], b"crust/1 length" + values["hash"])
    assert (key, length_key) == (values["record_key.callee"], values["length_key.callee"])
    assert keyed(values["key.callee"], b"crust/1 export" + values["hash"]) == values["export_key.callee"]
    masks = hashlib.shake_128(length_key + bytes(8)).digest(512)
    for number, name in enumerate(("welcome", "batch", "piece", "key_update", "ping")):
        record = values[f"record.{number}"]
        length = int.from_bytes(xor(record[:2], masks[2 * number : 2 * number + 2]), "big")
        assert length == len(record) - 2
        nonce = number.to_bytes(12, "big")
        plaintext = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(record[2:], record[:2], nonce, key)
        assert plaintext == values[name]
        if name == "key_update":
            key = keyed(key, b"crust/1 rekey")
            assert key == values["record_key.callee.next"]
    aegis = keyed(values["key.callee"], b"crust/1 record\x01" + values["hash"])
    assert aegis == values["aegis.record_key.callee"]
    record = values["aegis.record.0"]
    assert int.from_bytes(xor(record[:2], masks[:2]), "big") == len(record) - 2
    opened = bindings.crypto_aead_aegis256_decrypt(record[2:], record[:2], bytes(32), aegis)
    assert opened == values["batch"]


def test_a_stranger_can_check_what_a_node_tells_of_itself() -> None:
    """Signature, version, prefix and hash of a record, with libsodium and the document."""
    values = documented()
    record = values["node.record"]
    signed = b"crust/1 record of a node\0" + values["network"] + record[:-64]
    assert bindings.crypto_sign_open(record[-64:] + signed, values["callee.public"]) == signed
    sequence, made = (int.from_bytes(record[at : at + 6], "big") for at in (32, 38))
    assert sequence == made == 1_800_000_000_000
    digest = hashlib.blake2b(record, digest_size=16).digest()
    item = values["callee.public"][:8] + sequence.to_bytes(6, "big") + digest[:2]
    assert values["announce"] == b"\x17\0\1" + item
    assert values["summary"] == b"\x15" + b"\xff" * 8 + b"\1\0\1" + digest[8:]


def test_a_stranger_can_check_a_proof() -> None:
    """Of a message and of a file: mark, statement, signature and ids, with libsodium and the document."""
    values = documented()
    proof, message, file = values["signed.proof"], values["signed.message"], values["signed.file"]
    key, network = values["callee.public"], values["network"]
    assert proof == b"crust/1 message\0" + network + message
    assert bindings.crypto_sign_open(proof[-64:] + proof[:-64], key) == proof[:-64]
    mark = hashlib.blake2b(b"crust/1 signed" + bytes(range(0xA0, 0xB0)), digest_size=32).digest()[:6]
    time, length = (1_800_000_000_000).to_bytes(8, "big"), b"\0\0\0\5"
    who = key + values["caller.public"] + mark
    assert message[:-64] == who + bytes(8) + b"\1\1" + time + length + b"hello"
    assert file[:5] == b"\x0a\0\0\0\1"
    signed = b"crust/1 file\0" + network + file[5:-64]
    assert bindings.crypto_sign_open(file[-64:] + signed, key) == signed
    digest = hashlib.blake2b(b"hello", digest_size=32).digest()
    rest = time + bytes(4) + length + digest + b"\0\x09hello.txt"
    assert file[5:-64] == who + bytes(range(0xF0, 0xF6)) + b"\0\0\0\1" + rest


# --- tables and numbers -----------------------------------------------------------------------------------------------


def rows(section: str, header: str) -> list[list[str]]:
    """The cells of the table under ``header`` in a section."""
    text = DOCUMENT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = text[text.index(header) :].splitlines()[2:]
    table = lines[: next(index for index, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize(
    ("section", "header", "codes"),
    [
        ("Frames", "| type | name", frames.FrameType),
        ("Frames", "| denial code", handshake.DenialCode),
        ("Frames", "| goodbye code", frames.GoodbyeCode),
        ("File transfer", "| first byte | name", transfer.TransferType),
    ],
)
def test_the_tables_have_every_code(section: str, header: str, codes: type[enum.IntEnum]) -> None:
    """By number and name, and none besides."""
    found = {(int(row[0], 0), row[1].upper()) for row in rows(section, header)}
    assert found == {(int(code), code.name) for code in codes}


def test_the_aeads_are_listed() -> None:
    """With their numbers."""
    found = {(row[0].upper().replace("-", "_"), int(row[1])) for row in rows("Handshake", "| AEAD | number")}
    assert found == {(aead.name, int(aead)) for aead in handshake.Aead}


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (limits.HANDSHAKE_MESSAGE_MAX, "the message that follows, {:,} at most"),
        (limits.HANDSHAKE_PADDING_MAX, "0 to {} bytes whose number is random"),
        (int(limits.FIRST_MESSAGE_TIMEOUT), "{} seconds until a valid message 1"),
        (int(limits.FIRST_MESSAGE_REST), "{} seconds from its first byte"),
        (limits.SALT_SIZE + 2 + limits.HANDSHAKE_MESSAGE_MAX, "after {:,} bytes: no message 1 is longer"),
        (int(limits.HANDSHAKE_TIMEOUT), "{} seconds until WELCOME or DENIED"),
        (limits.RECORD_PLAINTEXT_MAX, "The plaintext is 1 to {:,} bytes"),
        (limits.MASKS_PER_DRAW, "drawn {} at a time"),
        (limits.REKEY_RECORDS.bit_length() - 1, "after 2^{} records"),
        (limits.SALT_MEMORY.bit_length() - 1, "among the last 2^{}"),
        (int(limits.REKEY_SECONDS / 60), "or {} minutes under it"),
        (limits.RECORD_PADDING_MAX, "gets 0 to {} bytes of PADDING"),
        (limits.CONTROL_FRAMES_MAX, "At most {} frames of one record"),
        (limits.DENIED_TEXT_MAX, "text({})"),
        (limits.ALTERNATES_MAX, "count ≤ {}, then for each alternate"),
        (limits.CONTACT_WIRE_MAX, "length ≤ {:,} and a contact"),
        (limits.MESSAGE_OVERHEAD, "A message costs its length + {}"),
        (limits.SMALL_RESERVE, "begins only if {:,} bytes of the window are left"),
        (limits.PARTIAL_MESSAGES_MAX, "at most {} messages per direction"),
        (int(limits.RESUME_TIMEOUT), "after {} seconds without"),
        (int(limits.HEARTBEAT_INTERVAL), "sent nothing for {} seconds"),
        (limits.PONGS_QUEUED_MAX, "At most {} PINGs"),
        (int(limits.ACK_DELAY * 1000), "at the latest {} ms after a chunk came"),
        (limits.ACK_EVERY_BYTES // 1024, "or\n{} KiB"),
        (limits.ACK_EVERY_MESSAGES, "or {:,} messages in BATCHes"),
        (limits.TRANSFER_NAME_MAX, "length ≤ {:,} and so many bytes of UTF-8: name"),
        (limits.SIGNED_FILE_MAX, "and its signature: 1 to {:,} bytes"),
        (limits.FILE_SIGNED_MEMORY, "below the last {:,} of them"),
        (limits.GOSSIP_RECORD_MAX, "signed, in at most {} bytes"),
        (limits.GOSSIP_ENDPOINTS_MAX, "addresses | `u8` count ≤ {}"),
        (limits.GOSSIP_VIA_MAX, "via | `u8` count ≤ {}"),
        (limits.GOSSIP_VIA_ENDPOINTS_MAX, "`u8` count ≤ {} of addresses"),
        (int(limits.GOSSIP_LIFE), "holds for {:,} seconds"),
        (int(limits.GOSSIP_SKEW), "more than {} seconds in the future"),
        (limits.GOSSIP_ITEMS_MAX, "count, 1 to {}, of items"),
        (1 << limits.GOSSIP_DEPTH_MAX, "a power of 2 up to {}"),
        (limits.GOSSIP_REQUEST_MAX, "count, 1 to {}, of `u64` prefixes"),
        (limits.GOSSIP_BATCH_MAX, "count, 1 to {}, then for each: `u16` length, 1 to 512"),
        (limits.GOSSIP_NEARER_MAX, "records of up to {} public nodes"),
        (int(limits.GOSSIP_COMPARE), "every {} seconds ± 25 %"),
        (int(limits.GOSSIP_PATIENCE), "has not come after {} seconds"),
        (limits.GOSSIP_FIND_ASKS, "no node in common, {} nodes"),
        (limits.GOSSIP_REPLICAS, "as RECORDS, to the {} public"),
        (int(limits.GOSSIP_ITEMS_RATE), "{:,} items a second"),
        (int(limits.GOSSIP_FINDS_LINK), "{} questions a second"),
        (limits.FILE_IN_FLIGHT // 1024**2, "At most {} MiB go out"),
        (limits.CONTACT_TEXT_MAX, "most {:,} characters"),
        (limits.CONTACT_ENDPOINTS_MAX, "1 to {} endpoints"),
    ],
)
def test_the_numbers_are_those_of_the_code(number: int, sentence: str) -> None:
    """Each stands in the document as in ``crust.limits``."""
    assert sentence.format(number).replace("\n", " ") in DOCUMENT.replace("\n", " ")
