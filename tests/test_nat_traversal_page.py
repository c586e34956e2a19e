"""docs/nat-traversal.md and docs/add-a-method.md: every number is the code's, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import crust
from crust import traversal
from crust.config import Config
from crust.config.sections import field_keys
from crust.nat.punch import probe_packet, tcp_signals, udp_signals
from crust.wire import frames
from tests.support.source import ROOT
from tests.support.traversal_page import CLAIMS, filled, prose

PAGE = (ROOT / "docs" / "nat-traversal.md").read_text(encoding="utf-8")
WIRE = (ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8").split("## Ways through NATs\n", 1)[1]
WIRE = WIRE.split("\n## ", 1)[0]
ADD = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")


def numbers(text: str) -> list[str]:
    """All that is left when claims are taken away, with what stands around it."""
    for claim in CLAIMS:
        text = text.replace(filled(claim), "")
    text = re.sub(r"^1?\d?\. ", "", text, flags=re.MULTILINE)  # of lists
    return re.findall(r".{0,20}\d.{0,20}", text)


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_page_says_what_the_code_does(claim: str) -> None:
    """Its numbers are those of `crust.limits`."""
    assert filled(claim) in " ".join(prose(PAGE).split())


def test_the_page_has_no_number_of_its_own() -> None:
    """Each stands in a generated part, or is a claim that is checked."""
    assert numbers(" ".join(prose(PAGE).split())) == []


def test_a_number_of_its_own_is_found() -> None:
    """The check above can fail."""
    assert numbers("it sends 7 packets") == ["it sends 7 packets"]
    assert numbers(filled(CLAIMS[0])) == []


def test_the_keys_exist() -> None:
    """Each key of the configuration that a page names, with a value or without."""
    known = {key for key, _ in field_keys(Config)}
    named = set(re.findall(r"`((?:nat|relay|listen|session|utp)\.[a-z_.]+)[:`]", PAGE + ADD))
    assert named >= {"nat.punch.udp", "relay.use", "nat.port_mapping"} and named - known == set()


def test_the_methods_are_all_there() -> None:
    """Every built-in method has its row, and no other has."""
    table = PAGE.split("<!-- generated: packets -->")[1].split("<!-- end")[0]
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    assert rows == {method.name for method in traversal.methods() if method.plan is not None}


def test_the_names_are_public() -> None:
    """What the page for authors of methods calls by name is in `crust.traversal`, or a method of a plan."""
    words = set(re.findall(r"`([A-Z]\w+)\b", ADD)) - {"None"}
    assert words - set(traversal.__all__) == set()
    calls = set(re.findall(r"`([a-z_]+)\(", ADD)) - {"tag_of", "plan"}
    assert calls - set(dir(traversal.Plan)) == set()


def test_every_public_name_of_methods_is_in_the_map() -> None:
    """api.md mentions all of `crust.traversal`."""
    words = set(re.findall(r"\w+", (ROOT / "docs" / "api.md").read_text(encoding="utf-8")))
    assert set(traversal.__all__) - words == set()
    missing = [name for name in traversal.__all__ if not getattr(getattr(traversal, name), "__doc__", "")]
    assert missing == []


def test_it_is_loaded_by_name_alone() -> None:
    """``import crust`` does not pay for it, and it brings no thread and no socket."""
    words = "import crust, sys; print('crust.traversal' in sys.modules); import crust.traversal, threading; "
    words += "print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]


# --- wire-format.md ---------------------------------------------------------------------------------------------------


def listed(title: str) -> dict[int, str]:
    """The numbered rows of a table, by what stands above its first row."""
    table = WIRE.split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
    return {int(number): name for number, name in re.findall(r"^\| (\d) \| (\w+) \|", table, re.MULTILINE)}


HERE = ("192.0.2.7", 5483)


def test_the_signals_are_as_they_are_written_down() -> None:
    """Every type of both families, by its number; and no other is taken."""
    udp: list[udp_signals.UdpSignal] = [
        udp_signals.Fresh(HERE),
        udp_signals.Ready(),
        udp_signals.Round(1),
        udp_signals.Guess(1, HERE, -1),
        udp_signals.Roles(True),
        udp_signals.Aim(HERE),
    ]
    tcp: list[tcp_signals.TcpSignal] = [
        tcp_signals.Sync(1),
        tcp_signals.Dialled(1),
        tcp_signals.Round(1),
        tcp_signals.Guess(1, HERE, -1),
        tcp_signals.Opened(1),
        tcp_signals.Hit(),
    ]
    found = {udp_signals.build_signal(each)[0]: type(each).__name__.lower() for each in udp}
    assert listed("`punch-udp`, `predict-udp`, `birthday-udp`") == found
    found = {tcp_signals.build_signal(each)[0]: type(each).__name__.lower() for each in tcp}
    assert listed("`punch-tcp`, `predict-tcp`, `birthday-tcp`") == found
    for body in (bytes([0]), bytes([7])):
        for parse in (udp_signals.parse_signal_untrusted, tcp_signals.parse_signal_untrusted):
            with pytest.raises(crust.MalformedMessage):
                parse(body)


def test_the_probes_are_as_they_are_written_down() -> None:
    """Their sizes, kinds, and the tag of the example."""
    assert f"{probe_packet.PROBE_MIN} to {probe_packet.PROBE_MAX} bytes" in WIRE
    assert listed("probe kind") == {kind.value: kind.name.lower() for kind in probe_packet.Kind}
    assert f"`{probe_packet.tag_of(bytes(range(32)), 'punch-udp').hex()}`" in WIRE


def test_places_and_standings_are_as_they_are_written_down() -> None:
    """What the numbers of their fields stand for, and how long they are."""
    words = {
        traversal.PlaceKind.CONFIGURED: "it is configured",
        traversal.PlaceKind.INTERFACE: "an interface has it",
        traversal.PlaceKind.MAPPED: "the router opened it",
        traversal.PlaceKind.REFLEXIVE: "others see it",
    }
    assert ", ".join(f"{kind.value} {words[kind]}" for kind in traversal.PlaceKind) in WIRE
    codes = traversal.TransportCode
    assert (codes.UTP.value, codes.TCP.value) == (0, 1) and WIRE.count("| 0 µTP, 1 TCP |") == 2
    standing = traversal.Standing(codes.TCP, 4, 2, -3, 0x0102, 0x0304, True)
    place = traversal.Place(traversal.PlaceKind.MAPPED, codes.TCP, True, HERE)
    body = bytes.fromhex("01 04 02 fffd 0102 0304 01") + b"\x01" + bytes.fromhex("02 01 01 04 c0000207 156b")
    assert frames.build_record((frames.Candidates(5, (standing,), (place,)),)) == b"\x12\0\0\0\x05\x01" + body
