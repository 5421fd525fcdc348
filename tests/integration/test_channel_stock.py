"""Channels are told what they may sell: once a change, without an echo, each by itself."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp import web
from msgspec import json

from schemas.reference import Shop
from streams import roles
from streams.availability import channels as channels_rules
from streams.availability import telling
from streams.clock import now_ms
from streams.settings import Settings
from streams.topics import RAW, STOCK_COMMANDS, TOPICS
from tests.integration import shop
from tests.integration.databases import ROOT, Database, database, empty
from tests.integration.selling import (
    EVENTS,
    HOUR,
    QUOTA,
    Keeper,
    RedisServer,
    an_installation,
    catch_up,
    committed,
    moved,
    redis,
    refer,
    say,
    write_row,
)

__all__ = ["database", "empty", "redis"]
pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other quickly."""
    monkeypatch.setattr(telling, "RETRY_S_MIN", 0.05)
    monkeypatch.setattr(telling, "RETRY_S_MAX", 0.2)
    monkeypatch.setattr(telling, "ANSWER_WITHIN_S", 1.0)


@pytest.fixture
async def house(
    settings: Settings, redis: RedisServer, database: Database
) -> AsyncIterator[Settings]:
    async with an_installation(
        settings, redis, postgres_reader=database.reader, postgres_callbacks=database.callbacks
    ) as made:
        yield made


class Marketplace:
    """The other side: takes what it is told, or does as it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.attempts = 0
        #: What was taken, in order.
        self.taken: list[dict[str, Any]] = []
        self.answers: list[int] = []
        #: While it is not set, no answer comes.
        self.free = asyncio.Event()
        self.free.set()
        self.refuses = ""

    async def take(self, request: web.Request) -> web.Response:
        self.attempts += 1
        said = json.decode(await request.read())
        await self.free.wait()
        status = self.answers.pop(0) if self.answers else 204
        if self.refuses and any(one["sku"] == self.refuses for one in said["stock"]):
            status = 422
        if status < 300:
            self.taken += [{**one, "channel": said["channel"]} for one in said["stock"]]
        return web.Response(status=status)

    def numbers(self, sku: str = "LAMP") -> list[tuple[int, int]]:
        return [(one["version"], one["quantity"]) for one in self.taken if one["sku"] == sku]


@asynccontextmanager
async def a_marketplace() -> AsyncIterator[Marketplace]:
    made = Marketplace()
    app = web.Application()
    app.router.add_post("/stock", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}/stock"
    try:
        yield made
    finally:
        made.free.set()
        await runner.cleanup()


@pytest.fixture
async def market() -> AsyncIterator[Marketplace]:
    async with a_marketplace() as made:
        yield made


def a_shop(market: Marketplace, name: str = "shop1", buffer: int = 2, quota: str = "") -> Shop:
    return Shop(
        platform="douyin", shop=name, stock_url=market.url, safety_buffer=buffer, quota=quota
    )


def telling_channels(house: Settings) -> Any:
    return shop.working(house, roles.build(house, ["channel-stock"]), topics=EVENTS)


@contextmanager
def a_worker(house: Settings, redis: RedisServer, *names: str) -> Iterator[None]:
    """Roles as a process of their own, which must end well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "worker", "--bare", "--roles", ",".join(names)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
        | {
            "ORDERFLOW_KAFKA": house.kafka,
            "ORDERFLOW_REDIS": redis.url,
            "ORDERFLOW_POSTGRES_READER": house.postgres_reader.get_secret_value(),
            "ORDERFLOW_TOPIC_PREFIX": house.topic_prefix,
            "ORDERFLOW_PARTITIONS": str(house.partitions),
        },
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0


async def left_behind(house: Settings, n: int) -> bool:
    return await committed(house, "channel-stock") == n


