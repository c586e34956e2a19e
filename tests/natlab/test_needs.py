"""Where there can be no laboratory, its tests skip with the reason, or fail if there must be one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.natlab import needs
from tests.support.source import ROOT


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
    monkeypatch.setattr(needs, "absent", needs.absent.__wrapped__)
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


def test_a_program_that_only_some_tests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They skip without it, and the laboratory is there for the others; a miniupnpd of another kind will not do."""
    look = needs.absent.__wrapped__
    monkeypatch.setattr(needs, "missing", lambda: "")
    monkeypatch.setattr(needs, "absent", look)
    monkeypatch.delenv("CRUST_REQUIRE_LAB", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    needs.require()
    with pytest.raises(pytest.skip.Exception, match="there is no turnserver here .package coturn"):
        needs.require("turnserver")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, "using netfilter backend\n", "")
    )
    assert "package miniupnpd-nftables" in look("miniupnpd") and look("turnserver") == ""


STUB = """#!/bin/sh
echo "$(basename $0) $*" >>"$LOG"
test -x "$CRUST_POLICY" && echo "policy" >>"$LOG"
case "$*" in *miniupnpd-nftables) exit 1 ;; esac
exit 0
"""


def test_what_is_needed_can_be_installed(tmp_path: Path) -> None:
    """``.ci/tools`` installs all that the laboratory names, and starts and enables none of it."""
    text = (ROOT / ".ci" / "tools").read_text()
    listed = text.split("<<END\n", 1)[1].split("\nEND", 1)[0].splitlines()
    assert dict(line.split() for line in listed).items() <= {"systemd-analyze": "systemd", **needs.PACKAGES}.items()
    for name in ("apt-get", "systemctl"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    for name in ("id", "sh", "chmod", "rm", "cat", "basename"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "id").unlink()
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "id").chmod(0o755)
    log, policy = tmp_path / "log", tmp_path / "policy-rc.d"
    done = subprocess.run(
        [shutil.which("sh") or "sh", ROOT / ".ci" / "tools"],
        env={"PATH": str(tmp_path), "LOG": str(log), "CRUST_POLICY": str(policy)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = log.read_text().splitlines()
    assert lines.count("policy") == len(lines) / 2 and not policy.exists()
    installed = {line.split()[-1] for line in lines if line.startswith("apt-get install")}
    assert installed == {"systemd", *needs.PACKAGES.values()}
    assert [line for line in lines if line.startswith("systemctl")] == ["systemctl disable coturn"]
    assert "missing here: miniupnpd-nftables (" in done.stderr  # what could not be installed
