"""Parts of the tests of availability: a Redis, a stock keeper, stock events, reference data."""

import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import json
from redis.asyncio import Redis

from schemas.reference import Reference
from schemas.stock import (
    AllotStock,
    CountStock,
    EndQuota,
    GiveBackStock,
    HoldStock,
    QuotaChanged,
    ReleaseStock,
    StockCommand,
    StockEvent,
    Verb,
)
from streams.clock import now_ms
from streams.engine.admin import apply
from streams.reference import apply as publish
from streams.settings import Settings
from streams.topics import REFERENCE, STOCK_EVENTS, Topic
from tables import stock
from tests.builders import an_id, receive
from tests.integration import shop
from tests.integration.databases import Database
from tests.rules.test_availability_rules import AT, moved, quoted

__all__ = ["AT", "EVENTS", "Keeper", "RedisServer", "moved", "quoted"]

#: The quota of the tests' shop.
QUOTA = "11-11"
HOUR = 3_600_000

EVENTS = (STOCK_EVENTS, REFERENCE)


class RedisServer:
    """A throw-away Redis: nothing is saved unless a test says so, and it may be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220  it returns at once
            [
                shutil.which("redis-server") or "redis-server", "--port", str(self.port),
                "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder),
                "--loglevel", "warning",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        await shop.until(self._answers, 10)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def do(self, *command: str) -> Any:
        client = Redis.from_url(self.url)
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@asynccontextmanager
async def a_redis(folder: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder)
    await server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with a_redis(tmp_path) as server:
        yield server


@asynccontextmanager
async def an_installation(
    settings: Settings, redis: RedisServer, *, topics: Iterable[Topic] = EVENTS, **more: Any
) -> AsyncIterator[Settings]:
    """Settings with this Redis, whose topics exist until the end."""
    made = Settings(**settings.model_dump() | {"redis": redis.url} | more)
    topics = tuple(topics)
    await apply(made, topics)
    try:
        yield made
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=made.kafka)
        await admin.start()
        try:
            await admin.delete_topics([made.topic(topic.name) for topic in topics])
        finally:
            await admin.close()


class Keeper:
    """The stock keeper's own rules on one SKU, and the rows the ledger makes of what it says."""

    def __init__(self, sku: str = "LAMP", on_hand: int = 10) -> None:
        self.sku = sku
        self.rows: dict[bytes, Any] = {}
        self._quota: QuotaChanged | None = None
        #: How a new SKU begins.
        self.received = self._do(receive(sku, on_hand, an_id(now_ms())))

    @property
    def balance(self) -> stock.Stock:
        return self.rows[stock.stock_key(self.sku)]

    def allot(
        self, quantity: int, starts_ms: int | None = None, ends_ms: int | None = None
    ) -> list[StockEvent]:
        window = starts_ms or now_ms() - HOUR, ends_ms or now_ms() + HOUR
        return self._do(
            AllotStock(
                **self._by_hand(quantity), quota=QUOTA, starts_ms=window[0], ends_ms=window[1]
            )
        )

    def give_back(self, quantity: int) -> list[StockEvent]:
        return self._do(GiveBackStock(**self._by_hand(quantity), quota=QUOTA))

    def count(self, counted: int) -> list[StockEvent]:
        said = self._by_hand(0)
        del said["quantity"]
        return self._do(CountStock(**said, counted=counted))

    def hold(
        self, order: str, quantity: int, quota: str = QUOTA, at_ms: int | None = None
    ) -> list[StockEvent]:
        return self._do(
            HoldStock(
                order=order, sku=self.sku, quantity=quantity, attempt=1, deadline_ms=None,
                cause="raw/0/1", quota=quota,
            ),
            at_ms,
        )  # fmt: skip

    def release(self, order: str) -> list[StockEvent]:
        return self._do(ReleaseStock(order=order, sku=self.sku, verb=Verb.RELEASE, cause="raw/0/1"))

    def end(self, ends_ms: int) -> list[StockEvent]:
        return self._do(EndQuota(sku=self.sku, quota=QUOTA, ends_ms=ends_ms), ends_ms)

    async def into(self, database: Database) -> None:
        """Let the ledger say so."""
        row, quota = self.balance, self._quota
        await write_row(database, self.sku, row.version, row.available, row)
        if quota is not None:
            async with database.connected() as connection:
                await connection.execute(
                    "INSERT INTO quotas (sku, quota, version, changed_at, starts_at, ends_at,"
                    " allotted, remains, ended_at) VALUES ($1, $2, $3, now(),"
                    " to_timestamp($4 / 1000.0), to_timestamp($5 / 1000.0), $6, $7,"
                    " CASE WHEN $8 THEN now() END)"
                    " ON CONFLICT (sku, quota) DO UPDATE SET version = $3, remains = $7",
                    quota.sku, quota.quota, quota.version, float(quota.starts_ms),
                    float(quota.ends_ms), quota.allotted, quota.left, quota.ended,
                )  # fmt: skip

    def _by_hand(self, quantity: int) -> dict[str, Any]:
        return {
            "id": an_id(now_ms()), "sku": self.sku, "quantity": quantity, "reason": "campaign",
            "operator": "mei",
        }  # fmt: skip

    def _do(self, command: StockCommand, at_ms: int | None = None) -> list[StockEvent]:
        changes, said = stock.decide(self.rows, command, at_ms or now_ms())
        for key, row in changes.items():
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row
        events = [each for each in said if isinstance(each, StockEvent)]
        self._quota = next((e for e in events if isinstance(e, QuotaChanged)), self._quota)
        return events


