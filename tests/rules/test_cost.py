"""
What a command costs, in units of a fixed piece of Python: a rule that got twice as dear goes red.

No time stands in here. Reference and work run in turn, a hundredth of a second each, on the same
core and the same interpreter; what counts is the CPU of this thread, and of many turns the median
of their ratio. So a slow machine, or one with twenty others on it, says what a quick one says.
What a command takes in µs, with a broker, is what `orderflow bench` is for.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import pytest

from agents.frames import FrameDecider, Inbox
from agents.intake import Destinations, Intake
from agents.letters import UNNUMBERED, Post, State, seal
from streams.adapters import ADAPTERS
from streams.bench.commands import OrderKeeper, holds, receipts
from streams.bench.intake import _directory, _records
from streams.bench.open_orders import observations
from streams.clock import now_ms
from streams.engine.partitions import partitioner
from streams.settings import Settings
from streams.topics import ORDER_COMMANDS, PARKED, STOCK_COMMANDS, TOPICS
from streams.topology import ROUTES
from tables import orders, stock
from tables.spec import Table

#: Turns of reference and work; the median of their ratios counts.
TURNS = 21
#: A cost may be this many times the usual one: less than twice, and more than noise adds.
AT_MOST = 1.5
DAY_MS = 24 * 3_600_000

Work = Callable[[], object]


@dataclass(slots=True)
class Record:
    """A record of an inbox."""

    offset: int
    value: bytes
    #: An id has its time in it, and one that is too old is refused.
    timestamp: int = field(default_factory=now_ms)
    key: bytes | None = None


# --- the reference --------------------------------------------------------------------------------


class Shelf:
    """Somewhere to put things, so that attributes and methods are part of the reference."""

    __slots__ = ("moves", "units")

    def __init__(self, units: int) -> None:
        self.units = units
        self.moves = 0

    def take(self, units: int) -> int:
        self.units -= units
        self.moves += 1
        return self.units


def reference() -> int:
    """Never change this: every cost below is counted in it."""
    shelves = {f"SKU-{number:06d}".encode(): Shelf(1_000_000) for number in range(100)}
    names = list(shelves)
    said: list[tuple[bytes, int, str]] = []
    for number in range(4_000):
        name = names[number * 7 % len(names)]
        left = shelves[name].take(1 + number % 3)
        order = f"order-{number:012d}"
        said.append((name + order.encode(), left, order[-6:]))
    found = {key: (left, word) for key, left, word in said}
    return sum(left for left, word in found.values() if word.isdigit())


# --- the work -------------------------------------------------------------------------------------


def _post(table: Table) -> Post:
    partition_of = partitioner({topic.name: 4 for topic in TOPICS})
    return Post(table.name, table.number, 0, ROUTES, partition_of)


def _inbox(values: Iterable[bytes]) -> list[Record]:
    return [Record(offset, value) for offset, value in enumerate(values)]


def _decided(
    table: Table, records: Sequence[Record], rows: dict[bytes, bytes]
) -> Iterator[dict[bytes, bytes | None]]:
    decider = FrameDecider(rows, State(), table, Inbox("inbox", 0), _post(table))
    for cut in decider.decide(records):
        assert not cut.counts.parked
        yield cut.changes


def a_hold() -> Work:
    """The stock keeper holds units of a hundred SKUs for 2,000 orders."""
    rows: dict[bytes, bytes] = {}
    received = _inbox(seal(each) for each in receipts(0, 100))
    for changes in _decided(stock.TABLE, received, {}):
        rows |= {key: row for key, row in changes.items() if row is not None}
    keeper = OrderKeeper(Settings(kafka="nowhere:1", partitions=1))
    [letters] = keeper.letters(holds(0, 2_000, 100)).values()
    asked = _inbox(value for _, value, _ in letters)
    return lambda: list(_decided(stock.TABLE, asked, rows))


def an_order() -> Work:
    """The order keeper hears of 400 new three-line orders, and asks for their stock."""
    heard = _inbox(UNNUMBERED + body for body in observations(400))
    return lambda: list(_decided(orders.TABLE, heard, {}))


def a_message() -> Work:
    """Intake reads 300 messages of three platforms."""
    to = Destinations(ORDER_COMMANDS.name, STOCK_COMMANDS.name, PARKED.name)
    intake = Intake(ADAPTERS, _directory(), to, DAY_MS)
    waiting = [
        (platform, record)
        for platform in ("taobao", "douyin", "shopify")
        for record in _records(platform, 100)
    ]

    def observe() -> None:
        for platform, record in waiting:
            [said] = intake.observe(platform, "raw", 0, record)
            assert said.topic == ORDER_COMMANDS.name

    return observe


#: What each cost when this was written, in references. Dearer on purpose? Write it here.
USUAL: Sequence[tuple[Callable[[], Work], float]] = (
    (a_hold, 2.8),
    (an_order, 3.8),
    (a_message, 3.0),
)


# --- the measure ----------------------------------------------------------------------------------


@contextmanager
def undisturbed() -> Iterator[None]:
    """Neither the garbage of other tests nor a tracer, which sees our code alone, takes part."""
    tracer = sys.gettrace()
    sys.settrace(None)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.settrace(tracer)


def cost(*works: Work) -> list[float]:
    """Return what each of *works* costs, in references."""
    ratios: list[list[float]] = [[] for _ in works]
    with undisturbed():
        for work in (reference, *works):
            work()
        for _ in range(TURNS):
            for work, found in zip(works, ratios, strict=True):
                unit_s = _cpu_s(reference)
                found.append(_cpu_s(work) / unit_s)
    return [median(found) for found in ratios]


def _cpu_s(work: Work) -> float:
    began_s = time.thread_time()
    work()
    return time.thread_time() - began_s


@pytest.mark.parametrize(("make", "usual"), USUAL)
def test_a_command_costs_no_more_than_it_did(make: Callable[[], Work], usual: float):
    [found] = cost(make())

    assert found < usual * AT_MOST, (
        f"{make.__name__} costs {found:.2f} references, {usual:g} as a rule: look with a profiler"
        " at what was changed; `orderflow bench` says what it means in µs"
    )


@pytest.mark.parametrize("make", [make for make, _ in USUAL])
def test_what_is_done_twice_is_seen_to_cost_twice(make: Callable[[], Work]):
    work = make()

    once, twice = cost(work, lambda: (work(), work()))

    assert twice > once * AT_MOST
