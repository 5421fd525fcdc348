"""
The words about orders: what a platform states, what is asked of the order keeper, what it reports.

A `Statement` is one platform's word about one order, in our terms, with nothing added: what
the payload does not say is None (or an empty tuple), never "now", never CNY, never "".
Commands ask (`ObserveOrder`), events report (`OrderReserved`). Events are public: they carry
no personal data. What is personal travels in `OrderDetails`, which only the ledger reads.
"""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import (
    ID_LENGTH_MAX,
    LINES_MAX,
    Minor,
    Moment,
    OrderKey,
    Quantity,
    Sku,
    Source,
    Units,
    Word,
    order_key,
)
from schemas.errors import Refusal


class Disposition(Word):
    """What came back is good for."""

    #: On sale again.
    SELLABLE = "sellable"
    #: Damaged, or waits for QC.
    FROZEN = "frozen"
    #: It did not come back, or nothing is left of it: recorded, no unit moves.
    LOST = "lost"


class Status(Word):
    """How far an order has come (platforms.md section 13)."""

    PENDING_PAYMENT = "PENDING_PAYMENT"
    #: Paid or accepted, and must not ship yet.
    ON_HOLD = "ON_HOLD"
    #: Ready to ship.
    PAID = "PAID"
    PARTIALLY_SHIPPED = "PARTIALLY_SHIPPED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    #: The platform used a word we do not know; it is kept in `status_said`.
    UNKNOWN = "UNKNOWN"


class Refund(Word):
    """The second axis: what became of the money."""

    NONE = "NONE"
    REFUNDING = "REFUNDING"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"
    REJECTED = "REJECTED"


class Component(Struct, frozen=True, array_like=True, gc=False):
    """What one unit of a kit takes of one SKU."""

    sku: Sku
    quantity: Quantity


