"""
Every number that crust depends on, in one place.

Two kinds: what the wire format or a standard fixes (changing it breaks interoperation), and what we chose (it may be
tuned). What an application may set is in ``crust.config``; its defaults are taken from here.
Units are in the names or the comments: seconds, bytes, counts.
"""

from __future__ import annotations

# --- fixed by the wire format (docs/wire-format.md) ---------------------------------------------------------

PROTOCOL_VERSION = 1
PEER_ID_SIZE = 32  # an Ed25519 public key, RFC 8032 section 5.1.5
PEER_ID_CHECKSUM_SIZE = 3  # 32 + 3 bytes are exactly 56 characters of base32
SESSION_ID_SIZE = 16
INCARNATION_SIZE = 16  # random name of one run of one node
SALT_SIZE = 16  # opens every stream; masks the handshake's lengths and keys
SALT_MEMORY = 1 << 16  # salts remembered against replay of message 1
HANDSHAKE_MESSAGE_MAX = 1024  # bytes of one Noise message
HANDSHAKE_PADDING_MAX = 255  # random bytes after each handshake payload
RECORD_PLAINTEXT_MAX = 65_280  # leaves room for the tag below the 16-bit length
RECORD_PADDING_MAX = 255  # random bytes added to a record of control frames only
MASKS_PER_DRAW = 256  # record length masks taken from one SHAKE128 call (1.5 microseconds)
REKEY_RECORDS = 1 << 20  # records under one key at the most
REKEY_SECONDS = 900.0  # seconds under one key at the most
MESSAGE_OVERHEAD = 64  # bytes that each message costs besides its length, in every account of buffers
SMALL_RESERVE = 65_536  # bytes of the window kept for messages that fit one record
PARTIAL_MESSAGES_MAX = 4  # big messages under way at once in one direction
DENIED_TEXT_MAX = 200  # bytes of explanation in a refusal or a goodbye
ALTERNATES_MAX = 8  # contacts a busy node suggests
PRIORITY_MAX = 255  # least urgent; 0 is most urgent
NETWORK_HINT_SIZE = 8  # bytes of the network id that connection info shows (docs/wire-format.md, "Text forms")
CONTROL_FRAMES_MAX = 32  # frames in one record besides BATCH, PIECE and ACK: they are the dear ones to parse
CONTACT_WIRE_MAX = 1024  # bytes of one suggested contact
ECHO_PORT_MIN = 1024  # lower ones belong to services that may not want to be tried
ECHO_TOKEN_SIZE = 12  # the transaction of a STUN message
TRANSFER_NAME_MAX = 1024  # bytes of an offered file's name

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

# --- our choice: sessions -----------------------------------------------------------------------------------

MAX_MESSAGE_SIZE = 2 * 1024 * 1024  # the original's limit
SEND_BUFFER_MESSAGES = 4096
SEND_BUFFER_BYTES = 4 * 1024 * 1024
RECEIVE_BUFFER = 8 * 1024 * 1024
RECORD_TARGET = 61_440  # queued messages are gathered into records of about this size
SENDER_WRITES_AT = 98_304  # cost of queued messages that a sender writes itself (a full record of 100 byte messages)
RECORDS_AT_ONCE = 4  # full records sealed into one buffer and written together
STREAM_LOOK = 0.001  # seconds until the I/O thread looks whether a stream of such records has ended
ACK_EVERY_BYTES = 524_288  # acknowledge at once after so much data
ACK_EVERY_MESSAGES = 1024  # and after so many small messages
ACK_DELAY = 0.02  # seconds an acknowledgement waits for data to travel with
WINDOW_UPDATE_SHARE = 4  # announce freed buffer when a quarter of it has been freed
HEARTBEAT_INTERVAL = 20.0  # the original's
RESUME_TIMEOUT = 120.0  # the original's inactivity limit
CONNECT_TIMEOUT = 60.0  # the original's
HANDSHAKE_TIMEOUT = 10.0
FIRST_MESSAGE_TIMEOUT = 5.0  # a caller must have sent a valid message 1 by then
SEND_TIMEOUT = 30.0
JITTER = 0.25  # heartbeats and redials vary by this share, so that they do not march in step
SUSPICION_MIN = 1.0  # seconds of silence with unacknowledged data before other paths are tried (or 3 RTO)
RTO_INITIAL = 1.0  # RFC 6298 section 2
RTO_MIN = 0.2
REDIAL_DELAYS = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0)  # after a cut; the last one repeats
DROP_MIN_PRIORITY = 2  # the original's: messages of this priority or less urgent may expire
DROP_MAX_AGE = 60.0
DETACHED_SESSIONS_MAX = 1024
ENDED_SESSIONS_KNOWN = 256  # peers whose last session's end is remembered, against calls that were under way then
DETACHED_BYTES_MAX = 64 * 1024 * 1024
PONGS_QUEUED_MAX = 16  # answers owed to a peer that PINGs faster than it reads
DUPLICATE_RETRY = 0.2  # seconds before dialling again after "duplicate" with no session in sight

