"""
The roles of a worker, put together by hand from the page `streams/topology.py`.

One function a role: it reads like the sentence in `LISTENERS`. Nothing is decided here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP
from typing_extensions import override

from agents.intake import Destinations, Intake
from agents.intake import Output as Said
from agents.ports import FramesHalted
from schemas.errors import Misconfigured
from streams import topics
from streams.adapters import ADAPTERS
from streams.engine.agent import Agent, Output
from streams.engine.keeper import Keeper
from streams.engine.rounds import Batch, Role, Work
from streams.engine.sink import Place, Sink
from streams.postgres.ledger import PostgresLedger
from streams.postgres.sink import LedgerSink
from streams.reference import Follower, directory_of
from streams.settings import Settings
from streams.topology import LISTENERS, ROUTES


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
    return Agent(listener.name, listener.reads, _IntakeWork(settings).work, writes_to)


def orders(settings: Settings) -> Role:  # noqa: ARG001  a keeper takes its settings when it is bound
    """The order keeper, alone with its table."""
    return _keeper("orders")


def stock(settings: Settings) -> Role:  # noqa: ARG001  a keeper takes its settings when it is bound
    """The stock keeper, alone with its table."""
    return _keeper("stock")


def ledger(settings: Settings) -> Role:
    """Public events, details and parked messages into PostgreSQL, each once."""
    if settings.postgres_ledger is None:
        raise Misconfigured("Set ORDERFLOW_POSTGRES_LEDGER to the address the ledger writes to.")
    listener = LISTENERS["ledger"]
    sink = LedgerSink(PostgresLedger(settings.postgres_ledger.get_secret_value()))
    return _Ledger(listener.name, listener.reads, _LedgerPort(sink))


ROLES: dict[str, Callable[[Settings], Role]] = {
    "intake": intake,
    "orders": orders,
    "stock": stock,
    "ledger": ledger,
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


class _IntakeWork:
    """Intake's round: the directory is read whole before the first record, and followed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._platforms = {topics.raw(platform): platform for platform in topics.PLATFORMS}
        self._intake: Intake | None = None
        self._follower: Follower | None = None

    async def work(self, batches: Sequence[Batch]) -> Sequence[Output]:
        """Return what is said about *batches*. Raises BrokerUnavailable until the topic is read."""
        intake = self._intake or await self._open()
        if self._follower is not None:
            self._follower.check()
        said: list[Output] = []
        for batch in batches:
            said += self._said(intake, batch)
        return said

    def _said(self, intake: Intake, batch: Batch) -> Iterable[Output]:
        topic, partition = batch.topic, batch.partition
        platform = self._platforms.get(topic)
        records: Sequence[Any] = batch.records  # they are whole Kafka records, with headers
        for record in records:
            found: list[Said] = (
                intake.forward(topic, partition, record)
                if platform is None
                else intake.observe(platform, topic, partition, record)
            )
            for one in found:
                yield Output(*one)

    async def _open(self) -> Intake:
        directory, self._follower = await directory_of(self._settings)
        to = Destinations(
            topics.ORDER_COMMANDS.name, topics.STOCK_COMMANDS.name, topics.PARKED.name
        )
        future_max_ms = int(self._settings.future_max.total_seconds() * 1000)
        adapters: Mapping[str, Any] = ADAPTERS  # frozen: their attributes are read-only
        self._intake = Intake(adapters, directory, to, future_max_ms)
        return self._intake


class _LedgerPort:
    """The ledger sink as the engine's port: batches in, positions out."""

    def __init__(self, sink: LedgerSink) -> None:
        self._sink = sink

    async def starts(self, partitions: Sequence[Place]) -> Mapping[Place, int]:
        return await self._sink.starts(partitions)

    async def write(self, batches: Sequence[Batch]) -> None:
        frames: dict[Place, Sequence[Any]] = {
            (each.topic, each.partition): each.records for each in batches
        }
        await self._sink.write(frames)


class _Ledger(Sink):
    """A sink that takes a contradicting partition out instead of ending the process."""

    @override
    async def work(self, work: Work) -> None:
        try:
            await super().work(work)
        except FramesHalted as fault:
            # The others are written. The sink knows where they stand; the engine learns it by
            # asking for their records once more, which the sink then skips.
            for (topic, partition), why in fault.halted.items():
                self.halt(TP(self.settings.topic(topic), partition), why)
