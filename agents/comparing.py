"""
What two stores that repeat each other disagree about, and what would set it right.

Pure: what the stores hold comes in as values, drifts go out. The five comparisons (and their
names): `buckets` sum of buckets = what is held and allotted; `demand` every open line has exactly
its hold; `ledger` the trail folded from zero = the current rows; `postgres` PostgreSQL = keeper;
`redis` Redis = PostgreSQL.

Promise: only what was meant to be equal is compared. A keeper's row is held against the entry of
its own version, so that a system at work gives no false alarm.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from agents.audit import (
    BUCKETS,
    EMPTY,
    NO_HOLD,
    Balance,
    BalanceRow,
    Fault,
    Held,
    Trail,
    amount,
    difference,
    words,
)
from schemas.base import Word
from tables.order_rows import IN_STOCK, Demand, Order
from tables.order_rows import Held as Stands


class Kind(Word):
    """Which comparison found it."""

    BUCKETS = "buckets"
    DEMAND = "demand"
    LEDGER = "ledger"
    POSTGRES = "postgres"
    REDIS = "redis"


class Remedy(Word):
    """What sets it right, once a person has confirmed it."""

    #: An operator's command to the stock keeper: what is available is another number.
    ADJUST = "adjust"
    #: A derived row of PostgreSQL is written anew, from the ledger.
    REBUILD = "rebuild"
    #: The entry in Redis is written anew, from PostgreSQL.
    REFILL = "refill"
    #: No command can: the runbook says how.
    BY_HAND = "by_hand"


class Drift(NamedTuple):
    """One difference."""

    kind: Kind
    sku: str
    #: The order concerned, or empty.
    order: str
    #: Which row: `keeper's balance`, `hold in PostgreSQL` ...
    what: str
    #: Found less expected, in units; 0: words or versions differ, no unit is astray.
    amount: int
    #: The first bad entry, or the version both stood at.
    version: int | None
    expected: str
    found: str
    remedy: Remedy
    proposal: str
    #: Of an ADJUST.
    delta: int = 0


class KeptHold(NamedTuple):
    """A hold as the stock keeper has it."""

    quantity: int
    bucket: str
    deadline_ms: int | None

    def words(self) -> str:
        """Return what is held, for a person."""
        return f"{self.quantity} {self.bucket}"


class Kept(NamedTuple):
    """One SKU as the stock keeper has it."""

    version: int
    balance: Balance
    holds: Mapping[str, KeptHold]
    quotas: Mapping[str, int]


class Stored(NamedTuple):
    """One SKU as PostgreSQL has it, beside its trail."""

    row: BalanceRow
    holds: Mapping[str, Held]
    quotas: Mapping[str, int]


class Cached(NamedTuple):
    """One SKU as Redis has it."""

    version: int
    available: int
    #: The version by which Redis itself guards the entry; it must be the same.
    guard: int


NOTHING_KEPT = Kept(0, EMPTY, {}, {})

_RESTORE = (
    "the entry has to be put back as it was published (topic stock-events, or a backup) by the "
    "owner of the tables; see 'A drift is reported' in docs/runbook.md"
)
_BY_HAND = "a person has to decide it; see 'A drift is reported' in docs/runbook.md"


# --- the ledger and the rows derived from it ------------------------------------------------------


def of_ledger(trail: Trail, stored: Stored) -> Iterator[Drift]:
    """Yield where the trail contradicts itself, and where the current rows are not what it says."""
    sku, row = trail.sku, stored.row
    if row.version > trail.version:
        # Entries are missing at the end: what stands beside them must not be made to fit.
        trail.close(row.version, row.chain, row.balance)
    if trail.fault is not None:
        yield _of_fault(trail.fault)
    elif (row.version, row.balance, row.chain) != (trail.version, trail.said, trail.chain):
        differs = difference(trail.said, row.balance) or "version or chain differ"
        yield Drift(
            Kind.LEDGER, sku, "", "balance in PostgreSQL", amount(trail.said, row.balance),
            trail.version, f"version {trail.version}: {words(trail.said)}",
            f"version {row.version}: {words(row.balance)}", Remedy.REBUILD,
            f"write the balance anew from the ledger's last entry ({differs})",
        )  # fmt: skip
    for order in sorted(trail.holds.keys() | stored.holds.keys()):
        should, is_ = trail.holds.get(order, NO_HOLD), stored.holds.get(order, NO_HOLD)
        if should != is_ and not (should is NO_HOLD and is_.void):
            yield Drift(
                Kind.LEDGER, sku, order, "hold in PostgreSQL",
                _units(_live(should), _live(is_)), is_.version, _hold_words(should),
                _hold_words(is_), Remedy.REBUILD,
                "write the hold anew from its moves in the ledger",
            )  # fmt: skip
    for quota in sorted(trail.quotas.keys() | stored.quotas.keys()):
        left, found = trail.quotas.get(quota, 0), stored.quotas.get(quota, 0)
        missing = quota in trail.quotas and quota not in stored.quotas
        if left != found or missing:
            yield Drift(
                Kind.LEDGER, sku, "", f"quota {quota} in PostgreSQL", found - left, trail.version,
                f"{left} left", "no row" if missing else f"{found} left",
                Remedy.BY_HAND if missing else Remedy.REBUILD,
                _BY_HAND if missing else "write what is left anew from the ledger's moves",
            )  # fmt: skip


def _of_fault(fault: Fault) -> Drift:
    remedy = Remedy.ADJUST if fault.by_keeper else Remedy.BY_HAND
    proposal = _adjustment(-fault.amount) if fault.by_keeper else _RESTORE
    return Drift(
        Kind.LEDGER, fault.sku, "", f"ledger: {fault.what}", fault.amount, fault.version,
        fault.expected, fault.found, remedy, proposal, -fault.amount if fault.by_keeper else 0,
    )  # fmt: skip


def _hold_words(hold: Held) -> str:
    if hold is NO_HOLD:
        return "no hold"
    return (
        f"{hold.words()}, last {hold.verb} of {hold.quantity} at version {hold.version}, "
        f"moves {hold.moves}"
    )


def _adjustment(delta: int) -> str:
    return f"adjust what is available by {delta:+} (operator command AdjustStock)"


# --- the keeper -----------------------------------------------------------------------------------


def of_keeper(
    sku: str, at: tuple[Balance, Mapping[str, Held], Mapping[str, int]], kept: Kept
) -> Iterator[Drift]:
    """Yield where the keeper's rows are not what the ledger says *at* their version."""
    balance, holds, quotas = at
    if kept.balance != balance:
        off = amount(balance, kept.balance)
        simple = kept.balance[1:] == balance[1:]
        yield Drift(
            Kind.POSTGRES, sku, "", "keeper's balance", off, kept.version, words(balance),
            words(kept.balance), Remedy.ADJUST if simple else Remedy.BY_HAND,
            _adjustment(-off) if simple else _BY_HAND, -off if simple else 0,
        )  # fmt: skip
    live = {order: hold for order, held in holds.items() if (hold := _live(held))}
    for order in sorted(live.keys() | kept.holds.keys()):
        should, is_ = live.get(order), kept.holds.get(order)
        if should != is_:
            yield Drift(
                Kind.POSTGRES, sku, order, "keeper's hold", _units(should, is_),
                kept.version, _kept_words(should), _kept_words(is_), Remedy.BY_HAND, _BY_HAND,
            )  # fmt: skip
    for quota in sorted(quotas.keys() | kept.quotas.keys()):
        left, found = quotas.get(quota, 0), kept.quotas.get(quota, 0)
        if left != found:
            yield Drift(
                Kind.POSTGRES, sku, "", f"keeper's quota {quota}", found - left, kept.version,
                f"{left} left", f"{found} left", Remedy.BY_HAND, _BY_HAND,
            )  # fmt: skip


