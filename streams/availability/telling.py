"""
Tells channels what they may sell: what is due waits here, the way out, what was told last.

Promises: a channel is told the newest number, one request at a time, so an older number never
comes after a newer one of the same worker; a channel that is slow or away holds up itself alone.
What waits is a SKU, not a message, so however long it is away there is at most one push a SKU.
It is tried again until it is taken: nothing is ever parked, because a newer number replaces it.
Into the queue of a platform's API a number goes at once; what becomes of it there is the queue's.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import aiohttp
from faust.types import TP
from msgspec import Struct, json

from agents.availability import Balance, Newest, QuotaOf
from agents.channel_stock import (
    Channel,
    Channels,
    ChannelStock,
    Known,
    Push,
    Told,
    ToldMemory,
    due,
)
from schemas.errors import CacheUnavailable, ChannelUnavailable, Rejected
from streams.availability.cache import WRITE_WITHIN_S, address
from streams.availability.metrics import PushMetrics
from streams.availability.store import KEPT_MS, Entry, Store
from streams.clock import now_ms
from streams.ending import end
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: SKUs of one request; and one request at a time is on its way to a channel.
SKUS_MAX = 100
#: A request is answered within this, or has failed.
ANSWER_WITHIN_S = 10.0
#: Waits between attempts: the first, the longest; each shorter by up to a half, by chance.
RETRY_S_MIN, RETRY_S_MAX = 1.0, 60.0
#: What a channel says about a refusal is logged up to here.
_SAID_MAX = 200


class ChannelRefused(Rejected):
    """The channel does not take this, and will not take it the next time."""


# --- the way out ----------------------------------------------------------------------------------


class HttpChannel:
    """The port `ChannelStock` by HTTP: one POST of JSON to the shop's `stock_url`."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def push(self, channel: Channel, pushes: Sequence[Push]) -> None:
        """Tell *channel*. Any 2xx is yes; 408, 429 and 5xx may be yes later; the rest is no."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S),
                headers={"content-type": "application/json"},
            )
        body = json.encode({"channel": channel.name, "stock": [each._asdict() for each in pushes]})
        try:
            # A redirect would take our stock to an address that nobody wrote down.
            async with self._session.post(
                channel.url, data=body, allow_redirects=False
            ) as answered:
                status = answered.status
                said = "" if status < 300 else (await answered.text())[:_SAID_MAX]
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ChannelUnavailable(f"{channel.name}: {type(error).__name__}") from error
        if status in (408, 429) or status >= 500:
            raise ChannelUnavailable(f"{channel.name} answers {status}")
        if not 200 <= status < 300:
            raise ChannelRefused(f"{channel.name} answers {status}: {said!r}")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class Levels(Protocol):
    """The way to platforms' APIs: it only has to be queued for whoever may call them."""

    async def push(self, channel: Channel, pushes: Sequence[Push]) -> None:
        """Let them wait; raises ChannelUnavailable."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Ways:
    """The port `ChannelStock`: to a shop's own address, or else into the queue of its platform."""

    def __init__(self, http: HttpChannel, levels: Levels | None) -> None:
        self._http, self._levels = http, levels

    async def push(self, channel: Channel, pushes: Sequence[Push]) -> None:
        """Tell *channel*, or whoever tells it."""
        if channel.url:
            await self._http.push(channel, pushes)
        elif self._levels is not None:
            await self._levels.push(channel, pushes)
        else:
            raise AssertionError(f"{channel.name} has no address, and there is no queue")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
        if self._levels is not None:
            await self._levels.close()


# --- what was told last ---------------------------------------------------------------------------


class _ToldEntry(Struct, gc=False):
    version: int
    quantity: int


