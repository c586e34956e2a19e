"""
The libraries that are compared, one module each, and who takes part under which name.

Modules are imported only in the processes that use them, so that an absent library costs nothing but its rows.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

__all__ = ["CONTESTANTS", "Contestant", "load"]

_MODULES = {
    "crust": "crust_node",
    "crust-utp": "crust_node",
    "crust-utp-ethernet": "crust_node",
    "crust-utp-plain": "crust_node",
    "crust-relay": "crust_circuit",
    "crust-moved": "crust_circuit",
    "crust-punched": "crust_circuit",
    "crust-crowd": "crust_crowd",
    "crust-crowd-silent": "crust_crowd",
    "nacl": "bare_nacl",
    "tcp": "tcp",
    "ssl": "tls",
    "zmq": "zeromq",
    "zmq-curve": "zeromq",
    "websockets": "websocket",
}


class Contestant(NamedTuple):
    """One row of a table: a library, used in one way."""

    name: str
    """As in ``--peers``."""
    label: str
    library: str
    """Those of crust begin with its name."""
    mode: str = "threads"
    """``threads``, or ``gevent``: the processes are monkey-patched before anything else."""
    style: str = ""
    """Of crust: messages come to a ``callback``, or a thread for each peer ``pull``s them."""
    needs: tuple[str, ...] = ()
    """Modules that must be importable."""
    introduced: bool = False
    """The two sides know each other's id alone; a third process, on the hub's library, introduces them."""

    def absent(self) -> str:
        """What is missing, for the reader; empty if nothing is."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"{', '.join(missing)} is not installed" if missing else ""


_TLS = ("cryptography",)  # makes the certificates


def _introduced(library: str, label: str) -> list[Contestant]:
    threads, gevent = f"{library}-callback", f"{library}-gevent"
    return [
        Contestant(threads, f"{label}, threads, callbacks", library, "threads", "callback", (), True),
        Contestant(gevent, f"{label}, gevent, callbacks", library, "gevent", "callback", ("gevent",), True),
    ]


def _crowd(library: str, label: str) -> list[Contestant]:
    return [
        Contestant(f"{library}-threads", f"{label}, threads", library, "threads", "callback"),
        Contestant(f"{library}-gevent", f"{label}, gevent", library, "gevent", "callback", ("gevent",)),
    ]


CONTESTANTS: dict[str, Contestant] = {
    each.name: each
    for each in (
        Contestant("crust-threads-callback", "crust, threads, callbacks", "crust", "threads", "callback"),
        Contestant("crust-threads-pull", "crust, threads, pull", "crust", "threads", "pull"),
        Contestant("crust-gevent-callback", "crust, gevent, callbacks", "crust", "gevent", "callback", ("gevent",)),
        Contestant("crust-gevent-pull", "crust, gevent, pull", "crust", "gevent", "pull", ("gevent",)),
        Contestant("tcp", "raw TCP, framed", "tcp"),
        Contestant("ssl", "ssl, TLS 1.3 mutual", "ssl", needs=_TLS),
        Contestant("zmq", "pyzmq, plain", "zmq", needs=("zmq",)),
        Contestant("zmq-curve", "pyzmq, CURVE", "zmq-curve", needs=("zmq",)),
        Contestant("websockets", "websockets.sync, TLS", "websockets", needs=("websockets", *_TLS)),
        Contestant("nacl", "PyNaCl, signatures alone", "nacl"),
        Contestant("crust", "crust", "crust"),  # as a whole: for ``import``
        Contestant("crust-utp-callback", "crust over µTP, threads, callbacks", "crust-utp", "threads", "callback"),
        Contestant("crust-utp-pull", "crust over µTP, threads, pull", "crust-utp", "threads", "pull"),
        Contestant(
            "crust-utp-gevent", "crust over µTP, gevent, callbacks", "crust-utp", "gevent", "callback", ("gevent",)
        ),
        Contestant(
            "crust-utp-ethernet",
            "crust over µTP, datagrams for Ethernet, threads, callbacks",
            "crust-utp-ethernet",
            "threads",
            "callback",
        ),
        Contestant(
            "crust-utp-plain",
            "crust over µTP, the same without GSO and GRO, threads, callbacks",
            "crust-utp-plain",
            "threads",
            "callback",
        ),
        *_introduced("crust-relay", "crust over a relay"),
        *_introduced("crust-moved", "crust, moved from a relay to a direct path"),
        *_introduced("crust-punched", "crust, moved from a relay to a punched path"),
        *_crowd("crust-crowd", "crust among light peers"),
        *_crowd("crust-crowd-silent", "the same without gossip"),
        Contestant("tcp-gevent", "raw TCP, framed, gevent", "tcp", "gevent", needs=("gevent",)),
        Contestant("ssl-gevent", "ssl, TLS 1.3 mutual, gevent", "ssl", "gevent", needs=("gevent", *_TLS)),
    )
}


def load(library: str) -> Any:
    """The module with the library's ``Hub`` and ``Spokes``."""
    return importlib.import_module(f"{__name__}.{_MODULES[library]}")
