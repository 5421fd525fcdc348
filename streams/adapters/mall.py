"""
The own mall: the unified order itself, as `POST /v1/orders` takes it.

The one platform whose payload is ours to define, so its fields are types and not readers: the JSON
Schema of the OpenAPI document is generated from them. What `orderflow normalize` prints of any
platform's order is such a payload. Money is in minor units, a time has its offset, and an order
says when it was stated: `updated_at`, or at least `created_at`. What it leaves out stays as it is
known: `{"platform_order_id", "status", "updated_at"}` is a whole message.

Read as leniently as any platform's: a word or a field nobody knows keeps the order. The gateway is
stricter (`strange_in`), because there the sender hears of it: a misspelt amount must not be lost
in silence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import DecodeError, Meta, Struct, ValidationError, convert, json

from schemas.base import ID_LENGTH_MAX, LINES_MAX, MINOR_MAX, Moment, Quantity
from schemas.errors import MalformedPayload
from schemas.orders import (
    Buyer,
    Invoice,
    Line,
    Notice,
    NoticeCode,
    Receiver,
    Refund,
    Shipment,
    Statement,
    Status,
)
from streams.adapters.amounts import believed, discount_between, settle_refund
from streams.adapters.currencies import digits_of
from streams.adapters.phones import e164
from streams.adapters.reading import (
    BOM,
    TEXT_LENGTH_MAX,
    WORD_LENGTH_MAX,
    Json,
    MoneyUnit,
    as_object,
    decode,
    latest,
    lines_of,
    members,
    objects,
    offset,
)

STATUSES: Final = MappingProxyType(
    {status.value: status for status in Status if status is not Status.UNKNOWN}
)
REFUNDS: Final = MappingProxyType({refund.value: refund for refund in Refund})

#: Parcels of one order; beyond it a message is a mistake.
_SHIPMENTS_MAX: Final = 500
#: msgspec says where it was: `... - at `$.lines[...].quantity``.
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_WHERE = re.compile(r"(.*) - at `\$\.?([^`]*)`", re.DOTALL)

#: To the very end, without the line break before it that a mere `$` lets pass.
_Id = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX, pattern=r"^[^\s\x00]+(?![\s\S])")]
_Code = Annotated[str, Meta(max_length=ID_LENGTH_MAX, pattern=r"^[^\x00]*$")]
_Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX, pattern=r"^[^\x00]*$")]
_Amount = Annotated[
    int, Meta(ge=0, le=MINOR_MAX, description="in minor units of the order's currency")
]
_Time = Annotated[
    str,
    Meta(
        max_length=40,
        description="ISO 8601 with an offset or Z",
        extra_json_schema={"format": "date-time"},
    ),
]
_StatusWord = Annotated[
    str,
    Meta(min_length=1, max_length=WORD_LENGTH_MAX, extra_json_schema={"enum": list(STATUSES)}),
]
_RefundWord = Annotated[
    str,
    Meta(min_length=1, max_length=WORD_LENGTH_MAX, extra_json_schema={"enum": list(REFUNDS)}),
]


class MallLine(Struct, frozen=True, kw_only=True):
    """One line: what was bought, how many, for how much."""

    line_id: _Id
    quantity: Quantity
    #: Our SKU is found by it, through the shop's mapping.
    merchant_sku: _Code | None = None
    platform_sku: _Code | None = None
    title: _Text | None = None
    #: Before discounts and tax.
    unit_price_minor: _Amount | None = None
    #: After the discounts of this line, without tax and shipping.
    line_total_minor: _Amount | None = None
    refund: _RefundWord | None = None


class MallBuyer(Struct, frozen=True, kw_only=True):
    """Who buys."""

    id: _Code | None = None
    name: _Text | None = None
    email: _Text | None = None
    phone: _Code | None = None


class MallReceiver(Struct, frozen=True, kw_only=True):
    """Where the goods go."""

    name: _Text | None = None
    phone: _Code | None = None
    country: _Code | None = None
    province: _Code | None = None
    city: _Code | None = None
    district: _Code | None = None
    town: _Code | None = None
    address: _Text | None = None
    postcode: _Code | None = None


class MallInvoice(Struct, frozen=True, kw_only=True):
    """The invoice the buyer asked for."""

    type: _Code | None = None
    title: _Text | None = None
    tax_number: _Code | None = None
    amount_minor: _Amount | None = None
    status: _Code | None = None


class MallShipment(Struct, frozen=True, kw_only=True):
    """One parcel on its way."""

    carrier: _Code | None = None
    tracking_number: _Code | None = None
    shipped_at: _Time | None = None


class MallOrder(Struct, frozen=True, kw_only=True):
    """One order of the own mall, whole or what has changed of it."""

    platform_order_id: _Id
    status: _StatusWord | None = None
    platform: Literal["mall"] = "mall"
    refund: _RefundWord | None = None
    #: The order's version: of two messages the later one counts.
    updated_at: _Time | None = None
    created_at: _Time | None = None
    paid_at: _Time | None = None
    shipped_at: _Time | None = None
    completed_at: _Time | None = None
    #: ISO 4217; needed as soon as an amount is said.
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}(?![\s\S])")] | None = None
    #: What the buyer pays for the whole order as placed: goods - discounts + shipping + tax.
    total_minor: _Amount | None = None
    shipping_minor: _Amount | None = None
    discount_minor: _Amount | None = None
    tax_minor: _Amount | None = None
    paid_minor: _Amount | None = None
    refunded_minor: _Amount | None = None
    lines: Annotated[tuple[MallLine, ...], Meta(max_length=LINES_MAX)] = ()
    buyer: MallBuyer | None = None
    receiver: MallReceiver | None = None
    invoice: MallInvoice | None = None
    shipments: Annotated[tuple[MallShipment, ...], Meta(max_length=_SHIPMENTS_MAX)] = ()
    payment_method: _Code | None = None
    #: What is ours to say; taken and passed over, so that a printed order can be sent as it is.
    buyer_phone_usable: bool | None = None
    notices: tuple[Any, ...] | None = None


class _Named(Struct):
    platform_order_id: _Id


#: Bytes that are no UTF-8 have an error of their own.
_NOT_JSON: Final = (DecodeError, UnicodeDecodeError, RecursionError)
_decode_named = json.Decoder(_Named).decode

_AMOUNTS: Final = tuple(name for name in MallOrder.__struct_fields__ if name.endswith("_minor"))


@dataclass(frozen=True, slots=True)
class Mall:
    """The adapter of the own mall."""

    platform: str = "mall"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = "offset"
    money: ClassVar[MoneyUnit] = MoneyUnit.MINOR
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return the one statement in *payload*."""
        return [stated(as_object(decode(payload), "payload"), self.platform, shop)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id."""
        try:
            return _decode_named(payload.removeprefix(BOM)).platform_order_id.encode()
        except _NOT_JSON:
            return None


def stated(body: Json, platform: str, shop: str) -> Statement:
    """Return what *body*, an order in this schema, says about an order of *platform*."""
    if members(body, "lines", ""):
        lines_of(body["lines"], "lines")
    try:
        order = convert(body, MallOrder)
    except ValidationError as error:
        raise _malformed(error) from error
    return _statement(order, platform, shop)


def strange_in(body: Json) -> str | None:
    """Return the path of the first field in *body* that no order has; None: all are known."""
    return _strange(body, MallOrder, "")


def _strange(body: Json, kind: type[Struct], at: str) -> str | None:
    for key, value in body.items():
        if key not in kind.__struct_fields__:
            return at + key
        inner = _INNER.get(key)
        if inner is None:
            continue
        parts = objects(body, key, at) if isinstance(value, list) else [(f"{at}{key}.", value)]
        for place, part in parts:
            if isinstance(part, dict) and (found := _strange(part, inner, place)):
                return found
    return None


_INNER: Final[Mapping[str, type[Struct]]] = MappingProxyType({
    "lines": MallLine,
    "buyer": MallBuyer,
    "receiver": MallReceiver,
    "invoice": MallInvoice,
    "shipments": MallShipment,
})  # fmt: skip


def _malformed(error: ValidationError) -> MalformedPayload:
    """Return the error with the field's path, as every adapter names it."""
    met = _WHERE.fullmatch(str(error))
    why, path = met.groups() if met else (str(error), "")
    if missing := _MISSING.match(why):
        name = missing.group(1)
        return MalformedPayload(f"{path}.{name}" if path else name, "the field is missing")
    return MalformedPayload(path or "payload", why[:1].lower() + why[1:])


def _statement(order: MallOrder, platform: str, shop: str) -> Statement:
    notices: list[Notice] = []
    _check_currency(order)
    updated_at = _moment(order, "updated_at")
    created_at = _moment(order, "created_at")
    if updated_at is None and created_at is None:
        raise MalformedPayload("updated_at", "say when the order was changed, or created_at")
    others = [_moment(order, name) for name in ("paid_at", "shipped_at", "completed_at")]
    lines = _lines(order.lines, notices)
    status = _status(order, notices)
    statement = Statement(
        platform=platform,
        shop=shop,
        order_id=order.platform_order_id,
        status=status,
        status_said=order.status,
        refund=_refund(order, status, notices),
        created_at=created_at,
        paid_at=others[0],
        shipped_at=others[1],
        completed_at=others[2],
        updated_at=updated_at,
        stated_ms=latest(updated_at) or latest(created_at, *others),
        currency=order.currency,
        total=order.total_minor,
        shipping=order.shipping_minor,
        discount=_discount(order, lines),
        tax=order.tax_minor,
        paid=order.paid_minor,
        refunded=order.refunded_minor,
        lines=lines,
        buyer=_buyer(order),
        receiver=_receiver(order.receiver),
        invoice=_invoice(order.invoice),
        shipments=_shipments(order.shipments),
        payment_method=_said(order.payment_method),
        notices=tuple(notices),
    )
    return believed(statement, "")


def _status(order: MallOrder, notices: list[Notice]) -> Status | None:
    said = order.status
    if said is None:
        return None
    if said not in STATUSES:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, "status", said))
    return STATUSES.get(said, Status.UNKNOWN)


