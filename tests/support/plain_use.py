"""What every system must be able to do with crust: one story from identity files to a clean end."""

from __future__ import annotations

import pathlib

import crust
from tests.support.nodes import Nodes, config, through


def use(nodes: Nodes, folder: pathlib.Path) -> None:
    """
    Two nodes with identity files meet, talk both ways, survive a cut, and send a file; each identity runs once.

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


def talk(one: crust.Peer, other: crust.Peer) -> None:
    """A big and a small message each way, and everything acknowledged."""
    for sender, receiver in ((one, other), (other, one)):
        big = bytes(300_000)
        sender.send(big)
        sender.send(b"small")
        assert receiver.recv(10) == big
        assert receiver.recv(10) == b"small"
        sender.flush(10)
