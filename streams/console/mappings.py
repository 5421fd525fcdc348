"""
Which SKU of ours a shop's SKU is: what nobody has mapped first, and what people said.

What is written here is what `orderflow sku map` and `unmap` write; the publisher (`orderflow
reference publish --every 5`) tells intake, and the orders that wait go on by themselves.

Promise: a mapping has who and why, and its history is kept; one that cannot be right is refused
with a sentence, and nothing is written.
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from schemas.base import ID_LENGTH_MAX
from schemas.errors import Rejected
from streams import topics
from streams.clock import now_ms
from streams.console.page import Fields, Page, Visit
from streams.mapping import table
from streams.operations.rights import Right

Row = dict[str, Any]

PAGE = 100
#: Of what nobody has mapped so many are shown, out of so many orders that wait.
UNMAPPED_MAX = 200
WAITING_MAX = 20_000
HISTORY_MAX = 200
_WORD_LENGTH_MAX = ID_LENGTH_MAX
_KEY = ("platform", "shop", "theirs")


async def list_mappings(visit: Visit) -> Response:
    """Show what nobody has mapped, then a page of mappings."""
    asked = visit.asked
    platform, shop, word = (asked.one(name) for name in ("platform", "shop", "sku"))
    _check_platform(platform)
    if max(len(shop), len(word)) > _WORD_LENGTH_MAX:
        raise Rejected("too_long")
    after = asked.a_number("after") or 0
    rows = await table.listed(
        visit.house.operations, platform or None, shop or None, word or None, PAGE + 1, after
    )
    unmapped = []
    if not after:
        unmapped = await visit.house.reads.unmapped(
            platform or None, shop or None, WAITING_MAX, UNMAPPED_MAX
        )
    return visit.show(
        "mappings.html", unmapped=unmapped, rows=rows[:PAGE],
        after=rows[PAGE - 1]["id"] if len(rows) > PAGE else "", platform=platform, shop=shop,
        word_=word, is_first=not after, unmapped_max=UNMAPPED_MAX, platforms=topics.PLATFORMS,
        as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


def _check_platform(said: str) -> None:
    if said and said not in topics.PLATFORMS:
        raise Rejected("unknown_word")


def _key(said: Fields) -> tuple[str, str, str]:
    platform, shop, theirs = (said.one(name) for name in _KEY)
    _check_platform(platform)
    if not platform or not shop or not theirs:
        raise Rejected("no_theirs")
    if max(len(shop), len(theirs)) > _WORD_LENGTH_MAX:
        raise Rejected("too_long")
    return platform, shop, theirs


async def show_mapping(visit: Visit) -> Response:
    """Show one SKU of theirs: what it was said to be, by whom, and the forms to say otherwise."""
    platform, shop, theirs = _key(visit.asked)
    dsn = visit.house.operations
    rows = await table.listed(dsn, platform, shop, theirs, PAGE)
    history = await table.history(dsn, platform, shop, theirs, HISTORY_MAX)
    return visit.show(
        "mapping.html", platform=platform, shop=shop, theirs=theirs, history=history[::-1],
        rows=[row for row in rows if row["theirs"] == theirs],
        is_done=visit.asked.one("done") == "1",
    )  # fmt: skip


async def map_sku(visit: Visit) -> Response:
    """Say which SKU of ours it is."""
    ours = visit.form.one("ours")
    if not ours:
        raise Rejected("no_sku")
    return await _write(visit, ours)


async def unmap_sku(visit: Visit) -> Response:
    """Say that it is none of ours from now or from a time on, or never was."""
    return await _write(visit, None)


async def _write(visit: Visit, ours: str | None) -> Response:
    form, reason, zone = visit.form, visit.form.a_reason(), visit.zone
    key = _key(form)
    from_ms, until_ms = (_instant(form.one(name), zone) for name in ("from", "until"))
    ever = ours is None and form.one("ever") == "1"
    if ever and (from_ms is not None or until_ms is not None):
        raise Rejected("ever_is_ever")
    wish = table.Wish(*key, ours, from_ms, until_ms, ever, reason)
    done = await table.write(
        visit.house.operations, [wish], visit.known.name, now_ms(), dry_run=False
    )
    if done.refused:
        raise Rejected(f"{done.verdicts[0].said}.")
    return visit.go("/mapping", **dict(zip(_KEY, key, strict=True)), done="1")


def _instant(said: str, zone: ZoneInfo) -> int | None:
    """Return the ms of a time, in the zone that pages show times in unless it names another."""
    if not said:
        return None
    try:
        found = datetime.fromisoformat(said)
        placed = found if found.tzinfo is not None else found.replace(tzinfo=zone)
        return round(placed.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise Rejected("bad_date") from error


PAGES = (
    Page("GET", "/mappings", list_mappings, needs=Right.LOOK),
    Page("GET", "/mapping", show_mapping, needs=Right.LOOK),
    Page(
        "POST", "/mapping/map", map_sku,
        needs=Right.MAPPINGS, did="mappings.map", about=(*_KEY, "ours"), once=True,
    ),
    Page(
        "POST", "/mapping/unmap", unmap_sku,
        needs=Right.MAPPINGS, did="mappings.unmap", about=_KEY, once=True,
    ),
)  # fmt: skip
