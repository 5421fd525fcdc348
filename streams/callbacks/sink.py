"""
Order events into the queue: a row for each subscriber that wants to know, and one for the platform
that has to hear of a parcel, each once.

How exactly once comes about. Rows and positions are one transaction, which begins by moving every
position from where the round begins: one that stands elsewhere has another owner, and nothing is
written. A letter that its keeper repeated has the same id, and the queue takes an id once for each
destination. Who is told is read in that same transaction; a subscriber is told of what was decided
after it was added. A platform is told where a sender has its shop's credentials, and has said so
(streams/shipping/telling.py): there is nothing secret to be known here.

What cannot be read is parked, once, by whoever of this and the ledger meets it first.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import DecodeError, json

from agents.callbacks import Filter, body_of, message_id, type_of, wants
from agents.ledger import LedgerRecord
from agents.letters import CE_ANNOUNCED
from agents.ports import FramesHalted
from agents.shipments import encoded, pushes_of
from schemas.errors import LedgerUnavailable
from schemas.orders import AnyOrderEvent
from schemas.parked import Cause
from streams.callbacks import posting
from streams.engine.rounds import Batch
from streams.engine.sink import Place
from streams.postgres.connecting import connect, told
from streams.postgres.ledger import NotTheOwner
from streams.postgres.queries import sql
from streams.shipping import telling
from streams.shipping.accounts import destination_of

_decode = json.Decoder(AnyOrderEvent).decode
#: A stopped process must not hold its positions for long.
_SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}
_CLOSE_S = 5.0


class Event(NamedTuple):
    """An order event that others may be told of."""

    type: str
    order: str
    at_ms: int
    message: str
    #: What subscribers get.
    body: bytes
    #: What platforms get: destination, lane, message, about, body.
    pushes: Sequence[tuple[str, str, str, str, bytes]]


class Unread(NamedTuple):
    """A record that cannot be read: the row of an exception."""

    id: str
    cause: str
    field: str
    reason: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    seen_at: datetime


class Prepared(NamedTuple):
    """A round that is read, and waits to be written."""

    events: Sequence[Event]
    unread: Sequence[Unread]
    #: From where to where each partition goes.
    spans: Mapping[Place, tuple[int, int]]
    halted: Mapping[Place, str]


class CallbackSink:
    """The engine's port. One connection; rounds are put in the order they were prepared in."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        #: Where each partition goes on after everything that is prepared; -1: it was never read.
        self._ahead: dict[Place, int] = {}
        #: Nobody knows whether the round that was put last is written.
        self._unsure = False
        self._lock = asyncio.Lock()

    async def starts(self, partitions: Sequence[Place]) -> Mapping[Place, int]:
        """Return where each partition goes on, where it was ever read. Raises LedgerUnavailable."""
        async with self._lock:
            found = await self._positions(partitions)
            self._ahead.update(found)
            self._unsure = False
        return {place: next_ for place, next_ in found.items() if next_ >= 0}

    async def _positions(self, partitions: Iterable[Place]) -> dict[Place, int]:
        claimed = _columns(sorted(set(partitions)), 2)
        try:
            connection = await self._connected()
            async with connection.transaction():
                await connection.execute(sql("claim_callback_positions"), *claimed)
                rows = await connection.fetch(sql("callback_positions"), *claimed)
        except Exception as error:
            self._drop()
            raise told(error) from error
        return {(topic, number): next_ for topic, number, next_ in rows}

    def prepare(self, batches: Sequence[Batch]) -> Prepared:
        """Read *batches*, which come after all that was prepared before."""
        events: list[Event] = []
        unread: list[Unread] = []
        spans: dict[Place, tuple[int, int]] = {}
        halted: dict[Place, str] = {}
        for batch in batches:
            place = batch.topic, batch.partition
            start = position = self._ahead[place]
            records: Sequence[Any] = batch.records
            for record in records:
                if position >= 0 and record.offset != position:
                    halted[place] = (
                        f"{batch.topic}/{batch.partition} at {position}: the record is missing,"
                        f" the next is {record.offset}"
                    )
                    break
                read = _read(record, place)
                if isinstance(read, Event):
                    events.append(read)
                elif read is not None:
                    unread.append(read)
                position = record.offset + 1
            if position != start:
                spans[place] = (start, position)
                self._ahead[place] = position
        return Prepared(events, unread, spans, halted)

    async def put(self, prepared: Prepared) -> None:
        """
        Write what was prepared and move the positions, all or nothing.

        Raises LedgerUnavailable (put it again), NotTheOwner (end), and FramesHalted when all is
        written but the partitions it names.
        """
        async with self._lock:
            if not await self._is_in(prepared):
                await self._write(prepared)
        if prepared.halted:
            raise FramesHalted(dict(prepared.halted))

    async def _is_in(self, prepared: Prepared) -> bool:
        """Say whether the write that failed last is in; it was one transaction."""
        if not self._unsure:
            return False
        stands = await self._positions(prepared.spans)
        self._unsure = False
        if stands == {place: end for place, (_, end) in prepared.spans.items()}:
            return True
        if stands != {place: start for place, (start, _) in prepared.spans.items()}:
            raise NotTheOwner("positions moved in a way that this process did not ask for")
        return False

    async def _write(self, prepared: Prepared) -> None:
        try:
            connection = await self._connected()
            async with connection.transaction():
                await _advance(connection, prepared.spans)
                await _queue(connection, prepared.events)
                for row in prepared.unread:
                    await connection.execute(sql("park_unread_event"), *row)
        except BaseException as error:
            self._drop()  # cancelled, it may be in the middle of a message
            if not isinstance(error, Exception):
                raise
            said = told(error)
            self._unsure = isinstance(said, LedgerUnavailable)
            raise said from error

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._dsn, name="orderflow-callbacks", **_SESSION)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=_CLOSE_S)


