"""Key pairs and the texts of secrets: what is written is read, damage is told, secrets do not show."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust.addresses import PeerId
from crust.crypto.agreement import Secret, derive_secret
from crust.crypto.identity import KeyPair, decode_network_secrets, generate_network_secret_text
from crust.crypto.keys import ed25519_to_x25519, hash32, x25519_public
from crust.exceptions import IdentityError

SEED = bytes(range(32))
PAIR = KeyPair.from_seed(SEED)
seeds = st.binary(min_size=32, max_size=32)


def test_the_id_is_the_ed25519_public_key() -> None:
    """RFC 8032 section 7.1, test 1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert KeyPair.from_seed(seed).peer_id == PeerId(public)


@given(seeds)
def test_the_dh_keys_are_the_conversion(seed: bytes) -> None:
    """What others compute from the id is the public key of our private one."""
    pair = KeyPair(seed)
    assert pair.dh_public == x25519_public(pair.dh_private) == ed25519_to_x25519(pair.peer_id.public_key)


@given(seeds)
def test_decode_reverses_encode(seed: bytes) -> None:
    """The text is ASCII, ends with a newline, and gives the same pair."""
    text = KeyPair(seed).encode()
    assert text.isascii() and text.endswith("\n")
    again = KeyPair.decode(text)
    assert again.peer_id == KeyPair(seed).peer_id and again.encode() == text


def test_generated_pairs_differ() -> None:
    """And the randomness can be given."""
    assert KeyPair.generate().peer_id != KeyPair.generate().peer_id
    assert KeyPair.generate(lambda size: SEED[:size]).peer_id == PAIR.peer_id


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size: int) -> None:
    """Anything else is a ValueError."""
    with pytest.raises(ValueError):
        KeyPair.from_seed(bytes(size))


def test_spacing_case_and_comments_do_not_matter() -> None:
    """A file that went through an editor is still good."""
    text = PAIR.encode().upper().replace("SEED", "  seed").replace("ID:", "id :\t").replace("\n", " \r\n")
    text = "\n# note\r\n" + text
    assert KeyPair.decode(text).peer_id == PAIR.peer_id


LINES = [line for line in PAIR.encode().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'seed: …', and it is missing"),
        (LINES[0], "'id: …', and it is missing"),
        ("\n".join([*LINES, LINES[0]]), "nothing else"),
        ("\n".join([*LINES, "more: x"]), "nothing else"),
        ("\n".join([*LINES, "x"]), "nothing else"),
        (LINES[0] + "\n" + LINES[1][:-1], "id in the identity is damaged"),
        (LINES[0][:-1] + "\n" + LINES[1], "seed in the identity is damaged"),
        (LINES[0][:-1] + "7\n" + LINES[1], "seed in the identity is damaged"),
        (LINES[0].replace("a", "é", 1) + "\n" + LINES[1], "seed in the identity is damaged"),
        (f"{LINES[0]}\nid: {KeyPair(bytes(32)).peer_id}", "do not belong together"),
        ("#" * 5000, "something else"),
    ],
)
def test_damage_is_told_with_what_to_do_and_without_the_secret(text: str, complaint: str) -> None:
    """Every kind of damage has its sentence."""
    with pytest.raises(IdentityError) as caught:
        KeyPair.decode(text)
    message = str(caught.value)
    assert complaint in message
    assert LINES[0].split()[1][:20] not in message
    assert "something else" in message or "restore the file" in message


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but IdentityError."""
    for read in (KeyPair.decode, decode_network_secrets):
        try:
            read(text)
        except IdentityError:
            pass


def test_every_changed_character_of_the_seed_is_noticed() -> None:
    """The id in the file is the seed's checksum."""
    start = LINES[0].index(" ") + 1
    for at in range(start, len(LINES[0])):
        changed = LINES[0][:at] + ("a" if LINES[0][at] != "a" else "b") + LINES[0][at + 1 :]
        with pytest.raises(IdentityError):
            KeyPair.decode(f"{changed}\n{LINES[1]}")


def test_nothing_shows_copies_or_pickles_the_secret() -> None:
    """repr, str, pickle, copy."""
    for shown in (repr(PAIR), str(PAIR)):
        assert PAIR.peer_id.short in shown and "\\x" not in shown and LINES[0].split()[1] not in shown
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="load it from its file"):
            pickle.dumps(PAIR, protocol)
    with pytest.raises(TypeError):
        copy.copy(PAIR)


def test_cleared_keys_are_gone() -> None:
    """The id stays, the secrets do not, and the error says so."""
    pair = KeyPair(SEED)
    pair.clear()
    assert pair.peer_id == PAIR.peer_id
    with pytest.raises(IdentityError, match="cleared"):
        _ = pair.dh_private
    with pytest.raises(IdentityError, match="cleared"):
        pair.encode()


@given(st.lists(seeds, min_size=1, max_size=2, unique=True))
def test_network_secrets_are_read_newest_first(secrets: list[bytes]) -> None:
    """One or two lines; what is generated is one."""
    texts = [generate_network_secret_text(lambda size, secret=secret: secret) for secret in secrets]  # type: ignore[misc]
    assert decode_network_secrets("\n".join(texts)) == tuple(secrets)


def test_a_generated_network_secret_is_random() -> None:
    """32 bytes, another each time."""
    first, second = (decode_network_secrets(generate_network_secret_text()) for _ in range(2))
    assert first != second and [len(secret) for secret in first + second] == [32, 32]


GOOD = generate_network_secret_text(lambda size: SEED).splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# only a comment\n", "not 0"),
        (f"{GOOD}\n{GOOD[:-1]}a\n{'a' * 52}", "not 3"),
        (f"{GOOD}\n{GOOD}", "the same"),
        (GOOD[:-1], "network secret 1 is damaged"),
        (f"{GOOD}\nhello", "network secret 2 is damaged"),
    ],
)
def test_damaged_network_secrets_are_told(text: str, complaint: str) -> None:
    """By line, and without the secret."""
    with pytest.raises(IdentityError, match=complaint) as caught:
        decode_network_secrets(text)
    assert GOOD[:20] not in str(caught.value)


def test_psk_and_gate_are_derived_by_name() -> None:
    """docs/wire-format.md, "Identity"."""
    assert derive_secret(SEED) == Secret(hash32(b"psk", key=SEED), hash32(b"gate", key=SEED))
