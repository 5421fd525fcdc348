"""
The ledger's hand: a round of public events and internal letters, folded into rows.

Promises. Every letter counts once: what was heard before is dropped by its number, a missing
number halts its partition, and what cannot be read is parked whole while the partition moves on.
Folding needs nothing back from the database: where a round holds only the later events of an
order, its row says which facets it sets, and the database keeps the others (`Facet`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from msgspec import json, msgpack

from agents.frames import Inbox, park
from agents.letters import ANNOUNCED, CE_ANNOUNCED, UNHEARD, is_known, is_news, unseal
from schemas.epochs import EpochAnnounced
from schemas.errors import PartitionHalted, UndecodableMessage
from schemas.ledger import (
    AnswerRow,
    DetailsRow,
    Facet,
    Heard,
    HoldRow,
    IgnoredReleaseRow,
    LedgerBatch,
    LineRow,
    MoveRow,
    Ms,
    OrderEventRow,
    OrderRow,
    ParkedRow,
    QuotaRow,
    ReturnRow,
    ShortfallRow,
    Span,
    Start,
    StockRow,
    TopicPartition,
)
from schemas.orders import (
    AnyOrderEvent,
    CaseOpened,
    CaseSettled,
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
    PublicLine,
    Refund,
    Short,
    StatementIgnored,
    Status,
)
from schemas.parked import Parked, Stage
from schemas.stock import (
    AnyStockEvent,
    Bucket,
    QuotaChanged,
    ReleaseIgnored,
    ShortfallChanged,
    StockCommandAnswered,
    StockMoved,
    Verb,
)


class LedgerRecord(Protocol):
    """What is read of a Kafka record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


# --- the fold -------------------------------------------------------------------------------------


def fold(
    frames: Mapping[TopicPartition, Sequence[LedgerRecord]],
    starts: Mapping[TopicPartition, Start],
    refused: Exception | None = None,
) -> LedgerBatch:
    """
    Return what *frames* write, each partition going on from its start.

    With *refused*, every record is parked for that reason instead of being read (the ledger could
    not store it); its letter is counted all the same.
    """
    round_ = _Round(refused)
    for (topic, partition), records in frames.items():
        round_.take(topic, partition, records, starts[topic, partition])
    return round_.close()


class _Round:
    """A batch being filled."""

    def __init__(self, refused: Exception | None) -> None:
        self.batch = LedgerBatch()
        self.refused = refused
        self.orders = _Orders(self.batch)
        self.stock = _Stock(self.batch)
        self.details: dict[str, DetailsRow] = {}
        self.parked: dict[str, ParkedRow] = {}
        self.readers: dict[str, Callable[[bytes], None]] = {
            "order-events": self.orders.read,
            "stock-events": self.stock.read,
            "order-details": self._read_details,
            "parked": self._read_parked,
        }

    def take(
        self, topic: str, partition: int, records: Sequence[LedgerRecord], start: Start
    ) -> None:
        batch, position = self.batch, start.next
        heard: dict[str, Heard] = {}
        inbox = Inbox(topic, partition)
        read, envelope = self.readers[topic], _ENVELOPES[topic]
        batch.tally.records += len(records)
        try:
            for record in records:
                if record.offset < position:
                    batch.tally.skipped += 1
                    continue
                _must_be(position, record.offset)
                try:
                    self._take_one(record, read, envelope, start.heard, heard)
                except _PASSED_ON:
                    raise
                except Exception as error:  # noqa: BLE001  the message's fault or a bug in reading it: parked whole
                    self._park(park(record, inbox, Stage.LEDGER, error))
                    batch.tally.parked += 1
                position += 1
        except PartitionHalted as error:
            batch.halted[inbox] = f"{topic}/{partition} at {position}: {error}"
        if position != start.next:
            batch.positions[inbox] = Span(start.next, position)
        if heard:
            batch.heard[inbox] = heard

    def _take_one(
        self,
        record: LedgerRecord,
        read: Callable[[bytes], None],
        envelope: "_Envelope",
        before: Mapping[str, Heard],
        heard: dict[str, Heard],
    ) -> None:
        source, epoch, number, body = envelope(record)
        if source and _is_repeat(source, epoch, number, before, heard):
            if number:
                self.batch.tally.repeats += 1
            return
        if self.refused is not None:
            raise self.refused
        read(body)

    def _read_details(self, body: bytes) -> None:
        details = _DETAILS.decode(body)
        where = details.receiver
        known = self.details.get(details.order)
        if known is not None and known.version > details.version:
            return
        self.details[details.order] = DetailsRow(
            details.order,
            details.version,
            where.country if where else None,
            where.province if where else None,
            where.city if where else None,
            body,
            found_by(details),
        )

    def _read_parked(self, body: bytes) -> None:
        self._park(_PARKED.decode(body))

    def _park(self, parked: Parked) -> None:
        seen = min(max(0, parked.seen_ms), _SEEN_MAX)
        known = self.parked.get(parked.id)
        attempts, first = (known.attempts + 1, known.first_seen_at) if known else (1, seen)
        self.parked[parked.id] = ParkedRow(
            _printable(parked.id),
            parked.stage,
            parked.cause,
            _printable(parked.field),
            _printable(parked.reason),
            _printable(parked.topic),
            parked.partition,
            parked.offset,
            parked.key,
            parked.value,
            parked.platform and _printable(parked.platform),
            parked.shop and _printable(parked.shop),
            attempts,
            min(first, seen),
            max(known.last_seen_at, seen) if known else seen,
        )

    def close(self) -> LedgerBatch:
        batch = self.batch
        self.orders.close()
        self.stock.close()
        batch.details = list(self.details.values())
        batch.parked = list(self.parked.values())
        return batch


