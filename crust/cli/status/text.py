"""A status as a picture for people: what the node is, then its peers, then what its parts say."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..terminal import human_duration, human_size, printable

__all__ = ["WIDTH_MAX", "Paint", "as_text"]

Paint = Callable[..., str]
Call = Callable[[str], str]

WIDTH_MAX = 160  # columns; there is nothing more to show
_WIDTH_MIN = 40
_LABEL = 12  # columns
_CELL_MAX = 44

_FILTERING = {"open": "strangers get in", "closed": "strangers do not get in", "unknown": "strangers: not known"}
_ID = re.compile(r"[a-z2-7]{56}")
_PROTOCOLS = {"tcp": "tcp", "utp": "udp"}


class _Column(NamedTuple):
    title: str
    cells: list[str]
    right: bool = True
    rank: int = 0
    """Which go first when the window is narrow: those of the highest rank. Rank 0 stays."""


def as_text(status: Mapping[str, Any], *, width: int, paint: Paint, call: Call) -> list[str]:
    """
    The lines.

    Args:
        status: As ``Status.as_dict`` gives it, with rates.
        width: Columns of the window.
        paint: Called with a text and names of styles; gives back the text as it is, or in colours.
        call: How a peer is called, by its id.
    """
    width = max(_WIDTH_MIN, min(width, WIDTH_MAX))
    lines = [*_node(status, width, paint, call), "", *_peers(status, width, paint, call)]
    for name, said in status["sections"].items():
        lines += ["", *_section(name, said, width, paint, call)]
    return lines


# --- the node ---------------------------------------------------------------------------------------------------------


def _node(status: Mapping[str, Any], width: int, paint: Paint, call: Call) -> Iterator[str]:
    head = f"{call(status['id'])}  crust {status['version']}, process {status['process']}"
    yield paint(_cut(f"{printable(head)}, up {human_duration(status['uptime'])}", width), "bold")
    for label, texts, style in _facts(status, call):
        yield from _fact(label, texts, width, paint, style)


def _facts(status: Mapping[str, Any], call: Call) -> Iterator[tuple[str, Sequence[str], str]]:
    """Labels, what stands there, and in which style."""
    yield "id", [status["id"]], ""
    yield "network", [_network(status)], ""
    nat = status["nat"]
    known = {True: ("yes", "green"), False: ("no", "yellow"), None: ("not known", "yellow")}
    word, style = known[nat["public"]]
    yield "reachable", [nat["text"] if nat["public"] is None else f"{word}: {nat['text']}"], style
    for each in nat["protocols"]:
        yield f"{_PROTOCOLS.get(each['transport'], each['transport'])} IPv{each['family']}", [_protocol(each)], ""
    yield "listens on", status["listeners"] or ["nothing"], ""
    if status["addresses"] != status["listeners"]:
        yield "addresses", status["addresses"] or ["none that others could use"], ""
    told = set(status["addresses"])
    more = [f"{each['endpoint']} ({each['kind']})" for each in status["candidates"] if each["endpoint"] not in told]
    if more:
        yield "also seen at", more, ""
    for each in status["mappings"]:
        reason = f"; but {each['reason']}" if each["reason"] else ""
        yield "router", [f"leads {each['endpoint']} to {each['listener']} ({each['protocol']}){reason}"], ""
    if status["mapping_failure"]:
        yield "router", [f"opens no port: {status['mapping_failure']}"], ""
    if status["via"]:
        yield "introduced by", [call(contact.partition("@")[0]) for contact in status["via"]], ""
    yield from _trouble(status)


def _network(status: Mapping[str, Any]) -> str:
    words = ["without a name" if status["network"] is None else str(status["network"])]
    words += ["closed" if status["closed"] else "open", f"role {status['role']}"]
    words += ["strangers may bootstrap"] if status["accepts_bootstrap"] else []
    words += ["relays for its peers"] if status["serves_relay"] else []
    return ", ".join(words)


def _protocol(each: Mapping[str, Any]) -> str:
    if each["mapping"] == "blocked":
        return "nothing gets through"
    if each["mapping"] == "independent":
        words = ["one outer port for all"]
    elif each["mapping"] == "dependent":
        block = f" from {each['ports'][0]} to {each['ports'][1]}" if each["ports"] else ""
        words = [f"outer ports in steps of {each['step']}" if each["step"] else f"an outer port for each place{block}"]
    else:
        words = ["outer ports: not known"]
    words.append(_FILTERING.get(each["filtering"], each["filtering"]))
    words += ["callers are refused"] if each["resets"] else []
    words += [f"seen at {', '.join(str(place).partition('://')[2] for place in each['seen'])}"] if each["seen"] else []
    return ", ".join(words)


def _trouble(status: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str], str]]:
    """Counters that should be 0, and what others have had of this node: only where there is something to say."""
    stats = status["stats"]
    gate, circuits = stats["gate"], stats["circuits"]
    wrong = {
        "failures inside crust": stats["crashes"],
        "callbacks that raised": stats["callback_errors"],
        "log records dropped": stats["log_records_dropped"],
        "pauses for lack of descriptors": stats["accept_pauses"],
    }
    if found := [f"{count} {what}" for what, count in wrong.items() if count]:
        yield "trouble", [", ".join(found)], "red"
    refused = gate["refused_by_rate"] + gate["refused_by_slots"] + gate["evicted"]
    if refused:
        yield "gate", [f"{gate['admitted']} callers let in, {refused} turned away"], ""
    if circuits["opened"] or circuits["refused"]:
        carried = human_size(circuits["carried_bytes"])
        counts = f"{circuits['current']} circuits now, {circuits['opened']} so far, {circuits['refused']} refused"
        yield "for others", [f"{counts}, {carried}"], ""
    if bitten := [f"{count} by {name}" for name, count in stats.get("refusals", {}).items() if count]:
        yield "refused", bitten, ""
    if stats["callbacks_waiting"] or stats["buffered_bytes"]:
        waiting = f"{stats['callbacks_waiting']} callbacks, {human_size(stats['buffered_bytes'])} of messages"
        yield "waiting", [waiting], ""


def _fact(label: str, texts: Sequence[str], width: int, paint: Paint, style: str) -> Iterator[str]:
    """A label, and beside it what fits on lines; addresses stay whole where they can."""
    room = width - _LABEL - 4
    lines: list[str] = []
    for text in texts:
        safe = printable(str(text), 4000)
        joined = f"{lines[-1]}, {safe}" if lines else safe
        if lines and len(joined) <= room:
            lines[-1] = joined
        else:
            lines += textwrap.wrap(safe, room, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        shown = paint(line, style) if style else line
        title = f"{label:<13}" if number == 0 else " " * 13
        yield f"  {paint(title, 'dim')} {shown}"


# --- peers ------------------------------------------------------------------------------------------------------------


def _peers(status: Mapping[str, Any], width: int, paint: Paint, call: Call) -> Iterator[str]:
    peers = status["peers"]
    suspended = sum(peer["state"] != "connected" for peer in peers)
    words = [f"{len(peers) or 'no'} peer{'' if len(peers) == 1 else 's'}"]
    words += [f"{suspended} suspended"] if suspended else []
    head = f"{', '.join(words)}; {_both(status['rates'], status['traffic'])}"
    yield paint(_cut(head, width), "bold")
    if not peers:
        return
    paths = [peer["path"] or {} for peer in peers]
    rates = [peer["rates"] or {} for peer in peers]
    waiting = [peer["unacknowledged_bytes"] + peer["unread_bytes"] for peer in peers]
    total = [peer["traffic"] for peer in peers]
    columns = [
        _Column("PEER", [_cut(printable(call(peer["id"])), 16) for peer in peers], right=False),
        _Column("PATH", [_path(peer) for peer in peers], right=False),
        _Column("RTT", [_rtt(path.get("rtt")) for path in paths]),
        _Column("SINCE", [_age(path.get("since"), status["at"]) for path in paths], rank=1),
        _Column("OUT/s", [_size(rate.get("bytes_sent")) for rate in rates]),
        _Column("IN/s", [_size(rate.get("bytes_received")) for rate in rates]),
        _Column("MSG/s", [_messages(rate) for rate in rates], rank=2),
        _Column("OUT", [human_size(each["bytes_sent"]) for each in total], rank=4),
        _Column("IN", [human_size(each["bytes_received"]) for each in total], rank=4),
        _Column("WAITING", [human_size(size) if size else "" for size in waiting], rank=5),
        _Column("ADDRESS", [_cut(printable(path.get("remote", "")), _CELL_MAX) for path in paths], right=False, rank=3),
    ]
    yield from _table(columns, width, paint)


def _both(rates: Mapping[str, float] | None, total: Mapping[str, int]) -> str:
    so_far = f"{human_size(total['bytes_sent'])} out, {human_size(total['bytes_received'])} in so far"
    if rates is None:
        return so_far
    return f"{human_size(rates['bytes_sent'])}/s out, {human_size(rates['bytes_received'])}/s in ({so_far})"


def _path(peer: Mapping[str, Any]) -> str:
    if peer["state"] != "connected" or peer["path"] is None:
        return "suspended"
    return printable(str(peer["path"]["class"]), 20)


def _rtt(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"


def _age(since: float | None, now: float) -> str:
    return "" if since is None else human_duration(max(0.0, now - since))


def _size(rate: float | None) -> str:
    return "" if rate is None else human_size(rate)


def _messages(rates: Mapping[str, float]) -> str:
    """Out and in together: their bytes stand beside it."""
    return f"{rates['messages_sent'] + rates['messages_received']:.0f}" if rates else ""


# --- what parts of the node say ---------------------------------------------------------------------------------------


def _section(name: str, said: Mapping[str, Any], width: int, paint: Paint, call: Call) -> Iterator[str]:
    yield paint(_title(name), "bold")
    tables = {key: value for key, value in said.items() if _is_table(value)}
    plain = [f"{_words(key)} {_value(key, value, call)}" for key, value in said.items() if key not in tables]
    if plain:
        text = ", ".join(plain)
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    for key, rows in tables.items():
        if len(tables) > 1:
            yield f"  {_words(key)}"
        titles = list(dict.fromkeys(title for row in rows for title in row))
        columns = []
        for number, title in enumerate(titles):
            cells = [_cut(_value(title, row.get(title), call), _CELL_MAX) for row in rows]
            numbers = all(isinstance(row.get(title), (int, float, type(None))) for row in rows)
            columns.append(_Column(_words(title).upper(), cells, right=numbers, rank=number))
        yield from _table(columns, width, paint)


def _title(name: str) -> str:
    return "LAN" if name == "lan" else _words(name).capitalize()


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _words(name: str) -> str:
    return printable(name.removesuffix("_total").removesuffix("_seconds").replace("_", " "), 40)


def _value(name: str, value: object, call: Call) -> str:
    """``peer`` is an id, ``…_seconds`` how long ago, or for how long."""
    if name == "peer" and isinstance(value, str) and _ID.fullmatch(value):
        return printable(call(value))
    if name.endswith("_seconds") and isinstance(value, (int, float)):
        return human_duration(value)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return printable(", ".join(map(str, value)) or "none", 200)
    return printable(str(value), 200)


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(columns: Sequence[_Column], width: int, paint: Paint) -> Iterator[str]:
    """The columns that fit, the most important ones; a column without anything in it is left out."""
    kept = [column for column in columns if any(column.cells)]
    while len(kept) > 1 and _width(kept) > width:
        last = max(range(len(kept)), key=lambda number: (kept[number].rank, number))
        del kept[last]
    yield paint(_row(kept, [column.title for column in kept], width), "dim")
    for number in range(len(kept[0].cells) if kept else 0):
        yield _row(kept, [column.cells[number] for column in kept], width)


def _size_of(column: _Column) -> int:
    return max(len(column.title), *map(len, column.cells))


def _width(columns: Sequence[_Column]) -> int:
    return 2 + sum(_size_of(column) + 2 for column in columns) - 2


def _row(columns: Sequence[_Column], cells: Sequence[str], width: int) -> str:
    parts = []
    for column, cell in zip(columns, cells, strict=True):
        parts.append(f"{cell:>{_size_of(column)}}" if column.right else f"{cell:<{_size_of(column)}}")
    return _cut(f"  {'  '.join(parts)}".rstrip(), width)


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"