class RedisMemory:
    """
    The port `ToldMemory`: in this process and, for the next one, in Redis.

    In Redis under the guard of `store.py`, because a memory that went back in time would say that
    a channel knows what it does not. One that is lost costs one push more.
    """

    def __init__(self, settings: Settings) -> None:
        self._store: Store[_ToldEntry] = Store(
            address(settings), settings.topic_prefix, _ToldEntry, WRITE_WITHIN_S
        )
        #: Channel and SKU -> what it was told by us; of as many as are sold.
        self._told: dict[tuple[str, str], Told] = {}

    async def recall(self, channel: str, skus: Sequence[str]) -> Mapping[str, Told]:
        """Return what is remembered; nothing more of what only Redis knew while it is away."""
        found = {sku: told for sku in skus if (told := self._told.get((channel, sku)))}
        if asked := [sku for sku in skus if sku not in found]:
            try:
                read = await self._store.read([self._key(channel, sku) for sku in asked])
            except CacheUnavailable as error:
                logger.warning("what %s was told is not remembered: %s", channel, error)
                return found
            for sku, entry in zip(asked, read.entries, strict=True):
                if entry is not None:
                    found[sku] = Told(entry.version, entry.quantity)
        return found

    async def remember(self, channel: str, pushes: Sequence[Push]) -> None:
        """Take note, here and where Redis answers there."""
        # Not the balance's version: a new buffer changes the number and not the balance.
        at = now_ms()
        for push in pushes:
            self._told[channel, push.sku] = Told(push.version, push.quantity)
        try:
            await self._store.write(
                [
                    Entry(
                        self._key(channel, push.sku),
                        at,
                        json.encode(_ToldEntry(push.version, push.quantity)),
                    )
                    for push in pushes
                ],
                KEPT_MS,
            )
        except CacheUnavailable as error:
            logger.warning("what %s was told is kept by this process alone: %s", channel, error)

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()

    def _key(self, channel: str, sku: str) -> str:
        return f"{self._store.prefix}told:{channel}:{sku}"


# --- what waits -----------------------------------------------------------------------------------


class _Due(NamedTuple):
    """Why a channel has to be looked at for a SKU, and where that stands."""

    place: TP
    #: No record before it is needed to come by this again.
    offset: int
    #: None where only the quota moved, or its window.
    balance: Balance | None

    def and_then(self, later: "_Due | None") -> "_Due":
        """Return both as one: from the first of them on, at the newer balance."""
        if later is None:
            return self
        newer = _newer(self.balance, later.balance)
        return _Due(self.place, min(self.offset, later.offset), newer)


def _newer(one: Balance | None, other: Balance | None) -> Balance | None:
    if one is None or other is None:
        return one or other
    return other if other.version > one.version else one


