"""Finding peers, and keeping them: what we chose."""

from __future__ import annotations

# --- reaching a first peer ------------------------------------------------------------------------------------------

BOOTSTRAP_TIMEOUT = 10.0
BOOTSTRAP_PARALLEL = 3  # dials at once, and one more every BOOTSTRAP_STAGGER
BOOTSTRAP_STAGGER = 0.2
BOOTSTRAP_IN_FLIGHT = 10
BOOTSTRAP_LINKS = 3  # kept up: as many as a node asks to introduce it,
BOOTSTRAP_NETWORKS = 2  # in so many networks
BOOTSTRAP_LEADS = 1024  # looked at in one search
BOOTSTRAP_NAMED = 1024  # contacts that calls have named, of which a node knows until stop_bootstrap(): the newest,
BOOTSTRAP_AVOIDED = 4096  # and entries of their blacklists
BOOTSTRAP_CIRCUITS = 8  # nodes of one search, named by no application, that our peers are asked to introduce us to
BOOTSTRAP_BREATH = (0.1, 0.5)  # seconds from the loss of a link until others are looked for
BOOTSTRAP_PAUSE = 1.0  # seconds that a lead rests which has failed, twice as many each time,
BOOTSTRAP_PAUSE_MAX = 300.0  # up to so many
BOOTSTRAP_REPLACED_WITHIN = 600.0  # seconds for which it counts that another program took our place at a peer
BOOTSTRAP_LOOK = 60.0  # seconds between two looks whether there are new leads, if all is well or nobody is left
BOOTSTRAP_CONTACTS_SPARED = 30.0  # seconds for which other leads go first where one of them has led to a link
HEARSAY_SECONDS = 3.0  # to be taken by a node that others have told of: two or three SYNs
HEARSAY_ENDPOINTS = 4  # of one that are dialled
HEARSAY_REST = 600.0  # seconds until the same address is dialled again that others alone vouch for
HEARSAY_PER_SECOND = 1.0  # such addresses dialled in all,
HEARSAY_AT_ONCE = 60  # and at once
HEARSAY_ANSWERED_AT_ONCE = 16  # the same where a node has answered, for others that are said to be there,
HEARSAY_ANSWERED_PER_SECOND = 0.1  # and later
HEARSAY_ADDRESSES = 4096  # of which that is remembered
KNOCK_SECONDS = 3.0  # to see whether a peer is there: a SYN goes out twice or three times in that time

# --- who joins here, and who is full ---------------------------------------------------------------------------------

REACHABILITY_PLACES = 3  # of a peer that are tried
REACHABILITY_REST = 60.0  # seconds until the same peer is tried again,
REACHABILITY_PER_SECOND = 10.0  # and all of them
REACHABILITY_DELAY = 1.0  # seconds from a change of our addresses until those with whom we have joined hear it
BOOTSTRAP_GUESTS = 60  # nodes that have joined here, from which on others are named to those who come
CROWD_SECONDS = 60.0  # for which who was sent on may come back and is taken,
CROWD_REMEMBERED = 4096  # so many of them
BOOTSTRAP_SENT_ON = 120.0  # seconds until who has a link, and was sent on, asks there again: longer than CROWD_SECONDS
ALTERNATE_AGE = 3600.0  # seconds since when a node must have been seen to be named to others

# --- nodes reached before -------------------------------------------------------------------------------------------

CACHE_PEERS = 200
CACHE_ENDPOINTS = 2  # of one node: by TCP and by µTP
CACHE_FAILURES = 3  # in a row, after which a node is forgotten
CACHE_CHECKS = (0.5, 2.0, 6.0)  # seconds from the loss of a link, and from each failure, to the next look
CACHE_PACE = 60.0  # seconds between two looks at nodes that nobody has seen for long,
CACHE_AGE = 3600.0  # which is so many seconds
CACHE_PACE_MIN = 0.2  # the same where many of them are gone,
CACHE_ALARM = 16  # so many times as soon after each that is gone,
CACHE_CALM = 1.05  # and so many times as long after each that is there
CACHE_LOOKS = 8  # nodes looked at at once
CACHE_LINGER = 5.0  # seconds without anything to do, after which the thread that sees to the cache ends
CACHE_SAVE_DELAY = 1.0  # seconds from a change to the file, for what comes together
CACHE_SAVE_INTERVAL = 30.0  # the same for what only looks have shown
CACHE_SAVE_RETRY = 60.0  # the same after the disk has refused
CACHE_LOAD_SECONDS = 2.0  # that bootstrap() waits for the file
CACHE_FILE_MAX = 1024 * 1024  # bytes
CACHE_FILE_NODES = 4096  # of which so many entries are looked at
CACHE_AROUND_MAX = 64  # characters of a network's name
FILE_LOCK_TRIES = 40  # to get the lock of a file that programs share,
FILE_LOCK_PAUSE = 0.05  # seconds apart
CACHE_EVIDENCE = 30.0  # seconds since when somebody must have been heard, for silence to be the other side's

