"""The three forms of the report, text, page and JSON, for every kind of network."""

from __future__ import annotations

import dataclasses
import enum
import html.parser
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import jsonschema
import pytest

import crust
from crust.cli.punch_test.changes import carried, changes, seen
from crust.cli.punch_test.document import as_document
from crust.cli.punch_test.page import as_page
from crust.cli.punch_test.text import as_text
from crust.cli.punch_test.words import stops
from tests.support.source import ROOT
from tests.support.surveys import OUTER, SURVEYS

NAMES = list(SURVEYS)
SCHEMA = json.loads((ROOT / "conf" / "punch-test.schema.json").read_text(encoding="utf-8"))


def text_of(survey: crust.NetworkSurvey, width: int = 100) -> str:
    lines = as_text(survey, crust.assess(survey), width=width, paint=lambda text, *styles: text)
    return "\n".join(lines)


def page_of(survey: crust.NetworkSurvey) -> str:
    return as_page(survey, crust.assess(survey))


def flat(text: str) -> str:
    return " ".join(text.split())


def hostile(word: str) -> crust.NetworkSurvey:
    """A survey in which everybody who can say something says this."""
    survey = SURVEYS["port"]
    server = crust.ServerFinding(word, word, None, "", error=word)
    protocols = tuple(dataclasses.replace(each, reason=word, servers=(server,)) for each in survey.protocols)
    offer = crust.MappingOffer("igd", False, word, error=word)
    gateway = crust.GatewayFinding("192.168.1.1", word, (offer,), "double", word)
    tunnel = crust.InterfaceFinding(word, crust.InterfaceKind.VPN, ("10.8.0.2/24",), True)
    changes: dict[str, Any] = {"interfaces": (tunnel,), "contacted": (word,), "hints": ("vpn", "several_ways_out")}
    return dataclasses.replace(survey, protocols=protocols, gateway=gateway, **changes)


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_text_says_the_verdict(name: str) -> None:
    """The kind, the grade, every kind of peer, every hint and every gap are in it."""
    found = crust.assess(SURVEYS[name])
    text = flat(text_of(SURVEYS[name], 200))
    grade = f"Grade {found.grade}:" if found.grade else "Not graded"
    wanted = [found.title, found.text, grade, *found.gaps, *(hint.text for hint in found.hints)]
    assert [words for words in wanted if flat(words) not in text] == []
    assert text.count("you call them") >= 1


@pytest.mark.parametrize("width", [30, 40, 60, 75, 76, 80, 100, 300])
@pytest.mark.parametrize("name", ["port", "cgnat", "strict", "ipv6 open"])
def test_it_fits_the_window(name: str, width: int) -> None:
    """No line is wider, and none so wide that it cannot be read; an address too long for it is broken."""
    limit = max(30, min(width, 100))
    assert [line for line in text_of(SURVEYS[name], width).splitlines() if len(line) > limit] == []


def test_narrow_and_wide_say_the_same() -> None:
    """In a narrow window the two directions stand below each other."""
    for name in NAMES:
        narrow, wide = (flat(text_of(SURVEYS[name], width)) for width in (60, 100))
        assert narrow.count("yes, direct") == wide.count("yes, direct")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("port", ["only answers", "endpoint-independent mapping", "1492 bytes", "23 ms", "preserved", OUTER]),
        ("sym", ["another one for each destination", "random"]),
        ("symseq", ["one after the other"]),
        ("rst", ["refused at once (RST)"]),
        ("none", ["nothing translates", "let in"]),
        ("mapping works", ["yes, by UPnP in 0.4 s, for 60 min"]),
        ("cgnat", ["carrier-grade NAT", "100.64.3.7"]),
        ("strict", ["only to port 443 and 80"]),
        ("vpn", ["through a VPN"]),
        ("offline", ["nobody outside was asked"]),
        ("no network", ["connected to no network"]),
        ("port, one plain server", ["not known: no server that answered can test it", "whether always is not known"]),
    ],
)
def test_findings_are_told(name: str, words: list[str]) -> None:
    text = flat(text_of(SURVEYS[name], 200))
    assert [word for word in words if word not in text] == []


def test_a_lifetime_is_told_when_it_was_measured() -> None:
    survey = SURVEYS["port"]
    udp = dataclasses.replace(survey.protocols[0], lifetime=(30.0, 120.0))
    text = flat(text_of(dataclasses.replace(survey, protocols=(udp, survey.protocols[1]))))
    assert "remembered for 30 s at least, and is forgotten after 2 min" in text


