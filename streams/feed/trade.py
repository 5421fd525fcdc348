"""
A seeded trade: which orders are placed, what becomes of each, and when each statement is sent.

Promise: the same `Trade` gives the same statements in the same sequence, bytes and all, however
fast they are sent. Statements that are still to come wait in a heap, so a feed of any length takes
little memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from schemas.base import order_key
from schemas.errors import Rejected
from streams.feed.payloads import GENERATED, Draft, DraftLine, Step

#: The shop that every generated order of a platform belongs to.
SHOP = "generated"
#: A late payment comes this long after its hold ran out.
LATE_BY_S = 3.0
#: Orders a second that seconds are counted in where nothing is paced.
UNPACED_RATE = 1_000.0
_LINES = 3
_UNITS_MAX = 3
_PRICE_MIN, _PRICE_MAX = 500, 20_000
#: The first id of each platform, the distance between two orders and between two seeds.
_IDS: dict[str, tuple[int, int, int]] = {
    "taobao": (2_700_000_000_000_000_000, 10_000, 10**12),
    "tmall": (2_800_000_000_000_000_000, 10_000, 10**12),
    "douyin": (6_900_000_000_000_000_000, 10_000, 10**12),
    "shopify": (6_000_000_000_000, 10, 10**10),
}
_SEEDS = {"shopify": 100}
_SEEDS_MAX = 10_000


class ImpossibleTrade(Rejected):
    """These options describe no trade."""


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What is generated. Shares are of all orders, from 0 to 1."""

    orders: int
    seed: int = 1
    #: Orders a second; 0 is as fast as it goes.
    rate: float = 0.0
    platforms: tuple[str, ...] = ("taobao", "douyin", "shopify")
    skus: int = 500
    #: One SKU in so many is scarce; 0 is none.
    scarce: int = 50
    duplicates: float = 0.0
    #: A duplicate is said again so often at most.
    repeats: int = 1
    reorder: float = 0.0
    #: Half of them before payment, half after.
    cancel: float = 0.0
    #: Paid after their hold ran out.
    late_payments: float = 0.0
    #: Never paid, so that their hold runs out.
    abandoned: float = 0.0
    shipped: float = 0.3
    #: Paid with one unit more or less of the first line than was ordered.
    edited: float = 0.0
    #: Of what is shipped, in two parcels.
    parcels: float = 0.0
    #: Nothing but the first statement of each order.
    unpaid: bool = False
    #: How long the shop holds an unpaid order, as its reference data says.
    hold_for_s: float = 6.0
    #: When the first order was created by its platform's clock, seconds since 1970.
    starts_s: int = 1_767_225_600

    def __post_init__(self) -> None:
        """Refuse what could not be generated, and say which option to change."""
        for platform in self.platforms:
            if platform not in GENERATED:
                raise ImpossibleTrade(
                    f"platforms: orders of {platform!r} cannot be generated; "
                    f"choose from {', '.join(GENERATED)}"
                )
        least = (self.orders, self.rate, self.skus - _LINES, self.repeats - 1)
        if not self.platforms or min(least) < 0:
            raise ImpossibleTrade(
                f"give at least one platform, {_LINES} SKUs, one repeat, and no negative number"
            )
        fates = self.cancel + self.late_payments + self.abandoned
        shares = (
            self.duplicates, self.reorder, self.shipped, self.edited, self.parcels, fates,
        )  # fmt: skip
        if min(self.cancel, self.late_payments, self.abandoned, *shares) < 0 or max(shares) > 1:
            raise ImpossibleTrade(
                "every share lies between 0% and 100%, and so does the sum of what is cancelled, "
                "paid late or abandoned"
            )

    def sku(self, number: int) -> str:
        """Return the name of the SKU with this *number*."""
        return f"GEN-{number:05d}"

    def is_scarce(self, number: int) -> bool:
        """Say whether this SKU is one that runs out."""
        return bool(self.scarce) and number % self.scarce == 0

    def stock(self) -> dict[str, int]:
        """Return what has to be received before: plenty of most SKUs, a fifth of the scarce."""
        wanted = self.orders * _LINES * (_UNITS_MAX + 1) / 2 / self.skus
        plenty, few = int(wanted * 4) + 100, int(wanted / 5) + 1
        return {
            self.sku(number): few if self.is_scarce(number) else plenty
            for number in range(self.skus)
        }


class Statement(NamedTuple):
    """One message of the trade."""

    #: Seconds after the feed began.
    due_s: float
    #: Rises by one with every statement; breaks ties.
    number: int
    draft: Draft
    step: Step
    #: Sent before, byte for byte.
    duplicate: bool
    #: Sent after the hold ran out, on purpose.
    late: bool
    #: Sent before its predecessor.
    early: bool

    @property
    def key(self) -> str:
        """The key under which the house knows the order."""
        return order_key(self.draft.platform, self.draft.shop, str(self.draft.id))


