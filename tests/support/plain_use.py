"""What every system must be able to do with crust: one story from identity files to a clean end."""

from __future__ import annotations

import pathlib

import crust
from tests.support.nodes import Nodes, config, through


def use(nodes: Nodes, folder: pathlib.Path) -> None:
    """
    Two nodes with identity files meet, talk both ways, survive a cut, and send a file; each identity runs once. One
    takes another configuration by itself, and another when it is told.

    Args:
        nodes: Makes and closes them.
        folder: An empty one.
    """
    for name in ("near", "far"):
        crust.Identity.generate().save(folder / name / "identity")
    far = nodes.start(config(), identity=crust.Identity.load(folder / "far" / "identity"))
    near = nodes.start(config(identity__file=str(folder / "near" / "identity")))
    assert near.id == crust.Identity.load(folder / "near" / "identity").peer_id
    try:
        nodes.make(config(identity__file=str(folder / "near" / "identity")), heard=False).start()
    except crust.IdentityInUse:
        pass
    else:
        raise AssertionError("two nodes run with one identity")

    proxy = nodes.proxy(far)
    to_far = near.connect(through(proxy, far))
    to_near = nodes.heard(far).wait(crust.ConnectSuccess).peer
    talk(to_far, to_near)
    assert proxy.cut()
    nodes.heard(near).wait(crust.PeerResumed)
    talk(to_far, to_near)

    (folder / "inbox").mkdir()
    (folder / "inbox" / "letter").write_bytes(b"older")
    (folder / "letter").write_bytes(bytes(range(256)) * 1000)
    far.accept_files(folder / "inbox")
    assert to_far.send_file(folder / "letter", timeout=20).size == 256_000
    assert (folder / "inbox" / "letter").read_bytes() == b"older"
    assert (folder / "inbox" / "letter (1)").read_bytes() == bytes(range(256)) * 1000
    assert sorted(path.name for path in (folder / "inbox").iterdir()) == ["letter", "letter (1)"]
    change(nodes, folder / "crust.yaml")


def change(nodes: Nodes, path: pathlib.Path) -> None:
    """A node whose file is replaced while it runs."""

    def say(number: int) -> None:
        path.with_name("new").write_text(f"limits: {{max_peers: {number}}}\n")
        path.with_name("new").replace(path)

    say(5)
    quiet = {"bootstrap.cache.max_peers": 0, "listen.addresses": (), "lan.seek": "never"}
    node = nodes.start(crust.Config.load(path).replace(reload_interval=0.05, **quiet))
    say(6)
    assert nodes.heard(node).wait(crust.ConfigReloaded).applied == ("limits.max_peers",)
    node.reload(node.config.replace(reload_interval=None))
    say(7)
    assert node.reload().applied == ("limits.max_peers",)
    assert node.config.limits.max_peers == 7


def talk(one: crust.Peer, other: crust.Peer) -> None:
    """A big and a small message each way, and everything acknowledged."""
    for sender, receiver in ((one, other), (other, one)):
        big = bytes(300_000)
        sender.send(big)
        sender.send(b"small")
        assert receiver.recv(10) == big
        assert receiver.recv(10) == b"small"
        sender.flush(10)
