"""The laws of stock: no command creates or loses a unit, an answer stands, a hold ends once."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from schemas.errors import MAY_CHANGE, Refusal
from schemas.orders import StockAnswered
from schemas.stock import (
    AdjustStock,
    Bucket,
    FreezeStock,
    HoldStock,
    OccupyStock,
    ReceiveStock,
    ReleaseStock,
    ShipStock,
    StockCommandAnswered,
    StockMoved,
    UnfreezeStock,
    Verb,
)
from tables import stock
from tests.builders import MINUTE, T0, an_id, receive

RUG = "HUMBLE-RUG"
ORDERS = [f"taobao:lamps:{number}" for number in range(3)]


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


def hold(order: str = ORDERS[0], quantity: int = 1, attempt: int = 1) -> HoldStock:
    return HoldStock(
        order=order,
        sku=RUG,
        quantity=quantity,
        attempt=attempt,
        deadline_ms=T0 + MINUTE,
        cause="raw/0/1",
    )


def release(order: str = ORDERS[0], verb: Verb = Verb.RELEASE) -> ReleaseStock:
    return ReleaseStock(order=order, sku=RUG, verb=verb, cause="raw/0/1")


def occupy(order: str = ORDERS[0]) -> OccupyStock:
    return OccupyStock(order=order, sku=RUG, cause="raw/0/1")


def ship(order: str = ORDERS[0]) -> ShipStock:
    return ShipStock(order=order, sku=RUG, cause="raw/0/1")


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


def test_only_receive_ship_and_adjust_touch_the_world_outside():
    outside = {verb for verb, move in stock.MOVES.items() if None in move}

    assert outside == {Verb.RECEIVE, Verb.SHIP, Verb.ADJUST_UP, Verb.ADJUST_DOWN}


def test_every_command_has_a_rule_and_every_refusal_says_whether_asking_again_could_help():
    assert set(MAY_CHANGE) == set(Refusal)
    assert len(stock.DECIDE) == 8


# --- refusals, in the order of the enum -----------------------------------------------------------


def answer_of(said: list[Struct]) -> Refusal | None:
    answer = said[-1]
    assert isinstance(answer, StockAnswered | StockCommandAnswered)
    return answer.refusal


def test_too_old():
    shelf = a_shelf(1)
    old = receive(RUG, 1, an_id(T0 - stock.REMEMBER_MS - 1))

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

    shelf.do(receive(RUG, 1, an_id(T0 + 2 * stock.REMEMBER_MS)), T0 + 2 * stock.REMEMBER_MS)

    assert len(shelf.rows[stock.answers_key(RUG)].answers) == 1


# --- laws -----------------------------------------------------------------------------------------

an_order = st.sampled_from(ORDERS)
some = st.integers(1, 7)
commands = st.one_of(
    st.builds(hold, an_order, some),
    st.builds(occupy, an_order),
    st.builds(release, an_order, st.sampled_from([Verb.RELEASE, Verb.EXPIRE])),
    st.builds(ship, an_order),
    st.builds(lambda quantity: receive(RUG, quantity), some),
    st.builds(adjust, st.integers(-7, 7).filter(bool)),
    st.builds(
        lambda quantity: FreezeStock(
            id=an_id(), sku=RUG, quantity=quantity, reason="qc", operator="mei"
        ),
        some,
    ),
    st.builds(
        lambda quantity: UnfreezeStock(
            id=an_id(), sku=RUG, quantity=quantity, reason="qc", operator="mei"
        ),
        some,
    ),
)


@given(st.lists(commands, max_size=60))
def test_no_command_creates_or_loses_stock(history: list[Struct]):
    """I1, I2, I3 against a second, slower account kept here: units in and out, holds by order."""
    shelf = Shelf()
    entered = left = 0
    holding: dict[str, int] = {}
    for command in history:
        if isinstance(command, HoldStock) and command.order in holding:
            continue  # the order keeper has one ask out and one hold, never two
        before = shelf.balance
        said = shelf.do(command)
        moved = [event for event in said if isinstance(event, StockMoved)]
        assert len(moved) <= 1
        for event in moved:
            entered += event.quantity if event.source is None else 0
            left += event.quantity if event.target is None else 0
            if event.verb is Verb.HOLD:
                holding[event.order] = event.quantity
            elif event.verb in (Verb.RELEASE, Verb.EXPIRE, Verb.SHIP):
                assert holding.pop(event.order) == event.quantity
            assert event.version == before.version + 1
        after = shelf.balance
        assert after.on_hand == entered - left
        assert min(after.available, after.locked, after.occupied, after.frozen) >= 0
        assert after.locked + after.occupied == sum(holding.values())
        assert sum(row.quantity for row in shelf.holds) == sum(holding.values())
        if not moved:
            assert after == before


@given(st.lists(commands, max_size=30), st.data())
def test_an_answer_once_given_stands(history: list[Struct], data: st.DataObject):
    shelf = Shelf()
    given_answers: dict[str, Refusal | None] = {}
    operators = (ReceiveStock, AdjustStock, FreezeStock, UnfreezeStock)
    for command in history:
        if isinstance(command, operators):
            given_answers[command.id] = answer_of(shelf.do(command))
    asked = [command for command in history if isinstance(command, operators)]
    if not asked:
        return
    before = shelf.balance

    again = data.draw(st.sampled_from(asked))

    assert answer_of(shelf.do(again)) is given_answers[again.id]
    assert shelf.balance == before