def statements(trade: Trade) -> Iterator[Statement]:
    """Yield what is said, by the time at which it is due."""
    rng = Random(trade.seed)  # noqa: S311  a trade is repeated by its seed; nothing here is secret
    rate = trade.rate or UNPACED_RATE
    waiting: list[Statement] = []
    number = 0
    for nth in range(trade.orders):
        placed_s = nth / rate
        while waiting and waiting[0].due_s <= placed_s:
            yield heappop(waiting)
        draft = _draft(trade, rng, nth)
        for said in _life(trade, rng, draft, placed_s):
            heappush(waiting, said._replace(number=number))
            number += 1
    while waiting:
        yield heappop(waiting)


def _draft(trade: Trade, rng: Random, nth: int) -> Draft:
    platform = trade.platforms[nth % len(trade.platforms)]
    first, apart, seed_apart = _IDS[platform]
    seed = trade.seed % _SEEDS.get(platform, _SEEDS_MAX)
    lines = []
    for _ in range(_LINES):
        number = int(rng.random() * trade.skus)
        quantity = 1 + int(rng.random() * _UNITS_MAX)
        price = _PRICE_MIN + int(rng.random() * (_PRICE_MAX - _PRICE_MIN))
        lines.append(DraftLine(trade.sku(number), number, quantity, price))
    discount = 300 if rng.random() < 0.2 else 0
    shipping = 600 if platform != "douyin" and rng.random() < 0.2 else 0
    return Draft(
        platform,
        SHOP,
        first + seed * seed_apart + nth * apart,
        trade.starts_s + int(nth / (trade.rate or UNPACED_RATE)),
        tuple(lines),
        discount,
        shipping,
    )


def _life(trade: Trade, rng: Random, draft: Draft, placed_s: float) -> list[Statement]:
    """Return the statements of one order: its fate, then what the network does to them."""
    life, late = _fate(trade, rng)
    ordered, draft = draft, _edited(draft) if _happens(rng, trade.edited) else draft
    if Step.SHIPPED in life and _happens(rng, trade.parcels):
        life = (*life[:-1], Step.PARCEL, life[-1])
    due_s, said = placed_s, []
    for step in life:
        about = ordered if step is Step.CREATED else draft
        said.append(Statement(due_s, 0, about, step, duplicate=False, late=False, early=False))
        due_s += 0.3 + 1.7 * rng.random()
    if late:
        paid_s = placed_s + trade.hold_for_s + LATE_BY_S
        said = [
            said[0],
            *(
                one._replace(due_s=paid_s + (one.due_s - said[1].due_s), late=True)
                for one in said[1:]
            ),
        ]
    elif len(said) > 1 and rng.random() < trade.reorder:
        first, second, *rest = said
        early = second._replace(due_s=first.due_s, early=True)
        said = [early, first._replace(due_s=second.due_s), *rest]
    if rng.random() < trade.duplicates:
        again = said[int(rng.random() * len(said))]
        more = int(rng.random() * trade.repeats) if trade.repeats > 1 else 0
        said += [
            again._replace(due_s=again.due_s + 2 * rng.random(), duplicate=True)
            for _ in range(1 + more)
        ]
    return said


def _happens(rng: Random, share: float) -> bool:
    """Say whether it does; what never happens draws nothing, so older trades stay as they were."""
    return share > 0 and rng.random() < share


def _edited(draft: Draft) -> Draft:
    """Return the order as the buyer changed it: one unit more or less of its first line."""
    first, *rest = draft.lines
    units = first.quantity - 1 if first.quantity > 1 else first.quantity + 1
    return draft._replace(lines=(first._replace(quantity=units), *rest))


def _fate(trade: Trade, rng: Random) -> tuple[tuple[Step, ...], bool]:
    """Return the steps of one order, and whether it is paid late."""
    fate, ships = rng.random(), rng.random() < trade.shipped
    if trade.unpaid or fate < trade.abandoned:
        return (Step.CREATED,), False
    fate -= trade.abandoned
    if fate < trade.cancel:
        if fate < trade.cancel / 2:
            return (Step.CREATED, Step.CANCELLED), False
        return (Step.CREATED, Step.PAID, Step.REFUNDED), False
    late = fate - trade.cancel < trade.late_payments
    if ships:
        return (Step.CREATED, Step.PAID, Step.SHIPPED), late
    return (Step.CREATED, Step.PAID), late
