"""
`bench join`: how long a partition stands still when a worker joins under load, and when it goes.

The real stock keeper works at a steady rate, its commands sent by another process. After a third
of the commands a second worker starts and takes its share, and after two thirds it is told to end.
Outcomes are the answers as the broker appended them, put to the partition of their commands; a
pause is the longest time between two of them in one partition. What came out is compared with what
was asked, so no figure comes from a run in which a command was lost or done twice; and a stretch in
which nothing came out has none.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from msgspec import msgpack

from agents.letters import PREFIX_BYTES
from schemas.stock import HoldStock
from streams.bench.broker import Broker, Heard, NotAnswered, broker, environment, installation
from streams.bench.processes import Child, machine
from streams.bench.reserve import (
    TOPICS,
    WARM_S,
    CountsDiffer,
    Ours,
    Progress,
    Say,
    percentile,
    receive,
    worker,
)
from streams.processes import listener
from streams.settings import Settings
from streams.topics import ORDER_COMMANDS, STOCK_COMMANDS

_JOINS_WITHIN_S = 60
_decode = msgpack.Decoder(HoldStock).decode


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    rate: int = 10_000
    seconds: float = 45.0
    skus: int = 1_000


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the pauses of *job*; raises CountsDiffer, NotAnswered, ProcessEnded."""
    its = installation(settings, "join")
    say = Say(progress, f"at {job.rate:,}/s")
    async with broker(its, (*TOPICS, *Ours.topics)) as connected:
        side = Ours(its)
        with worker(its, "stock", "one") as first:
            await receive(connected, side, first, job.skus, say)
            starts = (
                await connected.ends(STOCK_COMMANDS.name),
                await connected.ends(ORDER_COMMANDS.name),
            )
            joined_ms, left_ms = await _load(connected, its, job, first, say)
        asked = await connected.read(STOCK_COMMANDS.name, starts[0])
        answers = await connected.read(ORDER_COMMANDS.name, starts[1])
    pid = listener(settings.kafka.split(",")[0])
    return {
        **pauses(side, asked, answers, joined_ms, left_ms),
        "rate": job.rate,
        "partitions": its.partitions,
        "machine": machine(pid),
    }


async def _load(
    connected: Broker, its: Settings, job: Job, first: Child, say: Say
) -> tuple[float, float]:
    """Send for the whole time; return when the second worker was started and told to end, ms."""
    count = int(job.rate * job.seconds)
    since = await connected.ends(ORDER_COMMANDS.name)
    argv = (sys.executable, "-m", "streams.bench.sender", str(job.rate), str(count), str(job.skus))
    with Child("the sender", argv, environment(its)) as sender:

        def check() -> None:
            first.check()
            sender.ended()

        third = count // 3
        await connected.until([(since, third)], check, say.count)
        joined_ms = time.time() * 1000
        with worker(its, "stock", "two") as second:

            def both() -> None:
                check()
                second.check()

            await shared(its, 2, both)
            await connected.until([(since, 2 * third)], both, say.count)
            left_ms = time.time() * 1000
        await connected.until([(since, count)], check, say.count)
    return joined_ms, left_ms


async def shared(its: Settings, workers: int, check: Callable[[], None]) -> None:
    """
    Wait until so many *workers* are members and the group is at rest: else nothing is measured.

    Raises NotAnswered, and what *check* raises.
    """
    group = its.group_prefix + "stock"
    admin = AIOKafkaAdminClient(bootstrap_servers=its.kafka)
    await admin.start()
    try:
        async with asyncio.timeout(_JOINS_WITHIN_S):
            while True:
                check()
                # A broker that has just begun names no coordinator until its own topic is there.
                with suppress(GroupCoordinatorNotAvailableError):
                    (answer,) = await admin.describe_consumer_groups([group])
                    ((_, _, state, _, _, members, *_),) = answer.groups
                    if state == "Stable" and len(members) == workers:
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise NotAnswered(
            f"{workers} workers have not all joined within {_JOINS_WITHIN_S} s"
        ) from None
    finally:
        await admin.close()


def pauses(
    side: Ours, asked: Sequence[Heard], answers: Sequence[Heard], joined_ms: float, left_ms: float
) -> dict[str, Any]:
    """Return the longest pause of any partition before, while and after there were two workers."""
    commands = {
        _decode(each.value[PREFIX_BYTES:]).order: (each.partition, each.at_ms) for each in asked
    }
    outcomes: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for record in answers:
        order, _ = side.answered(record)
        partition, asked_ms = commands.pop(order, (None, 0))
        if partition is None:
            raise CountsDiffer(f"{order} was answered twice, or never asked")
        outcomes[partition].append((record.at_ms, record.at_ms - asked_ms))
    if commands:
        raise CountsDiffer(f"{len(commands)} commands were never answered")
    began = min(each.at_ms for each in asked) + WARM_S * 1000
    spans = {"alone": (began, joined_ms), "joining": (joined_ms, left_ms)}
    spans["leaving"] = (left_ms, float("inf"))
    figures: dict[str, Any] = {}
    for name, (start, end) in spans.items():
        gaps = [_longest(at for at, _ in found if start <= at < end) for found in outcomes.values()]
        late = sorted(ms for found in outcomes.values() for at, ms in found if start <= at < end)
        figures[f"{name}_pause_ms"] = max(gaps, default=0)
        figures[f"{name}_pause_median_ms"] = percentile(sorted(gaps), 0.5) if gaps else 0
        figures[f"{name}_late_p99_ms"] = percentile(late, 0.99) if late else 0
    return figures


def _longest(moments: Iterable[int]) -> int:
    """Return the longest time between two neighbours."""
    ordered = sorted(moments)
    return max((after - before for before, after in pairwise(ordered)), default=0)
