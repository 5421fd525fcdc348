"""What the heart of a keeper does with a frame: skips, repeats, losses, poison, cuts."""

import pytest
from msgspec import msgpack

from agents.frames import LARGE_BYTES, SLICE_BYTES_MAX, FrameDecider
from agents.letters import PREFIX, seal
from schemas.base import LINES_MAX
from schemas.errors import PartitionHalted, Refusal
from schemas.orders import Status, StockAnswered
from schemas.parked import Cause, Stage
from schemas.stock import HoldStock
from tables import stock
from tests.builders import a_line, a_statement, observe, receive
from tests.simulation import Crash, House, Record

RUG = "HUMBLE-RUG"
HOLD = HoldStock(
    order="taobao:lamps:1001", sku=RUG, quantity=1, attempt=1, deadline_ms=None, cause="raw/0/0"
)


def letter(message: object, number: int, epoch: int = 0) -> bytes:
    return PREFIX.pack(1, 1, 0, epoch, number) + msgpack.encode(message)


def a_house(*values: bytes | None, start: int = 0) -> House:
    """One partition whose stock keeper has units of RUG and then *values* in its inbox."""
    house = House(partitions=1)
    house.tell(receive(RUG, 100))
    house.settle()
    log = house.log("stock-commands", 0)
    for value in values:
        log.append(Record(len(log) + start, house.now_ms, RUG.encode(), value))
    return house


def answers(house: House) -> list[StockAnswered]:
    log = house.log("order-commands", 0)
    return [msgpack.decode(record.value[PREFIX.size :], type=StockAnswered) for record in log]


def test_a_repeated_letter_is_counted_and_not_decided_again():
    house = a_house(letter(HOLD, 1), letter(HOLD, 1))

    house.work("stock", 0)

    assert house.balance(RUG).locked == 1
    assert len(answers(house)) == 1
    assert house.waiting("stock", 0) == 0


def test_a_lost_letter_halts_the_partition_and_nothing_of_the_frame_is_done():
    house = a_house(letter(HOLD, 1), letter(HOLD, 3))

    with pytest.raises(PartitionHalted, match=r"letters 2\.\.2 of keeper 1 partition 0 are lost"):
        house.work("stock", 0)

    assert house.balance(RUG).locked == 0


def test_an_unknown_epoch_halts_the_partition():
    house = a_house(letter(HOLD, 1, epoch=7))

    with pytest.raises(PartitionHalted, match="epoch 7"):
        house.work("stock", 0)


def test_a_hole_in_the_inbox_halts_the_partition():
    house = a_house(seal(receive(RUG, 1)), start=5)

    with pytest.raises(PartitionHalted, match="the record at 1 is missing, the next is 6"):
        house.work("stock", 0)


def test_records_below_the_position_are_skipped():
    house = a_house(letter(HOLD, 1))
    house.work("stock", 0)
    keeper = house.keepers["stock", 0]

    decider = FrameDecider(keeper.rows, keeper.state, keeper.table, keeper.inbox, keeper.post)
    slices = list(decider.decide(house.log("stock-commands", 0)))

    assert [(slice_.counts.skipped, slice_.changes, slice_.letters) for slice_ in slices] == [
        (2, {}, {})
    ]


def command(*fields: object) -> bytes:
    return b"\0" * 16 + msgpack.encode(fields)


POISON = {
    "no value": (None, Cause.UNREADABLE),
    "shorter than a prefix": (b"\0", Cause.UNREADABLE),
    "first byte neither 0 nor 1": (b"\x07" * 40, Cause.UNREADABLE),
    "not MessagePack": (b"\0" * 16 + b"\xc1", Cause.UNREADABLE),
    "not one of our commands": (command("BuyStock", 1), Cause.MALFORMED),
    "quantity 0": (command("ReceiveStock", "x", RUG, 0, "", ""), Cause.MALFORMED),
    "quantity -1": (command("ReceiveStock", "x", RUG, -1, "", ""), Cause.MALFORMED),
    "quantity 2^63": (command("ReceiveStock", "x", RUG, 2**63, "", ""), Cause.MALFORMED),
    "an id without a time": (seal(receive(RUG, 1, "42")), Cause.MALFORMED),
}


@pytest.mark.parametrize(("value", "cause"), POISON.values(), ids=POISON.keys())
def test_t43_a_poison_command_is_parked_whole_and_its_neighbours_never_notice(value, cause):
    house = a_house(seal(receive(RUG, 1)), value, seal(receive(RUG, 2)))

    house.work("stock", 0)

    (parked,) = house.parked()
    assert (parked.stage, parked.cause, parked.value) == (Stage.STOCK, cause, value or b"")
    assert parked.id == "stock-commands/0/2"
    assert parked.reason
    assert house.balance(RUG).available == 103


def test_a_poison_letter_is_parked_and_still_counted():
    broken = PREFIX.pack(1, 1, 0, 0, 1) + b"\xc1"
    house = a_house(broken, letter(HOLD, 2))

    house.work("stock", 0)

    assert len(house.parked()) == 1
    assert house.balance(RUG).locked == 1


def test_where_deciding_fails_whoever_waits_is_told_and_the_row_stays(monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("our mistake")

    monkeypatch.setitem(stock.DECIDE, HoldStock, broken)
    house = a_house(letter(HOLD, 1), seal(receive(RUG, 1)))

    house.work("stock", 0)

    (parked,) = house.parked()
    assert (parked.cause, parked.reason) == (Cause.BUG, "our mistake")
    assert [answer.refusal for answer in answers(house)] == [Refusal.BUG]
    assert house.balance(RUG).available == 101


def test_a_frame_too_large_for_one_batch_is_cut_and_each_cut_has_its_own_position():
    house = House(partitions=1)
    lines = [a_line(f"SKU-{place:03}-{'x' * 150}") for place in range(LINES_MAX)]
    for number in range(8):
        house.tell(observe(a_statement(Status.PAID, *lines, order=str(number)), number))
    keeper = house.keepers["orders", 0]
    decider = FrameDecider(keeper.rows, keeper.state, keeper.table, keeper.inbox, keeper.post)

    slices = list(decider.decide(house.log("order-commands", 0)))

    assert len(slices) > 1
    for slice_ in slices:
        assert sum(len(value or b"") for value in slice_.changes.values()) < 1_000_000
        positions = {int.from_bytes(value[:8], "big") for value in slice_.changes.values()}
        assert positions == {slice_.state.position}
    assert slices[-1].state.position == 8
    assert SLICE_BYTES_MAX > LARGE_BYTES


@pytest.mark.parametrize("die", ["before-letters", "mid-batch", "after-letters", "after-changelog"])
def test_t51_dying_at_any_step_of_a_frame_loses_nothing_and_does_nothing_twice(die):
    house = House(partitions=1)
    house.tell(receive(RUG, 5), observe(a_statement(Status.PAID, a_line(RUG, 2)), 0))
    for name in ("stock", "orders", "stock", "orders"):
        with pytest.raises(Crash):
            house.work(name, 0, die=die)
        house.work(name, 0)
    house.settle()

    assert house.balance(RUG) == stock.Stock(available=3, occupied=2, version=3)
    assert [event.version for event in house.order_events()] == [1, 2]
    assert house.parked() == []
