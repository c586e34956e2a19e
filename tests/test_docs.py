"""What the documents say is so: their examples run, their commands exist, their tables match the code."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import itertools
import logging
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

import crust
from crust.cli import control
from crust.cli.main import build_parser
from crust.wire.handshake import DenialCode
from tests.support.documents import DOCUMENTS, GENERATED, Block, blocks, programs, with_generated
from tests.support.source import ROOT

DOCS = ROOT / "docs"
PAGES_WITH_EXAMPLES = [
    *("api", "bootstrap", "configuration", "delivery", "embedding", "lan", "nat", "relays", "rendezvous", "testing"),
    "threads",
    "bans",
    "misbehaviour",
    "gossip", "groups",
    "two-machines",
    "reload",
    "signing",
    "status",
]
PAGES_WITH_PROGRAMS = ["first-steps", "migration", "threads-or-gevent"]  # tests/test_guides.py runs them
BIND = "tcp://127.0.0.1:0"


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table(name: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading: the code word of the first column, and all columns."""
    section = page(name).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), section.splitlines())
    rows = [line.strip("|").split("|") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row] for row in rows[2:]}


# --- Python -----------------------------------------------------------------------------------------------------------


def execute(block: Block, names: dict[str, object]) -> str:
    """Run a block; what it prints."""
    names.setdefault("__name__", "__main__")
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.text, str(block.path), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


@pytest.fixture
def pair() -> Iterator[dict[str, object]]:
    """What the examples may use: a started node, another, and the first one's peer."""
    config = crust.Config.from_dict({"listen": {"addresses": [BIND]}})
    with crust.Service(config) as node, crust.Service(config) as other:
        peer = node.connect(other.contact)
        yield {"crust": crust, "node": node, "other": other, "peer": peer, "contact": other.contact}


@pytest.fixture
def _quiet_again() -> Iterator[None]:
    """What an example sets in the log is undone."""
    logger = logging.getLogger("crust")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("name", PAGES_WITH_EXAMPLES)
@pytest.mark.usefixtures("_quiet_again")
def test_the_examples_run(name: str, pair: dict[str, object]) -> None:
    """The Python blocks of a page run one after the other, in one namespace; those to be saved as a file apart."""
    path = DOCS / f"{name}.md"
    apart = programs(path).values()
    found = [block for block in blocks(path, "python") if block.text not in apart]
    assert found, f"{name}.md has no example"
    for block in found:
        execute(block, pair)


def test_no_example_is_forgotten() -> None:
    """A Python block is in a page whose examples are run."""
    run = {DOCS / f"{name}.md" for name in PAGES_WITH_EXAMPLES + PAGES_WITH_PROGRAMS}
    run |= {ROOT / "README.md", DOCS / "control-channel.md"}
    run.add(DOCS / "laboratory.md")  # tests/natlab runs it
    run.add(DOCS / "add-a-method.md")  # its block is a package, which tests/nat/punch and tests/natlab try
    run.add(DOCS / "recipes.md")  # its blocks are files of examples/, which tests/recipes runs
    assert [path.name for path in DOCUMENTS if path not in run and any(blocks(path, "python"))] == []


def test_the_first_example_is_short_and_true() -> None:
    """README's first example has at most 20 lines and prints what it says."""
    first = next(blocks(ROOT / "README.md", "python"))
    assert first.text.count("\n") <= 20
    assert execute(first, {}) == "b'hello, alice'\n"


