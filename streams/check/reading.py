"""
Reads topics in bulk: every partition from its first record to the end it had at the start.

Without a group and without a trace on the broker. What comes after the end is not looked at, so
the check of a running system ends.
"""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import aiokafka
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.errors import BrokerUnavailable, Misconfigured
from streams.settings import Settings

#: A partition that brings nothing for this long, although its end was not reached.
SILENCE_S = 30.0
_FETCH_BYTES = 50 * 1024 * 1024
_FETCH_BYTES_A_PARTITION = 4 * 1024 * 1024
_RECORDS_AT_ONCE = 5_000

Spans = dict[tuple[str, int], int]


class Taker(Protocol):
    """Whoever the records are for: the checker, say."""

    def take(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Take *records* of one partition, in the order of their offsets."""


class Reader:
    """Reads the topics of one installation."""

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        self._settings = settings
        self._topics = list(topics)
        self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_FETCH_BYTES_A_PARTITION,
            fetch_max_wait_ms=100,
            client_id="orderflow-check",
        )
        #: By declared topic and partition: the first offset, and the end when the check began.
        self.begins: Spans = {}
        self.ends: Spans = {}

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await self._learn()
        except (KafkaError, OSError) as error:
            await self._consumer.stop()
            message = f"Kafka at {self._settings.kafka} does not answer: {type(error).__name__}"
            raise BrokerUnavailable(message) from error
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._consumer.stop()

    async def _learn(self) -> None:
        """Find the partitions, their first offsets and their ends."""
        names = {self._settings.topic(topic): topic for topic in self._topics}
        places = {
            TopicPartition(name, partition): (names[name], partition)
            for name, partitions in (await self._partitions(list(names))).items()
            for partition in partitions
        }
        begins = await self._consumer.beginning_offsets(list(places))
        ends = await self._consumer.end_offsets(list(places))
        self.begins = {place: begins[tp] for tp, place in places.items()}
        self.ends = {place: ends[tp] for tp, place in places.items()}

    async def _partitions(self, names: list[str]) -> dict[str, list[int]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka)
        await admin.start()
        try:
            described = await admin.describe_topics(names)
        finally:
            await admin.close()
        for topic in described:
            if topic["error_code"]:
                name = topic["topic"]
                raise Misconfigured(f"No topic {name}: run `orderflow topics apply` first.")
        return {
            topic["topic"]: sorted(part["partition"] for part in topic["partitions"])
            for topic in described
        }

    async def read(self, topics: Iterable[str], taker: Taker) -> None:
        """Hand every record of *topics* to *taker*."""
        wanted = set(topics)
        left = {
            TopicPartition(self._settings.topic(topic), partition): end
            for (topic, partition), end in self.ends.items()
            if topic in wanted and end > self.begins[topic, partition]
        }
        names = {self._settings.topic(topic): topic for topic in wanted}
        if not left:
            return
        self._consumer.assign(list(left))
        await self._consumer.seek_to_beginning(*left)
        heard_at = time.monotonic()
        while left:
            batches = await self._consumer.getmany(
                *left, timeout_ms=500, max_records=_RECORDS_AT_ONCE
            )
            for tp, records in batches.items():
                heard_at = time.monotonic()
                self._hand_over(taker, names[tp.topic], tp, records, left)
            await self._drop_finished(left)
            if time.monotonic() - heard_at > SILENCE_S:
                tp = next(iter(left))
                raise BrokerUnavailable(f"{tp.topic}/{tp.partition} brings nothing before its end.")

    def _hand_over(
        self,
        taker: Taker,
        topic: str,
        tp: TopicPartition,
        records: Sequence[Any],
        left: dict[TopicPartition, int],
    ) -> None:
        end = left[tp]
        if records[-1].offset >= end:
            records = [record for record in records if record.offset < end]
        taker.take(topic, tp.partition, records)

    async def _drop_finished(self, left: dict[TopicPartition, int]) -> None:
        """A partition whose position is at its end is done, also where compaction left a hole."""
        for tp in list(left):
            if await self._consumer.position(tp) >= left[tp]:
                del left[tp]
                self._consumer.pause(tp)
