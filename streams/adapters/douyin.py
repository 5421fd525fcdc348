"""
Douyin Shop (抖店): order details, search pages, and pushes, which come many to a body.

Reads order.orderDetail (`data.shop_order_detail`), order.searchList (`data.shop_order_list[]`) and
the push array `[{tag, msg_id, data}]`, whose `data` is JSON in a text with ids beyond 2^53. Facts
come from the official SDK's classes:

- Money is an integer of fen, times are unix seconds and 0 is null; there is no currency field, the
  platform's rule is CNY.
- `order_status` has the order's state; `main_status` adds four states of its own to it.
- `order_amount` is before the promotions, `pay_amount` what the buyer pays after all of them, the
  platform's and the shop's alike.
- An after-sale belongs to a line (`sku_order_list[].after_sale_info`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

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
from streams.adapters.amounts import believed, discount_between, refund_of_lines
from streams.adapters.fields import (
    CODE,
    NUMBER_ID,
    TEXT,
    Each,
    Fen,
    Fields,
    Inside,
    Members,
    Quantity,
    Reader,
    Text,
    UnixSeconds,
    Word,
)
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
    members,
    offset,
    only_match,
    text,
    the_number_id,
    unix_seconds,
    unpack,
    without_nul,
    word,
)

#: order_status, and what main_status adds to it.
STATUSES: Final = MappingProxyType({
    "1": Status.PENDING_PAYMENT,
    "103": Status.PENDING_PAYMENT,  # part paid
    "105": Status.ON_HOLD,  # paid, being handled (tag 110)
    "2": Status.PAID,
    "101": Status.PARTIALLY_SHIPPED,
    "3": Status.SHIPPED,
    "5": Status.COMPLETED,
    "4": Status.CANCELLED,
    "21": Status.CANCELLED,  # refunded before shipping
    "22": Status.CANCELLED,  # refunded after shipping
    "39": Status.CANCELLED,  # refunded after receipt
})  # fmt: skip
#: The states only main_status has; otherwise order_status speaks.
_MAIN_ONLY: Final = frozenset({"103", "21", "22", "39"})
_REFUNDED_WHOLE: Final = frozenset({"21", "22", "39"})
_CANCELLED: Final = "4"
#: Of a sub-order: its goods have left.
_GONE: Final = frozenset({Status.SHIPPED, Status.COMPLETED})

#: after_sale_status; REFUNDED is a line's word, the order's goes by amount.
REFUNDS: Final = MappingProxyType({
    "0": Refund.NONE,
    "6": Refund.REFUNDING,
    "7": Refund.REFUNDING,
    "8": Refund.REFUNDING,
    "11": Refund.REFUNDING,
    "13": Refund.REFUNDING,
    "14": Refund.REFUNDING,
    "12": Refund.REFUNDED,
    "51": Refund.REFUNDED,
    "53": Refund.REFUNDED,
    "27": Refund.REJECTED,
    "29": Refund.REJECTED,
    "28": Refund.NONE,
})  # fmt: skip
#: after_sale_type of exchange, resend and repair: their success pays nothing back.
_NO_MONEY: Final = frozenset({"3", "7", "8"})

#: Tags that are themselves a word about the refund, used where the message has no status.
TAG_REFUNDS: Final = MappingProxyType({
    "200": Refund.REFUNDING,
    "201": Refund.REFUNDING,
    "202": Refund.REFUNDING,
    "203": Refund.REFUNDING,
    "208": Refund.REFUNDING,
    "204": Refund.REJECTED,
    "205": Refund.REJECTED,
    "207": Refund.NONE,
})  # fmt: skip
#: The address check, which has to be acknowledged and is about nothing.
PROBE_TAG: Final = "0"
#: Trades (1xx) and after-sales (2xx) are about an order and have to name it.
_ORDER_TAG = re.compile(r"[12][0-9]{2}")
_AFTER_SALE_TAG = re.compile(r"2[0-9]{2}")
#: The message "paid", whose `pay_amount` is the whole order's.
_PAID_TAG: Final = "101"

#: The platform's rule; no payload names it.
IMPLIED_CURRENCY: Final = "CNY"
_SUCCESS: Final = "10000"

_ORDER_ID = re.compile(rb'"p(?:_id|arent_order_id)\\?"\s*:\s*\\?"?([0-9]{1,20})')
_order_id_of = only_match(_ORDER_ID)


def _sub_orders(order: Json, at: str) -> list[tuple[str, Any]]:
    path = at + "sku_order_list"
    parts = lines_of(members(order, "sku_order_list", at), path)
    return [(f"{path}[{i}].", part) for i, part in enumerate(parts)]


class _AfterSale(Fields):
    """What is read of a line's after-sale."""

    after_sale_status: Word
    after_sale_type: Word


