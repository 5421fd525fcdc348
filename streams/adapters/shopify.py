"""
Shopify (Admin REST): orders, refunds and fulfillments, as webhooks or as API answers.

Reads a bare webhook body, `{"order": …}`, `{"orders": […]}`, and the bodies of refunds/create,
fulfillments/* and order_transactions/create, bare or wrapped. Facts come from the official sample
responses:

- The status is derived from four fields: cancelled_at, financial_status, fulfillment_status and
  closed_at; for the money, the platform's own word financial_status stands.
- `total_price` is the order as placed; `current_*` fields sink with every refund.
- All plain amounts are in `currency`, the shop's; JPY has no decimals, KWD three.
- `quantity` is as placed; `current_quantity` is what refunds and edits have left of it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, NamedTuple

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
from streams.adapters.amounts import believed
from streams.adapters.currencies import digits_of
from streams.adapters.fields import (
    CODE,
    TEXT,
    Anything,
    Code,
    Each,
    Fields,
    Inside,
    Members,
    Money,
    OffsetTime,
    Quantity,
    Reader,
    Text,
    Texts,
    TheNumberId,
    Units,
    Word,
)
from streams.adapters.phones import e164
from streams.adapters.reading import (
    Json,
    MoneyUnit,
    as_list,
    as_object,
    bodies,
    latest,
    members,
    money,
    offset,
    only_match,
    text,
    the_number_id,
    units,
    within,
    without_nul,
)
from streams.adapters.reading import lines_of as limited

#: financial_status of an order of which nothing was shipped.
FINANCIAL: Final = MappingProxyType({
    "pending": Status.PENDING_PAYMENT,
    "partially_paid": Status.PENDING_PAYMENT,
    "authorized": Status.ON_HOLD,
    "paid": Status.PAID,
    "partially_refunded": Status.PAID,
    "refunded": Status.CANCELLED,
    "voided": Status.CANCELLED,
    "expired": Status.CANCELLED,
})  # fmt: skip
#: fulfillment_status; null is "nothing shipped yet".
FULFILLMENT: Final = MappingProxyType({
    "partial": Status.PARTIALLY_SHIPPED,
    "fulfilled": Status.SHIPPED,
    "restocked": Status.CANCELLED,
})  # fmt: skip
#: Authorisations that ran out: whatever else is said, the order is over and nothing was taken.
_LAPSED: Final = frozenset({"voided", "expired"})

#: financial_status on the money axis.
REFUNDS: Final = MappingProxyType({
    "pending": Refund.NONE,
    "authorized": Refund.NONE,
    "partially_paid": Refund.NONE,
    "paid": Refund.NONE,
    "voided": Refund.NONE,
    "expired": Refund.NONE,
    "partially_refunded": Refund.PARTIALLY_REFUNDED,
    "refunded": Refund.REFUNDED,
})  # fmt: skip

_ORDER_ID = re.compile(rb'"order_id"\s*:\s*([0-9]{1,20})')
_ROOT_ID = re.compile(rb'\s*\{\s*(?:"order"\s*:\s*\{\s*)?"id"\s*:\s*([0-9]{1,20})')
_order_id_of = only_match(_ORDER_ID)


def _line_items(order: Json, at: str) -> list[tuple[str, Any]]:
    path = at + "line_items"
    if order.get("line_items") is None:
        raise MalformedPayload(path, "the order has no lines")
    found = as_list(order["line_items"], path)
    if found:
        limited(found, path)
    return [(f"{path}[{i}].", as_object(part, f"{path}[{i}]")) for i, part in enumerate(found)]


def _shipping_lines(order: Json, at: str) -> list[tuple[str, Any]]:
    path = at + "shipping_lines"
    found = as_list(order.get("shipping_lines") or [], path)
    return [(f"{path}[{i}].", part) for i, part in enumerate(found)]


class _Item(Fields):
    """What is read of a line."""

    id: TheNumberId
    quantity: Quantity
    current_quantity: Units
    sku: Code
    price: Money
    discount_allocations: Members
    fulfillment_status: Word
    tax_lines: Members
    platform_sku: Annotated[str | None, CODE.under("variant_id", "product_id")]
    title: Annotated[str | None, TEXT.under("name", "title")]
    fulfillable_quantity: Units


class _ShippingLine(Fields):
    """What is read of a shipping line."""

    discount_allocations: Members
    price: Money
    discounted_price: Money
    tax_lines: Members


class _Home(Fields):
    """What is read of a customer's default address."""

    country_code: Anything


