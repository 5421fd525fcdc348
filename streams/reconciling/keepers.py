"""
The keepers' rows as their changelogs have them: read by the position rule, followed from then on.

Reads beside the keepers, without a group and without a Faust app, and uses the keepers' own way of
recovery (`engine.store.Part`): what comes out is what a worker that starts now would have.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.comparing import Kept, KeptHold
from agents.frames import POSITION_BYTES
from schemas.errors import BrokerUnavailable
from streams.engine.admin import verify
from streams.engine.store import Part
from streams.settings import Settings
from streams.topics import ORDER_COMMANDS, ORDER_EVENTS, STOCK_COMMANDS, STOCK_EVENTS, changelog
from tables import orders, stock
from tables.order_rows import Order

#: Keeper -> its inbox and what it tells.
INBOX = {"orders": ORDER_COMMANDS.name, "stock": STOCK_COMMANDS.name}
EVENTS = {"orders": ORDER_EVENTS.name, "stock": STOCK_EVENTS.name}
_TABLES = {"orders": orders.TABLE, "stock": stock.TABLE}
#: A changelog that brings nothing for so long, although its end was not reached.
_SILENCE_S = 30.0
_RECORDS_AT_ONCE = 5_000

#: Keeper (or topic) and partition -> an offset.
Ends = dict[tuple[str, int], int]


class Keepers:
    """Both keepers' rows; `async with Keepers(settings) as keepers`, then `follow` at will."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            client_id="orderflow-reconciler",
        )
        self._parts: dict[tuple[str, int], Part] = {}
        self._read: dict[tuple[str, int], int] = {}
        #: Where somebody else has written: a worker that starts now may take what one that is at
        #: work passes over, so they are read from their beginning once more.
        self._doubtful: set[tuple[str, int]] = set()

    async def __aenter__(self) -> Self:
        names = [changelog(keeper).name for keeper in INBOX]
        await verify(self._settings, [*names, *INBOX.values(), *EVENTS.values()])
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self._consumer.stop()
            raise BrokerUnavailable(
                f"Kafka at {self._settings.kafka} does not answer: {type(error).__name__}."
            ) from error
        for keeper in INBOX:
            for partition in range(self._settings.partitions):
                self._parts[keeper, partition] = Part()
                self._read[keeper, partition] = 0
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._consumer.stop()

    async def ends(self, topics: Mapping[str, str]) -> Ends:
        """Return where the partitions of *topics* (keeper -> topic) end now, by keeper."""
        places = {
            TopicPartition(self._settings.topic(topic), partition): (keeper, partition)
            for keeper, topic in topics.items()
            for partition in range(self._settings.partitions)
        }
        try:
            ends = await self._consumer.end_offsets(list(places))
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        return {place: ends[tp] for tp, place in places.items()}

    async def follow(self) -> None:
        """Read every changelog to the end it has now, which is the end of a commit."""
        ends = await self.ends({keeper: changelog(keeper).name for keeper in INBOX})
        for place, part in self._parts.items():
            if place in self._doubtful or (part.fault and ends[place] > self._read[place]):
                self._parts[place], self._read[place] = Part(), 0
        self._doubtful.clear()
        anew = {place for place, read in self._read.items() if not read}
        left = {
            TopicPartition(self._settings.topic(changelog(keeper).name), partition): (
                keeper,
                partition,
            )
            for (keeper, partition), end in ends.items()
            if end > self._read[keeper, partition]
        }
        if not left:
            return
        try:
            await self._read_to(left, ends)
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        for place in left.values():
            part = self._parts[place]
            part.settle()
            if part.foreign and place not in anew:
                self._doubtful.add(place)

    async def _read_to(self, places: Mapping[TopicPartition, tuple[str, int]], ends: Ends) -> None:
        consumer, left = self._consumer, dict(places)
        consumer.assign(list(left))
        for tp, place in left.items():
            consumer.seek(tp, self._read[place])
        heard_at = time.monotonic()
        while left:
            found = await consumer.getmany(*left, timeout_ms=200, max_records=_RECORDS_AT_ONCE)
            for tp, records in found.items():
                heard_at = time.monotonic()
                self._parts[left[tp]].take(r for r in records if r.offset < ends[left[tp]])
            for tp, place in list(left.items()):
                if await consumer.position(tp) >= ends[place]:
                    self._read[place] = ends[place]
                    consumer.pause(tp)
                    del left[tp]
            if time.monotonic() - heard_at > _SILENCE_S:
                where = next(iter(left))
                raise BrokerUnavailable(f"{where.topic}/{where.partition} brings nothing.")

    def behind(self, inbox_ends: Ends) -> set[tuple[str, int]]:
        """Return the partitions whose keeper has not decided all before *inbox_ends*."""
        # Of the record itself: a changelog that contradicts itself can be judged all the same.
        return {
            place
            for place, end in inbox_ends.items()
            if int.from_bytes(self._parts[place].state_record[:POSITION_BYTES], "big") < end
        }

    def faults(self) -> dict[tuple[str, int], str]:
        """Return the changelogs that contradict themselves, and how."""
        return {place: part.fault for place, part in self._parts.items() if part.fault}

    def orders(self) -> dict[str, Order]:
        """Return the order keeper's rows, but of orders that only operators have spoken of."""
        return {row.key: row for _, row in self._rows("orders") if row.is_heard}

    def kept(self) -> dict[str, Kept]:
        """Return the stock keeper's rows, SKU by SKU."""
        return kept(self._rows("stock"))

    def _rows(self, keeper: str) -> Iterator[tuple[bytes, Any]]:
        decode = _TABLES[keeper].decode_row
        for (name, _), part in self._parts.items():
            if name == keeper:
                for key, value in part.rows.items():
                    yield key, decode(value[POSITION_BYTES:])


def kept(rows: Iterable[tuple[bytes, Any]]) -> dict[str, Kept]:
    """Return the stock keeper's *rows* by SKU; what it remembers of commands is left out."""
    balances: dict[str, stock.Stock] = {}
    holds: dict[str, dict[str, KeptHold]] = {}
    quotas: dict[str, dict[str, int]] = {}
    for key, row in rows:
        sku, _, about = key.decode().partition("\0")
        match row:
            case stock.Stock():
                balances[sku] = row
            case stock.Hold():
                holds.setdefault(sku, {})[about] = KeptHold(
                    row.quantity, row.bucket.value, row.deadline_ms
                )
            case stock.Quota():
                quotas.setdefault(sku, {})[row.name] = row.left
    return {
        sku: Kept(
            (row := balances.get(sku, stock.NOTHING)).version,
            (row.available, row.locked, row.occupied, row.reserved, row.frozen, row.shortfall),
            holds.get(sku, {}),
            quotas.get(sku, {}),
        )
        for sku in balances.keys() | holds.keys() | quotas.keys()
    }
