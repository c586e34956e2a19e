"""µTP: what BEP 29 and RFCs fix, and what we chose."""

from __future__ import annotations

# --- fixed by BEP 29 and by what interoperates with libutp ----------------------------------------------------

UTP_HEADER_SIZE = 20
UTP_SACK_MAX = 252  # bytes of a selective acknowledgement: an extension's length is one byte, in multiples of 4
UTP_PACKETS_MAX = 2016  # packets under way in one direction: what such an acknowledgement can speak of
UTP_NO_SAMPLE = (0, 0x7FFFFFFF)  # timestamp differences that mean "nothing measured"

# --- fixed by RFC: congestion control of µTP -----------------------------------------------------------------

CUBIC_C = 0.4  # segments per cubed second: RFC 9438 section 5
CUBIC_BETA = 0.7  # of the window that a congestion leaves: section 4.6
INITIAL_WINDOW = 10  # packets: RFC 6928
HYSTART_RISE_MIN = 0.004  # seconds of rise that end slow start, an eighth of the round trip: RFC 9406 section 4.3
HYSTART_RISE_MAX = 0.016
HYSTART_SAMPLES = 8  # round trips measured before a round is judged
HYSTART_GROWTH_DIVISOR = 4  # conservative slow start grows so much slower,
HYSTART_ROUNDS = 5  # for so many rounds
LEDBAT_TARGET = 60_000  # microseconds of queue: draft-irtf-iccrg-ledbat-plus-plus section 4
LEDBAT_EXIT = 45_000  # of queue that end the first slow start: three quarters of the target
LEDBAT_GAIN_DIVISOR_MAX = 16
LEDBAT_INITIAL_WINDOW = 2  # packets; also what a slowdown leaves
LEDBAT_FREEZE = 2  # round trips from slow start to the first slowdown, and that every slowdown lasts
LEDBAT_INTERVAL = 9  # times a slowdown's duration until the next one: it costs a tenth at the most
LEDBAT_BASE_HISTORY = 10  # minutes of shortest delays remembered: RFC 6817 section 4.2
LEDBAT_FILTER = 4  # the shortest of so many delays is the current one

# --- our choice: µTP ------------------------------------------------------------------------------------------

