"""
`orderflow ledger verify`, mutated: whatever is done to any one entry, the first bad one is named.

Rows are chosen by seeds that an assertion prints; what was done is undone before the next trial.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from agents.audit import Fault
from schemas.ledger import MoveRow
from streams.reconciling.verifying import Verdict, verify
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.test_ledger_postgres import a_busy_house, frames, write_all

pytestmark = pytest.mark.stack

SEEDS = range(1, 9)
COLUMNS = ", ".join((*MoveRow._fields, "chain"))
OTHERS = ", ".join(name for name in (*MoveRow._fields, "chain") if name != "at")
BUCKETS = ("available", "locked", "occupied", "reserved", "frozen")


class Ledger:
    """The entries of a busy house, and a way to change them as the owner of the tables could."""

    def __init__(self, database: Database, entries: list[dict[str, Any]]) -> None:
        self.database = database
        self.entries = entries

    @asynccontextmanager
    async def spoilt(self, query: str, entry: dict[str, Any] | None = None) -> AsyncIterator[Fault]:
        """Give the first fault after *query*, run for one entry; undo it afterwards."""
        where = " WHERE sku = $1 AND version = $2" if entry else ""
        values = (entry["sku"], entry["version"]) if entry else ()
        async with self.database.connected() as connection:
            await connection.execute(query + where, *values)
            verdict = await self.verdict()
            assert verdict.first is not None, f"nothing was found after {query} {values}"
            yield verdict.first
            await connection.execute("TRUNCATE stock_ledger, stock")
            await connection.execute(
                f"INSERT INTO stock_ledger ({COLUMNS}) SELECT {COLUMNS} FROM entries_were"  # noqa: S608
            )
            names = f"sku, version, changed_at, chain, shortfall, {', '.join(BUCKETS)}"
            await connection.execute(
                f"INSERT INTO stock ({names}) SELECT {names} FROM balances_were"  # noqa: S608
            )

    async def verdict(self, sku: str | None = None) -> Verdict:
        return await verify(self.database.reader, sku)

    def is_last(self, entry: dict[str, Any]) -> bool:
        return entry["version"] == max(
            other["version"] for other in self.entries if other["sku"] == entry["sku"]
        )

    def effect(self, entry: dict[str, Any]) -> int:
        """What the entry does to the first bucket that it touches."""
        bucket = min((b for b in (entry["source"], entry["target"]) if b), key=BUCKETS.index)
        return int(entry["quantity"]) * (1 if bucket == entry["target"] else -1)


@pytest.fixture
async def ledger(database: Database) -> Ledger:
    await write_all(database, frames(a_busy_house(1)))
    async with database.connected() as connection:
        await connection.execute("CREATE TABLE entries_were AS SELECT * FROM stock_ledger")
        await connection.execute("CREATE TABLE balances_were AS SELECT * FROM stock")
        entries = await connection.fetch("SELECT * FROM stock_ledger ORDER BY sku, version")
    return Ledger(database, [dict(entry) for entry in entries])


async def test_a_ledger_nobody_touched_is_whole(ledger: Ledger) -> None:
    verdict = await ledger.verdict()

    assert verdict.bad == 0
    assert (verdict.entries, verdict.skus) == (len(ledger.entries), 3)
    assert (await ledger.verdict("GARISH-LAMP")).skus == 1


async def test_a_deleted_entry_is_missed_with_its_units(ledger: Ledger) -> None:
    """T25. What is missed at the end is found by the balance, elsewhere by what follows."""
    last = [entry for entry in ledger.entries if ledger.is_last(entry)]
    for seed in SEEDS:
        gone = Random(seed).choice(ledger.entries if seed % 2 else last)

        async with ledger.spoilt("DELETE FROM stock_ledger", gone) as fault:
            assert (fault.sku, fault.version) == (gone["sku"], gone["version"]), seed
            assert "missing" in fault.what, seed
            by = ledger.effect(gone)
            assert fault.amount == (-by if ledger.is_last(gone) else by), seed


async def test_an_entry_that_stands_twice_is_named(ledger: Ledger) -> None:
    """T25."""
    for seed in SEEDS:
        twice = Random(seed).choice(ledger.entries)

        async with ledger.spoilt(
            f"INSERT INTO stock_ledger (at, {OTHERS})"  # noqa: S608
            f" SELECT at + interval '1 day', {OTHERS} FROM stock_ledger",
            twice,
        ) as fault:
            assert (fault.sku, fault.version) == (twice["sku"], twice["version"]), seed
            assert "already" in fault.what, seed
            assert fault.amount == -ledger.effect(twice), seed


@pytest.mark.parametrize(
    ("column", "expression", "by"),
    [
        ("quantity", "quantity + 3", 3),
        ("available", "available + 2", 2),
        ("locked", "locked + 1", 1),
        ("frozen", "frozen + 4", 4),
    ],
)
async def test_altered_units_are_found_with_the_exact_amount(
    ledger: Ledger, column: str, expression: str, by: int
) -> None:
    """T25."""
    for seed in SEEDS:
        entry = Random(seed).choice(ledger.entries)

        async with ledger.spoilt(
            f"UPDATE stock_ledger SET {column} = {expression}",  # noqa: S608
            entry,
        ) as fault:
            assert (fault.sku, fault.version) == (entry["sku"], entry["version"]), seed
            assert abs(fault.amount) == by, seed


async def test_altered_words_are_found_by_the_chain(ledger: Ledger) -> None:
    """T25: who, why, when and because of what are sealed too."""
    for seed, change in enumerate(
        (
            "reason = 'nothing to see here'",
            "operator = 'somebody else'",
            "cause = cause || '0'",
            "order_key = coalesce(order_key, '') || 'x'",
            "command_id = coalesce(command_id, '') || 'x'",
            "at = at + interval '1 millisecond'",
            "deadline_at = now()",
            "quota = 'none'",
            "held = 77",
            "chain = sha256(chain)",
        )
    ):
        entry = Random(seed).choice(ledger.entries)

        async with ledger.spoilt(f"UPDATE stock_ledger SET {change}", entry) as fault:  # noqa: S608
            assert (fault.sku, fault.version) == (entry["sku"], entry["version"]), (seed, change)
            assert (fault.amount, "seal" in fault.what) == (0, True), (seed, change)


async def test_entries_rewritten_with_a_chain_of_their_own_do_not_reach_the_head(
    ledger: Ledger,
) -> None:
    """Whoever can write the ledger and knows the form still needs the balance's head."""
    async with ledger.spoilt(
        """
        DO $$
        DECLARE entry stock_ledger; before bytea := decode(repeat('00', 32), 'hex');
        BEGIN
            UPDATE stock_ledger SET reason = 'gift' WHERE sku = 'HUMBLE-RUG' AND version = 1;
            FOR entry IN SELECT * FROM stock_ledger WHERE sku = 'HUMBLE-RUG' ORDER BY version LOOP
                before := sha256(before || stock_ledger_bytes(entry));
                UPDATE stock_ledger SET chain = before
                WHERE sku = entry.sku AND version = entry.version;
            END LOOP;
        END $$
        """
    ) as fault:
        assert fault.sku == "HUMBLE-RUG"
        assert "head" in fault.what


async def test_a_balance_that_was_altered_does_not_close_its_trail(ledger: Ledger) -> None:
    for change, clause, amount in (
        ("available = available + 2", "not what the last entry says", 2),
        ("version = version - 1", "another version", 0),
        ("version = version + 1", "missing at the end", 0),
        ("chain = sha256(chain)", "head", 0),
    ):
        async with ledger.spoilt(
            f"UPDATE stock SET {change} WHERE sku = 'WOBBLY-CHAIR'"  # noqa: S608
        ) as fault:
            assert (fault.sku, fault.amount) == ("WOBBLY-CHAIR", amount), change
            assert clause in fault.what, change


@pytest.mark.parametrize("table", ["stock", "stock_ledger"])
async def test_a_trail_or_a_balance_that_is_gone_altogether_is_missed(
    ledger: Ledger, table: str
) -> None:
    async with ledger.spoilt(f"DELETE FROM {table} WHERE sku = 'GARISH-LAMP'") as fault:  # noqa: S608
        assert fault.sku == "GARISH-LAMP"
