"""
Counts anew what was touched: figures are never added to, so that they cannot drift.

How. The ledger leaves the key of every order that it writes, in its own transaction. An order
belongs for ever to one *chunk*, what its shop received in one hour; whoever restates finds the
chunks of those orders, takes the figures of each chunk away, counts its orders again, and sums up
the days that had figures of it before or have some now. A late statement therefore restates the
hour it is about, wherever that is in time.

Promises. What is written and what was touched go in one transaction: killed anywhere, the work is
done or still to be done. Of several who restate one counts at a time, chunk by chunk. An order that
is written meanwhile has left its key again. Raises LedgerUnavailable and Misconfigured as
`streams.postgres.connecting` does.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from streams.figures.clocks import Clock, Clocks
from streams.postgres.connecting import connected
from streams.postgres.queries import sql

#: Keys that are looked up at once; chunks that are counted in one transaction.
KEYS_AT_ONCE: Final = 50_000
CHUNKS_AT_ONCE: Final = 50
#: An order-flow time falls into the first slot whose end it is below, ms; the last slot has no end.
SLOT_ENDS_MS: Final = (
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000,
    3_600_000, 21_600_000, 86_400_000,
)  # fmt: skip
NAME: Final = "orderflow-figures"
#: A run that is stopped in the middle must not keep the others waiting.
SESSION: Final = {
    "statement_timeout": "10min", "lock_timeout": "5min",
    "idle_in_transaction_session_timeout": "30s",
}  # fmt: skip

Row = dict[str, Any]
#: Chunks done, chunks left.
Progress = Callable[[int, int], None]


class Restated(NamedTuple):
    """What one run did."""

    #: Orders that had been written since.
    touched: int
    chunks: int


class Difference(NamedTuple):
    """A figure that is not what the orders come to."""

    what: str
    platform: str
    shop: str
    at: str
    kept: str
    orders: str


class Checked(NamedTuple):
    """What was compared, and what differs."""

    chunks: int
    #: Chunks and orders that are to be counted anew, and not compared.
    behind: int
    differences: list[Difference]


async def restate(
    dsn: str, clocks: Clocks, company_zone: str, progress: Progress, *, everything: bool = False
) -> Restated:
    """
    Count anew whatever was written before this began; with *everything*, all there is.

    What is written meanwhile is left to the next run.
    """
    async with connected(dsn, name=NAME, **SESSION) as connection:
        if everything:
            await _let_all_be_stale(connection)
        await _follow(connection, clocks, company_zone)
        touched, done = 0, 0
        while (found := await _sort(connection)) > 0:
            touched += found
            if found < KEYS_AT_ONCE:
                break
        while chunks := await _count(connection, clocks, company_zone):
            done += chunks
            progress(done, await connection.fetchval(sql("figures_chunks_left")))
        return Restated(touched, done)


async def _let_all_be_stale(connection: Any) -> None:
    async with connection.transaction():
        await connection.execute(sql("figures_one_at_a_time"))
        await connection.execute(sql("figures_all_stale"), None, None)
        await connection.execute(sql("figures_of_no_order"))


async def _follow(connection: Any, clocks: Clocks, company_zone: str) -> None:
    """Let a shop be counted anew whose day begins at another time now."""
    for platform, shop, zone, day_begins in await connection.fetch(sql("figures_clocks")):
        clock = clocks(platform, shop)
        if clock == (zone, day_begins):
            continue
        clock = await _known(connection, clock, company_zone)
        if clock == (zone, day_begins):
            continue
        async with connection.transaction():
            await connection.execute(sql("figures_one_at_a_time"))
            await connection.execute(sql("figures_set_clock"), platform, shop, *clock)
            await connection.execute(sql("figures_all_stale"), platform, shop)


async def _known(connection: Any, wanted: Clock, company_zone: str) -> Clock:
    """Return *wanted*, in the company's zone where PostgreSQL knows no zone of that name."""
    if await connection.fetchval(sql("figures_knows_zone"), wanted.zone):
        return wanted
    return wanted._replace(zone=company_zone)


async def _sort(connection: Any) -> int:
    async with connection.transaction():
        await connection.execute(sql("figures_one_at_a_time"))
        found: int = await connection.fetchval(sql("figures_sort_touched"), KEYS_AT_ONCE)
    return found


