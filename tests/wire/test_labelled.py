"""Text files that say what they are."""

from __future__ import annotations

import pytest

from crust.wire.labelled import UnusableFile, build_labelled, parse_labelled_untrusted

LABEL = "crust test"
FILE = build_labelled(LABEL, 2, {"content": [1]})


def test_what_is_built_is_parsed() -> None:
    """As long as it may be, and no longer."""
    expected = {"format": LABEL, "version": 2, "content": [1]}
    assert parse_labelled_untrusted(FILE, LABEL, 2, len(FILE)) == expected
    with pytest.raises(UnusableFile, match=f"longer than {len(FILE) - 1} bytes"):
        parse_labelled_untrusted(FILE, LABEL, 2, len(FILE) - 1)


@pytest.mark.parametrize("version", ["1", "3", "null", '"2"', '"' + "v" * 1000 + '"'])
def test_every_other_version_is_refused(version: str) -> None:
    """Earlier ones, too; and of a long one not all is repeated."""
    data = FILE.replace(b'"version": 2', b'"version": ' + version.encode())
    with pytest.raises(UnusableFile, match="this program knows 2") as caught:
        parse_labelled_untrusted(data, LABEL, 2, 10_000)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_json(text: str) -> None:
    """Python reads it, others do not; and nothing compares with it."""
    with pytest.raises(UnusableFile, match="no number"):
        parse_labelled_untrusted(FILE.replace(b"1\n", text.encode() + b"\n"), LABEL, 2, 10_000)
