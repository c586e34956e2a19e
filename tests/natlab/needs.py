"""Whether a laboratory can be made here, and if not, why, and what to do."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import subprocess
import sys

import pytest

ADVICE = "run `make lab` as root on Linux; .ci/tools installs what Debian has for it (docs/laboratory.md)"

PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "miniupnpd": "miniupnpd-nftables",
    "turnserver": "coturn",
    "turnutils_natdiscovery": "coturn",
    "turnutils_stunclient": "coturn",
}
"""The programs, and which package of Debian has each."""


@functools.cache
def missing() -> str:
    """What is missing, as a sentence; empty if nothing is."""
    if not sys.platform.startswith("linux"):
        return f"there are no network namespaces on {sys.platform}"
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    for name in ("ip", "nft"):
        if reason := absent(name):
            return reason
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


@functools.cache
def absent(program: str) -> str:
    """Why a program that only some tests run cannot, as a sentence; empty if it can."""
    if shutil.which(program) is None:
        return f"there is no {program} here (package {PACKAGES[program]})"
    if program == "miniupnpd":
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        if "nftables" not in said:
            return f"miniupnpd here is not made for nftables (package {PACKAGES[program]})"
    return ""


def require(*programs: str) -> None:
    """
    Skip the test if there can be no laboratory here, or one of these programs; fail it if there must be one.

    The variable CRUST_REQUIRE_LAB says that there must be.
    """
    unless(missing() or next(filter(None, map(absent, programs)), ""), "no laboratory: {}; " + ADVICE)


def require_programs(*programs: str) -> None:
    """The same for tests that need the programs and no laboratory."""
    unless(next(filter(None, map(absent, programs)), ""))


def unless(reason: str, text: str = "{}") -> None:
    """Skip for that reason, if there is one; fail if CRUST_REQUIRE_LAB says that nothing may be left out."""
    if reason:
        assert not os.environ.get("CRUST_REQUIRE_LAB"), text.format(reason)
        pytest.skip(text.format(reason))