# --- nodes on the same link -----------------------------------------------------------------------------------------

BEACON_PORT = 5484
LAN_WAIT = 1.0  # seconds for answers before contacts are dialled
# Dials in vain, of this node's own accord, to one address that only answers on the LAN have named: nobody vouches for
# the ids that a machine answers with. As many at once as a group dials, so that no program which is there has to wait.
LAN_DIALS_AT_ONCE = 16
LAN_DIALS_PER_SECOND = 0.1  # and later
LAN_DIALS_IN_ALL_AT_ONCE = 64  # the same to all such addresses: a machine can answer from many
LAN_DIALS_IN_ALL_PER_SECOND = 2.0
LAN_DIALS_KNOWN = 1024  # of which it is known whom they were for
BEACON_GROUP = "ff02::9017:8e8"  # whom IPv6 queries go to: a group of the link (RFC 4291), dynamic by RFC 3307
BEACON_QUERY_SIZE = 480  # bytes of a query, always; an answer has 130
BEACON_BURST = (0.0, 0.3, 1.0)  # seconds from the beginning of asking to each query
BEACON_INTERVAL = 60.0  # seconds between queries from then on, ± BEACON_SPREAD
BEACON_SPREAD = 0.25
BEACON_DELAY = 0.2  # seconds that an answer waits at most
BEACON_KEY_LIFE = 100.0  # seconds for which answers to a query are taken: until the next one, and a little more
BEACON_REFRESH = 300.0  # seconds, ± BEACON_SPREAD, for which a peer that was heard need not answer
BEACON_LIFE = 600.0  # seconds from a peer's last word until it is forgotten: three or more queries it did not answer
BEACON_PEERS = 1024  # known at most, of all links
BEACON_PEERS_PER_ADDRESS = 64  # programs of one machine
BEACON_ASKERS = 512  # remembered, to tell them of new ports
BEACON_PENDING = 1024  # answers that wait for their time
BEACON_ANSWERS_PER_SECOND = 50  # in all, and as many more saved up
BEACON_ANSWERS_PER_ADDRESS = 2.0  # a second; BEACON_ANSWERS_AT_ONCE may be saved up
BEACON_ANSWERS_AT_ONCE = 12
BEACON_ASKS_FEW = 6  # questions of an address after which half of all answers is left to others,
BEACON_ASKS_FORGOTTEN = 0.1  # of which so many a second are forgotten
BEACON_FOUND_PER_SECOND = 256  # answers opened, at 1 millisecond each with all that follows; twice as many at once
BEACON_FOUND_PER_ADDRESS = 8.0  # of one address; 2 * BEACON_PEERS_PER_ADDRESS at once
BEACON_FOUND_FEW = 8  # answers of an address after which half of those opened are left to others,
BEACON_FOUND_FORGOTTEN = 0.2  # of which so many a second are forgotten
BEACON_READS_PER_SECOND = 1000  # datagrams looked at, at some 100 microseconds each; twice as many at once
BEACON_RETRY = (0.5, 8.0)  # seconds until a socket is tried again that could not be opened: at first, and at last
# Interfaces that lead elsewhere than to a LAN: VPNs, containers and virtual machines, Apple's own links, mobile phones.
BEACON_SKIPPED = (
    *("tun*", "tap*", "utun*", "ppp*", "wg*", "tailscale*", "zt*", "ipsec*", "nordlynx*", "proton*", "vpn*", "gpd*"),
    *("docker*", "podman*", "veth*", "br-*", "virbr*", "vnet*", "lxc*", "lxd*", "cni*", "flannel*", "cali*", "vmnet*"),
    *("awdl*", "llw*", "anpi*", "wwan*", "rmnet*"),
)

# --- records that nodes pass on -------------------------------------------------------------------------------------

GOSSIP_RECORDS = 4096

