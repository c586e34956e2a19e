"""The rules of a file transfer, both ends, without a disk or a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crust import limits
from crust.exceptions import MalformedMessage
from crust.peers.transfer import (
    RECEIVER_TABLE,
    SENDER_TABLE,
    FileReceiver,
    FileSender,
    Fresh,
    ReceiverState,
    SenderState,
    first_number,
    is_ours,
    printable,
    short_text,
)
from crust.wire.transfer import (
    Accept,
    Done,
    End,
    Fail,
    FileData,
    Offer,
    Progress,
    Refuse,
    SignedEnd,
    SignedOffer,
    TransferMessage,
    build_transfer,
    parse_transfer_untrusted,
)

DIGEST = bytes(32)
STEP = limits.FILE_IN_FLIGHT // 4
ANY_MESSAGE: list[TransferMessage] = [
    Offer(7, 10, "a"),
    Accept(7),
    Refuse(7, "no"),
    FileData(7, 0, b"x"),
    End(7, DIGEST),
    Progress(7, 0),
    Done(7),
    Fail(7, "no"),
    SignedOffer(7, 10, "a"),
    SignedEnd(7, b"signed"),
]

MESSAGES = st.sampled_from(ANY_MESSAGE) | st.builds(
    FileData, st.just(7), st.integers(0, 12), st.binary(min_size=1)
)


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


def carry(sender: FileSender, receiver: FileReceiver) -> bytes:
    """Take all messages both ways, through their wire form, until neither end has more; what is to be written."""
    written = b""
    while True:
        forth, back = sender.messages_to_send(), receiver.messages_to_send()
        if not forth and not back:
            return written
        for message in forth:
            written += receiver.receive(parse_transfer_untrusted(build_transfer(message)))
        for message in back:
            sender.receive(parse_transfer_untrusted(build_transfer(message)))


def begun(size: int, name: str = "name") -> tuple[FileSender, FileReceiver]:
    """Both ends, the offer on the table."""
    sender = FileSender(7, size, name)
    (offer,) = sender.messages_to_send()
    assert isinstance(offer, Offer)
    return sender, FileReceiver(offer)


def accepted(size: int) -> tuple[FileSender, FileReceiver]:
    sender, receiver = begun(size)
    receiver.accept()
    carry(sender, receiver)
    assert sender.state is SenderState.SENDING
    return sender, receiver


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=2000), st.data())
def test_a_file_arrives_whole(content: bytes, data: st.DataObject) -> None:
    """Pieces of any size add up to the content; both ends are done, and have the same digest."""
    sender, receiver = accepted(len(content))
    written = b""
    while sender.sent < sender.size:
        size = data.draw(st.integers(1, sender.room))
        sender.send_data(content[sender.sent : sender.sent + size])
        written += carry(sender, receiver)
    sender.send_end()
    written += carry(sender, receiver)
    assert receiver.state is ReceiverState.COMPLETE
    receiver.finish()
    carry(sender, receiver)
    assert (written, sender.state, receiver.state) == (content, SenderState.DONE, ReceiverState.DONE)
    assert sender.digest == receiver.digest == digest(content)
    assert sender.over and receiver.over


def test_no_more_than_allowed_is_under_way() -> None:
    """Without a sign of the receiver FILE_IN_FLIGHT bytes may be sent; each quarter written makes room again."""
    size = 3 * limits.FILE_IN_FLIGHT
    sender, receiver = accepted(size)
    messages: list[TransferMessage] = []
    while sender.room:
        sender.send_data(bytes(min(limits.FILE_CHUNK, sender.room)))
        messages += sender.messages_to_send()
    assert sender.sent == limits.FILE_IN_FLIGHT
    with pytest.raises(ValueError, match="may be sent"):
        sender.send_data(b"x")
    reports = []
    for message in messages:
        receiver.receive(message)
        reports += [report for report in receiver.messages_to_send() if isinstance(report, Progress)]
    pieces = -(-STEP // limits.FILE_CHUNK)  # as many as it takes to fill a quarter
    assert [report.received for report in reports] == [n * pieces * limits.FILE_CHUNK for n in (1, 2, 3)]
    sender.receive(reports[0])
    assert sender.room == reports[0].received >= STEP


def test_progress_never_stops_a_sender() -> None:
    """However the pieces fall, the receiver reports before the sender has run out of room."""
    for piece in (1 << 14, limits.FILE_CHUNK, 61_111):
        sender, receiver = accepted(5 * limits.FILE_IN_FLIGHT)
        while sender.sent < sender.size:
            wanted = min(piece, sender.size - sender.sent)
            assert sender.room >= wanted
            sender.send_data(bytes(wanted))
            carry(sender, receiver)


def test_the_end_is_not_reported_twice() -> None:
    """DONE says that everything is written: no PROGRESS before it."""
    receiver = FileReceiver(Offer(7, STEP, "name"))
    receiver.accept()
    receiver.receive(FileData(7, 0, bytes(STEP)))
    assert receiver.messages_to_send() == [Accept(7)]


def test_an_empty_file_is_a_file() -> None:
    """No data, but an offer, an end and a checksum like any other."""
    sender, receiver = accepted(0)
    assert sender.room == 0
    sender.send_end()
    carry(sender, receiver)
    receiver.finish()
    carry(sender, receiver)
    assert sender.state is SenderState.DONE and receiver.digest == digest(b"")


def test_a_refusal_carries_its_reason() -> None:
    """The sender is told why; control characters in the text do no harm, and it is cut to what fits."""
    sender, receiver = begun(10)
    receiver.refuse("not\x1b[2Jnow " + "é" * 300)
    carry(sender, receiver)
    assert sender.state is SenderState.REFUSED and receiver.state is ReceiverState.REFUSED
    assert sender.reason.startswith("not\ufffd[2Jnow é") and len(sender.reason.encode()) <= 203


@pytest.mark.parametrize("who", ["sender", "receiver"])
@pytest.mark.parametrize("moment", ["offered", "under way", "ended"])
def test_either_side_may_give_up_at_any_time(who: str, moment: str) -> None:
    """The other one hears the reason; what was not sent yet is not sent any more."""
    sender, receiver = begun(10)
    if moment != "offered":
        receiver.accept()
        carry(sender, receiver)
        sender.send_data(bytes(5))
    if moment == "ended":
        sender.send_data(bytes(5))
        sender.send_end()
        carry(sender, receiver)
    (sender if who == "sender" else receiver).give_up("tired")
    carry(sender, receiver)
    assert sender.state is SenderState.FAILED and receiver.state is ReceiverState.FAILED
    assert "tired" in sender.reason and "tired" in receiver.reason
    assert sender.messages_to_send() == receiver.messages_to_send() == []


def test_giving_up_what_is_over_changes_nothing() -> None:
    """A finished transfer stays finished, and nobody is bothered."""
    sender, receiver = accepted(0)
    sender.send_end()
    carry(sender, receiver)
    receiver.finish()
    carry(sender, receiver)
    sender.give_up("late")
    receiver.give_up("late")
    assert (sender.state, receiver.state) == (SenderState.DONE, ReceiverState.DONE)
    assert sender.messages_to_send() == receiver.messages_to_send() == []


def lie_to_receiver(*messages: TransferMessage, size: int = 10) -> FileReceiver:
    """A receiver that has accepted a file and got these."""
    receiver = FileReceiver(Offer(7, size, "name"))
    receiver.accept()
    receiver.messages_to_send()
    for message in messages:
        receiver.receive(message)
    return receiver


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([FileData(7, 1, b"x")], "offset"),
        ([FileData(7, 0, b"x"), FileData(7, 0, b"x")], "offset"),
        ([FileData(7, 0, bytes(11))], "more than the 10 bytes"),
        ([FileData(7, 0, bytes(10)), FileData(7, 10, b"x")], "more than the 10 bytes"),
        ([FileData(7, 0, bytes(9)), End(7, digest(bytes(9)))], "9 of 10"),
        ([FileData(7, 0, bytes(10)), End(7, digest(bytes(11)))], "checksum"),
        ([FileData(7, 0, bytes(10)), End(7, digest(bytes(10))), FileData(7, 10, b"x")], "FileData"),
        ([Offer(7, 10, "again")], "Offer"),
        ([Progress(7, 0)], "Progress"),
        ([Done(7)], "Done"),
    ],
)
def test_a_lying_sender_loses_the_transfer(messages: list[TransferMessage], why: str) -> None:
    """What does not fit ends it, and the sender is told what did not."""
    receiver = lie_to_receiver(*messages)
    assert receiver.state is ReceiverState.FAILED
    (told,) = receiver.messages_to_send()
    assert isinstance(told, Fail) and why in told.text and why in receiver.reason
    assert receiver.receive(FileData(7, 0, b"x")) == b""


def test_a_sender_that_ignores_the_limit_loses_the_transfer() -> None:
    """What a slow disk has not written yet is bounded by us, not by the sender's manners."""
    size = 4 * limits.FILE_IN_FLIGHT
    messages = [FileData(7, 0, bytes(limits.FILE_IN_FLIGHT + 1))]
    assert "under way" in lie_to_receiver(*messages, size=size).reason
    messages = [FileData(7, 0, bytes(limits.FILE_IN_FLIGHT))]
    assert lie_to_receiver(*messages, size=size).state is ReceiverState.RECEIVING


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Progress(7, 6), "6 bytes received"),
        (Progress(7, 2), "2 bytes received"),
        (Done(7), "Done"),
        (Accept(7), "Accept"),
        (Refuse(7, ""), "Refuse"),
        (FileData(7, 0, b"x"), "FileData"),
    ],
    ids=str,
)
def test_a_lying_receiver_loses_the_transfer(message: TransferMessage, why: str) -> None:
    """Bytes it cannot have, progress backwards, and answers out of turn."""
    sender, _ = accepted(10)
    sender.send_data(bytes(5))
    sender.messages_to_send()
    sender.receive(Progress(7, 3))
    assert sender.state is SenderState.SENDING
    sender.receive(message)
    assert sender.state is SenderState.FAILED and why in sender.reason
    (told,) = sender.messages_to_send()
    assert isinstance(told, Fail)


