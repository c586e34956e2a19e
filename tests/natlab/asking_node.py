"""A node that asks its LAN again and again: ``python -m tests.natlab.asking_node SECONDS NETWORK``."""

from __future__ import annotations

import os
import sys
import time

import crust


def main(seconds: float, network: str) -> int:
    os.environ.pop("CRUST_LAN", None)  # here, in the laboratory, it may ask
    config = crust.Config().replace(**{"network.name": network, "bootstrap.cache.max_peers": 0})
    with crust.Service(config) as service:
        service.start_service_discovery()
        end = time.monotonic() + seconds
        assert service._finding is not None
        while time.monotonic() < end:
            service._finding.lan.seek(lambda contact: None).stop()
            service.wait(0.2)
        sys.stdout.write(f"{service.id} {len(service.lan_peers)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2]))
