"""What went wrong in other shops' software, each as a test with the number of its case."""

from random import Random

import pytest
from msgspec import msgpack

from schemas.orders import (
    ExpireHold,
    OrderReserved,
    OrderShort,
    Refund,
    Status,
    StockAnswered,
)
from schemas.stock import AdjustStock, HoldStock, StockMoved, Verb
from tables import stock
from tests.builders import HOLD_FOR, T0, a_line, a_statement, an_id, observe, receive
from tests.flows.test_reservation_flow import CHAIR, LAMP, RUG, a_house, buckets, hear
from tests.simulation import _DEATHS, Crash, House, Record, words

LETTER = b"\x01"


@pytest.mark.parametrize("seed", range(40))
def test_t01_t02_t03_t07_twenty_at_once_for_ten_units_give_exactly_ten(seed: int) -> None:
    """In any order of work over three partitions, through crashes; each is told once, yes or no."""
    random = Random(seed)
    house = House(partitions=3)
    house.tell(receive(LAMP, 10))
    house.settle()
    for number in range(20):
        said = a_statement(Status.PAID, a_line(LAMP), order=str(number), at=number)
        house.tell(observe(said, number))
        house.settle(random, crashes=0.3, turns=random.randint(0, 4), records=3)
    house.settle(random, crashes=0.3, records=3)

    verdicts = [
        [e for e in house.order_events(str(n)) if isinstance(e, OrderReserved | OrderShort)]
        for n in range(20)
    ]
    assert all(len(told) == 1 for told in verdicts)
    assert sum(isinstance(told[0], OrderReserved) for told in verdicts) == 10
    assert buckets(house, LAMP) == (0, 0, 10)
    key = stock.stock_key(LAMP)
    assert sum(key in keeper.rows for keeper in house.keepers.values()) == 1


def test_t04_the_step_that_takes_is_the_one_that_checks() -> None:
    """Letters straight to the stock keeper, as if nobody had looked before."""
    house = a_house(GARISH_LAMP=10)
    house.tell(
        *(
            HoldStock(
                order=f"taobao:lamps:{n}", sku=LAMP, quantity=3, attempt=1, deadline_ms=None,
                cause="x",
            )
            for n in range(20)
        )
    )  # fmt: skip
    for partition in range(house.partitions):
        house.work("stock", partition)

    assert buckets(house, LAMP) == (1, 9, 0)


def test_t08_the_same_command_twice_at_once_has_one_effect_and_one_answer() -> None:
    house = House()
    command = receive(LAMP, 5)

    house.tell(command, command)
    house.settle()

    told = [event for event in house.stock_events() if not isinstance(event, StockMoved)]
    assert len(told) == 2
    assert told[0].available == told[1].available == 5
    assert house.balance(LAMP).on_hand == 5


def test_t14_everything_said_again_after_the_end_changes_nothing() -> None:
    house = a_house(GARISH_LAMP=5)
    life = [
        a_statement(status, a_line(LAMP, 2), at=at)
        for at, status in enumerate(
            (Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED, Status.COMPLETED)
        )
    ]
    hear(house, *life)
    before, moves = house.balance(LAMP), len(house.stock_events())

    hear(house, *life, *reversed(life))
    house.tell(ExpireHold(order="taobao:lamps:1001", deadline_ms=T0 + HOLD_FOR))
    house.settle()

    assert (house.balance(LAMP), len(house.stock_events())) == (before, moves)


def test_t20_an_order_is_never_in_the_way_of_itself() -> None:
    house = a_house(GARISH_LAMP=2)
    hear(house, a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), at=0))
    assert buckets(house, LAMP) == (0, 2, 0)

    hear(house, a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), at=1))
    hear(house, a_statement(Status.PAID, a_line(LAMP, 2), at=2))
    hear(house, a_statement(Status.PAID, a_line(LAMP, 1), at=3))
    hear(house, a_statement(Status.PAID, a_line(LAMP, 2), at=4))
    hear(house, a_statement(Status.SHIPPED, a_line(LAMP, 2), at=5))

    assert buckets(house, LAMP) == (0, 0, 0)
    assert "short" not in words(house.order_events())


def test_t22_t58_one_release_that_cannot_be_read_leaves_the_others_released() -> None:
    house = House(partitions=1)
    house.tell(receive(LAMP, 1), receive(RUG, 1), receive(CHAIR, 1))
    house.settle()
    lines = (a_line(LAMP), a_line(RUG), a_line(CHAIR))
    hear(house, a_statement(Status.PAID, *lines, at=0))
    house.tell(observe(a_statement(Status.CANCELLED, *lines, at=1), 1))
    house.work("orders", 0)
    second = house.log("stock-commands", 0)[-2]
    assert second.value is not None
    second.value = second.value[:16] + b"\xc1"

    house.settle()

    assert [house.balance(sku).available for sku in (LAMP, RUG, CHAIR)] == [1, 0, 1]
    assert len(house.parked()) == 1, "it waits for a person, whole"


