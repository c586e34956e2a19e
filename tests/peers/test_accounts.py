"""What a peer may cost without bringing anything: on a clock that the test turns."""

from __future__ import annotations

import gc
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crust import limits
from crust.peers.accounts import Account, Accounts, Burden
from crust.peers.meter import Meter
from crust.peers.misdeeds import HELD_BACK, KINDS
from crust.peers.purses import Purse
from crust.peers.session import Session, Settings
from crust.wire import frames
from crust.wire.transfer import FileData, Offer, SignedEnd, build_transfer

SHARE = 0.15


def a_session() -> Session:
    session = Session(Settings(), window=1 << 23, now=0.0, uniform=lambda: 0.5, rtt=None)
    session.attach(0, 1 << 23, 0.0)
    return session


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.1)), min_size=1, max_size=100))
def test_nobody_gets_more_than_its_share(work: list[tuple[float, float]]) -> None:
    """However work comes: at most what was saved is done, and the share of the time."""
    account = Account(SHARE, 0.0)
    now = spent = 0.0
    for pause, cost in work:
        now += pause
        wait = account.wait(now)
        assert wait >= 0
        now += wait
        assert account.wait(now) == pytest.approx(0.0, abs=1e-6)
        assert spent <= limits.OVERHEAD_SAVED + SHARE * now + 1e-6
        account.spend(Burden.ACK, cost)
        spent += cost


def test_what_it_went_on_is_known_until_the_account_is_full() -> None:
    """It names the kind of misbehaviour."""
    account = Account(SHARE, 0.0)
    account.spend(Burden.TINY, 0.2)
    account.spend(Burden.KEY, 0.4)
    assert account.worst.kind == "key-update-flood" and account.wait(0.0) > 0
    assert account.wait(10.0) == 0.0
    account.spend(Burden.TINY, 0.1)
    assert account.worst.kind == "tiny-records"


def test_seconds_held_back_are_counted_once() -> None:
    """Waits that overlap are one; what passes between two of them is not counted."""
    account = Account(SHARE, 0.0)
    assert account.count(0.6, 10.0) == pytest.approx(0.6)
    assert account.count(0.5, 10.1) == 0.0
    assert account.count(0.5, 10.3) == pytest.approx(0.2)
    assert account.count(0.1, 10.4) == 0.0
    assert account.count(0.5, 20.0) == pytest.approx(0.5)


def test_every_burden_has_its_kind() -> None:
    """And every kind of what is held back its burden."""
    assert {each.kind for each in Burden} == {kind.name for kind in KINDS.values() if kind.unit == HELD_BACK}


def test_a_held_and_an_excused_account() -> None:
    """One waits whatever it has, the other does not wait whatever it owes."""
    account = Account(SHARE, 0.0)
    account.hold(3.0)
    assert account.wait(1.0) == 2.0 and account.wait(3.0) == 0.0
    account.spend(Burden.ACK, 5.0)
    assert account.wait(3.0) > 1.0
    account.excuse(10.0)
    assert account.wait(4.0) == 0.0
    account.spend(Burden.ACK, 5.0)
    assert account.wait(9.9) == 0.0
    account.spend(Burden.ACK, 5.0)
    assert account.wait(10.0) > 0.0


def test_an_account_outlives_its_session_and_there_are_not_too_many() -> None:
    """Who comes back finds it as it was, unless a crowd has come since."""
    accounts = Accounts(SHARE)
    first = accounts.of("peer", 0.0)
    first.spend(Burden.ACK, 0.01)
    assert accounts.of("peer", 1.0) is first
    for number in range(limits.MISDEEDS_KEPT):
        accounts.of(number, 1.0)
    assert accounts.of("peer", 1.0) is not first
    assert len(accounts._accounts) == limits.MISDEEDS_KEPT and accounts.forgotten == 2


