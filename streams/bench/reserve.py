"""
`bench reserve`: the same reservations by the stock keeper and by an idiomatic Faust agent.

Each run is a fresh installation on the same broker: topics, group and process are new. Stock is
received and some commands are done first; then the worker is held still while its inbox is filled,
and let go. Between the first and the last answer, as the broker appended them, are the rate and
the CPU. Then everything that came out is read back: one answer and one event for each command.

Afterwards the latency of the keeper's step is taken at a steady rate, with the commands sent by
another process: from the broker's append of the command to its append of the answer.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple, Protocol

import orjson
from aiokafka.producer.message_accumulator import BatchBuilder
from msgspec import msgpack

from agents.letters import PREFIX_BYTES
from schemas.errors import OrderflowError
from schemas.orders import StockAnswered
from schemas.stock import HoldStock
from streams.bench.broker import (
    Broker,
    Heard,
    Lane,
    Lanes,
    backlog,
    broker,
    environment,
    installation,
    stamped,
)
from streams.bench.commands import PLENTY, OrderKeeper, holds, receipts
from streams.bench.processes import Child, Sampler, machine
from streams.engine.partitions import partitioner
from streams.processes import family, listener, memory_mib
from streams.settings import Settings
from streams.topics import (
    ORDER_COMMANDS,
    ORDER_EVENTS,
    PARKED,
    STOCK_COMMANDS,
    STOCK_EVENTS,
    Topic,
    changelog,
)

#: An answer on the way home and an event for the public, timed alike on both sides.
TOPICS = (
    STOCK_COMMANDS,
    stamped(ORDER_COMMANDS),
    stamped(STOCK_EVENTS),
    stamped(ORDER_EVENTS),
    PARKED,
)
#: Made beforehand as an operator would: Faust's own making of them comes after its agent starts,
#: which then crashes on the first record.
FAUST_TOPICS = tuple(
    replace(
        changelog("stock"),
        name=f"faust-{table}-changelog",
        config={"cleanup.policy": "compact"},
    )
    for table in ("balances", "holds")
)
#: One in so many commands is done before the clock runs, and at most so many.
_WARM_SHARE, _WARM_MAX = 8, 20_000
#: The first seconds at the steady rate that are not counted.
WARM_S = 2.0
#: Faust may lose what is sent while it joins its group: then the receipts are sent again.
_RECEIPTS_WITHIN_S = 6.0
_RECEIPTS_TRIES = 10

_answer = msgpack.Decoder(StockAnswered).decode
Progress = Callable[[str], None]


class CountsDiffer(OrderflowError):  # noqa: N818  named as the other errors are
    """What came out does not match what was asked."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    records: int = 200_000
    records_faust: int = 8_000
    skus: int = 1_000
    runs: int = 3
    rate: int = 20_000
    seconds: float = 10.0


class Run(NamedTuple):
    """What one run of one side gave."""

    rate: float
    client_cpu_us: float | None
    broker_cpu_us: float | None
    memory_mib: float | None


class Side(Protocol):
    """One of those that do the job."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics it needs beside those of the job."""

    @property
    def transactional(self) -> bool:
        """Does it send in transactions, so that nothing can be read before they are committed?"""

    def child(self) -> Child:
        """Return its process, not yet started."""

    def receipts(self, skus: int) -> Lanes:
        """Return the commands that receive stock."""

    def holds(self, first: int, count: int, skus: int) -> Lanes:
        """Return the commands of so many orders."""

    def answered(self, record: Heard) -> tuple[str, bool]:
        """Return the order that is answered, and whether with a yes."""


class Ours:
    """The real stock keeper in a worker process of its own."""

    name = "orderflow"
    topics = (changelog("stock"),)
    transactional = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._orders = OrderKeeper(settings)

    def child(self) -> Child:
        """The same process as a slot of `orderflow worker`."""
        return worker(self._settings, "stock")

    def receipts(self, skus: int) -> Lanes:
        """As operators send them."""
        return self._orders.receipts(skus)

    def holds(self, first: int, count: int, skus: int) -> Lanes:
        """As the order keeper sends them."""
        return self._orders.letters(holds(first, count, skus))

    def answered(self, record: Heard) -> tuple[str, bool]:
        """Read a letter."""
        said = _answer(record.value[PREFIX_BYTES:])
        return said.order, said.refusal is None


