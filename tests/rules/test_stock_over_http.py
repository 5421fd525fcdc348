"""Every platform that takes a number is told it over real HTTP; the others say why they are not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from msgspec import json

from agents.channel_stock import Channel, Level, Push, level_in, levels_of
from agents.shipments import Attempt, Told
from streams.clients import CLIENTS
from streams.clients.caller import Caller, CallRule
from streams.clients.calls import Access, Listing, Rate
from streams.clients.pacing import BreakerRule, RetryRule
from streams.clients.stocking import Stocker
from tests.platforms.families import FAMILIES, SECRET, TOKEN, credentials
from tests.platforms.shelves import SHELVES, Shelf
from tests.platforms.simulator import Platform

SEED = 20261111
FAST = Rate(per_s=2000, burst=2000, stated="a test")
RULE = CallRule(
    RetryRule(attempts_max=5, first_wait_s=9.0, wait_max_s=9.0), BreakerRule(after=3, for_s=60), 5.0
)


class Bench:
    """One shop with one listing, its platform, and the way out to it."""

    def __init__(self, there: Platform, shelf: Shelf, **access: Any) -> None:
        self.there, self.shelf = there, shelf
        self.platform = there.family.platform
        self.caller = Caller(RULE, dice=Random(SEED))
        made = Access(
            platform=self.platform,
            shop="s",
            rate=FAST,
            tells_stock=True,
            **credentials(there)
            | {"listings": {"L-1": Listing(shelf.item, shelf.sku)}, "place": shelf.place}
            | access,
        )
        account = CLIENTS[self.platform], made
        self.stocker = Stocker(lambda _, shop: account if shop == "s" else None, self.caller)

    async def tell(self, quantity: int, **more: Any) -> Attempt:
        said = {"shop": "s", "theirs": "L-1", "version": 1} | more
        return await self.stocker.attempt(
            Level(platform=self.platform, sku="LAMP", quantity=quantity, at_ms=1, **said)
        )


@asynccontextmanager
async def a_bench(platform: str, **access: Any) -> AsyncIterator[Bench]:
    shelf = SHELVES[platform]()
    async with Platform(FAMILIES[platform], SEED) as there:
        there.faults.fail = there.faults.throttle = 0
        there.shelf = shelf
        bench = Bench(there, shelf, **access)
        try:
            yield bench
        finally:
            await bench.caller.close()


@pytest.mark.parametrize("platform", SHELVES)
async def test_the_number_is_the_one_that_was_said_whatever_was_there(platform: str) -> None:
    async with a_bench(platform) as bench:
        attempts = [await bench.tell(quantity) for quantity in (12, 0, 12, 12)]

        assert attempts == [Attempt(Told.TAKEN)] * 4
        assert bench.shelf.taken == [12, 0, 12, 12]


@pytest.mark.parametrize("platform", SHELVES)
async def test_an_answer_that_was_lost_does_no_harm(platform: str) -> None:
    async with a_bench(platform) as bench:
        if platform != "xiaohongshu":  # what it is asked first is asked by POST too
            bench.there.lose_answers = 1
            assert (await bench.tell(5)).told is Told.AWAY
        again = await bench.tell(5)

        assert again == Attempt(Told.TAKEN)
        assert set(bench.shelf.taken) == {5}


@pytest.mark.parametrize("platform", SHELVES)
async def test_a_listing_the_platform_does_not_have_is_refused_in_its_words(platform: str) -> None:
    unknown = {"L-1": Listing("404" if SHELVES[platform].item else "", "404")}
    async with a_bench(platform, listings=unknown) as bench:
        attempt = await bench.tell(5)

        assert attempt.told is Told.REFUSED
        assert "L-1 = 5" in attempt.why
        if platform != "woocommerce":
            assert "unknown" in attempt.why
        assert bench.shelf.taken == []


@pytest.mark.parametrize("platform", SHELVES)
async def test_a_throttled_platform_is_told_later_and_one_that_is_down_too(platform: str) -> None:
    async with a_bench(platform) as bench:
        bench.there.faults.throttle = 1.0
        throttled = await bench.tell(5)
        assert len(bench.there.calls) == 1, "another attempt is the queue's to make"
        bench.there.faults.down = True
        down = [await bench.tell(5) for _ in range(4)]

        assert throttled.told is Told.LATER
        assert {attempt.told for attempt in down} == {Told.AWAY}
        assert "left alone" in down[-1].why
        assert bench.shelf.taken == []


@pytest.mark.parametrize("platform", SHELVES)
async def test_credentials_that_are_refused_are_a_persons_to_renew_and_no_secret_is_said(
    platform: str,
) -> None:
    async with a_bench(platform) as bench:
        bench.there.faults.locked = True
        attempt = await bench.tell(5)

        assert attempt.told is Told.DENIED
        assert SECRET not in attempt.why
        assert TOKEN not in attempt.why


@pytest.mark.parametrize("platform", sorted(set(SHELVES) - {"shopify", "woocommerce", "amazon"}))
async def test_a_wrong_signature_changes_nothing(platform: str) -> None:
    async with a_bench(platform, app_secret="another") as bench:  # noqa: S106  opens nothing
        assert (await bench.tell(5)).told is Told.DENIED
        assert bench.shelf.taken == []


@pytest.mark.parametrize("platform", SHELVES)
async def test_what_nobody_has_said_the_ids_of_is_refused_without_a_call(platform: str) -> None:
    async with a_bench(platform, listings={}) as bench:
        attempt = await bench.tell(5)

        stocks: Any = CLIENTS[platform].stocks
        if stocks.needs_item:
            assert attempt.told is Told.REFUSED
            assert "`theirs,item,sku`" in attempt.why
            assert bench.there.calls == []
        else:
            assert "unknown" in attempt.why, "the mapping's word is the platform's SKU"


@pytest.mark.parametrize("platform", SHELVES)
async def test_an_item_without_variants_is_told_by_its_own_id_where_that_can_be(
    platform: str,
) -> None:
    async with a_bench(platform, listings={"L-1": Listing("799", "")}) as bench:
        attempt = await bench.tell(5)

        stocks: Any = CLIENTS[platform].stocks
        assert attempt.told is Told.REFUSED, "the shelf has none"
        assert bool(bench.there.calls) is stocks.whole_items


@pytest.mark.parametrize("platform", sorted(set(FAMILIES) - set(SHELVES)))
async def test_a_platform_whose_call_nobody_has_confirmed_is_not_called(platform: str) -> None:
    async with Platform(FAMILIES[platform], SEED) as there:
        access = Access(platform=platform, shop="s", rate=FAST, **credentials(there))
        caller = Caller(RULE)
        stocker = Stocker(lambda *_: (CLIENTS[platform], access), caller)
        level = Level(
            platform=platform, shop="s", sku="LAMP", theirs="1", quantity=1, version=1, at_ms=1
        )
        attempt = await stocker.attempt(level)
        await caller.close()

        assert attempt == Attempt(Told.REFUSED, CLIENTS[platform].stocks)  # type: ignore[arg-type]
        assert there.calls == []


async def test_a_shop_nobody_has_credentials_of_is_refused_with_what_to_do() -> None:
    async with a_bench("pdd") as bench:
        attempt = await bench.tell(5, shop="t")

        assert attempt.told is Told.REFUSED
        assert "[shops.api]" in attempt.why


def test_every_client_that_takes_a_number_has_a_shelf_and_the_other_way_round() -> None:
    told = {name for name, client in CLIENTS.items() if not isinstance(client.stocks, str)}

    assert told == set(SHELVES) | {"tmall"}


def test_a_push_is_a_level_for_each_listing_and_comes_out_of_the_queue_as_it_went_in() -> None:
    channel = Channel("douyin:shop:1", "", buffer=0)
    levels = levels_of(channel, [Push("LAMP", ("L-1", "L-2"), 8, 4, 9)])

    assert [(each.platform, each.shop, each.theirs, each.quantity) for each in levels] == [
        ("douyin", "shop:1", "L-1", 8), ("douyin", "shop:1", "L-2", 8),
    ]  # fmt: skip
    assert [level_in(json.encode(each)) for each in levels] == levels
