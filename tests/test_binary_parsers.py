"""
Every parser of binary network bytes stands on a definition in construct.

Two rules, each a function from modules to violations, so that the tests can also show that the rule fires:

- bytes are taken apart only where the definitions live (``CODECS``), apart from the few places in ``EXEMPT``;
- a function whose name ends in ``_untrusted`` lives in a module that has definitions, or only calls one that does.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.support.source import Module, modules

CODECS = (
    "crust.wire",
    "crust.transports.utp.packet",
    "crust.transports.utp.definition",
    "crust.nat.mapping.definition",
    "crust.nat.stun.message",
    "crust.nat.stun.definition",
)
"""Modules that may take bytes apart: they define in construct what they parse. Later formats add theirs."""

EXEMPT = {
    ("crust.crypto.handshake", "_length"): "a masked length in front of an encrypted message, not a message",
    ("crust.crypto.records", "_length"): "the same in front of a record",
    ("crust.transports.udp_offload", "segment_of"): "what the kernel says of a datagram, not network bytes",
    ("crust.transports.icmp", "icmp_errors"): "the same",
    ("crust.transports.udp_receive", "run_length"): "two bytes of a header that is compared, not read",
    ("crust.transports.udp_sieve", "_keys"): "numbers that the kernel is told to compare with",
    ("crust.transports.udp_sieve", "waiting"): "what the kernel says of a socket, not network bytes",
    ("crust.service.misbehaviour", "_as_text"): "a key of a table, which this node has made of an address",
    ("crust.transports.tcp", "waiting"): "what the kernel says of its queue, not network bytes",
    ("crust.crypto.proofs", "__init__"): "random bytes, from which message numbers begin",
    ("crust.crypto.proofs", "next"): "random bytes, a step from one message number to the next",
    ("crust.discovery.beacon.packet", "_bits"): "numbers made of a hash, not a message",
    ("crust.discovery.beacon.sockets", ""): "what the kernel says of a datagram, not network bytes",
    ("crust.discovery.beacon.sockets", "_destination"): "the same",
    ("crust.runtime.local_socket", "_credentials"): "what the kernel says of who is at the other end",
    ("crust.runtime.network_news", ""): "what the kernel says of interfaces, not network bytes",
    ("crust.runtime.network_news", "receive"): "the same",
}
"""(module, function) and why it needs no definition; without a function: the module's own level."""

TEXT = {
    ("crust.wire.labelled", "parse_labelled_untrusted"),
    ("crust.discovery.cache.form", "parse_cache_untrusted"),
    ("crust.service.bans.form", "parse_bans_untrusted"),
    ("crust.cli.punch_test.pair.messages", "parse_untrusted"),
    ("crust.cli.punch_test.pair.meeting", "parse_end_untrusted"),
    ("crust.cli.punch_test.pair.meeting", "parse_measurements_untrusted"),
}
"""(module, function) of parsers that read JSON, from a peer or a file: there are no binary fields in it to define."""

BY_NAME = {
    "crust.wire.codec.parse_all",
    "crust.wire.codec.parse_next",
    "crust.wire.definitions",
    "crust.wire.gossip",
    "crust.transports.utp.definition",
    "crust.nat.mapping.definition",
    "crust.nat.stun.definition",
}
"""What parses by a definition that stands in another module."""

UNPACKERS = {"unpack", "unpack_from", "iter_unpack", "calcsize"}
"""Functions and methods of :mod:`struct` that read bytes, or reckon how to."""


def is_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node, with the name of the function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else inside
        yield name, node
        yield from functions(node, name)


def reads_bytes(node: ast.AST) -> str | None:
    """What ``node`` takes apart bytes with, or None."""
    if isinstance(node, ast.ImportFrom) and node.module in ("struct", "ctypes"):
        return f"from {node.module} import"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        method = node.func.attr
        if method in UNPACKERS:
            return f".{method}()"
        if method == "Struct" and ast.unparse(node.func.value) == "struct":
            return "struct.Struct()"
        if method == "from_bytes":
            return None if _is_random(node) else ".from_bytes()"
        if method == "cast" and node.args and isinstance(node.args[0], ast.Constant):
            return ".cast()"  # a memoryview's; typing.cast takes a type first, here never as text
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        # high << 8 | low: an integer put together by hand
        for side in (node.left, node.right):
            if (
                isinstance(side, ast.BinOp)
                and isinstance(side.op, ast.LShift)
                and _is_whole_bytes(side.right)
            ):
                return "<< 8 |"
    return None


def _is_random(call: ast.Call) -> bool:
    """A number made of bytes that were drawn on the spot, not received."""
    return bool(call.args) and ast.unparse(call.args[0]).startswith("os.urandom(")


def _is_whole_bytes(shift: ast.expr) -> bool:
    return isinstance(shift, ast.Constant) and isinstance(shift.value, int) and shift.value in range(8, 64, 8)


