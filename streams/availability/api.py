"""
The read API: `GET /v1/availability?sku=A&sku=B&channel=douyin:shanjiao`.

Promises: an answer says of each SKU which version it states, when that was made and who said it
(cache or ledger), and how far the cache may be behind; without Redis it answers from PostgreSQL
and says so; 503 only when neither can answer. Whoever asks wrongly is told in one sentence what
to do. Nothing here is a reservation: a unit is sold when the stock keeper says so.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from msgspec import Struct, json
from starlette.applications import Starlette
from starlette.routing import Route

from agents.availability import sellable
from agents.reference import Directory
from schemas.base import ID_LENGTH_MAX
from schemas.errors import Misconfigured, OrderflowError, Rejected, Unavailable
from schemas.reference import Shop
from streams.availability.asking import Availability, Found
from streams.availability.cache import under
from streams.availability.metrics import Metrics
from streams.clock import now_ms
from streams.web.health import Health

logger = logging.getLogger(__name__)

#: SKUs of one question.
SKUS_MAX = 200
PATH = "/v1/availability"
#: When to ask again after a 503, s.
RETRY_AFTER_S = 1

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BadQuestion(Rejected):
    """The question cannot be answered as it is asked."""


class Question(NamedTuple):
    """What is asked."""

    skus: list[str]
    #: `platform:shop`, or empty.
    channel: str


class Item(Struct, omit_defaults=True, gc=False):
    """What is answered of one SKU."""

    sku: str
    known: bool
    #: `cache` or `ledger`.
    source: str
    available: int | None = None
    #: What the channel may offer: available and its quota, less its safety buffer.
    sellable: int | None = None
    #: Units left in the channel's quota while its window is open; null where it has none.
    quota: int | None = None
    version: int | None = None
    #: Time of the move that made this version.
    as_of: str | None = None


class Answer(Struct, gc=False):
    """The body of an answer."""

    channel: str | None
    #: How long ago the cache certainly held every event, ms; null: not known, or not asked.
    age_ms: int | None
    items: list[Item]


def question(query: bytes) -> Question:
    """Return what *query* asks; raises BadQuestion."""
    try:
        fields = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=SKUS_MAX + 1,
        )
    except ValueError:
        raise BadQuestion(
            f"Ask for 1 to {SKUS_MAX} SKUs, such as ?sku=A&sku=B&channel=douyin:shanjiao."
        ) from None
    skus: dict[str, None] = {}
    channel = ""
    for name, value in fields:
        if name == "sku" and 0 < len(value) <= ID_LENGTH_MAX and "\0" not in value:
            skus[value] = None
        elif name == "channel" and value and not channel:
            channel = value
        else:
            raise BadQuestion(
                f"{name[:40]!r} is wrong there: each sku has 1 to {ID_LENGTH_MAX} characters, "
                "and there is at most one channel."
            )
    if not 0 < len(skus) <= SKUS_MAX:
        raise BadQuestion(f"Ask for 1 to {SKUS_MAX} SKUs, not for {len(skus)}.")
    return Question(list(skus), channel)


def shop_of(directory: Directory, channel: str) -> Shop:
    """Return the shop that *channel* is; raises BadQuestion where there is none."""
    platform, _, shop = channel.partition(":")
    known = directory.shop(platform, shop) if shop else None
    if known is None:
        raise BadQuestion(
            f"There is no shop {channel[:80]!r} in the reference data; name it platform:shop."
        )
    return known


def answer(asked: Question, found: Found, shop: Shop | None, at_ms: int) -> Answer:
    """Return what *found* says at this time to what was *asked*, of *shop* where it is."""
    items = [_item(sku, found, shop, at_ms) for sku in asked.skus]
    return Answer(asked.channel or None, found.age_ms, items)


def _item(sku: str, found: Found, shop: Shop | None, at_ms: int) -> Item:
    seen, source = found.known[sku], "ledger" if sku in found.from_ledger else "cache"
    if not seen.version:
        return Item(sku, known=False, source=source)
    may_sell = quota = None
    if shop is not None:
        if shop.quota:
            quota = found.known[under(sku, shop.quota)].left_at(at_ms)
        may_sell = sellable(seen.available, seen.shortfall, quota or 0, shop.safety_buffer)
    return Item(sku, True, source, seen.available, may_sell, quota, seen.version, seen.as_of)  # noqa: FBT003  in the order of the fields, 200 times a request


class Api:
    """Answers over HTTP. `app` is the ASGI application."""

    def __init__(
        self,
        availability: Availability,
        directory: Directory,
        metrics: Metrics,
        check: Callable[[], None],
    ) -> None:
        self._availability = availability
        self._directory = directory
        self._metrics = metrics
        #: Raises where the reference data is not followed any more.
        self._check = check
        self._answering = _Endpoint(self.answer)
        self._pages = Starlette(
            routes=[
                Route(PATH, self._answering, methods=["GET"]),
                *Health("availability", metrics.registry, self._missing).routes(),
            ]
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application. The one busy page is found without a walk along the routes."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET":
            await self._answering(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def answer(self, query: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer to *query*."""
        began = time.perf_counter()
        status, body = await self._answered(query)
        self._metrics.took(status, time.perf_counter() - began)
        return status, body

    async def _answered(self, query: bytes) -> tuple[int, bytes]:
        try:
            asked = question(query)
            shop = shop_of(self._directory, asked.channel) if asked.channel else None
            found = await self._availability.of(asked.skus, shop.quota if shop else "")
        except Rejected as error:
            return 400, _encode({"error": str(error)})
        except (Unavailable, Misconfigured) as error:
            logger.warning("a question is not answered: %s", error)
            return 503, _encode({"error": "Neither Redis nor PostgreSQL answers; ask again."})
        said = answer(asked, found, shop, now_ms())
        from_ledger = len(found.from_ledger)
        self._metrics.asked(len(asked.skus) - from_ledger, from_ledger, found.age_ms)
        return 200, _encode(said)

    async def _missing(self) -> Sequence[str]:
        try:
            self._check()
        except Exception as error:  # noqa: BLE001  whatever ended the following
            said = str(error) if isinstance(error, OrderflowError) else type(error).__name__
            return [f"reference data is not followed: {said}"]
        return []


_encode = json.Encoder().encode
_JSON = (b"content-type", b"application/json")
#: An answer is of the moment; whoever keeps it knows better than we how long.
_NO_STORE = (b"cache-control", b"no-store")
_RETRY_AFTER = (b"retry-after", str(RETRY_AFTER_S).encode())


class _Endpoint:
    """An ASGI endpoint: no request and response objects, which cost more than a small answer."""

    def __init__(self, do: Callable[[bytes], Awaitable[tuple[int, bytes]]]) -> None:
        self._do = do

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        status, body = await self._do(scope["query_string"])
        headers: Sequence[tuple[bytes, bytes]] = [
            _JSON,
            _NO_STORE,
            (b"content-length", str(len(body)).encode()),
        ]
        if status == 503:
            headers = [*headers, _RETRY_AFTER]
        start: Mapping[str, Any] = {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
        await send(dict(start))
        await send({"type": "http.response.body", "body": body})
