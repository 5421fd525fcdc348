"""
What a person's confirmation carries out: the compensation that a drift proposes, and nothing else.

Stock itself is changed by an operator's command only, through the keeper, like every other change;
a derived row is written anew from what it is derived from, with the ledger's sink held still for
that moment. Promise: asked twice, it is done once, and what is ended is refused with a sentence.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from agents.audit import NO_HOLD, NO_ROW, BalanceRow, Trail
from agents.availability import Balance
from agents.comparing import Remedy
from schemas.errors import OrderflowError, Refusal
from schemas.stock import AdjustStock
from streams.availability.cache import WRITE_WITHIN_S, RedisCache
from streams.clock import new_id
from streams.postgres.addresses import ledger_of
from streams.postgres.connecting import connect, told
from streams.postgres.ledger import SESSION, instants_as_ms
from streams.postgres.queries import sql
from streams.postgres.trails import Snapshot, snapshot
from streams.reconciling.book import Book, Row
from streams.reconciling.keepers import EVENTS, Keepers
from streams.settings import Settings

#: The ledger passes what is told by now within this.
LEDGER_WITHIN_S = 10.0
_PAUSE_S = 0.1
#: Sends an operator's command; returns the refusal, or None when it was done.
Adjust = Callable[[AdjustStock], Awaitable[Refusal | None]]


class NotConfirmed(OrderflowError):  # noqa: N818  our errors are sentences, as in schemas.errors
    """The drift was not set right."""


class Confirmed(NamedTuple):
    """What was done."""

    drift: Row
    done: str


async def confirm(
    settings: Settings, number: int, operator: str, reason: str, adjust: Adjust
) -> Confirmed:
    """
    Carry out what drift *number* proposes, and write down who said so and why.

    Raises NotConfirmed, LedgerUnavailable, BrokerUnavailable, CacheUnavailable.
    """
    dsn = ledger_of(settings)
    book = Book(dsn)
    drift = await book.one(number)
    if drift is None:
        raise NotConfirmed(f"There is no drift {number}; `orderflow reconcile` lists them.")
    if drift["status"] != "open":
        ended = f"{drift['ended_at']:%Y-%m-%d %H:%M} UTC"
        who = f" by {drift['operator']}: {drift['reason']}" if drift["operator"] else ""
        raise NotConfirmed(
            f"Drift {number} is ended: {drift['status']} at {ended}{who}. Nothing was done."
        )
    remedy = Remedy(drift["remedy"])
    if remedy is Remedy.BY_HAND:
        raise NotConfirmed(
            f"Drift {number} cannot be set right by a command: {drift['proposal']}. "
            "It ends by itself once the stores agree again."
        )
    if remedy is Remedy.ADJUST:
        done = await _adjust(book, drift, operator, reason, adjust)
    elif remedy is Remedy.REBUILD:
        done = await _rebuild(dsn, drift)
    else:
        done = await _refill(settings, dsn, drift)
    if not await book.confirm(number, operator, reason):
        raise NotConfirmed(f"Drift {number} was ended by somebody else meanwhile.")
    return Confirmed(drift, done)


async def _adjust(book: Book, drift: Row, operator: str, reason: str, adjust: Adjust) -> str:
    """Ask the keeper; the same command however often, so that it is done once."""
    command = await book.claim(drift["id"], new_id())
    if command is None:
        raise NotConfirmed(f"Drift {drift['id']} was ended by somebody else meanwhile.")
    refusal = await adjust(
        AdjustStock(
            id=command,
            sku=drift["sku"],
            delta=drift["delta"],
            reason=f"drift {drift['id']}: {reason}",
            operator=operator,
        )
    )
    if refusal is not None:
        raise NotConfirmed(
            f"The stock keeper refused to adjust {drift['sku']} by {drift['delta']:+}: {refusal}. "
            f"Drift {drift['id']} stays open."
        )
    return f"adjusted {drift['sku']} by {drift['delta']:+} (command {command})"


# --- rows of PostgreSQL ---------------------------------------------------------------------------


async def _rebuild(dsn: str, drift: Row) -> str:
    sku, order = drift["sku"], drift["order_key"]
    async with _held_still(dsn) as connection:
        trail = await _trail(Snapshot(connection), sku)
        if trail.fault is not None:
            raise NotConfirmed(
                f"The ledger of {sku} is in doubt itself, from version {trail.fault.version} on "
                f"({trail.fault.what}): nothing is written from it."
            )
        what = drift["what"].removesuffix(" in PostgreSQL")
        if what == "hold":
            await _rebuild_hold(connection, trail, order)
        elif what.startswith("quota "):
            quota = what.removeprefix("quota ")
            left = trail.quotas.get(quota, 0)
            await connection.execute(sql("rebuild_quota"), sku, quota, left)
        else:
            await connection.execute(
                sql("rebuild_balance"), sku, trail.version, trail.at or 0, *trail.said, trail.chain
            )
    return f"wrote the {what} of {sku}{f' by {order}' if order else ''} anew from the ledger"


async def _rebuild_hold(connection: Any, trail: Trail, order: str) -> None:
    held = trail.holds.get(order, NO_HOLD)
    if held is NO_HOLD:
        await connection.execute(sql("void_hold"), trail.sku, order)
        return
    await connection.execute(
        sql("rebuild_hold"), trail.sku, order, held.quantity, held.bucket, held.open,
        held.deadline_ms, held.version, held.verb, held.moves, held.at,
    )  # fmt: skip


async def _trail(moment: Snapshot, sku: str) -> Trail:
    trail = Trail(sku, await moment.corrections())
    async for stretch in moment.entries(sku):
        for entry, chain in stretch:
            trail.take(entry, chain)
    return trail


@asynccontextmanager
async def _held_still(dsn: str) -> AsyncIterator[Any]:
    """Give a transaction during which the sink does not write stock."""
    connection = await connect(dsn, name="orderflow-reconciler", **SESSION)
    try:
        await instants_as_ms(connection)
        async with connection.transaction():
            await connection.execute(sql("stop_the_ledger"))
            yield connection
    except Exception as error:
        raise told(error) from error
    finally:
        await connection.close()


# --- Redis ----------------------------------------------------------------------------------------


async def _refill(settings: Settings, dsn: str, drift: Row) -> str:
    """
    Write the entry anew; one of an unknown SKU becomes a miss.

    It is forgotten first. So whatever its writer had taken by then is in PostgreSQL once the ledger
    has passed the end the events have now, and what the writer takes from here on is newer.
    """
    sku = drift["sku"]
    cache = RedisCache(settings, WRITE_WITHIN_S)
    try:
        await cache.forget(sku)
        row = await _row_after_now(settings, dsn, sku)
        if row.version:
            at = row.changed_at
            available = row.balance[0]
            await cache.put([Balance(sku=sku, version=row.version, at_ms=at, available=available)])
    finally:
        await cache.close()
    return f"wrote the entry of {sku} in Redis anew from PostgreSQL"


async def _row_after_now(settings: Settings, dsn: str, sku: str) -> BalanceRow:
    """Return the balance once the ledger has written every event that is told by now."""
    async with Keepers(settings) as keepers:
        ends = {
            p: end for (name, p), end in (await keepers.ends(EVENTS)).items() if name == "stock"
        }
    deadline = time.monotonic() + LEDGER_WITHIN_S
    while True:
        async with snapshot(dsn) as moment:
            at = await moment.positions()
            if all(at.get((EVENTS["stock"], p), 0) >= end for p, end in ends.items()):
                return (await moment.balances(sku)).get(sku, NO_ROW)
        if time.monotonic() > deadline:
            raise NotConfirmed(
                "The ledger is behind the events: is the role `ledger` running? The entry is a "
                "miss now, which is answered from PostgreSQL; confirm it again later."
            )
        await asyncio.sleep(_PAUSE_S)