def _check_currency(order: MallOrder) -> None:
    if order.currency is not None:
        digits_of(order.currency, "currency")
        return
    amounts = [name for name in _AMOUNTS if getattr(order, name) is not None]
    amounts += [
        f"lines[{i}]"
        for i, line in enumerate(order.lines)
        if line.unit_price_minor is not None or line.line_total_minor is not None
    ]
    if amounts:
        raise MalformedPayload("currency", f"{amounts[0]} is an amount of which currency?")


def _discount(order: MallOrder, lines: tuple[Line, ...]) -> int | None:
    if order.discount_minor is not None:
        return order.discount_minor
    return discount_between(lines, order.shipping_minor, order.tax_minor, order.total_minor)


def _refund(order: MallOrder, status: Status | None, notices: list[Notice]) -> Refund | None:
    if order.refund is not None:
        return _refund_word(order.refund, "refund", notices)
    if order.refunded_minor is None:
        return None
    return settle_refund(Refund.NONE, order.refunded_minor, order.total_minor, status)


def _refund_word(said: str, path: str, notices: list[Notice]) -> Refund | None:
    if said not in REFUNDS:
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, path, said))
    return REFUNDS.get(said)


def _lines(said: tuple[MallLine, ...], notices: list[Notice]) -> tuple[Line, ...]:
    return tuple(_line(line, f"lines[{i}].", notices) for i, line in enumerate(said))


