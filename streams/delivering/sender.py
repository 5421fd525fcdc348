"""
Sends what is due, again and again, until it is told to end.

Promises. A delivery is tried only under its lease, and not begun where too little of that is left;
so at most one replica is at it, whoever was stopped for how long in between. What an attempt came
to is written down before the destination's next message of that lane may go; while PostgreSQL is
away it is tried to write it until the lease is over, and then it is sent again under the same id.
At the end, what is under way is waited for; what was not begun is given back.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from agents.deliveries import Answer, Outcome, Schedule, decided
from schemas.errors import Unavailable
from streams.alerting.sending import pause
from streams.delivering.metrics import Metrics
from streams.delivering.store import FORGOTTEN_MAX, Delivery, Store
from streams.engine.failpoints import failpoint

logger = logging.getLogger(__name__)

#: Attempts that are under way at a time, of all destinations; a waiting one costs little.
AT_ONCE_MAX = 512
#: A lease is so much longer than an attempt may take: time to write down what came of it.
LEASE_MARGIN = timedelta(seconds=20)
#: How often it is tried to write down what an attempt came to.
_AGAIN_S = 0.5
#: How often figures are brought up to date, and how often what is old is forgotten.
COUNT_EVERY_S, FORGET_EVERY_S = 5.0, 600.0


class Kind(NamedTuple):
    """One kind of destination: the seam of this package."""

    #: Turn a due delivery into one HTTP request. Raises nothing for what the other side does;
    #: Unavailable where the house itself cannot say where to send it.
    attempt: Callable[[Delivery], Awaitable[Answer]]
    #: The stage that a delivery which nobody takes is parked as.
    stage: str
    #: The statement (destination, why) that notes a destination which said that it is gone.
    closed: str = ""


class Sender:
    """The loop of one replica."""

    def __init__(
        self,
        store: Store,
        kinds: Mapping[str, Kind],
        schedule: Schedule,
        metrics: Metrics,
        *,
        answer_within: timedelta,
        look_every: timedelta,
        keep: timedelta,
        dies_at: str = "",
    ) -> None:
        self._store, self._kinds, self._schedule = store, dict(kinds), schedule
        self._metrics = metrics
        self._within_s = answer_within.total_seconds()
        self._lease_s = lease_of(answer_within).total_seconds()
        self._look_s, self._keep = look_every.total_seconds(), keep
        self._before_send = failpoint(dies_at, "callbacks-before-send")
        self._after_2xx = failpoint(dies_at, "callbacks-after-2xx")
        self._under_way: set[asyncio.Task[None]] = set()
        self._turn = 0
        #: A task has ended: there is room, and a lane may go on.
        self._news = asyncio.Event()
        #: When PostgreSQL last answered a look, by the monotonic clock; 0: never.
        self.looked_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until *stop*; then wait for what is under way."""
        beside = [
            asyncio.ensure_future(self._beside(each, every_s, stop))
            for each, every_s in ((self._count, COUNT_EVERY_S), (self._forget, FORGET_EVERY_S))
        ]
        try:
            while not stop.is_set():
                self._news.clear()
                try:
                    await self._look(stop)
                    self.looked_s = time.monotonic()
                except Unavailable as error:
                    logger.warning("what is due is not known: %s", error)
                await pause(self._look_s, stop, self._news)
        finally:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=self._within_s + _AGAIN_S)
            for task in (*beside, *self._under_way):
                task.cancel()
            said = await asyncio.gather(*beside, *self._under_way, return_exceptions=True)
        for each in said:
            if isinstance(each, Exception):
                raise each

    async def _look(self, stop: asyncio.Event) -> None:
        """Begin what is due, as far as there is room; of each destination in its turn."""
        due = await self._store.due(list(self._kinds))
        # Each time another is the first: one that is always busy must not take all the room.
        self._turn += 1
        first = self._turn % len(due) if due else 0
        for kind, destination in (*due[first:], *due[:first]):
            room = AT_ONCE_MAX - len(self._under_way)
            if room <= 0 or stop.is_set():
                return
            claimed_s = time.monotonic()
            for each in await self._store.claim(kind, destination, room):
                task = asyncio.ensure_future(self._attempt(each, claimed_s))
                self._under_way.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Ours: it is sent again when its lease is over.
            logger.error("an attempt broke off: %r", error, exc_info=error)

    async def _attempt(self, delivery: Delivery, claimed_s: float) -> None:
        kind, until_s = self._kinds[delivery.kind], claimed_s + self._lease_s
        if time.monotonic() + self._within_s > until_s:
            return  # this process slept: another may have it by now
        if self._before_send is not None:
            self._before_send()
        began_s = time.monotonic()
        answer = await self._answer(kind, delivery)
        if answer is None:
            await self._store.release([delivery])
            return
        if self._after_2xx is not None and answer.outcome is Outcome.TAKEN:
            self._after_2xx()
        latency_s = time.monotonic() - began_s
        self._metrics.attempt(delivery.kind, answer.outcome, latency_s)
        await self._note(kind, delivery, answer, round(latency_s * 1000), until_s)

    async def _answer(self, kind: Kind, delivery: Delivery) -> Answer | None:
        if delivery.attempt > self._schedule.attempts_max:
            return Answer(
                Outcome.UNKNOWN,
                why="the sender ended in the middle of the last attempt: nobody knows",
            )
        try:
            async with asyncio.timeout(self._within_s):
                return await kind.attempt(delivery)
        except TimeoutError:
            return Answer(Outcome.AWAY, why=f"no answer within {self._within_s:g} s")
        except Unavailable as error:
            logger.warning("delivery %d waits: %s", delivery.id, error)
            return None

    async def _note(
        self, kind: Kind, delivery: Delivery, answer: Answer, latency_ms: int, until_s: float
    ) -> None:
        decision = decided(self._schedule, answer, delivery.attempt, random.random())  # noqa: S311  no secret
        noted = False
        while not noted:
            try:
                became = await self._store.tried(
                    delivery, answer, decision, latency_ms, stage=kind.stage, closed=kind.closed
                )
                noted = True
                self._metrics.ended(delivery.kind, became)
            except Unavailable as error:
                logger.warning("what delivery %d came to is not written: %s", delivery.id, error)
                if time.monotonic() > until_s:
                    return
                await asyncio.sleep(_AGAIN_S)
        if answer.outcome is not Outcome.TAKEN:
            logger.warning(
                "%s %s did not take %s of %s at attempt %d: %s",
                delivery.kind, delivery.destination, delivery.message, delivery.lane,
                delivery.attempt, answer.why,
            )  # fmt: skip

    # --- beside it --------------------------------------------------------------------------------

    async def _beside(
        self, work: Callable[[], Awaitable[None]], every_s: float, stop: asyncio.Event
    ) -> None:
        while not stop.is_set():
            try:
                await work()
            except Unavailable as error:
                logger.warning("%s", error)
            await pause(every_s, stop)

    async def _count(self) -> None:
        self._metrics.waits(
            self._kinds, await self._store.waiting(), await self._store.hosts_not_well()
        )

    async def _forget(self) -> None:
        forgotten = FORGOTTEN_MAX
        while forgotten == FORGOTTEN_MAX:
            forgotten = await self._store.forget(self._keep)


def lease_of(answer_within: timedelta) -> timedelta:
    """Return how long a delivery is leased for an attempt that may take so long."""
    return answer_within + LEASE_MARGIN
