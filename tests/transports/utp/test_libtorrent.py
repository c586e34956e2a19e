"""Another implementation at the other end: libtorrent, with TCP switched off there, moves torrents over crust's µTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crust import limits
from crust.addresses import Endpoint
from crust.transports.blocking import BlockingStream
from crust.transports.contract import Connection, Transport
from crust.transports.utp.stream import UtpStream
from crust.transports.utp.transport import UtpTransport
from tests.support.libtorrent_peer import LibtorrentPeer, require_libtorrent
from tests.support.threads import Background, Crew
from tests.support.torrents import Torrent, fetch, serve
from tests.support.udp_relay import UdpRelay
from tests.support.waiting import wait_until

SCHEME = "utp"


@pytest.fixture
def crew() -> Iterator[Crew]:
    require_libtorrent()
    with Crew() as crew:
        yield crew
        # A connection that has ended for us still sends its last packet again, if that was lost.
        wait_until(lambda: not [name for name in crew.threads.alive() if "udp" in name], 10.0, "the end of its socket")


@pytest.fixture
def transport(crew: Crew) -> Transport:
    return UtpTransport(crew.io, crew.spawn, crew.crashed)


@pytest.fixture(scope="module")
def torrent() -> Torrent:
    return Torrent(4_000_003)


def dial(crew: Crew, transport: Transport, port: int) -> BlockingStream:
    return BlockingStream(transport.dialling(Endpoint(SCHEME, "127.0.0.1", port), 10.0).run(), crew.spawn)


@contextlib.contextmanager
def listening(crew: Crew, transport: Transport) -> Iterator[tuple[int, list[Connection]]]:
    """The port of a listener of crust, and what it accepts."""
    listener = transport.listen(Endpoint(SCHEME, "127.0.0.1", 0))
    accepted: list[Connection] = []
    job = Background(listener.run, accepted.append)
    try:
        yield listener.endpoint.port, accepted
    finally:
        listener.close()
        job.result()
        for connection in accepted[1:]:  # it may call again
            connection.abort()


def accept(crew: Crew, accepted: list[Connection]) -> BlockingStream:
    wait_until(lambda: accepted, 20.0, "libtorrent's call")
    return BlockingStream(accepted[0], crew.spawn)


def fetch_all(stream: BlockingStream, torrent: Torrent, seed: LibtorrentPeer) -> None:
    """Every piece has its SHA-1; then crust ends the stream, and libtorrent hears of an orderly end."""
    with stream:
        fetch(stream, torrent)
    assert stream.wait_lost(10.0)
    assert "End of file" in seed.wait_for("peer_disconnected")["text"]


def serve_all(stream: BlockingStream, torrent: Torrent, leech: LibtorrentPeer) -> None:
    """libtorrent finds every piece right, and ends the stream since both have all; the file on its disk is the one."""
    with stream:
        blocks = serve(stream, torrent)
    assert blocks >= len(list(torrent.blocks()))
    assert stream.wait_lost(10.0)
    leech.wait_for("torrent_finished")
    wait_until(lambda: leech.has_it, 10.0, "the writing of its file")


@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_crust_calls_and_fetches(
    crew: Crew, transport: Transport, torrent: Torrent, tmp_path: Path, loss: float
) -> None:
    """crust is the caller and the receiver, also where a hundredth of all datagrams is lost."""
    with LibtorrentPeer(torrent, tmp_path, transport=SCHEME, seed=True) as seed, UdpRelay(seed.port, loss) as relay:
        fetch_all(dial(crew, transport, relay.port if loss else seed.port), torrent, seed)
        assert bool(relay.lost) == bool(loss)


@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_libtorrent_calls_and_fetches(
    crew: Crew, transport: Transport, torrent: Torrent, tmp_path: Path, loss: float
) -> None:
    """crust is the callee and the sender, also where a hundredth of all datagrams is lost."""
    with LibtorrentPeer(torrent, tmp_path, transport=SCHEME, seed=False) as leech:
        with listening(crew, transport) as (port, accepted), UdpRelay(port, loss) as relay:
            leech.connect(relay.port if loss else port)
            serve_all(accept(crew, accepted), torrent, leech)
            assert bool(relay.lost) == bool(loss)
            stream = accepted[0]
            assert isinstance(stream, UtpStream)
            # A probe of that size arrived, and was acknowledged: its padding has been skipped, as the file is right.
            assert stream.core.mtu.size == limits.UTP_DATAGRAM_USUAL


@pytest.mark.parametrize("congestion", ["fair", "background"])
def test_crust_calls_and_serves(crew: Crew, torrent: Torrent, tmp_path: Path, congestion: str) -> None:
    """crust is the caller and the sender, with either way to share a line."""
    transport = UtpTransport(crew.io, crew.spawn, crew.crashed, congestion)
    with LibtorrentPeer(torrent, tmp_path, transport=SCHEME, seed=False) as leech:
        serve_all(dial(crew, transport, leech.port), torrent, leech)


def test_libtorrent_calls_and_serves(crew: Crew, transport: Transport, torrent: Torrent, tmp_path: Path) -> None:
    """crust is the callee and the receiver."""
    with LibtorrentPeer(torrent, tmp_path, transport=SCHEME, seed=True) as seed:
        with listening(crew, transport) as (port, accepted):
            seed.connect(port)
            fetch_all(accept(crew, accepted), torrent, seed)
