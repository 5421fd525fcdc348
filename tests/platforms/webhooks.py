"""
The pushes of a platform's shop: signed, some dropped, some sent twice, repeated until acknowledged.

Shopify pushes whole orders; the others name an order and say little more.
"""

import asyncio
import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable

import aiohttp

from tests.platforms.simulator import Order, Platform

SECRET, APP_KEY = "hook-secret", "hook-app"
CALLBACK = "https://example.com/shopee/push"
_TRIES_MAX = 50


def _hex(text: bytes) -> str:
    return hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()


def shopify(order: Order) -> tuple[bytes, dict[str, str]]:
    digest = hmac.new(SECRET.encode(), order.body, hashlib.sha256).digest()
    return order.body, {"X-Shopify-Hmac-Sha256": b64encode(digest).decode()}


def tiktokshop(order: Order) -> tuple[bytes, dict[str, str]]:
    data = {"order_id": order.id, "order_status": "AWAITING_SHIPMENT"}
    at = order.modified_ms // 1000
    body = json.dumps(
        {"type": 1, "shop_id": "7", "timestamp": at, "data": data | {"update_time": at}}
    ).encode()
    return body, {"Authorization": _hex(APP_KEY.encode() + body)}


def shopee(order: Order) -> tuple[bytes, dict[str, str]]:
    at = order.modified_ms // 1000
    data = {"ordersn": order.id, "status": "COMPLETED", "update_time": at, "items": []}
    body = json.dumps({"data": data, "shop_id": 1, "code": 3, "timestamp": at}).encode()
    return body, {"Authorization": _hex(f"{CALLBACK}|".encode() + body)}


HOOKS: dict[str, Callable[[Order], tuple[bytes, dict[str, str]]]] = {
    "shopify": shopify,
    "tiktokshop": tiktokshop,
    "shopee": shopee,
}

#: What a `[[shops]]` entry says of them.
ENTRY = {
    "shopify": {"secrets": [SECRET]},
    "tiktokshop": {"secrets": [SECRET], "app_key": APP_KEY},
    "shopee": {"secrets": [SECRET], "callback_url": CALLBACK},
}


class Pusher:
    """Pushes what happens at one platform to a gateway."""

    def __init__(
        self, there: Platform, url: str, *, drop: float = 0.01, twice: float = 0.02
    ) -> None:
        self._there = there
        self._url = url
        self._drop, self._twice = drop, twice
        self.sent = self.dropped = self.doubled = 0

    async def push(self, session: aiohttp.ClientSession, order: Order) -> None:
        """Push one version of *order*, unless it is one of those that get lost."""
        dice = self._there.random.random()
        if dice < self._drop:
            self.dropped += 1
            return
        body, headers = HOOKS[self._there.family.platform](order)
        await self._until_taken(session, body, headers)
        self.sent += 1
        if dice > 1 - self._twice:
            self.doubled += 1
            await self._until_taken(session, body, headers)

    async def _until_taken(
        self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
    ) -> None:
        for _ in range(_TRIES_MAX):
            async with session.post(self._url, data=body, headers=headers) as answer:
                if answer.status == 200:
                    return
                assert answer.status == 503, (answer.status, await answer.text())
            await asyncio.sleep(0.1)
        raise AssertionError("the gateway never took a push")