#: No message's fault: it halts the partition, or ends the process.
_PASSED_ON = (PartitionHalted, MemoryError, RecursionError)


def _must_be(position: int, offset: int) -> None:
    if offset != position:
        raise PartitionHalted(f"the record is missing, the next is {offset}")


# --- letters: who sent it, which number -----------------------------------------------------------

#: Opens the source under which the last announced epoch of a sender is kept.
_SAID_OF = "announced "
#: record -> (source, epoch, number, body); an empty source is unnumbered, number 0 an announcement.
_Envelope = Callable[[LedgerRecord], tuple[str, int, int, bytes]]


def _of_event(record: LedgerRecord) -> tuple[str, int, int, bytes]:
    headers = record.headers
    try:
        # Where our keepers put them: looking at two of seven saves a microsecond of cache misses.
        (first, said), (second, sequence) = headers[2], headers[5]
        if first != "ce_source" or second != "ce_sequence":
            named = dict(headers)
            said, sequence = named["ce_source"], named["ce_sequence"]
        source, epoch = _source(said)
        return source, epoch, int(sequence), record.value or b""
    except (LookupError, ValueError) as error:
        if CE_ANNOUNCED in headers:
            told = _ANNOUNCED.decode(record.value or b"")
            return f"{_SAID_OF}{told.keeper}/p{told.partition}", told.epoch, 0, b""
        raise UndecodableMessage("the CloudEvents headers give no source and number") from error


@lru_cache(4096)
def _source(said: bytes) -> tuple[str, int]:
    """Return sender and epoch of `/orderflow/<keeper>/e<epoch>/p<partition>`."""
    _, _, keeper, epoch, partition = said.decode().split("/")
    return f"{keeper}/{partition}", int(epoch.removeprefix("e"))


def _of_letter(record: LedgerRecord) -> tuple[str, int, int, bytes]:
    sender, epoch, number, body = unseal(record.value)
    if sender >= ANNOUNCED:
        return _SAID_OF + _sender(sender & ~ANNOUNCED), epoch, 0, b""
    return "" if sender < 0 else _sender(sender), epoch, number, body


@lru_cache(4096)
def _sender(sender: int) -> str:
    return f"{sender >> 16}/p{sender & 0xFFFF}"


_ENVELOPES: dict[str, _Envelope] = {
    "order-events": _of_event,
    "stock-events": _of_event,
    "order-details": _of_letter,
    "parked": _of_letter,
}
#: The topics the ledger reads.
LEDGER_TOPICS = tuple(_ENVELOPES)


def _is_repeat(
    source: str,
    epoch: int,
    number: int,
    before: Mapping[str, Heard],
    heard: dict[str, Heard],
) -> bool:
    """
    Count a letter in *heard*; say whether it was heard before. Raises as `is_known` does.

    An announcement is noted in *heard* and is nothing to read: it counts as heard.
    """
    last = heard.get(source) or before.get(source) or UNHEARD
    if last != (epoch, number - 1):
        if source.startswith(_SAID_OF):
            sender = source.removeprefix(_SAID_OF)
            if is_news(heard.get(sender) or before.get(sender) or UNHEARD, last, epoch):
                heard[source] = (epoch, 0)
            return True
        said = _SAID_OF + source
        announced, _ = heard.get(said) or before.get(said) or UNHEARD
        if is_known(source, last, announced, epoch, number):
            return True
    heard[source] = (epoch, number)
    return False


# --- orders ---------------------------------------------------------------------------------------