@pytest.mark.parametrize("message", ANY_MESSAGE, ids=lambda message: type(message).__name__)
def test_the_tables_are_the_law(message: TransferMessage) -> None:
    """In every state, what the table does not list fails a live transfer, and nothing changes one that is over."""
    for sender_state in SenderState:
        sender = FileSender(7, 10, "name")
        sender.state = sender_state
        over = sender.over
        sender.receive(message)
        expected = SENDER_TABLE.get((sender_state, type(message)), SenderState.FAILED)
        assert sender.state is (sender_state if over else expected)
    for receiver_state in ReceiverState:
        if receiver_state is ReceiverState.RECEIVING and isinstance(message, End | SignedEnd):
            continue  # its content decides: tested above
        receiver = FileReceiver(Offer(7, 10, "name"))
        receiver.state = receiver_state
        over = receiver.over
        receiver.receive(message)
        following = RECEIVER_TABLE.get((receiver_state, type(message)), ReceiverState.FAILED)
        assert receiver.state is (receiver_state if over else following)


@pytest.mark.parametrize(
    "call",
    [
        lambda sender, receiver: receiver.finish(),
        lambda sender, receiver: sender.send_end(),
        lambda sender, receiver: sender.send_data(b"x"),
        lambda sender, receiver: (receiver.accept(), receiver.accept()),
        lambda sender, receiver: (receiver.accept(), receiver.refuse("late")),
        lambda sender, receiver: (receiver.accept(), carry(sender, receiver), sender.send_data(b"")),
        lambda sender, receiver: (receiver.accept(), carry(sender, receiver), sender.send_end()),
    ],
)
def test_our_own_mistakes_raise(call: Callable[[FileSender, FileReceiver], object]) -> None:
    """A call out of turn is a bug of the driver: an error at once, not a message to the peer."""
    sender, receiver = begun(10)
    with pytest.raises(ValueError):
        call(sender, receiver)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(ANY_MESSAGE)
        | st.builds(FileData, st.just(7), st.integers(0, 12), st.binary(min_size=1)),
        max_size=12,
    )
)
def test_no_sequence_of_messages_confuses_an_end(messages: list[TransferMessage]) -> None:
    """Whatever comes: no exception, never more than was offered is written, and at most one message of the end."""
    receiver = FileReceiver(Offer(7, 10, "name"))
    receiver.accept()
    written = b"".join(receiver.receive(message) for message in messages)
    assert len(written) == receiver.received <= 10
    assert sum(isinstance(message, Fail) for message in receiver.messages_to_send()) <= 1
    sender = FileSender(7, 10, "name")
    for message in messages:
        sender.receive(message)
        if sender.room:
            sender.send_data(bytes(sender.room))
    assert sender.confirmed <= sender.sent <= 10
    assert sum(isinstance(message, Fail) for message in sender.messages_to_send()) <= 1