def ahead(sku: str, trail: Trail, kept: Kept) -> Drift:
    """Return the drift of a keeper whose row is not of any version that the ledger has."""
    return Drift(
        Kind.POSTGRES, sku, "", "keeper's version", amount(trail.said, kept.balance),
        trail.version, f"version {trail.version}: {words(trail.said)}",
        f"version {kept.version}: {words(kept.balance)}", Remedy.BY_HAND, _BY_HAND,
    )  # fmt: skip


def of_buckets(sku: str, kept: Kept) -> Iterator[Drift]:
    """Yield the buckets of the keeper that are not the sum of what stands in them."""
    sums = {"locked": 0, "occupied": 0, "reserved": sum(kept.quotas.values())}
    for hold in kept.holds.values():
        sums[hold.bucket] = sums.get(hold.bucket, 0) + hold.quantity
    for bucket, units in sums.items():
        found = kept.balance[BUCKETS.index(bucket)]
        if found != units:
            of = "quotas have" if bucket == "reserved" else "holds have"
            yield Drift(
                Kind.BUCKETS, sku, "", f"keeper's {bucket}", found - units, kept.version,
                f"{units}, as {of}", str(found), Remedy.BY_HAND, _BY_HAND,
            )  # fmt: skip


def _live(held: Held) -> KeptHold | None:
    """Return a hold of the ledger as the keeper would have it; None: it has ended."""
    return KeptHold(held.quantity, held.bucket, held.deadline_ms) if held.open else None


