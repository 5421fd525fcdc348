"""
The same request twice has one answer: what was answered is kept in Redis for a day.

    claim   SET NX: the first request of a key has it for as long as it may be under way
    keep    its answer takes the claim's place
    drop    it was not stored: the next request of the key begins anew

Promise: while an answer is kept, the same key gives it again and nothing is sent. Should this
process die between the broker's acknowledgement and `keep`, the claim runs out, and the retry sends
the order once more; intake takes it for the repeat it is. Only digests are kept, nothing of the
order.
"""

from hashlib import sha256
from secrets import token_bytes
from typing import Any, NamedTuple

from msgspec import DecodeError, msgpack
from redis.exceptions import RedisError

from schemas.errors import Unavailable
from streams.caching import client
from streams.settings import Settings

#: How long an answer is kept.
KEPT_FOR_S = 24 * 3600
#: A claim outlives the broker's longest acknowledgement by this: who retries after a crash waits.
_CLAIM_OUTLIVES_S = 10
#: Redis says this quickly what it has.
_ANSWERS_WITHIN_S = 1.0


class AnswersUnavailable(Unavailable):
    """Redis does not answer."""


class Kept(NamedTuple):
    """What is known of a key."""

    #: Of the request that had it first.
    digest: bytes
    #: Empty: it is under way.
    answer: bytes
    #: Of the request itself: one whose claim was sent twice knows its own.
    claimant: bytes = b""


class Answers:
    """
    What was answered, in Redis, under this installation's prefix. Raises AnswersUnavailable.

    Raises Misconfigured at once for what is no address of a Redis.
    """

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.topic_prefix}gateway:answer:"
        self._claimed_for_s = _CLAIM_OUTLIVES_S + int(settings.gateway_ack_within.total_seconds())
        self._redis: Any = None
        if settings.redis is not None:
            self._redis = client(settings.redis.get_secret_value(), _ANSWERS_WITHIN_S)

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    async def claim(self, shop: str, key: bytes, digest: bytes) -> Kept | None:
        """Claim *key* of *shop* for a request; None: it is free and now ours."""
        ours = Kept(digest, b"", token_bytes(8))
        before = await self._set(shop, key, ours, nx=True, get=True, ex=self._claimed_for_s)
        if before is None:
            return None
        try:
            kept = msgpack.decode(before, type=Kept)
        except DecodeError as error:
            raise AnswersUnavailable("Redis has something that is no answer of ours") from error
        return None if kept == ours else kept

    async def keep(self, shop: str, key: bytes, digest: bytes, answer: bytes) -> None:
        """Put *answer* in the claim's place."""
        await self._set(shop, key, Kept(digest, answer), ex=KEPT_FOR_S)

    async def drop(self, shop: str, key: bytes) -> None:
        """Give the claim back."""
        try:
            await self._there().delete(self._name(shop, key))
        except (RedisError, OSError) as error:
            raise AnswersUnavailable from error

    async def _set(self, shop: str, key: bytes, value: Kept, **how: Any) -> Any:
        try:
            return await self._there().set(self._name(shop, key), msgpack.encode(value), **how)
        except (RedisError, OSError) as error:
            raise AnswersUnavailable from error

    def _there(self) -> Any:
        if self._redis is None:
            raise AnswersUnavailable("Set ORDERFLOW_REDIS to the address of Redis.")
        return self._redis

    def _name(self, shop: str, key: bytes) -> str:
        return f"{self._prefix}{shop}:{sha256(key).hexdigest()}"