class JsonSide:
    """
    A process of its own that reads and writes JSON: `PROGRAM… KAFKA PREFIX PARTITIONS DATADIR`.

    It reads `PREFIXstock-commands` from its beginning (StockCommand of `faust_way.py`), and sends
    to `PREFIXorder-commands` (StockAnswered) and `PREFIXstock-events` (StockMoved). DATADIR is
    empty, its own, and gone afterwards. *topics* are those it needs beside these and that are made
    for it; a topic it makes itself has PREFIX in its name.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        program: Sequence[str],
        topics: tuple[Topic, ...] = (),
        env: Mapping[str, str] | None = None,
        transactional: bool = False,
    ) -> None:
        self.name, self.topics, self.transactional = name, topics, transactional
        self._settings, self._program, self._env = settings, program, env or {}
        self._partition_of = partitioner({STOCK_COMMANDS.name: settings.partitions})

    def child(self) -> Child:
        """The program, with its arguments."""
        its = self._settings
        folder = tempfile.TemporaryDirectory()
        arguments = (its.kafka, its.topic_prefix, str(its.partitions), folder.name)
        return Child(self.name, (*self._program, *arguments), self._env, folder)

    def receipts(self, skus: int) -> Lanes:
        """The same receipts, as JSON."""
        return self._lanes(
            (each.sku, {"verb": "receive", "sku": each.sku, "quantity": each.quantity})
            for each in receipts(0, skus)
        )

    def holds(self, first: int, count: int, skus: int) -> Lanes:
        """The same holds, as JSON."""
        return self._lanes((each.sku, _as_json(each)) for each in holds(first, count, skus))

    def answered(self, record: Heard) -> tuple[str, bool]:
        """Read a JSON record."""
        said = orjson.loads(record.value)
        return said["order"], said["refusal"] is None

    def _lanes(self, commands: Any) -> Lanes:
        lanes: Lanes = {}
        for sku, fields in commands:
            key = sku.encode()
            lane = (STOCK_COMMANDS.name, self._partition_of(STOCK_COMMANDS.name, key))
            lanes.setdefault(lane, []).append((key, orjson.dumps(fields), []))
        return lanes


def faust_way(settings: Settings) -> JsonSide:
    """Return the idiomatic Faust app: `faust worker -l info`, in effect."""
    program = (sys.executable, "-m", "streams.bench.faust_way")
    return JsonSide(settings, name="Faust", program=program, topics=FAUST_TOPICS)


def _as_json(command: HoldStock) -> dict[str, Any]:
    return {
        "verb": "hold",
        "sku": command.sku,
        "quantity": command.quantity,
        "order": command.order,
        "attempt": command.attempt,
        "deadline_ms": command.deadline_ms,
        "cause": command.cause,
    }


def worker(settings: Settings, roles: str, slot: str = "") -> Child:
    """Return a worker process with *roles*, not yet started; *slot* is its static name."""
    argv = (sys.executable, "-m", "streams.cli", "worker", "--roles", roles, "--bare")
    env = {**environment(settings), "ORDERFLOW_SLOT": slot}
    return Child(f"the worker {slot or roles}", argv, env)


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*; raises CountsDiffer, NotAnswered, ProcessEnded."""
    ours: list[Run] = []
    faust: list[Run] = []
    for nth in range(1, job.runs + 1):
        for runs, make, records in (
            (ours, Ours, job.records),
            (faust, faust_way, job.records_faust),
        ):
            its = installation(settings, "reserve")
            side = make(its)
            say = Say(progress, f"run {nth} of {job.runs}, {side.name}")
            runs.append(await alone(its, side, records, job.skus, say))
    took = await latency(settings, job, progress)
    pid = listener(settings.kafka.split(",")[0])
    return {
        "ratio_to_faust": _round(median(a.rate / b.rate for a, b in zip(ours, faust, strict=True))),
        "cpu_ratio_to_faust": _cpu_ratio(ours, faust),
        **_figures(ours, ""),
        **_figures(faust, "_faust"),
        **took,
        "records": job.records,
        "records_faust": job.records_faust,
        "skus": job.skus,
        "runs": job.runs,
        "machine": machine(pid),
    }


class Say:
    """Progress of one run, in words."""

    def __init__(self, progress: Progress, where: str) -> None:
        self._progress, self._where = progress, where

    def __call__(self, what: str) -> None:
        """Say what is being done."""
        self._progress(f"{self._where}: {what}")

    def count(self, done: int, wanted: int) -> None:
        """Say how much is done."""
        self._progress(f"{self._where}: {done:,} of {wanted:,} outcomes")


async def alone(settings: Settings, side: Side, records: int, skus: int, say: Say) -> Run:
    """Do the job once on one side, on topics that are made for it and gone afterwards."""
    topics = (*TOPICS, *side.topics)
    async with broker(settings, topics, committed=side.transactional) as connected:
        return await one(connected, side, records, skus, say)


