"""
Orders as finance reads them: in one currency, each with the dated rate it was converted by, and the
tax of the region it went to.

Promises: an amount is converted once, exactly, by the rate of the day the order was placed in the
company's zone, or of the last day before it that is less than `rates.DAYS_MAX` days old. Where
nobody said a rate there is no amount, and it is told how many orders that concerns: nothing is made
up and nothing is left out in silence. What a platform says of tax counts; only where it says none
and prices there have the tax in them is it taken out of the total by the region's rate.
"""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import Rejected
from streams.adapters.currencies import DIGITS
from streams.markets import MARKETS
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.rates import DAYS_MAX, converted

#: One question is about so many orders at most.
ORDERS_MAX = 200_000
#: Countries whose prices have the tax in them.
_WITH_TAX = frozenset(each.tax_country for each in MARKETS.values() if each.prices_with_tax)


class TooMany(Rejected):
    """More orders than one answer can hold."""


class Line(NamedTuple):
    """One order; amounts are minor units of `currency`, those `in_company` of the company's."""

    order: str
    platform: str
    shop: str
    day: date
    status: str
    refund: str
    currency: str
    total: int | None
    refunded: int | None
    tax: int | None
    #: Who says so: the platform, the region's rate, or nobody.
    tax_by: str
    country: str
    region: str
    tax_rate: Decimal | None
    #: One unit of `currency` in the company's; none: nobody said it.
    rate: Decimal | None
    rate_day: date | None
    total_in_company: int | None
    refunded_in_company: int | None
    tax_in_company: int | None


class Sum(NamedTuple):
    """All orders of a status in one currency."""

    status: str
    currency: str
    orders: int
    total: int
    #: Orders of which something could not be converted: no rate, or no total.
    left_out: int
    total_in_company: int


async def read(dsn: str, into: str, first: date, last: date, zone: str) -> list[Line]:
    """
    Return the orders placed from *first* to *last*, both included, by their days in *zone*.

    Raises TooMany, LedgerUnavailable, Misconfigured.
    """
    here = ZoneInfo(zone)
    since = datetime.combine(first, time(), here)
    until = datetime.combine(last + timedelta(days=1), time(), here)
    async with connected(dsn, name="orderflow-turnover") as connection:
        rows = await connection.fetch(
            sql("orders_with_rates"), since, until, into, zone, DAYS_MAX, ORDERS_MAX + 1
        )
    if len(rows) > ORDERS_MAX:
        raise TooMany(f"More than {ORDERS_MAX:,} orders were placed then; ask for fewer days.")
    return [line(dict(row), into) for row in rows]


def line(row: dict[str, Any], into: str) -> Line:
    """Return one order with its amounts in *into*."""
    currency, total = row["currency"] or "", row["total_minor"]
    rate, tax_rate = row["rate"], row["tax_rate"]
    country = row["country"] or ""
    tax, tax_by = row["tax_minor"], "platform"
    if tax is None:
        known = total is not None and tax_rate is not None and country in _WITH_TAX
        tax = _in_it(total, tax_rate) if known else None
        tax_by = "rate" if known else ""

    def company(minor: int | None) -> int | None:
        if minor is None or rate is None or currency not in DIGITS:
            return None
        return converted(minor, currency, rate, into)

    return Line(
        order=row["order_key"], platform=row["platform"], shop=row["shop"], day=row["day"],
        status=row["status"] or "", refund=row["refund"] or "", currency=currency, total=total,
        refunded=row["refunded_minor"], tax=tax, tax_by=tax_by, country=country,
        region=row["region"], tax_rate=tax_rate, rate=rate, rate_day=row["rate_day"],
        total_in_company=company(total), refunded_in_company=company(row["refunded_minor"]),
        tax_in_company=company(tax),
    )  # fmt: skip


def _in_it(total: int, rate: Decimal) -> int:
    """Return the tax that is in a *total*: of 119 at 19 % it is 19."""
    tax = Decimal(total) * rate / (1 + rate)
    return int(tax.quantize(Decimal(1), ROUND_HALF_UP))


def sums(lines: Iterable[Line]) -> list[Sum]:
    """Add up by status and currency; what could not be converted is counted beside."""
    found: dict[tuple[str, str], Sum] = {}
    for each in lines:
        key = each.status, each.currency
        before = found.get(key, Sum(*key, 0, 0, 0, 0))
        found[key] = before._replace(
            orders=before.orders + 1,
            total=before.total + (each.total or 0),
            left_out=before.left_out + (each.total_in_company is None),
            total_in_company=before.total_in_company + (each.total_in_company or 0),
        )
    return [found[key] for key in sorted(found)]
