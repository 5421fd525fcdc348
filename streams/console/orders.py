"""
Orders: looking for them, labelling those that are chosen, and taking the list away as a file.

What is asked stands in the address, so that it can be kept and sent on. One box finds an order by
its id, its key, a SKU of ours, a parcel's number or the last four digits of a phone. Without a
word, or with a SKU that very many have, the list walks back in time, `SCAN_MAX` orders a page at
most, and says so where that was not enough: no question takes longer than that, whatever it is.
With a label or a field it walks over those that carry it.

The orders behind a figure are asked for by days of their shop, as figures are: that list is by when
they were placed, or went back where that is asked, and has as many orders as the figure says.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from starlette.responses import RedirectResponse, Response

from schemas.errors import Rejected
from schemas.orders import Status
from streams import topics
from streams.annotating import table
from streams.annotating.definitions import (
    TEXT_LENGTH_MAX,
    BadAnnotation,
    Definitions,
    asked_word,
    label_word,
)
from streams.console import cursors
from streams.console.files import ROWS_MAX, Cells, taken_away
from streams.console.money import amount
from streams.console.page import DONE, Page, Visit, link
from streams.operations.rights import Right

Row = dict[str, Any]

PAGE = 50
#: So many orders are looked at for one page, at most.
SCAN_MAX = 20_000
#: Of a SKU in so many lines the orders are walked over too: they are too many to sort by time.
COMMON_FROM = 2_000
#: And so many where each has to be looked up by its shop's day and its region.
BEHIND_SCAN_MAX = 5_000
#: So many pages are asked for, for one file at most, so that a rare thing ends too.
_EXPORT_PAGES_MAX = 60
WORD_LENGTH_MAX = 200
#: What wants somebody: what can go now; what a person has to settle; what waits for a mapping; what
#: has not all its stock.
ATTENTION = ("ready", "case", "unmapped", "short")
_TAIL = re.compile(r"[0-9]{4}")
#: Stands in an address for a country, province or currency that nobody said.
NOT_SAID = "none"
_REGION_LENGTH_MAX = 100
#: So many orders are labelled at a time: a page's.
CHOSEN_MAX = PAGE
#: What became of orders that were labelled, in the order in which it is told.
LABELLED = ("changed", "unchanged", "full", "unknown")


class Wanted(NamedTuple):
    """What is asked for; empty is anything."""

    q: str = ""
    status: str = ""
    platform: str = ""
    shop: str = ""
    attention: str = ""
    since: str = ""
    until: str = ""
    #: The code of a label; the code of a field and just what it holds.
    label: str = ""
    field: str = ""
    value: str = ""
    #: Behind a figure: days of the shop on which it was placed, and went back.
    placed_since: str = ""
    placed_until: str = ""
    back_since: str = ""
    back_until: str = ""
    #: In which hour of those days, ms.
    hour: str = ""
    came_back: str = ""
    counted: str = ""
    country: str = ""
    province: str = ""
    currency: str = ""

    @property
    def is_behind_a_figure(self) -> bool:
        """Does it ask as figures do?"""
        return any(self[self._fields.index("placed_since") :])

    def to(self, path: str, **more: str) -> str:
        """Return the address that asks for the same at *path*."""
        return link(path, **self._asdict(), **more)


class Listed(NamedTuple):
    """A page of orders, and where the next begins."""

    orders: list[Row]
    #: Empty: there are no more.
    after: str = ""
    #: So far back was looked, and there may be more before; None: the page is full, or the last.
    looked_back_to: datetime | None = None


def wanted(visit: Visit) -> Wanted:
    """Return what the address asks for; raises Rejected for what can never be."""
    found = Wanted(*(visit.asked.one(name) for name in Wanted._fields))
    if (
        len(found.q) > WORD_LENGTH_MAX
        or len(found.value) > TEXT_LENGTH_MAX
        or any(
            len(each) > _REGION_LENGTH_MAX
            for each in (found.country, found.province, found.currency)
        )
    ):
        raise Rejected("too_long")
    elsewhere = (found.q, found.attention, found.since, found.until, found.label, found.field)
    if found.is_behind_a_figure and any(elsewhere):
        raise Rejected("not_with_figures")
    for said, words in (
        (found.status, [each.value for each in Status]),
        (found.platform, topics.PLATFORMS),
        (found.attention, ATTENTION),
    ):
        if said and said not in words:
            raise Rejected("unknown_word")
    if found.value and not found.field:
        raise Rejected("value_of_what")
    return found


def carried(asked: Wanted, known: Definitions) -> list[str]:
    """Return the words of the field and label that are asked for, the rarer first, or none."""
    words = []
    if asked.field:
        if asked.field not in known.fields:
            raise Rejected("unknown_word")
        if asked.value:
            words.append(asked_word(known.fields[asked.field], asked.value))
    if asked.label:
        if asked.label not in known.labels:
            raise Rejected("unknown_word")
        words.append(label_word(asked.label))
    return words


async def found(
    visit: Visit, asked: Wanted, known: Definitions, after: str, limit: int = PAGE
) -> Listed:
    """Return a page of what is *asked* for, latest first."""
    if asked.is_behind_a_figure:
        return await _behind(visit, asked, after, limit)
    zone, filters = visit.zone, [said or None for said in asked[1:5]]
    start = cursors.read(after) or (day_begins(asked.until, zone, days=1), "")
    where = *start, day_begins(asked.since, zone)
    reads, noted = visit.house.reads, carried(asked, known)
    what = *where, *filters, SCAN_MAX, limit + 1
    if asked.q and await reads.is_common_sku(asked.q, COMMON_FROM):
        rows = await reads.orders_of_common_sku(*what, asked.q, noted)
        return await _walked(rows, limit, lambda: reads.orders_walk_end(*where, SCAN_MAX))
    if asked.q:
        return _cut(await reads.orders_found(*what, *_words(asked.q), noted), limit)
    if noted:
        rows = await reads.orders_annotated(*what, noted[0], noted[1:])
        return await _walked(
            rows, limit, lambda: reads.orders_annotated_end(*where, SCAN_MAX, noted[0])
        )
    rows = await reads.orders_walked(*what)
    return await _walked(rows, limit, lambda: reads.orders_walk_end(*where, SCAN_MAX))


def _words(q: str) -> tuple[str, list[str]]:
    """Return what is looked for by what somebody typed: an id, key or SKU, and words of details."""
    words = [f"parcel:{''.join(q.split()).upper()}"]
    if _TAIL.fullmatch(q):
        words.append(f"tel:{q}")
    return q, words


async def _walked(rows: list[Row], limit: int, look: Callable[[], Awaitable[Row | None]]) -> Listed:
    """Return a page of a walk; where it is not full, *look* says how far that went."""
    if len(rows) > limit:
        return _cut(rows, limit)
    last = await look()
    if last is None:
        return Listed(rows)
    at = last["first_received_at"]
    return Listed(rows, cursors.written(at, last["order_key"]), at)


async def _behind(visit: Visit, asked: Wanted, after: str, limit: int) -> Listed:
    """Return a page of the orders behind a figure, the latest placed, or back, first."""
    reads, start = visit.house.reads, cursors.read(after) or (None, "")
    days = [
        a_day(said)
        for said in (asked.placed_since, asked.placed_until, asked.back_since, asked.back_until)
    ]
    hour = visit.asked.a_number("hour")
    ask, ask_end, its_days, by = (
        (reads.orders_figured_back, reads.orders_figured_back_end, days[2:], "back_at")
        if any(days[2:])
        else (reads.orders_figured, reads.orders_figured_end, days[:2], "placed_at")
    )
    rows = await ask(
        *start, BEHIND_SCAN_MAX, limit + 1, *days[:2],
        None if hour is None else _instant(hour), *days[2:],
        bool(asked.came_back), bool(asked.counted),
        *(said_or_not(each) for each in (asked.country, asked.province, asked.currency)),
        asked.platform or None, asked.shop or None, asked.status or None,
    )  # fmt: skip
    if len(rows) > limit:
        return _cut(rows, limit, by=by)
    last = await ask_end(*start, BEHIND_SCAN_MAX, *its_days)
    if last is None:
        return Listed(rows)
    return Listed(rows, cursors.written(last["at"], last["order_key"]), last["at"])


def said_or_not(said: str) -> str | None:
    """Return what is asked for: None is anything, and an empty text what nobody said."""
    return "" if said == NOT_SAID else said or None


def _instant(ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Rejected("bad_date") from error


def _cut(rows: list[Row], limit: int, by: str = "first_received_at") -> Listed:
    if len(rows) <= limit:
        return Listed(rows)
    last = rows[limit - 1]
    return Listed(rows[:limit], cursors.written(last[by], last["order_key"]))


def a_day(said: str) -> date | None:
    """Return a day; None for none; raises Rejected for what is none."""
    if not said:
        return None
    try:
        day = date.fromisoformat(said)
    except ValueError as error:
        raise Rejected("bad_date") from error
    # The lists look some days around it.
    if not date(1990, 1, 1) <= day <= date(2100, 1, 1):
        raise Rejected("bad_date")
    return day


def day_begins(said: str, zone: ZoneInfo, days: int = 0) -> datetime | None:
    """Return the instant at which a day begins, *days* later; None for no day."""
    if not said:
        return None
    try:
        day = date.fromisoformat(said) + timedelta(days=days)
        return datetime.combine(day, time.min, zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Rejected("bad_date") from error


async def list_orders(visit: Visit) -> Response:
    """Show a page of orders."""
    asked, reads = wanted(visit), visit.house.reads
    known = await reads.definitions()
    page = await found(visit, asked, known, visit.asked.one("after"))
    return visit.show(
        "orders.html", asked=asked, page=page, statuses=list(Status), attention=ATTENTION,
        platforms=topics.PLATFORMS, known=known, labelled=await _labels(visit, page.orders),
        done=[each.split(".") for each in visit.asked.one(DONE).split()],
        here=visit.asked.one("after"), as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


async def _labels(visit: Visit, orders: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Return the labels of these orders, of those that have any."""
    keys = [order["order_key"] for order in orders]
    noted = await visit.house.reads.annotations(keys) if keys else {}
    return {key: each.labels for key, each in noted.items() if each.labels}


