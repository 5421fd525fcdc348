"""
Stateless agents: at least once, their position is the consumer group's.

All outputs of a round are sent and acknowledged, then the position moves. What an agent sends
must therefore be idempotent for its receiver.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from faust.types import TP

from agents.letters import Headers
from streams.engine.app import App
from streams.engine.failpoints import Failpoint, failpoint
from streams.engine.producer import Acks, Batches, all_of
from streams.engine.rounds import Batch, Rest, Role, Work
from streams.settings import Settings
from streams.topics import Topic

#: How often the group is told how far the agent is: what a crash repeats at most.
COMMIT_EVERY_S = 0.5


class Output(NamedTuple):
    """A message on its way out."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = []  # noqa: RUF012  aiokafka takes a list, and nobody changes it
    #: What to count it as once the broker has it, and of which kind.
    counts_as: tuple[str, str] | None = None
    #: Where it has to go, whatever its key says.
    partition: int | None = None


AgentWork = Callable[[Sequence[Batch]], Awaitable[Sequence[Output]]]


class Positions(Role):
    """A role that keeps its positions in memory, beside where they are kept for good."""

    def __init__(self, name: str, topics: Sequence[Topic]) -> None:
        super().__init__(name, [topic.name for topic in topics])
        self._next: dict[TP, int] = {}

    def position(self, tp: TP) -> int:
        """The next offset, as this process knows it."""
        return self._next[tp]

    def opened(self, starts: Mapping[TP, int]) -> None:
        """Begin at *starts*."""
        self._next = dict(starts)

    def batches(self, work: Work) -> list[Batch]:
        """Return what is new in *work*."""
        found = []
        for tp, records in work.items():
            position = start = self._next[tp]
            fresh = []
            for record in records:
                if record.offset >= position:
                    fresh.append(record)
                    position = record.offset + 1
            if fresh:
                found.append(Batch(self._declared[tp.topic], tp.partition, fresh, start, position))
        return found

    def moved(self, batches: Sequence[Batch]) -> None:
        """Take note that *batches* are done."""
        counter = self.app.metrics.processed.labels(self.name, "done")
        for batch in batches:
            tp = TP(self.settings.topic(batch.topic), batch.partition)
            if tp in self._next:
                self._next[tp] = batch.next
            counter.inc(len(batch.records))


class Agent(Positions):
    """Reads *topics*, sends what *work* returns for each round's batches."""

    def __init__(
        self, name: str, topics: Sequence[Topic], work: AgentWork, writes_to: Sequence[str] = ()
    ) -> None:
        super().__init__(name, topics)
        self._do = work
        self._writes_to = tuple(writes_to)
        #: The positions up to which all outputs are with the broker.
        self._acknowledged: Mapping[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._commit_at = 0.0
        self._spread = 0

    @property
    def writes_to(self) -> Sequence[str]:
        """What it was said to write to."""
        return self._writes_to

    def bind(self, app: App, settings: Settings) -> None:
        """Belong to *app*."""
        super().bind(app, settings)
        point = settings.failpoint
        self._before_ack: Failpoint = failpoint(point, f"{self.name}-before-ack")
        self._after_ack: Failpoint = failpoint(point, f"{self.name}-after-ack")

    async def starts(self, tps: Sequence[TP]) -> Mapping[TP, int | None]:
        """Where the group has committed."""
        return await self.consumer.committed(tps)

    def opened(self, starts: Mapping[TP, int]) -> None:
        """Begin at *starts*, where nothing is on its way."""
        super().opened(starts)
        self._acknowledged = dict(starts)

    async def work(self, work: Work) -> Rest | None:
        """Send the outputs; what is left is to have them acknowledged."""
        batches = self.batches(work)
        outputs = await self.patiently(lambda: self._do(batches))
        if outputs is None:
            return None
        if visit := self._before_ack:
            visit()
        acks = await self.app.producer.hand_over(self._batches_of(outputs))
        self.moved(batches)
        return partial(
            self._settle,
            acks,
            _noticed(outputs),
            dict(self._next),
            self.app.consumer_generation_id,
        )

    async def send(self, outputs: Sequence[Output]) -> None:
        """Send *outputs*, apart from any round; return when the broker has them."""
        await all_of(await self.app.producer.hand_over(self._batches_of(outputs)))
        self._count(_noticed(outputs))

    async def _settle(
        self,
        acks: Acks,
        noticed: Mapping[tuple[str, str], int],
        after: Mapping[TP, int],
        generation: int,
    ) -> None:
        await all_of(acks)
        self._count(noticed)
        if visit := self._after_ack:
            visit()
        if not self._still(generation):
            return
        self._acknowledged = after
        if time.monotonic() >= self._commit_at:
            await self._commit()

    def _count(self, noticed: Mapping[tuple[str, str], int]) -> None:
        for (what, kind), count in noticed.items():
            self.app.metrics.noticed[what].labels(kind).inc(count)

    def _batches_of(self, outputs: Sequence[Output]) -> Batches:
        batches = Batches()
        partition_of = self.app.partition_of
        for topic, key, value, headers, _, wanted in outputs:
            if wanted is not None:
                partition = wanted
            elif key is None:
                self._spread += 1
                partition = self._spread % self.app.counts[topic]
            else:
                partition = partition_of(topic, key)
            batches[f"{topic}/{partition}"](key, value, headers)
        return batches

    async def tend(self) -> None:
        """Commit what the last rounds did."""
        await self._commit()
        await self.report()

    async def closed(self) -> None:
        """Commit what the last round did, while still a member of the group."""
        await super().closed()
        await self._commit()

    async def _commit(self) -> None:
        news = {tp: at for tp, at in self._acknowledged.items() if self._committed.get(tp) != at}
        if news and await self.consumer.report(news):
            self._committed.update(news)
        self._commit_at = time.monotonic() + COMMIT_EVERY_S


def _noticed(outputs: Sequence[Output]) -> Mapping[tuple[str, str], int]:
    return Counter([each.counts_as for each in outputs if each.counts_as is not None])
