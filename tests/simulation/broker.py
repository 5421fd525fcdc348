"""
The broker as a worker meets it: requests on their way, acknowledgements on their way back.

What a broker promises and no more: a batch is appended whole or not at all; one producer's batches
of one partition arrive in their order; what a process has sent may arrive after its death. When,
and whether, is decided by whoever steps the town.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from streams.engine.producer import Batch, Batches
from tests.simulation.house import Record
from tests.simulation.loop import WORKER

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

Lane = tuple[str, int]
Logs = Callable[[str, int], "list[Record | None]"]


class Ack(NamedTuple):
    """What a producer hears: where its batch begins, or -1 where the broker has forgotten."""

    offset: int


class Request(NamedTuple):
    """One batch on its way."""

    worker: "Worker"
    lane: Lane
    batch: Batch
    ack: "asyncio.Future[Ack]"


class Network:
    """Everything that is on its way."""

    def __init__(self, log: Logs, now_ms: Callable[[], int]) -> None:
        self._log = log
        self._now_ms = now_ms
        #: By sender and lane: they arrive in this order.
        self.requests: dict[tuple[int, Lane], deque[Request]] = {}
        #: Answers that only take their time.
        self.delays: list[tuple[Worker, asyncio.Future[None]]] = []
        #: Topic -> batches that arrived from a process that was dead, stopped or put out.
        self.late: Counter[str] = Counter()

    @property
    def quiet(self) -> bool:
        """Is nothing on its way?"""
        return not self.requests and not self.delays

    def send(self, worker: "Worker", lane: Lane, batch: Batch) -> "asyncio.Future[Ack]":
        """Put a batch on its way."""
        ack: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        if worker.alive:
            queue = self.requests.setdefault((worker.number, lane), deque())
            queue.append(Request(worker, lane, batch, ack))
        return ack

    async def pause(self, worker: "Worker") -> None:
        """Wait for an answer that tells nothing; a stopped process waits longer."""
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if worker.alive:
            self.delays.append((worker, wait))
        await wait

    def is_late(self, which: tuple[int, Lane]) -> bool:
        """Was a queue's sender killed, stopped or put out meanwhile?"""
        worker = self.requests[which][0].worker
        return not worker.alive or worker.generation_is_over

    def arrive(self, which: tuple[int, Lane], *, forgotten: bool = False) -> None:
        """Append the first batch of a queue, and answer whoever still hears it."""
        queue = self.requests[which]
        request = queue.popleft()
        if not queue:
            del self.requests[which]
        worker, lane, batch, ack = request
        log, now_ms = self._log(*lane), self._now_ms()
        base = len(log)
        read = MemoryRecords(bytes(batch._build())).next_batch()
        assert read is not None
        log += [
            Record(base + nth, now_ms, each.key, each.value, tuple(each.headers))
            for nth, each in enumerate(read)
        ]
        if not worker.alive or worker.generation_is_over:
            self.late[lane[0]] += 1
        worker.hear(lambda: ack.done() or ack.set_result(Ack(-1 if forgotten else base)))

    def pass_by(self, nth: int) -> None:
        """Let one pause end."""
        worker, wait = self.delays.pop(nth)
        worker.hear(lambda: wait.done() or wait.set_result(None))

    def lose(self, which: tuple[int, Lane]) -> None:
        """Forget what waits in one queue: its sender is gone."""
        del self.requests[which]


class Producer:
    """What the engine takes for its producer."""

    def __init__(self, worker: "Worker", network: Network) -> None:
        self._worker = worker
        self._network = network

    async def send_batches(self, batches: Batches) -> None:
        """Send, and wait until all is there."""
        for ack in await self.hand_over(batches):
            await ack

    async def hand_over(self, batches: Batches) -> "list[asyncio.Future[Any]]":
        """Put every lane's batches on their way."""
        acks = []
        for name, filled in batches.lanes.items():
            topic, _, partition = name.rpartition("/")
            acks += [await self.send_batch((topic, int(partition)), batch) for batch in filled]
        return acks

    async def send_batch(self, lane: Lane, batch: Batch) -> "asyncio.Future[Any]":
        """Put one batch on its way."""
        await self._worker.awake()
        return self._network.send(self._worker, lane, batch)


class Consumer:
    """What the engine takes for its consumer. It reads on from where it was sought."""

    def __init__(self, worker: "Worker", log: Logs) -> None:
        self._worker = worker
        self._log = log
        self.assigned: list[TP] = []
        self.reads: dict[TP, int] = {}
        self.paused: set[TP] = set()
        self.polls = 0

    def poll(self, tp: TP, records_max: int, again: int = 0) -> list[Record]:
        """Return what one poll brings of *tp*; the last *again* records once more before it."""
        start = max(0, self.reads[tp] - again)
        found = [each for each in self._log(*tp)[start : start + records_max] if each is not None]
        self.reads[tp] = start + len(found)
        self.polls += 1
        return found

    def waiting(self) -> list[TP]:
        """Return the partitions of which a poll would bring something."""
        return [
            tp
            for tp, at in self.reads.items()
            if tp not in self.paused and at < len(self._log(*tp))
        ]

    def assignment(self) -> list[TP]:
        """Return what is ours."""
        return self.assigned

    def topic_partitions(self, topic: str) -> int | None:
        """Nobody changes a partition count here."""
        return None

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        """Return where the logs end."""
        worker = self._worker
        await worker.awake()
        ends = {tp: len(self._log(*tp)) for tp in tps}
        if worker.is_recovering:
            await worker.network.pause(worker)
        return ends

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        """Return where the logs begin."""
        await self._worker.awake()
        return dict.fromkeys(tps, 0)

    def highwater(self, tp: TP) -> int:
        """Return where a log ends, as the last poll said."""
        return len(self._log(*tp))

    async def seek_to(self, offsets: Mapping[TP, int]) -> int:
        """Go on reading there."""
        await self._worker.awake()
        self.reads.update(offsets)
        return self.polls + 1

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Read them again."""
        self.paused -= set(tps)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Read them no more."""
        self.paused |= set(tps)

    async def report(self, offsets: Mapping[TP, int]) -> bool:
        """Nobody looks at lag here."""
        await self._worker.awake()
        return True


class Client:
    """Stands where the keeper has `aiokafka`, to read what another writer wrote."""

    TopicPartition = TP

    def __init__(self, log: Logs) -> None:
        self._log = log

    def AIOKafkaConsumer(self, **_: Any) -> "_Reader":  # noqa: N802  theirs
        """Return a consumer beside the group."""
        return _Reader(self._log)


class _Reader:
    def __init__(self, log: Logs) -> None:
        self._log = log
        self._at = 0

    async def start(self) -> None:
        worker = WORKER.get()
        assert worker is not None
        await worker.awake()

    async def stop(self) -> None:
        pass

    def assign(self, tps: "list[TP]") -> None:
        (self._tp,) = tps

    def seek(self, tp: TP, offset: int) -> None:
        assert tp == self._tp
        self._at = offset

    async def position(self, tp: TP) -> int:
        return self._at

    async def getmany(self, *_: Any, **__: Any) -> "dict[TP, list[Record]]":
        rest = self._log(*self._tp)[self._at :]
        self._at += len(rest)
        return {self._tp: [each for each in rest if each is not None]}
