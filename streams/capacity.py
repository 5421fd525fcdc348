"""
How much of everything a load needs, and how a failure goes there: `orderflow capacity`.

Arithmetic over figures that were measured (docs/benchmarks.md), and a model in steps of a second
that has no chance in it: the same load, the same numbers. It says where one part is at its end, and
does not say that a cluster of that size was ever seen at work. A test prints docs/capacity.md anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from streams.engine.partitions import murmur2

# --- what was measured (docs/benchmarks.md) -------------------------------------------------------

#: µs of one core an order of three lines costs, by the part that works.
GATEWAY_US = 400.0  # `bench gateway`
INTAKE_US = 41.0  # `bench intake`, payloads as they are sent
HOLD_US = 11.5  # `bench reserve`, an outcome of the stock keeper
LINES = 3
# `bench flow --saturate`: shares of the whole, "Who does what of an order".
ORDERS_KEEPER_US = 25.0
LEDGER_US = 29.0
BROKER_US = 26.0
POSTGRES_US = 335.0
#: Bytes an order's whole life leaves on the topics, once, and in PostgreSQL with its indexes.
TOPIC_BYTES = 22_300
POSTGRES_BYTES = 10_300
#: What of it is kept by time: bytes an order, days. The changelogs' share is compacted.
KEPT: dict[str, tuple[int, int]] = {
    "raw-orders-<platform>": (4_900, 30),
    "order-commands, stock-commands": (3_400, 7),
    "order-events, stock-events, order-details": (9_000, 30),
}
#: Rows an order writes in PostgreSQL.
ROWS = 20

# --- what is chosen -------------------------------------------------------------------------------

#: Planned load of a core, so that a third of a fleet may be lost and the rest still keeps up.
BUSY = 0.6
REPLICAS, ZONES = 3, 3
#: The mean of a month against the peak that everything else is planned for.
MEAN = 0.05
#: Times an order's bytes leave the brokers for consumers: each topic has one reader of ours at
#: least, the events four (ledger, availability, channels, callbacks).
READ_TIMES = 2.5
BROKER_CORES, POSTGRES_CORES = 16, 32
#: Bytes a second that one broker's network card and disk are planned with.
BROKER_NETWORK, BROKER_DISK = 1.25e9 * BUSY, 500e6
#: Silence after which a worker's partitions move, and how long the members then stand still, s.
SESSION_S, REBALANCE_S = 30, 3


class Fleet(NamedTuple):
    """Processes of one core each that share the partitions of one inbox."""

    name: str
    #: µs of one unit of its work, and units an order asks for.
    unit_us: float
    units: int
    #: By SKU, some of which sell better than others; or by order.
    by_sku: bool


FLEETS = (
    Fleet("intake", INTAKE_US, 1, by_sku=False),
    Fleet("orders", ORDERS_KEEPER_US, 1, by_sku=False),
    Fleet("stock", HOLD_US, LINES, by_sku=True),
    Fleet("ledger", LEDGER_US, 1, by_sku=False),
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What comes."""

    #: Three-line orders a second.
    orders: int
    partitions: int = 256
    skus: int = 20_000
    #: Zipf's exponent: 0 sells all alike, 1 sells the first twice as well as the second.
    skew: float = 0.6


class Need(NamedTuple):
    """One line of the table."""

    part: str
    number: int
    unit: str
    because: str


# --- partitions and workers -----------------------------------------------------------------------


def shares(load: Load, fleet: Fleet) -> list[float]:
    """Return which part of a fleet's work each partition has, by the hash that Kafka uses."""
    counts = [0.0] * load.partitions
    if not fleet.by_sku:
        return [1 / load.partitions] * load.partitions
    weights = [1 / (rank + 1) ** load.skew for rank in range(load.skus)]
    total = sum(weights)
    for rank, weight in enumerate(weights):
        counts[(murmur2(b"SKU-%06d" % rank) & 0x7FFFFFFF) % load.partitions] += weight / total
    return counts


def dealt(partitions: Sequence[float], workers: int) -> list[float]:
    """Return each worker's part when partitions are dealt out by number, as the assignor does."""
    found = [0.0] * workers
    for number, part in enumerate(partitions):
        found[number % workers] += part
    return found


