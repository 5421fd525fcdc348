"""A new epoch of a keeper's letters: announced, begun, and never taken for a loss or a repeat."""

from contextlib import suppress
from copy import deepcopy
from random import Random

import pytest
from msgspec import msgpack

from agents.frames import FrameDecider
from agents.ledger import LEDGER_TOPICS, fold
from agents.letters import ANNOUNCED, PREFIX, State, announcement, seal
from schemas.errors import PartitionHalted
from schemas.ledger import LedgerBatch, Start
from schemas.orders import Status
from schemas.parked import Cause
from schemas.stock import HoldStock
from streams.epochs import BadEpoch, Standing, chosen, compared, to_itself, to_receivers
from streams.topics import TOPICS
from tables import stock
from tests.builders import a_line, a_statement, observe, receive
from tests.flows.test_frames import HOLD, RUG, a_house, letter
from tests.simulation import Crash, House, Record

#: The order keeper's partition 0, which the letters below come from.
ORDERS = 1 << 16
ANOTHER = HoldStock(
    order="taobao:lamps:1002", sku=RUG, quantity=1, attempt=1, deadline_ms=None, cause="raw/0/1"
)


# --- a keeper that receives -----------------------------------------------------------------------


def test_an_announced_epoch_is_accepted_from_its_first_letter() -> None:
    house = a_house(letter(HOLD, 1), announcement(1, 0, 1), letter(ANOTHER, 1, epoch=1))

    house.work("stock", 0)

    assert house.balance(RUG).locked == 2
    assert house.keepers["stock", 0].state.got == {ORDERS: (1, 1), ORDERS | ANNOUNCED: (1, 0)}


def test_an_epoch_that_nobody_announced_halts() -> None:
    house = a_house(letter(HOLD, 1), announcement(1, 0, 1), letter(ANOTHER, 1, epoch=2))

    with pytest.raises(PartitionHalted, match="has epoch 2, known is 0"):
        house.work("stock", 0)


def test_an_epoch_announced_for_another_partition_halts() -> None:
    house = a_house(announcement(1, 1, 1), letter(HOLD, 1, epoch=1))

    with pytest.raises(PartitionHalted, match="has epoch 1, known is 0"):
        house.work("stock", 0)


@pytest.mark.parametrize("numbers", [(2,), (1, 3)], ids=["at its start", "later"])
def test_a_gap_in_the_new_epoch_halts(numbers: tuple[int, ...]) -> None:
    said = [letter(ANOTHER, number, epoch=1) for number in numbers]
    house = a_house(letter(HOLD, 1), announcement(1, 0, 1), *said)

    with pytest.raises(PartitionHalted, match="are lost"):
        house.work("stock", 0)


def test_between_announcement_and_first_letter_the_old_epoch_counts_as_ever() -> None:
    house = a_house(letter(HOLD, 1), announcement(1, 0, 1), letter(ANOTHER, 2))
    lost = a_house(letter(HOLD, 1), announcement(1, 0, 1), letter(ANOTHER, 3))

    house.work("stock", 0)

    assert house.balance(RUG).locked == 2
    with pytest.raises(PartitionHalted, match=r"letters 2\.\.2"):
        lost.work("stock", 0)


def test_a_late_letter_of_the_old_epoch_is_dropped() -> None:
    house = a_house(
        letter(HOLD, 1),
        announcement(1, 0, 1),
        letter(ANOTHER, 1, epoch=1),
        letter(HOLD, 1),
        letter(HOLD, 2),
    )

    house.work("stock", 0)

    assert house.balance(RUG).locked == 2
    assert house.keepers["stock", 0].state.got[ORDERS] == (1, 1)


@pytest.mark.parametrize("epoch", [0, 1], ids=["lower", "the same"])
def test_an_announcement_that_is_no_news_changes_nothing(epoch: int) -> None:
    first = (letter(HOLD, 1), announcement(1, 0, 1), letter(ANOTHER, 1, epoch=1))
    house, again = a_house(*first), a_house(*first, announcement(1, 0, epoch))

    house.work("stock", 0)
    again.work("stock", 0)

    got, got_again = (each.keepers["stock", 0].state.got for each in (house, again))
    assert got == got_again
    assert again.waiting("stock", 0) == 0


