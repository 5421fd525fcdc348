"""
`bench hot`: one SKU that everybody wants, against 10,000 that are asked for alike.

The job and the clock are those of `bench reserve`, without Faust's side. All commands of the hot
SKU stand in one partition and meet one keeper, one after the other, and its open holds grow to as
many as there are commands; so this also shows that a decision does not get slower with them.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

from streams.bench.broker import installation
from streams.bench.processes import machine
from streams.bench.reserve import Job, Ours, Run, Say, alone
from streams.processes import listener
from streams.settings import Settings

UNIFORM = 10_000

Progress = Callable[[str], None]


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*; raises CountsDiffer, NotAnswered, ProcessEnded."""
    runs: dict[int, list[Run]] = {1: [], UNIFORM: []}
    for nth in range(1, job.runs + 1):
        for skus, done in runs.items():
            its = installation(settings, "hot")
            say = Say(progress, f"run {nth} of {job.runs}, {skus:,} SKUs")
            done.append(await alone(its, Ours(its), job.records, skus, say))
    hot, uniform = runs[1], runs[UNIFORM]
    return {
        "ratio_to_uniform": round(
            median(a.rate / b.rate for a, b in zip(hot, uniform, strict=True)), 2
        ),
        "rate_hot": round(median(run.rate for run in hot)),
        "rate_uniform": round(median(run.rate for run in uniform)),
        "records": job.records,
        "runs": job.runs,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }
