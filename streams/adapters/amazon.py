"""
Amazon (Selling Partner API): orders of both API generations, their items, and notifications.

Reads getOrder, getOrders and getOrderItems of v0 (`payload…`), getOrder and searchOrders of
2026-01-01 (`order`, `orders[]`), and ORDER_CHANGE, bare or as SNS and EventBridge bring it. Facts
come from the official models and their samples:

- v0 tells an order in two answers: the order without its lines, the items without total or time.
- v0 `ItemPrice` is the price of the whole line; 2026-01-01 `unitPrice` is that of one unit.
- Neither generation has a refund status, or the time of payment.
- A buyer's wish to cancel stands with a line; the paid order must not ship until it is settled.
- Official samples have times in January 1970, and the test orders of the sandbox do too.
"""

from collections.abc import Callable, Iterator, Mapping
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
from streams.adapters.amounts import believed, discount_between, per_unit
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
    members,
    money,
    objects,
    only_order,
    signed_money,
    text,
    the_code,
    units,
    unpack,
    within,
    word,
)
from streams.adapters.reading import lines_of as limited
from streams.adapters.reading import offset_since_1970 as moment
from streams.adapters.words import merchant_sku, status_of

#: OrderStatus of v0, and fulfillmentStatus of 2026-01-01 in capitals.
STATUSES: Final = MappingProxyType({
    "PendingAvailability": Status.PENDING_PAYMENT,
    "Pending": Status.PENDING_PAYMENT,
    "Unshipped": Status.PAID,
    "PartiallyShipped": Status.PARTIALLY_SHIPPED,
    "Shipped": Status.SHIPPED,
    "InvoiceUnconfirmed": Status.SHIPPED,
    "Canceled": Status.CANCELLED,
    "Unfulfillable": Status.ON_HOLD,
    "PENDING_AVAILABILITY": Status.PENDING_PAYMENT,
    "PENDING": Status.PENDING_PAYMENT,
    "UNSHIPPED": Status.PAID,
    "PARTIALLY_SHIPPED": Status.PARTIALLY_SHIPPED,
    "SHIPPED": Status.SHIPPED,
    "CANCELLED": Status.CANCELLED,
    "UNFULFILLABLE": Status.ON_HOLD,
})  # fmt: skip
#: The platform has no word for refunds: they stand in its finances reports alone.
REFUNDS: Final[Mapping[str, Refund]] = MappingProxyType({})

#: What the grand total of 2026-01-01 holds beside goods, shipping, tax and discounts.
_FEES: Final = frozenset({"GIFT_WRAP", "COD_FEE", "DELIVERY_TIP", "OTHER"})
#: Where a notification hides when a bridge brings it: SNS, SQS, EventBridge.
_ENVELOPES: Final = ("Message", "Body", "detail")
#: Of a line: its buyer asked to cancel it.
_WANTED: Final = "IsBuyerRequestedCancel"
#: A queue may hold what a topic sent: one envelope in another, and no more.
_ENVELOPES_MAX: Final = 2
#: What a topic says when it is set up; about no order.
_HANDSHAKES: Final = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


