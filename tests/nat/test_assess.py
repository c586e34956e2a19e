"""What surveys mean: the kind of every network, grades, forecasts, hints, and what is not known."""

from __future__ import annotations

import dataclasses
import re

import pytest

import crust
from crust.findings import GatewayFinding, MappingOffer
from crust.nat import methods
from crust.nat.forecast import PEERS
from crust.nat.methods import Method, Prospect, Side
from tests.support.surveys import KINDS, OUTER, SURVEYS

NAMES = list(SURVEYS)


def forecast(name: str, peer: str) -> crust.Forecast:
    return next(each for each in crust.assess(SURVEYS[name]).forecasts if each.peer == peer)


def hints(name: str) -> list[str]:
    return [hint.name for hint in crust.assess(SURVEYS[name]).hints]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_network_is_named_and_graded(name: str) -> None:
    """The verdict is the right one, and has words for people."""
    found = crust.assess(SURVEYS[name])
    assert (found.kind, found.grade) == KINDS[name]
    assert found.title and found.text.endswith(".") and found.reason


def test_every_kind_has_an_example() -> None:
    assert {kind for kind, _ in KINDS.values()} == set(crust.SiteKind)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_for_programs(name: str) -> None:
    """Sentences are whole, without Python's words or holes in them."""
    found = crust.assess(SURVEYS[name])
    texts = [found.title, found.text, found.reason, *found.gaps]
    texts += [text for hint in found.hints for text in (hint.title, hint.text)]
    texts += [text for each in found.forecasts for text in (each.title, each.note)]
    for text in texts:
        assert not re.search(r"None|True|False|  |\(\)|\{|Behaviour|_", text), text


@pytest.mark.parametrize("name", NAMES)
def test_a_forecast_for_each_kind_of_peer(name: str) -> None:
    """In one order; peers in the same network last, if there is a network."""
    peers = [each.peer for each in crust.assess(SURVEYS[name]).forecasts]
    assert [peer for peer in peers if peer not in ("local", "ipv6")] == [peer.name for peer in PEERS]
    assert ("local" in peers) == (name != "no network")
    assert ("ipv6" in peers) == name.startswith("ipv6")


def test_only_what_this_version_can_is_promised() -> None:
    """From behind an ordinary router all are reached but those who only get to web servers; by methods that exist."""
    for peer, names in {
        "home": {"punch-udp"},
        "carrier": {"punch-udp"},
        "office": {"birthday-udp"},
        "udp_blocked": {"punch-tcp"},
        "web_only": set(),
    }.items():
        found = forecast("port", peer)
        assert {each.method for each in (found.call, found.called) if each is not None} == names
    known = {method.name for method in methods.methods()}
    for name in NAMES:
        for each in crust.assess(SURVEYS[name]).forecasts:
            assert all(reach is None or reach.method in known for reach in (each.call, each.called))


def test_by_tcp_alone_others_are_met_by_tcp() -> None:
    """By the method that fits the two routers."""
    for name, peer, method in (
        ("udpblock", "home", "punch-tcp"),
        ("udpblock", "office", "birthday-tcp"),
        ("sym", "udp_blocked", "birthday-tcp"),
        ("symseq", "udp_blocked", "predict-tcp"),
        ("rst", "udp_blocked", "punch-tcp"),
    ):
        found = forecast(name, peer)
        assert found.call is not None and found.called is not None
        assert found.call.method == found.called.method == method
    assert forecast("tcpblock", "udp_blocked").best is None  # they have nothing in common
    assert forecast("strict", "home").best is None


