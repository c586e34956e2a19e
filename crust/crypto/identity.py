"""
A node's key pair, and how it and a network's secret are written down as text.

Only the text is defined here; files, their rights and their locks are ``crust.runtime.identity_file``'s. Format:
docs/wire-format.md, "Identity".
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

from ..addresses import PeerId
from ..exceptions import ContactSyntaxError, IdentityError
from .keys import KEY_SIZE, ed25519_public, ed25519_to_x25519, ed25519_to_x25519_private, sign

__all__ = [
    "NETWORK_SECRETS_MAX",
    "SECRET_SIZE",
    "TEXT_MAX",
    "KeyPair",
    "decode_network_secrets",
    "generate_network_secret_text",
]

SECRET_SIZE = 32  # bytes of a network secret
NETWORK_SECRETS_MAX = 2  # valid at once, while the new one is handed out
TEXT_MAX = 4096  # characters of either file; more is something else

_HEADER = """\
# The identity of a crust node. Whoever has this file is this node: keep it secret, keep a copy, never run two of it.
"""
_RESTORE = "restore the file from a copy, or move it away to get a new identity"

K = TypeVar("K", bound="KeyPair")


class KeyPair:
    """
    An Ed25519 key pair, and the X25519 one that it converts to (the static key of Noise).

    Immutable but for ``clear``; may be shared by threads. Not picklable, and shows no secret in ``repr``.

    Args:
        seed: 32 secret bytes (RFC 8032 section 5.1.5).

    Raises:
        ValueError: The seed has another length.
    """

    __slots__ = ("_dh_private", "_seed", "dh_public", "peer_id")

    def __init__(self, seed: bytes) -> None:
        public = ed25519_public(seed)
        self._seed = seed
        self._dh_private = ed25519_to_x25519_private(seed)
        self.dh_public = ed25519_to_x25519(public)
        """The X25519 public key, 32 bytes."""

        self.peer_id = PeerId(public)
        """Who this is, to others."""

    @classmethod
    def generate(cls: type[K], random: Callable[[int], bytes] = os.urandom) -> K:
        """A new one."""
        return cls(random(KEY_SIZE))

    @classmethod
    def from_seed(cls: type[K], seed: bytes) -> K:
        """The one that belongs to 32 secret bytes; ValueError if they are not 32."""
        return cls(seed)

    @classmethod
    def decode(cls: type[K], text: str) -> K:
        """
        Read what ``encode`` gave. Empty lines and lines that begin with ``#`` do not count.

        Raises:
            IdentityError: The text is damaged; says how, and what to do, without the secret.
        """
        lines = _lines(text, "an identity")
        fields: dict[str, str] = {}
        for line in lines:
            name, separator, value = line.partition(":")
            name = name.strip()
            if not separator or name not in ("seed", "id") or name in fields:
                raise IdentityError(
                    f"an identity has one line 'seed: …' and one line 'id: …', and nothing else; {_RESTORE}"
                )
            fields[name] = value.strip()
        if len(fields) != 2:
            missing = "seed" if "seed" not in fields else "id"
            raise IdentityError(f"an identity needs a line '{missing}: …', and it is missing; {_RESTORE}")
        try:
            peer_id = PeerId.parse(fields["id"])
        except ContactSyntaxError as error:
            raise IdentityError(f"the id in the identity is damaged: {error}; {_RESTORE}") from error
        pair = cls(_decode32(fields["seed"], "the seed in the identity", _RESTORE))
        if pair.peer_id != peer_id:
            raise IdentityError(
                f"seed and id of the identity {peer_id.short}… do not belong together; {_RESTORE}"
            )
        return pair

    def encode(self) -> str:
        """The text of an identity file. It holds the secret."""
        return f"{_HEADER}seed: {_encode32(self._usable(self._seed))}\nid: {self.peer_id}\n"

    @property
    def dh_private(self) -> bytes:
        """The X25519 private key, 32 bytes; IdentityError after ``clear``."""
        return self._usable(self._dh_private)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message, 64 bytes; IdentityError after ``clear``."""
        return sign(self._usable(self._seed), self.peer_id.public_key, message)

    def clear(self) -> None:
        """
        Forget the secrets; ``peer_id`` stays. Python may have copied them before, so this is the best that can be done,
        not a promise.
        """
        self._seed = b""
        self._dh_private = b""

    def _usable(self, secret: bytes) -> bytes:
        if not secret:
            raise IdentityError(
                f"the secret key of {self.peer_id.short}… has been cleared; load the identity again"
            )
        return secret

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer_id.short}…>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} is secret and cannot be pickled; load it from its file instead"
        )


def decode_network_secrets(text: str) -> tuple[bytes, ...]:
    """
    The secrets in the text of a network secret file: one or two lines of base32, newest first, 32 bytes each.

    Raises:
        IdentityError: Something else is in there; says what to do, without the secret.
    """
    advice = "write one with: crust keygen --network"
    lines = _lines(text, "a network secret")
    if not 1 <= len(lines) <= NETWORK_SECRETS_MAX:
        raise IdentityError(
            "a network secret file has one line, or two while a new secret replaces an old one, "
            f"not {len(lines)}; {advice}"
        )
    secrets = tuple(
        _decode32(line, f"network secret {number}", advice) for number, line in enumerate(lines, 1)
    )
    if len(set(secrets)) != len(secrets):
        raise IdentityError("both lines of the network secret file are the same; remove one")
    return secrets


def generate_network_secret_text(random: Callable[[int], bytes] = os.urandom) -> str:
    """The text of a new network secret file."""
    return (
        "# The secret of a crust network: who has it may join. To replace it, put a new line above the old one\n"
        "# on every node, and then remove the old one.\n"
        f"{_encode32(random(SECRET_SIZE))}\n"
    )


def _lines(text: str, what: str) -> list[str]:
    if len(text) > TEXT_MAX:
        raise IdentityError(f"{what} is at most {TEXT_MAX} characters long, this is something else")
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _encode32(secret: bytes) -> str:
    return base64.b32encode(secret).decode("ascii").rstrip("=").lower()


def _decode32(text: str, what: str, advice: str) -> bytes:
    """32 bytes of base32 without padding; upper case is taken, other spellings of the same bytes are not."""
    try:
        secret = base64.b32decode(text.upper() + "====")
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != SECRET_SIZE or _encode32(secret) != text.lower():
        raise IdentityError(
            f"{what} is damaged: expected 52 characters a-z and 2-7, found {len(text)} characters; {advice}"
        )
    return secret
