"""
Sends, and only comes back when the broker has everything.

Idempotent, `acks=all`. One batch per topic partition and round where it fits, since a batch is
what the broker appends atomically and what costs least. A send that fails is not repaired here:
the exception leaves, the process ends, and what was not committed is replayed.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver

from agents.letters import Headers, Outbox, Put
from streams.topics import BATCH_BYTES_MAX

Lane = tuple[str, int]
#: One for each batch, in the order in which they were handed over.
Acks = list["asyncio.Future[Any]"]


class Batch(BatchBuilder):
    """
    aiokafka's batch, filled without the wrapping of every record.

    Its own `append` has keyword arguments, serializers and a reading of the clock, which takes as
    long as putting the record in place.
    """

    _relative_offset: int

    def __init__(self, bytes_max: int = BATCH_BYTES_MAX) -> None:
        super().__init__(bytes_max, 0)
        self._now_ms = int(time.time() * 1000)

    def put(self, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """Put a record in place; False, and nothing more goes in, when it does not fit."""
        offset = self._relative_offset
        if self._builder.append(offset, self._now_ms, key, value, headers) is None:
            self.close()
            return False
        self._relative_offset = offset + 1
        return True


class Batches(Outbox):
    """
    What a round sends: for each lane as few batches as hold it, filled as it is said.

    A message goes into its batch while it is still at hand: collected first, a round's messages
    are cold by the time they are put in place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lanes: dict[str, list[Batch]] = {}

    def begin(self, lane: str) -> Put:
        """Return what fills the batches of *lane*; a message larger than one has its own."""
        batches = self.lanes[lane] = [Batch()]
        fill = batches[0].put

        def put(key: bytes | None, value: bytes, headers: Headers) -> None:
            nonlocal fill
            if not fill(key, value, headers):
                # The first record of a batch is taken whatever its size.
                batches.append(Batch())
                fill = batches[-1].put
                fill(key, value, headers)

        return put


class Producer(driver.Producer):
    """Faust's producer, made idempotent, with whole batches as its unit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        #: Lanes that were sent to before, so that their topic partition exists.
        self._known: set[Lane] = set()
        self._lanes: dict[str, Lane] = {}

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send_batches(self, batches: Batches) -> None:
        """Send what waits for every lane, in each lane's order, and wait until all is there."""
        await all_of(await self.hand_over(batches))

    async def hand_over(self, batches: Batches) -> Acks:
        """Put what waits for every lane on its way, and return what says that it arrived."""
        waves: list[list[tuple[Lane, Batch]]] = []
        for name, filled in batches.lanes.items():
            lane = self._lane(name)
            for nth, batch in enumerate(filled):
                if nth == len(waves):
                    waves.append([])
                waves[nth].append((lane, batch))
        return [await self.send_batch(lane, batch) for wave in waves for lane, batch in wave]

    def _lane(self, name: str) -> Lane:
        """Return the broker's names for *name*, which is `topic/partition` as declared."""
        lane = self._lanes.get(name)
        if lane is None:
            topic, _, partition = name.rpartition("/")
            lane = self._lanes[name] = (
                self.transport.app.role.settings.topic(topic),
                int(partition),
            )
        return lane

    async def send_batch(self, lane: Lane, batch: Batch) -> "asyncio.Future[Any]":
        """
        Hand over *batch*; the future is its acknowledgement.

        aiokafka's own `send_batch` looks up metadata anew and wraps the future; where nothing of
        the lane waits, neither is needed.
        """
        producer = self._ensure_producer()
        waiting = producer._message_accumulator  # noqa: SLF001
        tp = TopicPartition(*lane)
        usual = lane in self._known and not (waiting._closed or waiting._exception)  # noqa: SLF001
        if usual and not waiting._batches.get(tp):  # noqa: SLF001
            return waiting._append_batch(batch, tp).future  # type: ignore[no-any-return]  # noqa: SLF001
        sent: asyncio.Future[Any] = await producer.send_batch(
            batch, tp.topic, partition=tp.partition
        )
        self._known.add(lane)
        return sent


async def all_of(acks: Sequence["asyncio.Future[Any]"]) -> list[Any]:
    """Return every acknowledgement, or raise the first failure."""
    if len(acks) == 1:
        return [await acks[0]]
    return await asyncio.gather(*acks)