def test_a_method_that_is_registered_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grades come from what can be reached, not from the name of the network."""

    def prospect(ours: Side, theirs: Side) -> Prospect | None:
        return Prospect(0.9, 0.5)

    direct = [method for method in methods._METHODS if method.name == "direct"]
    monkeypatch.setattr(methods, "_METHODS", direct)
    assert crust.assess(SURVEYS["port"]).grade == "C"
    monkeypatch.setattr(methods, "_METHODS", [*direct, Method("punch", "punched-utp", prospect)])
    found = crust.assess(SURVEYS["port"])
    assert (found.kind, found.grade) == (crust.SiteKind.PORT_RESTRICTED, "B")
    reach = forecast("port", "home").call
    assert reach is not None and reach.path_class == "punched-utp"


def test_who_can_be_called_is_reached_the_other_way_round() -> None:
    """An open machine is called by those behind routers; by those who only get web pages, if it listens there."""
    for name in ("none", "mapping works", "full"):
        home = forecast(name, "home")
        assert home.called is not None and home.called.likely
        assert home.call is not None and home.call.method == "punch-udp"
    assert forecast("none", "home").best == forecast("none", "home").called
    assert forecast("none", "home").called.method == "direct"  # type: ignore[union-attr]
    assert "443" in forecast("none", "web_only").note
    for name, peer in (("mapping works", "web_only"), ("strict", "home_mapped")):
        assert (forecast(name, peer).best, forecast(name, peer).note) == (None, "")  # no router is asked for port 443
    assert "443" in forecast("strict", "open").note and forecast("strict", "open").best is None


def test_without_a_helper_tcp_is_judged_by_udp() -> None:
    """An open machine's TCP is likely open; behind a lenient router it is not known; behind another it is closed."""
    open_, lenient, ordinary = (
        forecast(f"{name}, TCP not tested", "udp_blocked").called for name in ("none", "full", "port")
    )
    assert open_ is not None and open_.chance is not None and 0.5 < open_.chance < 0.9
    assert lenient is not None and lenient.method == "punch-tcp"
    assert ordinary is not None and ordinary.method == "punch-tcp"
    assert any("no crust node outside" in gap for gap in crust.assess(SURVEYS["none, TCP not tested"]).gaps)


def test_blocked_udp_leaves_tcp() -> None:
    """And the other way round: what is expected goes by the one that works."""
    by_tcp, by_utp = forecast("udpblock", "open").call, forecast("tcpblock", "open").call
    assert by_tcp is not None and by_tcp.path_class == "direct-tcp"
    assert by_utp is not None and by_utp.path_class == "direct-utp"
    assert forecast("tcpblock", "udp_blocked").best is None


def test_the_sentences_do_not_deny_what_the_table_promises() -> None:
    """That nobody calls here is never a matter of the kind alone."""
    for name in NAMES:
        found = crust.assess(SURVEYS[name])
        if any(each.called is not None and each.called.likely for each in found.forecasts if each.peer != "local"):
            assert not re.search(r"no caller|do not get through|[Nn]obody", f"{found.title} {found.text}"), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("port", "you connect with most kinds of peers, one way or the other"),
        ("port, one plain server", "but whether anybody can call you is not known"),
        ("ipv6 alone", "but only some kinds of peers can call you"),
        ("ipv6 open, a carrier's IPv4", "you connect with most kinds of peers, one way or the other"),
    ],
)
def test_the_reason_says_who_calls(name: str, words: str) -> None:
    """No more than is known, and nothing but what the table says."""
    assert crust.assess(SURVEYS[name]).reason.endswith(words)


def test_what_was_not_tried_is_not_said_to_fail() -> None:
    survey = SURVEYS["port"]
    udp = dataclasses.replace(survey.protocols[0], reachable=None, reason="not tried")
    tcp = dataclasses.replace(survey.protocols[1], mapping=None)
    found = crust.assess(dataclasses.replace(survey, protocols=(udp, tcp)))
    assert found.grade == "D" and found.reason.endswith("only TCP is known to work")
    blocked = dataclasses.replace(survey.protocols[0], reachable=False)
    found = crust.assess(dataclasses.replace(survey, protocols=(blocked, tcp)))
    assert found.grade == "D" and found.reason.endswith("only TCP works")


def test_a_family_without_a_helper_of_its_own_asks_for_one() -> None:
    """Whoever has named one that is reached over IPv4 is not told to do it again."""
    survey = SURVEYS["ipv6 firewall"]
    last = dataclasses.replace(survey.protocols[3], unsolicited=None)
    gaps = crust.assess(dataclasses.replace(survey, protocols=(*survey.protocols[:3], last))).gaps
    assert len(gaps) == 1 and gaps[0].endswith("--contact names one, which must have an IPv6 address.")


def test_ipv6_lets_those_in_who_have_it() -> None:
    found = [forecast(name, peer).called for name in ("ipv6 open", "ipv6 firewall") for peer in ("ipv6", "home")]
    assert [each and each.method for each in found] == ["direct", "punch-udp", "punch-udp", "punch-udp"]


# --- a router that opens ports ----------------------------------------------------------------------------------------


def opened(external: str, layers: str = "") -> crust.Assessment:
    offer = MappingOffer("igd", True, external, 0.4, 3600)
    gateway = GatewayFinding("192.168.1.1", "", (offer,), layers)
    return crust.assess(dataclasses.replace(SURVEYS["port"], gateway=gateway))


def test_an_opened_port_must_lead_somewhere() -> None:
    """Only a router with our outer address opens ports to everybody; not behind another NAT, nor if it lies."""
    assert opened(OUTER).kind is crust.SiteKind.MAPPED
    assert opened("").kind is crust.SiteKind.MAPPED
    for external in ("100.64.3.7", "10.0.0.7", "20.0.7.7", "nonsense"):
        assert opened(external).kind is not crust.SiteKind.MAPPED, external
    assert opened(OUTER, "carrier").kind is crust.SiteKind.CARRIER