def workers_for(load: Load, fleet: Fleet) -> int | None:
    """Return the fewest workers of which none is busier than planned; None: not with any number."""
    cores = load.orders * fleet.units * fleet.unit_us / 1e6
    parts = shares(load, fleet)
    if max(parts) * cores > BUSY:
        return None
    for workers in range(max(ZONES, ceil(cores / BUSY)), load.partitions + 1):
        if max(dealt(parts, workers)) * cores <= BUSY:
            return workers
    return None


def hottest_max(fleet: Fleet) -> int:
    """Return how many units a second of one key a worker can do at all: one core, one partition."""
    return int(1e6 / fleet.unit_us)


# --- everything else ------------------------------------------------------------------------------


def needs(load: Load) -> Iterator[Need]:
    """Yield what *load* needs, with the arithmetic of each line."""
    yield Need(
        "gateway",
        max(ZONES, ceil(load.orders * GATEWAY_US / 1e6 / BUSY)),
        "processes",
        f"{GATEWAY_US:g} µs a webhook",
    )
    for fleet in FLEETS:
        count = workers_for(load, fleet)
        cost = (
            f"{fleet.units} × {fleet.unit_us:g} µs" if fleet.units > 1 else f"{fleet.unit_us:g} µs"
        )
        yield Need(
            fleet.name,
            count or 0,
            "workers",
            f"{cost} an order, {load.partitions} partitions"
            if count
            else f"{cost} an order: NOT with {load.partitions} partitions",
        )
    brokers = _brokers(load)
    cpu = load.orders * BROKER_US * REPLICAS / 1e6 / BUSY / BROKER_CORES
    yield Need("brokers", brokers, f"of {BROKER_CORES} cores", f"the CPU asks for {ceil(cpu)}")
    into = load.orders * TOPIC_BYTES
    yield Need(
        "network of a broker",
        ceil(_network(load) / brokers / 1e6),
        "MB/s",
        f"{into / 1e9:.1f} GB/s written, {REPLICAS} copies, read {READ_TIMES:g} times",
    )
    yield Need("disk of a broker, written", ceil(into * REPLICAS / brokers / 1e6), "MB/s", "")
    for name, (size, days) in KEPT.items():
        kept = load.orders * MEAN * size * days * 86_400 * REPLICAS / 1e12
        because = f"{size:,} bytes × {days} days × {REPLICAS} copies, at {MEAN:.0%} of the peak"
        yield Need(f"disk, {name}", ceil(kept), "TB", because)
    shards = ceil(load.orders * POSTGRES_US / 1e6 / BUSY / POSTGRES_CORES)
    yield Need(
        "PostgreSQL",
        shards,
        f"servers of {POSTGRES_CORES} cores",
        f"{POSTGRES_US:g} µs and {ROWS} rows an order",
    )
    month = load.orders * MEAN * POSTGRES_BYTES * 86_400 * 30 / 1e12
    yield Need(
        "PostgreSQL, a month",
        ceil(month),
        "TB",
        f"{POSTGRES_BYTES:,} bytes an order, at {MEAN:.0%} of the peak",
    )


def _network(load: Load) -> float:
    into = load.orders * TOPIC_BYTES
    return into * (1 + (REPLICAS - 1) + READ_TIMES)


def _brokers(load: Load) -> int:
    """A multiple of the zones, so many that one zone may be lost within the planned figures."""
    cpu = load.orders * BROKER_US * REPLICAS / 1e6 / BUSY / BROKER_CORES
    disk = load.orders * TOPIC_BYTES * REPLICAS / BROKER_DISK
    least = max(cpu, disk, _network(load) / BROKER_NETWORK)
    return max(ZONES, ceil(least / ZONES) * ZONES)


# --- what happens when something fails ------------------------------------------------------------


class Outage(NamedTuple):
    """How a failure goes."""

    what: str
    #: Partitions that stand still, and for how long, s.
    partitions: int
    still_s: int
    #: The longest wait of an order because of it, and until nothing waits any more, s.
    wait_s: int
    over_s: int | None


