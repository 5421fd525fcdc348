"""
Figures: what orders come to, drawn and in tables.

What is asked stands in the address. Every number leads to the list of its orders; all of them are
as of the moment the page names, and the charts draw what the tables say.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson
from starlette.responses import Response

from schemas.errors import Rejected
from streams import topics
from streams.adapters.currencies import DIGITS
from streams.console.orders import NOT_SAID, a_day, said_or_not
from streams.console.page import Page, Visit, link
from streams.figures import asking
from streams.figures.asking import FLOW_DAYS_MAX, UNITS, Asked, Line
from streams.operations.rights import Right
from streams.postgres.queries import sql

#: What is asked for where nobody says: today and the days before it.
_DAYS = 14
_TEXT_LENGTH_MAX = 200
#: Rows of a table; the rest is in its last line.
ROWS_MAX = 100


class Question(NamedTuple):
    """What is asked, as it stands in the address."""

    unit: str
    since: str
    until: str
    platform: str
    shop: str
    country: str
    province: str
    currency: str

    def to(self, path: str, **more: str) -> str:
        """Return the address that asks for the same at *path*, but for *more*."""
        return link(path, **self._asdict() | more)


class Shown(NamedTuple):
    """One line of a table: its name, its figures, and where each of them leads."""

    name: str
    line: Line
    #: The orders, those of them that came back, and those that came back then.
    orders: str
    returned: str
    back: str
    #: The same figures of this alone.
    here: str = ""


def question(visit: Visit) -> tuple[Question, Asked]:
    """Return what the address asks; raises Rejected for what can never be."""
    one = visit.asked.one
    today = datetime.now(ZoneInfo(visit.house.settings.company_zone)).date()
    since = one("since") or str(today - timedelta(days=_DAYS - 1))
    found = Question(
        one("unit") or "day", since, one("until") or str(today),
        *(one(name) for name in Question._fields[3:]),
    )  # fmt: skip
    if any(len(each) > _TEXT_LENGTH_MAX for each in found):
        raise Rejected("too_long")
    if found.platform and found.platform not in topics.PLATFORMS:
        raise Rejected("unknown_word")
    first, last = a_day(found.since), a_day(found.until)
    if first is None or last is None:
        raise Rejected("bad_date")
    asked = Asked(
        first, last, found.unit, found.platform or None, found.shop or None,
        *(said_or_not(each) for each in (found.country, found.province, found.currency)),
    )  # fmt: skip
    asked.check()
    return found, asked


async def show_figures(visit: Visit) -> Response:
    """Show what orders come to."""
    said, asked = question(visit)
    zone = ZoneInfo(visit.house.settings.company_zone)
    until = datetime.combine(asked.until + timedelta(days=1), time(), zone)
    begins = max(asked.since, asked.until - timedelta(days=FLOW_DAYS_MAX - 1))
    since = datetime.combine(begins, time(), zone)
    async with visit.house.reads.lent() as connection:
        found = await asking.figures(connection, asked)
        took = await asking.flow(connection, since, until, asked.platform, asked.shop)
        clocks = await connection.fetch(sql("figures_clocks"))
    return visit.show(
        "figures.html", said=said, units=list(UNITS), platforms=topics.PLATFORMS,
        totals=[_of(said, asked, line, "") for line in found.totals],
        times=[_of_time(visit, said, asked, line) for line in found.times],
        shops=_first(_of_shop(said, asked, line) for line in found.shops),
        regions=_first(_of_region(visit, said, asked, line) for line in found.regions),
        more=(max(0, len(found.shops) - ROWS_MAX), max(0, len(found.regions) - ROWS_MAX)),
        charts=_charts(visit, found.times, asked.unit), bars=_bars(visit, found.regions),
        flow=took, flow_since=begins, flow_until=asked.until,
        zones=sorted({_clock(each["zone"], each["day_begins"]) for each in clocks}),
        as_of_ms=visit.house.figures.as_of_ms,
    )  # fmt: skip


def _clock(zone: str, day_begins: int) -> str:
    return f"{zone} {day_begins // 60:02}:{day_begins % 60:02}"


def _first(lines: Iterable[Shown]) -> list[Shown]:
    return sorted(lines, key=lambda each: (-each.line.orders, -each.line.back, each.name))[
        :ROWS_MAX
    ]


# --- lines, and where they lead -------------------------------------------------------------------


def _of_time(visit: Visit, said: Question, asked: Asked, line: Line) -> Shown:
    if line.day is None:
        raise AssertionError("a line by time has its day")
    first = max(line.day, asked.since)
    last = min(asking.last_day(line, asked.unit), asked.until)
    if line.hour is not None:
        at = f"{line.hour.astimezone(visit.zone):%Y-%m-%d %H:%M}"
        hour = str(round(line.hour.timestamp() * 1000))
        return _of(said, asked._replace(since=first, until=last), line, at, hour=hour)
    name = str(first) if first == last else f"{first} – {last}"
    finer = {"day": "hour", "week": "day", "month": "day"}[asked.unit]
    here = said.to("/figures", unit=finer, since=str(first), until=str(last))
    return _of(said, asked._replace(since=first, until=last), line, name)._replace(here=here)


def _of_shop(said: Question, asked: Asked, line: Line) -> Shown:
    its = {"platform": line.platform, "shop": line.shop}
    shown = _of(said, asked, line, f"{line.platform} · {line.shop}", **its)
    return shown._replace(here=said.to("/figures", **its))


def _of_region(visit: Visit, said: Question, asked: Asked, line: Line) -> Shown:
    its = {"country": line.country or NOT_SAID, "province": line.province or NOT_SAID}
    return _of(said, asked, line, region(visit, line), **its)._replace(
        here=said.to("/figures", **its)
    )


def _of(said: Question, asked: Asked, line: Line, name: str, **more: str) -> Shown:
    where = {name: getattr(said, name) for name in ("platform", "shop", "country", "province")}
    return leading(asked.since, asked.until, line, name, **where | more)


def leading(since: date, until: date, line: Line, name: str, **where: str) -> Shown:
    """Return *line*, called *name*, with the lists of orders behind it."""
    narrowed = where | {"counted": "1", "currency": line.currency or NOT_SAID}
    days = str(since), str(until)
    placed = narrowed | {"placed_since": days[0], "placed_until": days[1]}
    back = narrowed | {"back_since": days[0], "back_until": days[1]}
    return Shown(
        name, line, link("/orders", **placed), link("/orders", **placed, came_back="1"),
        link("/orders", **back),
    )  # fmt: skip


def region(visit: Visit, line: Line) -> str:
    """Return how a region is called."""
    return " ".join(filter(None, (line.province, line.country))) or visit.say("not_said")


# --- charts ---------------------------------------------------------------------------------------


class Bar(NamedTuple):
    """A region's share of the largest, percent."""

    name: str
    orders: int
    width: int


