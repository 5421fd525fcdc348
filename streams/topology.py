"""
START HERE. Who listens to what, and where each message goes.

`DOORS` is where messages come in from outside. `LISTENERS` is every consumer of the house: the
topics it reads, the table it alone may write, and what it sends. `ROUTES` is every message type:
its topic and its key. A message without a route cannot be sent. The README's picture is printed
from this page (`orderflow topology`).

    same key, same partition, one writer     that is the whole concurrency control
"""

from typing import NamedTuple

from agents.letters import Form, Route
from schemas.channels import ChannelEvent, ChannelSilent, ChannelTalking
from schemas.orders import (
    CaseOpened,
    CaseSettled,
    ExpireHold,
    ObserveOrder,
    OrderCommandAnswered,
    OrderDetails,
    OrderEvent,
    OrderExpired,
    OrderObserved,
    OrderRefundChanged,
    OrderReserved,
    OrderReturned,
    OrderShipped,
    OrderShort,
    OrderStatusChanged,
    RemindOrder,
    ReturnGoods,
    SettleCase,
    ShipOrder,
    StatementIgnored,
    StockAnswered,
)
from schemas.parked import Parked
from schemas.stock import (
    AdjustStock,
    AllotStock,
    ConfirmHold,
    CountStock,
    EndQuota,
    FreezeStock,
    GiveBackStock,
    HoldStock,
    OccupyStock,
    QuotaChanged,
    ReceiveStock,
    RefuseStock,
    ReleaseIgnored,
    ReleaseStock,
    ReturnStock,
    ShipStock,
    ShortfallChanged,
    StockCommandAnswered,
    StockMoved,
    UnfreezeStock,
)
from streams.topics import (
    CHANNEL_EVENTS,
    OPERATOR_COMMANDS,
    ORDER_COMMANDS,
    ORDER_DETAILS,
    ORDER_EVENTS,
    PARKED,
    RAW,
    RAW_HELD,
    REFERENCE,
    STOCK_COMMANDS,
    STOCK_EVENTS,
    Topic,
)
from tables import orders, stock
from tables.spec import Table

# --- keys -----------------------------------------------------------------------------------------


def by_order(message: OrderEvent | OrderDetails | StockAnswered | ReturnGoods) -> bytes:
    """`platform:shop:order`."""
    return message.order.encode()


def by_statement(message: ObserveOrder) -> bytes:
    """`platform:shop:order` of the order that was observed."""
    return message.statement.key.encode()


def by_sku(message: HoldStock | StockMoved | ReceiveStock) -> bytes:
    """The SKU: all commands of one SKU meet one keeper, one after the other."""
    return message.sku.encode()


def by_channel(message: ChannelEvent) -> bytes:
    """`platform/shop`."""
    return f"{message.platform}/{message.shop}".encode()


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
    RemindOrder: Route(ORDER_COMMANDS.name, by_order, LETTER),
    ReturnGoods: Route(ORDER_COMMANDS.name, by_order, LETTER),
    SettleCase: Route(ORDER_COMMANDS.name, by_order, LETTER),
    ShipOrder: Route(ORDER_COMMANDS.name, by_order, LETTER),
    # to the stock keeper
    HoldStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    OccupyStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ReleaseStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ShipStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ReturnStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ConfirmHold: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    ReceiveStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    AdjustStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    FreezeStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    UnfreezeStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    CountStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    AllotStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    GiveBackStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    RefuseStock: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    EndQuota: Route(STOCK_COMMANDS.name, by_sku, LETTER),
    # told to the public, in the keeper's own partition
    OrderObserved: Route(ORDERS_OUT, by_order, EVENT, home=True),
    StatementIgnored: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderReserved: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderShort: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderExpired: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderStatusChanged: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderRefundChanged: Route(ORDERS_OUT, by_order, EVENT, home=True),
    CaseOpened: Route(ORDERS_OUT, by_order, EVENT, home=True),
    CaseSettled: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderReturned: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderShipped: Route(ORDERS_OUT, by_order, EVENT, home=True),
    OrderCommandAnswered: Route(ORDERS_OUT, by_order, EVENT, home=True),
    StockMoved: Route(STOCK_OUT, by_sku, EVENT, home=True),
    ShortfallChanged: Route(STOCK_OUT, by_sku, EVENT, home=True),
    QuotaChanged: Route(STOCK_OUT, by_sku, EVENT, home=True),
    StockCommandAnswered: Route(STOCK_OUT, by_sku, EVENT, home=True),
    ReleaseIgnored: Route(STOCK_OUT, by_sku, EVENT, home=True),
    # told to the public by the poller, which numbers nothing
    ChannelSilent: Route(CHANNEL_EVENTS.name, by_channel, EVENT),
    ChannelTalking: Route(CHANNEL_EVENTS.name, by_channel, EVENT),
    # to the ledger alone
    OrderDetails: Route(ORDER_DETAILS.name, by_order, LETTER, home=True),
    Parked: Route(PARKED.name, by_place, LETTER),
}

