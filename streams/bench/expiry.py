"""
`bench expiry`: how soon a hold is released after its deadline, with many open, and after a restart.

Unpaid orders of one line are put into the order keeper's inbox, and both keepers take them as they
take any other; each order's hold ends when its policy says so. Three trials, each from nothing:

    spread    the deadlines come one after the other, at an even rate
    restart   the same, but the worker stops before the first deadline and starts after it; lateness
              then counts from when it was ready again, where that is later than the deadline
    at once   all deadlines are the same moment: how many a second are released

Lateness is the broker's append time of the release less the deadline that the hold was told with.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec import json, structs

from agents.letters import NO_HEADERS, seal
from schemas.orders import ObserveOrder, Policy
from schemas.stock import StockMoved, Verb
from streams.bench.broker import Broker, Ends, Lanes, backlog, broker, installation, stamped
from streams.bench.commands import OrderKeeper, sku
from streams.bench.open_orders import observations
from streams.bench.processes import Child, machine
from streams.bench.recovery import TOPICS, ready, worker
from streams.bench.reserve import percentile
from streams.clock import now_ms
from streams.engine.partitions import partitioner
from streams.processes import listener
from streams.settings import Settings
from streams.topics import ORDER_COMMANDS, ORDER_EVENTS, STOCK_EVENTS
from tables import orders

ROLES = "orders,stock"
SKUS = 1_000
#: Orders put into the inbox at a time; their policies are written just before.
_CHUNK = 2_000
#: How fast orders are held while the trial is prepared, at the least, a second.
_HELD_A_SECOND = 2_000
#: Between the last order and the first deadline.
_LEAD_MS = 5_000
#: How long the worker stays away after the first deadline.
_AWAY_S = 2.0

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    holds: int = 100_000
    #: How long it takes from the first deadline to the last, s.
    over_s: float = 30.0


class Released(NamedTuple):
    """What became of the holds of one trial, ms."""

    #: Deadline and time of the release of each.
    times: list[tuple[int, int]]
    #: When the worker was ready after its restart; 0 where there was none.
    owned_ms: int


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured."""
    spread = await _trial(settings, job, "spread", progress)
    restart = await _trial(settings, job, "restart", progress)
    at_once = await _trial(settings, job, "at once", progress)
    freed = sorted(at for _, at in at_once.times)
    return {
        "holds": job.holds,
        "over_s": job.over_s,
        **_lateness(spread, ""),
        **_lateness(restart, "_restart"),
        "released_per_s": round(len(freed) * 1000 / max(1, freed[-1] - freed[0])),
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


def _lateness(released: Released, suffix: str) -> dict[str, Any]:
    late = sorted(at - max(due, released.owned_ms) for due, at in released.times)
    return {
        f"late_p50_ms{suffix}": percentile(late, 0.5),
        f"late_p99_ms{suffix}": percentile(late, 0.99),
        f"late_max_ms{suffix}": late[-1],
        f"earliest_ms{suffix}": min(at - due for due, at in released.times),
    }


async def _trial(settings: Settings, job: Job, trial: str, progress: Progress) -> Released:
    its = installation(settings, "expiry")
    topics = [stamped(topic) if topic is STOCK_EVENTS else topic for topic in TOPICS]
    over_ms = 0 if trial == "at once" else round(job.over_s * 1000)
    async with broker(its, topics) as connected:
        child, port = worker(its, ROLES, {})
        with child:
            await ready(child, port)
            before = await connected.ends(STOCK_EVENTS.name)
            await connected.send(backlog(OrderKeeper(its).receipts(SKUS)))
            # A move and an answer each: what comes after them is holds.
            await connected.until([(before, 2 * SKUS)], child.check)
            first_ms = now_ms() + round(job.holds * 1000 / _HELD_A_SECOND) + _LEAD_MS
            since = await _held(connected, child, job.holds, first_ms, over_ms, progress)
            if trial != "restart":
                await _released(connected, child, since, job.holds, progress, trial)
        if trial != "restart":
            return await _read(connected, job.holds, 0)
        await asyncio.sleep(max(0.0, first_ms / 1000 - time.time() + _AWAY_S))
        child, port = worker(its, ROLES, {})
        with child:
            await ready(child, port)
            owned_ms = now_ms()
            await _released(connected, child, since, job.holds, progress, trial)
            return await _read(connected, job.holds, owned_ms)


async def _held(
    connected: Broker, child: Child, holds: int, first_ms: int, over_ms: int, progress: Progress
) -> Ends:
    """Have all orders held; return the ends of the stock events before any release."""
    since = await connected.ends(STOCK_EVENTS.name)
    told = await connected.ends(ORDER_EVENTS.name)
    for begun in range(0, holds, _CHUNK):
        numbers = range(begun, min(holds, begun + _CHUNK))
        await connected.send(
            backlog(_orders(connected.settings, numbers, holds, first_ms, over_ms))
        )
        progress(f"{numbers.stop:,} of {holds:,} orders are placed")
    await connected.until([(since, holds)], child.check)
    # An order has heard of its hold when it says so, after it has said that it was placed. A worker
    # that is stopped before would have those answers to catch up on, and not its deadlines alone.
    await connected.until([(told, 2 * holds)], child.check)
    return since


def _orders(settings: Settings, numbers: range, holds: int, first_ms: int, over_ms: int) -> Lanes:
    """Return the orders of *numbers* as intake sends them, each to be held until its deadline."""
    (template,) = [orders.TABLE.decode_command(body) for body in observations(1)]
    partition_of = partitioner({ORDER_COMMANDS.name: settings.partitions})
    line = structs.replace(template.statement.lines[0], quantity=1)
    lanes: Lanes = {}
    for number in numbers:
        due_ms = first_ms + over_ms * number // holds
        observed = ObserveOrder(
            statement=structs.replace(
                template.statement,
                order_id=f"{number:019d}",
                lines=(structs.replace(line, sku=sku(number, SKUS)),),
            ),
            policy=Policy(hold_for_ms=max(1, due_ms - now_ms())),
            source=template.source,
        )
        key = observed.statement.key.encode()
        lane = (ORDER_COMMANDS.name, partition_of(ORDER_COMMANDS.name, key))
        lanes.setdefault(lane, []).append((key, seal(observed), NO_HEADERS))
    return lanes


async def _released(
    connected: Broker, child: Child, since: Ends, holds: int, progress: Progress, trial: str
) -> None:
    def say(done: int, _: int) -> None:
        progress(f"{trial}: {max(0, done - holds):,} of {holds:,} holds are released")

    await connected.until([(since, 2 * holds)], child.check, say)


async def _read(connected: Broker, holds: int, owned_ms: int) -> Released:
    """Pair each hold with its release; raises AssertionError unless there is one of each."""
    due: dict[str | None, int] = {}
    freed: dict[str | None, int] = {}
    decode = json.Decoder(StockMoved).decode
    for record in await connected.read(STOCK_EVENTS.name):
        if b'"stock.moved"' not in record.value:
            continue
        moved = decode(record.value)
        if moved.verb is Verb.HOLD and moved.deadline_ms is not None:
            due[moved.order] = moved.deadline_ms
        elif moved.verb is Verb.EXPIRE:
            freed[moved.order] = record.at_ms
    if len(due) != holds or due.keys() != freed.keys():
        raise AssertionError(f"{holds} holds: {len(due)} were told, {len(freed)} released")
    return Released([(due[order], at) for order, at in freed.items()], owned_ms)
