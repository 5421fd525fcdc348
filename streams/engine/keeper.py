"""
The keeper: the single writer of one table.

A round of it: decide the frames of all partitions; send all letters and wait until the broker
has them; write one batch a partition, rows and position together, and wait again. While it waits,
the next round is decided on what this one left, and sends its letters; commits keep their order.
Whatever stops it, wherever: work is either wholly in the changelog, or is decided again to the
same bytes.

Promise: the rows in memory are what the changelog holds, and beside them stands what is decided
and on its way there; what contradicts itself halts its own
partition and no other; what another writer has put into our changelog is written over.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import aiokafka
from faust.types import TP
from msgspec import DecodeError

from agents.frames import POSITION_BYTES, FrameDecider, Inbox, Slice
from agents.letters import NO_HEADERS, Post, Route, seal, unseal
from schemas.errors import Misconfigured, PartitionHalted, UndecodableMessage
from streams import tracing
from streams.correlation import is_told, of, of_command, place
from streams.engine.app import App
from streams.engine.failpoints import Failpoint, failpoint
from streams.engine.producer import Acks, Batch, Batches, Producer, all_of
from streams.engine.rounds import Rest, Role, Work
from streams.engine.snapshots import Snapshots
from streams.engine.store import AT, STATE_KEY, Part, Store, position_bytes, write_state
from streams.engine.sweeper import Sweeper
from streams.settings import Settings
from streams.topics import BATCH_BYTES_MAX, Topic, changelog
from streams.tracing import DECIDE
from tables.spec import Table

logger = logging.getLogger(__name__)

#: A slice closes at 700 kB and its last row may have 900 kB; the changelog takes 2 MB a batch.
COMMIT_BYTES_MAX = 2 * BATCH_BYTES_MAX - 50_000
#: Tracebacks of one commit that are logged; all of them are parked and counted.
FAILURES_LOGGED_MAX = 5
#: A recovery that has read nothing for so long is looked at.
RECOVERY_STILL_S = 3.0
#: What another writer has written is read within this, or the process ends.
FOREIGN_READ_S = 20.0


class Keeper(Role):
    """Reads *inbox*, decides by *table*, sends by *routes*."""

    def __init__(self, table: Table, inbox: Topic, routes: Mapping[type, Route]) -> None:
        super().__init__(table.name, [inbox.name])
        self.table = table
        self.inbox = inbox.name
        self.changelog = changelog(table.name).name
        self._routes = routes
        self._post: dict[int, Post] = {}
        self._check_at = 0.0
        #: How far the changelogs are read, since when, and when that was looked at.
        self._read: dict[TP, int | None] = {}
        self._read_at = 0.0
        self._looked_at = 0.0
        self.sweeper = Sweeper(table) if table.deadline_ms else None
        #: None where the installation keeps none.
        self.snapshots: Snapshots | None = None

    @property
    def writes_to(self) -> Sequence[str]:
        """Its changelog, and wherever its routes lead."""
        return [self.changelog, *sorted({route.topic for route in self._routes.values()})]

    def bind(self, app: App, settings: Settings) -> None:
        """Belong to *app*, and learn the names on this installation's broker."""
        super().bind(app, settings)
        self.store: Store
        self._tracer = tracing.of(settings)
        self._inbox_topic = settings.topic(self.inbox)
        self._changelog_topic = settings.topic(self.changelog)
        if settings.snapshots and (topic_id := app.topic_ids.get(self.changelog)):
            self.snapshots = Snapshots(
                settings.snapshots, self._changelog_topic, topic_id, settings.snapshot_every
            )
        point = settings.failpoint
        self._before_letters: Failpoint = failpoint(point, "keeper-before-letters")
        self._mid_batch: Failpoint = failpoint(point, "keeper-mid-batch")
        self._after_letters: Failpoint = failpoint(point, "keeper-after-letters")
        self._after_changelog: Failpoint = failpoint(point, "keeper-after-changelog")
        if self.sweeper:
            self.sweeper.bind(self)

    def check(self, counts: Mapping[str, int]) -> None:
        """Inbox, changelog, and topics that share the inbox's key have one partition count."""
        alike = {self.inbox, self.changelog}
        alike |= {route.topic for route in self._routes.values() if route.home}
        if len({counts[name] for name in alike}) > 1:
            said = ", ".join(f"{name} {counts[name]}" for name in sorted(alike))
            raise Misconfigured(f"Declare one partition count in streams/topics.py for: {said}.")

    # Where it goes on.

    async def recovered(self, seconds: float) -> None:
        """
        Compare what was read with where the changelogs end now.

        Faust lets this go on when partitions move meanwhile. Then they are read anew already, past
        the ends that were told for this time, and the recovery that reads them does all of it.
        """
        store = self.store
        # Another one with every assignment, before anything of it is read.
        parts = store.parts
        ends = await self.consumer.highwaters(*(self._changelog_tp(p) for p in parts))
        if store.parts is not parts:
            return
        stale = 0
        for p, part in parts.items():
            stale += len(part.foreign)
            end = ends[self._changelog_tp(p)]
            if end < part.known_end:
                part.end = part.known_end
            self._look_at_end(p, part, end)
        for p, part in parts.items():
            if self.sweeper and part.fresh:
                await self.sweeper.learn(p, part.rows, lambda: store.parts is parts)
                if store.parts is not parts:
                    return
            part.fresh = False
        if self.sweeper:
            self.sweeper.keep(parts)
        metrics = self.app.metrics
        metrics.recovery.labels(self.name).set(seconds)
        metrics.stale_commits.labels(self.name).inc(stale)
        rows = sum(len(part.rows) for part in parts.values())
        logger.info("%s: %d rows of %d partitions in %.2f s", self.name, rows, len(parts), seconds)

    async def starts(self, tps: Sequence[TP]) -> Mapping[TP, int | None]:
        """At the table's own position."""
        store, known = self.store, {}
        for tp in tps:
            if tp.partition not in store.known:
                continue
            part = store.parts[tp.partition]
            if part.halted:
                self._halt(tp.partition, part.halted)
            part.go_back()
            known[tp] = part.state.position
        return known

    def position(self, tp: TP) -> int:
        """The position after what is decided."""
        return self.store.parts[tp.partition].decided.position

    def _changelog_tp(self, p: int) -> TP:
        return TP(self._changelog_topic, p)

    # A round.

    async def work(self, work: Work) -> Rest:
        """Decide all frames and send their letters; what is left is to commit them."""
        generation = self.app.consumer_generation_id
        letters = Batches()
        # A frame that is larger than one commit has several slices; the nth ones go together.
        waves: list[dict[int, Slice]] = []
        for tp, records in work.items():
            for nth, slice_ in enumerate(self._slices(tp.partition, records, letters)):
                if nth == len(waves):
                    waves.append({})
                waves[nth][tp.partition] = slice_
        sent = await self._send_letters(letters)
        return partial(self._settle, waves, sent, generation)

    async def _settle(
        self, waves: Sequence[Mapping[int, Slice]], sent: Acks, generation: int
    ) -> None:
        """Commit what was decided, once all its letters have arrived."""
        await all_of(sent)
        if visit := self._after_letters:
            visit()
        for decided in waves:
            if not self._still(generation):
                # A round that outlived its assignment: what it wrote is identical to what the new
                # owner writes, or older, and what it did not write is decided again.
                return
            await self._commit(decided, generation)

    def _slices(self, p: int, records: Sequence[Any], letters: Batches) -> list[Slice]:
        """Decide a frame; a partition that contradicts itself is halted after what went before."""
        part = self.store.parts[p]
        post = self._post.get(p)
        if post is None:
            post = self._post[p] = Post(
                self.name, self.table.number, p, self._routes, self.app.partition_of
            )
        decider = FrameDecider(
            part.rows, part.decided, self.table, Inbox(self.inbox, p), post, part.ahead, letters
        )
        slices: list[Slice] = []
        began_ns = time.time_ns()
        try:
            for slice_ in decider.decide(records):
                self._count(p, slice_)
                if slice_.state.position != part.decided.position:
                    part.go_ahead(slice_.changes, slice_.state)
                    slices.append(slice_)
        except PartitionHalted as fault:
            self.app.metrics.letter_gaps.labels(self.name).inc()
            self._halt(p, str(fault))
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            # Outside of what parks a command: the same records would end every process that
            # takes this partition, so it must not travel.
            logger.exception("%s: deciding %s/%s failed", self.name, self.inbox, p)
            self._halt(p, f"deciding failed outside of the rules: {error!r}")
        if self._tracer is not None or is_told(logger):
            self._tell(records, slices, began_ns)
        return slices

    def _tell(self, records: Sequence[Any], slices: Sequence[Slice], began_ns: int) -> None:
        """Log and trace which messages were decided on, by their commands and by their rows."""
        now_ns = time.time_ns()
        ids = {of_command(command) for command in self._commands(records)}
        ids |= {of_command(row) for slice_ in slices for row in slice_.rows.values()}
        for id_ in ids - {None}:
            logger.debug("%s: decided", self.name, extra=of(str(id_)))
            if self._tracer is not None:
                more = {"keeper": self.name}
                self._tracer.tell(DECIDE, self.inbox, str(id_), began_ns, now_ns, more)

    def _commands(self, records: Sequence[Any]) -> Iterator[Any]:
        """Yield what can be read of *records*; what cannot is parked, and logged there."""
        for record in records:
            with suppress(UndecodableMessage, DecodeError):
                _, _, _, body = unseal(record.value)
                yield self.table.decode_command(body)

    def _count(self, p: int, slice_: Slice) -> None:
        metrics, counts = self.app.metrics, slice_.counts
        metrics.processed.labels(self.name, "decided").inc(counts.commands - counts.parked)
        if counts.parked:
            metrics.processed.labels(self.name, "parked").inc(counts.parked)
            for offset, error, command in counts.failures[:FAILURES_LOGGED_MAX]:
                at = place(self.inbox, p, offset)
                logger.error(
                    "%s: %s is parked", self.name, at, exc_info=error,
                    extra=of(of_command(command) or at),
                )  # fmt: skip
        if counts.skipped:
            metrics.replays_skipped.labels(self.name).inc(counts.skipped)
        if counts.repeats:
            metrics.letter_repeats.labels(self.name).inc(counts.repeats)

    def wake(self, p: int, row_key: bytes, command: Any, into: Batches) -> None:
        """Put an unnumbered *command* about a row of partition *p* on the way to our own inbox."""
        route = self._routes.get(type(command))
        key = route.key(command) if route else row_key
        into[f"{self.inbox}/{p}"](key, seal(command), NO_HEADERS)

    def _halt(self, p: int, why: str) -> None:
        if (part := self.store.parts.get(p)) is not None:
            part.halted = why
        self.halt(TP(self._inbox_topic, p), why)

    async def _send_letters(self, letters: Batches) -> Acks:
        producer: Producer = self.app.producer
        if visit := self._before_letters:
            visit()
        if letters.lanes and (visit := self._mid_batch):
            first = Batches()
            first.lanes = dict([letters.lanes.popitem()])
            await producer.send_batches(first)
            visit()
        return await producer.hand_over(letters)

    async def _commit(self, decided: Mapping[int, Slice], generation: int) -> None:
        parts = self.store.parts
        written: list[tuple[int, Part, Slice, bytes, int]] = []
        acks = []
        for p, slice_ in decided.items():
            part = parts[p]
            if part.unfit:
                continue
            record = write_state(slice_.state, part.rows_after(slice_.changes))
            batch = Batch(COMMIT_BYTES_MAX)
            if not _fill(batch, slice_.changes, slice_.state.position, record):
                part.unfit = True
                self._halt(p, "a commit does not fit one batch: a row is larger than tables allow")
                continue
            acks.append(await self._send_commit(p, batch))
            written.append((p, part, slice_, record, batch.record_count()))
        acknowledged = await all_of(acks)
        if not self._still(generation):
            return
        for (p, part, slice_, record, count), ack in zip(written, acknowledged, strict=True):
            self._acknowledged(p, part, ack.offset, count)
            part.commit(slice_.changes, slice_.state, record)
            if self.sweeper:
                self.sweeper.changed(p, slice_.rows)
        if visit := self._after_changelog:
            visit()

    async def _send_commit(self, p: int, batch: Batch) -> "asyncio.Future[Any]":
        producer: Producer = self.app.producer
        return await producer.send_batch((self._changelog_topic, p), batch)

    def _acknowledged(self, p: int, part: Part, base: int, count: int) -> None:
        """Compare where a commit landed with where it should have."""
        if base < 0:
            # A retried batch whose place the broker no longer knows: the next check looks.
            self._check_at = 0.0
            return
        self._look_at_end(p, part, base)
        part.end = base + count

    # What another writer wrote.

    def _look_at_end(self, p: int, part: Part, end: int) -> None:
        """Take note of what stands in the changelog between our last record and *end*."""
        expected = end if part.end is None else part.end
        part.end = end
        if end < expected:
            self._halt(p, f"the changelog ends at {end}, before our last record at {expected - 1}")
        elif end > expected:
            part.unread.append((expected, end))
            self.app.metrics.foreign_writes.labels(self.name).inc()
            logger.warning(
                "%s: another writer in %s/%s at %d..%d",
                self.name, self._changelog_topic, p, expected, end - 1,
            )  # fmt: skip

    async def tend(self) -> None:
        """Look for other writers, write over what they wrote, wake what is due, report."""
        if self.app.in_recovery:
            await self._end_recovery()
        if not self.open:
            return
        if time.monotonic() >= self._check_at:
            await self._check_ends()
        for tp in list(self.open):
            part = self.store.parts.get(tp.partition)
            if part and tp in self.open and (part.unread or part.foreign):
                await self._write_over(tp.partition, part)
        if self.sweeper:
            await self.sweeper.sweep({tp.partition for tp in self.open})
        if self.snapshots:
            self._keep_snapshot(self.snapshots)
        await self.report()

    def _keep_snapshot(self, snapshots: Snapshots) -> None:
        """Begin to write one snapshot, where one is due; the rounds go on meanwhile."""
        for tp in self.open:
            p, part = tp.partition, self.store.parts[tp.partition]
            if not snapshots.due(p, part.end or 0, len(part.rows)):
                continue
            if (snapshot := part.snapshot()) is not None:
                snapshots.write(p, snapshot).add_done_callback(self._snapshot_written)
                return

    def _snapshot_written(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        outcome = "failed" if error else "written"
        self.app.metrics.snapshots.labels(self.name, outcome).inc()
        if error:
            logger.error("%s: a snapshot was not written: %r", self.name, error)

    async def _end_recovery(self) -> None:
        """
        Let a recovery end that has read everything.

        Faust waits for the record before the end of each changelog. Where none stands there (the
        marker of a transaction that is none of ours), it would wait for ever. After a stop of this
        process what was fetched before it is still on its way: the clock has gone on, we have not.
        """
        recovery, now = self.app.tables.recovery, time.monotonic()
        read = {tp: recovery.active_offsets[tp] for tp in recovery.active_highwaters}
        stood_still = now > self._looked_at + RECOVERY_STILL_S / 2
        self._looked_at = now
        if read != self._read or stood_still:
            self._read, self._read_at = read, now
        if now < self._read_at + RECOVERY_STILL_S:
            return
        for tp, end in recovery.active_highwaters.items():
            offset = read[tp]
            if offset is None or offset >= end or await self.consumer.position(tp) <= end:
                continue
            if recovery.active_offsets[tp] == offset:
                logger.warning("%s: no record at the end of %s/%s", self.name, *tp)
                recovery.active_offsets[tp] = end

    async def _check_ends(self) -> None:
        self._check_at = time.monotonic() + self.settings.foreign_check_every.total_seconds()
        generation = self.app.consumer_generation_id
        parts = {self._changelog_tp(tp.partition): tp.partition for tp in self.open}
        ends = await self.consumer.highwaters(*parts)
        if self._still(generation):
            for tp, p in parts.items():
                self._look_at_end(p, self.store.parts[p], ends[tp])

    async def _write_over(self, p: int, part: Part) -> None:
        """
        Write again, at our position, every row that another writer wrote; it must be the last one.

        What is newer than we are comes from an owner that is ahead of us: either we reach that
        position ourselves, or the partition is about to be taken from us.
        """
        generation = self.app.consumer_generation_id
        while part.unread:
            first, end = part.unread[0]
            await asyncio.wait_for(self._learn_foreign(p, part, first, end), FOREIGN_READ_S)
            if not self._still(generation):
                return
            del part.unread[0]
        now = position_bytes(part.state.position)
        keys = [key for key, at in part.foreign.items() if at <= now]
        if not keys:
            return
        changes = {
            key: None if (row := part.rows.get(key)) is None else now + row[POSITION_BYTES:]
            for key in keys
            if key != STATE_KEY
        }
        record = part.state_record
        for batch in _batches(changes, part.state.position, record):
            ack = await (await self._send_commit(p, batch))
            if not self._still(generation):
                # It outlived its assignment: the partition is read anew, this batch with it.
                return
            self._acknowledged(p, part, ack.offset, batch.record_count())
        part.commit(changes, part.state, record)
        for key in keys:
            part.foreign.pop(key, None)
        logger.warning(
            "%s: %d rows of %s/%s written over", self.name, len(keys), self._changelog_topic, p
        )

    async def _learn_foreign(self, p: int, part: Part, first: int, end: int) -> None:
        """Read the stretch *first*..*end* beside the group, for its keys and positions."""
        tp = aiokafka.TopicPartition(self._changelog_topic, p)
        reader = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await reader.start()
        try:
            reader.assign([tp])
            reader.seek(tp, first)
            while await reader.position(tp) < end:
                for records in (await reader.getmany(tp, timeout_ms=500)).values():
                    for record in records:
                        if record.offset < end:
                            _remember(part, record)
        finally:
            await reader.stop()


def _remember(part: Part, record: Any) -> None:
    at = next((v for name, v in record.headers if name == AT), None)
    at = bytes(at) if at is not None else (record.value or b"")[:POSITION_BYTES]
    if at > part.foreign.get(record.key, b""):
        part.foreign[record.key] = at


def _fill(
    batch: Batch, changes: Mapping[bytes, bytes | None], position: int, record: bytes
) -> bool:
    """Put one commit into *batch*: rows, tombstones, and the state last. False: it does not fit."""
    gone = [(AT, position_bytes(position))]
    for key, value in changes.items():
        if not batch.put(key, value, NO_HEADERS if value else gone):
            return False
    return batch.put(STATE_KEY, record, NO_HEADERS)


def _batches(
    changes: Mapping[bytes, bytes | None], position: int, record: bytes
) -> Iterator[Batch]:
    """Yield *changes* as commits that fit, each closed by the state *record*."""
    some: dict[bytes, bytes | None] = {}
    size = 0
    for key, value in changes.items():
        if some and size + len(value or b"") > BATCH_BYTES_MAX // 2:
            yield _commit_of(some, position, record)
            some, size = {}, 0
        some[key] = value
        size += len(key) + len(value or b"") + 64
    yield _commit_of(some, position, record)


def _commit_of(changes: Mapping[bytes, bytes | None], position: int, record: bytes) -> Batch:
    batch = Batch(COMMIT_BYTES_MAX)
    if not _fill(batch, changes, position, record):
        raise PartitionHalted("a row and the state do not fit one batch")
    return batch
