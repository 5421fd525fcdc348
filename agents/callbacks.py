"""
What a subscriber is told of an order event, and whether it wants to know.

Promises. A field leaves the house only if it is named here: of an event's fields each is either
TOLD or WITHHELD, and a test fails on one that is neither. What people wrote (operator, reason) and
what points into the house (cause, command, adapter, digest) is never told. The same event has the
same id and the same bytes, however often it is read.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct, json, to_builtins

from schemas.orders import (
    CaseOpened,
    CaseSettled,
    OrderEvent,
    OrderExpired,
    OrderObserved,
    OrderRefundChanged,
    OrderReserved,
    OrderReturned,
    OrderShipped,
    OrderShort,
    OrderStatusChanged,
)

_ALWAYS: Final = ("order", "version", "at_ms")
#: Event -> the fields that subscribers see, beside the order, its version and the time.
TOLD: Final[Mapping[type[OrderEvent], tuple[str, ...]]] = MappingProxyType(
    {
        OrderObserved: (
            "platform", "shop", "order_id", "status", "status_said", "refund", "currency",
            "total_minor", "shipping_minor", "discount_minor", "tax_minor", "paid_minor",
            "refunded_minor", "created_ms", "paid_ms", "shipped_ms", "completed_ms", "updated_ms",
            "lines", "unmapped",
        ),
        OrderReserved: ("attempt", "status", "deadline_ms", "short"),
        OrderShort: ("attempt", "status", "short", "kept", "deadline_ms"),
        OrderExpired: ("attempt", "deadline_ms"),
        OrderStatusChanged: ("before", "status", "reservation"),
        OrderRefundChanged: ("before", "refund", "refunded_minor"),
        OrderShipped: (
            "platform", "shop", "order_id", "parcel", "carrier", "tracking_number", "lines",
            "earlier", "left", "reservation",
        ),
        CaseOpened: ("case", "short"),
        CaseSettled: ("case", "choice", "open_case"),
        OrderReturned: ("sku", "quantity", "disposition", "returned"),
    }
)  # fmt: skip
#: What stays here: people's names and words, and how the house came to say it.
WITHHELD: Final = frozenset(
    {"cause", "command", "operator", "reason", "adapter", "digest", "received_ms"}
)
#: The name of each, as subscribers filter by it. Not told: `order.ignored`, which changed nothing,
#: and `order.answered`, which answers an operator.
TYPES: Final = tuple(str(kind.__struct_config__.tag) for kind in TOLD)
#: What `orderflow subscribers test` sends.
TEST_TYPE: Final = "subscriber.test"


class Filter(Struct, frozen=True):
    """Which events a subscriber wants; what is empty is anything."""

    #: Of TYPES.
    types: tuple[str, ...] = ()
    #: `platform` or `platform:shop`.
    shops: tuple[str, ...] = ()


def wants(wanted: Filter, type_: str, order: str) -> bool:
    """Say whether an event of *type_* about *order* (`platform:shop:order`) passes."""
    if wanted.types and type_ not in wanted.types:
        return False
    if not wanted.shops:
        return True
    platform, shop, _ = (*order.split(":", 2), "", "")[:3]
    return platform in wanted.shops or f"{platform}:{shop}" in wanted.shops


def type_of(event: Struct) -> str | None:
    """Return the name of *event*'s type; None: it is not for subscribers."""
    return str(type(event).__struct_config__.tag) if type(event) in TOLD else None


def body_of(event: OrderEvent) -> bytes:
    """Return what subscribers get: `type`, `timestamp` and `data`, as Standard Webhooks has it."""
    data = {name: getattr(event, name) for name in (*_ALWAYS, *TOLD[type(event)])}
    return body(str(event.__struct_config__.tag), event.at_ms, data)


def body(type_: str, at_ms: int, data: Mapping[str, Any]) -> bytes:
    """Return a payload; `data` as JSON has it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    said = {"type": type_, "timestamp": at.replace("+00:00", "Z"), "data": to_builtins(dict(data))}
    return json.encode(said)


def message_id(source: str, number: int) -> str:
    """Return the `webhook-id` of the event that its keeper (`ce_source`) numbered so."""
    return f"evt_{sha256(f'{source}#{number}'.encode()).hexdigest()[:32]}"