def test_who_is_in_debt_is_not_forgotten_for_a_crowd() -> None:
    """Nor for one that is not; if all are, the one that came first is."""
    accounts = Accounts(SHARE)
    accounts.kept = 20
    debtor, held = accounts.of("debtor", 0.0), accounts.of("held", 0.0)
    debtor.spend(Burden.ACK, 1.0)
    held.hold(10.0)
    for number in range(100):
        accounts.of(number, 1.0)
    assert accounts.of("debtor", 1.0) is debtor and accounts.of("held", 1.0) is held
    assert len(accounts._accounts) == 20
    for number in range(100):
        accounts.of(number, 20.0)  # by then they owe nothing
    assert accounts.of("debtor", 20.0) is not debtor
    for number in range(40):
        accounts.of(("poor", number), 21.0).spend(Burden.ACK, 1.0)
    assert set(accounts._accounts) == {("poor", number) for number in range(20, 40)}


def test_who_comes_with_ever_new_keys_gets_little_of_each() -> None:
    """Nothing else is known of it."""
    accounts = Accounts(SHARE)
    spent = 0.0
    for key in range(20):  # as many sessions as one address may begin in a second
        account = accounts.of(key, 0.0)
        while not account.wait(0.0):
            account.spend(Burden.ACK, 1e-3)
            spent += 1e-3
    assert spent < 0.5  # of a core


def test_where_nothing_is_metered_nobody_waits() -> None:
    """On a virtual clock work takes no time."""
    account = Accounts(math.inf).of("peer", 0.0)
    account.spend(Burden.ACK, 100.0)
    assert account.wait(0.0) == 0.0


class World:
    """A session, and what its records cost."""

    def __init__(self) -> None:
        self.session = a_session()
        self.meter = Meter(Account(SHARE, 0.0), self.session)

    def cost(self, *records: list[frames.Frame]) -> float:
        """Of these, received together."""
        before = self.meter.account.balance
        for record in records:
            self.session.receive_frames(record, 0.0)
        self.meter.received(list(records))
        return before - self.meter.account.balance

    def send(self, messages: int) -> None:
        """The application says something."""
        for _ in range(messages):
            self.session.outbox.push(b"answer", 1, 0, 0.0)
        while self.session.record_to_send(0.0) is not None:
            pass


def batch(first: int, count: int = 1, size: int = 1) -> list[frames.Frame]:
    return [frames.Batch(first, 0, 1, [bytes(size)] * count)]


ACK: list[frames.Frame] = [frames.Ack(0, 1 << 20)]


def test_data_is_free() -> None:
    """Large messages, and many small ones in a record."""
    world = World()
    assert world.cost(batch(0, 1, 500), batch(1, 1, 5000), batch(2, 600, 100)) == 0.0
    assert world.cost([frames.Piece(602, 0, 1, 0, True, False, 100_000, bytes(60_000))]) == 0.0


def test_a_small_record_that_is_answered_is_free() -> None:
    """Before or after: who asks and waits is not slowed, however often."""
    world = World()
    first = world.cost(batch(0))
    assert first > 0
    for number in range(1, 100):
        world.send(1)
        assert world.cost([*ACK, *batch(number)]) == 0.0


def test_a_small_record_costs_little_and_a_flood_much() -> None:
    """Alone it was also waited for; with many, each is counted."""
    alone = World().cost(batch(0))
    together = World().cost(*(batch(number) for number in range(100)))
    assert 0 < alone <= limits.COST_READ + limits.COST_RECORD
    assert 50 * limits.COST_RECORD < together < 100 * alone


def test_what_had_come_before_costs() -> None:
    """By its size, too; and is told as what it is."""
    world = World()
    big = batch(0, 500, 100)
    assert world.cost(big) == 0.0
    world.meter._saved = 0.0
    assert world.cost(big) > limits.COST_RECORD + 50_000 * limits.COST_BYTE
    assert world.meter.account.worst is Burden.DUPLICATE