def test_an_epoch_passed_over_on_a_quiet_lane_may_still_come() -> None:
    house = a_house(
        announcement(1, 0, 1),
        announcement(1, 0, 2),
        letter(HOLD, 1, epoch=1),
        letter(ANOTHER, 1, epoch=2),
    )

    house.work("stock", 0)

    assert house.balance(RUG).locked == 2


MALFORMED = {
    "longer than a prefix": announcement(1, 0, 1) + b"\0",
    "shorter than a prefix": announcement(1, 0, 1)[:-1],
    "a number": PREFIX.pack(2, 1, 0, 1, 1),
    "no keeper": PREFIX.pack(2, 0, 0, 1, 0),
    "an unknown kind": PREFIX.pack(3, 1, 0, 1, 0),
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_announcement_is_parked_and_announces_nothing(value: bytes) -> None:
    house = a_house(value, seal(receive(RUG, 1)))

    house.work("stock", 0)

    (parked,) = house.parked()
    assert (parked.cause, parked.value) == (Cause.UNREADABLE, value)
    assert house.keepers["stock", 0].state.got == {}
    assert house.balance(RUG).available == 101


# --- the keeper whose epoch it is -----------------------------------------------------------------


def test_the_keeper_numbers_from_1_again_and_nothing_else_of_it_changes() -> None:
    house = a_house(letter(HOLD, 1))
    house.work("stock", 0)
    keeper = house.keepers["stock", 0]
    rows, before = dict(keeper.rows), keeper.state

    house.log("stock-commands", 0).append(
        Record(before.position, house.now_ms, None, announcement(2, 0, 1))
    )
    house.work("stock", 0)

    assert keeper.rows == rows
    assert before.sent
    assert (keeper.state.position, keeper.state.epoch, keeper.state.sent) == (
        before.position + 1, 1, {},
    )  # fmt: skip
    assert keeper.state.got[ORDERS] == before.got[ORDERS]


@pytest.mark.parametrize(
    "said",
    [announcement(2, 1, 1), announcement(1, 0, 1), announcement(2, 0, 0)],
    ids=["of another partition", "of another keeper", "not above its own"],
)
def test_what_is_announced_of_somebody_else_or_of_the_past_starts_no_epoch(said: bytes) -> None:
    house = a_house(letter(HOLD, 1), said)
    house.work("stock", 0)

    state = house.keepers["stock", 0].state

    assert state.epoch == 0
    assert state.sent


def test_in_one_frame_what_stands_before_has_the_old_epoch_and_what_follows_the_new() -> None:
    house = a_house(letter(HOLD, 1), announcement(2, 0, 1), letter(ANOTHER, 2))

    house.work("stock", 0)

    answered = [
        PREFIX.unpack_from(record.value or b"")[3:] for record in house.log("order-commands", 0)
    ]
    told = [
        (dict(record.headers)["ce_source"], int(dict(record.headers)["ce_sequence"]))
        for record in house.log("stock-events", 0)
    ]
    assert answered == [(0, 1), (1, 1)]
    # Receiving has a move and its answer, each hold a move.
    assert told[-2:] == [(b"/orderflow/stock/e0/p0", 3), (b"/orderflow/stock/e1/p0", 1)]


def test_the_start_of_an_epoch_survives_any_cut_and_any_replay_byte_for_byte() -> None:
    said = [
        value
        for number in range(1, 9)
        for value in (
            letter(HOLD if number % 2 else ANOTHER, number),
            *([announcement(2, 0, number // 3)] if number % 3 == 0 else []),
        )
    ]
    house = a_house(*said)
    whole = deepcopy(house)
    whole.work("stock", 0)

    for seed in range(20):
        random, cut = Random(seed), deepcopy(house)
        while cut.waiting("stock", 0):
            die = random.choice(["", "before-letters", "mid-batch", "after-letters"])
            with suppress(Crash):
                cut.work("stock", 0, records=random.randint(1, 3), die=die)
        assert cut.keepers["stock", 0].state == whole.keepers["stock", 0].state
        for lane in (("order-commands", 0), ("stock-events", 0)):
            # A crash sends letters again: the same, and nothing but them.
            once = dict.fromkeys(repr((r.value, r.headers)) for r in cut.log(*lane))
            assert list(once) == [repr((r.value, r.headers)) for r in whole.log(*lane)]


def test_an_announcement_alone_is_a_commit() -> None:
    house = a_house(announcement(2, 0, 1))
    keeper = house.keepers["stock", 0]
    frame = house.log("stock-commands", 0)[keeper.state.position :]

    (slice_,) = FrameDecider(
        keeper.rows, keeper.state, keeper.table, keeper.inbox, keeper.post
    ).decide(frame)

    assert (slice_.counts.announced, slice_.counts.repeats, slice_.counts.commands) == (1, 0, 0)
    assert (slice_.letters, slice_.changes) == ({}, {})
    assert slice_.state.epoch == 1


# --- the ledger -----------------------------------------------------------------------------------


def told(*epochs: int) -> House:
    """A shop that sells one rug in each of its stock keeper's epochs."""
    house = House(partitions=1)
    house.tell(receive(RUG, 9))
    house.settle()
    for place, epoch in enumerate((0, *epochs)):
        if epoch:
            house.start_epoch("stock", epoch)
        house.tell(observe(a_statement(Status.PAID, a_line(RUG, 1), order=str(place)), place))
        house.settle()
    return house


def folded(house: House, starts: dict[tuple[str, int], Start] | None = None) -> LedgerBatch:
    frames = {(topic, 0): house.log(topic, 0) for topic in LEDGER_TOPICS}
    return fold(frames, starts or {where: Start(0, {}) for where in frames})  # type: ignore[arg-type]


def without(house: House, topic: str, *places: int) -> None:
    """Lose records, and close the hole they leave in the offsets."""
    left = [r for place, r in enumerate(house.log(topic, 0)) if place not in places]
    house.logs[topic, 0] = [
        Record(at, r.timestamp, r.key, r.value, r.headers) for at, r in enumerate(left)
    ]


def announced_at(house: House, topic: str = "stock-events") -> int:
    log = house.log(topic, 0)
    return next(at for at, r in enumerate(log) if b"EpochAnnounced" in (r.value or b""))


def test_the_ledger_takes_an_announced_epoch_from_its_first_event() -> None:
    batch = folded(told(1))

    assert batch.halted == {}
    assert batch.parked == []
    assert [move.version for move in batch.moves] == [1, 2, 3, 4, 5]
    assert batch.heard["stock-events", 0] == {"stock/p0": (1, 2), "announced stock/p0": (1, 0)}
    assert batch.heard["parked", 0] == {"announced 2/p0": (1, 0)}


def test_the_ledger_halts_at_an_epoch_that_nobody_announced() -> None:
    house = told(1)
    without(house, "stock-events", announced_at(house))

    assert "has epoch 1, known is 0" in folded(house).halted["stock-events", 0]


def test_the_ledger_halts_at_a_gap_in_the_new_epoch() -> None:
    house = told(1)
    without(house, "stock-events", announced_at(house) + 1)

    halted = folded(house).halted["stock-events", 0]

    assert "letters 1..1 of stock/p0 are lost" in halted


def test_the_ledger_drops_a_late_event_of_the_old_epoch() -> None:
    house = told(1)
    log = house.log("stock-events", 0)
    log.append(Record(len(log), house.now_ms, log[0].key, log[0].value, log[0].headers))

    batch = folded(house)

    assert batch.halted == {}
    assert batch.tally.repeats == 1
    assert len(batch.moves) == 5


def test_an_announcement_heard_again_changes_nothing_in_the_ledger() -> None:
    house = told(1)
    before = folded(house).heard
    house.announce("stock", 1)

    batch = folded(house)

    assert batch.heard == before
    assert batch.tally.repeats == 0


def test_the_ledger_remembers_what_was_announced_in_an_earlier_round() -> None:
    house = told(1)
    where, cut = ("stock-events", 0), announced_at(house) + 1
    log = house.log(*where)
    first = fold({where: log[:cut]}, {where: Start(0, {})})  # type: ignore[dict-item]

    second = fold({where: log[cut:]}, {where: Start(cut, first.heard[where])})  # type: ignore[dict-item]

    assert second.halted == {}
    assert second.heard[where] == {"stock/p0": (1, 2)}


def test_a_public_announcement_that_cannot_be_read_is_parked() -> None:
    house = told(1)
    record = house.log("stock-events", 0)[announced_at(house)]
    record.value = b'{"event":"EpochAnnounced","keeper":"stock","partition":-1,"epoch":1}'

    batch = folded(house)

    assert [parked.cause for parked in batch.parked] == [Cause.MALFORMED]


# --- both keepers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_epochs_started_in_the_middle_of_sagas_lose_nothing_and_do_nothing_twice(seed: int) -> None:
    random, house = Random(seed), House(partitions=2)
    skus = ("LAMP", "RUG", "VASE")
    house.tell(*(receive(sku, 30) for sku in skus))
    house.settle()
    lines = [a_line(sku, 1) for sku in skus]
    for number in range(12):
        house.tell(observe(a_statement(Status.PAID, *lines, order=str(number)), number))
    house.settle(random, crashes=0.2, turns=6)
    assert any(house.waiting(*place) for place in house.keepers)

    for epoch, name in enumerate(("stock", "orders", "stock"), start=1):
        house.start_epoch(name, epoch)
        house.settle(random, crashes=0.2, turns=4)
    for number in range(12, 20):
        house.tell(observe(a_statement(Status.PAID, *lines, order=str(number)), number))
    house.settle(random, crashes=0.2)

    assert house.parked() == []
    for sku in skus:
        balance = house.balance(sku)
        assert (balance.available, balance.locked, balance.occupied) == (10, 0, 20)
    for number in range(20):
        versions = [event.version for event in house.order_events(str(number))]
        assert versions == list(range(1, len(versions) + 1))
        assert house.order(str(number)).undecided == 0
    assert {keeper.state.epoch for (name, _), keeper in house.keepers.items()} == {2, 3}


# --- which epoch may be started, and who is told first --------------------------------------------


def test_the_next_epoch_is_above_everything_anybody_knows_of() -> None:
    mine, theirs = 2 << 16, 1 << 16
    states = {
        "orders": [State(got={mine: (4, 9), mine | ANNOUNCED: (6, 0)}), State()],
        "stock": [State(epoch=1), State(epoch=2, got={theirs: (0, 5)})],
    }

    found = compared(states)

    assert found["stock"] == [Standing(1, 4, 6), Standing(2, 0, 0)]
    assert found["orders"] == [Standing(), Standing()]
    assert chosen("stock", found["stock"], None) == 7
    assert chosen("orders", found["orders"], None) == 1


@pytest.mark.parametrize(
    ("stand", "epoch", "says"),
    [
        # below, and the same
        ([Standing(2), Standing(2)], 1, "not above the present one, 2"),
        ([Standing(2), Standing(2)], 2, "not above the present one, 2"),
        # some are further
        ([Standing(3), Standing(0)], 2, "not above the present one, 3"),
        # a rebuilt table: its letters would be dropped as repeats
        ([Standing(0, heard=2)], 2, "in epoch 2 were received already"),
        ([Standing(0)], 0, "not between 1 and"),
        ([Standing(0)], 2**32, "not between 1 and"),
    ],
)
def test_an_epoch_that_would_lose_letters_is_refused(
    stand: list[Standing], epoch: int, says: str
) -> None:
    with pytest.raises(BadEpoch, match=says):
        chosen("stock", stand, epoch)


def test_a_start_that_was_cut_short_may_be_repeated() -> None:
    assert chosen("stock", [Standing(2, 2, 2), Standing(1, 1, 2)], 2) == 2


def test_every_lane_of_a_keeper_is_announced_before_its_own_inbox() -> None:
    counts = dict.fromkeys((topic.name for topic in TOPICS), 3)

    lanes = {message[:2] for message in to_receivers("orders", 1, counts, 0)}
    own = [message[:2] for message in to_itself("orders", 1, 3, "why", "who")]

    topics = ("stock-commands", "order-events", "order-details", "parked")
    assert lanes == {(topic, partition) for topic in topics for partition in range(3)}
    assert own == [("order-commands", partition) for partition in range(3)]
    # On a topic that shares the keeper's key each partition hears of its own keeper alone.
    assert len(list(to_receivers("orders", 1, counts, 0))) == 2 * 3 + 2 * 9


def test_why_and_who_stand_beside_the_command_that_starts_it() -> None:
    (message,) = to_itself("stock", 4, 1, "table rebuilt", "mei")

    assert dict(message[4]) == {"reason": b"table rebuilt", "operator": b"mei"}
    assert message[3] == announcement(2, 0, 4)
    assert stock.TABLE.number == 2


def test_what_a_state_keeps_of_an_announcement_comes_back() -> None:
    state = State(3, 1, {}, {ORDERS: (0, 2), ORDERS | ANNOUNCED: (1, 0)})

    assert msgpack.decode(msgpack.encode(state), type=State) == state