class _Line(Fields):
    """What is read of a sub-order."""

    merchant_sku: Annotated[str | None, CODE.under("code", "out_sku_id")]
    item_num: Quantity
    order_status: Word
    origin_amount: Fen
    id: Annotated[str, NUMBER_ID.needed_under("order_id")]
    platform_sku: Annotated[str | None, CODE.under("sku_id", "product_id")]
    product_name: Text
    sum_amount: Fen
    pay_amount: Fen
    promotion_amount: Fen
    post_amount: Fen
    tax_amount: Fen
    after_sale_info: Annotated[_AfterSale, Inside()]


class _Region(Fields):
    """What is read of a level of an address."""

    name: Text


class _Address(Fields):
    """What is read of an address."""

    province: Annotated[_Region, Inside()]
    city: Annotated[_Region, Inside()]
    town: Annotated[_Region, Inside()]
    street: Annotated[_Region, Inside()]
    detail: Annotated[str | None, TEXT.under("detail", "encrypt_detail")]


class _Order(Fields):
    """What is read of an order."""

    order_status: Word
    main_status: Word
    pay_time: UnixSeconds
    sku_order_list: Annotated[list[_Line], Each("sku_order_list", _sub_orders)]
    post_amount: Fen
    tax_amount: Fen
    pay_amount: Fen
    create_time: UnixSeconds
    ship_time: UnixSeconds
    finish_time: UnixSeconds
    update_time: UnixSeconds
    id: Annotated[str, NUMBER_ID.needed_under("order_id")]
    doudian_open_id: Text
    phone: Annotated[str | None, TEXT.under("post_tel", "mask_post_tel")]
    name: Annotated[str | None, TEXT.under("post_receiver", "mask_post_receiver")]
    post_addr: Annotated[_Address, Inside()]
    encrypt_post_receiver: Text
    encrypt_post_tel: Text
    post_code: Text
    open_address_id: Text
    logistics_info: Members


_ORDER: Final = Reader(_Order)


