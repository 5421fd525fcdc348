"""
The job as a plain loop on confluent-kafka: consume a batch, decide, produce, flush, commit.

    python -m tests.bench.ways.confluent_loop KAFKA PREFIX PARTITIONS DATADIR

Rows, changelog and promise are those of `aiokafka_loop`; the client is librdkafka.
"""

import signal
import sys
from typing import Any

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)

from tests.bench.ways.deciding import Fields, decide

_BATCH_RECORDS_MAX = 2_000


class Loop:
    """One consumer, one producer, and the rows of the partitions that are assigned."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._kafka = kafka
        self._commands = f"{prefix}stock-commands"
        self._answers = f"{prefix}order-commands"
        self._events = f"{prefix}stock-events"
        self._changelog = f"{prefix}plain-changelog"
        self._group = f"{prefix}confluent"
        self._rows: dict[int, dict[str, Fields]] = {}
        self._consumer = Consumer(self._reading(self._group))
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 500_000,
            }
        )
        self._failed: list[KafkaError] = []
        self._going_on = True

    def stop(self, *_: Any) -> None:
        """End after the batch at work."""
        self._going_on = False

    def run(self) -> None:
        """Work until told to stop."""
        self._consumer.subscribe(
            [self._commands], on_assign=self._assigned, on_revoke=self._revoked
        )
        try:
            while self._going_on:
                batch = self._consumer.consume(_BATCH_RECORDS_MAX, timeout=0.2)
                if batch:
                    self._work_through(batch)
        finally:
            self._consumer.close()

    def _work_through(self, batch: list[Message]) -> None:
        for message in batch:
            if message.error():
                raise RuntimeError(message.error())
            partition = message.partition()
            _, at_ms = message.timestamp()
            decided = decide(self._rows[partition], orjson.loads(message.value()), at_ms)
            for key, row in decided.rows:
                self._send(self._changelog, key, row, partition=partition)
            if decided.event:
                self._send(self._events, decided.event["sku"], decided.event)
            if decided.answer:
                self._send(self._answers, decided.answer["order"], decided.answer)
            self._producer.poll(0)
        self._producer.flush()
        if self._failed:
            raise RuntimeError(self._failed[0])
        self._consumer.commit(asynchronous=False)

    def _send(self, topic: str, key: str, fields: Fields, **where: Any) -> None:
        value = orjson.dumps(fields)
        self._producer.produce(topic, value, key, on_delivery=self._delivered, **where)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def _revoked(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        for tp in revoked:
            self._rows.pop(tp.partition, None)

    def _assigned(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        """Read the rows back, up to the end of every partition."""
        reader = Consumer(self._reading(f"{self._group}-changelog", end=True))
        self._rows = {tp.partition: {} for tp in assigned}
        starts = [TopicPartition(self._changelog, p, OFFSET_BEGINNING) for p in self._rows]
        reader.assign(starts)
        left = set(self._rows)
        while left:
            for message in reader.consume(_BATCH_RECORDS_MAX, timeout=0.2):
                if (error := message.error()) is None:
                    row = orjson.loads(message.value())
                    self._rows[message.partition()][message.key().decode()] = row
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise RuntimeError(error)
        reader.close()

    def _reading(self, group: str, *, end: bool = False) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._kafka,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": end,
        }


def main() -> None:
    """Run the loop until SIGTERM."""
    kafka, prefix, *_ = sys.argv[1:]
    loop = Loop(kafka, prefix)
    signal.signal(signal.SIGTERM, loop.stop)
    loop.run()


if __name__ == "__main__":
    main()