class _Customer(Fields):
    """What is read of a customer."""

    default_address: Annotated[_Home, Inside()]
    phone: Text
    id: Code
    first_name: Text
    last_name: Text
    email: Text


class _Address(Fields):
    """What is read of a billing or shipping address."""

    country_code: Anything
    phone: Text
    address1: Text
    address2: Text
    name: Text
    first_name: Text
    last_name: Text
    country: Annotated[str | None, TEXT.under("country_code", "country")]
    province: Text
    city: Text
    zip: Text


class _Order(Fields):
    """What is read of an order."""

    currency: Text
    taxes_included: Anything
    cancelled_at: OffsetTime
    closed_at: OffsetTime
    financial_status: Word
    fulfillment_status: Word
    fulfillments: Members
    refunds: Members
    line_items: Annotated[list[_Item], Each("line_items", _line_items, least=0)]
    shipping_lines: Annotated[
        list[_ShippingLine], Each("shipping_lines", _shipping_lines, least=0, needed=False)
    ]
    total_shipping_price_set: Anything
    total_price: Money
    created_at: OffsetTime
    updated_at: OffsetTime
    id: TheNumberId
    total_discounts: Money
    total_tax: Money
    total_outstanding: Money
    customer: Annotated[_Customer, Inside()]
    billing_address: Annotated[_Address, Inside()]
    shipping_address: Annotated[_Address, Inside()]
    phone: Text
    email: Text
    payment_gateway_names: Texts


def _digits(order: Json, at: str) -> int:
    return digits_of(text(order, "currency", at) or "", at + "currency")


_ORDER: Final = Reader(_Order, _digits)


