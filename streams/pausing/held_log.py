"""
Reads `raw-held`, one partition at a time, from outside any group.

Promise: what is returned is in the order of the log and ends at the end that was asked for; reading
commits nothing. A broker that is away is BrokerUnavailable.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from schemas.errors import BrokerUnavailable
from streams.raw_log import LogReader
from streams.topics import RAW_HELD

#: One fetch; a partition that brings nothing meanwhile is asked again by whoever wants more.
_POLL_MS = 1_000
#: Of fetches that bring nothing, although the end was not reached, this many in a row.
_EMPTY_MAX = 10


class HeldLog(LogReader):
    """`async with HeldLog(settings) as log`; every method raises BrokerUnavailable."""

    async def ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return where each partition ends now."""
        tps = [self._place(partition) for partition in partitions]
        try:
            found = await self._consumer.end_offsets(tps)
        except KafkaError as error:
            raise self._away(error) from error
        return {tp.partition: end for tp, end in found.items()}

    async def records(self, partition: int, start: int, end: int) -> AsyncIterator[list[Any]]:
        """Yield the records from *start* to before *end*, as they come."""
        tp = self._place(partition)
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
                        f"{tp.topic}/{partition} brings nothing from {start}, and ends at {end}."
                    )
                if some:
                    yield some
        except KafkaError as error:
            raise self._away(error) from error

    def _place(self, partition: int) -> Any:
        return aiokafka.TopicPartition(self._settings.topic(RAW_HELD.name), partition)

    def _away(self, error: Exception) -> BrokerUnavailable:
        return BrokerUnavailable(f"Kafka at {self._settings.kafka} does not answer: {error!r}")
