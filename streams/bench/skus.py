"""
`bench skus`: what a hold costs, and what the worker weighs, as SKUs become more.

The job and the clock are those of `bench reserve`, without Faust's side, with 10,000, 100,000 and
1,000,000 SKUs that are asked for alike. All of them are received first, so each is a row in memory
before the clock runs. Everything is put in relation to the fewest SKUs, run by run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from streams.bench.broker import broker, installation
from streams.bench.processes import machine
from streams.bench.reserve import TOPICS, Ours, Run, Say, middle, one
from streams.processes import listener
from streams.settings import Settings

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    records: int = 200_000
    skus: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    runs: int = 3


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*; raises CountsDiffer, NotAnswered, ProcessEnded."""
    runs: dict[int, list[Run]] = {skus: [] for skus in job.skus}
    for nth in range(1, job.runs + 1):
        for skus, done in runs.items():
            its = installation(settings, "skus")
            side = Ours(its)
            say = Say(progress, f"run {nth} of {job.runs}, {skus:,} SKUs")
            async with broker(its, (*TOPICS, *side.topics)) as connected:
                done.append(await one(connected, side, job.records, skus, say))
    fewest = runs[min(runs)]
    return {
        "skus": [_row(skus, done, fewest) for skus, done in sorted(runs.items())],
        "records": job.records,
        "runs": job.runs,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


def _row(skus: int, done: Sequence[Run], fewest: Sequence[Run]) -> dict[str, Any]:
    return {
        "skus": skus,
        "rate": round(median(run.rate for run in done)),
        "client_cpu_us": middle(done, "client_cpu_us"),
        "cpu_ratio": _ratio(done, fewest, "client_cpu_us"),
        "memory_mib": middle(done, "memory_mib"),
        "memory_ratio": _ratio(done, fewest, "memory_mib"),
    }


def _ratio(done: Sequence[Run], fewest: Sequence[Run], name: str) -> float | None:
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(done, fewest, strict=True)]
    ratios = [its / least for its, least in pairs if its and least]
    return round(median(ratios), 2) if ratios else None
