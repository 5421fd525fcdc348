"""
Completes thin messages: a name on the raw topic becomes a whole order on the same topic.

    raw topics ──> Listener ──> poll_fetches (PostgreSQL) ──> Fetcher ──> platform ──> raw topic

The listener commits its place only after the names are in the table; the fetcher forgets a name
only after the broker has the order. So each step may be repeated after a crash, and none is lost.
The table holds each order once, however often it is named, and the listener stops taking while too
many wait: what is beyond waits on the topic.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from agents.intake import shop_of
from schemas.errors import BrokerUnavailable, LedgerUnavailable, OrderflowError
from streams.adapters import ADAPTERS
from streams.clients.caller import Caller
from streams.clients.calls import CredentialsRefused, PlatformUnavailable, RequestRefused
from streams.polling.poller import Asker
from streams.polling.store import Store, Wanted
from streams.polling.thin import is_thin, named_in
from streams.settings import Settings
from streams.topics import raw

logger = logging.getLogger(__name__)

#: The consumer group, after the installation's prefix.
GROUP = "poll"
_RECORDS_MAX = 500
_WAIT_MS = 500
#: While too many orders wait, it is looked this often whether there is room.
_LOOK_EVERY_S = 1.0
#: After Kafka or PostgreSQL was away.
_AGAIN_AFTER_S = 2.0
#: Nothing is taken off the topics for longer than this only when the platforms are away that long.
_POLL_INTERVAL_MS = 24 * 3600 * 1000


class Listener:
    """Takes the names of orders off the raw topics of shops that can be asked."""

    def __init__(
        self, settings: Settings, store: Store, askers: Mapping[tuple[str, str], Asker]
    ) -> None:
        self._settings = settings
        self._store = store
        self._shops = frozenset(key for key, asker in askers.items() if asker.client.thin_pushes)
        self._topics = {
            settings.topic(raw(platform)): platform
            for platform in sorted({platform for platform, _ in self._shops})
        }
        #: Set when there is something to fetch.
        self.named = asyncio.Event()
        #: Its place on every topic is held: a name that comes now is not passed over.
        self.listening = not self._topics

    async def run(self) -> None:
        """Listen until cancelled; whatever is away is waited for."""
        while self._topics:
            try:
                await self._listen()
            except (KafkaError, OSError) as error:
                logger.warning("the raw topics cannot be read: %r", error)
            except (LedgerUnavailable, BrokerUnavailable) as error:
                logger.warning("thin messages wait on their topic: %s", error)
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _listen(self) -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            *self._topics,
            bootstrap_servers=self._settings.kafka,
            group_id=self._settings.group_prefix + GROUP,
            enable_auto_commit=False,
            # Of what was there before the first start, the poll brings what is recent.
            auto_offset_reset="latest",
            max_poll_interval_ms=_POLL_INTERVAL_MS,
            session_timeout_ms=round(self._settings.session_timeout.total_seconds() * 1000),
        )
        await consumer.start()
        try:
            await self._hold_places(consumer)
            self.listening = True
            while True:
                await self._take(consumer)
        finally:
            self.listening = False
            with contextlib.suppress(Exception):
                await consumer.stop()

    @staticmethod
    async def _hold_places(consumer: Any) -> None:
        """Commit where a new group begins: what comes while nobody listens is not passed over."""
        while not consumer.assignment():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(_WAIT_MS / 1000)
        places = {tp: await consumer.position(tp) for tp in consumer.assignment()}
        await consumer.commit(places)

    async def _take(self, consumer: Any) -> None:
        while await self._is_full():  # noqa: ASYNC110  the fetchers may be another process
            await asyncio.sleep(_LOOK_EVERY_S)
        found = await consumer.getmany(timeout_ms=_WAIT_MS, max_records=_RECORDS_MAX)
        if not found:
            return
        named = [each for tp, some in found.items() for each in self._named(tp.topic, some)]
        if named:
            await self._store.want(named)
            self.named.set()
        await consumer.commit({tp: some[-1].offset + 1 for tp, some in found.items()})

    async def _is_full(self) -> bool:
        rows = await self._store.waiting()
        waiting: int = sum(row["waiting"] for row in rows)
        return waiting >= self._settings.polling_fetches_max

    def _named(self, topic: str, records: Sequence[Any]) -> list[tuple[str, str, str]]:
        platform = self._topics[topic]
        return [
            (platform, shop, order_id)
            for record in records
            if record.value is not None and (platform, shop := shop_of(record)) in self._shops
            for order_id in named_in(platform, shop, record.value)
        ]


class Fetcher:
    """Asks for one shop's orders by id."""

    def __init__(self, asker: Asker, store: Store, caller: Caller) -> None:
        self._asker = asker
        self._store = store
        self._caller = caller

    async def some(self) -> int:
        """
        Fetch some of the orders that wait; return how many were settled, one way or the other.

        Raises CredentialsRefused, PlatformUnavailable, BrokerUnavailable, LedgerUnavailable.
        """
        access = self._asker.access
        due = await self._store.due(access.platform, access.shop, self._asker.client.details_max)
        if due:
            await self._fetch(due)
        return len(due)

    async def _fetch(self, due: Sequence[Wanted]) -> None:
        try:
            found = await self._asker.orders([each.order_id for each in due])
        except RequestRefused as error:
            if len(due) > 1:
                await self._one_by_one(due)
                return
            await self._fail(due[0], str(error))
            return
        except PlatformUnavailable as error:
            # A host that is left alone is nobody's fault here, and the orders wait. One that does
            # answer, and not for these orders, would be asked for them for ever.
            if not error.tried or self._caller.open_for(self._asker.access):
                raise
            if len(due) > 1:
                await self._one_by_one(due)
                return
            await self._fail(due[0], str(error))
            return
        whole = [each for each in due if self._is_whole(found.get(each.order_id))]
        await self._asker.publish([found[each.order_id] for each in whole], "fetch")
        access = self._asker.access
        await self._store.done(access.platform, access.shop, whole)
        for each in due:
            if each not in whole:
                await self._fail(each, "the platform does not give the order whole")

    async def _one_by_one(self, due: Sequence[Wanted]) -> None:
        for each in due:
            await self._fetch([each])

    def _is_whole(self, order: bytes | None) -> bool:
        """Tell whether *order* is one; what only names an order would ask for itself again."""
        if order is None:
            return False
        access = self._asker.access
        try:
            said = ADAPTERS[access.platform].parse(order, access.shop)
        except OrderflowError:
            # It goes on the topic all the same: intake parks it with its reason.
            return True
        return not any(is_thin(each) for each in said)

    async def _fail(self, wanted: Wanted, why: str) -> None:
        """It is an exception before it is forgotten here; named again meanwhile, it stays."""
        access = self._asker.access
        await self._asker.leave(wanted.order_id, why)
        await self._store.done(access.platform, access.shop, [wanted])


#: What a fetcher waits for, and what it does not survive.
PASSING = (PlatformUnavailable, BrokerUnavailable, LedgerUnavailable, CredentialsRefused)
