"""What the ledger makes of what the keepers said, without a database."""

from random import Random

import pytest
from msgspec import json, msgpack

from agents.ledger import fold
from agents.letters import PREFIX, seal
from schemas.ledger import Facet, LedgerBatch, Start
from schemas.orders import Buyer, Status
from schemas.parked import Cause, Parked, Stage
from tests.builders import T0, a_line, a_statement, observe, receive
from tests.simulation import House, Record

LAMP, RUG = "GARISH-LAMP", "HUMBLE-RUG"
ORDERS, STOCK, DETAILS, PARKED = "order-events", "stock-events", "order-details", "parked"
KEY = "taobao:lamps:1001"


def a_house(*statements, **stock) -> House:
    """One partition of everything, so that one frame holds the whole story."""
    house = House(partitions=1)
    house.tell(*(receive(sku.replace("_", "-"), quantity) for sku, quantity in stock.items()))
    house.settle()
    for place, said in enumerate(statements):
        house.tell(observe(said, place))
        house.settle()
    return house


def frames(house: House, *topics: str) -> dict:
    return {(topic, 0): house.log(topic, 0) for topic in topics or (ORDERS, STOCK, DETAILS, PARKED)}


def folded(given: dict) -> LedgerBatch:
    return fold(given, {where: Start(0, {}) for where in given})


def a_record(offset: int, value: bytes, headers=()) -> Record:
    return Record(offset, T0, b"k", value, headers)


def test_an_order_of_one_round_is_one_row_with_its_verdict():
    said = a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), buyer=Buyer(name="Ann"))
    house = a_house(said, GARISH_LAMP=5)

    batch = folded(frames(house))

    (order,) = batch.orders
    assert order.order_key == KEY
    assert (order.platform_status, order.status) == ("PENDING_PAYMENT", "PENDING_PAYMENT")
    assert (order.reservation, order.attempt) == ("reserved", 1)
    assert order.deadline_at is not None
    assert order.facets == (
        Facet.SNAPSHOT | Facet.REFUND | Facet.NO_REFUND | Facet.VERDICT | Facet.DEADLINE
    )
    assert [(line.sku, line.quantity) for line in batch.lines] == [(LAMP, 2)]
    assert batch.replaced == []
    assert [event.version for event in batch.order_events] == [1, 2]
    (hold,) = batch.holds
    assert (hold.bucket, hold.quantity, hold.ended_at) == ("locked", 2, None)
    (balance,) = batch.stock
    assert (balance.available, balance.locked) == (3, 2)
    assert [details.order_key for details in batch.details] == [KEY]
    assert batch.positions[ORDERS, 0] == (0, 2)


def test_a_later_round_sets_only_its_own_facets():
    house = a_house(
        a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), at=0),
        a_statement(Status.PAID, a_line(LAMP, 2), at=1),
        GARISH_LAMP=5,
    )
    log = house.log(ORDERS, 0)
    first = folded({(ORDERS, 0): log[:-1]})

    last = fold({(ORDERS, 0): log[-1:]}, {(ORDERS, 0): Start(len(log) - 1, first.heard[ORDERS, 0])})

    (order,) = last.orders
    assert (order.status, order.reservation) == ("PAID", "reserved")
    assert order.facets == Facet.DEADLINE | Facet.RESERVATION
    assert (order.platform, order.shop, order.order_id) == ("taobao", "lamps", "1001")
    assert order.total_minor is None
    assert last.lines == []


def test_lines_that_changed_replace_the_ones_before():
    house = a_house(
        a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), at=0),
        a_statement(Status.PENDING_PAYMENT, a_line(RUG, 1), at=1),
        GARISH_LAMP=5,
        HUMBLE_RUG=5,
    )

    batch = folded(frames(house))

    assert [line.sku for line in batch.lines] == [RUG]
    assert batch.replaced == [KEY]


def test_a_hold_that_ended_keeps_its_quantity_and_says_how():
    house = a_house(
        a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), at=0),
        a_statement(Status.CANCELLED, a_line(LAMP, 2), at=1),
        GARISH_LAMP=5,
    )

    (hold,) = folded(frames(house)).holds

    assert (hold.verb, hold.quantity, hold.bucket, hold.moves) == ("release", 2, "locked", "2 3")
    assert hold.ended_at == hold.changed_at


def test_a_letter_heard_again_at_another_offset_counts_once():
    house = a_house(a_statement(Status.PAID, a_line(LAMP, 2)), GARISH_LAMP=5)
    log = house.log(STOCK, 0)
    again = [*log, Record(len(log), T0, log[0].key, log[0].value, log[0].headers)]

    batch = folded({(STOCK, 0): again})

    assert batch.moves == folded({(STOCK, 0): log}).moves
    assert batch.tally.repeats == 1
    assert batch.positions[STOCK, 0] == (0, len(again))


def test_a_missing_number_halts_its_partition_and_keeps_what_came_before():
    house = a_house(a_statement(Status.PAID, a_line(LAMP, 2)), GARISH_LAMP=5)
    first, _, *rest = house.log(STOCK, 0)
    moved_up = [Record(at, T0, r.key, r.value, r.headers) for at, r in enumerate([first, *rest])]

    batch = folded({(STOCK, 0): moved_up, (ORDERS, 0): house.log(ORDERS, 0)})

    assert batch.halted == {
        (STOCK, 0): "stock-events/0 at 1: letters 2..2 of stock/p0 are lost",
    }
    assert batch.positions[STOCK, 0] == (0, 1)
    assert len(batch.order_events) == len(house.log(ORDERS, 0))


