"""The laws of stock: no command creates or loses a unit, an answer stands, a hold ends once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from schemas.errors import MAY_CHANGE, Refusal
from schemas.orders import Disposition, StockAnswered
from schemas.stock import (
    AdjustStock,
    AllotStock,
    Bucket,
    ConfirmHold,
    CountStock,
    EndQuota,
    FreezeStock,
    GiveBackStock,
    HoldStock,
    OccupyStock,
    OperatorStockCommand,
    QuotaChanged,
    ReceiveStock,
    RefuseStock,
    ReleaseStock,
    ReturnStock,
    ShipStock,
    ShortfallChanged,
    StockCommand,
    StockCommandAnswered,
    StockMoved,
    UnfreezeStock,
    Verb,
)
from tables import stock
from tables.answers import REMEMBER_MS
from tests.builders import MINUTE, T0, an_id, receive

RUG = "HUMBLE-RUG"
ORDERS = [f"taobao:lamps:{number}" for number in range(3)]
QUOTA = "11-11"


class Shelf:
    """The rows of a stock keeper as a dict, and what was said."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Struct] = {}
        self.said: list[Struct] = []

    def get(self, key: bytes) -> Struct | None:
        return self.rows.get(key)

    def do(self, command: Struct, at_ms: int = T0) -> list[Struct]:
        changes, said = stock.decide(self, command, at_ms)
        for key, row in changes.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.said += said
        return said

    @property
    def balance(self) -> stock.Stock:
        return self.rows.get(stock.stock_key(RUG), stock.NOTHING)

    @property
    def holds(self) -> list[stock.Hold]:
        return [row for row in self.rows.values() if isinstance(row, stock.Hold)]


def hold(order: str = ORDERS[0], quantity: int = 1, **more: Any) -> HoldStock:
    said = {"attempt": 1, "deadline_ms": T0 + MINUTE, "cause": "raw/0/1"} | more
    return HoldStock(order=order, sku=RUG, quantity=quantity, **said)


def release(
    order: str = ORDERS[0], verb: Verb = Verb.RELEASE, quantity: int | None = None
) -> ReleaseStock:
    return ReleaseStock(order=order, sku=RUG, verb=verb, cause="raw/0/1", quantity=quantity)


def occupy(order: str = ORDERS[0]) -> OccupyStock:
    return OccupyStock(order=order, sku=RUG, cause="raw/0/1")


def ship(order: str = ORDERS[0], quantity: int | None = None) -> ShipStock:
    return ShipStock(order=order, sku=RUG, cause="raw/0/1", quantity=quantity)


def came_back(
    quantity: int, disposition: Disposition = Disposition.SELLABLE, order: str = ORDERS[0]
) -> ReturnStock:
    return ReturnStock(
        order=order,
        sku=RUG,
        quantity=quantity,
        disposition=disposition,
        command=(command := an_id()),
        reason="too small",
        operator="mei",
        cause=command,
    )


def count(counted: int, book: int | None = None) -> CountStock:
    return CountStock(
        id=an_id(), sku=RUG, counted=counted, reason="stocktake", operator="mei", book=book
    )


def allot(quantity: int, starts: int = 0, ends: int = MINUTE, quota: str = QUOTA) -> AllotStock:
    return AllotStock(
        id=an_id(),
        sku=RUG,
        quantity=quantity,
        reason="singles day",
        operator="mei",
        quota=quota,
        starts_ms=T0 + starts,
        ends_ms=T0 + ends,
    )


def give_back(quantity: int) -> GiveBackStock:
    return GiveBackStock(
        id=an_id(), sku=RUG, quantity=quantity, reason="slow", operator="mei", quota=QUOTA
    )


def end_of_window(ends: int = MINUTE) -> EndQuota:
    return EndQuota(sku=RUG, quota=QUOTA, ends_ms=T0 + ends)


def by_hand(kind: type, quantity: int) -> Any:
    return kind(id=an_id(), sku=RUG, quantity=quantity, reason="qc", operator="mei")


