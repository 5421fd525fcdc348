"""
Finance reconciliation: settlement files, what differs from our orders, and what people say of it.

Promises: a file is looked at first, and taken only by a second form; a form sent twice is one
effect; a difference is resolved for the facts that were seen, and who did it stays on record.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC
from pathlib import Path
from typing import Any

from starlette.responses import Response

from agents.settlements import DIFFERENCES
from schemas.base import ID_LENGTH_MAX
from schemas.errors import Rejected
from streams.console import cursors
from streams.console.files import ROWS_MAX, Cells, taken_away
from streams.console.money import amount
from streams.console.page import Fields, Page, Visit, link
from streams.importing.files import ENCODINGS
from streams.operations.operation import NotFound, Refused
from streams.operations.rights import Right
from streams.postgres.addresses import reader_of
from streams.reads import READ_SECONDS
from streams.settlements.reading import Reading
from streams.settlements.store import Busy, Filter, Settlements, UnknownFile
from streams.settlements.templates import PLATFORMS, TEMPLATES

Row = dict[str, Any]

PAGE = 50
#: An export asks for so many at once.
_EXPORT_PAGE = 500
_KEY_LENGTH_MAX = 3 * ID_LENGTH_MAX
_WORD_LENGTH_MAX = ID_LENGTH_MAX


def _looked_at(visit: Visit) -> AbstractAsyncContextManager[Settlements]:
    return Settlements.opened(reader_of(visit.house.settings), within_s=READ_SECONDS)


# --- files ----------------------------------------------------------------------------------------


async def list_settlements(visit: Visit) -> Response:
    """Show the latest files, and the form for another."""
    platform, shop = _channel(visit.asked)
    before = visit.asked.one("before")
    async with _looked_at(visit) as known:
        files = await known.files(before or None, platform or None, shop or None, PAGE + 1)
    return visit.show(
        "settlements.html", files=files[:PAGE], platform=platform, shop=shop,
        before=files[PAGE - 1]["id"] if len(files) > PAGE else "", platforms=PLATFORMS,
        encodings=ENCODINGS, templates=TEMPLATES,
        is_on=visit.house.settings.import_folder is not None,
    )  # fmt: skip


def _channel(said: Fields) -> tuple[str, str]:
    platform, shop = said.one("platform"), said.one("shop")
    if platform and platform not in PLATFORMS:
        raise Rejected("unknown_word")
    if len(shop) > _WORD_LENGTH_MAX:
        raise Rejected("too_long")
    return platform, shop


async def show_settlement(visit: Visit) -> Response:
    """Show one file: what it comes to, and which of its lines were there before."""
    async with _looked_at(visit) as known:
        try:
            file = await known.file(visit.asked.one("id"))
        except UnknownFile as error:
            raise NotFound("no_settlement") from error
        repeats = await known.repeats(file["id"])
    return visit.show("settlement.html", file=file, repeats=repeats)


def _reading(visit: Visit) -> Reading:
    form = visit.form
    platform, shop = _channel(form)
    if not platform or not shop:
        raise Rejected("no_shop")
    encoding = form.one("encoding")
    if encoding and encoding not in ENCODINGS:
        raise Rejected("unknown_word")
    passes = tuple(line.strip() for line in form.one("pass_over").splitlines() if line.strip())
    return Reading(
        platform, shop, encoding or None, form.one("sheet") or None, form.one("zone") or None,
        passes,
    )  # fmt: skip


async def look_at_settlement(visit: Visit) -> Response:
    """Take a file in, and say what it would be taken as; nothing of it counts yet."""
    upload = visit.upload
    if upload is None or not upload.file_name:
        raise Rejected("no_file")
    reading = _reading(visit)
    name = Path(upload.file_name.replace("\\", "/")).name or "upload"
    async with aclosing(upload.file()) as pieces:
        path = await visit.house.imports.stored(visit.request.headers, pieces)
    facts: Row = {}
    try:
        facts = await visit.house.settling.look(path, name, reading)
    finally:
        if facts.get("bad_rows", 1):  # nobody will take it
            await asyncio.to_thread(path.unlink, missing_ok=True)
    return visit.show(
        "settlement_look.html", facts=facts, reading=reading, name=name, token=path.stem
    )


async def take_settlement(visit: Visit) -> Response:
    """Take a file that was looked at."""
    reading, token, desk = _reading(visit), visit.form.one("token"), visit.house.settling
    name = visit.form.one("name")[:_WORD_LENGTH_MAX] or "upload"
    taken = await desk.take(desk.path_of(token), name, reading, visit.known.name)
    return visit.go("/settlement", id=taken["id"])


async def withdraw_settlement(visit: Visit) -> Response:
    """Let a file count no more."""
    reason, id_ = visit.form.a_reason(), visit.form.one("id")
    await visit.house.settling.withdraw(id_, visit.known.name, reason)
    return visit.go("/settlement", id=id_)


async def match_settlements(visit: Visit) -> Response:
    """Judge all orders of a shop anew."""
    platform, shop = _channel(visit.form)
    if not platform or not shop:
        raise Rejected("no_shop")
    await visit.house.settling.match(platform, shop)
    return visit.go("/settlements/differences", platform=platform, shop=shop)


# --- differences ----------------------------------------------------------------------------------


def _wanted(visit: Visit) -> Filter:
    verdict = visit.asked.one("verdict")
    if verdict and verdict not in DIFFERENCES:
        raise Rejected("unknown_word")
    return Filter(verdict, *_channel(visit.asked), visit.asked.one("resolved") == "1")


def _to(path: str, wanted: Filter, **more: str) -> str:
    return link(
        path, verdict=wanted.verdict, platform=wanted.platform, shop=wanted.shop,
        resolved="1" if wanted.resolved else "", **more,
    )  # fmt: skip


async def list_differences(visit: Visit) -> Response:
    """Show a page of what differs, latest first."""
    wanted = _wanted(visit)
    after = cursors.read(visit.asked.one("after"))
    async with _looked_at(visit) as known:
        rows = await known.differences(wanted, after, PAGE + 1)
        counts = await known.counts(wanted)
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    next_ = cursors.written(last["at"], last["order_key"]) if last else ""
    return visit.show(
        "differences.html", rows=rows[:PAGE], wanted=wanted, counts=counts, verdicts=DIFFERENCES,
        platforms=PLATFORMS, next_page=_to("/settlements/differences", wanted, after=next_)
        if next_ else "", csv=_to("/settlements/differences.csv", wanted),
        xlsx=_to("/settlements/differences.xlsx", wanted), done=visit.asked.a_number("done"),
    )  # fmt: skip


COLUMNS = (
    "platform", "shop", "order_id", "verdict", "open", "paid_ours", "paid_theirs",
    "refunded_ours", "refunded_theirs", "fees", "other", "currency_ours", "currency_theirs",
    "at_utc",
)  # fmt: skip


def cells(row: Row) -> Cells:
    """Return one difference as the cells of a file; nothing in it is personal."""
    ours, theirs = row["our_currency"], "+".join(row["currencies"])
    return (
        row["platform"], row["shop"], row["order_key"].split(":", 2)[2], row["verdict"],
        "yes" if row["is_open"] else "no", amount(row["our_paid_minor"], ours),
        amount(row["paid_minor"], theirs), amount(row["our_refunded_minor"], ours),
        amount(row["refunded_minor"], theirs), amount(row["fees_minor"], theirs),
        amount(row["other_minor"], theirs), ours or "", theirs,
        row["at"].astimezone(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


async def _all(visit: Visit, wanted: Filter) -> AsyncIterator[Cells | None]:
    after, told = None, 0
    async with _looked_at(visit) as known:
        while told < ROWS_MAX:
            rows = await known.differences(wanted, after, min(_EXPORT_PAGE, ROWS_MAX - told))
            for row in rows:
                yield cells(row)
            if len(rows) < _EXPORT_PAGE:
                return
            told, after = told + len(rows), (rows[-1]["at"], rows[-1]["order_key"])
    yield None


async def export_differences_csv(visit: Visit) -> Response:
    """Give what differs as CSV."""
    return await _exported(visit, "csv")


async def export_differences_xlsx(visit: Visit) -> Response:
    """Give what differs as a spreadsheet."""
    return await _exported(visit, "xlsx")


async def _exported(visit: Visit, ending: str) -> Response:
    wanted = _wanted(visit)
    asked = _to("/settlements/differences", wanted)
    return await taken_away(visit, "differences", ending, asked, COLUMNS, _all(visit, wanted))


async def show_settled_order(visit: Visit) -> Response:
    """Show how one order stands: both sides, every line, and what people said."""
    key = visit.asked.one("key")
    if not 0 < len(key) <= _KEY_LENGTH_MAX:
        raise Rejected("no_key")
    async with _looked_at(visit) as known:
        found = await known.order(key)
    return visit.show("settled_order.html", key=key, order=found)


async def resolve_differences(visit: Visit) -> Response:
    """Resolve what was chosen, for the facts that were seen."""
    form, reason = visit.form, visit.form.a_reason()
    keys = form.all("order")
    if not keys:
        raise Rejected("nothing_chosen")
    if len(keys) > PAGE:
        raise Rejected("too_many_chosen")
    seen = {key: form.one(f"facts {key}") for key in keys}
    try:
        async with Settlements.opened(visit.house.operations, within_s=READ_SECONDS) as known:
            done = await known.resolve(seen, visit.known.name, reason)
    except Busy as error:
        raise Refused("settling_busy") from error
    if not done:
        raise Refused("none_open")
    if len(keys) == 1:
        return visit.go("/settlements/order", key=keys[0])
    return visit.go("/settlements/differences", done=str(len(done)))


_NEEDS = Right.SETTLEMENTS
PAGES = (
    Page("GET", "/settlements", list_settlements, needs=_NEEDS),
    Page("GET", "/settlement", show_settlement, needs=_NEEDS),
    Page(
        "POST", "/settlements/look", look_at_settlement, needs=_NEEDS, did="settlements.look",
        about=("platform", "shop"), once=True, takes_file=True,
    ),
    Page(
        "POST", "/settlements/take", take_settlement, needs=_NEEDS, did="settlements.take",
        about=("platform", "shop", "name"), once=True,
    ),
    Page(
        "POST", "/settlement/withdraw", withdraw_settlement, needs=_NEEDS,
        did="settlements.withdraw", about=("id",), once=True,
    ),
    Page(
        "POST", "/settlements/match", match_settlements, needs=_NEEDS, did="settlements.match",
        about=("platform", "shop"), once=True,
    ),
    Page("GET", "/settlements/differences", list_differences, needs=_NEEDS),
    Page("GET", "/settlements/differences.csv", export_differences_csv, needs=_NEEDS),
    Page("GET", "/settlements/differences.xlsx", export_differences_xlsx, needs=_NEEDS),
    Page("GET", "/settlements/order", show_settled_order, needs=_NEEDS),
    Page(
        "POST", "/settlements/resolve", resolve_differences, needs=_NEEDS,
        did="settlements.resolve", about=("order",), once=True,
    ),
)  # fmt: skip