# What a node's gossip spends. A signature is checked in some 100 microseconds.
GOSSIP_COMPARE = 30.0  # seconds, ± 25 %, between two comparisons with one link
GOSSIP_CONTENTS_WAIT = 120.0  # seconds for its answers: gossip waits for an application's data
GOSSIP_DELAY_PUBLIC = 0.25  # seconds that announcements to public peers wait for others to go with them,
GOSSIP_DELAY_OTHERS = 1.0  # to other peers,
GOSSIP_DELAY_LEAF = 1.5  # and at a node that is not public, since public ones will have been quicker
GOSSIP_TELLS = 500.0  # announcements a second that are sent to all links,
GOSSIP_TELLS_BURST = 200.0  # and at once;
GOSSIP_TELLS_PAUSE = 0.1  # seconds until those whose turn has not come are gone on with
GOSSIP_CHECKS_LINK = 100.0  # records a second that are asked of one link, and as many at once
GOSSIP_CHECKS = 400.0  # the same of all links;
GOSSIP_CHECKS_BURST = 1000.0  # so many at once; of both, half for what nobody asked for, an address an 8th,
GOSSIP_UNASKED_SELDOM = 0.1  # or so many of those a second where they are used up, and one at once
GOSSIP_FRESH_SECONDS = 600.0  # in so long, all links fill a quarter of a store half full, an address an 8th, one a 16th
GOSSIP_SUMMARIES_LINK = 0.2  # comparisons a second of our store with that of one link,
GOSSIP_SUMMARIES_BURST = 3.0  # and at once
GOSSIP_OUTSTANDING = 32  # records asked of one link that have not come
GOSSIP_PATIENCE = 5.0  # seconds until another link is asked
GOSSIP_ITEMS_RATE = 1000.0  # announcements a second that are read from one link,
GOSSIP_ITEMS_BURST = 10_000.0  # and at once
GOSSIP_SERVE_RATE = 150_000.0  # bytes of records a second that are given to all links,
GOSSIP_SERVE_BURST = 600_000.0  # and at once
GOSSIP_MUTED = 600.0  # seconds that nothing is asked of a link that broke its word so many times:
GOSSIP_STRIKES = 8
GOSSIP_PAUSED = 30.0  # the same of one that does not deliver
GOSSIP_PINNED = 512  # records kept that their nodes brought themselves
GOSSIP_SUNK = 600.0  # seconds that a node counts as unreachable, for each time that it was
GOSSIP_SUNK_MAX = 1024
GOSSIP_PAST = 64  # links that are gone whose budgets are remembered
GOSSIP_REPLICAS = 20  # public nodes, the nearest to a node, that it brings its record to
GOSSIP_REPLICA_PERIOD = 120.0  # seconds at least between two versions that are brought
GOSSIP_REPLICA_PACE = 0.25  # seconds between two of them
GOSSIP_FINDS_LINK = 10.0  # questions a second that are answered on one link, and twice as many at once
GOSSIP_ASKED_RATE = 7.5  # of ours that one node is asked: questions that were held up on their way come together,
GOSSIP_ASKED_BURST = 10.0  # and at once;
GOSSIP_FINDS_ADDRESS = 50.0  # the same for all links from one address (IPv6: from one /48)
GOSSIP_FINDS = 200.0  # and for all links; where these are used up,
GOSSIP_FINDS_SELDOM = 1.0  # each address has so many still
GOSSIP_FINDS_AT_ONCE = 64  # searches of our own
GOSSIP_FIND_ASKS = 20  # nodes asked in one search: with the answers 40 messages
GOSSIP_FIND_PARALLEL = 3
GOSSIP_FIND_PATIENCE = 1.0  # seconds until somebody else is asked, too
GOSSIP_FIND_TIMEOUT = 10.0
GOSSIP_FIND_LOOK = 0.25  # seconds until a search that may ask nobody for now looks again
GOSSIP_DOUBTS = 3  # nodes whose records are all of another time, so that our own clock is doubted
GOSSIP_DOUBT_PERIOD = 3600.0  # seconds between two warnings of that: liars and others may take turns
GOSSIP_NEWS_PERIOD = 10.0  # seconds between two reports of one kind of misbehaviour of a peer

