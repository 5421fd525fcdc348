"""
The words of the ledger: its rows, and how far a batch of them moves each partition.

The rows are named tuples whose fields are the columns, so that a table, its staging table and
the fold have one list between them.
"""

from typing import NamedTuple

from msgspec import Struct, field

#: An instant: milliseconds since 1970 in UTC. The ledger's connection writes it as a timestamp.
Ms = int

#: Declared topic name (without an installation's prefix) and partition.
TopicPartition = tuple[str, int]

#: Epoch and number of the last letter of one source on one partition; of `announced <source>`, the
#: last epoch that was announced and 0.
Heard = tuple[int, int]


class Start(NamedTuple):
    """The next offset of a partition, and the last letter of each source heard on it."""

    next: int
    heard: dict[str, Heard]


class Span(NamedTuple):
    """From where to where a batch moves a partition."""

    start: int
    end: int


# --- rows: the fields are the columns -------------------------------------------------------------


class Facet:
    """The parts of an order's row that one write sets, NULLs included; the others stay."""

    #: What the platform says: status_said, money, times, source.
    SNAPSHOT = 1
    REFUND = 2
    #: Reservation, attempt, short.
    VERDICT = 4
    DEADLINE = 8
    #: The reservation alone: it went on after its verdict.
    RESERVATION = 16
    #: The case that is open, or none any more.
    CASE = 32
    #: It was said that no money went back: what was known of when it did counts no more.
    NO_REFUND = 64


class OrderRow(NamedTuple):
    """One order after the round's events. `None` outside the facets set means "not touched"."""

    order_key: str
    version: int
    facets: int
    changed_at: Ms
    platform: str
    shop: str
    order_id: str
    platform_status: str | None
    status_said: str | None
    currency: str | None
    total_minor: int | None
    shipping_minor: int | None
    discount_minor: int | None
    tax_minor: int | None
    paid_minor: int | None
    created_at: Ms | None
    paid_at: Ms | None
    shipped_at: Ms | None
    completed_at: Ms | None
    updated_at: Ms | None
    adapter: str | None
    digest: str | None
    #: A JSON list; None is empty.
    unmapped: str | None
    received_at: Ms
    status: str | None
    refund: str | None
    refunded_minor: int | None
    reservation: str
    attempt: int | None
    deadline_at: Ms | None
    short: str | None
    open_case: str | None
    ignored: int
    ignored_why: str | None
    #: When it was first said that money went back; None: it is said that none did.
    refunded_at: Ms | None
    #: The platform's own time of the first statement of the round.
    stated_at: Ms | None
    #: When the order keeper's inbox had it, and when the first verdict was given.
    observed_at: Ms | None
    verdict_at: Ms | None


class LineRow(NamedTuple):
    """One line of an order; an event that carries lines replaces all of them."""

    order_key: str
    line_no: int
    version: int
    line_id: str
    sku: str | None
    platform_sku: str | None
    merchant_sku: str | None
    title: str | None
    quantity: int
    unit_price_minor: int | None
    line_total_minor: int | None
    refund: str | None


class OrderEventRow(NamedTuple):
    """One event of an order, its bytes as they were published."""

    order_key: str
    version: int
    at: Ms
    event: str
    body: bytes


class MoveRow(NamedTuple):
    """
    One move of stock and the balance after it.

    Its fields in this order are what the chain seals (agents/chain.py): never change them.
    """

    sku: str
    version: int
    at: Ms
    verb: str
    quantity: int
    source: str | None
    target: str | None
    available: int
    locked: int
    occupied: int
    reserved: int
    frozen: int
    order_key: str | None
    deadline_at: Ms | None
    command_id: str | None
    operator: str | None
    reason: str | None
    cause: str
    shortfall: int
    held: int | None
    quota: str | None


class StockRow(NamedTuple):
    """The balance of one SKU after its latest move."""

    sku: str
    version: int
    changed_at: Ms
    available: int
    locked: int
    occupied: int
    reserved: int
    frozen: int
    shortfall: int
    #: Of its latest entry in the ledger; whoever writes the entry knows it.
    chain: bytes = b""


