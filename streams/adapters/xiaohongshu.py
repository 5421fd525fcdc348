"""
Xiaohongshu (小红书): order details, brief lists, and pushes, which come many to a body.

Reads order.getOrderDetail (`data`), order.getOrderList (`data.orderList[]`, without lines) and the
push array `[{msgTag, sellerId, data}]`, whose `data` is JSON in a text. Facts come from the
official documents; these decide most of this module:

- API amounts are integers of fen, `refundFee` of a push is a number of yuan; times are unix
  milliseconds and 0 is null; there is no currency field, the platform's rule is CNY.
- Two messages with status 4 for one order are normal: two of its inner states show as 4.
- `totalPayAmount` is what the buyer pays, postage (`totalShippingFree`, so spelt) in it.
- 9 was cancelled, 8 was closed by its refund.
- A line has no id of its own: its skuId is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from schemas.base import MINOR_MAX, Moment
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
from streams.adapters.amounts import believed, discount_between, refund_of_lines
from streams.adapters.answers import text_id, things
from streams.adapters.phones import e164
from streams.adapters.reading import (
    UTC,
    Json,
    MoneyUnit,
    as_object,
    code,
    decode,
    fen,
    latest,
    lines_of,
    money,
    objects,
    only_match,
    quantity,
    text,
    the_code,
    units,
    unix_ms,
    unpack,
    word,
)

#: orderStatus.
STATUSES: Final = MappingProxyType({
    "1": Status.PENDING_PAYMENT,
    # Paid, and must not ship: under risk review, or clearing customs.
    "2": Status.ON_HOLD,
    "3": Status.ON_HOLD,
    "4": Status.PAID,
    "5": Status.PARTIALLY_SHIPPED,
    "6": Status.SHIPPED,
    "7": Status.COMPLETED,
    "8": Status.CANCELLED,
    "9": Status.CANCELLED,
    "10": Status.SHIPPED,  # an exchange was asked for
})  # fmt: skip
_CLOSED: Final = "8"
_CANCELLED: Final = "9"
_EXCHANGE: Final = "10"

#: orderAfterSalesStatus and a line's skuAfterSaleStatus; of an order, REFUNDED goes by its lines.
REFUNDS: Final = MappingProxyType({
    "1": Refund.NONE,
    "2": Refund.REFUNDING,
    "3": Refund.REFUNDED,
    "4": Refund.REJECTED,
    "5": Refund.NONE,  # closed
    "6": Refund.REFUNDING,  # the platform decides
    "7": Refund.NONE,  # withdrawn
})  # fmt: skip

#: Tags that are themselves a word about the refund; REFUNDED is settled by amount.
TAG_REFUNDS: Final = MappingProxyType({
    "msg_after_sale_create": Refund.REFUNDING,
    "msg_after_sale_audit_pass": Refund.REFUNDING,
    "msg_after_sale_confirm_receive": Refund.REFUNDING,
    "msg_after_sale_refund_finished": Refund.REFUNDED,
})  # fmt: skip
_STATUS_TAG: Final = "msg_fulfillment_status_change"
_ORDER_TAGS: Final = ("msg_fulfillment_", "msg_after_sale_")

#: The platform's rule; no payload names it.
IMPLIED_CURRENCY: Final = "CNY"

ORDER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_order_id_of = only_match(re.compile(rb'"orderId\\?"\s*:\s*\\?"([A-Za-z0-9_-]{1,64})'))

#: What answers wrap their orders in, in plain spelling.
_LAYERS: Final = frozenset({"data", "orderlist", "orderdetaillist", "orders", "list"})
#: What gives a message or an order away.
_MARKS: Final = frozenset({"msgTag", "orderId"})


@dataclass(frozen=True, slots=True)
class Xiaohongshu:
    """The adapter of Xiaohongshu."""

    platform: str = "xiaohongshu"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.FEN
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, or per message of a push."""
        said: list[Statement] = []
        for at, part in things(decode(payload), _LAYERS, _MARKS):
            if "msgTag" in part:
                said += self._message(part, shop, at)
            elif part.keys() & {"orderId", "orderStatus", "skuList"}:
                said.append(self._order(part, shop, at))
            else:
                raise MalformedPayload(at + "payload", "holds no order and no push message")
        return said

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id in the raw bytes, or None where there is none or more than one."""
        return _order_id_of(payload)

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of order.getOrderDetail, or what a list says of it in brief."""
        notices: list[Notice] = []
        status, native = _status(order, "orderStatus", at, notices)
        paid_at = unix_ms(order, "paidTime", at)
        lines = tuple(_lines(order, at, notices))
        total = fen(order, "totalPayAmount", at)
        shipping = fen(order, "totalShippingFree", at)
        tax = fen(order, "totalTaxAmount", at)
        created_at = unix_ms(order, "createdTime", at)
        shipped_at = unix_ms(order, "deliveryTime", at)
        finished_at = unix_ms(order, "finishTime", at)
        cancelled_at = unix_ms(order, "cancelTime", at)
        updated_at = unix_ms(order, "updateTime", at)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=text_id(order, "orderId", at, ORDER_ID),
            status=status,
            status_said=native,
            refund=_refund(order, native, paid_at, lines, at, notices),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            completed_at=finished_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at)
            or latest(finished_at, cancelled_at, shipped_at, paid_at, created_at),
            currency=IMPLIED_CURRENCY if lines or total is not None else None,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, tax, total),
            tax=tax,
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(order, at),
            receiver=_receiver(order, at),
            shipments=_shipments(order, shipped_at, at),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _message(self, message: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a push message says; those about no order say nothing."""
        tag = text(message, "msgTag", at) or ""
        if not tag.startswith(_ORDER_TAGS):
            return
        path = at + "data"
        data = as_object(unpack(message.get("data"), path), path)
        place = path + "."
        notices = [Notice(NoticeCode.THIN, at + "msgTag", tag)]
        status, native, refunded = None, None, None
        if tag == _STATUS_TAG:
            key = "orderStatus" if data.get("orderStatus") is not None else "packageStatus"
            status, native = _status(data, key, place, notices)
        refund = _PUSHED_REFUNDS.get(native or "") or TAG_REFUNDS.get(tag)
        if TAG_REFUNDS.get(tag) is Refund.REFUNDED:
            refunded = money(data, "refundFee", place)
        # Before an order was one parcel for certain, messages named the parcel alone.
        name = "packageId" if data.get("orderId") is None and "packageId" in data else "orderId"
        yield Statement(
            platform=self.platform,
            shop=shop,
            order_id=text_id(data, name, place, ORDER_ID),
            status=status,
            status_said=native,
            refund=refund,
            stated_ms=latest(unix_ms(data, "updateTime", place)),
            currency=None if refunded is None else IMPLIED_CURRENCY,
            refunded=refunded,
            notices=tuple(notices),
        )


#: Statuses of a push that say what became of the money.
_PUSHED_REFUNDS: Final = {_CLOSED: Refund.REFUNDED, _EXCHANGE: Refund.REFUNDING}


def _status(
    source: Json, key: str, at: str, notices: list[Notice]
) -> tuple[Status | None, str | None]:
    native = word(source, key, at)
    if native is None:
        return None, None
    status = STATUSES.get(native)
    if status is None:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + key, native))
    return status or Status.UNKNOWN, native


def _refund_word(source: Json, key: str, at: str, notices: list[Notice]) -> Refund | None:
    native = word(source, key, at)
    if native is not None and native not in REFUNDS:
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + key, native))
    return REFUNDS.get(native or "")


def _refund(
    order: Json,
    native: str | None,
    paid_at: Moment | None,
    lines: tuple[Line, ...],
    at: str,
    notices: list[Notice],
) -> Refund | None:
    """Return what became of the money: of an order that was never paid, nothing."""
    said = _refund_word(order, "orderAfterSalesStatus", at, notices)
    if native in (_CLOSED, _CANCELLED) and paid_at is None:
        return Refund.NONE
    if native in _PUSHED_REFUNDS:
        return _PUSHED_REFUNDS[native]
    if said is not Refund.REFUNDED:
        return said
    # Done, but perhaps for one line only: the lines tell where they all speak.
    by_lines = refund_of_lines(line.refund for line in lines)
    return by_lines if by_lines in (Refund.REFUNDED, Refund.PARTIALLY_REFUNDED) else said


def _lines(order: Json, at: str, notices: list[Notice]) -> Iterator[Line]:
    """Return the order's lines; a list has neither lines nor money and only announces the order."""
    if "skuList" not in order and "totalPayAmount" not in order:
        said = word(order, "orderStatus", at) or ""
        notices.append(Notice(NoticeCode.THIN, at + "orderStatus", said))
        return
    found = objects(order, "skuList", at)
    lines_of(found, at + "skuList")
    for place, part in found:
        yield _line(part, place, notices)


def _line(part: Json, at: str, notices: list[Notice]) -> Line:
    details = objects(part, "skuDetailList", at)
    merchant_sku = _merchant_sku(part, details, at)
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, at + "erpcode", ""))
    count = quantity(part, "skuQuantity", at)
    paid = fen(part, "totalPaidAmount", at)
    tax = fen(part, "totalTaxAmount", at) or 0
    return Line(
        line_id=the_code(part, "skuId", at),
        quantity=count,
        platform_sku=code(part, "skuId", at),
        merchant_sku=merchant_sku,
        title=text(part, "skuName", at),
        unit_price=_unit_price(part, details, count, at),
        line_total=None if paid is None else max(0, paid - tax),
        refund=_refund_word(part, "skuAfterSaleStatus", at, notices),
    )


