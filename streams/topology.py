"""
START HERE. Who listens to what, and where each message goes.

`LISTENERS` is every consumer of the house: the topics it reads, the table it alone may write, and
what it sends. `ROUTES` is every message type: its topic and its key. A message without a route
cannot be sent. The README's picture is printed from this page (`orderflow topology`).

    same key, same partition, one writer     that is the whole concurrency control
"""

from typing import NamedTuple

from agents.letters import Form, Route
from schemas.orders import (
    CaseOpened,
    ExpireHold,
    ObserveOrder,
    OrderDetails,
    OrderEvent,
    OrderExpired,
    OrderObserved,
    OrderRefundChanged,
    OrderReserved,
    OrderShort,
    OrderStatusChanged,
    StatementIgnored,
    StockAnswered,
)
from schemas.parked import Parked
from schemas.stock import (
    AdjustStock,
    FreezeStock,
    HoldStock,
    OccupyStock,
    ReceiveStock,
    ReleaseIgnored,
    ReleaseStock,
    ShipStock,
    StockCommandAnswered,
    StockMoved,
    UnfreezeStock,
)
from streams.topics import (
    OPERATOR_COMMANDS,
    ORDER_COMMANDS,
    ORDER_DETAILS,
    ORDER_EVENTS,
    PARKED,
    RAW,
    REFERENCE,
    STOCK_COMMANDS,
    STOCK_EVENTS,
    Topic,
)
from tables import orders, stock
from tables.spec import Table

# --- keys -----------------------------------------------------------------------------------------


def by_order(message: OrderEvent | OrderDetails | StockAnswered | ExpireHold) -> bytes:
    """`platform:shop:order`."""
    return message.order.encode()


def by_statement(message: ObserveOrder) -> bytes:
    """`platform:shop:order` of the order that was observed."""
    return message.statement.key.encode()


def by_sku(message: HoldStock | StockMoved | ReceiveStock) -> bytes:
    """The SKU: all commands of one SKU meet one keeper, one after the other."""
    return message.sku.encode()


def by_place(message: Parked) -> bytes:
    """`topic/partition/offset`: a repeat is the same one."""
    return message.id.encode()


# --- where each message goes ----------------------------------------------------------------------

LETTER, EVENT = Form.LETTER, Form.EVENT
ORDERS_OUT, STOCK_OUT = ORDER_EVENTS.name, STOCK_EVENTS.name

ROUTES: dict[type, Route] = {
    # to the order keeper
    ObserveOrder: Route(ORDER_COMMANDS.name, by_statement, LETTER),
    StockAnswered: Route(ORDER_COMMANDS.name, by_order, LETTER, reply=True),  # home to its order
    ExpireHold: Route(ORDER_COMMANDS.name, by_order, LETTER),
    # to the stock keeper
    HoldStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    OccupyStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ReleaseStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ShipStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ReceiveStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    AdjustStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    FreezeStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    UnfreezeStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    # told to the public, in the keeper's own partition
    OrderObserved: Route(ORDERS_OUT, by_order, EVENT, home=True),
    StatementIgnored: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderReserved: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderShort: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderExpired: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderStatusChanged: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderRefundChanged: Route(ORDERS_OUT, by_order, EVENT, home=True),
    CaseOpened: Route(ORDERS_OUT, by_order, EVENT, home=True),
    StockMoved: Route(STOCK_OUT, by_sku, EVENT, home=True),
    StockCommandAnswered: Route(STOCK_OUT, by_sku, EVENT, home=True),
    ReleaseIgnored: Route(STOCK_OUT, by_sku, EVENT, home=True),
    # to the ledger alone
    OrderDetails: Route(ORDER_DETAILS.name, by_order, LETTER, home=True),
    Parked: Route(PARKED.name, by_place, LETTER),
}

# --- who listens ----------------------------------------------------------------------------------


class Listener(NamedTuple):
    """One consumer of the house; its name is its role, its group and its metrics' label."""

    name: str
    reads: tuple[Topic, ...]
    #: The table that it alone may write.
    owns: Table | None
    #: The topics it writes, in the order of the flow.
    writes: tuple[Topic, ...]
    #: What it is for, in one line.
    does: str


LISTENERS: dict[str, Listener] = {
    listener.name: listener
    for listener in (
        Listener(
            "intake",
            (*RAW, OPERATOR_COMMANDS),
            None,
            (ORDER_COMMANDS, STOCK_COMMANDS, PARKED),
            "reads what platforms and operators said, in our terms",
        ),
        Listener(
            "orders",
            (ORDER_COMMANDS,),
            orders.TABLE,
            (STOCK_COMMANDS, ORDER_EVENTS, ORDER_DETAILS, PARKED),
            "decides every order, and asks for its stock",
        ),
        Listener(
            "stock",
            (STOCK_COMMANDS,),
            stock.TABLE,
            (ORDER_COMMANDS, STOCK_EVENTS, PARKED),
            "decides every SKU, one command after the other",
        ),
        Listener(
            "ledger",
            (ORDER_EVENTS, STOCK_EVENTS, ORDER_DETAILS, PARKED),
            None,
            (),
            "writes PostgreSQL, each event once",
        ),
    )
}

#: Read whole by intake before it starts, and followed from then on.
DIRECTORY = REFERENCE


def picture() -> str:
    """Return the house as the README shows it, drawn from the two tables above."""
    width = max(len(topic.name) for listener in LISTENERS.values() for topic in listener.reads)
    lines = []
    for listener in LISTENERS.values():
        reads = _names(listener.reads)
        writes = _names(listener.writes) or ["PostgreSQL"]
        box = f"[ {listener.name} ]"
        owns = f"table {listener.owns.name}" if listener.owns else ""
        for row in range(max(len(reads), len(writes), 2)):
            left = reads[row] if row < len(reads) else ""
            right = writes[row] if row < len(writes) else ""
            middle = (box, owns)[row] if row < len((box, owns)) else ""
            arrow_in, arrow_out = ("──▶" if left else "   "), ("──▶" if right else "   ")
            lines.append(f"{left:<{width}} {arrow_in} {middle:<14} {arrow_out} {right}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _names(topics: tuple[Topic, ...]) -> list[str]:
    """The raw topics are one line, however many platforms there are."""
    names: list[str] = []
    for topic in topics:
        name = "raw-orders-<platform>" if topic in RAW else topic.name
        if name not in names:
            names.append(name)
    return names