def test_a_hole_in_the_offsets_halts_its_partition():
    house = a_house(a_statement(Status.PAID, a_line(LAMP, 2)), GARISH_LAMP=5)

    batch = folded({(ORDERS, 0): house.log(ORDERS, 0)[1:]})

    assert "the record is missing, the next is 1" in batch.halted[ORDERS, 0]
    assert batch.positions == {}


def test_an_unknown_epoch_halts_its_partition():
    house = a_house(a_statement(Status.PAID, a_line(LAMP, 2)), GARISH_LAMP=5)
    (record, *_) = house.log(ORDERS, 0)
    headers = tuple(
        (name, value.replace(b"/e0/", b"/e1/") if name == "ce_source" else value)
        for name, value in record.headers
    )

    batch = folded({(ORDERS, 0): [a_record(0, record.value, headers)]})

    assert "has epoch 1, known is 0" in batch.halted[ORDERS, 0]


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (b"{", Cause.UNREADABLE),
        (b'{"event":"order.observed"}', Cause.MALFORMED),
        (b'{"event":"order.unheard-of","order":"a:b:c"}', Cause.MALFORMED),
    ],
)
def test_an_event_that_cannot_be_read_is_parked_and_the_partition_moves_on(value, cause):
    house = a_house(a_statement(Status.PAID, a_line(LAMP, 2)), GARISH_LAMP=5)
    first, *rest = house.log(ORDERS, 0)
    spoilt = a_record(0, value, first.headers)

    batch = folded({(ORDERS, 0): [spoilt, *rest]})

    (parked,) = batch.parked
    assert (parked.id, parked.stage, parked.cause) == ("order-events/0/0", "ledger", cause)
    assert parked.value == value
    assert len(batch.order_events) == len(rest)
    assert batch.halted == {}


def test_an_event_without_a_number_is_parked():
    batch = folded({(ORDERS, 0): [a_record(0, b"{}")]})

    assert [parked.cause for parked in batch.parked] == [Cause.UNREADABLE]


def test_an_unnumbered_parked_message_met_twice_is_one_with_two_attempts():
    parked = a_parked()
    again = a_parked(seen_ms=T0 + 5)

    batch = folded({(PARKED, 0): [a_record(0, seal(parked)), a_record(1, seal(again))]})

    (row,) = batch.parked
    assert (row.attempts, row.first_seen_at, row.last_seen_at) == (2, T0, T0 + 5)


def test_a_numbered_parked_letter_heard_again_is_no_second_attempt():
    body = msgpack.encode(a_parked())
    numbered = PREFIX.pack(1, 1, 0, 0, 1) + body

    batch = folded({(PARKED, 0): [a_record(0, numbered), a_record(1, numbered)]})

    assert [row.attempts for row in batch.parked] == [1]


def test_cutting_the_frames_differently_says_the_same_in_the_end():
    random = Random(7)
    house = a_house(
        *(
            a_statement(status, a_line(LAMP, 2), a_line(RUG, 1), at=at, order=str(order))
            for order in range(20)
            for at, status in enumerate([Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED])
        ),
        GARISH_LAMP=30,
        HUMBLE_RUG=30,
    )
    whole = folded(frames(house))

    starts = {where: Start(0, {}) for where in frames(house)}
    parts: list[LedgerBatch] = []
    for (topic, partition), log in frames(house).items():
        at = 0
        while at < len(log):
            upto = at + random.randint(1, 5)
            part = fold({(topic, partition): log[at:upto]}, starts)
            heard = starts[topic, partition].heard | part.heard.get((topic, partition), {})
            starts[topic, partition] = Start(part.positions[topic, partition].end, heard)
            parts.append(part)
            at = upto

    for name in ("order_events", "moves", "answers", "ignored_releases"):
        assert [row for part in parts for row in getattr(part, name)] == getattr(whole, name)
    assert starts[STOCK, 0].heard == whole.heard[STOCK, 0]


def test_the_bytes_of_an_event_are_kept_as_they_were_published():
    house = a_house(a_statement(Status.PAID, a_line(LAMP, 2)), GARISH_LAMP=5)

    batch = folded(frames(house, ORDERS))

    assert [row.body for row in batch.order_events] == [r.value for r in house.log(ORDERS, 0)]
    assert [row.event for row in batch.order_events] == [
        json.decode(record.value)["event"] for record in house.log(ORDERS, 0)
    ]


def a_parked(**more: object) -> Parked:
    usual = {
        "id": "raw-orders-taobao/0/7",
        "stage": Stage.INTAKE,
        "cause": Cause.MALFORMED,
        "field": "num",
        "reason": "not a number\0",
        "topic": "raw-orders-taobao",
        "partition": 0,
        "offset": 7,
        "key": None,
        "value": b"\x00\xff",
        "seen_ms": T0,
    }
    return Parked(**(usual | more))  # type: ignore[arg-type]
