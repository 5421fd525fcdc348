"""
Sends, and only comes back when the broker has everything.

Idempotent, `acks=all`. One batch per topic partition and round where it fits, since a batch is
what the broker appends atomically and what costs least. A send that fails is not repaired here:
the exception leaves, the process ends, and what was not committed is replayed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver

from agents.letters import Addressed
from streams.topics import BATCH_BYTES_MAX

Lane = tuple[str, int]


class Producer(driver.Producer):
    """Faust's producer, made idempotent, with whole batches as its unit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        #: Lanes that were sent to before, so that their topic partition exists.
        self._known: set[Lane] = set()

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send_batches(self, lanes: Mapping[Lane, Sequence[Addressed]]) -> None:
        """Send what waits for every lane, in each lane's order, and wait until all is there."""
        waves: list[list[tuple[Lane, BatchBuilder]]] = []
        for lane, letters in lanes.items():
            for nth, batch in enumerate(fill(letters)):
                if nth == len(waves):
                    waves.append([])
                waves[nth].append((lane, batch))
        acks = [await self.send_batch(lane, batch) for wave in waves for lane, batch in wave]
        await all_of(acks)

    async def send_batch(self, lane: Lane, batch: BatchBuilder) -> "asyncio.Future[Any]":
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


def new_batch(bytes_max: int = BATCH_BYTES_MAX) -> BatchBuilder:
    """Return an empty batch that takes about *bytes_max*."""
    return BatchBuilder(bytes_max, 0)


def fill(letters: Sequence[Addressed]) -> list[BatchBuilder]:
    """Return *letters* in as few batches as hold them; one that is larger has its own."""
    batch = new_batch()
    batches = [batch]
    append = batch.append
    for key, value, headers in letters:
        if append(key=key, value=value, timestamp=None, headers=headers) is None:
            # The first record of a batch is taken whatever its size.
            batch = new_batch()
            batches.append(batch)
            append = batch.append
            append(key=key, value=value, timestamp=None, headers=headers)
    return batches
