"""
Shopee (Open Platform v2): order details, order lists, returns, and pushes, also those it lost.

Reads get_order_detail and get_order_list (`response.order_list[]`), get_return_detail and
get_return_list (`response.return[]`), get_lost_push_message, and the push `{shop_id, code,
timestamp, data}`. Facts come from the official documentation:

- Money is a JSON number in main units of `currency`; VND and others have no decimals.
- `total_amount` is there once the order is paid, after vouchers and coins that no line tells of.
- `model_discounted_price` is 0 in a bundle deal: then the line's own price is not said.
- The shipping fee of an order is the one the buyer was quoted.
- Times are unix seconds, 0 or absent is null; an answer without an error says "" or "-".
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
    latest,
    lines_of,
    members,
    money,
    objects,
    only_order,
    quantity,
    text,
    texts,
    the_code,
    unix_seconds,
    unpack,
    within,
    word,
)
from streams.adapters.words import merchant_sku, status_of

#: order_status.
STATUSES: Final = MappingProxyType({
    "UNPAID": Status.PENDING_PAYMENT,
    "INVOICE_PENDING": Status.ON_HOLD,
    "IN_CANCEL": Status.ON_HOLD,
    "READY_TO_SHIP": Status.PAID,
    "RETRY_SHIP": Status.PAID,
    "PROCESSED": Status.PAID,
    "SHIPPED": Status.SHIPPED,
    "TO_CONFIRM_RECEIVE": Status.DELIVERED,
    "TO_RETURN": Status.DELIVERED,
    "COMPLETED": Status.COMPLETED,
    "CANCELLED": Status.CANCELLED,
})  # fmt: skip
#: The status of a return, and the two words of an order that speak of its money.
REFUNDS: Final = MappingProxyType({
    "REQUESTED": Refund.REFUNDING,
    "PROCESSING": Refund.REFUNDING,
    "ACCEPTED": Refund.REFUNDING,
    "JUDGING": Refund.REFUNDING,
    "SELLER_DISPUTE": Refund.REFUNDING,
    "COMPLETED": Refund.REFUNDED,
    "CANCELLED": Refund.NONE,
    "IN_CANCEL": Refund.REFUNDING,
    "TO_RETURN": Refund.REFUNDING,
})  # fmt: skip

#: What an order says of its refunds itself.
_ORDER_REFUNDS: Final = frozenset({"IN_CANCEL", "TO_RETURN"})
#: Before payment there is nothing to refund; after a cancellation it depends on the payment.
_UNPAID: Final = frozenset({Status.PENDING_PAYMENT, Status.CANCELLED})
_NO_ERROR: Final = frozenset({None, "-"})
#: Pushes about the app's right to the shop (given, taken, running out); with or without `data`.
_OF_THE_APP: Final = frozenset({"1", "2", "12"})
_BUNDLE: Final = "bundle_deal"


@dataclass(frozen=True, slots=True)
class Shopee:
    """The adapter of Shopee."""

    platform: str = "shopee"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.DECIMAL_NUMBER
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, return or push."""
        return [said for at, part in bodies(payload) for said in self._read(part, shop, at)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id, or None where there is none or more than one."""
        return only_order(self.parse, payload)

    def _read(self, body: Json, shop: str, at: str) -> Iterator[Statement]:
        if "code" in body and ("data" in body or "timestamp" in body):
            yield from self._push(body, shop, at)
            return
        if "response" in body or "error" in body:
            body, at = _answer(body, at)
        for name, read in (("order_list", self._any_order), ("return", self._return)):
            if name in body:
                yield from (read(part, shop, place) for place, part in objects(body, name, at))
                return
        if "push_message_list" in body:
            for place, lost in objects(body, "push_message_list", at):
                yield from self._lost(lost, shop, place)
        else:
            yield self._bare(body, shop, at)

    def _bare(self, body: Json, shop: str, at: str) -> Statement:
        """Return the one return or order that an answer holds, or that came as it is."""
        if "return_sn" in body:
            return self._return(body, shop, at)
        if "order_sn" in body or "item_list" in body:
            return self._any_order(body, shop, at)
        raise MalformedPayload(at + "payload", "holds no order, return or push message")

    def _any_order(self, order: Json, shop: str, at: str) -> Statement:
        """Return an order of a detail, or of a list, which has little more than ids."""
        if "item_list" in order or "currency" in order or "total_amount" in order:
            return self._order(order, shop, at)
        notices = [Notice(NoticeCode.THIN, at + "order_sn", "order list")]
        status, said = status_of(STATUSES, order, "order_status", at, notices)
        return Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_code(order, "order_sn", at),
            status=status,
            status_said=said,
            refund=_refund(status, said, paid=None),
            notices=tuple(notices),
        )

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of get_order_detail."""
        notices: list[Notice] = []
        order_id = the_code(order, "order_sn", at)
        currency = text(order, "currency", at)
        if currency is None:
            raise MalformedPayload(at + "currency", "the currency of the amounts is missing")
        digits = digits_of(currency, at + "currency")
        status, said = status_of(STATUSES, order, "order_status", at, notices)
        # A paid order that the platform still checks must not ship.
        if _has_pending_terms(order, at) and status is Status.PAID:
            status = Status.ON_HOLD
        lines = _lines(order, digits, at, notices)
        created_at = unix_seconds(order, "create_time", at)
        paid_at = unix_seconds(order, "pay_time", at)
        shipped_at = unix_seconds(order, "pickup_done_time", at)
        updated_at = unix_seconds(order, "update_time", at)
        total = _total(order, paid_at, digits, at)
        shipping = money(order, "estimated_shipping_fee", at, digits)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            status=status,
            status_said=said,
            refund=_refund(status, said, paid=paid_at is not None),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(shipped_at, paid_at, created_at),
            currency=currency,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, None, total),
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(order, at),
            receiver=_receiver(order, at),
            shipments=_shipments(order, at),
            payment_method=text(order, "payment_method", at),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _return(self, part: Json, shop: str, at: str) -> Statement:
        """
        Return the refund facet of a return.

        One that is complete says how much was paid back, and not whether that was all.
        """
        notices = [Notice(NoticeCode.THIN, at + "order_sn", "return")]
        said = word(part, "status", at)
        refund = None if said is None or said in _ORDER_REFUNDS else REFUNDS.get(said)
        if said is not None and refund is None:
            notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + "status", said))
        currency, refunded = text(part, "currency", at), None
        if currency is not None:
            digits = digits_of(currency, at + "currency")
            amount = money(part, "refund_amount", at, digits)
            refunded = amount if refund is Refund.REFUNDED else None
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_code(part, "order_sn", at),
            refund=None if refund is Refund.REFUNDED else refund,
            stated_ms=latest(
                unix_seconds(part, "update_time", at), unix_seconds(part, "create_time", at)
            ),
            currency=currency,
            refunded=refunded,
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _lost(self, lost: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a lost push said: the push itself stands once more in `data`."""
        data, place = as_object(unpack(lost.get("data"), at + "data"), at + "data"), at + "data."
        if "data" in data and "code" in data:
            yield from self._push(data, shop, place)
        else:
            yield from self._push(lost, shop, at)

    def _push(self, message: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a push says; one that names no order (a product, a shop) says nothing."""
        kind = word(message, "code", at) or ""
        if kind in _OF_THE_APP:
            return
        path = at + "data"
        data, place = as_object(unpack(message.get("data"), path), path), path + "."
        if "ordersn" not in data and "order_sn" not in data:
            return
        key = "ordersn" if "ordersn" in data else "order_sn"
        notices = [Notice(NoticeCode.THIN, at + "code", kind)]
        # A push about a return has a status too, which is not the order's.
        own = "return_sn" not in data
        status, said = status_of(STATUSES, data, "status", place, notices) if own else (None, None)
        updated_at = unix_seconds(data, "update_time", place)
        yield Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_code(data, key, place),
            status=status,
            status_said=said,
            refund=_refund(status, said, paid=None),
            updated_at=updated_at if status is not None else None,
            stated_ms=latest(updated_at) or latest(unix_seconds(message, "timestamp", at)),
            notices=tuple(notices),
        )


