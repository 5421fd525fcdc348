"""
`bench flow --burst N`: so many messages that nobody can read, among the orders and as fast as they.

They come on the same topics, evenly over the time of the trial. Each has to be in the exceptions
queue in the end, which is counted; how soon is looked at from outside: at every look, how old is
the newest one that is there. The looks are `LOOK_S` apart, so that much of the figure is their own.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from streams.bench.broker import NotAnswered
from streams.feed.sending import Raw, Sender
from streams.feed.trade import SHOP
from streams.postgres.connecting import connect
from streams.settings import Settings

#: How often it is looked.
LOOK_S = 0.1
#: So many are given to the producer at a time.
_SLICE_S = 0.02
_QUIET_S = 60.0
#: Counting them all ten times a second would be a load of its own.
LOOKED_AT = """
SELECT (SELECT coalesce(sum(next), 0)::bigint FROM sink_positions WHERE topic = 'parked'),
    (SELECT max(last_seen_at) FROM parked WHERE settled_at IS NULL)
"""
COUNTED = "SELECT count(*) FROM parked"


@dataclass(frozen=True, kw_only=True)
class Burst:
    """How many messages nobody can read, over how long."""

    count: int
    seconds: float
    platforms: tuple[str, ...]


async def send(its: Settings, burst: Burst) -> None:
    """Send them evenly over the time; return when the broker has all."""
    began, sent = time.monotonic(), 0
    async with Sender(its, burst.platforms, None) as sender:
        while sent < burst.count:
            share = min(1.0, (time.monotonic() - began + _SLICE_S) / burst.seconds)
            for number in range(sent, round(burst.count * share)):
                platform = burst.platforms[number % len(burst.platforms)]
                await sender.send(Raw(platform, SHOP, None, b'{"no order": %d}' % number, {}))
            sent = round(burst.count * share)
            await sender.dispatch()
            await asyncio.sleep(_SLICE_S)


async def watch(dsn: str, burst: Burst) -> dict[str, Any]:
    """Return how many exceptions there are in the end, and how old the newest ever was, ms."""
    connection = await connect(dsn, name="orderflow-bench")
    ages: list[float] = []
    count, moved = 0, time.monotonic()
    try:
        while count < burst.count:
            row = await connection.fetchrow(LOOKED_AT)
            now = time.time()
            if row[0] != count:
                if row[0] < burst.count:
                    ages.append((now - row[1].timestamp()) * 1000)
                count, moved = row[0], time.monotonic()
            elif time.monotonic() - moved > _QUIET_S:
                raise NotAnswered(f"of {burst.count} exceptions {count} are in the queue")
            await asyncio.sleep(LOOK_S)
        count = await connection.fetchval(COUNTED)
        if count != burst.count:
            raise NotAnswered(f"{burst.count} exceptions were written, {count} are in the queue")
        ages.sort()
        return {
            "exceptions": count,
            "exceptions_age_p50_ms": round(ages[len(ages) // 2]) if ages else None,
            "exceptions_age_max_ms": round(ages[-1]) if ages else None,
        }
    finally:
        await connection.close()
