"""The handshake of a stream: who gets through, who is told why not, and who gets no byte at all."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.addresses import PeerId
from crust.crypto import handshake
from crust.crypto.handshake import (
    INITIATOR_TABLE,
    RESPONDER_TABLE,
    AnswerDenied,
    AnswerReceived,
    Event,
    HandshakeConfig,
    HandshakeResult,
    HelloImpossible,
    HelloReceived,
    Initiator,
    IntroductionReceived,
    Responder,
    SaltMemory,
    Secret,
    SelfIntroduced,
    State,
)
from crust.crypto.identity import KeyPair
from crust.crypto.noise import HandshakeState
from crust.crypto.records import RecordOpener, RecordSealer
from crust.exceptions import ContactSyntaxError, LocalProtocolError, MalformedMessage
from crust.wire.handshake import (
    Accepted,
    Aead,
    DenialCode,
    Hello,
    Refused,
    build_answer,
    build_hello,
)
from tests.support.handshakes import (
    ALICE,
    BOB,
    BOTH_AEADS,
    CAROL,
    NETWORK,
    NEW,
    OLD,
    OPEN,
    SEEN,
    config,
    introduction,
    responder_of,
)


def twin(peer_id: PeerId) -> PeerId:
    """The other id with the same X25519 key: only the sign of x differs."""
    key = peer_id.public_key
    return PeerId(key[:31] + bytes((key[31] ^ 0x80,)))


def one(events: list[Event]) -> Event:
    (event,) = events
    return event


def meet(
    caller: HandshakeConfig,
    called: HandshakeConfig,
    *,
    to: PeerId | None = None,
    seed: int = 1,
    step: int = 1 << 20,
    secret_index: int = 0,
    claim: KeyPair | None = None,
) -> tuple[Initiator, Responder, Event, bytes]:
    """A whole handshake, fed in pieces of ``step`` bytes; returns both sides, the last event, and all bytes."""
    initiator = Initiator(
        caller, to or called.key_pair.peer_id, random.Random(seed).randbytes, secret_index=secret_index
    )
    responder = responder_of(called, seed + 1_000_000)

    def pour(side: Initiator | Responder, data: bytes) -> Event:
        events = [event for at in range(0, len(data), step) for event in side.receive(data[at : at + step])]
        return one(events)

    first = initiator.start()
    assert isinstance(pour(responder, first), HelloReceived)
    second = responder.answer(SEEN)
    answer = pour(initiator, second)
    if isinstance(answer, AnswerDenied):
        return initiator, responder, answer, first + second
    third = initiator.introduce(introduction(claim or caller.key_pair))
    return initiator, responder, pour(responder, third), first + second + third


def results(initiator: Initiator, responder: Responder) -> tuple[HandshakeResult, HandshakeResult]:
    assert initiator.result is not None and responder.result is not None
    return initiator.result, responder.result


@pytest.mark.parametrize("secrets", [OPEN, (NEW,), (NEW, OLD)], ids=["open", "secret", "rotating"])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_both_sides_are_proven_and_agree(secrets: tuple[Secret, ...], step: int) -> None:
    """Each side knows the other's id, and both have the same keys, crossed, however the bytes arrive."""
    initiator, responder, event, _ = meet(config(ALICE, secrets), config(BOB, secrets), step=step)
    ours, theirs = results(initiator, responder)
    assert (ours.peer_id, theirs.peer_id) == (BOB.peer_id, ALICE.peer_id)
    assert isinstance(event, IntroductionReceived)
    assert event.peer_id == ALICE.peer_id and event.introduction == introduction(ALICE)
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert ours.send_key != ours.receive_key and ours.hash == theirs.hash and len(ours.hash) == 64
    assert ours.aead == theirs.aead == Aead.AEGIS_256
    assert ours.version == theirs.version == 1
    assert initiator.state is responder.state is State.DONE
    sealer = RecordSealer(ours.send_key, ours.hash, ours.aead)
    assert list(RecordOpener(theirs.receive_key, theirs.hash, theirs.aead).receive(sealer.seal(b"hi"))) == [
        b"hi"
    ]


