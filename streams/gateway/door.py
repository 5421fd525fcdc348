"""
The way onto the broker: a message is in, or the sender hears that it is not.

Promise: `put` returns only after the broker acknowledged the record; anything else is
BrokerUnavailable, in bounded time. The record may still get in after that: then the platform, which
was told no, sends it once more, and intake takes the repeat for what it is.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from agents.letters import NO_HEADERS, Headers
from schemas.errors import BrokerUnavailable, Misconfigured, OrderflowError
from streams import tracing
from streams.correlation import place
from streams.ending import end
from streams.engine.admin import verify
from streams.gateway.shops import MALL
from streams.gateway.signatures import verifiers
from streams.raw_records import headers_of, key_of, producer
from streams.settings import Settings
from streams.topics import Topic, raw
from streams.tracing import HEADER, SEND, is_traceparent

logger = logging.getLogger(__name__)

#: While the broker is away, it is tried again this often.
_TRY_EVERY_S = 1.0
#: One try takes this long at most.
_CONNECT_WITHIN_S = 10.0
#: And the first, before anything is served.
_FIRST_WITHIN_S = 3.0
#: Stopping waits this long for what is on its way.
_STOP_WITHIN_S = 5.0
#: The broker says this quickly whether it is there.
_REACHABLE_WITHIN_S = 2.0
#: Records of these few milliseconds share a batch; it costs less than one request a record.
_LINGER_MS = 5


def platforms() -> tuple[str, ...]:
    """Return the platforms whose messages come by HTTP; raises Misconfigured."""
    return (*verifiers(), MALL)


class Place(NamedTuple):
    """Where the broker has a record."""

    topic: str
    partition: int
    offset: int


class BrokerDoor:
    """One idempotent producer, connected when the broker is there."""

    def __init__(
        self,
        settings: Settings,
        of: Sequence[str] | None = None,
        more: Sequence[Topic] = (),
    ) -> None:
        self._settings = settings
        self._ack_within_s = settings.gateway_ack_within.total_seconds()
        #: Every topic it writes: those *of* platforms (None: all that come by HTTP), and *more*.
        self._topics = [
            *map(raw, platforms() if of is None else of),
            *(topic.name for topic in more),
        ]
        self._tracer = tracing.of(settings)
        self._producer: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._away = False

    async def start(self) -> None:
        """Begin; a broker that is away is waited for in the background. Raises Misconfigured."""
        try:
            await self._connect(_FIRST_WITHIN_S)
        except BrokerUnavailable as error:
            logger.warning("%s; until it is there the answer is 503", error)
            self._reconnect()

    async def stop(self) -> None:
        """End; whoever still waits for an acknowledgement has been answered before."""
        if self._connecting:
            for failure in await end(self._connecting):
                raise failure
        await self._close(self._producer)
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.flush)

    async def put(
        self, platform: str, shop: str, payload: bytes, traceparent: bytes | None = None
    ) -> Place:
        """Put *payload* on its platform's raw topic; raises BrokerUnavailable."""
        name, key, headers = raw(platform), key_of(platform, payload), headers_of(shop)
        if self._tracer is None:
            return await self.send(name, key, payload, headers)
        links = []
        if traceparent is not None and is_traceparent(
            said := traceparent.decode("ascii", "replace")
        ):
            links = [said]
            headers = [*headers, (HEADER, traceparent)]
        began_ns = time.time_ns()
        there = await self.send(name, key, payload, headers)
        id_ = place(name, there.partition, there.offset)
        self._tracer.tell(SEND, name, id_, began_ns, time.time_ns(), {"shop": shop}, links)
        return there

    async def send(
        self, name: str, key: bytes | None, value: bytes, headers: Headers = NO_HEADERS
    ) -> Place:
        """Put *value* on the topic called *name*; raises BrokerUnavailable."""
        sending = self._producer
        if sending is None:
            raise BrokerUnavailable
        topic = self._settings.topic(name)
        try:
            async with asyncio.timeout(self._ack_within_s):
                done = await sending.send_and_wait(topic, value=value, key=key, headers=headers)
        except TimeoutError:
            self._tell(away=True)
            raise BrokerUnavailable("Kafka did not acknowledge in time") from None
        except KafkaError as error:
            self._tell(away=True)
            # An idempotent producer repeats by itself what can be repeated; after anything else
            # its numbering may have a hole, and it would never be believed again.
            if sending is self._producer:
                self._producer = None
                self._reconnect(sending)
            raise BrokerUnavailable(f"Kafka did not take a message: {error!r}") from error
        self._tell(away=False)
        return Place(topic, done.partition, done.offset)

    async def reachable(self) -> bool:
        """Say whether the broker answers now."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(_REACHABLE_WITHIN_S):
                return bool(await self._producer.client.force_metadata_update())
        except (TimeoutError, KafkaError):
            return False

    def _tell(self, *, away: bool) -> None:
        """Log a change, not each of a thousand requests that meet it."""
        if away != self._away:
            self._away = away
            if away:
                logger.warning("Kafka does not acknowledge; the answer is 503")
            else:
                logger.warning("Kafka acknowledges again")

    def _reconnect(self, broken: Any = None) -> None:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._keep_trying(broken))

    async def _connect(self, within_s: float = _CONNECT_WITHIN_S) -> None:
        try:
            async with asyncio.timeout(within_s):
                await verify(self._settings, self._topics)
                made = producer(self._settings, linger_ms=_LINGER_MS)
                try:
                    await made.start()
                except BaseException:
                    await self._close(made)
                    raise
        except (TimeoutError, KafkaError) as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka} does not answer") from error
        self._producer = made

    async def _keep_trying(self, broken: Any) -> None:
        await self._close(broken)
        while self._producer is None:
            await asyncio.sleep(_TRY_EVERY_S)
            try:
                await self._connect()
            except Misconfigured as error:
                logger.error("%s", error)  # noqa: TRY400  the sentence says it all
            except OrderflowError:
                logger.debug("the broker is still away")
        logger.warning("the broker is there")

    async def _close(self, made: Any) -> None:
        if made is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(made.stop(), _STOP_WITHIN_S)
