"""
Rounds: all that waits, of all partitions, worked on at once; meanwhile the next round gathers.

So rounds grow by themselves with the load and stay small and quick when there is little, and
what a round waits for (acknowledgements, a database) is paid once a round.

Where enough waits, the next round does not wait for the last one's acknowledgements: it begins
while up to `UNSETTLED_MAX` rounds wait for theirs, which they get in order.

Promise: one round is worked on at a time; nothing of an older assignment enters one; a rebalance
goes on only after the running rounds have ended, or after a bounded wait.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from faust.types import TP

from agents.frames import Record
from schemas.errors import Misconfigured, Unavailable
from streams.engine.app import App
from streams.engine.frames import Poll
from streams.engine.transport import Consumer
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: How often what is not part of a round is looked at: checks, reports, deadlines.
TEND_EVERY_S = 0.25
#: Retries of a part that is away: first wait, longest wait.
RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0
#: Where the positions are not known after this, nothing is read until they are.
STARTS_WITHIN_S = 0.5
#: A log that ends before the position is looked at again for so long before it is a fault.
END_WITHIN_S = 5.0

#: With so many records a round is worth its own cost and does not wait for more.
ENOUGH_RECORDS = 500
#: So many rounds may wait for their acknowledgements while the next one is worked on.
UNSETTLED_MAX = 2
#: What is handed over is on the wire after so many turns of the event loop.
_TURNS = 4

Work = dict[TP, list[Record]]
#: What is left of a round once it is decided and sent: to wait, and to take note.
Rest = Callable[[], Awaitable[None]]


class Batch(NamedTuple):
    """What a round has for one partition of one topic, in order, without what was seen before."""

    topic: str
    partition: int
    records: Sequence[Record]
    #: The position before and after: `start` is where the last round ended.
    start: int
    next: int


class Rounds:
    """What waits for one role, and the task that works on it."""

    def __init__(self, role: "Role", settings: Settings) -> None:
        self._role = role
        self._records_max = settings.round_records_max
        self._every = settings.round_every.total_seconds()
        #: Generation and number of the poll, partition, records.
        self._waiting: list[tuple[int, int, TP, list[Record]]] = []
        #: Partition that was sought -> the last poll that may hold what was read before.
        self._late: dict[TP, int] = {}
        self._records = 0
        self._frames_max = settings.frames_waiting_max
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._between = asyncio.Event()
        self._between.set()
        self._began = 0.0
        #: Rounds that wait for their acknowledgements, in order.
        self._unsettled: deque[asyncio.Task[None]] = deque()
        self._stopped = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """May no further round begin?"""
        return self._stopped.is_set()

    async def rest(self, seconds: float) -> None:
        """Wait for *seconds*, or until the end."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return

    @property
    def full(self) -> bool:
        """Is there enough to do, so that nothing more need be fetched?"""
        return self._records >= 2 * self._records_max or len(self._waiting) >= self._frames_max

    @property
    def idle(self) -> bool:
        """Does nothing wait?"""
        return not self._waiting

    def put(self, generation: int, number: int, poll: Poll) -> None:
        """Let what a poll brought wait for the next round; polls are numbered from 1."""
        for tp, records in poll.items():
            self._waiting.append((generation, number, tp, records))
            self._records += len(records)
        self._something.set()
        if self.full:
            self._room.clear()

    async def room(self, within: float) -> None:
        """Wait until there is room for more, at most *within* seconds."""
        try:
            await asyncio.wait_for(self._room.wait(), within)
        except TimeoutError:
            return

    def forget(self) -> None:
        """Drop what waits; the next seek brings it again."""
        self._waiting.clear()
        self._late.clear()
        self._records = 0
        self._room.set()

    def sought(self, tps: Iterable[TP], last: int) -> None:
        """Take note that *tps* were sought: up to the poll *last* what is ahead of us is late."""
        self._late.update(dict.fromkeys(tps, last))

    def running_for(self) -> float:
        """Return for how many seconds the current round has been running."""
        return 0.0 if self._between.is_set() else time.monotonic() - self._began

    async def ended(self, within: float) -> bool:
        """Wait for the running round; False when it did not end in time."""
        try:
            await asyncio.wait_for(self._between.wait(), within)
        except TimeoutError:
            return False
        return True

    async def stop(self, within: float) -> bool:
        """Begin no further round and wait for the running one."""
        self._stopped.set()
        self._something.set()
        return await self.ended(within)

    async def run(self) -> None:
        """Work round after round. What is raised in one leaves; it is the process's end."""
        role = self._role
        tended = time.monotonic()
        while await self._next(tended + TEND_EVERY_S - time.monotonic()):
            self._between.clear()
            self._began = time.monotonic()
            if (work := self._gather()) and (rest := await role.round(work)):
                await self._let_settle(rest)
            tend = time.monotonic() >= tended + TEND_EVERY_S
            if tend or self._records < ENOUGH_RECORDS or self.stopping:
                await self._settled(0)
            if tend:
                await role.tend()
                tended = time.monotonic()
            if not self._unsettled:
                self._between.set()
            await asyncio.sleep(self._pause())
        await self._settled(0)
        self._between.set()

    async def _let_settle(self, rest: Rest) -> None:
        """Let a round wait for its acknowledgements, behind the ones before it."""
        before = self._unsettled[-1] if self._unsettled else None

        async def settle() -> None:
            if before is not None:
                await before
            await rest()

        self._unsettled.append(asyncio.get_running_loop().create_task(settle()))
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await self._settled(UNSETTLED_MAX)

    async def _settled(self, left: int) -> None:
        """Wait until at most *left* rounds wait. What is raised in one leaves."""
        while len(self._unsettled) > left:
            await self._unsettled.popleft()

    def _pause(self) -> float:
        """
        Return for how long more may gather before the next round, s.

        Small rounds one after the other cost more CPU than their records do; where enough waits,
        or a round took its time, there is no pause. It is never skipped altogether: a round that
        never had to wait would keep the consumer from its turn.
        """
        if self._records >= ENOUGH_RECORDS or self.stopping:
            return 0.0
        return max(0.0, self._began + self._every - time.monotonic())

    async def _next(self, within: float) -> bool:
        """Wait for something to do, at most *within*; False when no further round may begin."""
        if not self.stopping and not self._waiting and within > 0:
            self._something.clear()
            alarm = asyncio.get_running_loop().call_later(within, self._something.set)
            try:
                await self._something.wait()
            finally:
                alarm.cancel()
        return not self.stopping

    def _gather(self) -> Work:
        waiting, size, taken = self._waiting, 0, 0
        work: Work = {}
        current = self._role.app.consumer_generation_id
        for generation, number, tp, records in waiting:
            if size >= self._records_max:
                break
            wanted = generation == current and tp in self._role.open
            if wanted and tp in work and records[0].offset != work[tp][-1].offset + 1:
                # What does not follow is looked at by itself.
                break
            taken += 1
            size += len(records)
            if not wanted or self._is_late(number, tp, records):
                continue
            if tp in work:
                work[tp] += records
            else:
                work[tp] = records
        del waiting[:taken]
        self._records -= size
        if not self.full:
            self._room.set()
        return work

    def _is_late(self, number: int, tp: TP, records: Sequence[Record]) -> bool:
        """Say whether *records* were on their way when we sought what lies before them."""
        return number <= self._late.get(tp, 0) and records[0].offset > self._role.position(tp)


