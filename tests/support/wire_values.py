"""Hypothesis strategies for everything that crust puts on the wire, and for bytes that almost are."""

from __future__ import annotations

import ipaddress

from hypothesis import settings
from hypothesis import strategies as st

from crust.wire import frames, handshake, transfer

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
)
acks = st.builds(frames.Ack, numbers(64), numbers(32))


def _messages(size: int) -> st.SearchStrategy[list[bytes]]:
    """Few or many, of one length or of several: each takes its own way through the parser."""
    even = st.tuples(st.integers(0, size), st.integers(1, 40)).map(lambda pair: [b"m" * pair[0]] * pair[1])
    return st.one_of(st.lists(st.binary(max_size=size), min_size=1, max_size=40), even)


batches = st.builds(
    frames.Batch, first=numbers(64), kind=numbers(1), priority=numbers(8), messages=_messages(30)
)


@st.composite
def _pieces(draw: st.DrawFn) -> frames.Piece:
    data = draw(st.binary(min_size=1, max_size=300))
    return frames.Piece(
        number=draw(numbers(64)),
        kind=draw(numbers(1)),
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
