"""The file: every error names file and line, and what YAML would quietly misread is an error."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crust import limits
from crust.config import Config, loader
from crust.exceptions import ConfigError


def load(folder: pathlib.Path, text: str | bytes) -> Config:
    path = folder / "crust.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Config.load(path)


def error(folder: pathlib.Path, text: str | bytes) -> str:
    """The error's text, the folder taken away."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert message.startswith(f"{folder}/crust.yaml:")
    return message.removeprefix(f"{folder}/")


def test_a_file_is_read(tmp_path: pathlib.Path) -> None:
    """Keys that it leaves out have their defaults."""
    config = load(
        tmp_path,
        """
# a comment
network: {name: "été", role: client}
listen:
  addresses:
    - "tcp://[::1]:5483"
    - 'tcp://127.0.0.1:5483'
session: {send_timeout: null, max_message_size: 1_000_000, connect_timeout: 1.5, drop: null}
bootstrap: {accept: true}
""",
    )
    assert config == Config().replace(
        **{
            "network.name": "été",
            "network.role": "client",
            "listen.addresses": ["tcp://[::1]:5483", "tcp://127.0.0.1:5483"],
            "session.send_timeout": None,
            "session.max_message_size": 1_000_000,
            "session.connect_timeout": 1.5,
            "session.drop": None,
            "bootstrap.accept": True,
        }
    )


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "{}\n", "\ufeffversion: 1\n", "version: 1\r\n"])
def test_empty_files_are_the_defaults(tmp_path: pathlib.Path, text: str) -> None:
    """So are comments, a byte order mark and Windows line ends."""
    assert load(tmp_path, text) == Config()


def test_origins_say_where_each_key_stands(tmp_path: pathlib.Path) -> None:
    """Only keys with values, with file and line."""
    path = tmp_path / "crust.yaml"
    path.write_text('version: 1\nsession:\n  send_timeout: 5\n  drop: null\nlisten:\n  addresses: ["tcp://[::]:0"]\n')
    config, origins = Config.load_with_origins(path)
    assert config.session.send_timeout == 5
    assert origins == {
        "version": f"{path}:1",
        "session.send_timeout": f"{path}:3",
        "session.drop": f"{path}:4",
        "listen.addresses": f"{path}:6",
    }


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # wrong keys and values
        ("version: 1\nsesion: {}\n", 2, "sesion: unknown key; did you mean session?"),
        ("session:\n  conect_timeout: 5\n", 2, "did you mean session.connect_timeout?"),
        ("session:\n  connect_timeout: -5\n", 2, "session.connect_timeout: expected a number of seconds above 0"),
        ("session:\n  connect_timeout: soon\n", 2, "found 'soon'"),
        ("session:\n  connect_timeout: 1e3\n", 2, "write 1000.0 without quotes"),
        ('listen:\n  addresses:\n  - "tcp://[::]:0"\n  - "[::]:0"\n', 4, "listen.addresses[1]: expected an address"),
        ("listen:\n  addresses: tcp://0.0.0.0:1\n", 2, "a list is written in brackets"),
        ("session:\n  max_message_size: 9000000\n", 2, "session.receive_buffer: expected at least 18000000"),
        ("session:\n  receive_buffer: 100000\n  max_message_size: 90000\n", 2, "receive_buffer"),
        ("session: 5\n", 1, "session: expected a mapping (key: value), found 5"),
        ("network: {name: 123}\n", 1, "network.name: expected text, found 123; put it in quotes"),
        # what YAML 1.1 misreads
        ("version: 1\nnetwork: {name: no}\n", 2, "network.name: YAML reads no as true or false"),
        ("bootstrap:\n  accept: on\n", 2, "bootstrap.accept: YAML reads on as true or false: write that"),
        ("network: {name: 22:22}\n", 1, "YAML reads 22:22 as a number in another notation"),
        ("session:\n  connect_timeout: 1:30\n", 2, "write plain decimal digits"),
        ("limits: {max_peers: 0123}\n", 1, "write plain decimal digits"),
        ("limits: {max_peers: 0x10}\n", 1, "write plain decimal digits"),
        ("session: {connect_timeout: .inf}\n", 1, "write plain decimal digits"),
        ("network: {name: 2024-01-02}\n", 1, "as a date; put it in quotes"),
        ("limits: {max_peers: " + "9" * 5000 + "}\n", 1, "a number in another notation"),
        ("network: {name: =}\n", 1, "put it in quotes"),
        # twice, or nothing
        ("version: 1\n\nversion: 1\n", 3, "version: given twice, first in line 1"),
        ("session:\n  drop: null\n  drop: null\n", 3, "session.drop: given twice, first in line 2"),
        ("session:\n", 1, "session: nothing after the colon; write null, or remove the line"),
        ("session:\n  drop:\n", 2, "session.drop: nothing after the colon"),
        # keys keep their spelling
        ("on: 1\n", 1, "on: unknown key"),
        ("1: 1\n", 1, "1: unknown key"),
        ("<<: {version: 1}\n", 1, "<<: unknown key"),
        ("? [a]\n: 1\n", 1, "a key is a single word"),
        # not this format
        ("- version\n", 1, "expected keys with values (key: value), found sequence"),
        ("hello\n", 1, "expected keys with values (key: value), found scalar"),
        ("version: 1\n---\nversion: 1\n", 2, "not valid YAML"),
        ("version: 1\nlisten: {addresses: [[::1]:5483]}\n", 2, 'put addresses in quotes, as in "tcp://[::1]:5483"'),
        ("version: 1\nlisten: {addresses: [*:5483]}\n", 2, "put addresses in quotes"),
        ("version: 1\nsession:\n\tdrop: null\n", 3, "indent with spaces, not with tabs"),
        ("version: 1\nnetwork: {name: 'x}\n", 3, "not valid YAML"),
        ("version: 1\nnetwork: {name: \"a\\qb\"}\n", 2, "not valid YAML"),
        (b"version: 1\nnetwork: {name: \xff}\n", 2, "not UTF-8 text (byte 27)"),
        ("version: 1\nnetwork: {name: \x07}\n", 2, "not valid YAML"),
        ("network: {name: !!python/object/apply:os.system [ls]}\n", 1, "tags (tag:yaml.org,2002:python/object/apply"),
        ("network: !mine {name: x}\n", 1, "network: tags (!mine) are not used here"),
        ("network: {name: !!binary aGk=}\n", 1, "tags"),
        ("network: &a {name: x}\n", 1, "anchors and aliases"),
        ("version: 1\nnetwork: *a\n", 2, "anchors and aliases"),
        ("version: 1\nnetwork: " + "[" * 17 + "]" * 17, 2, "more than 16 levels"),
        ("version: " + "[" * 100_000, 1, "more than 16 levels"),
    ],
)
def test_wrong_files(tmp_path: pathlib.Path, text: str | bytes, line: int, words: str) -> None:
    """``file:line: key: expected …, found …``."""
    message = error(tmp_path, text)
    assert message.startswith(f"crust.yaml:{line}: ")
    assert words in message


