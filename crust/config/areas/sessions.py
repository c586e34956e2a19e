"""Conversations, what carries them, and callbacks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ... import limits
from ...values import dataclass
from ..kinds import Choice, Flag, Invalid, Number, OrNull
from ..sections import Section, key, optional_section, section
from .shapes import BYTES_MAX, COUNT_MAX, SECONDS, SECONDS_OR_ZERO

__all__ = ["CallbacksConfig", "DropConfig", "SendBufferConfig", "SessionConfig", "SigningConfig", "UtpConfig"]


@dataclass(frozen=True, slots=True)
class SendBufferConfig(Section):
    """What waits to be sent or acknowledged, for each peer."""

    KEY: ClassVar[str] = "session.send_buffer"

    messages: int = key(
        limits.SEND_BUFFER_MESSAGES, Number("messages", 1, COUNT_MAX), "Messages; with more, send() waits."
    )
    bytes: int = key(
        limits.SEND_BUFFER_BYTES,
        Number("bytes", 1, BYTES_MAX),
        "Bytes, each message counting 64 more than it has; with more, send() waits. At least max_message_size + 64.",
    )


@dataclass(frozen=True, slots=True)
class DropConfig(Section):
    """Which messages are given up if they cannot be sent in time."""

    KEY: ClassVar[str] = "session.drop"

    min_priority: int = key(
        limits.DROP_MIN_PRIORITY,
        Number("", 0, limits.PRIORITY_MAX),
        "Only messages of this priority, or less urgent ones (greater numbers).",
    )
    max_age: float = key(limits.DROP_MAX_AGE, SECONDS, "Seconds that they may wait unsent.")


@dataclass(frozen=True, slots=True)
class SessionConfig(Section):
    """Conversations with peers."""

    KEY: ClassVar[str] = "session"

    connect_timeout: float = key(limits.CONNECT_TIMEOUT, SECONDS, "Seconds that connect() tries.", live=True)
    handshake_timeout: float = key(
        limits.HANDSHAKE_TIMEOUT, SECONDS, "Seconds that a new connection has to prove who it is."
    )
    heartbeat_interval: float = key(
        limits.HEARTBEAT_INTERVAL, SECONDS, "Seconds of silence after which a heartbeat is sent, +/- 25 %."
    )
    resume_timeout: float = key(
        limits.RESUME_TIMEOUT,
        SECONDS,
        "Seconds without a sign of life, the time without a link included, until a peer is lost."
        " At least twice heartbeat_interval.",
    )
    send_timeout: float | None = key(
        limits.SEND_TIMEOUT,
        OrNull(SECONDS_OR_ZERO, "for ever"),
        "Seconds that send() waits for room; 0: it raises WouldBlock at once. null: for ever.",
        live=True,
    )
    max_message_size: int = key(
        limits.MAX_MESSAGE_SIZE, Number("bytes", 1, 2**30), "Bytes of the largest message, sent or received."
    )
    send_buffer: SendBufferConfig = section(
        SendBufferConfig, "What waits to be sent or acknowledged, for each peer."
    )
    receive_buffer: int = key(
        limits.RECEIVE_BUFFER,
        Number("bytes", 1, BYTES_MAX),
        "Bytes received and not yet taken by the application, for each peer: the credit that the other side gets."
        " At least twice max_message_size, and 65,600 more than max_message_size.",
    )
    drop: DropConfig | None = optional_section(
        DropConfig, "never", "Messages given up (and reported) if they cannot be sent in time. null: never."
    )

    def problems(self) -> Iterable[Invalid]:
        size = self.max_message_size
        related = ("session.max_message_size",)
        room = max(2 * size, size + limits.SMALL_RESERVE + limits.MESSAGE_OVERHEAD)
        if self.receive_buffer < room:
            text = f"expected at least {room} (max_message_size is {size}), found {self.receive_buffer}"
            yield Invalid("session.receive_buffer", text, related)
        room = size + limits.MESSAGE_OVERHEAD
        if self.send_buffer.bytes < room:
            text = f"expected at least {room} (max_message_size is {size}), found {self.send_buffer.bytes}"
            yield Invalid("session.send_buffer.bytes", text, related)
        if self.resume_timeout < 2 * self.heartbeat_interval:
            text = (
                f"expected at least {2 * self.heartbeat_interval:g} (heartbeat_interval is"
                f" {self.heartbeat_interval:g}), found {self.resume_timeout:g}: silent peers would be lost"
            )
            yield Invalid("session.resume_timeout", text, ("session.heartbeat_interval",))


@dataclass(frozen=True, slots=True)
class SigningConfig(Section):
    """Messages and files that are proof of what was said, to others too."""

    KEY: ClassVar[str] = "signing"

    sign_all: bool = key(
        False, Flag(), "Whether every message and file that the application sends is signed with this node's key."
    )
    require_signed: bool = key(
        False,
        Flag(),
        "Whether messages and files that their sender has not signed are refused. Peers are told when a session begins,"
        " and their programs get an error when they send something else.",
    )


@dataclass(frozen=True, slots=True)
class UtpConfig(Section):
    """µTP, the reliable transport over UDP."""

    KEY: ClassVar[str] = "utp"

    congestion: str = key(
        "fair",
        Choice(("fair", "background")),
        "How it shares a line: fair, as TCP does; background gives way to all other traffic.",
    )


@dataclass(frozen=True, slots=True)
class CallbacksConfig(Section):
    """The application's callbacks."""

    KEY: ClassVar[str] = "callbacks"

    warn_after: float = key(
        limits.CALLBACK_WARN_AFTER,
        SECONDS,
        "Seconds after which a callback is logged as slow, by its name.",
        live=True,
    )