def test_the_responder_tells_what_it_chose_and_what_it_sees() -> None:
    """Message 2 carries version, AEAD and the caller's observed address; message 1 tells nothing of the caller."""
    initiator, responder = Initiator(config(ALICE), BOB.peer_id), responder_of(config(BOB))
    hello = one(responder.receive(initiator.start()))
    assert isinstance(hello, HelloReceived)
    assert (hello.hello.versions, hello.hello.network_id, hello.hello.aeads) == ((1,), NETWORK, BOTH_AEADS)
    answer = one(initiator.receive(responder.answer(SEEN)))
    assert answer == AnswerReceived(Accepted(1, Aead.AEGIS_256, SEEN))


@pytest.mark.parametrize("who", ["caller", "called"])
def test_without_aes_on_either_side_it_is_chacha(who: str) -> None:
    """AEGIS-256 only if both do it well."""
    weak = (Aead.CHACHA20_POLY1305,)
    caller = config(ALICE, aeads=weak if who == "caller" else BOTH_AEADS)
    called = config(BOB, aeads=weak if who == "called" else BOTH_AEADS)
    ours, theirs = results(*meet(caller, called)[:2])
    assert ours.aead == theirs.aead == Aead.CHACHA20_POLY1305


def test_the_highest_common_version_is_taken() -> None:
    """1 and 3 are common: 3."""
    ours, theirs = results(*meet(config(ALICE, versions=(1, 2, 3)), config(BOB, versions=(1, 3, 4)))[:2])
    assert ours.version == theirs.version == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"versions": (2,)}, DenialCode.VERSION),
        ({"network_id": b"x" * 32}, DenialCode.NETWORK),
        ({"aeads": (77,)}, DenialCode.VERSION),
        ({"versions": (2,), "network_id": b"x" * 32}, DenialCode.VERSION),
    ],
    ids=["version", "network", "aead", "both"],
)
def test_a_refusal_says_why_and_ends_the_handshake(changes: dict[str, object], code: DenialCode) -> None:
    """Version and network are told in message 2; there are no keys afterwards, and further bytes are ignored."""
    initiator, responder, event, _ = meet(config(ALICE, **changes), config(BOB))
    assert event == AnswerDenied(code) and responder.denied == code
    assert initiator.result is None and responder.result is None
    assert initiator.state is responder.state is State.DENIED
    assert initiator.receive(b"more") == [] and responder.receive(b"more") == []
    with pytest.raises(LocalProtocolError):
        initiator.introduce(introduction(ALICE))


# --- who gets no byte -------------------------------------------------------------------------------------------------


def is_silent(responder: Responder, data: bytes, step: int = 1 << 20) -> bool:
    """True if the responder fails, or reads on for ever, without anything that it could send."""
    try:
        for at in range(0, len(data), step):
            if any(not isinstance(event, HelloImpossible) for event in responder.receive(data[at : at + step])):
                return False
    except MalformedMessage:
        assert responder.state is State.FAILED
    with pytest.raises(LocalProtocolError):
        responder.answer(SEEN)
    return True


@given(data=st.binary(max_size=1100), step=st.sampled_from([1, 18, 5000]))
def test_garbage_gets_no_byte(data: bytes, step: int) -> None:
    """Whatever a stranger sends: MalformedMessage or silence, no other error, never an answer."""
    for secrets in (OPEN, (NEW, OLD)):
        assert is_silent(responder_of(config(BOB, secrets)), data, step)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 40, bytes(2000), b"\x16\x03\x01\x02\x00" * 300]
)
def test_other_protocols_get_no_byte(data: bytes) -> None:
    """HTTP, zeros, TLS."""
    assert is_silent(responder_of(config(BOB)), data)


def test_a_caller_who_means_somebody_else_gets_no_byte() -> None:
    """The id must be known: message 1 to Carol is noise to Bob."""
    assert is_silent(responder_of(config(BOB)), Initiator(config(ALICE), CAROL.peer_id).start() + bytes(1100))


def test_the_twin_of_the_responders_id_gets_no_byte() -> None:
    """Two ids share one X25519 key; only the one that is ours is answered."""
    message = Initiator(config(ALICE), twin(BOB.peer_id)).start()
    assert is_silent(responder_of(config(BOB)), message + bytes(1100))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(OPEN, (NEW,)), ((NEW,), OPEN), ((OLD,), (NEW,)), ((Secret(NEW.psk, OLD.gate),), (NEW,))],
    ids=["none", "needless", "wrong", "wrong gate"],
)
def test_without_the_networks_secret_no_byte(theirs: tuple[Secret, ...], ours: tuple[Secret, ...]) -> None:
    """A closed network does not show itself, and an open one has no secret."""
    assert is_silent(
        responder_of(config(BOB, ours)), Initiator(config(ALICE, theirs), BOB.peer_id).start() + bytes(1100)
    )


