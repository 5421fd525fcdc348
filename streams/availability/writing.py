"""
The role `availability`: stock events into the cache.

Its position is its group's, committed after the write. While Redis is away it waits, however long,
and goes on where it was, so that nothing is passed over; a worker's other roles do not notice.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faust.types import TP
from typing_extensions import override

from agents.availability import Balance, Quota, QuotaOf, newer, newest
from schemas.errors import CacheUnavailable
from streams.availability.cache import RedisCache
from streams.availability.metrics import WriterMetrics
from streams.engine.agent import Agent, Output
from streams.engine.rounds import Batch
from streams.settings import Settings
from streams.topics import Topic

if TYPE_CHECKING:
    from streams.engine.app import App

#: How often the cache is told up to when everything is in it.
HEARD_EVERY_S = 0.5


class CacheWriter(Agent):
    """Keeps *cache* at the newest balance and quotas of every SKU."""

    def __init__(self, name: str, topics: Sequence[Topic], cache: RedisCache) -> None:
        super().__init__(name, topics, self._write)
        self._cache = cache
        self._hear_at = 0.0
        #: Partition -> where its log ended, and when that was so.
        self._end_seen: dict[TP, tuple[int, float]] = {}

    @override
    def bind(self, app: "App", settings: Settings) -> None:
        super().bind(app, settings)
        self._unread = WriterMetrics(app.metrics.registry).unread

    @override
    async def patiently(
        self, attempt: Callable[[], Awaitable[Any]], wanted: Callable[[], bool] = lambda: True
    ) -> Any:
        """Do *attempt* until it is done: a cache that is away must not end keepers beside it."""
        while True:
            try:
                return await super().patiently(attempt, wanted)
            except CacheUnavailable:
                continue

    async def _write(self, batches: Sequence[Batch]) -> Sequence[Output]:
        balances: dict[str, Balance] = {}
        quotas: dict[QuotaOf, Quota] = {}
        unread = 0
        for batch in batches:
            frame = newest(batch.records)
            balances = newer(balances, frame.balances)
            quotas = newer(quotas, frame.quotas)
            unread += frame.unread
        await self._cache.put(list(balances.values()), quotas)
        self._unread.inc(unread)
        return ()

    @override
    def opened(self, starts: Mapping[TP, int]) -> None:
        super().opened(starts)
        self._end_seen.clear()

    @override
    async def tend(self) -> None:
        """Commit; and say up to when everything is written that there was."""
        await super().tend()
        if (now := time.monotonic()) < self._hear_at:
            return
        self._hear_at = now + HEARD_EVERY_S
        if done := self._done(now):
            try:
                await self._cache.hear(done)
            except CacheUnavailable:
                # The next round says so louder; the age in the answers grows meanwhile.
                return

    def _done(self, now: float) -> dict[int, int]:
        """Return up to how long ago, ms, each open partition is written."""
        done = {}
        for tp in self.open:
            if (end := self.consumer.highwater(tp)) is not None:
                heard, self._end_seen[tp] = written_to(
                    self.position(tp), end, now, self._end_seen.get(tp, (end, now))
                )
                if heard is not None:
                    done[tp.partition] = round((now - heard) * 1000)
        return done

    @override
    async def closed(self) -> None:
        """Commit, and close the connections; the next write opens them again."""
        await super().closed()
        await self._cache.close()


def written_to(
    position: int, end: int, now: float, seen: tuple[int, float]
) -> tuple[float | None, tuple[int, float]]:
    """
    Return up to when all is written, None where that is not known, and the end to look for next.

    Under load the log is always a little ahead of the *position*. So what counts is an *end* that
    it had a moment ago: *seen*, with when that was.
    """
    if position >= end:
        return now, (end, now)
    if position >= seen[0]:
        return seen[1], (end, now)
    return None, seen