def test_the_text_is_in_colours_only_if_asked_to() -> None:
    """The painter gets names of styles; what it adds does not disturb the columns."""
    survey = SURVEYS["port"]
    plain = as_text(survey, crust.assess(survey), width=90, paint=lambda text, *styles: text)
    painted = as_text(
        survey, crust.assess(survey), width=90, paint=lambda text, *styles: f"\x1b[1m{text}\x1b[0m" if styles else text
    )
    assert not any("\x1b" in line for line in plain)
    assert any("\x1b" in line for line in painted)
    assert [re.sub(r"\x1b\[\dm", "", line).rstrip() for line in painted] == plain


def test_what_others_say_cannot_move_the_cursor() -> None:
    text = text_of(hostile("evil \x1b[2J\r\u202e"))
    assert "evil" in text
    assert not any(character in text for character in "\x1b\r\u202e")


# --- page -------------------------------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """Collects tags, and checks that they are closed in order."""

    VOID = {"meta", "br", "rect", "path"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_the_same_as_the_text(name: str) -> None:
    """Well-formed, in a language, with headings, a verdict, tables with headers, the hints and the gaps."""
    found = crust.assess(SURVEYS[name])
    reader = read(page_of(SURVEYS[name]))
    words = flat(" ".join(reader.words))
    for wanted in (found.title, found.text, found.reason, *found.gaps, *(hint.text for hint in found.hints)):
        assert flat(wanted) in words, wanted
    assert ("html", {"lang": "en"}) in reader.tags
    assert [tag for tag, _ in reader.tags].count("h1") == 1
    assert all("scope" in attributes for tag, attributes in reader.tags if tag == "th")
    assert "public addresses" in words


@pytest.mark.parametrize("name", NAMES)
def test_the_page_needs_nothing_else(name: str) -> None:
    """No script, no link, no picture, font or style from elsewhere."""
    page = page_of(SURVEYS[name])
    tags = read(page).tags
    assert {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "form", "a", "base"} == set()
    assert not any(name.startswith("on") or name in ("src", "href") for _, attributes in tags for name in attributes)
    assert not re.search(r"url\(|@import|javascript:", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_shows_the_way(name: str) -> None:
    """Four stops, each with a finding, inside the frame; the description says all that the picture does."""
    survey = SURVEYS[name]
    picture = page_of(survey).split("<svg", 1)[1].split("</svg>")[0]
    root = ET.fromstring(f"<svg{picture}</svg>")
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for box in root.iter("rect"):
        assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width
        assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height
    titles = [stop.title for stop in stops(survey, crust.assess(survey))]
    third = "Second router" if name == "double" else "Provider"
    assert titles == ["This machine", "Router", third, "Internet"]
    description = root.findtext("desc") or ""
    for stop in stops(survey, crust.assess(survey)):
        assert stop.lines and all(line in description for line in (stop.title, *stop.lines))
    assert root.attrib["role"] == "img"


def test_a_router_with_a_long_name_still_says_what_it_does() -> None:
    """The name is cut, the finding is not."""
    survey = SURVEYS["port"]
    assert survey.gateway is not None
    gateway = dataclasses.replace(survey.gateway, model="The Very Best Router " * 9)
    picture = page_of(dataclasses.replace(survey, gateway=gateway)).split("</desc>", 1)[1].split("</svg>")[0]
    shown = re.findall(r'<text x="\d+" y="(\d+)">([^<]*)</text>', picture)
    assert any(text == "opens no ports" for _, text in shown)
    assert any(text.endswith("…") for _, text in shown) and max(int(y) for y, _ in shown) < 110


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("none", ["good", "good", "good", "good"]),
        ("mapping works", ["good", "good", "good", "good"]),
        ("port", ["good", "bad", "good", "good"]),
        ("cgnat", ["good", "good", "bad", "good"]),
        ("udpblock", ["good", "bad", "good", "bad"]),
        ("no network", ["bad", "unknown", "unknown", "bad"]),
        ("offline", ["good", "unknown", "unknown", "unknown"]),
        ("vpn", ["bad", "unknown", "unknown", "good"]),
    ],
)
def test_the_stop_in_the_way_is_marked(name: str, marks: list[str]) -> None:
    survey = SURVEYS[name]
    assert [stop.mark for stop in stops(survey, crust.assess(survey))] == marks


