"""Hypothesis strategies for everything that crust puts on the wire, and for bytes that almost are."""

from __future__ import annotations

import ipaddress

from hypothesis import settings
from hypothesis import strategies as st

from crust.wire import frames, gossip, handshake, proofs, transfer

repeatable = settings(deadline=None, derandomize=True)
"""For property tests: the same examples each time, however slow the machine is."""


def numbers(bits: int) -> st.SearchStrategy[int]:
    """Integers of so many bits, the ends often."""
    last = (1 << bits) - 1
    return st.one_of(st.integers(0, last), st.sampled_from((0, 1, last - 1, last)))


def texts(max_bytes: int) -> st.SearchStrategy[str]:
    """Text of at most so many bytes of UTF-8."""
    return st.text(max_size=max_bytes).filter(lambda text: len(text.encode()) <= max_bytes)


def _canonical(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


addresses = st.none() | st.tuples(st.ip_addresses().map(_canonical), numbers(16))
codes = st.sampled_from(handshake.DenialCode)
explanations = texts(200)
ids16 = st.binary(min_size=16, max_size=16)

ids32 = st.binary(min_size=32, max_size=32)
carried = st.binary(max_size=300)
ports = st.lists(st.integers(1, 65535), max_size=4).map(tuple)
places = st.builds(
    frames.Place,
    st.sampled_from(frames.PlaceKind),
    st.sampled_from(frames.TransportCode),
    st.booleans(),
    st.tuples(st.ip_addresses().map(_canonical), st.integers(1, 65535)),
)
standings = st.builds(
    frames.Standing,
    transport=st.sampled_from(frames.TransportCode),
    family=st.sampled_from((4, 6)),
    mapping=numbers(2),
    step=st.integers(-(1 << 15), (1 << 15) - 1),
    low=numbers(16),
    high=numbers(16),
    resets=st.booleans(),
)

items = st.lists(st.tuples(numbers(64), numbers(64)), min_size=1, max_size=20).map(tuple)
blobs = st.binary(min_size=1, max_size=200)
gossips = st.one_of(
    st.builds(
        gossip.Summary,
        numbers(64),
        st.booleans(),
        st.integers(0, 5)
        .map(lambda bits: (1 << bits) // 2)
        .flatmap(lambda count: st.lists(numbers(64), min_size=count, max_size=count).map(tuple)),
    ),
    st.builds(
        lambda ends, found: gossip.Contents(*sorted(ends), found),
        st.tuples(numbers(64), numbers(64)),
        st.just(()) | items,
    ),
    st.builds(gossip.Announce, items),
    st.builds(gossip.Request, st.lists(numbers(64), min_size=1, max_size=64).map(tuple)),
    st.builds(gossip.Records, st.lists(blobs, min_size=1, max_size=16).map(tuple)),
    st.builds(gossip.Find, numbers(32), ids32),
    st.builds(gossip.Found, numbers(32), st.just(b"") | blobs, st.lists(blobs, max_size=6).map(tuple)),
)
spots = st.builds(
    gossip.Spot,
    st.sampled_from(frames.TransportCode),
    st.tuples(st.ip_addresses().map(_canonical), st.integers(1, 65535)),
)
vias = st.builds(gossip.Via, ids32, st.lists(spots, max_size=2, unique=True).map(tuple))
statements = st.builds(
    gossip.Statement,
    peer_id=ids32,
    sequence=numbers(48),
    made=numbers(48),
    role=st.sampled_from(handshake.Role),
    is_public=st.booleans(),
    spots=st.lists(spots, max_size=8, unique=True).map(tuple),
    via=st.lists(vias, max_size=3).map(tuple),
)

hellos = st.builds(
    handshake.Hello,
    versions=st.lists(numbers(16), min_size=1, max_size=16, unique=True).map(tuple),
    network_id=st.binary(min_size=32, max_size=32),
    aeads=st.lists(numbers(8), min_size=1, max_size=16, unique=True).map(tuple),
)
answers = st.builds(
    handshake.Accepted, version=numbers(16), aead=st.sampled_from(handshake.Aead), observed=addresses
) | st.builds(handshake.Refused, codes)
introductions = st.builds(
    handshake.Introduction,
    peer_id=st.binary(min_size=32, max_size=32),
    role=st.sampled_from(handshake.Role),
    purpose=st.sampled_from(handshake.Purpose),
    manner=st.sampled_from(handshake.Manner),
    capabilities=numbers(32),
    incarnation=ids16,
    observed=addresses,
    window=numbers(32),
    max_message=numbers(32),
    resume=st.none() | st.builds(handshake.Resume, session_id=ids16, next=numbers(64)),
)

welcomes = st.builds(
    frames.Welcome,
    role=st.sampled_from(handshake.Role),
    capabilities=numbers(32),
    session_id=ids16,
    outcome=st.just(frames.Outcome.RESUMED),
    next=numbers(64),
    window=numbers(32),
    max_message=numbers(32),
    use=numbers(32),
    incarnation=ids16,
)
control = st.one_of(
    welcomes,
    st.builds(
        frames.Denied,
        codes,
        explanations,
        st.lists(st.text(st.characters(codec="ascii"), max_size=40), max_size=8).map(tuple),
    ),
    st.builds(frames.Use, numbers(32).filter(bool)),
    st.builds(frames.Ping, numbers(32)),
    st.builds(frames.Pong, numbers(32)),
    st.just(frames.KeyUpdate()),
    st.builds(frames.Goodbye, st.sampled_from(frames.GoodbyeCode), explanations),
    st.just(frames.Retire()),
    st.builds(
        frames.EchoRequest,
        number=numbers(32),
        transport=st.sampled_from(frames.EchoTransport),
        port=st.integers(1024, 65535),
        token=st.binary(min_size=12, max_size=12),
    ),
    st.builds(frames.EchoReply, numbers(32), st.sampled_from(frames.EchoOutcome), explanations),
    st.builds(frames.CircuitOpen, numbers(32), ids32, st.booleans(), carried),
    st.builds(frames.CircuitOffer, numbers(32), addresses, st.booleans(), carried),
    st.builds(frames.CircuitAccept, numbers(32), addresses, st.booleans(), carried),
    st.builds(frames.CircuitData, numbers(32), carried.filter(bool)),
    st.builds(frames.CircuitCredit, numbers(32), numbers(32).filter(bool)),
    st.builds(frames.CircuitClose, numbers(32), st.sampled_from(frames.CircuitReason), explanations),
    st.builds(
        frames.Candidates,
        numbers(32),
        st.lists(standings, max_size=4).map(tuple),
        st.lists(places, max_size=32).map(tuple),
    ),
    st.builds(
        frames.Signal,
        numbers(32),
        st.text(st.characters(codec="ascii"), min_size=1, max_size=32),
        st.binary(max_size=2048),
    ),
    st.builds(frames.EchoPorts, ports, ports),
    gossips,
)
acks = st.builds(frames.Ack, numbers(64), numbers(32))


def _messages(size: int) -> st.SearchStrategy[list[bytes]]:
    """Few or many, of one length or of several: each takes its own way through the parser."""
    even = st.tuples(st.integers(0, size), st.integers(1, 40)).map(lambda pair: [b"m" * pair[0]] * pair[1])
    return st.one_of(st.lists(st.binary(max_size=size), min_size=1, max_size=40), even)


kinds = st.sampled_from((0, 1, 2))
batches = st.builds(
    frames.Batch, first=numbers(64), kind=kinds, priority=numbers(8), messages=_messages(30)
)


@st.composite
def _pieces(draw: st.DrawFn) -> frames.Piece:
    data = draw(st.binary(min_size=1, max_size=300))
    return frames.Piece(
        number=draw(numbers(64)),
        kind=draw(kinds),
        priority=draw(numbers(8)),
        slot=draw(numbers(2)),
        is_first=draw(st.booleans()),
        is_last=draw(st.booleans()),
        total=draw(st.integers(len(data), (1 << 32) - 1)),
        data=data,
    )


pieces = _pieces()
records = st.lists(st.one_of(control, acks, batches, pieces), min_size=1, max_size=8)

transfer_numbers = numbers(32)
transfers = st.one_of(
    st.builds(transfer.Offer, transfer_numbers, numbers(64), texts(60)),
    st.builds(transfer.Accept, transfer_numbers),
    st.builds(transfer.Refuse, transfer_numbers, explanations),
    st.builds(transfer.FileData, transfer_numbers, numbers(64), st.binary(min_size=1, max_size=300)),
    st.builds(transfer.End, transfer_numbers, st.binary(min_size=32, max_size=32)),
    st.builds(transfer.Progress, transfer_numbers, numbers(64)),
    st.builds(transfer.Done, transfer_numbers),
    st.builds(transfer.Fail, transfer_numbers, explanations),
    st.builds(transfer.SignedOffer, transfer_numbers, numbers(64), texts(60)),
    st.builds(transfer.SignedEnd, transfer_numbers, st.binary(min_size=1, max_size=1218)),
)

message_statements = st.builds(
    proofs.MessageStatement, ids32, ids32, ids16, numbers(64), st.binary(max_size=300)
)
file_statements = st.builds(
    proofs.FileStatement, ids32, ids32, ids16, numbers(64), numbers(64), ids32, texts(60)
)


@st.composite
def damaged(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with a few of them changed, cut off, put in or added: what a fuzzer would find interesting."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(("set", "set", "cut", "insert", "delete")))
        if how == "cut":
            del data[position:]
        elif how == "insert":
            data[position:position] = draw(st.binary(min_size=1, max_size=4))
        elif position < len(data):
            if how == "set":
                data[position] = draw(numbers(8))
            else:
                del data[position]
    return bytes(data)
