"""
What was decided of a job's orders is noted page by page, whatever the planner knows of the job.

Counted in rows that PostgreSQL looks at, never in seconds.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from streams.importing.forecast import Existing, Forecast, Outlook, Verdict
from streams.importing.planning import Planned, Reading
from streams.importing.store import Jobs, Settled, Wish
from streams.settings import Settings
from tests.integration.databases import Database, database, empty  # noqa: F401  fixtures

pytestmark = pytest.mark.stack

ORDERS, PAGE = 2_000, 500
WISH = Wish(
    "/tmp/orders.csv", "orders.csv", "ab" * 32, 1, Reading("taobao", "qingyou"), Existing.SKIP,  # noqa: S108  nothing is read
    "mei", "webhooks down",
)  # fmt: skip


class Counting:
    """A connection that adds up how many rows its statements look at."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.looked_at = 0

    async def execute(self, statement: str, *values: Any) -> None:
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        self.looked_at += rows(json.loads(await self._connection.fetchval(explained, *values)))


def rows(plan: Any) -> int:
    """Return the rows that the nodes of a plan gave or threw away, over all of their turns."""
    if isinstance(plan, list):
        return sum(map(rows, plan))
    if "Plan" in plan:
        return rows(plan["Plan"])
    removed = sum(count for name, count in plan.items() if name.startswith("Rows Removed"))
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return int(own) + rows(plan.get("Plans", []))


@asynccontextmanager
async def jobs_in(database: Database) -> AsyncIterator[Jobs]:
    settings = Settings(_env_file=None, postgres_operations=SecretStr(database.operations))
    async with Jobs.opened(settings) as jobs:
        yield jobs


async def sent(jobs: Jobs, id_: str) -> None:
    """A job of which everything is sent, and nothing was heard."""
    outlooks = [
        Outlook(
            Planned(str(n), (n,), b"", "", ""),
            f"taobao:qingyou:{n}",
            f"{n:016d}",
            Verdict.NEW,
            0,
            n,
        )
        for n in range(ORDERS)
    ]
    await jobs.received(id_, WISH)
    await jobs.planned(id_, Forecast(outlooks, {}), ORDERS, [0])


def page(number: int) -> list[Settled]:
    first = number * PAGE + 1
    return [Settled(n, Verdict.DUPLICATE.value) for n in range(first, first + PAGE)]


async def test_a_second_import_is_settled_as_quickly_as_the_first(database: Database) -> None:
    """The planner knows of the first job alone; it took the second for a single order."""
    async with jobs_in(database) as jobs:
        await sent(jobs, "the-first")
        async with database.connected() as owner:
            await owner.execute("ANALYZE import_orders")
        await sent(jobs, "the-second")
        counting = Counting(jobs.connection)

        for number in range(ORDERS // PAGE):
            await Jobs(counting).settle("the-second", page(number))

        assert await jobs.count_settled("the-second") == ORDERS
        assert counting.looked_at < 10 * ORDERS


async def test_a_job_is_settled_as_quickly_where_nothing_is_known_of_its_table(
    database: Database,
) -> None:
    async with jobs_in(database) as jobs:
        await sent(jobs, "the-first")
        counting = Counting(jobs.connection)

        for number in range(ORDERS // PAGE):
            await Jobs(counting).settle("the-first", page(number))

        assert await jobs.count_settled("the-first") == ORDERS
        assert counting.looked_at < 10 * ORDERS
