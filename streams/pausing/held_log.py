"""
Reads `raw-held`, one partition at a time, from outside any group.

Promise: what is returned is in the order of the log and ends at the end that was asked for; reading
commits nothing. A broker that is away is BrokerUnavailable.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from streams.raw_log import LogReader
from streams.topics import RAW_HELD


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
        async for some in self._between(self._place(partition), start, end):
            yield some

    def _place(self, partition: int) -> Any:
        return aiokafka.TopicPartition(self._settings.topic(RAW_HELD.name), partition)