def _answer(body: Json, at: str) -> tuple[Json, str]:
    """Return what an API answer holds, or say that the platform refused."""
    said = text(body, "error", at)
    if said not in _NO_ERROR and not body.get("response"):
        raise MalformedPayload(at + "error", f"the platform answered {said}, not an order")
    return as_object(body.get("response"), at + "response"), at + "response."


# --- the status ---------------------------------------------------------------------------------


def _has_pending_terms(order: Json, at: str) -> bool:
    """Tell whether the platform still checks a paid order (SYSTEM_PENDING, KYC_PENDING)."""
    if isinstance(order.get("pending_terms"), str):
        return text(order, "pending_terms", at) is not None
    return bool(texts(order, "pending_terms", at))


def _refund(status: Status | None, said: str | None, *, paid: bool | None) -> Refund | None:
    """Return what the order itself tells of refunds; *paid* None is "not said"."""
    if said in _ORDER_REFUNDS:
        return REFUNDS[said]
    if status is Status.PENDING_PAYMENT or (paid is False and status in _UNPAID):
        return Refund.NONE
    return None


def _total(order: Json, paid_at: Moment | None, digits: int, at: str) -> int | None:
    """Return `total_amount`; of an order not yet paid, 0 is "not said"."""
    total = money(order, "total_amount", at, digits)
    return total if total or paid_at is not None else None


