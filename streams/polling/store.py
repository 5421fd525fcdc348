"""
What the poller remembers, in PostgreSQL: cursors, orders still to be asked for, and silences.

Promise: a cursor never moves back, whoever writes it; a name that came again while its order was
being fetched is not forgotten with the fetch.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agents.silence import Changes, Hour, Silence
from streams.postgres.addresses import poller_of
from streams.postgres.connecting import connect, told
from streams.postgres.queries import sql
from streams.settings import Settings

# Where a shop was read up to.
_CURSOR = "SELECT through FROM poll_cursors WHERE platform = $1 AND shop = $2"
# Move a cursor on, never back.
_MOVE = """
    INSERT INTO poll_cursors (platform, shop, through) VALUES ($1, $2, $3)
    ON CONFLICT (platform, shop) DO UPDATE
        SET through = excluded.through, moved_at = clock_timestamp()
        WHERE poll_cursors.through < excluded.through
"""
# All cursors.
_CURSORS = "SELECT platform, shop, through, moved_at FROM poll_cursors ORDER BY platform, shop"
# Remember that orders were named.
_WANT = """
    INSERT INTO poll_fetches (platform, shop, order_id, wanted)
    SELECT platform, shop, order_id, count(*)
    FROM unnest($1::text[], $2::text[], $3::text[]) AS named (platform, shop, order_id)
    GROUP BY platform, shop, order_id ORDER BY platform, shop, order_id
    ON CONFLICT (platform, shop, order_id) DO UPDATE
        SET wanted = poll_fetches.wanted + excluded.wanted, wanted_at = clock_timestamp()
"""
# The orders of a shop that have waited longest.
_DUE = """
    SELECT order_id, wanted FROM poll_fetches
    WHERE platform = $1 AND shop = $2
    ORDER BY wanted_at, order_id LIMIT $3
"""
# Forget an order, unless it was named again.
_DONE = """
    DELETE FROM poll_fetches
    WHERE platform = $1 AND shop = $2 AND order_id = $3 AND wanted = $4
"""
# How many orders wait.
_WAITING = """
    SELECT platform, shop, count(*) AS waiting, min(wanted_at) AS oldest
    FROM poll_fetches GROUP BY platform, shop ORDER BY platform, shop
"""


class Wanted(NamedTuple):
    """An order that was named."""

    order_id: str
    #: How often, when it was read: a fetch answers these and no later ones.
    times: int


async def want(connection: Any, named: Sequence[tuple[str, str, str]]) -> None:
    """Remember on *connection* orders that were named, as (platform, shop, order)."""
    await connection.execute(_WANT, *map(list, zip(*named, strict=True)))


class Store:
    """One connection, opened when it is needed and opened anew when it broke off."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = poller_of(settings)
        self._connection: Any = None
        self._busy = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                await self._connection.close(timeout=1)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        async with self._busy:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._dsn, name="orderflow-poll")
            try:
                yield self._connection
            except Exception as error:
                raise told(error) from error

    async def cursor(self, platform: str, shop: str) -> int | None:
        """Return the moment a shop was read up to, ms; None: it never was."""
        async with self._connected() as connection:
            through = await connection.fetchval(_CURSOR, platform, shop)
        return None if through is None else round(through.timestamp() * 1000)

    async def move(self, platform: str, shop: str, through_ms: int) -> None:
        """Remember that a shop was read up to then."""
        async with self._connected() as connection:
            at = datetime.fromtimestamp(through_ms / 1000, UTC)
            await connection.execute(_MOVE, platform, shop, at)

    async def cursors(self) -> list[dict[str, Any]]:
        """Return all cursors."""
        async with self._connected() as connection:
            return [dict(row) for row in await connection.fetch(_CURSORS)]

    async def want(self, named: Sequence[tuple[str, str, str]]) -> None:
        """Remember orders that were named, as (platform, shop, order)."""
        async with self._connected() as connection:
            await want(connection, named)

    async def due(self, platform: str, shop: str, limit: int) -> list[Wanted]:
        """Return the orders of a shop that wait to be fetched, the oldest first."""
        async with self._connected() as connection:
            rows = await connection.fetch(_DUE, platform, shop, limit)
        return [Wanted(*row) for row in rows]

    async def done(self, platform: str, shop: str, wanted: Sequence[Wanted]) -> None:
        """Forget orders that are on the topic, or in the exceptions queue."""
        async with self._connected() as connection:
            await connection.executemany(
                _DONE, [(platform, shop, each.order_id, each.times) for each in wanted]
            )

    async def waiting(self) -> list[dict[str, Any]]:
        """Return how many orders wait, a row a shop."""
        async with self._connected() as connection:
            return [dict(row) for row in await connection.fetch(_WAITING)]

    # --- silences (streams/postgres/silence.sql) --------------------------------------------------

    async def hours(self, since: datetime, until: datetime) -> list[Hour]:
        """Return how many orders each channel had, hour by hour."""
        async with self._connected() as connection:
            rows = await connection.fetch(sql("orders_by_channel_and_hour"), since, until)
        return [Hour(*row) for row in rows]

    async def silences(self) -> list[Silence]:
        """Return the silences that are open."""
        async with self._connected() as connection:
            return [Silence(*row) for row in await connection.fetch(sql("open_silences"))]

    async def note(self, new: Changes, now: datetime) -> None:
        """Write down what has ended and what has begun, all of it or nothing."""
        async with self._connected() as connection, connection.transaction():
            for ended in new.ended:
                await connection.execute(sql("end_silence"), ended.id, ended.at, ended.by_order)
            for began in new.began:
                await connection.execute(
                    sql("begin_silence"), began.platform, began.shop, began.last_at,
                    began.expected, now,
                )  # fmt: skip

    async def untold(self, limit: int) -> list[dict[str, Any]]:
        """Return silences of which something is still to be told."""
        async with self._connected() as connection:
            return [dict(row) for row in await connection.fetch(sql("untold_silences"), limit)]

    async def told(self, id_: int, *, ended: bool) -> None:
        """Remember that the beginning of a silence was told, and its end if it *ended*."""
        async with self._connected() as connection:
            await connection.execute(sql("told_silence"), id_, ended)
