"""Ways through translators, and what is found out about them: what we chose."""

from __future__ import annotations

# --- our choice: circuits through an introducer ---------------------------------------------------------------

CIRCUIT_CREDIT = 262_144  # bytes that may be under way, each way, from one end to the other
CIRCUIT_CREDIT_STEP = 65_536  # bytes taken from a circuit that are told to the other end together
CIRCUIT_QUEUE = 32_768  # bytes that wait at an end for their link: what an urgent message must queue behind
CIRCUIT_PATIENCE = 0.25  # seconds for which a link's own session goes first; then one record of a circuit comes between
CIRCUIT_LOOK = 0.05  # seconds until a link is looked at again whose session has more to say
CIRCUIT_SMALL_PER_SECOND = 2500.0  # records of circuits that bring little, on one link: it pays for all that we bring
CIRCUIT_SMALL_BURST = 500.0  # of those that go at once
CIRCUIT_GATHER = 0.005  # seconds for which what comes is gathered when they have been too many
CIRCUIT_RETRIES = (0.25, 0.75)  # seconds to further rounds through introducers that know nothing of a peer
CIRCUIT_SIGNAL_BYTES = 65_536  # of a circuit that carries no application's data: both ways together
CIRCUIT_SIGNAL_SECONDS = 60.0
CIRCUIT_ROOM_LOOK = (2.0, 5.0)  # seconds until one with a session is left for one that carries data; to the next try
CIRCUIT_ROOM_MEMORY = 90.0  # seconds for which an introducer that had no room for data to a peer is asked last
CIRCUIT_ROOM_RECORD = 1800.0  # and for which it comes after those that are as good otherwise
CIRCUIT_TRIED_MEMORY = 90.0  # seconds from the last time that one was tried to reach a peer until that is forgotten
CIRCUIT_TRIED_PEERS = 4096  # for which that is remembered
CIRCUIT_HANDICAP = 0.5  # seconds until it is tried again, for each time more than the one that was tried least
CIRCUIT_HANDICAP_MAX = 4.0
CIRCUIT_WORN = 4  # times more than another one that all who say they carry data were tried, until that one is, too
CIRCUIT_BYTES = 16 * 1024**3  # of one that does
CIRCUIT_SECONDS = 86_400.0
CIRCUIT_OFFER_SECONDS = 8.0  # that a called peer has to consent: the caller hears of it before it gives up
CIRCUIT_OFFERS_MAX = 64  # offers that we have not answered yet
CIRCUIT_OFFERS_PER_INTRODUCER = 16
CIRCUIT_OFFERS_PER_PEER = 16  # offers of ours, as an introducer, that one peer has not answered yet
CIRCUIT_OFFERS_SHARE = 4  # of those, one opener, or those at one address, may have one in so many
CIRCUIT_CALLS_PER_SECOND = 5.0  # offers to one peer by those at one address: it takes four times as many from us
CIRCUIT_CALLS_BURST = 16
CIRCUITS_MAX = 1024  # that we introduce at once, those with an application's data not counted
CIRCUITS_PER_PEER = 64  # of those, opened by one peer
CIRCUITS_PER_LINK = 1024  # that begin or end on one link
CIRCUIT_OPENS_PER_SECOND = 50  # by one peer; it may save up
CIRCUIT_OPENS_BURST = 200
CIRCUIT_OPENED_PER_SECOND = 35  # that we ask of one introducer: those held up on their way come together
CIRCUIT_OPENED_BURST = 150
CIRCUIT_OPENED_SPARE = 50  # of those, for peers that somebody calls: sessions without a link ask all the time
CIRCUIT_OPENS_ALL_PER_SECOND = 1000
CIRCUIT_REFUSALS_MAX = 64  # that wait for a link; more are not said
CIRCUIT_INTRODUCERS = 3  # peers through which another one is tried at once
CIRCUIT_ASKED = 12  # that one call asks, these being one after the other
CIRCUIT_SWEEP = 1.0  # seconds between two looks whether circuits have lasted too long
RELAY_CIRCUITS = 64  # with an application's data, in all
RELAY_PEER_SHARE = 4  # of those, one peer may open one in so many
RELAY_BYTES_PER_SECOND = 1024 * 1024  # on all of them
RELAY_PEER_RATE = 0.5  # of that for the circuits of one peer
RELAY_BURST_SECONDS = 0.25  # of the rate that go at once
VIA_MAX = 3  # peers named as those that introduce us
VIA_PER_NETWORK = 2

