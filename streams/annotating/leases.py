"""
Who has a form open, in Redis: so that of two people one knows of the other.

A lease is a courtesy. Nobody is kept from anything by it, and what is written is guarded by
versions in PostgreSQL. So Redis may be away or forget: the page then says that it cannot know.

A lease is held by a session and runs out by itself, `HELD_FOR_S` after the form was last heard of.
"""

import contextlib
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, msgpack
from redis.exceptions import RedisError

from schemas.errors import CacheUnavailable
from streams.caching import client
from streams.clock import now_ms
from streams.settings import Settings

#: A form that is not heard of for so long is taken for closed.
HELD_FOR_S: Final = 30
#: A page would rather not know than wait for longer than this.
_ANSWERS_WITHIN_S = 0.25
#: And no page waits so soon after another did in vain.
_LEFT_ALONE_S = 1.0

#: What may have a form open: ("order", key) or ("exception", id).
About = tuple[str, str]

#: Whoever holds it, or nobody: the lease is taken or goes on. What is told is who holds it then.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return held end
if held then redis.call('PEXPIRE', KEYS[1], ARGV[3]) return held end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return ARGV[1] .. ARGV[2]
"""
#: The marks of nobody, and of what cannot be known.
_NOBODY, _NOT_KNOWN = "-", "?"
_MARK_LENGTH = 16
_DROP = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Held(NamedTuple):
    """A lease: whose, and since when."""

    name: str
    since_ms: int
    is_ours: bool = False


class Editors(NamedTuple):
    """Who edits something."""

    #: False: Redis does not answer, and nobody can know.
    is_known: bool
    held: Held | None = None


class Leases:
    """The leases of one installation; raises Misconfigured for what is no address of a Redis."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.topic_prefix}console:editing:"
        self._redis: Any = None
        self._take = self._look = self._drop = None
        self._alone_until = 0.0
        if settings.redis:
            self._redis = client(settings.redis.get_secret_value(), _ANSWERS_WITHIN_S)
            self._take = self._redis.register_script(_TAKE)
            self._look = self._redis.register_script("return redis.call('MGET', unpack(KEYS))")
            self._drop = self._redis.register_script(_DROP)

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    async def take(self, about: About, session: bytes, name: str) -> Editors:
        """Take a lease or go on with it, unless somebody else holds it; return whoever does."""
        args = [session, msgpack.encode((name, now_ms())), HELD_FOR_S * 1_000]
        try:
            held = await self._asked(self._take, keys=[self._name(about)], args=args)
        except CacheUnavailable:
            return Editors(is_known=False)
        return _editors(held, session)

    async def look(self, about: About, session: bytes) -> Editors:
        """Return whoever has a form open."""
        try:
            (held,) = await self._asked(self._look, keys=[self._name(about)])
        except CacheUnavailable:
            return Editors(is_known=False)
        return _editors(held, session)

    async def marks(self, abouts: Sequence[About]) -> dict[About, str]:
        """Return of each of these a mark of who has it open, another one whenever that changes."""
        if not abouts:
            return {}
        try:
            held = await self._asked(self._look, keys=[self._name(about) for about in abouts])
        except CacheUnavailable:
            return dict.fromkeys(abouts, _NOT_KNOWN)
        return {about: _mark(each) for about, each in zip(abouts, held, strict=True)}

    async def drop(self, about: About, session: bytes) -> None:
        """Give a lease of ours back; where Redis is away, it runs out."""
        with contextlib.suppress(CacheUnavailable):
            await self._asked(self._drop, keys=[self._name(about)], args=[session])

    async def _asked(self, script: Any, **of: Any) -> Any:
        """Return what Redis says; one that did not answer is left alone for a moment."""
        if script is None or time.monotonic() < self._alone_until:
            raise CacheUnavailable
        try:
            return await script(**of)
        except (RedisError, OSError) as error:
            self._alone_until = time.monotonic() + _LEFT_ALONE_S
            raise CacheUnavailable from error

    def _name(self, about: About) -> str:
        return self._prefix + ":".join(about)


def _editors(held: bytes | None, session: bytes) -> Editors:
    if held is None:
        return Editors(is_known=True)
    holder, body = held[: len(session)], held[len(session) :]
    try:
        name, since_ms = msgpack.decode(body, type=tuple[str, int])
    except DecodeError:
        return Editors(is_known=False)
    return Editors(is_known=True, held=Held(name, since_ms, is_ours=holder == session))


def _mark(held: bytes | None) -> str:
    """Return what is another for each lease; it goes to pages, so nothing of a session is in it."""
    return _NOBODY if held is None else sha256(held).hexdigest()[:_MARK_LENGTH]
