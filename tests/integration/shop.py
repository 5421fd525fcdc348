"""
What the engine's tests do to a broker: send commands, run workers, read what came of it.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec import msgpack

from agents.frames import POSITION_BYTES
from agents.letters import PREFIX_BYTES, seal
from streams.engine.keeper import Keeper
from streams.engine.partitions import murmur2
from streams.engine.rounds import Role
from streams.engine.serving import run
from streams.engine.store import STATE_KEY
from streams.settings import Settings
from streams.topics import Topic
from tests.integration.counting import COUNTS, ROUTES, TABLE, TOPICS, TOTALS, Counter, Total


def a_keeper() -> Keeper:
    return Keeper(TABLE, COUNTS, ROUTES)


@asynccontextmanager
async def a_producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka, linger_ms=5, acks="all", max_batch_size=500_000
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def home(settings: Settings, key: str) -> int:
    return (murmur2(key.encode()) & 0x7FFFFFFF) % settings.partitions


async def send(settings: Settings, commands: Iterable[Any], topic: Topic = COUNTS) -> None:
    """Send *commands* and wait until the broker has them."""
    async with a_producer(settings) as producer:
        sent = [
            await producer.send(
                settings.topic(topic.name),
                value=seal(command),
                key=command.key.encode(),
                partition=home(settings, command.key),
            )
            for command in commands
        ]
        await asyncio.gather(*sent)


@asynccontextmanager
async def working(
    settings: Settings,
    roles: Sequence[Role],
    within: float = 20.0,
    *,
    topics: Sequence[Topic] = TOPICS,
) -> AsyncIterator[None]:
    """Run *roles* in this process until the block ends; the exit code must be 0."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(run(settings, roles, topics=topics, stop=stop))
    try:
        await until(lambda: running.done() or all(role.ready for role in roles), within)
        if running.done():
            raise AssertionError(f"the worker ended with {running.result()}")
        yield
        assert not running.done(), f"the worker ended with {running.result()}"
    finally:
        stop.set()
        code = await asyncio.wait_for(running, 20)
        if code:
            await asyncio.wait(
                [asyncio.ensure_future(role.app.stop()) for role in roles], timeout=10
            )
    assert code == 0


async def until(condition: Any, within: float = 30.0) -> None:
    """Wait for *condition*; fail when it does not come."""
    async with asyncio.timeout(within):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def read(settings: Settings, topic: str, partitions: int | None = None) -> list[Any]:
    """Return every record of *topic*, partition by partition."""
    name = settings.topic(topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        tps = [TopicPartition(name, p) for p in range(partitions or settings.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        records: list[Any] = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for found in (await consumer.getmany(timeout_ms=200, max_records=10_000)).values():
                records += found
        return sorted(records, key=lambda r: (r.partition, r.offset))
    finally:
        await consumer.stop()


async def totals(settings: Settings) -> dict[str, int]:
    """Return the last total said of every counter, every letter counted once."""
    decode = msgpack.Decoder(Total).decode
    heard: dict[str, int] = {}
    seen: set[bytes] = set()
    for record in await read(settings, TOTALS.name):
        prefix = record.value[:PREFIX_BYTES] + record.partition.to_bytes(4, "big")
        if prefix in seen:
            continue
        seen.add(prefix)
        total = decode(record.value[PREFIX_BYTES:])
        heard[total.key] = total.total
    return heard


async def changelog_rows(settings: Settings) -> dict[bytes, Counter]:
    """Return the rows as the changelog has them, by code of the tests' own."""
    best: dict[bytes, tuple[bytes, bytes | None]] = {}
    for record in await read(settings, "stock-changelog"):
        if record.key == STATE_KEY:
            continue
        at = record.value[:POSITION_BYTES] if record.value else bytes(dict(record.headers)["at"])
        if at >= best.get(record.key, (b"", None))[0]:
            best[record.key] = (at, record.value)
    decode = msgpack.Decoder(Counter).decode
    return {k: decode(v[POSITION_BYTES:]) for k, (_, v) in best.items() if v is not None}


async def letters_are_whole(settings: Settings) -> bool:
    """Is every letter there, numbered without a gap, and every repeat the same as its first?"""
    letters: dict[tuple[int, bytes], dict[int, bytes]] = defaultdict(dict)
    for record in await read(settings, TOTALS.name):
        source, number = record.value[:8], int.from_bytes(record.value[8:PREFIX_BYTES], "big")
        first = letters[record.partition, source].setdefault(number, record.value)
        assert first == record.value, f"letter {number} was said twice, differently"
    for lane, numbers in letters.items():
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"a gap in {lane}"
    return True
