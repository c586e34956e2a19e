"""
A node on a machine of the laboratory that says where others see it: ``python -m tests.natlab.reflections JSON``.

The JSON has ``servers`` and ``contacts``, both lists. The node's contact is the first line; then, whenever one of these
changes, a line for each listener: its transport, its port, where others see it (or ``nowhere``), and whether strangers
get in there: ``open``, ``closed``, ``untried``.
"""

from __future__ import annotations

import json
import sys

import crust


def lines(node: crust.Service) -> list[str]:
    """One for each listener."""
    assert node._network is not None
    about = node._network.reflection
    found = []
    for local in node._network.listeners.endpoints():
        seen = next(iter(about.reflexive().get(local, ())), None)
        tried = None if seen is None else about.filtering._open.get((local, seen))
        word = {None: "untried", True: "open", False: "closed"}[tried]
        found.append(f"{local.transport} {local.port} {seen or 'nowhere'} {word}")
    return found


def main() -> None:
    arguments = json.loads(sys.argv[1])
    config = crust.Config.from_dict(
        {
            "listen": {"addresses": ["tcp://0.0.0.0:0", "utp://0.0.0.0:0"]},
            "nat": {"stun_servers": arguments["servers"], "port_mapping": []},
            "bootstrap": {"accept": True},
        }
    )
    with crust.Service(config) as node:
        sys.stdout.write(f"contact {node.contact}\n")
        for contact in arguments["contacts"]:
            node.connect(contact, timeout=20)
        shown: list[str] = []
        while not node.wait(0.05):
            if (now := lines(node)) != shown:
                shown = now
                sys.stdout.write("".join(f"{line}\n" for line in shown))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
