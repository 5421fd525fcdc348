"""
The process `orderflow reconcile --every`: looks again and again until SIGTERM, and says so.

Beside the workers, without Faust. It holds nothing that cannot be lost: killed at any point, the
next look finds the same. What does not answer is waited for; the metrics say when it last looked.
"""

import asyncio
import logging
import signal
import time
from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from agents.comparing import Drift, Kind
from schemas.errors import Unavailable
from streams.ending import end
from streams.reconciling.book import Book, Row
from streams.reconciling.looking import Look, Progress, Reconciler
from streams.settings import Settings
from streams.web.health import Health, served

logger = logging.getLogger(__name__)

#: New drifts that are logged word for word in one look; all are in the table.
LOGGED_MAX = 20


#: In these comparisons a negative amount is stock that was promised and is not held.
_PROMISES = (Kind.BUCKETS.value, Kind.DEMAND.value)


class Metrics:
    """What the reconciler tells Prometheus. Names are for life."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        #: Why the last look was none, or nothing.
        self.why = "the first look has not ended"
        self._open = Gauge(
            "orderflow_drift_open",
            "Differences between stores that wait for a person. Must be 0.",
            ["kind"],
            registry=registry,
        )
        self._looked = Gauge(
            "orderflow_reconcile_last_timestamp_seconds",
            "When the last look ended.",
            registry=registry,
        )
        self._seconds = Gauge(
            "orderflow_reconcile_seconds", "How long the last look took.", registry=registry
        )
        self._imbalance = Gauge(
            "orderflow_ledger_imbalance_units",
            "Units by which stores differ about stock, all open drifts together. Must be 0.",
            registry=registry,
        )
        self._oversell = Counter(
            "orderflow_oversell",
            "Units found promised beyond what is held for them, each once. Must be 0.",
            registry=registry,
        )
        #: Drifts whose units are counted as oversold.
        self._oversold: set[int] = set()
        self._behind = Gauge(
            "orderflow_reconcile_behind",
            "Partitions that could not be judged, because their reader is behind.",
            ["reader"],
            registry=registry,
        )

    def looked(self, look: Look, open_: list[Row]) -> None:
        """Take over what one look found."""
        counts = Tally(row["kind"] for row in open_)
        for kind in Kind:
            self._open.labels(kind.value).set(counts[kind.value])
        for reader in ("ledger", "orders", "stock", "availability"):
            self._behind.labels(reader).set(len(look.behind.get(reader, ())))
        self._imbalance.set(sum(abs(row["amount"]) for row in open_ if row["sku"]))
        for row in open_:
            if row["kind"] in _PROMISES and row["amount"] < 0 and row["id"] not in self._oversold:
                self._oversell.inc(-row["amount"])
        self._oversold = {row["id"] for row in open_}
        self._looked.set(time.time())
        self._seconds.set(look.seconds)
        self.why = ""

    async def missing(self) -> Sequence[str]:
        """Return why nothing is compared now, if so."""
        return [self.why] if self.why else []


async def once(
    reconciler: Reconciler, book: Book, progress: Progress | None = None
) -> tuple[Look, list[Row]]:
    """Look once and write down what was found; return it, and all that is open."""
    look = await (reconciler.look(progress) if progress else reconciler.look())

    def looked_for(drift: Drift) -> bool:
        if not drift.sku and not drift.order:  # a changelog, by its number
            return look.looked_for(drift, int(drift.what.rsplit("/", 1)[1]))
        keys = [key for key in (drift.sku, drift.order) if key]
        return all(look.looked_for(drift, reconciler.partition_of(key)) for key in keys)

    return look, await book.note(look.drifts, looked_for)


async def watch(settings: Settings, every_s: float, patience_s: float) -> None:
    """Look every *every_s* seconds until SIGTERM."""
    stop, metrics = asyncio.Event(), Metrics()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    looking = loop.create_task(_look_again(settings, every_s, patience_s, metrics))
    ends = {looking, loop.create_task(stop.wait())}
    try:
        async with served(settings, Health("reconcile", metrics.registry, metrics.missing)):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        failures = await end(*ends)
    for failure in failures:
        raise failure


async def _look_again(
    settings: Settings, every_s: float, patience_s: float, metrics: Metrics
) -> None:
    known: set[int] = set()
    while True:
        try:
            async with Reconciler(settings, patience_s) as reconciler:
                book = Book(reconciler.dsn)
                while True:
                    began = time.monotonic()
                    look, open_ = await once(reconciler, book)
                    metrics.looked(look, open_)
                    _log(look, [row for row in open_ if row["id"] not in known], len(open_))
                    known = {row["id"] for row in open_}
                    await asyncio.sleep(max(0.0, began + every_s - time.monotonic()))
        except Unavailable as error:
            logger.warning("nothing is compared now: %s", error)
            metrics.why = f"nothing is compared now: {error}"
            await asyncio.sleep(every_s)


def _log(look: Look, new: list[Row], count: int) -> None:
    logger.info(
        "compared %d SKUs, %d entries, %d orders in %.1f s; %d drifts are open; behind: %s",
        look.skus, look.entries, look.orders, look.seconds, count, look.behind or "nobody",
    )  # fmt: skip
    for row in new[:LOGGED_MAX]:
        logger.critical(
            "drift %d (%s) %s %s: %s, expected %s, found %s (%+d); proposed: %s",
            row["id"], row["kind"], row["sku"], row["order_key"], row["what"], row["expected"],
            row["found"], row["amount"], row["proposal"],
        )  # fmt: skip