class Line(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One line of an order. Money in minor units of the order's currency."""

    line_id: str
    quantity: Quantity
    platform_sku: str | None = None
    merchant_sku: str | None = None
    #: Our SKU, stamped by intake from the mapping; None waits for a mapping.
    sku: Sku | None = None
    title: str | None = None
    #: Before discounts and tax.
    unit_price: Minor | None = None
    #: After the discounts the platform puts on this line, without tax and shipping.
    line_total: Minor | None = None
    refund: Refund | None = None
    #: The line's own native status, where the platform has one.
    status_said: str | None = None
    #: Where the line's SKU is a kit: what one of it takes from the shelves; stamped by intake.
    components: tuple[Component, ...] = ()
    #: How many of them have left, where the platform says it line by line.
    shipped: Units | None = None


class Buyer(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Who buys. A mask or ciphertext is kept as said and is never taken for the thing itself."""

    #: The platform's open id of the buyer; masked names are no identity.
    id: str | None = None
    name: str | None = None
    email: str | None = None
    #: E.164, only where the number came in clear.
    phone: str | None = None
    #: The number as it came: clear, masked or encrypted.
    phone_said: str | None = None


class Receiver(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Where the goods go: region levels as far as they were said, the address as it came."""

    name: str | None = None
    phone: str | None = None
    phone_said: str | None = None
    country: str | None = None
    province: str | None = None
    city: str | None = None
    district: str | None = None
    town: str | None = None
    address: str | None = None
    postcode: str | None = None
    #: The platform's key for "same receiver" (oaid, open_address_id).
    group: str | None = None


class Invoice(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The invoice the buyer asked for."""

    type: str | None = None
    title: str | None = None
    tax_number: str | None = None
    amount: Minor | None = None
    status: str | None = None


class Shipment(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One parcel on its way."""

    carrier: str | None = None
    tracking_number: str | None = None
    shipped_at: Moment | None = None


class NoticeCode(Word):
    """What was unknown in a payload without making it unusable."""

    UNKNOWN_STATUS = "unknown_status"
    UNKNOWN_REFUND_STATUS = "unknown_refund_status"
    UNMAPPED_SKU = "unmapped_sku"
    NO_MERCHANT_SKU = "no_merchant_sku"
    #: A thin notification: the order itself has to be fetched.
    THIN = "thin"
    #: The invoice cannot be issued like this: a tax number that is none, a title that is missing.
    INVOICE = "invoice"


class Notice(Struct, frozen=True, array_like=True, gc=False):
    """Something a person may want to know about a statement that was taken all the same."""

    code: NoticeCode
    #: Path of the field in the payload.
    field: str
    #: The value as it came.
    said: str


class Statement(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One platform's word about one order. None (or empty) is "not said"."""

    platform: str
    shop: str
    order_id: str
    status: Status | None = None
    #: The platform's own word(s) for the status.
    status_said: str | None = None
    refund: Refund | None = None
    created_at: Moment | None = None
    paid_at: Moment | None = None
    shipped_at: Moment | None = None
    completed_at: Moment | None = None
    updated_at: Moment | None = None
    #: The version's time in ms: `updated_at`, else the platform's own time of this message, else 0.
    stated_ms: int = 0
    #: ISO 4217.
    currency: str | None = None
    #: What the buyer pays for the whole order as placed: goods - discounts + shipping + tax.
    total: Minor | None = None
    shipping: Minor | None = None
    discount: Minor | None = None
    tax: Minor | None = None
    paid: Minor | None = None
    refunded: Minor | None = None
    lines: tuple[Line, ...] = ()
    buyer: Buyer | None = None
    receiver: Receiver | None = None
    invoice: Invoice | None = None
    shipments: tuple[Shipment, ...] = ()
    payment_method: str | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def key(self) -> str:
        """The order's key."""
        return order_key(self.platform, self.shop, self.order_id)

    def __post_init__(self) -> None:
        """Hold what every reader relies on."""
        if len(self.lines) > LINES_MAX:
            msg = f"lines: {len(self.lines)} lines, at most {LINES_MAX} are handled"
            raise ValueError(msg)


class Policy(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """How this shop wants its orders held; stamped by intake from the reference data."""

    #: How long an unpaid order may keep its stock.
    hold_for_ms: Units = 15 * 60 * 1000
    #: Keep the lines that could be held when others could not.
    partial: bool = False
    #: Orders created before this and first seen shipped or closed are adopted without stock moves.
    go_live_ms: int = 0
    #: The quota this shop's holds take from first; empty: the pool alone.
    quota: str = ""
    #: Where the order's goods leave from; empty where the shop has one warehouse only.
    warehouse: str = ""
    #: An order that a file brought late is held from when it was placed; 0: from when it is heard.
    hold_from_ms: int = 0


# --- asked of the order keeper ------------------------------------------------------------------


class ObserveOrder(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """Take note of what a platform says about an order. Idempotent by what it says."""

    statement: Statement
    policy: Policy
    source: Source


class StockAnswered(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The stock keeper's one answer to one HoldStock."""

    order: OrderKey
    sku: Sku
    attempt: int
    #: None is yes.
    refusal: Refusal | None = None
    #: What was available when it was refused.
    available: Units = 0
    #: The answer to a ConfirmHold: of no interest where the first one came after all.
    again: bool = False


class ExpireHold(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The sweeper saw a deadline pass; the keeper compares it with its own clock, the log's."""

    order: OrderKey
    #: The deadline the sweeper saw; another one in the row means this request is stale.
    deadline_ms: int


class Case(Word):
    """What a person has to settle."""

    #: Paid, and the stock is not there.
    PAID_BUT_SHORT = "paid_but_short"
    #: Paid after it was cancelled or closed: no stock is moved.
    PAID_AFTER_CANCEL = "paid_after_cancel"
    #: Asked twice, and the stock keeper does not answer.
    NO_ANSWER = "no_answer"
    #: Nobody has mapped its SKUs in time; the reservation waits.
    UNMAPPED = "unmapped"


class Choice(Word):
    """How a person settles a case."""

    #: The money goes back; what the order holds is given back once the platform cancels it.
    REFUND = "refund"
    #: Ask for the missing stock once more, now.
    BACKORDER = "backorder"
    #: Something else is sent; the platform's next word about the lines says what.
    SUBSTITUTE = "substitute"


class RemindOrder(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """The sweeper saw an order wait longer than its budget; the keeper looks by the log's clock."""

    order: OrderKey
    #: What was due when the sweeper looked; another instant in the row means this is stale.
    due_ms: int


class ReturnGoods(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """An operator received what an order had shipped. Answered by one OrderCommandAnswered."""

    id: str
    order: OrderKey
    sku: Sku
    quantity: Quantity
    disposition: Disposition
    reason: str
    operator: str


class SettleCase(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """A person decided a case. Answered by one OrderCommandAnswered."""

    id: str
    order: OrderKey
    case: Case
    choice: Choice
    reason: str
    operator: str


#: Our word for a carrier, as agents/carriers.py lists them.
CarrierCode = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[A-Z0-9_-]+$")]
#: What stands on the label: letters, digits and hyphens.
TrackingNumber = Annotated[str, Meta(min_length=4, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]


class ParcelLine(Struct, frozen=True, array_like=True, gc=False):
    """So many units of one line are in a parcel."""

    #: The platform's id of the line, or our SKU.
    line: Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]
    quantity: Quantity


class ShipOrder(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """A parcel of an order has left our warehouse. Answered by one OrderCommandAnswered."""

    id: str
    order: OrderKey
    carrier: CarrierCode
    tracking_number: TrackingNumber
    #: What is in it; empty: all that is held for the order and has not left.
    lines: Annotated[tuple[ParcelLine, ...], Meta(max_length=LINES_MAX)] = ()
    reason: str
    operator: str


OperatorOrderCommand = ReturnGoods | SettleCase | ShipOrder
OrderCommand = ObserveOrder | StockAnswered | ExpireHold | RemindOrder | OperatorOrderCommand

# --- reported by the order keeper (public, no personal data) ------------------------------------


class Ignored(Word):
    """Why a statement changed nothing."""

    #: Exactly this was said before.
    DUPLICATE = "duplicate"
    #: Something newer was said before.
    STALE = "stale"
    #: It would undo what cannot be undone: payment, completion, cancellation.
    ILLEGAL = "illegal"
    #: It names the order and says nothing of it: a thin notification, the order must be fetched.
    EMPTY = "empty"


class Short(Struct, frozen=True, gc=False):
    """One SKU that was refused."""

    sku: str
    wanted: int
    available: int
    refusal: Refusal


class PublicLine(Struct, frozen=True, kw_only=True, gc=False):
    """A line as subscribers see it."""

    line_id: str
    sku: str | None
    platform_sku: str | None
    merchant_sku: str | None
    title: str | None
    quantity: int
    unit_price_minor: int | None
    line_total_minor: int | None
    refund: Refund | None


class OrderEvent(Struct, frozen=True, kw_only=True, gc=False, tag_field="event"):
    """What every order event says: which order, which version of its row, when, and why."""

    order: str
    #: Rises by one with every event of this order; no gap.
    version: int
    #: The broker's append time of the command that was decided, ms.
    at_ms: int
    #: The raw record (`topic/partition/offset`) or the inbox record that caused it.
    cause: str


class OrderObserved(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.observed"):
    """The platform's word was taken; the order as it is now known."""

    platform: str
    shop: str
    order_id: str
    status: Status | None
    status_said: str | None
    refund: Refund | None
    currency: str | None
    total_minor: int | None
    shipping_minor: int | None
    discount_minor: int | None
    tax_minor: int | None
    paid_minor: int | None
    refunded_minor: int | None
    created_ms: int | None
    paid_ms: int | None
    shipped_ms: int | None
    completed_ms: int | None
    updated_ms: int | None
    #: Empty when unchanged since the order's last event that carried lines.
    lines: tuple[PublicLine, ...]
    adapter: str
    digest: str
    #: SKUs (platform's) that wait for a mapping.
    unmapped: tuple[str, ...] = ()
    #: When the raw record was received, ms; the start of the order's way through the house.
    received_ms: int = 0


class StatementIgnored(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.ignored"):
    """A statement was read and changed nothing; this is why."""

    why: Ignored
    status: Status | None
    stated_ms: int
    digest: str


class OrderReserved(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.reserved"):
    """The verdict is yes: every line has its stock (or those that could, by partial policy)."""

    attempt: int
    #: The order's status as of this verdict; from here on it may be told downstream.
    status: Status | None
    #: None once paid.
    deadline_ms: int | None
    #: Empty unless the shop's policy allows partial orders.
    short: tuple[Short, ...] = ()


class OrderShort(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.short"):
    """The verdict is no: nothing more is held, and these SKUs are why."""

    attempt: int
    status: Status | None
    short: tuple[Short, ...]
    #: An edit wanted more; what was held before it still is.
    kept: bool = False
    #: Until when, unpaid; None once paid, or where nothing is held.
    deadline_ms: int | None = None


class OrderExpired(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.expired"):
    """Not paid in time; what was held is released."""

    attempt: int
    deadline_ms: int


class OrderStatusChanged(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.status"):
    """The order moved on; said only after its verdict."""

    before: Status | None
    status: Status
    #: What became of the reservation: reserved, partial, short, expired, released, shipped,
    #: adopted or none.
    reservation: str = "none"


class OrderRefundChanged(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.refund"):
    """The money axis moved."""

    before: Refund | None
    refund: Refund
    refunded_minor: int | None


class CaseOpened(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.case"):
    """A person has to settle this."""

    case: Case
    short: tuple[Short, ...] = ()


class CaseSettled(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.settled"):
    """A person decided a case; or what it was about has passed, and nobody has to."""

    case: Case
    choice: Choice
    #: Of a case that has passed: the raw record that ended it.
    command: str
    #: Of a case that has passed: `orderflow`.
    operator: str
    reason: str
    #: Another that is still open.
    open_case: Case | None = None


class OrderReturned(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.returned"):
    """What was shipped came back; what is lost moves no stock."""

    sku: str
    quantity: int
    disposition: Disposition
    #: Of this SKU, all that came back so far.
    returned: int
    command: str
    operator: str
    reason: str


class Waybill(Struct, frozen=True, array_like=True, gc=False):
    """What stands on a parcel."""

    carrier: str
    tracking_number: str


class ShippedLine(Struct, frozen=True, kw_only=True, gc=False):
    """What of one line is in a parcel."""

    line_id: str
    sku: str | None
    platform_sku: str | None
    quantity: int
    #: Of this line, what has not left with this parcel or an earlier one.
    left: int


class OrderShipped(OrderEvent, frozen=True, kw_only=True, gc=False, tag="order.shipped"):
    """A parcel left our warehouse, and a person said so: never what a platform says of one."""

    platform: str
    shop: str
    order_id: str
    #: Counts an order's parcels from 1.
    parcel: int
    carrier: str
    tracking_number: str
    lines: tuple[ShippedLine, ...]
    #: The order's parcels before this one, oldest first.
    earlier: tuple[Waybill, ...]
    #: Units of lines not refunded that are held and have not left; 0: this was its last parcel.
    left: int
    #: What became of the reservation, as OrderStatusChanged has it.
    reservation: str
    command: str
    operator: str
    reason: str


class OrderCommandAnswered(
    Struct, frozen=True, kw_only=True, gc=False, tag_field="event", tag="order.answered"
):
    """The answer to an operator's command about an order; a repeat gets the same one."""

    order: str
    #: The broker's append time of the command that was decided, ms.
    at_ms: int
    #: The command itself.
    cause: str
    command: str
    #: What it was about: a SKU, a case, or the number on a parcel.
    about: str
    refusal: Refusal | None = None
    #: Of what was shipped, how much is not back yet; of an order that ships, what has not left.
    left: Units = 0


AnyOrderEvent = (
    OrderObserved
    | StatementIgnored
    | OrderReserved
    | OrderShort
    | OrderExpired
    | OrderStatusChanged
    | OrderRefundChanged
    | CaseOpened
    | CaseSettled
    | OrderReturned
    | OrderShipped
    | OrderCommandAnswered
)


class OrderDetails(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """What is personal about an order; internal, read by the ledger alone."""

    order: OrderKey
    version: int
    buyer: Buyer | None
    receiver: Receiver | None
    invoice: Invoice | None
    shipments: tuple[Shipment, ...]
    notices: tuple[Notice, ...]
