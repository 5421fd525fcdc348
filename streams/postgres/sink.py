"""
The ledger sink: what the engine calls with a round of frames.

Promises that a round it has put is in the ledger once, whatever happened on the way;
that a value PostgreSQL refuses costs its own record only; and that a partition which contradicts
itself halts alone.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, json

from agents.ledger import LEDGER_TOPICS, LedgerRecord, fold
from agents.ports import FramesHalted, Ledger, RefusedByLedger
from schemas.errors import LedgerUnavailable
from schemas.ledger import LedgerBatch, Span, Start, Tally, TopicPartition
from streams.correlation import is_told, of
from streams.postgres.ledger import NotTheOwner

logger = logging.getLogger(__name__)


class _Cause(Struct):
    """What is read of an event to log it."""

    cause: str


_CAUSE = json.Decoder(_Cause)
Frames = Mapping[TopicPartition, Sequence[LedgerRecord]]


class Prepared(NamedTuple):
    """A round that is folded, and waits to be written."""

    frames: Frames
    batch: LedgerBatch


class LedgerSink:
    """
    Feeds a `Ledger` with frames, exactly once.

    A round is prepared on what the rounds before it will have written, so that one is folded while
    PostgreSQL writes another; they are written in the order in which they were prepared. After
    LedgerUnavailable the caller calls again; what was written meanwhile is recognised by its
    positions. After NotTheOwner the process must end.
    """

    def __init__(self, ledger: Ledger, topic_prefix: str = "") -> None:
        self._ledger = ledger
        self._prefix = topic_prefix
        self._starts: dict[TopicPartition, Start] = {}
        #: Where each partition goes on after everything that is prepared.
        self._ahead: dict[TopicPartition, Start] = {}
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
            self._ahead.update(starts)
            for where in starts:
                self._unsure.pop(where, None)
        return {(self._prefix + topic, number): at.next for (topic, number), at in starts.items()}

    def prepare(self, frames: Frames) -> Prepared:
        """Fold a round: for each (topic, partition) its records in the order of their offsets."""
        ours = {
            (topic.removeprefix(self._prefix), number): records
            for (topic, number), records in frames.items()
        }
        batch = fold(ours, self._ahead)
        _move(self._ahead, batch)
        return Prepared(ours, batch)

    async def put(self, prepared: Prepared) -> None:
        """
        Write what was prepared.

        Raises LedgerUnavailable (put it again, before what was prepared after it), NotTheOwner
        (stop), and FramesHalted when everything is written but the partitions it names, which must
        not be given to this sink again.
        """
        async with self._lock:
            await self._find_out()
            frames, batch = prepared
            if any(self._starts[each].next != at.start for each, at in batch.positions.items()):
                # It is there already, or it was prepared on what never came: look again.
                batch = fold(frames, self._starts)
            halted = await self._write(frames, batch)
        if halted:
            raise FramesHalted(
                {(self._prefix + topic, number): why for (topic, number), why in halted.items()}
            )

    async def _write(self, frames: Frames, batch: LedgerBatch) -> dict[TopicPartition, str]:
        try:
            await self._insert(batch)
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
            await self._insert(batch)
            return batch.halted
        first, second = _halves(fresh)
        halted = await self._write(first, fold(first, self._starts))
        rest = {where: records for where, records in second.items() if where not in halted}
        return halted | await self._write(rest, fold(rest, self._starts))

    async def _insert(self, batch: LedgerBatch) -> None:
        try:
            await self._ledger.write(batch)
        except LedgerUnavailable:
            self._unsure = dict(batch.positions)
            raise
        _move(self._starts, batch)
        self.tally.add(batch.tally)
        if is_told(logger):
            _tell(batch)

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


def _tell(batch: LedgerBatch) -> None:
    """Log which messages are in the ledger now."""
    for id_ in causes_of(batch) | {parked.id for parked in batch.parked}:
        logger.debug("ledger: written", extra=of(id_))


def causes_of(batch: LedgerBatch) -> set[str]:
    """Return the correlation ids of what *batch* writes, to log or trace it."""
    causes = {_CAUSE.decode(event.body).cause for event in batch.order_events}
    return causes | {move.cause for move in batch.moves}


def _move(starts: dict[TopicPartition, Start], batch: LedgerBatch) -> None:
    """Let *starts* be where *batch* ends."""
    for where, span in batch.positions.items():
        starts[where] = Start(span.end, starts[where].heard | batch.heard.get(where, {}))


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