class Role(ABC):
    """
    What a consumer group does: its topics, where it goes on, what a round of it is.

    A partition is *open* from the moment its position is known and sought until it is revoked or
    halted; only open partitions are worked on.
    """

    app: App
    settings: Settings
    rounds: Rounds

    def __init__(self, name: str, topics: Sequence[str]) -> None:
        #: The noun: `stock`. Names the consumer group, the metrics, the log lines.
        self.name = name
        #: Declared names, without the installation's prefix.
        self.topics = tuple(topics)
        #: Open partitions.
        self.open: set[TP] = set()
        #: Partition -> why it waits for a person.
        self.halted: dict[TP, str] = {}
        #: Assigned and every partition open or halted.
        self.ready = False
        self.moved_at = time.monotonic()
        #: How old the oldest record of the last round was, s.
        self.age_s = 0.0
        #: Records that waited at the last report.
        self.pending = 0
        self._expected = False
        self._beginning: asyncio.Task[None] | None = None
        #: Partition -> position at which records were missing and asked for once more.
        self._holes: dict[TP, int] = {}
        self._reported: dict[TP, int] = {}
        self._report_at = 0.0
        #: Positions at the last report.
        self._seen: dict[TP, int] = {}

    @property
    def writes_to(self) -> Sequence[str]:
        """Declared names of the topics this role writes to."""
        return ()

    def bind(self, app: App, settings: Settings) -> None:
        """Belong to *app*. Runs once, before anything starts."""
        self.app = app
        self.settings = settings
        self.rounds = Rounds(self, settings)
        self._declared = {settings.topic(name): name for name in self.topics}

    @property
    def consumer(self) -> Consumer:
        """The consumer of this role's app."""
        return self.app.consumer  # type: ignore[no-any-return]

    # What a role is made of.

    @abstractmethod
    async def starts(self, tps: Sequence[TP]) -> Mapping[TP, int | None]:
        """Return where each of *tps* goes on; None: at its earliest record."""

    @abstractmethod
    def position(self, tp: TP) -> int:
        """Return the next offset of an open partition."""

    @abstractmethod
    async def work(self, work: Work) -> Rest | None:
        """Do one round; return what is left to wait for, if anything is."""

    async def tend(self) -> None:  # noqa: B027  not every role has something to do
        """Do what is due between rounds."""

    async def recovered(self, seconds: float) -> None:  # noqa: B027  only keepers have changelogs
        """Take note that the changelogs are read."""

    def check(self, counts: Mapping[str, int]) -> None:  # noqa: B027  most may have any counts
        """Raise Misconfigured where the partition *counts* of this role's topics disagree."""

    def positions(self) -> dict[TP, int]:
        """Return where every open partition goes on."""
        return {tp: self.position(tp) for tp in self.open}

    # Coming and going.

    def coming(self) -> None:
        """Partitions are being assigned."""
        self._expected = True
        self.halted.clear()

    def mine(self, tps: Iterable[TP]) -> list[TP]:
        """Return those of *tps* that are this role's inboxes."""
        return [tp for tp in tps if tp.topic in self._declared]

    def begin(self) -> None:
        """Seek and open what is assigned, in a task that no timeout of Faust's cuts short."""
        if self._beginning is not None:
            self._beginning.cancel()
        self._beginning = asyncio.get_running_loop().create_task(self._assigned())
        self._beginning.add_done_callback(self.app.watch)

    async def _assigned(self) -> None:
        generation = self.app.consumer_generation_id
        tps = self.mine(self.consumer.assignment())
        if not self._expected:
            return
        self._check_counts()
        if not tps:
            self.ready = True
            return
        asking = asyncio.ensure_future(
            self.patiently(lambda: self.starts(tps), lambda: self._still(generation))
        )
        done, _ = await asyncio.wait([asking], timeout=STARTS_WITHIN_S)
        if not done:
            self.consumer.pause_partitions(tps)
        starts = await asking
        if starts and self._still(generation):
            await self._open(starts)
            self.ready = True

    async def _open(self, starts: Mapping[TP, int | None]) -> None:
        earliest = await self.consumer.earliest_offsets(*starts)
        ends = await self._ends(starts)
        seeks: dict[TP, int] = {}
        for tp, start in starts.items():
            first, end = earliest[tp], ends[tp]
            if start is not None and start < first:
                self.halt(
                    tp,
                    f"the log begins at {first}, after the position {start}: retention has removed "
                    "what was not yet read",
                )
            elif start is not None and start > end:
                self.halt(
                    tp,
                    f"the log ends at {end}, before the position {start}: the topic is another one "
                    "or has lost records",
                )
            elif tp not in self.halted:
                seeks[tp] = first if start is None else start
        await self.consumer.seek_to(seeks)
        if not self._expected:
            return
        self.opened(seeks)
        self.open = set(seeks)
        self.consumer.resume_partitions(seeks)
        self.moved_at = time.monotonic()

    def _check_counts(self) -> None:
        """Compare the partition counts with those at the start: a count is for life."""
        for topic, name in self._declared.items():
            now = self.consumer.topic_partitions(topic)
            if now is not None and now != self.app.counts[name]:
                raise Misconfigured(
                    f"{topic} has {now} partitions now and had {self.app.counts[name]}: stop all "
                    "workers, and make the topic anew with the declared count."
                )

    async def _ends(self, starts: Mapping[TP, int | None]) -> Mapping[TP, int]:
        """Return where the logs end; a new leader may learn of its last records a little later."""
        deadline = time.monotonic() + END_WITHIN_S
        while True:
            ends: Mapping[TP, int] = await self.consumer.highwaters(*starts)
            if all((start or 0) <= ends[tp] for tp, start in starts.items()):
                return ends
            if time.monotonic() > deadline:
                return ends
            await asyncio.sleep(0.5)

    def opened(self, starts: Mapping[TP, int]) -> None:  # noqa: B027  keepers know by themselves
        """Take note of where open partitions begin."""

    def _still(self, generation: int) -> bool:
        return bool(self.app.consumer_generation_id == generation)

    def close(self) -> None:
        """Work on nothing any more until partitions are assigned."""
        self._expected = self.ready = False
        self.open = set()
        self._holes.clear()
        self.rounds.forget()

    async def closed(self) -> None:
        """Let the running round end, before the rebalance goes on."""
        within = self.settings.drain_for.total_seconds()
        if not await self.rounds.ended(within):
            logger.warning("%s: the running round did not end within %s s", self.name, within)
        self.app.metrics.rebalances.labels(self.name).inc()

    def halt(self, tp: TP, why: str) -> None:
        """Take one partition out until a person has seen to it; the others go on."""
        self.halted[tp] = why
        self.open.discard(tp)
        self.consumer.pause_partitions([tp])
        self.app.metrics.halted.labels(self.name).set(len(self.halted))
        logger.critical(
            "%s: %s/%s is halted (see the runbook, *A partition is halted*): %s",
            self.name,
            *tp,
            why,
        )

    # One round.

    async def round(self, work: Work) -> Rest | None:
        """Do one round and take note of it; return what is left of it to wait for."""
        began = time.monotonic()
        await self._close_holes(work)
        # What a round took longest to come to; looked at once a partition, never once a record.
        oldest = min([records[0].timestamp for records in work.values()], default=None)
        rest = await self.work(work) if work else None
        if rest is None:
            self._ended(began, oldest)
            return None

        async def wait() -> None:
            await rest()
            self._ended(began, oldest)

        return wait

    def _ended(self, began: float, oldest: int | None) -> None:
        self.moved_at = time.monotonic()
        metrics = self.app.metrics
        metrics.round_seconds.labels(self.name).observe(self.moved_at - began)
        metrics.last_processed.labels(self.name).set_to_current_time()
        if oldest is not None:
            self.age_s = max(0.0, time.time() - oldest / 1000)
            metrics.age.labels(self.name).observe(self.age_s)

    async def _close_holes(self, work: Work) -> None:
        """
        Ask once more for what lies between the position and the first record.

        Around a rebalance Faust may drop what it has fetched already; asking again brings it. What
        was on its way when we asked is dropped as it is gathered, so what is here then and still
        leaves a hole was read after it: the hole is one in the log.
        """
        again: dict[TP, int] = {}
        for tp, records in work.items():
            position = self.position(tp)
            if records[0].offset <= position or self._holes.get(tp) == position:
                continue
            logger.info("%s: %s/%s again from %s", self.name, tp.topic, tp.partition, position)
            self._holes[tp] = again[tp] = position
        for tp in again:
            del work[tp]
        if again:
            self.rounds.sought(again, await self.consumer.seek_to(again))

    async def patiently(
        self,
        attempt: Callable[[], Awaitable[Any]],
        wanted: Callable[[], bool] = lambda: True,
    ) -> Any:
        """
        Do *attempt*, again and again while a part of the world is away.

        Returns None when it is not *wanted* any more, or when the worker is to end. Past the
        ceiling the fault leaves, and with it the process: its supervisor starts it again.
        """
        began, pause = time.monotonic(), RETRY_S_MIN
        waiting = self.app.metrics.waiting.labels(self.name)
        while wanted() and not self.rounds.stopping:
            try:
                result = await attempt()
            except Unavailable as error:
                waited = time.monotonic() - began
                if waited > self.settings.waiting_max.total_seconds():
                    raise
                waiting.set(1)
                logger.warning("%s waits (%.1f s): %s", self.name, waited, error)
                await self.rounds.rest(pause)
                pause = min(pause * 2, RETRY_S_MAX)
            else:
                waiting.set(0)
                return result
        waiting.set(0)
        return None

    async def report(self) -> None:
        """Tell the group how far we are, now and then, for lag dashboards."""
        now = time.monotonic()
        if now < self._report_at:
            return
        self._report_at = now + self.settings.report_every.total_seconds()
        positions = self.positions()
        news = {tp: at for tp, at in positions.items() if self._reported.get(tp) != at}
        if news and await self.consumer.report(news):
            self._reported.update(news)
        lag, stuck = self.app.metrics.lag, {}
        self.pending = 0
        for tp, at in positions.items():
            if (end := self.consumer.highwater(tp)) is None:
                continue
            lag.labels(tp.topic, str(tp.partition)).set(max(0, end - at))
            self.pending += max(0, end - at)
            if at < end and self._seen.get(tp) == at:
                stuck[tp] = at
        self._seen = positions
        if stuck and self.rounds.idle:
            # Faust may have dropped what it had fetched, and nothing came after it to show that.
            logger.warning("%s: again from %s", self.name, stuck)
            await self.consumer.seek_to(stuck)
