"""
A node on a machine of the laboratory that says what it knows of its network: ``python -m tests.natlab.standings JSON``.

The JSON has ``contacts``, a list, and ``listen`` if it is not the usual. The node's contact is the first line; then,
whenever something is known that was not before, one of JSON: ``seconds`` since the last contact was reached,
``standings`` by transport and family, and ``places``, each as kind, endpoint and whether it is open.
"""

from __future__ import annotations

import json
import sys
import time

import crust
from crust.wire.frames import Place, Standing

NAMES = {0: "utp", 1: "tcp"}
LISTEN = ["tcp://0.0.0.0:0", "utp://0.0.0.0:0", "tcp://[::]:0", "utp://[::]:0"]


def shown_standing(each: Standing) -> dict[str, object]:
    """By its names."""
    return {name: getattr(each, name) for name in ("mapping", "step", "low", "high", "resets")}


def shown_place(each: Place) -> list[object]:
    """Kind, endpoint, and whether it is open."""
    return [each.kind.name.lower(), str(crust.Endpoint(NAMES[each.transport], *each.address)), each.is_open]


def main() -> None:
    arguments = json.loads(sys.argv[1])
    config = crust.Config.from_dict(
        {"listen": {"addresses": arguments.get("listen", LISTEN)}, "nat": {"port_mapping": []}}
    )
    with crust.Service(config) as node:
        sys.stdout.write(f"contact {node.contact}\n")
        sys.stdout.flush()
        for contact in arguments["contacts"]:
            node.connect(contact, timeout=20)
        began = time.monotonic()
        before = None
        while not node.wait(0.01):
            assert node._network is not None
            standings, places = node._network.standings(), node._network.places()
            now = {
                "standings": {f"{NAMES[each.transport]}{each.family}": shown_standing(each) for each in standings},
                "places": [*map(shown_place, places)],
            }
            if now != before:
                before = now
                sys.stdout.write(json.dumps({"seconds": time.monotonic() - began, **now}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
