"""
Parcels over HTTP: what `orderflow order ship` does, for a warehouse's own system.

Promise: the operator in the trail is whoever is signed in; a request repeated with its `id` is one
parcel, and gets the same answer.
"""

from typing import Annotated, Any, Final

from msgspec import Meta
from starlette.requests import Request

from schemas.base import LINES_MAX, OrderKey
from schemas.errors import Refusal
from schemas.orders import CarrierCode, ParcelLine, TrackingNumber
from streams.clock import new_id
from streams.operations.operation import Change, NotFound, Operation, Refused, house_of
from streams.operations.rights import Right
from streams.shipping.saying import a_parcel, say, why_not

#: How long the answer is waited for, s.
ANSWER_WITHIN_S: Final = 10.0


class ParcelContent(Change, frozen=True, kw_only=True):
    """A parcel that left."""

    #: `platform:shop:order`.
    order: OrderKey
    carrier: CarrierCode
    tracking_number: TrackingNumber
    #: `[line, units]` each, by the line's id or our SKU; none: all that is held.
    lines: Annotated[tuple[ParcelLine, ...], Meta(max_length=LINES_MAX)] = ()
    #: A UUIDv7 of the caller's, to repeat a request safely; none: a new one.
    id: str = ""


async def ship_order(request: Request, asked: ParcelContent) -> Any:
    """Let a parcel leave: its stock goes, and the platform is told."""
    parcel = a_parcel(
        asked.id or new_id(),
        asked.order,
        asked.carrier,
        asked.tracking_number,
        asked.lines,
        request.user.name,
        asked.reason,
    )
    said = await say(house_of(request).settings, parcel, ANSWER_WITHIN_S)
    if said.refusal is Refusal.UNKNOWN_ORDER:
        raise NotFound(why_not(said))
    if said.refusal is not None:
        raise Refused(why_not(said))
    return {"command": said.command, "order": said.order, "left": said.left}


OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/parcels",
        ship_order,
        needs=Right.SHIP,
        summary="Say that a parcel of an order left; its platform is told",
        body=ParcelContent,
    ),
)
