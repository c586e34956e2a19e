"""import: the time that ``import crust`` takes in a fresh interpreter, and what else it does."""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from ..contract import WAIT
from ..peers import Contestant
from ..results import Case, Metric, Target, Trial
from ..stage import Settings

__all__ = ["TRIAL"]

_TIME = Metric("time", "ms", higher_is_better=False)
_MODULES = Metric("modules", "loaded", higher_is_better=False, aside=True)
_EFFECTS = Metric("side effects", "", higher_is_better=False)
_LIMITS = {_TIME.name: 120.0, _EFFECTS.name: 0.0}
_IMPORTS = {
    "crust": "import crust",
    "ssl": "import socket, ssl",
    "zmq": "import zmq",
    "websockets": "import websockets.sync.client, websockets.sync.server",
}
_UNWANTED = ("gevent", "yaml", "miniupnpc")
_TRIES = 3
_ROOT = pathlib.Path(__file__).resolve().parents[3]

_TIMED = """
import sys, time
before = len(sys.modules)
began = time.perf_counter()
{what}
seconds = time.perf_counter() - began
import json
print(json.dumps({{"ms": seconds * 1000, "modules": len(sys.modules) - before}}))
"""
_WATCHED = """
import sys
seen = []
names = {{"socket.__new__": "a socket", "_thread.start_new_thread": "a thread", "subprocess.Popen": "a process"}}
sys.addaudithook(lambda event, arguments: event in names and seen.append(names[event]))
{what}
import json
print(json.dumps(seen + [name for name in {unwanted!r} if name in sys.modules]))
"""


def _cases(settings: Settings) -> list[Case]:
    def target(contestant: str, metric: str) -> Target | None:
        if contestant != "crust" or metric not in _LIMITS:
            return None
        return Target(_LIMITS[metric], relative=False)

    return [
        Case(
            test="import",
            title="in a fresh interpreter",
            where={},
            metrics=(_TIME, _MODULES, _EFFECTS),
            contestants=tuple(_IMPORTS),
            target=target,
        )
    ]


def _python(code: str) -> Any:
    # What is installed is compiled; so is what is measured here, from the first run on.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def _run(settings: Settings, case: Case, contestant: Contestant) -> dict[str, Any]:
    what = _IMPORTS[contestant.name]
    effects = _python(_WATCHED.format(what=what, unwanted=_UNWANTED))  # first: it compiles what is not compiled yet
    timed = [_python(_TIMED.format(what=what)) for _ in range(_TRIES)]
    return {
        _TIME.name: statistics.median(each["ms"] for each in timed),
        _MODULES.name: timed[0]["modules"],
        _EFFECTS.name: len(effects),
        "note": f"importing it makes or loads {', '.join(effects)}" if effects else "",
    }


TRIAL = Trial("import", "time of `import crust`, and what it loads", _cases, _run)