def adjust(delta: int, command_id: str | None = None) -> AdjustStock:
    return AdjustStock(
        id=command_id or an_id(), sku=RUG, delta=delta, reason="count", operator="mei"
    )


def a_shelf(available: int) -> Shelf:
    shelf = Shelf()
    if available:
        shelf.do(receive(RUG, available))
    shelf.said.clear()
    return shelf


# --- the machine ----------------------------------------------------------------------------------


def test_every_verb_has_a_move():
    assert set(stock.MOVES) == set(Verb)


def test_only_what_comes_goes_or_is_counted_touches_the_world_outside():
    outside = {verb for verb, move in stock.MOVES.items() if None in move}

    assert outside == {
        Verb.RECEIVE, Verb.SHIP, Verb.ADJUST_UP, Verb.ADJUST_DOWN,
        Verb.COUNT_UP, Verb.COUNT_DOWN, Verb.COUNT_SHORT, Verb.FOUND,
        Verb.RETURN, Verb.RETURN_FROZEN,
    }  # fmt: skip


def test_every_command_has_a_rule_and_every_refusal_says_whether_asking_again_could_help():
    assert set(MAY_CHANGE) == set(Refusal)
    assert set(stock.DECIDE) == set(StockCommand.__args__)


# --- refusals, in the order of the enum -----------------------------------------------------------


def answer_of(said: list[Struct]) -> Refusal | None:
    answer = said[-1]
    assert isinstance(answer, StockAnswered | StockCommandAnswered)
    return answer.refusal


def test_too_old():
    shelf = a_shelf(1)
    old = receive(RUG, 1, an_id(T0 - REMEMBER_MS - 1))

    assert answer_of(shelf.do(old)) is Refusal.TOO_OLD
    assert shelf.balance.available == 1


def test_id_reused():
    shelf = a_shelf(1)
    first = receive(RUG, 1)
    shelf.do(first)

    assert answer_of(shelf.do(receive(RUG, 2, first.id))) is Refusal.ID_REUSED
    assert shelf.balance.available == 2


def test_unknown_sku():
    assert answer_of(Shelf().do(hold())) is Refusal.UNKNOWN_SKU
    assert answer_of(Shelf().do(adjust(-1))) is Refusal.UNKNOWN_SKU


@pytest.mark.parametrize(
    "name",
    ["HUMBLE-RUG\u200b", "HUMBLE-R\u0423G", "\u041d\u0415\u041e", "ＲＵＧ", " RUG", "RUG\0X"],
    ids=["zero width", "one Cyrillic letter", "only twins", "full width", "a space", "a NUL"],
)
def test_misspelt_sku(name: str):
    """A twin of a SKU is refused before it exists; a SKU of another script is not."""
    shelf = Shelf()
    twin = ReceiveStock(id=an_id(), sku=name, quantity=1, reason="delivery", operator="mei")

    assert answer_of(shelf.do(twin)) is Refusal.MISSPELT_SKU
    assert stock.stock_key(name) not in shelf.rows
    for real in ("竹篮-大", "СТОЛ-2", "rug_2/b"):
        assert answer_of(shelf.do(ReceiveStock(
            id=an_id(), sku=real, quantity=1, reason="delivery", operator="mei",
        ))) is None  # fmt: skip


def test_what_intake_refuses_is_answered_by_the_keeper_and_stands():
    shelf = a_shelf(1)
    refused = RefuseStock(id=an_id(), sku=RUG, refusal=Refusal.UNKNOWN_WAREHOUSE)

    assert answer_of(shelf.do(refused)) is Refusal.UNKNOWN_WAREHOUSE
    assert answer_of(shelf.do(refused)) is Refusal.UNKNOWN_WAREHOUSE
    assert shelf.balance == stock.Stock(available=1, version=1)


@pytest.mark.parametrize(
    ("starts", "ends"),
    [(MINUTE, 0), (5, 5), (-2 * MINUTE, -MINUTE)],
    ids=["ends before it starts", "empty", "over"],
)
def test_wrong_window(starts: int, ends: int):
    shelf = a_shelf(5)

    assert answer_of(shelf.do(allot(1, starts, ends))) is Refusal.WRONG_WINDOW
    assert shelf.balance == stock.Stock(available=5, version=1)


