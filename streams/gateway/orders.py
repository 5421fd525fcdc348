"""
`POST /v1/orders`: the own mall's orders, in the unified schema.

Promise: an order that was taken is on the broker; what is wrong with one that was not is said with
the field's path. With an `Idempotency-Key` the same request has the same answer for a day, and
reaches the broker once; when that cannot be promised because Redis is away, nothing is taken.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256

import orjson

from schemas.errors import MalformedPayload, Rejected
from schemas.orders import NoticeCode, Statement
from streams.adapters.mall import stated, strange_in
from streams.adapters.reading import as_object, decode
from streams.gateway.door import Place
from streams.gateway.idempotency import Answers, AnswersUnavailable, Kept
from streams.gateway.requests import Answer, Headers, Refused
from streams.gateway.shops import MALL, Shop, Shops

logger = logging.getLogger(__name__)

#: An Idempotency-Key: any visible ASCII, of this length at most.
KEY_LENGTH_MAX = 200
_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % KEY_LENGTH_MAX)
_BEARER = re.compile(rb"Bearer +([\x21-\x7e]{1,500})", re.IGNORECASE)
_JSON = (b"content-type", b"application/json")
#: Words of ours that the mall has to use; elsewhere an unknown one keeps the order, with a notice.
_MUST_BE_KNOWN = (NoticeCode.UNKNOWN_STATUS, NoticeCode.UNKNOWN_REFUND_STATUS)

Store = Callable[[str, str, bytes], Awaitable[Place]]


class Orders:
    """Takes the orders of the own mall's shops."""

    def __init__(self, store: Store, answers: Answers) -> None:
        self._store = store
        self._answers = answers

    async def taken(self, shops: Shops, headers: Headers, body: bytes) -> Answer:
        """Return the answer to one request; raises Refused."""
        shop = _shop_of(shops, headers)
        key = _key_of(headers)
        statement = _read(body, shop)
        if key is None:
            return _accepted(await self._stored(shop, statement, body))
        return await self._once(shop, key, statement, body)

    async def _once(self, shop: Shop, key: bytes, statement: Statement, body: bytes) -> Answer:
        digest = sha256(body).digest()
        try:
            before = await self._answers.claim(shop.name, key, digest)
        except AnswersUnavailable as error:
            logger.warning("an Idempotency-Key cannot be honoured: %s", error)
            sentence = "the Idempotency-Key cannot be looked up; nothing was taken, send it again"
            raise Refused(503, "no_memory", sentence) from None
        if before is not None:
            return _again(before, digest)
        try:
            answer = await self._stored(shop, statement, body)
        except BaseException:
            await self._drop(shop, key)
            raise
        try:
            await self._answers.keep(shop.name, key, digest, answer)
        except AnswersUnavailable as error:
            # The broker has it: yes is the truth. A repeat would be sent again, and is harmless.
            logger.warning("an answer was not kept: %s", error)
        return _accepted(answer)

    async def _drop(self, shop: Shop, key: bytes) -> None:
        try:
            await self._answers.drop(shop.name, key)
        except AnswersUnavailable:
            logger.warning("a claim was not given back; it runs out by itself")

    async def _stored(self, shop: Shop, statement: Statement, body: bytes) -> bytes:
        place = await self._store(MALL, shop.name, body)
        return orjson.dumps({
            "order": statement.key,
            "message": f"{place.topic}/{place.partition}/{place.offset}",
        })  # fmt: skip


def _read(body: bytes, shop: Shop) -> Statement:
    """Return what *body* states, as the mall's adapter will read it; raises Refused."""
    try:
        order = as_object(decode(body), "payload")
        statement = stated(order, MALL, shop.name)
        strange = strange_in(order)
    except MalformedPayload as error:
        raise Refused(422, "malformed", str(error)) from None
    except Rejected as error:
        raise Refused(400, "bad_request", str(error)) from None
    if strange is not None:
        raise Refused(422, "malformed", f"{strange}: no order has this field")
    for notice in statement.notices:
        if notice.code in _MUST_BE_KNOWN:
            sentence = f"{notice.field}: {notice.said!r} is no word of this schema"
            raise Refused(422, "malformed", sentence)
    return statement


def _shop_of(shops: Shops, headers: Headers) -> Shop:
    """Return the shop that the API key belongs to."""
    bearer = _BEARER.fullmatch(headers.get(b"authorization") or b"")
    shop = shops.of_key(bearer.group(1)) if bearer else None
    if shop is None:
        raise Refused(401, "bad_key", "not accepted", (b"www-authenticate", b"Bearer"))
    return shop


def _key_of(headers: Headers) -> bytes | None:
    if b"idempotency-key" not in headers:
        return None
    key = headers.get(b"idempotency-key")
    if key is None or not _KEY.fullmatch(key):
        sentence = f"Idempotency-Key: one, of 1 to {KEY_LENGTH_MAX} visible ASCII characters"
        raise Refused(400, "bad_request", sentence)
    return key


def _again(before: Kept, digest: bytes) -> Answer:
    """Return the answer to a key that was met before."""
    if before.digest != digest:
        sentence = "Idempotency-Key: it was used for another order; take a new key"
        raise Refused(422, "key_reused", sentence)
    if not before.answer:
        sentence = "a request with this Idempotency-Key is under way"
        raise Refused(409, "under_way", sentence, (b"retry-after", b"1"))
    return "repeated", 202, [_JSON, (b"idempotency-replayed", b"true")], before.answer


def _accepted(answer: bytes) -> Answer:
    return "accepted", 202, [_JSON], answer
