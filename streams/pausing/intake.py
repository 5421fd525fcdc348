"""
Intake with a door for each shop: open, or shut while the shop is paused or its messages are read.

Of each pause and partition there is one *lane*. While the pause lasts, what comes goes to
`raw-held`. Once it is over, the lane is read between two rounds, slice by slice; what comes
meanwhile goes behind it. When the end is reached, no round being under way, there is nothing
behind: a mark says so, and from then on the shop's messages pass. So of every partition the order
is kept, and one worker has it at a time.

Promises. A worker that takes a partition over knows at least what the one before it knew: it reads
the reference topic to its end, and what marks say, before its first record. What was read is marked
after the broker has what came of it, so a crash reads a slice again and loses none.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from faust.types import TP
from typing_extensions import override

from agents.holding import HELD, Lane, held
from agents.intake import PARKED, Intake, shop_of
from agents.intake import Output as Said
from agents.reference import Directory, reference_key
from schemas.errors import Unavailable
from schemas.reference import Pause
from streams import tracing
from streams.clock import now_ms
from streams.correlation import is_told, of, place
from streams.engine.agent import Agent, Output
from streams.engine.failpoints import failpoint
from streams.engine.rounds import Batch
from streams.pausing.held_log import HeldLog
from streams.reference import Follower, directory_of, intake_of
from streams.settings import Settings
from streams.topics import PLATFORMS, RAW_HELD, Topic, raw
from streams.tracing import HEADER, READ, is_traceparent

logger = logging.getLogger(__name__)

#: Messages that intake sends before it lets other roles of its process have their turn.
_TURN_RECORDS = 64
#: Parked messages that are named in the log of one round; all are in the exceptions queue.
PARKED_LOGGED_MAX = 20
#: Held records that are read and sent before their lane is marked: what a crash reads again.
SLICE_RECORDS = 2_000
#: Between two rounds so long is spent on lanes, s; everybody else waits meanwhile.
DRAIN_FOR_S = 0.1

_TOPICS = {platform: raw(platform) for platform in PLATFORMS}
_PLATFORMS = {topic: platform for platform, topic in _TOPICS.items()}
#: A pause, and a partition of its platform's raw topic.
LaneKey = tuple[int, int]


class Doors:
    """Which lanes are open, and how far the others have been read."""

    def __init__(self) -> None:
        self._open: set[LaneKey] = set()
        self._lanes: dict[LaneKey, Lane] = {}

    def forget(self) -> None:
        """Know of nothing: partitions have changed hands."""
        self._open.clear()
        self._lanes.clear()

    def is_shut(self, pause: Pause, partition: int) -> bool:
        """Say whether what comes by *partition* for this shop is set aside."""
        return not pause.resuming or (pause.id, partition) not in self._open

    async def lane(self, log: HeldLog, pause: Pause, partition: int) -> Lane:
        """Return how far the lane was read; who asks first reads what marks say of it."""
        key = pause.id, partition
        if key not in self._lanes:
            self._lanes[key] = await found(log, pause, partition)
        return self._lanes[key]

    def opened(self, pause: Pause, partition: int) -> None:
        """Let the shop's messages pass from now on."""
        self._open.add((pause.id, partition))
        self._lanes.pop((pause.id, partition), None)


async def found(log: HeldLog, pause: Pause, partition: int) -> Lane:
    """Return the lane as the marks in `raw-held` say."""
    start = pause.starts[partition]
    lane = Lane(pause.id, start)
    end = (await log.ends([partition]))[partition]
    async for records in log.records(partition, start, end):
        for record in records:
            lane.learn(record)
    return lane