async def test_a_channel_is_told_once_for_every_change_of_its_number(
    house: Settings, market: Marketplace
):
    await refer(house, a_shop(market))
    async with telling_channels(house):
        await say(house, moved("LAMP", 1, 10))
        await shop.until(lambda: market.numbers() == [(1, 8)])
        # Paid, packed, counted: the balance moves and what may be sold does not.
        await say(house, moved("LAMP", 2, 10), moved("LAMP", 3, 10), moved("LAMP", 1, 10))
        await say(house, moved("LAMP", 4, 1))
        await shop.until(lambda: market.numbers() == [(1, 8), (4, 0)])
        await say(house, moved("LAMP", 5, 2), moved("LAMP", 6, 0))
        await shop.until(lambda: left_behind(house, 7))

    assert market.numbers() == [(1, 8), (4, 0)]
    assert market.taken[0] == {
        "channel": "douyin:shop1", "sku": "LAMP", "theirs": ["LAMP"], "quantity": 8,
        "version": 1, "at_ms": moved("LAMP", 1, 10).at_ms,
    }  # fmt: skip


async def test_what_waited_is_told_as_one_number(house: Settings, market: Marketplace):
    await refer(house, a_shop(market))
    await say(house, *(moved("LAMP", version, 100 - version) for version in range(1, 51)))
    async with telling_channels(house):
        await shop.until(lambda: left_behind(house, 50))

    assert market.numbers()[-1] == (50, 48)
    assert len(market.numbers()) < 10


async def test_a_new_worker_remembers_what_was_told_and_a_lost_memory_costs_one_push_more(
    house: Settings, market: Marketplace, redis: RedisServer
):
    await refer(house, a_shop(market))
    await say(house, moved("LAMP", 1, 10))
    async with telling_channels(house):
        await shop.until(lambda: left_behind(house, 1))

    await say(house, moved("LAMP", 2, 10))
    async with telling_channels(house):
        await shop.until(lambda: left_behind(house, 2))
    assert market.numbers() == [(1, 8)]

    await redis.do("FLUSHALL")
    await say(house, moved("LAMP", 3, 10), moved("LAMP", 4, 10))
    async with telling_channels(house):
        await shop.until(lambda: left_behind(house, 4))
        await say(house, moved("LAMP", 5, 10))
        await shop.until(lambda: left_behind(house, 5))
    assert len(market.numbers()) == 2
    assert {quantity for _, quantity in market.numbers()} == {8}


async def test_without_redis_channels_are_told_all_the_same(
    house: Settings, market: Marketplace, redis: RedisServer
):
    await refer(house, a_shop(market))
    redis.stop()
    async with telling_channels(house):
        await say(house, moved("LAMP", 1, 10))
        await shop.until(lambda: market.numbers() == [(1, 8)])
        await say(house, moved("LAMP", 2, 10), moved("LAMP", 3, 9))
        await shop.until(lambda: market.numbers() == [(1, 8), (3, 7)])
        await shop.until(lambda: left_behind(house, 3))


async def test_a_channel_that_fails_is_told_again_until_it_has_taken_the_newest_number(
    house: Settings, market: Marketplace
):
    await refer(house, a_shop(market))
    market.answers = [500, 503, 429, 408]
    async with telling_channels(house):
        await say(house, moved("LAMP", 1, 10))
        await shop.until(lambda: market.attempts >= 2)
        await say(house, moved("LAMP", 2, 9))
        await shop.until(lambda: bool(market.numbers()) and market.numbers()[-1] == (2, 7))

    assert len(market.numbers()) <= 2


async def test_what_changes_while_it_is_being_told_is_told_next(
    house: Settings, market: Marketplace
):
    await refer(house, a_shop(market))
    market.free.clear()
    made = roles.build(house, ["channel-stock"])
    async with shop.working(house, made, topics=EVENTS):
        await say(house, moved("LAMP", 1, 10))
        await shop.until(lambda: market.attempts)
        await say(house, moved("LAMP", 2, 9))
        await shop.until(lambda: sum(made[0].positions().values()) == 2)
        market.free.set()
        await shop.until(lambda: market.numbers() == [(1, 8), (2, 7)])


