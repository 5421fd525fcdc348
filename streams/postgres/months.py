"""
The months of the trails: made long before they come, put aside when they are old.

Promise: whoever writes or reads a trail waits for this at most `WAIT_MAX_S` at a time, because a
lock that is not had by then is given up and asked for again later; and nothing is deleted here.

`DETACH … CONCURRENTLY` is not to be had: PostgreSQL refuses it where there is a default partition,
and ours keeps a row of an unlikely month from halting the ledger (decision 0027).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import asyncpg

from schemas.errors import LedgerUnavailable
from streams.postgres.connecting import connected

#: Months kept ready before the current one and after it.
MONTHS_BEFORE = 1
MONTHS_AFTER = 3
#: Three years, and the month that is being written.
MONTHS_KEPT = 37
#: Partitioned by month of `at` -> the columns that a row is moved with (not the generated one).
TRAILS: dict[str, tuple[str, ...]] = {
    "order_events": ("order_key", "version", "at", "event", "body"),
    "stock_ledger": (
        "sku", "version", "at", "verb", "quantity", "source", "target", "available", "locked",
        "occupied", "reserved", "frozen", "order_key", "deadline_at", "command_id", "operator",
        "reason", "cause", "shortfall", "held", "quota", "chain",
    ),
}  # fmt: skip
#: The stock ledger stays whole: its chain, and every balance that is folded from it, begin with a
#: SKU's first entry.
RETIRING = ("order_events",)
#: Where months go that are put aside; only the owner sees them.
RETIRED = "retired"
#: Taken by whoever changes rights or partitions, for the length of a transaction.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('orderflow schema'))"
#: Everybody who comes after us waits behind our wait for a lock, so it is a short one.
WAIT_MAX_S = 1.0
#: Then the others go on for this long, and it is tried again.
PAUSE_S, TRIES_MAX = 2.0, 60

_connected = partial(connected, name="orderflow-months")
#: The months of a trail ($1) that are attached, and about how large they are.
_ATTACHED = """
SELECT child.relname::text, greatest(child.reltuples, 0)::bigint, pg_total_relation_size(child.oid)
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = $1::text::regclass
ORDER BY 1
"""
_ASIDE = """
SELECT relname::text, greatest(reltuples, 0)::bigint, pg_total_relation_size(oid)
FROM pg_class
WHERE relkind = 'r' AND relnamespace = to_regnamespace($1) AND relname ~ ('^' || $2 || '_')
ORDER BY 1
"""


class Month(NamedTuple):
    """One partition of a trail."""

    name: str
    #: As PostgreSQL last counted them.
    rows: int
    bytes: int
    #: Put aside: no query meets it.
    retired: bool


async def ensure(
    owner: str, *, now: datetime | None = None, months_after: int = MONTHS_AFTER
) -> list[str]:
    """
    Create what is missing of the months around *now*; return the names of the new partitions.

    Rows of such a month that the default partition caught meanwhile move into it.
    Raises LedgerUnavailable, Misconfigured.
    """
    made = []
    # Once for all trails: they wait for locks, and a month may end meanwhile.
    moment = now or datetime.now(UTC)
    async with _connected(owner) as connection:
        for trail, columns in TRAILS.items():
            for name, first, after in months_of(trail, moment, months_after):
                make = partial(_make, connection, trail, columns, name, first, after)
                if await _patiently(connection, make):
                    made.append(name)
    return made


async def retire(
    owner: str, *, now: datetime | None = None, months_kept: int = MONTHS_KEPT
) -> list[str]:
    """
    Put aside what is older than *months_kept* months, the current one included; return the names.

    The tables go into the schema `retired`, where a person archives and drops them.
    Raises LedgerUnavailable, Misconfigured.
    """
    at = (now or datetime.now(UTC)).astimezone(UTC)
    oldest = at.year * 12 + at.month - months_kept
    gone = []
    async with _connected(owner) as connection:
        for trail in RETIRING:
            for name, _, _ in await connection.fetch(_ATTACHED, trail):
                met = re.fullmatch(rf"{trail}_(\d{{4}})_(\d\d)", name)
                if met and int(met[1]) * 12 + int(met[2]) - 1 < oldest:
                    put_aside = partial(_put_aside, connection, trail, name)
                    if await _patiently(connection, put_aside):
                        gone.append(name)
    return gone


async def listed(owner: str) -> list[Month]:
    """Return every month of every trail, those that were put aside last."""
    found = []
    async with _connected(owner) as connection:
        for trail in TRAILS:
            for name, rows, size in await connection.fetch(_ATTACHED, trail):
                found.append(Month(name, rows, size, retired=False))
            for name, rows, size in await connection.fetch(_ASIDE, RETIRED, trail):
                found.append(Month(name, rows, size, retired=True))
    return found


def months_of(
    trail: str, now: datetime, months_after: int = MONTHS_AFTER
) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield name, first instant and end of each monthly partition around *now*, in UTC."""
    at = now.astimezone(UTC)
    this = at.year * 12 + at.month - 1
    for month in range(this - MONTHS_BEFORE, this + months_after + 1):
        first = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        after = datetime((month + 1) // 12, (month + 1) % 12 + 1, 1, tzinfo=UTC)
        yield f"{trail}_{first:%Y_%m}", first, after


async def _patiently(connection: Any, work: Callable[[], Awaitable[bool]]) -> bool:
    """Do *work* in a transaction whose waits are short, again and again until it had its locks."""
    for left in reversed(range(TRIES_MAX)):
        try:
            async with connection.transaction():
                await connection.execute(ONE_AT_A_TIME)
                await connection.execute(f"SET LOCAL lock_timeout = '{WAIT_MAX_S}s'")
                return await work()
        except asyncpg.LockNotAvailableError:
            if not left:
                raise LedgerUnavailable(
                    "A query that does not end holds a trail; see pg_stat_activity, and try again."
                ) from None
            await asyncio.sleep(PAUSE_S)
    raise AssertionError("tries are counted")


async def _make(
    connection: Any,
    trail: str,
    columns: tuple[str, ...],
    name: str,
    first: datetime,
    after: datetime,
) -> bool:
    names = ", ".join(columns)
    # One that was put aside stays so: made anew it could never be put aside again.
    for there in (name, f"{RETIRED}.{name}"):
        if await connection.fetchval("SELECT to_regclass($1)", there) is not None:
            return False
    await connection.execute(
        f"CREATE TABLE {name} (LIKE {trail} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
        " INCLUDING GENERATED)"
    )
    # Nobody may add to the default partition between the move and the attachment.
    await connection.execute(f"LOCK TABLE {trail} IN ACCESS EXCLUSIVE MODE")
    await connection.execute(
        f"WITH moved AS (DELETE FROM {trail}_default WHERE at >= $1 AND at < $2"  # noqa: S608  our own names
        f" RETURNING {names}) INSERT INTO {name} ({names}) SELECT {names} FROM moved",
        first,
        after,
    )
    await connection.execute(
        f"ALTER TABLE {trail} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{first:%Y-%m-%d}Z') TO ('{after:%Y-%m-%d}Z')"
    )
    return True


async def _put_aside(connection: Any, trail: str, name: str) -> bool:
    if await connection.fetchval("SELECT to_regclass($1)", name) is None:
        return False  # somebody else did meanwhile
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {RETIRED}")
    await connection.execute(f"ALTER TABLE {trail} DETACH PARTITION {name}")
    await connection.execute(f"ALTER TABLE {name} SET SCHEMA {RETIRED}")
    return True
