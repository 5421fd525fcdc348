"""
`bench import`: a file of orders, from the command to its receipt, through every role.

Topics and a database of its own; the roles run as supervised workers beside the import, so the
figure is that of everything on the machine together. The same file is then imported once more:
every row is a duplicate, and the stock is what it was. Both are counted from the receipts.
"""

import asyncio
import csv
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import json

from schemas.stock import ReceiveStock
from streams import commanding
from streams.bench.broker import NotAnswered
from streams.bench.flow import LAYOUT, installed
from streams.bench.processes import Child, machine
from streams.clock import new_id
from streams.feed import trade
from streams.processes import listener
from streams.settings import Settings

_READY_S = 90.0
_PLATFORM = "shopify"
_COLUMNS = (
    "order_id", "status", "created_at", "paid_at", "currency", "total", "line_id", "merchant_sku",
    "title", "quantity", "unit_price", "buyer_email", "receiver_name", "receiver_phone", "country",
    "province", "city", "address", "postcode",
)  # fmt: skip

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    rows: int = 100_000
    xlsx: bool = False
    partitions: int = 4
    skus: int = 500


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured, Unavailable."""
    with tempfile.TemporaryDirectory(prefix="orderflow-bench-") as folder:
        progress(f"writing {job.rows:,} rows")
        file = _file(Path(folder), job)
        size = (await asyncio.to_thread(file.stat)).st_size
        async with installed(settings, "import", job.partitions, "operations") as (its, env):
            roles = [word for group in LAYOUT for word in ("--roles", group)]
            argv = (sys.executable, "-m", "streams.cli", "worker", *roles)
            with Child("the workers", argv, env) as workers:
                progress("the workers start, and stock is received")
                await _receive(its, job)
                workers.check()
                progress(f"importing {job.rows:,} rows")
                first_s, first = await _import(file, env)
                progress("the same file once more")
                again_s, again = await _import(file, env)
    return {
        "kind": file.suffix[1:],
        "bytes": size,
        "rows": job.rows,
        "seconds": round(first_s, 1),
        "rate": round(job.rows / first_s),
        "again_seconds": round(again_s, 1),
        "verdicts": first["verdicts"]["rows"],
        "verdicts_again": again["verdicts"]["rows"],
        "peak_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


async def _import(file: Path, env: dict[str, str]) -> tuple[float, dict[str, Any]]:
    """Run the command as a person would; return how long it took, and its receipt."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams.cli", "import", str(file), "--platform", _PLATFORM,
        "--shop", trade.SHOP, "--reason", "benchmark", "--operator", "bench", "--json",
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, said = await process.communicate()
    took = time.monotonic() - began
    if process.returncode:
        raise NotAnswered(f"the import ended with {process.returncode}: {said.decode()[-500:]}")
    return took, json.decode(out.splitlines()[-1])


async def _receive(its: Settings, job: Job) -> None:
    await commanding.ask(
        its,
        [
            ReceiveStock(
                id=new_id(), sku=f"BENCH-{nth:04d}", quantity=2 * job.rows, reason="benchmark",
                operator="bench",
            )
            for nth in range(job.skus)
        ],
        _READY_S,
    )  # fmt: skip


# --- the file -------------------------------------------------------------------------------------


def _file(folder: Path, job: Job) -> Path:
    if job.xlsx:
        return _workbook(folder / "orders.xlsx", job)
    file = folder / "orders.csv"
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([_COLUMNS, *_rows(job)])
    return file


def _workbook(file: Path, job: Job) -> Path:
    import openpyxl  # noqa: PLC0415  heavy, and only this needs it

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("orders")
    for row in [_COLUMNS, *_rows(job)]:
        sheet.append(row)
    book.save(file)
    return file


def _rows(job: Job) -> Iterator[tuple[str, ...]]:
    """Yield paid orders of one line, a second apart, the last of them an hour ago."""
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=job.rows + 3600)
    for nth in range(job.rows):
        placed = (first + timedelta(seconds=nth)).isoformat()
        yield (
            f"55{nth:011d}", "PAID", placed, placed, "USD", "25.00", "1",
            f"BENCH-{nth % job.skus:04d}", "A very soft rug", "2", "12.50",
            f"buyer{nth}@example.com", "Jo Doe", "+12125550123", "US", "New York", "New York",
            f"{nth} Main Street", "10001",
        )  # fmt: skip
