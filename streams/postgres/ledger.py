"""
The ledger in PostgreSQL: one batch, one transaction, exactly once.

How exactly once comes about. The first statement of a transaction moves every position of the
batch from where the batch begins to where it ends, and locks it; a position that stands elsewhere
has another owner, and nothing is written. So of two owners one writes, whatever both believe.
When the answer to COMMIT is lost, nobody knows; then the caller asks `starts`, which waits for
that transaction to end (the positions are read FOR UPDATE) and sees where it stopped. Because
positions, letter numbers and rows live in one transaction, the position alone tells whether the
batch is in.

A connection that failed is thrown away; the next call opens another. A stopped process cannot keep
its successor waiting: PostgreSQL ends a session that stays idle inside a transaction, and `starts`
ends one that stays in the middle of a statement.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

from agents.chain import sealed
from schemas.errors import OrderflowError
from schemas.ledger import (
    DetailsRow,
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
    Start,
    StockRow,
    TopicPartition,
)
from streams.postgres.connecting import connect, end_stopped, told
from streams.postgres.queries import sql

CLOSE_SECONDS = 5.0
#: A stopped process must not hold its positions for longer.
STOPPED_AFTER = timedelta(seconds=10)
_NAME = "orderflow-ledger"
SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": f"{STOPPED_AFTER.seconds}s",
    "temp_buffers": "32MB",
    #: A crash of the server may take the last transactions back, but then their positions too: the
    #: next write does not find its position, the process ends, and they are read again.
    "synchronous_commit": "off",
}
#: Up to so many rows a batch merges from arrays, without the staging tables: emptying those costs
#: 2 ms at every commit, which is a lot for a small round and nothing for a large one.
FEW_ROWS = 1_000
#: Of so many SKUs the head of the chain is remembered: about 20 MB.
HEADS_MAX = 100_000
#: Statement that merges rows -> staging table, the table whose types its columns take, the row.
STAGED: dict[str, tuple[str, str, Any]] = {
    "upsert_orders": ("staged_orders", "orders", OrderRow),
    "upsert_stock": ("staged_stock", "stock", StockRow),
    "upsert_holds": ("staged_holds", "holds", HoldRow),
    "upsert_quotas": ("staged_quotas", "quotas", QuotaRow),
    "upsert_details": ("staged_details", "order_details", DetailsRow),
    "upsert_parked": ("staged_parked", "parked", ParkedRow),
}
#: Columns that are staged as text, because the writer has no quicker way to say them.
AS_TEXT = frozenset({"unmapped", "short", "found_by"})


class NotTheOwner(OrderflowError):  # noqa: N818  our errors are sentences, as in schemas.errors
    """A partition stands elsewhere than this process left it: somebody else writes it. Stop."""


class PostgresLedger:
    """The port `agents.ports.Ledger`. One connection; calls must not overlap."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        self._arrays: dict[str, str] = {}
        #: SKU -> chain of its latest entry. Empty where it may be old: when partitions come, for
        #: others wrote there meanwhile, and after a failure, for nobody knows what was written.
        self._heads: dict[str, bytes] = {}

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Start]:
        """Return where each partition goes on; a new one begins at 0."""
        claimed = _columns(sorted(set(partitions)), 2)
        if not claimed[0]:
            return {}
        self._heads.clear()
        async with _Transaction(self) as connection:
            await end_stopped(connection, _NAME, STOPPED_AFTER)
            await connection.execute(sql("claim_positions"), *claimed)
            positions = await connection.fetch(sql("settled_positions"), *claimed)
            sources = await connection.fetch(sql("heard_sources"), *claimed)
        starts = {(topic, number): Start(next_, {}) for topic, number, next_ in positions}
        for topic, number, source, epoch, last in sources:
            starts[topic, number].heard[source] = (epoch, last)
        return starts

    async def write(self, batch: LedgerBatch) -> None:
        """Write *batch*. Raises LedgerUnavailable, RefusedByLedger, NotTheOwner."""
        if not batch.positions:
            return
        heads, self._heads = self._heads, {}
        async with _Transaction(self) as connection:
            write = _Write(connection, self._arrays, batch, heads)
            await write.positions()
            await write.orders()
            await write.stock()
            await write.to_ship()
        if len(heads) <= HEADS_MAX:
            self._heads = heads

    async def connection(self) -> Any:
        """Return the connection, opened and furnished if there is none."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._dsn, name=_NAME, **SESSION)
            self._arrays = await _furnish(self._connection)
        return self._connection

    def drop(self) -> None:
        """Give the connection up, in whatever state it is."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """End the connection in good order."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=CLOSE_SECONDS)