@dataclass(frozen=True, slots=True)
class Shopify:
    """The adapter of Shopify."""

    platform: str = "shopify"
    version: ClassVar[int] = 1
    #: Every time carries its own offset.
    zone: ClassVar[str] = "offset"
    money: ClassVar[MoneyUnit] = MoneyUnit.DECIMAL_TEXT
    statuses: ClassVar[Mapping[str, Status]] = {**FINANCIAL, **FULFILLMENT}
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says, one statement per order, refund or fulfillment in it."""
        plain = without_nul(payload)
        return [said for at, part in bodies(payload) for said in self._read(part, shop, at, plain)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id in the raw bytes, or None where there is none or more than one."""
        if _ORDER_ID.search(payload) is not None:
            return _order_id_of(payload)
        root = _ROOT_ID.match(payload)
        return None if root is None else root.group(1)

    def _read(self, body: Json, shop: str, at: str, plain: bool) -> Iterator[Statement]:  # noqa: FBT001
        if "errors" in body and "id" not in body:
            raise MalformedPayload(at + "errors", "the platform answered with an error")
        # An order without its id has lists of refunds in it and is still no page of refunds.
        wrapped = not body.keys() & {"id", "order_id", "line_items"}
        for name in (
            ("order", "refund", "fulfillment", "transaction", "order_edit") if wrapped else ()
        ):
            if isinstance(body.get(name), dict):
                yield self._one(body[name], shop, f"{at}{name}.", plain)
                return
            if isinstance(body.get(name + "s"), list):
                for i, part in enumerate(body[name + "s"]):
                    place = f"{at}{name}s[{i}]"
                    yield self._one(as_object(part, place), shop, place + ".", plain)
                return
        yield self._one(body, shop, at, plain)

    def _one(self, body: Json, shop: str, at: str, plain: bool) -> Statement:  # noqa: FBT001
        if "order_id" in body:
            if "refund_line_items" in body or "transactions" in body:
                return self._refund(body, shop, at)
            return self._part(body, shop, at)
        if set(body) == {"id"}:
            # orders/delete: the id is all that is left of the order.
            return self._part({"order_id": body["id"]}, shop, at)
        if "id" not in body:
            raise MalformedPayload(at + "id", "holds no order, refund or fulfillment")
        return self._order(_ORDER(body, at, plain=plain), shop)

    def _order(self, order: _Order, shop: str) -> Statement:
        """Return the order of an orders/* webhook."""
        notices: list[Notice] = []
        currency, at = order.currency, order.at
        if currency is None:
            raise MalformedPayload(at + "currency", "the currency of the amounts is missing")
        digits = digits_of(currency, at + "currency")
        prices = _Prices(digits, order.taxes_included is True)
        seen = _Seen.of(order)
        status, said = _status(seen, at, notices)
        refunds = _refunds(order, currency, digits, at)
        lines = _lines(order, prices, refunds, notices)
        shipping, shipping_off = _shipping(order, prices)
        total = order.total_price
        created_at = order.created_at
        updated_at = order.updated_at
        order_id = order.id
        shipments = _shipments(order)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            status=status,
            status_said=said,
            refund=_money_word(seen, refunds, at, notices),
            created_at=created_at,
            shipped_at=_first_shipped(shipments),
            completed_at=seen.closed_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(seen.cancelled_at, seen.closed_at, created_at),
            currency=currency,
            total=total,
            shipping=shipping,
            discount=_discount(order, prices, shipping_off),
            tax=order.total_tax,
            paid=_paid(order, seen, total),
            refunded=refunds.amount,
            lines=lines,
            buyer=_buyer(order),
            receiver=_receiver(order.shipping_address),
            shipments=shipments,
            payment_method=", ".join(order.payment_gateway_names) or None,
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _refund(self, refund: Json, shop: str, at: str) -> Statement:
        """
        Return the refund facet of refunds/create: how much was paid back.

        Without the order's total it cannot be told whether that was all of it.
        """
        transactions = members(refund, "transactions", at)
        currency = _currency_of(transactions, at)
        digits = digits_of(currency, at + "transactions[0].currency") if currency else 2
        amount, pending = _paid_back(transactions, currency, digits, at)
        refunded_at = offset(refund, "processed_at", at) or offset(refund, "created_at", at)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(refund, "order_id", at),
            refund=Refund.REFUNDING if pending else None,
            stated_ms=latest(refunded_at),
            currency=currency,
            refunded=amount if currency else None,
            notices=(Notice(NoticeCode.THIN, at + "order_id", "refund"),),
        )
        return believed(statement, at)

    def _part(self, body: Json, shop: str, at: str) -> Statement:
        """Return what a parcel, a payment, an edit or a deletion says: the order, and a parcel."""
        shipment = _shipment(body, at) if "tracking_number" in body else None
        moment = offset(body, "updated_at", at) or offset(body, "created_at", at)
        return Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(body, "order_id", at),
            shipped_at=None if shipment is None else shipment.shipped_at,
            stated_ms=latest(moment),
            shipments=() if shipment is None else (shipment,),
            notices=(Notice(NoticeCode.THIN, at + "order_id", "part of an order"),),
        )


# --- the status ---------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """The fields an order's status is derived from."""

    cancelled_at: Moment | None
    closed_at: Moment | None
    financial: str | None
    fulfillment: str | None
    #: At least one parcel, and every parcel delivered.
    delivered: bool

    @classmethod
    def of(cls, order: _Order) -> "_Seen":
        return cls(
            order.cancelled_at,
            order.closed_at,
            order.financial_status,
            order.fulfillment_status,
            _all_delivered(order),
        )

    @property
    def said(self) -> str | None:
        """The platform's own words in one text: `paid/fulfilled`."""
        if self.financial is None and self.fulfillment is None:
            return None
        words = f"{self.financial or 'null'}/{self.fulfillment or 'null'}"
        return f"{words}/cancelled" if self.cancelled_at is not None else words


