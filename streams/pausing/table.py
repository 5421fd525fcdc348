"""
The pauses in PostgreSQL, and on the `reference` topic, which every intake follows.

Promises: who paused and resumed what, when and why, is kept for good. What is on the topic only
ever goes forward, from paused to resuming to gone: whoever tells it holds one lock from reading the
rows until the broker has it. A process that dies between the two leaves it to the next one that
tells. A pause is over only when marks say of every partition that all was read.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from agents.holding import Lane
from agents.reference import Directory, reference_key
from schemas.base import Word
from schemas.errors import OrderflowError, Rejected
from schemas.reference import Pause
from streams import reference
from streams.engine.admin import verify
from streams.pausing.held_log import HeldLog
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.settings import Settings
from streams.topics import PLATFORMS, RAW_HELD

logger = logging.getLogger(__name__)

Row = dict[str, Any]

#: Whoever else changes pauses is waited for so long.
_ALONE_WITHIN = "20s"
_connected = partial(connected, name="orderflow-pausing")


class UnknownShop(Rejected):
    """There is no such shop."""


class WhyNot(Word):
    """How a shop is that is not changed."""

    PAUSED = "paused"
    RESUMING = "resuming"
    NOT_PAUSED = "not_paused"


_SENTENCES = {
    WhyNot.PAUSED: "{shop} was paused by {by}.",
    WhyNot.RESUMING: "{shop} is being resumed by {by}; wait until it is.",
    WhyNot.NOT_PAUSED: "{shop} is not paused.",
}


class AsItIs(OrderflowError):  # noqa: N818  an answer
    """The shop is as it was asked to be, or cannot be made so now; nothing was changed."""

    def __init__(self, why: WhyNot, shop: str, by: str = "") -> None:
        super().__init__(_SENTENCES[why].format(shop=shop, by=by))
        self.why, self.by = why, by


async def pause(settings: Settings, dsn: str, platform: str, shop: str, by: str, why: str) -> Pause:
    """
    Let intake set aside what comes of *shop*. Raises UnknownShop, AsItIs, Unavailable.

    Returns when the broker has it; workers follow within moments.
    """
    _refuse_nameless(by, why)
    await _refuse_unknown(settings, platform, shop)
    async with HeldLog(settings) as log, _alone(dsn) as connection:
        # Before any worker can hear of it: nothing of this pause lies below.
        counts = await verify(settings, [RAW_HELD.name])
        ends = await log.ends(range(counts[RAW_HELD.name]))
        starts = [ends[partition] for partition in sorted(ends)]
        id_ = await connection.fetchval(sql("pause_intake"), platform, shop, starts, by, why)
        if id_ is None:
            row = await _of(connection, platform, shop)
            why_not = WhyNot.RESUMING if row["resumed_at"] else WhyNot.PAUSED
            by = row["resumed_by"] or row["paused_by"]
            raise AsItIs(why_not, f"{platform} shop {shop}", by)
        await _tell(settings, connection)
    return Pause(id=id_, platform=platform, shop=shop, starts=tuple(starts))


async def resume(settings: Settings, dsn: str, platform: str, shop: str, by: str, why: str) -> int:
    """
    Let intake read what it set aside of *shop*, in order, and go on. Raises AsItIs, Unavailable.

    Returns the pause's id when the broker has it; `finish` says when it is over.
    """
    _refuse_nameless(by, why)
    async with _alone(dsn) as connection:
        id_: int | None = await connection.fetchval(sql("resume_intake"), platform, shop, by, why)
        if id_ is None:
            row = await _of(connection, platform, shop)
            why_not = WhyNot.RESUMING if row else WhyNot.NOT_PAUSED
            raise AsItIs(why_not, f"{platform} shop {shop}", row["resumed_by"] if row else "")
        await _tell(settings, connection)
    return id_


async def open_pauses(dsn: str) -> list[Row]:
    """Return the pauses that are not over, oldest first."""
    async with _connected(dsn) as connection:
        return await _open(connection)


async def history(dsn: str, platform: str, shop: str, limit: int) -> list[Row]:
    """Return the pauses of one shop, latest first."""
    async with _connected(dsn) as connection:
        rows = await connection.fetch(sql("pauses_of_shop"), platform, shop, limit)
        return [dict(row) for row in rows]


async def tell(settings: Settings, dsn: str, there: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """
    Tell workers what they have not been told: the rest of what a process that died began.

    *there* is what the topic has of pauses; where it is a little old, the same is told again.
    Returns the keys that were told. Raises Unavailable.
    """
    async with _alone(dsn) as connection:
        return await _tell(settings, connection, there)


async def _tell(
    settings: Settings, connection: Any, there: Mapping[bytes, bytes] | None = None
) -> tuple[str, ...]:
    """Bring the topic in line with the rows; the caller is alone."""
    rows = await _open(connection)
    wanted = {reference_key(entry): entry for entry in map(_entry, rows)}
    if there is None:
        there = {
            key: value
            for key, value in (await reference.read_all(settings)).items()
            if key.startswith(reference.PAUSE_KEYS)
        }
    changed: dict[bytes, bytes | None] = {
        key: value
        for key, entry in wanted.items()
        if there.get(key) != (value := msgspec.json.encode(entry))
    }
    changed |= dict.fromkeys(there.keys() - wanted.keys())
    if changed:
        await reference.publish(settings, changed)
    return tuple(key.decode() for key in sorted(changed))


class Finisher:
    """Finds out, pass by pass, which pauses are over: all that was set aside has been read."""

    def __init__(self, settings: Settings, dsn: str) -> None:
        self._settings = settings
        self._dsn = dsn
        #: Pause and partition -> its lane, and how far `raw-held` was looked through for it.
        self._seen: dict[tuple[int, int], tuple[Lane, int]] = {}

    async def finish(self) -> list[int]:
        """Close what is over and tell workers; return the ids. Raises Unavailable."""
        resumed = [row for row in await open_pauses(self._dsn) if row["resumed_at"] is not None]
        self._seen = {
            key: seen
            for key, seen in self._seen.items()
            if key[0] in {row["id"] for row in resumed}
        }
        if not resumed:
            return []
        async with HeldLog(self._settings) as log:
            over = [row["id"] for row in resumed if await self._is_read(log, row)]
        if not over:
            return []
        async with _alone(self._dsn) as connection:
            for id_ in over:
                await connection.execute(sql("pause_drained"), id_)
            await _tell(self._settings, connection)
        return over

    async def _is_read(self, log: HeldLog, row: Row) -> bool:
        ends = await log.ends(range(len(row["starts"])))
        for partition, start in enumerate(row["starts"]):
            key = row["id"], partition
            lane, looked = self._seen.get(key) or (Lane(row["id"], start), start)
            async for records in log.records(partition, looked, ends[partition]):
                for record in records:
                    lane.learn(record)
            self._seen[key] = lane, ends[partition]
        return all(self._seen[row["id"], n][0].is_all for n in range(len(row["starts"])))


async def _open(connection: Any) -> list[Row]:
    return [dict(row) for row in await connection.fetch(sql("open_pauses"))]


async def _of(connection: Any, platform: str, shop: str) -> Row:
    rows = [
        row for row in await _open(connection) if (row["platform"], row["shop"]) == (platform, shop)
    ]
    return rows[0] if rows else {}


def _entry(row: Row) -> Pause:
    return Pause(
        id=row["id"],
        platform=row["platform"],
        shop=row["shop"],
        starts=tuple(row["starts"]),
        resuming=row["resumed_at"] is not None,
    )


async def _refuse_unknown(settings: Settings, platform: str, shop: str) -> None:
    if platform not in PLATFORMS:
        raise UnknownShop(
            f"Platform {platform[:40]!r} is not known; it is one of {', '.join(PLATFORMS)}."
        )
    directory = Directory()
    for key, value in (await reference.read_all(settings)).items():
        directory.put(key, value)
    if not shop.isprintable() or directory.shop(platform, shop) is None:
        raise UnknownShop(
            f"There is no shop {shop[:80]!r} of {platform} in the reference data; "
            "`orderflow reference show` lists those there are."
        )


def _refuse_nameless(by: str, why: str) -> None:
    for name, said in (("operator", by), ("reason", why)):
        if not said.strip() or "\0" in said:
            raise Rejected(f"Give the {name}; it stays with the pause.")


def lasting(rows: Sequence[Row], now_s: float, max_s: float) -> list[Row]:
    """Return *rows* to be shown, with how long each lasts and whether that is too long."""
    shown = []
    for row in rows:
        lasts = max(0.0, now_s - row["paused_at"].timestamp())
        state = "resuming" if row["resumed_at"] is not None else "paused"
        facts = {name: value for name, value in row.items() if name != "starts"}
        shown.append({**facts, "state": state, "lasts_s": round(lasts), "overdue": lasts > max_s})
    return shown


@asynccontextmanager
async def _alone(dsn: str) -> AsyncIterator[Any]:
    """A connection whose holder alone changes pauses, for as long as it lasts."""
    async with _connected(dsn, lock_timeout=_ALONE_WITHIN) as connection:
        await connection.execute(sql("one_pauser_at_a_time"))
        yield connection
