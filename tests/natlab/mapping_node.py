"""
A node for the tests of port mapping: a program that runs in the laboratory and tells what happens as lines of JSON.

Its argument is JSON: ``home`` for its state, ``limits`` to replace, and ``config`` keys beside. SIGTERM ends it; with
``leaves`` true without closing its node.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time


def main() -> None:
    options = json.loads(sys.argv[1])
    os.environ.pop("CRUST_PORT_MAPPING", None)  # here, behind a router of the laboratory, it may be asked
    os.environ["XDG_STATE_HOME"] = options["home"]
    import crust
    from crust import limits

    for name, value in options.get("limits", {}).items():
        setattr(limits, name, value)
    wanted = {"listen.addresses": ("tcp://0.0.0.0:0", "utp://0.0.0.0:0"), **options.get("config", {})}
    node = crust.Service(crust.Config().replace(**wanted))
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    began = time.monotonic()

    def tell(kind: str, **fields: object) -> None:
        line = json.dumps({"kind": kind, "seconds": time.monotonic() - began, **fields})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def mapped(event: crust.PortMapped) -> None:
        tell(
            "mapped",
            listener=str(event.listener),
            endpoint=str(event.endpoint),
            protocol=event.protocol,
            lease=event.lease,
            reason=event.reason,
        )

    node.on(crust.PortMapped, mapped)
    node.on(crust.PortMapFailed, lambda event: tell("failed", reason=event.reason))
    node.on(crust.AddressesChanged, lambda event: tell("addresses", addresses=[*map(str, event.addresses)]))
    node.start()
    tell("started", port=node.addresses[0].port)
    while not over.wait(0.1):
        pass
    if options.get("leaves"):
        return
    began = time.monotonic()
    clean = node.close()
    tell("closed", clean=clean)


if __name__ == "__main__":
    main()
