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
    Policy,
    Receiver,
    Refund,
    Shipment,
    Status,
)
from tables.lifecycle import GOALS, Goal


class Held(Word):
    """Where one demand stands."""

    #: Not asked yet.
    NEW = "new"
    #: HoldStock is out, its answer is not in.
    ASKED = "asked"
    LOCKED = "locked"
    OCCUPIED = "occupied"
    SHIPPED = "shipped"
    REFUSED = "refused"
    RELEASED = "released"
    EXPIRED = "expired"
    #: From before go-live: the stock never knew of it.
    ADOPTED = "adopted"


#: What counts against the stock.
HOLDING = frozenset({Held.LOCKED, Held.OCCUPIED})


class Version(Struct, frozen=True, array_like=True, order=True, gc=False):
    """Which statement a facet comes from; the greatest wins."""

    #: Class of what cannot unhappen, or how clear personal data is; 0 elsewhere.
    weight: int
    stated_ms: int
    rank: int
    adapter: str
    digest: str


class Demand(Struct, frozen=True, array_like=True, gc=False):
    """How many units of one SKU an order wants, over all its lines, and what became of it."""

    sku: str
    quantity: int
    held: Held = Held.NEW
    refusal: Refusal | None = None
    #: What was available when it was refused.
    available: int = 0


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
