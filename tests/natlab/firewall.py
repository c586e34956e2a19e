"""The firewall on a host: nftables in its namespace, changed while programs run."""

from __future__ import annotations

from collections.abc import Callable

TABLE = "lab_firewall"


class Firewall:
    """
    What a host lets in and out. Each call replaces what was before.

    A firewall on the way, which drops both ways and tells nobody, is ``link.drop()``. Here only what comes in is looked
    at, unless told otherwise.

    Args:
        load: Runs ``nft -f -`` in the namespace with this as its input.
        interface: What comes from there is looked at.
    """

    def __init__(self, load: Callable[[str], object], interface: str) -> None:
        self._load, self._interface = load, interface

    def open(self) -> None:
        """Everything passes, as at first."""
        self._replace("", "")

    def drop(self, *protocols: str, outgoing: bool = False) -> None:
        """
        What comes in of these protocols (``tcp``, ``udp``) is dropped, and nobody told.

        Args:
            outgoing: What the host sends is dropped as well. The kernel tells the sender of UDP: EPERM.
        """
        rule = f"meta l4proto {{ {', '.join(protocols)} }} drop"
        self._replace(rule, rule if outgoing else "")

    def reject(self, *protocols: str) -> None:
        """What comes in of these protocols is answered: TCP by a reset, UDP by "port unreachable"."""
        words = {"tcp": "tcp reset", "udp": "icmpx type port-unreachable"}
        self._replace("\n".join(f"meta l4proto {each} reject with {words[each]}" for each in protocols), "")

    def _replace(self, incoming: str, outgoing: str) -> None:
        """In one step, so that nothing passes in between. Loopback is left alone."""
        chains = {
            "input": [f'iifname "{self._interface}" {line}' for line in incoming.splitlines()],
            "output": [f'oifname "{self._interface}" {line}' for line in outgoing.splitlines()],
        }
        # "add" first: "delete" fails if there is no such table.
        text = f"add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
        for hook, lines in chains.items():
            text += f"chain {hook} {{\ntype filter hook {hook} priority 0; policy accept;\n"
            text += "".join(line + "\n" for line in lines) + "}\n"
        self._load(text + "}\n")
