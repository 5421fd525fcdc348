"""
The words about stock: five buckets, the verbs that move units between them, and what is reported.

A letter of the order keeper (`HoldStock`, `OccupyStock`, `ReleaseStock`, `ShipStock`,
`ReturnStock`, `ConfirmHold`) is numbered and needs no id. A command from outside (`ReceiveStock` …)
carries an id with its time in it (UUIDv7), so that asking twice gives the same answer.
"""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import QUANTITY_MAX, OrderKey, Quantity, Sku, Units, Word
from schemas.errors import Refusal
from schemas.orders import Disposition

#: A campaign's or channel's quota of one SKU, by name.
QuotaName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
#: What somebody counted: 0 is a count too.
Counted = Annotated[int, Meta(ge=0, le=QUANTITY_MAX)]
#: An instant, ms since 1970, below the year 5138: a later one is seconds or days taken for ms.
Instant = Annotated[int, Meta(ge=0, le=100_000_000_000_000)]


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
    #: 短缺: held and not there. Counts down: what is taken from it is missing.
    SHORTFALL = "shortfall"


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
    #: A stocktake found more, or less; what is less than the holds is short.
    COUNT_UP = "count_up"
    COUNT_DOWN = "count_down"
    COUNT_SHORT = "count_short"
    #: What became available makes up for what is missing, before anybody may have it.
    COVER = "cover"
    #: What a stocktake missed was shipped all the same: it was there.
    FOUND = "found"
    RETURN = "return"
    RETURN_FROZEN = "return_frozen"
    #: To a quota and back, by an operator or by the end of its window.
    ALLOT = "allot"
    GIVE_BACK = "give_back"
    #: A hold takes from its quota first; what it gives back goes there again.
    DRAW = "draw"
    RESTORE = "restore"


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
    #: Take from this quota first, while its window is open; empty: from the pool alone.
    quota: str = ""
    #: The order holds some of this SKU already and wants so many more.
    grow: bool = False


class ConfirmHold(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """
    No answer came to a HoldStock in time: what became of it? Moves nothing.

    It comes after that letter on the same way, so what was not held by now was parked.
    """

    order: OrderKey
    sku: Sku
    attempt: int
    #: What the order holds in all, if it was held.
    quantity: Units
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
    #: So many of them; None is all.
    quantity: Quantity | None = None


class ShipStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The goods left: occupied and on-hand fall together."""

    order: OrderKey
    sku: Sku
    cause: str
    #: A parcel with so many of them; None is all.
    quantity: Quantity | None = None


class ReturnStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """What an order shipped came back; the order keeper knows that it was shipped."""

    order: OrderKey
    sku: Sku
    quantity: Quantity
    #: SELLABLE or FROZEN.
    disposition: Disposition
    #: Id of the operator's command.
    command: str
    reason: str
    operator: str
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


class CountStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """A stocktake: so many are there. It may find less than is held: a shortfall."""

    id: str
    sku: Sku
    #: Everything on the shelves, whatever bucket it stands in.
    counted: Counted
    reason: str
    operator: str
    #: What the book said when the counting began, so that what moved meanwhile does no harm;
    #: None: what it says now.
    book: Units | None = None


class AllotStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Keep units for one campaign or channel while its window is open."""

    id: str
    sku: Sku
    quantity: Quantity
    reason: str
    operator: str
    quota: QuotaName
    #: The window, ms: from the first to before the second.
    starts_ms: Instant
    ends_ms: Instant


class GiveBackStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Put what a quota has left on sale for everybody, before its window ends."""

    id: str
    sku: Sku
    quantity: Quantity
    reason: str
    operator: str
    quota: QuotaName


class EndQuota(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The sweeper saw a quota's window end; the keeper compares it with the log's clock."""

    sku: Sku
    quota: QuotaName
    #: The end the sweeper saw; another one in the row means this request is stale.
    ends_ms: int


class RefuseStock(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Intake knows from the reference data that an operator's command cannot be done."""

    id: str
    sku: Sku
    refusal: Refusal


OperatorStockCommand = (
    ReceiveStock
    | AdjustStock
    | FreezeStock
    | UnfreezeStock
    | CountStock
    | AllotStock
    | GiveBackStock
)
StockCommand = (
    HoldStock
    | ConfirmHold
    | OccupyStock
    | ReleaseStock
    | ShipStock
    | ReturnStock
    | EndQuota
    | RefuseStock
    | OperatorStockCommand
)

# --- reported by the stock keeper (public) ------------------------------------------------------


class StockEvent(Struct, frozen=True, kw_only=True, gc=False, tag_field="event"):
    """What every stock event says."""

    sku: str
    #: The broker's append time of the command that was decided, ms.
    at_ms: int
    #: The raw record or command that started it.
    cause: str


class StockMoved(
    StockEvent, frozen=True, kw_only=True, gc=False, tag="stock.moved", omit_defaults=True
):
    """Units moved from one bucket to another; None is the world outside, and is left out."""

    #: Rises by one with every move of this SKU; no gap.
    version: int
    verb: Verb
    quantity: int
    source: Bucket | None
    target: Bucket | None
    #: The balance after the move; on-hand is the sum of the five, less the shortfall.
    available: Units
    locked: Units
    occupied: Units
    reserved: Units
    frozen: Units
    order: str | None = None
    #: Until when the order's hold lasts unpaid.
    deadline_ms: int | None = None
    #: Id of the operator's command.
    command: str | None = None
    operator: str | None = None
    reason: str | None = None
    #: What is held and not there.
    shortfall: Units = 0
    #: What the order holds after the move, where that is not the move's own quantity: the hold
    #: grew, or goes on with less.
    held: int | None = None
    #: The quota it was taken from or given to.
    quota: str | None = None


class ShortfallChanged(StockEvent, frozen=True, kw_only=True, gc=False, tag="stock.shortfall"):
    """
    More is held than is there, or less than before: a case for a person while it is not 0.

    To settle: find the goods, buy more, or cancel orders; whatever becomes available covers it.
    """

    #: Of the balance, after the command's moves.
    version: int
    before: Units
    shortfall: Units
    #: Locked and occupied: what orders hold.
    held: Units


class QuotaChanged(StockEvent, frozen=True, kw_only=True, gc=False, tag="stock.quota"):
    """What a campaign or channel has left of its quota of one SKU."""

    #: Of the balance, after the command's moves.
    version: int
    quota: str
    starts_ms: int
    ends_ms: int
    allotted: Units
    left: Units
    #: The window is over, and what was left has been given back.
    ended: bool = False


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


AnyStockEvent = StockMoved | ShortfallChanged | QuotaChanged | StockCommandAnswered | ReleaseIgnored
