"""
Every client against its platform over real HTTP: pages, errors, throttling, orders that change.

No broker and no database: what would go onto the topic goes into a list. The whole chain with both
is in tests/integration/test_poll_*.py.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from msgspec import msgpack

from agents.letters import PREFIX
from schemas.parked import Cause, Parked, Stage
from streams.clients import CLIENTS
from streams.clients.caller import Caller, CallRule
from streams.clients.calls import Access, Gap, Rate, Subscription
from streams.clients.pacing import BreakerRule, RetryRule, State
from streams.polling.accounts import Account
from streams.polling.leaving import Named, named_by
from streams.polling.metrics import Metrics
from streams.polling.poller import Asker, Ended, Poller, TurnRule
from streams.polling.subscribing import Checked, Health, check
from tests.platforms.families import FAMILIES, credentials
from tests.platforms.simulator import Pace, Platform

SEED = 20260401
HOUR_MS = 3_600_000
FAST = Rate(per_s=2000, burst=2000, stated="a test")
RULE = CallRule(
    RetryRule(attempts_max=5, first_wait_s=0.005, wait_max_s=1.0),
    BreakerRule(after=10, for_s=0.2),
    0.4,
)
#: By then every family lists what has happened.
LATER_MS = 240_000


class Topic:
    """What the door put on it, in order; refuses while *closed*."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        #: Orders that were left to a person.
        self.left: list[Parked] = []

    async def put(self, platform: str, shop: str, payload: bytes) -> None:
        self.records.append(payload)

    async def send(self, topic: str, key: bytes, value: bytes) -> None:
        assert topic == "parked"
        parked = msgpack.decode(value[PREFIX.size :], type=Parked)
        assert key == parked.id.encode()
        self.left.append(parked)

    def missing(self, there: Platform) -> set[str]:
        return {key for key, body in there.latest().items() if body not in set(self.records)}


class Memory:
    """The store's cursors, in memory."""

    def __init__(self) -> None:
        self.through: dict[tuple[str, str], int] = {}

    async def cursor(self, platform: str, shop: str) -> int | None:
        return self.through.get((platform, shop))

    async def move(self, platform: str, shop: str, through_ms: int) -> None:
        self.through[platform, shop] = through_ms


