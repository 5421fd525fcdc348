"""
The consumer: where each partition starts, and how often the broker is asked.

Stock Faust loses records at the start: what it fetched while the flow was stopped is dropped, and
a partition without a committed offset is never sought back. Here every partition is sought, once
its role knows where to go on, and to the earliest record where there is nothing to go on from.

Promise: between two polls that brought much there is no pause, and none while a changelog is
read; and no poll while the rounds have enough to do.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

import aiokafka
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.engine.app import App
from streams.engine.frames import FrameScheduler
from streams.engine.producer import Producer

#: The broker answers an empty fetch after this long. While a fetch is out, a partition that was
#: not in it waits, so this bounds that wait; 1,500 in stock Faust.
FETCH_WAIT_MS_MAX = 100
#: How long an unread partition may keep its node from being asked again; 100 ms in aiokafka.
PREFETCH_BACKOFF_S = 0.005
#: A poll that brings more than this is followed by the next at once.
MUCH = 20
#: Records a poll of a changelog brings at most: recovery has no latency to keep.
RECOVERY_RECORDS_MAX = 10_000
#: While the rounds have enough to do, a rebalance is looked for this often.
FULL_WAIT_S = 0.1
#: While no partition may be read, during a rebalance, look again this often.
NOTHING_TO_READ_S = 0.01
FETCH_BYTES_MAX = 16 * 1024 * 1024


class Fetched(OrderedDict[TopicPartition, Any]):
    """
    What aiokafka has fetched, handing out records as its parser made them.

    They have the offset, timestamp, key, value and headers that a `ConsumerRecord` is filled from
    one by one, which costs more than parsing does.
    """

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if isinstance(result, FetchResult):
            result._partition_records._consumer_record = _as_it_is  # noqa: SLF001
        super().__setitem__(tp, result)


def _as_it_is(_tp: TopicPartition, record: Any) -> Any:
    return record


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with an aiokafka consumer tuned for frames."""

    app: App

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes or leaves out these three; aiokafka reads them when it starts.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX  # noqa: SLF001
        consumer._fetch_max_bytes = FETCH_BYTES_MAX  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        """Start the consumer, then take the brake off its prefetching."""
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher  # noqa: SLF001
        fetcher._prefetch_backoff = PREFETCH_BACKOFF_S  # noqa: SLF001
        fetcher._records = Fetched(fetcher._records)  # noqa: SLF001

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  Faust's signature
        """Fetch what waits; far more of it at once while changelogs are read."""
        consumer = self._ensure_consumer()
        records_max = (
            RECOVERY_RECORDS_MAX if self.app.in_recovery else self.app.conf.broker_max_poll_records
        )
        return await self.call_thread(
            self._fetch_records,
            consumer,
            active_partitions,
            timeout=timeout,
            max_records=records_max,
        )

    async def committed(self, tps: Collection[TP]) -> dict[TP, int | None]:
        """Return what the group has committed for *tps*."""
        return await self.call_thread(self._committed, tps)  # type: ignore[no-any-return]

    async def _committed(self, tps: Collection[TP]) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        offsets = await asyncio.gather(
            *(consumer.committed(driver.ensure_aiokafka_TP(tp)) for tp in tps)
        )
        return dict(zip(tps, offsets, strict=True))

    async def seek_to(self, offsets: Mapping[TP, int]) -> None:
        """Seek inside the thread: aiokafka's futures belong to its loop."""
        await self.call_thread(self._seek_to, offsets)

    async def _seek_to(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        held = consumer.assignment()
        for each, offset in offsets.items():
            if (tp := driver.ensure_aiokafka_TP(each)) in held:
                consumer.seek(tp, offset)

    async def report(self, offsets: Mapping[TP, int]) -> bool:
        """Commit *offsets* to the group. A failure is no more than a late report."""
        return await self.call_thread(self._report, offsets)  # type: ignore[no-any-return]

    async def _report(self, offsets: Mapping[TP, int]) -> bool:
        consumer = self._ensure_consumer()
        held = consumer.assignment()
        mine = {
            tp: OffsetAndMetadata(offset, "")
            for each, offset in offsets.items()
            if (tp := driver.ensure_aiokafka_TP(each)) in held
        }
        if not mine:
            return True
        try:
            await consumer.commit(mine)
        except KafkaError as error:
            self.log.info("offsets were not reported: %r", error)
            return False
        return True


class Consumer(driver.Consumer):
    """Faust's consumer with a seek of its own and a pace that follows the load."""

    app: App
    _thread: ConsumerThread
    _brought_little = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scheduler = FrameScheduler(self._is_changelog_tp)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """
        Move nothing: the role seeks by itself once Faust is done.

        Faust comes here sometimes before the role knows where it goes on, and clears its queues
        afterwards. What is read meanwhile belongs to partitions that are not open, and is dropped.
        """

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Close the role's partitions, and let its round end before the rebalance goes on."""
        self.app.role.close()
        await super().on_partitions_revoked(revoked)
        await self.app.role.closed()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Let the role know that its partitions come anew."""
        self.app.role.coming()
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_to(self, offsets: Mapping[TP, int]) -> int:
        """Go on reading at *offsets*; return the last poll that may hold what was read before."""
        await self._thread.seek_to(offsets)
        # One poll may be on its way here.
        return self.scheduler.polls + 1

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109  Faust's signature
        """Do what Faust does, without its sleep of a second when no partition may be read yet."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        active = self._get_active_partitions()
        if not active:
            await self.sleep(NOTHING_TO_READ_S)
            return {}, active
        return await self._getmany(active, timeout), active

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  Faust's signature
        app = self.app
        rounds = app.role.rounds
        if self._brought_little and app.poll_pause and not app.in_recovery:
            await asyncio.sleep(app.poll_pause)
        while rounds.full and self.flow_active and not app.in_recovery:
            await rounds.room(FULL_WAIT_S)
        records = await self._thread.getmany(active_partitions, timeout)
        # An empty poll has waited for the broker already.
        self._brought_little = 0 < sum(map(len, records.values())) < MUCH
        return records

    async def committed(self, tps: Collection[TP]) -> dict[TP, int | None]:
        """Return what the group has committed for *tps*."""
        return await self._thread.committed(tps)

    async def report(self, offsets: Mapping[TP, int]) -> bool:
        """Tell the group how far we are; False when it did not take it."""
        return await self._thread.report(offsets)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Stay quiet: Faust looks for acknowledgements, and ours are not in its books."""


class Transport(driver.Transport):
    """Our consumer and producer."""

    Consumer = Consumer
    Producer = Producer