def test_a_record_full_of_words_costs_more_than_one() -> None:
    """Its frames are counted, though it brings a message, too."""
    world = World()
    few, many = world.cost(ACK), world.cost([*ACK * 3000, *batch(0, 10, 100)])
    assert many > 100 * few / 2
    world = World()
    world.cost(ACK)
    assert world.meter.account.worst.kind == "ack-flood"
    world.cost([frames.Ping(1)])
    assert world.meter.account.worst.kind == "heartbeat-flood"


def test_a_record_full_of_batches_costs_more_than_one_full_of_words() -> None:
    """Each of them is handed over by itself, however little is in it; the first of a record is the record's."""
    number, count = 0, 1000

    def batches() -> list[frames.Frame]:
        nonlocal number
        number += count
        return [frames.Batch(number - count + i, 0, i % 2, [b""]) for i in range(count)]

    world = World()
    assert world.cost(batches()) >= (count - 4) * (limits.COST_FRAME + limits.COST_BATCH)
    assert World().cost(batch(0, count, 0)) == 0.0


def test_what_stands_alone_in_its_record_costs() -> None:
    """What is asked costs most; a circuit's data is free like other data."""
    for frame, burden in (
        (frames.KeyUpdate(), Burden.KEY),
        (frames.EchoRequest(1, frames.EchoTransport.TCP, 4711, bytes(12)), Burden.REQUEST),
        (frames.CircuitData(1, b"x"), Burden.REQUEST),
    ):
        meter = World().meter
        meter.control(frame)
        assert meter.account.worst is burden and meter.account.balance < limits.OVERHEAD_BEGUN
    meter = World().meter
    meter.control(frames.CircuitData(1, bytes(60_000)))
    assert meter.account.balance == limits.OVERHEAD_BEGUN