def _status(seen: _Seen, at: str, notices: list[Notice]) -> tuple[Status | None, str | None]:
    """
    Return the status and the platform's words for it.

    What physically happened goes before what was paid: an order shipped on account is SHIPPED,
    for its stock has left the house.
    """
    financial, fulfillment = _lower(seen.financial), _lower(seen.fulfillment)
    unknown = False
    if seen.financial is not None and financial not in FINANCIAL:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + "financial_status", seen.financial))
        unknown = True
    if seen.fulfillment is not None and fulfillment not in FULFILLMENT:
        field = at + "fulfillment_status"
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, field, seen.fulfillment))
        unknown = True
    if seen.cancelled_at is not None:
        return Status.CANCELLED, seen.said
    if unknown:
        return Status.UNKNOWN, seen.said
    if financial in _LAPSED:
        return Status.CANCELLED, seen.said
    if fulfillment == "fulfilled":
        return _shipped(seen), seen.said
    if fulfillment is not None:
        return FULFILLMENT[fulfillment], seen.said
    return (None if financial is None else FINANCIAL[financial]), seen.said


def _shipped(seen: _Seen) -> Status:
    if seen.closed_at is not None:
        return Status.COMPLETED
    return Status.DELIVERED if seen.delivered else Status.SHIPPED


def _lower(said: str | None) -> str | None:
    """REST writes its words small, GraphQL large."""
    return None if said is None else said.lower()


def _all_delivered(order: _Order) -> bool:
    parcels = _sent(order)
    return bool(parcels) and all(parcel.get("shipment_status") == "delivered" for parcel in parcels)


def _sent(order: _Order) -> list[Json]:
    """Return the fulfillments that went through."""
    parcels = [
        as_object(value, f"{order.at}fulfillments[{i}]")
        for i, value in enumerate(order.fulfillments)
    ]
    return [parcel for parcel in parcels if parcel.get("status") == "success"]


# --- the money ----------------------------------------------------------------------------------


class _Prices(NamedTuple):
    """How an order writes its prices."""

    #: Decimals of the currency.
    digits: int
    #: Prices and discounts include their tax (`taxes_included`).
    with_tax: bool


class _Refunds(NamedTuple):
    """What an order's `refunds[]` say."""

    #: Paid back, in the order's currency; None where some of it is in another one.
    amount: int | None
    #: A refund transaction is on its way.
    pending: bool
    #: Line -> units taken back.
    units: dict[str, int]


def _refunds(order: _Order, currency: str, digits: int, at: str) -> _Refunds:
    amount: int | None = 0
    pending = False
    taken: dict[str, int] = {}
    for i, value in enumerate(order.refunds):
        place = f"{at}refunds[{i}]."
        refund = as_object(value, place[:-1])
        paid_back, open_one = _paid_back(
            members(refund, "transactions", place), currency, digits, place
        )
        amount = None if amount is None or paid_back is None else amount + paid_back
        pending = pending or open_one
        for j, item in enumerate(members(refund, "refund_line_items", place)):
            where = f"{place}refund_line_items[{j}]"
            line = as_object(item, where)
            line_id = the_number_id(line, "line_item_id", where + ".")
            taken[line_id] = taken.get(line_id, 0) + (units(line, "quantity", where + ".") or 0)
    return _Refunds(amount, pending, taken)


def _paid_back(
    transactions: list[Any], currency: str | None, digits: int, at: str
) -> tuple[int | None, bool]:
    """Return the refunded amount (None in a foreign currency), and whether one is pending."""
    amount: int | None = 0
    pending = False
    for i, value in enumerate(transactions):
        place = f"{at}transactions[{i}]."
        transaction = as_object(value, place[:-1])
        if transaction.get("kind") != "refund":
            continue
        pending = pending or transaction.get("status") == "pending"
        if transaction.get("status") != "success":
            continue
        same = text(transaction, "currency", place) in (None, currency)
        part = money(transaction, "amount", place, digits) if same else None
        amount = None if amount is None or part is None else amount + part
    return amount, pending


def _currency_of(transactions: list[Any], at: str) -> str | None:
    for i, value in enumerate(transactions):
        place = f"{at}transactions[{i}]"
        found = text(as_object(value, place), "currency", place + ".")
        if found is not None:
            return found
    return None