def test_a_quota_has_one_window():
    shelf = a_shelf(5)
    shelf.do(allot(1))

    assert answer_of(shelf.do(allot(1, ends=2 * MINUTE))) is Refusal.WRONG_WINDOW
    assert answer_of(shelf.do(allot(1))) is None


def test_unknown_quota():
    assert answer_of(a_shelf(5).do(give_back(1))) is Refusal.UNKNOWN_QUOTA


def test_not_enough():
    shelf = a_shelf(1)

    answer = shelf.do(hold(quantity=2))[-1]

    assert answer == StockAnswered(
        order=ORDERS[0], sku=RUG, attempt=1, refusal=Refusal.NOT_ENOUGH, available=1
    )


def test_t13_a_release_without_a_live_hold_is_a_recorded_no_op():
    shelf = a_shelf(1)

    (ignored,) = shelf.do(release())

    assert ignored.refusal is Refusal.NOT_HELD
    assert shelf.balance == stock.Stock(available=1, version=1)


def test_too_large_a_balance_is_refused():
    shelf = a_shelf(1)
    shelf.rows[stock.stock_key(RUG)] = stock.Stock(available=stock.BUCKET_MAX)

    assert answer_of(shelf.do(receive(RUG, 1))) is Refusal.TOO_LARGE


# --- what commands do -----------------------------------------------------------------------------


def test_a_hold_takes_from_available_and_says_where_the_units_stand():
    shelf = a_shelf(10)

    moved, _ = shelf.do(hold(quantity=4))

    assert shelf.balance == stock.Stock(available=6, locked=4, version=2)
    assert isinstance(moved, StockMoved)
    assert (moved.verb, moved.source, moved.target, moved.quantity) == (
        Verb.HOLD, Bucket.AVAILABLE, Bucket.LOCKED, 4,
    )  # fmt: skip


def test_t57_shipping_moves_occupied_and_on_hand_in_one_entry():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))
    shelf.do(occupy())
    before = shelf.balance

    (moved,) = shelf.do(ship())

    assert (before.occupied, before.on_hand) == (4, 10)
    assert (shelf.balance.occupied, shelf.balance.on_hand) == (0, 6)
    assert moved.target is None
    assert shelf.holds == []


def test_t23_a_second_release_of_the_same_hold_gives_back_nothing():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))

    shelf.do(release())
    shelf.do(release())

    assert shelf.balance.available == 10


def test_t34_an_expiry_of_a_paid_hold_is_refused():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))
    shelf.do(occupy())

    (ignored,) = shelf.do(release(verb=Verb.EXPIRE))

    assert ignored.refusal is Refusal.NOT_HELD
    assert shelf.balance.occupied == 4


def test_an_operators_command_heard_again_gets_the_same_answer():
    shelf = a_shelf(3)
    refused = adjust(-5)

    first = shelf.do(refused)[-1]
    shelf.do(receive(RUG, 10))
    again = shelf.do(refused)

    assert first.refusal is again[-1].refusal is Refusal.NOT_ENOUGH
    assert len(again) == 1
    assert shelf.balance.available == 13


def test_an_id_that_carries_no_time_is_malformed():
    for wrong in ("", "42", "not-a-uuid", "018f0000-0000-4000-8000-000000000000"):
        try:
            a_shelf(1).do(receive(RUG, 1, wrong or "-"))
        except Exception as error:  # noqa: BLE001
            assert "UUIDv7" in str(error)  # noqa: PT017
        else:
            raise AssertionError(wrong)


def test_remembered_answers_age_and_are_bounded():
    shelf = a_shelf(0)
    for minute in range(10):
        shelf.do(receive(RUG, 1, an_id(T0 + minute)), T0 + minute)

    shelf.do(receive(RUG, 1, an_id(T0 + 2 * REMEMBER_MS)), T0 + 2 * REMEMBER_MS)

    assert len(shelf.rows[stock.answers_key(RUG)].answers) == 1


