"""
Versioned entries in Redis: what is there is never older than what was written, or it is not there.

Promises, each kept by one script, which Redis runs alone:

- *A late write never overwrites a newer one.* An entry opens with its version, and is replaced by
  a greater one only, whoever writes: an event, a replay, a rebuild from PostgreSQL.
- *What Redis forgot is a miss.* FLUSHALL, a lost key, an eviction, a restart without data: the
  reader rebuilds from PostgreSQL under the same guard. No writer has to notice.
- *What Redis brought back from a snapshot or a replica is a miss too.* It may be older than what
  its writer has already committed to its group, and would stay wrong until the SKU's next move. So
  an entry also carries the run id of the server that took it, and counts only there: a server that
  was restarted, or promoted, begins with nothing.
- *A rebuilt entry lasts moments.* After a flush PostgreSQL may be behind the events that were in
  the cache, and these do not come again. So what was rebuilt is asked for again after
  `REBUILT_KEPT_MS`, until an event writes the entry.

Scripts touch several keys: one server, not a Redis Cluster. Redis 7.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import DecodeError, Struct, json
from redis.exceptions import RedisError

from schemas.errors import CacheUnavailable
from streams.caching import client

#: Nothing is kept for longer without being written or rebuilt again.
KEPT_MS = 7 * 24 * 3_600_000
REBUILT_KEPT_MS = 10_000
#: A SKU or quota that the ledger does not know is not asked for again within this.
UNKNOWN_KEPT_MS = 5_000
#: Keys a script is given at most: Redis does nothing else meanwhile, and Lua has a stack.
KEYS_MAX = 500
#: An entry is the run id's first signs, the version in digits, and the body.
ERA_BYTES, VERSION_DIGITS = 16, 20

_ERA = """
local era = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 16)
"""
_WRITE = (
    _ERA
    + """
local written = 0
for i, key in ipairs(KEYS) do
  local new = ARGV[i + 1]
  local held = redis.call('GETRANGE', key, 0, 35)
  if string.sub(held, 1, 16) ~= era or string.sub(held, 17) < string.sub(new, 1, 20) then
    redis.call('SET', key, era .. new, 'PX', ARGV[1])
    written = written + 1
  end
end
return written
"""
)
#: One JSON text for any number of entries: one reply to parse instead of hundreds.
_READ = (
    _ERA
    + """
local found = {}
for i, held in ipairs(redis.call('MGET', unpack(KEYS, 2))) do
  found[i] = held and string.sub(held, 1, 16) == era and string.sub(held, 37) or 'null'
end
local heard, age = redis.call('HVALS', KEYS[1]), 'null'
if #heard > 0 and #heard == tonumber(ARGV[1]) then
  local now = redis.call('TIME')
  age = 0
  for _, at in ipairs(heard) do
    age = math.max(age, now[1] * 1000 + math.floor(now[2] / 1000) - at)
  end
  age = string.format('%d', age)
end
return '{"age_ms":' .. age .. ',"entries":[' .. table.concat(found, ',') .. ']}'
"""
)
_HEAR = """
local now = redis.call('TIME')
for i = 1, #ARGV, 2 do
  local at = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[i + 1]
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%d', at))
end
"""


class Entry(NamedTuple):
    """What is kept under one key: a value that was encoded, and its version."""

    key: str
    version: int
    body: bytes


T = TypeVar("T")


class Read(Struct, Generic[T]):
    """What a read brings."""

    #: How long ago the writer had certainly written everything; None: nobody knows.
    age_ms: int | None
    entries: list[T | None]


class Store(Generic[T]):
    """
    The scripts, on one Redis; raises Misconfigured for what is no address of one.

    Every method raises CacheUnavailable when it does not answer.

    *kind* is what a body holds. *within_s* is how long Redis may take to answer, twice where a
    connection was found broken.
    """

    def __init__(self, url: str, prefix: str, kind: Any, within_s: float) -> None:
        #: `orderflow:` and the installation's prefix, which has no colon: none is another's start.
        self.prefix = f"orderflow:{prefix}"
        self._redis: Any = client(url, within_s)
        self._decode: Callable[[bytes], Read[T]] = json.Decoder(Read[kind]).decode
        self._write = self._redis.register_script(_WRITE)
        self._read = self._redis.register_script(_READ)
        self._hear = self._redis.register_script(_HEAR)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def write(self, entries: Sequence[Entry], kept_ms: int = KEPT_MS) -> int:
        """Keep *entries* that are newer than what is there; return how many were."""
        if not entries:
            return 0
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for some in _cut(entries):
                    await self._write(
                        keys=[entry.key for entry in some],
                        args=[kept_ms, *(b"%020d" % e.version + e.body for e in some)],
                        client=pipe,
                    )
                return sum(await pipe.execute())
        except (RedisError, OSError, TimeoutError) as error:
            raise told(error) from error

    async def read(self, keys: Sequence[str], partitions: int = 0) -> Read[T]:
        """Return the entries under *keys*, at most KEYS_MAX, in their order; None is a miss."""
        try:
            said = await self._read(keys=[self._heard, *keys], args=[partitions])
            return self._decode(said)
        except DecodeError as error:
            raise CacheUnavailable("Redis holds entries that are none of ours") from error
        except (RedisError, OSError, TimeoutError) as error:
            raise told(error) from error

    async def hear(self, ago_ms: Mapping[int, int]) -> None:
        """Take note up to how long ago, by Redis's clock, all events of a partition are written."""
        said = [each for pair in ago_ms.items() for each in pair]
        try:
            await self._hear(keys=[self._heard], args=said)
        except (RedisError, OSError, TimeoutError) as error:
            raise told(error) from error

    async def forget(self, key: str) -> None:
        """Make what is under *key* a miss."""
        try:
            await self._redis.delete(key)
        except (RedisError, OSError, TimeoutError) as error:
            raise told(error) from error

    async def look(self, start: str) -> dict[str, tuple[int, bytes] | None]:
        """
        Return what counts of all entries whose keys begin with *start*: version and body.

        For an audit: it walks over all of Redis, a stretch at a time. None is an entry that cannot
        be told apart into version and body.
        """
        found: dict[str, tuple[int, bytes] | None] = {}
        try:
            era = (await self._redis.info("server"))["run_id"][:ERA_BYTES].encode()
            keys = [
                key
                async for key in self._redis.scan_iter(
                    match=_literally(start) + "*", count=KEYS_MAX
                )
            ]
            for some in (keys[at : at + KEYS_MAX] for at in range(0, len(keys), KEYS_MAX)):
                for key, held in zip(some, await self._redis.mget(some), strict=True):
                    if held is not None and held.startswith(era):
                        found[key.decode()] = _taken_apart(held[ERA_BYTES:])
        except (RedisError, OSError, TimeoutError) as error:
            raise told(error) from error
        return found

    @property
    def _heard(self) -> str:
        return f"{self.prefix}heard"


def _taken_apart(entry: bytes) -> tuple[int, bytes] | None:
    version, body = entry[:VERSION_DIGITS], entry[VERSION_DIGITS:]
    return (int(version), body) if version.isdigit() else None


def _literally(text: str) -> str:
    """Return *text* as a pattern of Redis that means nothing but itself."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def _cut(entries: Sequence[Entry]) -> Iterable[Sequence[Entry]]:
    return (entries[at : at + KEYS_MAX] for at in range(0, len(entries), KEYS_MAX))


def told(error: Exception) -> CacheUnavailable:
    """Return *error* in our words; Redis names no value and no password in its own."""
    return CacheUnavailable(f"Redis does not answer: {type(error).__name__}: {error}")
