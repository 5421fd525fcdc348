"""
Keeps the figures up to date beside a running process, and knows how old they are.

They are as of the moment as of which the ledger was when the last complete run began: older than
that nothing is missing. While PostgreSQL, Kafka or the ledger do not keep up, the moment stands
still, and pages say so.
"""

import asyncio
import logging
from collections.abc import Callable

from aiokafka.errors import KafkaError
from msgspec import DecodeError

from schemas.errors import OrderflowError
from streams.figures.clocks import Clocks, clocks_of
from streams.figures.restating import restate
from streams.reference import Follower, directory_of
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: PostgreSQL or Kafka is away, or the reference data cannot be read: the figures grow old.
_PASSING = (OrderflowError, KafkaError, DecodeError)


class Upkeep:
    """Restates every so often; `as_of_ms` is the moment, None while it is not known."""

    def __init__(
        self, settings: Settings, dsn: str, ledger_as_of: Callable[[], int | None]
    ) -> None:
        self._settings = settings
        self._dsn = dsn
        self._ledger_as_of = ledger_as_of
        self._follower: Follower | None = None
        self._clocks: Clocks | None = None
        self.as_of_ms: int | None = None

    async def run(self) -> None:
        """Restate again and again."""
        try:
            while True:
                try:
                    await self._restate()
                except _PASSING as error:
                    logger.warning("the figures are not kept up to date: %s", error)
                    await self._forget_clocks()
                await asyncio.sleep(self._settings.figures_every.total_seconds())
        finally:
            await self._forget_clocks()

    async def _restate(self) -> None:
        as_of = self._ledger_as_of()
        clocks = await self._known_clocks()
        zone = self._settings.company_zone
        done = await restate(self._dsn, clocks, zone, lambda *_: None)
        logger.debug("%d chunks of figures were counted anew", done.chunks)
        self.as_of_ms = as_of

    async def _known_clocks(self) -> Clocks:
        if self._clocks is None:
            directory, self._follower = await directory_of(self._settings)
            self._clocks = clocks_of(directory, self._settings.company_zone)
        if self._follower is not None:
            self._follower.check()
        return self._clocks

    async def _forget_clocks(self) -> None:
        follower, self._follower, self._clocks = self._follower, None, None
        if follower is not None:
            await follower.stop()


async def clocks_now(settings: Settings) -> Clocks:
    """Return how shops count their days as the reference data have it now."""
    directory, follower = await directory_of(settings)
    await follower.stop()
    return clocks_of(directory, settings.company_zone)
