"""
Reads PostgreSQL for the check: whole tables, in one snapshot, a stretch at a time.

Read only. Names tables and columns itself; of the ledger's own code it uses nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from schemas.errors import LedgerUnavailable, Misconfigured
from streams.check.ledger import LedgerCheck
from streams.check.report import Claim
from streams.settings import Settings

ROWS_AT_ONCE = 5_000
CONNECT_SECONDS = 10.0
#: Never to be changed by those who serve.
TRAILS = ("order_events", "stock_ledger")
_FORBIDDEN = ("UPDATE", "DELETE", "TRUNCATE")
_ORDERED = {"order_lines": " ORDER BY order_key, line_no"}

_RIGHTS = """
    SELECT relation.relname, privilege
    FROM pg_class AS relation
    CROSS JOIN unnest($2::text[]) AS privilege
    WHERE has_table_privilege($1, relation.oid, privilege)
        AND relation.oid IN (
            SELECT trail::regclass FROM unnest($3::text[]) AS trail
            UNION ALL
            SELECT inhrelid FROM pg_inherits
            JOIN unnest($3::text[]) AS trail ON inhparent = trail::regclass
        )
    ORDER BY 1, 2
"""


def address(settings: Settings) -> str | None:
    """Return where PostgreSQL is, as a role that reads every table; None where none is named."""
    for dsn in (settings.postgres_ledger, settings.postgres_owner, settings.postgres_reader):
        if dsn is not None:
            return dsn.get_secret_value()
    return None


def roles(settings: Settings) -> list[str]:
    """Return the names of the roles that serve, as far as their addresses are given."""
    served = (
        settings.postgres_ledger,
        settings.postgres_reader,
        settings.postgres_poller,
        settings.postgres_operations,
        settings.postgres_console,
    )
    names = [urlsplit(dsn.get_secret_value()).username for dsn in served if dsn is not None]
    return [unquote(name) for name in names if name]


async def compare(dsn: str, check: LedgerCheck) -> None:
    """Hand every row of every table to *check*. Raises LedgerUnavailable, Misconfigured."""
    async with _snapshot(dsn) as connection:
        for table in check.takers:
            query = f"SELECT * FROM {table}{_ORDERED.get(table, '')}"  # noqa: S608  our own names
            cursor = await connection.cursor(query)
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                check.take(table, rows)


async def check_rights(dsn: str, names: list[str], claim: Claim) -> None:
    """Say which of the roles *names* could change or delete what is in the trails."""
    async with _snapshot(dsn) as connection:
        for name in names:
            claim.figures["roles"] += 1
            rights = await connection.fetch(_RIGHTS, name, list(_FORBIDDEN), list(TRAILS))
            for table, privilege in rights:
                claim.wrong(f"{name} on {table}", f"no {privilege}", f"{privilege} is granted")


@asynccontextmanager
async def _snapshot(dsn: str) -> AsyncIterator[Any]:
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            server_settings={
                "application_name": "orderflow-check",
                "timezone": "UTC",
                "jit": "off",
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The cause may repeat the address, which carries a password.
        raise LedgerUnavailable(f"PostgreSQL does not answer: {type(error).__name__}") from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    except asyncpg.UndefinedTableError as error:
        raise Misconfigured(f"{error}: run `orderflow migrate` first.") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(f"{error}: the check reads every table of the ledger.") from error
    finally:
        await connection.close()
