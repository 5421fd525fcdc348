"""
What pages and reports ask of the figures: one statement, whatever is asked.

Promises: money of two currencies is never added up; a rate or a mean of nothing is no number; a
question has a limit, so that a page is quick whatever is asked for.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, NamedTuple

from schemas.errors import Rejected
from streams.figures.restating import SLOT_ENDS_MS
from streams.postgres.queries import sql

#: Unit -> days that may be asked for at once.
UNITS: Final[dict[str, int]] = {"hour": 31, "day": 400, "week": 1_100, "month": 1_100}
#: Order-flow times are told of so many days at most.
FLOW_DAYS_MAX: Final = 31
#: From where to where: the columns of `figures_flow`.
STAGES: Final = ("raw", "normalised", "reserved", "ledger", "whole")
_RATE_DIGITS = Decimal("0.0001")


class Asked(NamedTuple):
    """What is asked; None is any, an empty text is what nobody said."""

    since: date
    #: Included.
    until: date
    unit: str = "day"
    platform: str | None = None
    shop: str | None = None
    country: str | None = None
    province: str | None = None
    currency: str | None = None

    def check(self) -> None:
        """Raise Rejected for what cannot be asked."""
        if self.unit not in UNITS:
            raise Rejected("unknown_word")
        if self.until < self.since:
            raise Rejected("bad_days")
        if (self.until - self.since).days >= UNITS[self.unit]:
            raise Rejected("too_many_days")


class Line(NamedTuple):
    """The figures of one thing in one currency; money in minor units. docs/figures.md."""

    currency: str
    orders: int
    #: Of those, with a total.
    priced: int
    gmv: int
    #: Of the orders, so many came back since, and so much money went back.
    returned: int
    refunded: int
    #: Came back then, whenever they were placed, and the money.
    back: int
    back_refunded: int
    #: By time: its first day, and its first instant where it is an hour.
    day: date | None = None
    hour: datetime | None = None
    platform: str = ""
    shop: str = ""
    country: str = ""
    province: str = ""

    @property
    def average(self) -> int | None:
        """What an order comes to, in minor units, half a unit rounded up."""
        if not self.priced:
            return None
        return int((Decimal(self.gmv) / self.priced).quantize(Decimal(1), ROUND_HALF_UP))

    @property
    def return_rate(self) -> Decimal | None:
        """The share of the orders that came back."""
        return _share(self.returned, self.orders)

    @property
    def back_rate(self) -> Decimal | None:
        """Those that came back then, against the orders placed then."""
        return _share(self.back, self.orders)


def _share(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / whole).quantize(_RATE_DIGITS, ROUND_HALF_UP) if whole else None


class Figures(NamedTuple):
    """The same orders four times: in all, by time, by shop, by region; each by currency."""

    totals: list[Line]
    times: list[Line]
    shops: list[Line]
    regions: list[Line]


async def figures(connection: Any, asked: Asked) -> Figures:
    """Return what is *asked*. *connection* is one, or a pool of them."""
    asked.check()
    rows = await connection.fetch(
        sql("figures"), asked.unit, asked.since, asked.until, asked.platform, asked.shop,
        asked.country, asked.province, asked.currency,
    )  # fmt: skip
    found = Figures([], [], [], [])
    for row in rows:
        _place(found, row).append(_line(row))
    return found


def _place(found: Figures, row: Any) -> list[Line]:
    if row["by_time"]:
        return found.times
    if row["by_shop"]:
        return found.shops
    return found.regions if row["by_region"] else found.totals


def _line(row: Any) -> Line:
    return Line(
        currency=row["currency"],
        orders=row["orders"],
        priced=row["priced"],
        gmv=int(row["gmv"]),
        returned=row["returned"],
        refunded=int(row["refunded"]),
        back=row["back"],
        back_refunded=int(row["back_refunded"]),
        day=row["span"],
        hour=row["hour"],
        platform=row["platform"] or "",
        shop=row["shop"] or "",
        country=row["country"] or "",
        province=row["province"] or "",
    )


def last_day(line: Line, unit: str) -> date:
    """Return the last day of the time that *line* is of."""
    if line.day is None:
        raise AssertionError("a line by time has its day")
    match unit:
        case "week":
            return line.day + timedelta(days=6)
        case "month":
            later = line.day + timedelta(days=31)
            return later.replace(day=1) - timedelta(days=1)
        case _:
            return line.day


# --- order-flow time ------------------------------------------------------------------------------


class Flow(NamedTuple):
    """How long orders took to a stage: so many of them, half and 95 % of them within, ms."""

    stage: str
    orders: int
    #: The end of the slot it falls into; None: longer than the last slot's end.
    half_ms: int | None
    most_ms: int | None


async def flow(
    connection: Any, since: datetime, until: datetime, platform: str | None, shop: str | None
) -> list[Flow]:
    """Return how long the orders took that were received from *since* to before *until*."""
    rows = await connection.fetch(sql("figures_flow_taken"), since, until, platform, shop)
    return [_flow(stage, [(row["slot"], row[stage]) for row in rows]) for stage in STAGES]


def _flow(stage: str, slots: Iterable[tuple[int, int]]) -> Flow:
    counted = [(slot, count) for slot, count in slots if count]
    orders = sum(count for _, count in counted)
    return Flow(stage, orders, _within(counted, orders, 50), _within(counted, orders, 95))


def _within(slots: list[tuple[int, int]], orders: int, percent: int) -> int | None:
    """Return the end of the slot within which *percent* of the orders are."""
    so_far = 0
    for slot, count in slots:
        so_far += count
        if so_far * 100 >= orders * percent:
            return SLOT_ENDS_MS[slot] if slot < len(SLOT_ENDS_MS) else None
    return None
