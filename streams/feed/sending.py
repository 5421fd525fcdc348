"""
Sending raw messages: in batches, at a pace, and with a log of where the broker put each.

Promise: when `close` returns, the broker has everything that was given to `send`, and the log
says where; a message that was not acknowledged is an error, never a silence.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.errors import BrokerUnavailable
from streams import raw_records, topics
from streams.clock import now_ms
from streams.engine.admin import verify
from streams.engine.partitions import partitioner
from streams.settings import Settings, kafka_is_silent

#: One batch of one partition; a larger message has a batch of its own.
_BATCH_BYTES_MAX = 256 * 1024
#: Batches that may be on their way; beyond it sending waits for the oldest.
_ON_THEIR_WAY_MAX = 64
#: As many as a statement's source has.
_DIGEST_DIGITS = 16


def digest(payload: bytes) -> str:
    """Return how the log knows *payload* again."""
    return sha256(payload).hexdigest()[:_DIGEST_DIGITS]


class Raw(NamedTuple):
    """One message for a platform's raw topic."""

    platform: str
    shop: str
    key: bytes | None
    value: bytes
    #: What the log says of it, beside its place.
    about: Mapping[str, Any]


class Sender:
    """A producer of raw messages. Use it as an async context."""

    def __init__(self, settings: Settings, platforms: Sequence[str], log: Path | None) -> None:
        self._settings = settings
        self._topics = {platform: topics.raw(platform) for platform in platforms}
        self._producer = raw_records.producer(
            settings,
            max_batch_size=_BATCH_BYTES_MAX,
            request_timeout_ms=round(settings.request_timeout.total_seconds() * 1000),
        )
        self._log = log.open("wb") if log else None
        self._open: dict[tuple[str, int], tuple[Any, list[Mapping[str, Any]]]] = {}
        self._under_way: deque[tuple[asyncio.Future[Any], list[Mapping[str, Any]]]] = deque()
        self._spread = 0
        self.sent = 0
        self.acknowledged = 0

    async def __aenter__(self) -> Self:
        counts = await verify(self._settings, self._topics.values())
        self._counts = counts
        self._partition_of = partitioner(counts)
        try:
            await self._producer.start()
        except KafkaConnectionError as error:
            raise kafka_is_silent(self._settings) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._producer.stop()
            if self._log:
                self._log.close()

    async def send(self, message: Raw) -> None:
        """Put *message* into its partition's batch; full batches leave at once."""
        declared = self._topics[message.platform]
        lane = (declared, self._partition(declared, message.key))
        at = now_ms()
        headers = raw_records.headers_of(message.shop)
        waiting = self._open.get(lane)
        if waiting is None or not _append(waiting[0], message, at, headers):
            if waiting is not None:
                await self._dispatch(lane)
            waiting = self._open[lane] = (self._producer.create_batch(), [])
            # The first record of a batch is taken whatever its size.
            _append(waiting[0], message, at, headers)
        if self._log:
            waiting[1].append({**message.about, "digest": digest(message.value), "sent_ms": at})
        else:
            waiting[1].append(message.about)
        self.sent += 1

    async def dispatch(self) -> None:
        """Let every open batch leave."""
        for lane in list(self._open):
            await self._dispatch(lane)
        while self._under_way and self._under_way[0][0].done():
            await self._hear()

    async def flush(self) -> None:
        """Wait until the broker has everything."""
        await self.dispatch()
        while self._under_way:
            await self._hear()

    def _partition(self, topic: str, key: bytes | None) -> int:
        if key is not None:
            return self._partition_of(topic, key)
        self._spread += 1
        return self._spread % self._counts[topic]

    async def _dispatch(self, lane: tuple[str, int]) -> None:
        batch, said = self._open.pop(lane)
        while len(self._under_way) >= _ON_THEIR_WAY_MAX:
            await self._hear()
        topic, partition = lane
        batch.close()
        acknowledgement = await self._producer.send_batch(
            batch, self._settings.topic(topic), partition=partition
        )
        self._under_way.append((acknowledgement, said))

    async def _hear(self) -> None:
        """Take the oldest batch's acknowledgement and write where its messages are."""
        acknowledgement, said = self._under_way.popleft()
        try:
            place = await acknowledgement
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka did not take a message: {error!r}") from error
        self.acknowledged += len(said)
        if self._log:
            where = {"topic": place.topic, "partition": place.partition}
            self._log.writelines(
                orjson.dumps({**about, **where, "offset": place.offset + nth}) + b"\n"
                for nth, about in enumerate(said)
            )


def _append(batch: Any, message: Raw, at: int, headers: list[tuple[str, bytes]]) -> bool:
    appended = batch.append(key=message.key, value=message.value, timestamp=at, headers=headers)
    return appended is not None