class HoldingIntake(Agent):
    """Reads what platforms and operators said, and sets aside what a paused shop says."""

    def __init__(
        self, settings: Settings, name: str, topics: Sequence[Topic], writes_to: Sequence[str]
    ) -> None:
        super().__init__(name, topics, self._say, writes_to)
        self._all = settings
        self._tracer = tracing.of(settings)
        self._doors = Doors()
        self._log: HeldLog | None = None
        self._intake: Intake | None = None
        self._directory = Directory()
        self._follower: Follower | None = None
        self._before_mark = failpoint(settings.failpoint, "held-before-mark")

    # --- coming and going ------------------------------------------------------------------------

    @override
    async def starts(self, tps: Sequence[TP]) -> Mapping[TP, int | None]:
        """Know first what whoever had these partitions may have known."""
        await self._ready()
        self._doors.forget()
        if resumed := self._resumed(tps):
            # A log of its own: the rounds of before may still have theirs in hand.
            async with HeldLog(self._all) as log:
                for pause, partition in resumed:
                    if (await self._doors.lane(log, pause, partition)).is_all:
                        self._doors.opened(pause, partition)
        return await super().starts(tps)

    async def _ready(self) -> Intake:
        if self._intake is None or self._follower is None:
            self._directory, self._follower = await directory_of(self._all)
            self._intake = intake_of(self._all, self._directory)
        else:
            await self._follower.caught_up()
        return self._intake

    def _resumed(self, tps: Iterable[TP]) -> list[tuple[Pause, int]]:
        """Return the lanes of *tps* that are to be read."""
        mine = {(tp.topic, tp.partition) for tp in tps}
        return [
            (pause, partition)
            for pause in list(self._directory.pauses.values())
            if pause.resuming
            for partition in range(len(pause.starts))
            if (self._all.topic(_TOPICS[pause.platform]), partition) in mine
        ]

    # --- a round ---------------------------------------------------------------------------------

    async def _say(self, batches: Sequence[Batch]) -> Sequence[Output]:
        intake = self._intake or await self._ready()
        if self._follower is not None:
            self._follower.check()
        said: list[Output] = []
        told = 0
        for batch in batches:
            for nth, one in enumerate(self._said(intake, batch), 1):
                said.append(one)
                if one.counts_as is not None and one.counts_as[0] == PARKED:
                    told += 1
                    if told <= PARKED_LOGGED_MAX:
                        _tell_parked(one)
                if not nth % _TURN_RECORDS:
                    # Reading a backlog is one long computation; other roles have their turn.
                    await _turn()
        return said

    def _said(self, intake: Intake, batch: Batch) -> Iterator[Output]:
        topic, partition = batch.topic, batch.partition
        platform = _PLATFORMS.get(topic)
        told = is_told(logger)
        pauses = self._directory.pauses
        records: Sequence[Any] = batch.records  # they are whole Kafka records, with headers
        for record in records:
            found_: Iterable[Said]
            began_ns = time.time_ns() if self._tracer is not None else 0
            if platform is None:
                found_ = intake.forward(topic, partition, record)
            elif pauses and (pause := pauses.get((platform, shop_of(record)))) is not None:
                found_ = self._at_the_door(intake, pause, topic, partition, record)
            else:
                found_ = intake.observe(platform, topic, partition, record)
            if told:
                id_ = place(topic, partition, record.offset)
                logger.debug("intake: a message is read", extra=of(id_))
            if self._tracer is not None:
                self._trace(topic, partition, record, began_ns)
            for one in found_:
                yield Output(*one)

    def _trace(self, topic: str, partition: int, record: Any, began_ns: int) -> None:
        """Tell the span of one record that was read."""
        if self._tracer is None or topic not in _PLATFORMS:
            return
        said = [
            value.decode("ascii", "replace") for name, value in record.headers if name == HEADER
        ]
        more = {
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": record.offset,
        }
        id_ = place(topic, partition, record.offset)
        links = [each for each in said if is_traceparent(each)]
        self._tracer.tell(READ, topic, id_, began_ns, time.time_ns(), more, links)

    def _at_the_door(
        self, intake: Intake, pause: Pause, topic: str, partition: int, record: Any
    ) -> Iterable[Said]:
        if not self._doors.is_shut(pause, partition):
            return intake.observe(pause.platform, topic, partition, record)
        key, value, headers = held(pause.id, _key(pause), topic, partition, record)
        counts_as = (HELD, pause.platform)
        return [Said(RAW_HELD.name, key, value, headers, counts_as, partition)]

    # --- between two rounds ----------------------------------------------------------------------

    @override
    async def tend(self) -> None:
        """Read what was set aside, if its shop is resumed: all rounds before are settled now."""
        await super().tend()
        if not self._directory.pauses:
            return
        try:
            await self._drain()
        except Unavailable as error:
            logger.warning("held messages wait: %s", error)
            await self._let_go()

    async def _drain(self) -> None:
        until = time.monotonic() + DRAIN_FOR_S
        for pause, partition in self._resumed(self.open):
            while self._doors.is_shut(pause, partition):
                if time.monotonic() > until:
                    return
                await self._read_slice(pause, partition)
        await self._let_go_when_done()

    async def _read_slice(self, pause: Pause, partition: int) -> None:
        generation = self.app.consumer_generation_id
        log, intake = await self._held(), await self._ready()
        lane = await self._doors.lane(log, pause, partition)
        topic = _TOPICS[pause.platform]
        end = (await log.ends([partition]))[partition]
        said: list[Output] = []
        async for records in log.records(partition, lane.next, min(end, lane.next + SLICE_RECORDS)):
            for record in records:
                kept = lane.read(record)
                if kept is not None:
                    again = intake.observe(pause.platform, topic, partition, kept, now_ms())
                    said += [Output(*one) for one in again]
            await _turn()
        await self.send(said)
        if visit := self._before_mark:
            visit()
        if not self._still(generation):
            return
        is_all = lane.next >= end
        mark = lane.mark(is_all=is_all)
        await self.send([Output(RAW_HELD.name, _key(pause), b"", mark, None, partition)])
        if is_all and self._still(generation):
            self._doors.opened(pause, partition)
            logger.info("%s/%s of %s is read, and passes again", topic, partition, pause.shop)

    async def _held(self) -> HeldLog:
        if self._log is None:
            self._log = await HeldLog(self._all).__aenter__()
        return self._log

    async def _let_go_when_done(self) -> None:
        if self._log is not None and not any(
            self._doors.is_shut(pause, partition) for pause, partition in self._resumed(self.open)
        ):
            await self._let_go()

    async def _let_go(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            await log.__aexit__(None, None, None)


def _tell_parked(one: Output) -> None:
    """Log what waits for a person now; its id is the raw record's place."""
    cause = one.counts_as[1] if one.counts_as else ""
    logger.warning("intake: a message is parked: %s", cause, extra=of((one.key or b"").decode()))


async def _turn() -> None:
    await asyncio.sleep(0)


def _key(pause: Pause) -> bytes:
    return reference_key(pause).partition(b"/")[2]
