"""PostgreSQL as a peer: a database of its own on the stack's server, dropped afterwards."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from schemas.errors import Misconfigured
from streams.bench.commands import PLENTY, sku
from streams.bench.flow import as_owner, drop
from streams.bench.reserve import CountsDiffer, Run, Say, compare
from streams.processes import listener
from streams.settings import Settings
from tests.bench.clients import clients, finished, warm
from tests.bench.peer import Measure, NotMeasured

#: Without these a commit would not be on the disk.
_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_TABLES = """
CREATE TABLE stock (
    sku text PRIMARY KEY, available bigint NOT NULL, locked bigint NOT NULL, version bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE holds (
    sku text, "order" text, quantity bigint NOT NULL, bucket text NOT NULL, origin text NOT NULL,
    deadline_ms bigint, PRIMARY KEY (sku, "order")
);
CREATE TABLE answers (
    "order" text PRIMARY KEY, sku text NOT NULL, attempt int NOT NULL, refusal text
);
CREATE TABLE events (
    number bigserial PRIMARY KEY, sku text NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    cause text NOT NULL, version bigint NOT NULL, verb text NOT NULL, quantity bigint NOT NULL,
    source text, target text, available bigint NOT NULL, locked bigint NOT NULL, "order" text,
    deadline_ms bigint
);
"""


def transactions(count: int, *, hot: bool) -> Measure:
    """Return the measure of *count* clients, of one SKU that all want or of many."""

    async def measure(settings: Settings, records: int, skus: int, say: Say) -> Run:
        many = 1 if hot else skus
        name = f"PostgreSQL, {count} clients"
        async with database(settings) as dsn:
            server = listener(urlsplit(dsn).netloc.rpartition("@")[2])
            if server is None:
                raise NotMeasured("PostgreSQL does not run on this machine: its CPU is unknown")
            await stocked(dsn, many)
            with clients("postgres", dsn, server, count, records, many) as child:
                found = await finished(child, records, say)
            await verify(name, dsn, warm(records) + records, many)
        return found

    return measure


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """Make a database, and drop it afterwards; yield its address."""
    if settings.postgres_owner is None:
        raise Misconfigured("Set ORDERFLOW_POSTGRES_OWNER.")
    owner = settings.postgres_owner.get_secret_value()
    name = f"orderflow_bench_{secrets.token_hex(4)}"
    await as_owner(owner, f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(owner)._replace(path=f"/{name}"))
    finally:
        await drop(owner, name)


async def stocked(dsn: str, skus: int) -> None:
    """Make the tables, with plenty of every SKU; raises NotMeasured where a commit may get lost."""
    connection = await asyncpg.connect(dsn)
    try:
        for setting in _DURABLE:
            if (value := await connection.fetchval(f"SHOW {setting}")) != "on":
                raise NotMeasured(f"PostgreSQL runs with {setting} = {value}")
        await connection.execute(_TABLES)
        rows = [(sku(number, skus), PLENTY, 0, 1) for number in range(skus)]
        await connection.copy_records_to_table("stock", records=rows)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def verify(name: str, dsn: str, orders: int, skus: int) -> None:
    """Compare what the tables say with what was asked; raises CountsDiffer."""
    connection = await asyncpg.connect(dsn)
    try:
        answers = await connection.fetch('SELECT "order", refusal FROM answers')
        events = await connection.fetch('SELECT "order", quantity, available FROM events')
        units = await connection.fetchrow(
            "SELECT (SELECT sum(available + locked) FROM stock) AS there, "
            "(SELECT sum(locked) FROM stock) AS locked, (SELECT sum(quantity) FROM holds) AS held"
        )
    finally:
        await connection.close()
    said = [(row["order"], row["refusal"] is None) for row in answers]
    compare(name, range(orders), said, events)
    if units["there"] != PLENTY * skus or units["locked"] != units["held"]:
        raise CountsDiffer(f"{name}: units do not add up: {dict(units)}")