def worker_dies(load: Load, fleet: Fleet, dead: int = 1) -> Outage:
    """
    Let *dead* workers die at once: their partitions wait for the session, all for the rebalance.

    Steps of a second: what comes is added to each partition's backlog, each worker takes what it
    can of its own, evenly, and the time until no backlog is left is counted, for an hour at most.
    """
    workers = workers_for(load, fleet)
    if workers is None or dead >= workers:
        raise ValueError(f"{fleet.name} has {workers} workers; {dead} cannot die")
    parts = shares(load, fleet)
    came = [part * load.orders * fleet.units for part in parts]
    orphans = {p for p in range(load.partitions) if p % workers < dead}
    backlog = [0.0] * load.partitions
    power = 1e6 / fleet.unit_us
    longest, over = 0.0, None
    for second in range(3600):
        moving = SESSION_S <= second < SESSION_S + REBALANCE_S
        left = workers if second < SESSION_S else workers - dead
        mine: dict[int, list[int]] = {}
        for p in range(load.partitions):
            backlog[p] += came[p]
            if not moving and (second >= SESSION_S or p not in orphans):
                mine.setdefault(p % left, []).append(p)
        for partitions in mine.values():
            _work(backlog, partitions, power)
        waits = max(b / c for b, c in zip(backlog, came, strict=True) if c)
        longest = max(longest, waits)
        if second > SESSION_S + REBALANCE_S and max(backlog) < 1:
            over = second
            break
    return Outage(
        f"{dead} of {workers} {fleet.name}",
        len(orphans),
        SESSION_S + REBALANCE_S,
        round(longest),
        over,
    )


def _work(backlog: list[float], partitions: Sequence[int], power: float) -> None:
    """Let one worker take from its partitions, the same share of each one's backlog."""
    waiting = sum(backlog[p] for p in partitions)
    keep = 0.0 if waiting <= power else 1 - power / waiting
    for p in partitions:
        backlog[p] *= keep


def brokers_left(load: Load, lost: int) -> tuple[float, float]:
    """Return the load of the network and of the CPU of each broker that is left, 1 is the plan."""
    left = _brokers(load) - lost
    cpu = load.orders * BROKER_US * REPLICAS / 1e6 / BUSY / BROKER_CORES / left
    return _network(load) / BROKER_NETWORK / left, cpu


# --- as text --------------------------------------------------------------------------------------


def told(loads: Sequence[Load]) -> str:
    """Return the tables of docs/capacity.md."""
    lines = ["| part | " + " | ".join(f"{each.orders:,} orders/s" for each in loads) + " | each |"]
    lines.append("| --- |" + " --- |" * (len(loads) + 1))
    for row in zip(*(list(needs(each)) for each in loads), strict=True):
        cells = " | ".join(_cell(need) for need in row)
        lines.append(f"| {row[0].part} | {cells} | {row[-1].because} |")
    lines += [
        "",
        "| what fails | " + " | ".join(f"{each.orders:,} orders/s" for each in loads) + " |",
    ]
    lines.append("| --- |" + " --- |" * len(loads))
    for fleet in FLEETS[1:3]:
        for share, name in ((0.0, "one worker"), (1 / ZONES, "a third of the workers")):
            cells = " | ".join(_outage(each, fleet, share) for each in loads)
            lines.append(f"| {name} of {fleet.name} | {cells} |")
    for name, share in (("one broker", 0.0), ("a zone of brokers", 1 / ZONES)):
        cells = " | ".join(_without(each, share) for each in loads)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(need: Need) -> str:
    return f"{need.number:,} {need.unit}" if need.number else "no number is enough"


def _outage(load: Load, fleet: Fleet, share: float) -> str:
    workers = workers_for(load, fleet)
    if workers is None or workers < 2:
        return "-"
    dies = worker_dies(load, fleet, max(1, int(workers * share)))
    end = f"gone after {dies.over_s} s" if dies.over_s else "never gone"
    return f"{dies.partitions} partitions still for {dies.still_s} s; waits {dies.wait_s} s; {end}"


def _without(load: Load, share: float) -> str:
    brokers = _brokers(load)
    lost = max(1, int(brokers * share))
    network, cpu = brokers_left(load, lost)
    return f"{lost} of {brokers}: network {network:.0%}, CPU {cpu:.0%} of the plan"


#: What docs/capacity.md tells of.
ASKED = (Load(orders=1_000), Load(orders=20_000), Load(orders=600_000))
