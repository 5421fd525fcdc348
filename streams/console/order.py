"""
One order: how far it is, what it holds, whose it is, what people noted, and its whole story.

Promise: buyer and receiver are masked until somebody who may asks for them by a form, which is on
record with a reason; a part of the page that is brought anew never has them in clear.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from starlette.responses import Response, StreamingResponse

from schemas.base import ID_LENGTH_MAX
from schemas.errors import Rejected
from schemas.orders import Status
from streams.console.page import Page, Visit
from streams.drawings import STATUSES
from streams.explaining import order as explaining
from streams.operations.operation import NotFound
from streams.operations.rights import Right
from tables.lifecycle import RANK, TRANSITIONS

Row = dict[str, Any]

#: An order's story is shown so far on its page, latest first; the whole is a page of its own.
DECISIONS_SHOWN = 50
_KEY_LENGTH_MAX = 3 * ID_LENGTH_MAX
#: Events that say what an order's status became; what was ignored is none of them.
_TAKEN = frozenset({"order.observed", "order.status"})


class Step(NamedTuple):
    """One status in the drawing of an order's life."""

    status: str
    #: past, now, next or closed (it cannot follow any more).
    state: str
    trigger: str
    owner: str
    limit: str


def steps(now: str | None, past: set[str]) -> list[Step]:
    """Return the life of an order as the table has it, and where this one stands."""
    here = Status(now) if now in set(Status) else None
    shown: list[Status] = [
        each for each in sorted(Status, key=RANK.__getitem__) if each is not Status.UNKNOWN
    ]
    if here is Status.UNKNOWN:
        shown = [here, *shown]
    return [Step(each.value, _state(each, here, past), *STATUSES[each]) for each in shown]


def _state(status: Status, here: Status | None, past: set[str]) -> str:
    if status is here:
        return "now"
    if status.value in past:
        return "past"
    return "next" if status in TRANSITIONS[here] else "closed"


async def _story(visit: Visit, key: str) -> Row:
    if not 0 < len(key) <= _KEY_LENGTH_MAX:
        raise Rejected("no_key")
    async with visit.house.reads.in_a_row() as reads:
        story = await reads.order_story(key)
    if story is None:
        raise NotFound("no_order")
    return story


async def _shown(visit: Visit, story: Row) -> dict[str, Any]:
    """Return what the page needs of *story*, without what is personal."""
    told = explaining.composed(story, [])
    order, house = story["order"], visit.house
    status = order["status"] or order["platform_status"]
    return {
        "order": order,
        "key": order["order_key"],
        "status": status,
        "steps": steps(status, set(_statuses(story))),
        "lines": [_with_hold(line, story["holds"]) for line in story["lines"]],
        "told": told,
        "decisions": told["decisions"][-DECISIONS_SHOWN:][::-1],
        "more": max(0, len(told["decisions"]) - DECISIONS_SHOWN),
        "links": explaining.links,
        "details": story["details"],
        "known": await house.reads.definitions(),
        "editors": await house.leases.look(("order", order["order_key"]), visit.known.id),
        "newer": None,
        "annotation": story["annotation"],
        "as_of_ms": house.live.as_of_ms,
        "whole": None,
    }


def _statuses(story: Row) -> Iterator[str]:
    for event in story["events"]:
        if event["event"] in _TAKEN and (said := event["body"].get("status")):
            yield said


def _with_hold(line: Row, holds: list[Row]) -> Row:
    own = [hold for hold in holds if hold["sku"] == line["sku"]]
    return {**line, "hold": own[0] if own else None}


async def show_order(visit: Visit) -> Response:
    """Show one order, masked."""
    story = await _story(visit, visit.asked.one("key"))
    return visit.show("order.html", **await _shown(visit, story))


async def show_order_part(visit: Visit) -> Response:
    """Show the part of an order's page that changes."""
    story = await _story(visit, visit.asked.one("key"))
    return visit.show("order_part.html", **await _shown(visit, story))


async def order_changes(visit: Visit) -> Response:
    """Tell an open page that its order has changed, or that somebody edits what is noted."""
    return changes(visit, ("order", visit.asked.one("key")))


def changes(visit: Visit, shown: tuple[str, str]) -> Response:
    """Return the stream of what happens to *shown*."""
    if not 0 < len(shown[1]) <= _KEY_LENGTH_MAX:
        raise Rejected("no_key")
    return StreamingResponse(
        visit.house.live.told(shown, visit.known.name),
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        media_type="text/event-stream",
    )


async def show_order_story(visit: Visit) -> Response:
    """Show all that `orderflow explain order` tells, with the raw messages, masked."""
    story = await _story(visit, visit.asked.one("key"))
    told = await explaining.explained(visit.house.settings, story)
    return visit.show(
        "story.html", key=story["order"]["order_key"], told=told,
        known=await visit.house.reads.definitions(), as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


async def reveal_order(visit: Visit) -> Response:
    """Show whose order it is, in clear; the reason and the name are on record by now."""
    visit.form.a_reason()
    story = await _story(visit, visit.form.one("key"))
    shown = await _shown(visit, story)
    shown["whole"] = await visit.house.reads.personal(story["order"]["order_key"])
    return visit.show("order.html", **shown)


PAGES = (
    Page("GET", "/order", show_order, needs=Right.LOOK),
    Page("GET", "/order/part", show_order_part, needs=Right.LOOK),
    Page("GET", "/order/changes", order_changes, needs=Right.LOOK),
    Page("GET", "/order/story", show_order_story, needs=Right.LOOK),
    Page(
        "POST",
        "/order/reveal",
        reveal_order,
        needs=Right.SEE_PERSONAL,
        did="order.reveal",
        about=("key",),
    ),
)
