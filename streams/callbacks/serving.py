"""
The process `orderflow callbacks run`: sends what is due until SIGTERM. Any number may run.

Promise: SIGTERM ends it with 0 when what is under way is answered, or after the time one attempt
may take; what was not begun is left to others. SIGHUP reads the shops file again.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from agents.deliveries import BreakerRule, Schedule
from streams.callbacks import posting
from streams.delivering.metrics import Metrics
from streams.delivering.sender import Kind, Sender, lease_of
from streams.delivering.store import Store
from streams.postgres.addresses import callbacks_of
from streams.settings import Settings
from streams.shipping import telling
from streams.web.health import Health, served

logger = logging.getLogger(__name__)

#: Whoever has not seen the queue for so long is not ready.
_READY_WITHIN_S = 15.0


def schedule_of(settings: Settings) -> Schedule:
    """Return when deliveries are tried, as the settings say."""
    return Schedule(
        attempts_max=settings.callbacks_attempts_max,
        first_wait_ms=round(settings.callbacks_first_wait.total_seconds() * 1000),
        jitter=settings.callbacks_jitter,
        retry_after_max_ms=round(settings.callbacks_retry_after_max.total_seconds() * 1000),
    )


def breaker_of(settings: Settings) -> BreakerRule:
    """Return when a host is left alone, as the settings say."""
    return BreakerRule(
        settings.callbacks_breaker_after,
        round(settings.callbacks_breaker_for.total_seconds() * 1000),
    )


async def serve(settings: Settings) -> None:
    """Send until SIGTERM; raises Misconfigured, LedgerUnavailable where it cannot begin."""
    stop, metrics = asyncio.Event(), Metrics()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lease = lease_of(settings.callbacks_answer_within)
    async with (
        Store(callbacks_of(settings), lease, breaker_of(settings)) as store,
        posting.Poster(store, loopback=settings.callbacks_loopback) as poster,
        _telling(settings, store) as told,
    ):
        await store.waiting()  # a database that is wrong is told before anything is sent
        sender = Sender(
            store,
            {posting.KIND: poster.kind, **told},
            schedule_of(settings),
            metrics,
            answer_within=settings.callbacks_answer_within,
            look_every=settings.callbacks_look_every,
            keep=settings.callbacks_keep,
            dies_at=settings.failpoint,
        )
        health = Health("callbacks", metrics.registry, partial(_missing, sender))
        async with served(settings, health):
            if settings.callbacks_loopback:
                logger.warning("subscribers on this machine are allowed: never in production")
            logger.info("callbacks: sending what is due")
            await sender.run(stop)
    logger.info("callbacks: what was not begun is left to the next start")


@contextlib.asynccontextmanager
async def _telling(settings: Settings, store: Store) -> AsyncIterator[dict[str, Kind]]:
    """Tell platforms, where there is a shops file; without one, leave them to others."""
    if settings.shops_file is None or settings.shops_file == Path():
        yield {}
        return
    within_s = settings.callbacks_answer_within.total_seconds()
    async with telling.Teller(store, settings.shops_file, within_s) as teller:
        await teller.introduce()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, teller.introduce_again)
        yield teller.kinds


async def _missing(sender: Sender) -> list[str]:
    if sender.looked_s and time.monotonic() - sender.looked_s < _READY_WITHIN_S:
        return []
    return ["The queue was not seen for a while: does PostgreSQL answer?"]
