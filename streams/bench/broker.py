"""
The broker as a measurement uses it: own topics, batches made beforehand, everything read back.

Promise: every topic of a measurement has a prefix nobody else has, and is gone afterwards. Times
are the broker's append times, so one clock serves both ends of every figure.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import aiokafka
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.letters import Addressed
from schemas.errors import Misconfigured, Unavailable
from streams import topics
from streams.engine.admin import apply, verify
from streams.settings import Settings
from streams.topics import Topic

#: One batch of a backlog: what an order keeper's round sends to one partition under load.
BATCH_BYTES = 128 * 1024
#: Batches on their way at once.
_ON_THEIR_WAY_MAX = 48
_POLL_S = 0.05
#: Nothing came for so long: nothing more is coming.
_QUIET_S = 60.0
_STOP_WITHIN_S = 10.0
_READ_RECORDS_MAX = 20_000
_ANNOUNCED_TRIES = 100

Lane = tuple[str, int]
Lanes = dict[Lane, list[Addressed]]
Ends = dict[TopicPartition, int]


class NotAnswered(Unavailable):
    """Not everything that was sent came out again."""


class Heard(NamedTuple):
    """One record as the broker has it."""

    partition: int
    key: bytes | None
    value: bytes
    #: When the broker appended it, ms.
    at_ms: int


def installation(settings: Settings, name: str) -> Settings:
    """Return *settings* with a topic prefix that nobody else has."""
    prefix = f"bench-{name}-{secrets.token_hex(3)}-"
    return settings.model_copy(update={"topic_prefix": prefix, "slot": "", "health_port": 0})


def environment(settings: Settings) -> dict[str, str]:
    """Return what a worker process needs to be of this installation."""
    return {
        "ORDERFLOW_KAFKA": settings.kafka,
        "ORDERFLOW_TOPIC_PREFIX": settings.topic_prefix,
        "ORDERFLOW_PARTITIONS": str(settings.partitions),
        "ORDERFLOW_REPLICATION": str(settings.replication),
        "ORDERFLOW_SLOT": "",
        "ORDERFLOW_HEALTH_PORT": "0",
    }


def stamped(topic: Topic) -> Topic:
    """Return *topic* with the broker's append time on its records."""
    return replace(topic, config={**topic.config, "message.timestamp.type": "LogAppendTime"})


