"""
Exchange rates by day and tax rates by region, as people and their files say them.

Promises: money never becomes binary floating point; a rate is never older than a named number of
days, never turned around and never made up: where there is none, that is the answer. A file is
taken whole or not at all, with a verdict for every row.
"""

import csv
from collections.abc import Callable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import Rejected
from streams.adapters.currencies import DIGITS
from streams.postgres.connecting import connected
from streams.postgres.queries import sql

Row = dict[str, Any]

#: Markets are closed over long holidays; an older rate is none.
DAYS_MAX = 10
ROWS_MAX = 100_000
_DECIMALS_MAX = 12
_DAY_FIRST, _DAY_LAST = date(1990, 1, 1), date(2100, 1, 1)
_connected = partial(connected, name="orderflow-rates")


class BadRates(Rejected):
    """The file of rates cannot be used."""


class Verdict(NamedTuple):
    """What became of a row, or would: taken, or refused and why."""

    line: int
    outcome: str
    said: str = ""


class Kind(NamedTuple):
    """One kind of rates: its columns, how a row is read, and where it goes."""

    columns: tuple[str, ...]
    values: Callable[[Mapping[str, str]], tuple[Any, ...]]
    add: str


def converted(minor: int, currency: str, rate: Decimal, into: str) -> int:
    """Return *minor* units of *currency* in minor units of *into*, half a unit rounded up."""
    amount = Decimal(minor).scaleb(-DIGITS[currency]) * rate
    return int(amount.scaleb(DIGITS[into]).quantize(Decimal(1), ROUND_HALF_UP))


def _exchange(row: Mapping[str, str]) -> tuple[Any, ...]:
    base, quote = _currency(row["base"]), _currency(row["quote"])
    if base == quote:
        raise ValueError(f"{base} is {quote}; it needs no rate")
    rate = _decimal(row["rate"], "rate")
    if not 0 < rate < 10**_DECIMALS_MAX:
        raise ValueError(f"rate {row['rate']!r} is not above 0 and below 10^{_DECIMALS_MAX}")
    return base, quote, _day(row["day"]), rate


def _tax(row: Mapping[str, str]) -> tuple[Any, ...]:
    country, kind = row["country"], row["kind"] or "standard"
    if len(country) != 2 or not (country.isascii() and country.isalpha() and country.isupper()):
        raise ValueError(f"country {country!r} is no code of two capitals, such as DE")
    rate = _decimal(row["rate"], "rate")
    if not 0 <= rate < 1:
        raise ValueError(f"rate {row['rate']!r} is not from 0 to below 1; 19 % is 0.19")
    return country, row["region"], kind, _day(row["since"]), rate


EXCHANGE = Kind(("base", "quote", "day", "rate"), _exchange, "add_exchange_rate")
TAX = Kind(("country", "region", "kind", "since", "rate"), _tax, "add_tax_rate")


def _currency(said: str) -> str:
    if said not in DIGITS:
        raise ValueError(f"{said!r} is no currency of ISO 4217")
    return said


def _decimal(said: str, name: str) -> Decimal:
    try:
        found = Decimal(said)
    except InvalidOperation:
        raise ValueError(f"{name} {said!r} is no decimal number") from None
    exponent = found.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_DECIMALS_MAX:
        raise ValueError(f"{name} {said!r} is no number with at most {_DECIMALS_MAX} decimals")
    return found


def _day(said: str) -> date:
    try:
        found = date.fromisoformat(said)
    except ValueError:
        raise ValueError(f"{said!r} is no day such as 2026-11-11") from None
    if not _DAY_FIRST <= found < _DAY_LAST:
        raise ValueError(f"{said!r} is not between 1990 and 2100")
    return found


def read(file: Path, kind: Kind) -> tuple[list[tuple[Any, ...]], list[Verdict]]:
    """Return the rows' values and verdicts; raises BadRates where the file itself is at fault."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            if set(reader.fieldnames or ()) != set(kind.columns):
                raise BadRates(
                    f"{file}: the first line has to name the columns {', '.join(kind.columns)}."
                )
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise BadRates(f"{file}: {error.strerror}.") from error
    except (UnicodeError, csv.Error) as error:
        raise BadRates(f"{file}: not a CSV file in UTF-8: {error}.") from error
    if not 0 < len(rows) <= ROWS_MAX:
        raise BadRates(f"{file}: {len(rows)} rows; give 1 to {ROWS_MAX:,}.")
    return _judged(rows, kind)


def _judged(
    rows: list[tuple[int, dict[str, Any]]], kind: Kind
) -> tuple[list[tuple[Any, ...]], list[Verdict]]:
    values, verdicts = [], []
    for line, row in rows:
        try:
            if None in row or None in row.values():
                raise ValueError("the row has more or fewer cells than the first line")  # noqa: TRY301
            values.append(kind.values({name: said.strip() for name, said in row.items()}))
        except ValueError as error:
            verdicts.append(Verdict(line, "refused", str(error)))
        else:
            verdicts.append(Verdict(line, "taken"))
    return values, verdicts


async def write(dsn: str, kind: Kind, rows: list[tuple[Any, ...]], by: str, why: str) -> None:
    """Add *rows*, all of them or none. Raises LedgerUnavailable, Misconfigured."""
    async with _connected(dsn) as connection, connection.transaction():
        await connection.executemany(sql(kind.add), [(*row, by, why) for row in rows])


async def exchange_on(dsn: str, base: str, quote: str, day: date) -> Row | None:
    """Return what one unit of *base* was in *quote* on *day*; None: nobody said it."""
    async with _connected(dsn) as connection:
        row = await connection.fetchrow(sql("exchange_rate_on"), base, quote, day, DAYS_MAX)
        return None if row is None else dict(row)


async def tax_on(dsn: str, country: str, region: str, kind: str, day: date) -> Row | None:
    """Return the tax rate of a region on *day*, else its country's; None: nobody said it."""
    async with _connected(dsn) as connection:
        row = await connection.fetchrow(sql("tax_rate_on"), country, region, kind, day)
        return None if row is None else dict(row)