# --- stocktake ------------------------------------------------------------------------------------


def balance_of(shelf: Shelf) -> tuple[int, int, int, int, int]:
    now = shelf.balance
    return now.available, now.locked, now.occupied, now.shortfall, now.on_hand


def test_t28_a_stocktake_at_or_above_what_is_held_is_booked_as_a_difference():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))

    shelf.do(count(7))
    assert balance_of(shelf) == (3, 4, 0, 0, 7)
    shelf.do(count(12))

    assert balance_of(shelf) == (8, 4, 0, 0, 12)
    assert not [said for said in shelf.said if isinstance(said, ShortfallChanged)]


def test_t27_t28_a_stocktake_below_what_is_held_opens_a_shortfall():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=8))

    said = shelf.do(count(5))

    assert balance_of(shelf) == (0, 8, 0, 3, 5)
    assert [event.verb for event in said if isinstance(event, StockMoved)] == [
        Verb.COUNT_DOWN, Verb.COUNT_SHORT,
    ]  # fmt: skip
    (case,) = [event for event in said if isinstance(event, ShortfallChanged)]
    assert (case.before, case.shortfall, case.held) == (0, 3, 8)
    assert answer_of(shelf.do(hold(ORDERS[1]))) is Refusal.NOT_ENOUGH


def test_t27_what_becomes_available_covers_the_shortfall_first():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=8))
    shelf.do(count(5))

    shelf.do(receive(RUG, 2))
    assert balance_of(shelf) == (0, 8, 0, 1, 7)
    said = shelf.do(release())

    assert balance_of(shelf) == (7, 0, 0, 0, 7)
    assert [event.verb for event in said if isinstance(event, StockMoved)] == [
        Verb.RELEASE, Verb.COVER,
    ]  # fmt: skip
    assert said[-1].shortfall == 0


def test_what_a_stocktake_missed_and_is_shipped_was_there():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=8))
    shelf.do(occupy())
    shelf.do(count(5))

    said = shelf.do(ship())

    assert balance_of(shelf) == (0, 0, 0, 0, 0)
    assert [event.verb for event in said if isinstance(event, StockMoved)] == [
        Verb.SHIP, Verb.FOUND,
    ]  # fmt: skip


def test_a_stocktake_against_the_book_when_it_began_is_not_harmed_by_what_moved_meanwhile():
    shelf = a_shelf(100)
    shelf.do(hold(quantity=10))
    shelf.do(occupy())
    shelf.do(ship())

    shelf.do(count(95, book=100))

    assert balance_of(shelf) == (85, 0, 0, 0, 85)


def test_a_stocktake_that_finds_what_it_expected_moves_nothing():
    shelf = a_shelf(10)

    (said,) = shelf.do(count(10))

    assert answer_of([said]) is None
    assert shelf.balance.version == 1


# --- in parts -------------------------------------------------------------------------------------


class Counted(Shelf):
    """A shelf that says which rows were looked at."""

    looked: list[bytes]

    def get(self, key: bytes) -> Struct | None:
        self.looked.append(key)
        return super().get(key)


def test_a_sku_with_10_000_open_holds_is_decided_by_a_few_small_rows():
    """What a decision costs does not grow with the holds: nothing but its own is looked at."""
    shelf = Counted()
    shelf.looked = []
    shelf.do(by_hand(ReceiveStock, 20_000))
    for number in range(10_000):
        shelf.do(hold(f"taobao:lamps:o{number}"))
    assert len(shelf.holds) == 10_000

    mine = "taobao:lamps:mine"
    for command in (hold(mine, 2), occupy(mine), ship(mine, 1), release(mine)):
        shelf.looked = []
        changes, _ = stock.decide(shelf, command, T0)
        assert set(shelf.looked) | set(changes) <= {
            stock.stock_key(RUG), stock.hold_key(RUG, mine), stock.quota_key(RUG, ""),
        }  # fmt: skip
        assert max(len(stock.TABLE.encode_row(row)) for row in changes.values() if row) < 100
        shelf.do(command)

    assert len(shelf.holds) == 10_000


