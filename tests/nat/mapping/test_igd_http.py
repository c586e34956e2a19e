"""What passes between miniupnpc and a router: where requests go, and what is taken for an answer."""

from __future__ import annotations

import pytest

from crust import limits
from crust.nat.mapping.igd_http import Answer, Route

RELAY = "http://127.0.0.1:4000"
OK = b"HTTP/1.1 200 OK\r\n"


def route(url: str = "http://192.168.1.1:5000/desc.xml") -> Route:
    return Route(url, 4000)


def get(path: str = "/desc.xml", host: str = "127.0.0.1:4000") -> bytes:
    """As miniupnpc writes it."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: MiniUPnPc/2\r\n\r\n".encode()


def post(path: str, body: str = "<a/>") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nUser-Agent: MiniUPnPc/2\r\nContent-Length: {len(body)}"
    return f'{head}\r\nSOAPAction: "x"\r\nConnection: close\r\n\r\n{body}'.encode()


# --- where requests go ------------------------------------------------------------------------------------------------


def test_the_library_is_led_to_the_description() -> None:
    """It asks the relay; the router gets the same words, and its own name."""
    way = route("http://192.168.1.1:5000/a/desc.xml?x=1")
    assert way.url == RELAY + "/a/desc.xml?x=1"
    carried = way.carry(get("/a/desc.xml?x=1"))
    assert carried == (5000, get("/a/desc.xml?x=1", "192.168.1.1:5000"))


def test_a_request_in_pieces() -> None:
    """It is carried when all of it is there."""
    way = route()
    assert way.control(RELAY + "/ctl") == RELAY + "/ctl"
    request = post("/ctl", "<body/>")
    assert [way.carry(request[:size]) for size in range(len(request))] == [None] * len(request)
    assert way.carry(request) == (5000, request.replace(b"127.0.0.1:4000", b"192.168.1.1:5000"))


@pytest.mark.parametrize(
    ("url", "found", "port", "path", "host"),
    [
        ("http://192.168.1.1:5000/d", RELAY + "/ctl", 5000, "/ctl", "192.168.1.1:5000"),
        ("http://192.168.1.1/d", RELAY + "/ctl", 80, "/ctl", "192.168.1.1"),
        ("http://192.168.1.1:5000/d", "http://192.168.1.1:49152/ctl?a=b", 49152, "/ctl?a=b", "192.168.1.1:49152"),
        ("http://192.168.1.1:5000/d", "http://192.168.1.1/ctl", 80, "/ctl", "192.168.1.1"),
        ("http://192.168.1.1:5000/d", "http://192.168.1.1:49152 /ctl", 49152, "/ctl", "192.168.1.1:49152"),
    ],
)
def test_the_control_is_led_to(url: str, found: str, port: int, path: str, host: str) -> None:
    """Wherever on the router's machine it is."""
    way = route(url)
    assert way.control(found) == RELAY + path
    carried = way.carry(post(path))
    assert carried == (port, post(path).replace(b"127.0.0.1:4000", host.encode()))


def test_a_description_that_names_its_host() -> None:
    """What the library has read there is replaced by the relay, and given to it without asking the router again."""
    way = route()
    way.text = b"<URLBase>http://192.168.1.1:80/</URLBase> <controlURL>ctl</controlURL>"
    assert way.control("http://192.168.1.1:80/ctl") == RELAY + "/ctl"
    carried = way.carry(get())
    assert carried is not None and carried[0] == 0
    assert carried[1].endswith(b"<URLBase>http://127.0.0.1:4000/</URLBase> <controlURL>ctl</controlURL>")
    way.forget_text()
    assert way.carry(get()) == (5000, get(host="192.168.1.1:5000"))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("http://192.168.1.2:5000/ctl", r"another machine \(192.168.1.2\)"),
        ("http://192.168.1.10/ctl", r"another machine \(192.168.1.10\)"),
        ("http://127.0.0.1:4001/ctl", r"another machine \(127.0.0.1\)"),
        ("http://127.0.0.1:40000/ctl", r"another machine \(127.0.0.1\)"),
        ("http://localhost/ctl", r"another machine \(localhost\)"),
        ("http://me@192.168.1.1/ctl", r"another machine \(me@192.168.1.1\)"),
        ("http://[::1]:80/ctl", "not that of a router"),
        ("http://ev\x1b[0mil\u202e/ctl", r"another machine \(ev\[0mil\)"),
        ("http://192.168.1.1:0/ctl", "not that of a router"),
        ("http://192.168.1.1:99999/ctl", "not that of a router"),
        ("http://192.168.1.1:80", "not that of a router"),
        ("http:///ctl", "not that of a router"),
        ("https://192.168.1.1/ctl", "not that of a router"),
        (RELAY + "/", "not that of a router"),
        (RELAY + "/?x", "not that of a router"),
        (RELAY + "/ctl HTTP/1.1\r\nHost: x\r\n\r\n", "not that of a router"),
        (RELAY, "not that of a router"),
        ("", "not that of a router"),
    ],
)
def test_a_control_that_is_not_the_routers(found: str, reason: str) -> None:
    """Nothing is led there, and requests for it are not carried."""
    way = route()
    with pytest.raises(ValueError, match=reason):
        way.control(found)
    with pytest.raises(ValueError, match="not of this router"):
        way.carry(post("/ctl"))


