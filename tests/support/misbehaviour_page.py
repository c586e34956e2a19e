"""The generated parts of docs/misbehaviour.md."""

from __future__ import annotations

from collections.abc import Callable

from crust.peers.misdeeds import KINDS, Kind
from crust.peers.refusals import LIMITS


def kinds_table() -> str:
    """Every kind of misbehaviour: from when on it is told, and what is done about it."""
    lines = [
        "| kind | who | what it did | threshold, of one | attributable | action | threshold, of all |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS.values():
        together = "" if kind.many is None else f"{kind.many:,g}"
        lines.append(
            f"| `{kind.name}` | {'a peer' if kind.proven else 'an address'} | {kind.what} | {_threshold(kind)} "
            f"| {'yes' if kind.attributable else 'no'} | `{kind.action}` | {together} |"
        )
    return "\n".join(lines) + "\n"


def _threshold(kind: Kind) -> str:
    if kind.threshold == 1 and kind.unit == "times":
        return "each time"
    return f"{kind.threshold:,g} {kind.unit} in {kind.seconds:g} s"


def limits_table() -> str:
    """Every limit, and what is counted when it bites."""
    lines = ["| limit | holds | what is counted | why it is no key |", "|---|---|---|---|"]
    for limit in LIMITS.values():
        when = "before a key is proven" if limit.before else "afterwards"
        lines.append(f"| `{limit.name}` | {when} | {limit.what} | {limit.fixed} |")
    return "\n".join(lines) + "\n"


PARTS: dict[str, Callable[[], str]] = {"misbehaviour kinds": kinds_table, "limits": limits_table}
