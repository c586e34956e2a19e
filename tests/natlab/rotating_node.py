"""
A node for the test of changing ports: a program that runs in the laboratory and tells what happens as lines of JSON.

``serve N``: waits for N peers, and then changes its ports three times while they send. ``call CONTACT``: sends numbers
until the session ends.
"""

from __future__ import annotations

import collections
import json
import sys
import threading
import time

import crust

TURNS = 3
GRACE = 1.0  # seconds for which the old ports answer
CALM = 0.7  # seconds before, and after, each change
PATIENCE = 20.0


def tell(kind: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n")
    sys.stdout.flush()


def serve(count: int) -> None:
    wanted = ("tcp://0.0.0.0:0", "utp://0.0.0.0:0")
    node = crust.Service(crust.Config().replace(**{"listen.addresses": wanted, "nat.port_mapping": ()}))
    came = threading.Semaphore(0)
    got: dict[crust.PeerId, list[int]] = collections.defaultdict(list)
    breaks: list[str] = []
    node.on(crust.ConnectSuccess, lambda event: came.release())
    node.on(crust.NewMessage, lambda message: got[message.peer.id].append(int(message.data)))
    node.on(crust.PeerSuspended, lambda event: breaks.append(event.reason))
    node.start()
    tell("started", contact=str(node.contact))
    for _ in range(count):
        assert came.acquire(timeout=PATIENCE)
    tell("calm")
    for _ in range(TURNS):
        time.sleep(CALM)
        tell("changing")
        ports = {each.port for each in node.rotate_ports(grace=GRACE)}
        end = time.monotonic() + GRACE + CALM  # longer than anything of the old ones is answered
        while time.monotonic() < end or not all(_port(peer) in ports for peer in node.peers):
            assert time.monotonic() < end + PATIENCE, "a session has not moved"
            time.sleep(0.01)
        tell("calm", ports=sorted(ports))
    time.sleep(CALM)
    tell("changing")
    node.close()
    tell(
        "end",
        breaks=breaks,
        transports=sorted(peer.path.transport for peer in node.peers if peer.path),
        counts=[len(numbers) for numbers in got.values()],
        whole=[numbers == list(range(len(numbers))) for numbers in got.values()],
    )


def _port(peer: crust.Peer) -> int:
    path = peer.path
    assert path is not None
    return crust.Endpoint.parse(path.local).port


def call(contact: str) -> None:
    with crust.Service(crust.Config().replace(**{"nat.port_mapping": ()})) as node:
        peer = node.connect(contact)
        assert peer.path is not None
        tell("connected", transport=peer.path.transport)
        number = 0
        try:
            while True:
                peer.send(b"%d" % number)
                number += 1
                time.sleep(0.002)
        except crust.PeerLost as error:
            tell("end", sent=number, reason=str(error))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        call(sys.argv[2])
