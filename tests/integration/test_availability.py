"""What is left to sell, on the real parts: fresh, and never older than what was known."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import json

from agents.availability import NO_QUOTA, Balance, Quota, QuotaOf
from schemas.errors import CacheUnavailable
from schemas.reference import Shop
from streams import roles
from streams.availability import asking
from streams.availability import cache as cache_rules
from streams.availability import store as store_rules
from streams.availability.api import PATH, Api
from streams.availability.cache import RedisCache, Seen, under
from streams.availability.serving import api
from streams.clock import now_ms
from streams.settings import Settings
from tests.integration import shop
from tests.integration.databases import ROOT, Database, database, empty
from tests.integration.selling import (
    EVENTS,
    HOUR,
    QUOTA,
    Keeper,
    RedisServer,
    an_installation,
    committed,
    moved,
    redis,
    refer,
    say,
    write_row,
)

__all__ = ["database", "empty", "redis"]
pytestmark = pytest.mark.stack


@pytest.fixture
async def house(
    settings: Settings, redis: RedisServer, database: Database
) -> AsyncIterator[Settings]:
    async with an_installation(settings, redis, postgres_reader=database.reader) as made:
        yield made


@pytest.fixture
async def cache(house: Settings) -> AsyncIterator[RedisCache]:
    made = RedisCache(house, 2.0)
    yield made
    await made.close()


def writing(house: Settings) -> Any:
    return shop.working(house, roles.build(house, ["availability"]), topics=EVENTS)


def balance(sku: str, version: int, available: int) -> Balance:
    return Balance(sku=sku, version=version, at_ms=1_000, available=available)


async def available(cache: RedisCache, *skus: str) -> dict[str, int]:
    return {sku: one.available for sku, one in (await cache.get(skus)).found.items()}


async def asked(made: Api, *skus: str, channel: str = "") -> dict[str, Any]:
    query = "&".join(
        [*(f"sku={sku}" for sku in skus), *([f"channel={channel}"] if channel else [])]
    )
    status, body = await made.answer(query.encode())
    return {"status": status, **json.decode(body)}


def item(said: dict[str, Any], nth: int = 0) -> tuple[Any, ...]:
    found = said["items"][nth]
    return found.get("available"), found.get("version"), found["source"]


# --- written by events ----------------------------------------------------------------------------


async def test_stock_events_write_the_cache_and_it_says_how_fresh_it_is(
    house: Settings, cache: RedisCache
):
    await say(house, moved("LAMP", 1, 9), moved("RUG", 1, 4), b"no event", moved("LAMP", 2, 8))

    async with writing(house):
        await shop.until(lambda: _holds(cache, LAMP=8, RUG=4))
        await say(house, moved("LAMP", 3, 7))
        await shop.until(lambda: _holds(cache, LAMP=7, RUG=4))
        await shop.until(lambda: _fresh(cache))

    assert (await cache.get(["LAMP"])).found["LAMP"].version == 3

    # Its writer is gone, and the answers say so.
    before = (await cache.get(["LAMP"])).age_ms
    assert before is not None
    await asyncio.sleep(0.1)
    after = (await cache.get(["LAMP"])).age_ms
    assert after is not None
    assert after >= before + 100


async def _holds(cache: RedisCache, **wanted: int) -> bool:
    return await available(cache, *wanted) == wanted


async def _fresh(cache: RedisCache) -> bool:
    age = (await cache.get(["LAMP"])).age_ms
    return age is not None and age < 5_000


async def test_a_worker_that_comes_back_goes_on_where_its_group_was_and_repeats_do_no_harm(
    house: Settings, cache: RedisCache
):
    await say(house, moved("LAMP", 1, 9), moved("LAMP", 2, 8))
    async with writing(house):
        await shop.until(lambda: _holds(cache, LAMP=8))
    assert await committed(house, "availability") == 2

    # While it is away: a move, and the keeper's letters once more, as after its kill -9.
    await say(house, moved("LAMP", 3, 7), moved("LAMP", 1, 9), moved("LAMP", 2, 8))
    await cache.put([balance("LAMP", 5, 5)])  # another worker was further already
    async with writing(house):
        await shop.until(lambda: _committed(house, 5))

    assert await available(cache, "LAMP") == {"LAMP": 5}


async def _committed(house: Settings, n: int) -> bool:
    return await committed(house, "availability") == n


async def test_a_late_write_never_overwrites_a_newer_one(cache: RedisCache):
    await cache.put([balance("LAMP", 10, 3), balance("RUG", 1, 1)])

    await cache.put([balance("LAMP", 9, 99), balance("RUG", 2, 2)])
    await cache.put([balance("LAMP", 10, 98)])
    await cache.rebuild({"LAMP": Seen(9, 97), "RUG": Seen(0)})

    assert await available(cache, "LAMP", "RUG") == {"LAMP": 3, "RUG": 2}


async def test_of_many_writers_at_once_the_newest_version_stays(cache: RedisCache):
    writes = [
        cache.put([balance(f"S{sku}", version, version) for sku in range(20)])
        for version in (5, 1, 9, 3, 2, 7, 8, 4, 6)
    ]

    await asyncio.gather(*writes)

    found = await available(cache, *(f"S{sku}" for sku in range(20)))
    assert set(found.values()) == {9}


async def test_versions_are_compared_as_numbers_and_frames_may_be_large(cache: RedisCache):
    many = 2 * store_rules.KEYS_MAX + 7
    await cache.put([balance(f"S{n}", 9, 1) for n in range(many)])
    await cache.put([balance(f"S{n}", 10, 2) for n in range(many)])
    await cache.put([balance("S0", 2**53 + 1, 3)])
    await cache.put([balance("S0", 2**53, 4)])

    found = await available(cache, "S0", "S1", f"S{many - 1}")

    assert found == {"S0": 3, "S1": 2, f"S{many - 1}": 2}


async def test_installations_on_one_redis_do_not_see_each_other(house: Settings, cache: RedisCache):
    other = RedisCache(house.model_copy(update={"topic_prefix": "other-"}), 2.0)
    await cache.put([balance("LAMP", 1, 9)])

    found = await available(other, "LAMP")
    await other.close()

    assert found == {}


# --- misses, flushes, outages ---------------------------------------------------------------------


async def test_a_miss_is_rebuilt_from_the_ledger_and_then_answered_by_the_cache(
    house: Settings, database: Database
):
    await write_row(database, "LAMP", 7, 5)
    async with api(house) as (made, _):
        first, second = await asked(made, "LAMP", "NONE"), await asked(made, "LAMP", "NONE")

    assert (item(first), item(first, 1)) == ((5, 7, "ledger"), (None, None, "ledger"))
    assert (item(second), item(second, 1)) == ((5, 7, "cache"), (None, None, "cache"))
    assert [one["known"] for one in second["items"]] == [True, False]
    assert first["items"][0]["as_of"] == second["items"][0]["as_of"]


async def test_the_first_move_of_a_sku_replaces_that_nobody_knew_it(
    house: Settings, cache: RedisCache
):
    async with api(house) as (made, _):
        assert (await asked(made, "LAMP"))["items"][0]["known"] is False
        await cache.put([balance("LAMP", 1, 9)])
        assert item(await asked(made, "LAMP")) == (9, 1, "cache")


async def test_what_was_rebuilt_is_asked_for_again_after_moments_for_the_ledger_may_be_behind(
    house: Settings, database: Database, cache: RedisCache, redis: RedisServer
):
    await write_row(database, "LAMP", 7, 5)
    await cache.put([balance("RUG", 1, 1)])
    async with api(house) as (made, _):
        await asked(made, "LAMP", "NONE")

    key = f"orderflow:{house.topic_prefix}stock:"
    assert 0 < await redis.do("PTTL", key + "LAMP") <= store_rules.REBUILT_KEPT_MS
    assert 0 < await redis.do("PTTL", key + "NONE") <= store_rules.UNKNOWN_KEPT_MS
    assert await redis.do("PTTL", key + "RUG") > store_rules.REBUILT_KEPT_MS

    # An event puts it there for good.
    await cache.put([balance("LAMP", 8, 4)])
    assert await redis.do("PTTL", key + "LAMP") > store_rules.REBUILT_KEPT_MS


async def test_t12_a_flush_while_the_ledger_is_behind_is_mended_as_soon_as_it_has_caught_up(
    house: Settings,
    database: Database,
    cache: RedisCache,
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
):
    """The event was read and committed: it does not come again, and no other move follows."""
    monkeypatch.setattr(cache_rules, "REBUILT_KEPT_MS", 200)
    await write_row(database, "LAMP", 5, 5)
    await cache.put([balance("LAMP", 6, 0)])
    async with api(house) as (made, _):
        assert item(await asked(made, "LAMP")) == (0, 6, "cache")
        await redis.do("FLUSHALL")
        assert item(await asked(made, "LAMP")) == (5, 5, "ledger")
        await write_row(database, "LAMP", 6, 0)

        await shop.until(lambda: _says(made, (0, 6)))


async def _says(made: Api, wanted: tuple[int, int]) -> bool:
    return item(await asked(made, "LAMP"))[:2] == wanted


async def test_t12_flushall_in_the_middle_of_a_sale_shows_no_older_number(
    house: Settings, database: Database, cache: RedisCache, redis: RedisServer
):
    """The ledger is written first here, so what an answer may say only ever falls."""
    stop = asyncio.Event()
    seen: list[int] = []

    async def sell() -> None:
        for version in range(1, 61):
            await write_row(database, "LAMP", version, 100 - version)
            await say(house, moved("LAMP", version, 100 - version))
            if version % 20 == 10:
                await redis.do("FLUSHALL")
        stop.set()

    async with writing(house), api(house) as (made, _):
        await write_row(database, "LAMP", 1, 99)
        selling = asyncio.ensure_future(sell())
        while not stop.is_set():
            said = await asked(made, "LAMP")
            assert said["status"] == 200
            seen.append(said["items"][0]["version"])
            await asyncio.sleep(0.005)
        await selling
        await shop.until(lambda: _holds(cache, LAMP=40))
        assert item(await asked(made, "LAMP")) == (40, 60, "cache")

    assert len(set(seen)) > 5
    # A flush takes what the events had brought; the ledger has it, so nothing goes back.
    assert seen == sorted(seen)


async def test_a_redis_that_comes_back_with_an_old_snapshot_begins_with_nothing(
    house: Settings, database: Database, cache: RedisCache, redis: RedisServer
):
    await cache.put([balance("LAMP", 5, 5), balance("RUG", 5, 5)])
    await redis.do("SAVE")
    await cache.put([balance("LAMP", 6, 0)])  # sold out, and committed to the group
    await write_row(database, "LAMP", 6, 0)
    await write_row(database, "RUG", 5, 5)
    redis.stop()
    await redis.start()
    assert await redis.do("EXISTS", f"orderflow:{house.topic_prefix}stock:LAMP") == 1

    assert await available(cache, "LAMP", "RUG") == {}
    async with api(house) as (made, _):
        first, second = await asked(made, "LAMP", "RUG"), await asked(made, "LAMP", "RUG")
    assert (item(first), item(first, 1)) == ((0, 6, "ledger"), (5, 5, "ledger"))
    assert (item(second), item(second, 1)) == ((0, 6, "cache"), (5, 5, "cache"))


async def test_while_redis_is_away_events_wait_and_answers_come_from_the_ledger(
    house: Settings,
    database: Database,
    cache: RedisCache,
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(asking, "LEFT_ALONE_S", 0.1)
    patient = house.model_copy(update={"waiting_max": house.report_every})  # 0.5 s
    await write_row(database, "LAMP", 2, 8)
    await say(house, moved("LAMP", 1, 9))
    async with writing(patient), api(house) as (made, _):
        await shop.until(lambda: _holds(cache, LAMP=9))
        await shop.until(lambda: _committed(house, 1))
        redis.stop()
        await say(house, moved("LAMP", 2, 8))

        assert item(await asked(made, "LAMP")) == (8, 2, "ledger")
        # Longer than any other part of the house is waited for: the worker does not end of it.
        await asyncio.sleep(1.5)
        assert await committed(house, "availability") == 1
        with pytest.raises(CacheUnavailable):
            await cache.get(["LAMP"])

        await redis.start()
        await shop.until(lambda: _holds(cache, LAMP=8))
        await shop.until(lambda: _committed(house, 2))
        await shop.until(lambda: _from_cache(made))


async def _from_cache(made: Api) -> bool:
    return item(await asked(made, "LAMP")) == (8, 2, "cache")


async def test_a_redis_that_hangs_is_waited_for_once_and_then_left_alone(
    house: Settings,
    database: Database,
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(asking, "LEFT_ALONE_S", 60.0)
    await write_row(database, "LAMP", 2, 8)
    async with api(house) as (made, _):
        redis.stall()

        said = [await asked(made, "LAMP") for _ in range(5)]

    assert len([each for each in caplog.messages if "come from the ledger" in each]) == 1
    assert {item(each) for each in said} == {(8, 2, "ledger")}


async def test_only_when_neither_redis_nor_postgresql_answers_there_is_no_answer(
    house: Settings, cache: RedisCache, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(asking, "LEFT_ALONE_S", 0.1)
    nowhere = house.model_copy(
        update={"postgres_reader": type(house.redis)("postgresql://x:y@127.0.0.1:1/none")}
    )
    await cache.put([balance("LAMP", 1, 9)])
    async with api(nowhere) as (made, _):
        known, unknown = await asked(made, "LAMP"), await asked(made, "LAMP", "RUG")
        redis.stop()
        nobody = await asked(made, "LAMP")
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": PATH, "query_string": b"sku=LAMP"}
        await made.app(scope, None, send)  # type: ignore[arg-type]

    assert sent[0]["status"] == 503
    assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
    assert item(known) == (9, 1, "cache")
    assert unknown["status"] == nobody["status"] == 503
    assert "127.0.0.1:1" not in nobody["error"]


async def test_many_questions_at_once_each_get_their_own_answer(
    house: Settings, database: Database, cache: RedisCache
):
    await cache.put([balance(f"S{n}", n + 1, n) for n in range(600)])
    for n in range(600, 610):
        await write_row(database, f"S{n}", n + 1, n)
    async with api(house) as (made, _):
        said = await asyncio.gather(
            *(asked(made, *(f"S{n}" for n in range(at, at + 7))) for at in range(603))
        )

    for at, each in enumerate(said):
        assert [one["available"] for one in each["items"]] == list(range(at, at + 7))


# --- quotas ---------------------------------------------------------------------------------------

#: One that names the quota, with a buffer of 1, and one that names none.
SHOPS = (
    Shop(platform="douyin", shop="live", safety_buffer=1, quota=QUOTA),
    Shop(platform="douyin", shop="other"),
)


async def _sells(made: Api, wanted: tuple[int, int, int]) -> bool:
    """Say whether the two may offer so much, with so many units of the first one's own."""
    live, other = [
        (await asked(made, "LAMP", channel=f"douyin:{name}"))["items"][0]
        for name in ("live", "other")
    ]
    assert "quota" not in other
    return (live.get("sellable"), other.get("sellable"), live.get("quota")) == wanted


