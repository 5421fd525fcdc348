"""
The process `orderflow availability`: reference data read whole, then the API until SIGTERM.

Promise: nothing is answered before the safety buffers are known, and nothing once they are not
followed any more: the process ends then, and whoever supervises it starts it again.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.availability.api import Api
from streams.availability.asking import Availability, LedgerBalances
from streams.availability.cache import READ_WITHIN_S, RedisCache
from streams.availability.metrics import Metrics
from streams.ending import end
from streams.postgres.addresses import reader_of
from streams.reference import Follower, directory_of
from streams.settings import Settings
from streams.web.serving import Server, listen, server

logger = logging.getLogger(__name__)

#: The exit code when the reference data is not followed any more (EX_SOFTWARE).
EXIT_CRASHED = 70
#: How often that is looked at.
_CHECK_EVERY_S = 1.0
#: A question with 200 long SKUs in percent signs.
_HEAD_BYTES_MAX = 128 * 1024
#: A question comes in one piece; a client that dawdles is cut off.
_SLOW_AFTER_S = 10.0


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[tuple[Api, Follower]]:
    """Give the API on the parts that *settings* name."""
    reader = reader_of(settings)
    cache = RedisCache(settings, READ_WITHIN_S)
    ledger = LedgerBalances(reader)
    directory, follower = await directory_of(settings)
    try:
        yield Api(Availability(cache, ledger), directory, Metrics(), follower.check), follower
    finally:
        await follower.stop()
        await ledger.close()
        await cache.close()


async def serve(settings: Settings, host: str, port: int) -> int:
    """Serve until SIGTERM; return the exit code."""
    async with api(settings) as (made, follower):
        with listen(host, port, "ORDERFLOW_AVAILABILITY_HOST and _PORT") as listening:
            serving = server(
                made.app,
                slow_after_s=_SLOW_AFTER_S,
                drain_s=settings.drain_for.total_seconds(),
                head_bytes_max=_HEAD_BYTES_MAX,
            )
            watching = asyncio.get_running_loop().create_task(_watch(follower, serving))
            gc.collect()
            gc.freeze()
            logger.info("availability is answered at http://%s:%s/v1/availability", host, port)
            await serving.serve(sockets=[listening])
        failed = watching.done()
        await end(watching)
    return EXIT_CRASHED if failed else 0


async def _watch(follower: Follower, serving: Server) -> None:
    """End the serving when the reference data is not followed any more."""
    while True:
        try:
            follower.check()
        except Exception:
            logger.critical("the reference data is not followed any more", exc_info=True)
            serving.should_exit = True
            return
        await asyncio.sleep(_CHECK_EVERY_S)