_BARS_MAX = 20


def _bars(visit: Visit, lines: list[Line]) -> list[Bar]:
    """Return the regions by orders, whatever the currency: orders can be added up, money cannot."""
    orders: dict[str, int] = {}
    for line in lines:
        name = region(visit, line)
        orders[name] = orders.get(name, 0) + line.orders
    most = max(orders.values(), default=0)
    largest = sorted(orders.items(), key=lambda each: (-each[1], each[0]))[:_BARS_MAX]
    return [Bar(name, count, round(count * 100 / most)) for name, count in largest if count]


def _charts(visit: Visit, lines: list[Line], unit: str) -> list[dict[str, str]]:
    """Return, for each currency, what its trend is drawn from, as JSON."""
    by_currency: dict[str, list[Line]] = {}
    for line in lines:
        by_currency.setdefault(line.currency, []).append(line)
    return [
        {"currency": currency, "series": _series(visit, its, currency, unit)}
        for currency, its in sorted(by_currency.items())
    ]


def _series(visit: Visit, lines: list[Line], currency: str, unit: str) -> str:
    return orjson.dumps(
        {
            "zone": str(visit.zone) if unit == "hour" else "UTC",
            "unit": unit,
            "at": [_at_s(line) for line in lines],
            "orders": [line.orders for line in lines],
            "gmv": [_decimal(line.gmv, currency) for line in lines],
            "names": [
                visit.say("figure_orders"),
                f"{visit.say('figure_gmv')} {currency}".strip(),
                visit.say("when"),
            ],
        }
    ).decode()


def _at_s(line: Line) -> int:
    """Return where a line is drawn: an hour's instant, or a day as midnight in UTC."""
    if line.hour is not None:
        return round(line.hour.timestamp())
    if line.day is None:
        raise AssertionError("a line by time has its day")
    return round(datetime.combine(line.day, time(), UTC).timestamp())


def _decimal(minor: int, currency: str) -> float:
    """Return an amount as a height in a drawing, rounded as a drawing is: the table is exact."""
    return float(Decimal(minor).scaleb(-DIGITS.get(currency, 0)))


PAGES = (Page("GET", "/figures", show_figures, needs=Right.LOOK),)
