"""
The ledger sink: what the engine calls with a round of frames.

Promises that a round it has returned from is in the ledger once, whatever happened on the way;
that a value PostgreSQL refuses costs its own record only; and that a partition which contradicts
itself halts alone.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from agents.ledger import LEDGER_TOPICS, LedgerRecord, fold
from agents.ports import FramesHalted, Ledger, RefusedByLedger
from schemas.errors import LedgerUnavailable
from schemas.ledger import LedgerBatch, Span, Start, Tally, TopicPartition
from streams.postgres.ledger import NotTheOwner

Frames = Mapping[TopicPartition, Sequence[LedgerRecord]]


class LedgerSink:
    """
    Feeds a `Ledger` with frames, exactly once.

    After LedgerUnavailable the caller calls again, with the same frames or with more; what was
    written meanwhile is recognised by its positions. After NotTheOwner the process must end.
    """

    def __init__(self, ledger: Ledger, topic_prefix: str = "") -> None:
        self._ledger = ledger
        self._prefix = topic_prefix
        self._starts: dict[TopicPartition, Start] = {}
        #: What the last write would have moved, when nobody knows whether it did.
        self._unsure: dict[TopicPartition, Span] = {}
        self._lock = asyncio.Lock()
        self.tally = Tally()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read, as they are called on this installation's broker."""
        return tuple(self._prefix + topic for topic in LEDGER_TOPICS)

    async def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """
        Return the offset at which each newly assigned partition has to be read on.

        Raises LedgerUnavailable.
        """
        ours = [(topic.removeprefix(self._prefix), number) for topic, number in partitions]
        async with self._lock:
            starts = await self._ledger.starts(ours)
            self._starts.update(starts)
            for where in starts:
                self._unsure.pop(where, None)
        return {(self._prefix + topic, number): at.next for (topic, number), at in starts.items()}

    async def write(self, frames: Frames) -> None:
        """
        Write a round: for each (topic, partition) its records in the order of their offsets.

        Raises LedgerUnavailable (call again), NotTheOwner (stop), and FramesHalted when everything
        is written but the partitions it names, which must not be given to this sink again.
        """
        ours = {
            (topic.removeprefix(self._prefix), number): records
            for (topic, number), records in frames.items()
        }
        async with self._lock:
            await self._find_out()
            halted = await self._write(ours)
        if halted:
            raise FramesHalted(
                {(self._prefix + topic, number): why for (topic, number), why in halted.items()}
            )

    async def _write(self, frames: Frames) -> dict[TopicPartition, str]:
        batch = fold(frames, self._starts)
        try:
            await self._put(batch)
        except RefusedByLedger as refused:
            return await self._write_around(frames, refused)
        return batch.halted

    async def _write_around(
        self, frames: Frames, refused: RefusedByLedger
    ) -> dict[TopicPartition, str]:
        """Write *frames*, which hold a refused value: halve until it stands alone and park it."""
        fresh = {
            where: [record for record in records if record.offset >= self._starts[where].next]
            for where, records in frames.items()
        }
        if sum(map(len, fresh.values())) <= 1:
            batch = fold(fresh, self._starts, refused)
            await self._put(batch)
            return batch.halted
        first, second = _halves(fresh)
        halted = await self._write(first)
        rest = {where: records for where, records in second.items() if where not in halted}
        return halted | await self._write(rest)

    async def _put(self, batch: LedgerBatch) -> None:
        try:
            await self._ledger.write(batch)
        except LedgerUnavailable:
            self._unsure = dict(batch.positions)
            raise
        for where, span in batch.positions.items():
            known = self._starts[where].heard
            self._starts[where] = Start(span.end, known | batch.heard.get(where, {}))
        self.tally.add(batch.tally)

    async def _find_out(self) -> None:
        """
        Learn whether the write that failed last is in the ledger.

        It was one transaction, so all of its partitions stand where it began, or all where it
        ended. Where it ended they were brought by us, or by an owner who read the same records
        and so wrote the same rows. Anything else is somebody else's work.
        """
        if not self._unsure:
            return
        found = await self._ledger.starts(self._unsure)
        stands = {where: found[where].next for where in self._unsure}
        before = {where: span.start for where, span in self._unsure.items()}
        after = {where: span.end for where, span in self._unsure.items()}
        if stands not in (before, after):
            raise NotTheOwner("positions moved in a way that this process did not ask for")
        self._starts.update(found)
        self._unsure = {}


def _halves(frames: Frames) -> tuple[Frames, Frames]:
    """Return two rounds with half of the records each; every partition keeps its order."""
    half = sum(map(len, frames.values())) // 2
    first: dict[TopicPartition, Sequence[LedgerRecord]] = {}
    second: dict[TopicPartition, Sequence[LedgerRecord]] = {}
    for where, records in frames.items():
        if records[:half]:
            first[where] = records[:half]
        if records[half:]:
            second[where] = records[half:]
        half = max(0, half - len(records))
    return first, second
