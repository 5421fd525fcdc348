"""
`bench latency`: how long the keeper's step and the whole chain take, at one load after another.

The step is timed as in `bench reserve`, from the broker's append of a command to its append of the
answer; the chain as in `bench flow`, from the receipt of a platform's message to the order's row
with its verdict in PostgreSQL. Each load is a fresh installation. A load that was not kept up with
has no latency but a backlog, so each row says what rate was really had.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streams.bench.flow import Job as Chain
from streams.bench.flow import measure as through_the_chain
from streams.bench.processes import machine
from streams.bench.reserve import Job as Step
from streams.bench.reserve import latency as of_a_step
from streams.processes import listener
from streams.settings import Settings

_SPREAD = ("p50_ms", "p99_ms", "p999_ms", "max_ms")

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    #: Commands a second to the stock keeper.
    rates: tuple[int, ...] = (2_000, 10_000, 20_000, 40_000)
    #: Three-line orders a second through the chain.
    orders: tuple[int, ...] = (100, 300, 600, 1_000)
    seconds: float = 10.0


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*; raises what `bench reserve` and `bench flow` raise."""
    steps = [await _step(settings, rate, job.seconds, progress) for rate in sorted(job.rates)]
    chains = [await _chain(settings, rate, job.seconds, progress) for rate in sorted(job.orders)]
    return {
        "step": _to_the_least(steps),
        "chain": _to_the_least(chains),
        "seconds": job.seconds,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


def _to_the_least(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return *rows* with their p50 and p99 in relation to those of the least load."""
    return [
        row
        | {
            f"{name}_ratio": round(row[f"{name}_ms"] / least, 2)
            if (least := rows[0][f"{name}_ms"])
            else None
            for name in ("p50", "p99")
        }
        for row in rows
    ]


async def _step(
    settings: Settings, rate: int, seconds: float, progress: Progress
) -> dict[str, Any]:
    found = await of_a_step(settings, Step(rate=rate, seconds=seconds), progress)
    return {
        "asked": rate,
        "rate": found["latency_rate"],
        **{name: found[f"latency_{name}"] for name in _SPREAD},
        "cpu_us": _each_us(found["latency_cores"], found["latency_rate"]),
    }


async def _chain(
    settings: Settings, rate: int, seconds: float, progress: Progress
) -> dict[str, Any]:
    def say(what: str) -> None:
        progress(f"{rate:,} orders a second: {what}")

    found = await through_the_chain(settings, Chain(rate=rate, seconds=seconds), say)
    return {
        "asked": rate,
        "rate": found["rate"],
        **{name: found[f"verdict_{name}"] for name in _SPREAD},
        "cpu_us": found["machine_cpu_us"],
    }


def _each_us(cores: float | None, rate: float | None) -> float | None:
    return round(cores * 1e6 / rate, 1) if cores is not None and rate else None