# --- our choice: links, transports and threads --------------------------------------------------------------

DIRECT_WRITE_GAP = 200e-6  # a send goes out on the caller's thread if the node made no direct write for so long
READ_SIZE = 1024  # bytes of each reader's own buffer: small, for thousands of idle peers
BURST_SIZE = 262_144  # bytes of the shared buffers that busy readers borrow
BURST_POOL = 8  # shared buffers kept
NOTSENT_LOWAT = 131_072  # bytes that may wait unsent in the kernel: what an urgent message must queue behind
ACCEPT_PAUSE = 1.0  # seconds without accepting after running out of descriptors
LISTEN_BACKLOG = 128
LOOKUPS_MAX = 32  # names looked up at once: each holds a thread for as long as the system's resolver takes
DIAL_STAGGER = 0.25  # next candidate after so long: RFC 8305 section 5
DIAL_STAGGER_ON_LINK = 0.1
UTP_HEADSTART = 0.2  # µTP to a host is tried so long after TCP
BETTER_CLASS_WAIT = 0.1  # a link that is ready waits a round trip, but no longer, for one of a better class
MOVE_CONFIRMATION = 2.0  # the link that a session left is closed when the other side has spoken on the new one, or then
DIAL_ATTEMPT_TIMEOUT = 10.0
RECENT_ATTEMPTS = 32  # attempts kept for errors and events
KEPT_FREE_MEMORY = 4 * 1024 * 1024  # bytes of freed memory that the C library keeps (crust.runtime.memory)
IO_SLEEP_MAX = 1.0  # seconds the I/O thread sleeps at most: heals a wake lost to an interrupt that struck just then
SELECT_MAX = 500  # sockets watched at once where there is only select(), which takes 512 on Windows; others wait
SELECT_RETRY = 0.05  # seconds until a socket is looked at again that cannot be watched
TURN_SECONDS = 0.002  # of work without waiting, after which a reader or the I/O thread lets other greenlets run
TURN_PAUSE = 1e-6  # seconds between two turns; after a pause of 0 gevent looks at its timers only every 50th time
ACCEPTS_PER_TURN = 64
CLOSE_LINGER = 1.0  # seconds a closed connection waits for the other side to close too, before it is cut
MISBEHAVIOUR_INTERVAL = 10.0  # seconds between two PeerMisbehaved of one kind and address
LOG_KEYS = 1024  # keys of rate-limited log lines remembered

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
UTP_KEEPALIVE = 15.0  # seconds without sending anything: shorter than the mappings of common routers
UTP_TIME_WAIT = 1.0  # seconds that an ended connection still answers what is repeated
UTP_SEND_QUEUE = 262_144  # bytes that may wait unsent: what an urgent message must queue behind
UTP_RECEIVE_WINDOW = 4 * 1024 * 1024  # bytes granted to one connection, if the socket's buffer is large enough
UTP_RECEIVE_WINDOW_MIN = 262_144
UTP_SOCKET_BUFFER = 8 * 1024 * 1024  # bytes asked for, each way
UTP_BURST_SECONDS = 0.001  # of the pacing rate that go out at once (at least 2 packets)
UTP_DATAGRAM_MAX = 65_507  # bytes of the largest datagram that is tried, if the interface is made for it (IPv4's limit)
UTP_BURST_MAX = 65_507  # bytes of datagrams handed to the kernel in one call
UTP_SEGMENTS_MAX = 64  # datagrams in such a call: UDP_MAX_SEGMENTS of older kernels
UTP_HALF_OPEN_SECONDS = 3.0  # a caller has so long to show that it got our answer to its SYN
UTP_HALF_OPEN_MAX = 256
UTP_HALF_OPEN_PER_NETWORK = 8  # of those from one /24 (IPv4) or /56 (IPv6)
UTP_RESETS_PER_SECOND = 100  # answers to packets of unknown connections
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

# --- our choice: limits before and around authentication ----------------------------------------------------

HALF_OPEN_MAX = 256
HALF_OPEN_KNOWN_RESERVE = 64  # of those, kept for addresses of peers we know
HALF_OPEN_PER_ADDRESS = 16
STARTS_PER_ADDRESS_PER_SECOND = 20
STARTS_PER_SECOND = 500
PEERS_MAX = 1024
TOTAL_BUFFERS = 256 * 1024 * 1024
GATE_ADDRESSES_MAX = 4096  # addresses whose rate of starts is remembered; the one quiet for longest is forgotten

