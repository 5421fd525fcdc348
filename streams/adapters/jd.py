"""
JD (京东 POP): orders pulled by their time of change, refund applications and service orders.

Reads pop.order.get and pop.order.search with their encrypted twins, the lists of refund
applications (before shipping) and of service orders (after it), wrapped or not; the roots really
are spelt "responce". Facts come from samples and integrations; these decide most of this module:

- Two generations of field names, snake_case and camelCase, say the same; both are read.
- An order is there once it is paid. It has no word about money paid back: that is in the refund
  lists, and only LOCKED tells that an application runs.
- `orderPayment` is what the buyer pays, freight in it. Order money is yuan as a text, the sum of a
  refund application is an integer of fen, and `itemTotal` is a quantity.
- A coupon with a skuId lowers that line, one without lowers the order alone.
- A line has no id of its own: its skuId is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

from schemas.base import Moment
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
from streams.adapters.amounts import believed, discount_between, refund_of_sales
from streams.adapters.answers import things
from streams.adapters.phones import e164
from streams.adapters.reading import (
    BEIJING,
    Json,
    MoneyUnit,
    as_object,
    beijing,
    code,
    decode,
    fen,
    latest,
    lines_of,
    members,
    money,
    only_match,
    quantity,
    text,
    the_code,
    the_number_id,
    within,
    word,
)

#: order_state; "CENER" is the platform's spelling.
STATUSES: Final = MappingProxyType({
    "WAIT_SELLER_STOCK_OUT": Status.PAID,
    "WAIT_SEND_CODE": Status.PAID,
    "WAIT_SELLER_DELIVERY": Status.PAID,
    # Paid, and must not ship.
    "PAUSE": Status.ON_HOLD,
    "POP_ORDER_PAUSE": Status.ON_HOLD,
    "LOCKED": Status.ON_HOLD,
    "SEND_TO_DISTRIBUTION_CENER": Status.SHIPPED,
    "DISTRIBUTION_CENTER_RECEIVED": Status.SHIPPED,
    "WAIT_GOODS_RECEIVE_CONFIRM": Status.SHIPPED,
    "RECEIPTS_CONFIRM": Status.DELIVERED,
    "FINISHED_L": Status.COMPLETED,
    "TRADE_CANCELED": Status.CANCELLED,
    "PARENT_TRADE_CANCELED": Status.CANCELLED,  # split: its parts live on as orders
})  # fmt: skip

#: The one state that says something about the money: a cancellation is under review.
_LOCKED: Final = "LOCKED"

#: Refund applications, one or two digits, and service orders, four or five. REFUNDED is settled
#: by amount.
REFUNDS: Final = MappingProxyType({
    "0": Refund.REFUNDING,  # not reviewed
    "1": Refund.REFUNDING,  # agreed
    "2": Refund.REJECTED,
    "3": Refund.REFUNDED,  # the money is back
    "4": Refund.REJECTED,
    "5": Refund.REFUNDING,
    "6": Refund.REFUNDING,  # parcel to be intercepted
    "7": Refund.REFUNDING,
    "8": Refund.REJECTED,  # interception failed
    "9": Refund.REFUNDED,  # closed by force
    "10": Refund.REFUNDING,
    "11": Refund.NONE,  # withdrawn
    "16": Refund.REFUNDING,
    "17": Refund.REFUNDING,
    "18": Refund.NONE,  # closed by agreement
    "19": Refund.REFUNDING,  # disputed
    "27": Refund.REFUNDING,
    "10000": Refund.REFUNDING,
    "10001": Refund.REFUNDING,
    "10002": Refund.REFUNDING,
    "10004": Refund.REJECTED,
    "10005": Refund.REFUNDING,
    "10006": Refund.REFUNDING,
    "10007": Refund.REFUNDING,
    "10009": Refund.REFUNDING,
    "10010": Refund.REFUNDED,  # done, unless it was an exchange or a repair
    "10011": Refund.NONE,
    "10012": Refund.REFUNDING,
    "10013": Refund.REFUNDING,
    "10041": Refund.REFUNDING,
    "1100": Refund.REFUNDING,
})  # fmt: skip
_SERVICE_DONE: Final = "10010"
#: customerExpect of a service order: exchange and repair pay nothing back.
_NO_MONEY: Final = frozenset({"20", "30"})

#: The platform's rule; an order does not name it.
IMPLIED_CURRENCY: Final = "CNY"
#: invoiceInfo of a buyer who wants none.
_NO_INVOICE: Final = "不需要开具发票"

#: What answers wrap their orders and applications in, in plain spelling.
_LAYERS: Final = frozenset({
    "data", "result", "queryresult", "searchorderinforesult", "orderdetailinfo",
    "orderinforesult", "orderinfolist", "orderinfo", "results", "refundapplylist",
    "refundapplyresponse", "serviceinfolist",
})  # fmt: skip
_ORDER_FIELDS: Final = ("orderState", "itemInfoList", "orderPayment", "orderTotalPrice")
_AFTER_SALE_WORDS: Final = ("status", "serviceStatus", "afsServiceStatus")
_AFTER_SALE_SUMS: Final = ("applyRefundSum", "refundAmount")

_order_id_of = only_match(re.compile(rb'"order(?:Id|_id)\\?"\s*:\s*\\?"?([0-9]{1,20})'))


@lru_cache(maxsize=256)
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: "_" + capital.group().lower(), name)


@dataclass(frozen=True, slots=True)
class _Part:
    """An object of either generation: asked by the newer names, it answers with its own."""

    source: Json
    at: str

    def key(self, name: str) -> str:
        """Return *name* as it is spelt here."""
        return name if name in self.source else self._older(name)

    def _older(self, name: str) -> str:
        older = _snake(name)
        return older if older in self.source else name

    def has(self, *names: str) -> bool:
        return any(self.key(name) in self.source for name in names)

    def text(self, name: str) -> str | None:
        return text(self.source, self.key(name), self.at)

    def word(self, name: str) -> str | None:
        return word(self.source, self.key(name), self.at)

    def code(self, name: str) -> str | None:
        return code(self.source, self.key(name), self.at)

    def money(self, name: str) -> int | None:
        return money(self.source, self.key(name), self.at)

    def beijing(self, name: str) -> Moment | None:
        return beijing(self.source, self.key(name), self.at)

    def order_id(self) -> str:
        return the_number_id(self.source, self.key("orderId"), self.at)

    def within(self, name: str) -> "_Part":
        key = self.key(name)
        return _Part(within(self.source, key, self.at), f"{self.at}{key}.")

    def members(self, name: str) -> tuple[str, list[Any]]:
        """Return the path of the list *name* and its members; older answers nest it once more."""
        key = self.key(name)
        value = self.source.get(key)
        if not isinstance(value, dict):
            return self.at + key, members(self.source, key, self.at)
        inner = next(iter(value), key)
        return f"{self.at}{key}.{inner}", members(value, inner, f"{self.at}{key}.")


@dataclass(frozen=True, slots=True)
class Jd:
    """The adapter of JD's marketplace."""

    platform: str = "jd"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = BEIJING
    money: ClassVar[MoneyUnit] = MoneyUnit.YUAN_TEXT
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = True

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, and one per order paid back."""
        said: list[Statement] = []
        sales: dict[str, list[_Part]] = {}
        for at, body in things(decode(payload), _LAYERS):
            part = _Part(body, at)
            if part.has(*_ORDER_FIELDS):
                said.append(self._order(part, shop))
            elif part.has("orderId") and part.has(*_AFTER_SALE_WORDS, *_AFTER_SALE_SUMS):
                sales.setdefault(part.order_id(), []).append(part)
            else:
                raise MalformedPayload(at + "payload", "holds no order and no refund")
        said += [self._after_sale(order_id, found, shop) for order_id, found in sales.items()]
        return said

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id in the raw bytes, or None where there is none or more than one."""
        return _order_id_of(payload)

    def _order(self, order: _Part, shop: str) -> Statement:
        """Return the order of pop.order.get, or what a message that names it says."""
        notices: list[Notice] = []
        native = order.word("orderState")
        status = _status(order, native, notices)
        lines = tuple(_lines(order, notices))
        total = order.money("orderPayment")
        shipping = order.money("freightPrice")
        paid_at = order.beijing("paymentConfirmTime")
        shipped_at = order.beijing("outBoundDate")
        ended_at = order.beijing("orderEndTime")
        created_at = order.beijing("orderStartTime")
        updated_at = order.beijing("modified")
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order.order_id(),
            status=status,
            status_said=native,
            refund=_refund(order, native, paid_at),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            completed_at=ended_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(ended_at, shipped_at, paid_at, created_at),
            currency=IMPLIED_CURRENCY if lines else None,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, None, total),
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(order),
            receiver=_receiver(order),
            invoice=_invoice(order),
            shipments=_shipments(order, shipped_at),
            payment_method=order.text("payType"),
            notices=tuple(notices),
        )
        return believed(statement, order.at)

    def _after_sale(self, order_id: str, found: list[_Part], shop: str) -> Statement:
        """Return what the applications of one order say together."""
        notices: list[Notice] = []
        words: list[Refund | None] = []
        refunded = 0
        stated_ms = 0
        for sale in found:
            asked = _asked(sale)
            said = _after_sale_word(sale, asked, notices)
            words.append(said)
            if said is Refund.REFUNDED:
                refunded += asked or 0
            stated_ms = max(stated_ms, _decided_ms(sale))
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=order_id,
            refund=refund_of_sales(words),
            stated_ms=stated_ms,
            currency=IMPLIED_CURRENCY,
            refunded=refunded,
            notices=tuple(notices),
        )
        return believed(statement, found[0].at)