def test_the_right_gate_with_another_psk_fails_at_message_3() -> None:
    """The gate only hides; it is the psk that proves membership, and it is mixed in with the caller's identity."""
    with pytest.raises(MalformedMessage):
        meet(config(ALICE, (Secret(OLD.psk, NEW.gate),)), config(BOB, (NEW,)))


def test_a_replayed_message_1_gets_no_byte() -> None:
    """A salt is good once in a node, on whatever stream; also when both streams are under way at once."""
    salts = SaltMemory()
    message = Initiator(config(ALICE), BOB.peer_id).start()
    slow = responder_of(config(BOB), salts=salts)
    assert slow.receive(message[:30]) == []
    assert isinstance(one(responder_of(config(BOB), salts=salts).receive(message)), HelloReceived)
    assert is_silent(slow, message[30:])
    assert is_silent(responder_of(config(BOB), salts=salts), message)


def test_a_replay_is_noticed_by_its_salt_before_any_work() -> None:
    """Salt and length are enough; the key is not waited for, and nothing is computed with it."""
    salts = SaltMemory()
    message = Initiator(config(ALICE), BOB.peer_id).start()
    responder_of(config(BOB), salts=salts).receive(message)
    [event] = responder_of(config(BOB), salts=salts).receive(message[:18])
    assert isinstance(event, HelloImpossible) and "before" in event.why


def test_a_salt_counts_only_with_a_valid_message_1() -> None:
    """Who does not know us cannot fill the memory, nor burn the salt of a caller it watches."""
    salts = SaltMemory()
    message = Initiator(config(ALICE), BOB.peer_id).start()
    assert is_silent(responder_of(config(BOB), salts=salts), message[:16] + bytes(1100))
    assert len(salts) == 0
    assert isinstance(one(responder_of(config(BOB), salts=salts).receive(message)), HelloReceived)


def test_the_memory_of_salts_is_bounded_and_forgets_the_oldest() -> None:
    """The last N, exactly."""
    salts = SaltMemory(capacity=3)
    assert [salts.add(salt) for salt in (b"a", b"b", b"a", b"c", b"d")] == [True, True, False, True, True]
    assert len(salts) == 3 and salts.forgotten == 1
    assert [salt in salts for salt in (b"a", b"b", b"c", b"d")] == [False, True, True, True]
    assert len(SaltMemory()._order) == 0 and SaltMemory()._order.maxlen == limits.SALT_MEMORY == 65_536


@pytest.mark.parametrize("secrets", [OPEN, (NEW,)], ids=["open", "secret"])
def test_the_layout_is_the_documented_one(secrets: tuple[Secret, ...]) -> None:
    """Masks, prologue, lengths and paddings as docs/wire-format.md says, taken apart here in another way."""
    psk, gate = secrets[0] if secrets else (None, bytes(32))
    initiator = Initiator(config(ALICE, secrets), BOB.peer_id)
    key = BOB.peer_id.public_key
    noise = HandshakeState(False, BOB.dh_private, BOB.dh_public, None, b"crust/1\0" + key + gate, psk)

    def unmask(data: bytes, start: int, size: int) -> bytes:
        return bytes(a ^ b for a, b in zip(data[:size], mask[start : start + size], strict=True))

    def body(payload: bytes) -> bytes:
        return payload[2 : 2 + int.from_bytes(payload[:2], "big")]

    first = initiator.start()
    mask = hashlib.shake_128(b"crust/1 mask" + first[:16] + key + gate).digest(70)
    assert int.from_bytes(unmask(first[16:], 0, 2), "big") == len(first) - 18
    payload = noise.read_message(unmask(first[18:], 2, 32) + first[50:])
    assert body(payload) == build_hello(Hello((1,), NETWORK, BOTH_AEADS))
    message = noise.write_message(b"\0\x02" + build_answer(Refused(DenialCode.BUSY)) + b"padding")
    second = unmask(len(message).to_bytes(2, "big"), 34, 2) + unmask(message, 36, 32) + message[32:]
    assert initiator.receive(second) == [AnswerDenied(DenialCode.BUSY)]