# What its driver in a node does.
GOSSIP_TURN = 32  # frames and other events that are handled before what comes of them is sent
GOSSIP_LINGER = 5.0  # seconds that the thread waits for more before it ends
GOSSIP_WAITING = 32  # frames of one peer that have not had their turn; more are dropped,
GOSSIP_WAITING_PEERS = 256  # as are those of so many more peers
GOSSIP_MAIL_PEER = 256 * 1024  # bytes that wait for one peer's link
GOSSIP_MAIL = 16 * 1024 * 1024  # the same for all
GOSSIP_DIALS = 4  # addresses of a peer that are dialled because its record says so
GOSSIP_ASKS_AT_ONCE = 8  # short links that are being made
GOSSIP_ASKS_PER_SECOND = 2.0  # of them, and GOSSIP_ASKS_BURST that may be saved up
GOSSIP_ASKS_BURST = 80.0
GOSSIP_ASK_DIALS = 2  # addresses that are dialled for one
GOSSIP_ASK_TIMEOUT = 4.0  # seconds for one
GOSSIP_CONTACTS = 256  # public nodes known, for whoever needs a first peer
GOSSIP_PUBLISH_DELAY = 1.0  # seconds from a change to the record that tells of it
GOSSIP_PUBLISH_FIRST = 0.2  # the same for the first one
GOSSIP_PUBLISH_REST = 5.0  # between two records, however often something changes
GOSSIP_VIA_REST = 30.0  # the same if it is only the peers who introduce us that change
GOSSIP_PUBLISH_AGAIN = 2400.0  # until the same is published anew: a third of a record's life
GOSSIP_RIVAL_REST = 60.0  # seconds between answers to another program that runs under our identity
BORROWED_SECONDS = 20.0  # for which a session is kept that the node began for itself, since it was used last
BORROWED_SPARED = 8  # of those, that stay while a session of ours is on a circuit, besides those that it goes by
GUEST_SECONDS = 30.0  # the same since it was begun, to look around
LOOK_AROUND = 60.0  # seconds, ± JITTER, until a node dials somebody that it has no link to, however many it has
LOOK_AROUND_TRIES = 3  # who was not reached is followed by another one,
LOOK_AROUND_PAUSE = 1.0  # so many seconds later
OUTSIDE_LINKS = 2  # public nodes that are linked to, to learn how we are seen from beyond our NAT,
OUTSIDE_REST = 30.0  # seconds between two such occasions
SEARCHES_MAX = 64  # peers looked for at once
SEARCH_STEPS = 12  # peers reached for the sake of one that is wanted: who introduces it, who introduces these, ...
SEARCH_YOUNG = 5.0  # seconds from a node's first link for which it asks again whoever did not know a peer,
SEARCH_LOOKS = (0.5, 2.0, 5.0)  # so many seconds from the question; and when what is known of a peer has led nowhere
SEARCH_HEADSTART = 0.7  # seconds that known addresses and introducers have before a peer is looked up
SEARCH_SECONDS = 15.0  # to reach one of those who introduce it
SEARCH_ROUND = 3  # of the redialling of a session, from which on its peer is looked up
SEARCH_AGAIN = 30.0  # seconds between two searches for one session

# --- peers that are kept --------------------------------------------------------------------------------------------

DROPPED_SECONDS = 600.0  # for which nobody dials a peer by itself that one of the two applications has let go of
DROPPED_MAX = 4096  # of them known
KEEP_DELAY = 0.5  # seconds until a lost peer is dialled again; twice as long after each failure, ± JITTER
KEEP_DELAY_MAX = 60.0
KEEP_STEADY = 120.0  # for which a session must last that the other side replaces, or it counts as a failure
KEEP_REPLACED = 3  # after so many in a row: programs may be started anew
KEEP_DIAL_TIMEOUT = 15.0  # seconds for one attempt to reach a peer, by all its addresses
KEEP_DIALS = 16  # at once, of one node
GROUP_PATIENCE = 1.0  # seconds for which a peer without a link keeps its place
GROUP_REFUSED = 0.2  # the same from when nothing listens there any more: its program has probably ended
GROUP_SLOW = 1.0  # seconds after which a dial is no longer counted on, and another one begins
GROUP_LOOK = 1.0  # seconds between two looks at who is known, while a group is short,
GROUP_NEWS = 0.1  # the same if somebody has become known,
GROUP_LOOKS_PER_SECOND = 500  # or more, so that no more peers are looked at
GROUP_FAILURES = 3  # in a row, after which somebody who is no member rests for DROPPED_SECONDS
GROUP_PEERS_KNOWN = 8192  # peers whose failures are remembered
GROUP_PLACES_KNOWN = 1024  # peers of which it is remembered where they were reached last

# --- the configuration, while running -------------------------------------------------------------------------------

RELOAD_INTERVAL = 30.0  # seconds between two looks at its file
RELOAD_SETTLE = 1.0  # seconds that it must say the same, so that nothing half written counts