def _units(should: KeptHold | None, is_: KeptHold | None) -> int:
    """Return the units found where they should be, less those that should."""
    expected = should.quantity if should else 0
    found = is_.quantity if is_ else 0
    if should and is_ and should.bucket != is_.bucket:
        return -expected
    return found - expected


def _kept_words(hold: KeptHold | None) -> str:
    if hold is None:
        return "nothing"
    return hold.words() + (f" until {hold.deadline_ms}" if hold.deadline_ms else "")


# --- orders ---------------------------------------------------------------------------------------


def of_demands(orders: Iterable[Order], kept: Mapping[str, Kept]) -> Iterator[Drift]:
    """Yield the demands without exactly their hold, and the holds nobody demands (T21)."""
    wanted: set[tuple[str, str]] = set()
    asking: set[str] = set()
    for order in orders:
        if order.waits_for_answer or order.undecided:
            asking.add(order.key)
            continue
        for sku, (units, bucket) in _held_by(order.demands).items():
            wanted.add((sku, order.key))
            hold = kept.get(sku, NOTHING_KEPT).holds.get(order.key)
            found = (hold.quantity, hold.bucket) if hold else (0, "")
            if found != (units, bucket):
                off = found[0] - units if found[1] in (bucket, "") else -units
                yield _no_match(
                    sku, order.key, off, order.version, f"{units} {bucket}",
                    hold.words() if hold else "nothing",
                )  # fmt: skip
    for sku, rows in kept.items():
        for key, hold in rows.holds.items():
            if (sku, key) not in wanted and key not in asking:
                yield _no_match(sku, key, hold.quantity, None, "nothing", hold.words())


def _held_by(demands: Iterable[Demand]) -> dict[str, tuple[int, str]]:
    held: dict[str, tuple[int, str]] = {}
    for demand in demands:
        if demand.held in IN_STOCK and demand.rest:
            bucket = "occupied" if demand.held is Stands.OCCUPIED else "locked"
            held[demand.sku] = (held.get(demand.sku, (0, ""))[0] + demand.rest, bucket)
    return held


def _no_match(
    sku: str, order: str, off: int, version: int | None, expected: str, found: str
) -> Drift:
    return Drift(
        Kind.DEMAND, sku, order, "hold of an order's line", off, version, expected, found,
        Remedy.BY_HAND, _BY_HAND,
    )  # fmt: skip


# --- Redis ----------------------------------------------------------------------------------------


def of_cache(
    sku: str, version: int, available: int, cached: Cached | None, *, is_written: bool
) -> Drift | None:
    """
    Return where Redis is not what PostgreSQL says at *version*.

    An older entry, or none, counts only where *is_written*: everything up to then has been.
    """
    if cached is not None and cached.version < version and not is_written:
        return None
    if cached is None:
        if not is_written or not version:
            return None
        found, off = "no entry", -available
    elif cached == (version, available, version):
        return None
    else:
        guard = "" if cached.guard == cached.version else f", guarded as {cached.guard}"
        found = f"version {cached.version}: available {cached.available}{guard}"
        off = cached.available - available
    return Drift(
        Kind.REDIS, sku, "", "entry in Redis", off, version,
        f"version {version}: available {available}", found, Remedy.REFILL,
        "write the entry anew from PostgreSQL",
    )  # fmt: skip
