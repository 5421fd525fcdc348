"""
What a platform has to be told of the parcels that left our warehouse, and how much it can hear.

A push comes from `order.shipped` and from nothing else. That event is only ever the answer to a
person's or a system's command here; what a platform says of a shipment is a statement, and makes
`order.observed` and `order.status`. So the echo of a push, the platform's own word that the order
was shipped, ends in the order's row: there is no loop to be broken.

How much a platform can hear (`SAYS`):

    units   each parcel, with the units of each line in it: every parcel is one push
    lines   lines, but no part of one: a line is told with the parcel that its last unit is in
    whole   an order is shipped or not: it is told with its last parcel

Promise: the same event makes the same push, byte for byte, under the same id.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec import Struct, json

from schemas.base import Word
from schemas.orders import OrderShipped, Waybill


class Hears(Word):
    """How much of a parcel a platform can be told."""

    UNITS = "units"
    LINES = "lines"
    WHOLE = "whole"


class Says(NamedTuple):
    """What is known of a platform's way to be told."""

    hears: Hears
    #: Numbers on parcels that one call can name.
    waybills_max: int = 1


#: Platforms that can be told. The own mall hears of parcels as every subscriber does.
SAYS: Final[Mapping[str, Says]] = MappingProxyType(
    {
        "taobao": Says(Hears.LINES),
        "tmall": Says(Hears.LINES),
        "jd": Says(Hears.WHOLE, waybills_max=20),
        "pdd": Says(Hears.WHOLE),
        "douyin": Says(Hears.UNITS),
        "kuaishou": Says(Hears.WHOLE),
        "xiaohongshu": Says(Hears.LINES),
        "shopify": Says(Hears.UNITS),
        "amazon": Says(Hears.UNITS),
        "woocommerce": Says(Hears.WHOLE, waybills_max=20),
        "tiktokshop": Says(Hears.LINES),
        "shopee": Says(Hears.WHOLE),
    }
)


class PushLine(Struct, frozen=True, kw_only=True, gc=False):
    """What of one line a platform is told."""

    line_id: str
    platform_sku: str | None
    quantity: int


class Push(Struct, frozen=True, kw_only=True, gc=False):
    """What one platform is told of one parcel; in a queue, `encoded`."""

    #: `platform:shop:order`: pushes of one order are told in their order.
    order: str
    platform: str
    shop: str
    order_id: str
    parcel: int
    #: This parcel's first; after it, where one call names all, those before it.
    waybills: tuple[Waybill, ...]
    lines: tuple[PushLine, ...]
    #: Nothing of the order is left to leave.
    last: bool
    #: When it left, ms.
    shipped_ms: int

    @property
    def id(self) -> str:
        """The same at every attempt, and of every reading of its event."""
        return f"{self.order}/{self.parcel}"


def pushes_of(event: object) -> list[Push]:
    """Return what an order event has a platform be told; nothing for all but our own parcels."""
    if not isinstance(event, OrderShipped):
        return []
    says = SAYS.get(event.platform)
    if says is None:
        return []
    waybills: tuple[Waybill, ...] = (Waybill(event.carrier, event.tracking_number),)
    lines = event.lines
    if says.hears is Hears.WHOLE:
        if event.left:
            return []
        waybills = (*waybills, *event.earlier)[: says.waybills_max]
    elif says.hears is Hears.LINES:
        # After the last parcel no more of a line will come.
        lines = tuple(line for line in lines if not line.left or not event.left)
        if not lines:
            return []
    return [
        Push(
            order=event.order,
            platform=event.platform,
            shop=event.shop,
            order_id=event.order_id,
            parcel=event.parcel,
            waybills=waybills,
            lines=tuple(
                PushLine(
                    line_id=line.line_id, platform_sku=line.platform_sku, quantity=line.quantity
                )
                for line in lines
            ),
            last=not event.left,
            shipped_ms=event.at_ms,
        )
    ]


def encoded(push: Push) -> bytes:
    """Return *push* as a queue keeps it."""
    return json.encode(push)


_decode = json.Decoder(Push).decode


def decoded(body: bytes) -> Push:
    """Return the push that a queue kept. Raises msgspec.DecodeError, msgspec.ValidationError."""
    return _decode(body)


class Told(Word):
    """What became of an attempt."""

    #: It was taken.
    TAKEN = "taken"
    #: It was taken before, by us or by somebody else: there is nothing left to tell.
    ALREADY = "already"
    #: It will be refused again: a person has to look.
    REFUSED = "refused"
    #: It may be taken later: it answers, and wants to be asked less.
    LATER = "later"
    #: No answer, or none that it gives when it is well.
    AWAY = "away"
    #: It does not take the shop's credentials: it waits until somebody has renewed them.
    DENIED = "denied"


class Attempt(NamedTuple):
    """The verdict on one attempt."""

    told: Told
    #: One sentence, with no secret in it.
    why: str = ""
    #: How long the platform wants to be left alone, s.
    retry_after_s: float | None = None