async def test_a_quota_is_sellable_for_its_shop_alone_and_given_back_for_everybody(
    house: Settings,
):
    await refer(house, *SHOPS)
    lamp = Keeper(on_hand=10)
    async with writing(house), api(house) as (made, _):
        for events, wanted in (
            (lamp.received, (9, 10, 0)),
            (lamp.allot(4), (9, 6, 4)),  # 6 for all, 4 for the one, less its buffer
            (lamp.hold("douyin:live:1", 3), (6, 6, 1)),  # from the quota first: the pool is whole
            (lamp.hold("douyin:live:2", 2), (4, 5, 0)),
            (lamp.hold("douyin:other:3", 1, quota=""), (3, 4, 0)),
            (lamp.release("douyin:live:1"), (6, 4, 3)),  # what it drew is its shop's again
            (lamp.give_back(2), (6, 6, 1)),
            (lamp.count(0), (0, 0, 1)),  # more is held than is there: nobody sells
            (lamp.count(10), (6, 6, 1)),
        ):
            await say(house, *events)
            await shop.until(lambda wanted=wanted: _sells(made, wanted))


async def test_a_quota_counts_from_the_start_of_its_window_to_its_end_and_then_for_everybody(
    house: Settings, monkeypatch: pytest.MonkeyPatch
):
    await refer(house, *SHOPS)
    now = now_ms()
    starts, ends = now + HOUR, now + 2 * HOUR
    lamp = Keeper(on_hand=10)
    async with writing(house), api(house) as (made, _):
        await say(house, *lamp.received, *lamp.allot(4, starts, ends))
        await shop.until(lambda: _sells(made, (5, 6, 0)))

        for at_ms, wanted in (
            (starts - 1, (5, 6, 0)),
            (starts, (9, 6, 4)),
            (ends - 1, (9, 6, 4)),
            (ends, (5, 6, 0)),
        ):
            monkeypatch.setattr("streams.availability.api.now_ms", lambda at=at_ms: at)
            assert await _sells(made, wanted)
        await say(house, *lamp.end(ends))
        await shop.until(lambda: _sells(made, (9, 10, 0)))