def _status(order: _Part, native: str | None, notices: list[Notice]) -> Status | None:
    if native is None:
        return None
    status = STATUSES.get(native)
    if status is None:
        notices.append(
            Notice(NoticeCode.UNKNOWN_STATUS, order.at + order.key("orderState"), native)
        )
    return status or Status.UNKNOWN


def _refund(order: _Part, native: str | None, paid_at: Moment | None) -> Refund | None:
    """Return what an order shows of the money: the refund lists have the rest."""
    if native == _LOCKED:
        return Refund.REFUNDING
    never_paid = order.has("paymentConfirmTime") and paid_at is None
    if STATUSES.get(native or "") is Status.CANCELLED and never_paid:
        return Refund.NONE
    return None


def _lines(order: _Part, notices: list[Notice]) -> Iterator[Line]:
    """Return the order's lines; a message with neither lines nor money only announces it."""
    if not order.has("itemInfoList", "orderPayment", "orderTotalPrice"):
        path = order.at + order.key("orderState")
        notices.append(Notice(NoticeCode.THIN, path, order.word("orderState") or ""))
        return
    path, parts = order.members("itemInfoList")
    coupons = _coupons(order)
    for i, value in enumerate(lines_of(parts, path)):
        item = _Part(as_object(value, f"{path}[{i}]"), f"{path}[{i}].")
        # Of a SKU on two lines, the first one has the coupon.
        yield _line(item, coupons.pop(item.code("skuId") or "", 0), notices)


