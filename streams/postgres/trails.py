"""
The ledger read whole, for those who audit it: SKU by SKU, entry by entry, in one snapshot.

Read only, by server-side cursors: what is in memory at once is a stretch of rows, whatever the
ledger's length. Instants are ms, as the chain seals them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents.audit import BalanceRow, Corrections, Held
from schemas.ledger import MoveRow
from streams.postgres.connecting import connect, told
from streams.postgres.ledger import instants_as_ms
from streams.postgres.queries import sql

ROWS_AT_ONCE = 5_000


class Snapshot:
    """One moment of PostgreSQL: `async with snapshot(dsn) as moment`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def entries(self, sku: str | None = None) -> AsyncIterator[list[tuple[MoveRow, bytes]]]:
        """Yield the entries with their chains, by SKU and version, a stretch at a time."""
        async for rows in self._stretches("entries_to_audit", sku):
            yield [(MoveRow._make(row[:-1]), row[-1]) for row in map(tuple, rows)]

    async def balances(self, sku: str | None = None) -> dict[str, BalanceRow]:
        """Return the balances."""
        found: dict[str, BalanceRow] = {}
        async for rows in self._stretches("balances_to_audit", sku):
            for name, version, at, chain, *balance in rows:
                found[name] = BalanceRow(version, at, tuple(balance), chain)
        return found

    async def holds(self, sku: str | None = None) -> AsyncIterator[list[tuple[str, str, Held]]]:
        """Yield SKU, order and hold, open and ended, by SKU."""
        async for rows in self._stretches("holds_to_audit", sku):
            yield [(row[0], row[1], Held._make(row[2:])) for row in map(tuple, rows)]

    async def quotas(self, sku: str | None = None) -> dict[str, dict[str, int]]:
        """Return what is left of quotas, by SKU and name."""
        found: dict[str, dict[str, int]] = {}
        async for rows in self._stretches("quotas_to_audit", sku):
            for name, quota, remains in rows:
                found.setdefault(name, {})[quota] = remains
        return found

    async def orders(self) -> dict[str, tuple[int, str | None, str | None]]:
        """Return version, status by the platform and status told of every order."""
        found: dict[str, tuple[int, str | None, str | None]] = {}
        async for rows in self._stretches("orders_to_audit"):
            found.update((key, (version, said, told_)) for key, version, said, told_ in rows)
        return found

    async def positions(self) -> dict[tuple[str, int], int]:
        """Return where the ledger stands on every partition."""
        rows = await self._connection.fetch(sql("positions"))
        return {(row["topic"], row["partition"]): row["next"] for row in rows}

    async def corrections(self) -> Corrections:
        """Return what persons have confirmed."""
        rows = await self._connection.fetch(sql("corrections"))
        return Corrections(
            {(row["sku"], row["version"]): row["amount"] for row in rows if row["version"]},
            {row["command_id"]: row["amount"] for row in rows if not row["version"]},
        )

    async def _stretches(self, name: str, *values: Any) -> AsyncIterator[list[Any]]:
        cursor = await self._connection.cursor(sql(name), *values)
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            yield rows


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[Snapshot]:
    """Give one moment of the database; raises LedgerUnavailable, Misconfigured."""
    connection = await connect(dsn, name="orderflow-audit")
    try:
        await instants_as_ms(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Snapshot(connection)
    except Exception as error:
        raise told(error) from error
    finally:
        await connection.close()
