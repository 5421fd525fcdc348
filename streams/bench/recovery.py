"""
`bench recovery`: how long a fresh stock keeper takes to have its table back, and what it weighs.

The changelog is filled as a keeper fills it: commits of some thousand rows, one record batch each,
closed by the state record. Then a worker starts from nothing. Optionally open orders are added,
each with a hold on three SKUs, and a worker with both keepers is weighed.
"""

import asyncio
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from aiokafka.producer.message_accumulator import BatchBuilder

from agents.letters import Headers, State, seal
from schemas.base import order_key
from schemas.stock import Bucket
from streams.bench.broker import (
    Broker,
    Lane,
    NotAnswered,
    backlog,
    broker,
    environment,
    installation,
)
from streams.bench.commands import receipts
from streams.bench.open_orders import rows as rows_of_orders
from streams.bench.processes import Child, machine
from streams.clock import now_ms
from streams.engine.store import AT, STATE_KEY, position_bytes, write_state
from streams.processes import cpu_s, listener, memory_mib, peak_mib
from streams.settings import Settings
from streams.topics import (
    ORDER_COMMANDS,
    ORDER_DETAILS,
    ORDER_EVENTS,
    PARKED,
    STOCK_COMMANDS,
    STOCK_EVENTS,
    Topic,
    changelog,
)
from tables import orders, stock
from tables.spec import Table
from tables.stock import Hold, Stock, hold_key, stock_key

TOPICS = (
    STOCK_COMMANDS, ORDER_COMMANDS, STOCK_EVENTS, ORDER_EVENTS, ORDER_DETAILS, PARKED,
    changelog("stock"), changelog("orders"),
)  # fmt: skip
#: Rows of one commit: a full round of a keeper.
COMMIT_ROWS = 4_000
#: The broker takes batches of a changelog up to 2 MB.
_COMMIT_BYTES = 1_900_000
#: A commit of larger rows closes earlier.
_COMMIT_FULL = 700_000
_LINES = 3
_HOUR_MS = 3_600_000
_READY_S = 300.0
_HERE = "127.0.0.1"
#: A snapshot of every partition is written within this.
_WRITTEN_S = 120.0
_WRITTEN = re.compile(r'^orderflow_snapshots_total\{.*outcome="written"\} (\S+)$', re.MULTILINE)
_RECOVERED = re.compile(r'^orderflow_recovery_seconds\{keeper="(\w+)"\} (\S+)$', re.MULTILINE)
_READ = re.compile(r'^orderflow_recovery_records\{keeper="\w+"\} (\S+)$', re.MULTILINE)