def test_a_parcel_takes_its_units_and_leaves_the_rest_occupied():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))
    shelf.do(occupy())

    (first,) = shelf.do(ship(quantity=1))
    assert (first.quantity, first.held, shelf.balance.occupied) == (1, 3, 3)
    assert shelf.holds[0].quantity == 3
    (last,) = shelf.do(ship(quantity=3))

    assert (last.held, shelf.holds, shelf.balance.on_hand) == (None, [], 6)


def test_a_parcel_of_more_than_is_held_is_recorded_and_moves_nothing():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=2))
    shelf.do(occupy())

    (ignored,) = shelf.do(ship(quantity=3))

    assert ignored.refusal is Refusal.NOT_HELD
    assert shelf.balance.occupied == 2


def test_t17_a_hold_gives_back_a_part_and_grows_where_it_stands():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))

    shelf.do(release(quantity=1))
    assert (shelf.balance.locked, shelf.holds[0].deadline_ms) == (3, T0 + MINUTE)
    shelf.do(occupy())
    moved, yes = shelf.do(hold(quantity=2, grow=True, deadline_ms=None))

    assert (moved.target, moved.held) == (Bucket.OCCUPIED, 5)
    assert yes.refusal is None
    assert balance_of(shelf) == (5, 0, 5, 0, 10)
    assert answer_of(shelf.do(hold(quantity=6, grow=True))) is Refusal.NOT_ENOUGH
    assert shelf.holds[0].quantity == 5


def test_asking_what_became_of_a_hold_moves_nothing():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))

    def asked(quantity: int) -> StockAnswered:
        question = ConfirmHold(order=ORDERS[0], sku=RUG, attempt=1, quantity=quantity, cause="x")
        (said,) = shelf.do(question)
        assert said.again
        return said

    assert asked(4).refusal is None
    assert asked(5).refusal is Refusal.BUG
    assert balance_of(shelf) == (6, 4, 0, 0, 10)


# --- returns --------------------------------------------------------------------------------------


def test_t47_what_comes_back_is_sellable_or_frozen():
    shelf = a_shelf(10)
    shelf.do(hold(quantity=4))
    shelf.do(occupy())
    shelf.do(ship())

    shelf.do(came_back(1))
    (moved,) = shelf.do(came_back(2, Disposition.FROZEN))

    assert shelf.balance == stock.Stock(available=7, frozen=2, version=6)
    assert (moved.verb, moved.operator, moved.reason) == (Verb.RETURN_FROZEN, "mei", "too small")


# --- quotas ---------------------------------------------------------------------------------------


def left_of(shelf: Shelf) -> int:
    row = shelf.rows[stock.quota_key(RUG, QUOTA)]
    assert isinstance(row, stock.Quota)
    return row.left


def test_a_hold_takes_from_its_quota_first_and_the_rest_from_the_pool():
    shelf = a_shelf(10)
    shelf.do(allot(3))
    assert (shelf.balance.available, shelf.balance.reserved) == (7, 3)

    said = shelf.do(hold(quantity=5, quota=QUOTA))

    assert (shelf.balance.available, shelf.balance.reserved, shelf.balance.locked) == (5, 0, 5)
    assert shelf.holds[0].drawn == 3
    assert [event.verb for event in said if isinstance(event, StockMoved)] == [
        Verb.DRAW, Verb.HOLD,
    ]  # fmt: skip
    assert said[-2].left == 0


def test_what_is_allotted_is_for_nobody_else():
    shelf = a_shelf(10)
    shelf.do(allot(8))

    assert answer_of(shelf.do(hold(quantity=3))) is Refusal.NOT_ENOUGH
    assert answer_of(shelf.do(hold(quantity=3, quota="other"))) is Refusal.NOT_ENOUGH
    assert answer_of(shelf.do(hold(quantity=11, quota=QUOTA))) is Refusal.NOT_ENOUGH
    assert answer_of(shelf.do(hold(quantity=10, quota=QUOTA))) is None


