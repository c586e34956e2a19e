"""Files and what the other side takes: its longest message, and whether it takes files at all."""

from __future__ import annotations

import os
import pathlib

import pytest

import crust
from crust import Identity, limits
from crust.peers.conversation import Conversation
from tests.support.nodes import Nodes, config
from tests.support.puppet import Caller
from tests.support.waiting import wait_until


@pytest.mark.parametrize("size", [limits.FILE_MESSAGE_MIN, 16_384])
def test_files_fit_the_longest_message(nodes: Nodes, tmp_path: pathlib.Path, size: int) -> None:
    """The pieces of a file are no longer than any message that the receiver takes; so are all answers."""
    small = nodes.start(config(session__max_message_size=size, session__receive_buffer=200_000))
    small.accept_files(tmp_path)
    peer = nodes.start().connect(small.contact)
    content = os.urandom(300_000)
    source = tmp_path / "source"
    source.write_bytes(content)
    name = "n" * 1024
    assert peer.send_file(source, name=name, timeout=10).size == len(content)
    assert (tmp_path / name[: limits.FILE_NAME_MAX]).read_bytes() == content
    assert peer.state == "connected"


def test_no_files_where_messages_are_tiny(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """The sender hears why, and the session does not suffer."""
    tiny = nodes.start(config(session__max_message_size=limits.FILE_MESSAGE_MIN - 1))
    tiny.accept_files(tmp_path)
    peer = nodes.start().connect(tiny.contact)
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(crust.TransferError, match="max_message_size"):
        peer.send_file(tmp_path / "source")
    peer.send(b"still here")
    peer.flush()


def test_no_files_to_a_program_without_them(nodes: Nodes, tmp_path: pathlib.Path) -> None:
    """A peer that does not say that it takes files is sent none."""
    node = nodes.start()
    (tmp_path / "source").write_bytes(b"x")
    with Caller(node, Identity.generate()) as caller:
        caller.begin()
        wait_until(lambda: len(node.peers) == 1, what="the session")
        with pytest.raises(crust.TransferError, match="takes no files"):
            node.peers[0].send_file(tmp_path / "source")


def test_a_session_that_ends_as_a_file_is_sent_leaves_nothing(
    nodes: Nodes, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late it is noticed, the node keeps nothing of the session."""
    pair = nodes.pair()
    source = tmp_path / "source"
    source.write_bytes(b"content")
    check = Conversation.check_alive

    def just_in_time(conversation: Conversation) -> None:
        check(conversation)
        pair.to_far.disconnect()
        pair.near_heard.wait(crust.LostPeer)

    monkeypatch.setattr(Conversation, "check_alive", just_in_time)
    with pytest.raises(crust.PeerLost):
        pair.to_far.send_file(source)
    node = pair.near._node
    assert node is not None
    assert node._channels == {}
    assert node.files._exchanges == {}
