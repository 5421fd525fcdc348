"""
What open pages are told: that what they show has changed, who edits it, how old the data are.

One reader of PostgreSQL for all of them: four times a second it asks for a mark of each order, SKU
and exception that some page has open, in one query each, and wakes those whose mark is another.
PostgreSQL is what the pages show, so what they are told is never ahead of what they then read.
As often it asks Redis who has one of these open to edit it, apart from that: a Redis that does not
answer holds nothing up.

How old the data are: the ledger is as of the moment at which it had everything that the keepers
had told. That moment is looked for by comparing the topics' ends with the ledger's positions; while
it falls behind, or Kafka or PostgreSQL does not answer, the moment stands still and pages turn
amber. The time of a row would not do: nothing happens to most orders for hours.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from schemas.errors import BrokerUnavailable, OrderflowError
from streams.annotating.leases import Leases
from streams.clock import now_ms
from streams.ending import end
from streams.reads import Reads
from streams.settings import Settings
from streams.topics import ORDER_EVENTS, STOCK_EVENTS

logger = logging.getLogger(__name__)

#: How often the marks, and who edits, are asked for: an open page knows of a change within this
#: and a query.
LOOK_EVERY_S = 0.25
#: How often it is asked whether the ledger has everything.
AGE_EVERY_S = 2.0
#: A page hears at least so often, also when nothing changed: how old the data are.
TELL_EVERY_S = 5.0
#: A browser comes back by itself after so long, and shows anew who it is.
STREAM_S_MAX = 300.0
#: Open pages at a time, in all and of one user; more are kept up to date by their own asking.
STREAMS_MAX = 1_500
STREAMS_OF_USER_MAX = 20
#: How often a stream looks whether the process ends.
_LOOK_UP_S = 0.5
_KAFKA_S = 10.0

#: What a page shows: ("order", key), ("sku", name) or ("exception", id).
Shown = tuple[str, str]
#: What people edit by a form that takes a lease.
_EDITED = frozenset({"order", "exception"})


class Live:
    """What changed, and how old the data are; `run` keeps it up to date until cancelled."""

    def __init__(self, settings: Settings, reads: Reads, leases: Leases) -> None:
        self._settings = settings
        self._reads = reads
        self._leases = leases
        self._open: Counter[Shown] = Counter()
        self._users: Counter[str] = Counter()
        self._marks: dict[Shown, str] = {}
        self._editors: dict[Shown, str] = {}
        self._changed = asyncio.Condition()
        self._consumer: Any = None
        #: The ledger had everything then, ms; None: nobody knows yet.
        self.as_of_ms: int | None = None
        #: Why the last look failed, or nothing.
        self.why = "the first look has not ended"
        self.ending: Callable[[], bool] = lambda: False

    async def run(self) -> None:
        """Look, again and again; a part that is away is waited for."""
        tasks = [
            asyncio.create_task(self._again(self._look, LOOK_EVERY_S, "marks")),
            asyncio.create_task(self._again(self._look_for_editors, LOOK_EVERY_S, "editors")),
            asyncio.create_task(self._again(self._age, AGE_EVERY_S, "age")),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(*tasks)
            await self._forget_consumer()

    async def _again(
        self, look: Callable[[], Coroutine[Any, Any, None]], every_s: float, what: str
    ) -> None:
        failed = ""
        while True:
            try:
                await look()
            except OrderflowError as error:
                if str(error) != failed:
                    logger.warning("the %s of open pages are not known: %s", what, error)
                failed = str(error)
            else:
                failed = ""
            if what == "marks":
                self.why = failed
            await asyncio.sleep(every_s)

    async def _look(self) -> None:
        """Ask for the marks of what is open, and wake the pages whose mark is another."""
        if not self._open:
            if self.why:
                await self._reads.marks([], [])
            return
        wanted = list(self._open)
        orders, skus, exceptions = (
            [name for kind, name in wanted if kind == of] for of in ("order", "sku", "exception")
        )
        found = await self._reads.marks(orders, skus, exceptions)
        before, self._marks = self._marks, {each: found[each] for each in wanted if each in found}
        await self._wake(before, self._marks)

    async def _look_for_editors(self) -> None:
        """Ask who edits what is open, and wake the pages for which that is another."""
        wanted = [shown for shown in self._open if shown[0] in _EDITED]
        before, self._editors = self._editors, await self._leases.marks(wanted)
        await self._wake(before, self._editors)

    async def _wake(self, before: Mapping[Shown, str], after: Mapping[Shown, str]) -> None:
        if any(before.get(shown) != mark for shown, mark in after.items()):
            async with self._changed:
                self._changed.notify_all()

    def _mark(self, shown: Shown) -> str | None:
        """Return what is another after every change that a page shows; None: not known yet."""
        mark, editors = self._marks.get(shown), self._editors.get(shown)
        if mark is None or shown[0] not in _EDITED:
            return mark
        return None if editors is None else f"{mark} {editors}"

    async def _age(self) -> None:
        """Take note of the moment if the ledger has everything that was told by now."""
        asked_ms = now_ms()
        try:
            async with asyncio.timeout(_KAFKA_S):
                ends = await self._ends()
        except (KafkaError, TimeoutError) as error:
            await self._forget_consumer()
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        stands = {
            (row["topic"], row["partition"]): row["next"] for row in await self._reads.positions()
        }
        if all(stands.get(place, 0) >= at for place, at in ends.items()):
            self.as_of_ms = asked_ms

    async def _ends(self) -> Mapping[tuple[str, int], int]:
        if self._consumer is None:
            made = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka, enable_auto_commit=False
            )
            self._consumer = made
            await made.start()
        names = {
            self._settings.topic(each.name): each.name for each in (ORDER_EVENTS, STOCK_EVENTS)
        }
        places = [
            aiokafka.TopicPartition(name, number)
            for name in names
            for number in range(self._settings.partitions)
        ]
        ends = await self._consumer.end_offsets(places)
        return {(names[place.topic], place.partition): at for place, at in ends.items()}

    async def _forget_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def told(self, shown: Shown, user: str) -> AsyncIterator[str]:
        """
        Yield server-sent events for a page: `changed` with the mark, `age` with the data's time.

        Ends at once where too many are open; the page then asks by itself.
        """
        if self._open.total() >= STREAMS_MAX or self._users[user] >= STREAMS_OF_USER_MAX:
            yield "event: full\ndata: 0\n\n"
            return
        self._open[shown] += 1
        self._users[user] += 1
        try:
            async for event in self._events(shown):
                yield event
        finally:
            _less(self._open, shown)
            _less(self._users, user)

    async def _events(self, shown: Shown) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        until, told_at, mark = loop.time() + STREAM_S_MAX, 0.0, None
        while loop.time() < until and not self.ending():
            if (now := self._mark(shown)) is not None and now != mark:
                # The first mark is told too: the page may have been read before this began.
                mark = now
                yield f"event: changed\ndata: {mark}\n\n"
            if loop.time() - told_at >= TELL_EVERY_S:
                told_at = loop.time()
                yield f"event: age\ndata: {self.as_of_ms or 0} {now_ms()}\n\n"
            await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_UP_S), self._changed:
                await self._changed.wait()
        except TimeoutError:
            return


def _less(counter: Counter[Any], name: Any) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