class QuotaRow(NamedTuple):
    """What a campaign or channel has left of its quota of one SKU."""

    sku: str
    quota: str
    #: Version of the SKU's balance after the latest change.
    version: int
    changed_at: Ms
    starts_at: Ms
    ends_at: Ms
    allotted: int
    #: What is left of it.
    remains: int
    #: None while its window is not over.
    ended_at: Ms | None


class ShortfallRow(NamedTuple):
    """A shortfall changed; the latest row of a SKU says whether its case is open."""

    sku: str
    version: int
    at: Ms
    before: int
    shortfall: int
    held: int
    cause: str


class ReturnRow(NamedTuple):
    """What an order had shipped and came back, or is lost."""

    order_key: str
    version: int
    at: Ms
    sku: str
    quantity: int
    disposition: str
    command_id: str
    operator: str
    reason: str


class HoldRow(NamedTuple):
    """What one order holds of one SKU, or held when it ended."""

    order_key: str
    sku: str
    #: Version of the SKU's balance after the latest move.
    version: int
    bucket: str
    quantity: int
    deadline_at: Ms | None
    #: None where this round saw only a later move of the hold.
    held_at: Ms | None
    changed_at: Ms
    #: None while it is open.
    ended_at: Ms | None
    verb: str
    #: Versions of the moves with a space between them, the way into the trail.
    moves: str


class DetailsRow(NamedTuple):
    """What is personal about an order: the region in the open, the rest as it was sent."""

    order_key: str
    version: int
    country: str | None
    province: str | None
    city: str | None
    body: bytes
    #: What it may be searched by, with a space between: `tel:` and four digits, `parcel:` and a
    #: tracking number; None: nothing.
    found_by: str | None = None


class ParkedRow(NamedTuple):
    """One message that could not be handled."""

    id: str
    stage: str
    cause: str
    field: str
    reason: str
    topic: str
    partition: int
    record_offset: int
    key: bytes | None
    value: bytes
    platform: str | None
    shop: str | None
    attempts: int
    first_seen_at: Ms
    last_seen_at: Ms


class AnswerRow(NamedTuple):
    """The answer to an operator's command."""

    command_id: str
    sku: str
    refusal: str | None
    available: int
    at: Ms


class IgnoredReleaseRow(NamedTuple):
    """A letter that met no live hold: recorded, nothing moved."""

    sku: str
    order_key: str
    verb: str
    refusal: str
    at: Ms
    cause: str


class Tally(Struct):
    """What a round met on its way."""

    records: int = 0
    #: Below the position: seen before.
    skipped: int = 0
    #: A letter heard before, at another offset.
    repeats: int = 0
    parked: int = 0

    def add(self, other: "Tally") -> None:
        """Count *other* in."""
        self.records += other.records
        self.skipped += other.skipped
        self.repeats += other.repeats
        self.parked += other.parked


class LedgerBatch(Struct):
    """Everything one transaction writes."""

    orders: list[OrderRow] = field(default_factory=list)
    lines: list[LineRow] = field(default_factory=list)
    #: Orders that had lines before: those go first.
    replaced: list[str] = field(default_factory=list)
    order_events: list[OrderEventRow] = field(default_factory=list)
    moves: list[MoveRow] = field(default_factory=list)
    stock: list[StockRow] = field(default_factory=list)
    holds: list[HoldRow] = field(default_factory=list)
    quotas: list[QuotaRow] = field(default_factory=list)
    shortfalls: list[ShortfallRow] = field(default_factory=list)
    returns: list[ReturnRow] = field(default_factory=list)
    details: list[DetailsRow] = field(default_factory=list)
    parked: list[ParkedRow] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)
    ignored_releases: list[IgnoredReleaseRow] = field(default_factory=list)
    positions: dict[TopicPartition, Span] = field(default_factory=dict)
    #: Only what changed.
    heard: dict[TopicPartition, dict[str, Heard]] = field(default_factory=dict)
    #: Not written: what is wrong with these partitions, from their span's end on.
    halted: dict[TopicPartition, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
