"""
The decision core, exhaustively: every interleaving of three orders over two scarce SKUs.

Both keepers' rules without a log: a step is something said about an order, or the delivery of the
oldest letter or answer in flight. All steps are tried from every distinct state, so each law below
holds in every state that so many steps can reach, in whatever order they come, repeated or not.
"""

from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from schemas.errors import Refusal
from schemas.orders import (
    AnyOrderEvent,
    Disposition,
    ExpireHold,
    OrderCommandAnswered,
    OrderDetails,
    OrderReserved,
    OrderShort,
    ReturnGoods,
    Status,
    StockAnswered,
)
from schemas.stock import AnyStockEvent, StockMoved, Verb
from tables import orders, stock
from tables.order_rows import HOLDING, Held, Order, order_row_key
from tests.builders import HOLD_FOR, T0, a_line, a_statement, an_id, observe, receive

LAMP, RUG = "GARISH-LAMP", "HUMBLE-RUG"
RECEIVED = {LAMP: 2, RUG: 1}
LINES = {"1": ((LAMP, 1), (RUG, 1)), "2": ((LAMP, 2),), "3": ((RUG, 1),)}
LIFE = (Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED, Status.CANCELLED)
#: Distinct states met at least; fewer would mean that the walk itself is cut short by a mistake.
ENOUGH = {"at rest": 10_000, "in flight": 20_000}


class World(NamedTuple):
    """A state: the rows of both keepers, and what is on its way between them."""

    rows: dict[bytes, Any]
    letters: tuple[Struct, ...] = ()
    answers: tuple[Struct, ...] = ()
    #: Came in, left, came back, by SKU: a second account.
    left: tuple[int, int] = (0, 0)
    back: tuple[int, int] = (0, 0)
    #: Of each order the attempts that had their verdict.
    verdicts: frozenset[tuple[str, int]] = frozenset()

    def key(self) -> Any:
        at_rest = not (self.letters or self.answers)
        rows = frozenset((key, _seen(row, at_rest=at_rest)) for key, row in self.rows.items())
        return rows, self.letters, self.answers


def _seen(row: Any, *, at_rest: bool) -> Any:
    """A row without the counters that only ever rise; an attempt matters while it is open."""
    match row:
        case Order():
            return (
                row.status, row.demands, row.undecided, row.attempt * (not at_rest),
                row.deadline_ms, row.cases, row.paid_said_ms, len(row.answers), row.lines,
            )  # fmt: skip
        case stock.Stock():
            return (row.available, row.locked, row.occupied, row.frozen, row.shortfall)
        case stock.Answers():
            return ()
        case _:
            return row


def _steps(mode: str) -> list[Struct]:
    """Everything that may be said; the same thing twice is a duplicate."""
    found: list[Struct] = []
    for order, lines in LINES.items():
        said = [a_line(sku, units) for sku, units in lines]
        for at, status in enumerate(LIFE):
            statement = a_statement(status, *said, order=order, at=at)
            found.append(observe(statement))
        key = f"taobao:lamps:{order}"
        found.append(ExpireHold(order=key, deadline_ms=T0 + HOLD_FOR))
        found.append(ReturnGoods(
            id=an_id(), order=key, sku=lines[0][0], quantity=1,
            disposition=Disposition.SELLABLE, reason="too big", operator="mei",
        ))  # fmt: skip
    if mode == "in flight":
        more = a_statement(Status.PAID, a_line(LAMP, 2), a_line(RUG, 1), order="1", at=1)
        found.append(observe(more))
    return found


def _beginning() -> World:
    rows: dict[bytes, Any] = {}
    for sku, units in RECEIVED.items():
        changes, _ = stock.decide(rows, receive(sku, units), T0)
        rows |= changes
    return World(rows)


def _told(world: World, command: Struct) -> World:
    """The order keeper decides; an expiry comes at its deadline, all else before it."""
    at_ms = T0 + HOLD_FOR if isinstance(command, ExpireHold) else T0
    changes, said = orders.decide(world.rows, command, at_ms)  # type: ignore[arg-type]
    letters = [one for one in said if not isinstance(one, AnyOrderEvent | OrderDetails)]
    verdicts = set(world.verdicts)
    for one in said:
        if isinstance(one, OrderReserved | OrderShort):
            assert (one.order, one.attempt) not in verdicts, f"a second verdict: {one}"
            verdicts.add((one.order, one.attempt))
        if isinstance(one, OrderCommandAnswered):
            assert one.refusal in (None, Refusal.NOT_SHIPPED, Refusal.UNKNOWN_ORDER)
    return world._replace(
        rows=_with(world.rows, changes),
        letters=world.letters + tuple(letters),
        verdicts=frozenset(verdicts),
    )