@pytest.mark.parametrize("die", _DEATHS)
@pytest.mark.parametrize("keeper", ["orders", "stock"])
def test_t24_a_crash_anywhere_in_a_cancellation_gives_back_once(keeper: str, die: str) -> None:
    house = House(partitions=1)
    house.tell(receive(LAMP, 5), receive(RUG, 5))
    house.settle()
    lines = (a_line(LAMP, 2), a_line(RUG, 1))
    hear(house, a_statement(Status.PAID, *lines, at=0))
    house.tell(observe(a_statement(Status.CANCELLED, *lines, at=1), 1))
    if keeper == "stock":
        house.work("orders", 0)

    with pytest.raises(Crash):
        house.work(keeper, 0, die=die)
    house.settle()

    assert (buckets(house, LAMP), buckets(house, RUG)) == ((5, 0, 0), (5, 0, 0))
    released = [event for event in house.stock_events() if getattr(event, "verb", "") == "release"]
    assert len(released) == 2


@pytest.mark.parametrize(("partial", "held"), [(True, 2), (False, 0)])
def test_t30_the_partial_flag_of_a_shop_does_what_it_says_both_ways(
    *, partial: bool, held: int
) -> None:
    house = a_house(GARISH_LAMP=5)

    hear(house, a_statement(Status.PAID, a_line(LAMP, 2), a_line(RUG)), partial=partial)

    assert buckets(house, LAMP) == (5 - held, 0, held)


def test_t35_a_payment_between_the_sweep_and_its_command_keeps_the_order_paid() -> None:
    house = a_house(GARISH_LAMP=5)
    hear(house, a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), at=0))
    house.now_ms = T0 + HOLD_FOR
    swept = ExpireHold(order="taobao:lamps:1001", deadline_ms=T0 + HOLD_FOR)

    house.tell(observe(a_statement(Status.PAID, a_line(LAMP, 2), at=1), 1), swept)
    house.settle()

    assert buckets(house, LAMP) == (3, 0, 2)
    assert "expired" not in words(house.order_events())


def test_t49_letters_that_come_again_are_counted_and_decided_once() -> None:
    house = a_house(GARISH_LAMP=5, HUMBLE_RUG=5)
    hear(house, a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), a_line(RUG), at=0))
    hear(house, a_statement(Status.PAID, a_line(LAMP, 2), a_line(RUG), at=1))
    before = buckets(house, LAMP), buckets(house, RUG), len(house.stock_events())

    for (topic, _), log in house.logs.items():
        if topic in ("stock-commands", "order-commands"):
            again = [record for record in log if (record.value or b"")[:1] == LETTER]
            log += [
                Record(len(log) + n, house.now_ms, record.key, record.value)
                for n, record in enumerate(again)
            ]
    house.settle()

    assert (buckets(house, LAMP), buckets(house, RUG), len(house.stock_events())) == before


def test_t56_two_answers_for_one_sku_are_no_verdict_while_another_is_out() -> None:
    house = House(partitions=1)
    house.tell(receive(LAMP, 5), receive(RUG, 5))
    house.settle()
    house.tell(observe(a_statement(Status.PAID, a_line(LAMP), a_line(RUG), at=0)))
    house.work("orders", 0)
    house.work("stock", 0, records=1)
    yes = StockAnswered(order="taobao:lamps:1001", sku=LAMP, attempt=1, again=True)

    house.tell(yes, yes)
    house.work("orders", 0)

    assert words(house.order_events()) == ["observed"]
    house.settle()
    assert words(house.order_events()) == ["observed", "reserved"]


def test_t09_refunds_and_adjustments_in_any_order_give_the_sum() -> None:
    """Differences, never absolute numbers: what happens meanwhile is not overwritten."""
    ends = set()
    for seed in range(30):
        random = Random(seed)
        house = a_house(GARISH_LAMP=9)
        hear(house, a_statement(Status.PAID, a_line(LAMP, 2), at=0))
        happenings = [
            observe(a_statement(Status.CANCELLED, a_line(LAMP, 2), at=3), 3),
            observe(a_statement(None, at=2, refund=Refund.REFUNDED, refunded=2000), 2),
            observe(a_statement(Status.PAID, a_line(LAMP, 3), order="2", at=1), 1),
            AdjustStock(id=an_id(), sku=LAMP, delta=-1, reason="count", operator="mei"),
            receive(LAMP, 4),
        ]
        random.shuffle(happenings)
        house.tell(*happenings)
        house.settle(random, records=1)
        ends.add(buckets(house, LAMP))

    assert ends == {(9, 0, 3)}


def test_rows_written_before_the_movements_are_read_as_they_were_meant() -> None:
    """A field's place is its contract: new ones are at the end, and what was not there is none."""
    decode = stock.TABLE.decode_row
    assert decode(msgpack.encode(["S", 1, 2, 3, 0, 0, 9])) == stock.Stock(1, 2, 3, version=9)
    old = decode(msgpack.encode(["H", 2, "locked", "available", 5]))
    assert (old.quantity, old.quota, old.drawn) == (2, "", 0)
    letter = stock.TABLE.decode_command(
        msgpack.encode(["ReleaseStock", "a:b:c", "X", "expire", "y"])
    )
    assert (letter.verb, letter.quantity) == (Verb.EXPIRE, None)
