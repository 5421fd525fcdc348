"""
The gateway's process: it listens, serves until SIGTERM, ends what is under way, and exits with 0.

Promise: nothing listens before the shops were read and the broker was asked; SIGHUP reads the shops
anew, and keeps the old ones where the new file is wrong.
"""

import asyncio
import gc
import logging
import signal
import socket
from functools import partial

from schemas.errors import Misconfigured
from streams.gateway import shops
from streams.gateway.door import BrokerDoor
from streams.gateway.idempotency import Answers
from streams.gateway.web import Gateway
from streams.settings import Settings
from streams.web.serving import listen, server

logger = logging.getLogger(__name__)


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM; raises Misconfigured where it cannot begin."""
    known = shops.read(settings.shops_file)
    with listen(host, port, "ORDERFLOW_GATEWAY_HOST and _PORT") as listening:
        asyncio.run(_serve(settings, known, listening))


async def _serve(settings: Settings, known: shops.Shops, listening: socket.socket) -> None:
    door, answers = BrokerDoor(settings), Answers(settings)
    slow_after_s = settings.gateway_slow_after.total_seconds()
    gateway = Gateway(known, door, answers, slow_after_s, settings.failpoint)
    try:
        again = partial(_read_again, gateway, settings)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)
        await door.start()
        # What was imported stays; a collector that walks it again and again stops every request.
        gc.collect()
        gc.freeze()
        logger.info("the gateway listens on %s port %d", *listening.getsockname()[:2])
        serving = server(
            gateway.app(),
            slow_after_s=slow_after_s,
            drain_s=settings.drain_for.total_seconds(),
        )
        await serving.serve(sockets=[listening])
        logger.info("what was under way is answered; the gateway ends")
    finally:
        await door.stop()
        await answers.close()


def _read_again(gateway: Gateway, settings: Settings) -> None:
    try:
        gateway.know(shops.read(settings.shops_file))
    except Misconfigured as error:
        logger.error("the shops stay as they were: %s", error)  # noqa: TRY400  it says it all
    else:
        logger.info("the shops were read again: %d", len(gateway.shops.by_name))