async def say(settings: Settings, *events: StockEvent | bytes) -> None:
    """Publish stock events as the stock keeper does, as far as is read of them: in one batch."""
    async with shop.a_producer(settings) as producer:
        batches: dict[int, Any] = {}
        for event in events:
            sku, value = ("LAMP", event) if isinstance(event, bytes) else (event.sku, None)
            partition = shop.home(settings, sku)
            batch = batches.get(partition) or batches.setdefault(partition, producer.create_batch())
            written = batch.append(
                key=sku.encode(), value=value or json.encode(event), timestamp=None
            )
            assert written is not None, "these are more than a batch holds"
        for partition, batch in batches.items():
            topic = settings.topic(STOCK_EVENTS.name)
            await (await producer.send_batch(batch, topic, partition=partition))


async def refer(settings: Settings, *entries: Reference) -> None:
    """Publish reference data."""
    await publish(settings, entries, prune=False)


async def write_row(
    database: Database, sku: str, version: int, available: int, row: stock.Stock = stock.NOTHING
) -> None:
    """Let the ledger say so; of the other buckets what *row* has."""
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO stock (sku, version, changed_at, available, locked, occupied, reserved,"
            " frozen, shortfall) VALUES ($1, $2, to_timestamp($4 / 1000.0), $3, $5, 0, $6, 0, $7)"
            " ON CONFLICT (sku) DO UPDATE SET version = $2, available = $3, locked = $5,"
            " reserved = $6, shortfall = $7",
            sku, version, available, float(AT + version), row.locked, row.reserved, row.shortfall,
        )  # fmt: skip


async def catch_up(database: Database, settings: Settings, group: str) -> None:
    """Let the ledger say that it has read everything that *group* has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.topic(group))
    finally:
        await admin.close()
    async with database.connected() as connection:
        for tp, at in offsets.items():
            await connection.execute(
                "INSERT INTO sink_positions (topic, partition, next) VALUES ($1, $2, $3)",
                STOCK_EVENTS.name, tp.partition, at.offset,
            )  # fmt: skip


async def committed(settings: Settings, group: str) -> int:
    """Return how many records the group has left behind."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.topic(group))
        return sum(max(0, each.offset) for each in offsets.values())
    finally:
        await admin.close()
