"""Where there can be no laboratory, its tests skip with the reason, or fail if there must be one."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from tests.natlab import needs


def test_a_skip_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUST_REQUIRE_LAB", raising=False)
    monkeypatch.setattr(needs, "missing", lambda: "the moon is full")
    with pytest.raises(pytest.skip.Exception, match="no laboratory: the moon is full; run `make lab` as root"):
        needs.require()
    monkeypatch.setenv("CRUST_REQUIRE_LAB", "1")
    with pytest.raises(AssertionError, match="no laboratory: the moon is full"):
        needs.require()
    monkeypatch.setattr(needs, "missing", lambda: "")
    needs.require()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system, the user, the package, the device, and what only shows when it is tried."""
    look = needs.missing.__wrapped__
    monkeypatch.setattr(needs, "_trial", lambda: "the system does not allow it: no")
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/dev/net/tun")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in look()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nft" else name)
    assert "package nftables" in look()
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert "/dev/net/tun" in look()
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    assert look() == "the system does not allow it: no"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "darwin" in look()