def test_files_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    """The error names the file and the cause."""
    with pytest.raises(ConfigError, match="missing.yaml: cannot read the configuration: No such file"):
        Config.load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        Config.load(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot read"):
        Config.load("a\0b")


def test_large_files_are_refused_unread(tmp_path: pathlib.Path) -> None:
    """Somebody named the wrong file."""
    path = tmp_path / "crust.yaml"
    path.write_bytes(b"#" * limits.CONFIG_FILE_MAX)
    assert Config.load(path) == Config()
    path.write_bytes(b"#" * (limits.CONFIG_FILE_MAX + 1))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        Config.load(path)


def test_it_works_without_the_c_library(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of PyYAML lack it; lines and errors are the same."""
    import yaml

    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert load(tmp_path, "session: {connect_timeout: 5}\n").session.connect_timeout == 5
    assert error(tmp_path, "version: 1\nsesion: {}\n").startswith("crust.yaml:2: sesion: unknown key")
    assert error(tmp_path, "version: 1\nlisten: {addresses: [[::1]:5483]}\n").startswith("crust.yaml:2: not valid")
    assert error(tmp_path, "version: 1\nnetwork: {name: \x07}\n").startswith("crust.yaml:2: not valid YAML")


def test_importing_the_configuration_does_not_import_yaml() -> None:
    """A program that sets everything in code does not pay for it."""
    code = "import sys, crust.config; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FRAGMENTS = ["session", "listen", ": ", ":", "\n", "\n  ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!int ", "'", '"']
FRAGMENTS += ["no", "5", "22:22", "null", "~", "\t", "#", "? ", "---", "drop", "addresses", "%", "|", ">", "<<"]
FRAGMENTS += ["\x00", "é", "\ufeff"]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=2), max_size=12).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | texts.map(str.encode))
def test_hostile_files(tmp_path: pathlib.Path, raw: bytes) -> None:
    """Nothing but ConfigError escapes, and it names the file."""
    path = tmp_path / "crust.yaml"
    path.write_bytes(raw)
    try:
        data, document = loader.read(path)
        Config.load(path)
    except ConfigError as problem:
        assert str(problem).startswith(str(path))
    else:
        assert set(document.origins()) or not data or data == {"listen": {}} or data == {"session": {}}