class Broker:
    """
    A connection for reading ends and records back, and for sending what was made before.

    With *committed* only what a transaction has committed is there: nothing else can be read by
    whoever waits for an outcome.
    """

    def __init__(self, settings: Settings, *, committed: bool = False) -> None:
        self.settings = settings
        self._committed = committed
        self._reader = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            isolation_level="read_committed" if committed else "read_uncommitted",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=4 * topics.BATCH_BYTES_MAX,
        )
        self._producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            acks="all",
            enable_idempotence=True,
            max_batch_size=topics.BATCH_BYTES_MAX,
            max_request_size=8 * topics.BATCH_BYTES_MAX,
        )

    async def start(self) -> None:
        """Connect both ways."""
        await self._reader.start()
        await self._producer.start()

    async def stop(self) -> None:
        """Disconnect; one whose task did not hear that it is cancelled hears it once more."""
        for part in (self._reader, self._producer):
            # A cancellation can get lost (see `streams.ending`), and `stop` would wait for ever.
            with suppress(TimeoutError):
                await asyncio.wait_for(part.stop(), _STOP_WITHIN_S)

    async def send(self, backlog: Sequence[tuple[Lane, BatchBuilder]]) -> None:
        """Send every batch, and wait until the broker has all of them."""
        on_their_way: set[asyncio.Future[Any]] = set()
        for (topic, partition), batch in backlog:
            if len(on_their_way) >= _ON_THEIR_WAY_MAX:
                done, on_their_way = await asyncio.wait(
                    on_their_way, return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    each.result()
            sent = await self._producer.send_batch(
                batch, self.settings.topic(topic), partition=partition
            )
            on_their_way.add(sent)
        await asyncio.gather(*on_their_way)

    async def ends(self, topic: str) -> Ends:
        """Return where every partition of *topic* ends now."""
        name = self.settings.topic(topic)
        tps = [TopicPartition(name, p) for p in range(self.settings.partitions)]
        ends: Ends = await self._reader.end_offsets(tps)
        return ends

    async def grown(self, since: Ends) -> int:
        """Return how many records the partitions of *since* have gained."""
        ends: Ends = await self._reader.end_offsets(list(since))
        return sum(ends.values()) - sum(since.values())

    async def until(
        self,
        expected: Sequence[tuple[Ends, int]],
        check: Callable[[], None],
        progress: Callable[[int, int], None] = lambda *_: None,
        quiet_s: float = _QUIET_S,
    ) -> None:
        """
        Wait until each of *expected* has grown by its number of records.

        Raises NotAnswered when nothing was added for *quiet_s*. *check* is called now and then.
        """
        wanted = sum(number for _, number in expected)
        grown, moved = -1, time.monotonic()
        while True:
            counts = [(await self.grown(since), number) for since, number in expected]
            enough = all(count >= number for count, number in counts)
            if enough and (not self._committed or await self._are_read(expected)):
                progress(wanted, wanted)
                return
            if (now := sum(count for count, _ in counts)) != grown:
                grown, moved = now, time.monotonic()
            elif time.monotonic() - moved > quiet_s:
                said = ", ".join(f"{count} of {number}" for count, number in counts)
                raise NotAnswered(f"nothing came for {quiet_s:g} s; there are {said} records")
            progress(grown, wanted)
            check()
            await asyncio.sleep(_POLL_S)

    async def _are_read(self, expected: Sequence[tuple[Ends, int]]) -> bool:
        """Count by reading: markers of transactions take offsets too."""
        for since, number in expected:
            ends: Ends = await self._reader.end_offsets(list(since))
            if len(await self._between(since, ends)) < number:
                return False
        return True

    async def read(self, topic: str, since: Ends | None = None) -> list[Heard]:
        """Return every record of *topic* from *since* (or the beginning) to where it ends now."""
        ends = await self.ends(topic)
        return await self._between(since or dict.fromkeys(ends, 0), ends)

    async def _between(self, starts: Ends, ends: Ends) -> list[Heard]:
        left = [tp for tp, end in ends.items() if end > starts[tp]]
        self._reader.assign(left)
        for tp in left:
            self._reader.seek(tp, starts[tp])
        heard: list[Heard] = []
        while left:
            found = await self._reader.getmany(timeout_ms=500, max_records=_READ_RECORDS_MAX)
            for tp, records in found.items():
                heard += [Heard(tp.partition, r.key, r.value, r.timestamp) for r in records]
            # The last offset may be a marker's, which is no record.
            left = [tp for tp in left if await self._reader.position(tp) < ends[tp]]
        self._reader.unsubscribe()
        # aiokafka now cancels what it fetches ahead. Told to stop meanwhile, it would not hear it
        # (`Fetcher.close` then waits for ever).
        await asyncio.sleep(_POLL_S)
        return heard


@asynccontextmanager
async def broker(
    settings: Settings, declared: Iterable[Topic], *, committed: bool = False
) -> AsyncIterator[Broker]:
    """Make the topics of a measurement, connect, and leave nothing behind."""
    topics_ = list(declared)
    await apply(settings, topics_)
    connected = Broker(settings, committed=committed)
    try:
        await _announced(settings, topics_)
        await connected.start()
        yield connected
    finally:
        await connected.stop()
        await forget(settings)


async def _announced(settings: Settings, declared: Sequence[Topic]) -> None:
    """Wait until the broker says to clients what it has just made."""
    for left in reversed(range(_ANNOUNCED_TRIES)):
        try:
            await verify(settings, [topic.name for topic in declared], declared)
            return
        except Misconfigured:
            if not left:
                raise
            await asyncio.sleep(_POLL_S)


async def forget(settings: Settings) -> None:
    """Delete every topic with the prefix of this installation, also inside of a library's name."""
    if not settings.topic_prefix.startswith("bench-"):
        raise AssertionError(f"{settings.topic_prefix!r} is no measurement's")
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        names = await admin.list_topics()
        mine = [name for name in names if settings.topic_prefix in name]
        if mine:
            await admin.delete_topics(mine, timeout_ms=30_000)
    finally:
        await admin.close()


def backlog(
    lanes: Mapping[Lane, Sequence[Addressed]], bytes_max: int = BATCH_BYTES
) -> list[tuple[Lane, BatchBuilder]]:
    """Return what waits for every lane as batches, the lanes in turn."""
    waves: list[list[tuple[Lane, BatchBuilder]]] = []
    for lane, letters in lanes.items():
        for nth, batch in enumerate(_batches(letters, bytes_max)):
            if nth == len(waves):
                waves.append([])
            waves[nth].append((lane, batch))
    return [each for wave in waves for each in wave]


def _batches(letters: Sequence[Addressed], bytes_max: int) -> list[BatchBuilder]:
    batches = [BatchBuilder(bytes_max, 0)]
    for key, value, headers in letters:
        fields = list(headers)
        if batches[-1].append(key=key, value=value, timestamp=None, headers=fields) is None:
            batches.append(BatchBuilder(bytes_max, 0))
            batches[-1].append(key=key, value=value, timestamp=None, headers=fields)
    for batch in batches:
        batch.close()
    return batches
