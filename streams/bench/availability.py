"""
`bench availability`: how soon the read API answers, at two loads, asked from another process.

The cache is filled through the writer's own door, the server is the real one, and every answer is
read whole. What is measured is one server process, so one core at most; Redis and the asker take
theirs beside it.
"""

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import json

from agents.availability import Balance
from schemas.reference import Shop
from streams import caching
from streams.availability.cache import WRITE_WITHIN_S, RedisCache, address
from streams.bench.asker import WARM_S
from streams.bench.broker import broker, environment, installation
from streams.bench.processes import Child, machine
from streams.clock import now_ms
from streams.postgres.addresses import reader_of
from streams.processes import cpu_s, listener, peak_mib
from streams.readiness import free_ports
from streams.reference import apply
from streams.settings import Settings
from streams.topics import REFERENCE

_FILL = 5_000
_READY_S = 30.0
_ENDS_S = 30.0
_SHOP = Shop(platform="douyin", shop="bench", safety_buffer=2)
_CHANNEL = "douyin:bench"

Progress = Callable[[str], None]


class Load(NamedTuple):
    """Requests a second, SKUs of each, and connections they come by."""

    rate: int
    skus: int
    connections: int


#: What has to be answered with a p99 of 20 ms.
LOADS = (Load(2_000, 5, 64), Load(300, 200, 32))


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    skus: int = 10_000
    seconds: int = 10


async def measure(settings: Settings, job: Job, progress: Progress) -> dict[str, Any]:
    """Return p50 and p99 of both loads, ms, and the server's share of a core."""
    reader_of(settings)  # refuse now what would be refused when all is filled
    its = installation(settings, "availability")
    async with broker(its, [REFERENCE]), _filled(its, job.skus, progress):
        await apply(its, [_SHOP], prune=False)
        port = free_ports(1)[0]
        argv = (sys.executable, "-m", "streams.cli", "availability", "--port", str(port))
        with Child("availability", argv, environment(its)) as server:
            await _listening(server, port)
            loads = []
            for load in LOADS:
                progress(f"{load.rate:,} requests a second of {load.skus} SKUs")
                loads.append(await _asked(server, port, load, job))
            return {
                "skus": job.skus,
                "seconds": job.seconds,
                "loads": loads,
                "peak_mib": peak_mib(server.pid),
                "machine": machine(listener(its.kafka)),
            }


async def _asked(server: Child, port: int, load: Load, job: Job) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="orderflow-bench-") as folder:
        file = Path(folder) / "times.json"
        argv = [
            sys.executable, "-m", "streams.bench.asker", str(port), str(load.rate), str(load.skus),
            str(job.seconds), str(load.connections), str(job.skus), _CHANNEL, str(file),
        ]  # fmt: skip
        before = cpu_s(server.pid)
        with Child("asker", argv, {}) as asker:
            async with asyncio.timeout(job.seconds + WARM_S + _ENDS_S):
                while not asker.ended():
                    server.check()
                    await asyncio.sleep(0.05)
            if not file.exists():
                asker.check()
            times = sorted(json.decode(file.read_bytes(), type=list[float]))
    after = cpu_s(server.pid)
    spent = None if before is None or after is None else after - before
    answers = len(times)
    return {
        **load._asdict(),
        "answers": answers,
        "p50_ms": times[answers // 2],
        "p99_ms": times[answers * 99 // 100],
        "max_ms": times[-1],
        "core": None if spent is None else spent / (job.seconds + WARM_S),
    }


@asynccontextmanager
async def _filled(its: Settings, skus: int, progress: Progress) -> AsyncIterator[None]:
    progress(f"filling the cache with {skus:,} SKUs")
    cache, at_ms = RedisCache(its, WRITE_WITHIN_S), now_ms()
    try:
        for first in range(0, skus, _FILL):
            await cache.put(list(_balances(first, min(skus, first + _FILL), at_ms)))
        yield
    finally:
        await cache.close()
        await _empty(its)


def _balances(first: int, end: int, at_ms: int) -> Iterator[Balance]:
    for nth in range(first, end):
        yield Balance(sku=f"BENCH-{nth:07d}", version=1 + nth % 9, at_ms=at_ms, available=nth % 50)


async def _empty(its: Settings) -> None:
    """Remove what this measurement put into Redis, and nothing else."""
    client = caching.client(address(its), WRITE_WITHIN_S)
    try:
        keys = [key async for key in client.scan_iter(f"orderflow:{its.topic_prefix}*", count=1000)]
        for first in range(0, len(keys), _FILL):
            await client.unlink(*keys[first : first + _FILL])
    finally:
        await client.aclose()


async def _listening(server: Child, port: int) -> None:
    async with asyncio.timeout(_READY_S):
        while True:
            server.check()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.05)
