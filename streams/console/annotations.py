"""
What people note of one order: labels and fields, changed by a form that knows of other people.

Who opens the form takes a lease of the order, which shows to whoever else opens it; the open form
keeps it up, and is told within a second when somebody else changes the order meanwhile.

Promise: the form changes the order as it was seen, or nothing. Where somebody was quicker, it
stands again with what stood before, what they wrote and what was to be written, side by side.
"""

from typing import Any, NamedTuple

from starlette.responses import Response

from schemas.base import ID_LENGTH_MAX
from schemas.errors import Rejected
from streams.annotating import table
from streams.annotating.definitions import (
    NOTHING,
    TEXT_LENGTH_MAX,
    Annotation,
    BadAnnotation,
    may_edit,
    merged,
)
from streams.annotating.table import NoSuch, Overtaken
from streams.console.orders import worded
from streams.console.page import Page, Visit
from streams.operations.operation import NotFound
from streams.operations.rights import Right

_KEY_LENGTH_MAX = 3 * ID_LENGTH_MAX
#: Versions count up; more than this is no version.
_VERSION_MAX = 2**31 - 1
#: What is shown side by side where somebody was quicker.
_BESIDE = ("stood_before", "they_wrote", "you_wrote")


class Filled(NamedTuple):
    """A form as somebody filled it in."""

    labels: tuple[str, ...]
    fields: dict[str, str]


async def show_annotation_form(visit: Visit) -> Response:
    """Show the form for one order, and take the order's lease."""
    return await _form(visit, _key(visit.asked.one("key")))


def _key(said: str) -> str:
    if not 0 < len(said) <= _KEY_LENGTH_MAX:
        raise Rejected("no_key")
    return said


async def _form(
    visit: Visit,
    key: str,
    code: int = 200,
    *,
    filled: Filled | None = None,
    seen: int | None = None,
    overtaken: Overtaken | None = None,
    no: str = "",
) -> Response:
    reads, session = visit.house.reads, visit.known
    called = [order for order in await reads.order(key) if order["order_key"] == key]
    if not called:
        raise NotFound("no_order")
    known = await reads.definitions()
    now = overtaken.now if overtaken else (await reads.annotations([key])).get(key, NOTHING)
    before = overtaken.before if overtaken else now
    mine = before if filled is None else before._replace(
        labels=filled.labels, fields={**before.fields, **filled.fields}
    )  # fmt: skip
    editors = await visit.house.leases.take(("order", key), session.id, session.name)
    return visit.show(
        "annotate.html", code, key=key, order=called[0], known=known, editors=editors,
        # What both changed is as the visitor wrote it: to be looked at, and sent again.
        wish=merged(before, mine, now) if overtaken else mine, no=no, newer=None,
        beside=list(zip(_BESIDE, (before, now, mine), strict=True)) if overtaken else [],
        version=now.version if seen is None else seen, text_max=TEXT_LENGTH_MAX,
        fields=[each for each in known.fields.values() if may_edit(each, session.role)],
        kept=_kept(visit, now, known.fields),
    )  # fmt: skip


def _kept(visit: Visit, now: Annotation, fields: Any) -> list[tuple[str, str]]:
    """Return the fields that the order holds and this visitor does not edit."""
    return [
        (code, value)
        for code, value in now.fields.items()
        if code not in fields or not may_edit(fields[code], visit.known.role)
    ]


async def annotate_order(visit: Visit) -> Response:
    """Note what the form says, where nobody else was quicker."""
    form, session = visit.form, visit.known
    key, seen = _key(form.one("key")), form.a_number("version")
    if seen is None or not 0 <= seen <= _VERSION_MAX:
        raise Rejected("bad_number")
    filled = Filled(tuple(dict.fromkeys(form.all("label"))), form.beginning("field."))
    try:
        done = await table.annotate(
            visit.house.operations, key, *filled, seen, session.name, session.role
        )
    except BadAnnotation as error:
        return await _form(visit, key, 400, filled=filled, seen=seen, no=worded(visit, error))
    except NoSuch as error:
        raise NotFound("no_order") from error
    if isinstance(done, Overtaken):
        return await _form(visit, key, 409, filled=filled, overtaken=done)
    await visit.house.leases.drop(("order", key), session.id)
    return visit.go("/order", key=key)


async def keep_order_lease(visit: Visit) -> Response:
    """Keep the lease of an open form up; tell who else has it, and whether the order is another."""
    key, session = _key(visit.asked.one("key")), visit.known
    seen = visit.asked.a_number("version")
    now = (await visit.house.reads.annotations([key])).get(key, NOTHING)
    editors = await visit.house.leases.take(("order", key), session.id, session.name)
    newer = now if seen is not None and now.version > seen else None
    return visit.show("editing.html", editors=editors, newer=newer)


PAGES = (
    Page("GET", "/order/annotate", show_annotation_form, needs=Right.ANNOTATE),
    Page("GET", "/order/annotate/lease", keep_order_lease, needs=Right.ANNOTATE),
    Page(
        "POST", "/order/annotate", annotate_order,
        needs=Right.ANNOTATE, did="order.annotate", about=("key",),
    ),
)  # fmt: skip