async def test_a_quota_that_was_forgotten_is_rebuilt_and_that_there_is_none_is_remembered(
    house: Settings, database: Database, cache: RedisCache, redis: RedisServer
):
    await refer(house, *SHOPS)
    lamp = Keeper(on_hand=10)
    lamp.allot(4)
    await lamp.into(database)
    await write_row(database, "RUG", 1, 5)
    # As it was before anybody asked for a quota: the balances are there.
    await cache.put([balance("LAMP", lamp.balance.version, 6), balance("RUG", 1, 5)])
    async with api(house) as (made, _):
        first, second = [
            await asked(made, "LAMP", "RUG", "NONE", channel="douyin:live") for _ in range(2)
        ]

    assert [one["source"] for one in first["items"]] == ["ledger"] * 3
    assert [one["source"] for one in second["items"]] == ["cache"] * 3
    for said in (first, second):
        assert [(one.get("sellable"), one.get("quota")) for one in said["items"]] == [
            (9, 4), (4, 0), (None, None),
        ]  # fmt: skip
    key = f"orderflow:{house.topic_prefix}stock:"
    assert 0 < await redis.do("PTTL", key + under("LAMP", QUOTA)) <= store_rules.REBUILT_KEPT_MS
    assert 0 < await redis.do("PTTL", key + under("RUG", QUOTA)) <= store_rules.UNKNOWN_KEPT_MS


