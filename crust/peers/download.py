"""
Receiving one file: a private temporary beside its final place, and nothing under the final name until it is whole.

Everything here runs on the thread that writes files (see ``files``) and may block on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets

from .. import limits
from ..runtime.files import publish_new, safe_name
from ..values import dataclass
from ..wire.transfer import Offer, SignedOffer, TransferMessage
from .file_contract import Decide, FileChannel, FileOffer, FileProgress, OnReceiving
from .transfer import FileReceiver, ReceiverState

__all__ = ["Download", "PartFile", "Rules"]

_MARK_SIZE = 8  # random bytes in the name of a temporary


@dataclass(frozen=True)
class Rules:
    """What ``accept_files`` was told."""

    directory: pathlib.Path
    """Where files go; absolute."""

    decide: Decide | None
    """Asked for each file; None takes all."""

    max_size: int | None
    """Bytes; None: no limit but the disk."""

    progress: OnReceiving | None
    """Told how far each file is."""


class PartFile:
    """
    A file under construction: ``.<name>.<random>.part`` in the directory it will stand in, readable by us only.

    Raises:
        OSError: It cannot be made.
    """

    __slots__ = ("_descriptor", "_directory", "_name", "_path")

    def __init__(self, directory: pathlib.Path, name: str) -> None:
        mark = f".{secrets.token_hex(_MARK_SIZE)}.part"
        stem = os.fsencode(name)[: limits.FILE_NAME_MAX - len(mark) - 1]
        self._directory = directory
        self._name = name
        self._path = directory / f".{stem.decode('utf-8', 'ignore')}{mark}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        for optional in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, optional, 0)
        self._descriptor: int | None = os.open(self._path, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append. Raises OSError: a full disk, or a broken one."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file is closed")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def publish(self) -> pathlib.Path:
        """
        Bring it to the disk and under its final name, or one with a number if that is taken. Whatever happens, the
        temporary is gone then.

        Raises:
            OSError: That failed.
        """
        try:
            if self._descriptor is None:
                raise OSError(errno.EBADF, "the file is closed")
            os.fsync(self._descriptor)
            self._close()
            return publish_new(self._path, self._directory, self._name)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the temporary. Harmless when repeated, and after :meth:`publish`."""
        self._close()
        with contextlib.suppress(OSError):  # published; or the disk is beyond our help
            self._path.unlink()

    def abandon(self) -> None:
        """In a forked child: close the copy of the descriptor, and leave the file alone."""
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Download:
    """
    One file on its way in. After every call, send ``messages_to_send()``; once ``over``, forget it.

    Args:
        channel: Where from.
        offer: The message that began it.
        rules: What the application allows.
    """

    __slots__ = ("_failed", "_part", "_progress", "channel", "name", "path", "place", "receiver", "rules")

    def __init__(self, channel: FileChannel, offer: Offer | SignedOffer, rules: Rules) -> None:
        def verify(signed: bytes, digest: bytes) -> bytes:
            return channel.open_file(offer.transfer, offer.size, digest, offer.name, signed)

        self.channel = channel
        self.place = channel.place
        """Where the peer was when it offered the file."""
        self.receiver = FileReceiver(offer, verify)
        self.rules = rules
        self.name = safe_name(offer.name)
        self.path: pathlib.Path | None = None
        """Where it stands, once it is done."""
        self._part: PartFile | None = None
        self._progress = rules.progress
        self._failed = ""

    def abandon(self) -> None:
        """In a forked child: close the copy of the descriptor."""
        if self._part is not None:
            self._part.abandon()

    @property
    def over(self) -> bool:
        """True once nothing can change any more."""
        return self.receiver.over

    @property
    def failure(self) -> str:
        """Why it failed, for the application; empty if it has not, or if the application itself refused it."""
        return self._failed or (self.receiver.reason if self.receiver.state is ReceiverState.FAILED else "")

    @property
    def to_come(self) -> int:
        """Bytes that are accepted and not here yet."""
        return self.receiver.size - self.receiver.received if self._part is not None else 0

    @property
    def offer(self) -> FileOffer:
        """What the application decides about."""
        return FileOffer(self.channel.peer, self.name, self.receiver.size, self.receiver.signed)

    def messages_to_send(self) -> list[TransferMessage]:
        """What the peer must be sent, in order. Each is returned once."""
        return self.receiver.messages_to_send()

    def check_size(self, promised: int) -> bool:
        """
        Refuse it if it is too large for the rules or the disk.

        Args:
            promised: Bytes of that disk that other files have been promised and do not use yet.

        Returns:
            False if it has been refused.
        """
        size, limit = self.receiver.size, self.rules.max_size
        if limit is not None and size > limit:
            self._refuse(f"it has {size} bytes, and the limit is {limit}")
            return False
        try:
            import shutil  # when needed: it brings every format of archives along

            free = shutil.disk_usage(self.rules.directory).free - promised
        except OSError as error:
            self._refuse(_disk_reason(error))
            return False
        if size > free:
            self._refuse(f"it has {size} bytes, and there is room for {max(free, 0)}")
            return False
        return True

    def decided(self, answer: bool | str, promised: int) -> None:
        """The application has decided: True, False, or the reason of a refusal."""
        if self.receiver.state is not ReceiverState.OFFERED:
            return  # withdrawn meanwhile
        if answer is not True:
            self.receiver.refuse(answer if isinstance(answer, str) and answer else "declined")
            return
        if not self.check_size(promised):
            return
        try:
            self._part = PartFile(self.rules.directory, self.name)
        except OSError as error:
            self._refuse(_disk_reason(error))
            return
        self.receiver.accept()

    def receive(self, message: TransferMessage) -> bool:
        """
        Take a message of the sender, and write and publish what it brings.

        Returns:
            True if there is progress to tell: see :meth:`tell_progress`.
        """
        reported = self.receiver.reported
        data = self.receiver.receive(message)
        try:
            if data and self._part is not None:
                self._part.write(data)
            if self.receiver.state is ReceiverState.COMPLETE and self._part is not None:
                self.path = self._part.publish()
                self.receiver.finish()
        except OSError as error:
            self.receiver.give_up(_disk_reason(error))
        if self.over:
            self.discard()
        return self.path is not None or self.receiver.reported != reported

    def tell_progress(self) -> None:
        """Call the application's progress function. Raises what that raises, and never calls it again then."""
        progress, self._progress = self._progress, None
        if progress is not None:
            progress(FileProgress(self.channel.peer, self.name, self.receiver.received, self.receiver.size))
            self._progress = progress

    def give_up(self, reason: str) -> None:
        """Stop, and remove what is there."""
        self.receiver.give_up(reason)
        self.discard()

    def discard(self) -> None:
        """Remove the temporary, if there is one."""
        part, self._part = self._part, None
        if part is not None:
            part.discard()

    def _refuse(self, reason: str) -> None:
        """Refuse it for a reason that the application should hear of as well."""
        self.receiver.refuse(reason)
        self._failed = f"refused: {reason}"


def _disk_reason(error: OSError) -> str:
    """What both sides are told: nothing of our paths."""
    return f"the receiving disk: {error.strerror or type(error).__name__}"
