"""
Many nodes on one host, each a process of its own that can be killed: a program that runs in the laboratory.

``python crowd.py FOLDER FIRST COUNT``: nodes FIRST, FIRST + 1, …; FOLDER has a file for each that lives, with its
process number and its contact. One that is killed is started anew after ``REST`` seconds, with the same key at the same
port. They are forked from one program that has imported everything, so fifty of them need little.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import pathlib
import sys
import time

import crust

REST = 8.0
PORT = 7000
SETTINGS = {"nat.port_mapping": (), "bootstrap.cache.max_peers": 0, "bootstrap.reachability_test": False}


def place(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number}.json"


def live(folder: pathlib.Path, number: int, identity: crust.Identity) -> None:
    """One node, until it is killed."""
    listen = tuple(f"{transport}://0.0.0.0:{PORT + number}" for transport in ("tcp", "utp"))
    node = crust.Service(crust.Config().replace(**{"listen.addresses": listen, **SETTINGS}), identity=identity).start()
    unfinished = folder / f"{number}.new"
    unfinished.write_text(json.dumps({"pid": os.getpid(), "contact": str(node.contact), "id": str(node.id)}))
    unfinished.rename(place(folder, number))
    node.wait()


def serve(folder: pathlib.Path, first: int, count: int) -> None:
    identities = {number: crust.Identity.generate() for number in range(first, first + count)}
    due = [(0.0, number) for number in identities]
    alive: dict[int, int] = {}
    gc.freeze()  # what the children need not copy
    while True:
        while due and due[0][0] <= time.monotonic():
            _, number = heapq.heappop(due)
            pid = os.fork()
            if not pid:
                try:
                    live(folder, number, identities[number])
                finally:
                    os._exit(1)
            alive[pid] = number
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if pid:
            number = alive.pop(pid)
            place(folder, number).unlink(missing_ok=True)
            heapq.heappush(due, (time.monotonic() + REST, number))
        else:
            time.sleep(0.02)


if __name__ == "__main__":
    serve(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