Progress = Callable[[str], None]
Row = tuple[bytes, bytes]
#: A row as it is after a commit; None is gone.
Change = tuple[bytes, bytes | None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    rows: int = 1_000_000
    orders: int = 0
    runs: int = 3


class Start(NamedTuple):
    """One start of a worker from nothing."""

    #: Process start to ready, Python's imports and joining the group included.
    ready_s: float
    #: Reading the changelogs, as the keepers say it.
    recovery_s: float
    memory_mib: float | None
    peak_mib: float | None
    #: Records of the changelogs that were read.
    records: int
    #: CPU from the process's start until it was ready; steadier where others work too.
    cpu_s: float | None


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured."""
    its = installation(settings, "recovery")
    async with broker(its, TOPICS) as connected:
        filler = Filler(connected, progress)
        await filler.fill(stock.TABLE, changelog("stock"), STOCK_COMMANDS, balances(job.rows))
        starts = []
        for nth in range(1, job.runs + 1):
            progress(f"start {nth} of {job.runs}: the stock keeper reads {job.rows:,} rows")
            starts.append(await start(its, "stock"))
        with tempfile.TemporaryDirectory(prefix="orderflow-bench-") as disk:
            progress("once more, with snapshots: the first start writes them")
            await start(its, "stock", disk, filler.partitions_of(stock.TABLE))
            kept = [await start(its, "stock", disk) for _ in range(job.runs)]
        both: dict[str, Any] = {}
        if job.orders:
            await filler.fill(stock.TABLE, changelog("stock"), STOCK_COMMANDS, _holds(job))
            await filler.fill(
                orders.TABLE, changelog("orders"), ORDER_COMMANDS, rows_of_orders(job.orders)
            )
            progress("both keepers read everything")
            weighed = await start(its, "orders,stock")
            both = {
                "open_orders": job.orders,
                "open_holds": job.orders * _LINES,
                "both_ready_s": round(weighed.ready_s, 2),
                "both_recovery_s": round(weighed.recovery_s, 2),
                "both_memory_mib": weighed.memory_mib,
                "both_peak_mib": weighed.peak_mib,
            }
    seconds = median(start.recovery_s for start in starts)
    return {
        "rows": job.rows,
        "runs": job.runs,
        "recovery_s": round(seconds, 2),
        "rows_per_s": round(job.rows / seconds),
        "from_snapshots_s": round(median(start.recovery_s for start in kept), 2),
        "ready_s": round(median(start.ready_s for start in starts), 2),
        "memory_mib": starts[-1].memory_mib,
        "peak_mib": starts[-1].peak_mib,
        **both,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


# --- the changelog --------------------------------------------------------------------------------


def balances(count: int) -> Iterator[Row]:
    """Yield key and row of so many SKUs."""
    for number in range(count):
        yield balance(number)


def balance(number: int, turn: int = 0) -> Row:
    """Return key and row of one SKU, another row each *turn*."""
    units = 10 + (number + turn) % 90
    row = Stock(available=units, locked=number % 7, occupied=number % 3, version=turn + number % 50)
    return stock_key(f"SKU-{number:07d}"), stock.TABLE.encode_row(row)


def _holds(job: Job) -> Iterator[Row]:
    deadline_ms = now_ms() + 24 * _HOUR_MS
    for number in range(job.orders * _LINES):
        yield hold(number // _LINES, 1 + number % 3, number * 7 % job.rows, deadline_ms)


def hold(number: int, units: int, sku: int, deadline_ms: int) -> Row:
    """Return key and row of what the order *number* holds of one SKU."""
    order = order_key("taobao", "generated", f"{number:019d}")
    row = Hold(units, Bucket.LOCKED, Bucket.AVAILABLE, deadline_ms)
    return hold_key(f"SKU-{sku:07d}", order), stock.TABLE.encode_row(row)


class Filler:
    """Writes commits as a keeper does; every inbox gets as many records as its position says."""

    def __init__(self, broker: Broker, progress: Progress) -> None:
        self._broker = broker
        self._progress = progress
        partitions = broker.settings.partitions
        self._done: dict[str, list[tuple[int, int]]] = {}
        self._none = [(0, 0)] * partitions

    async def fill(
        self,
        table: Table,
        log: Topic,
        inbox: Topic,
        rows: Iterable[Row],
        at_ms: int | None = None,
    ) -> None:
        """Write *rows* to the changelog *log* of *table*, spread over its partitions."""
        partition = written = 0
        for some in _commits(rows):
            batches = self.commit(table, log, inbox, partition, some, len(some), at_ms)
            await self._broker.send(batches)
            partition = (partition + 1) % len(self._none)
            written += len(some)
            self._progress(f"{written:,} rows are in the changelog of {table.name}")

    def commit(
        self,
        table: Table,
        log: Topic,
        inbox: Topic,
        partition: int,
        changes: Sequence[Change],
        more: int,
        at_ms: int | None = None,
    ) -> list[tuple[Lane, BatchBuilder]]:
        """
        Return one commit of *changes*, which leaves so many rows *more*, and the command before it.

        *at_ms* is what the records say of when they were written; None: when they are sent.
        """
        done = self._done.setdefault(table.name, list(self._none))
        position, count = done[partition]
        position, count = position + 1, count + more
        done[partition] = (position, count)
        commit = _commit(changes, position, count, at_ms)
        return [*self._heard(inbox, partition), ((log.name, partition), commit)]

    def partitions_of(self, table: Table) -> int:
        """Return how many partitions of *table* hold anything."""
        return sum(position > 0 for position, _ in self._done[table.name])

    def _heard(self, inbox: Topic, partition: int) -> list[tuple[Lane, BatchBuilder]]:
        (command,) = receipts(0, 1)
        return backlog({(inbox.name, partition): [(command.sku.encode(), seal(command), [])]})


def _commits(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    some: list[Row] = []
    size = 0
    for key, row in left:
        some.append((key, row))
        size += len(key) + len(row) + 24
        if len(some) >= COMMIT_ROWS or size >= _COMMIT_FULL:
            yield some
            some, size = [], 0
    if some:
        yield some


def _commit(
    changes: Sequence[Change], position: int, count: int, at_ms: int | None
) -> BatchBuilder:
    batch = BatchBuilder(_COMMIT_BYTES, 0)
    at = position_bytes(position)
    gone: Headers = [(AT, at)]
    for key, row in changes:
        if row is None:
            batch.append(key=key, value=None, timestamp=at_ms, headers=gone)
        else:
            batch.append(key=key, value=at + row, timestamp=at_ms, headers=[])
    state = write_state(State(position=position), count)
    if batch.append(key=STATE_KEY, value=state, timestamp=at_ms) is None:
        raise AssertionError("a commit of the benchmark does not fit one batch")
    batch.close()
    return batch


# --- the start ------------------------------------------------------------------------------------


async def start(its: Settings, roles: str, disk: str = "", written: int = 0) -> Start:
    """
    Start a worker with *roles*, wait until it is ready, and weigh it.

    It starts from nothing, or from the snapshots on *disk*; and it is left alone until as many as
    *written* were made.
    """
    kept = {"ORDERFLOW_SNAPSHOTS": disk} if disk else {}
    at_once = {"ORDERFLOW_SNAPSHOT_EVERY": "PT1S"} if written else {}
    child, port = worker(its, roles, {**kept, **at_once})
    with child:
        began = time.monotonic()
        await ready(child, port)
        ready_s, used_s = time.monotonic() - began, cpu_s(child.pid)
        page = await _metrics_once(port, written)
        spans = [float(seconds) for _, seconds in _RECOVERED.findall(page)]
        if not spans:
            raise NotAnswered("the worker does not say how long its recovery took")
        records = sum(int(float(count)) for count in _READ.findall(page))
        weight = memory_mib(child.pid), peak_mib(child.pid)
        return Start(ready_s, max(spans), *weight, records, used_s)


def worker(its: Settings, roles: str, more: Mapping[str, str]) -> tuple[Child, int]:
    """Return a worker process with *roles*, not yet started, and the port of its health page."""
    with socket.create_server((_HERE, 0)) as free:
        port = free.getsockname()[1]
    env = environment(its) | {"ORDERFLOW_HEALTH_PORT": str(port), "ORDERFLOW_HEALTH_HOST": _HERE}
    argv = (sys.executable, "-m", "streams.cli", "worker", "--roles", roles, "--bare")
    return Child(f"the worker {roles}", argv, {**env, **more}), port


async def ready(child: Child, port: int) -> None:
    """Wait until a worker says that it is ready. Raises NotAnswered, ProcessEnded."""
    began = time.monotonic()
    while b" 200 " not in (await _get(port, "/readyz")).split(b"\r\n")[0]:
        child.check()
        if time.monotonic() - began > _READY_S:
            raise NotAnswered(f"the worker was not ready within {_READY_S:g} s")
        await asyncio.sleep(0.02)


async def _metrics_once(port: int, written: int) -> str:
    """Return the worker's metrics, once it has *written* as many snapshots."""
    began = time.monotonic()
    while True:
        page = (await _get(port, "/metrics")).decode()
        if sum(float(count) for count in _WRITTEN.findall(page)) >= written:
            return page
        if time.monotonic() - began > _WRITTEN_S:
            raise NotAnswered(f"the worker did not write {written} snapshots")
        await asyncio.sleep(0.1)


async def _get(port: int, path: str) -> bytes:
    """Return what a worker answers; empty while nobody listens."""
    try:
        reader, writer = await asyncio.open_connection(_HERE, port)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
            )
            return await reader.read()
        finally:
            writer.close()
    except OSError:
        return b""