# --- our choice: STUN ----------------------------------------------------------------------------------------

STUN_PORT = 3478  # of a server that is named without one: RFC 8489 section 8
STUN_MESSAGE_MAX = 9216  # bytes of a message: what a jumbo frame carries, for those who measure how much gets through
STUN_ATTRIBUTES_MAX = 32  # in one message
STUN_SCHEDULE = (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0)  # seconds when a question is sent: RFC 8489's half second is slow
STUN_TIMEOUT = 3.0  # seconds from the first question until nobody has answered
STUN_ANSWERS_PER_SECOND = 50  # to one IPv4 address or one IPv6 /64
STUN_ANSWERS_ALL_PER_SECOND = 1000
STUN_REQUESTS_PER_CONNECTION = 16  # over TCP, within the time that a handshake has to begin
ECHO_PAUSES = (0.0, 0.1, 0.2)  # seconds before each datagram of an echo
ECHO_DIALS = (0.5, 0.7, 1.4)  # seconds for each try of an echo to connect; the kernel repeats the last SYN after one
ECHO_TIMEOUT = 3.0  # seconds that the asker waits
ECHOES_PER_MINUTE = 4  # for one peer
ECHOES_ALL_PER_MINUTE = 32
REFLEXIVE_INTERVAL = 120.0  # seconds from asking everybody where we are to asking again, +/- 25 %
REFLEXIVE_DELAY = 0.2  # seconds from a new peer to asking it: several that come together are asked together
REFLEXIVE_KEEPALIVE = 25.0  # the same while strangers are told where others see us: routers forget UDP after 30
REFLEXIVE_LIFE = 310.0  # seconds that an answer counts: two more questions may be lost
REFLEXIVE_PEERS = 3  # peers asked each time: two that agree are enough
REFLEXIVE_LOOKED_AT = 64  # peers looked at each time to find those: there may be thousands
REFLEXIVE_SOURCES_MAX = 16  # answers remembered for each port
FILTER_MEMORY = 600.0  # seconds that a router may let in those whom we have sent something to
FILTER_INTERVAL = 600.0  # seconds from trying whether strangers get in to trying again
FILTER_HOSTS_MAX = 256  # addresses remembered as having been sent something to
ECHO_GRACE = 0.5  # seconds that a datagram may come after the word that it is out

# --- our choice: what to expect of ways to reach a peer ------------------------------------------------------

FORECAST_ROUND_TRIPS = 3  # from the first packet to the first message: one of TCP or µTP, two of the handshake
FORECAST_RTT = 0.05  # seconds to a peer of whom nothing is known, if no server is further away
FORECAST_RTT_LOCAL = 0.005  # to one in the same network

# --- our choice: events, callbacks, service -----------------------------------------------------------------

EVENT_STREAM_SIZE = 1024
CALLBACK_WARN_AFTER = 1.0
CLOSE_TIMEOUT = 5.0
CLOSE_GRACE = 1.0  # seconds more that close() waits for the report of what still runs
ATEXIT_TIMEOUT = 2.0
LOG_BACKLOG = 1000  # log records waiting for the dispatcher; more are counted, not kept
BOOTSTRAP_TIMEOUT = 10.0
BOOTSTRAP_PARALLEL = 3  # dials at once, and one more every BOOTSTRAP_STAGGER
BOOTSTRAP_STAGGER = 0.2
BOOTSTRAP_IN_FLIGHT = 10

# --- our choice: finding out what the network does ------------------------------------------------------------

PROBE_SCHEDULE = (0.0, 0.15, 0.35, 0.65, 1.05, 1.5, 2.4)  # seconds when a question is asked; the last gives it up
PROBE_SAMPLES = 6  # new mappings made at one moment, to see how ports are chosen
PROBE_PORTS_MIN = 4  # different ports among them, or nothing is said
PROBE_PORTS_AGREE = 0.6  # of them, or of the distances between them, that must agree
PROBE_STEP_MAX = 1024  # a larger distance that repeats is chance
PROBE_SPAN_MAX = 4096  # ports so close together are no random ones
PROBE_SIZES = (1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280)  # bytes of IP packets
PROBE_DIAL_SECONDS = (2.3, 3.6)  # for a TCP connection, and one that matters: a SYN is repeated after 1 and 3 seconds
PROBE_HAIRPIN_SECONDS = 1.2  # for one to our own outer address, which goes no farther than the router
PROBE_DIAL_SILENCE = 1.3  # seconds without any connection until the ports of the web are tried
PROBE_ADDRESSES_MAX = 8  # addresses of a server's name that are looked at
PROBE_NAME_SECONDS = 1.5  # for looking names up
PROBE_SECONDS = 5.0  # for all of a survey
PROBE_ECHO_SECONDS = 5.0  # for a helper's call, and for its report to come back
PROBE_ECHO_WAIT = 0.7  # for its datagram after that
PROBE_ECHO_GRACE = 4.0  # seconds more than a survey may take if a helper is still at it
PROBE_LIFETIMES = (20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0)  # seconds of silence that a mapping may survive
PROBE_LIFETIME_TALK = 2.5  # seconds from the first word to the last: Linux lets a conversation live longer
PROBE_HOPS = 4  # routers on the way out that are looked at
PROBE_WEB_PORTS = (443, 80)
PROBE_OTHER_PORTS = (3478, 33_434)  # tried if only a port of the web has been, to see whether others are closed

