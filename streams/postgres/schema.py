"""
Builds and keeps the schema: migrations, roles, monthly partitions. Only the owner role runs this.

Promises that everything here may run again at any time, on any number of machines at once, and
that no secret reaches a log or an error.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config

from schemas.errors import Misconfigured
from streams.postgres.connecting import connect, told

MIGRATIONS = Path(__file__).parent / "migrations"
#: Months kept ready before the current one and after it.
MONTHS_BEFORE = 1
MONTHS_AFTER = 3
#: Partitioned by month of `at` -> the columns that a row is moved with (not the generated one).
TRAILS: dict[str, tuple[str, ...]] = {
    "order_events": ("order_key", "version", "at", "event", "body"),
    "stock_ledger": (
        "sku", "version", "at", "verb", "quantity", "source", "target", "available", "locked",
        "occupied", "reserved", "frozen", "order_key", "deadline_at", "command_id", "operator",
        "reason", "cause",
    ),
}  # fmt: skip
#: What the ledger role may do. The trails, and what is recorded once, are never changed.
GRANTS: dict[str, str] = {
    "orders": "SELECT, INSERT, UPDATE",
    "order_lines": "SELECT, INSERT, DELETE",
    "order_details": "SELECT, INSERT, UPDATE",
    "order_events": "SELECT, INSERT",
    "stock_ledger": "SELECT, INSERT",
    "stock": "SELECT, INSERT, UPDATE",
    "holds": "SELECT, INSERT, UPDATE",
    "releases_ignored": "SELECT, INSERT",
    "command_answers": "SELECT, INSERT",
    "parked": "SELECT, INSERT, UPDATE",
    "sink_positions": "SELECT, INSERT, UPDATE",
    "sink_sources": "SELECT, INSERT, UPDATE",
}
#: Taken by whoever changes rights or partitions, for the length of a transaction.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('orderflow schema'))"
#: Alembic keeps its context in module globals, so one thread at a time.
_THREAD = threading.Lock()


def role_of(dsn: str) -> str:
    """Return the user name of *dsn*: the role that gets the rights."""
    name = urlsplit(dsn).username
    if not name:
        raise Misconfigured("A PostgreSQL address needs a user name.")
    return name


async def migrate(
    owner: str, *, ledger: str = "orderflow_ledger", reader: str = "orderflow_reader"
) -> list[str]:
    """
    Bring the database of DSN *owner* up to date; return the revisions that were applied.

    The roles *ledger* and *reader* get their rights, and the months at hand their partitions.
    Raises LedgerUnavailable, Misconfigured.
    """
    async with _connected(owner) as connection:  # a wrong address is told in our words
        await connection.fetchval("SELECT 1")
    applied: list[str] = []
    await asyncio.to_thread(_upgrade, owner, applied)
    # At once, so that a ledger at work never sees its rights gone.
    async with _connected(owner) as connection, connection.transaction():
        await connection.execute(ONE_AT_A_TIME)
        for statement in grants(ledger, reader):
            await connection.execute(statement)
    await ensure_partitions(owner)
    return applied


def _upgrade(dsn: str, applied: list[str]) -> None:
    with _THREAD:
        command.upgrade(_config(dsn=dsn, applied=applied), "head")


def _config(**attributes: Any) -> Config:
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def offline_sql(ledger: str = "orderflow_ledger", reader: str = "orderflow_reader") -> str:
    """Return everything `migrate` would run on an empty database, as one plain SQL script."""
    output = StringIO()
    with _THREAD:
        command.upgrade(_config(output=output), "head", sql=True)
    months = (
        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {trail}"
        f" FOR VALUES FROM ('{first:%Y-%m-%d}Z') TO ('{after:%Y-%m-%d}Z');"
        for trail in TRAILS
        for name, first, after in months_of(trail, datetime.now(UTC))
    )
    rights = (f"{statement};" for statement in grants(ledger, reader))
    return "\n".join([output.getvalue(), *rights, *months, ""])


def grants(ledger: str, reader: str) -> list[str]:
    """Return the statements that give both roles their rights and nothing more."""
    writer, looker = _quoted(ledger), _quoted(reader)
    statements = []
    for table, rights in GRANTS.items():
        statements += [
            f"REVOKE ALL ON {table} FROM {writer}, {looker}",
            f"GRANT {rights} ON {table} TO {writer}",
            f"GRANT SELECT ON {table} TO {looker}",
        ]
    return [*statements, f"GRANT SELECT ON alembic_version TO {writer}, {looker}"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- partitions -----------------------------------------------------------------------------------


async def ensure_partitions(
    owner: str, *, now: datetime | None = None, months_after: int = MONTHS_AFTER
) -> list[str]:
    """
    Create what is missing of the months around *now*; return the names of the new partitions.

    Rows of such a month that the default partition caught meanwhile move into it.
    Raises LedgerUnavailable, Misconfigured.
    """
    made = []
    async with _connected(owner) as connection:
        for trail, columns in TRAILS.items():
            for name, first, after in months_of(trail, now or datetime.now(UTC), months_after):
                if await _ensure_month(connection, trail, columns, name, first, after):
                    made.append(name)
    return made


def months_of(
    trail: str, now: datetime, months_after: int = MONTHS_AFTER
) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield name, first instant and end of each monthly partition around *now*, in UTC."""
    at = now.astimezone(UTC)
    this = at.year * 12 + at.month - 1
    for month in range(this - MONTHS_BEFORE, this + months_after + 1):
        first = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        after = datetime((month + 1) // 12, (month + 1) % 12 + 1, 1, tzinfo=UTC)
        yield f"{trail}_{first:%Y_%m}", first, after


async def _ensure_month(
    connection: Any,
    trail: str,
    columns: tuple[str, ...],
    name: str,
    first: datetime,
    after: datetime,
) -> bool:
    names = ", ".join(columns)
    async with connection.transaction():
        await connection.execute(ONE_AT_A_TIME)
        if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
            return False
        await connection.execute(
            f"CREATE TABLE {name} (LIKE {trail} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            " INCLUDING GENERATED)"
        )
        # Nobody may add to the default partition between the move and the attachment.
        await connection.execute(f"LOCK TABLE {trail} IN ACCESS EXCLUSIVE MODE")
        await connection.execute(
            f"WITH moved AS (DELETE FROM {trail}_default WHERE at >= $1 AND at < $2"  # noqa: S608  our own names
            f" RETURNING {names}) INSERT INTO {name} ({names}) SELECT {names} FROM moved",
            first,
            after,
        )
        await connection.execute(
            f"ALTER TABLE {trail} ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{first:%Y-%m-%d}Z') TO ('{after:%Y-%m-%d}Z')"
        )
    return True


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Any]:
    connection = await connect(dsn, name="orderflow-schema")
    try:
        yield connection
    except Exception as error:
        raise told(error) from error
    finally:
        await connection.close()
