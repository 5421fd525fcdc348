"""
TikTok Shop: order details, search pages, returns, cancellations, and pushes.

Reads the answers of order 202309 (`data.orders[]`), of returns and cancellations
(`data.return_orders[]`, `data.cancellations[]`), and the push `{type, shop_id, timestamp, data}`.
Facts come from the official SDK's models:

- A line item is one unit and has no quantity. Each keeps its own id, by which units are cancelled,
  packed and returned one by one; two units of a SKU are two lines.
- Money is a decimal text in `payment.currency`; `sale_price` is after the line's discounts.
- An order has no word for its refunds: they stand in its returns and cancellations.
- Times are unix seconds, 0 or absent is null.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from schemas.base import Moment
from schemas.errors import MalformedPayload
from schemas.orders import (
    Buyer,
    Line,
    Notice,
    NoticeCode,
    Receiver,
    Refund,
    Shipment,
    Statement,
    Status,
)
from streams.adapters.amounts import believed, discount_between
from streams.adapters.currencies import digits_of
from streams.adapters.phones import e164
from streams.adapters.reading import (
    UTC,
    Json,
    MoneyUnit,
    as_object,
    bodies,
    code,
    flag,
    latest,
    lines_of,
    members,
    money,
    number_id,
    objects,
    only_order,
    quantity,
    text,
    the_number_id,
    unix_seconds,
    unpack,
    within,
    word,
)
from streams.adapters.words import merchant_sku, status_of

#: The order's status.
STATUSES: Final = MappingProxyType({
    "UNPAID": Status.PENDING_PAYMENT,
    "ON_HOLD": Status.ON_HOLD,
    "AWAITING_SHIPMENT": Status.PAID,
    "AWAITING_COLLECTION": Status.PAID,
    "PARTIALLY_SHIPPING": Status.PARTIALLY_SHIPPED,
    "IN_TRANSIT": Status.SHIPPED,
    "DELIVERED": Status.DELIVERED,
    "COMPLETED": Status.COMPLETED,
    "CANCELLED": Status.CANCELLED,
})  # fmt: skip
#: The status of a return or a cancellation.
REFUNDS: Final = MappingProxyType({
    "CANCELLATION_REQUEST_PENDING": Refund.REFUNDING,
    "CANCELLATION_REQUEST_SUCCESS": Refund.REFUNDING,
    "CANCELLATION_REQUEST_CANCEL": Refund.NONE,
    "CANCELLATION_REQUEST_COMPLETE": Refund.REFUNDED,
    "RETURN_OR_REFUND_REQUEST_PENDING": Refund.REFUNDING,
    "RETURN_OR_REFUND_REQUEST_SUCCESS": Refund.REFUNDING,
    "RETURN_OR_REFUND_REQUEST_CANCEL": Refund.NONE,
    "RETURN_OR_REFUND_REQUEST_COMPLETE": Refund.REFUNDED,
    "REFUND_OR_RETURN_REQUEST_REJECT": Refund.REJECTED,
    "AWAITING_BUYER_SHIP": Refund.REFUNDING,
    "AWAITING_BUYER_RESPONSE": Refund.REFUNDING,
    "BUYER_SHIPPED_ITEM": Refund.REFUNDING,
    "REJECT_RECEIVE_PACKAGE": Refund.REJECTED,
    "REPLACEMENT_REQUEST_PENDING": Refund.REFUNDING,
    "REPLACEMENT_REQUEST_REJECT": Refund.REJECTED,
    "REPLACEMENT_REQUEST_REFUND_SUCCESS": Refund.REFUNDING,
    "REPLACEMENT_REQUEST_CANCEL": Refund.NONE,
    # Other goods for the old ones: no money moves.
    "REPLACEMENT_REQUEST_COMPLETE": Refund.NONE,
})  # fmt: skip

#: The lists an answer may hold, and the id of what is in them.
_LISTS: Final = ("orders", "return_orders", "cancellations")
_AFTER_SALE_WORDS: Final = ("return_status", "cancel_status", "reverse_order_status")
#: Before payment there is nothing to refund; after a cancellation it depends on the payment.
_UNPAID: Final = frozenset({Status.PENDING_PAYMENT, Status.CANCELLED})
#: As long as the goods are here a buyer's wish to cancel has to be answered.
_NOT_SHIPPED: Final = frozenset({Status.ON_HOLD, Status.PAID})
_SUCCESS: Final = "0"


@dataclass(frozen=True, slots=True)
class TikTokShop:
    """The adapter of TikTok Shop."""

    platform: str = "tiktokshop"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.DECIMAL_TEXT
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, return, cancellation or push."""
        return [said for at, part in bodies(payload) for said in self._read(part, shop, at)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id, or None where there is none or more than one."""
        return only_order(self.parse, payload)

    def _read(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        if "type" in body and "data" in body:
            yield from self._push(body, shop, at)
            return
        if "data" in body or "code" in body:
            body, at = _answer(body, at)
        if "line_items" in body or "id" in body:
            yield self._order(body, shop, at)
        elif any(name in body for name in _LISTS):
            yield from self._page(body, shop, at)
        elif "order_id" in body and any(name in body for name in _AFTER_SALE_WORDS):
            yield self._after_sale(body, shop, at)
        elif body.keys() <= {"next_page_token", "total_count"} and body:
            return
        else:
            raise MalformedPayload(at + "payload", "holds no order, return or push message")

    def _page(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        for place, order in objects(body, "orders", at):
            yield self._order(order, shop, place)
        for name in ("return_orders", "cancellations"):
            for place, sale in objects(body, name, at):
                yield self._after_sale(sale, shop, place)

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of order 202309."""
        notices: list[Notice] = []
        order_id = the_number_id(order, "id", at)
        status, said = status_of(STATUSES, order, "status", at, notices)
        payment, place = within(order, "payment", at), at + "payment."
        currency = _currency(order, payment, at)
        digits = 2 if currency is None else digits_of(currency, place + "currency")
        lines = _lines(order, currency, at, notices)
        total = money(payment, "total_amount", place, digits)
        shipping = money(payment, "shipping_fee", place, digits)
        tax = money(payment, "tax", place, digits)
        created_at = unix_seconds(order, "create_time", at)
        paid_at = unix_seconds(order, "paid_time", at)
        updated_at = unix_seconds(order, "update_time", at)
        cancelled_at = unix_seconds(order, "cancel_time", at)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            status=status,
            status_said=said,
            refund=_refund(order, status, paid_at, at),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=unix_seconds(order, "collection_time", at),
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(cancelled_at, paid_at, created_at),
            currency=currency,
            total=total,
            shipping=shipping,
            discount=_discount(payment, lines, (shipping, tax, total), digits, place),
            tax=tax,
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(order, at),
            receiver=_receiver(order, at),
            shipments=_shipments(order, at),
            payment_method=text(order, "payment_method_name", at),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _after_sale(self, sale: Json, shop: str, at: str) -> Statement:
        """
        Return a return or a cancellation: what became of the money.

        One that is complete says how much was paid back, and not whether that was all.
        """
        notices = [Notice(NoticeCode.THIN, at + "order_id", "after-sale")]
        refund = _after_sale_word(sale, at, notices)
        amount, place = within(sale, "refund_amount", at), at + "refund_amount."
        currency = text(amount, "currency", place)
        refunded = None
        if currency is not None and refund is Refund.REFUNDED:
            digits = digits_of(currency, place + "currency")
            refunded = money(amount, "refund_total", place, digits)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(sale, "order_id", at),
            refund=None if refund is Refund.REFUNDED else refund,
            stated_ms=latest(
                unix_seconds(sale, "update_time", at), unix_seconds(sale, "create_time", at)
            ),
            currency=None if refunded is None else currency,
            refunded=refunded,
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _push(self, message: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a push says; one that names no order (a product, a shop) says nothing."""
        kind = word(message, "type", at) or ""
        data, place = as_object(unpack(message["data"], at + "data"), at + "data"), at + "data."
        if number_id(data, "order_id", place) is None and "order_status" not in data:
            return
        notices = [Notice(NoticeCode.THIN, at + "type", kind)]
        status, said = status_of(STATUSES, data, "order_status", place, notices)
        refund = _after_sale_word(data, place, notices)
        if refund is None and status is Status.PENDING_PAYMENT:
            refund = Refund.NONE
        updated_at = unix_seconds(data, "update_time", place)
        yield Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(data, "order_id", place),
            status=status,
            status_said=said,
            refund=None if refund is Refund.REFUNDED else refund,
            updated_at=updated_at if status is not None else None,
            stated_ms=latest(updated_at) or latest(unix_seconds(message, "timestamp", at)),
            notices=tuple(notices),
        )


def _answer(body: Json, at: str) -> tuple[Json, str]:
    """Return what an API answer holds, or say that the platform refused."""
    said = word(body, "code", at)
    if said not in (None, _SUCCESS) and not body.get("data"):
        raise MalformedPayload(at + "code", f"the platform answered {said}, not an order")
    return as_object(body.get("data"), at + "data"), at + "data."


# --- the money ----------------------------------------------------------------------------------


def _refund(order: Json, status: Status | None, paid_at: Moment | None, at: str) -> Refund | None:
    """Return what the order itself tells of refunds: a request to cancel, or that none was paid."""
    if paid_at is None and status in _UNPAID:
        return Refund.NONE
    asked = flag(order, "is_buyer_request_cancel", at)
    return Refund.REFUNDING if asked and status in _NOT_SHIPPED else None


def _after_sale_word(sale: Json, at: str, notices: list[Notice]) -> Refund | None:
    for key in _AFTER_SALE_WORDS:
        said = word(sale, key, at)
        if said is None:
            continue
        if said not in REFUNDS:
            notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + key, said))
        return REFUNDS.get(said)
    return None


def _currency(order: Json, payment: Json, at: str) -> str | None:
    """Return the payment's currency; amounts without one are refused."""
    currency = text(payment, "currency", at + "payment.")
    if currency is None and payment:
        why = "the currency of the amounts is missing"
        raise MalformedPayload(at + "payment.currency", why)
    for place, part in objects(order, "line_items", at):
        currency = currency or text(part, "currency", place)
    return currency


def _discount(
    payment: Json,
    lines: tuple[Line, ...],
    sums: tuple[int | None, int | None, int | None],
    digits: int,
    at: str,
) -> int | None:
    """Return the seller's and the platform's discounts on the goods; else what the sums leave."""
    said = [money(payment, key, at, digits) for key in ("seller_discount", "platform_discount")]
    if said == [None, None]:
        shipping, tax, total = sums
        return discount_between(lines, shipping, tax, total)
    return sum(part or 0 for part in said)


# --- lines --------------------------------------------------------------------------------------


def _lines(order: Json, currency: str | None, at: str, notices: list[Notice]) -> tuple[Line, ...]:
    lines_of(members(order, "line_items", at), at + "line_items")
    found = objects(order, "line_items", at)
    return tuple(_line(part, currency, place, notices) for place, part in found)


def _line(part: Json, currency: str | None, at: str, notices: list[Notice]) -> Line:
    own = text(part, "currency", at)
    if own is not None and own != currency:
        why = f"the price is in {own}, the payment in {currency}"
        raise MalformedPayload(at + "currency", why)
    count = 1 if part.get("quantity") is None else quantity(part, "quantity", at)
    digits = None if currency is None else digits_of(currency, at + "currency")
    sale = None if digits is None else money(part, "sale_price", at, digits)
    return Line(
        line_id=the_number_id(part, "id", at),
        quantity=count,
        platform_sku=code(part, "sku_id", at) or code(part, "product_id", at),
        merchant_sku=merchant_sku(part, ("seller_sku",), at, notices),
        title=text(part, "product_name", at),
        unit_price=None if digits is None else money(part, "original_price", at, digits),
        line_total=None if sale is None else sale * count,
        status_said=word(part, "display_status", at),
    )


# --- people and parcels -------------------------------------------------------------------------

_NOBODY: Final = Receiver()
_NO_BUYER: Final = Buyer()
#: The platform's names for the levels of a region -> ours.
_LEVELS: Final = MappingProxyType({
    "state": "province", "province": "province", "city": "city", "municipality": "city",
    "district": "district", "county": "district", "town": "town", "ward": "town",
})  # fmt: skip


def _buyer(order: Json, at: str) -> Buyer | None:
    buyer = Buyer(id=code(order, "user_id", at), email=text(order, "buyer_email", at))
    return None if buyer == _NO_BUYER else buyer


def _receiver(order: Json, at: str) -> Receiver | None:
    address, place = within(order, "recipient_address", at), at + "recipient_address."
    phone_said, country = text(address, "phone_number", place), text(address, "region_code", place)
    levels = _levels(address, place)
    receiver = Receiver(
        name=text(address, "name", place),
        phone=e164(phone_said, country),
        phone_said=phone_said,
        country=country,
        province=levels.get("province"),
        city=levels.get("city"),
        district=levels.get("district"),
        town=levels.get("town"),
        address=text(address, "full_address", place) or text(address, "address_line1", place),
        postcode=text(address, "postal_code", place),
    )
    return None if receiver == _NOBODY else receiver


def _levels(address: Json, at: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, part in objects(address, "district_info", at):
        level = _LEVELS.get((text(part, "address_level_name", place) or "").lower())
        name = text(part, "address_name", place)
        if level is not None and name is not None:
            found.setdefault(level, name)
    return found


def _shipments(order: Json, at: str) -> tuple[Shipment, ...]:
    """Return the parcels of the lines, each once."""
    found = {
        (text(part, "shipping_provider_name", place), text(part, "tracking_number", place))
        for place, part in objects(order, "line_items", at)
    }
    return tuple(
        Shipment(carrier=carrier, tracking_number=number)
        for carrier, number in sorted(found, key=str)
        if number is not None
    )
