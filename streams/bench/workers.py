"""
`bench workers`: the same holds by one stock keeper's process, by two, and by four.

The job and the clock are those of `bench reserve`, without Faust's side: partitions are shared
among the workers, all of them stand still while the inbox is filled, and are let go together.
Workers and broker have the machine's cores between them, so each row also says how many cores were
at work: where that is all there are, more workers cannot do more.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from streams.bench.broker import Broker, broker, installation
from streams.bench.join import shared
from streams.bench.processes import machine
from streams.bench.reserve import TOPICS, Ours, Run, Say, drain, middle, receive, worker
from streams.processes import listener
from streams.settings import Settings

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    records: int = 200_000
    workers: tuple[int, ...] = (1, 2, 4)
    runs: int = 3
    skus: int = 10_000


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*; raises CountsDiffer, NotAnswered, ProcessEnded."""
    runs: dict[int, list[Run]] = {number: [] for number in job.workers}
    for nth in range(1, job.runs + 1):
        for number, done in runs.items():
            its = installation(settings, "workers")
            side = Ours(its)
            say = Say(progress, f"run {nth} of {job.runs}, {number} workers")
            async with broker(its, (*TOPICS, *side.topics)) as connected:
                done.append(await _together(connected, side, number, job, say))
    return {
        "workers": _rows(runs),
        "records": job.records,
        "skus": job.skus,
        "runs": job.runs,
        "partitions": settings.partitions,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


async def _together(connected: Broker, side: Ours, number: int, job: Job, say: Say) -> Run:
    its = connected.settings
    with ExitStack() as running:
        workers = [running.enter_context(worker(its, "stock")) for _ in range(number)]

        def check() -> None:
            for each in workers:
                each.check()

        say("starting")
        await shared(its, number, check)
        await receive(connected, side, workers[0], job.skus, say)
        return await drain(connected, side, workers, job.records, job.skus, say)


def _rows(runs: dict[int, list[Run]]) -> list[dict[str, Any]]:
    fewest = runs[min(runs)]
    return [_row(number, done, fewest) for number, done in sorted(runs.items())]


def _row(number: int, done: Sequence[Run], fewest: Sequence[Run]) -> dict[str, Any]:
    ratio = median(a.rate / b.rate for a, b in zip(done, fewest, strict=True))
    busy = [
        run.rate * (run.client_cpu_us + run.broker_cpu_us) / 1e6
        for run in done
        if run.client_cpu_us is not None and run.broker_cpu_us is not None
    ]
    return {
        "workers": number,
        "rate": round(median(run.rate for run in done)),
        "ratio": round(ratio, 2),
        "client_cpu_us": middle(done, "client_cpu_us"),
        "broker_cpu_us": middle(done, "broker_cpu_us"),
        "cores": round(median(busy), 2) if busy else None,
    }
