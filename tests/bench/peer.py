"""What a peer is to the comparison: how it is got ready, and how one run of it is measured."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schemas.errors import OrderflowError
from streams.bench.broker import broker, installation
from streams.bench.reserve import TOPICS, JsonSide, Run, Say, Side, one
from streams.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
_FLUSHED = {"flush.messages": "1"}
#: Says in a few words what is being done.
Tell = Callable[[str], None]
#: One run: of so many orders, over so many SKUs, on topics or tables of its own that are gone
#: afterwards. Raises CountsDiffer where the outcome is wrong: then there is no figure.
Measure = Callable[[Settings, int, int, Say], Awaitable[Run]]


class NotMeasured(OrderflowError):  # noqa: N818  named as the other errors are
    """A peer cannot be measured on this machine; the message says why."""


def nothing(_: Tell) -> None:
    """A peer that is ready as it is."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One of those that are compared."""

    #: As `--peers` names it.
    name: str
    #: As the table names it.
    title: str
    #: What is true after a kill -9 at any moment, in a few words.
    crash: str
    #: Where an outcome is when it is counted: what a loss of power may take.
    kept: str = "acks=all, not flushed"
    #: Orders a run: some seconds' worth.
    records: int
    measure: Measure
    #: Installs or builds what it needs, once, before any run; raises NotMeasured.
    prepare: Callable[[Tell], None] = nothing
    #: What it takes beside the stack.
    memory_mib: int = 300
    #: Ports of 127.0.0.1 that it listens on, and that have to be free.
    ports: tuple[int, ...] = ()


def over_kafka(
    make: Callable[[Settings], Side],
    *,
    flushed: bool = False,
    servers: Callable[[Settings], Sequence[str]] = lambda _: (),
) -> Measure:
    """
    Return the measure of a side that reads its commands from Kafka and answers there.

    *flushed* has the broker put every append on the disk before it acknowledges it. *servers* are
    the addresses of what else works for the side; their CPU counts with the broker's.
    """

    async def measure(settings: Settings, records: int, skus: int, say: Say) -> Run:
        its = installation(settings, "peers")
        side = make(its)
        topics = (*TOPICS, *side.topics)
        if flushed:
            topics = tuple(replace(each, config={**each.config, **_FLUSHED}) for each in topics)
        async with broker(its, topics, committed=side.transactional) as connected:
            return await one(connected, side, records, skus, say, servers(settings))

    return measure


def program(name: str, *argv: str, **more: Any) -> Measure:
    """Return the measure of a program as JsonSide starts it; *more* is JsonSide's."""
    env = {"PYTHONPATH": str(ROOT), **more.pop("env", {})}
    return over_kafka(lambda its: JsonSide(its, name=name, program=argv, env=env, **more))
