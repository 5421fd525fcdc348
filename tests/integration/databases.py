"""A PostgreSQL database for one test, with the schema and its roles, gone afterwards."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from streams.postgres import schema
from streams.postgres.connecting import connect

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("owner", "ledger", "reader", "poller", "operations", "callbacks", "console")


@dataclass(frozen=True)
class Database:
    """The addresses of one database, by role."""

    name: str
    #: Not in the repr: a failing test prints it, and they carry passwords.
    owner: str = field(repr=False)
    ledger: str = field(repr=False)
    reader: str = field(repr=False)
    poller: str = field(repr=False)
    operations: str = field(repr=False)
    callbacks: str = field(repr=False)
    console: str = field(repr=False)

    @asynccontextmanager
    async def connected(self, role: str = "owner") -> AsyncIterator[Any]:
        connection = await connect(getattr(self, role), name="test")
        try:
            yield connection
        finally:
            await connection.close()

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.connected() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def value(self, query: str, *values: object) -> Any:
        async with self.connected() as connection:
            return await connection.fetchval(query, *values)

    async def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the ledger, without the moments at which it was written."""
        return {
            table: sorted(await self.rows(f"SELECT {columns} FROM {table}"), key=repr)  # noqa: S608
            for table, columns in {
                **dict.fromkeys(ALIKE, "*"),
                "orders": ", ".join(
                    column
                    for (column,) in await self.rows(
                        "SELECT column_name::text FROM information_schema.columns"
                        " WHERE table_name = 'orders' AND column_name !~ 'written_at|facets'"
                    )
                ),
                "sink_positions": "topic, partition, next",
            }.items()
        }


ALIKE = (
    "order_lines", "order_details", "order_events", "stock_ledger", "stock", "holds",
    "releases_ignored", "command_answers", "parked", "sink_sources", "orders_to_ship",
)  # fmt: skip


def _addresses() -> dict[str, str]:
    found = dict(os.environ)
    file = ROOT / ".local" / "stack.env"
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            found.setdefault(name, value)
    try:
        return {role: found[f"ORDERFLOW_POSTGRES_{role.upper()}"] for role in ROLES}
    except KeyError:
        pytest.fail("The stack is not there: `make up`.")


@asynccontextmanager
async def empty_database(template: str = "template1") -> AsyncIterator[Database]:
    """A database with nothing in it, or with what is in the one called *template*."""
    addresses = _addresses()
    name = f"t_{secrets.token_hex(6)}"
    there = {
        role: urlsplit(dsn)._replace(path=f"/{name}").geturl() for role, dsn in addresses.items()
    }
    admin = await asyncpg.connect(addresses["owner"])
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield Database(name, **there)
        finally:
            await _drop(admin, name)
    finally:
        await admin.close()


async def _drop(admin: Any, name: str) -> None:
    """Drop it as soon as autovacuum, which the owner may not end, has left it."""
    for _ in range(100):
        try:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        except asyncpg.InsufficientPrivilegeError:
            await asyncio.sleep(0.1)
        else:
            return


@pytest.fixture
async def empty() -> AsyncIterator[Database]:
    async with empty_database() as database:
        yield database


@pytest.fixture
async def database(empty: Database) -> Database:
    """A database as an installation has it."""
    await schema.migrate(
        empty.owner,
        ledger=schema.role_of(empty.ledger),
        reader=schema.role_of(empty.reader),
        poller=schema.role_of(empty.poller),
        operations=schema.role_of(empty.operations),
        callbacks=schema.role_of(empty.callbacks),
        console=schema.role_of(empty.console),
    )
    return empty
