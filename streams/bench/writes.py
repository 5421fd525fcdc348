"""
`bench recovery --writes`: how soon a stock keeper is back after it has written the same rows over
and over.

The changelog is written as a keeper under load writes it: of a commit's records half are balances
that were there before, a quarter are new holds, a quarter are holds that are gone. The records say
that they were written over the last half hour, so segments are rolled and cleaned under the very
configuration of production, with its lag, only faster than the clock. Then a worker starts without
a disk and reads what the cleaner has left; and one that finds its snapshots, after which as much
was written as a worker lets come together before it writes the next.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from streams.bench.broker import Broker, broker, installation
from streams.bench.processes import machine
from streams.bench.recovery import (
    COMMIT_ROWS,
    TOPICS,
    Change,
    Filler,
    Start,
    balance,
    balances,
    hold,
    start,
)
from streams.clock import now_ms
from streams.engine.snapshots import GROWN_RECORDS
from streams.processes import listener
from streams.settings import Settings
from streams.topics import STOCK_COMMANDS, changelog
from tables import stock

#: Of a commit's records: balances written over; of holds, as many come as go.
_BALANCES = COMMIT_ROWS // 2
_HOLDS = COMMIT_ROWS // 4
#: Commits that are on their way to the broker together.
_TOGETHER = 12
_MINUTE_MS = 60_000
#: The rows were there before the time that is looked at.
_BEFORE_MS = 60 * _MINUTE_MS

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Writes:
    """How much of it."""

    rows: int = 1_000_000
    writes: int = 10_000_000
    #: The time over which they were written, as their records say.
    minutes: float = 30.0
    runs: int = 3
    #: How long the log cleaner is given: it looks for work every 15 s, and then takes its time.
    clean_s: float = 60.0


async def measure(
    settings: Settings, job: Writes, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured."""
    its = installation(settings, "recovery")
    async with broker(its, TOPICS) as connected:
        traffic = Traffic(connected, job, progress)
        await traffic.fill()
        await traffic.write(job.writes)
        progress("the broker cleans its log")
        await asyncio.sleep(job.clean_s)
        progress("workers start on an empty disk")
        empty = [await start(its, "stock") for _ in range(job.runs)]
        with tempfile.TemporaryDirectory(prefix="orderflow-bench-") as disk:
            progress("a worker writes its snapshots")
            await start(its, "stock", disk, traffic.partitions)
            tail = await traffic.write(traffic.tail, now_ms())
            progress("workers start on the same disk")
            same = [await start(its, "stock", disk) for _ in range(job.runs)]
    return {
        "rows": job.rows,
        "writes": job.writes,
        "minutes": job.minutes,
        "tail": tail,
        "empty": _figures(empty),
        "same": _figures(same),
        "runs": job.runs,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


def _figures(starts: Sequence[Start]) -> dict[str, Any]:
    """Return the medians of *starts*; the log may get shorter from one to the next."""
    each_us = [each.recovery_s * 1e6 / each.records for each in starts if each.records]
    used_s = [each.cpu_s for each in starts if each.cpu_s is not None]
    return {
        "records": round(median(each.records for each in starts)),
        "recovery_s": round(median(each.recovery_s for each in starts), 2),
        "record_us": round(median(each_us), 2) if each_us else None,
        "ready_s": round(median(each.ready_s for each in starts), 2),
        "cpu_s": round(median(used_s), 2) if used_s else None,
        "memory_mib": starts[-1].memory_mib,
        "peak_mib": starts[-1].peak_mib,
    }


class Traffic:
    """What a stock keeper writes under load, commit by commit, on the same rows."""

    def __init__(self, broker: Broker, job: Writes, progress: Progress) -> None:
        self._broker = broker
        self._filler = Filler(broker, progress)
        self._rows = job.rows
        self._span_ms = int(job.minutes * _MINUTE_MS)
        self._progress = progress
        self._began_ms = now_ms() - self._span_ms
        #: The rows of one commit at the beginning stand in one partition, and stay there.
        self._chunks = -(-job.rows // COMMIT_ROWS)
        self._commits = 0
        #: Chunk -> the holds that its last commit left.
        self._held: dict[int, list[bytes]] = {}

    @property
    def partitions(self) -> int:
        """How many partitions hold anything."""
        return self._filler.partitions_of(stock.TABLE)

    @property
    def tail(self) -> int:
        """As many records as a worker lets come together before it writes snapshots again."""
        return self.partitions * max(GROWN_RECORDS, self._rows // self.partitions) - 1

    async def fill(self) -> None:
        """Write every row once, long before."""
        log = changelog("stock")
        rows, at_ms = balances(self._rows), self._began_ms - _BEFORE_MS
        await self._filler.fill(stock.TABLE, log, STOCK_COMMANDS, rows, at_ms)

    async def write(self, writes: int, at_ms: int | None = None) -> int:
        """
        Write as many commits as *writes* fill whole, one at least; return how many writes it were.

        They say that they were written at *at_ms*, or spread over the time of the job.
        """
        log, commits, written = changelog("stock"), max(1, writes // COMMIT_ROWS), 0
        waiting = []
        for nth in range(commits):
            chunk = self._commits % self._chunks
            changes, more = self._changes(chunk)
            self._commits += 1
            said_ms = at_ms or self._began_ms + self._span_ms * nth // commits
            partition = chunk % self._broker.settings.partitions
            waiting += self._filler.commit(
                stock.TABLE, log, STOCK_COMMANDS, partition, changes, more, said_ms
            )
            written += len(changes)
            if nth % _TOGETHER == 0 or nth == commits - 1:
                await self._broker.send(waiting)
                waiting = []
                self._progress(f"{written:,} of {writes:,} writes are in the changelog")
        return written

    def _changes(self, chunk: int) -> tuple[list[Change], int]:
        """Return the next commit on the rows of *chunk*, and how many rows more it leaves."""
        turn, first = self._commits // self._chunks, chunk * COMMIT_ROWS
        changes: list[Change] = list(self._balances(first, turn))
        gone = self._held.get(chunk, [])
        came = list(self._came(first))
        self._held[chunk] = [key for key, _ in came]
        return [*changes, *came, *((key, None) for key in gone)], len(came) - len(gone)

    def _balances(self, first: int, turn: int) -> Iterator[Change]:
        """Yield half of the chunk's balances, the other half next time."""
        rows = min(COMMIT_ROWS, self._rows - first)
        for nth in range(min(_BALANCES, rows)):
            yield balance(first + (nth + turn * _BALANCES) % rows, turn)

    def _came(self, first: int) -> Iterator[tuple[bytes, bytes]]:
        rows, deadline_ms = min(COMMIT_ROWS, self._rows - first), now_ms() + 24 * _BEFORE_MS
        for nth in range(_HOLDS):
            yield hold(self._commits * _HOLDS + nth, 1 + nth % 3, first + nth % rows, deadline_ms)