# --- our choice: files and text -----------------------------------------------------------------------------

CONFIG_FILE_MAX = 1024 * 1024
CONTACT_TEXT_MAX = 4096
CONTACT_ENDPOINTS_MAX = 32
FILE_PRIORITY = 1  # of the messages that carry files: below drop.min_priority, so that none is dropped
FILE_CHUNK = 65_000  # bytes of a file in one message at most: one record
FILE_MESSAGE_MIN = 2048  # bytes of the longest message both sides take, below which no files go: an offer fits
FILE_IN_FLIGHT = 2 * 1024 * 1024  # bytes of a file under way before the receiver reports progress
FILE_NAME_MAX = 255  # bytes, as most file systems
FILE_TRANSFERS_MAX = 16  # inbound transfers of one peer at once
FILE_TRANSFERS_ALL_MAX = 256  # inbound transfers of all peers at once: each holds an open file
FILE_ENDED_MEMORY = 64  # ended transfers of one peer, whose late messages are ignored
FILE_REPLIES_MAX = 256  # replies about files that wait for room before that peer's messages wait too
FILE_RETRY_DELAY = 0.05  # seconds until a reply about a file is tried again after the send buffer was full

# --- our choice: port mapping --------------------------------------------------------------------------------

MAPPING_LEASE = 3600  # seconds that a router is asked to keep a port open; renewed at half
MAPPING_PORT = 5351  # fixed by RFC 6886 and RFC 6887: where a router answers NAT-PMP and PCP
SSDP_PORT = 1900  # fixed by UPnP
SSDP_GROUP = "239.255.255.250"
MAPPING_RESEND = 0.25  # seconds until a question is sent again, doubling: RFC 6886 section 3.1
MAPPING_PROBES = 4  # times that a router is asked whether it speaks a protocol: 3.75 s in all
MAPPING_SENDS = 5  # times that one which does is asked for a port: 7.75 s
MAPPING_REMOVE_RESEND = 0.1  # seconds until a removal is sent again, doubling
MAPPING_REMOVE_SENDS = 3
MAPPING_GRACE = 0.3  # seconds for which a port is not yet asked for by a protocol while a better one may still answer
MAPPING_PORT_TRIES = 6  # outer ports asked for, if others have them
MAPPING_PORTS = (20_000, 60_000)  # where random outer ports are drawn from
MAPPING_PORT_MIN = 1024  # outer ports below are not asked for, and 0 never: some routers take it for all of them
MAPPING_LIFE_MAX = 86_400  # seconds: a longer life than that is not believed (RFC 6887 section 15)
MAPPING_RENEW_MIN = 4.0  # seconds between two attempts to renew: RFC 6887 section 11.2.1
MAPPING_CHECK = 60.0  # seconds between two looks whether the router still has our ports
MAPPING_RESTART = 10.0  # seconds in which a router's word that it has lost its table is believed once
MAPPING_RETRY = 120.0  # seconds until a router that opened nothing is asked again, doubling
MAPPING_RETRY_MAX = 3600.0
MAPPING_CLOSE = 1.0  # seconds at close for the router to confirm that our ports are closed
MAPPING_GATEWAYS_MAX = 3  # default gateways that are asked
MAPPING_LEFTOVER_AGE = 30 * 86_400.0  # seconds after which a mapping without end, left by a crash, is forgotten
MAPPING_LEFTOVERS_MAX = 64  # of one crashed node
SSDP_SENDS = (0.0, 0.4, 1.2)  # seconds at which a UPnP router is looked for,
SSDP_WAIT = 3.0  # and when that is over
SSDP_PATIENCE = 1.2  # seconds that others who answer wait for the default gateway, which may take one (MX: 1)
SSDP_ANSWER_MAX = 4096  # bytes
IGD_ROUTERS_MAX = 4  # UPnP routers that are looked at
IGD_CALL_MAX = 20.0  # seconds after which a call to a UPnP router is given up: it may trickle without end
IGD_STUCK_MAX = 3  # threads of a router that such calls may keep; then it is no longer asked by UPnP
IGD_PAUSE = 0.2  # seconds between two changes of a UPnP router's table: some lose one otherwise
