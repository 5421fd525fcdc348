"""
The sweeper: sends a wake command for every row whose deadline has passed.

It only reminds. The keeper compares the deadline with the command's append time, so a worker
with a wrong clock can neither expire early nor keep late rows. A row is reminded of once, and
again after a while if it is still due; the index is lazy, so a changed row costs one push.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from agents.frames import POSITION_BYTES
from streams.engine.app import App
from streams.engine.producer import Batches
from streams.engine.store import Store
from tables.spec import Table

#: Rows woken by one sweep of all partitions; four sweeps a second.
SWEEP_MAX = 5_000
#: A row that is still due is woken again after this long.
AGAIN_MS = 30_000
#: While the index is built, other tasks have a turn after this many rows.
_CHUNK = 20_000
#: An index with fewer entries than this is not worth building anew.
_STALE_MIN = 50_000


class _Deadlines:
    """The rows of one partition that have a deadline."""

    __slots__ = ("at", "heap")

    def __init__(self) -> None:
        #: Row key -> when to look at it: its deadline, or a while after it was woken for that.
        self.at: dict[bytes, int] = {}
        #: (when to look, key); entries that no longer agree with `at` are skipped.
        self.heap: list[tuple[int, bytes]] = []


class Swept(Protocol):
    """What a keeper is to its sweeper."""

    name: str
    app: App
    store: Store

    def wake(self, p: int, row_key: bytes, command: Any, into: Batches) -> None:
        """Put a wake command for a row of partition *p* into a batch."""


class Sweeper:
    """Deadlines of one table's rows, in the partitions this worker has."""

    def __init__(self, table: Table) -> None:
        if table.deadline_ms is None or table.wake is None:
            raise ValueError(f"table {table.name} has no deadlines")
        self._table = table
        self._deadline_ms = table.deadline_ms
        self._wake = table.wake
        self._mark = table.deadlines_in
        self._parts: dict[int, _Deadlines] = {}
        self._keeper: Swept

    def bind(self, keeper: Swept) -> None:
        """Belong to *keeper*, through which rows are read and commands sent."""
        self._keeper = keeper

    async def learn(
        self, p: int, rows: Mapping[bytes, bytes], wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Build the index of one partition from its recovered *rows*, as long as it is *wanted*."""
        part = self._parts[p] = _Deadlines()
        decode, deadline_ms, at = self._table.decode_row, self._deadline_ms, part.at
        mark = self._mark
        for n, (key, stored) in enumerate(rows.items()):
            due = deadline_ms(decode(stored[POSITION_BYTES:])) if mark in key else None
            if due is not None:
                at[key] = due
            if n % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)
                if not wanted():
                    return
        part.heap = [(due, key) for key, due in at.items()]
        heapify(part.heap)

    def keep(self, partitions: Collection[int]) -> None:
        """Forget partitions that went elsewhere."""
        self._parts = {p: part for p, part in self._parts.items() if p in partitions}

    def changed(self, p: int, rows: Mapping[bytes, Any]) -> None:
        """Take note of the rows that a commit changed."""
        part = self._parts[p]
        at, heap, deadline_ms, mark = part.at, part.heap, self._deadline_ms, self._mark
        for key, row in rows.items():
            if mark not in key:
                continue
            due = None if row is None else deadline_ms(row)
            if due is None:
                at.pop(key, None)
            elif at.get(key) != due:
                at[key] = due
                heappush(heap, (due, key))
        if len(heap) > _STALE_MIN + 2 * len(at):
            # Most entries are of rows that went on before they were due.
            part.heap = [(due, key) for key, due in at.items()]
            heapify(part.heap)

    async def sweep(self, partitions: Collection[int]) -> None:
        """Send a wake command for what is due, at most SWEEP_MAX of them."""
        keeper, now = self._keeper, time.time_ns() // 1_000_000
        commands = Batches()
        left = SWEEP_MAX
        for p in partitions:
            left -= self._due(p, now, left, commands)
        if commands:
            await keeper.app.producer.send_batches(commands)
            keeper.app.metrics.wakes.labels(keeper.name).inc(SWEEP_MAX - left)

    def _due(self, p: int, now: int, limit: int, into: Batches) -> int:
        part = self._parts.get(p)
        if part is None:
            return 0
        found = 0
        at, heap = part.at, part.heap
        rows, decode, wake = self._keeper.store.parts[p].rows, self._table.decode_row, self._wake
        while heap and heap[0][0] <= now and found < limit:
            _, key = heappop(heap)
            due = at.get(key)
            stored = rows.get(key)
            if due is None or due > now or stored is None:
                continue
            self._keeper.wake(p, key, wake(decode(stored[POSITION_BYTES:])), into)
            found += 1
            # Not its deadline any more: a row that gets the same one anew is due again at once.
            at[key] = again = now + AGAIN_MS
            heappush(heap, (again, key))
        return found
