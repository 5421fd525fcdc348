"""
Days nobody planned: every movement in any order, through crashes, and the check finds nothing.

The keepers and their judge share no code, so whatever one of them misunderstands shows up here.
"""

from random import Random
from typing import Any

import pytest
from msgspec import Struct

from schemas.errors import Refusal
from schemas.orders import (
    Case,
    Choice,
    Component,
    Disposition,
    ParcelLine,
    ReturnGoods,
    SettleCase,
    ShipOrder,
    Status,
)
from schemas.stock import (
    AdjustStock,
    AllotStock,
    CountStock,
    FreezeStock,
    GiveBackStock,
    RefuseStock,
    UnfreezeStock,
)
from tables import reservations, stock
from tests.builders import MINUTE, T0, a_line, an_id, receive
from tests.rules.test_check_world import Day, Evidence

SKUS = ("LAMP", "RUG", "VASE")
ORDERS = tuple(str(number) for number in range(500, 508))
QUOTA = "11-11"
WHY = {"reason": "because", "operator": "mei"}
LIFE = (Status.PENDING_PAYMENT, Status.PAID, Status.PARTIALLY_SHIPPED, Status.SHIPPED)


def _lines(dice: Random) -> list[Any]:
    lines = []
    for sku in dice.sample(SKUS, dice.randint(1, 3)):
        units = dice.randint(1, 3)
        more: dict[str, Any] = {}
        if dice.random() < 0.3:
            more["shipped"] = dice.randint(0, units)
        if dice.random() < 0.15:
            more["components"] = (Component("RUG", 2), Component("VASE", 1))
        lines.append(a_line(sku if dice.random() > 0.04 else None, units, line_id=sku, **more))
    return lines


def _by_hand(dice: Random, now_ms: int) -> Struct:
    sku, units, id_ = dice.choice(SKUS), dice.randint(1, 6), an_id(now_ms)
    ends = now_ms + dice.choice([1, MINUTE // 2, MINUTE])
    return dice.choice(
        [
            lambda: receive(sku, units, id_),
            lambda: CountStock(id=id_, sku=sku, counted=dice.randint(0, 25), **WHY),
            lambda: AdjustStock(id=id_, sku=sku, delta=dice.choice([-2, 3]), **WHY),
            lambda: FreezeStock(id=id_, sku=sku, quantity=units, **WHY),
            lambda: UnfreezeStock(id=id_, sku=sku, quantity=units, **WHY),
            lambda: GiveBackStock(id=id_, sku=sku, quantity=units, quota=QUOTA, **WHY),
            lambda: RefuseStock(id=id_, sku=sku, refusal=Refusal.UNKNOWN_WAREHOUSE),
            lambda: AllotStock(
                id=id_, sku=sku, quantity=units, quota=QUOTA, starts_ms=T0, ends_ms=ends, **WHY
            ),
            lambda: ReturnGoods(
                id=id_, order=f"taobao:lamps:{dice.choice(ORDERS)}", sku=sku,
                quantity=dice.randint(1, 2), disposition=dice.choice(list(Disposition)), **WHY,
            ),
            lambda: ShipOrder(
                id=id_, order=f"taobao:lamps:{dice.choice(ORDERS)}", carrier="SF",
                tracking_number=f"SF{dice.randint(1000, 9999)}",
                lines=dice.choice([(), (), (ParcelLine(sku, units),)]), **WHY,
            ),
            lambda: SettleCase(
                id=id_, order=f"taobao:lamps:{dice.choice(ORDERS)}", case=dice.choice(list(Case)),
                choice=dice.choice(list(Choice)), **WHY,
            ),
        ]
    )()  # fmt: skip


def _sweep(day: Day) -> None:
    """What the sweepers would send by now."""
    for (name, _), keeper in day.house.keepers.items():
        table = keeper.table
        assert table.deadline_ms is not None
        assert table.wake is not None
        for raw in list(keeper.rows.values()):
            row = table.decode_row(raw[8:])
            due = table.deadline_ms(row)
            if due is not None and due <= day.house.now_ms:
                day.house.tell(table.wake(row))
        assert name in ("orders", "stock")


def a_random_day(seed: int) -> Evidence:
    dice = Random(seed)
    day = Day()
    day.house.tell(*(receive(sku, dice.randint(3, 20)) for sku in SKUS))
    for step in range(60):
        what = dice.random()
        if what < 0.55:
            status = dice.choice(LIFE) if what < 0.5 else Status.CANCELLED
            day.say(
                status, *_lines(dice), order=dice.choice(ORDERS), at=step - dice.choice([0, 0, 5]),
                partial=seed % 5 == 0, quota=dice.choice(["", QUOTA]), partition=step % 2,
            )  # fmt: skip
        elif what < 0.85:
            day.house.tell(_by_hand(dice, day.house.now_ms))
        else:
            day.house.now_ms += dice.choice([1, MINUTE // 2, 16 * MINUTE])
            _sweep(day)
        day.house.settle(dice, crashes=0.15, turns=dice.choice([0, 1, 3, 50]), records=4)
    for _ in range(6):
        day.house.now_ms += 31 * MINUTE
        day.settle()
        _sweep(day)
    day.settle()
    return Evidence(day.house)


@pytest.mark.parametrize("seed", range(40))
def test_a_day_nobody_planned_is_found_in_order(seed: int) -> None:
    found = a_random_day(seed).check()

    wrong = {id_: finding.examples for id_, finding in found.items() if not finding.ok}
    assert wrong == {}, f"seed {seed}"


def test_the_days_try_every_verb_there_is() -> None:
    """A day that never draws, covers or finds would prove nothing about it."""
    verbs: set[str] = set()
    for seed in range(40):
        moves = a_random_day(seed).tables["stock_ledger"]
        verbs |= {move["verb"] for move in moves}

    assert verbs == set(stock.MOVES)
    assert reservations.MAPPED_WITHIN_MS < 31 * MINUTE