@dataclass(frozen=True, slots=True)
class Douyin:
    """The adapter of Douyin Shop."""

    platform: str = "douyin"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.FEN
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, or per message of a push."""
        body = decode(payload)
        if isinstance(body, list):
            return list(self._array(body, shop))
        plain = without_nul(payload)
        return list(self._read(as_object(body, "payload"), shop, "", plain=plain))

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id in the raw bytes, or None where there is none or more than one."""
        return _order_id_of(payload)

    def _array(self, body: list[Any], shop: str) -> Iterator[Statement]:
        """Return the statements of a push; a message repeated within one body is heard once."""
        heard: set[str] = set()
        for i, value in enumerate(body):
            part, at = as_object(value, f"[{i}]"), f"[{i}]."
            if "tag" not in part:
                yield from self._read(part, shop, at)
                continue
            message_id = code(part, "msg_id", at)
            if message_id is None or message_id not in heard:
                yield from self._message(part, shop, at)
            if message_id is not None:
                heard.add(message_id)

    def _read(self, body: Json, shop: str, at: str, *, plain: bool = False) -> Iterator[Statement]:
        if "tag" in body and "data" in body:
            yield from self._message(body, shop, at)
            return
        if "data" in body or "code" in body:
            body, at = _answer(body, at)
        if "shop_order_detail" in body:
            order = as_object(body["shop_order_detail"], at + "shop_order_detail")
            yield self._order(_ORDER(order, at + "shop_order_detail.", plain=plain), shop)
        elif "shop_order_list" in body:
            for i, order in enumerate(members(body, "shop_order_list", at)):
                place = f"{at}shop_order_list[{i}]"
                there = as_object(order, place)
                yield self._order(_ORDER(there, place + ".", plain=plain), shop)
        elif "order_id" in body or "sku_order_list" in body:
            yield self._order(_ORDER(body, at, plain=plain), shop)
        else:
            raise MalformedPayload(at + "payload", "holds no order and no push message")

    def _order(self, order: _Order, shop: str) -> Statement:
        """Return the order of order.orderDetail."""
        notices: list[Notice] = []
        status, said, main = _status(order.order_status, order.main_status, order.at, notices)
        paid_at = order.pay_time
        lines = tuple([_line(part, notices) for part in order.sku_order_list])
        shipping = order.post_amount
        tax = order.tax_amount
        total = _total(order, lines, paid_at)
        created_at = order.create_time
        shipped_at = order.ship_time
        finished_at = order.finish_time
        updated_at = order.update_time
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order.id,
            status=status,
            status_said=said,
            refund=_refund(main, paid_at, lines),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            completed_at=finished_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(finished_at, shipped_at, paid_at, created_at),
            currency=IMPLIED_CURRENCY,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, tax, total),
            tax=tax,
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(order),
            receiver=_receiver(order),
            shipments=_shipments(order),
            notices=tuple(notices),
        )
        return believed(statement, order.at)

    def _message(self, message: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what one push message says; probes and messages about no order say nothing."""
        tag = word(message, "tag", at) or ""
        if tag == PROBE_TAG:
            return
        path = at + "data"
        known = _ORDER_TAG.fullmatch(tag) is not None
        data = unpack(message.get("data"), path) if known else _opened(message.get("data"))
        if not known and (not isinstance(data, dict) or "p_id" not in data):
            return
        yield self._thin(tag, as_object(data, path), shop, path + ".", at)

    def _thin(self, tag: str, data: Json, shop: str, at: str, outer: str) -> Statement:
        notices = [Notice(NoticeCode.THIN, outer + "tag", tag)]
        words = word(data, "order_status", at), word(data, "main_status", at)
        status, said, main = _status(*words, at, notices)
        created_at = unix_seconds(data, "create_time", at)
        paid_at = unix_seconds(data, "pay_time", at)
        total = fen(data, "pay_amount", at) if tag == _PAID_TAG else None
        refund, refunded = _pushed_refund(tag, data, at, notices)
        if main in _REFUNDED_WHOLE:
            refund = Refund.REFUNDED
        return Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(data, "p_id", at),
            status=status,
            status_said=said,
            refund=refund,
            created_at=created_at,
            paid_at=paid_at,
            stated_ms=_pushed_ms(data, at) or latest(paid_at, created_at),
            currency=None if total is None and refunded is None else IMPLIED_CURRENCY,
            total=total,
            paid=total,
            refunded=refunded,
            notices=tuple(notices),
        )


def _answer(body: Json, at: str) -> tuple[Json, str]:
    """Return what an API answer holds, or say that the platform refused."""
    said = word(body, "code", at)
    if said not in (None, _SUCCESS) and not body.get("data"):
        raise MalformedPayload(at + "code", f"the platform answered {said}, not an order")
    return as_object(body.get("data"), at + "data"), at + "data."


def _opened(value: object) -> object:
    """Return the JSON in the text of an unknown tag, or None: it may hold anything."""
    try:
        return unpack(value, "data")
    except MalformedPayload:
        return None


def _status(
    said: str | None, main: str | None, at: str, notices: list[Notice]
) -> tuple[Status | None, str | None, str | None]:
    """Return the status, the platform's words for it, and the one word that decided."""
    unknown = False
    for key, value in (("order_status", said), ("main_status", main)):
        if value is not None and value not in STATUSES:
            notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + key, value))
            unknown = True
    deciding = main if main in _MAIN_ONLY or said is None else said
    if deciding is None:
        return None, None, None
    words = said if main is None or main == said else f"{said or ''}/{main}"
    return Status.UNKNOWN if unknown else STATUSES[deciding], words, deciding


def _refund(main: str | None, paid_at: Moment | None, lines: tuple[Line, ...]) -> Refund | None:
    """Return what became of the money: of an order that was never paid, nothing."""
    if main in _REFUNDED_WHOLE:
        return Refund.REFUNDED
    if main == _CANCELLED:
        return Refund.NONE if paid_at is None else Refund.REFUNDED
    refund = refund_of_lines([line.refund for line in lines])
    if paid_at is None and refund in (Refund.REFUNDED, Refund.PARTIALLY_REFUNDED):
        return Refund.NONE
    return refund


def _total(order: _Order, lines: tuple[Line, ...], paid_at: Moment | None) -> int | None:
    """
    Return `pay_amount`: what the buyer pays after all promotions, postage and tax in it.

    An order not yet paid may carry 0 there; what is asked for then is the price of the lines after
    their promotions, and postage and tax.
    """
    paid = order.pay_amount
    if paid or paid_at is not None:
        return paid
    asked = [line.line_total for line in lines if line.line_total is not None]
    if len(asked) < len(lines):
        return paid
    return sum(asked) + (order.post_amount or 0) + (order.tax_amount or 0)


