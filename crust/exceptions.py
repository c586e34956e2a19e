"""
What can go wrong, as a tree split by who can do something about it::

    CrustError
    ├── ServiceClosed (RuntimeError)            the node was closed; make a new one
    │   └── ForkedError                         this process inherited the node by fork(); make its own
    ├── Timeout (TimeoutError)                  nothing was done, or it went on without you; see the text
    ├── WouldBlock (BlockingIOError)            the buffer is full; go on at SendReady
    ├── PeerLost (ConnectionError)              this conversation is over; connect again
    ├── ConnectError (ConnectionError)          no conversation came about; see ``attempts``
    │   ├── Denied                              the other side said no, and why
    │   └── NoRoute                             there is no way to it
    ├── ListenError (OSError)                   a configured address cannot be listened on
    ├── LocalProtocolError                      your program broke a rule of crust
    │   └── MessageTooLarge (ValueError)
    ├── RemoteProtocolError                     the other side broke a rule of the protocol
    │   └── MalformedMessage
    ├── IdentityError (ValueError)              the key file cannot be used
    │   └── IdentityInUse                       another running process holds it
    ├── ConfigError (ValueError)                the configuration says something it may not
    ├── ContactSyntaxError (ValueError)         a peer id, endpoint or contact is mistyped
    ├── BansNotKept                             a ban holds, and could not be written down
    ├── ProofError (ValueError)                 a proof is none, or proves something else
    ├── EchoRefused                             a peer did not send the echo that it was asked for
    └── TransferError                           a file did not get across
        └── FileRefused                         the other side did not want it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .paths import Attempt

__all__ = [
    "BansNotKept",
    "ConfigError",
    "ConnectError",
    "ContactSyntaxError",
    "CrustError",
    "Denied",
    "EchoRefused",
    "FileRefused",
    "ForkedError",
    "IdentityError",
    "IdentityInUse",
    "ListenError",
    "LocalProtocolError",
    "MalformedMessage",
    "MessageTooLarge",
    "NoRoute",
    "PeerLost",
    "ProofError",
    "RemoteProtocolError",
    "ServiceClosed",
    "Timeout",
    "TransferError",
    "WouldBlock",
]


class CrustError(Exception):
    """Base of every error that crust raises on purpose."""


class ServiceClosed(CrustError, RuntimeError):
    """The node has been closed, or was never started."""


class ForkedError(ServiceClosed):
    """The node was inherited through ``fork()``; only the process that made it may use it."""


class Timeout(CrustError, TimeoutError):
    """
    The time given ran out. Unless the text says otherwise, nothing was queued or changed.

    Attributes:
        attempts: What ``connect``, ``dial`` or ``bootstrap`` had tried by then, what was still under way included;
            empty for all else that has a timeout.
    """

    def __init__(self, message: str = "", attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.args[0], self.attempts))


class WouldBlock(CrustError, BlockingIOError):
    """The peer's send buffer is full. Nothing was queued: keep the message and go on at ``SendReady``."""


class PeerLost(CrustError, ConnectionError):
    """
    The conversation with this peer has ended.

    Attributes:
        reason: One word of ``crust.LostReason``, the same as in the ``LostPeer`` event.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.args[0], self.reason))


class ConnectError(CrustError, ConnectionError):
    """
    No conversation came about.

    Attributes:
        attempts: What was tried, in order, each with its address, duration and error.
    """

    def __init__(self, message: str, attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.args[0], self.attempts))


class Denied(ConnectError):
    """
    The other side refused, and said why.

    Attributes:
        reason: One word, the lower-case name of a ``crust.wire`` denial code: ``version``, ``network``,
            ``role``, ``banned``, ``busy``, ``self``, ``not_accepting``, ``duplicate`` or ``closing``.
        alternates: Contacts that a busy node suggests instead, as text. It may name any machine, and others each time:
            `crust.Service.bootstrap` goes by them with care (few, by number, seldom); so should who dials them himself.
    """

    def __init__(
        self,
        message: str,
        attempts: tuple[Attempt, ...] = (),
        reason: str = "",
        alternates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, attempts)
        self.reason = reason
        self.alternates = alternates

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.args[0], self.attempts, self.reason, self.alternates))


class NoRoute(ConnectError):
    """
    There is no way to this peer: no address of it is known, or none that this node can dial, and no peer of ours that
    introduces us. The text says what is missing; ``attempts`` has the answers of those that were asked to introduce us.
    """


class ListenError(CrustError, OSError):
    """A configured listening address cannot be used; the text names it and the cause."""


class LocalProtocolError(CrustError):
    """The application asked for something that crust does not allow."""


class MessageTooLarge(LocalProtocolError, ValueError):
    """The message is longer than ``session.max_message_size``. Nothing was queued."""


class RemoteProtocolError(CrustError):
    """The other side broke the protocol; its link is closed."""


class MalformedMessage(RemoteProtocolError):
    """Bytes from the network are not what the protocol allows there."""


class IdentityError(CrustError, ValueError):
    """An identity file is missing, damaged, or not private."""


class IdentityInUse(IdentityError):
    """Another running process uses this identity; the text names its process id."""


class ConfigError(CrustError, ValueError):
    """The configuration is wrong; the text names file, line and key, and what is allowed there."""


class ContactSyntaxError(CrustError, ValueError):
    """
    A peer id, endpoint, contact or connection info cannot be read.

    Attributes:
        text: What was given (shortened if it was very long).
        column: Where it goes wrong, counted from 1.
    """

    def __init__(self, message: str, text: str = "", column: int = 1) -> None:
        super().__init__(message)
        self.text = text
        self.column = column

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.args[0], self.text, self.column))


class BansNotKept(CrustError):
    """The file of ``access.ban.file`` cannot be read or written. What was asked for holds while this node runs."""


class ProofError(CrustError, ValueError):
    """A proof is damaged, or nobody signed it so; the text says what is wrong with it."""


class EchoRefused(CrustError):
    """A peer did not send the echo that it was asked for; the text has its reason."""


class TransferError(CrustError):
    """A file did not get across whole; nothing is left under its final name."""


class FileRefused(TransferError):
    """The other side does not want this file; the text has its reason."""
