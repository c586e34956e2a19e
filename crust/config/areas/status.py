"""How others on this machine see what a node does."""

from __future__ import annotations

from typing import ClassVar

from ...values import dataclass
from ..kinds import OrNull, Text, read_address
from ..sections import Section, key
from .shapes import PATH

__all__ = ["StatusConfig"]


@dataclass(frozen=True, slots=True)
class StatusConfig(Section):
    """How others on this machine see what this node does."""

    KEY: ClassVar[str] = "status"

    socket: str | None = key(
        None,
        OrNull(PATH, "none; crust node has one all the same"),
        "Unix socket, for this user alone, at which crust status asks. {peer} in it stands for the first 8 characters"
        " of the peer id. null: none; crust node has one all the same, in $XDG_RUNTIME_DIR/crust.",
    )
    metrics: str | None = key(
        None,
        OrNull(Text("an address and a port such as 127.0.0.1:9475", read_address), "none"),
        "Address and port at which Prometheus gets this node's figures, as http://<address>:<port>/metrics. Whoever"
        " reaches it can read them: keep it on this machine. Port 0: any. null: none.",
    )