class Telling:
    """What is due to every channel, and a task a channel that tells it."""

    def __init__(
        self, channels: Channels, port: ChannelStock, memory: ToldMemory, metrics: PushMetrics
    ) -> None:
        self._channels = channels
        self._port = port
        self._memory = memory
        self._metrics = metrics
        self._known = Known()
        #: Channel -> SKU -> what is due.
        self._due: dict[str, dict[str, _Due]] = {}
        #: Channel -> what is on its way, until it is taken.
        self._on_way: dict[str, dict[str, _Due]] = {}
        self._awake: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def offer(self, found: Newest, place: TP, offset: int, only: str | None = None) -> None:
        """Let what was *found*, from *offset* on, wait for every channel or *only* one."""
        # A ledger has more SKUs than ever move: where no quota may be added, nothing is kept.
        if only is None or found.quotas:
            self._known.take(found)
        self._wait(found.balances, found.quotas, place, offset, only)

    def turn(
        self, at_ms: int, place_of: Callable[[str], TP | None], positions: Mapping[TP, int]
    ) -> None:
        """Let the quotas whose window has opened or ended by now wait to be looked at."""
        for whose in self._known.turned(at_ms):
            # Where we read now: whoever begins there looks at every window anyway.
            if (place := place_of(whose.sku)) in positions:
                self._wait({}, (whose,), place, positions[place], None)

    def _wait(
        self,
        balances: Mapping[str, Balance],
        quotas: Collection[QuotaOf],
        place: TP,
        offset: int,
        only: str | None,
    ) -> None:
        for channel in self._channels.all():
            if only not in (None, channel.name):
                continue
            waiting = self._due.setdefault(channel.name, {})
            skus = balances.keys() | {sku for sku, quota in quotas if quota == channel.quota}
            for sku in skus:
                if self._channels.theirs(channel.name, sku):
                    one, before = _Due(place, offset, balances.get(sku)), waiting.get(sku)
                    waiting[sku] = before.and_then(one) if before else one
            if waiting:
                self._wake(channel.name)

    def waiting(self, channel: str) -> int:
        """Return how many SKUs wait for *channel*."""
        return len(self._due.get(channel, ())) + len(self._on_way.get(channel, ()))

    def floors(self, positions: Mapping[TP, int]) -> dict[TP, int]:
        """Return how far each partition may be forgotten: up to the first thing that waits."""
        floors = dict(positions)
        for waiting in (*self._due.values(), *self._on_way.values()):
            for place, offset, _ in waiting.values():
                if place in floors and offset < floors[place]:
                    floors[place] = offset
        return floors

    async def stop(self) -> None:
        """Let nothing wait any more: what was not taken is read again by whoever comes next."""
        await end(*self._tasks.values())
        self._tasks.clear()
        self._awake.clear()
        self._due.clear()
        self._on_way.clear()

    def check(self) -> None:
        """Raise what ended a task, if anything did."""
        for task in self._tasks.values():
            if task.done():
                task.result()

    def _wake(self, channel: str) -> None:
        if channel not in self._tasks:
            self._awake[channel] = asyncio.Event()
            self._tasks[channel] = asyncio.get_running_loop().create_task(self._tell(channel))
        self._awake[channel].set()

    async def _tell(self, channel: str) -> None:
        """Tell one channel what is due, request after request."""
        waiting, awake, pause = self._due[channel], self._awake[channel], RETRY_S_MIN
        gauge = self._metrics.due.labels(channel)
        while True:
            gauge.set(len(waiting))
            if not waiting:
                awake.clear()
                await awake.wait()
            some = self._on_way[channel] = dict(list(waiting.items())[:SKUS_MAX])
            for sku in some:
                del waiting[sku]
            try:
                await self._tell_some(channel, some)
            except ChannelUnavailable as error:
                for sku, one in some.items():
                    waiting[sku] = one.and_then(waiting.get(sku))
                self._on_way[channel] = {}
                self._metrics.told.labels(channel, "failed").inc(len(some))
                logger.warning("a channel is told again in %.0f s: %s", pause, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  no secret
                pause = min(pause * 2, RETRY_S_MAX)
                continue
            self._on_way[channel] = {}
            pause = RETRY_S_MIN

    async def _tell_some(self, name: str, some: Mapping[str, _Due]) -> None:
        channel = self._channels.channel(name)
        if channel is None:
            return
        told = await self._memory.recall(channel.remembered_as, list(some))
        at_ms = now_ms()
        pushes = [
            push
            for sku, one in some.items()
            if (push := self._due_now(channel, sku, one, told.get(sku), at_ms))
        ]
        if not pushes:
            return
        try:
            await self._port.push(channel, pushes)
        except ChannelRefused as error:
            if len(pushes) == 1:
                self._refused(channel, pushes[0], error)
                return
            # One that is refused must not keep the others from being told.
            for push in pushes:
                await self._tell_some(name, {push.sku: some[push.sku]})
            return
        self._metrics.told.labels(name, "taken").inc(len(pushes))
        await self._memory.remember(channel.remembered_as, pushes)

    def _due_now(
        self, channel: Channel, sku: str, one: _Due, told: Told | None, at_ms: int
    ) -> Push | None:
        balance = _newer(one.balance, self._known.balance(sku))
        if balance is None:
            return None
        left = self._known.left(QuotaOf(sku, channel.quota), balance, at_ms)
        if left is None:
            return None
        return due(channel, balance, left, self._channels.theirs(channel.name, sku), told)

    def _refused(self, channel: Channel, push: Push, error: ChannelRefused) -> None:
        """Pass over it until its next move: it would be refused again."""
        self._metrics.told.labels(channel.name, "refused").inc()
        logger.error("%s was not told of %s: %s", channel.name, push.sku, error)
