"""
The tutorial: one order's way through the house, with the commands a person would type.

    orderflow topics apply && orderflow migrate && orderflow reference apply deploy/reference.toml
    orderflow worker --roles intake,orders,stock,ledger
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, installation
from tests.integration.databases import ROOT

pytestmark = pytest.mark.stack

PAYLOADS = ROOT / "streams" / "demo" / "payloads"
#: Two lines: 2 x BASKET-L and 5 x HOOK-C.
PAID = ("2771944107739206615", PAYLOADS / "taobao" / "trade_paid_two_lines.json")


def eventually(look: Callable[[], Any], within_s: float = 30) -> Any:
    """Look again until there is something to see."""
    until = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < until, "nothing came of it in time"
        time.sleep(0.3)
    return seen


def order_in(house: Installation, order_id: str, **wanted: object) -> Callable[[], Any]:
    def look() -> Any:
        try:
            order = house.answer("order", "show", order_id)["order"]
        except AssertionError:
            return None
        return order if all(order.get(name) == value for name, value in wanted.items()) else None

    return look


def balance_of(house: Installation, sku: str, **wanted: int) -> Callable[[], Any]:
    def look() -> Any:
        balance = house.answer("stock", "show", sku)["balance"]
        return balance if all(balance[name] == value for name, value in wanted.items()) else None

    return look


async def test_an_order_from_platform_to_ledger(tmp_path: Path) -> None:
    async with installation(tmp_path) as house:
        with house.running("intake,orders,stock,ledger"):
            # Goods come in. The command waits for the stock keeper's answer.
            house.orderflow("stock", "receive", "BASKET-L", "10", "--reason", "delivery")
            house.orderflow("stock", "receive", "HOOK-C", "7", "--reason", "delivery")

            # Somebody counts again, and sets one aside for a while. A correction that would take
            # more than there is is refused, and the answer is no.
            house.orderflow("stock", "adjust", "BASKET-L", "-1", "--reason", "count")
            house.orderflow("stock", "adjust", "BASKET-L", "1", "--reason", "found it")
            house.orderflow("stock", "adjust", "HOOK-C", "-8", "--reason", "count", code=1)
            house.orderflow("stock", "freeze", "BASKET-L", "3", "--reason", "quality")
            house.orderflow("stock", "unfreeze", "BASKET-L", "3", "--reason", "quality")

            # Taobao says: paid, two lines.
            order_id, payload = PAID
            house.orderflow("feed", str(payload), "--platform", "taobao", "--shop", "qingyou")
            order = eventually(order_in(house, order_id, reservation="reserved"))
            assert order["status"] == "PAID"
            assert order["total_minor"] == 20360

            # Its stock is taken, and the trail says by whom.
            basket = eventually(balance_of(house, "BASKET-L", occupied=2))
            assert (basket["available"], basket["locked"]) == (8, 0)
            story = house.orderflow("explain", "order", order_id)
            assert "raw-orders-taobao" in story
            assert "HOOK-C" in story

            # The same message again changes nothing, and says so.
            house.orderflow("feed", str(payload), "--platform", "taobao", "--shop", "qingyou")
            eventually(
                lambda: (
                    "exactly this was said before" in house.orderflow("explain", "order", order_id)
                )
            )

            # Something that is no order is parked with the field at fault; the rest goes on.
            broken = tmp_path / "broken.json"
            broken.write_bytes(payload.read_bytes().replace(b'"num": 5', b'"num": -1'))
            house.orderflow("feed", str(broken), "--platform", "taobao", "--shop", "qingyou")
            (parked,) = eventually(lambda: house.answer("exceptions", "list")["exceptions"])
            assert parked["field"] == "trade.orders.order[1].num"
            assert (parked["platform"], parked["shop"]) == ("taobao", "qingyou")

            # And everything adds up, says code that shares nothing with the keepers.
            verdict = house.at_rest(within_s=30)
            assert verdict["ok"], verdict