def _merchant_sku(part: Json, details: list[tuple[str, Json]], at: str) -> str | None:
    """Return the merchant's code; of a bundle's components none is the bundle's."""
    found = code(part, "erpcode", at)
    if found is not None or len(details) != 1:
        return found
    ((place, detail),) = details
    return code(detail, "erpCode", place) or code(detail, "barcode", place)


def _unit_price(part: Json, details: list[tuple[str, Json]], count: int, at: str) -> int | None:
    """
    Return the price before discounts: the one detail's own, or what paid and discounts make.

    A bundle lists its components, each with a price and a count of its own.
    """
    if len(details) == 1 and units(details[0][1], "quantity", details[0][0]) in (None, count):
        ((place, detail),) = details
        price = fen(detail, "pricePerSku", place)
        if price is None:
            price = fen(detail, "rawPricePerSku", place)
        if price is not None:
            return price
    paid = fen(part, "totalPaidAmount", at)
    if paid is None:
        return None
    discounts = [fen(part, key, at) or 0 for key in ("totalMerchantDiscount", "totalRedDiscount")]
    price, rest = divmod(paid + sum(discounts), count)
    if price > MINOR_MAX:
        why = f"the unit price adds up to {price} fen, at most {MINOR_MAX} are believed"
        raise MalformedPayload(at + "totalPaidAmount", why)
    return None if rest else price


def _buyer(order: Json, at: str) -> Buyer | None:
    user = text(order, "userId", at)
    return None if user is None else Buyer(id=user)


def _receiver(order: Json, at: str) -> Receiver | None:
    phone_said = text(order, "receiverPhone", at)
    receiver = Receiver(
        name=text(order, "receiverName", at),
        phone=e164(phone_said, "CN"),
        phone_said=phone_said,
        country=text(order, "receiverCountryName", at),
        province=text(order, "receiverProvinceName", at),
        city=text(order, "receiverCityName", at),
        district=text(order, "receiverDistrictName", at),
        town=text(order, "receiverTownName", at),
        address=text(order, "receiverAddress", at),
        group=text(order, "openAddressId", at),
    )
    return None if receiver == _NOBODY else receiver


_NOBODY: Final = Receiver()


def _shipments(order: Json, shipped_at: Moment | None, at: str) -> tuple[Shipment, ...]:
    number = code(order, "expressTrackingNo", at)
    if number is None:
        return ()
    carrier = code(order, "expressCompanyCode", at)
    return (Shipment(carrier=carrier, tracking_number=number, shipped_at=shipped_at),)
