"""
WooCommerce (REST v3): orders and refunds, as webhooks, API answers, pages and batches.

Reads an order bare (a webhook body is that), a page of them, a batch answer, a refund, and what a
shop sends that is about no order: the ping of a new webhook and the webhook itself. Facts come
from the official API documentation:

- Times come in pairs, the site's own without a zone and `_gmt` in UTC; only the second is read.
- A line's `subtotal` is before its discounts and `total` after them, both without tax; `price` is
  one unit after the discounts, and not rounded.
- A partial refund leaves the status alone and stands in `refunds[]` as a negative amount.
- There is no word for shipped; a shop's own words for a status come from plugins.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from schemas.base import Moment
from schemas.errors import MalformedPayload
from schemas.orders import Buyer, Line, Notice, NoticeCode, Receiver, Refund, Statement, Status
from streams.adapters.amounts import believed, discount_between, per_unit, settle_refund
from streams.adapters.currencies import digits_of
from streams.adapters.phones import e164
from streams.adapters.reading import (
    UTC,
    Json,
    MoneyUnit,
    bodies,
    code,
    latest,
    lines_of,
    members,
    money,
    naive_utc,
    number_id,
    objects,
    only_order,
    quantity,
    signed_money,
    text,
    the_number_id,
    within,
)
from streams.adapters.words import merchant_sku, status_of

#: The order's status. `on-hold` waits for the money as long as none has come: see `_status`.
STATUSES: Final = MappingProxyType({
    "pending": Status.PENDING_PAYMENT,
    "checkout-draft": Status.PENDING_PAYMENT,
    "auto-draft": Status.PENDING_PAYMENT,
    "on-hold": Status.ON_HOLD,
    "processing": Status.PAID,
    "completed": Status.COMPLETED,
    "cancelled": Status.CANCELLED,
    "failed": Status.CANCELLED,
    "trash": Status.CANCELLED,
    "refunded": Status.CANCELLED,
})  # fmt: skip
#: The one status that is about the money too; partial refunds are told by their amounts.
REFUNDS: Final = MappingProxyType({"refunded": Refund.REFUNDED})

_ON_HOLD: Final = "on-hold"
#: A shop that adds a webhook tries its address with a form, unsigned.
_PING = re.compile(rb"\s*webhook_id=[0-9]{1,20}\s*")
_BATCH: Final = ("create", "update", "delete")
#: A refund names its order in its own address, and since version 9 in `parent_id`.
_ORDER_HREF = re.compile(r".*/orders/([0-9]{1,20})(?:/.*)?")


@dataclass(frozen=True, slots=True)
class WooCommerce:
    """The adapter of WooCommerce."""

    platform: str = "woocommerce"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.DECIMAL_TEXT
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says, one statement per order or refund in it."""
        if _PING.fullmatch(payload):
            return []
        return [said for at, part in bodies(payload) for said in self._read(part, shop, at)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id, or None where there is none or more than one."""
        return only_order(self.parse, payload)

    def _read(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        for place, part in _parts(body, at):
            yield from self._one(part, shop, place)

    def _one(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        if "delivery_url" in body or set(body) == {"webhook_id"}:
            return
        if set(body) == {"id"}:
            # order.deleted: the id is all that is left of the order.
            notice = Notice(NoticeCode.THIN, at + "id", "deleted order")
            order_id = the_number_id(body, "id", at)
            yield Statement(platform=self.platform, shop=shop, order_id=order_id, notices=(notice,))
        elif "status" in body or "currency" in body or ("id" in body and "total" in body):
            yield self._order(body, shop, at)
        elif "amount" in body:
            yield self._refund(body, shop, at)
        elif "message" in body and "code" in body:
            raise MalformedPayload(at + "code", "the platform answered with an error")
        else:
            raise MalformedPayload(at + "payload", "holds no order or refund")

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        notices: list[Notice] = []
        order_id = the_number_id(order, "id", at)
        currency = text(order, "currency", at)
        if currency is None:
            raise MalformedPayload(at + "currency", "the currency of the amounts is missing")
        digits = digits_of(currency, at + "currency")
        paid_at = naive_utc(order, "date_paid_gmt", at)
        status, said = _status(order, paid_at, at, notices)
        lines = _lines(order, digits, at, notices)
        total = money(order, "total", at, digits)
        shipping = money(order, "shipping_total", at, digits)
        tax = money(order, "total_tax", at, digits)
        discount = money(order, "discount_total", at, digits)
        if discount is None:
            discount = discount_between(lines, shipping, tax, total)
        refunded = _refunded(order, digits, at)
        created_at = naive_utc(order, "date_created_gmt", at)
        completed_at = naive_utc(order, "date_completed_gmt", at)
        updated_at = naive_utc(order, "date_modified_gmt", at)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            status=status,
            status_said=said,
            refund=_refund_of(said, refunded, total, status),
            created_at=created_at,
            paid_at=paid_at,
            completed_at=completed_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(completed_at, paid_at, created_at),
            currency=currency,
            total=total,
            shipping=shipping,
            discount=discount,
            tax=tax,
            paid=total if paid_at is not None else None,
            refunded=refunded,
            lines=lines,
            buyer=_buyer(order, at),
            receiver=_receiver(order, at),
            payment_method=text(order, "payment_method_title", at)
            or text(order, "payment_method", at),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _refund(self, refund: Json, shop: str, at: str) -> Statement:
        """
        Return the order a refund is about.

        Its amount names no currency, so neither the amount nor whether it was all can be told; the
        order itself counts its refunds.
        """
        return Statement(
            platform=self.platform,
            shop=shop,
            order_id=_order_of(refund, at),
            stated_ms=latest(naive_utc(refund, "date_created_gmt", at)),
            notices=(Notice(NoticeCode.THIN, at + "amount", "refund"),),
        )


def _parts(body: Json, at: str) -> list[tuple[str, Json]]:
    """Return the orders or refunds in *body*: itself, what it wraps, a page's, or a batch's."""
    if "id" in body:
        return [(at, body)]
    if any(name in body for name in _BATCH):
        found = [part for name in _BATCH for part in objects(body, name, at)]
        # An entry of a batch that failed has an error and no order.
        return [(place, part) for place, part in found if "error" not in part]
    for name in ("order", "refund"):
        if isinstance(body.get(name), dict):
            return [(f"{at}{name}.", body[name])]
    for name in ("orders", "refunds"):
        if "line_items" not in body and isinstance(body.get(name), list):
            return objects(body, name, at)
    return [(at, body)]


def _status(
    order: Json, paid_at: Moment | None, at: str, notices: list[Notice]
) -> tuple[Status | None, str | None]:
    """Return the status; `on-hold` without a payment waits for a bank transfer."""
    status, said = status_of(STATUSES, order, "status", at, notices)
    unpaid = said == _ON_HOLD and paid_at is None
    return (Status.PENDING_PAYMENT if unpaid else status), said


def _refund_of(
    said: str | None, refunded: int | None, total: int | None, status: Status | None
) -> Refund | None:
    """Return the refund by the status where that says it, else by the amounts in `refunds[]`."""
    named = REFUNDS.get(said or "")
    if named is not None:
        return named
    if refunded is None:
        return Refund.NONE if status is Status.PENDING_PAYMENT else None
    return settle_refund(Refund.NONE, refunded, total)


def _refunded(order: Json, digits: int, at: str) -> int | None:
    """Return what `refunds[]` add up to; None where the order does not have the list."""
    if order.get("refunds") is None:
        return None
    found = objects(order, "refunds", at)
    return sum(abs(signed_money(refund, "total", place, digits) or 0) for place, refund in found)


def _order_of(refund: Json, at: str) -> str:
    """Return the order of a refund, from `parent_id` or from the refund's own address."""
    found = number_id(refund, "parent_id", at) or number_id(refund, "order_id", at)
    if found is not None:
        return found
    links, place = within(refund, "_links", at), at + "_links."
    for name in ("up", "self"):
        for where, link in objects(links, name, place):
            matched = _ORDER_HREF.fullmatch(text(link, "href", where) or "")
            if matched is not None:
                return matched.group(1)
    raise MalformedPayload(at + "parent_id", "the refund does not name its order")


# --- lines --------------------------------------------------------------------------------------


def _lines(order: Json, digits: int, at: str, notices: list[Notice]) -> tuple[Line, ...]:
    """Return the lines; an order that is written by hand may have none yet."""
    if order.get("line_items") is None:
        raise MalformedPayload(at + "line_items", "the order has no lines")
    if members(order, "line_items", at):
        lines_of(order["line_items"], at + "line_items")
    found = objects(order, "line_items", at)
    return tuple(_line(part, digits, place, notices) for place, part in found)


def _line(part: Json, digits: int, at: str, notices: list[Notice]) -> Line:
    count = quantity(part, "quantity", at)
    goods = money(part, "subtotal", at, digits)
    return Line(
        line_id=the_number_id(part, "id", at),
        quantity=count,
        platform_sku=code(part, "variation_id", at) or code(part, "product_id", at),
        merchant_sku=merchant_sku(part, ("sku",), at, notices),
        title=text(part, "name", at),
        unit_price=per_unit(goods, count),
        line_total=money(part, "total", at, digits),
    )


# --- people -------------------------------------------------------------------------------------

_NOBODY: Final = Receiver()
_NO_BUYER: Final = Buyer()


def _name(person: Json, at: str) -> str | None:
    names = (text(person, "first_name", at), text(person, "last_name", at))
    return " ".join(name for name in names if name is not None) or None


def _buyer(order: Json, at: str) -> Buyer | None:
    """Return the buyer; customer 0 is a guest."""
    billing, place = within(order, "billing", at), at + "billing."
    phone_said = text(billing, "phone", place)
    buyer = Buyer(
        id=code(order, "customer_id", at),
        name=_name(billing, place),
        email=text(billing, "email", place),
        phone=e164(phone_said, text(billing, "country", place)),
        phone_said=phone_said,
    )
    return None if buyer == _NO_BUYER else buyer


def _receiver(order: Json, at: str) -> Receiver | None:
    address, place = within(order, "shipping", at), at + "shipping."
    phone_said, country = text(address, "phone", place), text(address, "country", place)
    streets = (text(address, "address_1", place), text(address, "address_2", place))
    receiver = Receiver(
        name=_name(address, place),
        phone=e164(phone_said, country),
        phone_said=phone_said,
        country=country,
        province=text(address, "state", place),
        city=text(address, "city", place),
        address=", ".join(street for street in streets if street is not None) or None,
        postcode=text(address, "postcode", place),
    )
    return None if receiver == _NOBODY else receiver
