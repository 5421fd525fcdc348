"""
Imports in PostgreSQL: one row a job, and what became of each of its orders.

Promise: what a job will send is written whole or not at all, before the first of it is sent; two
processes never work at one job.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, Self

import orjson

from schemas.errors import Rejected
from streams.importing.forecast import Existing, Forecast
from streams.importing.planning import Reading
from streams.postgres.addresses import operations_of, reader_of
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.settings import Settings

Row = dict[str, Any]

#: Jobs of one page.
LISTED_MAX = 200
#: Every question here names its keys. The planner, who has no figures of tables that were filled a
#: moment ago, would rather read them whole, thousands of times. Where it has figures of other jobs
#: alone, it takes a new one for a single order, and would compare each with all that is said.
_BY_KEY_ALONE = {"enable_seqscan": "off", "enable_nestloop": "off"}
_JSON = ("options", "began", "forecast", "verdicts")


class UnknownImport(Rejected):
    """There is no such import."""


class Wish(NamedTuple):
    """What somebody wants imported, and why."""

    #: Where the file lies, and what its owner calls it.
    path: str
    name: str
    digest: str
    size: int
    reading: Reading
    existing: Existing
    operator: str
    reason: str
    dry_run: bool = False


class Job(NamedTuple):
    """One import, as it stands."""

    id: str
    state: str
    file_name: str
    path: str
    file_digest: str
    file_bytes: int
    platform: str
    shop: str
    existing: Existing
    reading: Reading
    operator: str
    reason: str
    dry_run: bool
    #: End of each partition of the raw topic before the first order was sent.
    began: list[int]
    row_count: int | None
    order_count: int | None
    sent: int
    forecast: Row
    verdicts: Row
    failure: str | None
    created_at: datetime
    moved_at: datetime
    ended_at: datetime | None

    def facts(self) -> Row:
        """Return what may be told of it: everything but where the file lies."""
        told_ = self._asdict()
        del told_["path"], told_["began"]
        return told_ | {"reading": self.reading._asdict(), "existing": self.existing.value}


class Sent(NamedTuple):
    """One order of a job."""

    number: int
    order_key: str
    digest: str


class Settled(NamedTuple):
    """What was decided of one order."""

    number: int
    verdict: str
    field: str = ""
    reason: str = ""


def options_of(reading: Reading) -> str:
    """Return how a file is read as JSON, always in the same words."""
    return orjson.dumps(reading._asdict(), option=orjson.OPT_SORT_KEYS).decode()


class Jobs:
    """`async with Jobs(settings) as jobs`; methods raise LedgerUnavailable."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings, *, reads: bool = False) -> AsyncIterator[Self]:
        """Connect, as the role for operations or, with *reads*, as a reader; or Misconfigured."""
        dsn = reader_of(settings) if reads else operations_of(settings)
        async with connected(dsn, name="orderflow-import", **_BY_KEY_ALONE) as connection:
            yield cls(connection)

    @property
    def connection(self) -> Any:
        """The connection, for other questions."""
        return self._connection

    async def received(self, id_: str, wish: Wish) -> None:
        """Begin a job."""
        reading = wish.reading
        await self._connection.execute(
            sql("import_received"), id_, wish.name, wish.path, wish.digest, wish.size,
            reading.platform, reading.shop, wish.existing.value, options_of(reading),
            wish.operator, wish.reason, wish.dry_run,
        )  # fmt: skip

    async def again(self, wish: Wish) -> str | None:
        """Return the job of the same file and wish that has not ended; its file is this one now."""
        reading = wish.reading
        found = await self._connection.fetchval(
            sql("import_again"), wish.digest, reading.platform, reading.shop,
            wish.existing.value, options_of(reading), wish.path,
        )  # fmt: skip
        return None if found is None else str(found)

    async def left(self, folder: str) -> list[str]:
        """Return the jobs of files in *folder* that have not ended and nobody works at; claimed."""
        rows = await self._connection.fetch(sql("imports_left"), folder, LISTED_MAX)
        return [row["id"] for row in rows if await self.claim(row["id"])]

    async def job(self, id_: str) -> Job:
        """Return one job; raises UnknownImport."""
        row = await self._connection.fetchrow(sql("import_of"), id_)
        if row is None:
            raise UnknownImport(f"There is no import {id_!r}; `orderflow import list` has them.")
        return _job(row)

    async def listed(self, limit: int) -> list[Job]:
        """Return the latest jobs."""
        rows = await self._connection.fetch(sql("imports_listed"), min(limit, LISTED_MAX))
        return [_job(row) for row in rows]

    async def claim(self, id_: str) -> bool:
        """Say whether nobody else works at this job; from then on nobody will."""
        return bool(await self._connection.fetchval(sql("import_mine"), id_))

    async def forced_at_ms(self, id_: str) -> int:
        """Return the moment as of which forced orders count, the same however often it is asked."""
        return int(await self._connection.fetchval(sql("import_forced"), id_))

    async def forecast(self, id_: str, found: Forecast, row_count: int) -> None:
        """Note what a file would meet; nothing of it will be sent."""
        await self._note(id_, "forecast", found, row_count)

    async def planned(self, id_: str, found: Forecast, row_count: int, began: list[int]) -> None:
        """Note all that will be sent, in one transaction."""
        async with self._connection.transaction():
            await self._note(id_, "forecast", found, row_count)
            await self._connection.copy_records_to_table(
                "import_orders",
                columns=("import", "number", "order_key", "digest", "lines", "forecast", "verdict"),
                records=_orders(id_, found),
            )
            await self._connection.copy_records_to_table(
                "import_refusals",
                columns=("import", "line", "order_id", "field", "reason"),
                records=[
                    (id_, row, bad.order_id, bad.field, bad.reason)
                    for row, bad in found.bad.items()
                ],
            )
            await self._connection.execute(sql("import_planned"), id_, _json(began))

    async def _note(self, id_: str, state: str, found: Forecast, row_count: int) -> None:
        facts = {"rows": found.rows, "orders": found.orders, "waiting": found.waiting}
        await self._connection.execute(
            sql("import_forecast"), id_, state, _json(facts), row_count, len(found.outlooks)
        )

    async def sent(self, id_: str, number: int, *, all_of_it: bool) -> None:
        """Note that the broker has the orders up to *number*."""
        await self._connection.execute(sql("import_sent"), id_, number, all_of_it)

    async def run(self, id_: str, existing: Existing, operator: str, reason: str) -> bool:
        """Let a dry run be carried out; False: it is none, or was let already."""
        tag = await self._connection.execute(
            sql("import_run"), id_, existing.value, operator, reason
        )
        return bool(tag.endswith(" 1"))

    async def refused(self, id_: str, why: str) -> None:
        """End a job whose file cannot be used."""
        await self._connection.execute(sql("import_refused"), id_, why)

    async def orders(self, id_: str, after: int, limit: int) -> list[Row]:
        """Return a page of the orders of a job."""
        rows = await self._connection.fetch(sql("import_orders_of"), id_, after, limit)
        return [dict(row) for row in rows]

    async def refusals(self, id_: str, after: int, limit: int) -> list[Row]:
        """Return a page of the rows that were refused before anything was sent."""
        rows = await self._connection.fetch(sql("import_refusals"), id_, after, limit)
        return [dict(row) for row in rows]

    async def unsettled(self, id_: str, after: int, limit: int) -> list[Sent]:
        """Return a page of the orders that were sent and of which nothing was heard."""
        rows = await self._connection.fetch(sql("import_unsettled"), id_, after, limit)
        return [Sent(*row) for row in rows]

    async def settle(self, id_: str, settled: Sequence[Settled]) -> None:
        """Note what was decided."""
        columns: list[list[Any]] = [list(column) for column in zip(*settled, strict=True)]
        numbers = columns[0]
        await self._connection.execute(
            sql("import_settle"), id_, *columns, min(numbers), max(numbers)
        )

    async def count_settled(self, id_: str) -> int:
        """Return how many orders have a verdict."""
        return int(await self._connection.fetchval(sql("import_settled"), id_))

    async def done(self, id_: str, bad_rows: int) -> None:
        """End a job: count what became of every row."""
        rows = await self._connection.fetch(sql("import_counts"), id_)
        by_rows = {row["verdict"]: row["rows"] for row in rows}
        if bad_rows:
            by_rows["bad"] = by_rows.get("bad", 0) + bad_rows
        facts = {"rows": by_rows, "orders": {row["verdict"]: row["orders"] for row in rows}}
        await self._connection.execute(sql("import_done"), id_, _json(facts))


def _orders(id_: str, found: Forecast) -> Iterable[tuple[Any, ...]]:
    for number, outlook in enumerate(found.outlooks, 1):
        # What is left alone has its verdict; of the rest the order keeper has to be heard.
        skipped = outlook.verdict.value if outlook.verdict.value == "skipped" else None
        yield (
            id_, number, outlook.key, outlook.digest, list(outlook.planned.rows),
            outlook.verdict.value, skipped,
        )  # fmt: skip


def _json(facts: Any) -> str:
    return orjson.dumps(facts).decode()


def _job(row: Mapping[str, Any]) -> Job:
    found = dict(row)
    for name in _JSON:
        found[name] = orjson.loads(found[name]) if found[name] else {}
    options = found.pop("options")
    found["reading"] = Reading(**options | {"passes": tuple(options["passes"])})
    found["existing"] = Existing(found["existing"])
    found["began"] = found["began"] or []
    return Job(**{name: found[name] for name in Job._fields})
