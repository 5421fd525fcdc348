"""The schema on the real PostgreSQL: from empty, again, at once, as a script, month by month."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
from datetime import UTC, datetime

import pytest

from schemas.errors import LedgerUnavailable, Misconfigured
from streams.postgres import months, schema
from tests.integration.databases import Database, database, empty, empty_database  # noqa: F401

pytestmark = pytest.mark.stack

REVISIONS = [
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011",
    "0012", "0013", "0014", "0015", "0016",
]  # fmt: skip
COLUMNS = """
    SELECT table_name::text, column_name::text, data_type::text, is_nullable::text,
        column_default::text, is_generated::text, collation_name::text
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
RIGHTS = """
    SELECT table_name::text, grantee::text, privilege_type::text
    FROM information_schema.role_table_grants WHERE table_schema = 'public' ORDER BY 1, 2, 3
"""


async def migrate(there: Database) -> list[str]:
    return await schema.migrate(
        there.owner,
        ledger=schema.role_of(there.ledger),
        reader=schema.role_of(there.reader),
        poller=schema.role_of(there.poller),
        operations=schema.role_of(there.operations),
        callbacks=schema.role_of(there.callbacks),
        console=schema.role_of(there.console),
    )


async def test_an_empty_database_is_built_and_a_second_run_changes_nothing(empty: Database) -> None:
    assert await migrate(empty) == REVISIONS
    before = await empty.rows(COLUMNS), await empty.rows(RIGHTS)

    assert await migrate(empty) == []

    assert (await empty.rows(COLUMNS), await empty.rows(RIGHTS)) == before


async def test_several_runners_at_once_build_it_once(empty: Database) -> None:
    applied = await asyncio.gather(*(migrate(empty) for _ in range(4)))

    assert sorted(applied) == [[], [], [], REVISIONS]


async def test_the_printed_script_builds_the_same_schema(database: Database) -> None:
    script = schema.offline_sql(
        schema.role_of(database.ledger),
        schema.role_of(database.reader),
        schema.role_of(database.poller),
        schema.role_of(database.operations),
        schema.role_of(database.callbacks),
        schema.role_of(database.console),
    )
    async with empty_database() as other:
        async with other.connected() as connection:
            await connection.execute(script)

        assert await other.rows(COLUMNS) == await database.rows(COLUMNS)
        assert await other.rows(RIGHTS) == await database.rows(RIGHTS)
        assert await migrate(other) == []


async def test_the_months_around_now_have_partitions(database: Database) -> None:
    made = await months.ensure(database.owner, now=datetime(2031, 12, 31, tzinfo=UTC))

    assert made == [
        f"{trail}_{month}"
        for trail in ("order_events", "stock_ledger")
        for month in ("2031_11", "2031_12", "2032_01", "2032_02", "2032_03")
    ]
    assert not await months.ensure(database.owner, now=datetime(2031, 12, 1, tzinfo=UTC))


async def test_a_new_month_takes_over_what_the_default_partition_caught(
    database: Database,
) -> None:
    at = datetime(2040, 2, 29, 23, 59, tzinfo=UTC)
    async with database.connected("ledger") as connection:
        await connection.execute(
            "INSERT INTO stock_ledger (sku, version, at, verb, quantity, target, available,"
            " locked, occupied, reserved, frozen, cause, chain)"
            " VALUES ('LAMP', 1, $1, 'receive', 5, 'available', 5, 0, 0, 0, 0, 'test',"
            " sha256('one'))",
            at,
        )
    place = "SELECT tableoid::regclass::text, on_hand, chain = sha256('one') FROM stock_ledger"
    assert await database.rows(place) == [("stock_ledger_default", 5, True)]

    await months.ensure(database.owner, now=at)

    assert await database.rows(place) == [("stock_ledger_2040_02", 5, True)]


async def test_an_address_that_is_wrong_is_told_without_its_password() -> None:
    nobody = "postgresql://owner:hunter2@127.0.0.1:1/orderflow"

    with pytest.raises(LedgerUnavailable) as told:
        await schema.migrate(nobody)

    assert "hunter2" not in str(told.value)
    with pytest.raises(Misconfigured):
        schema.role_of("postgresql://127.0.0.1/orderflow")


async def test_a_wrong_password_is_the_installations_fault(database: Database) -> None:
    user, _, rest = database.ledger.partition("@")
    wrong = f"{user.rsplit(':', 1)[0]}:hunter2@{rest}"

    with pytest.raises(Misconfigured) as told:
        await schema.migrate(wrong)

    assert "hunter2" not in str(told.value)
