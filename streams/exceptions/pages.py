"""
The exceptions queue over HTTP: what `orderflow exceptions` does, for pages and scripts.

Promise: original bytes leave only for those who have the right, and that is logged with their name.
"""

import logging
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request

from schemas.errors import Rejected
from streams.correlation import of
from streams.exceptions import queue, showing
from streams.operations.operation import (
    Change,
    House,
    NotFound,
    Operation,
    Refused,
    house_of,
    require,
)
from streams.operations.rights import Right

logger = logging.getLogger(__name__)

_Limit = Annotated[int, Meta(ge=1, le=queue.PAGE_MAX)]
_Ids = Annotated[list[str], Meta(min_length=1, max_length=queue.BULK_MAX)]


class Which(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which exceptions are listed; a page begins after the last of the page before."""

    cause: str | None = None
    stage: str | None = None
    platform: str | None = None
    shop: str | None = None
    place: str | None = None
    settled: bool = False
    limit: _Limit = 50
    after: datetime | None = None
    after_id: str | None = None


class How(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one exception is shown."""

    #: With the original bytes, for those who may see them.
    whole: bool = False


class Edit(Change, frozen=True, kw_only=True):
    """The message as it should have been."""

    #: The text that a retry sends.
    message: str
    #: What `edits` was when it was looked at: refused where somebody else edited it since.
    edits: Annotated[int, Meta(ge=0)]


class Settling(Change, frozen=True, kw_only=True):
    """Which exceptions are settled: by their ids, or all open ones of a kind."""

    ids: _Ids | None = None
    kind: queue.Kind | None = None
    #: Count them, and do nothing.
    dry_run: bool = False


async def list_exceptions(request: Request, asked: Which) -> Any:
    """Answer with a page, latest first."""
    if (asked.after is None) != (asked.after_id is None):
        raise Rejected("A page goes on after a time and an id: give both, or neither.")
    if asked.after is not None and asked.after.tzinfo is None:
        raise Rejected("The time to go on after needs its zone.")
    after = (asked.after, asked.after_id) if asked.after and asked.after_id else None
    kind = queue.Kind(
        cause=asked.cause,
        stage=asked.stage,
        platform=asked.platform,
        shop=asked.shop,
        place=asked.place,
    )
    found = await queue.listed(
        house_of(request).dsn, kind, asked.limit, settled=asked.settled, after=after
    )
    whole = request.user.may(Right.SEE_PERSONAL)
    lines = [showing.line(row, whole=whole) for row in found.exceptions]
    return {"open": found.open, "exceptions": lines}


async def show_exception(request: Request, asked: How) -> Any:
    """Answer with one exception and what was done about it."""
    if asked.whole:
        require(request, Right.SEE_PERSONAL)
    id_ = _id(request)
    row = await queue.one(house_of(request).dsn, id_)
    if row is None:
        raise NotFound(f"There is no exception {id_}.")
    if asked.whole:
        logger.info("%s was shown the original bytes of %s", request.user.name, id_, extra=of(id_))
    return showing.facts(row, whole=asked.whole)


async def edit_exception(request: Request, asked: Edit) -> Any:
    """Correct a platform's message."""
    done = await queue.edit(
        house_of(request).dsn,
        _id(request),
        asked.message.encode(),
        request.user.name,
        asked.reason,
        asked.edits,
    )
    if done.outcome not in ("edited", "unchanged"):
        if done.said == queue.NO_SUCH:
            raise NotFound(f"There is no exception {done.id}.")
        raise Refused(f"{done.id}: {done.outcome}: {done.said}.")
    return done._asdict()


async def retry_exceptions(request: Request, asked: Settling) -> Any:
    """Send messages once more, the way they came."""
    house = house_of(request)
    ids = await _wanted(house, asked)
    if asked.dry_run:
        return {"count": len(ids), "ids": ids}
    done = await queue.retry(house.settings, house.dsn, ids, request.user.name, asked.reason)
    return _told(done)


async def discard_exceptions(request: Request, asked: Settling) -> Any:
    """Leave messages for good."""
    house = house_of(request)
    ids = await _wanted(house, asked)
    if asked.dry_run:
        return {"count": len(ids), "ids": ids}
    return _told(await queue.discard(house.dsn, ids, request.user.name, asked.reason))


async def _wanted(house: House, asked: Settling) -> list[str]:
    if asked.ids is not None and asked.kind is None:
        return list(dict.fromkeys(asked.ids))
    if asked.kind is None or asked.ids is not None or asked.kind.is_any:
        raise Rejected("Give ids, or a kind with at least one word; one of both.")
    return await queue.matching(house.dsn, asked.kind)


def _told(done: list[queue.Settled]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for each in done:
        counts[each.outcome] = counts.get(each.outcome, 0) + 1
    return {"counts": counts, "messages": [each._asdict() for each in done]}


def _id(request: Request) -> str:
    path = request.path_params
    return f"{path['topic']}/{path['partition']}/{path['offset']}"


_ONE = "/v1/exceptions/{topic}/{partition:int}/{offset:int}"
OPERATIONS = (
    Operation(
        "GET",
        "/v1/exceptions",
        list_exceptions,
        needs=Right.LOOK,
        summary="Exceptions that wait for a person",
        query=Which,
    ),
    Operation(
        "GET",
        _ONE,
        show_exception,
        needs=Right.LOOK,
        summary="One exception: its reason, its message, its history",
        query=How,
    ),
    Operation(
        "POST",
        f"{_ONE}/edit",
        edit_exception,
        needs=Right.EXCEPTIONS,
        summary="Correct a platform's message; a retry sends it",
        body=Edit,
    ),
    Operation(
        "POST",
        "/v1/exceptions/retry",
        retry_exceptions,
        needs=Right.EXCEPTIONS,
        summary="Send messages once more, the way they came",
        body=Settling,
    ),
    Operation(
        "POST",
        "/v1/exceptions/discard",
        discard_exceptions,
        needs=Right.EXCEPTIONS,
        summary="Leave messages for good, on record",
        body=Settling,
    ),
)
