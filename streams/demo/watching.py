"""
The figures of the demo while it runs: from PostgreSQL what is decided, from the broker what waits.

At a terminal they stand still and change; elsewhere a line is printed now and then. Promise: what
is shown was read, never computed from what was sent.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple, Self

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console
from rich.live import Live
from rich.table import Table

from agents.ledger import LEDGER_TOPICS
from schemas.errors import Unavailable
from streams import topics
from streams.demo.samples import PLATFORMS
from streams.ending import end
from streams.reads import Reads
from streams.settings import Settings

LOOK_EVERY_S = 1.0
#: Where there is no terminal a line is printed this often.
LINE_EVERY_S = 5.0
#: Latency is shown of what came in within this.
_LATELY = timedelta(seconds=10)
#: The stock was had, whatever became of it since.
_RESERVED = frozenset({"reserved", "partial", "shipped", "released"})


class Figures(NamedTuple):
    """One look at the house."""

    seconds: float = 0.0
    fed: int = 0
    orders: int = 0
    reserved: int = 0
    short: int = 0
    expired: int = 0
    #: The stock keeper has not answered, or its answer is not written yet.
    asking: int = 0
    locked: int = 0
    parked: int = 0
    #: Records that wait: raw messages not read, events not in PostgreSQL.
    lag: int = 0
    #: All records of all topics, which stands still once everything is done.
    records: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


class Gauge:
    """Reads the figures."""

    def __init__(self, settings: Settings, reads: Reads, consumer: Any, admin: Any) -> None:
        self._settings = settings
        self._reads = reads
        self._consumer = consumer
        self._admin = admin
        self._began = time.monotonic()
        raw = [topics.raw(platform) for platform in PLATFORMS]
        inputs = [*raw, topics.OPERATOR_COMMANDS.name]
        inboxes = [topics.ORDER_COMMANDS.name, topics.STOCK_COMMANDS.name]
        partitions = range(settings.partitions)
        self._inputs = {(name, number) for name in inputs for number in partitions}
        self._events = {(name, number) for name in LEDGER_TOPICS for number in partitions}
        self._inboxes = {(name, number) for name in inboxes for number in partitions}
        #: What was given to the raw topics so far; told by whoever feeds.
        self.fed = 0

    async def look(self) -> Figures:
        """Return the figures of now."""
        by_reservation: dict[str, int] = {}
        for row in await self._reads.orders_by_channel_and_status():
            said = row["reservation"]
            by_reservation[said] = by_reservation.get(said, 0) + row["orders"]
        stock = await self._reads.stock_by_bucket()
        lately = await self._reads.throughput_and_latency(_LATELY)
        lag, records = await self._waiting()
        return Figures(
            seconds=time.monotonic() - self._began,
            fed=self.fed,
            orders=sum(by_reservation.values()),
            reserved=sum(by_reservation.get(word, 0) for word in _RESERVED),
            short=by_reservation.get("short", 0),
            expired=by_reservation.get("expired", 0),
            asking=by_reservation.get("asking", 0),
            locked=int(stock.get("locked", 0)),
            parked=await self._reads.count_parked_open(),
            lag=lag,
            records=records,
            p50_ms=lately.get("row_ms_p50"),
            p99_ms=lately.get("row_ms_p99"),
        )

    async def _waiting(self) -> tuple[int, int]:
        """Return how many records wait, and how many there are."""
        everything = self._inputs | self._inboxes | self._events
        places = {place: self._place(place) for place in everything}
        ends = await self._consumer.end_offsets(list(places.values()))
        written = {
            (row["topic"], row["partition"]): row["next"] for row in await self._reads.positions()
        }
        group = self._settings.group_prefix + "intake"
        committed = await self._admin.list_consumer_group_offsets(group)
        lag = sum(ends[places[each]] - written.get(each, 0) for each in self._events)
        for each in self._inputs:
            known = committed.get(places[each])
            lag += ends[places[each]] - max(0, known.offset if known else 0)
        return lag, sum(ends.values())

    def _place(self, place: tuple[str, int]) -> Any:
        topic, partition = place
        return aiokafka.TopicPartition(self._settings.topic(topic), partition)


@asynccontextmanager
async def gauge(settings: Settings, reader: str) -> AsyncIterator[Gauge]:
    """Open what the figures are read from."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=settings.kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    async with Reads(reader) as reads:
        await consumer.start()
        await admin.start()
        try:
            yield Gauge(settings, reads, consumer, admin)
        finally:
            await admin.close()
            await consumer.stop()


class View:
    """Shows the figures as they change."""

    def __init__(self, console: Console, gauge_: Gauge, goal: int) -> None:
        self._console = console
        self._gauge = gauge_
        self._goal = goal
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._task: asyncio.Task[None] | None = None
        self._printed = 0.0
        self.last = Figures()

    async def __aenter__(self) -> Self:
        if self._live:
            self._live.start()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await end(self._task)
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a line above the figures."""
        line = f"{self.last.seconds:5.1f} s  {sentence}"
        self._console.print(line, markup=False, soft_wrap=True)

    async def _watch(self) -> None:
        while True:
            try:
                self.last = await self._gauge.look()
            except Unavailable as error:
                self.say(f"the figures are not to be had: {error}")
            else:
                self._show(self.last)
            await asyncio.sleep(LOOK_EVERY_S)

    def _show(self, figures: Figures) -> None:
        if self._live:
            self._live.update(self._table(figures), refresh=True)
        elif time.monotonic() - self._printed >= LINE_EVERY_S:
            self._printed = time.monotonic()
            cells = ", ".join(f"{name} {value}" for name, value in _cells(figures, self._goal))
            self.say(cells)

    def _table(self, figures: Figures) -> Table:
        table = Table(title=f"{figures.seconds:.0f} s", title_justify="left")
        cells = _cells(figures, self._goal)
        for name, _ in cells:
            table.add_column(name, justify="right")
        table.add_row(*(value for _, value in cells))
        return table


def _cells(figures: Figures, goal: int) -> list[tuple[str, str]]:
    return [
        ("sent", f"{figures.fed:,} of {goal:,}"),
        ("orders in", f"{figures.orders:,}"),
        ("reserved", f"{figures.reserved:,}"),
        ("short", f"{figures.short:,}"),
        ("expired", f"{figures.expired:,}"),
        ("parked", f"{figures.parked:,}"),
        ("lag", f"{figures.lag:,}"),
        ("p50", _ms(figures.p50_ms)),
        ("p99", _ms(figures.p99_ms)),
    ]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"
