"""
Clients that reserve in PostgreSQL: one statement, so one round trip and one transaction each.

    BENCH_ADDRESS=postgresql://… … SERVER_PID CLIENTS WARM RECORDS SKUS
"""

import asyncio
import os
import sys
from collections.abc import Iterable

import asyncpg

from schemas.stock import HoldStock
from streams.bench.commands import holds
from tests.bench.ways.meter import Meter

#: The condition is looked at again once a row that somebody else has locked is free: no two clients
#: take the same unit. Nothing is sent but the command.
RESERVE = """
WITH taken AS (
    UPDATE stock SET available = available - $3, locked = locked + $3, version = version + 1
    WHERE sku = $1 AND available >= $3
    RETURNING available, locked, version
), held AS (
    INSERT INTO holds (sku, "order", quantity, bucket, origin, deadline_ms)
    SELECT $1, $2, $3, 'locked', 'available', $4 FROM taken
), told AS (
    INSERT INTO events (sku, cause, version, verb, quantity, source, target, available, locked,
        "order", deadline_ms)
    SELECT $1, $5, version, 'hold', $3, 'available', 'locked', available, locked, $2, $4 FROM taken
)
INSERT INTO answers ("order", sku, attempt, refusal)
SELECT $2, $1, 1, CASE
    WHEN EXISTS (SELECT FROM taken) THEN NULL
    WHEN EXISTS (SELECT FROM stock WHERE sku = $1) THEN 'not_enough'
    ELSE 'unknown_sku' END
RETURNING refusal
"""


async def reserve(connection: asyncpg.Connection, commands: Iterable[HoldStock]) -> None:
    """Make one reservation after the other; *commands* are shared with the other clients."""
    statement = await connection.prepare(RESERVE)
    for each in commands:
        await statement.fetchval(each.sku, each.order, each.quantity, each.deadline_ms, each.cause)


async def main() -> None:
    """Warm up, then take the time of the rest."""
    server, clients, warm, records, skus = map(int, sys.argv[1:])
    address = os.environ["BENCH_ADDRESS"]
    connections = [await asyncpg.connect(address) for _ in range(clients)]
    try:
        for first, count in ((0, warm), (warm, records)):
            commands = iter(list(holds(first, count, skus)))
            meter = Meter(server)
            await asyncio.gather(*(reserve(each, commands) for each in connections))
        meter.report(records)
    finally:
        for each in connections:
            each.terminate()


if __name__ == "__main__":
    asyncio.run(main())