def _line(said: MallLine, at: str, notices: list[Notice]) -> Line:
    merchant_sku = _said(said.merchant_sku)
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, at + "merchant_sku", ""))
    return Line(
        line_id=said.line_id,
        quantity=said.quantity,
        platform_sku=_said(said.platform_sku),
        merchant_sku=merchant_sku,
        title=_said(said.title),
        unit_price=said.unit_price_minor,
        line_total=said.line_total_minor,
        refund=None if said.refund is None else _refund_word(said.refund, at + "refund", notices),
    )


def _said(value: str | None) -> str | None:
    """Return a text without outer blanks; "" is not said."""
    return (value.strip() or None) if value else None


def _moment(source: MallOrder | MallShipment, name: str, at: str = "") -> Moment | None:
    return offset({name: getattr(source, name)}, name, at)


def _region(receiver: MallReceiver | None) -> str | None:
    """Return where a number without a country's code may be dialled, as far as it was said."""
    country = _said(receiver.country) if receiver else None
    return country.upper() if country and len(country) == 2 else None


def _buyer(order: MallOrder) -> Buyer | None:
    said = order.buyer
    if said is None:
        return None
    phone = _said(said.phone)
    buyer = Buyer(
        id=_said(said.id),
        name=_said(said.name),
        email=_said(said.email),
        phone=e164(phone, _region(order.receiver)),
        phone_said=phone,
    )
    return None if buyer == Buyer() else buyer


def _receiver(said: MallReceiver | None) -> Receiver | None:
    if said is None:
        return None
    phone = _said(said.phone)
    receiver = Receiver(
        name=_said(said.name),
        phone=e164(phone, _region(said)),
        phone_said=phone,
        country=_said(said.country),
        province=_said(said.province),
        city=_said(said.city),
        district=_said(said.district),
        town=_said(said.town),
        address=_said(said.address),
        postcode=_said(said.postcode),
    )
    return None if receiver == Receiver() else receiver


def _invoice(said: MallInvoice | None) -> Invoice | None:
    if said is None:
        return None
    invoice = Invoice(
        type=_said(said.type),
        title=_said(said.title),
        tax_number=_said(said.tax_number),
        amount=said.amount_minor,
        status=_said(said.status),
    )
    return None if invoice == Invoice() else invoice


def _shipments(said: tuple[MallShipment, ...]) -> tuple[Shipment, ...]:
    return tuple(
        Shipment(
            carrier=_said(each.carrier),
            tracking_number=_said(each.tracking_number),
            shipped_at=_moment(each, "shipped_at", f"shipments[{i}]."),
        )
        for i, each in enumerate(said)
    )
