"""
Two hosts to try things by hand: ``python -m tests.natlab [options] [command of host a]``, as root.

Without a command it is a shell on host ``a``. The variables ``A``, ``B``, ``A6`` and ``B6`` have the addresses,
``IN_A`` and ``IN_B`` what a command begins with that is to run there. Everything goes when the command ends.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.natlab import needs
from tests.natlab.lab import Lab
from tests.support.source import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.natlab", description=__doc__)
    parser.add_argument("--delay", type=float, default=0, metavar="MS", help="milliseconds each way")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT", help="of the packets, each way")
    parser.add_argument("--rate", type=float, metavar="MBIT", help="Mbit/s each way; without it as fast as it goes")
    parser.add_argument("--queue", type=int, metavar="BYTES", help="before the bottleneck; without it 100 ms")
    parser.add_argument("--mtu", type=int, metavar="BYTES", help="of the link; the interfaces have 1,500")
    parser.add_argument("--silent", action="store_true", help="what is too big vanishes without a word")
    parser.add_argument("--drop", action="append", default=[], choices=["tcp", "udp"], help="a firewall on the way")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="without it a shell")
    options = parser.parse_args()
    if reason := needs.missing():
        parser.exit(1, f"{reason}; {needs.ADVICE}\n")
    with Lab() as lab:
        here, there = lab.pair(
            delay=options.delay / 1000,
            loss=options.loss / 100,
            rate=None if options.rate is None else options.rate * 1e6,
            queue=options.queue,
            mtu=options.mtu,
            tells=not options.silent,
            drops=tuple(options.drop),
        )
        names = {"A": here.ipv4, "A6": here.ipv6, "B": there.ipv4, "B6": there.ipv6}
        names |= {"IN_A": " ".join(here.prefix), "IN_B": " ".join(there.prefix), "PYTHONPATH": str(ROOT)}
        command = options.command or [os.environ.get("SHELL", "/bin/sh")]
        for name, value in names.items():
            sys.stderr.write(f"{name}={value}\n")
        return subprocess.run([*here.prefix, *command], env={**os.environ, **names}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