async def test_a_late_write_never_overwrites_a_newer_quota(cache: RedisCache):
    whose, key = QuotaOf("LAMP", QUOTA), under("LAMP", QUOTA)
    await cache.put([], {whose: Quota(10, 1, 2, 3)})

    await cache.put([balance("LAMP", 12, 1)], {whose: Quota(9, 1, 2, 99)})
    await cache.put([], {whose: Quota(10, 1, 2, 98)})
    await cache.rebuild({key: Quota(9, 1, 2, 97)})
    await cache.rebuild({key: NO_QUOTA})
    await cache.put([], {QuotaOf("LAMP", "another"): Quota(11, 1, 2, 96)})

    assert (await cache.get([key, "LAMP"])).found == {key: (10, 1, 2, 3), "LAMP": Seen(
        12, 1, "1970-01-01T00:00:01.000Z"
    )}  # fmt: skip


async def test_t12_flushall_while_a_quota_is_sold_shows_no_unit_again(
    house: Settings, database: Database, redis: RedisServer
):
    """The ledger is written first here, so what the shop may offer only ever falls."""
    await refer(house, *SHOPS)
    lamp = Keeper(on_hand=60)
    events = [*lamp.received, *lamp.allot(40)]
    await lamp.into(database)
    stop, seen = asyncio.Event(), []

    async def sell() -> None:
        await say(house, *events)
        for nth in range(50):
            said = lamp.hold(f"douyin:live:{nth}", 1)
            await lamp.into(database)
            await say(house, *said)
            if nth % 15 == 10:
                await redis.do("FLUSHALL")
        stop.set()

    async with writing(house), api(house) as (made, _):
        selling = asyncio.ensure_future(sell())
        while not stop.is_set():
            said = await asked(made, "LAMP", channel="douyin:live")
            assert said["status"] == 200
            seen.append(said["items"][0]["sellable"])
            await asyncio.sleep(0.005)
        await selling
        await shop.until(lambda: _sells(made, (9, 10, 0)))

    assert len(set(seen)) > 5
    assert seen == sorted(seen, reverse=True)