class _Transaction:
    """One transaction on the ledger's connection; what goes wrong leaves it in our words."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self._ledger = ledger
        self._transaction: Any = None

    async def __aenter__(self) -> Any:
        try:
            connection = await self._ledger.connection()
            self._transaction = connection.transaction()
            await self._transaction.start()
        except BaseException as error:
            self._ledger.drop()
            if isinstance(error, Exception):
                raise told(error) from error
            raise
        return connection

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self._end(self._transaction.commit)
        elif isinstance(error, Exception):
            with suppress(OrderflowError):  # what went wrong first is what is told
                await self._end(self._transaction.rollback)
            raise told(error) from error
        else:  # cancelled: the connection may be in the middle of a message
            self._ledger.drop()

    async def _end(self, end: Callable[[], Awaitable[None]]) -> None:
        try:
            await end()
        except BaseException as error:
            self._ledger.drop()
            if isinstance(error, Exception):
                raise told(error) from error
            raise


async def _furnish(connection: Any) -> dict[str, str]:
    """Make the staging tables; return, for each, what stands in its place when rows are few."""
    # A row's instants are ms, which this takes a quarter of the time to write that datetimes take.
    await instants_as_ms(connection)
    arrays = {}
    for staging, table, row in STAGED.values():
        columns = ", ".join(f"{name}::text" if name in AS_TEXT else name for name in row._fields)
        await connection.execute(
            f"CREATE TEMPORARY TABLE {staging} ON COMMIT DELETE ROWS"  # noqa: S608  our own names
            f" AS SELECT {columns} FROM {table} WITH NO DATA"
        )
        types = await connection.fetch(sql("column_types"), staging)
        values = ", ".join(f"${place}::{kind}[]" for place, (kind,) in enumerate(types, 1))
        arrays[staging] = f"unnest({values}) AS {staging} ({', '.join(row._fields)})"
    return arrays


async def instants_as_ms(connection: Any) -> None:
    """Let *connection* read and write instants as ms."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_instant, decoder=_ms, format="tuple"
    )


#: 2000-01-01 UTC, where PostgreSQL counts its microseconds from.
_EPOCH_US = 946_684_800_000_000
#: The years 1 to 9999: PostgreSQL knows more, those who read it do not.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def _instant(ms: Ms) -> tuple[int]:
    if not _FIRST_MS <= ms <= _LAST_MS:
        raise OverflowError(f"{ms} ms is no instant of the years 1 to 9999")
    return (ms * 1000 - _EPOCH_US,)


def _ms(instant: tuple[int]) -> Ms:
    return (instant[0] + _EPOCH_US) // 1000


# --- the parts of a batch -------------------------------------------------------------------------


