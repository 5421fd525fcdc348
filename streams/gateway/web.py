"""
The gateway's HTTP: every address, and the way each request takes through it.

Promise: a 2xx means that the broker has the message (or that it was only a trial of the address); a
refusal says nothing that would help to forge a signature.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.errors import BrokerUnavailable
from streams.clock import now_ms
from streams.correlation import is_told, of
from streams.correlation import place as correlation_of
from streams.engine.failpoints import Failpoint, failpoint
from streams.gateway.door import BrokerDoor, Place
from streams.gateway.idempotency import Answers
from streams.gateway.metrics import Metrics
from streams.gateway.openapi import document
from streams.gateway.orders import Orders
from streams.gateway.requests import (
    Answer,
    Gone,
    Headers,
    Reader,
    Receive,
    Refused,
    Scope,
    Send,
    refusal,
    respond,
)
from streams.gateway.shops import MALL, Shop, Shops
from streams.gateway.signatures import Push, is_fresh, opened, verifiers, why_absent
from streams.topics import raw
from streams.tracing import HEADER
from streams.web.health import Health

logger = logging.getLogger(__name__)

_TRACEPARENT = HEADER.encode()
#: Whether the broker answers is asked this often at most.
_ASKED_EVERY_S = 1.0


class Gateway:
    """The answers, and what is counted of them."""

    def __init__(
        self,
        shops: Shops,
        door: BrokerDoor,
        answers: Answers,
        slow_after_s: float,
        point: str = "",
    ) -> None:
        self.metrics = Metrics()
        self.know(shops)
        self._door = door
        self._reader = Reader(slow_after_s)
        self._orders = Orders(self._stored, answers)
        self._asked_s = -_ASKED_EVERY_S
        self._reachable = False
        #: Where a test lets the process die: `point` is the setting of that name.
        self._before_ack: Failpoint = failpoint(point, "gateway-before-ack")
        self._after_ack: Failpoint = failpoint(point, "gateway-after-ack")
        self._health = Health("gateway", self.metrics.registry, self._missing, self._freshen)

    def know(self, shops: Shops) -> None:
        """Take these shops from now on."""
        self.shops = shops
        self.metrics.shops.set(len(shops.by_name))

    def app(self) -> Starlette:
        """Return the application."""
        app = Starlette(
            routes=[
                # Instances, not functions: Starlette then passes the request on as it is.
                Route(
                    "/v1/webhooks/{platform}/{shop}",
                    _Endpoint(self.webhook),
                    methods=["POST"],
                ),
                Route("/v1/orders", _Endpoint(self.order), methods=["POST"]),
                Route("/openapi.json", _openapi),
                *self._health.routes(),
            ],
        )
        # A webhook that is sent elsewhere with a redirect has lost its body or its signature.
        app.router.redirect_slashes = False
        return app

    async def webhook(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one push of a platform."""
        platform, name = scope["path_params"]["platform"], scope["path_params"]["shop"]
        await self._answered(
            platform, self._taken(platform, name, Headers(scope["headers"]), receive), send
        )

    async def order(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one order of the own mall."""
        await self._answered(MALL, self._ordered(Headers(scope["headers"]), receive), send)

    async def _missing(self) -> Sequence[str]:
        """Say whether the broker can be reached; asked seldom, whoever asks how often."""
        if time.monotonic() - self._asked_s >= _ASKED_EVERY_S:
            self._asked_s = time.monotonic()
            self._reachable = await self._door.reachable()
        return [] if self._reachable else ["the broker does not answer"]

    async def _freshen(self) -> None:
        self.metrics.held_bytes.set(self._reader.held_bytes)

    async def _answered(self, platform: str, work: Awaitable[Answer], send: Send) -> None:
        try:
            outcome, status, headers, body = await work
        except Refused as no:
            outcome, status, headers, body = refusal(no)
        except Gone:
            self.metrics.count(platform, "gone")
            return
        except Exception:
            self.metrics.count(platform, "failed")
            raise
        self.metrics.count(platform, outcome)
        await respond(send, status, headers, body)

    async def _taken(self, platform: str, name: str, headers: Headers, receive: Receive) -> Answer:
        # Read before it is judged: who is refused hears it.
        body = await self._reader.body(headers, receive)
        try:
            return await self._judged(platform, name, headers, body)
        finally:
            self._reader.done(body)

    async def _judged(self, platform: str, name: str, headers: Headers, body: bytes) -> Answer:
        shop = self._shop(platform, name)
        verifier = verifiers()[platform]
        push = Push(
            signature=headers.get(verifier.header),
            body=body,
            app_key=shop.app_key,
            callback_url=shop.callback_url,
        )
        yes = 200, [(b"content-type", verifier.media_type)], verifier.says
        if verifier.header not in headers and verifier.is_ping(push):
            return "ping", *yes
        payload = opened(verifier, push, shop.secrets)
        if payload is None:
            raise _not_accepted("bad_signature")
        if verifier.is_probe(payload):
            return "probe", *yes
        window_ms, signed_ms = shop.replay_window_ms, verifier.signed_ms
        if window_ms and signed_ms and not is_fresh(signed_ms(payload), now_ms(), window_ms):
            raise _not_accepted("too_old")
        await self._stored(platform, name, payload, headers.get(_TRACEPARENT))
        return "accepted", *yes

    async def _ordered(self, headers: Headers, receive: Receive) -> Answer:
        body = await self._reader.body(headers, receive)
        try:
            return await self._orders.taken(self.shops, headers, body)
        finally:
            self._reader.done(body)

    def _shop(self, platform: str, name: str) -> Shop:
        if why := why_absent(platform):
            raise Refused(404, "no_webhooks", why)
        shop = self.shops.find(platform, name)
        if shop is None:
            raise Refused(404, "unknown_shop", "no such platform or shop here")
        return shop

    async def _stored(
        self, platform: str, name: str, payload: bytes, traceparent: bytes | None = None
    ) -> Place:
        began_s = time.monotonic()
        if visit := self._before_ack:
            visit()
        try:
            place = await self._door.put(platform, name, payload, traceparent)
        except BrokerUnavailable:
            raise Refused(503, "unavailable", "not stored; send it again later") from None
        if visit := self._after_ack:
            visit()
        self.metrics.acknowledged(platform, time.monotonic() - began_s)
        if is_told(logger):
            id_ = correlation_of(raw(platform), place.partition, place.offset)
            logger.debug("%s/%s: a message is stored", platform, name, extra=of(id_))
        return place


class _Endpoint:
    """An ASGI application of one method."""

    def __init__(self, answer: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)


def _not_accepted(outcome: str) -> Refused:
    """One answer for everything that proves nothing: it must not say how near it came."""
    return Refused(401, outcome, "not accepted")


async def _openapi(_request: Request) -> Response:
    return JSONResponse(document())
