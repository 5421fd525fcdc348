"""
`bench figures`: how soon dashboards answer and the daily report is ready, at many orders.

A database of its own is filled by SQL with orders of several shops over some days, with lines and
regions, as the ledger writes them; then everything is counted, each question is asked through the
code of the pages, and the day with the most orders is reported after a part of it was written anew.
At the end what is kept is compared with the orders of the busiest day.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from schemas.errors import Misconfigured
from streams.bench.flow import as_owner, drop
from streams.bench.processes import machine
from streams.console.orders import BEHIND_SCAN_MAX, PAGE
from streams.figures import asking
from streams.figures.asking import Asked
from streams.figures.clocks import Clock
from streams.figures.reports import write_due
from streams.figures.restating import check, restate
from streams.postgres import schema
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.processes import listener
from streams.settings import Settings

_NAME = "orderflow-bench"
_ZONE = "Asia/Shanghai"
_LAST = date(2026, 11, 11)
#: A part of the busiest day is written anew before it is reported: one order of so many.
_LATE_ONE_OF = 20

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    #: Orders of the last day, and of each day before it.
    busiest: int = 1_000_000
    orders: int = 100_000
    days: int = 24
    lines: int = 3
    shops: int = 20
    runs: int = 9


async def measure(settings: Settings, job: Job, progress: Progress) -> dict[str, Any]:
    """Return how long each part took, s, and each question, ms. Raises Misconfigured."""
    async with _installed(settings) as (owner, reader, operations):
        progress("filling the database")
        filled = await _timed(_fill(owner, job, progress))
        progress("counting everything")

        def say(done: int, left: int) -> None:
            progress(f"counting everything: {done:,} shop hours, {left:,} to go")

        counted = await _timed(restate(operations, _clock, _ZONE, say))
        progress("asking")
        questions = {
            name: await _asked(reader, asked, job.runs) for name, asked in _questions(job).items()
        }
        lists = await _listed(reader, job.runs)
        progress("the daily report")
        await _be_late(owner)
        reported = await _timed(
            write_due(operations, _clock, _ZONE, datetime(2026, 11, 11, 18, tzinfo=UTC), say)
        )
        progress("comparing")
        begins = datetime(_LAST.year, _LAST.month, _LAST.day, tzinfo=UTC)
        found = await check(reader, begins, lambda *_: None)
        sizes = await _sizes(owner)
    return {
        "orders": job.busiest + job.orders * job.days,
        "lines": (job.busiest + job.orders * job.days) * job.lines,
        "busiest": job.busiest,
        "late": job.busiest // _LATE_ONE_OF,
        "fill_s": filled,
        "count_s": counted,
        "report_s": reported,
        "questions": questions,
        "lists": lists,
        "differences": len(found.differences),
        "sizes": sizes,
        "machine": machine(listener(settings.kafka)),
    }


def _clock(_platform: str, _shop: str) -> Clock:
    return Clock(_ZONE)


async def _timed(work: Awaitable[Any]) -> float:
    began = time.monotonic()
    await work
    return round(time.monotonic() - began, 1)


def _questions(job: Job) -> dict[str, Asked]:
    first = _LAST - timedelta(days=job.days)
    everything = Asked(first, _LAST)
    return {
        "all, by day": everything,
        "all, by month": everything._replace(unit="month"),
        "all, by hour": everything._replace(unit="hour"),
        "one shop, by hour": everything._replace(unit="hour", platform="taobao", shop="s0"),
        "one region, by week": everything._replace(unit="week", country="CN", province="p3"),
        "the busiest day, by hour": Asked(_LAST, _LAST, "hour"),
    }


async def _asked(dsn: str, asked: Asked, runs: int) -> dict[str, Any]:
    until = datetime(2026, 11, 12, tzinfo=UTC)
    times: list[float] = []
    found = asking.Figures([], [], [], [])
    async with connected(dsn, name=_NAME) as connection:
        for _ in range(runs):
            began = time.monotonic()
            found = await asking.figures(connection, asked)
            await asking.flow(connection, until - timedelta(days=31), until, None, None)
            times.append((time.monotonic() - began) * 1000)
    return {
        "orders": sum(line.orders for line in found.totals),
        "median_ms": round(sorted(times)[runs // 2], 1),
        "max_ms": round(max(times), 1),
    }


async def _listed(dsn: str, runs: int) -> dict[str, Any]:
    """Return how soon the first page of the list behind the busiest day is there, ms."""
    where = (None, "", BEHIND_SCAN_MAX, PAGE + 1, _LAST, _LAST, None)
    tail = (True, None, None, None, None, None, None)
    back = (*where[:4], None, None, None, _LAST, _LAST, False, *tail)
    lists = {
        "placed that day": ("orders_figured", (*where, None, None, False, *tail)),
        "came back, placed that day": ("orders_figured", (*where, None, None, True, *tail)),
        "came back that day": ("orders_figured_back", back),
    }
    found = {}
    async with connected(dsn, name=_NAME) as connection:
        for name, (statement, values) in lists.items():
            times = []
            for _ in range(runs):
                began = time.monotonic()
                await connection.fetch(sql(statement), *values)
                times.append((time.monotonic() - began) * 1000)
            found[name] = {
                "median_ms": round(sorted(times)[runs // 2], 1), "max_ms": round(max(times), 1),
            }  # fmt: skip
    return found


# --- what is measured -----------------------------------------------------------------------------

_ORDERS = """
    INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,
        platform_status, status, currency, total_minor, paid_minor, created_at, paid_at, refund,
        refunded_minor, refunded_at, received_at, reservation, ignored, first_received_at,
        first_written_at, verdict_written_at, written_at, stated_at, observed_at, verdict_at)
    SELECT 'taobao:' || shop || ':' || day || '-' || n, 3, 63, at, 'taobao', shop, day || '-' || n,
        state, state, 'CNY', 1000 + n % 50000, CASE WHEN paid THEN 1000 + n % 50000 END, at,
        CASE WHEN paid THEN at END, CASE WHEN back THEN 'REFUNDED' ELSE 'NONE' END,
        CASE WHEN back THEN 1000 END, CASE WHEN back THEN at + interval '3 hours' END, got,
        'reserved', 0, got, got + interval '30 ms', got + interval '45 ms', got,
        at, got + interval '10 ms', got + interval '20 ms'
    FROM (
        SELECT n, 's' || n % $3 AS shop, $1::date::text AS day, n % 25 = 0 AS back,
            n % 17 <> 0 AS paid, at,
            CASE WHEN n % 17 = 0 THEN 'CANCELLED' ELSE 'SHIPPED' END AS state,
            at + interval '1 s' AS got
        FROM generate_series(1, $2::int) AS n, LATERAL (
            SELECT ($1::date::timestamp AT TIME ZONE 'Asia/Shanghai')
                + (n * (86400.0 / $2::int)) * interval '0.999 s' AS at
        ) AS moment
    ) AS made