def _line(item: _Part, coupon: int, notices: list[Notice]) -> Line:
    merchant_sku = item.code("outerSkuId") or item.code("productNo")
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, item.at + item.key("outerSkuId"), ""))
    count = quantity(item.source, item.key("itemTotal"), item.at)
    price = item.money("jdPrice")
    platform_sku = item.code("skuId") or item.code("wareId")
    return Line(
        line_id=platform_sku or the_code(item.source, item.key("skuId"), item.at),
        quantity=count,
        platform_sku=platform_sku,
        merchant_sku=merchant_sku,
        title=item.text("skuName"),
        unit_price=price,
        line_total=None if price is None else max(0, price * count - coupon),
    )


def _coupons(order: _Part) -> dict[str, int]:
    """Return the coupons that stand on a SKU, added up; the list may hold an empty entry."""
    path, parts = order.members("couponDetailList")
    found: dict[str, int] = {}
    for i, value in enumerate(parts):
        coupon = _Part(as_object(value, f"{path}[{i}]"), f"{path}[{i}].")
        sku, amount = coupon.code("skuId"), coupon.money("couponPrice")
        if sku is not None and amount is not None:
            found[sku] = found.get(sku, 0) + amount
    return found


def _asked(sale: _Part) -> int | None:
    """Return the sum asked for: an integer is fen, a decimal text is yuan as everywhere else."""
    name = next((each for each in _AFTER_SALE_SUMS if sale.has(each)), _AFTER_SALE_SUMS[0])
    key = sale.key(name)
    value = sale.source.get(key)
    in_yuan = isinstance(value, float) or (isinstance(value, str) and "." in value)
    return (money if in_yuan else fen)(sale.source, key, sale.at)


def _after_sale_word(sale: _Part, asked: int | None, notices: list[Notice]) -> Refund | None:
    """
    Return what one application says about its order.

    A service order that is done may have been an exchange or a repair; without an amount it cannot
    be told.
    """
    name = next((each for each in _AFTER_SALE_WORDS if sale.has(each)), _AFTER_SALE_WORDS[0])
    native = sale.word(name)
    if native is None:
        return None
    refund = REFUNDS.get(native)
    if refund is None:
        path = sale.at + sale.key(name)
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, path, native))
    if native != _SERVICE_DONE:
        return refund
    if sale.word("customerExpect") in _NO_MONEY or asked == 0:
        return Refund.NONE
    return None if asked is None else refund


def _decided_ms(sale: _Part) -> int:
    return latest(
        sale.beijing("modified"),
        sale.beijing("updateDate"),
        sale.beijing("checkTime"),
        sale.beijing("applyTime"),
    )


def _buyer(order: _Part) -> Buyer | None:
    open_id, pin = order.text("openIdBuyer"), order.text("pin")
    return None if open_id is None and pin is None else Buyer(id=open_id, name=pin)


def _receiver(order: _Part) -> Receiver | None:
    """Return where the goods go; ciphertext (`AAS/…`) and masks are kept as said."""
    consignee = order.within("consigneeInfo")
    phone_said = consignee.text("mobile") or consignee.text("telephone")
    receiver = Receiver(
        name=consignee.text("fullname"),
        phone=e164(phone_said, "CN"),
        phone_said=phone_said,
        province=consignee.text("province"),
        city=consignee.text("city"),
        district=consignee.text("county"),
        town=consignee.text("town"),
        address=consignee.text("fullAddress"),
    )
    return None if receiver == _NOBODY else receiver


_NOBODY: Final = Receiver()


def _invoice(order: _Part) -> Invoice | None:
    if order.text("invoiceInfo") in (None, _NO_INVOICE):
        return None
    wanted = order.within("invoiceEasyInfo")
    return Invoice(
        type=wanted.word("invoiceType"),
        title=wanted.text("invoiceTitle"),
        status=wanted.word("invoiceState"),
    )


def _shipments(order: _Part, shipped_at: Moment | None) -> tuple[Shipment, ...]:
    number = order.code("waybill")
    if number is None:
        return ()
    carrier = order.code("logisticsId")
    return (Shipment(carrier=carrier, tracking_number=number, shipped_at=shipped_at),)
