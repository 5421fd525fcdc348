"""
What can go now, and parcels that left: the warehouse's pages.

An order can go that is paid, holds all its stock, and has no case and no refund under way; the
longest paid comes first, for no platform tells us by when it wants a parcel. A warehouse is what
stands behind the `@` of the SKUs that are held.

What is chosen stands in the address (`order`, again and again): it survives a refresh, the way back
and a page that is sent on.

Promise: a form becomes one ShipOrder, by the id that the form was made with: the command that
`orderflow order ship` sends. Sent twice, it is one parcel. Where the keeper refuses, the form
stands again as it was filled in, with why.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from agents.carriers import CARRIERS
from schemas.base import ID_LENGTH_MAX
from schemas.errors import MAY_CHANGE, Refusal, Rejected
from schemas.orders import OrderCommandAnswered, ParcelLine
from streams import topics
from streams.clock import now_ms
from streams.console import cursors
from streams.console.files import ROWS_MAX, Cells, taken_away
from streams.console.orders import day_begins
from streams.console.page import Fields, Page, Visit, link
from streams.operations.operation import NotFound
from streams.operations.rights import Right
from streams.shipping.saying import WHY_NOT, a_parcel, say

Row = dict[str, Any]

PAGE = 50
#: So many orders are chosen at a time: they stand in an address.
CHOSEN_MAX = 50
_EXPORT_PAGE = 1_000
_KEY_LENGTH_MAX = 3 * ID_LENGTH_MAX
#: Parcels that are waited for at a time: each has a consumer of its own.
_TURNS = asyncio.Semaphore(8)
_HOUR_MS = 3_600_000
_PARCELS = "/to-ship/parcels"
_FILTERS = ("until", "platform", "shop", "sku", "warehouse")


class Wanted(NamedTuple):
    """What is asked for; empty is anything."""

    #: Paid on this day or before.
    until: str = ""
    platform: str = ""
    shop: str = ""
    #: Ours, with or without its warehouse.
    sku: str = ""
    warehouse: str = ""

    def to(self, path: str, chosen: list[str] | None = None, **more: str) -> str:
        """Return the address that asks for the same at *path*, with what is *chosen*."""
        return _with(link(path, **self._asdict(), **more), chosen or [])


def _with(path: str, chosen: list[str]) -> str:
    if not chosen:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode([('order', key) for key in chosen])}"


def wanted(visit: Visit) -> Wanted:
    """Return what the address asks for; raises Rejected for what can never be."""
    found = Wanted(*(visit.asked.one(name) for name in _FILTERS))
    if found.platform and found.platform not in topics.PLATFORMS:
        raise Rejected("unknown_word")
    if any(len(said) > ID_LENGTH_MAX for said in found):
        raise Rejected("too_long")
    return found


def chosen(said: Fields) -> list[str]:
    """Return the orders that are chosen, each once; raises Rejected for too many."""
    keys = list(dict.fromkeys(said.all("order")))
    if len(keys) > CHOSEN_MAX:
        raise Rejected("too_many_chosen")
    if any(not 0 < len(key) <= _KEY_LENGTH_MAX for key in keys):
        raise Rejected("no_key")
    return keys


async def found(
    visit: Visit, asked: Wanted, after: str, limit: int = PAGE
) -> tuple[list[Row], str]:
    """Return a page of what can go now, and where the next begins; "" where there is none."""
    start = cursors.read(after) or (None, "")
    before = day_begins(asked.until, visit.zone, days=1)
    rows = await visit.house.reads.to_ship(
        *start, before, *(said or None for said in asked[1:]), limit + 1
    )
    shown = [_packed(row) for row in rows[:limit]]
    last = shown[-1] if len(rows) > limit else None
    return shown, cursors.written(last["since"], last["order_key"]) if last else ""


def _packed(row: Row) -> Row:
    """Return *row* with what is to be packed: pairs of a SKU and its units."""
    waits = max(0, now_ms() - round(row["since"].timestamp() * 1000)) // _HOUR_MS
    return row | {"packs": list(zip(row["skus"], row["counts"], strict=True)), "hours": waits}


async def list_to_ship(visit: Visit) -> Response:
    """Show a page of what can go now, the longest paid first."""
    asked, keys = wanted(visit), chosen(visit.asked)
    rows, after = await found(visit, asked, visit.asked.one("after"))
    here = {row["order_key"] for row in rows}
    return visit.show(
        "to_ship.html", asked=asked, rows=rows, after=after, chosen=keys,
        elsewhere=[key for key in keys if key not in here], platforms=topics.PLATFORMS,
        here=visit.asked.one("after"), as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


async def print_to_ship(visit: Visit) -> Response:
    """Show what is chosen, or the page that was looked at, as a list for paper."""
    keys = chosen(visit.asked)
    if keys:
        rows = [_packed(row) for row in await visit.house.reads.to_pack(keys)]
    else:
        rows, _ = await found(visit, wanted(visit), visit.asked.one("after"))
    return visit.show("to_ship_print.html", rows=rows, as_of_ms=visit.house.live.as_of_ms)


# --- as a file ------------------------------------------------------------------------------------

COLUMNS = ("warehouse", "platform", "shop", "order_id", "paid_at_utc", "sku", "units")


def cells(order: Row) -> list[Cells]:
    """Return one order as rows of a file, one for each SKU; nothing in them is personal."""
    since = order["since"].astimezone(UTC).isoformat(timespec="seconds")
    head = (order["warehouse"], order["platform"], order["shop"], order["order_id"], since)
    return [(*head, sku, str(units)) for sku, units in order["packs"]]


async def _all(visit: Visit, asked: Wanted) -> AsyncIterator[Cells | None]:
    """Yield what is asked for as cells, and at the end None where that is not all."""
    after, told = "", 0
    while told < ROWS_MAX:
        rows, after = await found(visit, asked, after, _EXPORT_PAGE)
        for row in rows:
            for each in cells(row):
                yield each
        told += len(rows)
        if not after:
            return
    yield None


async def export_to_ship_csv(visit: Visit) -> Response:
    """Give the list as CSV."""
    return await _exported(visit, "csv")


async def export_to_ship_xlsx(visit: Visit) -> Response:
    """Give the list as a spreadsheet."""
    return await _exported(visit, "xlsx")


async def _exported(visit: Visit, ending: str) -> Response:
    asked = wanted(visit)
    rows = _all(visit, asked)
    return await taken_away(visit, "to-ship", ending, asked.to("/to-ship"), COLUMNS, rows)


# --- parcels --------------------------------------------------------------------------------------


class Filled(NamedTuple):
    """A form for a parcel as somebody filled it in."""

    order: str = ""
    carrier: str = ""
    number: str = ""
    reason: str = ""
    #: Units typed, by line.
    units: dict[str, str] = {}  # noqa: RUF012  never changed


_EMPTY = Filled()


async def show_parcels(visit: Visit) -> Response:
    """Show a form for each order that is chosen."""
    done = visit.asked.one("done")
    told = await visit.house.reads.answer(done) if done else None
    return await _forms(visit, chosen(visit.asked), done=done, told=told)


async def _forms(
    visit: Visit,
    keys: list[str],
    code: int = 200,
    *,
    done: str = "",
    told: Row | None = None,
    no: str = "",
    filled: Filled = _EMPTY,
) -> Response:
    orders = [_packed(row) for row in await visit.house.reads.to_pack(keys)]
    return visit.show(
        "parcels.html", code, orders=orders, chosen=keys, carriers=CARRIERS, done=done, told=told,
        no=no, filled=filled, as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


async def ship_parcel(visit: Visit) -> Response:
    """Let one parcel leave; go on with the other orders that are chosen."""
    form = visit.form
    order, keys = form.one("key"), chosen(form)
    if not 0 < len(order) <= _KEY_LENGTH_MAX:
        raise Rejected("no_key")
    if not await visit.house.reads.to_pack([order]):
        raise NotFound("no_order")
    filled = Filled(
        order, form.one("carrier"), form.one("number"), form.a_reason(),
        dict(zip(form.all("line"), form.all("units"), strict=False)),
    )  # fmt: skip
    if filled.carrier not in CARRIERS:
        raise Rejected("no_carrier")
    made = a_parcel(
        form.one("once"), order, filled.carrier, filled.number, lines_of(form),
        visit.known.name, filled.reason,
    )  # fmt: skip
    async with _TURNS:
        said = await say(visit.house.settings, made)
    if said.refusal is not None:
        return await _forms(visit, keys, 409, no=refused(visit, said), filled=filled)
    # What is left of an order may go in another parcel.
    rest = keys if said.left else [key for key in keys if key != order]
    return RedirectResponse(
        _with(link(_PARCELS, done=visit.signed(_PARCELS, made.id)), rest), 303,
        {"cache-control": "no-store"},
    )  # fmt: skip


def lines_of(form: Fields) -> tuple[ParcelLine, ...]:
    """Return what is in the parcel; nothing where no units are typed: all that is held."""
    names, units = form.all("line"), form.all("units")
    if len(names) != len(units):
        raise Rejected("bad_number")
    found = []
    for name, typed in zip(names, units, strict=True):
        said = typed.strip()
        if said in ("", "0"):
            continue
        if not (said.isascii() and said.isdigit()) or len(said) > 18:
            raise Rejected("bad_number")
        found.append(ParcelLine(name, int(said)))
    if not found and any(typed.strip() for typed in units):
        raise Rejected("empty_parcel")
    return tuple(found)


def refused(visit: Visit, said: OrderCommandAnswered) -> str:
    """Return a refusal in words, and whether it helps to ask again."""
    refusal = said.refusal if said.refusal in WHY_NOT else Refusal.BUG
    why = visit.say(f"parcel_{refusal.value}")
    again = visit.say("ask_again" if MAY_CHANGE[refusal] else "ask_no_more")
    return f"{said.order}: {why} {again}"


PAGES = (
    Page("GET", "/to-ship", list_to_ship, needs=Right.LOOK),
    Page("GET", "/to-ship.csv", export_to_ship_csv, needs=Right.LOOK),
    Page("GET", "/to-ship.xlsx", export_to_ship_xlsx, needs=Right.LOOK),
    Page("GET", "/to-ship/print", print_to_ship, needs=Right.LOOK),
    Page("GET", _PARCELS, show_parcels, needs=Right.SHIP),
    Page(
        "POST", _PARCELS, ship_parcel,
        needs=Right.SHIP, did="parcel.ship", about=("key", "carrier", "number"),
    ),
)  # fmt: skip
