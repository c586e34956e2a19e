"""A node that watches its file, on a clock that the test moves: what becomes of the file is seen, and told once."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crust
import crust.testing
from crust import Config, ConfigError, Service
from crust.testing import Network
from tests.support.waiting import busy

INTERVAL = 30.0  # the default
SOON = INTERVAL + 5.0  # and the second look
QUICK = 20.0  # real seconds, far fewer than what passes on the clock of these tests


@pytest.fixture
def net() -> Iterator[Network]:
    began = time.monotonic()
    with crust.testing.network() as net:
        yield net
        assert net.close()
        assert [node for node in net._heard if node._node is not None and node._node.crashes] == []
    assert time.monotonic() - began < QUICK * busy()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "crust.yaml"
    say(path, 5)
    return path


def say(path: pathlib.Path, most: object) -> None:
    """Have the file say how many peers there may be."""
    path.write_text(f"bootstrap: {{cache: {{max_peers: 0}}}}\nlimits:\n  max_peers: {most}\n")


def most(node: Service) -> int:
    assert node._node is not None
    assert node._node.registry.max_peers == node.config.limits.max_peers == node._node.config.limits.max_peers
    return node.config.limits.max_peers


class Watched:
    """A node of that file, and what it told of it."""

    def __init__(self, net: Network, path: pathlib.Path) -> None:
        self.net = net
        self.told: list[crust.ConfigReloaded] = []
        self.node = net.service(Config.load(path), on_event=self._hear)

    def _hear(self, event: object) -> None:
        if isinstance(event, crust.ConfigReloaded):
            self.told.append(event)

    def later(self, seconds: float = SOON) -> list[crust.ConfigReloaded]:
        """What is told in that time."""
        before = len(self.told)
        self.net.advance(seconds)
        return self.told[before:]

    def until_it_is_seen(self) -> None:
        """Let time pass until a look has shown something else, and nothing has come of it yet."""
        assert self.node._reloading is not None
        watch = self.node._reloading._watch
        assert watch is not None
        for _ in range(100):
            assert self.later(0.5) == []
            if watch._candidate is not None:
                return
        raise AssertionError("nobody looks")


@pytest.fixture
def watched(net: Network, path: pathlib.Path) -> Watched:
    return Watched(net, path)


def errors(told: list[crust.ConfigReloaded]) -> list[str]:
    assert all(isinstance(each.error, ConfigError) and not each.applied and not each.needs_restart for each in told)
    return [str(each.error) for each in told]


def test_a_change_is_taken_by_itself(watched: Watched, path: pathlib.Path) -> None:
    """Within the interval, and told once."""
    assert watched.later(10 * INTERVAL) == []
    say(path, 6)
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]
    assert most(watched.node) == 6
    assert watched.later(10 * INTERVAL) == []


def test_the_same_again_is_no_news(watched: Watched, path: pathlib.Path) -> None:
    """Written anew, or touched."""
    for _ in range(3):
        say(path, 5)
        assert watched.later() == []
    os.utime(path)
    assert watched.later() == []


def test_what_only_looks_different_is_told_and_changes_nothing(watched: Watched, path: pathlib.Path) -> None:
    path.write_text(f"# a comment\n{path.read_text()}")
    assert watched.later() == [crust.ConfigReloaded((), ())]


def test_what_needs_a_restart_is_named(
    watched: Watched, path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And does not count; when it is taken back, nothing is left to name."""
    path.write_text(f"{path.read_text()}utp: {{congestion: background}}\n")
    assert watched.later() == [crust.ConfigReloaded((), ("utp.congestion",))]
    assert watched.node.config.utp.congestion == "fair"
    assert caplog.text.count("utp.congestion") == 1
    say(path, 6)
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]


