"""The text of a ban file: JSON. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import limits
from ...addresses import PeerId
from ...peers.access import Target, target_of
from ...values import dataclass
from ...wire.labelled import UnusableFile, build_labelled, parse_labelled_untrusted

__all__ = ["KeptBan", "build_bans", "parse_bans_untrusted"]

_FORMAT = "crust bans"
_VERSION = 1
_MOST = 1e12  # seconds, of a length and since the epoch: whatever is longer is for good


@dataclass(frozen=True)
class KeptBan:
    """How long a ban holds."""

    until: float | None
    """When it ends, seconds since the epoch; None: never."""

    seconds: float | None
    """How long it was when it was made: a clock that goes back makes it no longer. None: for good."""

    @classmethod
    def lasting(cls, seconds: float | None, wall: float) -> KeptBan:
        """One that is made now."""
        if seconds is None or not _is_number(until := wall + float(seconds)):
            return cls(None, None)
        return cls(until, float(seconds))

    def remaining(self, wall: float) -> float | None:
        """Seconds that are left; 0: none; None: for good."""
        if self.until is None or self.seconds is None:
            return None
        return max(0.0, min(self.until - wall, self.seconds))

    def longer(self, other: KeptBan | None) -> KeptBan:
        """The one of two that ends later."""
        if other is None or self.until is None:
            return self
        return other if other.until is None or other.until > self.until else self


def build_bans(bans: Mapping[Target, KeptBan], wall: float) -> bytes:
    """
    The content of the file. ``wall``: seconds since the epoch, for people who look into it.

    Of a ban whose end or length cannot be read again nobody knows when it is over: it is for good.
    """
    rows: list[dict[str, Any]] = []
    for who, ban in bans.items():
        row: dict[str, Any] = {"who": str(who)}
        if _is_number(ban.until) and _is_number(ban.seconds):
            row |= {"until": ban.until, "seconds": ban.seconds}
        rows.append(row)
    return build_labelled(_FORMAT, _VERSION, {"saved": wall, "bans": rows})


def parse_bans_untrusted(data: bytes) -> dict[Target, KeptBan]:
    """
    The bans of a file that anybody may have written.

    All of it or nothing: an entry that cannot be read may be somebody who must not come in.

    Raises:
        UnusableFile: It is no such file, or one of another version, or an entry of it is none.
    """
    told = parse_labelled_untrusted(data, _FORMAT, _VERSION, limits.BAN_FILE_MAX)
    rows = told.get("bans")
    if not isinstance(rows, list):
        raise UnusableFile("is damaged: it has no list of bans")
    if len(rows) > limits.BANS_KEPT_MAX:
        raise UnusableFile(f"has {len(rows)} bans; {limits.BANS_KEPT_MAX} are the most")
    found: dict[Target, KeptBan] = {}
    for number, row in enumerate(rows, 1):
        who, ban = _ban(row, number)
        found[who] = ban.longer(found.get(who))
    return found


def _ban(row: Any, number: int) -> tuple[Target, KeptBan]:
    text = row.get("who") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise UnusableFile(f"is damaged: its ban {number} names nobody")
    try:
        who = PeerId.parse(text) if not set("/.:@") & set(text) else target_of(text)
    except ValueError as error:
        raise UnusableFile(f"is damaged: its ban {number} names nobody ({error})") from error
    until, seconds = row.get("until"), row.get("seconds")
    if until is None and seconds is None:
        return who, KeptBan(None, None)
    if not _is_number(until) or not _is_number(seconds):
        raise UnusableFile(f"is damaged: its ban {number} has no proper end")
    return who, KeptBan(float(until), float(seconds))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < _MOST  # nor is what is no number