@dataclass(frozen=True, slots=True)
class Amazon:
    """The adapter of Amazon."""

    platform: str = "amazon"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.DECIMAL_TEXT
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: a statement per order, per list of items, or per push."""
        return [said for at, part in bodies(payload) for said in self._read(part, shop, at)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id, or None where there is none or more than one."""
        return only_order(self.parse, payload)

    def _read(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        if _is_notification(body):
            yield from self._notification(body, shop, at)
            return
        if members(body, "errors", at):
            raise MalformedPayload(at + "errors", "the platform answered with an error")
        for name, orders, read in (
            ("payload", "Orders", self._v0),
            ("order", "orders", self._order),
        ):
            if body.get(name) is not None:
                place = f"{at}{name}"
                yield from self._answer(as_object(body[name], place), orders, read, shop, place)
                return
            if orders in body:
                yield from self._answer(body, orders, read, shop, at.rstrip("."))
                return
        if "AmazonOrderId" in body or "OrderStatus" in body or "OrderItems" in body:
            yield self._v0(body, shop, at)
        elif "orderId" in body or "orderItems" in body:
            yield self._order(body, shop, at)
        else:
            raise MalformedPayload(at + "payload", "holds no order, items or notification")

    def _answer(
        self,
        answer: Json,
        orders: str,
        read: Callable[[Json, str, str], Statement],
        shop: str,
        path: str,
    ) -> Iterator[Statement]:
        """Return the orders of a page, or the one order of an answer."""
        at = path + "." if path else ""
        if orders not in answer:
            yield read(answer, shop, at)
            return
        for place, order in objects(answer, orders, at):
            yield read(order, shop, place)

    # --- v0 -------------------------------------------------------------------------------------

    def _v0(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of v0, its items, or (put together by a bridge) both in one."""
        notices: list[Notice] = []
        order_id = the_code(order, "AmazonOrderId", at)
        status, said = status_of(STATUSES, order, "OrderStatus", at, notices)
        items = _items(order, at)
        if any(_wants_cancel(item, place) for place, item in items):
            status = Status.ON_HOLD if status in (None, Status.PAID) else status
        total = _Amount.of(order, "OrderTotal", at)
        sums = _Sums.of(items, total.currency)
        lines = _lines(_v0_line(item, place, notices) for place, item in items)
        if not lines:
            notices.append(Notice(NoticeCode.THIN, at + "OrderItems", "order without items"))
        created_at = moment(order, "PurchaseDate", at)
        updated_at = moment(order, "LastUpdateDate", at)
        discount = sums.discount
        if discount is None:
            discount = discount_between(lines, sums.shipping, sums.tax, total.minor)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            status=status,
            status_said=said,
            refund=Refund.NONE if status is Status.PENDING_PAYMENT else None,
            created_at=created_at,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(created_at),
            currency=total.currency or sums.currency,
            total=total.minor,
            shipping=sums.shipping,
            discount=discount,
            tax=sums.tax,
            lines=lines,
            buyer=_v0_buyer(order, at),
            receiver=_receiver(
                within(order, "ShippingAddress", at), _V0_ADDRESS, at + "ShippingAddress."
            ),
            payment_method=text(order, "PaymentMethod", at),
            notices=tuple(notices),
        )
        return believed(statement, at)

    # --- 2026-01-01 -----------------------------------------------------------------------------

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of 2026-01-01, which has its items in it."""
        notices: list[Notice] = []
        order_id = the_code(order, "orderId", at)
        fulfillment = within(order, "fulfillment", at)
        status, said = status_of(
            STATUSES, fulfillment, "fulfillmentStatus", at + "fulfillment.", notices
        )
        items = _limited(objects(order, "orderItems", at), at + "orderItems")
        if status is Status.PAID and any(_buyer_wants_out(item, place) for place, item in items):
            status = Status.ON_HOLD
        packages = objects(order, "packages", at)
        if status is Status.SHIPPED and _all_delivered(packages):
            status = Status.DELIVERED
        proceeds, place = within(order, "proceeds", at), at + "proceeds."
        total = _Amount.of(proceeds, "grandTotal", place)
        parts = _breakdown(proceeds, total.currency, place)
        shipping, tax = parts.get("SHIPPING"), parts.get("TAX")
        lines = _lines(_line(item, where, notices) for where, item in items)
        currency = total.currency or _currency_of(items)
        if not lines:
            notices.append(Notice(NoticeCode.THIN, at + "orderItems", "order without items"))
        fees = sum(parts.get(name, 0) for name in _FEES)
        created_at = moment(order, "createdTime", at)
        updated_at = moment(order, "lastUpdatedTime", at)
        shipments = tuple(_shipment(package, where) for where, package in packages)
        sent = [each.shipped_at for each in shipments if each.shipped_at is not None]
        address, where = within(order, "recipient", at), at + "recipient."
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            status=status,
            status_said=said,
            refund=Refund.NONE if status is Status.PENDING_PAYMENT else None,
            created_at=created_at,
            shipped_at=min(sent, key=lambda each: each.ms, default=None),
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(created_at),
            currency=currency,
            total=total.minor,
            shipping=None if shipping is None else max(0, shipping),
            discount=discount_between(lines, shipping, (tax or 0) + fees, total.minor),
            tax=None if tax is None else max(0, tax),
            lines=lines,
            buyer=_buyer(order, at),
            receiver=_receiver(
                within(address, "deliveryAddress", where), _ADDRESS, where + "deliveryAddress."
            ),
            shipments=shipments,
            notices=tuple(notices),
        )
        return believed(statement, at)

    # --- notifications --------------------------------------------------------------------------

    def _notification(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a notification says; one about no order (or a handshake) says nothing."""
        if body.get("Type") in _HANDSHAKES:
            return
        body, at = _unwrapped(body, at)
        payload, place = _inside(body, "Payload", at)
        change, place = _inside(payload, "OrderChangeNotification", place)
        if _has(change, "AmazonOrderId"):
            sent_at = moment(body, _spelled(body, "EventTime"), at)
            kind = word(body, _spelled(body, "NotificationType"), at) or ""
            yield self._change(change, kind, sent_at, shop, place)

    def _change(
        self, change: Json, kind: str, sent_at: Moment | None, shop: str, at: str
    ) -> Statement:
        """Return a changed order. Its lines have no prices: the order has to be fetched."""
        summary, place = _inside(change, "Summary", at)
        trigger, where = _inside(change, "OrderChangeTrigger", at)
        notices = [Notice(NoticeCode.THIN, at + _spelled(change, "AmazonOrderId"), kind)]
        status, said = status_of(
            STATUSES, summary, _spelled(summary, "OrderStatus"), place, notices
        )
        items = objects(summary, _spelled(summary, "OrderItems"), place)
        if status is Status.PAID and any(_wants_cancel(item, line) for line, item in items):
            status = Status.ON_HOLD
        changed_at = moment(trigger, _spelled(trigger, "TimeOfOrderChange"), where)
        return Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_code(change, _spelled(change, "AmazonOrderId"), at),
            status=status,
            status_said=said,
            refund=Refund.NONE if status is Status.PENDING_PAYMENT else None,
            created_at=moment(summary, _spelled(summary, "PurchaseDate"), place),
            stated_ms=latest(changed_at) or latest(sent_at),
            notices=tuple(notices),
        )


# --- what it is, and how it is spelled ----------------------------------------------------------


def _spelled(source: Json, name: str) -> str:
    """Return *name* as *source* spells it: notification families differ in their capitals."""
    if name in source:
        return name
    return next((key for key in source if key.lower() == name.lower()), name)


def _has(source: Json, name: str) -> bool:
    return _spelled(source, name) in source


def _inside(source: Json, name: str, at: str) -> tuple[Json, str]:
    key = _spelled(source, name)
    return within(source, key, at), f"{at}{key}."


def _unwrapped(body: Json, at: str) -> tuple[Json, str]:
    """Return the notification in its envelopes, with its path."""
    for _ in range(_ENVELOPES_MAX):
        name = next((name for name in _ENVELOPES if body.get(name) is not None), None)
        if name is None or _has(body, "NotificationType"):
            break
        path = at + name
        body, at = as_object(unpack(body[name], path), path), path + "."
    return body, at


def _is_notification(body: Json) -> bool:
    return _has(body, "NotificationType") or any(
        body.get(name) is not None and (_is_bridged(body) or name == "Body") for name in _ENVELOPES
    )


def _is_bridged(body: Json) -> bool:
    return "TopicArn" in body or "Type" in body or "detail-type" in body


# --- the status ---------------------------------------------------------------------------------


def _wants_cancel(item: Json, at: str) -> bool:
    """Tell whether the buyer asked to cancel a line of v0 (or of a notification)."""
    asked, place = _inside(item, "BuyerRequestedCancel", at)
    return flag(item, _spelled(item, _WANTED), at) or flag(asked, _spelled(asked, _WANTED), place)


def _buyer_wants_out(item: Json, at: str) -> bool:
    """Tell whether the buyer asked to cancel a line of 2026-01-01."""
    place = at + "cancellation."
    asked = within(within(item, "cancellation", at), "cancellationRequest", place)
    return word(asked, "requester", place + "cancellationRequest.") == "BUYER"


def _all_delivered(packages: list[tuple[str, Json]]) -> bool:
    """Tell whether every package that was not cancelled has arrived."""
    found = [
        word(within(package, "packageStatus", at), "status", at + "packageStatus.")
        for at, package in packages
    ]
    sent = [said for said in found if said != "CANCELLED"]
    return bool(sent) and all(said == "DELIVERED" for said in sent)


# --- the money ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Amount:
    """`{CurrencyCode, Amount}`, or `{currencyCode, amount}` since 2026."""

    minor: int | None = None
    currency: str | None = None

    @classmethod
    def of(
        cls,
        source: Json,
        key: str,
        at: str,
        read: Callable[[Json, str, str, int], int | None] = money,
    ) -> "_Amount":
        found, place = within(source, key, at), f"{at}{key}."
        names = ("CurrencyCode", "Amount") if "Amount" in found else ("currencyCode", "amount")
        if found.get(names[1]) in (None, ""):
            return cls()
        currency = text(found, names[0], place)
        if currency is None:
            raise MalformedPayload(place + names[0], "the currency of the amount is missing")
        digits = digits_of(currency, place + names[0])
        return cls(read(found, names[1], place, digits), currency)

    def within_order(self, currency: str | None, path: str) -> int | None:
        """Return the amount, which has to be in the order's *currency*: no rate is known."""
        if self.currency is not None and currency is not None and self.currency != currency:
            why = f"the amount is in {self.currency}, the order in {currency}"
            raise MalformedPayload(path, why)
        return self.minor


def _minor(item: Json, key: str, currency: str | None, at: str) -> int | None:
    return _Amount.of(item, key, at).within_order(currency, at + key)


@dataclass(frozen=True, slots=True)
class _Sums:
    """What the items of v0 add up to; None is "no item says it"."""

    currency: str | None
    shipping: int | None
    discount: int | None
    tax: int | None

    @classmethod
    def of(cls, items: list[tuple[str, Json]], currency: str | None) -> "_Sums":
        for at, item in items:
            currency = currency or _Amount.of(item, "ItemPrice", at).currency
        shipping = _sum(items, "ShippingPrice", currency)
        off = _sum(items, "ShippingDiscount", currency)
        taxes = [_sum(items, key, currency) for key in ("ItemTax", "ShippingTax")]
        less = [
            _sum(items, key, currency) for key in ("PromotionDiscountTax", "ShippingDiscountTax")
        ]
        tax = None if taxes == [None, None] else sum(part or 0 for part in taxes)
        return cls(
            currency=currency,
            shipping=None if shipping is None else max(0, shipping - (off or 0)),
            discount=_sum(items, "PromotionDiscount", currency),
            tax=None if tax is None else max(0, tax - sum(part or 0 for part in less)),
        )


def _sum(items: list[tuple[str, Json]], key: str, currency: str | None) -> int | None:
    found = [_minor(item, key, currency, at) for at, item in items]
    said = [part for part in found if part is not None]
    return sum(said) if said else None


def _breakdown(proceeds: Json, currency: str | None, at: str) -> dict[str, int]:
    """Return the parts of a total by their type. A discount may stand there with its minus."""
    parts: dict[str, int] = {}
    for place, part in objects(proceeds, "breakdowns", at):
        amount = _Amount.of(part, "subtotal", place, signed_money)
        minor = amount.within_order(currency, place + "subtotal")
        kind = word(part, "type", place)
        if kind is not None and minor is not None:
            parts[kind] = parts.get(kind, 0) + minor
    return parts


def _currency_of(items: list[tuple[str, Json]]) -> str | None:
    found = (_price(item, at).currency for at, item in items)
    return next((currency for currency in found if currency is not None), None)


# --- lines --------------------------------------------------------------------------------------


def _limited(items: list[tuple[str, Json]], path: str) -> list[tuple[str, Json]]:
    return limited(items, path) if items else items


def _items(order: Json, at: str) -> list[tuple[str, Json]]:
    return _limited(objects(order, "OrderItems", at), at + "OrderItems")


def _lines(found: Iterator[Line | None]) -> tuple[Line, ...]:
    return tuple(line for line in found if line is not None)


def _ordered(item: Json, key: str, at: str) -> int:
    """Return the units ordered, 0 for a line that was cancelled."""
    count = units(item, key, at)
    if count is None:
        raise MalformedPayload(at + key, "the quantity is missing")
    return count


def _v0_line(item: Json, at: str, notices: list[Notice]) -> Line | None:
    line_id = the_code(item, "OrderItemId", at)
    count = _ordered(item, "QuantityOrdered", at)
    if count == 0:
        return None
    price = _Amount.of(item, "ItemPrice", at)
    off = _minor(item, "PromotionDiscount", price.currency, at) or 0
    return Line(
        line_id=line_id,
        quantity=count,
        platform_sku=code(item, "ASIN", at),
        merchant_sku=merchant_sku(item, ("SellerSKU",), at, notices),
        title=text(item, "Title", at),
        unit_price=per_unit(price.minor, count),
        line_total=None if price.minor is None else max(0, price.minor - off),
    )


def _price(item: Json, at: str) -> _Amount:
    """Return the price of one unit of 2026-01-01."""
    product, place = within(item, "product", at), at + "product."
    return _Amount.of(within(product, "price", place), "unitPrice", place + "price.")


def _line(item: Json, at: str, notices: list[Notice]) -> Line | None:
    line_id = the_code(item, "orderItemId", at)
    count = _ordered(item, "quantityOrdered", at)
    if count == 0:
        return None
    product, place = within(item, "product", at), at + "product."
    price = _price(item, at)
    parts = _breakdown(within(item, "proceeds", at), price.currency, at + "proceeds.")
    goods = parts.get("ITEM", None if price.minor is None else price.minor * count)
    return Line(
        line_id=line_id,
        quantity=count,
        platform_sku=code(product, "asin", place),
        merchant_sku=merchant_sku(product, ("sellerSku",), place, notices),
        title=text(product, "title", place),
        unit_price=price.minor,
        line_total=None if goods is None else max(0, goods - abs(parts.get("DISCOUNT", 0))),
    )


# --- people and parcels -------------------------------------------------------------------------

#: Our part of an address -> the field's name, in either generation.
_V0_ADDRESS: Final = MappingProxyType({
    "name": "Name", "phone": "Phone", "country": "CountryCode", "province": "StateOrRegion",
    "city": "City", "district": "District", "postcode": "PostalCode", "lines": "AddressLine",
})  # fmt: skip
_ADDRESS: Final = MappingProxyType({
    "name": "name", "phone": "phone", "country": "countryCode", "province": "stateOrRegion",
    "city": "city", "district": "districtOrCounty", "postcode": "postalCode",
    "lines": "addressLine",
})  # fmt: skip
_NOBODY: Final = Receiver()
_NO_BUYER: Final = Buyer()


def _receiver(address: Json, names: Mapping[str, str], at: str) -> Receiver | None:
    said = {part: text(address, key, at) for part, key in names.items() if part != "lines"}
    streets = (text(address, f"{names['lines']}{number}", at) for number in (1, 2, 3))
    receiver = Receiver(
        name=said["name"],
        phone=e164(said["phone"], said["country"]),
        phone_said=said["phone"],
        country=said["country"],
        province=said["province"],
        city=said["city"],
        district=said["district"],
        address=", ".join(street for street in streets if street is not None) or None,
        postcode=said["postcode"],
    )
    return None if receiver == _NOBODY else receiver


def _v0_buyer(order: Json, at: str) -> Buyer | None:
    """Return the buyer, whose e-mail is a relay of the platform."""
    info, place = within(order, "BuyerInfo", at), at + "BuyerInfo."
    buyer = Buyer(name=text(info, "BuyerName", place), email=text(info, "BuyerEmail", place))
    return None if buyer == _NO_BUYER else buyer


def _buyer(order: Json, at: str) -> Buyer | None:
    info, place = within(order, "buyer", at), at + "buyer."
    buyer = Buyer(name=text(info, "buyerName", place), email=text(info, "buyerEmail", place))
    return None if buyer == _NO_BUYER else buyer


def _shipment(package: Json, at: str) -> Shipment:
    shipped_at: Moment | None = moment(package, "shipTime", at)
    return Shipment(
        carrier=text(package, "carrier", at),
        tracking_number=text(package, "trackingNumber", at),
        shipped_at=shipped_at,
    )
