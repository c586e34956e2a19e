"""Whether a laboratory can be made here, and if not, why, and what to do."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import sys

import pytest

ADVICE = "run `make lab` as root on Linux; .ci/tools installs what Debian has for it (docs/laboratory.md)"


@functools.cache
def missing() -> str:
    """What is missing, as a sentence; empty if nothing is."""
    if not sys.platform.startswith("linux"):
        return f"there are no network namespaces on {sys.platform}"
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    for name, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(name) is None:
            return f"there is no {name} here (package {package})"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun here"
    return _trial()


def _trial() -> str:
    """Root of a container may lack the right to it, and a kernel a module: nothing tells but trying."""
    from tests.natlab.lab import Lab

    try:
        with contextlib.redirect_stdout(io.StringIO()), Lab() as lab:
            lab.host("trial").firewall.open()
    except (AssertionError, OSError) as error:
        return f"the system does not allow it: {' '.join(str(error).split())}"
    return ""


def require() -> None:
    """Skip the test if there can be no laboratory here; fail it if CRUST_REQUIRE_LAB says that there must be one."""
    if reason := missing():
        assert not os.environ.get("CRUST_REQUIRE_LAB"), f"no laboratory: {reason}; {ADVICE}"
        pytest.skip(f"no laboratory: {reason}; {ADVICE}")
