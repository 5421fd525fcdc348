"""
The daily report: what is said of a day, and what is said later where late events changed it.

A report is of one day of each shop, by the shop's own zone and its platform's cut; it is made from
the figures the pages show, by the same statement. Nothing that was said is ever written over: a day
whose figures are other ones now gets another version, and the page shows the first and the last.

Promises. Whatever days an outage has left out are made up for by the next run; of several runs at
once one writes, and a run that finds nothing new writes nothing.
"""

from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from schemas.errors import Rejected
from streams.figures import asking
from streams.figures.clocks import Clocks
from streams.figures.restating import NAME, SESSION, Progress, restate
from streams.postgres.connecting import connected
from streams.postgres.queries import sql

#: So far back what was reported is compared with the figures of now, and days are made up for.
DAYS_MAX: Final = 400


class NotOver(Rejected):
    """The day is not over."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One shop, or one region, in one currency; as `asking.Line` has it."""

    platform: str = ""
    shop: str = ""
    country: str = ""
    province: str = ""
    currency: str
    orders: int
    priced: int
    gmv: int
    returned: int
    refunded: int
    back: int
    back_refunded: int

    def line(self) -> asking.Line:
        """Return it as the pages show it."""
        return asking.Line(**msgspec.structs.asdict(self))


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a day."""

    shops: tuple[Entry, ...] = ()
    regions: tuple[Entry, ...] = ()


class Version(NamedTuple):
    """What was said of a day at one time."""

    version: int
    made_at: datetime
    report: Report


class Written(NamedTuple):
    """What a run did about a day: `new`, `restated`, or `same` where it was asked for by name."""

    day: date
    version: int
    outcome: str


_decode = msgspec.json.Decoder(Report).decode


async def write_due(
    dsn: str,
    clocks: Clocks,
    company_zone: str,
    now: datetime,
    progress: Progress,
    only: date | None = None,
) -> list[Written]:
    """
    Bring the figures up to date, and say of every day what is new.

    Of *only* one day; or of each from the last that was reported to yesterday in the company's
    zone, and of those reported before whose figures changed. Raises NotOver, LedgerUnavailable.
    """
    yesterday = now.astimezone(ZoneInfo(company_zone)).date() - timedelta(days=1)
    if only is not None and only > yesterday:
        raise NotOver(f"{only} is not over in {company_zone}; the last day that is: {yesterday}.")
    await restate(dsn, clocks, company_zone, progress)
    async with connected(dsn, name=NAME, **SESSION) as connection, connection.transaction():
        await connection.execute(sql("reports_one_at_a_time"))
        oldest = yesterday - timedelta(days=DAYS_MAX - 1)
        latest = await _latest(connection, only or oldest, only or yesterday)
        days = [only] if only is not None else _due(latest, yesterday)
        written = [await _said(connection, day, latest.get(day)) for day in days]
    return [each for each in written if each.outcome != "same" or only is not None]


def _due(latest: dict[date, Version], yesterday: date) -> list[date]:
    """Return the days that were reported lately, and all since; the first run has one."""
    if not latest:
        return [yesterday]
    last = max(latest)
    return [*sorted(latest), *(last + timedelta(n) for n in range(1, (yesterday - last).days + 1))]


async def _latest(connection: Any, first: date, last: date) -> dict[date, Version]:
    rows = await connection.fetch(sql("reports_latest"), first, last)
    return {row["day"]: _version(row) for row in rows}


async def _said(connection: Any, day: date, before: Version | None) -> Written:
    report = await made(connection, day)
    if before is not None and before.report == report:
        return Written(day, before.version, "same")
    version = before.version + 1 if before else 1
    figures = msgspec.json.encode(report).decode()
    await connection.execute(sql("add_report"), day, version, figures)
    return Written(day, version, "restated" if before else "new")


async def made(connection: Any, day: date) -> Report:
    """Return what is to be said of *day* by the figures of now."""
    found = await asking.figures(connection, asking.Asked(day, day))
    return Report(
        shops=tuple(sorted(_entry(line) for line in found.shops)),
        regions=tuple(sorted(_entry(line) for line in found.regions)),
    )


def _entry(line: asking.Line) -> Entry:
    values = line._asdict()
    return Entry(**{name: values[name] for name in Entry.__struct_fields__})


def _version(row: Any) -> Version:
    return Version(row["version"], row["made_at"], _decode(row["figures"]))


async def versions(connection: Any, day: date) -> list[Version]:
    """Return all that was said of *day*, first to last."""
    return [_version(row) for row in await connection.fetch(sql("report_versions"), day)]


def totals(entries: tuple[Entry, ...]) -> list[Entry]:
    """Return what *entries* come to, by currency."""
    found: dict[str, Entry] = {}
    sums = ("orders", "priced", "gmv", "returned", "refunded", "back", "back_refunded")
    for each in entries:
        before = found.get(each.currency)
        values = {
            name: getattr(each, name) + (getattr(before, name) if before else 0) for name in sums
        }
        found[each.currency] = Entry(currency=each.currency, **values)
    return [found[currency] for currency in sorted(found)]