"""
_LINES = """
    INSERT INTO order_lines (order_key, line_no, version, line_id, sku, quantity, line_total_minor)
    SELECT 'taobao:s' || n % $3 || ':' || $1::date::text || '-' || n, line, 1, line::text,
        'SKU-' || (n * line) % 5000, 1, 500
    FROM generate_series(1, $2::int) AS n, generate_series(1, $4::int) AS line
"""
_DETAILS = """
    INSERT INTO order_details (order_key, version, country, province, body)
    SELECT 'taobao:s' || n % $3 || ':' || $1::date::text || '-' || n, 1, 'CN', 'p' || n % 31,
        '\\x00'
    FROM generate_series(1, $2::int) AS n
"""
_LATE = f"""
    WITH late AS (
        UPDATE orders SET refund = 'REFUNDED', refunded_minor = 7, refunded_at = created_at
        WHERE order_id LIKE '{_LAST}-%' AND hashtext(order_key) % {_LATE_ONE_OF} = 0
        RETURNING order_key
    )
    INSERT INTO figures_touched SELECT order_key FROM late
"""  # noqa: S608  our own numbers


async def _fill(owner: str, job: Job, progress: Progress) -> None:
    async with connected(owner, name=_NAME) as connection:
        for back in range(job.days, -1, -1):
            day, many = _LAST - timedelta(days=back), job.orders if back else job.busiest
            progress(f"filling the database: {day}")
            async with connection.transaction():
                await connection.execute(_ORDERS, day, many, job.shops)
                await connection.execute(_DETAILS, day, many, job.shops)
                await connection.execute(_LINES, day, many, job.shops, job.lines)
        await connection.execute(sql("figures_all_stale"), None, None)
        await connection.execute("VACUUM ANALYZE")


async def _be_late(owner: str) -> None:
    async with connected(owner, name=_NAME) as connection:
        await connection.execute(_LATE)


async def _sizes(owner: str) -> dict[str, int]:
    async with connected(owner, name=_NAME) as connection:
        return {
            table: await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608  our own names
            for table in ("figures_parts", "figures_days", "figures_flow")
        }


@asynccontextmanager
async def _installed(settings: Settings) -> AsyncIterator[tuple[str, str, str]]:
    """Make a database with the roles that count; give the owner's, the reader's and theirs."""
    found = (
        settings.postgres_owner, settings.postgres_ledger, settings.postgres_reader,
        settings.postgres_operations,
    )  # fmt: skip
    dsns = [secret.get_secret_value() if secret else "" for secret in found]
    if not all(dsns):
        raise Misconfigured("Set ORDERFLOW_POSTGRES_OWNER, _LEDGER, _READER and _OPERATIONS.")
    owner, ledger, reader, operations = dsns
    database = f"orderflow_bench_{secrets.token_hex(4)}"
    there = [urlunsplit(urlsplit(dsn)._replace(path=f"/{database}")) for dsn in dsns]
    await as_owner(owner, f'CREATE DATABASE "{database}"')
    try:
        await schema.migrate(
            there[0],
            ledger=schema.role_of(ledger),
            reader=schema.role_of(reader),
            operations=schema.role_of(operations),
        )
        yield there[0], there[2], there[3]
    finally:
        await asyncio.shield(drop(owner, database))
