"""
The roles of a worker, put together by hand from the page `streams/topology.py`.

One function a role: it reads like the sentence in `LISTENERS`. Nothing is decided here.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP
from typing_extensions import override

from agents.ports import FramesHalted
from schemas.errors import Misconfigured
from streams import tracing
from streams.availability.asking import LedgerBalances
from streams.availability.cache import WRITE_WITHIN_S, RedisCache, address
from streams.availability.channels import ChannelTeller
from streams.availability.levels import LevelQueue
from streams.availability.telling import RedisMemory
from streams.availability.writing import CacheWriter
from streams.callbacks.sink import CallbackSink
from streams.clock import now_ms
from streams.engine.app import App
from streams.engine.keeper import Keeper
from streams.engine.rounds import Batch, Role
from streams.engine.sink import Place, Sink
from streams.pausing.intake import HoldingIntake
from streams.postgres.addresses import callbacks_of, ledger_of, reader_of
from streams.postgres.ledger import PostgresLedger
from streams.postgres.sink import LedgerSink, Prepared, causes_of
from streams.settings import Settings
from streams.topology import LISTENERS, ROUTES
from streams.tracing import WRITE


def build(settings: Settings, names: Iterable[str]) -> list[Role]:
    """Return the roles called *names*, in the order of the flow; raises Misconfigured."""
    wanted = set(names)
    if unknown := sorted(wanted - ROLES.keys()):
        raise Misconfigured(
            f"There is no role {', '.join(unknown)}; choose from {', '.join(ROLES)}."
        )
    if not wanted:
        raise Misconfigured(f"Name at least one role of {', '.join(ROLES)}.")
    return [make(settings) for name, make in ROLES.items() if name in wanted]


def intake(settings: Settings) -> Role:
    """Raw messages and operators' commands, by adapters and reference data, to the two inboxes."""
    listener = LISTENERS["intake"]
    writes_to = [topic.name for topic in listener.writes]
    return HoldingIntake(settings, listener.name, listener.reads, writes_to)


def orders(settings: Settings) -> Role:  # noqa: ARG001  a keeper takes its settings when it is bound
    """The order keeper, alone with its table."""
    return _keeper("orders")


def stock(settings: Settings) -> Role:  # noqa: ARG001  a keeper takes its settings when it is bound
    """The stock keeper, alone with its table."""
    return _keeper("stock")


def ledger(settings: Settings) -> Role:
    """Public events, details and parked messages into PostgreSQL, each once."""
    listener = LISTENERS["ledger"]
    sink = LedgerSink(PostgresLedger(ledger_of(settings)))
    return _Ledger(listener.name, listener.reads, _LedgerPort(sink))


def availability(settings: Settings) -> Role:
    """Stock events into Redis, the newest balance of each SKU."""
    listener = LISTENERS["availability"]
    return CacheWriter(listener.name, listener.reads, RedisCache(settings, WRITE_WITHIN_S))


def channel_stock(settings: Settings) -> Role:
    """Stock events out to the shops' channels, as the reference data says."""
    listener = LISTENERS["channel-stock"]
    address(settings)  # refuse now what would be refused at the first event
    reader = reader_of(settings)
    return ChannelTeller(
        listener.name,
        listener.reads,
        lambda: RedisMemory(settings),
        lambda: LedgerBalances(reader),
        _levels(settings),
    )


def _levels(settings: Settings) -> Callable[[], LevelQueue] | None:
    """Return what queues for platforms' APIs; without that role's address nobody is told by one."""
    if settings.postgres_callbacks is None:
        return None
    dsn = settings.postgres_callbacks.get_secret_value()
    return lambda: LevelQueue(dsn)


def callbacks(settings: Settings) -> Role:
    """Order events into the queue of what subscribers are told, each once."""
    listener = LISTENERS["callbacks"]
    return _Halting(listener.name, listener.reads, CallbackSink(callbacks_of(settings)))


ROLES: dict[str, Callable[[Settings], Role]] = {
    "intake": intake,
    "orders": orders,
    "stock": stock,
    "ledger": ledger,
    "availability": availability,
    "channel-stock": channel_stock,
    "callbacks": callbacks,
}


def _keeper(name: str) -> Role:
    listener = LISTENERS[name]
    if listener.owns is None:
        raise AssertionError(f"{name} owns no table")
    may_write = {topic.name for topic in listener.writes}
    # What it sends, and the wake command it sends to itself.
    routes = {
        kind: route
        for kind, route in ROUTES.items()
        if route.topic in may_write or route.topic == listener.reads[0].name
    }
    return Keeper(listener.owns, listener.reads[0], routes)


class _LedgerPort:
    """The ledger sink as the engine's port: batches in, positions out."""

    def __init__(self, sink: LedgerSink) -> None:
        self._sink = sink

    async def starts(self, partitions: Sequence[Place]) -> Mapping[Place, int]:
        return await self._sink.starts(partitions)

    def prepare(self, batches: Sequence[Batch]) -> Prepared:
        frames: dict[Place, Sequence[Any]] = {
            (each.topic, each.partition): each.records for each in batches
        }
        return self._sink.prepare(frames)

    async def put(self, prepared: Prepared) -> None:
        await self._sink.put(prepared)


class _Halting(Sink):
    """A sink that takes a contradicting partition out instead of ending the process."""

    @override
    async def _settle(self, prepared: Any, generation: int) -> None:
        try:
            await super()._settle(prepared, generation)
        except FramesHalted as fault:
            for (topic, partition), why in fault.halted.items():
                self.halt(TP(self.settings.topic(topic), partition), why)


class _Ledger(_Halting):
    """The ledger's sink: it measures the way of orders, and tells traces where they end."""

    @override
    def bind(self, app: App, settings: Settings) -> None:
        super().bind(app, settings)
        self._tracer = tracing.of(settings)

    @override
    async def _settle(self, prepared: Prepared, generation: int) -> None:
        began_ns = time.time_ns()
        await super()._settle(prepared, generation)
        self._measure(prepared)
        if self._tracer is not None:
            for id_ in causes_of(prepared.batch):
                self._tracer.tell(WRITE, self.name, id_, began_ns, time.time_ns())

    def _measure(self, prepared: Prepared) -> None:
        """Take the way of the round's first order: one is looked at, never each."""
        batch, metrics = prepared.batch, self.app.metrics
        if batch.tally.repeats:
            metrics.duplicates.labels(self.name).inc(batch.tally.repeats)
        if not batch.orders or not (first := batch.orders[0]).digest:
            return  # no order was observed in it
        now_s = now_ms() / 1000
        metrics.flow.labels("receipt").observe(max(0.0, now_s - first.received_at / 1000))
        if first.updated_at:
            metrics.flow.labels("platform").observe(max(0.0, now_s - first.updated_at / 1000))