async def one(
    broker: Broker, side: Side, records: int, skus: int, say: Say, servers: Sequence[str] = ()
) -> Run:
    """Do the job once on one side; the CPU of *servers* (`host:port`) counts with the broker's."""
    with side.child() as child:
        await receive(broker, side, child, skus, say)
        return await drain(broker, side, [child], records, skus, say, servers)


async def drain(
    broker: Broker,
    side: Side,
    workers: Sequence[Child],
    records: int,
    skus: int,
    say: Say,
    servers: Sequence[str] = (),
) -> Run:
    """
    Do the job by *workers* that are there and have received their stock; memory is theirs together.

    Raises CountsDiffer, NotAnswered, ProcessEnded.
    """

    def check() -> None:
        for each in workers:
            each.check()

    warm = min(records // _WARM_SHARE, _WARM_MAX)
    await _answered(broker, check, say, backlog(side.holds(0, warm, skus)), warm)
    say("filling the inbox")
    waiting = backlog(side.holds(warm, records, skus))
    starts = (await broker.ends(ORDER_COMMANDS.name), await broker.ends(STOCK_EVENTS.name))
    for each in workers:
        each.hold()
    await broker.send(waiting)
    brokers = [listener(each) for each in (broker.settings.kafka.split(",")[0], *servers)]
    pids = [each.pid for each in workers]
    with Sampler({"client": pids, "broker": brokers}) as sampler:
        for each in workers:
            each.go()
        expected = [(since, records) for since in starts]
        await broker.until(expected, check, say.count)
    sizes = [memory_mib(each) for pid in pids for each in family(pid)]
    say("reading everything back")
    answers = await broker.read(ORDER_COMMANDS.name, starts[0])
    events = await broker.read(STOCK_EVENTS.name, starts[1])
    _compare(side, range(warm, warm + records), answers, events)
    resident = sum(size for size in sizes if size is not None)
    return _figured(answers, sampler, resident or None)


async def receive(broker: Broker, side: Side, child: Child, skus: int, say: Say) -> None:
    """Receive stock, again where the first ones were lost; more than plenty is plenty too."""
    say("starting, and receiving stock")
    for left in reversed(range(_RECEIPTS_TRIES)):
        try:
            since = await broker.ends(STOCK_EVENTS.name)
            await broker.send(backlog(side.receipts(skus)))
            await broker.until([(since, skus)], child.check, quiet_s=_RECEIPTS_WITHIN_S)
            break
        except OrderflowError:
            child.check()
            if not left:
                raise
    await _settled(broker)


async def _settled(broker: Broker) -> None:
    """Wait until nothing more is said about what was received."""
    before = None
    while before != (now := await broker.ends(STOCK_EVENTS.name)):
        before = now
        await asyncio.sleep(0.5)


async def _answered(
    broker: Broker,
    check: Callable[[], None],
    say: Say,
    waiting: Sequence[tuple[Lane, BatchBuilder]],
    records: int,
) -> None:
    say("warming up")
    since = await broker.ends(ORDER_COMMANDS.name)
    await broker.send(waiting)
    await broker.until([(since, records)], check)
    await _settled(broker)


def _compare(side: Side, numbers: range, answers: Sequence[Heard], events: Sequence[Heard]) -> None:
    said = [side.answered(record) for record in answers]
    compare(side.name, numbers, said, [orjson.loads(record.value) for record in events])


def compare(
    name: str,
    numbers: range,
    said: Sequence[tuple[str, bool]],
    moved: Sequence[Mapping[str, Any]],
) -> None:
    """
    Each command of *numbers* has its one answer, a yes, and its one event; raises CountsDiffer.

    *said* are orders with whether they were told yes; *moved* are events, of which the order, the
    quantity and what is still available afterwards are looked at.
    """
    asked = Counter(each.order for each in holds(numbers.start, len(numbers), 1))
    found = (
        ("answers", Counter(order for order, _ in said)),
        ("yes answers", Counter(order for order, yes in said if yes)),
        ("events", Counter(each["order"] for each in moved)),
    )
    for what, counted in found:
        if counted != asked:
            missing, more = (asked - counted).total(), (counted - asked).total()
            raise CountsDiffer(
                f"{name}: {len(numbers)} commands, {counted.total()} {what}: "
                f"{missing} are missing and {more} are too many"
            )
    units = sum(1 + number % 3 for number in numbers)
    if (held := sum(each["quantity"] for each in moved)) != units:
        raise CountsDiffer(f"{name}: {units} units were asked for and {held} are held")
    if any(each["available"] > PLENTY * _RECEIPTS_TRIES for each in moved):
        raise CountsDiffer(f"{name}: more is available than was received")


def _figured(answers: Sequence[Heard], sampler: Sampler, resident: float | None) -> Run:
    """Everything between the first and the last answer; the first batch only starts the clock."""
    times = sorted(record.at_ms for record in answers)
    first, last = times[0], times[-1]
    counted = sum(at > first for at in times)
    if last == first:
        return Run(float(len(times)) * 1000, None, None, resident)

    def each(name: str) -> float | None:
        used = sampler.between(name, first, last)
        return None if used is None else used * 1e6 / counted

    return Run(counted / (last - first) * 1000, each("client"), each("broker"), resident)


def _cpu_ratio(ours: Sequence[Run], faust: Sequence[Run]) -> float | None:
    """Return how many times the CPU an outcome costs Faust's worker; steadier where others work."""
    pairs = [(a.client_cpu_us, b.client_cpu_us) for a, b in zip(ours, faust, strict=True)]
    ratios = [theirs / its for its, theirs in pairs if its and theirs]
    return _round(median(ratios)) if ratios else None


def middle(runs: Sequence[Run], name: str) -> float | None:
    """Return the median of what *runs* say of *name*; None where none of them knows it."""
    values = [value for run in runs if (value := getattr(run, name)) is not None]
    return _round(median(values)) if values else None


def _figures(runs: Sequence[Run], suffix: str) -> dict[str, Any]:
    return {
        f"rate{suffix}": middle(runs, "rate"),
        f"rates{suffix}": [_round(run.rate) for run in runs],
        f"client_cpu_us{suffix}": middle(runs, "client_cpu_us"),
        f"broker_cpu_us{suffix}": middle(runs, "broker_cpu_us"),
        f"memory_mib{suffix}": middle(runs, "memory_mib"),
    }


# --- latency --------------------------------------------------------------------------------------


async def latency(settings: Settings, job: Job, progress: Progress) -> dict[str, Any]:
    """Return the latency of the keeper's step at a steady rate, and its CPU there."""
    its = installation(settings, "latency")
    say = Say(progress, f"latency at {job.rate:,}/s")
    count = int(job.rate * (WARM_S + job.seconds))
    async with broker(its, (*TOPICS, *Ours.topics)) as connected:
        side = Ours(its)
        with side.child() as child:
            await receive(connected, side, child, job.skus, say)
            starts = (
                await connected.ends(STOCK_COMMANDS.name),
                await connected.ends(ORDER_COMMANDS.name),
            )
            argv = (
                sys.executable,
                "-m",
                "streams.bench.sender",
                str(job.rate),
                str(count),
                str(job.skus),
            )
            with (
                Sampler({"client": [child.pid]}) as sampler,
                Child("the sender", argv, environment(its)) as sender,
            ):

                def check() -> None:
                    child.check()
                    sender.ended()

                await connected.until([(starts[1], count)], check, say.count)
        asked = await connected.read(STOCK_COMMANDS.name, starts[0])
        answers = await connected.read(ORDER_COMMANDS.name, starts[1])
    return _latencies(asked, answers, sampler, side)


def _latencies(
    asked: Sequence[Heard], answers: Sequence[Heard], sampler: Sampler, side: Ours
) -> dict[str, Any]:
    decode = msgpack.Decoder(HoldStock).decode
    at = {decode(record.value[PREFIX_BYTES:]).order: record.at_ms for record in asked}
    began, ended = min(at.values()), max(at.values())
    from_ms = began + WARM_S * 1000 if ended - began > 2 * WARM_S * 1000 else began
    took = []
    for record in answers:
        order, _ = side.answered(record)
        if at[order] >= from_ms:
            took.append(record.at_ms - at[order])
    if len(answers) != len(at):
        raise CountsDiffer(f"{len(at)} commands, {len(answers)} answers")
    took.sort()
    used = sampler.between("client", from_ms, ended)
    span_s = (ended - from_ms) / 1000
    return {
        "latency_p50_ms": percentile(took, 0.5),
        "latency_p99_ms": percentile(took, 0.99),
        "latency_p999_ms": percentile(took, 0.999),
        "latency_max_ms": took[-1],
        "latency_rate": _round(len(took) / span_s) if span_s else None,
        "latency_cores": round(used / span_s, 2) if used is not None and span_s else None,
    }


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that *share* of the *ordered* ones do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _round(value: float) -> float:
    return round(value, 1) if value < 1_000 else round(value)