def test_what_is_released_goes_back_to_the_quota_while_its_window_is_open():
    shelf = a_shelf(10)
    shelf.do(allot(3))
    shelf.do(hold(quantity=5, quota=QUOTA))

    shelf.do(release(quantity=1))
    assert (shelf.balance.reserved, shelf.balance.available) == (0, 6), "the pool's come back first"
    shelf.do(release(quantity=3), T0 + MINUTE - 1)

    assert (shelf.balance.reserved, shelf.balance.available, left_of(shelf)) == (2, 7, 2)
    shelf.do(release(), T0 + MINUTE)
    assert (shelf.balance.reserved, shelf.balance.available) == (2, 8)


def test_the_end_of_the_window_gives_back_what_is_left_by_the_logs_clock():
    shelf = a_shelf(10)
    shelf.do(allot(6))
    shelf.do(hold(quantity=2, quota=QUOTA))

    assert shelf.do(end_of_window(), T0 + MINUTE - 1) == []
    assert shelf.do(end_of_window(ends=5), T0 + MINUTE) == []
    moved, told = shelf.do(end_of_window(), T0 + MINUTE)

    assert (moved.verb, moved.quantity, moved.operator) == (Verb.GIVE_BACK, 4, None)
    assert told.ended
    assert (shelf.balance.available, shelf.balance.reserved, shelf.balance.locked) == (8, 0, 2)
    assert stock.quota_key(RUG, QUOTA) not in shelf.rows
    shelf.do(release(), T0 + MINUTE + 1)
    assert shelf.balance.available == 10


def test_before_its_window_opens_and_after_it_a_quota_is_closed_to_holds():
    shelf = a_shelf(10)
    shelf.do(allot(8, starts=10))

    assert answer_of(shelf.do(hold(quantity=3, quota=QUOTA), T0 + 9)) is Refusal.NOT_ENOUGH
    assert answer_of(shelf.do(hold(quantity=3, quota=QUOTA), T0 + MINUTE)) is Refusal.NOT_ENOUGH
    assert answer_of(shelf.do(hold(quantity=3, quota=QUOTA), T0 + 10)) is None


def test_a_quota_sells_nothing_while_more_is_held_than_is_there():
    shelf = a_shelf(10)
    shelf.do(allot(3))
    shelf.do(hold(quantity=6))
    shelf.do(count(7))
    assert (shelf.balance.reserved, shelf.balance.shortfall) == (3, 2)

    assert answer_of(shelf.do(hold(ORDERS[1], quota=QUOTA))) is Refusal.NOT_ENOUGH
    shelf.do(give_back(3))

    assert (shelf.balance.reserved, shelf.balance.shortfall, shelf.balance.available) == (0, 0, 1)


def test_what_is_shipped_is_not_given_back_to_the_quota():
    shelf = a_shelf(10)
    shelf.do(allot(3))
    shelf.do(hold(quantity=4, quota=QUOTA))
    shelf.do(occupy())

    shelf.do(ship(quantity=2))
    shelf.do(release())

    assert (shelf.balance.reserved, shelf.balance.available, left_of(shelf)) == (2, 6, 2)


def test_a_quota_wakes_the_sweeper_at_its_end_and_nothing_else_of_stock_does():
    shelf = a_shelf(10)
    shelf.do(allot(3))
    shelf.do(hold(quantity=4, quota=QUOTA))
    due = {key: stock.deadline_ms(row) for key, row in shelf.rows.items()}

    assert {key for key, at in due.items() if at is not None} == {stock.quota_key(RUG, QUOTA)}
    assert all(stock.QUOTA_MARK in key for key, at in due.items() if at is not None)
    row = shelf.rows[stock.quota_key(RUG, QUOTA)]
    assert stock.wake(row) == end_of_window()


# --- laws -----------------------------------------------------------------------------------------