def test_what_others_say_stays_text() -> None:
    """A router may call itself what it likes."""
    word = "<script>alert('x')</script>\"><b onclick=x>\x1b\u202e&amp;"
    reader = read(page_of(hostile(word)))
    assert {tag for tag, _ in reader.tags} & {"script", "b"} == set()
    assert "alert('x')" in " ".join(reader.words)
    assert "\x1b" not in page_of(hostile(word)) and "\u202e" not in page_of(hostile(word))


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_document_is_as_the_schema_says(name: str) -> None:
    survey = SURVEYS[name]
    text = as_document(survey, crust.assess(survey))
    assert "\n" not in text
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    assert document["schema"] == 1
    assert document["fine"] == (document["assessment"]["grade"] in ("A", "B"))


def test_the_schema_is_a_schema_that_refuses() -> None:
    """It is valid itself; a document that lacks or distorts something is not."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(as_document(SURVEYS["port"], crust.assess(SURVEYS["port"])))
    for broken in (
        {**document, "schema": 2},
        {**document, "assessment": {**document["assessment"], "grade": "G"}},
        {**document, "survey": {**document["survey"], "protocols": [{}]}},
        {name: value for name, value in document.items() if name != "survey"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


VALUES: dict[str, type[Any]] = {
    "assessment": crust.Assessment,
    "forecast": crust.Forecast,
    "reach": crust.Reach,
    "hint": crust.Hint,
    "survey": crust.NetworkSurvey,
    "interface": crust.InterfaceFinding,
    "gateway": crust.GatewayFinding,
    "offer": crust.MappingOffer,
    "protocol": crust.ProtocolFinding,
    "server": crust.ServerFinding,
}


def test_the_schema_has_every_field() -> None:
    """A field that is added, renamed or taken away must be so in the schema, and in its version if need be."""
    fields = {name: [field.name for field in dataclasses.fields(kind)] for name, kind in VALUES.items()}
    assert {name: list(SCHEMA["$defs"][name]["properties"]) for name in SCHEMA["$defs"]} == fields
    assert all(SCHEMA["$defs"][name]["required"] == names for name, names in fields.items())


def words_of(kind: type[enum.Enum]) -> list[str]:
    return [member.name.lower() for member in kind]


def test_the_schema_has_every_word() -> None:
    """Of every enumeration."""
    defs = SCHEMA["$defs"]
    protocol = defs["protocol"]["properties"]
    assert defs["assessment"]["properties"]["kind"]["enum"] == words_of(crust.SiteKind)
    assert defs["interface"]["properties"]["kind"]["enum"] == words_of(crust.InterfaceKind)
    for name, kind in (
        ("mapping", crust.Behaviour),
        ("filtering", crust.Behaviour),
        ("ports", crust.PortAllocation),
        ("unsolicited", crust.Unsolicited),
    ):
        assert protocol[name]["anyOf"][0]["enum"] == words_of(kind)


# --- changes ----------------------------------------------------------------------------------------------------------


def between(before: str, after: str) -> str:
    first, second = (seen(SURVEYS[name], crust.assess(SURVEYS[name])) for name in (before, after))
    return "\n".join(changes(first, second))


def test_what_differs_every_time_is_no_change() -> None:
    """Ports, round trips and times."""
    survey = SURVEYS["port"]
    later = dataclasses.replace(
        survey,
        started=survey.started + 30,
        seconds=3.0,
        protocols=tuple(
            dataclasses.replace(each, rtt=0.4, mapped=f"{OUTER}:5", local="192.168.1.20:5") for each in survey.protocols
        ),
    )
    assert changes(seen(survey, crust.assess(survey)), seen(later, crust.assess(later))) == []


def test_what_has_changed_is_named() -> None:
    """The verdict first, with what was before."""
    text = between("port", "mapping works")
    assert text.splitlines()[0].startswith("network: A router that opens ports (was: An ordinary home router)")
    assert "grade: A (was: B)" in text and "opens ports: yes, by UPnP" in text
    assert "UDP over IPv4, works: no (was: yes)" in between("port", "udpblock")
    assert "(new)" in between("port", "ipv6 open")
    assert "no longer known" in between("ipv6 open", "port")


def test_what_was_never_known_does_not_get_lost() -> None:
    """A line is cut of which not everything had been found out."""
    told = between("port, one plain server", "nothing answers")
    assert "network: No way to the Internet" in told and "None" not in told
    assert "who gets in" not in told


def test_what_is_not_known_has_not_changed() -> None:
    """A helper that does not call back this time changes nothing, and nothing again when it does."""
    first, second = (seen(SURVEYS[name], crust.assess(SURVEYS[name])) for name in ("port", "port, TCP not tested"))
    assert changes(first, second) == []
    assert carried(first, second) == first
    assert changes(carried(first, second), first) == []
    assert [line for line in changes(second, first) if "(new)" not in line] == []
