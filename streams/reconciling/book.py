"""
The book of drifts: what was found, and what a person did about it. The table `drifts`.

Promises that a difference is one row however often it is met, that it ends by itself only when it
was looked for and not found, and that what is ended stays as it is.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import Any

from agents.comparing import Drift, Kind, Remedy
from streams.postgres.connecting import connected
from streams.postgres.queries import sql

#: So many of one kind are written down in one look; the rest is counted and met again.
NOTED_MAX = 1_000

Row = dict[str, Any]


class Book:
    """The table, written with the ledger's rights."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def note(self, drifts: Sequence[Drift], looked_for: Callable[[Drift], bool]) -> list[Row]:
        """Write *drifts* down, end the open ones *looked_for* in vain; return what is open."""
        noted: dict[str, Drift] = {}
        counts: dict[str, int] = {}
        for drift in drifts:
            counts[drift.kind] = counts.get(drift.kind, 0) + 1
            if counts[drift.kind] <= NOTED_MAX:
                noted[_mark(drift)] = drift
        met = {_mark(drift) for drift in drifts}
        async with self._connected() as connection, connection.transaction():
            gone = [
                row["id"]
                for row in await connection.fetch(sql("open_drifts"))
                if row["mark"] not in met and looked_for(_drift(row))
            ]
            await connection.execute(sql("end_drifts"), gone)
            if noted:
                rows = [(mark, *drift) for mark, drift in noted.items()]
                await connection.execute(sql("note_drifts"), *map(list, zip(*rows, strict=True)))
            return [dict(row) for row in await connection.fetch(sql("open_drifts"))]

    async def one(self, number: int) -> Row | None:
        """Return one drift; None where there is none of this number."""
        async with self._connected() as connection:
            row = await connection.fetchrow(sql("drift"), number)
        return None if row is None else dict(row)

    async def claim(self, number: int, command: str) -> str | None:
        """Return the id of the command for an open drift: *command*, or an earlier one."""
        async with self._connected() as connection:
            claimed: str | None = await connection.fetchval(sql("claim_drift"), number, command)
        return claimed

    async def confirm(self, number: int, operator: str, reason: str) -> bool:
        """Write down that a person has set it right; say whether it was still open."""
        async with self._connected() as connection:
            done = await connection.execute(sql("confirm_drift"), number, operator, reason)
        return bool(done == "UPDATE 1")

    def _connected(self) -> AbstractAsyncContextManager[Any]:
        return connected(self._dsn, name="orderflow-reconciler")


def _mark(drift: Drift) -> str:
    """Return what makes two findings the same difference."""
    same = (drift.kind, drift.sku, drift.order, drift.what, drift.expected, drift.found)
    return sha256("\1".join(same).encode()).hexdigest()


def _drift(row: Any) -> Drift:
    return Drift(
        Kind(row["kind"]), row["sku"], row["order_key"], row["what"], row["amount"],
        row["version"], row["expected"], row["found"], Remedy(row["remedy"]), row["proposal"],
        row["delta"],
    )  # fmt: skip
