"""
The process `orderflow operations`: the API until SIGTERM, and what has to be done beside it.

Beside it, again and again: pauses whose held messages are all read are over, what a process that
died did not tell workers is told, and the figures are brought up to date. When it starts, imports
that a server has left go on. Any number of these processes may run.

Promise: nothing listens before PostgreSQL has answered; a part that is away is waited for, and
/readyz says so.
"""

import asyncio
import gc
import logging
import time

from schemas.errors import OrderflowError, Unavailable
from streams.ending import end
from streams.exceptions import queue
from streams.gateway.requests import Reader
from streams.importing.pages import Imports
from streams.operations.operation import SLOW_AFTER_S, House
from streams.pausing import table
from streams.people import web
from streams.people.metrics import Metrics
from streams.reference import PAUSE_KEYS, Follower
from streams.settings import Settings
from streams.web.serving import listen, server

logger = logging.getLogger(__name__)

#: How often what goes on beside the API is done.
EVERY_S = 1.0
#: How often it is looked whether workers were told everything, in passes.
_TELL_EVERY = 15


class Beside:
    """What is done beside the API."""

    def __init__(self, settings: Settings, dsn: str, metrics: Metrics, imports: Imports) -> None:
        self._settings = settings
        self._dsn = dsn
        self._metrics = metrics
        self._imports = imports
        self._finisher = table.Finisher(settings, dsn)
        #: What the reference topic has of pauses.
        self._told: dict[bytes, bytes] = {}
        self._follower: Follower | None = None
        #: Why the last pass failed, or nothing.
        self.why = "the first look has not ended"

    async def run(self) -> None:
        """Do it until cancelled; a part that is away is waited for."""
        passes = 0
        while True:
            try:
                if passes % _TELL_EVERY == 0:
                    await self._tell()
                await self.once()
                if not passes:
                    await self._imports.take_up()
                passes += 1
            except OrderflowError as error:
                if str(error) != self.why:
                    logger.warning("what waits for people is not known: %s", error)
                self.why = str(error)
            else:
                self.why = ""
            await asyncio.sleep(EVERY_S)

    async def _tell(self) -> None:
        """Tell workers of pauses what nobody told them yet."""
        if self._follower is None:
            follower = Follower(self._settings, self._take)
            await follower.catch_up()
            follower.follow()
            self._follower = follower
        self._follower.check()
        if told := await table.tell(self._settings, self._dsn, dict(self._told)):
            logger.info("told workers what they had not been told: %s", ", ".join(told))

    def _take(self, key: bytes, value: bytes | None) -> None:
        if not key.startswith(PAUSE_KEYS):
            return
        if value is None:
            self._told.pop(key, None)
        else:
            self._told[key] = value

    async def stop(self) -> None:
        """Follow no more."""
        if self._follower is not None:
            await self._follower.stop()

    async def once(self) -> None:
        """Finish what is over, and take the figures. Raises Unavailable."""
        for id_ in await self._finisher.finish():
            logger.info("pause %s is over: all that was set aside is read", id_)
        now_s = time.time()
        self._metrics.exceptions(await queue.by_cause(self._dsn), now_s)
        max_s = self._settings.pause_max.total_seconds()
        self._metrics.pauses(await table.open_pauses(self._dsn), now_s, max_s)


async def serve(settings: Settings, dsn: str, host: str, port: int) -> None:
    """Serve until SIGTERM, writing PostgreSQL at *dsn*; raises Misconfigured."""
    metrics = Metrics()
    house = House(settings, dsn, Reader(SLOW_AFTER_S))
    app = web.app(house, metrics, lambda: beside.why)
    beside = Beside(settings, dsn, metrics, app.state.imports)
    try:
        await beside.once()
    except Unavailable as error:
        logger.warning("%s; it is waited for", error)
    with listen(host, port, "ORDERFLOW_OPERATIONS_HOST and _PORT") as listening:
        serving = server(
            app,
            slow_after_s=SLOW_AFTER_S,
            drain_s=settings.drain_for.total_seconds(),
        )
        watching = asyncio.get_running_loop().create_task(beside.run())
        watching.add_done_callback(lambda _: serving.end())
        gc.collect()
        gc.freeze()
        logger.info("operations listen on %s port %d", *listening.getsockname()[:2])
        await serving.serve(sockets=[listening])
    failures = await end(watching)
    await beside.stop()
    for failure in failures:
        raise failure
