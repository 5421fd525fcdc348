"""The laws of orders: permutations converge, sagas end with all or none, frames do not matter."""

from itertools import pairwise, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from schemas.orders import (
    ExpireHold,
    Ignored,
    OrderExpired,
    OrderReserved,
    OrderShort,
    Refund,
    Status,
)
from tables.lifecycle import CANNOT_UNHAPPEN, GOALS, RANK, REFUND_RANK, TRANSITIONS, Goal
from tables.order_rows import HOLDING, Held
from tables.reservations import STEPS
from tests.builders import HOLD_FOR, T0, a_line, a_statement, observe, receive
from tests.simulation import House, words

LAMP, RUG = "GARISH-LAMP", "HUMBLE-RUG"


# --- the machine ----------------------------------------------------------------------------------


def test_every_status_has_a_goal_a_rank_a_class_and_its_transitions():
    for table in (GOALS, TRANSITIONS):
        assert set(table) == {None, *Status}
    for table in (RANK, CANNOT_UNHAPPEN):
        assert set(table) == set(Status)
    assert set(REFUND_RANK) == set(Refund)


def test_what_is_paid_completed_or_cancelled_cannot_unhappen():
    assert TRANSITIONS[Status.CANCELLED] == frozenset()
    assert TRANSITIONS[Status.COMPLETED] == {Status.CANCELLED}
    assert Status.PENDING_PAYMENT not in TRANSITIONS[Status.PAID]
    assert Status.PAID in TRANSITIONS[Status.ON_HOLD]
    assert Status.ON_HOLD in TRANSITIONS[Status.PAID]


def test_every_step_that_takes_has_a_step_that_gives_back():
    for held in (Held.LOCKED, Held.OCCUPIED):
        assert (Goal.FREE, held) in STEPS


def test_steps_never_go_round():
    for goal in Goal:
        for start in Held:
            seen, held = set(), start
            while (goal, held) in STEPS:
                assert held not in seen, (goal, start)
                seen.add(held)
                held = STEPS[goal, held].after


# --- which statement wins -------------------------------------------------------------------------

LIFE = (
    a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), a_line(RUG), at=0),
    a_statement(Status.PAID, a_line(LAMP, 2), a_line(RUG), at=1000),
    a_statement(Status.SHIPPED, a_line(LAMP, 2), a_line(RUG), at=2000),
    a_statement(Status.COMPLETED, a_line(LAMP, 2), a_line(RUG), at=3000, refund=Refund.NONE),
)
CUT_SHORT = (
    LIFE[0],
    LIFE[1],
    a_statement(Status.CANCELLED, a_line(LAMP, 2), a_line(RUG), at=1500, refund=Refund.REFUNDED),
    a_statement(None, at=1600, refund=Refund.REFUNDED, refunded=3000, total=None, currency=None),
)


def a_house() -> House:
    house = House()
    house.tell(receive(LAMP, 10), receive(RUG, 10))
    house.settle()
    return house


def what_is_known(house: House) -> tuple[object, ...]:
    """The row, without how it got there: versions of events, causes, attempts, deadlines."""
    order = house.order()
    return (
        order.status, order.status_at, order.refund, order.refund_at, order.content_at,
        order.lines, order.total, order.paid_said_ms,
        house.balance(LAMP).on_hand, house.balance(LAMP).available,
        house.balance(RUG).on_hand, house.balance(RUG).available,
    )  # fmt: skip


IN_PARTS = (
    a_statement(Status.PENDING_PAYMENT, a_line(LAMP, 2), a_line(RUG), at=0),
    a_statement(Status.PAID, a_line(LAMP, 3), a_line(RUG), at=1000),
    a_statement(Status.PARTIALLY_SHIPPED, a_line(LAMP, 3, shipped=1), a_line(RUG), at=2000),
    a_statement(Status.SHIPPED, a_line(LAMP, 3), a_line(RUG), at=3000),
)


@pytest.mark.parametrize(
    "life", [LIFE, CUT_SHORT, IN_PARTS], ids=["to the end", "cut short", "edited, in parcels"]
)
def test_t36_all_permutations_of_a_life_end_alike(life):
    ends = set()
    for order_of_arrival in permutations(range(len(life))):
        house = a_house()
        for place in order_of_arrival:
            house.tell(observe(life[place], place))
            house.settle()
        ends.add(what_is_known(house))

    assert len(ends) == 1


