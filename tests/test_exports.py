"""What `import crust` gives, and what it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys

import pytest

import crust
from tests.support.source import ROOT, Module, modules

MODULES = [module for module in modules("crust") if module.name != "crust.__main__"]


def declared(module: Module) -> list[str] | None:
    """The names in ``__all__``, in the order of the source."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_all_is_true(module: Module) -> None:
    """``__all__`` is there, has no name twice, and every name in it exists."""
    names = declared(module)
    if names is None:
        assert module.is_package or module.name.startswith("crust.limits."), f"{module.path} has no __all__"
        return
    assert len(set(names)) == len(names)
    imported = importlib.import_module(module.name)
    assert [name for name in names if not hasattr(imported, name)] == []


def test_every_public_name_is_documented() -> None:
    """Every public class and function has a docstring, and so have its public methods and properties."""
    missing = []
    for name in crust.__all__:
        value = getattr(crust, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not inspect.getdoc(value):
            missing.append(name)
        if inspect.isclass(value):
            missing += [
                f"{name}.{method}"
                for method, member in vars(value).items()
                if not method.startswith("_")
                and (inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod))
                and not inspect.getdoc(member)
            ]
    assert missing == []


def test_public_classes_say_that_they_are_public() -> None:
    """No public name is a module, and none begins with an underscore but the version."""
    wrong = [name for name in crust.__all__ if inspect.ismodule(getattr(crust, name))]
    wrong += [name for name in crust.__all__ if name.startswith("_") and name != "__version__"]
    assert wrong == []


PROBE = """
import sys, threading
opened = []
events = {"socket.__new__", "socket.bind", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system"}
sys.addaudithook(lambda event, args: opened.append(event) if event in events else None)
before = threading.active_count()
import crust
found = {
    "threads": threading.active_count() - before,
    "opened": opened,
    "heavy": sorted({name.partition(".")[0] for name in sys.modules}
        & {"argparse", "asyncio", "construct", "ctypes", "difflib", "gevent", "greenlet", "http", "ifaddr", "json",
           "miniupnpc", "pdb", "platform", "shutil", "ssl", "subprocess", "tempfile", "yaml"}),
    "commands": [name for name in sys.modules if name.startswith(("crust.cli", "crust.testing", "crust.wire.def"))],
    "waiting": [name for name in sys.modules if name.startswith(("crust.nat.", "crust.transports.u"))],
    "handlers": [type(handler).__name__ for handler in __import__("logging").getLogger("crust").handlers],
    "root": len(__import__("logging").getLogger().handlers),
}
import json
print(json.dumps(found))
"""


def test_importing_has_no_side_effects() -> None:
    """
    ``import crust`` starts no thread and no program, opens no socket, configures no logging, and loads nothing that
    can wait.
    """
    found = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True, cwd=ROOT, text=True)
    assert json.loads(found.stdout) == {
        "threads": 0,
        "opened": [],
        "heavy": [],
        "commands": [],
        "waiting": ["crust.nat.assess", "crust.nat.survey"],
        "handlers": ["NullHandler"],
        "root": 0,
    }


STARTED = """
import sys
import crust
with crust.Service(crust.Config(listen=crust.ListenConfig(addresses=()))):
    print("crust.wire.definitions" in sys.modules, *sorted({"decimal", "statistics"} & {*sys.modules}))
"""


def test_a_node_has_what_its_links_need() -> None:
    """
    The definitions of messages, which importing does not load, are there before the first connection; and nothing that
    takes long to import for what a line says as well.
    """
    found = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, check=True, cwd=ROOT, text=True)
    assert found.stdout == "True\n"


def test_the_version_is_the_one_of_the_package() -> None:
    """``crust.__version__`` is what pyproject.toml says."""
    line = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert crust.__version__ == line.split('"')[1]