class _Order:
    """What the round's events say about one order so far."""

    def __init__(self, key: str) -> None:
        self.version = 0
        self.at = 0
        self.platform, self.shop, self.order_id = (*key.split(":", 2), "", "")[:3]
        self.facets = 0
        self.snapshot: tuple[Any, ...] = _NOTHING_SAID
        self.received: Ms | None = None
        self.status: Status | None = None
        self.refund: str | None = None
        self.refunded: int | None = None
        #: What a new row begins with, until there is a verdict.
        self.reservation = "asking"
        self.attempt: int | None = None
        self.deadline: Ms | None = None
        self.short: str | None = None
        self.open_case: str | None = None
        self.ignored = 0
        self.ignored_why: str | None = None
        self.refunded_at: Ms | None = None
        self.stated_at: Ms | None = None
        self.observed_at: Ms | None = None
        self.verdict_at: Ms | None = None

    def money_went(self, refund: str | None, at: Ms) -> None:
        """Take note since when it is said that money went back; it may be said that none did."""
        if refund not in PAID_BACK:
            self.refunded_at = None
            self.facets |= Facet.NO_REFUND
        elif self.refunded_at is None or at < self.refunded_at:
            self.refunded_at = at


#: Money went back, all of it or a part.
PAID_BACK = (Refund.PARTIALLY_REFUNDED, Refund.REFUNDED)
#: As many as `_Orders._observed` sets.
_NOTHING_SAID = (None,) * 16


class _Orders:
    """
    Folds order events into rows.

    Every handler computes what may fail before it changes anything: an event that is parked has
    left no trace.
    """

    def __init__(self, batch: LedgerBatch) -> None:
        self._batch = batch
        self._orders: dict[str, _Order] = {}
        self._lines: dict[str, tuple[int, tuple[PublicLine, ...]]] = {}
        self._apply: dict[type, Callable[[_Order, Any], None]] = {
            OrderObserved: self._observed,
            StatementIgnored: self._ignored,
            OrderReserved: self._reserved,
            OrderShort: self._refused,
            OrderExpired: self._expired,
            OrderStatusChanged: self._moved_on,
            OrderRefundChanged: self._refunded,
            CaseOpened: self._case,
            CaseSettled: self._settled,
            OrderReturned: self._returned,
            OrderShipped: self._shipped,
        }

    def read(self, body: bytes) -> None:
        event = _ORDER_EVENT.decode(body)
        kind = type(event)
        key, at = event.order, event.at_ms
        if isinstance(event, OrderCommandAnswered):
            answer = AnswerRow(event.command, event.about, event.refusal, event.left, at)
            self._batch.answers.append(answer)
            return
        order = self._orders.get(key) or _Order(key)
        self._apply[kind](order, event)
        order.version, order.at = event.version, at
        self._orders[key] = order
        self._batch.order_events.append(OrderEventRow(key, event.version, at, _TAGS[kind], body))

    def _observed(self, order: _Order, event: OrderObserved) -> None:
        snapshot = (
            event.status,
            event.status_said,
            event.currency,
            event.total_minor,
            event.shipping_minor,
            event.discount_minor,
            event.tax_minor,
            event.paid_minor,
            event.created_ms,
            event.paid_ms,
            event.shipped_ms,
            event.completed_ms,
            event.updated_ms,
            event.adapter,
            event.digest,
            json.encode(event.unmapped).decode() if event.unmapped else None,
        )
        order.received = event.received_ms or event.at_ms
        order.snapshot = snapshot
        order.platform, order.shop, order.order_id = event.platform, event.shop, event.order_id
        order.refund, order.refunded = event.refund, event.refunded_minor
        order.money_went(event.refund, _said_at(event))
        if order.observed_at is None:
            order.stated_at, order.observed_at = event.updated_ms, event.at_ms
        order.facets |= Facet.SNAPSHOT | Facet.REFUND
        if event.lines:
            self._lines[event.order] = (event.version, event.lines)

    def _ignored(self, order: _Order, event: StatementIgnored) -> None:
        order.ignored += 1
        order.ignored_why = event.why

    def _reserved(self, order: _Order, event: OrderReserved) -> None:
        deadline = event.deadline_ms
        self._verdict(order, "partial" if event.short else "reserved", event)
        order.deadline = deadline

    def _refused(self, order: _Order, event: OrderShort) -> None:
        deadline = event.deadline_ms
        self._verdict(order, "partial" if event.kept else "short", event)
        order.deadline = deadline

    def _verdict(self, order: _Order, word: str, event: OrderReserved | OrderShort) -> None:
        order.reservation, order.attempt = word, event.attempt
        order.verdict_at = order.verdict_at or event.at_ms
        order.short = _short(event.short)
        order.deadline = None
        order.status = event.status or order.status
        order.facets |= Facet.VERDICT | Facet.DEADLINE

    def _expired(self, order: _Order, event: OrderExpired) -> None:
        order.reservation, order.attempt, order.short = "expired", event.attempt, None
        order.deadline = None
        order.facets |= Facet.VERDICT | Facet.DEADLINE

    def _moved_on(self, order: _Order, event: OrderStatusChanged) -> None:
        order.status, order.reservation = event.status, event.reservation
        order.facets |= Facet.RESERVATION
        if event.status is not Status.PENDING_PAYMENT:
            order.deadline = None
            order.facets |= Facet.DEADLINE

    def _refunded(self, order: _Order, event: OrderRefundChanged) -> None:
        order.refund, order.refunded = event.refund, event.refunded_minor
        order.money_went(event.refund, event.at_ms)
        order.facets |= Facet.REFUND

    def _case(self, order: _Order, event: CaseOpened) -> None:
        order.open_case = event.case
        order.facets |= Facet.CASE

    def _settled(self, order: _Order, event: CaseSettled) -> None:
        order.open_case = event.open_case
        order.facets |= Facet.CASE

    def _returned(self, order: _Order, event: OrderReturned) -> None:  # noqa: ARG002  every handler has this shape
        self._batch.returns.append(
            ReturnRow(
                event.order,
                event.version,
                event.at_ms,
                event.sku,
                event.quantity,
                event.disposition,
                event.command,
                event.operator,
                event.reason,
            )
        )

    def _shipped(self, order: _Order, event: OrderShipped) -> None:
        order.reservation = event.reservation
        order.facets |= Facet.RESERVATION

    def close(self) -> None:
        batch = self._batch
        batch.orders = [_order_row(key, order) for key, order in self._orders.items()]
        for key, (version, lines) in self._lines.items():
            if version > 1:
                batch.replaced.append(key)
            batch.lines += [
                _line_row(key, number, version, line) for number, line in enumerate(lines, 1)
            ]