@pytest.mark.parametrize(
    "request_",
    [
        get("/other.xml"),
        get("http://192.168.1.1:5000/desc.xml"),
        get(host="rebound.example:4000"),
        get(host="127.0.0.1:4001"),
        get().replace(b"GET", b"PUT"),
        get().replace(b"Host", b"Hose"),
        b"\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        post("/desc.xml"),
        post(""),
    ],
)
def test_what_is_not_carried(request_: bytes) -> None:
    with pytest.raises(ValueError, match="^not "):
        route().carry(request_)


# --- what is taken for an answer --------------------------------------------------------------------------------------


def read(data: bytes, step: int) -> Answer:
    answer = Answer()
    for start in range(0, len(data), step):
        answer.feed(data[start : start + step])
    return answer


@pytest.mark.parametrize("step", [1, 2, 7, 4096])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (OK + b"Content-Length: 3\r\n\r\n", b"abc"),
        (OK + b"content-LENGTH:3\r\nX: y\r\n\r\n", b"abcdef"),
        (b"HTTP/1.0 200 OK\nContent-Length: 3\n\n", b"abc"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n02;x=y\r\nbc\r\n0\r\n\r\n"),
        (OK + b"Content-Length: 9\r\nTransfer-Encoding:chunked\r\n\r\n", b"3\nabc\n0\n"),
    ],
)
def test_an_answer_that_tells_its_end(head: bytes, body: bytes, step: int) -> None:
    answer = read(head + body, step)
    assert answer.is_over and not answer.trouble and answer.tells_end
    assert answer.body == b"abc"
    assert answer.response() == b"HTTP/1.1 200 -\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n", b"Content-Length: x\r\n"])
def test_an_answer_that_does_not(length: bytes) -> None:
    """It is over when the connection is."""
    answer = read(OK + length + b"\r\n" + b"abc", 1)
    assert not answer.is_over and not answer.tells_end and answer.has_body
    answer.end()
    assert answer.is_over and answer.body == b"abc"


@pytest.mark.parametrize("text", [b"HTTP/1.1 500 No\r\n", b"ICY 500\r\n"])
def test_an_error_is_an_answer(text: bytes) -> None:
    """UPnP's are in its body."""
    answer = read(text + b"Content-Length: 4\r\n\r\n<e/>", 5)
    assert answer.response().startswith(b"HTTP/1.1 500 ") and answer.body == b"<e/>"


def test_a_length_that_is_too_great() -> None:
    """What came before the end is all, as miniupnpc has it."""
    answer = read(OK + b"Content-Length: 9\r\n\r\nabc", 4)
    assert not answer.is_over
    answer.end()
    assert answer.is_over and answer.body == b"abc"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nX: y\r\n", b"<html>login</html>"])
def test_an_end_before_the_body(data: bytes) -> None:
    answer = read(data, 100)
    answer.end()
    assert not answer.is_over and "did not answer properly" in answer.trouble


@pytest.mark.parametrize(
    "data",
    [
        OK + b"\r\n" + b"a" * limits.IGD_ANSWER_MAX,
        OK + b"X: y\r\n" * (limits.IGD_ANSWER_MAX // 6),
        b"a" * (limits.IGD_ANSWER_MAX + 1),
        OK + b"Content-Length: 999999999999999\r\n\r\n",
        OK + b"Content-Length: %d\r\n\r\n" % (limits.IGD_ANSWER_MAX + 1),
        OK + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"\r\n" * limits.IGD_ANSWER_MAX,
    ],
)
def test_too_long(data: bytes) -> None:
    """It is known as soon as it can be, and no more is taken."""
    answer = read(data, 4096)
    assert answer.trouble == "its answer is too long" and not answer.is_over
    size = len(answer.body)
    answer.feed(b"a" * 100)
    answer.end()
    assert len(answer.body) == size <= limits.IGD_ANSWER_MAX and not answer.is_over


def test_chunks_that_are_none() -> None:
    assert read(OK + b"Transfer-Encoding: chunked\r\n\r\n<xml>\r\n", 100).trouble == "its answer is garbled"
