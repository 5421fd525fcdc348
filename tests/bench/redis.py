"""
Redis as a peer: a server of its own, on a free port, with its append-only file in .local/bench.

`appendfsync always`: a reservation is on the disk before its client hears of it. The server that
the stack has is a cache and keeps nothing.
"""

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.errors import Unavailable
from streams.bench.commands import PLENTY, sku
from streams.bench.processes import Child
from streams.bench.reserve import CountsDiffer, Run, Say, compare
from streams.settings import Settings
from tests.bench.clients import clients, finished, warm
from tests.bench.installing import BENCH
from tests.bench.peer import Measure, NotMeasured, Tell

_READY_S = 15.0
_POLL_S = 0.05
_DURABLE = {"appendonly": "yes", "appendfsync": "always"}


def ready(_: Tell) -> None:
    """Look whether there is a server to start; raises NotMeasured."""
    if shutil.which("redis-server") is None:
        raise NotMeasured("redis-server is not installed")


def scripts(count: int) -> Measure:
    """Return the measure of *count* clients."""

    async def measure(_: Settings, records: int, skus: int, say: Say) -> Run:
        name = f"Redis, {count} clients"
        async with _server() as (address, server), Redis.from_url(address) as client:
            await _stocked(client, skus)
            with clients("redis_lua", address, server.pid, count, records, skus) as child:
                found = await finished(child, records, say)
            server.check()
            await _verify(name, client, warm(records) + records, skus)
        return found

    return measure


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[str, Child]]:
    BENCH.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with tempfile.TemporaryDirectory(dir=BENCH, prefix="redis-") as folder:
        words = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", **_DURABLE}
        argv = [word for name, value in words.items() for word in (f"--{name}", str(value))]
        with Child("the Redis server", ("redis-server", *argv), {}) as child:
            address = f"redis://127.0.0.1:{port}/0"
            await _answers(address, child)
            yield address, child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(address: str, server: Child) -> None:
    """Wait until the server that was started answers, and no other; raises Unavailable."""
    until = time.monotonic() + _READY_S
    async with Redis.from_url(address) as client:
        while time.monotonic() < until:
            server.check()
            try:
                if (await client.info("server"))["process_id"] == server.pid:
                    return
                raise Unavailable(f"Another Redis answers at {address}.")
            except RedisError:
                await asyncio.sleep(_POLL_S)
    raise Unavailable(f"The Redis server did not answer within {_READY_S:.0f} s.")


async def _stocked(client: Redis, skus: int) -> None:
    for setting, wanted in _DURABLE.items():
        if (found := await client.config_get(setting))[setting] != wanted:
            raise NotMeasured(f"Redis runs with {found}")
    async with client.pipeline(transaction=False) as together:
        for number in range(skus):
            fields = {"available": PLENTY, "locked": 0, "version": 1}
            together.hset(f"stock:{sku(number, skus)}", mapping=fields)
        await together.execute()


async def _verify(name: str, client: Redis, orders: int, skus: int) -> None:
    """Compare what the server holds with what was asked; raises CountsDiffer."""
    answers = await client.xrange("answers")
    events = await client.xrange("events")
    said = [(fields[b"order"].decode(), not fields[b"refusal"]) for _, fields in answers]
    moved = [
        {
            "order": fields[b"order"].decode(),
            "quantity": int(fields[b"quantity"]),
            "available": int(fields[b"available"]),
        }
        for _, fields in events
    ]
    compare(name, range(orders), said, moved)
    async with client.pipeline(transaction=False) as together:
        for number in range(skus):
            together.hmget(f"stock:{sku(number, skus)}", "available", "locked")
        units = [(int(available), int(locked)) for available, locked in await together.execute()]
    held = sum(each["quantity"] for each in moved)
    if sum(map(sum, units)) != PLENTY * skus or sum(locked for _, locked in units) != held:
        raise CountsDiffer(f"{name}: units do not add up: {sum(map(sum, units))}, {held} held")