def _line(part: _Line, notices: list[Notice]) -> Line:
    merchant_sku = part.merchant_sku
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, part.at + "code", ""))
    count, said = part.item_num, part.order_status
    price = part.origin_amount
    return Line(
        line_id=part.id,
        quantity=count,
        platform_sku=part.platform_sku,
        merchant_sku=merchant_sku,
        title=part.product_name,
        unit_price=price,
        line_total=_line_total(part, price, count),
        refund=_line_refund(part.after_sale_info, notices),
        status_said=said,
        shipped=count if STATUSES.get(said or "") in _GONE else None,
    )


def _line_total(part: _Line, price: int | None, count: int) -> int | None:
    """
    Return what is paid for the line's goods: `pay_amount` without the postage and tax in it.

    Where `pay_amount` is not there yet, or is exactly the goods less their promotions (no postage
    in it), it is `sum_amount` less `promotion_amount`.
    """
    goods = part.sum_amount
    if goods is None and price is not None:
        goods = price * count
    paid = part.pay_amount
    if goods is not None:
        net = max(0, goods - (part.promotion_amount or 0))
        if not paid or paid == net:
            return net
    if paid is None:
        return None
    extra = (part.post_amount or 0) + (part.tax_amount or 0)
    return max(0, paid - extra)


def _line_refund(info: _AfterSale, notices: list[Notice]) -> Refund | None:
    said = info.after_sale_status
    if said is None:
        return None
    refund = REFUNDS.get(said)
    if refund is None:
        field = info.at + "after_sale_status"
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, field, said))
    if refund is Refund.REFUNDED and info.after_sale_type in _NO_MONEY:
        return Refund.NONE
    return refund


def _pushed_refund(
    tag: str, data: Json, at: str, notices: list[Notice]
) -> tuple[Refund | None, int | None]:
    """Return the refund a push states; of one that is done it cannot tell how much is left."""
    if not _AFTER_SALE_TAG.fullmatch(tag):
        return None, None
    said = word(data, "aftersale_status", at)
    if said is None:
        return TAG_REFUNDS.get(tag), None
    refund = REFUNDS.get(said)
    if refund is None:
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + "aftersale_status", said))
    if refund is not Refund.REFUNDED:
        return refund, None
    if word(data, "aftersale_type", at) in _NO_MONEY:
        return Refund.NONE, None
    return None, fen(data, "refund_amount", at)


def _pushed_ms(data: Json, at: str) -> int:
    """Return the time of the event itself; `update_time` is RFC 3339 in refund messages."""
    said = data.get("update_time")
    written = isinstance(said, str) and "T" in said
    updated = offset(data, "update_time", at) if written else unix_seconds(data, "update_time", at)
    return latest(
        updated,
        unix_seconds(data, "cancel_time", at),
        unix_seconds(data, "complete_time", at),
        unix_seconds(data, "apply_time", at),
    )


def _buyer(order: _Order) -> Buyer | None:
    open_id = order.doudian_open_id
    return None if open_id is None else Buyer(id=open_id)


def _receiver(order: _Order) -> Receiver | None:
    """Return where the goods go. Douyin's `town` is our district, its `street` our town."""
    phone_said = order.phone
    name = order.name
    address = order.post_addr
    receiver = Receiver(
        name=name or order.encrypt_post_receiver,
        phone=e164(phone_said, "CN"),
        phone_said=phone_said or order.encrypt_post_tel,
        province=address.province.name,
        city=address.city.name,
        district=address.town.name,
        town=address.street.name,
        address=address.detail,
        postcode=order.post_code,
        group=order.open_address_id,
    )
    return None if receiver == _NOBODY else receiver


_NOBODY: Final = Receiver()


def _shipments(order: _Order) -> tuple[Shipment, ...]:
    found = []
    for i, value in enumerate(order.logistics_info):
        place = f"{order.at}logistics_info[{i}]"
        parcel = as_object(value, place)
        found.append(
            Shipment(
                carrier=text(parcel, "company_name", place + ".")
                or text(parcel, "company", place + "."),
                tracking_number=text(parcel, "tracking_no", place + "."),
                shipped_at=unix_seconds(parcel, "ship_time", place + "."),
            )
        )
    return tuple(found)
