"""
Reads raw topics from outside the worker: single records by their place, or all there is now.

Promise: a record is the one that stands at its place, or it is said to be gone; reading commits
nothing, disturbs no group, and ends where the broker falls silent.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiokafka
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.errors import BrokerUnavailable
from streams.engine.admin import verify
from streams.settings import Settings, kafka_is_silent

_FETCH_S = 10.0
#: One fetch; a partition that brings nothing meanwhile is asked again.
_POLL_MS = 500
#: Of fetches that bring nothing, although the end was not reached, this many in a row.
_EMPTY_MAX = 20


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
            raise kafka_is_silent(self._settings) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._consumer.stop()

    async def _between(self, tp: Any, start: int, end: int) -> AsyncIterator[list[Any]]:
        """Yield the records of *tp* from *start* to before *end*, as they come."""
        try:
            if tp not in self._consumer.assignment():
                self._consumer.assign([tp])
            self._consumer.seek(tp, start)
            empty = 0
            while start < end:
                found = await self._consumer.getmany(tp, timeout_ms=_POLL_MS)
                some = [record for record in found.get(tp, ()) if record.offset < end]
                empty = 0 if some else empty + 1
                start = await self._consumer.position(tp)
                if empty > _EMPTY_MAX:
                    raise BrokerUnavailable(
                        f"{tp.topic}/{tp.partition} brings nothing from {start}, and ends at {end}."
                    )
                if some:
                    yield some
        except KafkaError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> BrokerUnavailable:
        return BrokerUnavailable(f"Kafka at {self._settings.kafka} does not answer: {error!r}")


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
            raise self._away(error) from error
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
        return list((await self._ends(topic)).values())

    async def all_now(self, topic: str) -> AsyncIterator[Any]:
        """Yield every record of *topic* up to its ends of now, partition by partition in order."""
        for tp, end in (await self._ends(topic)).items():
            async for records in self._between(tp, 0, end):
                for record in records:
                    yield record

    async def _ends(self, topic: str) -> dict[Any, int]:
        name = self._settings.topic(topic)
        try:
            count = (await verify(self._settings, [topic]))[topic]
            tps = [aiokafka.TopicPartition(name, number) for number in range(count)]
            found = await self._consumer.end_offsets(tps)
        except KafkaError as error:
            raise self._away(error) from error
        return {tp: found[tp] for tp in tps}
