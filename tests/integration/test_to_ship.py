"""The list of what can go, on the real PostgreSQL, whoever writes what in whatever order."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from alembic import command

from streams.postgres import schema
from streams.postgres.ledger import keep_to_ship
from streams.postgres.queries import sql
from streams.reads import Reads
from tests.integration.databases import Database, database, empty  # noqa: F401

pytestmark = pytest.mark.stack

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LIST = "SELECT order_key, warehouse, since FROM orders_to_ship ORDER BY 1, 2"
EVERYTHING = (None, "", None, None, None, None, None, 100)
#: What an order may say, so that about every second one can go.
STATUSES = ("PAID", "PAID", "PAID", "PARTIALLY_SHIPPED", "PENDING_PAYMENT", "SHIPPED", None)
RESERVATIONS = ("reserved", "reserved", "reserved", "asking", "partial")
REFUNDS = (None, "NONE", "NONE", "PARTIALLY_REFUNDED", "REFUNDING", "REFUNDED")
BUCKETS = ("occupied", "occupied", "occupied", "locked")
SKUS = ("LAMP", "RUG@ningbo", "RUG@hangzhou", "VASE@ningbo", "LAMPS", "LAMP@ningbo")


async def put_order(connection: Any, number: int, **said: Any) -> str:
    """Write an order as the ledger might, whatever it said before."""
    key = f"mall:main:{number}"
    row = {
        "status": "PAID", "reservation": "reserved", "refund": "NONE", "open_case": None,
        "paid_at": NOW + timedelta(minutes=number),
    } | said  # fmt: skip
    await connection.execute(
        "INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,"
        " ignored, first_received_at, first_written_at, written_at, received_at,"
        " status, reservation, refund, open_case, paid_at)"
        " VALUES ($1, 1, 63, $2, 'mall', 'main', $3, 0, $2, $2, $2, $2, $4, $5, $6, $7, $8)"
        " ON CONFLICT (order_key) DO UPDATE SET status = $4, reservation = $5, refund = $6,"
        " open_case = $7, paid_at = $8",
        key, NOW, str(number), *row.values(),
    )  # fmt: skip
    return key


async def put_hold(
    connection: Any, key: str, sku: str, bucket: str = "occupied", *, ended: bool = False
) -> None:
    await connection.execute(
        "INSERT INTO holds (order_key, sku, version, bucket, quantity, changed_at, verb, moves,"
        " ended_at) VALUES ($1, $2, 1, $3, 1, $4, 'hold', '1', $5)"
        " ON CONFLICT (order_key, sku) DO UPDATE SET bucket = $3, ended_at = $5",
        key, sku, bucket, NOW, NOW if ended else None,
    )  # fmt: skip


async def can_go(database: Database) -> list[tuple[str, str, datetime]]:
    """The same by other means: every order and hold, looked at here."""
    orders = await database.rows(
        "SELECT order_key, status, reservation, refund, open_case, paid_at, first_received_at"
        " FROM orders"
    )
    holds = await database.rows("SELECT order_key, sku, bucket, ended_at FROM holds")
    found = set()
    for key, status, reservation, refund, case, paid_at, received_at in orders:
        ready = (
            status in ("PAID", "PARTIALLY_SHIPPED") and reservation == "reserved" and case is None
            and refund not in ("REFUNDING", "REFUNDED")
        )  # fmt: skip
        for holder, sku, bucket, ended_at in holds:
            if ready and holder == key and bucket == "occupied" and ended_at is None:
                found.add((key, sku.partition("@")[2], paid_at or received_at))
    return sorted(found)


@pytest.mark.parametrize("seed", range(3))
async def test_the_list_is_what_orders_and_holds_say_after_every_write(
    database: Database, seed: int
) -> None:
    random = Random(seed)
    lengths = set()
    async with database.connected() as connection:
        for _ in range(40):
            written = []
            async with connection.transaction():
                for _ in range(random.randint(1, 6)):
                    key = await put_order(
                        connection, random.randrange(12),
                        status=random.choice(STATUSES), reservation=random.choice(RESERVATIONS),
                        refund=random.choice(REFUNDS), open_case=random.choice((None, None, "x")),
                        paid_at=random.choice((None, NOW, NOW - timedelta(days=1))),
                    )  # fmt: skip
                    for sku in random.sample(SKUS, 2):
                        bucket, ended = random.choice(BUCKETS), random.random() < 0.3
                        await put_hold(connection, key, sku, bucket, ended=ended)
                    written.append(key)
                await keep_to_ship(connection, written)

            listed = await database.rows(LIST)
            lengths.add(len(listed))
            assert listed == await can_go(database)
            assert await connection.fetch(sql("strayed_to_ship")) == []
    assert len(lengths) > 4, "it was nearly always the same: the trial proves nothing"


async def test_of_two_who_write_an_order_and_its_hold_at_once_the_second_sees_both(
    database: Database,
) -> None:
    async with database.connected() as orders, database.connected() as stock:
        of_order, of_hold = orders.transaction(), stock.transaction()
        await of_order.start()
        await of_hold.start()
        key = await put_order(orders, 1)
        await put_hold(stock, "mall:main:1", "LAMP")
        await keep_to_ship(orders, [key])

        second = asyncio.create_task(keep_to_ship(stock, [key]))
        await asyncio.sleep(0.2)
        assert not second.done(), "nobody waits for anybody"
        await of_order.commit()
        await second
        await of_hold.commit()

    assert [row[:2] for row in await database.rows(LIST)] == [(key, "")]


async def test_what_an_older_ledger_wrote_is_mended_by_the_next_migration(
    database: Database,
) -> None:
    async with database.connected() as connection:
        gone = await put_order(connection, 1)
        await put_hold(connection, gone, "LAMP")
        await put_hold(connection, await put_order(connection, 2), "RUG@ningbo")
        await keep_to_ship(connection, [gone])
        await put_order(connection, 1, status="SHIPPED")
    assert await database.rows(LIST) != await can_go(database)

    assert await schema.mend_to_ship(database.owner) == 2

    assert await database.rows(LIST) == await can_go(database) != []
    assert await schema.mend_to_ship(database.owner) == 0


async def test_the_list_begins_with_what_can_go_already(database: Database) -> None:
    async with database.connected() as connection:
        for number in range(3):
            key = await put_order(connection, number)
            await put_hold(connection, key, "RUG@ningbo")
            await put_hold(connection, key, "LAMP")
        await connection.execute("DROP TABLE orders_to_ship; DROP VIEW orders_that_can_go")
        await connection.execute("UPDATE alembic_version SET version_num = '0015'")

    await asyncio.to_thread(command.upgrade, schema._config(dsn=database.owner, applied=[]), "head")

    assert len(await database.rows(LIST)) == 6
    assert await database.rows(LIST) == await can_go(database)


async def test_an_order_of_two_warehouses_stands_in_both_lists_and_once_in_the_whole(
    database: Database,
) -> None:
    async with database.connected() as connection:
        keys = [await put_order(connection, number) for number in range(4)]
        for key, *skus in (
            (keys[0], "RUG@ningbo", "VASE@hangzhou"), (keys[1], "RUG@ningbo"),
            (keys[2], "RUG@hangzhou"), (keys[3], "RUGS@ningbo", "LAMP"),
        ):  # fmt: skip
            for sku in skus:
                await put_hold(connection, key, sku)
        await keep_to_ship(connection, keys)

    async with Reads(database.reader) as reads:

        async def listed(*asked: Any) -> list[str]:
            return [row["order_key"] for row in await reads.to_ship(*asked)]

        assert await listed(*EVERYTHING) == keys
        assert await listed(*EVERYTHING[:6], "ningbo", 100) == [keys[0], keys[1], keys[3]]
        assert await listed(*EVERYTHING[:6], "hangzhou", 100) == [keys[0], keys[2]]
        assert await listed(*EVERYTHING[:5], "RUG", None, 100) == keys[:3]
        assert await listed(*EVERYTHING[:5], "RUG@ningbo", None, 100) == keys[:2]
        assert await listed(*EVERYTHING[:5], "RUG", "hangzhou", 100) == [keys[2]]
        # Page by page, each once, whatever is asked.
        for asked in (EVERYTHING[:7], (*EVERYTHING[:6], "ningbo"), (*EVERYTHING[:5], "RUG", None)):
            found: list[str] = []
            after: tuple[Any, str] = (None, "")
            while rows := await reads.to_ship(*after, *asked[2:], 1):
                found.append(rows[0]["order_key"])
                after = rows[0]["since"], rows[0]["order_key"]
            assert found == await listed(*asked, 100)