def _money_word(seen: _Seen, refunds: _Refunds, at: str, notices: list[Notice]) -> Refund | None:
    """Return financial_status on the money axis; a refund on its way is REFUNDING."""
    if seen.financial is None:
        return None
    refund = REFUNDS.get(seen.financial.lower())
    if refund is None:
        notices.append(
            Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + "financial_status", seen.financial)
        )
        return None
    return Refund.REFUNDING if refunds.pending and refund is not Refund.REFUNDED else refund


def _paid(order: _Order, seen: _Seen, total: int | None) -> int | None:
    """Return what was paid, where the status says so; `total_outstanding` only in part payments."""
    financial = _lower(seen.financial)
    if financial in ("paid", "partially_refunded", "refunded"):
        return total
    if financial in ("pending", "authorized"):
        return 0
    outstanding = order.total_outstanding
    if financial != "partially_paid" or total is None or outstanding is None:
        return None
    return max(0, total - outstanding)


def _discount(order: _Order, prices: _Prices, shipping_off: int) -> int | None:
    """
    Return the discounts on the goods, so that goods - discount + shipping + tax = total.

    `total_discounts` holds the discount on shipping too, but `shipping` is what the buyer pays for
    it. Where prices include tax the discounts do as well: their net part is summed line by line.
    """
    digits = prices.digits
    if prices.with_tax:
        return sum(_net(_allocated(line, digits), line, digits) for line in order.line_items)
    said = order.total_discounts
    return None if said is None else max(0, said - shipping_off)


def _shipping(order: _Order, prices: _Prices) -> tuple[int | None, int]:
    """Return what the buyer pays for shipping without tax, and the discount on it."""
    digits = prices.digits
    found = order.shipping_lines
    if not found:
        place = order.at + "total_shipping_price_set"
        whole = within({place: order.total_shipping_price_set}, place, "")
        bag = within(whole, "shop_money", place + ".")
        return money(bag, "amount", place + ".shop_money.", digits), 0
    paid = off = 0
    for line in found:
        taken = _allocated(line, digits)
        price = line.price or 0
        after = line.discounted_price
        after = max(0, price - taken) if after is None else after
        off += max(0, price - after)
        paid += after - (_tax(line, digits) if prices.with_tax else 0)
    return max(0, paid), off


# --- lines --------------------------------------------------------------------------------------


def _lines(
    order: _Order, prices: _Prices, refunds: _Refunds, notices: list[Notice]
) -> tuple[Line, ...]:
    lines = [_line(part, prices, refunds, notices) for part in order.line_items]
    return tuple([line for line in lines if line is not None])


def _line(part: _Item, prices: _Prices, refunds: _Refunds, notices: list[Notice]) -> Line | None:
    """Return the line, or None where an edit has taken it out of the order."""
    digits = prices.digits
    line_id = part.id
    placed = part.quantity
    taken = refunds.units.get(line_id, 0)
    ordered = _ordered(placed, part.current_quantity, taken)
    if ordered == 0:
        return None
    merchant_sku = part.sku
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, part.at + "sku", ""))
    price = part.price
    off, said = _allocated(part, digits), part.fulfillment_status
    total = None if price is None else max(0, price * ordered - off)
    if prices.with_tax and price is not None and total is not None:
        price, total = (_net(amount, part, digits) for amount in (price, total))
    return Line(
        line_id=line_id,
        quantity=ordered,
        platform_sku=part.platform_sku,
        merchant_sku=merchant_sku,
        title=part.title,
        unit_price=price,
        line_total=total,
        refund=_line_refund(taken, placed),
        status_said=said,
        shipped=_left(said, part, ordered, taken),
    )


def _left(said: str | None, part: _Item, ordered: int, taken: int) -> int | None:
    """
    Return how many have left.

    `fulfillable_quantity` is what is still to be fulfilled; refunds lower it too, so of a line
    that was refunded in part only the word for the whole line is believed.
    """
    if said == "fulfilled":
        return ordered
    if said != "partial" or taken:
        return None
    waiting = part.fulfillable_quantity
    return None if waiting is None else max(0, ordered - waiting)


