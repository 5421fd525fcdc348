"""An operator starts a new epoch while orders are on their way, on the real stack."""

from pathlib import Path

import pytest

from tests.installation import Installation, installation

pytestmark = pytest.mark.stack


def feed(house: Installation, seed: int) -> None:
    house.orderflow(
        "feed", "--generate", "60", "--receive", "--skus", "5", "--seed", str(seed),
        "--platforms", "taobao",
    )  # fmt: skip


def present(house: Installation, keeper: str) -> set[int]:
    standings = house.answer("epoch", "show")["keepers"][keeper]
    return {partition["present"] for partition in standings}


async def test_a_new_epoch_between_two_batches_of_orders_loses_nothing(tmp_path: Path) -> None:
    async with installation(tmp_path) as house:
        assert present(house, "stock") == {0}
        with house.running("intake,orders,stock,ledger"):
            feed(house, 1)
            started = house.answer(
                "epoch", "start", "stock", "--reason", "rules changed", "--operator", "mei"
            )
            assert (started["epoch"], started["partitions"]) == (1, 4)
            feed(house, 2)

            verdict = house.at_rest(within_s=60)
            assert verdict["ok"], verdict
            assert verdict["invariants"]["I13"]["figures"]["epochs"] == 4
            assert present(house, "stock") == {1}
            assert present(house, "orders") == {0}

            # What is past cannot be started, and says so; the other keeper has its own count.
            house.orderflow("epoch", "start", "stock", "--reason", "again", "--epoch", "1", code=2)
            house.orderflow("epoch", "start", "orders", "--reason", "rules changed")
            house.at_rest(within_s=60)
            assert present(house, "orders") == {1}
            house.orderflow("check")
