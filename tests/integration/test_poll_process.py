"""
Gateway, poller and platforms over real HTTP, on the real broker and PostgreSQL.

Of the webhooks 1 % are dropped and 2 % come twice, of the calls 5 % fail, orders change all the
time: the newest version of every order has to be on its raw topic, byte for byte.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import aiohttp
import pytest

from tests.integration.at_the_gate import a_gate, records
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.polling import SHOP, Ground, some_ground, until
from tests.platforms.families import FAMILIES
from tests.platforms.simulator import Platform
from tests.platforms.webhooks import HOOKS, Pusher

pytestmark = pytest.mark.stack

SEED = 7
HOUR_MS = 3_600_000


async def platforms(stack: AsyncExitStack, *names: str, orders: int = 100) -> list[Platform]:
    opened = [await stack.enter_async_context(Platform(FAMILIES[name], SEED)) for name in names]
    for there in opened:
        there.fill(orders, HOUR_MS)
    return opened


def metric(port: int, start: str) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(start)
    }


async def test_t40_every_order_arrives_though_webhooks_are_dropped_and_calls_fail(
    database: Database, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        there = await platforms(stack, "shopify", "tiktokshop", "shopee", "taobao")
        ground.open(there)
        gate = stack.enter_context(a_gate(ground.settings, ground.shops, tmp_path / "gate.log"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pushers = [
            Pusher(each, f"{gate.url}/v1/webhooks/{each.family.platform}/{SHOP}")
            for each in there
            if each.family.platform in HOOKS
        ]
        with ground.polling() as polled:
            for number in range(101, 161):
                for each, pusher in zip(there, pushers, strict=False):
                    await pusher.push(session, each.place(number, each.now_ms()))
                    await pusher.push(session, each.change_one())
                there[-1].place(number, there[-1].now_ms())
                there[-1].change_one()
                await asyncio.sleep(0.02)
            await ground.until_all_arrived(there)
            counted = metric(polled.port, "orderflow_poll_orders_total")
            took = polled.end()

    assert sum(pusher.dropped for pusher in pushers) > 0
    assert sum(pusher.doubled for pusher in pushers) > 0
    outcomes = [Counter(each.outcomes) for each in there]
    failed = sum(
        sum(each[kind] for kind in ("500", "malformed", "broken", "hang")) for each in outcomes
    )
    assert failed > 5, outcomes
    # Thin pushes were completed one by one, and the rest came by the poll.
    assert any('way="fetch"' in name and "tiktokshop" in name for name in counted)
    assert any('way="fetch"' in name and "shopee" in name for name in counted)
    assert not any('way="fetch"' in name and "shopify" in name for name in counted)
    assert took < 5
    assert await database.value("SELECT count(*) FROM poll_fetches") == 0


async def test_a_poller_that_is_killed_in_the_middle_loses_nothing(
    database: Database, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        there = await platforms(stack, "taobao", "tiktokshop", "pdd", orders=150)
        ground.open(there)
        for killed_at in (60, 130, 320):
            with ground.polling() as polled:
                ask = partial(_fewer_calls, there, killed_at)
                await until(ask, 30, lambda _: polled.log.read_text())
                polled.kill()
            through = dict(await database.rows("SELECT platform, through FROM poll_cursors"))
            # Whatever lies before a cursor is on the topic already, each time it is killed.
            for each in there:
                at = through.get(each.family.platform)
                if at is not None:
                    before = {
                        o.id for o in each.orders.values() if o.modified_ms < at.timestamp() * 1000
                    }
                    assert not (await ground.missing(each)) & before
        with ground.polling():
            await ground.until_all_arrived(there)


async def _fewer_calls(there: list[Platform], count: int) -> bool:
    return sum(len(each.calls) for each in there) < count


async def test_a_name_that_waited_while_nobody_listened_is_fetched_and_not_forgotten(
    database: Database, tmp_path: Path
) -> None:
    """The process dies between the push and the fetch: the name is on its topic or in the table."""
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        (there,) = await platforms(stack, "tiktokshop", orders=0)
        there.faults.fail = there.faults.throttle = 0
        # Nothing is old enough to be listed, so only a fetch can bring it.
        ground.open([there], tiktokshop={"every": "PT1H"})
        gate = stack.enter_context(a_gate(ground.settings, ground.shops, tmp_path / "gate.log"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pusher = Pusher(there, f"{gate.url}/v1/webhooks/tiktokshop/{SHOP}", drop=0, twice=1)
        with ground.polling() as polled:
            await until(lambda: _answers_not(polled.port, 200), 20, lambda _: "never ready")
            await pusher.push(session, there.place(1, there.now_ms()))
            await ground.until_all_arrived([there])
            there.faults.down = True
            await pusher.push(session, there.place(2, there.now_ms()))
            ask = partial(_fewer_tries, there, 3)
            await until(ask, 20, lambda _: polled.log.read_text())
            polled.kill()
        assert await _anybody_waits(database)
        await pusher.push(session, there.place(3, there.now_ms()))
        there.faults.down = False
        with ground.polling():
            await ground.until_all_arrived([there])
            # A second try of a call that failed comes after up to 24 s.
            await until(lambda: _anybody_waits(database), 90, lambda _: "still waiting")


async def _anybody_waits(database: Database) -> bool:
    return bool(await database.value("SELECT count(*) FROM poll_fetches"))


async def _fewer_tries(there: Platform, count: int) -> bool:
    return there.outcomes.get("down", 0) < count


async def test_a_shop_whose_credentials_are_refused_is_told_and_the_others_go_on(
    database: Database, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        there = await platforms(stack, "shopify", "taobao", orders=20)
        for each in there:
            each.faults.fail = each.faults.throttle = 0
        there[0].faults.locked = True
        ground.open(there)

        said = json.loads(
            (await ground.ran("poll", "--once", "--json", code=1)).strip().splitlines()[-1]
        )

        by_shop = {shop["platform"]: shop for shop in said["shops"]}
        assert not said["ok"]
        assert by_shop["shopify"]["ended"] == "denied"
        assert "credentials" in by_shop["shopify"]["why"]
        assert "access-token" not in json.dumps(said)
        assert by_shop["taobao"] | {"through": 0} == {
            "platform": "taobao", "shop": SHOP, "ended": "done", "orders": 20,
            "windows": by_shop["taobao"]["windows"], "through": 0, "why": "",
            "subscriptions": None,
        }  # fmt: skip
        assert not await ground.missing(there[1])

        # As a process: it is told on /readyz, and goes on by itself when the token is taken again.
        with ground.polling() as polled:
            await until(lambda: _answers_not(polled.port, 503), 20, lambda _: "never said so")
            there[0].faults.locked = False
            await until(lambda: _answers_not(polled.port, 200), 20, lambda _: "never ready")
        assert not await ground.missing(there[0])


async def _answers_not(port: int, status: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status != status
    except aiohttp.ClientError:
        return True


async def test_a_broker_that_is_away_moves_no_cursor(database: Database, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        there = await platforms(stack, "shopify", orders=5)
        ground.open(there)
        nowhere = Ground(
            ground.settings, ground.env | {"ORDERFLOW_KAFKA": "127.0.0.1:1"}, ground.folder
        )

        said = json.loads(
            (await nowhere.ran("poll", "--once", "--json", code=1)).strip().splitlines()[-1]
        )

        assert said["shops"][0]["ended"] == "ours_away"
        assert await database.value("SELECT count(*) FROM poll_cursors") == 0


async def test_a_subscription_that_the_platform_took_away_is_told(
    database: Database, tmp_path: Path
) -> None:
    """In the answer of one turn, and as a figure of the process."""
    async with AsyncExitStack() as stack:
        env = {"ORDERFLOW_POLLING_SUBSCRIPTIONS_EVERY": "PT0.3S"}
        ground = await stack.enter_async_context(some_ground(database, tmp_path, **env))
        there = await platforms(stack, "shopify", "tiktokshop", "woocommerce", orders=1)
        for each in there:
            each.faults.fail = each.faults.throttle = 0
        # Nobody awaits pushes of the third, which has no secret here.
        ground.open(there)
        del there[0].subscribed["orders/updated"]

        said = json.loads((await ground.ran("poll", "--once", "--json")).strip().splitlines()[-1])

        assert {shop["platform"]: shop["subscriptions"] for shop in said["shops"]} == {
            "shopify": {"health": "gaps", "gaps": {"orders/updated": "missing"}, "why": ""},
            "tiktokshop": {"health": "fine", "gaps": {}, "why": ""},
            "woocommerce": None,
        }
        assert "orders/updated is missing" in await ground.ran("poll", "--once")
        with ground.polling() as polled:
            await until(lambda: _missing_is_not(polled.port, 1.0), 60, str)
            there[0].subscribed["orders/updated"] = ""
            await until(lambda: _missing_is_not(polled.port, 0.0), 60, str)
            assert "orders/updated is missing" in polled.log.read_text()


async def _missing_is_not(port: int, count: float) -> dict[str, float] | None:
    try:
        found = await asyncio.to_thread(metric, port, "orderflow_poll_subscriptions_missing")
    except OSError:
        return {"nobody answers": 0}
    shopify = [value for name, value in found.items() if "shopify" in name]
    return None if shopify == [count] else found or {"no figure": 0}


async def test_a_command_says_how_far_shops_were_read_and_what_waits(
    database: Database, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        there = await platforms(stack, "shopee", "taobao", orders=5)
        for each in there:
            each.faults.fail = each.faults.throttle = 0
        ground.open(there)
        await database.rows(
            "INSERT INTO poll_fetches (platform, shop, order_id) VALUES ('taobao', 's', '1')"
            " RETURNING 1"
        )

        await ground.ran("poll", "--once", "--only", "shopee")
        facts = json.loads(await ground.ran("poll", "--status", "--json"))

        assert [row["platform"] for row in facts["cursors"]] == ["shopee"]
        assert [(row["platform"], row["waiting"]) for row in facts["fetches"]] == [("taobao", 1)]
        assert "To be fetched" in await ground.ran("poll", "--status")
        assert "No shop jd" in await ground.ran("poll", "--once", "--only", "jd", code=78)
        # Nothing of it is keyed otherwise than a webhook of the same order would be.
        (keys,) = {
            tuple(
                sorted(record.key.decode() for record in await records(ground.settings, "shopee"))
            )
        }
        assert set(keys) == set(there[0].orders)


async def test_an_order_that_cannot_be_fetched_is_an_exception_and_is_retried_as_one(
    database: Database, tmp_path: Path
) -> None:
    """Named by a push, and the platform does not give it: parked whole, that is by its name."""
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(some_ground(database, tmp_path))
        (there,) = await platforms(stack, "shopee", orders=0)
        there.faults.fail = there.faults.throttle = 0
        ground.open([there], shopee={"every": "PT1H"})
        gone = there.place(1, there.now_ms())
        id_ = f"fetch/shopee:{SHOP}:{gone.id}/0/0"
        del there.orders[gone.id]
        gate = stack.enter_context(a_gate(ground.settings, ground.shops, tmp_path / "gate.log"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pusher = Pusher(there, f"{gate.url}/v1/webhooks/shopee/{SHOP}", drop=0, twice=0)
        stack.enter_context(ground.worker("ledger"))
        polled = stack.enter_context(ground.polling())
        await until(lambda: _answers_not(polled.port, 200), 60, lambda _: "never ready")

        await pusher.push(session, gone)
        await until(lambda: _attempts_are_not(database, id_, 1), 60, str)
        (row,) = json.loads(await ground.ran("exceptions", "list", "--json"))["exceptions"]
        assert (row["id"], row["stage"], row["cause"]) == (id_, "fetch", "not_fetched")
        assert row["reason"] == "the platform does not give the order whole"
        assert not await _anybody_waits(database)
        assert 'orderflow_poll_orders_left_total{platform="shopee",shop="s"}' in metric(
            polled.port, "orderflow_poll_orders_left"
        )

        # Tried again in vain: the same exception, seen twice.
        await ground.ran("exceptions", "retry", id_, "--reason", "let us see", "--operator", "mei")
        await until(lambda: _attempts_are_not(database, id_, 2), 60, str)
        right = tmp_path / "right.json"
        right.write_text("{}")
        refused = await ground.ran(
            "exceptions", "edit", "--json", id_, str(right), "--reason", "x", code=1
        )
        assert "only a platform's message" in json.loads(refused)["messages"][0]["said"]
        # There now: it is fetched, once, and the exception is settled.
        there.orders[gone.id] = gone
        for outcome in ("retried", "settled before"):
            told = await ground.ran(
                "exceptions", "retry", "--json", id_, "--reason", "back", "--operator", "mei"
            )
            assert json.loads(told)["counts"] == {outcome: 1}
        await ground.until_all_arrived([there])
        assert (await ground.bodies("shopee")).count(gone.body) == 1
        assert not await database.value("SELECT count(*) FROM parked WHERE settled_at IS NULL")


async def _attempts_are_not(database: Database, id_: str, count: int) -> str:
    """What is open under *id_*, if it was not met *count* times."""
    rows = await database.rows(
        "SELECT attempts FROM parked WHERE id = $1 AND settled_at IS NULL", id_
    )
    return "" if rows == [(count,)] else f"{id_}: {rows}"


async def test_the_poller_may_write_what_it_remembers_and_nothing_else(database: Database) -> None:
    import asyncpg  # noqa: PLC0415

    async with database.connected("poller") as connection:
        for statement in (
            "INSERT INTO orders (order_key) VALUES ('x')",
            "UPDATE stock SET available = 1",
            "SELECT * FROM order_details",
            "SELECT * FROM orders",
            "SELECT total_minor FROM orders",
            "DELETE FROM poll_cursors",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    async with database.connected("ledger") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM poll_fetches")


async def test_a_cursor_never_moves_back(database: Database) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    from streams.polling.store import Store  # noqa: PLC0415
    from streams.settings import Settings  # noqa: PLC0415

    store = Store(Settings(kafka="k", postgres_poller=SecretStr(database.poller)))
    try:
        for through_ms in (2_000, 1_000):
            await store.move("taobao", "s", through_ms)

        assert await store.cursor("taobao", "s") == 2_000

        await store.want([("taobao", "s", "1"), ("taobao", "s", "1")])
        (before,) = await store.due("taobao", "s", 10)
        await store.want([("taobao", "s", "1")])
        await store.done("taobao", "s", [before])

        # It was named again while it was being fetched.
        assert [each.order_id for each in await store.due("taobao", "s", 10)] == ["1"]
    finally:
        await store.close()
