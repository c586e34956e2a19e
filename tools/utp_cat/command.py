"""The command: options, the connection, exit codes."""

from __future__ import annotations

import argparse
import queue
import signal
import sys
from collections.abc import Sequence

from crust.addresses import Endpoint
from crust.exceptions import ContactSyntaxError, CrustError
from crust.runtime.flusher import IoLoop
from crust.runtime.threads import Deadline, Threads
from crust.transports.contract import Connection
from crust.transports.utp.stream import UtpStream
from crust.transports.utp.transport import UtpTransport

from .copying import Copy, Idle

__all__ = ["main"]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_DIAL_TIMEOUT = 30.0
_END_WITHIN = 5.0  # seconds for threads of the connection


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        endpoint = Endpoint("utp", given.host, given.port)
    except ContactSyntaxError as error:
        parser.error(str(error))
    if not given.listen and not given.port:
        parser.error("the port to dial is 1 to 65535")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(endpoint, given)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError as error:
        if error.filename is not None:
            say(describe(error))
        return FAILED  # else nobody reads our output any more, and nobody needs to be told
    except (Idle, CrustError, OSError) as error:
        say(describe(error))
        return FAILED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="utp-cat",
        description="Copy standard input to a peer and what it sends to standard output, over plain µTP (BEP 29): no "
        "encryption, no identities. The end of the input ends our direction alone; the command ends when the peer has "
        "ended its own.",
        epilog="Exit status: 0 both directions have ended in order, 1 it could not be done, 2 wrong arguments, "
        "130 interrupted.",
    )
    parser.add_argument("host", metavar="HOST", help="where to dial; with -l an IP address of this machine")
    parser.add_argument("port", metavar="PORT", type=_port, help="UDP port; with -l 0 is any, and told on stderr")
    parser.add_argument("-l", "--listen", action="store_true", help="wait for one caller instead of dialling")
    parser.add_argument("-v", "--verbose", action="store_true", help="progress on stderr, a line a second")
    parser.add_argument(
        "--congestion",
        choices=("fair", "background"),
        default="fair",
        help="share a bottleneck with TCP, or give way to everybody (default: fair)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="how long to try to connect (default: 30), or to wait for a caller (default: for ever)",
    )
    parser.add_argument("--idle", type=_seconds, metavar="S", help="give up if nothing moves for so long")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def say(text: str) -> None:
    """A line on stderr."""
    print(f"utp-cat: {text}", file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _run(endpoint: Endpoint, given: argparse.Namespace) -> None:
    threads = Threads()
    io = IoLoop()
    io.start(threads.spawn)
    try:
        transport = UtpTransport(io, threads.spawn, congestion=given.congestion)
        if given.listen:
            connection = _accept(transport, threads, endpoint, given)
        else:
            timeout = _DIAL_TIMEOUT if given.timeout is None else given.timeout
            connection = transport.dialling(endpoint, timeout).run()
        if given.verbose:
            say(f"connected: {connection.local} to {connection.remote}, {given.congestion}")
        copy = Copy(connection, threads.spawn, given.idle, say if given.verbose else None)
        copy.run()
        if copy.acknowledged_last:
            threads.join(Deadline(_END_WITHIN), but=["crust-io"])  # the socket ends by itself
        connection.abort()  # else nobody needs it any more
    finally:
        io.stop()
        threads.join(Deadline(_END_WITHIN))


def _accept(
    transport: UtpTransport, threads: Threads, endpoint: Endpoint, given: argparse.Namespace
) -> UtpStream:
    """The first caller; others are turned away."""
    listener = transport.listen(endpoint)
    callers: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    threads.spawn("listener", listener.run, callers.put)
    try:
        if given.verbose or not endpoint.port:
            say(f"listening on {listener.endpoint}")
        first = callers.get(timeout=given.timeout)
    except queue.Empty:
        raise TimeoutError(f"nobody has called within {given.timeout:g} s") from None
    finally:
        listener.close()
    while not callers.empty():
        callers.get().abort()
    assert isinstance(first, UtpStream)
    return first