async def _count(connection: Any, clocks: Clocks, company_zone: str) -> int:
    """Count some chunks anew; return how many."""
    async with connection.transaction():
        await connection.execute(sql("figures_one_at_a_time"))
        for platform, shop in await connection.fetch(sql("figures_shops_without_clock")):
            clock = await _known(connection, clocks(platform, shop), company_zone)
            await connection.execute(sql("figures_set_clock"), platform, shop, *clock)
        stale = await connection.fetch(sql("figures_take_stale"), CHUNKS_AT_ONCE)
        if stale:
            await _write(connection, _columns(stale, 3))
    return len(stale)


async def _write(connection: Any, chunks: list[list[Any]]) -> None:
    before = await connection.fetch(sql("figures_forget_parts"), *chunks)
    now = await connection.fetch(
        f"WITH counted AS (INSERT INTO figures_parts {sql('figures_of_chunks')}"  # noqa: S608  our own statement
        " RETURNING day, platform, shop) SELECT DISTINCT day, platform, shop FROM counted",
        *chunks,
    )
    days = _columns(sorted({tuple(row) for row in (*before, *now)}), 3)
    await connection.execute(sql("figures_forget_days"), *days)
    await connection.execute(
        f"INSERT INTO figures_days {sql('figures_sum_days')}",
        *days,
    )
    await connection.execute(sql("figures_forget_flow"), *chunks)
    await connection.execute(
        f"INSERT INTO figures_flow {sql('figures_flow_of_chunks')}",
        *chunks,
        [float(end) for end in SLOT_ENDS_MS],
    )


def _columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return *rows* column by column, as `unnest` wants them."""
    kept = list(rows)
    return [[row[place] for row in kept] for place in range(width)]


# --- comparing ------------------------------------------------------------------------------------


async def check(dsn: str, since: datetime | None, progress: Progress) -> Checked:
    """
    Count the orders of every chunk again, received *since* where it is given, and compare.

    All of it is seen as of one moment. What is to be counted anew is not compared.
    """
    async with (
        connected(dsn, name=NAME, **SESSION) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        chunks = await connection.fetch(sql("figures_chunks"), since)
        behind = await connection.fetchval(sql("figures_chunks_left"))
        behind += await connection.fetchval(sql("figures_orders_left"))
        found: list[Difference] = []
        for first in range(0, len(chunks), CHUNKS_AT_ONCE):
            found += await _compared(connection, _columns(chunks[first:][:CHUNKS_AT_ONCE], 3))
            progress(first, len(chunks) - first)
        for day, platform, shop in await connection.fetch(sql("figures_days_off")):
            found.append(Difference("day", platform, shop, str(day), "its sum", "its parts"))
    return Checked(len(chunks), behind, found)


async def _compared(connection: Any, chunks: list[list[Any]]) -> list[Difference]:
    ends = [float(end) for end in SLOT_ENDS_MS]
    return [
        *_unlike(
            "part",
            await connection.fetch(sql("figures_parts_of_chunks"), *chunks),
            await connection.fetch(sql("figures_of_chunks"), *chunks),
            keys=8,
        ),
        *_unlike(
            "flow",
            await connection.fetch(sql("figures_flow_kept"), *chunks),
            await connection.fetch(sql("figures_flow_of_chunks"), *chunks, ends),
            keys=4,
        ),
    ]


def _unlike(what: str, kept: Sequence[Any], counted: Sequence[Any], keys: int) -> list[Difference]:
    """Return where *kept* is not what was *counted*; the first *keys* columns name a row."""
    mine = {tuple(row)[:keys]: tuple(row)[keys:] for row in kept}
    theirs = {tuple(row)[:keys]: tuple(row)[keys:] for row in counted}
    return [
        Difference(
            what, key[0], key[1], " ".join(str(each) for each in key[2:]),
            _said(mine.get(key)), _said(theirs.get(key)),
        )
        for key in sorted(mine.keys() | theirs.keys(), key=repr)
        if mine.get(key) != theirs.get(key)
    ]  # fmt: skip


def _said(values: tuple[Any, ...] | None) -> str:
    return "nothing" if values is None else " ".join(str(each) for each in values)