# --- changes on the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [OPEN, (NEW,)], ids=["open", "secret"])
def test_every_changed_byte_of_message_1_is_silence(secrets: tuple[Secret, ...]) -> None:
    """Salt, length, key and ciphertext: a change anywhere gets no byte."""
    message = Initiator(config(ALICE, secrets), BOB.peer_id, random.Random(5).randbytes).start()
    for at, bit in itertools.product(range(len(message)), (0x01, 0x80)):
        changed = bytearray(message)
        changed[at] ^= bit
        assert is_silent(responder_of(config(BOB, secrets)), bytes(changed))


def test_every_changed_byte_of_message_2_is_malformed() -> None:
    """The caller notices, and does not introduce itself."""
    size = 1000
    at = 0
    while at < size:
        initiator, responder = Initiator(config(ALICE), BOB.peer_id), responder_of(config(BOB), seed=3)
        responder.receive(initiator.start())
        message = bytearray(responder.answer(SEEN))
        size = len(message)
        message[at] ^= 0x80
        with pytest.raises(MalformedMessage):
            if initiator.receive(bytes(message)) == []:
                initiator.receive(bytes(1100))  # a changed length waits for its bytes
        with pytest.raises(LocalProtocolError):
            initiator.introduce(introduction(ALICE))
        at += 1


def test_every_changed_byte_of_message_3_is_malformed() -> None:
    """The responder notices, and has no result."""
    size = 1000
    at = 0
    while at < size:
        initiator = Initiator(config(ALICE), BOB.peer_id, random.Random(4).randbytes)
        responder = responder_of(config(BOB), seed=3)
        responder.receive(initiator.start())
        initiator.receive(responder.answer(SEEN))
        message = bytearray(initiator.introduce(introduction(ALICE)))
        size = len(message)
        message[at] ^= 0x80
        with pytest.raises(MalformedMessage):
            if responder.receive(bytes(message)) == []:
                responder.receive(bytes(1100))
        assert responder.result is None
        at += 1


def test_an_impostor_with_another_key_cannot_answer() -> None:
    """Somebody else at the called address: not even its message 2 is taken for one."""
    initiator, elsewhere = Initiator(config(ALICE), BOB.peer_id), Initiator(config(ALICE), CAROL.peer_id)
    initiator.start()
    carol = responder_of(config(CAROL))
    carol.receive(elsewhere.start())
    with pytest.raises(MalformedMessage):
        initiator.receive(carol.answer(SEEN) + bytes(1100))


def test_an_answer_that_was_not_offered_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A responder cannot choose an AEAD or a version that the caller did not offer."""
    monkeypatch.setattr(handshake, "choose_aead", lambda offered, own: Aead.AEGIS_256)
    with pytest.raises(MalformedMessage, match="did not offer"):
        meet(config(ALICE, aeads=(Aead.CHACHA20_POLY1305,)), config(BOB))


# --- who the caller is ------------------------------------------------------------------------------------------------


def test_a_caller_cannot_claim_anothers_id() -> None:
    """The id in message 3 must convert to the static key that Noise has proven."""
    with pytest.raises(MalformedMessage, match="not the one"):
        meet(config(ALICE), config(BOB), claim=CAROL)


def test_an_id_that_is_no_key_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bytes off the curve are nobody."""
    liar = KeyPair(b"l" * 32)
    liar.peer_id = PeerId(b"\x02" + bytes(31))
    with pytest.raises(MalformedMessage, match="no key"):
        meet(config(ALICE), config(BOB), claim=liar)


def test_calling_oneself_is_noticed() -> None:
    """The responder sees its own key, has keys to say Denied(self) with, and raises nothing."""
    initiator, responder, event, _ = meet(config(ALICE), config(ALICE))
    assert event == SelfIntroduced(introduction(ALICE))
    ours, theirs = results(initiator, responder)
    assert ours.receive_key == theirs.send_key


def test_calling_oneself_under_the_twin_id_is_noticed_too() -> None:
    """The id with the other sign has our key, so it is us."""
    other = KeyPair(b"\x01" * 32)
    other.peer_id = twin(ALICE.peer_id)
    *_, event, _ = meet(config(ALICE), config(ALICE), claim=other)
    assert isinstance(event, SelfIntroduced)