async def test_a_channel_that_hangs_holds_up_neither_another_one_nor_loses_its_number(
    house: Settings, market: Marketplace
):
    async with a_marketplace() as stuck:
        await refer(house, a_shop(market), a_shop(stuck, "stuck", buffer=0))
        stuck.free.clear()
        await say(house, moved("RUG", 1, 4), moved("LAMP", 1, 10))
        async with telling_channels(house):
            await shop.until(lambda: market.numbers() == [(1, 8)])
            await say(house, moved("LAMP", 2, 9))
            await shop.until(lambda: market.numbers() == [(1, 8), (2, 7)])
            await asyncio.sleep(0.6)
            # The worker ends before the other one has taken anything: nothing is left behind.
            assert await committed(house, "channel-stock") == 0
            assert stuck.taken == []

        stuck.free.set()
        async with telling_channels(house):
            await shop.until(lambda: left_behind(house, 3))

    assert stuck.numbers()[-1] == (2, 9)
    assert stuck.numbers("RUG")[-1] == (1, 4)
    assert market.numbers() == [(1, 8), (2, 7)]


async def test_a_sku_that_is_refused_does_not_keep_the_others_from_being_told(
    house: Settings, market: Marketplace
):
    await refer(house, a_shop(market, buffer=0))
    market.refuses = "RUG"
    await say(house, *(moved(sku, 1, 4) for sku in ("LAMP", "RUG", "VASE", "SOFA")))
    async with telling_channels(house):
        await shop.until(lambda: left_behind(house, 4))
        assert {one["sku"] for one in market.taken} == {"LAMP", "VASE", "SOFA"}
        market.refuses = ""
        await say(house, moved("RUG", 2, 4))
        await shop.until(lambda: market.numbers("RUG") == [(2, 4)])


async def test_a_shop_that_is_added_is_told_of_everything_and_a_new_buffer_of_what_differs(
    house: Settings, market: Marketplace, database: Database
):
    for sku, available in (("LAMP", 10), ("RUG", 1), ("VASE", 0)):
        await write_row(database, sku, 4, available)
    async with telling_channels(house):
        await refer(house, a_shop(market, buffer=1))
        await shop.until(lambda: len(market.taken) == 3)
        await refer(house, a_shop(market, buffer=3))
        await shop.until(lambda: len(market.taken) == 4)

    assert {(one["sku"], one["quantity"]) for one in market.taken} == {
        ("LAMP", 9), ("RUG", 0), ("VASE", 0), ("LAMP", 7),
    }  # fmt: skip

    # A start looks at everything too, and knows what was told of the same balances.
    await write_row(database, "RUG", 5, 9)
    async with telling_channels(house):
        await shop.until(lambda: len(market.taken) >= 5)
        await say(house, moved("LAMP", 5, 11))
        await shop.until(lambda: market.numbers()[-1] == (5, 8))
    assert [(one["sku"], one["quantity"]) for one in market.taken[4:]] == [("RUG", 6), ("LAMP", 8)]


@pytest.fixture
def quick_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_rules, "_AWAY_S", 0.1)


async def test_a_quota_is_told_to_its_shop_alone_and_once_a_change_of_the_number(
    house: Settings, market: Marketplace
):
    lamp = Keeper(on_hand=10)
    async with a_marketplace() as other:
        await refer(house, a_shop(market, quota=QUOTA), a_shop(other, "other", buffer=0))
        async with telling_channels(house):
            for events, ours, theirs in (
                (lamp.received, [8], [10]),
                (lamp.allot(4), [8], [10, 6]),  # the sum is the same for whom it is kept
                (lamp.hold("douyin:shop1:1", 3), [8, 5], [10, 6]),
                (lamp.hold("douyin:shop1:2", 2), [8, 5, 3], [10, 6, 5]),
                (lamp.release("douyin:shop1:1"), [8, 5, 3, 6], [10, 6, 5]),
                (lamp.give_back(2), [8, 5, 3, 6], [10, 6, 5, 7]),
                (lamp.count(0), [8, 5, 3, 6, 0], [10, 6, 5, 7, 0]),
            ):
                await say(house, *events)
                await shop.until(lambda ours=ours: _last(market, ours))
                await shop.until(lambda theirs=theirs: _last(other, theirs))
            everything = await _end(house)
            await shop.until(lambda: left_behind(house, everything))

    versions = [version for version, _ in market.numbers()]
    assert versions == sorted(versions)
    assert _steps(market) == [8, 5, 3, 6, 0]


def _last(market: Marketplace, wanted: list[int]) -> bool:
    return bool(market.taken) and market.numbers()[-1][1] == wanted[-1]


