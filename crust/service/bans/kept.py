"""
Bans that outlive the node: the ones made with ``keep=True``, in the file that ``access.ban.file`` names.

Programs may share it. Whoever writes has read what the others wrote, changes only what it was told to, and takes the
others' bans over; whoever does not write sees them at its next start, or ``reload()``.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Callable, Iterable, Mapping

from ... import limits
from ...exceptions import BansNotKept
from ...peers.access import Target
from ...runtime.shared_file import SharedFile
from ...wire.labelled import UnusableFile
from .form import KeptBan, build_bans, parse_bans_untrusted

__all__ = ["Kept"]


class Kept:
    """
    Thread-safe. All methods but the properties wait for the disk.

    Args:
        path: The file.
        wall: Seconds since the epoch.
        pause: Waits so many seconds, for a lock that somebody else has.
        adopt: Takes over what the file has: bans, and seconds that are left of each (None: for good).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        wall: Callable[[], float],
        pause: Callable[[float], object],
        adopt: Callable[[Mapping[Target, float | None]], object],
    ) -> None:
        self._file = SharedFile(path, limits.BAN_FILE_MAX, pause)
        self._wall = wall
        self._adopt = adopt
        self.bites: Callable[[str], object] = lambda limit: None
        """Told the name of a limit that has bitten; any thread, must be quick."""
        self._lock = threading.Lock()  # guards all below; held while the disk is waited for
        self._known: dict[Target, KeptBan] = {}  # as the file was last, or should be
        self._changes: dict[Target, KeptBan | None] = {}  # not written yet; None: lifted
        self._ends: tuple[int, list[float]] = (0, [])
        """Of those known: how many have no end, and the ends of the others, in order; replaced as a whole."""

    @property
    def path(self) -> str:
        """Where."""
        return str(self._file.path)

    def holds(self, who: Target) -> bool:
        """Whether that ban is in the file, or to be written there."""
        return who in self._known

    def count(self) -> int:
        """How many of these bans are not over. Does not wait; cheap, however many there are."""
        lasting, ends = self._ends
        return lasting + len(ends) - bisect.bisect_right(ends, self._wall())

    def load(self) -> None:
        """
        Take over what is there now.

        Raises:
            BansNotKept: It cannot be used; what is known stays.
        """
        with self._lock:
            try:
                found = self._read_locked()
            except (OSError, UnusableFile) as error:
                raise self._error("cannot be used", error, "bans that it may have are not in force") from error
            self._take_locked(found)

    def keep(self, targets: Iterable[Target], seconds: float | None) -> None:
        """
        Write these down, too. A ban that is there is made longer by this, never shorter; one that is to end later than
        any clock says is for good.

        Raises:
            BansNotKept: It cannot be written. They are written with the next change that can be.
        """
        ban = KeptBan.lasting(seconds, self._wall())
        with self._lock:
            for who in targets:
                longer = ban.longer(self._known.get(who))
                self._known[who] = self._changes[who] = longer
            self._note_ends_locked()
            self._write_locked()

    def drop(self, targets: Iterable[Target], lift: Callable[[], object]) -> None:
        """
        Take these out; the file is not touched if it has none of them.

        Args:
            lift: Lifts them in memory. Nothing that the file had is taken over between the two, which would bring them
                back.

        Raises:
            BansNotKept: It cannot be written. They are taken out with the next change that can be written.
        """
        with self._lock:
            there = [who for who in targets if who in self._known]
            for who in there:
                del self._known[who]
                self._changes[who] = None
            self._note_ends_locked()
            lift()
            if there:
                self._write_locked()

    def _read_locked(self) -> dict[Target, KeptBan]:
        try:
            return parse_bans_untrusted(self._file.read())
        except FileNotFoundError:
            return {}

    def _write_locked(self) -> None:
        wall = self._wall()
        try:
            self._file.make_folder()
            with self._file.locked():
                found = self._read_locked()
                for who, ban in self._changes.items():
                    if ban is None:
                        found.pop(who, None)
                    else:
                        found[who] = ban.longer(found.get(who))
                left = {who: ban for who, ban in found.items() if ban.remaining(wall) != 0}
                if len(left) > limits.BANS_KEPT_MAX:
                    self.bites("BANS_KEPT_MAX")
                    raise UnusableFile(f"would have {len(left)} bans; {limits.BANS_KEPT_MAX} are the most")
                self._file.write(build_bans(left, wall))
        except (OSError, UnusableFile) as error:
            text = "the change holds in this run, and is written with the next one that can be"
            raise self._error("was not written", error, text) from error
        self._changes.clear()
        self._take_locked(left)

    def _take_locked(self, found: dict[Target, KeptBan]) -> None:
        wall = self._wall()
        self._known = {**found, **{who: ban for who, ban in self._changes.items() if ban is not None}}
        self._note_ends_locked()
        lifted = {who for who, ban in self._changes.items() if ban is None}
        remaining = {who: ban.remaining(wall) for who, ban in self._known.items() if who not in lifted}
        self._adopt({who: seconds for who, seconds in remaining.items() if seconds != 0})

    def _note_ends_locked(self) -> None:
        ends = sorted(ban.until for ban in self._known.values() if ban.until is not None)
        self._ends = len(self._known) - len(ends), ends

    def _error(self, failed: str, error: Exception, so: str) -> BansNotKept:
        why = error.strerror or str(error) if isinstance(error, OSError) else f"it {error}"
        return BansNotKept(f"ban file {self.path} {failed}: {why}; {so}")
