"""An introducer that says of everybody to be at ``VICTIM``, for programs of the laboratory: importing it makes one."""

from __future__ import annotations

import os

from crust.peers.circuits import relayed
from crust.peers.link import Link

VICTIM = os.environ["VICTIM"]


def _lie(link: Link) -> tuple[str, int]:
    return VICTIM, 4000


relayed.address_of = _lie  # type: ignore[attr-defined]
