"""What the records of one session cost, by what they have brought: for the account of its peer. (sans-IO)"""

from __future__ import annotations

from collections.abc import Iterable

from .. import limits
from ..wire import frames
from ..wire.transfer import TransferType
from .accounts import Account, Burden
from .session import Session

__all__ = ["Meter", "dear_words"]

_FRAMES_FREE = 4  # in a record: an acknowledgement, an answer, and data
_SAVED_MAX = 1000.0  # records: of an answer sent before what it pays for
_WORTH_WAITING = 0.02  # seconds: for less no link is held
_HEARTBEATS = (frames.Ping, frames.Pong)
_SIGNED_END = bytes((TransferType.SIGNED_END,))
_BATCHES = (frames.Batch, frames.Piece)
_REQUESTS = (frames.CircuitOpen, frames.EchoRequest, *frames.SIGNAL_FRAMES)


def dear_words(record: Iterable[frames.Frame]) -> int:
    """How many messages there are in it that are dear, however short they are."""
    dear = 0
    for frame in record:
        if isinstance(frame, _BATCHES) and frame.kind != frames.Kind.MESSAGE:
            dear += len(frame.messages) if isinstance(frame, frames.Batch) else 1
    return dear


class Meter:
    """
    One session's. Not thread-safe: its lock guards it.

    Args:
        account: The peer's.
        session: What the records are for.
    """

    __slots__ = (
        *("_answered", "_inbox", "_outbox", "_repeated", "_saved", "_signed_for", "_taken", "_vouched"),
        "account",
    )

    def __init__(self, account: Account, session: Session) -> None:
        self.account = account
        self._inbox = session.inbox
        self._outbox = session.outbox
        self._taken = self._repeated = self._answered = self._signed_for = 0
        self._saved = 0.0  # records that are paid for in advance
        self._vouched = 0.0  # and signatures

    def received(self, records: list[list[frames.Frame]]) -> None:
        """Records that came together have been taken."""
        count = len(records)
        inbox = self._inbox
        sent = self._outbox.numbered
        paid = self._saved + (inbox.taken - self._taken) / limits.WORTH_BYTES + sent - self._answered
        repeated = inbox.repeated - self._repeated
        self._taken, self._repeated, self._answered = inbox.taken, inbox.repeated, sent
        self._saved = min(max(0.0, paid - count), _SAVED_MAX)
        more = sum(map(len, records)) - _FRAMES_FREE * count
        if paid >= count and more <= 0 and not repeated:
            return
        unpaid = max(0.0, count - paid)
        cost = unpaid * limits.COST_RECORD + unpaid / count * limits.COST_READ + repeated * limits.COST_BYTE
        if more > 0:
            cost += more * limits.COST_FRAME
            batches = sum(type(frame) in _BATCHES for record in records for frame in record)
            cost += max(0, batches - count) * limits.COST_BATCH
        burden = Burden.TINY
        last = records[0][-1]
        if repeated:
            burden = Burden.DUPLICATE
        elif isinstance(last, _HEARTBEATS):
            burden = Burden.HEARTBEAT
            cost += limits.COST_PONG
        elif isinstance(last, frames.Ack):
            burden = Burden.ACK
        self.account.spend(burden, cost)

    def control(self, frame: frames.Frame) -> None:
        """The same for a record with one frame about something else than messages."""
        cost = limits.COST_RECORD
        burden = Burden.REQUEST
        if isinstance(frame, frames.CircuitData):
            cost = limits.COST_CARRIED * (1 - min(1.0, len(frame.data) / limits.WORTH_BYTES))
        elif isinstance(frame, frames.KeyUpdate):
            burden, cost = Burden.KEY, cost + limits.COST_KEY
        elif isinstance(frame, _REQUESTS):
            cost += limits.COST_REQUEST
            if isinstance(frame, frames.CircuitOpen):
                cost += len(frame.data) * limits.COST_CARRIED_BYTE
        self.account.spend(burden, cost)

    def file_words(self, messages: Iterable[bytes], ours: int) -> None:
        """
        Messages about files: all cost, however long, but those that bring enough of a file's bytes; and one with a
        signature costs that, too.

        Args:
            ours: 1 if the files that we send have odd numbers, else 0; nobody brings bytes of those.
        """
        cost = 0.0
        for data in messages:
            if len(data) < limits.WORTH_BYTES or data[0] != TransferType.DATA or data[4] % 2 == ours:
                cost += limits.COST_FILE_WORD
                if data[:1] == _SIGNED_END:
                    cost += limits.COST_SIGNATURE
        if cost:
            self.account.spend(Burden.FILE, cost)

    def signatures(self, messages: Iterable[bytes]) -> None:
        """Signed messages, each to be verified: free if the application sends as many, or if they are long."""
        worth = limits.SIGNED_WORTH_BYTES
        due = sum(1 - len(data) / worth for data in messages if len(data) < worth)
        sent = self._outbox.numbered
        paid = self._vouched + sent - self._signed_for
        self._signed_for = sent
        self._vouched = min(max(0.0, paid - due), _SAVED_MAX)
        if due > paid:
            self.account.spend(Burden.SIGNATURE, (due - paid) * limits.COST_SIGNATURE)

    @property
    def is_overdrawn(self) -> bool:
        """Whether it may be worth holding the link."""
        account = self.account
        return account.balance < -_WORTH_WAITING * account.share

    def wait(self, now: float) -> float:
        """Seconds for which the link should not be read."""
        wait = self.account.wait(now)
        return wait if wait >= _WORTH_WAITING else 0.0
