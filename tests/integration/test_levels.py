"""
What may be sold, told to a platform by its own API: from the stock keeper's event to its shelf.

The role queues a number a listing, the sender with the shop's credentials tells it. Of one listing
the newest number alone is told, whoever was slow, away or stopped in between.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.channel_stock import Channel, Push
from agents.deliveries import BreakerRule
from schemas.errors import ChannelUnavailable, LedgerUnavailable
from schemas.reference import Shop
from streams import roles
from streams.availability import channels
from streams.availability.levels import LevelQueue
from streams.availability.telling import ChannelRefused
from streams.delivering.store import Store
from streams.exceptions import queue
from tests.integration import shop
from tests.integration.at_the_gate import stack_settings
from tests.integration.databases import Database, database, empty
from tests.integration.receiving import all_ended, states, until
from tests.integration.selling import (
    EVENTS,
    RedisServer,
    an_installation,
    committed,
    moved,
    redis,
    refer,
    say,
    write_row,
)
from tests.integration.test_telling import QUICK, outcomes, telling
from tests.platforms.families import FAMILIES, credentials
from tests.platforms.shelves import SHELVES, Shelf
from tests.platforms.simulator import Platform

__all__ = ["database", "empty", "redis"]
pytestmark = pytest.mark.stack

SHOP = "shanjiao"
CHANNEL = Channel(f"douyin:{SHOP}", "", buffer=0)


@asynccontextmanager
async def a_platform() -> AsyncIterator[Platform]:
    async with Platform(FAMILIES["douyin"], 20261111) as there:
        there.faults.fail = there.faults.throttle = 0
        there.shelf = SHELVES["douyin"]()
        yield there


def a_shops_file(folder: Path, there: Platform, *, tells: bool = True) -> Path:
    shelf: Shelf = there.shelf
    (folder / "listings.csv").write_text(f"theirs,item,sku\nLAMP,{shelf.item},{shelf.sku}\n")
    api = {**credentials(there), "calls_per_s": 500, "calls_at_once": 50}
    lines = [f"{name} = {json.dumps(value)}" for name, value in api.items()]
    stock = ["[shops.api.stock]", 'listings = "listings.csv"'] if tells else []
    file = folder / "shops.toml"
    file.touch(0o600)
    file.write_text(
        "\n".join(
            ["[[shops]]", 'platform = "douyin"', f'shop = "{SHOP}"', "[shops.api]", *lines, *stock]
        )
    )
    return file


def a_push(version: int, quantity: int, *theirs: str) -> Push:
    return Push("LAMP", theirs or ("LAMP",), quantity, version, 9)


@asynccontextmanager
async def a_queue(database: Database) -> AsyncIterator[LevelQueue]:
    made = LevelQueue(database.callbacks)
    try:
        yield made
    finally:
        await made.close()


async def waiting(database: Database) -> list[int]:
    rows = await database.rows("SELECT body FROM deliveries WHERE state = 'waiting' ORDER BY id")
    return [json.loads(body)["quantity"] for (body,) in rows]


async def test_of_one_listing_the_newest_number_alone_waits(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there, a_queue(database) as told:
        for version, quantity in ((1, 9), (3, 7), (2, 8), (3, 6)):
            await told.push(CHANNEL, [a_push(version, quantity)])
        # An older version is late; of equal ones the last counts: a window moves no stock.
        assert await waiting(database) == [6]

        async with telling(database, a_shops_file(tmp_path, there)):
            await until(lambda: all_ended(database))

    assert there.shelf.taken == [6]
    assert await states(database) == {"cancelled": 2, "delivered": 1}


async def test_an_older_number_never_comes_after_a_newer_one_while_the_platform_is_away(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there, a_queue(database) as told:
        there.faults.down = True
        async with telling(
            database, a_shops_file(tmp_path, there), QUICK._replace(attempts_max=99)
        ):

            async def has_failed() -> bool:
                return len(await outcomes(database)) > 1

            for version in range(1, 6):
                await told.push(CHANNEL, [a_push(version, 10 - version)])
                await until(has_failed)
            there.faults.down = False
            await until(lambda: all_ended(database))
            await told.push(CHANNEL, [a_push(6, 4)])
            await until(lambda: all_ended(database))

    assert there.shelf.taken == sorted(there.shelf.taken, reverse=True)
    assert there.shelf.taken[-2:] == [5, 4]
    assert (await states(database))["cancelled"] >= 1


async def test_a_refused_number_is_parked_and_not_tried_again_once_there_is_a_newer_one(
    database: Database, tmp_path: Path
) -> None:
    async with (
        a_platform() as there,
        a_queue(database) as told,
        telling(database, a_shops_file(tmp_path, there)),
    ):
        await told.push(CHANNEL, [a_push(1, 5, "LAMP", "LAMP-GIFT")])
        await until(lambda: all_ended(database))
        [row] = (await queue.listed(database.reader, queue.Kind(stage="push"), 10)).exceptions
        assert (row["platform"], row["shop"]) == ("douyin", SHOP)
        assert "'LAMP-GIFT' a line `theirs,item,sku`" in row["reason"]

        await told.push(CHANNEL, [a_push(2, 4, "LAMP-GIFT")])
        await until(lambda: all_ended(database))
        [refused] = await queue.retry(
            stack_settings(""), database.operations, [row["id"]], "mei", "listed now"
        )

    assert there.shelf.taken == [5]
    assert (refused.outcome, "newer number" in refused.said) == ("refused", True)
    assert await states(database) == {"delivered": 1, "parked": 2}


async def test_a_number_that_is_tried_in_vain_gives_way_to_a_newer_one_and_is_not_parked(
    database: Database, tmp_path: Path
) -> None:
    """The platform is down for the last attempt of the first; the second comes meanwhile."""
    async with a_platform() as there, a_queue(database) as told:
        file = a_shops_file(tmp_path, there)
        there.faults.down = True

        async with telling(database, file, QUICK._replace(attempts_max=1)):
            there.meanwhile = lambda: None
            await told.push(CHANNEL, [a_push(1, 9)])
            await until(lambda: all_ended(database))
        assert await states(database) == {"parked": 1}

        there.faults.down = False
        async with telling(database, file):
            await told.push(CHANNEL, [a_push(2, 8)])
            await until(lambda: all_ended(database))

    assert there.shelf.taken == [8]


async def test_numbers_are_forgotten_after_a_day_and_what_a_person_has_to_see_is_not(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there, a_queue(database) as told:
        async with telling(database, a_shops_file(tmp_path, there)):
            await told.push(CHANNEL, [a_push(1, 5, "LAMP", "LAMP-GIFT")])
            await until(lambda: all_ended(database))
        await database.rows("UPDATE deliveries SET ended_at = ended_at - interval '25 hours'")
        async with Store(database.callbacks, timedelta(seconds=30), BreakerRule()) as store:
            assert await store.forget(timedelta(days=30)) == 1

    assert await states(database) == {"parked": 1}


async def test_a_queue_that_is_out_of_order_holds_up_its_own_shops_and_ends_nothing(
    database: Database,
) -> None:
    async with a_queue(database) as told:
        await rename(database, "deliveries", "elsewhere")
        await rename(database, "delivery_destinations", "elsewhere_too")
        # It is asked again, as one that is away: the other shops' way is not this one.
        with pytest.raises(ChannelUnavailable, match=r"\(42P01\)"):
            await told.push(CHANNEL, [a_push(1, 9)])
        with pytest.raises(LedgerUnavailable, match=r"\(42P01\)"):
            await told.shops()

        await rename(database, "elsewhere", "deliveries")
        await rename(database, "elsewhere_too", "delivery_destinations")
        # What it does not take is refused, so that the other listings of its shop are told.
        with pytest.raises(ChannelRefused):
            await told.push(CHANNEL, [a_push(1, 9, "LA\0MP")])
        await told.push(CHANNEL, [a_push(1, 9)])

    assert await waiting(database) == [9]


async def rename(database: Database, table: str, name: str) -> None:
    async with database.connected() as owner:
        await owner.execute(f"ALTER TABLE {table} RENAME TO {name}")


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_LOOK_WHO_S", 0.1)


@pytest.mark.usefixtures("looks_often")
async def test_a_stock_event_ends_on_the_platforms_shelf_once_a_change_of_the_number(
    settings: Any, redis: RedisServer, database: Database, tmp_path: Path
) -> None:
    async with (
        a_platform() as there,
        an_installation(
            settings, redis, postgres_reader=database.reader, postgres_callbacks=database.callbacks
        ) as house,
    ):
        # Without an address of its own it is told by its platform's API.
        await refer(house, Shop(platform="douyin", shop=SHOP, safety_buffer=2))
        made = roles.build(house, ["channel-stock"])
        async with (
            telling(database, a_shops_file(tmp_path, there)) as teller,
            shop.working(house, made, topics=EVENTS),
        ):
            await said(house, there, [(1, 10)], [8])
            await said(house, there, [(2, 10), (3, 9)], [8, 7])
            await shop.until(lambda: _all_committed(house, 3))

            # The table is taken away: nothing is queued for it any more, and it is no fault.
            a_shops_file(tmp_path, there, tells=False)
            teller.introduce_again()
            await shop.until(lambda: _is_told(database, told=False))
            await shop.until(lambda: not list(made[0]._parts._channels.all()))
            await say(house, moved("LAMP", 4, 5))
            await shop.until(lambda: _all_committed(house, 4))

            # It is back, and is told of what moved meanwhile: the ledger knows.
            await write_row(database, "LAMP", 4, 5)
            a_shops_file(tmp_path, there)
            teller.introduce_again()
            await shop.until(lambda: there.shelf.taken == [8, 7, 3])

    assert await states(database) == {"delivered": 3}


async def said(
    house: Any, there: Platform, moves: list[tuple[int, int]], wanted: list[int]
) -> None:
    await say(house, *(moved("LAMP", version, available) for version, available in moves))
    await shop.until(lambda: there.shelf.taken == wanted)


async def _is_told(database: Database, *, told: bool) -> bool:
    rows = await database.rows("SELECT standing FROM delivery_destinations WHERE kind = 'stock'")
    return rows == [("active" if told else "gone",)]


async def _all_committed(house: Any, number: int) -> bool:
    return await committed(house, "channel-stock") == number
