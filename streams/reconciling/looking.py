"""
One look at everything: ledger, current rows, keepers, orders and Redis, compared SKU by SKU.

How a system at work gives no false alarm. What is read first can only be older than what is read
after it, as soon as the reader in between has passed the end the log had: so the keepers' rows and
Redis are read, then the ends of the event topics are noted, then PostgreSQL once the ledger has
passed them. A keeper's row of version 7 is compared with the ledger's entry 7, which never changes.
What seems to be behind is looked at again after its reader has passed the ends of its inbox; a
partition whose reader does not get there in time is *not judged*, and said to be so.

Promise: reads only; what it found is for `Book` to write down.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from msgspec import Struct, field

from agents.audit import NO_ROW, Balance, BalanceRow, Corrections, Held, Trail
from agents.comparing import (
    NOTHING_KEPT,
    Cached,
    Drift,
    Kept,
    Kind,
    Remedy,
    Stored,
    ahead,
    of_buckets,
    of_cache,
    of_demands,
    of_keeper,
    of_ledger,
)
from schemas.errors import BrokerUnavailable, CacheUnavailable
from streams.availability.cache import WRITE_WITHIN_S, RedisCache
from streams.availability.store import KEPT_MS
from streams.clock import now_ms
from streams.engine.partitions import murmur2
from streams.postgres.addresses import ledger_of
from streams.postgres.trails import Snapshot, snapshot
from streams.reconciling.keepers import EVENTS, INBOX, Ends, Keepers
from streams.settings import Settings
from streams.topology import LISTENERS
from tables.order_rows import Order

logger = logging.getLogger(__name__)

#: Readers that are behind are waited for so long.
PATIENCE_S = 10.0
_PAUSE_S = 0.1
#: What an order has become when its keeper may have forgotten it.
_OVER = frozenset({"COMPLETED", "CANCELLED"})

#: Hears what is looked at, and how many entries were read.
Progress = Callable[[str, int], None]
Marked = tuple[Balance, Mapping[str, Held], Mapping[str, int]]


class Look(Struct):
    """What one look found."""

    drifts: list[Drift] = field(default_factory=list)
    skus: int = 0
    entries: int = 0
    orders: int = 0
    #: Partitions whose reader did not get far enough to be judged, by reader.
    behind: dict[str, list[int]] = field(default_factory=dict)
    #: Comparisons that could not be made, and why.
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def looked_for(self, drift: Drift, partition: int) -> bool:
        """Say whether this look would have met *drift* again, were it still there."""
        if drift.kind in self.skipped:
            return False
        return not any(partition in places for places in self.behind.values())


class Later(NamedTuple):
    """A SKU whose keeper seemed to be behind the ledger: where the ledger stood."""

    version: int
    at: Marked


def _silence(what: str, entries: int) -> None:
    """Nobody wants to hear how far it is."""


class Reconciler:
    """Looks, as often as it is asked. `async with Reconciler(settings) as reconciler`."""

    def __init__(
        self,
        settings: Settings,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._settings = settings
        self.dsn = ledger_of(settings)
        self._patience_s = patience_s
        self._keepers = Keepers(settings)
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._keepers.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._keepers.__aexit__(kind, error, trace)

    async def look(self, progress: Progress = _silence) -> Look:
        """Compare everything once. Raises BrokerUnavailable, LedgerUnavailable, Misconfigured."""
        began = time.monotonic()
        pass_ = _Pass(self, self._settings, self._patience_s, progress, self._clock())
        return await pass_.run(began)

    @property
    def keepers(self) -> Keepers:
        """The keepers' rows."""
        return self._keepers

    def partition_of(self, key: str) -> int:
        """Return the partition of a SKU or an order."""
        return (murmur2(key.encode()) & 0x7FFFFFFF) % self._settings.partitions


