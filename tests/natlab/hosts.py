"""A host of the laboratory: a network namespace with an address of each family, and programs in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from tests.natlab import names
from tests.natlab.core import INTERFACE
from tests.natlab.firewall import Firewall
from tests.natlab.internet import Internet, Link
from tests.support.programs import Program, resolved
from tests.support.source import ROOT
from tests.support.waiting import wait_until

PATIENCE = 60.0  # seconds; the machine may be busy
DEVICE_QUEUE = 5_000  # packets; the queue that counts is the one of the link


def ip(*words: str, lines: str = "") -> str:
    """Run iproute2's command; AssertionError with what it says if it fails."""
    return checked(["ip", *words], lines)


def checked(command: list[str], lines: str = "", timeout: float = PATIENCE) -> str:
    """Run a command with these lines as its input; its output. AssertionError with all it said if it fails."""
    done = subprocess.run(
        command,
        input=lines,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    said = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, f"{' '.join(command)}: {said}"
    return done.stdout


def end_programs(namespace: str) -> None:
    """End what runs in a namespace, however far it went from the process that started it."""
    if os.path.exists(f"{names.FOLDER}/{namespace}"):
        wait_until(lambda: not _killed(namespace), PATIENCE, f"the end of all programs in {namespace}")


def remove_namespace(namespace: str) -> None:
    """End what runs in a namespace, and remove it; nothing if there is none."""
    path = f"{names.FOLDER}/{namespace}"
    try:
        end_programs(namespace)
        if os.path.exists(path):
            ip("netns", "delete", namespace)
    except AssertionError:
        if os.path.exists(path):  # else another run has removed it meanwhile: its owner was dead
            raise


def _killed(namespace: str) -> list[int]:
    found = [int(word) for word in ip("netns", "pids", namespace).split()]
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


class Host:
    """
    A namespace, joined to the network by ``wan``; a `Lab` makes it.

    Args:
        number: Its networks are ``20.0.NUMBER.0/24`` and ``2a10:20:NUMBER::/64``.
        mtu: Bytes of the biggest packet that its interface sends.
    """

    def __init__(self, internet: Internet, name: str, number: int, mtu: int) -> None:
        self.name = name
        self.namespace = names.fresh(name)
        self.ipv4, self.ipv6 = f"20.0.{number}.1", f"2a10:20:{number}::1"
        self.link = Link(internet, name)
        self.prefix = ("ip", "netns", "exec", self.namespace)
        """What a command begins with that is to run in here."""
        self.firewall = Firewall(lambda text: self.run("nft", "-f", "-", lines=text))
        self._programs: list[Program] = []
        self._mtu, self._internet = mtu, internet

    def create(self) -> None:
        """Make the namespace, its interface, addresses and routes."""
        ip("netns", "add", self.namespace)
        self._internet.ask("attach", name=self.name, namespace=f"{names.FOLDER}/{self.namespace}", mtu=self._mtu)
        gateway4, gateway6 = self.ipv4[:-1] + "254", self.ipv6[:-1] + "fe"
        lines = [
            "link set lo up",
            f"link set {INTERFACE} mtu {self._mtu} txqueuelen {DEVICE_QUEUE} up",
            f"addr add {self.ipv4}/24 dev {INTERFACE}",
            f"addr add {self.ipv6}/64 dev {INTERFACE} nodad",
            f"route add default via {gateway4} dev {INTERFACE}",
            f"route add default via {gateway6} dev {INTERFACE}",
        ]
        ip("-n", self.namespace, "-batch", "-", lines="\n".join(lines) + "\n")
        self._internet.ask("route", name=self.name, addresses=[self.ipv4, self.ipv6])

    def remove(self) -> None:
        """End its programs, show what they wrote (pytest does with a failure), and remove the namespace."""
        with contextlib.ExitStack() as stack:
            stack.callback(remove_namespace, self.namespace)
            for program in self._programs:
                stack.push(program)
            # First, since the output of a program ends only with its last process.
            stack.callback(end_programs, self.namespace)
        for program in self._programs:
            sys.stdout.write(f"--- {self.name}: {program.process.args!r}\n{''.join(program.output)}")

    # --- programs -----------------------------------------------------------------------------------------------------

    def run(self, *command: str, lines: str = "", timeout: float = PATIENCE) -> str:
        """
        Run a program to its end; what it wrote to standard output.

        Raises:
            AssertionError: It failed; with its output.
            subprocess.TimeoutExpired: It took longer than `timeout` seconds.
        """
        return checked([*self.prefix, *resolved(command)], lines, timeout)

    def start(self, *command: str) -> Program:
        """A program that runs until it is stopped, or the laboratory taken down; a failure shows its output."""
        program = Program(*command, cwd=ROOT, prefix=self.prefix)
        self._programs.append(program)
        return program

    def probe(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run one of :mod:`tests.natlab.probes` to its end; its result."""
        found: dict[str, Any] = json.loads(self.run(*self._probe(name, arguments)))
        return found

    def serve(self, name: str, **arguments: Any) -> Probe:
        """Start one that waits for others; its port is known when this returns."""
        return Probe(self.start(*self._probe(name, arguments)))

    def launch(self, name: str, **arguments: Any) -> Program:
        """Start one that needs no other, and let it run."""
        return self.start(*self._probe(name, arguments))

    def _probe(self, name: str, arguments: dict[str, Any]) -> list[str]:
        return ["python", "-m", "tests.natlab.probes", name, json.dumps(arguments)]


class Probe:
    """A probe under way."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.port: int = self.result()["port"]

    def result(self) -> dict[str, Any]:
        """The next that it has to say."""
        found: dict[str, Any] = json.loads(self.program.wait_for(r"^\{.*\}$", PATIENCE)[0])
        return found