# --- what comes in --------------------------------------------------------------------------------


class Door(NamedTuple):
    """A process that takes messages from outside and puts them on topics."""

    name: str
    #: What comes to it, and how.
    takes: tuple[str, ...]
    #: The topics it writes; like every listener it says yes only when the broker has it.
    writes: tuple[Topic, ...]


DOORS: dict[str, Door] = {
    door.name: door
    for door in (
        Door("gateway", ("POST /v1/webhooks/…", "POST /v1/orders"), RAW),
        # It reads the raw topics too, for messages that only name an order.
        Door("poll", ("platforms' APIs", "thin messages"), (*RAW, CHANNEL_EVENTS, PARKED)),
        # `orderflow import` and uploads: a file's orders lie on their platform's topic.
        Door("import", ("files",), RAW),
        #: `orderflow reference publish`: mappings as people changed them, and the orders that
        #: waited for one.
        Door("mappings", ("PostgreSQL", "raw-orders-<platform>"), (REFERENCE, ORDER_COMMANDS)),
    )
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
    #: Where it goes from a listener that writes no topic.
    outside: str = "PostgreSQL"


LISTENERS: dict[str, Listener] = {
    listener.name: listener
    for listener in (
        Listener(
            "intake",
            (*RAW, OPERATOR_COMMANDS),
            None,
            # What it sets aside for a paused shop it reads back by itself (`streams/pausing/`).
            (ORDER_COMMANDS, STOCK_COMMANDS, PARKED, RAW_HELD),
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
        Listener(
            "availability",
            (STOCK_EVENTS,),
            None,
            (),
            "keeps what is left to sell, to be read by GET /v1/availability",
            "Redis",
        ),
        Listener(
            "channel-stock",
            (STOCK_EVENTS,),
            None,
            (),
            "tells the shops' channels what they may sell",
            "channels",
        ),
        Listener(
            "callbacks",
            (ORDER_EVENTS,),
            None,
            (),
            # `orderflow callbacks run` sends it from there.
            "queues what subscribers and platforms are told, each once",
        ),
    )
}


def picture() -> str:
    """Return the house as the README shows it, drawn from the tables above."""
    width = max(len(topic.name) for listener in LISTENERS.values() for topic in listener.reads)
    lines = []
    parts = [(door.name, list(door.takes), _names(door.writes), "") for door in DOORS.values()]
    for listener in LISTENERS.values():
        owns = f"table {listener.owns.name}" if listener.owns else ""
        reads, writes = _names(listener.reads), _names(listener.writes) or [listener.outside]
        parts.append((listener.name, reads, writes, owns))
    for name, reads, writes, owns in parts:
        box = f"[ {name} ]"
        for row in range(max(len(reads), len(writes), 2 if owns else 1)):
            left = reads[row] if row < len(reads) else ""
            right = writes[row] if row < len(writes) else ""
            middle = (box, owns)[row] if row < len((box, owns)) else ""
            arrow_in, arrow_out = ("──▶" if left else "   "), ("──▶" if right else "   ")
            lines.append(f"{left:<{width}} {arrow_in} {middle:<17} {arrow_out} {right}".rstrip())
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
