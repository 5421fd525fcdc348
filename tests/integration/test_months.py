"""
Three years of months: made while writers run, put aside when old, passed over by queries.

Whoever works takes `lock_timeout = 2s`: a wait that is longer is an error, and the test is red.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from streams.postgres import months
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.shop import until

pytestmark = pytest.mark.stack

FIRST = datetime(2035, 1, 1, tzinfo=UTC)
#: When the first of 37 months is no longer of the last three years.
LATER = datetime(2038, 2, 1, tzinfo=UTC)
EVENT = (
    "INSERT INTO order_events (order_key, version, at, event, body) VALUES ($1, $2, $3, 'x', '')"
)

WAITS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE NOT granted AND datname = current_database()
"""


def nth(month: int) -> datetime:
    return datetime(2035 + month // 12, month % 12 + 1, 15, tzinfo=UTC)


@contextlib.asynccontextmanager
async def at_work(database: Database) -> AsyncIterator[list[int]]:
    """Writers of all months, and a reader who takes his time; who waits two seconds, fails."""
    written = [0, 0, 0, 0]
    enough = asyncio.Event()

    async def write(worker: int) -> None:
        async with database.connected("ledger") as connection:
            await connection.execute("SET lock_timeout = '2s'")
            while not enough.is_set():
                at = nth(written[worker] % 38)
                await connection.execute(EVENT, f"order-{worker}", written[worker], at)
                written[worker] += 1

    async def read() -> None:
        async with database.connected("reader") as connection:
            while not enough.is_set():
                async with connection.transaction():
                    await connection.fetchval("SELECT count(*) FROM order_events")
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(enough.wait(), 0.2)

    async with asyncio.TaskGroup() as group:
        for worker in range(len(written)):
            group.create_task(write(worker))
        group.create_task(read())
        try:
            await until(lambda: all(written))
            yield written
        finally:
            enough.set()


async def test_three_years_are_made_and_the_oldest_month_is_put_aside_while_writers_run(
    database: Database,
) -> None:
    async with at_work(database) as written:
        made: list[str] = []
        for month in range(37):
            made += await months.ensure(database.owner, now=nth(month), months_after=1)
        before = list(written)
        gone = await months.retire(database.owner, now=LATER)
        await until(lambda: all(now > then for now, then in zip(written, before, strict=True)))

    assert len([name for name in made if name.startswith("order_events")]) == 39
    assert gone[-2:] == ["order_events_2034_12", "order_events_2035_01"]
    # Nothing that was written is missing; what came for a month that was put aside is kept too.
    kept = await database.value("SELECT count(*) FROM order_events")
    aside = await database.value("SELECT count(*) FROM retired.order_events_2035_01")
    assert kept + aside == sum(written)
    assert aside > 0
    assert await database.value(
        "SELECT count(*) FROM order_events_default"
    ) == await database.value("SELECT count(*) FROM order_events WHERE at < '2035-02-01Z'")


async def test_who_holds_a_trail_for_long_makes_it_wait_and_nobody_else(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "PAUSE_S", 0.05)
    async with database.connected("reader") as reader, database.connected("ledger") as ledger:
        open_ = reader.transaction()
        await open_.start()
        await reader.fetchval("SELECT count(*) FROM order_events")
        making = asyncio.create_task(months.ensure(database.owner, now=FIRST))
        await until(lambda: database.value(WAITS))

        await ledger.execute("SET lock_timeout = '2s'")
        await ledger.execute(EVENT, "order", 1, FIRST)  # behind the one who waits

        assert not making.done()
        await open_.rollback()
        assert "order_events_2035_01" in await making
    assert await database.rows("SELECT tableoid::regclass::text FROM order_events") == [
        ("order_events_2035_01",)
    ]


async def test_a_query_of_some_days_reads_the_months_of_those_days(database: Database) -> None:
    await months.ensure(database.owner, now=FIRST, months_after=36)

    async def tables(condition: str) -> set[str]:
        async with database.connected("reader") as connection:
            plan = await connection.fetchval(
                f"EXPLAIN (FORMAT json) SELECT * FROM order_events WHERE {condition}"  # noqa: S608
            )
        return set(re.findall(r"order_events_(\w+)", json.dumps(_relations(json.loads(plan)))))

    assert await tables("at >= '2036-05-30Z' AND at < '2036-06-02Z'") == {"2036_05", "2036_06"}
    assert await tables("at = '2036-05-30Z'") == {"2036_05"}
    assert len(await tables("true")) >= 38


def _relations(plan: Any) -> list[str]:
    if isinstance(plan, list):
        return [name for each in plan for name in _relations(each)]
    if not isinstance(plan, dict):
        return []
    inner = [name for each in plan.values() for name in _relations(each)]
    return [str(plan["Relation Name"]), *inner] if "Relation Name" in plan else inner


async def test_the_stock_ledger_is_never_put_aside(database: Database) -> None:
    await months.ensure(database.owner, now=FIRST)

    gone = await months.retire(database.owner, now=datetime(2060, 1, 1, tzinfo=UTC))

    assert gone
    assert all(name.startswith("order_events_") for name in gone)
    listed = {each.name: each.retired for each in await months.listed(database.owner)}
    assert listed["order_events_2035_01"] is True
    assert listed["stock_ledger_2035_01"] is False
    assert await months.retire(database.owner, now=datetime(2060, 1, 1, tzinfo=UTC)) == []


async def test_detaching_concurrently_is_still_refused_where_there_is_a_default_partition(
    database: Database,
) -> None:
    await months.ensure(database.owner, now=FIRST)

    async with database.connected() as connection:
        with pytest.raises(asyncpg.PostgresError, match="default partition"):
            await connection.execute(
                "ALTER TABLE order_events DETACH PARTITION order_events_2035_01 CONCURRENTLY"
            )


async def test_a_month_that_ends_while_months_are_made_gives_all_trails_the_same_months(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Passing(datetime):
        """Each look at the clock is in another month."""

        looks = 0

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            cls.looks += 1
            return datetime(2041, cls.looks, 28, tzinfo=tz)

    monkeypatch.setattr(months, "datetime", Passing)

    made = await months.ensure(database.owner)

    of = {trail: {name[-7:] for name in made if name.startswith(trail)} for trail in months.TRAILS}
    assert len(set(map(frozenset, of.values()))) == 1


async def test_a_month_that_was_put_aside_is_not_made_again_by_one_who_began_before(
    database: Database,
) -> None:
    before, after = datetime(2042, 1, 31, tzinfo=UTC), datetime(2042, 2, 1, tzinfo=UTC)
    await months.ensure(database.owner, now=before)
    gone = await months.retire(database.owner, now=after, months_kept=2)

    assert "order_events_2041_12" in gone
    assert await months.ensure(database.owner, now=before) == []
    assert await months.retire(database.owner, now=after, months_kept=2) == []


async def test_two_people_who_put_months_aside_at_once_put_each_aside_once(
    database: Database,
) -> None:
    await months.ensure(database.owner, now=datetime(2043, 1, 15, tzinfo=UTC), months_after=12)
    later = datetime(2044, 1, 15, tzinfo=UTC)

    both = await asyncio.gather(
        *(months.retire(database.owner, now=later, months_kept=2) for _ in range(2))
    )

    names = [name for gone in both for name in gone]
    assert len(names) == len(set(names)) >= 11
