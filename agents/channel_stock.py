"""
What a shop's channel is told of our stock, and when it is due.

A push says one number, and the version of the balance it comes from. It is due when that number
is not the one the channel was told last. What a platform states about stock is never a cause of
one: only what our own stock keeper says of a balance or of the shop's quota is, and the clock where
a quota's window opens or ends; no platform's message makes the keeper move. So our push, coming
back as the platform's update, ends there (cases.md T44).

The version never falls, and may stay where the number changes: a window or a buffer moves no stock,
and one command's balance and quota may be read in two frames. So a receiver drops what is older
than what it has, and of equal versions takes the one that comes last: a channel is told one request
at a time.

A shop is told at its own address (`stock_url`), or by its platform's API: then what waits is a
`Level`, the number of one listing, and of two of one listing the later one alone is worth telling.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from msgspec import Struct, json

from agents.availability import NO_QUOTA, Balance, Newest, Quota, QuotaOf, keep, sellable
from agents.reference import ANY_SHOP
from schemas.reference import Reference, Shop, SkuMapping


class Channel(NamedTuple):
    """A shop that is told what it may sell."""

    #: `platform:shop`.
    name: str
    #: Empty: by its platform's API.
    url: str
    buffer: int
    #: The quota its holds draw from first; empty: none.
    quota: str = ""

    @property
    def remembered_as(self) -> str:
        """What it was told is remembered under this: told another way, it was told nothing yet."""
        return self.name if self.url else f"{self.name}/api"


class Push(NamedTuple):
    """What one channel is told of one SKU."""

    sku: str
    #: What the channel calls it; more than one where several listings sell it.
    theirs: tuple[str, ...]
    quantity: int
    #: Of the balance: a receiver drops what is older than what it has, and takes an equal one.
    version: int
    #: Time of the move that made this version.
    at_ms: int


class Level(Struct, frozen=True, kw_only=True, gc=False):
    """What a platform's API is told of one listing: its number, never a difference."""

    platform: str
    shop: str
    #: Ours.
    sku: str
    #: What the shop calls it.
    theirs: str
    quantity: int
    #: Of the balance, and the time of the move that made it.
    version: int
    at_ms: int


def levels_of(channel: Channel, pushes: Iterable[Push]) -> list[Level]:
    """Return what *pushes* have the platform be told, a listing each."""
    platform, _, shop = channel.name.partition(":")
    return [
        Level(
            platform=platform,
            shop=shop,
            sku=push.sku,
            theirs=theirs,
            quantity=push.quantity,
            version=push.version,
            at_ms=push.at_ms,
        )
        for push in pushes
        for theirs in push.theirs
    ]


def level_in(body: bytes) -> Level:
    """Return the level that a queue kept. Raises msgspec.DecodeError, msgspec.ValidationError."""
    return _decode_level(body)


class Told(NamedTuple):
    """What a channel was told last of one SKU."""

    version: int
    quantity: int


class ChannelStock(Protocol):
    """The way out to a shop's channel."""

    async def push(self, channel: Channel, pushes: Sequence[Push]) -> None:
        """
        Tell *channel*; it has taken all of them when this returns.

        Raises ChannelUnavailable when waiting may help, ChannelRefused when it will not.
        """
        ...


class ToldMemory(Protocol):
    """What was told last. It may forget: that costs one push more."""

    async def recall(self, channel: str, skus: Sequence[str]) -> Mapping[str, Told]:
        """Return what is remembered of *skus*."""
        ...

    async def remember(self, channel: str, pushes: Sequence[Push]) -> None:
        """Take note that *channel* was told."""
        ...


def due(
    channel: Channel,
    balance: Balance,
    left: int,
    theirs: tuple[str, ...],
    told: Told | None,
) -> Push | None:
    """
    Return what *channel* has to be told now, with so many units *left* in its open quota.

    None where it knows, or knows something newer.
    """
    quantity = sellable(balance.available, balance.shortfall, left, channel.buffer)
    if not theirs or (told and (balance.version < told.version or quantity == told.quantity)):
        return None
    return Push(balance.sku, theirs, quantity, balance.version, balance.at_ms)