class _Write:
    """One batch on its way into an open transaction."""

    def __init__(
        self,
        connection: Any,
        arrays: dict[str, str],
        batch: LedgerBatch,
        heads: dict[str, bytes],
    ) -> None:
        self._connection = connection
        self._arrays = arrays
        self._batch = batch
        #: Of the SKUs written lately; what is not there is read, what is written is put there.
        self._heads = heads
        merged: tuple[Sequence[Any], ...] = (
            batch.orders,
            batch.stock,
            batch.holds,
            batch.quotas,
            batch.details,
            batch.parked,
        )
        self._few = sum(len(rows) for rows in merged) <= FEW_ROWS

    async def positions(self) -> None:
        """Move every position, which locks it, and remember what was heard. Comes first."""
        batch, execute = self._batch, self._connection.execute
        spans = sorted((*where, *span) for where, span in batch.positions.items())
        done = await execute(sql("advance_positions"), *_columns(spans, 4))
        if _count(done) != len(spans):
            places = ", ".join(f"{topic}/{number} at {start}" for topic, number, start, _ in spans)
            raise NotTheOwner(f"not all of {places} stand there: somebody else writes them")
        heard = [
            (*where, source, *last)
            for where, sources in batch.heard.items()
            for source, last in sources.items()
        ]
        if heard:
            await execute(sql("remember_sources"), *_columns(heard, 5))

    async def orders(self) -> None:
        """Orders, their lines, their story and what is personal."""
        batch = self._batch
        lines, replaced = batch.lines, batch.replaced
        if await self._merge("upsert_orders", batch.orders) != len(batch.orders):
            overtaken = await self._overtaken()
            lines = [line for line in lines if line.order_key not in overtaken]
            replaced = [key for key in replaced if key not in overtaken]
        if replaced:
            await self._connection.execute(sql("forget_lines"), replaced)
        await self._append("order_lines", LineRow, lines)
        await self._append("order_events", OrderEventRow, batch.order_events)
        await self._merge("upsert_details", batch.details)
        await self._touch()

    async def _touch(self) -> None:
        """Say of which orders the figures may be other ones now (streams/figures)."""
        batch = self._batch
        touched = {row.order_key for row in batch.orders}
        touched.update(row.order_key for row in batch.details)
        if touched:
            await self._connection.copy_records_to_table(
                "figures_touched", records=[(key,) for key in touched], columns=("order_key",)
            )

    async def stock(self) -> None:
        """Moves, balances, holds and answers; and what was parked."""
        batch = self._batch
        await self._moves()
        await self._append("releases_ignored", IgnoredReleaseRow, batch.ignored_releases)
        await self._append("shortfalls", ShortfallRow, batch.shortfalls)
        await self._append("returns", ReturnRow, batch.returns)
        heads = self._heads
        await self._merge(
            "upsert_stock", [row._replace(chain=heads[row.sku]) for row in batch.stock]
        )
        await self._merge("upsert_holds", batch.holds)
        await self._merge("upsert_quotas", batch.quotas)
        if batch.answers:
            await self._connection.execute(sql("keep_answers"), *_columns(batch.answers, 5))
        await self._merge("upsert_parked", batch.parked)

    async def to_ship(self) -> None:
        """
        Keep the list of what can go, of every order that may come to it or leave it. Comes last.

        An order and what it holds come from two topics, which two processes may write at once, and
        neither sees what the other has not committed. So they take turns from here to the end: who
        comes second sees both.
        """
        touched = {row.order_key for row in self._batch.orders}
        touched.update(row.order_key for row in self._batch.holds)
        if touched:
            await keep_to_ship(self._connection, sorted(touched))

    async def _moves(self) -> None:
        """Seal the moves, each SKU's after its latest, and append them."""
        heads, moves = self._heads, self._batch.moves
        if unknown := [row.sku for row in self._batch.stock if row.sku not in heads]:
            found = await self._connection.fetch(sql("chain_heads"), unknown)
            heads.update((row["sku"], row["chain"]) for row in found)
        rows, after = sealed(moves, heads)
        heads |= after
        if rows:
            await self._connection.copy_records_to_table(
                "stock_ledger", records=rows, columns=(*MoveRow._fields, "chain")
            )

    async def _append(self, table: str, row: Any, rows: Sequence[Any]) -> None:
        if rows:
            await self._connection.copy_records_to_table(table, records=rows, columns=row._fields)

    async def _merge(self, statement: str, rows: Sequence[Any]) -> int:
        """Merge *rows* by the upsert called *statement*; return how many were newer."""
        if not rows:
            return 0
        staging, _, row = STAGED[statement]
        if self._few:
            values = _columns(rows, len(row._fields))
            return _count(await self._connection.execute(self._from_arrays(statement), *values))
        await self._append(staging, row, rows)
        return _count(await self._connection.execute(sql(statement)))

    async def _overtaken(self) -> set[str]:
        """Return the keys of the batch's orders that met something newer."""
        versions = [(order.order_key, order.version) for order in self._batch.orders]
        rows = await self._connection.fetch(sql("overtaken_orders"), *_columns(versions, 2))
        return {row["order_key"] for row in rows}

    def _from_arrays(self, statement: str) -> str:
        staging = STAGED[statement][0]
        return sql(statement).replace(f"FROM {staging}", f"FROM {self._arrays[staging]}")


async def keep_to_ship(connection: Any, orders: Sequence[str]) -> None:
    """Let the list of what can go be what these *orders* and their holds say, in a transaction."""
    await connection.execute(sql("one_at_a_time_to_ship"))
    await connection.execute(sql("keep_to_ship"), orders)


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return *rows* column by column, as `unnest` wants them."""
    return [[row[place] for row in rows] for place in range(width)]


def _count(done: str) -> int:
    """Return the count of a command tag such as `UPDATE 3`."""
    return int(done.rsplit(" ", 1)[1])
