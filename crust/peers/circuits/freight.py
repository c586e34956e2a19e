"""
What one link carries beside its session: frames of circuits, when the session has nothing to say.

Nothing is queued here but who has something to say, each *source* once: it is asked for its next frame when that can go
out. So what waits for a slow link is what its sources hold, which credit bounds. They take turns, a record each.

The session goes first. One that never stops would starve others' circuits, the handshakes of peers among them; so after
``CIRCUIT_PATIENCE`` one record comes between.

The other end of the link charges us for records that bring little, whoever is behind them. So of those go no more than
``CIRCUIT_SMALL_PER_SECOND``: what comes meanwhile is gathered by its source, and goes as one.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ... import limits
from ...runtime.rates import Bucket
from ...wire import frames
from ...wire.frames import CircuitClose, CircuitCredit, CircuitData, CircuitFrame

if TYPE_CHECKING:
    from ...runtime.flusher import IoLoop
    from ..conversation import Conversation
    from ..link import Link

__all__ = ["Freight", "Source"]

_TURNS = 32  # records that one thread writes before it leaves the rest to the I/O thread


class Source(Protocol):
    """Somebody with frames for a link."""

    def next_frame(self) -> CircuitFrame | None:
        """What goes out now, if anything does. Called by one thread at a time, which may hold locks of sessions."""


class Freight:
    """
    Of one link. Thread-safe; nothing here blocks.

    Args:
        io: The node's I/O loop.
        conversation: Whose link it is.
        link: The link.
    """

    def __init__(self, io: IoLoop, conversation: Conversation, link: Link) -> None:
        self._io = io
        self._now = io.now
        self._conversation = conversation
        self._link = link
        self._lock = threading.Lock()  # guards the fields below
        self._row: collections.OrderedDict[Source, None] = collections.OrderedDict()
        self._refusals: collections.deque[CircuitClose] = collections.deque(maxlen=limits.CIRCUIT_REFUSALS_MAX)
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        self._small: Bucket | None = None  # records that bring little, from when on there were any
        self._served = 0.0  # when something went out last, or began to wait
        self._pumping = False
        self._again = False
        self._looks = False
        self._closed = False

    def wants(self, source: Source, *, soon: bool = False) -> None:
        """
        ``source`` has something to say.

        Args:
            soon: On the I/O thread, not here.
        """
        with self._lock:
            if self._closed:
                return
            if not self._row and not self._refusals:
                self._served = self._now()
            self._row[source] = None
        if soon:
            self._io.flush_soon(self)
        else:
            self.pump()

    def refuse(self, close: CircuitClose) -> None:
        """Say that there is no such circuit; unless too many such words wait already."""
        with self._lock:
            if self._closed:
                return
            if not self._row and not self._refusals:
                self._served = self._now()
            self._refusals.append(close)
        self.pump()

    def flush(self) -> None:
        """Write what can be written now (I/O thread)."""
        self.pump()

    def pump(self) -> None:
        """Write what can be written now. If another thread is at it, that one does."""
        with self._lock:
            if self._pumping:
                self._again = True
                return
            if not self._row and not self._refusals:
                return
            self._pumping = True
        pumping = True
        try:
            while pumping:
                more = self._write()
                with self._lock:  # whoever comes after this finds nobody at it
                    pumping = self._pumping = self._again and not more
                    self._again = False
        except BaseException:
            self._pumping = False
            raise
        if more:
            self._io.flush_soon(self)

    def _write(self) -> bool:
        """Let the sources take turns; True if there is more that could go out."""
        for _ in range(_TURNS):
            if not self._is_free():
                return False
            with self._lock:
                source: Source | None = None
                frame: CircuitFrame | None = self._refusals.popleft() if self._refusals else None
                if frame is None:
                    if not self._row:
                        return False
                    source, _ = self._row.popitem(last=False)
            if source is not None:
                frame = source.next_frame()
            if frame is None:
                continue
            with self._lock:
                if source is not None and not self._closed:
                    self._row.setdefault(source)
                now = self._served = self._now()
                self._spend_locked(frame, now)
            self._link.write((frames.build_record((frame,)),), now)
        return True

    def _is_free(self) -> bool:
        """Whether the link takes a record now, and its session lets us."""
        link, conversation = self._link, self._conversation
        if self._closed or link.verdict or link.blocked or conversation.link is not link:
            return False
        now, delay = self._now(), limits.CIRCUIT_LOOK
        lacking = 0.0 if self._small is None else -self._small.tokens(now)
        if lacking > 0.0:
            delay = lacking / limits.CIRCUIT_SMALL_PER_SECOND + limits.CIRCUIT_GATHER
        elif not conversation.has_more or now - self._served >= limits.CIRCUIT_PATIENCE:
            return True
        with self._lock:
            if self._looks or not (self._row or self._refusals):
                return False
            self._looks = True
        if lacking > 0.0:
            self.bites("CIRCUIT_SMALL_PER_SECOND")
        self._io.call_later(delay, self._look)
        return False

    def _spend_locked(self, frame: CircuitFrame, now: float) -> None:
        """Count what goes out as far as it brings little."""
        if isinstance(frame, CircuitData):
            cost = 1.0 - len(frame.data) / limits.WORTH_BYTES
        else:
            cost = float(isinstance(frame, CircuitCredit))
        if cost > 0.0:
            if self._small is None:
                self._small = Bucket(limits.CIRCUIT_SMALL_PER_SECOND, limits.CIRCUIT_SMALL_BURST)
            self._small.tokens(now)
            self._small.take(cost)

    def _look(self, _now: float) -> None:
        """The session may have said all by itself (I/O thread)."""
        self._looks = False
        self.pump()

    def close(self) -> None:
        """Nothing more goes out. Idempotent."""
        with self._lock:
            self._closed = True
            self._row.clear()
            self._refusals.clear()

    def abandon(self) -> None:
        """In a forked child: forget everything (takes no lock)."""
        self._lock = threading.Lock()
        self._closed = True
        self._row = collections.OrderedDict()