def test_the_second_example_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts a node from the configuration in the repository and shows a contact."""
    monkeypatch.chdir(ROOT)
    (_, second) = blocks(ROOT / "README.md", "python")
    assert "@tcp://" in execute(second, {})


def test_the_echo_survives_a_flood(pair: dict[str, object]) -> None:
    """The recipe of threads.md answers every message, also when both sides flood beyond their buffers."""
    node, other, peer = pair["node"], pair["other"], pair["peer"]
    assert isinstance(node, crust.Service) and isinstance(other, crust.Service) and isinstance(peer, crust.Peer)
    recipe = next(block for block in blocks(DOCS / "threads.md", "python") if "WouldBlock" in block.text)
    count, data = 6000, b"x" * 2000  # 12 MB: more than the send and the receive buffer together hold
    execute(recipe, {"crust": crust, "node": other})
    for _ in range(count):
        peer.send(data, timeout=60)
    for _ in range(count):
        assert peer.recv(timeout=60) == data


@pytest.mark.slow
def test_a_stranger_can_drive_two_nodes(tmp_path: pathlib.Path) -> None:
    """The program in control-channel.md, which does not import crust, runs as it stands."""
    (program,) = blocks(DOCS / "control-channel.md", "python")
    assert "import crust" not in program.text
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program.text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "HELLO, BOB\n"), done.stderr


# --- commands ---------------------------------------------------------------------------------------------------------


@functools.cache
def help_of(*command: str) -> str:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "200")
        patch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args([*command, "--help"])
    assert not ended.value.code, f"crust {' '.join(command)} --help"
    return printed.getvalue()


def shown_commands() -> list[tuple[str, list[str]]]:
    """Every line of the documents that begins with ``$``, in words."""
    lines = []
    for path in DOCUMENTS:
        for block in blocks(path, "console"):
            for line in block.text.splitlines():
                if line.startswith("$ "):
                    lines.append((block.where, shlex.split(line[2:], comments=True)))
    return lines


def shown(program: str) -> list[list[str]]:
    return [words for _, words in shown_commands() if words[0] == program]


def test_every_command_in_the_documents_exists() -> None:
    """Each command has its subcommand and its options, each ``make`` its target."""
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    wrong = []
    for where, words in shown_commands():
        if words[0] == "make":
            wrong += [f"{where}: make {word}" for word in words[1:] if word not in targets]
        elif words[0] in ("crust", "punch-test"):
            words = ["crust", *words] if words[0] == "punch-test" else words
            action = words[1:3] if words[1] in ("contacts", "punch-test") else words[1:2]
            text = help_of(*(word for word in action if not word.startswith("-")))
            wrong += [f"{where}: {word}" for word in words if word.startswith("-") and word not in text]
    assert wrong == []


def test_every_command_is_documented() -> None:
    """command-line.md shows each subcommand that ``crust --help`` lists."""
    listed = set(re.findall(r"^ {2,4}([a-z-]+) {2,}", help_of(), re.MULTILINE))
    assert listed >= {"demo", "send", "recv", "node", "chat", "keygen", "contacts", "config", "punch-test"}
    assert listed - {words[1] for words in shown("crust")} == set()


def options_of(*command: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", help_of(*command)))


def test_every_option_is_documented() -> None:
    """command-line.md has every option of every command, and every option in its table of common ones exists."""
    nested = ("contacts", "punch-test")
    commands = [tuple(words[1:3]) if words[1] in nested else (words[1],) for words in shown("crust")]
    options = set().union(*(options_of(*command) for command in commands))
    documented = set(re.findall(r"--[a-z][a-z-]+", page("docs/command-line.md")))
    assert options - documented - {"--help", "--verbose", "--quiet"} == set()
    common = table("docs/command-line.md", "Options of every command that runs a node")
    assert {name.split()[0] for name in common} <= options_of("node")


# --- tables -----------------------------------------------------------------------------------------------------------


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def events() -> dict[str, list[str]]:
    """Name in JSON, and fields, of every public event."""
    found = {}
    for name in crust.__all__:
        value = getattr(crust, name)
        if isinstance(value, type) and issubclass(value, crust.Event) and value is not crust.Event:
            found[snake(name)] = [field.name for field in dataclasses.fields(value)]
    found["new_message"] = list(crust.NewMessage._fields)
    return found


def test_the_table_of_events_is_the_code() -> None:
    """control-channel.md lists every event with exactly its fields."""
    listed = {
        name: re.findall(r"`(\w+)`", row[1]) for name, row in table("docs/control-channel.md", "Events").items()
    }
    assert listed.pop("started") == ["peer", "contact"]
    assert listed == events()


def test_the_table_of_commands_is_the_code() -> None:
    """control-channel.md lists every command of the channel."""
    assert set(table("docs/control-channel.md", "Commands")) == set(control.COMMANDS)


def test_every_error_is_explained() -> None:
    """errors.md has every public error, and no other."""
    errors = {
        name
        for name in crust.__all__
        if isinstance(getattr(crust, name), type) and issubclass(getattr(crust, name), BaseException)
    }
    assert set(re.findall(r"^\| `(\w+)` \|", page("docs/errors.md").split("\n## ")[0], re.MULTILINE)) == errors - {
        "CrustError"
    }


def test_every_reason_is_explained() -> None:
    """errors.md has every reason of a refusal and of a lost session."""
    assert set(table("docs/errors.md", "Why a call was refused")) == {code.name.lower() for code in DenialCode}
    assert set(table("docs/errors.md", "Why a session ended")) == {reason.value for reason in crust.LostReason}


def test_every_public_name_is_in_the_reference() -> None:
    """api.md mentions every name of ``crust.__all__``; the errors are in errors.md."""
    words = set(re.findall(r"\w+", page("docs/api.md") + page("docs/errors.md")))
    assert set(crust.__all__) - words == set()


@pytest.mark.parametrize("kind", [crust.Service, crust.Peer], ids=lambda kind: kind.__name__)
def test_every_public_method_is_in_the_reference(kind: type) -> None:
    """api.md mentions every method and property of a node and of a peer."""
    words = set(re.findall(r"\w+", page("docs/api.md")))
    members = {name for name, value in vars(kind).items() if callable(value) or isinstance(value, property)}
    assert {name for name in members if name[0] != "_"} - words == set()


def test_every_dependency_earns_its_place() -> None:
    """design.md has a sentence on each distribution that pyproject.toml asks for."""
    metadata = page("pyproject.toml").split("dependencies = [", 1)[1].split("[project.scripts]")[0]
    names = set(re.findall(r'^\s*(?:\w+ = \[)?"([a-zA-Z-]+)', metadata, re.MULTILINE)) - {"crust"}
    assert {"pynacl", "gevent", "ruff"} <= names
    section = page("docs/design.md").split("## Dependencies\n")[1].lower()
    assert {name for name in names if name.lower() not in section} == set()


def test_the_recipes_are_files() -> None:
    """recipes.md shows every file of examples/, and no other code."""
    shown = {(ROOT / name).read_text() for name in re.findall(r"<!-- generated: (\S+) -->", page("docs/recipes.md"))}
    assert {block.text for block in blocks(DOCS / "recipes.md", "python")} == shown
    assert shown == {text for path in (ROOT / "examples").rglob("*.py") if (text := path.read_text())}


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_the_generated_part_is_fresh(path: pathlib.Path) -> None:
    """What is generated from the code is what the code says now; ``make docs`` writes it anew."""
    assert path.read_text(encoding="utf-8") == with_generated(path)


# --- links ------------------------------------------------------------------------------------------------------------


def anchors(path: pathlib.Path) -> set[str]:
    """The anchors of a document's headings, as code forges make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    """Links between documents name a file that is there, and a heading that it has."""
    wrong = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            if not file.exists() or (anchor and anchor not in anchors(file)):
                wrong.append(f"{path.name}: {target}")
    assert wrong == []


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to every page."""
    index = page("docs/README.md")
    pages = [str(path.relative_to(DOCS)) for path in (*DOCS.glob("*.md"), *DOCS.glob("reference/*.rst"))]
    assert [name for name in pages if name != "README.md" and f"({name})" not in index] == []
