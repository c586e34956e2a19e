"""What strangers cost before they have proven who they are: what we chose."""

from __future__ import annotations

# --- our choice: limits before and around authentication ----------------------------------------------------

HALF_OPEN_MAX = 256
HALF_OPEN_KNOWN_RESERVE = 64  # of those, kept for addresses of peers we know
HALF_OPEN_PER_ADDRESS = 16
SITE_SHARE = 2  # times as much as one address, an IPv6 /64, may have: all of an IPv6 /48 together
STARTS_PER_ADDRESS_PER_SECOND = 20
STARTS_PER_SECOND = 500
CALLS_FEW = 5  # calls of an address, one a second being forgotten, after which others have precedence that call less
HELD_SECONDS = 2.0  # for which a caller that knows us is waited for to introduce itself, where slots have run out
HELD_BRIEF = 0.5  # of such seconds, less does not count if the slot was taken from it
HELD_CALLS = 4.0  # calls that each second counts as for which it holds its slot instead,
HELD_CALLS_MAX = 60.0  # and all of them at most
REFUSAL_REST = 1.25e-3  # seconds a listener over TCP rests for each caller refused, or who calls all the time: 800/s,
REFUSAL_REST_ALONE = 5.0  # times longer, while
REFUSAL_REST_FEW = 32  # others wait at most
REFUSAL_REST_MIN = 8e-3  # that are worth a pause; less is added to the next
REFUSAL_REST_QUEUE = 0.75  # of the callers that the kernel can keep: it does not rest while there are more
REFUSAL_REST_SAVED = 0.1  # of them that it need not rest if it has had nobody to refuse, or no time to
PEERS_MAX = 1024
PEERS_PER_ADDRESS = 256  # of those: keys cost nothing, addresses do
TOTAL_BUFFERS = 256 * 1024 * 1024
GATE_ADDRESSES_MAX = 4096  # addresses whose rate of starts is remembered; the one quiet for longest is forgotten

# --- our choice: what misbehaves, and what comes of it ------------------------------------------------------

BAN_SECONDS = 300.0  # of a ban that the policy makes by itself
ALERTS_PER_KIND = 16  # alerts about single addresses in one interval; the others are told of together
MISDEEDS_KEPT = 1024  # of each kind, addresses and peers whose deeds are remembered; the longest quiet is forgotten
SLOWED_SECONDS = 60.0  # for which an address that is throttled may begin only
SLOWED_COST = 4.0  # times less often
HOLD_SECONDS = 1.0  # for which the link of a peer is not read that is throttled for what it asks

# --- our choice: what one peer may cost without bringing anything -------------------------------------------

# Seconds of a core, measured on the machine of docs/performance.md (tools/bench hostile).
COST_READ = 15e-6  # what the system hands over at once: a call, and waking up for it
COST_PACKET = 25e-6  # one of µTP, or a read of TCP, beyond those that bring a record or WORTH_BYTES
COST_RECORD = 10e-6  # opening it, its first frame, and what becomes of that
COST_CARRIED = 25e-6  # the same for a part of a circuit's stream, which most often goes on in a record of its own
COST_FRAME = 1.5e-6  # each other frame in it
COST_BATCH = 3.5e-6  # if that one is a BATCH or a PIECE, whose messages are handed over by themselves
COST_BYTE = 1e-9  # what came before, opened once more
COST_PONG = 10e-6  # the answer to a PING
COST_KEY = 10e-6  # another key
COST_REQUEST = 150e-6  # what is asked of the node: an echo, a circuit, a path, gossip
COST_CARRIED_BYTE = 15e-9  # of what a request brings with it for another peer
COST_FILE_WORD = 50e-6  # a message about a file that is none of its bytes
COST_SIGNATURE = 100e-6  # verifying one, and handing over between two threads
SIGNED_WORTH_BYTES = 4096  # bytes of a signed message that pay for its signature
WORTH_BYTES = 512  # bytes of new data that pay for a record
SPLIT_FREE = 100.0  # packets that bring little until they count: what comes in between may pay for them
OVERHEAD_PER_PEER = 0.15  # share of a core
OVERHEAD_PER_ADDRESS = 2  # times as much: all peers at one address together
OVERHEAD_SAVED = 0.5  # seconds of a core that a peer can save up
OVERHEAD_BEGUN = 0.02  # of those, what one begins with that we do not know: keys cost nothing
SESSIONS_PER_PEER_PER_SECOND = 20  # begun or resumed
SESSIONS_PER_PEER_BURST = 100  # that it can save up

# --- our choice: a UDP socket that is flooded ---------------------------------------------------------------------

ICMP_HEARD_PER_SECOND = 100.0  # words of ICMP, which anybody can feign, until a UDP socket hears none
ICMP_DEAF_SECONDS = 5.0
SIEVE_FROM = 4000.0  # datagrams for nobody, a second, from which on the kernel throws most of them away,
SIEVE_UNTIL = 2000.0  # and below which it lets them all through again
SIEVE_LINGERS = 2.5  # seconds, at most, until more is made up for: floods may pulse; a caller's third SYN is after 3 s
SIEVE_PASS = 1000.0  # of them a second still come through
SIEVE_BEHIND = 262_144  # bytes of the kernel's memory: while more waits, fewer come through; some 350 small datagrams
SIEVE_BEHIND_FROM = 100.0  # of strangers' datagrams that come in a second: fewer are not what keeps a node busy
SIEVE_PERIOD = 0.25  # seconds between two looks at how many there are
SIEVE_SUDDEN = 2000  # datagrams for nobody after which there is a look before that
SIEVE_SUDDEN_WAITING = 4000  # or so many with those that wait: as many as are told of, also of one address,
SIEVE_SUDDEN_FROM = 400.0  # if so many a second have been met
SIEVE_DATAGRAM = 768  # bytes of Linux' memory that a small datagram takes while it waits
SIEVE_CHANGE = 0.02  # at least between two programs that only know more connections, and as much
SIEVE_CHANGE_MEMBERS = 64  # for each so many that the last one has: to make it costs more, too
SIEVE_MEMBERS = 600  # connections of one socket that its program can tell: it may have 4,096 instructions