def _steps(market: Marketplace) -> list[int]:
    return [quantity for _, quantity in market.numbers()]


async def _end(house: Settings) -> int:
    return len(await shop.read(house, "stock-events"))


async def test_a_window_that_opens_and_ends_is_told_without_an_event_and_then_its_units_are_back(
    house: Settings, market: Marketplace, monkeypatch: pytest.MonkeyPatch
):
    now = now_ms()
    starts, ends = now + HOUR, now + 2 * HOUR
    at = [now]
    for module in (channels_rules, telling):
        monkeypatch.setattr(module, "now_ms", lambda: at[0])
    lamp = Keeper(on_hand=10)
    events = [*lamp.received, *lamp.allot(4, starts, ends)]
    await refer(house, a_shop(market, buffer=0, quota=QUOTA))
    async with telling_channels(house):
        await say(house, *events)
        await shop.until(lambda: _last(market, [6]))
        at[0] = starts
        await shop.until(lambda: _last(market, [10]))
        at[0] = ends
        await shop.until(lambda: _last(market, [6]))
        await say(house, *lamp.end(ends))
        await shop.until(lambda: _last(market, [10]))

    assert market.numbers() == [(2, 6), (2, 10), (2, 6), (3, 10)]


async def test_one_commands_balance_and_quota_in_two_frames_end_in_the_right_number(
    house: Settings, market: Marketplace
):
    lamp = Keeper(on_hand=10)
    await refer(house, a_shop(market, buffer=0, quota=QUOTA))
    async with telling_channels(house):
        await say(house, *lamp.received, *lamp.allot(4))
        await shop.until(lambda: left_behind(house, 5))
        moved_back, *told = lamp.give_back(4)
        await say(house, moved_back)
        await shop.until(lambda: _last(market, [14]))
        await say(house, *told)
        await shop.until(lambda: market.numbers()[-2:] == [(3, 14), (3, 10)])


@pytest.mark.usefixtures("quick_ledger")
async def test_a_new_worker_whose_ledger_is_behind_tells_the_quota_when_it_has_caught_up(
    house: Settings, market: Marketplace, database: Database
):
    lamp = Keeper(on_hand=10)
    await lamp.into(database)
    await refer(house, a_shop(market, buffer=0, quota=QUOTA))
    async with telling_channels(house):
        await say(house, *lamp.received, *lamp.allot(4))
        await shop.until(lambda: left_behind(house, 5))
    assert market.numbers()[-1][1] == 10

    async with telling_channels(house):
        # It read of no quota, and nobody it can ask knows one.
        await say(house, *lamp.hold("jd:shop:1", 1, quota=""))
        await shop.until(lambda: left_behind(house, 6))
        assert market.numbers()[-1] == (3, 5)
        await lamp.into(database)
        await catch_up(database, house, "channel-stock")
        await shop.until(lambda: market.numbers()[-1] == (3, 9))


async def test_t44_our_own_push_coming_back_as_the_platforms_update_ends_there(
    settings: Settings, redis: RedisServer, database: Database, market: Marketplace
):
    """The platform answers every push with a statement about stock, on every raw topic we have."""
    reader = database.reader
    async with an_installation(
        settings, redis, topics=TOPICS, postgres_reader=reader,
        postgres_callbacks=database.callbacks,
    ) as house:  # fmt: skip
        await refer(house, a_shop(market))
        with a_worker(house, redis, "intake", "channel-stock"):
            await say(house, moved("LAMP", 1, 10))
            await shop.until(lambda: market.taken)
            for _ in range(3):
                await _echo(house, market.taken[-1])
            await shop.until(lambda: _parked(house, 3 * len(RAW)))

        assert market.numbers() == [(1, 8)]
        assert await shop.read(house, STOCK_COMMANDS.name) == []


async def _echo(house: Settings, told: dict[str, Any]) -> None:
    body = json.encode({"inventory_item_id": 1, "available": told["quantity"], **told})
    async with shop.a_producer(house) as producer:
        for topic in RAW:
            await producer.send_and_wait(
                house.topic(topic.name), value=body, headers=[("shop", b"shop1")]
            )


async def _parked(house: Settings, n: int) -> bool:
    return len(await shop.read(house, "parked")) >= n