class _Pass:
    """One look while it goes on."""

    def __init__(
        self,
        reconciler: Reconciler,
        settings: Settings,
        patience_s: float,
        progress: Progress,
        now: int,
    ) -> None:
        self._settings, self._dsn, self._patience_s = settings, reconciler.dsn, patience_s
        #: A SKU that has not moved since then has no entry in Redis any more.
        self._kept_since = now - KEPT_MS
        self._keepers, self._partition_of = reconciler.keepers, reconciler.partition_of
        self._tell = progress
        self._found = Look()
        self._later: dict[str, Later] = {}
        #: SKU -> version and available by PostgreSQL, and when that changed.
        self._balances: dict[str, tuple[int, int, int]] = {}

    async def run(self, began: float) -> Look:
        keepers, found = self._keepers, self._found
        self._tell("the keepers' changelogs", 0)
        await keepers.follow()
        kept, orders, faults = keepers.kept(), keepers.orders(), keepers.faults()
        cached = await self._cached()
        event_ends = await keepers.ends(EVENTS)
        await self._ledger_passes(event_ends)
        async with snapshot(self._dsn) as moment:
            told = await moment.orders()
            await self._of_snapshot(moment, kept)
        inbox_ends, written_ends = await keepers.ends(INBOX), await keepers.ends(EVENTS)
        await self._keepers_pass(inbox_ends)
        again, orders_again = keepers.kept(), keepers.orders()
        self._look_again(again)
        self._changelogs(faults, keepers.faults())
        self._of_demands((orders, kept), (orders_again, again))
        self._of_orders(told, orders, orders_again)
        await self._of_cache(cached, written_ends)
        found.orders = len(orders)
        found.seconds = time.monotonic() - began
        return found

    # --- waiting ---------------------------------------------------------------------------------

    async def _ledger_passes(self, ends: Ends) -> None:
        """Wait until the ledger has written what was told before now."""
        deadline = time.monotonic() + self._patience_s
        while True:
            async with snapshot(self._dsn) as moment:
                positions = await moment.positions()
            behind = {
                (keeper, partition)
                for (keeper, partition), end in ends.items()
                if positions.get((EVENTS[keeper], partition), 0) < end
            }
            if not behind or time.monotonic() > deadline:
                self._behind("ledger", {p for _, p in behind})
                return
            await asyncio.sleep(_PAUSE_S)

    async def _keepers_pass(self, ends: Ends) -> None:
        """Follow the changelogs until the keepers have decided what was asked before now."""
        deadline = time.monotonic() + self._patience_s
        while True:
            await self._keepers.follow()
            behind = self._keepers.behind(ends)
            if not behind or time.monotonic() > deadline:
                for keeper in INBOX:
                    self._behind(keeper, {p for name, p in behind if name == keeper})
                return
            await asyncio.sleep(_PAUSE_S)

    def _behind(self, who: str, partitions: set[int]) -> None:
        if partitions:
            self._found.behind[who] = sorted(partitions)

    def _judged(self, key: str, *whose: str) -> bool:
        partition = self._partition_of(key)
        return not any(partition in self._found.behind.get(who, ()) for who in whose)

    # --- PostgreSQL, and what the keepers had ----------------------------------------------------

    async def _of_snapshot(self, moment: Snapshot, kept: Mapping[str, Kept]) -> None:
        rows, quotas = await moment.balances(), await moment.quotas()
        corrections = await moment.corrections()
        holds = _Holds(moment.holds())
        names = iter(sorted(rows.keys() | quotas.keys() | kept.keys(), key=str.encode))
        waiting = next(names, None)
        async for trail in _trails(moment, corrections, kept, self._count):
            while waiting is not None and waiting.encode() < trail.sku.encode():
                await self._of_sku(
                    Trail(waiting, mark=_mark(kept, waiting)), rows, quotas, kept, holds
                )
                waiting = next(names, None)
            if waiting == trail.sku:
                waiting = next(names, None)
            await self._of_sku(trail, rows, quotas, kept, holds)
        while waiting is not None:
            await self._of_sku(Trail(waiting, mark=_mark(kept, waiting)), rows, quotas, kept, holds)
            waiting = next(names, None)
        for sku, stray in (await holds.rest()).items():
            self._found.drifts += of_ledger(Trail(sku), Stored(NO_ROW, stray, {}))

    def _count(self, entries: int) -> None:
        self._found.entries += entries
        self._tell("the ledger", self._found.entries)

    async def _of_sku(
        self,
        trail: Trail,
        rows: Mapping[str, BalanceRow],
        quotas: Mapping[str, Mapping[str, int]],
        kept: Mapping[str, Kept],
        holds: "_Holds",
    ) -> None:
        sku, drifts = trail.sku, self._found.drifts
        self._found.skus += 1
        for stray, theirs in (await holds.before(sku)).items():
            drifts += of_ledger(Trail(stray), Stored(NO_ROW, theirs, {}))
        row = rows.get(sku, NO_ROW)
        drifts += of_ledger(trail, Stored(row, await holds.of(sku), quotas.get(sku, {})))
        self._balances[sku] = (trail.version, trail.said[0], trail.at or 0)
        if not self._judged(sku, "ledger"):
            return
        theirs_kept = kept.get(sku, NOTHING_KEPT)
        drifts += of_buckets(sku, theirs_kept)
        if trail.marked is not None:
            drifts += of_keeper(sku, trail.marked, theirs_kept)
        elif theirs_kept.version > trail.version:
            drifts.append(ahead(sku, trail, theirs_kept))
        if theirs_kept.version < trail.version:
            self._later[sku] = Later(trail.version, (trail.said, trail.holds, trail.quotas))

    def _look_again(self, again: Mapping[str, Kept]) -> None:
        """Judge the keepers that seemed behind the ledger, now that they have gone on."""
        for sku, later in self._later.items():
            kept = again.get(sku, NOTHING_KEPT)
            if kept.version > later.version or not self._judged(sku, "ledger", "stock"):
                continue  # it has gone on, or cannot be judged
            self._found.drifts += of_keeper(sku, later.at, kept)
            if kept.version < later.version and kept.balance == later.at[0]:
                trail = Trail(sku)
                trail.version, trail.said = later.version, later.at[0]
                self._found.drifts.append(ahead(sku, trail, kept))

    def _changelogs(self, before: Mapping[Any, str], after: Mapping[Any, str]) -> None:
        for (keeper, partition), why in after.items():
            if before.get((keeper, partition)) == why:
                self._found.drifts.append(
                    Drift(
                        Kind.POSTGRES, "", "", f"{keeper}-changelog/{partition}", 0, None,
                        "a changelog that agrees with itself", why, Remedy.BY_HAND,
                        "a worker would halt this partition; see 'A partition is halted' in "
                        "docs/runbook.md",
                    )
                )  # fmt: skip

    # --- orders ----------------------------------------------------------------------------------

    def _of_demands(
        self,
        first: tuple[Mapping[str, Order], Mapping[str, Kept]],
        second: tuple[Mapping[str, Order], Mapping[str, Kept]],
    ) -> None:
        """What does not match in both looks, with nothing decided in between, never will."""
        met = set(of_demands(first[0].values(), first[1]))
        for drift in of_demands(second[0].values(), second[1]):
            if (
                drift in met
                and self._judged(drift.sku, "stock")
                and self._judged(drift.order, "orders")
            ):
                self._found.drifts.append(drift)

    def _of_orders(
        self,
        told: Mapping[str, tuple[int, str | None, str | None]],
        first: Mapping[str, Order],
        second: Mapping[str, Order],
    ) -> None:
        for key in sorted(told.keys() | first.keys()):
            before, after = _order(first.get(key)), _order(second.get(key))
            found = told.get(key)
            if found in (before, after) or not self._judged(key, "ledger", "orders"):
                continue
            if before is None and (after is not None or (found and found[1] in _OVER)):
                continue  # it came meanwhile, or is over and forgotten
            if found and before and after and before[0] <= found[0] < after[0]:
                continue  # it moves
            self._found.drifts.append(
                Drift(
                    Kind.POSTGRES, "", key, "order in PostgreSQL", 0, (found or (None,))[0],
                    _order_words(before), _order_words(found), Remedy.BY_HAND,
                    "a person has to compare it with its events (`orderflow explain order`)",
                )
            )  # fmt: skip

    # --- Redis -----------------------------------------------------------------------------------

    async def _cached(self) -> dict[str, Cached | None] | None:
        if self._settings.redis is None or not self._settings.redis.get_secret_value():
            self._found.skipped[Kind.REDIS] = "no Redis is set (ORDERFLOW_REDIS)"
            return None
        cache = RedisCache(self._settings, WRITE_WITHIN_S)
        try:
            read = await cache.look()
        except CacheUnavailable as error:
            self._found.skipped[Kind.REDIS] = str(error)
            return None
        finally:
            await cache.close()
        return {
            sku: entry and Cached(entry[1].version, entry[1].available, entry[0])
            for sku, entry in read.items()
        }

    async def _of_cache(self, first: dict[str, Cached | None] | None, ends: Ends) -> None:
        """Compare what Redis had, and look again at what was not yet written."""
        if first is None:
            return
        suspects = self._cache_drifts(first, set(range(self._settings.partitions)))
        if not suspects:
            return
        written = await self._writer_passes(ends)
        if (second := await self._cached()) is None:
            return
        for sku, drift in self._cache_drifts(second, written).items():
            entry, known = second.get(sku), self._balances.get(sku, (0, 0, 0))
            is_behind = entry is None or entry.version < known[0]
            # What changed meanwhile, and is not behind, was written by an event.
            stays = sku in suspects and (is_behind or drift == suspects[sku])
            if stays and self._judged(sku, "ledger"):
                self._found.drifts.append(drift)

    def _cache_drifts(
        self, cached: Mapping[str, Cached | None], written: set[int]
    ) -> dict[str, Drift]:
        drifts: dict[str, Drift] = {}
        for sku in self._balances.keys() | cached.keys():
            version, available, at = self._balances.get(sku, (0, 0, 0))
            entry = cached.get(sku)
            if sku in cached and entry is None:
                entry = Cached(-1, 0, 0)  # it cannot be read
            if entry is not None and not entry.version and entry.guard == 0:
                entry = None  # for moments: nobody knows this SKU
            is_written = self._partition_of(sku) in written and at > self._kept_since
            drift = of_cache(sku, version, available, entry, is_written=is_written)
            if drift is not None:
                drifts[sku] = drift
        return drifts

    async def _writer_passes(self, ends: Ends) -> set[int]:
        """Return the partitions whose events are certainly in Redis, after waiting for them."""
        deadline = time.monotonic() + self._patience_s
        group = self._settings.topic(LISTENERS["availability"].name)
        topic = self._settings.topic(EVENTS["stock"])
        wanted = {p for (keeper, p), end in ends.items() if keeper == "stock"}
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka)
        try:
            await admin.start()
            while True:
                offsets = await admin.list_consumer_group_offsets(group)
                at = {tp.partition: o.offset for tp, o in offsets.items() if tp.topic == topic}
                written = {p for p in wanted if 0 <= ends["stock", p] <= at.get(p, -1)}
                # Who has never written has no offset, and is not waited for.
                if not at or wanted <= written or time.monotonic() > deadline:
                    self._behind("availability", wanted - written if at else set())
                    return written
                await asyncio.sleep(_PAUSE_S)
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        finally:
            await admin.close()


