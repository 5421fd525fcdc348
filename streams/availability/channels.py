"""
The role `channel-stock`: stock events out to the shops' channels.

At least once: the group's offset of a partition never passes what a channel has not yet taken, so
whoever reads on after a crash tells it. The rounds themselves wait for nobody: they only note what
is due (`telling.py`).

A channel that is new, or whose buffer, address, quota or names were changed, may have to be told of
a SKU that does not move. So at every start and every such change the balances are read from the
ledger and offered too: what the channel was told already is not told again.

A shop is told at its own address, or by its platform's API where a sender can: who that is, is
looked at again now and then.

A shop's number is made of a balance and of its quota, which come by different events. What came
before the shop was told is the ledger's to say: where it was behind us then, the shop is looked at
once more when it has caught up, and may have been told an older number, or one without its quota.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from faust.types import TP
from typing_extensions import override

from agents.availability import Balance, Newest, Quota, QuotaOf, newest
from agents.channel_stock import Channels
from schemas.errors import LedgerUnavailable
from streams.availability.asking import LedgerBalances
from streams.availability.levels import LevelQueue
from streams.availability.metrics import PushMetrics
from streams.availability.telling import HttpChannel, RedisMemory, Telling, Ways
from streams.clock import now_ms
from streams.ending import end
from streams.engine.agent import Positions
from streams.engine.rounds import Work
from streams.reference import Follower
from streams.settings import Settings
from streams.topics import Topic

if TYPE_CHECKING:
    from streams.engine.app import App


logger = logging.getLogger(__name__)

#: Balances of one page of the ledger.
_PAGE = 1_000
#: No further page is read for a channel for which so many SKUs wait.
_WAITING_MAX = 5_000
#: How soon that is looked at again, and a ledger that is away, s.
_LOOK_AGAIN_S, _AWAY_S = 0.2, 2.0
#: How often it is looked who can be told by an API, s.
_LOOK_WHO_S = 5.0


class ChannelTeller(Positions):
    """Offers every new balance to the channels."""

    def __init__(
        self,
        name: str,
        topics: Sequence[Topic],
        memory: Callable[[], RedisMemory],
        ledger: Callable[[], LedgerBalances],
        levels: Callable[[], LevelQueue] | None,
    ) -> None:
        super().__init__(name, topics)
        self._make_memory, self._make_ledger, self._make_levels = memory, ledger, levels
        self._parts: _Parts | None = None
        self._committed: dict[TP, int] = {}

    @override
    def bind(self, app: "App", settings: Settings) -> None:
        super().bind(app, settings)
        self._pushes = PushMetrics(app.metrics.registry)

    @override
    async def starts(self, tps: Sequence[TP]) -> Mapping[TP, int | None]:
        """Where the group has committed."""
        self._committed.clear()
        return await self.consumer.committed(tps)

    @override
    async def work(self, work: Work) -> None:
        """Note what is due, and go on."""
        batches = self.batches(work)
        parts = self._parts or await self.patiently(self._prepare)
        if parts is None:
            return
        for batch in batches:
            found = newest(batch.records)
            self._pushes.unread.inc(found.unread)
            place = TP(self.settings.topic(batch.topic), batch.partition)
            parts.telling.offer(found, place, batch.start)
        self.moved(batches)

    async def _prepare(self) -> "_Parts":
        """Read the reference data whole: without it nobody knows whom to tell."""
        channels = Channels()
        follower = Follower(self.settings, channels.put)
        try:
            await follower.catch_up()
        except BaseException:
            await follower.stop()
            raise
        follower.follow()
        ledger = Ledger(self._make_ledger(), self.topics[0])
        levels = self._make_levels() if self._make_levels else None
        await _know(channels, levels)
        self._parts = _Parts(channels, follower, self._make_memory(), ledger, levels, self._pushes)
        return self._parts

    def _place(self, sku: str) -> TP | None:
        """Return the partition of *sku*; None where another worker has it."""
        name = self.topics[0]
        tp = TP(self.settings.topic(name), self.app.partition_of(name, sku.encode()))
        return tp if tp in self.open else None

    @override
    async def tend(self) -> None:
        """Commit what was taken; offer what reference data or the clock changed; report."""
        await self._commit()
        if self.open and (parts := self._parts or await self.patiently(self._prepare)):
            parts.check()
            parts.offer_all(self._place, self._next)
            parts.telling.turn(now_ms(), self._place, self._next)
        # `report` would commit what was read; what was taken is committed already.
        self._reported = self.positions()
        await self.report()

    @override
    async def closed(self) -> None:
        """Commit, and leave what was not taken to whoever gets these partitions."""
        await super().closed()
        await self._commit()
        if self._parts is not None:
            parts, self._parts = self._parts, None
            await parts.close()

    async def _commit(self) -> None:
        floors = self._parts.telling.floors(self._next) if self._parts else self._next
        news = {tp: at for tp, at in floors.items() if self._committed.get(tp) != at}
        if news and await self.consumer.report(news):
            self._committed.update(news)


class Ledger:
    """What the ledger knows, waited for."""

    def __init__(self, balances: LedgerBalances, topic: str) -> None:
        self._balances = balances
        self._topic = topic

    async def page(self, after: str, quota: str) -> list[tuple[Balance, Quota]]:
        """Return the next SKUs after this one, each with its *quota* of this name."""
        return await _answered(lambda: self._balances.page(after, _PAGE, quota))

    async def has(self, positions: Mapping[TP, int]) -> bool:
        """Say whether it has everything that came before these *positions*."""
        there = await _answered(lambda: self._balances.positions(self._topic))
        return all(there.get(tp.partition, 0) >= at for tp, at in positions.items())

    async def close(self) -> None:
        """Close the connections."""
        await self._balances.close()


async def _know(channels: Channels, levels: LevelQueue | None) -> None:
    """Look who can be told by an API, before anything is; a PostgreSQL away is not waited for."""
    if levels is None:
        return
    try:
        channels.by_api(await levels.shops())
    except LedgerUnavailable as error:
        logger.warning("who is told by an API is not known yet: %s", error)


T = TypeVar("T")


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await ask()
        except LedgerUnavailable as error:
            logger.warning("channels are told of what moves alone: %s", error)
            await asyncio.sleep(_AWAY_S)


class _Parts:
    """What the role has from its first round to its next rebalance."""

    def __init__(
        self,
        channels: Channels,
        follower: Follower,
        memory: RedisMemory,
        ledger: Ledger,
        levels: LevelQueue | None,
        metrics: PushMetrics,
    ) -> None:
        self._channels = channels
        self._follower = follower
        self._memory = memory
        self._ledger = ledger
        self._levels = levels
        self._port = Ways(HttpChannel(), levels)
        self._looking = asyncio.get_running_loop().create_task(self._look()) if levels else None
        self.telling = Telling(channels, self._port, memory, metrics)
        #: Channel -> the task that offers it every balance.
        self._offering: dict[str, asyncio.Task[None]] = {}
        #: Channels that were offered what a ledger said that was behind us, and where we were then.
        self._early: dict[str, Mapping[TP, int]] = {}
        self._catching_up: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise what ended a part, if anything did."""
        self._follower.check()
        self.telling.check()
        if self._looking is not None and self._looking.done():
            self._looking.result()
        for name, task in list(self._offering.items()):
            if task.done():
                del self._offering[name]
                task.result()
        if self._catching_up is not None and self._catching_up.done():
            done, self._catching_up = self._catching_up, None
            done.result()

    def offer_all(self, place: Callable[[str], TP | None], positions: Mapping[TP, int]) -> None:
        """Begin to offer every balance to the channels that were changed."""
        told = {channel.name: channel.quota for channel in self._channels.all()}
        loop = asyncio.get_running_loop()
        if self._early and self._catching_up is None:
            self._catching_up = loop.create_task(self._catch_up())
        for name in list(self._channels.changed):
            if name in self._offering:
                continue  # once more when that is done: it may have passed what changed
            self._channels.changed.discard(name)
            if name in told:
                work = self._offer_all(name, told[name], place, positions)
                self._offering[name] = loop.create_task(work)

    async def _offer_all(
        self, name: str, quota: str, place: Callable[[str], TP | None], positions: Mapping[TP, int]
    ) -> None:
        here = dict(positions)
        if not await self._ledger.has(here):
            self._early[name] = here
        after, page = "", None
        while page is None or len(page) == _PAGE:
            page = await self._ledger.page(after, quota)
            for balance, left in page:
                after = balance.sku
                if (tp := place(after)) in positions:
                    quotas = {QuotaOf(after, quota): left} if quota else {}
                    # Where we read now: nothing before it is needed to come by this again.
                    self.telling.offer(Newest({after: balance}, quotas), tp, positions[tp], name)
            while self.telling.waiting(name) > _WAITING_MAX:  # noqa: ASYNC110  rare, and slow
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _look(self) -> None:
        """Look again and again which shops' platforms can be told by their APIs."""
        while self._levels is not None:
            shops = await _answered(self._levels.shops)
            self._channels.by_api(shops)
            await asyncio.sleep(_LOOK_WHO_S)

    async def _catch_up(self) -> None:
        while self._early:
            for name, positions in list(self._early.items()):
                if await self._ledger.has(positions):
                    del self._early[name]
                    self._channels.changed.add(name)
            await asyncio.sleep(_AWAY_S)  # nobody would tell us

    async def close(self) -> None:
        """End all of it."""
        beside = [task for task in (self._catching_up, self._looking) if task]
        await end(*self._offering.values(), *beside)
        await self.telling.stop()
        await self._follower.stop()
        await self._port.close()
        await self._memory.close()
        await self._ledger.close()