# --- our choice: noticing that the network is another one --------------------------------------------------------

NETWORK_SETTLE = 0.1  # seconds from the first word of a change until it is looked at: more words follow
NETWORK_POLL = 2.0  # seconds between two looks where the system says nothing by itself
NETWORK_LOOK = 60.0  # the same where it does: a word may have been lost
NETWORK_READS = 64  # words read at once

# --- our choice: changing ports while running ------------------------------------------------------------------

ROTATE_MIN = 60.0  # seconds from changing all random ports to changing them again, at least
ROTATE_GRACE = 600.0  # seconds for which the old ones stay open at most,
ROTATE_GRACE_SHARE = 3  # or this part of the interval
ROTATE_MEMORY = 16  # ports that are not used again
MOVE_STAGGER = 0.01  # seconds between two sessions that move to other ports

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
ECHOES_ASKED_PER_MINUTE = 3  # that we ask of one peer: those held up on their way come together
REFLEXIVE_INTERVAL = 120.0  # seconds from asking everybody where we are to asking again, +/- 25 %
REFLEXIVE_DELAY = 0.2  # seconds from a new peer to asking it: several that come together are asked together
REFLEXIVE_KEEPALIVE = 25.0  # the same while strangers are told where others see us: routers forget UDP after 30
REFLEXIVE_LIFE = 310.0  # seconds that an answer counts: two more questions may be lost
REFLEXIVE_PEERS = 3  # peers asked each time: two that agree are enough
REFLEXIVE_LOOKED_AT = 64  # peers looked at each time to find those: there may be thousands
REFLEXIVE_SOURCES_MAX = 16  # answers remembered for each port
FILTER_MEMORY = 600.0  # seconds that a router may let in those whom we have sent something to
FILTER_INTERVAL = 600.0  # seconds from trying whether strangers get in to trying again
FILTER_AGAIN = 60.0  # the same by another helper, if nobody has got in: one may say so, or nothing, of any place
FILTER_HELPERS = 3  # at different addresses that are asked so, before it is left for FILTER_INTERVAL
FILTER_PLACES_MAX = 64  # attempts remembered about addresses where nobody sees us any more
FILTER_HOSTS_MAX = 256  # addresses remembered as having been sent something to
ECHO_GRACE = 0.5  # seconds that a datagram may come after the word that it is out
ECHO_PORTS_UDP = 3  # more ports on which a public node answers STUN: with the one that listens they show a step
ECHO_PORTS_TCP = 2
ECHO_HOSTS_MAX = 4  # addresses of ours with such ports
ECHO_CALLERS_MAX = 64  # TCP connections to those ports at once
ECHO_CALLER_SECONDS = 3.0  # that one of them lasts
SOUNDING_SCHEDULE = (0.0, 0.1, 0.3, 0.6, 1.0)  # seconds when an introducer is asked how we are translated
SOUNDING_TIMEOUT = 1.5  # seconds until it has not answered: a SYN is repeated after one
SOUNDINGS_MAX = 32  # answers remembered for each port that listens
SOUNDING_ONCE = 0.05  # seconds between questions that count as one moment, on a busy machine
SOUNDINGS_WINDOW = 10.0  # seconds between answers that are compared with each other
SERVER_RETRY = (1.0, 64.0)  # seconds until configured servers that have not answered are asked again: first, and last
SERVER_PATIENCE = 0.5  # seconds that peers wait for the answers of configured servers, which may make them strangers
ASKED_AGAIN = 10.0  # seconds in which a peer is not asked once more just because another one has come
SOUNDING_PEERS = 2  # introducers asked each time
SEARCH_PAUSE = 1.0  # seconds until what waits for a search looks again whether it is over
OUTLOOK_DELAY = 0.02  # seconds from something new to telling it: answers come together
HEARSAY_MAX = 2  # addresses told for each port that listens, of those where somebody sees it
BLOCK_SAMPLES = 8  # outer ports that show the block which they come from
HOLD_INTERVAL = 15.0  # seconds between questions that keep a router's mapping: the shortest life known is 20

