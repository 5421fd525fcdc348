"""
The row of an order: what was said and by which statement, what it holds, what was told.

A decision works on a copy, never on the row itself; what can be computed is never stored twice.
"""

from msgspec import Struct

from schemas.base import Moment, Word
from schemas.errors import Refusal
from schemas.orders import (
    Buyer,
    Case,
    Invoice,
    Line,
    Notice,
    ParcelLine,
    Policy,
    Receiver,
    Refund,
    Shipment,
    Status,
    Waybill,
)
from tables.answers import Answer
from tables.lifecycle import GOALS, Goal


class Held(Word):
    """Where one demand stands."""

    #: Not asked yet.
    NEW = "new"
    #: HoldStock is out, its answer is not in.
    ASKED = "asked"
    #: The stock keeper said yes, and the attempt's verdict is not out.
    GRANTED = "granted"
    LOCKED = "locked"
    OCCUPIED = "occupied"
    SHIPPED = "shipped"
    REFUSED = "refused"
    RELEASED = "released"
    EXPIRED = "expired"
    #: From before go-live: the stock never knew of it.
    ADOPTED = "adopted"


#: What an order has by a verdict, and counts against the stock.
HOLDING = frozenset({Held.LOCKED, Held.OCCUPIED})
#: What the stock keeper holds for an order.
IN_STOCK = HOLDING | {Held.GRANTED}


class Version(Struct, frozen=True, array_like=True, order=True, gc=False):
    """Which statement a facet comes from; the greatest wins."""

    #: Class of what cannot unhappen, or how clear personal data is; 0 elsewhere.
    weight: int
    stated_ms: int
    rank: int
    #: As `sortable` writes it.
    adapter: str
    digest: str


def sortable(adapter: str) -> str:
    """
    Return *adapter* so that texts compare as versions do: `taobao/9` before `taobao/10`.

    Each further digit puts a colon, which sorts after every digit, before the number; a version of
    one digit stays as it is, and so do the rows that have it.
    """
    platform, _, number = adapter.rpartition("/")
    if len(number) < 2 or not number.isdecimal():
        return adapter
    return f"{platform}/{':' * (len(number) - 1)}{number}"


class Demand(Struct, frozen=True, array_like=True, gc=False):
    """
    How many units of one SKU an order wants, over all its lines, and what became of it.

    A SKU of which an edit wants more than is held has a second demand, for the difference.
    """

    sku: str
    quantity: int
    held: Held = Held.NEW
    refusal: Refusal | None = None
    #: What was available when it was refused.
    available: int = 0
    #: Of `quantity`, what has left, and of that what came back.
    shipped: int = 0
    returned: int = 0

    @property
    def rest(self) -> int:
        """What has not left."""
        return self.quantity - self.shipped


class Parcel(Struct, frozen=True, array_like=True, gc=False):
    """What left our warehouse in one parcel: units of lines, by the lines' ids."""

    waybill: Waybill
    lines: tuple[ParcelLine, ...]


class Order(Struct, array_like=True, kw_only=True, gc=False):
    """Everything that is known of one order. A decision works on a copy, never on the row."""

    key: str
    platform: str
    shop: str
    order_id: str
    #: Rises by one with every event.
    version: int = 0
    policy: Policy = Policy()
    #: The raw record of the statement applied last.
    cause: str = ""
    # What was said, and by which statement.
    status: Status | None = None
    status_said: str | None = None
    status_at: Version | None = None
    #: Time of the newest statement that called it paid, ms.
    paid_said_ms: int = 0
    refund: Refund | None = None
    refunded: int | None = None
    refund_at: Version | None = None
    created_at: Moment | None = None
    paid_at: Moment | None = None
    shipped_at: Moment | None = None
    completed_at: Moment | None = None
    updated_at: Moment | None = None
    currency: str | None = None
    total: int | None = None
    shipping: int | None = None
    discount: int | None = None
    tax: int | None = None
    paid: int | None = None
    lines: tuple[Line, ...] = ()
    payment_method: str | None = None
    invoice: Invoice | None = None
    notices: tuple[Notice, ...] = ()
    content_at: Version | None = None
    buyer: Buyer | None = None
    buyer_at: Version | None = None
    receiver: Receiver | None = None
    receiver_at: Version | None = None
    shipments: tuple[Shipment, ...] = ()
    shipments_at: Version | None = None
    # The reservation.
    demands: tuple[Demand, ...] = ()
    attempt: int = 0
    deadline_ms: int | None = None
    #: A verdict of this attempt is due.
    undecided: bool = False
    # What was told downstream.
    announced: Status | None = None
    announced_refund: Refund | None = None
    cases: tuple[Case, ...] = ()
    #: Where its goods leave from, once it has asked for any; empty: the shop's one warehouse.
    warehouse: str = ""
    # What it waits for: an answer, or a mapping.
    since_ms: int = 0
    #: How often somebody was reminded of it.
    reminded: int = 0
    #: Cases a person has decided.
    settled: tuple[Case, ...] = ()
    #: The operators' commands of the last 24 hours, oldest first.
    answers: tuple[Answer, ...] = ()
    #: What left our warehouse by our own word, oldest first; the platform's are in `shipments`.
    parcels: tuple[Parcel, ...] = ()

    @property
    def is_heard(self) -> bool:
        """A platform has spoken of it; else the row is what operators were told, for a day."""
        return self.version > 0

    @property
    def goal(self) -> Goal:
        """What the order's status wants of the stock."""
        return GOALS[self.status]

    @property
    def waits_for_answer(self) -> bool:
        """An answer of the stock keeper is out."""
        for demand in self.demands:  # noqa: SIM110  asked with every answer: twice as fast as any()
            if demand.held is Held.ASKED:
                return True
        return False

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The platform's SKUs (or line ids) that no mapping knows; the reservation waits."""
        waiting = [line for line in self.lines if line.sku is None]
        return tuple(line.platform_sku or line.merchant_sku or line.line_id for line in waiting)

    @property
    def reservation(self) -> str:
        """The saga's status, computed from its demands and never stored."""
        states = {demand.held for demand in self.demands}
        if self.lines and self.unmapped and states <= {Held.NEW}:
            return "waiting"
        if Held.REFUSED in states and states & HOLDING:
            return "partial"
        for held, word in _RESERVATION:
            if held in states:
                return word
        return "none"


#: The first that any demand is in names the reservation.
_RESERVATION = (
    (Held.ASKED, "asking"),
    (Held.GRANTED, "asking"),
    (Held.REFUSED, "short"),
    (Held.EXPIRED, "expired"),
    (Held.LOCKED, "reserved"),
    (Held.OCCUPIED, "reserved"),
    (Held.SHIPPED, "shipped"),
    (Held.RELEASED, "released"),
    (Held.ADOPTED, "adopted"),
)


def order_row_key(order: str) -> bytes:
    """Return the key of an order's row, also its key on the topics."""
    return order.encode()