def _order_row(key: str, order: _Order) -> OrderRow:
    return OrderRow._make(
        (
            key,
            order.version,
            order.facets,
            order.at,
            order.platform,
            order.shop,
            order.order_id,
            *order.snapshot,
            order.received or order.at,
            order.status,
            order.refund,
            order.refunded,
            order.reservation,
            order.attempt,
            order.deadline,
            order.short,
            order.open_case,
            order.ignored,
            order.ignored_why,
            order.refunded_at,
            order.stated_at,
            order.observed_at,
            order.verdict_at,
        )
    )


def _said_at(event: OrderObserved) -> Ms:
    """
    Return when this was said: of an order's first statement the platform's time, else its receipt.

    A later event repeats `updated_ms` of the last statement that had lines, which may be older than
    what is said now; the first has no earlier one to repeat, and may be a file of last year.
    """
    first = event.updated_ms if event.version == 1 else None
    return first or event.received_ms or event.at_ms


def _line_row(key: str, number: int, version: int, line: PublicLine) -> LineRow:
    return LineRow(
        key,
        number,
        version,
        line.line_id,
        line.sku,
        line.platform_sku,
        line.merchant_sku,
        line.title,
        line.quantity,
        line.unit_price_minor,
        line.line_total_minor,
        line.refund,
    )


def _short(short: tuple[Short, ...]) -> str | None:
    return json.encode(short).decode() if short else None


# --- stock ----------------------------------------------------------------------------------------

#: Verbs that take from a hold, and end it where it does not go on with less.
_ENDS = frozenset({Verb.RELEASE, Verb.EXPIRE, Verb.SHIP})
#: Verbs about a hold; an order's other moves are about its quota or its returns.
_OF_HOLDS = _ENDS | {Verb.HOLD, Verb.OCCUPY}