def test_a_bad_file_changes_nothing_and_is_told_once(
    watched: Watched, path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it says something else; also if one key of many is wrong."""
    path.write_text("limits: {max_peers: 9, half_opn: 3}\n")
    (text,) = errors(watched.later(10 * INTERVAL))
    assert "crust.yaml:1" in text and "half_open" in text
    assert most(watched.node) == 5
    assert caplog.text.count("half_opn") == 1
    os.utime(path)
    assert watched.later() == []
    path.write_text("limits: {max_peers: no}\n")
    assert len(errors(watched.later())) == 1
    say(path, 7)
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]


def test_a_file_that_is_well_again_is_told_too(watched: Watched, path: pathlib.Path) -> None:
    path.write_text("what?")
    assert len(errors(watched.later())) == 1
    say(path, 5)
    assert watched.later() == [crust.ConfigReloaded((), ())]


def test_a_file_that_is_away_for_a_moment_is_not_missed(watched: Watched, path: pathlib.Path) -> None:
    """An editor that moves it away, or empties it, before it writes it anew."""
    for gone in (path.unlink, lambda: path.write_text("")):
        gone()
        watched.until_it_is_seen()
        say(path, 5)
        assert watched.later() == []


def test_a_file_that_is_gone_is_told_once(watched: Watched, path: pathlib.Path) -> None:
    """Nothing changes; when it is back it counts again."""
    path.unlink()
    (text,) = errors(watched.later(10 * INTERVAL))
    assert "No such file" in text
    assert most(watched.node) == 5
    say(path, 8)
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]


@pytest.mark.parametrize("content", [b"", b"  \n\n", b"\xff\xfe"])
def test_a_file_that_a_full_disk_left_behind_changes_nothing(
    watched: Watched, path: pathlib.Path, content: bytes
) -> None:
    """Empty is valid at the start; here it would lift every ban."""
    path.write_bytes(content)
    assert len(errors(watched.later(10 * INTERVAL))) == 1
    assert most(watched.node) == 5
    with pytest.raises(ConfigError):
        watched.node.reload()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="everybody may read everything")
def test_a_file_that_must_not_be_read_is_told_once(watched: Watched, path: pathlib.Path) -> None:
    path.chmod(0)
    assert len(errors(watched.later(10 * INTERVAL))) == 1
    path.chmod(0o600)
    assert watched.later() == [crust.ConfigReloaded((), ())]


@pytest.mark.parametrize("kind", ["folder", "pipe", "endless"])
def test_what_is_no_file_is_told_once(watched: Watched, path: pathlib.Path, kind: str) -> None:
    """Nobody is waited for, and nothing is read without end."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert len(errors(watched.later(10 * INTERVAL))) == 1
    assert most(watched.node) == 5
    shutil.rmtree(path) if kind == "folder" else path.unlink()
    say(path, 6)
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]


def test_a_file_that_is_replaced(watched: Watched, path: pathlib.Path) -> None:
    """By renaming, with the time and the size of the old one."""
    new = path.with_name("new")
    say(new, 9)
    found = path.stat()
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert new.stat().st_size == found.st_size
    os.replace(new, path)
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]


def test_a_file_that_is_changed_within_a_tick(watched: Watched, path: pathlib.Path) -> None:
    """Same file, same size, same time, another content: seen when it has just been changed."""
    for number, wait in ((6, watched.until_it_is_seen), (8, watched.later)):
        say(path, number)
        found = path.stat()
        wait()
        say(path, number + 1)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]
        assert most(watched.node) == number + 1


def test_links_that_lead_elsewhere(net: Network, tmp_path: pathlib.Path) -> None:
    """As Kubernetes changes a ConfigMap: a link to a link to a folder, which is replaced."""
    for name, number in (("one", 5), ("two", 6)):
        (tmp_path / name).mkdir()
        say(tmp_path / name / "crust.yaml", number)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "crust.yaml").symlink_to("..data/crust.yaml")
    watched = Watched(net, tmp_path / "crust.yaml")
    assert most(watched.node) == 5
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", tmp_path / "..data")
    shutil.rmtree(tmp_path / "one")
    assert watched.later() == [crust.ConfigReloaded(("limits.max_peers",), ())]
    assert most(watched.node) == 6


