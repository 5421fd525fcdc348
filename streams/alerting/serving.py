"""
The process `orderflow alerts run`: of several replicas one works, the others wait to take over.

Whoever holds the lease works for a *term*: reads figures, judges them, tells people. It ends when
another replica has the lease, or at SIGTERM, which gives the lease back so that another takes over
at once; a replica that dies is followed when its lease has run out. While PostgreSQL is away nobody
can take over, and whoever worked goes on.

Promise: SIGTERM ends the process with 0 within a few seconds, wherever it is. Ends are events that
every loop looks at, because in Python 3.11 a cancellation can be lost in `asyncio.wait_for`.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agents.alert_rules import SIGNALS
from agents.alerting import self_test
from schemas.alerts import Reading
from schemas.errors import Misconfigured, Unavailable
from streams.alerting.canary import Canaries
from streams.alerting.channels import Sender
from streams.alerting.file import Plan, SelfTest
from streams.alerting.judging import Judge
from streams.alerting.metrics import Metrics
from streams.alerting.sending import Desk, pause
from streams.alerting.sources import SETTLED_MS, Broker, House, Ledger
from streams.alerting.store import LEASE_FOR, Due, LeaseLost, Store
from streams.clock import new_id, now_ms
from streams.postgres.addresses import ledger_of, reader_of
from streams.settings import Settings
from streams.web.health import Health, served

logger = logging.getLogger(__name__)

#: The lease is held longer, or asked for, this often: four times while it lasts.
HOLD_EVERY_S = LEASE_FOR.total_seconds() / 4
#: The longest a figure may take to be read; then it is not known.
_READ_WITHIN_S = 40.0
#: Whether a self-test is due is looked at this often, and what is long over forgotten.
_TEST_LOOK_EVERY_S, _FORGET_EVERY_S = 20.0, 3_600.0
#: Ending takes at most so long for what is under way.
_STOP_WITHIN_S = 3.0


class _Source(NamedTuple):
    """Where a signal's readings come from, and how far behind now they are."""

    ask: Callable[[], Awaitable[list[Reading]]]
    behind_ms: int = 0


class _Turn:
    """Whether this replica can work when it is its turn; a replica that waits is ready."""

    def __init__(self) -> None:
        self.why = "PostgreSQL has not said yet whose turn it is"

    async def missing(self) -> Sequence[str]:
        """Return why it could not, if it could not."""
        return [self.why] if self.why else []


async def serve(settings: Settings, plan: Plan) -> None:
    """Work, or wait to take over, until SIGTERM."""
    writer, reader = ledger_of(settings), reader_of(settings)
    stop, metrics, turn = asyncio.Event(), Metrics(), _Turn()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        served(settings, Health("alerts", metrics.registry, turn.missing)),
        Store(writer, new_id()) as store,
        Ledger(reader) as ledger,
        Broker(settings) as broker,
        Sender() as sender,
    ):
        logger.info(
            "alerts: %d rules, %d channels; %s", len(plan.rules), len(plan.channels),
            f"a canary every {plan.canary.every_s:g} s" if plan.canary else "no canary",
        )  # fmt: skip
        house = House(settings, ledger, broker, plan.folders, plan.watch)
        while not stop.is_set():
            try:
                ours = await store.hold()
                turn.why = ""
            except Unavailable as error:
                logger.warning("nobody knows whose turn it is: %s", error)
                ours, turn.why = False, f"nobody knows whose turn it is: {error}"
            if ours:
                await Term(plan, store, ledger, broker, house, sender, metrics).run(stop)
            await pause(HOLD_EVERY_S, stop)
        with contextlib.suppress(Unavailable):
            await store.leave()


