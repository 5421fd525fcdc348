"""
What is left to sell, asked for: of the cache, and of the ledger for what the cache does not know.

Promises: questions that come while one is under way are asked together, so that a busy moment
costs the fewest round trips; a Redis that is away is left alone for a moment instead of being
waited for by every request; what was not in the cache is put there before it is answered again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from agents.availability import NO_QUOTA, Balance, Quota
from schemas.errors import CacheUnavailable, LedgerUnavailable
from streams.availability.cache import SEPARATOR, Cached, Kept, RedisCache, Seen, seen, under
from streams.availability.store import KEYS_MAX
from streams.postgres.connecting import pool, told
from streams.postgres.queries import sql

logger = logging.getLogger(__name__)

#: After Redis did not answer, it is not asked again for so long.
LEFT_ALONE_S = 1.0
#: PostgreSQL answers within this, or is away.
LEDGER_WITHIN_S = 2.0
#: Connections to PostgreSQL: one question at a time, one more while a broken one is replaced.
LEDGER_CONNECTIONS_MAX = 2

V = TypeVar("V")


class Found(NamedTuple):
    """What is known of the SKUs asked for, and perhaps of others."""

    #: SKU -> its balance; `under` SKU and quota -> the quota.
    known: dict[str, Any]
    #: SKUs that the ledger had to be asked for.
    from_ledger: frozenset[str]
    #: How far the cache may be behind, ms; None: nobody knows.
    age_ms: int | None


class Together(Generic[V]):
    """Asks *ask* for the keys of all who wait, at most KEYS_MAX at once; each gets the answer."""

    def __init__(self, ask: Callable[[list[str]], Awaitable[V]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[Sequence[str], asyncio.Future[V]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, keys: Sequence[str]) -> V:
        """Return an answer about *keys*, and perhaps about others."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, answer))
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            keys, answers = self._gather()
            try:
                found = await self._ask(list(keys))
            except Exception as error:  # noqa: BLE001  it is theirs who asked
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found)
        self._asking = None

    def _gather(self) -> tuple[dict[str, None], list["asyncio.Future[V]"]]:
        keys: dict[str, None] = {}
        answers: list[asyncio.Future[V]] = []
        for asked, answer in self._waiting:
            if answers and len(keys) + len(asked) > KEYS_MAX:
                break
            keys.update(dict.fromkeys(asked))
            answers.append(answer)
        del self._waiting[: len(answers)]
        return keys, answers


class LedgerBalances:
    """The rows of `stock` and `quotas`, read as the reader. Connects when it is first asked."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Any = None

    async def get(self, keys: list[str]) -> dict[str, Kept]:
        """
        Return what is under *keys*, SKUs and quotas: version 0 where there is nothing.

        A quota comes with the balance of the same moment. Raises LedgerUnavailable.
        """
        parts = [key.partition(SEPARATOR) for key in keys]
        asked = [sku for sku, _, _ in parts], [quota for _, _, quota in parts]
        try:
            rows = await self._fetch("balances_and_quotas", *asked)
        except LedgerUnavailable:
            # A connection that broke since the last question is no news of the server.
            rows = await self._fetch("balances_and_quotas", *asked)
        found: dict[str, Kept] = {key: NO_QUOTA if SEPARATOR in key else Seen(0) for key in keys}
        for row in rows:
            if row["version"]:
                found[row["sku"]] = seen(_balance(row))
            if row["quota_version"]:
                found[under(row["sku"], row["quota"])] = _quota(row)
        return found

    async def page(self, after: str, limit: int, quota: str) -> list[tuple[Balance, Quota]]:
        """
        Return the next SKUs after this one, each with its *quota* of this name, perhaps empty.

        Raises LedgerUnavailable.
        """
        rows = await self._fetch("balances_after", after, limit, quota)
        return [(_balance(row), _quota(row)) for row in rows]

    async def positions(self, topic: str) -> dict[int, int]:
        """Return how much of each partition is in the ledger. Raises LedgerUnavailable."""
        rows = await self._fetch("positions")
        return {row["partition"]: row["next"] for row in rows if row["topic"] == topic}

    async def _fetch(self, name: str, *values: Any) -> list[Any]:
        try:
            if self._pool is None:
                self._pool = await pool(
                    self._dsn,
                    name="orderflow-availability",
                    at_most=LEDGER_CONNECTIONS_MAX,
                    answers_within_s=LEDGER_WITHIN_S,
                    connects_within_s=LEDGER_WITHIN_S,
                    default_transaction_read_only="on",
                )
            rows: list[Any] = await self._pool.fetch(sql(name), *values)
        except Exception as error:  # noqa: BLE001  `told` sorts them
            raise told(error) from None  # the cause may repeat the address
        return rows

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.terminate()


def _balance(row: Any) -> Balance:
    return Balance(
        sku=row["sku"],
        version=row["version"],
        at_ms=_ms(row["changed_at"]),
        available=row["available"],
        shortfall=row["shortfall"],
    )


def _quota(row: Any) -> Quota:
    if not row["quota_version"]:
        return NO_QUOTA
    return Quota(row["quota_version"], _ms(row["starts_at"]), _ms(row["ends_at"]), row["remains"])


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


class Availability:
    """Answers what is left to sell."""

    def __init__(self, cache: RedisCache, ledger: LedgerBalances) -> None:
        self._cache = cache
        self._ledger = ledger
        self._from_cache: Together[Cached] = Together(self._read_cache)
        self._from_ledger: Together[dict[str, Kept]] = Together(self._rebuild)
        self._left_alone_until = 0.0

    async def of(self, skus: Sequence[str], quota: str = "") -> Found:
        """
        Return what is known of *skus*, and of this *quota* of each where one is named.

        Raises LedgerUnavailable when nobody can say it.
        """
        keys = [*skus, *(under(sku, quota) for sku in skus)] if quota else skus
        cached = await self._cached(keys)
        missing = [key for key in keys if key not in cached.found]
        if not missing:
            return Found(cached.found, frozenset(), cached.age_ms)
        try:
            rows = await self._from_ledger.ask(missing)
        except LedgerUnavailable as error:
            # One error is shared by all who asked together; each raises its own.
            raise LedgerUnavailable(str(error)) from error
        # What the cache knew is not undone by a ledger that may be behind it.
        asked_for = frozenset(key.partition(SEPARATOR)[0] for key in missing)
        return Found({**rows, **cached.found}, asked_for, cached.age_ms)

    async def _cached(self, keys: Sequence[str]) -> Cached:
        if time.monotonic() < self._left_alone_until:
            return _NOTHING
        try:
            return await self._from_cache.ask(keys)
        except CacheUnavailable as error:
            self._leave_alone(error)
            return _NOTHING

    async def _read_cache(self, keys: list[str]) -> Cached:
        return await self._cache.get(keys)

    async def _rebuild(self, keys: list[str]) -> dict[str, Kept]:
        rows = await self._ledger.get(keys)
        if time.monotonic() >= self._left_alone_until:
            try:
                await self._cache.rebuild(rows)
            except CacheUnavailable as error:
                self._leave_alone(error)
        return rows

    def _leave_alone(self, error: CacheUnavailable) -> None:
        now = time.monotonic()
        if now >= self._left_alone_until:
            logger.warning("answers come from the ledger: %s", error)
        self._left_alone_until = now + LEFT_ALONE_S


_NOTHING = Cached({}, None)
