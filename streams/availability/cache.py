"""
Balances and quotas in Redis: written by stock events, read by the API, rebuilt on a miss.

A quota is an entry of its own, under SKU and name, with a version and a guard of its own; when its
window is open is for whoever reads it. What the ledger does not know, a SKU or a quota, is kept as
version 0 for moments, so that asking for it again and again costs PostgreSQL nothing; its first
event has a greater version and replaces that.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import DecodeError, Struct, json

from agents.availability import Balance, Quota, QuotaOf
from schemas.errors import Misconfigured
from streams.availability.store import REBUILT_KEPT_MS, UNKNOWN_KEPT_MS, Entry, Store
from streams.settings import Settings

#: The API would rather ask PostgreSQL than wait for longer than this.
READ_WITHIN_S = 0.25
#: A writer has time.
WRITE_WITHIN_S = 5.0
#: Between the names of a SKU and its quota.
SEPARATOR = "\0"


class Seen(Struct, omit_defaults=True, gc=False):
    """A balance as it is kept: ready to be answered."""

    version: int
    available: int = 0
    #: Time of the move that made this version.
    as_of: str | None = None
    shortfall: int = 0


#: What is kept: a balance under its SKU, a quota under `under`.
Kept = Seen | Quota


class Cached(NamedTuple):
    """What the cache knows of some keys."""

    found: dict[str, Any]
    #: How long ago it certainly held every event; None: nobody knows.
    age_ms: int | None


def seen(balance: Balance) -> Seen:
    """Return *balance* as it is answered."""
    if not balance.version:
        return Seen(0)
    at = datetime.fromtimestamp(balance.at_ms / 1000, UTC)
    as_of = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Seen(balance.version, balance.available, as_of, balance.shortfall)


def under(sku: str, quota: str) -> str:
    """Return the key of a quota of *sku*: neither name has a NUL in it."""
    return f"{sku}{SEPARATOR}{quota}"


class RedisCache:
    """What the stock events write, and what the API reads. Raises CacheUnavailable."""

    def __init__(self, settings: Settings, within_s: float) -> None:
        self._store: Store[Any] = Store(address(settings), settings.topic_prefix, Kept, within_s)
        self._partitions = settings.partitions
        self._open = f"{self._store.prefix}stock:"

    async def put(
        self, balances: Sequence[Balance], quotas: Mapping[QuotaOf, Quota] | None = None
    ) -> None:
        """Keep each balance and quota, unless one that is as new or newer is there."""
        entries = self._entries((one.sku, seen(one)) for one in balances)
        if quotas:
            entries += self._entries((under(*whose), one) for whose, one in quotas.items())
        await self._store.write(entries)

    async def rebuild(self, found: Mapping[str, Kept]) -> None:
        """Keep for moments what the ledger says, where nothing as new is there."""
        known = {key: one for key, one in found.items() if one.version}
        unknown = {key: one for key, one in found.items() if not one.version}
        await self._store.write(self._entries(known.items()), REBUILT_KEPT_MS)
        await self._store.write(self._entries(unknown.items()), UNKNOWN_KEPT_MS)

    async def get(self, keys: Sequence[str]) -> Cached:
        """Return what is there under *keys*: SKUs, and quotas by `under`."""
        read = await self._store.read([self._open + key for key in keys], self._partitions)
        found = {key: one for key, one in zip(keys, read.entries, strict=True) if one is not None}
        return Cached(found, read.age_ms)

    async def forget(self, sku: str) -> None:
        """Make a SKU a miss."""
        await self._store.forget(self._open + sku)

    async def look(self) -> dict[str, tuple[int, Seen] | None]:
        """Return all that counts: SKU -> guarding version and balance; None: it cannot be read."""
        found: dict[str, tuple[int, Seen] | None] = {}
        for key, entry in (await self._store.look(self._open)).items():
            try:
                read = (entry[0], _decode(entry[1])) if entry else None
            except DecodeError:
                read = None
            found[key.removeprefix(self._open)] = read
        return found

    async def hear(self, ago_ms: Mapping[int, int]) -> None:
        """Take note up to how long ago everything of each partition is written."""
        await self._store.hear(ago_ms)

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()

    def _entries(self, found: Iterable[tuple[str, Kept]]) -> list[Entry]:
        return [Entry(self._open + key, one.version, _encode(one)) for key, one in found]


def address(settings: Settings) -> str:
    """Return where Redis is; raises Misconfigured."""
    if settings.redis is None:
        raise Misconfigured("Set ORDERFLOW_REDIS to the address of the Redis that is the cache.")
    return settings.redis.get_secret_value()


_encode = json.Encoder().encode
_decode = json.Decoder(Seen).decode