def test_the_two_sides_number_their_files_apart() -> None:
    """The controller gives odd numbers, the other even ones; each knows its own."""
    assert (first_number(True), first_number(False)) == (1, 0)
    for number in (0, 1, 2, 3, 2**32 - 1):
        assert is_ours(number, True) is not is_ours(number, False)
        assert is_ours(number, True) is (number % 2 == 1)


@given(st.text(), st.integers(0, 50))
def test_texts_are_cut_at_a_character(text: str, size: int) -> None:
    """Never longer than asked, always the beginning."""
    cut = short_text(text, size)
    assert len(cut.encode()) <= size and text.startswith(cut)


@given(st.text())
def test_printable_text_is_harmless(text: str) -> None:
    """No control, no escape, no line end, no direction override; ordinary letters stay."""
    assert printable(text).isprintable() and len(printable(text)) == len(text)
    assert printable("naïve – 文") == "naïve – 文"


# --- signed files -----------------------------------------------------------------------------------------------------


def signed(
    size: int, verify: Callable[[bytes, bytes], bytes] | None = lambda signed, digest: b"proof" + signed
) -> tuple[FileSender, FileReceiver]:
    """Both ends of a file that is signed, accepted."""
    sender = FileSender(7, size, "name", lambda digest: b"signed " + digest)
    (offer,) = sender.messages_to_send()
    assert isinstance(offer, SignedOffer)
    receiver = FileReceiver(offer, verify)
    receiver.accept()
    carry(sender, receiver)
    return sender, receiver