def _delivered(world: World) -> World:
    """The stock keeper decides the oldest letter."""
    letter, *rest = world.letters
    changes, said = stock.decide(world.rows, letter, T0)  # type: ignore[arg-type]
    answers = [one for one in said if isinstance(one, StockAnswered)]
    left, back = list(world.left), list(world.back)
    for one in said:
        assert isinstance(one, AnyStockEvent | StockAnswered)
        if isinstance(one, StockMoved):
            at = list(RECEIVED).index(one.sku)
            left[at] += one.quantity if one.verb is Verb.SHIP else 0
            back[at] += one.quantity if one.verb is Verb.RETURN else 0
        else:
            assert isinstance(one, StockAnswered), f"a letter met no hold: {one}"
    return world._replace(
        rows=_with(world.rows, changes),
        letters=tuple(rest),
        answers=world.answers + tuple(answers),
        left=tuple(left),
        back=tuple(back),
    )


def _answered(world: World) -> World:
    answer, *rest = world.answers
    return _told(world._replace(answers=tuple(rest)), answer)


def _with(rows: dict[bytes, Any], changes: dict[bytes, Any]) -> dict[bytes, Any]:
    after = rows | changes
    return {key: row for key, row in after.items() if row is not None}


def _settled(world: World) -> World:
    while world.letters or world.answers:
        world = _delivered(world) if world.letters else _answered(world)
    return world


# --- the laws -------------------------------------------------------------------------------------


def _check_stock(world: World) -> None:
    """No unit is made, lost or promised twice, whatever is in flight."""
    for at, (sku, received) in enumerate(RECEIVED.items()):
        row = world.rows[stock.stock_key(sku)]
        held = [
            hold
            for key, hold in world.rows.items()
            if isinstance(hold, stock.Hold) and key.startswith(sku.encode())
        ]
        assert row.on_hand == received - world.left[at] + world.back[at] >= 0
        assert min(row.available, row.locked, row.occupied) >= 0
        assert row.locked + row.occupied == sum(hold.quantity for hold in held)
        assert world.back[at] <= world.left[at]


def _check_at_rest(world: World) -> None:
    """Every order has exactly its holds, all or none; the cancelled have none (T21)."""
    for order_id in LINES:
        row = world.rows.get(order_row_key(f"taobao:lamps:{order_id}"))
        if row is None:
            continue
        assert not row.waits_for_answer
        states = {demand.held for demand in row.demands}
        assert not states & {Held.NEW, Held.GRANTED}
        kept = order_id == "1" and Held.REFUSED in states  # an edit that was refused
        assert kept or len({held in HOLDING for held in states}) <= 1, row.demands
        for demand in row.demands:
            hold = world.rows.get(stock.hold_key(demand.sku, row.key))
            if demand.held in HOLDING:
                assert hold is not None
                assert hold.quantity == demand.rest
        if row.status is Status.CANCELLED:
            assert not states & HOLDING


@pytest.mark.parametrize(("mode", "depth"), [("at rest", 7), ("in flight", 5)])
def test_every_interleaving_keeps_the_laws(mode: str, depth: int) -> None:
    steps = _steps(mode)
    frontier = [_beginning()]
    met = {frontier[0].key()}
    for _ in range(depth):
        after: list[World] = []
        for world in frontier:
            for next_ in _successors(world, steps, mode):
                key = next_.key()
                if key in met:
                    continue
                met.add(key)
                _check_stock(next_)
                if mode == "at rest" or not (next_.letters or next_.answers):
                    _check_at_rest(next_)
                after.append(next_)
        frontier = after
    assert len(met) >= ENOUGH[mode], len(met)


def _successors(world: World, steps: list[Struct], mode: str) -> list[World]:
    if mode == "at rest":
        return [_settled(_told(world, command)) for command in steps]
    found = [_told(world, command) for command in steps]
    if world.letters:
        found.append(_delivered(world))
    if world.answers:
        found.append(_answered(world))
    return found
