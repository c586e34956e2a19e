"""Machines of the laboratory: network namespaces, with programs in them; and those that have a public address."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
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


class Machine:
    """
    A namespace, and the programs in it; a `Lab` makes it.

    Args:
        name: A word, for people, and for its namespace.
        interface: What joins it to others.
    """

    def __init__(self, internet: Internet, name: str, interface: str) -> None:
        self.name = name
        self.namespace = names.fresh(name)
        self.interface = interface
        self.prefix = ("ip", "netns", "exec", self.namespace)
        """What a command begins with that is to run in here."""
        self.firewall = Firewall(lambda text: self.run("nft", "-f", "-", lines=text), interface)
        self.all_ipv4: tuple[str, ...] = ()
        self.all_ipv6: tuple[str, ...] = ()
        self._programs: list[Program] = []
        self._internet = internet

    @property
    def ipv4(self) -> str:
        """Its IPv4 address, the first if it has several."""
        return self.all_ipv4[0]

    @property
    def ipv6(self) -> str:
        """Its IPv6 address; empty if it has none."""
        return self.all_ipv6[0] if self.all_ipv6 else ""

    def prepare(self, **settings: int) -> None:
        """Have IPv6 in the namespace, and these settings, named as in /proc/sys/net with ``__`` for the slashes."""
        sysctls = {"net/" + name.replace("__", "/"): str(value) for name, value in settings.items()}
        self._internet.ask("prepare", namespace=f"{names.FOLDER}/{self.namespace}", sysctls=sysctls)

    def configure(self, *lines: str) -> None:
        """Commands of iproute2 in here, all by one process."""
        ip("-n", self.namespace, "-batch", "-", lines="\n".join(lines) + "\n")

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


def counted(network: str, first: int = 1) -> Callable[[], str]:
    """The addresses of a /24, one after the other."""
    numbers = iter(range(first, 254))
    return lambda: f"{network}.{next(numbers)}"


class Host(Machine):
    """
    A machine on the Internet, which it reaches by ``wan``; a `Lab` makes it.

    Args:
        number: Its networks are ``20.0.NUMBER.0/24`` and ``2a10:20:NUMBER::/64``.
        mtu: Bytes of the biggest packet that its interface sends.
        addresses: How many of each family it has.
        has_ipv6: Whether it has any of IPv6.
    """

    def __init__(
        self, internet: Internet, name: str, number: int, mtu: int = 1500, *, addresses: int = 1, has_ipv6: bool = True
    ) -> None:
        super().__init__(internet, name, INTERFACE)
        self.all_ipv4 = tuple(f"20.0.{number}.{each}" for each in range(1, addresses + 1))
        self.all_ipv6 = tuple(f"2a10:20:{number}::{each:x}" for each in range(1, addresses + 1) if has_ipv6)
        self.link = Link(internet, name)
        self.gateway4, self.gateway6 = f"20.0.{number}.254", f"2a10:20:{number}::fe"
        self.next_address = counted(f"20.0.{number}", addresses + 1)
        self._mtu, self._realm = mtu, ""

    def create(self) -> None:
        """Make the namespace, its interface, addresses and routes."""
        ip("netns", "add", self.namespace)
        self.attach()
        self.configure("link set lo up", *self.wan_lines())

    def attach(self) -> None:
        """Make the interface, known to the network by the addresses."""
        self.prepare()
        namespace = f"{names.FOLDER}/{self.namespace}"
        self._internet.ask("attach", name=self.name, namespace=namespace, mtu=self._mtu, realm=self._realm)
        self._internet.ask("route", name=self.name, addresses=[*self.all_ipv4, *self.all_ipv6])

    def wan_lines(self) -> list[str]:
        """The commands that set it up."""
        lines = [f"link set {INTERFACE} mtu {self._mtu} txqueuelen {DEVICE_QUEUE} up"]
        lines += [f"addr add {each}/24 dev {INTERFACE}" for each in self.all_ipv4]
        lines += [f"addr add {each}/64 dev {INTERFACE} nodad" for each in self.all_ipv6]
        lines += [f"route replace default via {self.gateway4} dev {INTERFACE}"]
        return lines + [f"route replace default via {self.gateway6} dev {INTERFACE}" for _ in self.all_ipv6[:1]]

    def renumber(self, ipv4: str = "") -> None:
        """Another address of IPv4, by default the next, in place of all that it has."""
        ipv4 = ipv4 or self.next_address()
        old, self.all_ipv4 = self.all_ipv4, (ipv4,)
        self._internet.ask("unroute", name=self.name, addresses=list(old))
        self._internet.ask("route", name=self.name, addresses=[ipv4])
        self.configure(
            *(f"addr del {each}/24 dev {INTERFACE}" for each in old),
            f"addr add {ipv4}/24 dev {INTERFACE}",
            f"route replace default via {self.gateway4} dev {INTERFACE}",
        )


class Probe:
    """A probe under way."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.port: int = self.result()["port"]

    def result(self) -> dict[str, Any]:
        """The next that it has to say."""
        found: dict[str, Any] = json.loads(self.program.wait_for(r"^\{.*\}$", PATIENCE)[0])
        return found
