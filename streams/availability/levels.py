"""
What platforms are told of our stock by their own APIs: put into the queue of deliveries.

The role holds no platform's credentials: the sender has them (`orderflow callbacks run`), and says
which shops it can tell (streams/shipping/telling.py). Here a push becomes a row a listing.

Promises. Of a listing at most one row waits beside the one that is on its way: a newer one takes
the place of an older one, and one that comes late, of a worker that slept, is dropped. So no
platform is told an older number after a newer one. A queue that is out of order, whoever is at
fault, holds up the shops that are told by it, and nobody else.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from msgspec import json

from agents.channel_stock import Channel, Push, levels_of
from agents.ports import RefusedByLedger
from schemas.errors import ChannelUnavailable, LedgerUnavailable, Misconfigured
from streams.availability.telling import ChannelRefused
from streams.postgres.connecting import pool, told
from streams.postgres.queries import sql
from streams.shipping.accounts import destination_of
from streams.shipping.telling import STOCK

#: What a row is about.
ABOUT: Final = "stock.level"
#: PostgreSQL answers within this, or is away.
_WITHIN_S = 10.0
#: One transaction at a time for every shop, and one that looks who is told.
_CONNECTIONS_MAX = 4


class LevelQueue:
    """The port `ChannelStock` for shops whose platform is told by its API. Connects when asked."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Any = None
        self._connecting = asyncio.Lock()

    async def shops(self) -> frozenset[str]:
        """Return the shops that a sender can tell, `platform:shop`; raises LedgerUnavailable."""
        try:
            rows = await (await self._connected()).fetch(sql("platforms_told"), STOCK)
        except Exception as error:  # noqa: BLE001  `told` sorts them
            said = told(error)
            if isinstance(said, Misconfigured):
                # A right that is missing, say: shops with an address of their own are told.
                said = LedgerUnavailable(f"the queue is out of order: {said}")
            raise said from None
        return frozenset(row["id"] for row in rows)

    async def push(self, channel: Channel, pushes: Sequence[Push]) -> None:
        """
        Let them wait for the sender.

        Raises ChannelUnavailable while PostgreSQL is away or its queue is out of order, and
        ChannelRefused where it does not take one of them.
        """
        levels = levels_of(channel, pushes)
        there = [destination_of(each.platform, each.shop) for each in levels]
        lanes = [f"{to}:{each.theirs}" for to, each in zip(there, levels, strict=True)]
        try:
            connected = await self._connected()
            async with connected.acquire() as connection, connection.transaction():
                await connection.execute(sql("lock_destinations"), STOCK, sorted(set(there)))
                await connection.execute(
                    sql("queue_newest"), STOCK, there, lanes, [each.version for each in levels],
                    ABOUT, [json.encode(each) for each in levels],
                )  # fmt: skip
                await connection.execute(sql("drop_older"), STOCK, there, lanes)
        except Exception as error:  # noqa: BLE001  `told` sorts them
            said = told(error)
            if isinstance(said, (LedgerUnavailable, Misconfigured)):
                said = ChannelUnavailable(f"{channel.name}: {said}")
            elif isinstance(said, RefusedByLedger):
                said = ChannelRefused(f"{channel.name}: {said}")
            raise said from None

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._pool is None:
                self._pool = await pool(
                    self._dsn,
                    name="orderflow-channel-stock",
                    at_most=_CONNECTIONS_MAX,
                    answers_within_s=_WITHIN_S,
                    connects_within_s=_WITHIN_S,
                )
            return self._pool
