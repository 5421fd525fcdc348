"""
Days nobody planned: every movement in any order, through crashes, and the check finds nothing.

The keepers and their judge share no code, so whatever one of them misunderstands shows up here.
"""

from random import Random

import pytest

from schemas.orders import Status
from tables import reservations, stock
from tests.builders import MINUTE, receive
from tests.rules.test_check_world import Day, Evidence
from tests.trade import LIFE, ORDERS, QUOTA, SKUS, by_hand, some_lines


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
                status, *some_lines(dice), order=dice.choice(ORDERS),
                at=step - dice.choice([0, 0, 5]), partial=seed % 5 == 0,
                quota=dice.choice(["", QUOTA]), partition=step % 2,
            )  # fmt: skip
        elif what < 0.85:
            day.house.tell(by_hand(dice, day.house.now_ms))
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