# --- lines --------------------------------------------------------------------------------------


def _lines(order: Json, digits: int, at: str, notices: list[Notice]) -> tuple[Line, ...]:
    lines_of(members(order, "item_list", at), at + "item_list")
    seen: set[str] = set()
    return tuple(
        _line(part, digits, place, seen, notices) for place, part in objects(order, "item_list", at)
    )


def _line(part: Json, digits: int, at: str, seen: set[str], notices: list[Notice]) -> Line:
    count = quantity(part, "model_quantity_purchased", at)
    price = money(part, "model_discounted_price", at, digits)
    if price == 0 and text(part, "promotion_type", at) == _BUNDLE:
        price = None
    name = text(part, "item_name", at)
    return Line(
        line_id=_line_id(part, at, seen),
        quantity=count,
        platform_sku=code(part, "model_id", at) or code(part, "item_id", at),
        merchant_sku=merchant_sku(part, ("model_sku", "item_sku"), at, notices),
        title=name,
        unit_price=money(part, "model_original_price", at, digits),
        line_total=None if price is None else price * count,
    )


def _line_id(part: Json, at: str, seen: set[str]) -> str:
    """Return the line's id. Two models of an item share its `order_item_id`."""
    found = code(part, "order_item_id", at) or the_code(part, "item_id", at)
    model = code(part, "model_id", at)
    if found in seen and model is not None:
        found = f"{found}-{model}"
    seen.add(found)
    return found


# --- people and parcels -------------------------------------------------------------------------

_NOBODY: Final = Receiver()
_NO_BUYER: Final = Buyer()


def _buyer(order: Json, at: str) -> Buyer | None:
    buyer = Buyer(id=code(order, "buyer_user_id", at), name=text(order, "buyer_username", at))
    return None if buyer == _NO_BUYER else buyer


def _receiver(order: Json, at: str) -> Receiver | None:
    address, place = within(order, "recipient_address", at), at + "recipient_address."
    phone_said, country = text(address, "phone", place), text(address, "region", place)
    receiver = Receiver(
        name=text(address, "name", place),
        phone=e164(phone_said, country),
        phone_said=phone_said,
        country=country,
        province=text(address, "state", place),
        city=text(address, "city", place),
        district=text(address, "district", place),
        town=text(address, "town", place),
        address=text(address, "full_address", place),
        postcode=text(address, "zipcode", place),
    )
    return None if receiver == _NOBODY else receiver


def _shipments(order: Json, at: str) -> tuple[Shipment, ...]:
    """Return the packages that are on their way; before that a package is only planned."""
    found = []
    for place, package in objects(order, "package_list", at):
        number = text(package, "tracking_number", place) or text(package, "package_number", place)
        carrier = text(package, "shipping_carrier", place)
        if number is not None and order.get("pickup_done_time"):
            found.append(
                Shipment(
                    carrier=carrier,
                    tracking_number=number,
                    shipped_at=unix_seconds(order, "pickup_done_time", at),
                )
            )
    return tuple(found)