# --- the process ----------------------------------------------------------------------------------


def _get(url: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answered:  # noqa: S310  our own address
            return answered.status, answered.read(), dict(answered.headers)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(), dict(refused.headers)


async def test_the_process_answers_over_http_and_ends_well_on_sigterm(
    house: Settings, database: Database, cache: RedisCache, redis: RedisServer
):
    await refer(house, Shop(platform="douyin", shop="shop1", safety_buffer=3))
    await cache.put([balance("LAMP", 4, 10), balance("RUG", 1, 2)])
    port = RedisServer(ROOT).port
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streams.cli", "availability", "--port", str(port)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")} | {
        "ORDERFLOW_KAFKA": house.kafka,
        "ORDERFLOW_REDIS": redis.url,
        "ORDERFLOW_POSTGRES_READER": database.reader,
        "ORDERFLOW_TOPIC_PREFIX": house.topic_prefix,
        "ORDERFLOW_PARTITIONS": str(house.partitions),
    }
    process = subprocess.Popen(  # noqa: ASYNC220  it returns at once
        command, cwd=ROOT, stderr=subprocess.DEVNULL, env=env
    )
    try:
        await shop.until(lambda: _listens(f"{base}/readyz"), 30)

        url = f"{base}/v1/availability"
        status, body, headers = await asyncio.to_thread(
            _get, f"{url}?sku=LAMP&sku=RUG&channel=douyin:shop1"
        )
        many = "&".join(f"sku={'S' * 150}{n}" for n in range(200))
        wide = (await asyncio.to_thread(_get, f"{url}?{many}"))[0]
        too_many = await asyncio.to_thread(_get, f"{url}?{many}&sku=LAMP")
        nobody = await asyncio.to_thread(_get, f"{url}?sku=LAMP&channel=douyin2:shop9")
        elsewhere = (await asyncio.to_thread(_get, f"{base}/v1/other"))[0]
        figures = (await asyncio.to_thread(_get, f"{base}/metrics"))[1].decode()
        second = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=env, capture_output=True, timeout=60, check=False
        )
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 20)

    assert (status, headers["content-type"]) == (200, "application/json")
    items = json.decode(body)["items"]
    assert [(one["sku"], one["available"], one["sellable"]) for one in items] == [
        ("LAMP", 10, 7),
        ("RUG", 2, 0),
    ]
    assert (wide, too_many[0], nobody[0], elsewhere) == (200, 400, 400, 404)
    assert b"1 to 200 SKUs" in too_many[1]
    assert b"platform:shop" in nobody[1]
    assert 'orderflow_availability_requests_total{status="200"} 2.0' in figures
    assert 'orderflow_availability_skus_total{source="ledger"} 200.0' in figures
    assert code == 0
    assert second.returncode == 78
    assert b"cannot be listened on" in second.stderr


async def test_the_measurement_asks_answers_and_leaves_nothing_behind(
    house: Settings, database: Database, redis: RedisServer
):
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable, "-m", "streams.cli", "bench", "availability",
            "--seconds", "1", "--skus", "300", "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
        | {
            "ORDERFLOW_KAFKA": house.kafka,
            "ORDERFLOW_REDIS": redis.url,
            "ORDERFLOW_POSTGRES_READER": database.reader,
        },
        timeout=120,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    figures = json.decode(done.stdout.splitlines()[-1])
    assert [(load["rate"], load["skus"]) for load in figures["loads"]] == [(2000, 5), (300, 200)]
    assert all(load["answers"] > load["rate"] // 2 for load in figures["loads"])
    assert await redis.do("DBSIZE") == 0


def _listens(url: str) -> bool:
    try:
        return _get(url)[0] == 200
    except OSError:
        return False
