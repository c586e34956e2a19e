"""The example file and the table of what is in force."""

from __future__ import annotations

import pathlib

import pytest

from crust.config import Config
from crust.config.render import Row, effective_rows, example
from crust.config.sections import field_keys

CONF = pathlib.Path(__file__).parents[2] / "conf" / "crust.yaml"


def test_the_example_file_is_the_defaults() -> None:
    """Loading it changes nothing, and it has every key."""
    config, origins = Config.load_with_origins(CONF)
    assert config == Config()
    assert list(origins) == [row.key for row in effective_rows(Config())]


def test_the_example_file_is_what_the_schema_says() -> None:
    """Make it anew with ``crust config --example > conf/crust.yaml``."""
    assert CONF.read_text(encoding="utf-8") == example()


def test_every_key_of_the_example_has_a_comment() -> None:
    """Right above it."""
    lines = example().splitlines()
    keys = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(keys) == len(list(field_keys(Config)))
    for before, line in zip(lines, lines[1:], strict=False):
        assert line not in keys or before.lstrip().startswith("# "), line
    assert max(map(len, lines)) <= 110


def test_effective_rows_show_values_and_their_origin(tmp_path: pathlib.Path) -> None:
    """What is set in the file says where, the rest is default."""
    path = tmp_path / "mine.yaml"
    path.write_text('network:\n  name: "no"\nsession:\n  drop: null\n')
    rows = {row.key: row for row in effective_rows(*Config.load_with_origins(path))}
    assert rows["network.name"] == Row("network.name", '"no"', f"{path}:2", False)
    assert rows["network.role"] == Row("network.role", "node", "default", False)
    assert rows["session.drop"] == Row("session.drop", "null", f"{path}:4", False)
    assert "session.drop.max_age" not in rows
    assert rows["listen.addresses"].value == '["tcp://0.0.0.0:0", "tcp://[::]:0", "utp://0.0.0.0:0", "utp://[::]:0"]'


NAMES = ["no", "y", "On", "NULL", "12", "22:22", "a b", "é", 'a"b', "a\nb", "\u202e", "\x7f", "\U000e0001", "abc"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_can_be_pasted_into_a_file(tmp_path: pathlib.Path, name: str) -> None:
    """Their values are YAML that reads back as the same."""
    config = Config().replace(**{"network.name": name})
    (row,) = [row for row in effective_rows(config) if row.key == "network.name"]
    path = tmp_path / "crust.yaml"
    path.write_text(f"network:\n  name: {row.value}\n", encoding="utf-8")
    assert Config.load(path) == config
    assert row.value.isprintable()