class Term:
    """The time for which this replica works."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        ledger: Ledger,
        broker: Broker,
        house: House,
        sender: Sender,
        metrics: Metrics,
    ) -> None:
        self._plan, self._store, self._metrics = plan, store, metrics
        self._judge = Judge(plan, store)
        self._desk = Desk(plan, store, self._judge, sender, metrics)
        self._canaries = Canaries(plan.canary, ledger) if plan.canary else None
        self._over = asyncio.Event()
        #: When each figure was last read.
        self._read_ms: dict[str, int] = {}
        self._sources = {
            "exceptions-open": _Source(ledger.exceptions_open),
            "order-delay-source": _Source(ledger.late_by_source),
            "order-delay-receive": _Source(ledger.late_by_receipt),
            "negative-stock": _Source(ledger.negative_stock, SETTLED_MS),
            "lag": _Source(broker.lag),
            "stuck": _Source(ledger.stuck),
            "silent": _Source(ledger.silent),
            "paused": _Source(ledger.paused),
            "dependency-down": _Source(house.down),
            "disk-used": _Source(house.disk_used),
            "partition-trouble": _Source(_both(broker.partitions, ledger.strayed)),
            "drift-open": _Source(ledger.drift_open),
            "canary-age": _Source(self._canaries.age if self._canaries else _nothing),
            "selftest-age": _Source(self._desk.tested),
            "channel-failing": _Source(self._desk.failing),
            "callback-oldest": _Source(ledger.callbacks_oldest),
            "callback-host": _Source(ledger.callback_hosts),
            "unread": _Source(self._unread),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*, or until another replica does."""
        try:
            await self._judge.begin()
            await self._desk.begin()
        except LeaseLost:
            return
        except Unavailable as error:
            logger.warning("the term cannot begin: %s", error)
            return
        logger.info("this replica works: %d alerts are open", len(self._judge.known))
        self._metrics.works.set(1)
        tasks = [asyncio.ensure_future(self._until_lost(work)) for work in self._work()]
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self._over.set()
        stopping.cancel()
        _, late = await asyncio.wait(tasks, timeout=_STOP_WITHIN_S)
        for task in late:
            task.cancel()
        self._metrics.works.set(0)
        for said in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(said, Exception):
                raise said
        logger.info("this replica works no more")

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._hold(),
            self._test(),
            self._forget(),
            self._count(),
            *(self._read(each, self._sources[each]) for each in self._judge.signals),
            *(self._desk.tell(channel, self._over) for channel in self._plan.channels),
            *([self._canaries.run(self._over)] if self._canaries else []),
        ]

    async def _until_lost(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LeaseLost:
            if not self._over.is_set():
                logger.warning("another replica has taken over")
        finally:
            self._over.set()

    async def _hold(self) -> None:
        """Hold the lease longer while it is ours; while nobody can say, it is."""
        while not self._over.is_set():
            try:
                if not await self._store.hold():
                    raise LeaseLost
            except Unavailable as error:
                logger.warning("the lease cannot be held longer, nor taken by others: %s", error)
            await pause(HOLD_EVERY_S, self._over)

    async def _read(self, name: str, source: _Source) -> None:
        """Read one figure again and again, and let it be judged."""
        every_s = SIGNALS[name].every_ms / 1000
        while not self._over.is_set():
            began_ms = now_ms()
            try:
                async with asyncio.timeout(_READ_WITHIN_S):
                    readings = await source.ask()
            except (Unavailable, Misconfigured, TimeoutError, OSError) as error:
                # One figure that cannot be read must not silence the others; it is one itself.
                logger.warning("%s is not known now: %s", name, str(error) or type(error).__name__)
            else:
                as_of_ms = now_ms() - source.behind_ms
                self._read_ms[name] = now_ms()
                self._metrics.read(name, readings, as_of_ms)
                await self._judge.take(name, readings, as_of_ms)
            await pause(every_s - (now_ms() - began_ms) / 1000, self._over)

    async def _unread(self) -> list[Reading]:
        """How long ago each figure was last read."""
        at_ms = now_ms()
        return [
            Reading(name, (at_ms - self._read_ms.setdefault(name, at_ms)) / 1000, at_ms)
            for name in self._judge.signals
        ]

    async def _test(self) -> None:
        """Let each channel be told of nothing once a day: that proves it would be told."""
        while not self._over.is_set():
            day = due_day(self._plan.self_test, now_ms())
            due = [
                Due(self_test(f"{each.name}-{day}/test", each.name, now_ms()), [each.name], {})
                for each in self._plan.channels
            ]
            with contextlib.suppress(Unavailable):
                await self._store.keep([], [], due)
            await pause(_TEST_LOOK_EVERY_S, self._over)

    async def _forget(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(Unavailable):
                await self._store.forget(now_ms())
            await pause(_FORGET_EVERY_S, self._over)

    async def _count(self) -> None:
        """Bring the gauges of alerts and of what waits up to date."""
        while not self._over.is_set():
            self._metrics.alerts(self._plan.rules, list(self._judge.known.values()))
            with contextlib.suppress(Unavailable):
                waiting = await self._store.count_waiting()
                for channel in self._plan.channels:
                    count, _ = waiting.get(channel.name, (0, 0))
                    self._metrics.waiting.labels(channel.name).set(count)
            await pause(HOLD_EVERY_S, self._over)


def due_day(rule: SelfTest, at_ms: int) -> str:
    """Return the day of the last self-test that was due at *at_ms*, such as 20261111."""
    now = datetime.fromtimestamp(at_ms / 1000, rule.zone)
    due = now.replace(hour=rule.hour, minute=rule.minute, second=0, microsecond=0)
    day = now if now >= due else now - timedelta(days=1)
    return f"{day:%Y%m%d}"


def _both(
    *asks: Callable[[], Awaitable[list[Reading]]],
) -> Callable[[], Awaitable[list[Reading]]]:
    async def ask() -> list[Reading]:
        return [each for part in await asyncio.gather(*(one() for one in asks)) for each in part]

    return ask


async def _nothing() -> list[Reading]:
    return []
