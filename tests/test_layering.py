"""
The layout of crust, enforced: a file imports only from its own row of the table or from the rows above it.

The table is the one of docs/design.md. Each rule is a function from modules to violations, so that the tests can also
show that the rule fires.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable

import pytest

from tests.support.source import ROOT, Module, modules, python_files

ROWS: list[tuple[str, set[str]]] = [
    (
        "vocabulary",
        {
            *("exceptions", "limits", "values", "addresses", "paths", "findings", "assessment", "candidates", "config"),
            "version",
        },
    ),
    ("wire", {"wire"}),
    ("crypto", {"crypto"}),
    ("runtime", {"runtime"}),
    ("transports", {"transports"}),
    ("nat", {"nat"}),
    ("peers", {"peers"}),
    ("discovery", {"discovery"}),
    ("service", {"service"}),
    ("public", {"", "traversal"}),  # crust/__init__.py, and what is imported by name: crust.traversal
    ("cli", {"cli", "__main__"}),
    ("testing", {"testing"}),  # for the tests of applications; nothing imports it
]

ONLY_IMPORTERS = {
    # A dependency, and the modules that may import it.
    "construct": ("crust.wire",),
    "ifaddr": ("crust.runtime.interfaces",),
    "miniupnpc": ("crust.nat.mapping.igd",),
    "nacl": ("crust.crypto.keys",),
    "yaml": ("crust.config.loader",),
}

WAYS_IN = {
    # A package within a row, and the modules beside it that may import it: imports point one way.
    "crust.service.finding.gossip": ("crust.service.finding.finding",),
}

SANS_IO = (
    # Time, randomness and bytes are arguments here. A lock is allowed, a thread is not.
    "crust.wire",
    "crust.crypto",
    "crust.discovery.cache.core",
    "crust.discovery.cache.form",
    "crust.discovery.hearsay",
    "crust.discovery.gossip",
    "crust.discovery.beacon.announcer",
    "crust.discovery.beacon.links",
    "crust.discovery.beacon.packet",
    "crust.discovery.beacon.seeker",
    "crust.nat.assess",
    "crust.nat.forecast",
    "crust.nat.hints",
    "crust.nat.methods",
    "crust.nat.sides",
    "crust.nat.site",
    "crust.nat.verdict",
    "crust.nat.mapping.definition",
    "crust.nat.mapping.datagram_way",
    "crust.nat.mapping.exchange",
    "crust.nat.mapping.igd_http",
    "crust.nat.mapping.igd_way",
    "crust.nat.mapping.layers",
    "crust.nat.mapping.lease",
    "crust.nat.mapping.mapper",
    "crust.nat.mapping.natpmp",
    "crust.nat.mapping.natpmp_way",
    "crust.nat.mapping.pcp",
    "crust.nat.mapping.pcp_way",
    "crust.nat.mapping.ssdp",
    "crust.nat.mapping.ways",
    "crust.nat.stun.definition",
    "crust.nat.stun.door",
    "crust.nat.stun.message",
    "crust.nat.stun.opinions",
    "crust.nat.stun.responder",
    "crust.nat.stun.transaction",
    "crust.nat.punch.allowance",
    "crust.nat.punch.contract",
    "crust.nat.punch.places",
    "crust.nat.punch.signals",
    "crust.nat.punch.standing",
    "crust.nat.punch.targets",
    "crust.nat.punch.birthday_udp",
    "crust.nat.punch.encounter",
    "crust.nat.punch.predict_udp",
    "crust.nat.punch.udp_ways",
    "crust.nat.punch.probe_packet",
    "crust.nat.punch.punch_udp",
    "crust.nat.punch.birthday_tcp",
    "crust.nat.punch.predict_tcp",
    "crust.nat.punch.punch_tcp",
    "crust.nat.punch.tcp_signals",
    "crust.nat.punch.tcp_ways",
    "crust.nat.punch.udp_signals",
    "crust.nat.probe.actions",
    "crust.nat.probe.asking",
    "crust.nat.probe.classes",
    "crust.nat.probe.hops_plan",
    "crust.nat.probe.lifetime_plan",
    "crust.nat.probe.questions",
    "crust.nat.probe.servers",
    "crust.nat.probe.tcp_plan",
    "crust.nat.probe.udp_plan",
    "crust.peers.access",
    "crust.peers.circuits.book",
    "crust.peers.circuits.flow",
    "crust.peers.circuits.words",
    "crust.peers.forbearance",
    "crust.peers.gate",
    "crust.peers.inbox",
    "crust.peers.lanes",
    "crust.peers.outbox",
    "crust.peers.transfer",
    "crust.runtime.rates",
    "crust.service.groups.actions",
    "crust.service.groups.core",
    "crust.service.groups.members",
    "crust.service.status.http",
    "crust.service.status.lines",
    "crust.service.status.metrics",
    "crust.service.status.verdict",
    "crust.transports.utp.background",
    "crust.transports.utp.burst",
    "crust.transports.utp.congestion",
    "crust.transports.utp.connection",
    "crust.transports.utp.definition",
    "crust.transports.utp.delay",
    "crust.transports.utp.events",
    "crust.transports.utp.fair",
    "crust.transports.utp.freshness",
    "crust.transports.utp.mtu",
    "crust.transports.utp.opening",
    "crust.transports.utp.pacing",
    "crust.transports.utp.window",
    "crust.transports.utp.packet",
    "crust.transports.utp.peer_window",
    "crust.transports.utp.receiver",
    "crust.transports.utp.reserve",
    "crust.transports.utp.retransmission",
    "crust.transports.utp.rtt",
    "crust.transports.utp.sender",
    "crust.transports.utp.settings",
    "crust.transports.utp.states",
)

IO_MODULES = {"asyncio", "queue", "select", "selectors", "signal", "socket", "ssl", "subprocess", "time"}
PRIMITIVES = {"queue", "select", "selectors", "socket", "threading"}
LOCKS = {"Lock", "RLock"}
THREADS = {"threading.Thread", "threading.Timer", "_thread.start_new_thread", "concurrent.futures.ThreadPoolExecutor"}

CLOCKS = {
    # What a node's clock stands for, and what it makes.
    *("time.monotonic", "time.perf_counter", "time.process_time", "time.time", "time.time_ns", "Deadline"),
    *("datetime.now", "datetime.utcnow", "datetime.datetime.now", "datetime.datetime.utcnow", "time.localtime"),
    *("threading.Condition", "threading.Event", "queue.Queue", "queue.SimpleQueue", "Latch"),
}
# The interpreter's end; how long callbacks take; and what a node of a real machine has for a clock.
REAL_TIME = {"crust.service.at_exit", "crust.service.subscriptions", "crust.service.machine"}

Rule = Callable[[Iterable[Module]], list[str]]


def row_of(name: str) -> int | None:
    """The row of a module of crust; None if the table has no place for it."""
    part = name.split(".")[1] if "." in name else ""
    for number, (_, members) in enumerate(ROWS):
        if part in members:
            return number
    return None


def is_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression of names, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


# --- the rules --------------------------------------------------------------------------------------------------------


def unplaced(source: Iterable[Module]) -> list[str]:
    return [f"{m.path}: has no row in the table" for m in source if row_of(m.name) is None]


def imports_from_below(source: Iterable[Module]) -> list[str]:
    source = list(source)
    known = {module.name for module in source}
    bad = []
    for module in source:
        own = row_of(module.name)
        for item in module.imports:
            if not is_in(item.module, ["crust"]) or own is None:
                continue
            # ``from crust import X``: X is a module, or a public name, which stands in crust/__init__.py.
            target = item.module if item.module in known or item.module.count(".") > 1 else _owner(item.module, known)
            row = row_of(target)
            if row is None or row > own:
                bad.append(f"{module.where(item.line)}: {ROWS[own][0]} imports {item.module}")
    return bad


def _owner(name: str, known: set[str]) -> str:
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name


SHARED = ["crust.runtime.local_socket"]  # who may use a Unix socket is decided in one place, for nodes and commands


def private_imports_of_the_commands(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        if not is_in(module.name, ["crust.cli", "crust.__main__", "tools"]):
            continue
        for item in module.imports:
            inner = item.module.split(".")[1:2]
            if is_in(item.module, ["crust"]) and inner and inner[0] in _PRIVATE and not is_in(item.module, SHARED):
                bad.append(f"{module.where(item.line)}: commands use `import crust`, not {item.module}")
    return bad


_PRIVATE = {part for name, members in ROWS if name not in {"public", "cli"} for part in members}


def wrong_importers(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for item in module.imports:
            allowed = ONLY_IMPORTERS.get(item.module.split(".")[0])
            if allowed is not None and not is_in(module.name, allowed):
                bad.append(f"{module.where(item.line)}: only {', '.join(allowed)} may import {item.module}")
    return bad


def wrong_ways_in(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for package, allowed in WAYS_IN.items():
            if not is_in(module.name, (package, *allowed)):
                for item in module.imports:
                    if is_in(item.module, [package]):
                        bad.append(f"{module.where(item.line)}: only {', '.join(allowed)} may import {package}")
    return bad


def foreign_vocabulary(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        if row_of(module.name) != 0:
            continue
        for item in module.imports:
            top = item.module.split(".")[0]
            if top in IO_MODULES or top == "threading":
                bad.append(f"{module.where(item.line)}: the vocabulary knows no {top}")
            elif top != "crust" and top not in sys.stdlib_module_names and (top != "yaml" or item.at_import):
                bad.append(f"{module.where(item.line)}: the vocabulary is standard library only, not {top}")
    return bad


def io_in_cores(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        if not is_in(module.name, SANS_IO):
            continue
        for item in module.imports:
            if item.module.split(".")[0] in IO_MODULES:
                bad.append(f"{module.where(item.line)}: a core without I/O imports {item.module}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and dotted(node).startswith("threading.") and node.attr not in LOCKS:
                bad.append(f"{module.where(node.lineno)}: a core without I/O uses {dotted(node)}")
    return bad


def threads_outside_runtime(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        if is_in(module.name, ["crust.runtime", "crust.cli"]) or not is_in(module.name, ["crust"]):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and dotted(node.func) in THREADS:
                bad.append(f"{module.where(node.lineno)}: only crust.runtime makes threads")
    return bad


def time_beside_the_clock(source: Iterable[Module]) -> list[str]:
    """Above the transports time comes from the node's clock, and waits are its, or ``crust.testing`` misses them."""
    bad = []
    for module in source:
        if not is_in(module.name, ["crust.peers", "crust.service"]) or module.name in REAL_TIME:
            continue
        for node in ast.walk(module.tree):
            name = dotted(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Attribute):
                name = dotted(node)
            if name in CLOCKS:
                bad.append(f"{module.where(node.lineno)}: {name} instead of the node's clock")
    return bad


