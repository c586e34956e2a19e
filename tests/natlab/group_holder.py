"""
A node with a group, and whoever kills its peers: a program that runs in the laboratory.

``python group_holder.py FOLDER NODES WANT KILLS``: waits until FOLDER names so many nodes, opens a group of WANT of
them, and every ``PAUSE`` seconds kills the process of one that is in it. A line of JSON for each tells how long it took
until the group had as many others again; the last one, what all of it came to.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import sys
import time

import crust
from tests.natlab.crowd import SETTINGS, place

PAUSE = 2.0
PATIENCE = 20.0
POLL = 0.01


def tell(kind: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def known(folder: pathlib.Path, count: int) -> dict[str, int]:
    """Which file has which node, once there are so many."""
    end = time.monotonic() + 60.0
    while len(found := sorted(folder.glob("*.json"))) < count:
        assert time.monotonic() < end, f"there are only {len(found)} nodes"
        time.sleep(POLL)
    return {json.loads(each.read_text())["id"]: int(each.stem) for each in found}


def is_full(group: crust.Group, without: set[str]) -> bool:
    """Whether it has as many as it wants, and none of those."""
    ids = {str(peer.id) for peer in group.peers}
    return len(ids) >= group.want and not ids & without


def hold(folder: pathlib.Path, nodes: int, want: int, kills: int) -> None:
    numbers = known(folder, nodes)
    contacts = [json.loads(place(folder, number).read_text())["contact"] for number in numbers.values()]
    chance = random.Random(nodes)
    killed: dict[str, float] = {}  # since the group was full last
    most = done = 0
    with crust.Service(crust.Config().replace(**{"listen.addresses": (), **SETTINGS}), contacts=contacts) as node:
        began = time.monotonic()
        group = node.group("crowd", want)
        assert group.wait(PATIENCE)
        tell("full", seconds=time.monotonic() - began)
        due = time.monotonic() + PAUSE
        while done < kills or killed:
            now = time.monotonic()
            if is_full(group, {*killed}):
                most = max(most, len([peer for peer in node.peers if peer.state == "connected"]))
                for victim, at in killed.items():
                    tell("killed", peer=victim, seconds=now - at)
                killed.clear()
            assert all(now - at < PATIENCE for at in killed.values()), f"there are only {group.peers}"
            if done < kills and now >= due:
                victim = str(chance.choice([peer for peer in group.peers if str(peer.id) not in killed]).id)
                os.kill(json.loads(place(folder, numbers[victim]).read_text())["pid"], signal.SIGKILL)
                killed[victim] = now
                done += 1
                due += PAUSE
            time.sleep(POLL)
        networks = {crust.Endpoint.parse(peer.address or "").host for peer in group.peers}
        tell("end", peers=len(group.peers), most=most, networks=len(networks))


if __name__ == "__main__":
    hold(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:5]))
