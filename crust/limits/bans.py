"""Who is not let in: what we chose."""

from __future__ import annotations

BANS_CONDEMNED_MAX = 65_536  # peers of whom a predicate was true that are remembered; then it is asked again
BANS_KEPT_MAX = 65_536  # bans in a ban file
BAN_FILE_MAX = 16 * 1024 * 1024  # bytes of a ban file: so many bans take half of that
JUDGE_REPORT_INTERVAL = 10.0  # seconds between two reports of one predicate that raises
JUDGED_MAX = 4096  # peers that have passed, and whose session has not begun; others may be asked about twice
