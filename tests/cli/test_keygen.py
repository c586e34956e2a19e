"""``crust keygen``."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import crust
from tests.cli.fakes import printed, run_command, shown


def test_an_identity_is_made_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity"
    code, terminal = run_command(tmp_path, "keygen", str(path))
    assert code == 0
    assert printed(terminal) == f"{crust.Identity.load(path).peer_id}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_default_is_the_identity_that_commands_use(tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "keygen", "--json")
    path = tmp_path / "crust" / "identity"
    assert code == 0
    assert json.loads(printed(terminal)) == {
        "file": str(path),
        "peer": str(crust.Identity.load(path).peer_id),
    }


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    run_command(tmp_path, "keygen")
    path = tmp_path / "crust" / "identity"
    before = path.read_bytes()
    code, terminal = run_command(tmp_path, "keygen")
    assert (code, shown(terminal).count("\n")) == (1, 1)
    assert str(crust.Identity.load(path).peer_id) in shown(terminal)
    assert path.read_bytes() == before


def test_a_damaged_identity_is_told(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.write_text("garbage\n")
    path.chmod(0o600)
    code, terminal = run_command(tmp_path, "keygen", str(path))
    assert code == 1
    assert "not a usable identity" in shown(terminal)


def test_a_network_secret_closes_a_network(tmp_path: Path) -> None:
    """The file is private, never overwritten, and what ``network.secret_file`` takes."""
    path = tmp_path / "secret"
    code, terminal = run_command(tmp_path, "keygen", "--network", str(path))
    assert (code, printed(terminal)) == (0, f"{path}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text().strip()
    assert len(secret) == 52
    assert secret not in shown(terminal) + printed(terminal)
    config = crust.Config.from_dict({"network": {"secret_file": str(path)}, "listen": {"addresses": []}})
    with crust.Service(config):
        pass
    code, terminal = run_command(tmp_path, "keygen", "--network", str(path))
    assert code == 1
    assert path.read_text().strip() == secret


def test_a_network_secret_needs_a_file(tmp_path: Path) -> None:
    code, terminal = run_command(tmp_path, "keygen", "--network")
    assert (code, shown(terminal).count("\n")) == (2, 1)
