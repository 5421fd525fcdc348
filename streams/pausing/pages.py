"""Pauses of intake over HTTP: what `orderflow intake` does, for pages and scripts."""

import time
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request

from streams.operations.operation import Change, Operation, Refused, house_of
from streams.operations.rights import Right
from streams.pausing import table

_HISTORY_MAX = 100


class Lookup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a shop's history is shown."""

    limit: Annotated[int, Meta(ge=1, le=_HISTORY_MAX)] = 20


class Shop(Change, frozen=True, kw_only=True):
    """Which shop's intake is paused or resumed, and why."""

    platform: str
    shop: str


async def list_pauses(request: Request, _: None) -> Any:
    """Answer with the pauses that are not over."""
    house = house_of(request)
    rows = await table.open_pauses(house.dsn)
    return {"pauses": table.lasting(rows, time.time(), house.settings.pause_max.total_seconds())}


async def list_pauses_of_shop(request: Request, asked: Lookup) -> Any:
    """Answer with the pauses of one shop, latest first."""
    path = request.path_params
    rows = await table.history(house_of(request).dsn, path["platform"], path["shop"], asked.limit)
    return {"pauses": rows}


async def pause_intake(request: Request, asked: Shop) -> Any:
    """Set aside what comes of a shop."""
    house = house_of(request)
    try:
        made = await table.pause(
            house.settings, house.dsn, asked.platform, asked.shop, request.user.name, asked.reason
        )
    except table.AsItIs as error:
        raise Refused(str(error)) from error
    return {"id": made.id}


async def resume_intake(request: Request, asked: Shop) -> Any:
    """Read what was set aside of a shop, in order, and go on."""
    house = house_of(request)
    try:
        id_ = await table.resume(
            house.settings, house.dsn, asked.platform, asked.shop, request.user.name, asked.reason
        )
    except table.AsItIs as error:
        raise Refused(str(error)) from error
    return {"id": id_}


OPERATIONS = (
    Operation(
        "GET",
        "/v1/intake/pauses",
        list_pauses,
        needs=Right.LOOK,
        summary="Shops whose intake is paused, or whose held messages are being read",
    ),
    Operation(
        "GET",
        "/v1/intake/pauses/{platform}/{shop}",
        list_pauses_of_shop,
        needs=Right.LOOK,
        summary="Who paused one shop's intake, when and why",
        query=Lookup,
    ),
    Operation(
        "POST",
        "/v1/intake/pause",
        pause_intake,
        needs=Right.PAUSE,
        summary="Pause a shop's intake; its webhooks are still taken, and wait",
        body=Shop,
    ),
    Operation(
        "POST",
        "/v1/intake/resume",
        resume_intake,
        needs=Right.PAUSE,
        summary="Resume a shop's intake: what waits is read in order, then what is new",
        body=Shop,
    ),
)