class Bench:
    """One shop, its platform, and everything between them."""

    def __init__(self, there: Platform, rule: CallRule, rate: Rate | None) -> None:
        platform = there.family.platform
        access = Access(platform=platform, shop="s", rate=rate, **credentials(there))
        self.there, self.topic, self.memory = there, Topic(), Memory()
        self.metrics = Metrics()
        self.caller = Caller(rule, self.metrics.call, Random(SEED))
        account = Account(client=CLIENTS[platform], access=access)
        door: Any = self.topic
        store: Any = self.memory
        self.asker = Asker(account, self.caller, door, self.metrics)
        rule_ = TurnRule(overlap_ms=HOUR_MS // 6, first_ms=2 * HOUR_MS)
        self.poller = Poller(self.asker, store, rule_, there.now_ms)

    async def until_done(self, turns: int = 20) -> None:
        for _ in range(turns):
            if (await self.poller.turn()).ended is Ended.DONE:
                return
        pytest.fail(f"not done in {turns} turns: {self.there.outcomes}")


@asynccontextmanager
async def a_bench(
    platform: str, *, rule: CallRule = RULE, rate: Rate | None = FAST
) -> AsyncIterator[Bench]:
    async with Platform(FAMILIES[platform], SEED) as there:
        bench = Bench(there, rule, rate)
        try:
            yield bench
        finally:
            await bench.caller.close()


@pytest.mark.parametrize("platform", FAMILIES)
async def test_every_orders_latest_version_arrives_although_calls_fail_and_orders_change(
    platform: str,
):
    async with a_bench(platform) as bench:
        there = bench.there
        there.fill(150, HOUR_MS)
        calls = iter(range(10_000))
        there.meanwhile = lambda: (next(calls) % 7 or there.change_one()) and None
        await bench.until_done()
        there.meanwhile = lambda: None
        there.ahead_ms += LATER_MS
        await bench.until_done()

    assert not bench.topic.missing(there)
    assert not bench.topic.left
    assert there.outcomes["fine"] > 1


@pytest.mark.parametrize("platform", FAMILIES)
async def test_credentials_that_are_refused_end_the_turn_and_move_no_cursor(platform: str):
    async with a_bench(platform) as bench:
        there = bench.there
        there.faults.fail = there.faults.throttle = 0
        there.faults.locked = True
        there.fill(3, HOUR_MS)
        turn = await bench.poller.turn()
        calls = len(there.calls)

        assert (turn.ended, turn.through_ms) == (Ended.DENIED, None)
        assert calls == 1
        assert not bench.memory.through
        assert "app-secret" not in turn.why
        assert "access-token" not in turn.why

        there.faults.locked = False
        await bench.until_done()
        assert not bench.topic.missing(there)


async def test_orders_that_leave_a_page_while_it_is_read_are_not_passed_over():
    """Shopee's cursor counts orders: what changes moves the rest up, and one would be skipped."""
    async with a_bench("shopee") as bench:
        there = bench.there
        there.faults.fail = there.faults.throttle = 0
        there.fill(300, HOUR_MS)
        unread = iter(sorted(there.orders.values(), key=lambda order: order.modified_ms))
        there.meanwhile = lambda: there.change(next(unread).id) and None
        turn = await bench.poller.turn()
        there.meanwhile = lambda: None

        # The first turn alone, without what its end may not have seen yet.
        changed = {order.id for order in there.orders.values() if order.version > 1}
        assert turn.ended is Ended.DONE
        assert bench.topic.missing(there) <= changed
        there.ahead_ms += LATER_MS
        await bench.until_done()
        assert not bench.topic.missing(there)


@pytest.mark.parametrize("platform", ["taobao", "pdd", "jd", "douyin", "woocommerce"])
async def test_numbered_pages_lose_nothing_when_every_call_changes_an_order(platform: str):
    async with a_bench(platform) as bench:
        there = bench.there
        there.faults.fail = there.faults.throttle = 0
        # All in one second of one window, so that there are many pages of it.
        there.fill(450, 1)
        oldest = iter(sorted(there.orders))
        there.meanwhile = lambda: there.change(next(oldest)) and None
        turn = await bench.poller.turn()
        there.meanwhile = lambda: None

        changed = {order.id for order in there.orders.values() if order.version > 1}
        assert turn.ended is Ended.DONE
        assert bench.topic.missing(there) <= changed


async def test_an_order_that_is_listed_and_not_given_is_left_to_a_person_and_stops_nothing():
    async with a_bench("shopee") as bench:
        there = bench.there
        there.faults.fail = there.faults.throttle = 0
        there.fill(5, HOUR_MS)
        gone = there.family.id_of(3)
        listed = there.between
        ghost = there.orders[gone]

        def between(from_ms: int, to_ms: int) -> Sequence[Any]:
            return [*listed(from_ms, to_ms), ghost][:6]

        del there.orders[gone]
        there.between = between
        turn = await bench.poller.turn()

        assert turn.ended is Ended.DONE
        (left,) = bench.topic.left
        assert (left.stage, left.cause) == (Stage.FETCH, Cause.NOT_FETCHED)
        assert left.reason == "the platform lists it and does not give it"
        assert named_by(left.value) == Named("shopee", "s", gone)
        assert not bench.topic.missing(there)


async def test_a_shop_is_never_asked_faster_than_its_rate():
    rate = Rate(per_s=40, burst=5, stated="a test")
    async with a_bench("taobao", rate=rate) as bench:
        bench.there.faults.fail = bench.there.faults.throttle = 0
        bench.there.fill(60, HOUR_MS)
        began = time.monotonic()
        turn = await bench.poller.turn()
        took = time.monotonic() - began

        assert turn.ended is Ended.DONE
        calls = bench.there.calls
        assert len(calls) > 60
        assert not Pace(rate.per_s, rate.burst, calls).too_many()
        # So the bucket and nothing else held it back.
        assert took >= (len(calls) - rate.burst) / rate.per_s * 0.95


async def test_a_platform_that_is_down_is_left_alone_for_a_while_and_then_asked_again():
    async with a_bench("shopify") as bench:
        there, caller = bench.there, bench.caller
        there.faults.fail = there.faults.throttle = 0
        there.fill(5, HOUR_MS)
        host = there.url.removeprefix("http://")
        there.faults.down = True

        first, second = await bench.poller.turn(), await bench.poller.turn()
        asked = len(there.calls)
        third = await bench.poller.turn()

        assert {first.ended, second.ended, third.ended} == {Ended.AWAY}
        assert caller.breakers()[host] is State.OPEN
        # Ten failures open it; while it is open nobody is asked.
        assert asked == len(there.calls) == 10
        assert "left alone" in third.why

        there.faults.down = False
        time.sleep(0.25)  # noqa: ASYNC251  the breaker's pause, and nothing else runs
        assert caller.breakers()[host] is State.HALF_OPEN
        assert (await bench.poller.turn()).ended is Ended.DONE
        assert caller.breakers()[host] is State.CLOSED
        assert not bench.topic.missing(there)


async def test_a_platform_that_wants_a_long_pause_gets_it():
    async with a_bench("shopify") as bench:
        there = bench.there
        there.faults.fail, there.faults.throttle = 0, 1
        there.family.throttled, kept = _an_hour(there), there.family.throttled
        try:
            turn = await bench.poller.turn()
            again = await bench.poller.turn()
        finally:
            there.family.throttled = kept

        assert turn.ended is Ended.AWAY
        assert "wait longer" in turn.why
        assert again.ended is Ended.AWAY
        assert "left alone for 3" in again.why
        assert len(there.calls) == 1


def _an_hour(there: Platform) -> Any:
    from aiohttp import web  # noqa: PLC0415

    return lambda: web.Response(status=429, headers={"Retry-After": "3600"})


async def test_a_redirect_is_not_followed_with_the_shops_token():
    from aiohttp import web  # noqa: PLC0415

    async with a_bench("shopify") as bench:
        there = bench.there
        there.faults.fail, there.faults.throttle = 0, 1
        kept = there.family.throttled
        there.family.throttled = lambda: web.Response(
            status=302, headers={"Location": f"{there.url}/elsewhere"}
        )
        try:
            turn = await bench.poller.turn()
        finally:
            there.family.throttled = kept

        assert turn.ended is Ended.REFUSED
        assert len(there.calls) == 1


# --- what a platform pushes -----------------------------------------------------------------------

TELLING = sorted(name for name, client in CLIENTS.items() if client.subscriptions is not None)


async def asked(bench: Bench) -> Checked:
    return await check(bench.asker.account, bench.caller, bench.metrics)


def figure(bench: Bench) -> float | None:
    name = "orderflow_poll_subscriptions_missing"
    labels = {"platform": bench.there.family.platform, "shop": "s"}
    return bench.metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("platform", TELLING)
async def test_what_a_platform_pushes_is_asked_and_what_it_took_away_is_told(platform: str):
    async with a_bench(platform) as bench:
        there = bench.there
        there.faults.fail = there.faults.throttle = 0
        needs = CLIENTS[platform].subscriptions.needs

        assert await asked(bench) == Checked(health=Health.FINE)
        assert figure(bench) == 0
        # Others that it pushes too are none of ours.
        assert set(needs) <= set(there.subscribed)

        del there.subscribed[needs[-1]]
        gone = await asked(bench)
        assert gone == Checked(health=Health.GAPS, gaps=(Gap(needs[-1], "missing"),))
        assert gone.sentence == f"{needs[-1]} is missing"
        assert figure(bench) == 1

        there.faults.locked = True
        unknown = await asked(bench)
        assert (unknown.health, unknown.gaps) == (Health.UNKNOWN, ())
        assert "access-token" not in unknown.sentence
        # What is not known changes no figure.
        assert figure(bench) == 1


@pytest.mark.parametrize(
    ("platform", "word"), [("woocommerce", "disabled"), ("shopee", "Suspended")]
)
async def test_what_a_platform_has_disabled_is_told_in_its_own_word(platform: str, word: str):
    async with a_bench(platform) as bench:
        bench.there.faults.fail = bench.there.faults.throttle = 0
        first = CLIENTS[platform].subscriptions.needs[0]
        bench.there.subscribed[first] = word

        assert (await asked(bench)).gaps == (Gap(first, word),)


def test_one_of_two_webhooks_of_a_topic_is_enough():
    rule = CLIENTS["woocommerce"].subscriptions
    found = [
        Subscription("order.created", "disabled"), Subscription("order.created"),
        Subscription("order.updated"), Subscription("order.updated", "paused"),
    ]  # fmt: skip

    assert rule.gaps(found) == []
