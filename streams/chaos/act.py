"""
One part of a plan, in order: the stage, the crew, the load, the faults, the rest, the verdict.

The outcome is yes only if every fault of the part struck, everything that the feed was told is
taken is found, exactly the poison is parked, no letter came twice where no worker had a reason to
repeat one, the house came to rest in time, and `orderflow check` holds. A fault that cannot be had
on this machine is told as skipped, and the part as not complete.

However a part ends, also in the middle of a fault: processes that stand still go on and end, lines
and disks are taken away, servers run again, topics and database are gone.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from schemas.errors import OrderflowError, Unavailable
from schemas.stock import ReceiveStock
from streams import check, commanding, stage
from streams.chaos import faults, telling
from streams.chaos.counting import Counters, counters
from streams.chaos.crew import Crew
from streams.chaos.faults import FAULTS, Field, Missed, Skipped, Wrong
from streams.chaos.links import Link, produces
from streams.chaos.plans import SOAK, Part, Step
from streams.chaos.servers import Servers
from streams.clock import new_id
from streams.demo import samples
from streams.demo.watching import gauge
from streams.ending import end, unless_ended
from streams.feed import generated, poison, pushing
from streams.feed.pushing import Pusher, Pushes
from streams.feed.sending import Sender
from streams.feed.trade import SHOP, Trade
from streams.footprints import Footprints
from streams.readiness import HERE, free_ports
from streams.reads import Reads
from streams.settings import Settings

#: Orders a second where their number is not given, and the most of them in a part that is no soak:
#: each makes some 45 records, and all are read again for the verdict.
RATE, ORDERS_MAX = 100.0, 40_000
#: The load is made for so much of what the faults are expected to take, and these seconds: on a
#: quiet machine they take less, and nobody then waits for a load that has nothing to meet.
_LASTS, _LASTS_S = 0.75, 5.0
#: As long as the faults take longer, it goes on by so many orders.
_MORE_ORDERS = 1_000
#: What is said again is said two to five times in all.
_REPEATS = 4
#: One message in so many is poison.
POISON_EVERY = 100
#: Processes of intake, ledger and availability, and of the gateway; keepers are in `faults`.
OTHERS, GATEWAYS = 2, 1
#: How long the shops hold an unpaid order, s.
HOLD_FOR_S = 6.0
#: Everything has come to rest within this after the last fault and the last message, s.
REST_WITHIN_S = 300.0
READY_S = 120.0
#: What the feed waits for an acknowledgement, which is longer than any outage.
_FEED_WAITS = timedelta(minutes=10)
#: What a worker is silent for until others take over; short, so that faults are met often.
_SESSION = "PT6S"
_DISK_MIB = 96
#: A run of the whole house takes about this much.
MEMORY_MIB = 3_000
_STILL_LOOKS = 3
_POISON_TICK_S = 0.5
_CHECKOUT = Path(__file__).parents[2]

Say = Callable[[str], None]


class Struck(NamedTuple):
    """What came of one step."""

    fault: str
    #: `struck`, `skipped`, `missed` or `wrong`.
    outcome: str
    said: str
    at_s: float
    seconds: float


class Load(NamedTuple):
    """What was sent."""

    fed: generated.Fed
    poison: int


def commit() -> str:
    """Return which commit is broken, with a `+` where the checkout differs from it."""
    git = shutil.which("git")
    if git is None or not (_CHECKOUT / ".git").exists():
        return "unknown"
    head = subprocess.run(  # noqa: S603  arguments of our own making
        [git, "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude", "*"],
        cwd=_CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return head.stdout.strip() or "unknown"


async def play_unless_ended(
    around: Settings, part: Part, *, orders: int | None, keep: bool, say: Say
) -> dict[str, Any] | None:
    """
    Play *part* on the servers that *around* names; return its outcome, with `ok`.

    On SIGINT or SIGTERM everything that was started is ended, and there is no outcome.
    """
    clearing = asyncio.Event()
    playing = _play_part(around, part, orders, clearing, keep=keep, say=say)
    return await unless_ended(playing, clearing)


async def _play_part(
    around: Settings,
    part: Part,
    orders: int | None,
    clearing: asyncio.Event,
    *,
    keep: bool,
    say: Say,
) -> dict[str, Any]:
    """Play *part*; *clearing* is set as soon as what was started is being ended."""
    began = time.monotonic()
    async with AsyncExitStack() as cleared:
        set_ = stage.planned(around, "chaos")
        if not keep:
            cleared.push_async_callback(stage.remove, around, set_)
        # It ends before the stage is removed: a server that is away could remove nothing.
        servers = await cleared.enter_async_context(Servers(around))
        try:
            await stage.build(around, set_, samples.reference(round(HOLD_FOR_S * 1000)))
            folder = Path(tempfile.mkdtemp(prefix=set_.prefix))
            say(f"Topics {set_.prefix}*, database {set_.database}, logs in {folder}.")
            field = await cleared.enter_async_context(_field(servers, set_, folder))
            outcome = await _to_the_verdict(set_, field, part, orders, folder, say)
        finally:
            clearing.set()
    outcome["seconds"] = round(time.monotonic() - began, 1)
    return {**outcome, "row": telling.row(outcome)}


async def _to_the_verdict(
    set_: stage.Stage, field: Field, part: Part, orders: int | None, folder: Path, say: Say
) -> dict[str, Any]:
    if not await field.crew.ready(READY_S):
        raise Unavailable(f"The workers were not ready within {READY_S:.0f} s; see {folder}.")
    trade = _trade(part, orders)
    await _receive(set_.settings, trade)
    say(f"{trade.orders:,} orders at {trade.rate:.0f}/s, {len(part.steps)} faults.")
    log = folder / "feed.jsonl"
    played = await _play(set_, field, part, trade, log, say)
    await field.crew.go_home()
    say("The workers are sent home; everything is counted again by independent code.")
    report = await check.run(set_.settings, feed_log=log)
    async with Reads(set_.env["ORDERFLOW_POSTGRES_READER"]) as reads:
        parked = await reads.count_parked_open()
    found = report.as_json()
    repeats = found["invariants"]["I7"]["figures"]["repeats"]
    return {
        **played,
        "parked": parked,
        "repeats": repeats,
        "check": found,
        "verdict": check.render(report),
        **judged(played, parked, repeats, holds=report.ok),
    }


def judged(played: dict[str, Any], parked: int, repeats: int, *, holds: bool) -> dict[str, Any]:
    """Return `ok`, whether the part is `complete`, and a sentence for everything against it."""
    outcomes = Counter(each["outcome"] for each in played["faults"])
    fed = played["fed"]
    against = [
        said
        for wrong, said in (
            (not holds, "The check found what is named above."),
            (outcomes["missed"], f"Faults that did not hit: {outcomes['missed']}."),
            (outcomes["wrong"], f"Faults that led it astray: {outcomes['wrong']}."),
            (
                played["calm"] and (repeats or played["foreign_writes"]),
                _twice(repeats, played["foreign_writes"]),
            ),
            (played["rest_s"] is None, f"No rest within {REST_WITHIN_S:.0f} s."),
            (
                fed["acknowledged"] != fed["messages"],
                f"Of {fed['messages']:,} messages {fed['acknowledged']:,} were acknowledged.",
            ),
            (
                parked != played["poison"],
                f"{played['poison']:,} messages were poison, and {parked:,} are parked.",
            ),
        )
        if wrong
    ]
    return {"ok": not against, "complete": not outcomes["skipped"], "against": against}


def _twice(repeats: int, foreign: int) -> str:
    return (
        f"{repeats:,} letters came twice and {foreign:,} writes were foreign, and no worker had "
        "ended, stood still or lost a partition."
    )


@asynccontextmanager
async def _field(servers: Servers, set_: stage.Stage, folder: Path) -> AsyncIterator[Field]:
    """Start the lines and the crew; end them in good order."""
    disk = folder / "disk"
    disk.mkdir()
    async with AsyncExitStack() as open_:
        mounted = faults.mount(disk, _DISK_MIB)
        if mounted:
            open_.callback(faults.unmount, disk)
        ledger = set_.env["ORDERFLOW_POSTGRES_LEDGER"]
        to_postgres = await open_.enter_async_context(Link("PostgreSQL", _server_of(ledger)))
        to_kafka, line = None, servers.kafka_line()
        if line is not None and not servers.given("kafka"):
            to_kafka = await open_.enter_async_context(Link("Kafka", *line, produces))
        env = {
            **set_.env,
            "ORDERFLOW_POSTGRES_LEDGER": _by(ledger, to_postgres),
            "ORDERFLOW_SESSION_TIMEOUT": _SESSION,
            "ORDERFLOW_HEARTBEAT_INTERVAL": "PT1S",
            "ORDERFLOW_SNAPSHOTS": str(disk / "snapshots"),
            "ORDERFLOW_SNAPSHOT_EVERY": "PT5S",
            "ORDERFLOW_SHOPS_FILE": str(_shops_file(folder, secret := token_hex())),
        }
        if to_kafka is not None:
            env["ORDERFLOW_KAFKA"] = "{}:{}".format(*to_kafka.address)
        crew = Crew(set_.prefix, env, disk)
        open_.push_async_callback(crew.go_home)
        ports = free_ports(OTHERS + GATEWAYS + faults.KEEPERS_MAX)
        crew.start(faults.KEEPERS, OTHERS, GATEWAYS, ports)
        pushes = Pushes(f"http://{HERE}:{crew.gateways[0].port}", secret)
        yield Field(crew, servers, pushes, to_kafka, to_postgres, disk if mounted else None)


def _shops_file(folder: Path, secret: str) -> Path:
    """Write whose pushes the gateway takes: the shop that is generated."""
    file = folder / "shops.toml"
    file.touch(0o600)
    entry = f'platform = "{pushing.PLATFORM}"\nshop = "{SHOP}"\nsecrets = ["{secret}"]\n'
    file.write_text(f"[[shops]]\n{entry}", encoding="utf-8")
    return file


def _server_of(dsn: str) -> tuple[str, int]:
    parts = urlsplit(dsn)
    return parts.hostname or "127.0.0.1", parts.port or 5432


def _by(dsn: str, link: Link) -> str:
    """Return *dsn* by way of *link*."""
    parts = urlsplit(dsn)
    who, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc="{}@{}:{}".format(who, *link.address)))


def _trade(part: Part, orders: int | None) -> Trade:
    seconds = part.seconds * _LASTS + _LASTS_S
    most = round(RATE * seconds)
    count = orders or (most if part.name == SOAK else min(most, ORDERS_MAX))
    return Trade(
        orders=count, rate=count / seconds, seed=part.seed,
        duplicates=0.1, repeats=_REPEATS, reorder=0.1, cancel=0.1, late_payments=0.03,
        abandoned=0.03, edited=0.1, shipped=0.4, parcels=0.5, hold_for_s=HOLD_FOR_S,
        starts_s=int(time.time()),
    )  # fmt: skip


async def _receive(settings: Settings, trade: Trade) -> None:
    commands = [
        commanding.command(
            ReceiveStock, id=new_id(), sku=sku, quantity=units, reason="opening", operator="chaos"
        )
        for sku, units in trade.stock().items()
    ]
    answers = await commanding.ask(settings, commands, READY_S)
    if refused := [said for said in answers.values() if said.refusal is not None]:
        raise OrderflowError(f"{refused[0].sku} was not received: {refused[0].refusal}")


async def _play(
    set_: stage.Stage, field: Field, part: Part, trade: Trade, log: Path, say: Say
) -> dict[str, Any]:
    """Load and break at once; return what came of both."""
    enough, footprints = asyncio.Event(), Footprints(field.crew.running)
    before = await counters(field.crew.keepers)
    load = asyncio.create_task(_load(set_.settings, field.pushes, trade, log, enough))
    looking = asyncio.create_task(footprints.watch())
    try:
        struck = await _break(field, part, load, say)
        say("The faults are over; the load ends.")
        enough.set()
        sent = await load
    finally:
        await end(load, looking)
    rest_s = await _rest(set_)
    say("No rest in time." if rest_s is None else f"At rest after {rest_s:.0f} s.")
    after = await counters(field.crew.keepers)
    lines = [link for link in (field.to_kafka, field.to_postgres) if link is not None]
    return {
        "part": part.name,
        "seed": part.seed,
        "commit": commit(),
        "orders": sent.fed.orders,
        "fed": sent.fed._asdict(),
        "poison": sent.poison,
        "faults": [each._asdict() for each in struck],
        "restarts": field.crew.restarts,
        "calm": _calm(field, part, before, after),
        "foreign_writes": after.foreign_writes,
        "answers": dict(field.pushes.answers),
        "footprints": [each._asdict() for each in footprints.slopes()],
        "rest_s": rest_s,
        "lines": {
            link.name: {"bytes": link.bytes, "cut": link.cut, "resets": link.resets}
            for link in lines
        },
    }


def _calm(field: Field, part: Part, before: Counters, after: Counters) -> bool:
    """Say whether no worker had a reason to say anything twice."""
    still = not any(FAULTS[step.fault].repeats for step in part.steps)
    return still and not field.crew.restarts and before.rebalances == after.rebalances


async def _break(field: Field, part: Part, load: "asyncio.Task[Load]", say: Say) -> list[Struck]:
    dice, began, struck = Random(part.seed), time.monotonic(), []  # noqa: S311  repeated by seed
    for nth, step in enumerate(part.steps, 1):
        await asyncio.sleep(step.calm_s)
        if load.done():
            load.result()  # a load that failed says why; one that ended is checked by the faults
        say(f"{time.monotonic() - began:6.1f} s  {nth}/{len(part.steps)}  begins   {step.fault}")
        one = await _strike(field, step, dice, began)
        struck.append(one)
        say(f"{one.at_s:6.1f} s  {nth}/{len(part.steps)}  {one.outcome:<7}  {one.said}")
        for worker in field.crew.all:
            worker.check()
    return struck


async def _strike(field: Field, step: Step, dice: Random, began: float) -> Struck:
    at = time.monotonic()
    try:
        outcome, said = "struck", await FAULTS[step.fault].strike(field, dice)
    except Skipped as why:
        outcome, said = "skipped", f"{step.fault}: {why}"
    except Missed as why:
        outcome, said = "missed", f"{step.fault}: {why}"
    except Wrong as what:
        outcome, said = "wrong", f"{step.fault}: {what}"
    return Struck(step.fault, outcome, said, round(at - began, 1), round(time.monotonic() - at, 1))


async def _load(
    settings: Settings, pushes: Pushes, trade: Trade, log: Path, enough: asyncio.Event
) -> Load:
    """Send the trade and, in between, poison, and more until it is *enough*; *log* has all."""
    patient = settings.model_copy(update={"request_timeout": _FEED_WAITS})
    beside = log.with_name("poison.jsonl")
    feeding = asyncio.create_task(_orders(patient, pushes, trade, log, enough))
    try:
        spoilt = await _poison(patient, trade, beside, feeding)
        fed = await feeding
    finally:
        await end(feeding)
    with log.open("ab") as file:
        file.write(beside.read_bytes())
    return Load(fed, spoilt)


async def _orders(
    settings: Settings, pushes: Pushes, trade: Trade, log: Path, enough: asyncio.Event
) -> generated.Fed:
    """Send *trade*, and then more of its kind, each with the next seed, until it is *enough*."""
    by = partial(Pusher, pushes)
    fed = await generated.feed(settings, trade, log, by=by)
    wave = log.with_name("wave.jsonl")
    while not enough.is_set():
        trade = replace(trade, seed=trade.seed + 1, orders=_MORE_ORDERS)
        fed = _both(fed, await generated.feed(settings, trade, wave, by=by))
        with log.open("ab") as file:
            file.write(wave.read_bytes())
    return fed


def _both(one: generated.Fed, other: generated.Fed) -> generated.Fed:
    return generated.Fed(
        one.orders + other.orders,
        one.messages + other.messages,
        one.acknowledged + other.acknowledged,
        one.seconds + other.seconds,
        dict(Counter(one.counts) + Counter(other.counts)),
    )


async def _poison(settings: Settings, trade: Trade, log: Path, feeding: "asyncio.Task[Any]") -> int:
    """Send one message in so many that nobody can take, for as long as the feed lasts."""
    a_tick = max(1, round(trade.rate * _POISON_TICK_S / POISON_EVERY))
    pause_s = a_tick * POISON_EVERY / trade.rate
    supply = poison.messages(orders=100)
    async with Sender(settings, (poison.PLATFORM,), log) as sender:
        while not feeding.done():
            for message in islice(supply, a_tick):
                await sender.send(message)
            await sender.dispatch()
            await asyncio.wait([feeding], timeout=pause_s)
    return sender.sent


async def _rest(set_: stage.Stage) -> float | None:
    """Wait until nothing waits, nothing unpaid is held and nothing changes; return how long, s."""
    began, still, before = time.monotonic(), 0, -1
    async with gauge(set_.settings, set_.env["ORDERFLOW_POSTGRES_READER"]) as figures:
        while (took := time.monotonic() - began) < REST_WITHIN_S:
            now = await figures.look()
            done = not now.lag and not now.locked
            still = still + 1 if done and now.records == before else 0
            before = now.records
            if still >= _STILL_LOOKS:
                return round(took, 1)
            await asyncio.sleep(1)
    return None


def remember(results: Path, outcome: dict[str, Any]) -> None:
    """Add *outcome* to the file of results, a line each."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(outcome, separators=(",", ":")) + "\n")


def known(results: Path) -> set[tuple[str, int, str, tuple[str, ...]]]:
    """Return which parts, by name, seed, commit and faults, the file says are done and well."""
    if not results.exists():
        return set()
    lines = [json.loads(line) for line in results.read_text("utf-8").splitlines() if line]
    return {
        (each["part"], each["seed"], each["commit"], tuple(one["fault"] for one in each["faults"]))
        for each in lines
        if each["ok"]
    }