def test_a_signature_costs_unless_it_is_answered_or_comes_with_data() -> None:
    """As many as the application has sent are free, before or after; so is a long message."""
    world = World()
    meter = world.meter
    begun = meter.account.balance
    meter.signatures([bytes(limits.SIGNED_WORTH_BYTES)] * 100)
    assert meter.account.balance == begun
    meter.signatures([b""] * 7)
    assert meter.account.balance == pytest.approx(begun - 7 * limits.COST_SIGNATURE)
    meter.signatures([bytes(limits.SIGNED_WORTH_BYTES // 4)])
    assert meter.account.balance == pytest.approx(begun - 7.75 * limits.COST_SIGNATURE)
    assert meter.account.worst.kind == "signature-flood"
    world.send(10)
    for _ in range(10):
        meter.signatures([b""])
    assert meter.account.balance == pytest.approx(begun - 7.75 * limits.COST_SIGNATURE)
    meter.signatures([b""])
    assert meter.account.balance == pytest.approx(begun - 8.75 * limits.COST_SIGNATURE)


def test_the_signature_of_a_file_costs_besides_its_word() -> None:
    """It is verified like that of a message."""
    meter = World().meter
    begun = meter.account.balance
    meter.file_words([build_transfer(SignedEnd(1, bytes(200)))], 0)
    spent = begun - meter.account.balance
    assert spent == pytest.approx(limits.COST_FILE_WORD + limits.COST_SIGNATURE)
    assert meter.account.worst is Burden.FILE


def test_words_about_files_cost_and_files_do_not() -> None:
    """However long a word is: only bytes of the file pay for a message, and only if there are enough."""
    meter = World().meter
    begun = meter.account.balance
    meter.file_words([build_transfer(FileData(1, 0, bytes(60_000)))] * 10, 0)
    assert meter.account.balance == begun
    words = [
        build_transfer(Offer(1, 1 << 20, "n" * 1000)),
        build_transfer(FileData(1, 0, b"x")),
        build_transfer(FileData(2, 0, bytes(60_000))),  # of a file that we send
        b"word",
        b"",
    ]
    for number, word in enumerate(words, 1):
        meter.file_words([word], 0)
        assert meter.account.balance == pytest.approx(begun - number * limits.COST_FILE_WORD)
    assert meter.account.worst is Burden.FILE


def test_the_longer_of_two_reasons_to_wait_counts() -> None:
    """Debts, and a verdict."""
    account = Account(SHARE, 0.0)
    account.spend(Burden.ACK, account.balance + 0.15)
    assert account.wait(0.0) == pytest.approx(1.0)
    account.hold(8.0)
    assert account.wait(0.0) == 8.0
    account.hold(0.5)
    assert account.wait(0.0) == pytest.approx(1.0)


def test_a_verdict_counts_where_nothing_is_metered() -> None:
    """As on a network in memory: whoever is to be throttled there is."""
    account = Account(math.inf, 0.0)
    account.spend(Burden.ACK, 5.0)
    assert account.wait(1.0) == 0.0
    account.hold(8.0)
    assert account.wait(1.0) == 7.0 and account.wait(9.0) == 0.0


def test_an_excuse_leaves_no_debts() -> None:
    """Nor does what was to be waited for count any more."""
    account = Account(SHARE, 0.0)
    account.hold(20.0)
    account.excuse(10.0)
    account.spend(Burden.ACK, 5.0)
    assert account.wait(9.9) == 0.0
    assert account.balance == limits.OVERHEAD_SAVED and account.wait(10.0) == 0.0


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    """Nor is time counted twice when it comes to where it was."""
    account = Account(SHARE, 10.0)
    account.spend(Burden.ACK, account.balance + 0.3)
    assert account.wait(10.0) == account.wait(5.0) == account.wait(10.0) == pytest.approx(2.0)


def test_a_shorter_wait_does_not_end_a_longer_one() -> None:
    """What of it has been counted is not counted again."""
    account = Account(SHARE, 0.0)
    assert account.count(1.0, 0.0) == 1.0
    assert account.count(0.1, 0.0) == 0.0
    assert account.count(1.0, 0.0) == 0.0


def test_who_comes_back_has_the_share_of_now() -> None:
    """The configuration may have changed, and it is among those that came last."""
    accounts = Accounts(SHARE)
    accounts.kept = 2
    one = accounts.of("one", 0.0)
    accounts.of("two", 0.0)
    accounts.share = 2 * SHARE
    assert accounts.of("one", 1.0) is one and one.share == 2 * SHARE
    accounts.of("three", 1.0)
    assert accounts.of("one", 1.0) is one


def test_an_answer_pays_once() -> None:
    """For one record, whenever that comes; and not for more than some."""
    world = World()
    world.send(1)
    assert world.cost(batch(0)) == 0.0
    assert world.cost(batch(1)) > 0
    assert world.meter._saved == 0.0
    world.meter._saved = 1e6
    world.cost(batch(2))
    assert world.meter._saved <= 1000.0


def test_what_each_word_costs() -> None:
    """A new key is worked out, a question is answered; of data what is little costs nearly as much as nothing would."""

    def cost(frame: frames.Frame) -> float:
        meter = World().meter
        before = meter.account.balance
        meter.control(frame)
        return before - meter.account.balance

    assert cost(frames.KeyUpdate()) == pytest.approx(limits.COST_RECORD + limits.COST_KEY)
    echo = frames.EchoRequest(1, frames.EchoTransport.TCP, 4711, bytes(12))
    assert cost(echo) == pytest.approx(limits.COST_RECORD + limits.COST_REQUEST)
    opened = frames.CircuitOpen(1, bytes(32), True, bytes(16_000))
    asked = limits.COST_RECORD + limits.COST_REQUEST
    assert cost(opened) == pytest.approx(asked + 16_000 * limits.COST_CARRIED_BYTE)
    half = frames.CircuitData(1, bytes(limits.WORTH_BYTES // 2))
    assert cost(half) == pytest.approx(limits.COST_CARRIED / 2, rel=0.01)
    pong = World().cost([frames.Ping(1)]) - World().cost(ACK)
    assert pong == pytest.approx(limits.COST_PONG)


def test_no_link_is_held_for_next_to_nothing() -> None:
    """A pause costs more than it brings."""
    meter = World().meter
    meter.account.spend(Burden.ACK, meter.account.balance + 0.01 * SHARE)
    assert meter.account.wait(0.0) > 0.0 == meter.wait(0.0) and not meter.is_overdrawn
    meter.account.spend(Burden.ACK, 0.02 * SHARE)
    assert meter.wait(0.0) > 0.02 and meter.is_overdrawn


def spent_by(accounts: list[Account], purse: Purse | None, seconds: int) -> float:
    """What those use up who always spend all that they get, in a thousandth of a core at a time."""
    for account in accounts:
        account.purse = purse
    spent = 0.0
    for step in range(20 * seconds):
        for account in accounts:
            while not account.wait(step / 20):
                account.spend(Burden.ACK, 0.001)
                spent += 0.001
    return spent


def test_many_at_one_address_get_what_two_may() -> None:
    """However many keys they have."""
    alone = spent_by([Account(SHARE, 0.0)], None, 60)
    assert alone == pytest.approx(60 * SHARE, rel=0.02)
    for count in (1, limits.OVERHEAD_PER_ADDRESS):
        assert spent_by([Account(SHARE, 0.0) for _ in range(count)], Purse(0.0), 60) == pytest.approx(
            count * alone, rel=0.05
        )
    many = spent_by([Account(SHARE, 0.0) for _ in range(40)], Purse(0.0), 60)
    begun = 40 * (limits.OVERHEAD_BEGUN + 0.001) + limits.OVERHEAD_SAVED
    assert many <= 60 * SHARE * limits.OVERHEAD_PER_ADDRESS + begun


def test_an_honest_neighbour_of_a_flood_does_not_wait() -> None:
    """Eighty questions a second whether it is there: it gets that in any case."""
    purse = Purse(0.0)
    neighbour, flood = Account(SHARE, 0.0), [Account(SHARE, 0.0) for _ in range(40)]
    neighbour.purse = purse
    for account in flood:
        account.purse = purse
    for step in range(20 * 600):
        for account in flood:
            while not account.wait(step / 20):
                account.spend(Burden.ACK, 0.001)
        assert neighbour.wait(step / 20) == 0.0
        neighbour.spend(Burden.HEARTBEAT, 4 * (limits.COST_READ + limits.COST_RECORD + limits.COST_PONG))


def test_who_would_have_had_enough_alone_is_told_from_who_would_not() -> None:
    """Of many at one address that are held back, each costs less than a peer may; one that costs more is to blame."""
    accounts = Accounts(SHARE)
    crowd = [accounts.of(number, 0.0) for number in range(20)]
    alone = accounts.of("alone", 0.0)
    for account in crowd:
        account.purse = accounts.at(b"1234", 0.0)
    alone.purse = accounts.at(b"5678", 0.0)
    assert not alone.is_own_doing
    now = 0.0
    while now < 20.0:
        now += 0.1
        for account in crowd:
            if not account.wait(now):
                account.spend(Burden.ACK, 0.02)
        alone.spend(Burden.ACK, 0.02)
        alone.wait(now)
    for account in crowd:
        account.wait(now + 1.0)  # what it has spent just now is made up for
    assert not any(account.is_own_doing for account in crowd)
    assert alone.is_own_doing


def test_addresses_have_purses_of_their_own_while_somebody_is_known_there() -> None:
    accounts = Accounts(SHARE)
    account = accounts.of("peer", 0.0)
    account.purse = accounts.at(b"here", 0.0)
    assert accounts.at(b"here", 1.0) is account.purse
    assert accounts.at(b"there", 1.0) is not account.purse
    gc.collect()
    assert list(accounts._purses) == [b"here"]