class Known:
    """
    The newest balance and quotas of the SKUs that were told of, by events or by the ledger.

    An event tells of one of the two, and a push needs both.
    """

    def __init__(self) -> None:
        self._balances: dict[str, Balance] = {}
        self._quotas: dict[QuotaOf, Quota] = {}
        #: When a window opens or ends; one that was replaced since does no harm.
        self._turns: list[tuple[int, QuotaOf]] = []

    def take(self, found: Newest) -> None:
        """Take what is newer than what is known."""
        for sku, balance in found.balances.items():
            keep(self._balances, sku, balance)
        for whose, quota in found.quotas.items():
            before = self._quotas.get(whose, NO_QUOTA)
            kept = quota.version > 0 and keep(self._quotas, whose, quota)
            if kept and (quota.starts_ms, quota.ends_ms) != (before.starts_ms, before.ends_ms):
                heappush(self._turns, (quota.starts_ms, whose))
                heappush(self._turns, (quota.ends_ms, whose))

    def balance(self, sku: str) -> Balance | None:
        """Return its balance, if it was told of."""
        return self._balances.get(sku)

    def left(self, whose: QuotaOf, balance: Balance, at_ms: int) -> int | None:
        """
        Return what may be drawn at this time beside this *balance*.

        None where the balance is older than the quota: the newer one is on its way.
        """
        quota = self._quotas.get(whose, NO_QUOTA)
        return quota.left_at(at_ms) if quota.version <= balance.version else None

    def turned(self, at_ms: int) -> set[QuotaOf]:
        """Return the quotas whose window has opened or ended by now, once; forget the ended."""
        turned = set()
        while self._turns and self._turns[0][0] <= at_ms:
            _, whose = heappop(self._turns)
            turned.add(whose)
            if self._quotas.get(whose, NO_QUOTA).ends_ms <= at_ms:
                self._quotas.pop(whose, None)
        return turned


class Channels:
    """The shops that are told, by the reference data; filled as the directory is."""

    def __init__(self) -> None:
        self._shops: dict[bytes, Shop] = {}
        self._mappings: dict[bytes, SkuMapping] = {}
        #: Channel -> our SKU -> theirs.
        self._listed: dict[str, dict[str, list[str]]] = {}
        #: Shops whose platforms can be told by their APIs.
        self._by_api: AbstractSet[str] = frozenset()
        #: Channels that were changed, or are new: they may have to be told of any SKU.
        self.changed: set[str] = set()

    def put(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the `reference` topic; raises msgspec.DecodeError on foreign bytes."""
        entry = None if value is None else _decode(value)
        self._shops.pop(key, None)
        self._unlist(self._mappings.pop(key, None))
        if not isinstance(entry, Shop | SkuMapping):
            return
        name = f"{entry.platform}:{entry.shop}"
        self.changed.add(name)
        if isinstance(entry, Shop):
            self._shops[key] = entry
        else:
            self._mappings[key] = entry
            self._listed.setdefault(name, {}).setdefault(entry.ours, []).append(entry.theirs)

    def by_api(self, names: AbstractSet[str]) -> None:
        """Take note of the shops whose platforms can be told by their APIs now."""
        self.changed |= names - self._by_api
        self._by_api = names

    def _unlist(self, entry: SkuMapping | None) -> None:
        if entry is not None:
            self._listed[f"{entry.platform}:{entry.shop}"][entry.ours].remove(entry.theirs)

    def all(self) -> Iterable[Channel]:
        """
        Return every shop that can be told: at its own address, or else by its platform's API.

        One that stands for any shop has neither.
        """
        for shop in self._shops.values():
            name = f"{shop.platform}:{shop.shop}"
            if shop.shop != ANY_SHOP and (shop.stock_url or name in self._by_api):
                yield Channel(name, shop.stock_url, shop.safety_buffer, shop.quota)

    def channel(self, name: str) -> Channel | None:
        """Return one channel as it is now; None when it is not told any more."""
        return next((each for each in self.all() if each.name == name), None)

    def theirs(self, channel: str, sku: str) -> tuple[str, ...]:
        """Return what *channel* calls our *sku*; nothing where it does not sell it."""
        listed = self._listed.get(channel, {}).get(sku)
        if listed:
            return tuple(sorted(listed))
        platform, _, shop = channel.partition(":")
        known = self._shops.get(f"shop/{platform}/{shop}".encode())
        return (sku,) if known and known.sku_mapping == "identity" else ()


_decode = json.Decoder(Reference).decode
_decode_level = json.Decoder(Level).decode
