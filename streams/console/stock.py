"""
Stock: balances, one SKU with its trail, and the forms that change it.

Promise: a form becomes one command to the SKU's keeper, by the id that the form was made with. The
same form sent twice is the same command, which the keeper answers twice and does once.
"""

import asyncio
from typing import Any, NamedTuple

from starlette.responses import Response

from schemas.base import ID_LENGTH_MAX
from schemas.errors import Rejected
from schemas.stock import AdjustStock, CountStock, FreezeStock, ReceiveStock, UnfreezeStock
from streams import commanding
from streams.console.order import changes
from streams.console.page import Handler, Page, Visit
from streams.operations.operation import Refused
from streams.operations.rights import Right

Row = dict[str, Any]

PAGE = 100
MOVES = 50
HOLDS_MAX = 200
#: Commands that are waited for at a time: each has a consumer of its own.
_TURNS = asyncio.Semaphore(8)


class Verb(NamedTuple):
    """One thing that a form does to a SKU."""

    kind: type[Any]
    #: The command's field that the form's number is.
    field: str


VERBS: dict[str, Verb] = {
    "receive": Verb(ReceiveStock, "quantity"),
    "count": Verb(CountStock, "counted"),
    "adjust": Verb(AdjustStock, "delta"),
    "freeze": Verb(FreezeStock, "quantity"),
    "unfreeze": Verb(UnfreezeStock, "quantity"),
}


async def list_stock(visit: Visit) -> Response:
    """Show a page of balances."""
    asked = visit.asked
    begins, after, at_most = asked.one("sku"), asked.one("after"), asked.a_number("at_most")
    short = asked.one("short") == "1"
    rows = await visit.house.reads.stock_listed(after, begins, at_most, short=short, limit=PAGE + 1)
    return visit.show(
        "stock.html", rows=rows[:PAGE], more=len(rows) > PAGE, begins=begins, at_most=at_most,
        short=short, as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


def _name(said: str) -> str:
    if not 0 < len(said) <= ID_LENGTH_MAX:
        raise Rejected("no_sku")
    return said


async def _shown(visit: Visit, sku: str, before: int | None = None) -> dict[str, Any]:
    async with visit.house.reads.in_a_row() as reads:
        found = await reads.stock(sku, limit=HOLDS_MAX)
        moves = await reads.moves_before(sku, before, MOVES + 1)
    return {
        "sku": sku,
        "balance": found and found["balance"],
        "holds": found["holds"] if found else [],
        "quotas": found["quotas"] if found else [],
        "moves": moves[:MOVES],
        "older": moves[MOVES - 1]["version"] if len(moves) > MOVES else None,
        "verbs": VERBS,
        "holds_max": HOLDS_MAX,
        "as_of_ms": visit.house.live.as_of_ms,
    }


async def show_sku(visit: Visit) -> Response:
    """Show one SKU; one that was never received has a form to receive it."""
    sku = _name(visit.asked.one("name"))
    shown = await _shown(visit, sku, visit.asked.a_number("before"))
    done = visit.asked.one("done")
    said = await visit.house.reads.answer(done) if done else None
    # An answer to another SKU's command is nothing to tell here.
    told = said if said is not None and said["sku"] == sku else None
    return visit.show("sku.html", **shown, done=done, said=told)


async def show_sku_part(visit: Visit) -> Response:
    """Show the part of a SKU's page that changes."""
    sku = _name(visit.asked.one("name"))
    return visit.show("sku_part.html", **await _shown(visit, sku))


async def sku_changes(visit: Visit) -> Response:
    """Tell an open page that its SKU has changed."""
    return changes(visit, ("sku", _name(visit.asked.one("name"))))


def _changing(verb: str) -> Handler:
    async def change(visit: Visit) -> Response:
        return await _change(visit, verb)

    change.__name__ = f"{verb}_stock"
    return change


async def _change(visit: Visit, verb: str) -> Response:
    made = _command(visit, VERBS[verb])
    async with _TURNS:
        said = (await commanding.ask(visit.house.settings, [made]))[made.id]
    if said.refusal is not None:
        raise Refused(
            visit.say(
                "command_refused",
                why=visit.say(f"refusal_{said.refusal.value}"),
                available=said.available,
            )
        )
    return visit.go("/sku", name=made.sku, done=made.id)


def _command(visit: Visit, verb: Verb) -> Any:
    form = visit.form
    reason, number = form.a_reason(), form.a_number("number")
    if number is None:
        raise Rejected("bad_number")
    return commanding.command(
        verb.kind,
        id=form.one("once"),
        sku=_name(form.one("sku")),
        reason=reason,
        operator=visit.known.name,
        **{verb.field: number},
    )


def _form(verb: str) -> Page:
    return Page(
        "POST",
        f"/sku/{verb}",
        _changing(verb),
        needs=Right.STOCK,
        did=f"stock.{verb}",
        about=("sku", "number"),
    )


PAGES = (
    Page("GET", "/stock", list_stock, needs=Right.LOOK),
    Page("GET", "/sku", show_sku, needs=Right.LOOK),
    Page("GET", "/sku/part", show_sku_part, needs=Right.LOOK),
    Page("GET", "/sku/changes", sku_changes, needs=Right.LOOK),
    *(_form(verb) for verb in VERBS),
)
