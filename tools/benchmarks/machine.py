"""The machine: processors to pin processes to, memory in use, descriptor limits, and a description for the record."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import os
import platform
import resource
import ssl
import sys
import time

__all__ = ["about", "placement_cpus", "raise_descriptor_limit", "resident_kib"]

PLACEMENTS = ("one", "split", "free")
"""Both sides on one processor; each on a half of them; wherever the system puts them."""

_LIBRARIES = ("crust", "gevent", "pynacl", "pyzmq", "websockets")


def placement_cpus(placement: str) -> tuple[list[int], list[int]]:
    """
    The processors for the hub and for the spokes; empty lists: no pinning.

    ``split`` gives each side half of what this process may use, so that libraries with threads of their own are not
    squeezed on large machines. Pinning makes figures steady: unpinned, two processes wander between both placements.
    """
    if placement == "free" or not hasattr(os, "sched_getaffinity"):
        return [], []
    allowed = sorted(os.sched_getaffinity(0))
    if placement == "one" or len(allowed) < 2:
        return allowed[:1], allowed[:1]
    half = len(allowed) // 2
    return allowed[:half], allowed[half:]


def resident_kib() -> int:
    """Resident memory of this process after a collection, in KiB; exact, unlike the counters in ``status``."""
    gc.collect()
    try:
        with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("Rss:"):
                    return int(line.split()[1])
    except OSError:
        pass  # not Linux, or an old one
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize() // 1024
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


def raise_descriptor_limit(wanted: int) -> int:
    """
    Allow this process ``wanted`` descriptors, or as many as it may have; returns the limit now.

    The hard limit is raised too where that is allowed (to root).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def about() -> dict[str, object]:
    """What figures depend on, for the record."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "openssl": ssl.OPENSSL_VERSION,
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""  # crust itself runs from a checkout, perhaps not installed


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"
