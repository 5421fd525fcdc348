"""
The mappings of PostgreSQL on the `reference` topic, and the orders that waited for them.

What PostgreSQL has of a SKU of theirs wins over what a reference file said of it; what it never
heard of is left alone. Any number of these may run, and each may die at any point: every pass
compares anew, so what was not done is done by the next.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import msgspec
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Counter, Gauge

from agents.reference import Directory, reference_key
from schemas.errors import BrokerUnavailable, Unavailable
from streams import raw_records, reference, topics
from streams.clock import now_ms
from streams.engine.admin import verify
from streams.engine.failpoints import failpoint
from streams.engine.partitions import partitioner
from streams.mapping import table
from streams.mapping.waking import Found, look
from streams.postgres.connecting import connected
from streams.raw_log import RawLog
from streams.settings import Settings
from streams.web.health import Health, served

logger = logging.getLogger(__name__)

#: An order that was read again is not read another time within this: the ledger follows.
_ASKED_FOR_S = 15.0


class Pass(NamedTuple):
    """What one pass did."""

    #: Keys that were published or removed.
    published: tuple[str, ...]
    #: Orders that were read again.
    woken: tuple[str, ...]
    #: Orders that wait for a mapping, those just woken included.
    waiting: int
    #: Orders that could go on if their raw message were still there; a person has to settle them.
    lost: tuple[str, ...]


class Publisher:
    """Publishes mappings and wakes orders, pass by pass; `async with` it."""

    def __init__(self, settings: Settings, dsn: str) -> None:
        self._settings = settings
        self._dsn = dsn
        self._directory = Directory()
        self._entries: dict[bytes, bytes] = {}
        self._follower = reference.Follower(settings, self._take)
        self._intake = reference.intake_of(settings, self._directory)
        #: Order -> when it was read again, in the loop's time.
        self._asked: dict[str, float] = {}
        self._published = failpoint(settings.failpoint, "mapping-published")
        self._woken = failpoint(settings.failpoint, "mapping-woken")

    async def __aenter__(self) -> Self:
        await self._follower.catch_up()
        self._follower.follow()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._follower.stop()

    def _take(self, key: bytes, value: bytes | None) -> None:
        self._directory.put(key, value)
        if value is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = value

    async def work(self) -> Pass:
        """Publish what differs, then wake who need not wait any more. Raises Unavailable."""
        self._follower.check()
        async with connected(self._dsn, name="orderflow-mapping") as connection:
            changed = await self._publish(connection)
            if self._published is not None and changed:
                self._published()
            found = await self._wake(connection)
        woken = tuple(output.key.decode() for output in found.outputs)
        return Pass(changed, woken, found.waiting, tuple(found.lost))

    async def _publish(self, connection: Any) -> tuple[str, ...]:
        changed: dict[bytes, bytes | None] = {}
        async for (platform, shop, theirs), mapping in table.published(connection):
            if mapping is None:
                gone = f"sku/{platform}/{shop}/{theirs}".encode()
                if gone in self._entries:
                    changed[gone] = None
                continue
            key, value = reference_key(mapping), msgspec.json.encode(mapping)
            if self._entries.get(key) != value:
                changed[key] = value
        if changed:
            await reference.publish(self._settings, changed)
            for key, now in changed.items():
                self._take(key, now)
        return tuple(key.decode() for key in changed)

    async def _wake(self, connection: Any) -> Found:
        now = time.monotonic()
        self._asked = {order: at for order, at in self._asked.items() if now - at < _ASKED_FOR_S}
        async with RawLog(self._settings) as log:
            found = await look(
                connection, self._directory, self._intake, log, now_ms(), self._asked
            )
        if found.outputs:
            await self._send(found)
            if self._woken is not None:
                self._woken()
        self._asked |= dict.fromkeys([output.key.decode() for output in found.outputs], now)
        self._asked |= dict.fromkeys(found.lost, now)
        return found

    async def _send(self, found: Found) -> None:
        counts = await verify(self._settings, [topics.ORDER_COMMANDS.name])
        partition_of = partitioner(counts)
        producer = raw_records.producer(self._settings)
        try:
            await producer.start()
            sent = [
                await producer.send(
                    self._settings.topic(output.topic),
                    output.value,
                    output.key,
                    partition_of(output.topic, output.key),
                )
                for output in found.outputs
            ]
            await asyncio.gather(*sent)
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        finally:
            await producer.stop()


class Metrics:
    """What `orderflow reference publish --every` tells Prometheus. Names are for life."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        #: Why the last pass failed, or nothing.
        self.why = "the first pass has not ended"
        self._published = Counter(
            "orderflow_mappings_published",
            "Keys that were published on the reference topic, or removed from it.",
            registry=registry,
        )
        self._woken = Counter(
            "orderflow_mapping_orders_woken",
            "Orders that were read again because their mapping came.",
            registry=registry,
        )
        self._waiting = Gauge(
            "orderflow_mapping_orders_waiting",
            "Orders that wait for a mapping.",
            registry=registry,
        )
        self._passed = Gauge(
            "orderflow_mapping_last_pass_timestamp_seconds",
            "When the last pass ended.",
            registry=registry,
        )

    def passed(self, done: Pass) -> None:
        """Take over what one pass did."""
        self.why = ""
        self._published.inc(len(done.published))
        self._woken.inc(len(done.woken))
        self._waiting.set(done.waiting)
        self._passed.set(time.time())

    async def missing(self) -> Sequence[str]:
        """Return why mappings wait, if they do."""
        return [self.why] if self.why else []


async def once(publisher: Publisher) -> Pass:
    """Make one pass."""
    async with publisher:
        return await publisher.work()


async def until_told(settings: Settings, publisher: Publisher, every_s: float) -> None:
    """Make a pass every so many seconds until SIGTERM; a part that is away is waited for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    metrics = Metrics()
    async with served(settings, Health("publish", metrics.registry, metrics.missing)), publisher:
        while not stop.is_set():
            try:
                done = await publisher.work()
            except Unavailable as error:
                logger.warning("mappings wait: %s", error)
                metrics.why = f"mappings wait: {error}"
            else:
                metrics.passed(done)
                _log(done)
            try:
                await asyncio.wait_for(stop.wait(), every_s)
            except TimeoutError:
                continue


def _log(done: Pass) -> None:
    if done.published or done.woken:
        logger.info(
            "published %d mappings; %d of %d waiting orders go on",
            len(done.published), len(done.woken), done.waiting,
        )  # fmt: skip
    if done.lost:
        logger.error(
            "%d orders are mapped, but their raw messages are gone, such as %s: feed them again",
            len(done.lost), done.lost[0],
        )  # fmt: skip
