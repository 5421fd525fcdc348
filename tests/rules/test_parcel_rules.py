"""A warehouse says what left: parcel by parcel, never more than is held, never twice."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Refusal
from schemas.orders import (
    Component,
    OrderCommandAnswered,
    OrderShipped,
    ParcelLine,
    Refund,
    ShipOrder,
    Status,
    Waybill,
)
from tables.parcels import PARCELS_MAX
from tests.builders import T0, a_line, a_statement, an_id, observe, receive
from tests.simulation import House, words

LAMP, RUG = "LAMP", "RUG"
PAID, SHIPPED, PARTLY = Status.PAID, Status.SHIPPED, Status.PARTIALLY_SHIPPED


def a_house(*lines: Any, status: Status = PAID, **said: Any) -> House:
    house = House()
    house.tell(receive(LAMP, 10), receive(RUG, 10))
    house.settle()
    house.tell(observe(a_statement(status, *(lines or (a_line(LAMP, 2), a_line(RUG))), **said)))
    house.settle()
    return house


def ships(house: House, *lines: tuple[str, int], number: str = "SF1001", **more: Any) -> Any:
    """What a warehouse is answered that says so."""
    command = ShipOrder(
        id=more.pop("id_", None) or an_id(house.now_ms),
        order="taobao:lamps:1001",
        carrier=more.pop("carrier", "SF"),
        tracking_number=number,
        lines=tuple(ParcelLine(name, units) for name, units in lines),
        reason="packed",
        operator="wei",
    )
    house.tell(command)
    house.settle()
    answers = [
        each
        for each in house.all_order_events()
        if isinstance(each, OrderCommandAnswered) and each.command == command.id
    ]
    return answers[-1]


def parcels(house: House) -> list[OrderShipped]:
    return [event for event in house.order_events() if isinstance(event, OrderShipped)]


def on_hand(house: House) -> tuple[int, int]:
    return house.balance(LAMP).on_hand, house.balance(RUG).on_hand


def test_all_that_is_held_leaves_in_one_parcel_and_its_stock_with_it() -> None:
    house = a_house()

    said = ships(house)

    assert (said.refusal, said.left, said.about) == (None, 0, "SF1001")
    (parcel,) = parcels(house)
    assert [(line.line_id, line.quantity, line.left) for line in parcel.lines] == [
        ("line-LAMP", 2, 0),
        ("line-RUG", 1, 0),
    ]
    assert (parcel.parcel, parcel.left, parcel.earlier) == (1, 0, ())
    assert (parcel.carrier, parcel.operator, parcel.reason) == ("SF", "wei", "packed")
    assert on_hand(house) == (8, 9)
    assert house.order().status is PAID
    assert parcel.reservation == "shipped"


def test_an_order_leaves_in_several_parcels_a_line_in_more_than_one() -> None:
    house = a_house()

    first = ships(house, ("line-LAMP", 1), number="SF1001")
    between = on_hand(house)
    second = ships(house, number="YT2002", carrier="YTO")

    assert (first.left, second.left) == (2, 0)
    assert between == (9, 10)
    assert on_hand(house) == (8, 9)
    one, two = parcels(house)
    assert (one.parcel, one.left, one.reservation) == (1, 2, "reserved")
    assert (one.lines[0].quantity, one.lines[0].left) == (1, 1)
    assert (two.parcel, two.left, two.earlier) == (2, 0, (Waybill("SF", "SF1001"),))
    assert [(line.line_id, line.quantity) for line in two.lines] == [
        ("line-LAMP", 1),
        ("line-RUG", 1),
    ]


def test_a_parcel_may_name_our_skus_and_the_lines_are_filled_in_their_order() -> None:
    house = a_house(a_line(LAMP, 1, "a"), a_line(LAMP, 2, "b"))

    said = ships(house, (LAMP, 2))

    assert said.left == 1
    (parcel,) = parcels(house)
    assert [(line.line_id, line.quantity, line.left) for line in parcel.lines] == [
        ("a", 1, 0),
        ("b", 1, 1),
    ]


def test_a_kit_takes_all_its_parts() -> None:
    kit = a_line("KIT", 2, components=(Component(LAMP, 2), Component(RUG, 1)))
    house = a_house(kit)

    ships(house, ("KIT", 1))

    assert on_hand(house) == (8, 9)
    assert house.order().demands[0].shipped == 2


def test_the_platforms_echo_of_our_parcels_moves_no_unit_and_tells_of_no_parcel() -> None:
    house = a_house()
    ships(house, ("line-LAMP", 1))
    echo = (a_line(LAMP, 2, shipped=1), a_line(RUG, shipped=0))
    house.tell(observe(a_statement(PARTLY, *echo, at=1000), 1))
    house.settle()
    after_first = on_hand(house)
    ships(house, number="SF1002")
    house.tell(observe(a_statement(SHIPPED, a_line(LAMP, 2), a_line(RUG), at=2000), 2))
    house.settle()

    assert after_first == (9, 10)
    assert on_hand(house) == (8, 9)
    assert len(parcels(house)) == 2
    assert words(house.order_events())[-1] == "status:SHIPPED"
    assert house.parked() == []


def test_what_the_platform_says_of_parcels_is_never_told_as_ours() -> None:
    house = a_house()

    house.tell(observe(a_statement(PARTLY, a_line(LAMP, 2, shipped=1), a_line(RUG), at=1), 1))
    house.settle()
    house.tell(observe(a_statement(SHIPPED, a_line(LAMP, 2), a_line(RUG), at=2), 2))
    house.settle()

    assert parcels(house) == []
    assert on_hand(house) == (8, 9)


def test_what_left_by_the_platforms_word_does_not_leave_by_ours_again() -> None:
    house = a_house()
    house.tell(observe(a_statement(PARTLY, a_line(LAMP, 2, shipped=1), a_line(RUG), at=1), 1))
    house.settle()

    too_many = ships(house, ("line-LAMP", 2))
    said = ships(house)

    assert too_many.refusal is Refusal.ALREADY_SHIPPED
    assert said.refusal is None
    assert [line.quantity for line in parcels(house)[0].lines] == [1, 1]
    assert on_hand(house) == (8, 9)


def test_the_same_id_is_the_same_parcel_and_another_content_under_it_is_refused() -> None:
    house = a_house()
    id_ = an_id(house.now_ms)

    once = ships(house, ("line-LAMP", 1), id_=id_)
    again = ships(house, ("line-LAMP", 1), id_=id_)
    other = ships(house, ("line-RUG", 1), id_=id_)

    assert (once.refusal, again.refusal, other.refusal) == (None, None, Refusal.ID_REUSED)
    assert again.left == once.left
    assert len(parcels(house)) == 1
    assert on_hand(house) == (9, 10)


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (Status.PENDING_PAYMENT, Refusal.CANNOT_SHIP),
        (Status.ON_HOLD, Refusal.CANNOT_SHIP),
        (Status.CANCELLED, Refusal.CANNOT_SHIP),
        (Status.UNKNOWN, Refusal.CANNOT_SHIP),
        (Status.SHIPPED, Refusal.ALREADY_SHIPPED),
        (Status.DELIVERED, Refusal.ALREADY_SHIPPED),
        (Status.COMPLETED, Refusal.ALREADY_SHIPPED),
    ],
)
def test_an_order_that_may_not_ship_is_refused(status: Status, refusal: Refusal) -> None:
    house = a_house(status=status)
    before = on_hand(house)

    said = ships(house)

    assert said.refusal is refusal
    assert parcels(house) == []
    assert on_hand(house) == before


def test_refusals_say_what_is_in_the_way() -> None:
    short = a_house(a_line(LAMP, 99))
    refunded = a_house(refund=Refund.REFUNDED)
    line_refunded = a_house(a_line(LAMP), a_line(RUG, refund=Refund.REFUNDED))
    unmapped = a_house(a_line(None, line_id="x"))
    partial = House()
    partial.tell(receive(LAMP, 1))
    said = a_statement(PAID, a_line(LAMP), a_line(RUG))
    partial.tell(observe(said, partial=True))
    partial.settle()
    all_left = a_house()
    ships(all_left)

    assert ships(a_house(), ("VASE", 1)).refusal is Refusal.UNKNOWN_ORDER
    assert ships(short).refusal is Refusal.NOT_HELD
    assert ships(refunded).refusal is Refusal.CANNOT_SHIP
    assert ships(line_refunded, (RUG, 1)).refusal is Refusal.CANNOT_SHIP
    assert ships(line_refunded).refusal is None
    assert [line.sku for line in parcels(line_refunded)[0].lines] == [LAMP]
    assert ships(unmapped).refusal is Refusal.NOT_HELD
    assert ships(partial, (RUG, 1)).refusal is Refusal.NOT_HELD
    assert ships(partial).refusal is None
    assert ships(all_left).refusal is Refusal.ALREADY_SHIPPED
    assert ships(a_house(), ("line-LAMP", 1), ("line-LAMP", 2)).refusal is Refusal.ALREADY_SHIPPED


def test_a_parcel_scanned_twice_is_one_parcel() -> None:
    house = a_house()
    ships(house, ("line-LAMP", 1), number="SF1001")

    again = ships(house, ("line-LAMP", 1), number="SF1001")
    others = ships(house, ("line-LAMP", 1), number="SF1001", carrier="YTO")

    assert (again.refusal, others.refusal) == (Refusal.ALREADY_SHIPPED, None)
    assert on_hand(house) == (8, 10)


def test_while_an_edit_waits_for_its_stock_nothing_leaves() -> None:
    house = a_house(a_line(LAMP, 2))
    house.tell(observe(a_statement(PAID, a_line(LAMP, 3), at=1000), 1))
    for partition in range(house.partitions):
        house.work("orders", partition)
    assert house.order().waits_for_answer

    asked_too_early = ships(house)

    assert asked_too_early.refusal is Refusal.CANNOT_SHIP
    assert ships(house).refusal is None
    assert on_hand(house) == (7, 10)


def test_what_is_refunded_is_not_waited_for() -> None:
    """Its stock is still held; the order has left all the same, and is told as whole."""
    house = a_house(a_line(LAMP, 2), a_line(RUG, refund=Refund.REFUNDED))

    said = ships(house)

    assert (said.refusal, said.left) == (None, 0)
    assert parcels(house)[0].left == 0
    assert house.balance(RUG).occupied == 1


def test_what_is_short_is_not_waited_for() -> None:
    house = House()
    house.tell(receive(LAMP, 1))
    house.tell(observe(a_statement(PAID, a_line(LAMP), a_line(RUG)), partial=True))
    house.settle()

    assert ships(house).left == 0


def test_an_order_nobody_knows_ships_nothing() -> None:
    house = House()

    assert ships(house).refusal is Refusal.UNKNOWN_ORDER


def test_an_order_has_so_many_parcels_at_most() -> None:
    house = House()
    house.tell(receive(LAMP, PARCELS_MAX + 5))
    house.settle()
    house.tell(observe(a_statement(PAID, a_line(LAMP, PARCELS_MAX + 5))))
    house.settle()

    for nth in range(PARCELS_MAX):
        assert ships(house, (LAMP, 1), number=f"SF{nth:04}").refusal is None

    assert ships(house, (LAMP, 1), number="SF9999").refusal is Refusal.TOO_LARGE


def test_cancelled_after_a_first_parcel_the_rest_is_given_back() -> None:
    house = a_house()
    ships(house, ("line-LAMP", 1))

    house.tell(observe(a_statement(Status.CANCELLED, at=1000), 1))
    house.settle()

    assert on_hand(house) == (9, 10)
    assert (house.balance(LAMP).available, house.balance(RUG).available) == (9, 10)
    assert ships(house).refusal is Refusal.CANNOT_SHIP


names = st.sampled_from(["a", "b", "c", LAMP, RUG])
commands = st.lists(
    st.lists(st.tuples(names, st.integers(1, 3)), max_size=3), min_size=1, max_size=6
)


@settings(max_examples=150, deadline=None)
@given(commands, st.data())
def test_parcels_add_up_whatever_is_asked_and_whenever_the_platform_echoes(
    asked: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    lines = [("a", LAMP, 2), ("b", LAMP, 1), ("c", RUG, 3)]
    house = a_house(*(a_line(sku, units, id_) for id_, sku, units in lines))
    gone: Counter[str] = Counter()
    for at, wanted in enumerate(asked, start=1):
        before = len(parcels(house))
        said = ships(house, *wanted, number=f"SF{at:04}")
        new = parcels(house)[before:]
        assert len(new) == (1 if said.refusal is None else 0)
        for parcel in new:
            gone.update({line.line_id: line.quantity for line in parcel.lines})
        if data.draw(st.booleans()):
            echo = [a_line(sku, units, id_, shipped=gone[id_]) for id_, sku, units in lines]
            status = SHIPPED if sum(gone.values()) == 6 else PARTLY if gone else PAID
            house.tell(observe(a_statement(status, *echo, at=at * 1000), at))
            house.settle()

    assert all(gone[id_] <= units for id_, _, units in lines)
    assert on_hand(house) == (10 - gone["a"] - gone["b"], 10 - gone["c"])
    assert [parcel.parcel for parcel in parcels(house)] == [*range(1, len(parcels(house)) + 1)]
    last = parcels(house)[-1:]
    assert all(parcel.left == 6 - sum(gone.values()) for parcel in last)
    assert house.parked() == []
    assert house.now_ms >= T0
