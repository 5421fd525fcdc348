"""
The exceptions queue, worked off by people: the functions of `streams/exceptions`, as pages.

Who corrects a message has its lease, of which open pages of it are told; of two the second is shown
both texts.

Promises: without the right nothing of the original bytes is shown that is personal; with it they
are shown by a form, which is on record. A bulk action is counted first, and done only to as many as
were counted.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from starlette.responses import Response

from schemas.errors import Rejected
from schemas.parked import Cause, Stage
from streams import topics
from streams.annotating.leases import About, Editors
from streams.console import cursors
from streams.console.order import changes
from streams.console.page import FIELDS_MAX, Fields, Page, Visit
from streams.exceptions import queue, showing
from streams.operations.operation import NotFound, Refused
from streams.operations.rights import Right

Row = dict[str, Any]

PAGE = 50
#: So many are named where a bulk action is counted.
NAMED_MAX = 20
#: A form takes so many ids; a kind takes as many as the queue does.
IDS_MAX = FIELDS_MAX - 20
_KIND = ("cause", "stage", "platform", "shop", "place")
_DOING = ("retry", "discard")


def _kind(said: Fields) -> queue.Kind:
    return queue.Kind(**{name: said.one(name) or None for name in _KIND}).check()


async def list_exceptions(visit: Visit) -> Response:
    """Show a page of the queue, latest first."""
    kind = _kind(visit.asked)
    settled = visit.asked.one("settled") == "1"
    after = cursors.read(visit.asked.one("after"))
    page = await queue.listed(visit.house.operations, kind, PAGE + 1, settled=settled, after=after)
    rows = page.exceptions[:PAGE]
    whole = visit.may(Right.SEE_PERSONAL)
    last = rows[-1] if len(page.exceptions) > PAGE else None
    return visit.show(
        "exceptions.html", rows=[showing.line(row, whole=whole) for row in rows], open=page.open,
        after=cursors.written(last["last_seen_at"], last["id"]) if last else "",
        kind=kind, settled=settled, causes=list(Cause), stages=list(Stage),
        platforms=topics.PLATFORMS, as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


async def _one(visit: Visit, id_: str) -> Row:
    row = await queue.one(visit.house.operations, id_)
    if row is None:
        raise NotFound("no_exception")
    return row


async def show_exception(visit: Visit) -> Response:
    """Show one exception, masked."""
    row = await _one(visit, visit.asked.one("id"))
    return await _shown(visit, showing.facts(row, whole=False), None)


async def reveal_exception(visit: Visit) -> Response:
    """Show one exception with its original bytes, to be looked at or corrected."""
    visit.form.a_reason()
    row = await _one(visit, visit.form.one("id"))
    facts = showing.facts(row, whole=True)
    return await _shown(visit, facts, facts["edited"] or facts["value"])


async def _shown(
    visit: Visit,
    facts: Row,
    whole: str | None,
    code: int = 200,
    beside: Sequence[tuple[str, str]] = (),
) -> Response:
    leases, about, session = visit.house.leases, ("exception", facts["id"]), visit.known
    may_edit = whole is not None and visit.may(Right.EXCEPTIONS)
    if may_edit and not facts["settled_at"]:
        editors = await leases.take(about, session.id, session.name)
    else:
        editors = await leases.look(about, session.id)
    return visit.show(
        "exception.html", code, facts=facts, whole=whole, beside=beside, editors=editors,
        newer=None, as_of_ms=visit.house.live.as_of_ms,
    )  # fmt: skip


async def edit_exception(visit: Visit) -> Response:
    """Take a corrected message; a retry sends it."""
    form, reason = visit.form, visit.form.a_reason()
    seen, id_ = form.a_number("edits"), form.one("id")
    if seen is None:
        raise Rejected("bad_number")
    done = await queue.edit(
        visit.house.operations, id_, form.whole("message").encode(), visit.known.name, reason, seen
    )
    if done.said == queue.NO_SUCH:
        raise NotFound("no_exception")
    if done.outcome == queue.OVERTAKEN and visit.may(Right.SEE_PERSONAL):
        return await _overtaken(visit, id_, seen, form.whole("message"))
    if done.outcome not in ("edited", "unchanged"):
        raise Refused(f"{done.id}: {done.outcome}: {done.said}.")
    await visit.house.leases.drop(("exception", id_), visit.known.id)
    return visit.go("/exception", id=id_)


async def _overtaken(visit: Visit, id_: str, seen: int, mine: str) -> Response:
    """Show what stood before, what somebody else wrote meanwhile and what was to be written."""
    facts = showing.facts(await _one(visit, id_), whole=True)
    edits = [each for each in facts["changes"] if each["did"] == "edited"]
    before = edits[seen]["before"] if 0 <= seen < len(edits) else facts["value"]
    theirs = facts["edited"] or facts["value"]
    beside = [("stood_before", before), ("they_wrote", theirs), ("you_wrote", mine)]
    return await _shown(visit, facts, mine, 409, beside)


async def exception_changes(visit: Visit) -> Response:
    """Tell an open page that its exception has changed, or that somebody corrects it."""
    return changes(visit, ("exception", (await _one(visit, visit.asked.one("id")))["id"]))


async def keep_exception_lease(visit: Visit) -> Response:
    """Keep the lease of an open form up; tell who else has it, and whether it was edited."""
    session = visit.known
    return await _editing(visit, partial(visit.house.leases.take, name=session.name))


async def show_exception_editors(visit: Visit) -> Response:
    """Tell a page that only shows an exception who corrects it, and whether it was edited."""
    return await _editing(visit, visit.house.leases.look)


async def _editing(visit: Visit, lease: Callable[[About, bytes], Awaitable[Editors]]) -> Response:
    row, seen = await _one(visit, visit.asked.one("id")), visit.asked.a_number("edits")
    editors = await lease(("exception", row["id"]), visit.known.id)
    edits = [each for each in row["changes"] if each["did"] == "edited"]
    newer = edits[-1] if seen is not None and row["edits"] > seen and edits else None
    return visit.show("editing.html", editors=editors, newer=newer)


async def count_exceptions(visit: Visit) -> Response:
    """Say how many a bulk action would take, and ask whether it shall; nothing is done."""
    doing = visit.asked.one("doing")
    if doing not in _DOING:
        raise Rejected("unknown_word")
    ids, kind = await _meant(visit, visit.asked)
    return visit.show(
        "settle.html", doing=doing, count=len(ids), named=ids[:NAMED_MAX],
        ids=[] if kind is not None else ids, kind=kind,
    )  # fmt: skip


async def _meant(visit: Visit, said: Fields) -> tuple[list[str], queue.Kind | None]:
    """Return the ids that are meant and, where it is all of a kind, the kind."""
    if said.one("all") == "1":
        kind = _kind(said)
        if kind.is_any:
            raise Rejected("any_kind")
        return await queue.matching(visit.house.operations, kind), kind
    ids = list(dict.fromkeys(said.all("id")))
    if not 0 < len(ids) <= IDS_MAX:
        raise Rejected("nothing_chosen")
    return ids, None


async def retry_exceptions(visit: Visit) -> Response:
    """Send messages once more, the way they came."""
    ids, reason, house = await _counted(visit), visit.form.a_reason(), visit.house
    done = await queue.retry(house.settings, house.operations, ids, visit.known.name, reason)
    return _told(visit, done)


async def discard_exceptions(visit: Visit) -> Response:
    """Leave messages for good, on record."""
    ids, reason = await _counted(visit), visit.form.a_reason()
    done = await queue.discard(visit.house.operations, ids, visit.known.name, reason)
    return _told(visit, done)


async def _counted(visit: Visit) -> list[str]:
    """Return the ids that are meant; raises Refused where they are not as many as were counted."""
    ids, kind = await _meant(visit, visit.form)
    counted = visit.form.a_number("count")
    if kind is not None and counted != len(ids):
        raise Refused(visit.say("count_changed", before=counted, now=len(ids)))
    return ids


def _told(visit: Visit, done: list[queue.Settled]) -> Response:
    counts: dict[str, int] = {}
    for each in done:
        counts[each.outcome] = counts.get(each.outcome, 0) + 1
    return visit.show("settled.html", counts=counts, done=done[:500], cut=max(0, len(done) - 500))


_ABOUT = ("id", *_KIND)
PAGES = (
    Page("GET", "/exceptions", list_exceptions, needs=Right.LOOK),
    Page("GET", "/exceptions/count", count_exceptions, needs=Right.EXCEPTIONS),
    Page(
        "POST", "/exceptions/retry", retry_exceptions,
        needs=Right.EXCEPTIONS, did="exceptions.retry", about=_ABOUT,
    ),
    Page(
        "POST", "/exceptions/discard", discard_exceptions,
        needs=Right.EXCEPTIONS, did="exceptions.discard", about=_ABOUT,
    ),
    Page("GET", "/exception", show_exception, needs=Right.LOOK),
    Page("GET", "/exception/changes", exception_changes, needs=Right.LOOK),
    Page("GET", "/exception/editors", show_exception_editors, needs=Right.LOOK),
    Page("GET", "/exception/lease", keep_exception_lease, needs=Right.EXCEPTIONS),
    Page(
        "POST", "/exception/reveal", reveal_exception,
        needs=Right.SEE_PERSONAL, did="exceptions.reveal", about=("id",),
    ),
    Page(
        "POST", "/exception/edit", edit_exception,
        needs=Right.EXCEPTIONS, did="exceptions.edit", about=("id",),
    ),
)  # fmt: skip