class _Holds:
    """The holds of PostgreSQL, handed out SKU by SKU in the order of SKUs."""

    def __init__(self, stretches: AsyncIterator[list[tuple[str, str, Held]]]) -> None:
        self._stretches = stretches
        self._rows: list[tuple[str, str, Held]] = []
        self._at = 0

    async def before(self, sku: str) -> dict[str, dict[str, Held]]:
        """Return, by SKU, what stands before *sku* and was not asked for."""
        return await self._while(lambda name: name.encode() < sku.encode())

    async def of(self, sku: str) -> dict[str, Held]:
        """Return the holds of *sku*."""
        return (await self._while(lambda name: name == sku)).get(sku, {})

    async def rest(self) -> dict[str, dict[str, Held]]:
        """Return what is left."""
        return await self._while(lambda _: True)

    async def _while(self, wanted: Callable[[str], bool]) -> dict[str, dict[str, Held]]:
        found: dict[str, dict[str, Held]] = {}
        while (row := await self._next()) is not None and wanted(row[0]):
            found.setdefault(row[0], {})[row[1]] = row[2]
            self._at += 1
        return found

    async def _next(self) -> tuple[str, str, Held] | None:
        if self._at == len(self._rows):
            self._rows, self._at = await anext(self._stretches, []), 0
        return self._rows[self._at] if self._rows else None


async def _trails(
    moment: Snapshot,
    corrections: Corrections,
    kept: Mapping[str, Kept],
    count: Callable[[int], None],
) -> AsyncIterator[Trail]:
    """Yield the trail of every SKU that has entries, by SKU."""
    trail: Trail | None = None
    async for stretch in moment.entries():
        for entry, chain in stretch:
            if trail is None or trail.sku != entry.sku:
                if trail is not None:
                    yield trail
                trail = Trail(entry.sku, corrections, _mark(kept, entry.sku))
            trail.take(entry, chain)
        count(len(stretch))
    if trail is not None:
        yield trail


def _mark(kept: Mapping[str, Kept], sku: str) -> int:
    return kept.get(sku, NOTHING_KEPT).version


def _order(row: Order | None) -> tuple[int, str | None, str | None] | None:
    if row is None:
        return None
    return row.version, row.status and row.status.value, row.announced and row.announced.value


def _order_words(order: tuple[int, str | None, str | None] | None) -> str:
    if order is None:
        return "no row"
    version, said, told = order
    return f"version {version}: {said} by the platform, {told} told"