an_order = st.sampled_from(ORDERS)
some = st.integers(1, 7)
parts = st.one_of(st.none(), st.integers(1, 4))
dispositions = st.sampled_from([Disposition.SELLABLE, Disposition.FROZEN])
commands = st.one_of(
    st.builds(hold, an_order, some, quota=st.sampled_from(["", QUOTA]), grow=st.booleans()),
    st.builds(occupy, an_order),
    st.builds(release, an_order, st.sampled_from([Verb.RELEASE, Verb.EXPIRE]), parts),
    st.builds(ship, an_order, parts),
    st.builds(came_back, st.integers(1, 2), dispositions),
    st.builds(lambda quantity: receive(RUG, quantity), some),
    st.builds(adjust, st.integers(-7, 7).filter(bool)),
    st.builds(count, st.integers(0, 12)),
    st.builds(by_hand, st.sampled_from([FreezeStock, UnfreezeStock]), some),
    st.builds(allot, some),
    st.builds(give_back, some),
    st.builds(end_of_window),
)
times = st.sampled_from([T0, T0, T0, T0 + MINUTE - 1, T0 + MINUTE])


@given(st.lists(st.tuples(commands, times), max_size=60))
def test_no_command_creates_or_loses_stock(history: list[tuple[Struct, int]]):  # noqa: C901  an account of every verb
    """I1, I2, I3 against a second, slower account kept here: units in and out, holds, quotas."""
    shelf = Shelf()
    on_hand = shipped = 0
    holding: dict[str, int] = {}
    left = 0
    for command, at_ms in history:
        if isinstance(command, HoldStock) and (command.order in holding) != command.grow:
            continue  # the order keeper knows what it holds
        if isinstance(command, ReturnStock):
            if command.quantity > shipped:
                continue  # and what it shipped
            shipped -= command.quantity
        before = shelf.balance
        moves = [event for event in shelf.do(command, at_ms) if isinstance(event, StockMoved)]
        for nth, event in enumerate(moves, start=1):
            # What the shortfall takes or gives is held all along: only the world counts.
            on_hand += event.quantity if event.source is None else 0
            on_hand -= event.quantity if event.target is None else 0
            shipped += event.quantity if event.verb is Verb.SHIP else 0
            left += {Verb.ALLOT: 1, Verb.RESTORE: 1, Verb.DRAW: -1, Verb.GIVE_BACK: -1}.get(
                event.verb, 0
            ) * event.quantity
            if event.verb is Verb.HOLD:
                holding[event.order] = holding.get(event.order, 0) + event.quantity
            elif event.verb in (Verb.RELEASE, Verb.EXPIRE, Verb.SHIP):
                holding[event.order] -= event.quantity
                assert (event.held or 0) == holding[event.order]
                if not holding[event.order]:
                    del holding[event.order]
            assert event.version == before.version + nth
        after = shelf.balance
        assert after.on_hand == on_hand >= 0
        assert min(after.available, after.locked, after.occupied, after.frozen) >= 0
        assert after.available == 0 or after.shortfall == 0
        assert after.locked + after.occupied == sum(holding.values())
        assert sum(row.quantity for row in shelf.holds) == sum(holding.values())
        quotas = [row for row in shelf.rows.values() if isinstance(row, stock.Quota)]
        assert after.reserved == left == sum(row.left for row in quotas)
        assert all(0 <= row.drawn <= row.quantity for row in shelf.holds)
        if not moves:
            assert after == before
    told = [event.shortfall for event in shelf.said if isinstance(event, ShortfallChanged)]
    assert (told[-1] if told else 0) == shelf.balance.shortfall
    said = [event.left for event in shelf.said if isinstance(event, QuotaChanged)]
    assert (said[-1] if said else 0) == left


@given(st.lists(commands, max_size=30), st.data())
def test_an_answer_once_given_stands(history: list[Struct], data: st.DataObject):
    shelf = Shelf()
    given_answers: dict[str, Refusal | None] = {}
    for command in history:
        if isinstance(command, OperatorStockCommand):
            given_answers[command.id] = answer_of(shelf.do(command))
    asked = [command for command in history if isinstance(command, OperatorStockCommand)]
    if not asked:
        return
    before = shelf.balance

    again = data.draw(st.sampled_from(asked))

    assert answer_of(shelf.do(again)) is given_answers[again.id]
    assert shelf.balance == before
