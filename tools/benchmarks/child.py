"""
The process that holds one side of a measurement: ``python -m benchmarks.child ORDER``.

It takes commands, one JSON object a line, on the socket whose descriptor the order names: first ``become``, which makes
the hub or the spokes, then methods of it, or one of ``_OF_THE_PROCESS``. Each is answered with one line,
``{"value": …}`` or ``{"error": …}``. When the socket ends, so does the process; when its parent dies, or its time is
up, the system ends it.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

_OF_THE_PROCESS = {"collect": gc.collect, "cpu": time.process_time}


def main() -> None:
    """Run one side."""
    order = json.loads(sys.argv[1])
    if order["mode"] == "gevent":
        from gevent import monkey

        monkey.patch_all()
    _serve(order)


def _serve(order: dict[str, Any]) -> None:
    import os
    import signal
    import socket

    signal.alarm(order["limit"])
    _die_with(order["parent"])
    if order["cpus"]:
        os.sched_setaffinity(0, order["cpus"])
    control = socket.socket(fileno=order["fd"])
    side: Any = None
    with control.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            side, reply = _answer(side, request["call"], request["arguments"])
            control.sendall(json.dumps(reply).encode() + b"\n")
    os._exit(0)  # threads of any library may still be at work


def _answer(side: Any, call: str, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    try:
        if call == "become":
            return _make(**arguments), {"value": None}
        if call in _OF_THE_PROCESS:
            return side, {"value": _OF_THE_PROCESS[call]()}
        return side, {"value": getattr(side, call)(**arguments)}
    except Exception as error:
        import traceback

        return side, {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def _make(side: str, role: str, options: dict[str, Any], descriptors: int) -> Any:
    from . import machine, peers
    from .contract import Options

    machine.raise_descriptor_limit(descriptors)
    wanted = Options(**options)
    module = peers.load(wanted.library)
    return (module.Hub if side == "hub" else module.Spokes)(role, wanted)


def _die_with(parent: int) -> None:
    """Have the system kill this process when its parent ends (Linux; elsewhere the end of the socket does)."""
    import ctypes
    import os
    import signal

    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main()
