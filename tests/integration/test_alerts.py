"""
Alerts on the real PostgreSQL, told to robots over HTTP by the real process.

Each story has a database, robots and processes of its own. What takes their time is waiting, so all
are told at once (`told`), and each test says how its story ended.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from schemas.errors import Unavailable
from streams.alerting.store import Store
from streams.postgres import schema
from streams.postgres.connecting import connect
from tests.integration.databases import Database, empty_database
from tests.integration.robots import Tap, alerts, alerts_file, command, robots, until

pytestmark = pytest.mark.stack

Story = Callable[[Database, Path], Awaitable[Any]]

#: Only what a test is about, and at once.
QUICK = """
[[rules]]
name = "exceptions-backlog"
for_ms = 0
clear_for_ms = 0
[[rules]]
name = "dependency-down"
for_ms = 1000
clear_for_ms = 0
"""


async def park(there: Database, count: int) -> None:
    async with there.connected() as connection:
        await connection.execute(
            "INSERT INTO parked (id, stage, cause, field, reason, topic, partition, record_offset,"
            " value, attempts, first_seen_at, last_seen_at)"
            " SELECT 'raw/0/' || n, 'intake', 'malformed', '', 'x', 'raw', 0, n, ''::bytea, 1,"
            " now(), now() FROM generate_series(1, $1::int) AS n ON CONFLICT DO NOTHING",
            count,
        )


async def settle(there: Database) -> None:
    async with there.connected() as connection:
        await connection.execute("UPDATE parked SET settled_at = now(), settled_as = 'retried'")


async def short(there: Database, skus: int, after: int = 0) -> None:
    """Let *skus* SKUs be short since now, as the ledger writes it; those up to *after* were."""
    async with there.connected() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO stock (sku, version, changed_at, available, locked, occupied, reserved,"
            " frozen, shortfall, chain) SELECT 'RUG-' || n, 1, clock_timestamp(), 0, 3, 0, 0, 0, 3,"
            " sha256('x') FROM generate_series($2::int + 1, $1::int) AS n",
            skus,
            after,
        )
        await connection.execute(
            "INSERT INTO shortfalls SELECT sku, 1, changed_at, 0, 3, 3, 'test' FROM stock"
            " ON CONFLICT DO NOTHING"
        )


async def refilled(there: Database) -> None:
    async with there.connected() as connection, connection.transaction():
        await connection.execute(
            "UPDATE stock SET shortfall = 0, version = 2, changed_at = clock_timestamp()"
        )
        await connection.execute(
            "INSERT INTO shortfalls SELECT sku, 2, changed_at, 3, 0, 3, 'test' FROM stock"
        )


async def fired(there: Database, rule: str) -> list[tuple[Any, ...]]:
    return await there.rows(
        "SELECT subject, state FROM alerts WHERE rule = $1 AND state <> 'pending' ORDER BY 1", rule
    )


async def negative_stock(database: Database, tmp_path: Path) -> float:
    """A SKU is short for more than ten seconds; mei sees to it; goods come in."""
    async with robots("ops") as made:
        ops, file = made["ops"], alerts_file(tmp_path, made)
        nobody = await command(database, file, "test", code=75)
        assert "start `orderflow alerts run` first" in nobody
        with alerts(database, file) as running:
            await until(lambda: ops.lines("self-test"), lambda: running.log)
            assert (await command(database, file, "test")) == {
                "ok": True,
                "channels": {"ops": True},
            }
            await short(database, 1)
            began = time.time()
            await until(lambda: ops.lines("CRITICAL negative-stock: RUG-1"), lambda: running.log)

            told_after_s = ops.posts[-1].at - began - 10
            (alert,) = (await command(database, file, "list"))["alerts"]
            taken = await command(
                database, file, "ack", alert["id"][-6:], "--operator", "mei", "--note", "I count"
            )
            again = await command(database, file, "ack", alert["id"], "--operator", "lin", code=1)
            await refilled(database)
            await until(lambda: ops.lines("RESOLVED negative-stock: RUG-1"), lambda: running.log)
            assert running.end() == 0

        assert told_after_s > -0.5, "it was told before its ten seconds were over"
        assert taken["alert"]["acknowledged_by"] == "mei"
        assert again["why"] == "mei sees to it already."
        assert "Seen to by mei." in ops.text
        assert len(set(ops.lines("negative-stock: RUG-1"))) == 2
        assert alert["id"][-6:] in ops.text
        assert "HUSH" not in running.log
        assert (await fired(database, "negative-stock")) == [("RUG-1", "resolved")]
        return told_after_s


async def many_at_once(database: Database, tmp_path: Path) -> float:
    """Two hundred SKUs are short within seconds, behind a robot that fails twice."""
    at_once = QUICK + '[[rules]]\nname = "negative-stock"\nfor_ms = 0\n'
    async with robots("ops") as made:
        ops, file = made["ops"], alerts_file(tmp_path, made, at_once)
        with alerts(database, file) as running:
            await until(lambda: ops.lines("self-test"), lambda: running.log)
            ops.answers = [web.Response(status=503), web.Response(text="not JSON")]
            await park(database, 51)
            began = time.monotonic()
            for skus in (50, 100, 150, 200):
                await short(database, skus, after=skus - 50)
                await asyncio.sleep(1)

            def told() -> int:
                return sum(bool(ops.lines(f"RUG-{nth}: ")) for nth in range(1, 201))

            await until(lambda: told() == 200, lambda: running.log)
            told_after_s = time.monotonic() - began
            await until(lambda: ops.lines("exceptions-backlog"), lambda: running.log)

        digests = [post.text for post in ops.posts if "notices" in post.text]
        assert digests
        assert len(ops.posts) <= 20
        assert all(len(text.encode()) <= 4_096 for text in digests)
        for text in digests:
            words = [line.split()[0] for line in text.splitlines()[1:] if line[0] != "…"]
            assert words == sorted(words), "a critical stands behind a warning"
        # A robot whose answer does not come in time is told again: the same alerts, by their marks.
        assert len(set(ops.lines("CRITICAL negative-stock"))) == 200
        # They leave 3.4 s apart; the first may have come late to a robot that was busy.
        took_s = ops.posts[-1].at - ops.posts[0].at
        assert took_s > 3.3 * (len(ops.posts) - 2), "a minute could have more than 18 messages"
    return told_after_s


async def two_replicas(database: Database, tmp_path: Path) -> None:
    """One works, is stopped, and wakes up; the robot says meanwhile that it was too much."""
    async with robots("ops") as made:
        ops, file = made["ops"], alerts_file(tmp_path, made, QUICK)
        with alerts(database, file, "a") as first:
            await first.until_logged("this replica works")
            with alerts(database, file, "b") as second:
                await until(lambda: ops.lines("self-test"), lambda: first.log)
                # Too many: what was not taken waits, whoever works.
                ops.answers = [web.json_response({"errcode": 45009, "errmsg": "freq"})]
                await park(database, 51)
                await until(lambda: not ops.answers, lambda: first.log)
                await first.until_logged("throttled")
                await until(lambda: is_left_alone(database), lambda: first.log)
                first.process.send_signal(signal.SIGSTOP)

                await second.until_logged("this replica works")
                assert await is_left_alone(database), "the one that took over did not wait"
                assert not ops.lines("exceptions-backlog")
                first.process.send_signal(signal.SIGCONT)
                await first.until_logged("this replica works no more")
                assert second.end() == 0

            # The first works again, and the robot's minute is over.
            async with database.connected() as connection:
                await connection.execute("UPDATE alert_channels SET next_at = now()")
            first.end()
        with alerts(database, file, "c") as third:
            await until(lambda: ops.lines("exceptions-backlog"), lambda: third.log)
            await settle(database)
            await until(lambda: ops.lines("RESOLVED"), lambda: third.log)

    assert len(set(ops.lines("exceptions-backlog"))) == 2, "told anew, not again"
    assert await fired(database, "exceptions-backlog") == [("", "resolved")]


async def is_left_alone(there: Database) -> bool:
    """Say whether the robot that had too much is given the rest of its minute."""
    waits = await there.value("SELECT extract(epoch FROM next_at - now()) FROM alert_channels")
    return bool(waits > 20)


async def stopped_in_a_statement(database: Database, _: Path) -> None:
    """The one that works stops between preparing a statement and executing it."""
    stopped = await connect(database.ledger, name="orderflow-alerts")
    async with Store(database.ledger, "stopped") as first:
        assert await first.hold()
    await stopped.transaction().start()
    await stopped.execute("UPDATE alert_lease SET until = clock_timestamp()")
    await stopped.prepare("SELECT 1")

    async with Store(database.ledger, "next") as second:

        async def takes_over() -> bool:
            try:
                return await second.hold()
            except Unavailable:
                return False

        await until(takes_over)
    stopped.terminate()


async def postgres_away(database: Database, tmp_path: Path) -> None:
    """PostgreSQL does not answer for a while."""
    tap = Tap(database.reader)
    await tap.open()
    tapped = replace(
        database, ledger=tap.through(database.ledger), reader=tap.through(database.reader)
    )
    async with robots("ops", "shift") as made:
        ops, shift = made["ops"], made["shift"]
        file = alerts_file(tmp_path, made, QUICK)
        with alerts(tapped, file) as running:
            await until(lambda: ops.lines("self-test") and shift.lines("self-test"))
            await tap.close()
            await until(
                lambda: (
                    ops.lines("CRITICAL dependency-down: postgres")
                    and shift.lines("CRITICAL dependency-down: postgres")
                ),
                lambda: running.log,
            )
            await tap.open()
            await until(
                lambda: ops.lines("RESOLVED dependency-down: postgres"), lambda: running.log
            )
            await until(lambda: shift.lines("RESOLVED"), lambda: running.log)
            # What was told is written down, if not at once; else the next process tells it again.
            await until(lambda: all_sent(database), lambda: running.log)
            assert running.end() == 0
    await tap.close()

    for robot in (ops, shift):
        assert len(set(robot.lines("dependency-down: postgres"))) == 2
    assert ("postgres", "resolved") in await fired(database, "dependency-down")


async def all_sent(there: Database) -> bool:
    return not await there.value(
        "SELECT count(*) FROM alert_deliveries AS d JOIN alert_notices AS n ON n.id = d.notice"
        " WHERE d.sent_at IS NULL AND n.title LIKE '%postgres'"
    )


async def wrong_file(database: Database, tmp_path: Path) -> None:
    """A rule has a negative threshold."""
    file = alerts_file(tmp_path, {}, '[[rules]]\nname = "lag"\nthreshold = -1\n')

    with alerts(database, file) as running:
        code = await asyncio.to_thread(running.process.wait, 60)

    assert code == 78
    assert "rules entry 1: Expected `float` >= 0.0" in running.log
    assert "Traceback" not in running.log
    assert not await database.value("SELECT count(*) FROM alert_lease")


# --- all at once ----------------------------------------------------------------------------------

STORIES: tuple[Story, ...] = (
    negative_stock, many_at_once, two_replicas, stopped_in_a_statement, postgres_away, wrong_file,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Story], Any]:
    """Let all stories happen; return what gives how one ended, and asked again lets it happen."""

    async def happen(story: Story) -> Any:
        async with empty_database() as there:
            names = ("ledger", "reader", "operations")
            roles = {each: schema.role_of(getattr(there, each)) for each in names}
            await schema.migrate(there.owner, **roles)
            return await story(there, tmp_path_factory.mktemp(story.__name__))

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*map(happen, STORIES), return_exceptions=True)

    ended = dict(zip(STORIES, asyncio.run(all_at_once()), strict=True))

    def end_of(story: Story) -> Any:
        end = ended.pop(story) if story in ended else asyncio.run(happen(story))
        if isinstance(end, BaseException):
            raise end
        return end

    return end_of


def test_t62_negative_stock_is_told_once_when_it_comes_and_once_when_it_goes(
    told: Any, record_property: Any
):
    told_after_s = told(negative_stock)

    print(f"told {told_after_s:.2f} s after its ten seconds")
    record_property("told_after_s", round(told_after_s, 2))


def test_many_alerts_at_once_are_few_messages_and_none_is_lost(told: Any, record_property: Any):
    told_after_s = told(many_at_once)

    print(f"two hundred told {told_after_s:.1f} s after the first was short")
    record_property("two_hundred_told_after_s", round(told_after_s, 1))


def test_of_two_replicas_one_works_and_the_other_goes_on_where_it_was(told: Any):
    told(two_replicas)


def test_a_replica_that_stops_in_the_middle_of_a_statement_is_followed(told: Any):
    told(stopped_in_a_statement)


def test_that_postgres_is_away_is_told_while_nothing_can_be_written_down(told: Any):
    told(postgres_away)


def test_a_wrong_file_starts_nothing_and_ends_with_78(told: Any):
    told(wrong_file)
