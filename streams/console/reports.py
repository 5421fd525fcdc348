"""
The daily report: the days that were reported, and of each what was said first and what is said now.

What is said is kept (`streams/figures/reports`), so that a page and a file of the same version are
the same for ever; the lists behind the figures are those of now.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from starlette.responses import Response

from schemas.errors import Rejected
from streams.console.figures import Shown, leading, region
from streams.console.files import Cells, taken_away
from streams.console.money import amount
from streams.console.orders import NOT_SAID, a_day
from streams.console.page import Page, Visit, link
from streams.figures import reports
from streams.figures.asking import Line
from streams.figures.reports import Entry, Version
from streams.operations.operation import NotFound
from streams.operations.rights import Right
from streams.postgres.queries import sql

#: Days on a page of the list.
PAGE = 60
_NOTHING = Line("", 0, 0, 0, 0, 0, 0, 0)


class Compared(NamedTuple):
    """A shop, a region or all: what is said now, and what was first where that was different."""

    shown: Shown
    first: Line | None
    #: Its own day was over when this was said.
    is_over: bool = True


class Section(NamedTuple):
    """One table of a report."""

    title: str
    lines: list[Compared]


async def list_reports(visit: Visit) -> Response:
    """Show the days that were reported."""
    before = a_day(visit.asked.one("before"))
    async with visit.house.reads.lent() as connection:
        rows = await connection.fetch(sql("reports_listed"), before, PAGE + 1)
    more = rows[PAGE - 1]["day"] if len(rows) > PAGE else None
    return visit.show("reports.html", rows=rows[:PAGE], more=more)


async def show_report(visit: Visit) -> Response:
    """Show what was said of a day, first and now."""
    return await _shown(visit, "report.html")


async def print_report(visit: Visit) -> Response:
    """Show the report of a day for paper."""
    return await _shown(visit, "report_print.html")


async def _shown(visit: Visit, template: str) -> Response:
    day, said = await _versions(visit)
    over = await _over(visit, day, said[-1].made_at)
    return visit.show(template, day=day, said=said, sections=_sections(visit, day, said, over))


async def _versions(visit: Visit) -> tuple[date, list[Version]]:
    day = a_day(visit.asked.one("day"))
    if day is None:
        raise Rejected("bad_date")
    async with visit.house.reads.lent() as connection:
        said = await reports.versions(connection, day)
    if not said:
        raise NotFound("no_report")
    return day, said


async def _over(visit: Visit, day: date, at: datetime) -> Callable[[Entry], bool]:
    """Return how to tell whether the day of an entry's shop was over at *at*."""
    async with visit.house.reads.lent() as connection:
        clocks = await connection.fetch(sql("figures_clocks"))
    ends = {
        (each["platform"], each["shop"]): _ends(day, each["zone"], each["day_begins"])
        for each in clocks
    }

    def over(entry: Entry) -> bool:
        end = ends.get((entry.platform, entry.shop))
        return end is None or end <= at

    return over


def _ends(day: date, zone: str, day_begins: int) -> datetime:
    begins = time(day_begins // 60, day_begins % 60, tzinfo=ZoneInfo(zone))
    return datetime.combine(day + timedelta(days=1), begins)


def _sections(
    visit: Visit, day: date, said: Sequence[Version], over: Callable[[Entry], bool]
) -> list[Section]:
    first, now = said[0].report, said[-1].report

    def named(entry: Entry, line: Line) -> Shown:
        return leading(day, day, line, f"{entry.platform} · {entry.shop}", **_shop(entry))

    def of_region(entry: Entry, line: Line) -> Shown:
        return leading(day, day, line, region(visit, entry.line()), **_region(entry))

    def of_all(_: Entry, line: Line) -> Shown:
        return leading(day, day, line, visit.say("all_of_it"))

    return [
        Section(
            "totals", _compared(reports.totals(first.shops), reports.totals(now.shops), of_all)
        ),
        Section("by_shop", _compared(first.shops, now.shops, named, over)),
        Section("by_region", _compared(first.regions, now.regions, of_region)),
    ]


def _shop(entry: Entry) -> dict[str, str]:
    return {"platform": entry.platform, "shop": entry.shop}


def _region(entry: Entry) -> dict[str, str]:
    return {"country": entry.country or NOT_SAID, "province": entry.province or NOT_SAID}


def _compared(
    before: Sequence[Entry],
    after: Sequence[Entry],
    shown: Callable[[Entry, Line], Shown],
    over: Callable[[Entry], bool] = lambda _: True,
) -> list[Compared]:
    known = {_key(entry): entry for entry in before}
    now = {_key(entry): entry for entry in after}
    found = []
    for key in sorted(known.keys() | now.keys()):
        entry, was = now.get(key), known.get(key)
        either = entry or known[key]
        nothing = _NOTHING._replace(currency=either.currency)
        first = was.line() if was else nothing
        found.append(
            Compared(
                shown(either, entry.line() if entry else nothing),
                None if was == entry else first,
                over(either),
            )
        )
    return found


def _key(entry: Entry) -> tuple[str, ...]:
    return entry.platform, entry.shop, entry.country, entry.province, entry.currency


# --- as a file ------------------------------------------------------------------------------------

COLUMNS = (
    "day", "version", "section", "platform", "shop", "country", "province", "currency", "orders",
    "gmv", "average", "returned", "return_rate", "refunded", "back", "back_rate", "back_refunded",
)  # fmt: skip


def cells(day: date, version: int, section: str, entry: Entry) -> Cells:
    """Return one entry as the cells of a file."""
    line, currency = entry.line(), entry.currency
    return (
        str(day), str(version), section, entry.platform, entry.shop, entry.country, entry.province,
        currency, str(entry.orders), amount(entry.gmv, currency), amount(line.average, currency),
        str(entry.returned), _rate(line.return_rate), amount(entry.refunded, currency),
        str(entry.back), _rate(line.back_rate), amount(entry.back_refunded, currency),
    )  # fmt: skip


def _rate(share: object) -> str:
    return "" if share is None else str(share)


async def export_xlsx(visit: Visit) -> Response:
    """Give the report of a day as a spreadsheet: the last version, or the one that is asked for."""
    day, said = await _versions(visit)
    number = visit.asked.a_number("version")
    chosen = [each for each in said if number in (None, each.version)]
    if not chosen:
        raise NotFound("no_report")
    asked = link("/report", day=day, version=chosen[-1].version)
    return await taken_away(visit, f"report-{day}", "xlsx", asked, COLUMNS, _all(day, chosen[-1]))


async def _all(day: date, said: Version) -> AsyncIterator[Cells | None]:
    report = said.report
    for section, entries in (
        ("total", reports.totals(report.shops)),
        ("shop", report.shops),
        ("region", report.regions),
    ):
        for entry in entries:
            yield cells(day, said.version, section, entry)


PAGES = (
    Page("GET", "/reports", list_reports, needs=Right.LOOK),
    Page("GET", "/report", show_report, needs=Right.LOOK),
    Page("GET", "/report/print", print_report, needs=Right.LOOK),
    Page("GET", "/report.xlsx", export_xlsx, needs=Right.LOOK),
)
