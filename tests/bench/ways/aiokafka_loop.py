"""
The job as a plain loop on aiokafka: take a batch, decide, send, wait, commit the offsets.

    python -m tests.bench.ways.aiokafka_loop KAFKA PREFIX PARTITIONS DATADIR

Rows are in memory and go to a compacted changelog, which is read back when partitions are assigned.
Acknowledged by all replicas, idempotent, the offsets committed after everything else. What a crash
leaves: a batch is done again. Its answers are repeated; where the rows were already kept its events
may be missing, and where only the first of a command's two rows was, it is held twice.
"""

import asyncio
import signal
import sys
from typing import Any

import orjson
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)

from tests.bench.ways.deciding import Fields, decide

_BATCH_RECORDS_MAX = 2_000


class Loop(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped
    """One consumer, one producer, and the rows of the partitions that are assigned."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._kafka = kafka
        self._commands = f"{prefix}stock-commands"
        self._answers = f"{prefix}order-commands"
        self._events = f"{prefix}stock-events"
        self._changelog = f"{prefix}plain-changelog"
        self._rows: dict[int, dict[str, Fields]] = {}
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka,
            group_id=f"{prefix}aiokafka",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._producer = AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", enable_idempotence=True, linger_ms=5
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._producer.start()
        await self._consumer.start()
        try:
            self._consumer.subscribe([self._commands], listener=self)
            while True:
                batch = await self._consumer.getmany(timeout_ms=200, max_records=_BATCH_RECORDS_MAX)
                if batch:
                    await self._work_through(batch)
        finally:
            await self._consumer.stop()
            await self._producer.stop()

    async def _work_through(self, batch: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        on_their_way = []
        for tp, records in batch.items():
            rows = self._rows[tp.partition]
            for record in records:
                decided = decide(rows, orjson.loads(record.value), record.timestamp)
                for key, row in decided.rows:
                    on_their_way.append(
                        await self._send(self._changelog, key, row, partition=tp.partition)
                    )
                if decided.event:
                    sku = decided.event["sku"]
                    on_their_way.append(await self._send(self._events, sku, decided.event))
                if decided.answer:
                    order = decided.answer["order"]
                    on_their_way.append(await self._send(self._answers, order, decided.answer))
        await asyncio.gather(*on_their_way)
        await self._consumer.commit({tp: rs[-1].offset + 1 for tp, rs in batch.items()})

    async def _send(self, topic: str, key: str, fields: Fields, **where: Any) -> Any:
        return await self._producer.send(topic, orjson.dumps(fields), key=key.encode(), **where)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Forget the rows: another one has them now."""
        for tp in revoked:
            self._rows.pop(tp.partition, None)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Read the rows back."""
        reader = AIOKafkaConsumer(bootstrap_servers=self._kafka, enable_auto_commit=False)
        await reader.start()
        try:
            tps = [TopicPartition(self._changelog, tp.partition) for tp in assigned]
            self._rows = {tp.partition: {} for tp in tps}
            reader.assign(tps)
            await reader.seek_to_beginning(*tps)
            ends = await reader.end_offsets(tps)
            while [tp for tp in tps if await reader.position(tp) < ends[tp]]:
                for tp, records in (await reader.getmany(timeout_ms=200)).items():
                    self._rows[tp.partition].update(
                        (record.key.decode(), orjson.loads(record.value)) for record in records
                    )
        finally:
            await reader.stop()


async def main() -> None:
    """Run the loop until SIGTERM."""
    kafka, prefix, *_ = sys.argv[1:]
    work = asyncio.create_task(Loop(kafka, prefix).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(main())