# --- reading --------------------------------------------------------------------------------------


def _read(record: LedgerRecord, place: Place) -> Event | Unread | None:
    """Return the event that a record tells, None where nobody is told of it."""
    try:
        named = dict(record.headers)
        if CE_ANNOUNCED[0] in named and named[CE_ANNOUNCED[0]] == CE_ANNOUNCED[1]:
            return None
        event = _decode(record.value or b"")
        source, number = named["ce_source"].decode(), int(named["ce_sequence"])
        type_ = type_of(event)
        if type_ is None:
            return None
        order = event.order.replace("\0", "")  # PostgreSQL's texts have none
        pushes = [
            (
                destination_of(push.platform, push.shop).replace("\0", ""), order,
                push.id.replace("\0", ""), type_, encoded(push),
            )
            for push in pushes_of(event)
        ]  # fmt: skip
        return Event(type_, order, event.at_ms, message_id(source, number), body_of(event), pushes)
    except (DecodeError, LookupError, ValueError, OverflowError, OSError) as error:
        topic, partition = place
        reason = f"an order event cannot be read: {error}".replace("\0", "")
        return Unread(
            f"{topic}/{partition}/{record.offset}", Cause.UNREADABLE, "", reason, topic, partition,
            record.offset, record.key, record.value or b"",
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )  # fmt: skip


# --- writing --------------------------------------------------------------------------------------


async def _advance(connection: Any, spans: Mapping[Place, tuple[int, int]]) -> None:
    rows = sorted((*place, *span) for place, span in spans.items())
    done = await connection.execute(sql("advance_callback_positions"), *_columns(rows, 4))
    if int(done.rsplit(" ", 1)[1]) != len(rows):
        places = ", ".join(f"{topic}/{number} at {start}" for topic, number, start, _ in rows)
        raise NotTheOwner(f"not all of {places} stand there: somebody else writes them")


async def _queue(connection: Any, events: Sequence[Event]) -> None:
    if events:
        await _queue_for_subscribers(connection, events)
    if pushes := [push for event in events for push in event.pushes]:
        await _queue_for_platforms(connection, pushes)


async def _queue_for_subscribers(connection: Any, events: Sequence[Event]) -> None:
    told_ = [
        (
            row["id"],
            Filter(tuple(row["types"]), tuple(row["shops"])),
            row["made_at"].timestamp() * 1000,
        )
        for row in await connection.fetch(sql("subscribers_told"))
    ]
    rows = [
        (id_, event.order, event.message, event.type, event.body)
        for event in events
        for id_, wanted, since_ms in told_
        if event.at_ms >= since_ms and wants(wanted, event.type, event.order)
    ]
    if rows:
        await connection.execute(sql("queue_deliveries"), posting.KIND, *_columns(rows, 5))


async def _queue_for_platforms(
    connection: Any, pushes: Sequence[tuple[str, str, str, str, bytes]]
) -> None:
    told_ = {row["id"] for row in await connection.fetch(sql("platforms_told"), telling.KIND)}
    rows = [push for push in pushes if push[0] in told_]
    if rows:
        await connection.execute(sql("queue_deliveries"), telling.KIND, *_columns(rows, 5))


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(width)]