def _ordered(placed: int, current: int | None, taken: int) -> int:
    """
    Return the units ordered: as placed, less what an edit took away again.

    `current_quantity` sinks with edits and with refunds. A refund does not change what was ordered
    (nor its total, nor any stock), so only what the refunds do not explain was edited away.
    """
    if current is None:
        return placed
    return placed - max(0, placed - taken - current)


def _line_refund(taken: int, placed: int) -> Refund:
    if taken == 0:
        return Refund.NONE
    return Refund.REFUNDED if taken >= placed else Refund.PARTIALLY_REFUNDED


def _allocated(part: _Item | _ShippingLine, digits: int) -> int:
    """Return the discounts put on a line (or shipping line)."""
    found = part.discount_allocations
    return _summed(found, part.at + "discount_allocations", "amount", digits) if found else 0


def _tax(part: _Item | _ShippingLine, digits: int) -> int:
    return _summed(part.tax_lines, part.at + "tax_lines", "price", digits)


def _summed(parts: list[Any], path: str, field: str, digits: int) -> int:
    total = 0
    for i, value in enumerate(parts):
        place = f"{path}[{i}]"
        total += money(as_object(value, place), field, place + ".", digits) or 0
    return total


def _net(amount: int, part: _Item, digits: int) -> int:
    """Return the part of *amount* (tax included) that is not tax, half a minor unit rounded up."""
    gross = (part.price or 0) * part.quantity
    gross -= _allocated(part, digits)
    if gross <= 0:
        return amount
    net = gross - min(gross, _tax(part, digits))
    return (2 * amount * net + gross) // (2 * gross)


# --- people and parcels -------------------------------------------------------------------------


def _buyer(order: _Order) -> Buyer | None:
    """Return the customer; the first number in clear of order, customer and billing address."""
    customer, billing = order.customer, order.billing_address
    home = customer.default_address
    region = _region(billing) or _region(home) or _region(order.shipping_address)
    phone_said = phone = None
    for number in (order.phone, customer.phone, billing.phone):
        phone_said = number if phone_said is None else phone_said
        phone = e164(number, region) if phone is None else phone
    buyer = Buyer(
        id=customer.id,
        name=_name(customer) or billing.name,
        email=order.email or customer.email,
        phone=phone,
        phone_said=phone_said,
    )
    return None if buyer == _NO_BUYER else buyer


_NO_BUYER: Final = Buyer()
_NOBODY: Final = Receiver()


def _name(person: _Customer | _Address) -> str | None:
    names = (person.first_name, person.last_name)
    return " ".join([name for name in names if name is not None]) or None


def _region(address: _Address | _Home) -> str | None:
    found = address.country_code
    return found if isinstance(found, str) else None


def _receiver(address: _Address) -> Receiver | None:
    phone_said = address.phone
    street = (address.address1, address.address2)
    receiver = Receiver(
        name=address.name or _name(address),
        phone=e164(phone_said, _region(address)),
        phone_said=phone_said,
        country=address.country,
        province=address.province,
        city=address.city,
        address=", ".join([part for part in street if part is not None]) or None,
        postcode=address.zip,
    )
    return None if receiver == _NOBODY else receiver


def _shipment(parcel: Json, at: str) -> Shipment | None:
    if parcel.get("status") != "success":
        return None
    return Shipment(
        carrier=text(parcel, "tracking_company", at),
        tracking_number=text(parcel, "tracking_number", at),
        shipped_at=offset(parcel, "created_at", at),
    )


def _shipments(order: _Order) -> tuple[Shipment, ...]:
    path = order.at + "fulfillments"
    found = [
        _shipment(as_object(value, f"{path}[{i}]"), f"{path}[{i}].")
        for i, value in enumerate(order.fulfillments)
    ]
    return tuple([shipment for shipment in found if shipment is not None])


def _first_shipped(shipments: tuple[Shipment, ...]) -> Moment | None:
    if not shipments:
        return None
    moments = [parcel.shipped_at for parcel in shipments]
    return min((m for m in moments if m is not None), key=lambda moment: moment.ms, default=None)