def test_what_was_changed_before_the_start(net: Network, path: pathlib.Path) -> None:
    """Between load and start: it is news."""
    config = Config.load(path)
    say(path, 6)
    node = net.service(config)
    assert most(node) == 5
    net.advance(SOON)
    assert most(node) == 6


def test_the_programs_word_stays(net: Network, path: pathlib.Path) -> None:
    """What was set with replace is above what the file says, and no change of it."""
    node = net.service(Config.load(path).replace(**{"limits.max_peers": 3, "utp.congestion": "background"}))
    say(path, 6)
    path.write_text(f"{path.read_text()}  half_open: 9\n")
    assert node.reload() == crust.ConfigReloaded(("limits.half_open",), ())
    assert (most(node), node.config.limits.half_open, node.config.utp.congestion) == (3, 9, "background")
    path.write_text(path.read_text().replace("9", "10"))
    net.advance(SOON)
    assert (most(node), node.config.limits.half_open) == (3, 10)


def test_only_when_told(net: Network, path: pathlib.Path) -> None:
    """``reload_interval: null``; and a configuration that came from no file."""
    node = net.service(Config.load(path).replace(reload_interval=None))
    say(path, 6)
    net.advance(100 * INTERVAL)
    assert most(node) == 5
    assert node.reload().applied == ("limits.max_peers",)
    alone = net.service()
    net.advance(100 * INTERVAL)
    with pytest.raises(ConfigError, match="came from no file"):
        alone.reload()


def test_another_file_and_none(watched: Watched, tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    """What was given last is watched; the one before is not."""
    other = tmp_path / "other.yaml"
    say(other, 8)
    assert watched.node.reload(other) == crust.ConfigReloaded(("limits.max_peers",), ())
    say(path, 6)
    assert watched.later()[1:] == []
    assert most(watched.node) == 8
    say(other, 9)
    assert len(watched.later()) == 1 and most(watched.node) == 9
    watched.node.reload(Config().replace(**{"limits.max_peers": 4, "bootstrap.cache.max_peers": 0}))
    say(other, 10)
    watched.later()
    assert most(watched.node) == 4
    assert watched.node.config.source is None


def test_asking_is_told_once_too(watched: Watched, path: pathlib.Path) -> None:
    """What reload() has read, good or bad, the watch does not tell again."""
    say(path, 6)
    assert watched.node.reload() == crust.ConfigReloaded(("limits.max_peers",), ())
    path.write_text("what?")
    with pytest.raises(ConfigError, match=r"crust\.yaml:1"):
        watched.node.reload()
    told = watched.later(10 * INTERVAL)
    assert [each.error is None for each in [*watched.told]] == [True, False]
    assert told[2:] == []


def test_the_end(net: Network, path: pathlib.Path) -> None:
    """A closed node looks at nothing, and takes nothing."""
    watched = Watched(net, path)
    assert watched.node.close()
    say(path, 6)
    assert watched.later(10 * INTERVAL) == []
    with pytest.raises(crust.ServiceClosed):
        watched.node.reload()
    with pytest.raises(crust.ServiceClosed):
        Service(Config.load(path)).reload()
    assert not [each for each in threading.enumerate() if each.name == "crust-config"]


WORDS = ("limits", "max_peers", "access", "ban", "peers", "networks", "null", "[]", "5", '"', "{", "}")
SIGNS = (": ", "\n", "\n  ", ", ", "&a ", "*a", "!!x ", "\t")
TEXTS = st.lists(st.sampled_from(WORDS + SIGNS), max_size=12).map("".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=50) | TEXTS.map(str.encode))
def test_whatever_a_file_says(net: Network, path: pathlib.Path, content: bytes) -> None:
    """It is taken whole, or refused and nothing has changed."""
    node = net.service(Config().replace(**{"limits.max_peers": 5, "bootstrap.cache.max_peers": 0}))
    before = node.config
    path.write_bytes(content)
    try:
        told = node.reload(path)
    except ConfigError as error:
        assert str(path) in str(error)
        assert node.config is before
    else:
        assert told.error is None
        assert node.config.source is not None and node.config.source.path == str(path)
    assert most(node) == node.config.limits.max_peers
    node.close()