@pytest.mark.parametrize(("older", "newer"), [(9, 10), (2, 10), (99, 100), (10, 11)])
@pytest.mark.parametrize("newer_first", [False, True])
def test_of_two_readings_of_one_message_the_newer_adapters_wins(
    older: int, newer: int, *, newer_first: bool
):
    """As a number: as a text, version 10 would be older than version 9."""
    said = a_statement(Status.PAID, a_line(LAMP, 2), at=0)
    readings = []
    for version, units in ((older, 2), (newer, 3)):
        heard = observe(structs.replace(said, lines=(a_line(LAMP, units),)))
        source = structs.replace(heard.source, adapter=f"taobao/{version}", digest="0" * 16)
        readings.append(structs.replace(heard, source=source))
    house = a_house()

    for each in reversed(readings) if newer_first else readings:
        house.tell(each)
        house.settle()

    assert house.order().lines[0].quantity == 3
    assert house.balance(LAMP).available == 7


def test_t38_a_stale_statement_is_recorded_and_not_applied():
    house = a_house()

    for place in (2, 1):
        house.tell(observe(LIFE[place], place))
        house.settle()

    assert house.order().status is Status.SHIPPED
    assert house.order_events()[-1].why is Ignored.STALE


def test_at_equal_time_the_further_status_wins():
    house = a_house()

    for place, status in enumerate((Status.PAID, Status.SHIPPED, Status.PAID)):
        house.tell(observe(a_statement(status, a_line(LAMP, 2), at=5), place))
        house.settle()

    assert house.order().status is Status.SHIPPED


def test_on_hold_and_paid_may_go_both_ways():
    house = a_house()

    for at, status in enumerate((Status.PAID, Status.ON_HOLD, Status.PAID, Status.ON_HOLD)):
        house.tell(observe(a_statement(status, a_line(LAMP, 2), at=at), at))
        house.settle()

    assert house.order().status is Status.ON_HOLD
    assert words(house.order_events())[-1] == "status:ON_HOLD"


def test_a_mask_never_overwrites_what_is_known_in_clear():
    from schemas.orders import Receiver  # noqa: PLC0415

    clear = Receiver(name="Chen", phone="+8613800138000", phone_said="13800138000")
    masked = Receiver(name="C**", phone=None, phone_said="138****8000")
    house = a_house()

    for at, receiver in enumerate((clear, masked)):
        said = a_statement(Status.PAID, a_line(LAMP), at=at, receiver=receiver)
        house.tell(observe(said, at))
    house.settle()

    assert house.order().receiver == clear


