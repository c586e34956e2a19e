"""A configuration file, written by anybody.

It is a configuration, or ConfigError with a place in the file. What was read is the same when it is made again of its
own values, and can be shown; it takes no longer than its size allows, whatever it nests or repeats.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust import Config
from crust.config.render import effective_rows, example
from crust.config.sections import values
from crust.exceptions import ConfigError

ROUNDS = 60
SIZE_MAX = 16_384  # the whole example, and room to grow
TOKENS = [name.split(".")[-1].encode() + b": " for name, _ in values(Config())]
TOKENS += [b"\n  ", b"- ", b"null", b"true", b"1e400", b"&a ", b"*a", b"!!python/object:", b"<<: ", b"{", b"}", b"["]
TOKENS += [b"0x7fffffffffffffff", b".inf", b".nan", b"-1", b"'", b'"', b"|", b"?", b"%YAML", b"---\n", b"\xef\xbb\xbf"]

_NAME = "crust.yaml"


def run(data: bytes) -> None:
    try:
        config, origins = Config.from_content(data, _NAME)
    except ConfigError as error:
        assert str(error).startswith(_NAME), str(error)
        return
    assert all(place.startswith(f"{_NAME}:") for place in origins.values())
    assert Config.from_dict(config.as_dict()) == config
    assert len(effective_rows(config, origins)) == len(list(values(config)))


def accepts(data: bytes) -> bool:
    try:
        Config.from_content(data, _NAME)
    except ConfigError:
        return False
    return True


def seeds() -> Iterable[bytes]:
    text = example()
    yield text.encode()
    yield from (section.encode() for section in text.split("\n\n"))  # each is a configuration, too
    yield b"session:\n  connect_timeout: 5\n  send_timeout: null\nlisten:\n  addresses: ['tcp://0.0.0.0:0']\n"
    yield b"access:\n  ban:\n    networks: [192.0.2.0/24, '2001:db8::/32']\nnetwork:\n  name: x\n  role: client\n"
    yield b"session: {drop: {max_age: 0.5}, send_buffer: {messages: 7}}\n"
    yield b"{}"
    yield b"a: &a [1, 2]\nb: [*a, *a, *a]\n"  # from here on none is one
    yield b"session: {connect_timeout: 1e400}\n"
    yield b"access:\n  banned: [192.0.2.0/24, '2001:db8::/32']\n"
