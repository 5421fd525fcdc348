"""
Clients that reserve in Redis: one Lua script each, which nothing else runs in between.

    BENCH_ADDRESS=redis://… … SERVER_PID CLIENTS WARM RECORDS SKUS
"""

import asyncio
import os
import sys
from collections.abc import Iterable

from redis.asyncio import Redis

from schemas.stock import HoldStock
from streams.bench.commands import holds
from tests.bench.ways.meter import Meter

RESERVE = """
local quantity, order, sku = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local available = tonumber(redis.call('HGET', KEYS[1], 'available'))
local refusal = ''
if available == nil then
    refusal = 'unknown_sku'
elseif quantity > available then
    refusal = 'not_enough'
else
    available = redis.call('HINCRBY', KEYS[1], 'available', -quantity)
    local locked = redis.call('HINCRBY', KEYS[1], 'locked', quantity)
    local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
    redis.call('HSET', KEYS[2], 'quantity', quantity, 'bucket', 'locked', 'origin', 'available',
        'deadline_ms', ARGV[4])
    redis.call('XADD', KEYS[4], '*', 'sku', sku, 'cause', ARGV[5], 'version', version,
        'verb', 'hold', 'quantity', quantity, 'source', 'available', 'target', 'locked',
        'available', available, 'locked', locked, 'order', order, 'deadline_ms', ARGV[4])
end
redis.call('XADD', KEYS[3], '*', 'order', order, 'sku', sku, 'attempt', 1, 'refusal', refusal)
return refusal
"""


async def reserve(client: Redis, commands: Iterable[HoldStock]) -> None:
    """Make one reservation after the other; *commands* are shared with the other clients."""
    script = client.register_script(RESERVE)
    for each in commands:
        await script(
            keys=(f"stock:{each.sku}", f"hold:{each.sku}:{each.order}", "answers", "events"),
            args=(each.quantity, each.order, each.sku, each.deadline_ms, each.cause),
        )


async def main() -> None:
    """Warm up, then take the time of the rest."""
    server, clients, warm, records, skus = map(int, sys.argv[1:])
    address = os.environ["BENCH_ADDRESS"]
    connections = [Redis.from_url(address, single_connection_client=True) for _ in range(clients)]
    try:
        for first, count in ((0, warm), (warm, records)):
            commands = iter(list(holds(first, count, skus)))
            meter = Meter(server)
            await asyncio.gather(*(reserve(each, commands) for each in connections))
        meter.report(records)
    finally:
        for each in connections:
            await each.aclose()


if __name__ == "__main__":
    asyncio.run(main())
