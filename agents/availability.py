"""
What is left to sell: the newest balance and quotas of every SKU, as the public events state them.

A cache is written from it and no decision is ever taken by it. Promises: the order and the number
in which events come do not matter, because each carries its version and only a greater one counts;
so repeats, replays and two writers at once are harmless, and nothing has to be numbered. An event
that cannot be read is passed over: the ledger parks the same record.

A hold draws from its quota in two moves, and between them its units are in the pool for nobody to
have. So the balance after a draw does not count: the hold's own, of the next version, follows.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

from msgspec import DecodeError, Meta, Struct, json

from schemas.base import Sku, Units


class Balance(Struct, frozen=True, kw_only=True, gc=False):
    """What one SKU has to sell after the move that made this version of it."""

    sku: Sku
    #: Of the move, from 1 without a gap; 0: the ledger knows no such SKU.
    version: Units
    #: Time of the move, ms.
    at_ms: int = 0
    available: Units = 0
    #: While more is held than is there, nothing is sold: not from a quota either.
    shortfall: Units = 0


class Quota(NamedTuple):
    """What is left of one SKU's quota, and when it counts."""

    #: Of the balance, after the moves of the command that changed it; 0: there is none. The end of
    #: its window may state once more the version that emptied it: both say that nothing is left.
    version: Units
    #: The window, ms: from the first to before the second.
    starts_ms: int = 0
    ends_ms: int = 0
    #: Nothing once it has ended: what was left is in the pool again.
    left: Units = 0

    def left_at(self, at_ms: int) -> int:
        """Return how many units its holds may draw at this time."""
        return self.left if self.starts_ms <= at_ms < self.ends_ms else 0


class QuotaOf(NamedTuple):
    """Whose a quota is."""

    sku: str
    quota: str


#: Of no SKU.
NO_QUOTA = Quota(0)


class Newest(Struct, frozen=True, gc=False):
    """What a frame comes to."""

    balances: dict[str, Balance]
    quotas: dict[QuotaOf, Quota] = {}
    #: Records that could not be read.
    unread: int = 0


class Record(Protocol):
    """What is read of a Kafka record."""

    value: bytes | None


class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


K = TypeVar("K")
V = TypeVar("V", bound=_Versioned)


def newest(records: Iterable[Record]) -> Newest:
    """Return the newest balances and quotas that *records* of `stock-events` tell of."""
    balances: dict[str, Balance] = {}
    quotas: dict[QuotaOf, Quota] = {}
    unread = 0
    for record in records:
        event = _read(record)
        if event is None:
            unread += 1
        elif event.event == MOVED and event.verb != _DRAW:
            keep(balances, event.sku, _balance(event))
        elif event.event == QUOTA:
            keep(quotas, QuotaOf(event.sku, event.quota or ""), _quota(event))
    return Newest(balances, quotas, unread)


def keep(found: dict[K, V], key: K, value: V) -> bool:
    """Keep *value* under *key* unless what is there is as new; say whether it was kept."""
    known = found.get(key)
    if known is not None and value.version <= known.version:
        return False
    found[key] = value
    return True


def newer(one: Mapping[K, V], other: Mapping[K, V]) -> dict[K, V]:
    """Return the newer balance, or quota, of everything that either knows."""
    found = dict(one)
    for key, value in other.items():
        keep(found, key, value)
    return found


def sellable(available: int, shortfall: int, quota: int, buffer: int) -> int:
    """Return how much a channel may offer: the shared pool and its own quota, less its buffer."""
    return max(0, available + (0 if shortfall else quota) - buffer)


#: `event` of a StockMoved and of a QuotaChanged: the only ones that state a balance, and a quota.
MOVED, QUOTA = "stock.moved", "stock.quota"
_DRAW = "draw"


class _Event(Struct, gc=False):
    """What is read of a stock event; the rest is passed over by the decoder."""

    event: str = ""
    sku: Sku = "?"
    version: Annotated[int, Meta(ge=1)] = 1
    at_ms: int = 0
    verb: str = ""
    available: Units = 0
    shortfall: Units = 0
    quota: str | None = None
    starts_ms: int = 0
    ends_ms: int = 0
    left: Units = 0


_decode: Any = json.Decoder(_Event).decode


def _read(record: Record) -> _Event | None:
    try:
        event: _Event = _decode(record.value or b"")
    except DecodeError:
        return None
    if event.event == QUOTA and not (event.quota and event.starts_ms < event.ends_ms):
        return None
    return event


def _balance(event: _Event) -> Balance:
    return Balance(
        sku=event.sku,
        version=event.version,
        at_ms=event.at_ms,
        available=event.available,
        shortfall=event.shortfall,
    )


def _quota(event: _Event) -> Quota:
    return Quota(event.version, event.starts_ms, event.ends_ms, event.left)
