"""
Reads raw topics from outside the worker: single records by their place, or all there is now.

Promise: a record is the one that stands at its place, or it is said to be gone; reading commits
nothing and disturbs no group.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiokafka
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.errors import BrokerUnavailable
from streams.engine.admin import verify
from streams.settings import Settings

_FETCH_S = 10.0
_POLL_MS = 500


class Place(NamedTuple):
    """Where a raw record stands; a statement's cause says it as `topic/partition/offset`."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, cause: str) -> "Place | None":
        """Return the place that *cause* names, if it names a raw record."""
        topic, _, rest = cause.partition("/")
        partition, _, offset = rest.partition("/")
        if not topic.startswith("raw-") or not partition.isdigit() or not offset.isdigit():
            return None
        return cls(topic, int(partition), int(offset))


class LogReader:
    """Reads topics from outside any group, and commits nothing; every method: BrokerUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        try:
            await self._consumer.start()
        except KafkaConnectionError as error:
            await self._consumer.stop()
            raise BrokerUnavailable(
                f"Kafka at {self._settings.kafka} does not answer; start it, or set "
                "ORDERFLOW_KAFKA right."
            ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._consumer.stop()


class RawLog(LogReader):
    """`async with RawLog(settings) as log`; every method raises BrokerUnavailable."""

    async def records(self, places: Iterable[Place]) -> dict[Place, Any]:
        """Return the records at *places*; one that is gone, by retention say, is left out."""
        found: dict[Place, Any] = {}
        try:
            for place in sorted(set(places)):
                record = await self._record(place)
                if record is not None:
                    found[place] = record
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        return found

    async def _record(self, place: Place) -> Any:
        tp = aiokafka.TopicPartition(self._settings.topic(place.topic), place.partition)
        if tp not in self._consumer.assignment():
            self._consumer.assign([tp])
        first = (await self._consumer.beginning_offsets([tp]))[tp]
        end = (await self._consumer.end_offsets([tp]))[tp]
        if not first <= place.offset < end:
            return None
        self._consumer.seek(tp, place.offset)
        try:
            record = await asyncio.wait_for(self._consumer.getone(tp), _FETCH_S)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"Kafka at {self._settings.kafka} did not return a record within {_FETCH_S:g} s."
            ) from error
        return record if record.offset == place.offset else None

    async def ends(self, topic: str) -> list[int]:
        """Return the offset that the next record of each partition of *topic* will have."""
        name = self._settings.topic(topic)
        try:
            count = (await verify(self._settings, [topic]))[topic]
            tps = [aiokafka.TopicPartition(name, number) for number in range(count)]
            found = await self._consumer.end_offsets(tps)
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        return [found[tp] for tp in tps]

    async def all_now(self, topic: str) -> AsyncIterator[Any]:
        """Yield every record of *topic* up to its ends of now, partition by partition in order."""
        name = self._settings.topic(topic)
        try:
            count = (await verify(self._settings, [topic]))[topic]
            tps = [aiokafka.TopicPartition(name, number) for number in range(count)]
            ends = await self._consumer.end_offsets(tps)
            for tp in tps:
                self._consumer.assign([tp])
                await self._consumer.seek_to_beginning(tp)
                while await self._consumer.position(tp) < ends[tp]:
                    for record in (await self._consumer.getmany(tp, timeout_ms=_POLL_MS)).get(
                        tp, ()
                    ):
                        if record.offset < ends[tp]:
                            yield record
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
