"""
The process `orderflow console`: the pages until SIGTERM.

On its first start in an empty house it makes a first user and prints the password, once, on stdout,
which has to be changed at the first log-in. Any number of these processes may run.

Promise: nothing listens before PostgreSQL has answered, and before every page has its right.
"""

import asyncio
import gc
import logging
from collections.abc import Callable
from datetime import timedelta

from schemas.errors import OrderflowError
from streams.annotating.leases import Leases
from streams.console import web
from streams.console.accounts import Accounts, Lasting
from streams.console.live import Live
from streams.console.page import House
from streams.ending import end
from streams.figures.clocks import check_zone
from streams.figures.upkeep import Upkeep
from streams.gateway.requests import Reader
from streams.importing.pages import Imports
from streams.operations.operation import SLOW_AFTER_S
from streams.reads import Reads
from streams.settings import Settings
from streams.settlements.desk import Desk
from streams.web.serving import listen, server

logger = logging.getLogger(__name__)

#: Connections to PostgreSQL for what the pages read.
READS_AT_ONCE = 10
#: How often sessions and attempts that count no more are forgotten; how soon after an outage
#: imports are gone on with.
SWEEP_EVERY = timedelta(minutes=5)


def lasting(settings: Settings) -> Lasting:
    """Return how long a session lasts."""
    return Lasting(settings.console_session_max, settings.console_session_idle)


async def serve(
    settings: Settings,
    dsns: tuple[str, str, str],
    host: str,
    port: int,
    first: Callable[[str, str], None],
) -> None:
    """
    Serve until SIGTERM, with PostgreSQL as reader, operations and console.

    *first* is told name and password of the first user. Raises Misconfigured, Unavailable.
    """
    check_zone(settings.console_zone, "ORDERFLOW_CONSOLE_ZONE")
    check_zone(settings.company_zone, "ORDERFLOW_COMPANY_ZONE")
    reader, operations, console = dsns
    async with (
        Reads(reader, at_once=READS_AT_ONCE) as reads,
        Accounts(console, lasting(settings)) as accounts,
    ):
        if (made := await accounts.first()) is not None:
            first(*made)
        leases = Leases(settings)
        live = Live(settings, reads, leases)
        house = House(
            settings, operations, reads, accounts, live, Imports(settings), Desk(settings),
            Reader(SLOW_AFTER_S), web.templates(),
            Upkeep(settings, operations, lambda: live.as_of_ms), leases,
        )  # fmt: skip
        try:
            await _serve(house, host, port)
        finally:
            await leases.close()


async def _serve(house: House, host: str, port: int) -> None:
    with listen(host, port, "ORDERFLOW_CONSOLE_HOST and _PORT") as listening:
        serving = server(
            web.app(house, web.Metrics()),
            slow_after_s=SLOW_AFTER_S,
            drain_s=house.settings.drain_for.total_seconds(),
        )
        house.live.ending = lambda: serving.should_exit
        beside = [
            asyncio.create_task(house.live.run()),
            asyncio.create_task(house.figures.run()),
            asyncio.create_task(_see_to(house.accounts, house.imports)),
        ]
        for task in beside:
            task.add_done_callback(lambda _: serving.end())
        gc.collect()
        gc.freeze()
        logger.info("the console listens on %s port %d", *listening.getsockname()[:2])
        await serving.serve(sockets=[listening])
    for failure in await end(*beside):
        raise failure


async def _see_to(accounts: Accounts, imports: Imports) -> None:
    """
    Forget what counts no more, again and again; go on, once, with imports that a server has left.

    When PostgreSQL is away, later.
    """
    were_left = True
    while True:
        try:
            await accounts.sweep()
            if were_left:
                await imports.take_up()
                were_left = False
        except OrderflowError as error:
            logger.warning("neither old sessions nor imports are seen to: %s", error)
        await asyncio.sleep(SWEEP_EVERY.total_seconds())
