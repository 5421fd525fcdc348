"""The canary through the mall's adapter and both keepers: a verdict each, and no stock moves."""

import orjson
from msgspec.structs import replace

from streams.adapters import adapter_for
from streams.alerting.canary import ORDERS, order_of
from streams.alerting.file import Canary
from tests.builders import T0, observe
from tests.simulation import House, words

CANARY = Canary(url="http://127.0.0.1/", shop="canary", key="k", sku="CANARY", every_s=60)
MINUTE = 60_000


def sent(house: House, at_ms: int, place: int) -> None:
    (statement,) = adapter_for("mall").parse(orjson.dumps(order_of(CANARY, at_ms)), "canary")
    # As intake does for a shop whose merchant SKU is ours.
    lines = tuple(replace(line, sku=line.merchant_sku) for line in statement.lines)
    house.tell(observe(replace(statement, lines=lines), place))
    house.settle()


def test_a_canary_is_refused_by_the_stock_keeper_and_leaves_no_stock_behind():
    house = House()

    sent(house, T0, 0)

    assert words(house.all_order_events()) == ["observed", "short"]
    assert house.stock_events() == []


def test_the_same_canary_an_hour_later_gets_a_verdict_of_its_own():
    house = House()

    for turn in range(3):
        sent(house, T0 + turn * ORDERS * MINUTE, turn)

    assert words(house.all_order_events()) == ["observed", "short"] * 3


def test_sixty_canaries_take_turns():
    ids = [order_of(CANARY, T0 + nth * MINUTE)["platform_order_id"] for nth in range(2 * ORDERS)]

    assert len(set(ids)) == ORDERS
    assert ids[:ORDERS] == ids[ORDERS:]
