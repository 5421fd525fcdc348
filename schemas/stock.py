"""
The words about stock: five buckets, the verbs that move units between them, and what is reported.

A letter of the order keeper (`HoldStock`, `OccupyStock`, `ReleaseStock`, `ShipStock`) is numbered
and needs no id. A command from outside (`ReceiveStock` …) carries an id with its time in it
(UUIDv7), so that asking twice gives the same answer.
"""

from msgspec import Struct

from schemas.base import OrderKey, Quantity, Sku, Units, Word
from schemas.errors import Refusal


class Bucket(Word):
    """Where a unit stands."""

    #: 可用: sellable.
    AVAILABLE = "available"
    #: 已锁定: held for an unpaid order, with a deadline.
    LOCKED = "locked"
    #: 已占用: paid, being picked.
    OCCUPIED = "occupied"
    #: 预留: a campaign's or channel's quota.
    RESERVED = "reserved"
    #: 冻结: QC, damage, stocktake dispute.
    FROZEN = "frozen"


class Verb(Word):
    """What may be done to stock."""

    RECEIVE = "receive"
    ADJUST_UP = "adjust_up"
    ADJUST_DOWN = "adjust_down"
    HOLD = "hold"
    OCCUPY = "occupy"
    RELEASE = "release"
    EXPIRE = "expire"
    SHIP = "ship"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


# --- asked of the stock keeper ------------------------------------------------------------------


class HoldStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Hold units of one SKU for one order; answered by exactly one StockAnswered."""

    order: OrderKey
    sku: Sku
    quantity: Quantity
    attempt: int
    #: None for an order that is already paid.
    deadline_ms: int | None
    cause: str


class OccupyStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The order is paid: its hold has no deadline any more."""

    order: OrderKey
    sku: Sku
    cause: str


class ReleaseStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Give back what the order holds of this SKU."""

    order: OrderKey
    sku: Sku
    #: RELEASE or EXPIRE: why it is given back.
    verb: Verb
    cause: str


class ShipStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The goods left: occupied and on-hand fall together."""

    order: OrderKey
    sku: Sku
    cause: str


class ReceiveStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Goods came in."""

    id: str
    sku: Sku
    quantity: Quantity
    reason: str
    operator: str


class AdjustStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Correct what is available by a difference, never to an absolute number."""

    id: str
    sku: Sku
    #: Not 0; negative takes away.
    delta: int
    reason: str
    operator: str


class FreezeStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Take units out of sale without losing them."""

    id: str
    sku: Sku
    quantity: Quantity
    reason: str
    operator: str


class UnfreezeStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Put frozen units back on sale."""

    id: str
    sku: Sku
    quantity: Quantity
    reason: str
    operator: str


OperatorStockCommand = ReceiveStock | AdjustStock | FreezeStock | UnfreezeStock
StockCommand = HoldStock | OccupyStock | ReleaseStock | ShipStock | OperatorStockCommand

# --- reported by the stock keeper (public) ------------------------------------------------------


class StockEvent(Struct, frozen=True, kw_only=True, gc=False, tag_field="event"):
    """What every stock event says."""

    sku: str
    #: The broker's append time of the command that was decided, ms.
    at_ms: int
    #: The raw record or command that started it.
    cause: str


class StockMoved(StockEvent, frozen=True, kw_only=True, gc=False, tag="stock.moved"):
    """Units moved from one bucket to another; None is the world outside."""

    #: Rises by one with every move of this SKU; no gap.
    version: int
    verb: Verb
    quantity: int
    source: Bucket | None
    target: Bucket | None
    #: The balance after the move; on-hand is the sum of the five.
    available: Units
    locked: Units
    occupied: Units
    reserved: Units
    frozen: Units
    order: str | None = None
    deadline_ms: int | None = None
    #: Id of the operator's command.
    command: str | None = None
    operator: str | None = None
    reason: str | None = None


class StockCommandAnswered(StockEvent, frozen=True, kw_only=True, gc=False, tag="stock.answered"):
    """The answer to an operator's command; a repeat gets the same one."""

    command: str
    refusal: Refusal | None = None
    #: What was available when it was decided.
    available: Units = 0


class ReleaseIgnored(StockEvent, frozen=True, kw_only=True, gc=False, tag="stock.ignored"):
    """A letter met no live hold; recorded, nothing moved (cases.md T13)."""

    order: str
    verb: Verb
    refusal: Refusal


AnyStockEvent = StockMoved | StockCommandAnswered | ReleaseIgnored