async def label_orders(visit: Visit) -> Response:
    """Put a label on the orders that are chosen, or take it off."""
    form, doing = visit.form, visit.form.one("doing")
    keys, code = list(dict.fromkeys(form.all("order"))), form.one("label")
    if doing not in ("on", "off"):
        raise Rejected("unknown_word")
    if not keys or not code:
        raise Rejected("nothing_chosen")
    if len(keys) > CHOSEN_MAX:
        raise Rejected("too_many_chosen")
    try:
        done = await table.label(
            visit.house.operations, keys, code, visit.known.name, off=doing == "off"
        )
    except BadAnnotation as error:
        raise Rejected(worded(visit, error)) from error
    counts = [(word, list(done.values()).count(word)) for word in LABELLED]
    asked = Wanted(*(form.one(f"asked.{name}") for name in Wanted._fields))
    said = visit.signed("/orders", " ".join(f"{word}.{count}" for word, count in counts if count))
    where = asked.to("/orders", after=form.one("after"), done=said)
    return RedirectResponse(where, 303, {"cache-control": "no-store"})


def worded(visit: Visit, error: BadAnnotation) -> str:
    """Return what cannot be noted, in the visitor's language."""
    return visit.say(f"noted_{error.wrong}", about=error.about)


# --- as a file ------------------------------------------------------------------------------------