UTP_SYN_TIMEOUT = 0.5  # seconds until a SYN is sent again, doubling; 3 round trips, at least 0.1 s, if one is known
UTP_RTO_INITIAL = 0.5
UTP_RTO_MIN = 0.2
UTP_RTO_MAX = 5.0  # seconds at most between two attempts: a path that comes back is noticed so soon
UTP_SILENCE_MAX = 30.0  # seconds without a word while something is under way, after which the peer has gone
UTP_ACK_DELAY = 0.025  # seconds an acknowledgement waits for data to travel with
UTP_ACK_BYTES = 2360  # and the bytes that make it go out at once: two packets of the smallest kind (RFC 9293 3.8.6.3)
UTP_ACK_STRETCH_FROM = 32_768  # bytes that come at once, of which several such are acknowledged together,
UTP_ACK_STRETCH = 262_144  # at the latest after so many,
UTP_ACK_STRETCH_DELAY = 0.001  # or so many seconds
UTP_READS_MAX = 3  # more reads of what waits in a socket until what they brought is handled together
UTP_TAIL_PROBE_MIN = 0.01  # seconds of silence until the last packet is sent again, or 2 round trips (RFC 8985)
UTP_REORDER = 3  # packets that arrived out of order before the one in front counts as lost (RFC 8985's DupThresh)
UTP_REORDER_MAX = 64  # the same, at most, on paths where packets have been seen to overtake each other
UTP_ZERO_WINDOW_PROBE = 1.0  # seconds until a closed window is tried, doubling
UTP_LITTLE_ROOM = 0.1  # seconds between two packets that are shorter than WORTH_BYTES for want of room (RFC 9293: to 1)
UTP_KEEPALIVE = 15.0  # seconds without sending anything: shorter than the mappings of common routers
UTP_TIME_WAIT = 1.0  # seconds that an ended connection still answers what is repeated
UTP_SEND_QUEUE = 262_144  # bytes that may wait unsent: what an urgent message must queue behind
UTP_RECEIVE_WINDOW = 4 * 1024 * 1024  # bytes granted to one connection, if the socket's buffer is large enough
UTP_RECEIVE_WINDOW_MIN = 262_144
UTP_RECEIVE_WINDOW_BEGUN = 65_536  # and at first: it grows by twice what the application has taken
UTP_KEPT_MAX = 64 * 1024 * 1024  # bytes kept of all connections together, beyond that of each
UTP_SOCKET_BUFFER = 8 * 1024 * 1024  # bytes asked for, each way
UTP_BURST_SECONDS = 0.001  # of the pacing rate that go out at once (at least 2 packets)
UTP_DATAGRAM_MAX = 65_507  # bytes of the largest datagram that is tried, if the interface is made for it (IPv4's limit)
UTP_BURST_MAX = 65_507  # bytes of datagrams handed to the kernel in one call
UTP_SEGMENTS_MAX = 64  # datagrams in such a call: UDP_MAX_SEGMENTS of older kernels
UTP_HALF_OPEN_SECONDS = 3.0  # a caller has so long to show that it got our answer to its SYN
UTP_HALF_OPEN_MAX = 1024  # at 2,000 a second, whose answers take half a second; 8 KiB each
UTP_HALF_OPEN_PER_NETWORK = 32  # of those from one /24 (IPv4) or /48 (IPv6)
UTP_HALF_OPEN_LEAST_SECONDS = 0.5  # before one makes room for another of its network
UTP_SYNS_PER_SECOND = 2000.0  # callers that are answered: each costs as much as 50 datagrams that are not looked at
UTP_SYNS_AT_ONCE = 256  # of those
UTP_RESETS_PER_SECOND = 100  # answers to packets of unknown connections
UTP_USELESS_PER_SECOND = 2000.0  # packets of those at one address that bring nothing, beyond what is excused
UTP_USELESS_ALL_PER_SECOND = 4000.0  # the same of all addresses together
UTP_USELESS_BURST = 4096.0  # that may come at once: a window that is sent again although it had arrived
UTP_USELESS_BEGUN = 64.0  # that each connection may bring besides, at first: late answers, sizes that are tried
UTP_USEFUL_BYTES = 32  # of the stream that make a packet one that brings something
UTP_USEFUL_EXCUSES = 2.0  # others, for each that does: lines that double everything have acknowledgements doubled twice
UTP_NOISY_SECONDS = 2.0  # at most that whoever brings more is held back after the last of it
UTP_DATAGRAM_USUAL = 1472  # the same for a peer that does not say what it takes: libtorrent cuts what is longer
UTP_MTU_BASE = 1200  # bytes of UDP payload that are taken for granted: the smallest that QUIC allows (RFC 9000 14)
UTP_MTU_RAISE_INTERVAL = 600.0  # seconds until a larger packet is tried again (RFC 8899 PMTU_RAISE_TIMER)
UTP_MTU_PROBES = 2  # losses of one size until it is too large
UTP_MTU_STEP = 16  # bytes: the search ends when what works and what does not are so close
UTP_BLACK_HOLE_TIMEOUTS = 2  # timeouts in a row of packets above the base until the path is taken for smaller

# --- our choice: congestion control of µTP --------------------------------------------------------------------

WINDOW_MIN = 2  # packets that always may be under way (one after a timeout)
PACING_GAIN = 1.25  # times window per round trip
PACING_GAIN_SLOW_START = 2.0
LONE_LOSS_QUEUE = 0.004  # seconds of queue below which a loss may have another cause: an AQM drops above 5 ms
LONE_LOSS_EVIDENCE = 0.008  # seconds of queue that this path must have shown before
LONE_LOSS_WINDOWS = 2  # windows and
LONE_LOSS_PACKETS = 256  # packets delivered since the last loss, or it is not a lone one
CLOCK_DRIFT_MAX = 10_000  # microseconds of the other clock's drift that are followed at once (libutp)