def subclasses_of_primitives(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    if dotted(base) in {"threading.Thread", "threading.local", "socket.socket", "Thread"}:
                        bad.append(f"{module.where(node.lineno)}: {node.name} subclasses {dotted(base)}")
    return bad


def primitives_made_at_import(source: Iterable[Module]) -> list[str]:
    bad: list[str] = []
    for module in source:
        _primitives(module, module.tree.body, bad)
    return bad


def _primitives(module: Module, body: Iterable[ast.AST], bad: list[str]) -> None:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[0] in PRIMITIVES:
            bad.append(f"{module.where(node.lineno)}: {dotted(node.func)}() at import: gevent may patch later")
        _primitives(module, ast.iter_child_nodes(node), bad)


def branches_on_gevent(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for item in module.imports:
            if item.module.split(".")[0] in {"gevent", "greenlet"}:
                bad.append(f"{module.where(item.line)}: crust never imports {item.module}")
        if is_in(module.name, ["crust.runtime"]):
            continue
        for node in ast.walk(module.tree):
            name = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if isinstance(node, ast.Name):
                name = node.id
            if name in {"gevent", "greenlet"} or name.startswith(("gevent.monkey", "gevent.hub")):
                bad.append(f"{module.where(node.lineno)}: only crust.runtime may know of {name}")
    return bad


def cycles(source: Iterable[Module]) -> list[str]:
    """Modules that import each other while being imported, however long the way round."""
    source = list(source)
    known = {module.name for module in source}
    graph = {m.name: {_owner(i.module, known) for i in m.imports if i.at_import} & known - {m.name} for m in source}
    bad, done = [], set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            bad.append(" -> ".join((*trail[trail.index(name) :], name)))
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return bad


def long_files(source: Iterable[Module]) -> list[str]:
    return [f"{m.path}: {n} lines: more than one job?" for m in source if (n := m.text.count("\n")) > 600]


def long_functions(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno
                if length > 80:
                    bad.append(f"{module.where(node.lineno)}: {node.name}() has {length} lines")
    return bad


def swallowed_errors(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or dotted(node.type) in {"Exception", "BaseException"}
            if broad and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body):
                bad.append(f"{module.where(node.lineno)}: a broad except that swallows")
    return bad


def asserts_on_untrusted_bytes(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for function in ast.walk(module.tree):
            if isinstance(function, ast.FunctionDef) and function.name.endswith("_untrusted"):
                bad += [
                    f"{module.where(node.lineno)}: python -O removes this check of a stranger's bytes"
                    for node in ast.walk(function)
                    if isinstance(node, ast.Assert)
                ]
    return bad


def threads_that_outlive_the_run(source: Iterable[Module]) -> list[str]:
    bad = []
    for module in source:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and dotted(node.func) == "threading.Thread":
                if not any(keyword.arg == "daemon" for keyword in node.keywords):
                    bad.append(f"{module.where(node.lineno)}: not daemon=True: a failure would keep the process alive")
    return bad


LIBRARY_RULES: list[Rule] = [
    unplaced,
    imports_from_below,
    private_imports_of_the_commands,
    wrong_importers,
    wrong_ways_in,
    foreign_vocabulary,
    io_in_cores,
    threads_outside_runtime,
    time_beside_the_clock,
    subclasses_of_primitives,
    primitives_made_at_import,
    branches_on_gevent,
    cycles,
    asserts_on_untrusted_bytes,
]
EVERYWHERE_RULES: list[Rule] = [long_files, long_functions, swallowed_errors, threads_that_outlive_the_run]


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", LIBRARY_RULES, ids=lambda rule: rule.__name__)
def test_the_library_keeps_the_rule(rule: Rule) -> None:
    """No file of crust breaks it."""
    assert rule(modules("crust")) == []


@pytest.mark.parametrize("rule", EVERYWHERE_RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    """No Python file of the repository breaks it, tests included."""
    assert rule(python_files()) == []


BROKEN = [
    (unplaced, "crust.utils", ""),
    (imports_from_below, "crust.wire.frames", "from ..peers import link"),
    (imports_from_below, "crust.wire.frames", "from crust.peers.link import Link"),
    (imports_from_below, "crust.addresses", "from crust import Service"),
    (imports_from_below, "crust.addresses", "import crust"),
    (imports_from_below, "crust.service.service", "def f():\n    from ..cli import main"),
    (imports_from_below, "crust.cli.node", "from ..testing import network"),
    (private_imports_of_the_commands, "crust.cli.send", "from crust.peers import link"),
    (private_imports_of_the_commands, "crust.cli.send", "from ..service.service import Service"),
    (wrong_importers, "crust.crypto.noise", "import nacl.bindings"),
    (wrong_importers, "crust.peers.link", "from construct import Struct"),
    (wrong_ways_in, "crust.service.finding.search", "from .gossip.gossiping import Gossiping"),
    (wrong_ways_in, "crust.service.node", "def f():\n    from .finding.gossip import mail"),
    (foreign_vocabulary, "crust.addresses", "import socket"),
    (foreign_vocabulary, "crust.config.loader", "import yaml"),
    (foreign_vocabulary, "crust.limits", "import requests"),
    (io_in_cores, "crust.peers.outbox", "import time"),
    (io_in_cores, "crust.crypto.records", "import threading\ndef f():\n    threading.Event()"),
    (threads_outside_runtime, "crust.peers.link", "import threading\ndef f():\n    threading.Thread(target=f).start()"),
    (time_beside_the_clock, "crust.peers.link", "import time\ndef f():\n    return time.monotonic()"),
    (time_beside_the_clock, "crust.service.finding.telling", "import time\ndef f():\n    return time.time()"),
    (time_beside_the_clock, "crust.service.node", "from ..runtime.threads import Deadline\ndef f():\n    Deadline(1)"),
    (time_beside_the_clock, "crust.service.node", "import threading\ndef f():\n    return threading.Event()"),
    (subclasses_of_primitives, "crust.runtime.threads", "import threading\nclass T(threading.Thread): pass"),
    (primitives_made_at_import, "crust.runtime.logs", "import threading\nlock = threading.Lock()"),
    (primitives_made_at_import, "crust.runtime.logs", "import queue\nclass A:\n    q = queue.SimpleQueue()"),
    (branches_on_gevent, "crust.peers.link", "import sys\ndef f():\n    return 'gevent' in sys.modules"),
    (branches_on_gevent, "crust.runtime.threads", "def f():\n    import gevent"),
    (cycles, "crust.peers.link", "from . import link"),
    (long_files, "crust.peers.link", "\n" * 601),
    (long_functions, "crust.peers.link", "def f():\n" + "    pass\n" * 82),
    (swallowed_errors, "crust.peers.link", "try:\n    f()\nexcept Exception:\n    pass"),
    (threads_that_outlive_the_run, "tests.test_x", "import threading\nthreading.Thread(target=print).start()"),
    (asserts_on_untrusted_bytes, "crust.wire.frames", "def parse_x_untrusted(data):\n    assert data"),
]


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_the_rule_fires(rule: Rule, name: str, text: str) -> None:
    """A file that breaks it is reported."""
    others = [Module("crust", "crust/__init__.py", "", is_package=True)]
    if rule is cycles:
        others = [Module("crust.peers", "crust/peers/__init__.py", "from .link import Link", is_package=True)]
        text = "from . import Link"
    assert rule([*others, Module(name, "made/up.py", text)]) != []


def test_the_table_has_no_empty_row() -> None:
    """Every name in the table exists: a row for something that is not there misleads the reader."""
    present = {module.name.split(".")[1] if "." in module.name else "" for module in modules("crust")}
    assert {part for _, members in ROWS for part in members} - present == set()


def test_every_map_is_complete() -> None:
    """The docstring of a package names each of its modules and folders: that is how a newcomer finds the room."""
    missing = []
    for path in sorted((ROOT / "crust").rglob("__init__.py")):
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        names = {each.stem for each in path.parent.glob("*.py")} - {"__init__", "__main__"}
        names |= {each.parent.name for each in path.parent.glob("*/__init__.py")}
        missing += [f"{path.parent.relative_to(ROOT)}: {name}" for name in sorted(names) if name not in text]
    assert missing == []