def has_definitions(module: Module) -> bool:
    """construct comes from itself, from the module that gives its parts types, or by the name of a definition."""
    return any(
        item.module.split(".")[0] == "construct" or item.module in {"crust.wire.fields.construct", *BY_NAME}
        for item in module.imports
    )


# --- the rules --------------------------------------------------------------------------------------------------------


def bytes_taken_apart_elsewhere(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        if is_in(module.name, CODECS):
            continue
        for function, node in functions(module.tree):
            how = reads_bytes(node)
            if how and (module.name, function) not in EXEMPT:
                line = getattr(node, "lineno", 0)
                bad.append(
                    f"{module.where(line)}: {how} outside {', '.join(CODECS)}: define the message in construct"
                )
    return bad


def codecs_without_definitions(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        takes_apart = is_in(module.name, CODECS) and any(reads_bytes(node) for node in ast.walk(module.tree))
        if takes_apart and not has_definitions(module):
            bad.append(f"{module.path}: takes bytes apart without a definition in construct")
    return bad


def untrusted_parsers_without_definitions(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for _, node in functions(module.tree):
            if (
                isinstance(node, ast.FunctionDef)
                and node.name.startswith("parse_")
                and not has_definitions(module)
            ):
                if node.name.endswith("_untrusted") and (module.name, node.name) not in TEXT:
                    bad.append(f"{module.where(node.lineno)}: {node.name}() has no definition in construct")
    return bad


def compiled_definitions(source: Iterable[Module]) -> list[str]:
    """Compiled parsers accept truncated bytes, and a VarInt is unbounded and quadratic."""
    bad = []
    for module in source:
        if not has_definitions(module):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr in {
                "compile",
                "VarInt",
                "ZigZag",
                "GreedyRange",
            }:
                bad.append(f"{module.where(node.lineno)}: .{node.attr} on a stranger's bytes")
    return bad


RULES: list[Callable[[Iterable[Module]], list[str]]] = [
    bytes_taken_apart_elsewhere,
    codecs_without_definitions,
    untrusted_parsers_without_definitions,
    compiled_definitions,
]


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_crust_keeps_the_rule(rule: Callable[[Iterable[Module]], list[str]]) -> None:
    """No file of crust breaks it."""
    assert rule(modules("crust")) == []


def test_the_exemptions_are_needed() -> None:
    """An exemption for something that is not there would hide the next one."""
    found = {
        (module.name, function)
        for module in modules("crust")
        for function, node in functions(module.tree)
        if reads_bytes(node)
    }
    assert set(EXEMPT) <= found
    assert TEXT <= {(module.name, function) for module in modules("crust") for function, _ in functions(module.tree)}


BROKEN = [
    (
        bytes_taken_apart_elsewhere,
        "crust.peers.link",
        "import struct\ndef f(b):\n    return struct.unpack('>H', b)",
    ),
    (bytes_taken_apart_elsewhere, "crust.peers.link", "import struct\nHEAD = struct.Struct('>H')"),
    (bytes_taken_apart_elsewhere, "crust.peers.link", "def f(head, b):\n    return head.unpack_from(b, 2)"),
    (bytes_taken_apart_elsewhere, "crust.peers.link", "from struct import unpack"),
    (bytes_taken_apart_elsewhere, "crust.peers.link", "def f(b):\n    return int.from_bytes(b[:2], 'big')"),
    (bytes_taken_apart_elsewhere, "crust.peers.link", "def f(b):\n    return memoryview(b).cast('H')"),
    (bytes_taken_apart_elsewhere, "crust.peers.link", "def f(b):\n    return b[0] << 8 | b[1]"),
    (bytes_taken_apart_elsewhere, "crust.crypto.records", "def other(b):\n    return b[0] << 8 | b[1]"),
    (
        codecs_without_definitions,
        "crust.wire.extra",
        "import struct\ndef f(b):\n    return struct.unpack('>H', b)",
    ),
    (untrusted_parsers_without_definitions, "crust.nat.stun", "def parse_stun_untrusted(b):\n    return b"),
    (compiled_definitions, "crust.wire.extra", "import construct\nA = construct.Struct().compile()"),
    (compiled_definitions, "crust.wire.extra", "from .fields import construct\nA = construct.VarInt"),
]


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN, ids=range(len(BROKEN)))
def test_the_rule_fires(rule: Callable[[Iterable[Module]], list[str]], name: str, text: str) -> None:
    """A file that breaks it is reported."""
    assert rule([Module(name, "made/up.py", text)]) != []


FINE = [
    "import os\ndef f():\n    return int.from_bytes(os.urandom(2), 'big')",
    "import typing\ndef f(x):\n    return typing.cast(int, x)",
    "def f(priority, kind):\n    return priority << 1 | kind",
    "import struct\ndef f():\n    return struct.pack('ii', 1, 0)",
]


@pytest.mark.parametrize("text", FINE, ids=range(len(FINE)))
def test_the_rule_does_not_cry_wolf(text: str) -> None:
    """Random numbers, bit fields and packing are no parsers."""
    assert bytes_taken_apart_elsewhere([Module("crust.peers.link", "made/up.py", text)]) == []