# --- hints ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", []),
        ("mapping works", []),
        ("firewall", ["open_firewall"]),
        ("port", ["switch_on_upnp", "forward_port"]),
        ("sym", ["switch_on_upnp", "forward_port"]),
        ("cgnat", ["ask_provider"]),
        ("double", ["bridge_mode"]),
        ("udpblock", ["switch_on_upnp", "forward_port", "let_udp_out"]),
        ("tcpblock", ["switch_on_upnp", "forward_port", "let_tcp_out"]),
        ("none, but UDP is blocked", ["let_udp_out"]),
        ("none, one plain server", []),
        ("servers that tell nothing", []),
        ("strict", ["listen_on_web_port"]),
        ("captive portal", ["log_in"]),
        ("nothing answers", ["no_internet"]),
        ("no names", ["no_dns"]),
        ("no network", ["connect"]),
        ("vpn", ["vpn"]),
        ("offline", []),
        ("two ways out", ["switch_on_upnp", "forward_port", "several_ways_out"]),
        ("ipv6 firewall", ["switch_on_upnp", "forward_port", "open_ipv6"]),
        ("ipv6 open", ["switch_on_upnp", "forward_port"]),
    ],
)
def test_hints_are_what_helps_here(name: str, expected: list[str]) -> None:
    """No carrier's customer is told to forward a port, and no one is told to switch on what works."""
    assert hints(name) == expected


def test_hints_name_the_things_of_this_network() -> None:
    """The router, the machine, the port, the outer address."""
    text = " ".join(hint.text for hint in crust.assess(SURVEYS["port"]).hints)
    for word in ("FRITZ!Box 7590", "192.168.1.1", "192.168.1.20", "5483", f"tcp://{OUTER}:5483"):
        assert word in text, word


def test_no_second_router_is_told_to_open_what_the_first_one_closes() -> None:
    """Where UDP is blocked, too, ports of a router behind a carrier's lead nowhere."""
    survey = dataclasses.replace(SURVEYS["udpblock"], gateway=SURVEYS["cgnat"].gateway)
    assert [hint.name for hint in crust.assess(survey).hints] == ["ask_provider", "let_udp_out"]


def test_without_a_network_nothing_else_is_said() -> None:
    """That no name can be looked up either goes without saying."""
    survey = dataclasses.replace(SURVEYS["no network"], hints=("no_network", "no_dns"))
    assert [hint.name for hint in crust.assess(survey).hints] == ["connect"]


def test_a_router_that_was_not_asked_is_not_accused() -> None:
    """Whether it opens ports is not known, and said to be so; the hint stands on its own."""
    survey = dataclasses.replace(SURVEYS["port"], gateway=None)
    found = crust.assess(survey)
    assert [hint.name for hint in found.hints] == ["forward_port"]
    assert "In the settings of your router, forward" in found.hints[0].text and "Or " not in found.hints[0].title
    assert any("router" in gap for gap in found.gaps)


# --- what is not known ------------------------------------------------------------------------------------------------


def test_a_full_survey_leaves_no_gap() -> None:
    for name in ("none", "port", "sym", "cgnat", "mapping works"):
        assert crust.assess(SURVEYS[name]).gaps == ()


def test_what_was_not_found_out_is_said_with_its_reason() -> None:
    """Too few servers, none that tests, no helper, servers that were silent, nobody asked."""
    gaps = " ".join(crust.assess(SURVEYS["port, one plain server"]).gaps)
    assert "two servers" in gaps and "RFC 5780" in gaps and "--contact" in gaps
    assert "stun.example.org:3478" in " ".join(crust.assess(SURVEYS["nothing answers"]).gaps)
    assert "offline" in " ".join(crust.assess(SURVEYS["offline"]).gaps)


def test_the_verdict_does_not_depend_on_the_order() -> None:
    """Of what was found, nor on findings that are missing."""
    for name in NAMES:
        survey = SURVEYS[name]
        turned = dataclasses.replace(survey, protocols=survey.protocols[::-1])
        assert (crust.assess(turned).kind, crust.assess(turned).grade) == KINDS[name]
    for protocols in (SURVEYS["port"].protocols[:1], SURVEYS["port"].protocols[1:]):
        found = crust.assess(dataclasses.replace(SURVEYS["port"], protocols=protocols))
        assert found.kind is crust.SiteKind.PORT_RESTRICTED