COLUMNS = (
    "platform", "shop", "order_id", "status", "refund", "reservation", "open_case", "currency",
    "total", "paid", "created_at_utc", "paid_at_utc", "shipped_at_utc", "received_at_utc",
    "unmapped", "labels", "label_names",
)  # fmt: skip


def cells(order: Row, labels: Iterable[str] = (), names: Iterable[str] = ()) -> Cells:
    """Return one order as the cells of a file; nothing in it is personal."""
    currency = order["currency"]
    return (
        order["platform"], order["shop"], order["order_id"], order["status"] or "",
        order["refund"] or "", order["reservation_now"], order["open_case"] or "", currency or "",
        amount(order["total_minor"], currency), amount(order["paid_minor"], currency),
        *(
            at.astimezone(UTC).isoformat(timespec="seconds") if at else ""
            for at in (
                order["created_at"], order["paid_at"], order["shipped_at"],
                order["first_received_at"],
            )
        ),
        " ".join(order["unmapped"] or ()), " ".join(labels), "; ".join(names),
    )  # fmt: skip


async def _all(visit: Visit, asked: Wanted) -> AsyncIterator[Cells | None]:
    """Yield what is asked for as cells, and at the end None where that is not all."""
    after, told = "", 0
    known = await visit.house.reads.definitions()
    for _ in range(_EXPORT_PAGES_MAX):
        page = await found(visit, asked, known, after, limit=min(500, ROWS_MAX - told))
        labels = await _labels(visit, page.orders)
        for order in page.orders:
            codes = labels.get(order["order_key"], ())
            names = [visit.called(known.labels[code]) for code in codes if code in known.labels]
            yield cells(order, codes, names)
        told, after = told + len(page.orders), page.after
        if not after:
            return
        if told >= ROWS_MAX:
            break
    yield None


async def export_csv(visit: Visit) -> Response:
    """Give the list as CSV."""
    return await _exported(visit, "csv")


async def export_xlsx(visit: Visit) -> Response:
    """Give the list as a spreadsheet."""
    return await _exported(visit, "xlsx")


async def _exported(visit: Visit, ending: str) -> Response:
    asked = wanted(visit)
    rows = _all(visit, asked)
    return await taken_away(visit, "orders", ending, asked.to("/orders"), COLUMNS, rows)


PAGES = (
    Page("GET", "/orders", list_orders, needs=Right.LOOK),
    Page("GET", "/orders.csv", export_csv, needs=Right.LOOK),
    Page("GET", "/orders.xlsx", export_xlsx, needs=Right.LOOK),
    Page(
        "POST", "/orders/label", label_orders,
        needs=Right.ANNOTATE, did="orders.label", about=("doing", "label", "order"),
    ),
)  # fmt: skip
