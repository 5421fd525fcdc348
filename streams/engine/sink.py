"""
Sinks: exactly once into a place of their own, which also keeps the position.

The sink writes rows and the next position in one transaction; the engine asks it where to go on,
seeks there, and hands it each round's batches. While the place is away, the round waits and is
tried again in place: the waiting partition is the backpressure.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from faust.types import TP

from streams.engine.agent import Positions
from streams.engine.app import App
from streams.engine.failpoints import Failpoint, failpoint
from streams.engine.rounds import Batch, Rest, Work
from streams.settings import Settings
from streams.topics import Topic

Place = tuple[str, int]


class Port(Protocol):
    """What a sink is to the engine."""

    async def starts(self, partitions: Sequence[Place]) -> Mapping[Place, int]:
        """Return the next offset of each (topic, partition) that has one. Raises Unavailable."""

    def prepare(self, batches: Sequence[Batch]) -> Any:
        """Return what `put` writes of *batches*, which come after all that was prepared before."""

    async def put(self, prepared: Any) -> None:
        """
        Write what was *prepared* and its positions, all or nothing.

        Raises Unavailable when the place is away: the same comes again. Any other error, such as a
        position that is not the one expected, ends the process.
        """


class Sink(Positions):
    """Hands what *topics* bring to *sink*."""

    def __init__(self, name: str, topics: Sequence[Topic], sink: Port) -> None:
        super().__init__(name, topics)
        self._sink = sink

    def bind(self, app: App, settings: Settings) -> None:
        """Belong to *app*."""
        super().bind(app, settings)
        point = settings.failpoint
        self._before_commit: Failpoint = failpoint(point, f"{self.name}-before-commit")
        self._after_commit: Failpoint = failpoint(point, f"{self.name}-after-commit")

    async def starts(self, tps: Sequence[TP]) -> Mapping[TP, int | None]:
        """Where the sink says."""
        places = {tp: (self._declared[tp.topic], tp.partition) for tp in tps}
        known = await self._sink.starts(list(places.values()))
        return {tp: known.get(place) for tp, place in places.items()}

    async def work(self, work: Work) -> Rest | None:
        """Prepare the batches; what is left is to have them written."""
        batches = self.batches(work)
        if not batches:
            return None
        prepared = self._sink.prepare(batches)
        self.moved(batches)
        return partial(self._settle, prepared, self.app.consumer_generation_id)

    async def _settle(self, prepared: Any, generation: int) -> None:
        """Write what was *prepared*, however long the place is away."""

        async def put() -> None:
            if visit := self._before_commit:
                visit()
            await self._sink.put(prepared)
            if visit := self._after_commit:
                visit()

        await self.patiently(put, lambda: self._still(generation) and bool(self.open))

    async def tend(self) -> None:
        """Report, for lag dashboards."""
        await self.report()
        metrics = self.app.metrics
        metrics.pending.labels(self.name).set(self.pending)
        metrics.oldest.labels(self.name).set(self.age_s if self.pending else 0.0)
