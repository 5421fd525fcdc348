"""The chain on the real PostgreSQL: written by the sink, computed again in SQL, never rewritten."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
from datetime import UTC, datetime
from random import Random

import asyncpg
import pytest
from alembic import command

from streams.postgres import ledger as writing
from streams.postgres import schema
from streams.postgres.ledger import PostgresLedger
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.test_ledger_postgres import (
    DeafLedger,
    LedgerSink,
    a_busy_house,
    a_sink,
    close,
    cut,
    frames,
    write,
    write_ahead,
    write_all,
)

pytestmark = pytest.mark.stack

#: What a third party runs, with nothing of ours but the function the migration left.
BROKEN = """
    SELECT sku, version FROM (
        SELECT entry.sku, entry.version, entry.chain,
            sha256(
                lag(entry.chain, 1, decode(repeat('00', 32), 'hex'))
                    OVER (PARTITION BY entry.sku ORDER BY entry.version)
                || stock_ledger_bytes(entry)
            ) AS expected
        FROM stock_ledger AS entry
    ) AS sealed
    WHERE chain <> expected
"""
HEADS_ASTRAY = """
    SELECT sku FROM stock WHERE chain IS DISTINCT FROM (
        SELECT chain FROM stock_ledger AS entry
        WHERE entry.sku = stock.sku ORDER BY version DESC LIMIT 1
    )
"""


async def whole(database: Database) -> bool:
    assert await database.value("SELECT count(*) FROM stock_ledger") > 20
    return await database.rows(BROKEN) == await database.rows(HEADS_ASTRAY) == []


@pytest.mark.parametrize("remembered", [0, 100_000])
async def test_the_chain_goes_on_over_rounds_processes_and_forgetting(
    database: Database, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(writing, "HEADS_MAX", remembered)
    random = Random(11)
    house = a_busy_house(11)
    sink = await a_sink(database, frames(house))

    for round_ in cut(frames(house), random):
        await write(sink, round_)
        if random.random() < 0.2:
            await close(sink)
            sink = await a_sink(database, frames(house))
    await close(sink)

    assert await whole(database)


async def test_a_lost_answer_to_commit_does_not_break_the_chain(database: Database) -> None:
    house = a_busy_house(12)
    sink = LedgerSink(DeafLedger(database.ledger, Random(12)))
    await sink.starts(frames(house))

    assert await write_ahead(sink, cut(frames(house), Random(12)))
    await close(sink)

    assert await whole(database)


async def test_a_partition_that_comes_back_goes_on_from_what_another_owner_wrote(
    database: Database,
) -> None:
    given = frames(a_busy_house(13))
    first = {where: log[: len(log) // 3] for where, log in given.items()}
    second = {where: log[: 2 * len(log) // 3] for where, log in given.items()}
    one, other = await a_sink(database, given), await a_sink(database, given)

    await write(one, first)
    await other.starts(given)
    await write(other, second)
    await one.starts(given)
    await write(one, given)
    await close(one, other)

    assert await whole(database)


async def test_what_was_written_before_the_chain_is_sealed_as_it_stands(empty: Database) -> None:
    """Months, the default partition, and texts that JSON has to escape."""
    attributes = {"dsn": empty.owner, "applied": []}
    await asyncio.to_thread(command.upgrade, schema._config(**attributes), "0002")
    async with empty.connected() as connection:
        await connection.execute(
            "CREATE TABLE stock_ledger_2026_11 PARTITION OF stock_ledger"
            " FOR VALUES FROM ('2026-11-01Z') TO ('2026-12-01Z')"
        )
        for version, (at, reason) in enumerate(
            [
                (datetime(2026, 10, 31, 23, 59, 59, 999000, UTC), "delivery"),
                (datetime(2026, 11, 1, tzinfo=UTC), 'said "so" \\ \b\t\n\f\r\x01\x1f\x7f 箱子 😀'),
                (datetime(2031, 1, 1, 0, 0, 0, 1000, UTC), None),
            ],
            1,
        ):
            for sku in ("LAMP", "灯"):
                await connection.execute(
                    "INSERT INTO stock_ledger (sku, version, at, verb, quantity, target,"
                    " available, locked, occupied, reserved, frozen, reason, cause)"
                    " VALUES ($1, $2::bigint, $3, 'receive', 5, 'available', 5 * $2::bigint,"
                    " 0, 0, 0, 0, $4, '')",
                    sku, version, at, reason,
                )  # fmt: skip
        for sku in ("LAMP", "灯"):
            await connection.execute(
                "INSERT INTO stock (sku, version, changed_at, available, locked, occupied,"
                " reserved, frozen) VALUES ($1, 3, now(), 15, 0, 0, 0, 0)",
                sku,
            )

    await schema.migrate(
        empty.owner, ledger=schema.role_of(empty.ledger), reader=schema.role_of(empty.reader)
    )

    assert await empty.rows(BROKEN) == await empty.rows(HEADS_ASTRAY) == []
    assert await empty.value("SELECT count(DISTINCT chain) FROM stock_ledger") == 6


@pytest.mark.parametrize("trail", ["stock_ledger", "order_events"])
@pytest.mark.parametrize("role", ["ledger", "reader"])
async def test_no_role_that_serves_can_change_what_was_written(
    database: Database, trail: str, role: str
) -> None:
    await write_all(database, frames(a_busy_house(14, many=5, crashes=0)))
    months = await database.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass::oid",
        trail,
    )
    before = (await database.dump())[trail]

    assert len(months) > 3
    async with database.connected(role) as connection:
        for table in (trail, *(name for (name,) in months)):
            for statement in (
                f"UPDATE {table} SET at = now()",  # noqa: S608
                f"DELETE FROM {table}",  # noqa: S608  our own names
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)

    assert (await database.dump())[trail] == before


async def test_a_migration_takes_away_what_somebody_had_granted(database: Database) -> None:
    async with database.connected() as connection:
        await connection.execute(
            f'GRANT UPDATE ON stock_ledger TO "{schema.role_of(database.ledger)}"'
        )
    await schema.migrate(
        database.owner,
        ledger=schema.role_of(database.ledger),
        reader=schema.role_of(database.reader),
    )

    async with database.connected("ledger") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE stock_ledger SET quantity = 1")


async def test_a_transaction_that_failed_leaves_no_head_behind(database: Database) -> None:
    given = frames(a_busy_house(15))
    half = {where: log[: len(log) // 2] for where, log in given.items()}
    store = PostgresLedger(database.ledger)
    sink = LedgerSink(store)
    await sink.starts(given)
    await write(sink, half)
    assert store._heads

    whole_of_it = sink.prepare(given)
    store.drop()
    async with database.connected() as connection:
        await connection.execute("ALTER TABLE stock_ledger RENAME TO away")
        with pytest.raises(Exception, match="stock_ledger"):
            await sink.put(whole_of_it)
        assert not store._heads
        await connection.execute("ALTER TABLE away RENAME TO stock_ledger")
    await sink.put(whole_of_it)
    await store.close()

    assert await whole(database)
