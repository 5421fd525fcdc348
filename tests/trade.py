"""What a day nobody planned is made of: orders with their lines, and what people do by hand."""

from random import Random
from typing import Any

from msgspec import Struct

from schemas.errors import Refusal
from schemas.orders import (
    Case,
    Choice,
    Component,
    Disposition,
    Line,
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
from tests.builders import MINUTE, T0, a_line, an_id, receive

SKUS = ("LAMP", "RUG", "VASE")
ORDERS = tuple(str(number) for number in range(500, 508))
QUOTA = "11-11"
WHY = {"reason": "because", "operator": "mei"}
LIFE = (Status.PENDING_PAYMENT, Status.PAID, Status.PARTIALLY_SHIPPED, Status.SHIPPED)


def some_lines(dice: Random) -> list[Line]:
    """Return lines of an order: some SKUs, some units, now and then a kit or one unmapped."""
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


def by_hand(dice: Random, now_ms: int) -> Struct:
    """Return what an operator might ask for."""
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