# --- our choice: UDP through NATs -----------------------------------------------------------------------------

PUNCH_TAG_SIZE = 8  # bytes by which a probe is known before it is decrypted
PUNCH_NONCE_SIZE = 8
PUNCH_PADDING_MAX = 64  # random bytes in each probe: its size says nothing
PUNCH_FIRST = 5  # probes to an address that follow each other quickly,
PUNCH_FIRST_GAP = 0.02  # seconds apart
PUNCH_DENSE = 2.0  # seconds from the beginning until which probes are sent often:
PUNCH_DENSE_GAP = 0.05  # 20 a second, as tailscale does
PUNCH_SPARSE = 10.0  # seconds after which none are sent any more
PUNCH_SPARSE_GAP = 0.2
PUNCH_JITTER = 0.15  # of each pause, so that two ends do not march in step
PUNCH_RATE = 100  # probes a second to all addresses together,
PUNCH_RATE_BURST = 8  # and how many of them at one moment
PUNCH_UNSEEN_TIMES = (0.0, 0.15, 0.6)  # seconds when an address that nobody saw is tried: answers need some too
PUNCH_ANSWERS = 3  # datagrams in answer to an address that has not proven to be the peer's
PUNCH_PATHS_MAX = 512  # sources of probes in one attempt
PUNCH_HEARD_MAX = 8192  # probes that one method looks at in one attempt: twice what the other end may send
PUNCH_READS = 16  # datagrams read from one socket before the next has its turn
PUNCH_MEMORY = 8192  # nonces sent, and heard, that are remembered
PUNCH_CHOICE = 0.06  # seconds from the first address that works to choosing one: nearer ones have answered by then
PUNCH_NOMINATE_GAP = 0.05  # seconds until a choice is repeated,
PUNCH_NOMINATE_PATIENCE = 0.8  # and until another address is chosen, as that one seems to have gone
PUNCH_WINS_MAX = 4  # addresses that the end which does not choose agrees to in one attempt
PUNCH_LINGER = 2.0  # seconds for which a repeated choice is still answered
PUNCH_TRAP_AFTER = 0.4  # seconds until fresh sockets are tried: a router may hold early probes against the first ones
PUNCH_TRAP_TTL = 3  # routers that the first probes from there pass: past our own, not up to the other one's
PUNCH_TRAP_SECONDS = 0.2  # for which that is so
SEARCH_JOIN = 5.0  # seconds for the other end to begin the same search
SEARCH_JOIN_GAP = 1.0  # seconds until it is told again that we have begun
SAMPLE_SCHEDULE = (0.0, 0.1, 0.3)  # seconds when a server is asked how a router translates a socket now
SAMPLE_TIMEOUT = 1.0
PREDICT_REACH = 16  # ports ahead that are tried at a router that counts, from the side that has one port
PREDICT_SHIFTS = 8  # flows of others, at both routers together, that a round of two such routers allows for
PREDICT_REPEATS = 2  # ports in each of those diagonals
PREDICT_MARGIN = 4  # ports more, for such flows at the side that does not shift
PREDICT_SENDS = (0.0, 0.04, 0.12)  # seconds when what a round fires is sent, and again
PREDICT_PAUSE = 0.35  # seconds, and two round trips, from firing to the next round
PREDICT_ROUND_MAX = 1.2  # seconds, and two round trips, until a round that has not fired is given up
PREDICT_ROUNDS = 16
# By UDP and by TCP alike:
BIRTHDAY_SOCKETS = 256  # at the side whose ports are random: 2,048 probes meet one of them in 99.97 % of all runs
BIRTHDAY_BLOCK_SOCKETS = 64  # the same, if its ports come from a block
BIRTHDAY_PROBES = 2048  # or connections, from the other side,
BIRTHDAY_RATE = 200  # a second: what carriers' translators take without alarm
BIRTHDAY_SECONDS = 12.0
BIRTHDAY_PORTS = (1024, 65_536)  # where random outer ports are drawn from
# By UDP:
BIRTHDAY_BLOCK = 4096  # ports of a block at most
BIRTHDAY_BATCH = 32  # sockets opened at one moment
BIRTHDAY_BATCH_GAP = 0.02
BIRTHDAY_AGAIN = 3.0  # seconds until each of these sockets sends once more: what got lost, and what a router forgot

