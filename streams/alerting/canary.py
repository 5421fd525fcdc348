"""
The canary: an order every minute, through the gateway as anybody's, that proves the whole chain.

It is marked by its shop, which sells nothing else, and asks for a SKU that nobody ever receives:
the stock keeper says no, so no stock moves, and that verdict in the ledger is the proof. Gateway,
raw topic, intake, both keepers and the ledger had to work for it.

Sixty orders take turns, one for each minute of an hour, so that keepers and ledger do not grow with
them; a turn asks for one more unit than the one before, and so for a verdict of its own.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from schemas.alerts import Reading
from schemas.base import order_key
from schemas.errors import Unavailable
from streams.alerting.file import Canary
from streams.alerting.sending import pause
from streams.alerting.sources import Ledger
from streams.clock import now_ms

logger = logging.getLogger(__name__)

#: Orders that take turns.
ORDERS = 60
#: One request; the gateway answers within four seconds.
ANSWERS_WITHIN_S = 8.0
_LOOK_EVERY_S = 1.0
#: Beyond any number of turns that is believed as a quantity, it begins anew.
_TURNS = 100_000_000


class Canaries:
    """Sends them, and sees whether they come through."""

    def __init__(self, canary: Canary, ledger: Ledger) -> None:
        self._canary, self._ledger = canary, ledger
        #: When the last one that came through was sent; at first: since when we look.
        self._through_ms = now_ms()

    async def age(self) -> list[Reading]:
        """How long ago the last order was sent that came through."""
        at_ms = now_ms()
        return [Reading("", (at_ms - self._through_ms) / 1000, at_ms)]

    async def run(self, over: asyncio.Event) -> None:
        """Send one every so often until the term is *over*."""
        while not over.is_set():
            sent_ms = now_ms()
            await self._turn(sent_ms, over)
            await pause(self._canary.every_s - (now_ms() - sent_ms) / 1000, over)

    async def _turn(self, sent_ms: int, over: asyncio.Event) -> None:
        body = order_of(self._canary, sent_ms)
        if not await self._sent(body):
            return
        key = order_key("mall", self._canary.shop, body["platform_order_id"])
        while not over.is_set() and now_ms() < sent_ms + self._canary.every_s * 1000:
            try:
                # Less a second: the keepers' clock is the broker's.
                if await self._ledger.came_through(key, sent_ms - 1_000) is not None:
                    self._through_ms = sent_ms
                    return
            except Unavailable as error:
                logger.warning("the canary cannot be looked for: %s", error)
            await pause(_LOOK_EVERY_S, over)

    async def _sent(self, body: dict[str, Any]) -> bool:
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S), trust_env=False
                ) as session,
                session.post(
                    self._canary.url, data=orjson.dumps(body), allow_redirects=False,
                    headers={
                        "Authorization": f"Bearer {self._canary.key}",
                        "Content-Type": "application/json",
                    },
                ) as response,
            ):  # fmt: skip
                if response.status == 202:
                    return True
                logger.warning("the gateway does not take the canary: HTTP %d", response.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            logger.warning("the gateway does not answer the canary: %s", type(error).__name__)
        return False


def order_of(canary: Canary, at_ms: int) -> dict[str, Any]:
    """Return the order of the turn at *at_ms*."""
    turn = at_ms // round(canary.every_s * 1000)
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "platform_order_id": f"canary-{turn % ORDERS:02d}",
        "status": "PENDING_PAYMENT",
        "created_at": at,
        "updated_at": at,
        "lines": [
            {
                "line_id": "1",
                "merchant_sku": canary.sku,
                "quantity": 1 + turn // ORDERS % _TURNS,
            }
        ],
    }