def test_nobody_can_be_called_under_an_id_that_is_no_key() -> None:
    """A well-formed id off the curve is told before anything is dialled."""
    with pytest.raises(ContactSyntaxError, match="no key"):
        Initiator(config(ALICE), PeerId(b"\x02" + bytes(31)))


# --- rotation of secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "index", "called"),
    [((NEW, OLD), 0, (NEW, OLD)), ((OLD,), 0, (NEW, OLD)), ((NEW, OLD), 1, (OLD,)), ((NEW, OLD), 0, (NEW,))],
)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_two_secrets_are_valid_at_once(
    caller: tuple[Secret, ...], index: int, called: tuple[Secret, ...], step: int
) -> None:
    """While a new secret is handed out, nodes that have it and nodes that do not yet still meet."""
    for seed in range(20):  # the masked length may look possible under the other secret too
        meet(config(ALICE, caller), config(BOB, called), secret_index=index, step=step, seed=seed)


# --- order ------------------------------------------------------------------------------------------------------------


def test_bytes_after_the_handshake_belong_to_the_records() -> None:
    """What came in the same read as message 3 is kept."""
    initiator, responder = Initiator(config(ALICE), BOB.peer_id), responder_of(config(BOB))
    responder.receive(initiator.start())
    initiator.receive(responder.answer(SEEN))
    assert responder.leftover == initiator.leftover == b""
    responder.receive(initiator.introduce(introduction(ALICE)) + b"records")
    assert responder.leftover == b"records" and initiator.leftover == b""
    with pytest.raises(LocalProtocolError):
        responder.receive(b"more")


def test_speaking_out_of_turn_is_malformed() -> None:
    """Bytes before an answer that they cannot answer to."""
    initiator, responder = Initiator(config(ALICE), BOB.peer_id), responder_of(config(BOB))
    responder.receive(initiator.start())
    with pytest.raises(MalformedMessage):
        responder.receive(b"x")
    assert is_silent(responder_of(config(BOB)), Initiator(config(ALICE), BOB.peer_id).start() + b"x")
    for early in (True, False):
        initiator, responder = Initiator(config(ALICE), BOB.peer_id), responder_of(config(BOB))
        responder.receive(initiator.start())
        answer = responder.answer(SEEN)
        with pytest.raises(MalformedMessage):
            if early:
                initiator.receive(answer + b"x")
            else:
                initiator.receive(answer)
                initiator.receive(b"x")


def test_calls_out_of_order_are_refused() -> None:
    """The tables say what may happen when; the rest is LocalProtocolError."""
    initiator, responder = Initiator(config(ALICE), BOB.peer_id), responder_of(config(BOB))
    with pytest.raises(LocalProtocolError):
        initiator.receive(b"x")
    with pytest.raises(LocalProtocolError):
        initiator.introduce(introduction(ALICE))
    with pytest.raises(LocalProtocolError):
        responder.answer(None)
    initiator.start()
    with pytest.raises(LocalProtocolError):
        initiator.start()


@pytest.mark.parametrize("table", [INITIATOR_TABLE, RESPONDER_TABLE], ids=["initiator", "responder"])
def test_every_state_of_a_table_can_be_reached_and_ends(table: dict[tuple[State, object], State]) -> None:
    """No state without a way in, and from each a way to the end."""
    ends = {State.DONE, State.DENIED, State.FAILED}
    start = next(iter(table))[0]
    reached, fresh = {start}, {start}
    while fresh:
        fresh = {after for (before, _), after in table.items() if before in fresh} - reached
        reached |= fresh
    assert reached == {before for before, _ in table} | ends


# --- what shows of secrets --------------------------------------------------------------------------------------------


def test_nothing_shows_or_pickles_a_secret() -> None:
    """repr of config, secrets, key pairs and results has no key in it."""
    initiator, responder, *_ = meet(config(ALICE, (NEW,)), config(BOB, (NEW,)))
    ours, _ = results(initiator, responder)
    shown = repr((ours, config(ALICE, (NEW,)), NEW, ALICE, initiator, responder))
    for secret in (ours.send_key, ours.receive_key, NEW.psk, NEW.gate, ALICE.dh_private, b"\x01" * 32):
        assert repr(secret)[2:-1] not in shown and secret.hex() not in shown
    for secret_value in (config(ALICE), NEW, ours):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(secret_value, protocol)