# --- our choice: what to expect of ways to reach a peer ------------------------------------------------------

FORECAST_ROUND_TRIPS = 3  # from the first packet to the first message: one of TCP or µTP, two of the handshake
FORECAST_PUNCH_TRIPS = 8  # the same where both ends have to meet: two for a circuit, two to agree, and the handshake
FORECAST_SEARCH_DELAY = 0.5  # seconds until a search begins
FORECAST_BIRTHDAY_DELAY = 4.0  # seconds until it ends, in the middle
FORECAST_RTT = 0.05  # seconds to a peer of whom nothing is known, if no server is further away
FORECAST_RTT_LOCAL = 0.005  # to one in the same network

# --- our choice: finding out what the network does ------------------------------------------------------------

PROBE_SCHEDULE = (0.0, 0.15, 0.35, 0.65, 1.05, 1.5, 2.4)  # seconds when a question is asked; the last gives it up
PROBE_SAMPLES = 6  # new mappings made at one moment, to see how ports are chosen
PROBE_PORTS_MIN = 4  # different ports among them, or nothing is said
PROBE_PORTS_AGREE = 0.6  # of them, or of the distances between them, that must agree
PORT_STEP_MAX = 1024  # a larger distance between two ports that a router gives out is chance
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

# --- our choice: port mapping --------------------------------------------------------------------------------

MAPPING_LEASE = 3600  # seconds that a router is asked to keep a port open; renewed at half
MAPPING_PORT = 5351  # fixed by RFC 6886 and RFC 6887: where a router answers NAT-PMP and PCP
SSDP_PORT = 1900  # fixed by UPnP
SSDP_GROUP = "239.255.255.250"
MAPPING_RESEND = 0.25  # seconds until a question is sent again, doubling: RFC 6886 section 3.1
MAPPING_PROBES = 4  # times that a router is asked whether it speaks a protocol: 3.75 s in all
MAPPING_CHECK_SENDS = 2  # times that a router is asked whether it still has its table
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
MAPPING_READS_PER_SECOND = 100  # datagrams of a router, and of who says he is one; four times as many at once
MAPPING_REST = 0.1  # seconds without reading when more come
MAPPING_LEFTOVER_AGE = 30 * 86_400.0  # seconds after which a mapping without end, left by a crash, is forgotten
MAPPING_LEFTOVERS_MAX = 64  # of one crashed node
SSDP_SENDS = (0.0, 0.4, 1.2)  # seconds at which a UPnP router is looked for,
SSDP_WAIT = 3.0  # and when that is over
SSDP_PATIENCE = 1.2  # seconds that others who answer wait for the default gateway, which may take one (MX: 1)
SSDP_ANSWER_MAX = 4096  # bytes
IGD_ROUTERS_MAX = 4  # UPnP routers that are looked at
IGD_ROUTERS_KEPT = 32  # of which is known what they are: more than one search finds, which may be others in each
IGD_ANSWER_MAX = 256 * 1024  # bytes of one answer of a UPnP router: descriptions seldom have more than 32 KiB
IGD_ANSWER_TIME = 4.5  # seconds for it, from the request on: miniupnpc waits for five
IGD_ANSWER_QUIET = 2.0  # seconds of silence after which one that does not say where it ends has come to its end
IGD_REQUEST_MAX = 8192  # bytes of what miniupnpc asks: it has no room for 3 KiB
IGD_EXCHANGES_MAX = 4  # connections to our relay at a time: miniupnpc has one, the others are other programs'
IGD_PAUSE = 0.2  # seconds between two changes of a UPnP router's table: some lose one otherwise