def test_a_signed_file_arrives_with_its_proof() -> None:
    """The receiver sees what was signed, for the digest of what it has got."""
    sender, receiver = signed(4)
    assert receiver.signed and receiver.proof is None
    sender.send_data(b"data")
    sender.send_end()
    assert carry(sender, receiver) == b"data"
    assert receiver.state is ReceiverState.COMPLETE
    assert receiver.proof == b"proofsigned " + digest(b"data")


def test_a_signature_that_does_not_fit_costs_the_file() -> None:
    """As any lie does."""

    def refuse(signed: bytes, digest: bytes) -> bytes:
        raise MalformedMessage("its signature is wrong")

    sender, receiver = signed(0, refuse)
    sender.send_end()
    carry(sender, receiver)
    assert (receiver.state, receiver.proof) == (ReceiverState.FAILED, None)
    assert "its signature is wrong" in receiver.reason
    assert sender.state is SenderState.FAILED


def test_what_was_to_be_signed_must_be() -> None:
    """And what was not must not: the receiver has decided by that."""
    _, receiver = signed(0)
    receiver.receive(End(7, digest(b"")))
    assert receiver.state is ReceiverState.FAILED
    assert "was to be signed" in receiver.reason
    _, plain = accepted(0)
    plain.receive(SignedEnd(7, b"signed"))
    assert plain.state is ReceiverState.FAILED
    assert "was not to be signed" in plain.reason


def test_the_end_of_a_signed_file_comes_at_its_end() -> None:
    """Not before all bytes are there."""
    _, receiver = signed(4)
    receiver.receive(SignedEnd(7, b"signed"))
    assert receiver.state is ReceiverState.FAILED


def test_numbers_of_signed_files_are_taken_once() -> None:
    """In any order within reason; memory is bounded, and what is too old counts as known."""
    fresh = Fresh()
    assert [fresh.take(number) for number in (4, 2, 4, 6, 2, 0, 0)] == [True, True, False, True, False, True, False]
    for number in range(8, 8 + 4 * limits.FILE_SIGNED_MEMORY, 2):
        assert fresh.take(number)
    assert not any(fresh.take(number) for number in (1, 3, 8, 4 * limits.FILE_SIGNED_MEMORY))
    assert len(fresh._seen) <= limits.FILE_SIGNED_MEMORY
