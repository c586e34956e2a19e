"""
The documents of the repository: their blocks of code, their links, and the parts that are generated from the code.

``python -m tests.support.documents`` (``make docs``) writes the generated parts anew.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from crust.config import Config
from crust.config.render import effective_rows
from crust.config.sections import field_keys
from crust.peers.session import TRANSITIONS
from crust.transports.utp.states import TRANSITIONS as UTP_TRANSITIONS
from crust.transports.utp.states import Event as UtpEvent
from tests.fuzz import registry
from tests.support import misbehaviour_page, traversal_page
from tests.support.source import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


class Block(NamedTuple):
    """A fenced block."""

    path: pathlib.Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: pathlib.Path, language: str) -> Iterator[Block]:
    """The blocks of one language in one document."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if match[1] == language:
            yield Block(path, text.count("\n", 0, match.start()) + 2, language, match[2])


def programs(path: pathlib.Path) -> dict[str, str]:
    """The programs of a page: Python blocks below a paragraph that names the file to save them as, ```name.py```."""
    found = {}
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"`(\w+\.py)`(?:(?!\n\n)[^`])*\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        found[match[1]] = match[2]
    return found


def configuration_table() -> str:
    """Every key of the configuration with its default and meaning."""
    defaults = {row.key: row.value for row in effective_rows(Config())}
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, field in field_keys(Config):
        if key in defaults:
            meaning = field.metadata["doc"].replace("|", chr(92) + "|") + (" (R)" if field.metadata.get("live") else "")
            lines.append(f"| `{key}` | `{defaults[key]}` | {meaning} |")
    return "\n".join(lines) + "\n"


def session_diagram() -> str:
    """The states of a session, from the table in the code."""
    arrows = [f"    {state.value} --> {target.value}: {event.value}" for (state, event), target in TRANSITIONS.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> new", *arrows, "    lost --> [*]", "```"]) + "\n"


def utp_diagram() -> str:
    """The states of a µTP connection, from the table in the code; BROKEN leads to CLOSED from everywhere."""
    arrows = [
        f"    {state.value} --> {target.value}: {event.value}"
        for (state, event), target in UTP_TRANSITIONS.items()
        if event is not UtpEvent.BROKEN
    ]
    named = sorted({state.value for state, _ in UTP_TRANSITIONS} | {"closed"})
    aliases = [f'    state "{name}" as {name.replace("-", "_")}' for name in named if "-" in name]
    lines = []
    for arrow in arrows:
        states, _, event = arrow.partition(": ")
        lines.append(f"{states.replace('-->', '@').replace('-', '_').replace('@', '-->')}: {event}")
    begin = ["    [*] --> syn_sent: we call", "    [*] --> syn_received: we are called"]
    return "\n".join(["```mermaid", "stateDiagram-v2", *aliases, *begin, *lines, "    closed --> [*]", "```"]) + "\n"


def fuzz_targets() -> str:
    """What is fuzzed, and what must hold."""
    lines = ["| target | what is fed, and what must hold |", "|---|---|"]
    for name in registry.names():
        title, _, rest = registry.promise(name).partition("\n")
        lines.append(f"| `{name}` | **{title}** {' '.join(rest.split())} |")
    return "\n".join(lines)


def example(match: re.Match[str]) -> str:
    """A file of examples/, or of docs/examples/, as a block."""
    return f"{match[1]}```python\n{(ROOT / match[2]).read_text(encoding='utf-8')}```\n{match[3]}"


def with_examples(text: str) -> str:
    """The text with every file of examples/, or of docs/examples/, that it shows as that file is."""
    return re.sub(
        r"(<!-- generated: ((?:docs/)?examples/\S+) -->\n).*?(<!-- end: \2 -->\n)", example, text, flags=re.DOTALL
    )


def with_part(name: str, generate: Callable[[], str]) -> Callable[[str], str]:
    """A function that puts what ``generate()`` says between the marks of that name."""

    def replaced(text: str) -> str:
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->\n"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the document needs the lines {begin!r} and {end!r}")
        return before + begin + generate() + end + after

    return replaced


def with_parts(parts: Mapping[str, Callable[[], str]]) -> Callable[[str], str]:
    """The same for several parts."""

    def replaced(text: str) -> str:
        for name, generate in parts.items():
            text = with_part(name, generate)(text)
        return text

    return replaced


GENERATED: dict[pathlib.Path, Callable[[str], str]] = {
    ROOT / "docs" / "add-a-method.md": with_examples,
    ROOT / "docs" / "configuration.md": with_part("configuration keys", configuration_table),
    ROOT / "docs" / "design.md": with_part("session states", session_diagram),
    ROOT / "docs" / "fuzzing.md": with_part("fuzz targets", fuzz_targets),
    ROOT / "docs" / "misbehaviour.md": with_parts(misbehaviour_page.PARTS),
    ROOT / "docs" / "nat-traversal.md": with_parts(traversal_page.PARTS),
    ROOT / "docs" / "recipes.md": with_examples,
    ROOT / "docs" / "utp.md": with_part("utp states", utp_diagram),
}


def with_generated(path: pathlib.Path) -> str:
    """The document's text with its generated parts as they should be."""
    return GENERATED[path](path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for document in GENERATED:
        document.write_text(with_generated(document), encoding="utf-8")
