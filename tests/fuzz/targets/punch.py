"""The methods of traversal, one at a time, with a peer and strangers that say and send what they like.

Only MalformedMessage comes of it, and ends the method. Nothing is sent but to hosts that the introducer saw or the peer
named, and, as answers, to where a sealed probe came from; signals fit a frame; timers move on.
"""

from __future__ import annotations

from collections.abc import Iterable

from crust import limits
from crust.nat.punch import tcp_signals, udp_signals
from crust.nat.punch.probe_packet import Kind
from tests.fuzz.codecs import parsed
from tests.fuzz.source import Source, noise
from tests.nat.punch.test_hostile_events import COUNTS, EASY, HARD, NAMED, NAMES, OURS, SEEN, VICTIM, Watched

ROUNDS = 60
SIZE_MAX = 600

_HOSTS = (SEEN, NAMED, VICTIM, OURS, "127.0.0.1", "224.0.0.1", "0.0.0.0", "2001:db8::66")
_NETWORKS = (EASY, HARD, COUNTS)
_ERRORS = (1, 11, 24, 98, 110, 111)


def run(data: bytes) -> None:
    for signals in (udp_signals, tcp_signals):
        signal = parsed(signals.parse_signal_untrusted, data)
        assert signal is None or signals.build_signal(signal) == data  # type: ignore[arg-type]
    source = Source(data)
    name, leads = source.pick(NAMES), source.chance()
    watched = Watched(name, leads, source.pick(_NETWORKS), source.pick(_NETWORKS))
    if watched.plan is None:
        return
    watched.tell("start")
    proven: set[tuple[str, int]] = set()
    for _ in range(40):
        if not source or watched.over:
            break
        _happen(source, watched, proven)
        for host, port in watched.sent:
            assert host in (SEEN, NAMED) or (host, port) in proven, f"{host}:{port}"
            assert 0 < port <= 65535
    if not watched.over:
        watched.happen("time", 60.0)
        due = watched.plan.get_timer()
        assert watched.over or due is None or due > watched.now


def _happen(source: Source, watched: Watched, proven: set[tuple[str, int]]) -> None:
    """``proven``: where valid probes came from, which are answered."""
    where = (source.pick(_HOSTS), source.number(1, 65535))
    step = source.number(0, 6)
    if step == 0:
        watched.happen("signal", _signal(source, where, watched))
    elif step == 1:
        proven.add(where)
        watched.happen("probe", where, source.pick(tuple(Kind)))
    elif step == 2:
        watched.happen("junk", where, source.some(130))
    elif step == 3:
        watched.happen("sampled", where if source.chance() else None)
    elif step == 4:
        watched.happen("connected", source.number(0, 5))
    elif step == 5:
        watched.happen("failed", source.number(0, 5), source.pick(_ERRORS))
    else:
        watched.happen("time", source.pick((0.0, 0.05, 0.5, 2.0)))


def _signal(source: Source, where: tuple[str, int], watched: Watched) -> bytes:
    number, step = source.number(0, 9), source.number(-40, 40)
    if source.number(0, 7) == 7:
        return source.some(limits.SIGNAL_MAX)
    if watched.family == "udp4":
        udp = (
            udp_signals.Fresh(where),
            udp_signals.Guess(number, where, step),
            udp_signals.Aim(where),
            udp_signals.Roles(source.chance()),
            udp_signals.Round(number),
            udp_signals.Ready(),
        )
        return udp_signals.build_signal(source.pick(udp))
    tcp = (
        tcp_signals.Guess(number, where, step),
        tcp_signals.Sync(number),
        tcp_signals.Dialled(number),
        tcp_signals.Round(number),
        tcp_signals.Opened(number),
        tcp_signals.Hit(),
    )
    return tcp_signals.build_signal(source.pick(tcp))


def seeds() -> Iterable[bytes]:
    yield udp_signals.build_signal(udp_signals.Guess(1, (SEEN, 4711), -3))
    yield udp_signals.build_signal(udp_signals.Fresh(("2001:db8::1", 4711)))
    yield tcp_signals.build_signal(tcp_signals.Opened(7))
    for index in range(len(NAMES)):
        yield bytes((index, 1, 0, 0)) + bytes((0, 0x12, 0x67, 1, 0)) * 3 + bytes((0, 0, 1, 6, 3)) * 4
    yield from noise(12, 200)