class _Stock:
    """Folds stock events into moves, balances, holds and answers. Handlers as in `_Orders`."""

    def __init__(self, batch: LedgerBatch) -> None:
        self._batch = batch
        self._balances: dict[str, StockMoved] = {}
        self._holds: dict[tuple[str, str], HoldRow] = {}
        self._quotas: dict[tuple[str, str], QuotaRow] = {}

    def read(self, body: bytes) -> None:
        event = _STOCK_EVENT.decode(body)
        at = event.at_ms
        match event:
            case StockMoved():
                self._moved(event, at)
            case StockCommandAnswered():
                self._batch.answers.append(
                    AnswerRow(event.command, event.sku, event.refusal, event.available, at)
                )
            case ReleaseIgnored():
                self._batch.ignored_releases.append(
                    IgnoredReleaseRow(
                        event.sku, event.order, event.verb, event.refusal, at, event.cause
                    )
                )
            case QuotaChanged():
                self._quotas[event.sku, event.quota] = QuotaRow(
                    event.sku,
                    event.quota,
                    event.version,
                    at,
                    event.starts_ms,
                    event.ends_ms,
                    event.allotted,
                    event.left,
                    at if event.ended else None,
                )
            case ShortfallChanged():
                self._batch.shortfalls.append(
                    ShortfallRow(
                        event.sku,
                        event.version,
                        at,
                        event.before,
                        event.shortfall,
                        event.held,
                        event.cause,
                    )
                )

    def _moved(self, event: StockMoved, at: Ms) -> None:
        deadline = event.deadline_ms
        self._balances[event.sku] = event
        self._batch.moves.append(
            MoveRow(
                event.sku,
                event.version,
                at,
                event.verb,
                event.quantity,
                event.source,
                event.target,
                event.available,
                event.locked,
                event.occupied,
                event.reserved,
                event.frozen,
                event.order,
                deadline,
                event.command,
                event.operator,
                event.reason,
                event.cause,
                event.shortfall,
                event.held,
                event.quota,
            )
        )
        if event.order is not None and event.verb in _OF_HOLDS:
            self._hold(event.order, event, at, deadline)

    def _hold(self, order: str, event: StockMoved, at: Ms, deadline: Ms | None) -> None:
        known = self._holds.get((order, event.sku))
        verb, goes_on = event.verb, event.held
        takes = verb in _ENDS
        ends = takes and goes_on is None
        # A hold that grew is as old as it was.
        new = verb is Verb.HOLD and goes_on in (None, event.quantity)
        held_at = at if new else known and known.held_at
        self._holds[order, event.sku] = HoldRow(
            order,
            event.sku,
            event.version,
            (event.source if takes else event.target) or Bucket.LOCKED,
            event.quantity if goes_on is None else goes_on,
            deadline,
            held_at,
            at,
            at if ends else None,
            verb,
            f"{known.moves} {event.version}" if known else str(event.version),
        )

    def close(self) -> None:
        self._batch.holds = list(self._holds.values())
        self._batch.quotas = list(self._quotas.values())
        self._batch.stock = [
            StockRow(
                sku,
                last.version,
                last.at_ms,
                last.available,
                last.locked,
                last.occupied,
                last.reserved,
                last.frozen,
                last.shortfall,
            )
            for sku, last in self._balances.items()
        ]


# --- values ---------------------------------------------------------------------------------------

_ORDER_EVENT = json.Decoder(AnyOrderEvent)
_STOCK_EVENT = json.Decoder(AnyStockEvent)
_ANNOUNCED = json.Decoder(EpochAnnounced)
_DETAILS = msgpack.Decoder(OrderDetails)

#: Phones as they are said in clear, or with stars before their last digits; a ciphertext is none.
_TAIL = re.compile(r"[0-9*+() -]*[0-9]{4}")
_TAIL_DIGITS = 4
#: A tracking number that is longer is none.
_PARCEL_LENGTH_MAX = 64
#: An order is found by so many words at most.
_FOUND_BY_MAX = 100


def found_by(details: OrderDetails) -> str | None:
    """Return the words an order is searched by, in order, with a space between; None: no word."""
    phones = [
        said
        for person in (details.buyer, details.receiver)
        if person is not None
        for said in (person.phone, person.phone_said)
        if said
    ]
    tails = [f"tel:{said[-_TAIL_DIGITS:]}" for said in phones if _TAIL.fullmatch(said)]
    numbers = [parcel.tracking_number or "" for parcel in details.shipments]
    parcels = [
        f"parcel:{number}"
        for number in ("".join(each.split()).upper() for each in numbers)
        if number.isprintable() and 0 < len(number) <= _PARCEL_LENGTH_MAX
    ]
    words = list(dict.fromkeys([*tails, *parcels]))[:_FOUND_BY_MAX]
    return " ".join(words) or None


_PARKED = msgpack.Decoder(Parked)
_TAGS: dict[type, str] = {
    kind: str(kind.__struct_config__.tag) for kind in OrderEvent.__subclasses__()
}
#: The last instant of the year 9999: a parked message must never be refused.
_SEEN_MAX = 253_402_300_799_999


def _printable(text: str) -> str:
    """Return *text* without NUL, the one character PostgreSQL does not store."""
    return text.replace("\0", "\ufffd") if "\0" in text else text
