"""
Somebody on a link who knows the network's name, and means no good: ``python -m tests.natlab.beacon_flood JSON``.

The JSON is an object: ``source`` (its address), ``to`` (all of the link), ``count``, ``size`` (bytes of each datagram:
a query has 480), ``name`` (of the network, or null). The output is the number of answers.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

from crust import limits
from crust.addresses import network_id
from crust.discovery.beacon.packet import AskingKey, NetworkKey, seal_query


def main(asked: dict[str, Any]) -> int:
    network = NetworkKey(network_id(asked["name"]), None)
    answers = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((asked["source"], 0))
        key = AskingKey(network, os.urandom)
        queries = [seal_query(key, sock.getsockname(), [], os.urandom) for _ in range(min(asked["count"], 2000))]
        for number in range(asked["count"]):
            data = queries[number % len(queries)]
            size = asked["size"]
            data = data[:size] + os.urandom(size - limits.BEACON_QUERY_SIZE) if size > len(data) else data
            sock.sendto(data, (asked["to"], limits.BEACON_PORT))
        sock.settimeout(1.0)
        while True:
            try:
                sock.recv(2000)
            except TimeoutError:
                return answers
            answers += 1


if __name__ == "__main__":
    sys.stdout.write(f"{main(json.loads(sys.argv[1]))}\n")