statuses = st.sampled_from([s for s in Status if s is not Status.UNKNOWN])
statements = st.builds(
    lambda status, at, lamps: a_statement(status, a_line(LAMP, lamps), a_line(RUG), at=at),
    statuses,
    st.integers(0, 3),
    st.integers(1, 2),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(statements, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_t37_any_permutation_and_repetition_of_one_orders_messages_converges(said, random):
    ends = []
    for _ in range(2):
        told = [*said, random.choice(said)]
        random.shuffle(told)
        house = a_house()
        for place, statement in enumerate(told):
            house.tell(observe(statement, place))
            if random.random() < 0.5:
                house.settle()
        house.settle()
        order = house.order()
        ends.append((order.status, order.status_at, order.lines, order.content_at))

    assert ends[0] == ends[1]


# --- the reservation ------------------------------------------------------------------------------


def check_all_or_none(house: House, order_ids: list[str], received: dict[str, int]) -> None:
    """Every order holds all its demands or none, and the balances are what the orders hold."""
    held = dict.fromkeys(received, 0)
    shipped = dict.fromkeys(received, 0)
    for order_id in order_ids:
        order = house.order(order_id)
        assert not order.waits_for_answer
        holding = {demand.held in HOLDING for demand in order.demands}
        assert len(holding) <= 1, f"{order_id} holds part of its lines: {order.demands}"
        for demand in order.demands:
            hold = house.hold(demand.sku, order_id)
            assert (hold is not None) == (demand.held in HOLDING), demand
            if hold is not None:
                assert hold.quantity == demand.quantity
                held[demand.sku] += demand.quantity
            if demand.held is Held.SHIPPED:
                shipped[demand.sku] += demand.quantity
    for sku, quantity in received.items():
        balance = house.balance(sku)
        assert balance.available + held[sku] + shipped[sku] == quantity
        assert balance.locked + balance.occupied == held[sku]
        assert balance.available >= 0


def check_one_verdict_an_attempt(house: House, order_id: str) -> None:
    """A yes lists nothing that is short, a no does, and no attempt is answered twice."""
    verdicts = [
        event
        for event in house.order_events(order_id)
        if isinstance(event, OrderReserved | OrderShort)
    ]
    attempts = [verdict.attempt for verdict in verdicts]
    assert attempts == sorted(set(attempts)), attempts
    for verdict in verdicts:
        assert bool(verdict.short) == isinstance(verdict, OrderShort)
    told = house.order_events(order_id)
    for before, after in pairwise(told):
        assert after.version == before.version + 1
    for before, after in pairwise(verdicts):
        between = told[before.version : after.version]
        lost = any(isinstance(event, OrderExpired) for event in between)
        assert lost or isinstance(before, OrderShort), "a yes was taken back without a reason"


happenings = (Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED, Status.CANCELLED, "expire")
steps = st.tuples(st.integers(0, 3), st.sampled_from(happenings))


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=14), st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
def test_every_saga_ends_with_all_or_none_in_any_interleaving_and_through_any_crash(
    story, seed, crashes
):
    random = Random(seed)
    house = House()
    received = {LAMP: 4, RUG: 2}
    house.tell(*(receive(sku, quantity) for sku, quantity in received.items()))
    house.settle()
    seen = set()
    for at, (number, what) in enumerate(story):
        order_id = f"{number}"
        if what == "expire":
            house.now_ms += HOLD_FOR
            house.tell(
                ExpireHold(
                    order=f"taobao:lamps:{order_id}",
                    deadline_ms=T0 + HOLD_FOR * random.randint(1, 3),
                )
            )
        else:
            seen.add(order_id)
            lines = [a_line(LAMP, 1 + number % 3), a_line(RUG, 1 + number % 2)]
            said = a_statement(what, *lines, order=order_id, at=at)
            house.tell(observe(said, at))
        house.settle(random, crashes, turns=random.choice([0, 1, 2, 5, 50]))
    house.settle(random, crashes)

    assert house.parked() == []
    check_all_or_none(house, sorted(seen), received)
    for order_id in seen:
        check_one_verdict_an_attempt(house, order_id)


@pytest.mark.parametrize("seed", range(300))
def test_a_busy_small_shop_is_exact_whatever_the_order_of_work(seed: int):
    """Simulation: scarce stock, short lives, work in any order, a third of it dying."""
    random = Random(seed)
    house = House(partitions=random.choice([1, 2, 3]))
    received = {LAMP: 3, RUG: 3}
    house.tell(*(receive(sku, quantity) for sku, quantity in received.items()))
    lives = {
        str(number): random.choice(
            [
                (Status.PENDING_PAYMENT, Status.PAID),
                (Status.PENDING_PAYMENT, Status.CANCELLED),
                (Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED),
                (Status.PAID, Status.CANCELLED),
            ]
        )
        for number in range(6)
    }
    said = [
        (place, order_id, status)
        for order_id, life in lives.items()
        for place, status in enumerate(life)
    ]
    for place, order_id, status in sorted(said, key=lambda _: random.random()):
        lines = [a_line(RUG, 1 + int(order_id) % 2), a_line(LAMP, 1)]
        statement = a_statement(status, *lines, order=order_id, at=place)
        house.tell(observe(statement, place))
        house.settle(random, crashes=0.3, turns=random.randint(0, 6), records=2)
    house.settle(random, crashes=0.3)

    assert house.parked() == []
    check_all_or_none(house, sorted(lives), received)
    for order_id in lives:
        check_one_verdict_an_attempt(house, order_id)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_cutting_frames_differently_changes_nothing(seed):
    """I8, T16: the same inbox gives the same rows and the same letters, byte for byte."""
    random = Random(seed)
    house = House(partitions=1)
    house.tell(receive(LAMP, 5), receive(RUG, 5))
    for place in range(12):
        status = random.choice([Status.PENDING_PAYMENT, Status.PAID, Status.CANCELLED])
        said = a_statement(status, a_line(LAMP), a_line(RUG), order=str(place % 4), at=place)
        house.tell(observe(said, place))
    house.settle(random)

    replayed = House(partitions=1)
    for name in ("orders", "stock"):
        inbox = house.log(*house.keepers[name, 0].inbox)
        for place in range(len(inbox)):
            replayed.logs["order-commands", 0] = list(house.log("order-commands", 0))
            replayed.logs["stock-commands", 0] = list(house.log("stock-commands", 0))
            replayed.work(name, 0, records=1)
            assert replayed.keepers[name, 0].state.position == place + 1

    assert replayed.contents() == house.contents()
    for topic in ("order-events", "stock-events", "order-details"):
        assert [record.value for record in replayed.log(topic, 0)] == [
            record.value for record in house.log(topic, 0)
        ]
