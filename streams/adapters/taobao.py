"""
Taobao and Tmall (TOP): trades, after-sale lists, and the thin messages of TMC.

Reads taobao.trade.fullinfo.get, trades.sold.get and its increments, refunds.receive.get,
refund.get, tmc.messages.consume and decoded WebSocket frames, wrapped or not. Facts come from the
official API metadata; three of them decide most of this module:

- tid and oid are int64 beyond 2^53; `tid_str` has the digits where a decoder has lost them.
- A refund belongs to a line (oid), not to the trade.
- A line's `payment` includes postage where the trade has one line; `divide_order_fee` never does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

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
from streams.adapters.amounts import believed, discount_between, refund_of_lines, refund_of_sales
from streams.adapters.currencies import digits_of
from streams.adapters.fields import (
    CODE,
    NUMBER_ID,
    TEXT,
    Anything,
    BeijingTime,
    Each,
    Fields,
    Money,
    Quantity,
    Reader,
    Text,
    Word,
)
from streams.adapters.phones import e164
from streams.adapters.reading import (
    BEIJING,
    Json,
    MoneyUnit,
    as_object,
    beijing,
    bodies,
    latest,
    lines_of,
    money,
    nested,
    number_id,
    only_match,
    text,
    the_number_id,
    unix_ms,
    unpack,
    without_nul,
    word,
)

#: Trade.status.
STATUSES: Final = MappingProxyType({
    "TRADE_NO_CREATE_PAY": Status.PENDING_PAYMENT,
    "WAIT_BUYER_PAY": Status.PENDING_PAYMENT,
    "PAY_PENDING": Status.PENDING_PAYMENT,
    "ALL_WAIT_PAY": Status.PENDING_PAYMENT,
    "WAIT_PRE_AUTH_CONFIRM": Status.PENDING_PAYMENT,
    # Paid, and must not ship: a group is forming or the goods are controlled.
    "PAID_FORBID_CONSIGN": Status.ON_HOLD,
    "WAIT_SELLER_SEND_GOODS": Status.PAID,
    "SELLER_CONSIGNED_PART": Status.PARTIALLY_SHIPPED,
    "WAIT_BUYER_CONFIRM_GOODS": Status.SHIPPED,
    "TRADE_BUYER_SIGNED": Status.DELIVERED,
    "TRADE_FINISHED": Status.COMPLETED,
    "TRADE_CLOSED_BY_TAOBAO": Status.CANCELLED,
    "TRADE_CLOSED": Status.CANCELLED,
})  # fmt: skip

#: A sub-order's own status, once its goods have left.
LINE_GONE: Final = frozenset({
    "WAIT_BUYER_CONFIRM_GOODS", "TRADE_BUYER_SIGNED", "TRADE_FINISHED",
})  # fmt: skip
#: Pre-sale, Trade.step_trade_status; None leaves the trade's own status as it is.
STEPS: Final = MappingProxyType({
    "FRONT_NOPAID_FINAL_NOPAID": Status.PENDING_PAYMENT,
    "FRONT_PAID_FINAL_NOPAID": Status.PENDING_PAYMENT,
    "FRONT_PAID_FRONT_FORFEITED": Status.CANCELLED,
    "FRONT_PAID_FINAL_PAID": None,
})  # fmt: skip
#: A pre-sale step decides only while nothing has been shipped or closed.
_STEP_DECIDES: Final = frozenset({Status.PENDING_PAYMENT, Status.ON_HOLD, Status.PAID})

#: Refund.status and Order.refund_status; REFUNDED is a line's word, the order's goes by amount.
REFUNDS: Final = MappingProxyType({
    "NO_REFUND": Refund.NONE,
    "CLOSED": Refund.NONE,
    "WAIT_SELLER_AGREE": Refund.REFUNDING,
    "WAIT_BUYER_RETURN_GOODS": Refund.REFUNDING,
    "WAIT_SELLER_CONFIRM_GOODS": Refund.REFUNDING,
    "SELLER_REFUSE_BUYER": Refund.REJECTED,
    "SUCCESS": Refund.REFUNDED,
})  # fmt: skip

#: The two ends of a trade, which say what became of the money: closed before and after payment.
_CLOSED: Final = {"TRADE_CLOSED_BY_TAOBAO": Refund.NONE, "TRADE_CLOSED": Refund.REFUNDED}

#: TMC topics of refunds that are themselves a word about the refund. Of RefundSuccess alone it
#: cannot be told whether the whole order was paid back.
TOPIC_REFUNDS: Final = MappingProxyType({
    "taobao_refund_RefundCreated": Refund.REFUNDING,
    "taobao_refund_RefundSellerAgreeAgreement": Refund.REFUNDING,
    "taobao_refund_RefundBuyerModifyAgreement": Refund.REFUNDING,
    "taobao_refund_RefundBuyerReturnGoods": Refund.REFUNDING,
    "taobao_refund_RefundSellerRefuseAgreement": Refund.REJECTED,
    "taobao_refund_RefundClosed": Refund.NONE,
})  # fmt: skip
_REFUND_DONE: Final = "taobao_refund_RefundSuccess"

#: Topics about one line of a trade: their status and payment are the line's, not the trade's.
_LINE_TOPICS: Final = frozenset({
    "taobao_trade_TradePartlyRefund",
    "taobao_trade_TradePartlyConfirmPay",
    "taobao_trade_TradeCloseAndModifyDetailOrder",
})  # fmt: skip
#: A pre-sale step pays a part: its `payment` is not the trade's.
_PARTIAL_PAYMENT: Final = _LINE_TOPICS | {"taobao_trade_TradeBuyerStepPay"}

#: Yuan unless `trade_attr.payCurrency` names another currency.
IMPLIED_CURRENCY: Final = "CNY"

_TID = re.compile(rb'"tid\\?"\s*:\s*\\?"?([0-9]{1,20})')
_tid_of = only_match(_TID)

#: What an answer may hold: lists with the name of their members, single things, and bare ones by
#: the field that gives them away.
_LISTS: Final = (
    ("trades", "trade", "trade"),
    ("refunds", "refund", "refund"),
    ("messages", "tmc_message", "message"),
)
_SINGLES: Final = ("trade", "refund")
_BARE: Final = (
    ("topic", "message"),
    ("refund_id", "refund"),
    ("tid_str", "trade"),
    ("tid", "trade"),
)
#: A `*_response` of these that holds none of them is an empty page.
_PAGES: Final = ("trades_", "refunds_", "tmc_messages_")


def _suborders(trade: Json, at: str) -> list[tuple[str, Any]]:
    return lines_of(nested(trade, "orders", "order", at), at + "orders.order")


class _Order(Fields):
    """What is read of a sub-order."""

    refund_status: Word
    merchant_sku: Annotated[str | None, CODE.under("outer_sku_id", "outer_iid")]
    num: Quantity
    status: Word
    id: Annotated[str, NUMBER_ID.needed_under("oid_str", "oid")]
    platform_sku: Annotated[str | None, CODE.under("sku_id", "num_iid")]
    title: Text
    price: Money
    divide_order_fee: Money
    total_fee: Money
    part_mjz_discount: Money
    invoice_no: Text
    logistics_company: Text
    consign_time: BeijingTime


class _Trade(Fields):
    """What is read of a trade."""

    status: Word
    step_trade_status: Word
    trade_attr: Anything
    orders: Annotated[list[_Order], Each("orders", _suborders, inner="order")]
    payment: Money
    post_fee: Money
    order_tax_fee: Money
    pay_time: BeijingTime
    consign_time: BeijingTime
    end_time: BeijingTime
    created: BeijingTime
    modified: BeijingTime
    id: Annotated[str, NUMBER_ID.needed_under("tid_str", "tid")]
    buyer_open_uid: Text
    buyer_nick: Text
    buyer_email: Text
    receiver_mobile: Annotated[str | None, TEXT.under("receiver_mobile", "receiver_phone")]
    receiver_name: Text
    receiver_country: Text
    receiver_state: Text
    receiver_city: Text
    receiver_district: Text
    receiver_town: Text
    receiver_address: Text
    receiver_zip: Text
    oaid: Text


@dataclass(frozen=True, slots=True)
class _Thin:
    """What every thin message has: the order, the shop, the content's path, its time."""

    order_id: str
    shop: str
    at: str
    stated_ms: int
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Taobao:
    """The adapter of Taobao and of Tmall, which speak the same API."""

    platform: str = "taobao"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = BEIJING
    money: ClassVar[MoneyUnit] = MoneyUnit.YUAN_TEXT
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says, one statement per order (or per message of a TMC pull)."""
        plain = without_nul(payload)
        return [said for at, part in bodies(payload) for said in self._read(part, shop, at, plain)]

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the tid in the raw bytes, or None where there is none or more than one."""
        return _tid_of(payload)

    def _read(self, body: Json, shop: str, at: str, plain: bool) -> Iterator[Statement]:  # noqa: FBT001
        kind, found = _found(body, at)
        if kind == "refund":
            yield from self._refunds(found, shop)
            return
        for place, part in found:
            if kind == "trade":
                yield self._trade(_TRADE(part, place, plain=plain), shop)
            else:
                yield from self._message(part, shop, place)

    def _trade(self, trade: _Trade, shop: str) -> Statement:
        """Return the order of taobao.trade.fullinfo.get."""
        notices: list[Notice] = []
        native, at = trade.status, trade.at
        status, said = _status(trade, native, at, notices)
        _, currency = _currency(trade.trade_attr, at)
        lines = _lines(trade, notices)
        total = trade.payment
        shipping = trade.post_fee
        tax = trade.order_tax_fee
        paid_at = trade.pay_time
        shipped_at = trade.consign_time
        ended_at = trade.end_time
        created_at = trade.created
        updated_at = trade.modified
        refund = _CLOSED.get(native or "")
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=trade.id,
            status=status,
            status_said=said,
            refund=refund_of_lines([line.refund for line in lines]) if refund is None else refund,
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            completed_at=ended_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(ended_at, shipped_at, paid_at, created_at),
            currency=currency,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, tax, total),
            tax=tax,
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(trade),
            receiver=_receiver(trade),
            shipments=_shipments(trade),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _refunds(self, refunds: list[tuple[str, Json]], shop: str) -> Iterator[Statement]:
        """Return one statement per trade that an after-sale list names, its refunds added up."""
        by_trade: dict[str, list[tuple[str, Json]]] = {}
        for at, refund in refunds:
            by_trade.setdefault(the_number_id(refund, "tid", at), []).append((at, refund))
        for order_id, found in by_trade.items():
            yield self._after_sale(order_id, found, shop)

    def _after_sale(self, order_id: str, found: list[tuple[str, Json]], shop: str) -> Statement:
        notices: list[Notice] = []
        words: list[Refund | None] = []
        refunded = 0
        stated_ms = 0
        for at, refund in found:
            fee = money(refund, "refund_fee", at)
            said = _after_sale_word(refund, order_id, fee, at, notices)
            words.append(said)
            if said in (Refund.REFUNDED, Refund.PARTIALLY_REFUNDED):
                refunded += fee or 0
            moment = beijing(refund, "modified", at) or beijing(refund, "created", at)
            stated_ms = max(stated_ms, latest(moment))
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
        return believed(statement, found[0][0])

    def _message(self, message: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a TMC message says; topics that are about no order say nothing here."""
        topic = text(message, "topic", at) or ""
        if not topic.startswith(("taobao_trade_", "taobao_refund_")):
            return
        path = at + "content"
        content = as_object(unpack(message.get("content"), path), path)
        sent_at = beijing(message, "pub_time", at) or unix_ms(message, "time", at)
        notices = [Notice(NoticeCode.THIN, at + "topic", topic)]
        order_id = _tid(content, path + ".")
        if topic.startswith("taobao_refund_"):
            modified = beijing(content, "modified", path + ".") or sent_at
            done = money(content, "refund_fee", path + ".") if topic == _REFUND_DONE else None
            yield Statement(
                platform=self.platform,
                shop=shop,
                order_id=order_id,
                refund=TOPIC_REFUNDS.get(topic),
                stated_ms=latest(modified),
                currency=IMPLIED_CURRENCY if done is not None else None,
                refunded=done,
                notices=tuple(notices),
            )
        else:
            yield self._thin_trade(
                topic, content, _Thin(order_id, shop, path + ".", latest(sent_at), tuple(notices))
            )

    def _thin_trade(self, topic: str, content: Json, thin: _Thin) -> Statement:
        """Return what a trade message says: a status where it carries one, never the topic's."""
        at = thin.at
        notices = [*thin.notices]
        native = None if topic in _LINE_TOPICS else word(content, "status", at)
        status, said = _status(None, native, at, notices)
        whole = topic not in _PARTIAL_PAYMENT
        total = money(content, "payment", at) if whole else None
        return Statement(
            platform=self.platform,
            shop=thin.shop,
            order_id=thin.order_id,
            status=status,
            status_said=said,
            refund=_CLOSED.get(native or ""),
            stated_ms=thin.stated_ms,
            currency=IMPLIED_CURRENCY if total is not None else None,
            total=total,
            shipping=money(content, "post_fee", at) if whole else None,
            notices=tuple(notices),
        )


def _found(body: Json, at: str) -> tuple[str, list[tuple[str, Json]]]:
    """Return what kind of things *body* holds, and each with its path; an empty page holds none."""
    name, body = _unwrapped(body, at)
    for key, inner, kind in _LISTS:
        if key in body:
            return kind, nested(body, key, inner, at)
    for kind in _SINGLES:
        if kind in body:
            return kind, [(f"{at}{kind}.", as_object(body[kind], at + kind))]
    for key, kind in _BARE:
        if key in body:
            return kind, [(at, body)]
    if name.startswith(_PAGES):
        return "trade", []
    raise MalformedPayload(at + (name or "payload"), "holds no trade, refund or message")


def _unwrapped(body: Json, at: str) -> tuple[str, Json]:
    """Return the name of the API answer (or "") and what it holds."""
    if "error_response" in body:
        raise MalformedPayload(at + "error_response", "the platform answered with an error")
    for name, answer in body.items():
        if name.endswith("_response"):
            return name, as_object(answer, at + name)
    return "", body


def _tid(source: Json, at: str) -> str:
    """Return the trade's id; `tid_str` first, because a decoder may have rounded the number."""
    return number_id(source, "tid_str", at) or the_number_id(source, "tid", at)


def _status(
    trade: _Trade | None, native: str | None, at: str, notices: list[Notice]
) -> tuple[Status | None, str | None]:
    """Return the status and the platform's words for it; a pre-sale step may decide it."""
    if native is None:
        return None, None
    status = STATUSES.get(native, Status.UNKNOWN)
    if status is Status.UNKNOWN:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + "status", native))
    step = None if trade is None else trade.step_trade_status
    if step is None:
        return status, native
    said = f"{native}/{step}"
    if step not in STEPS:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + "step_trade_status", step))
    if status not in _STEP_DECIDES:
        return status, said
    # A step nobody here knows may be unpaid: what may not be shipped is not called paid.
    return STEPS.get(step, Status.UNKNOWN) or status, said


def _lines(trade: _Trade, notices: list[Notice]) -> tuple[Line, ...]:
    """
    Return the trade's lines as it is now ordered.

    A line closed before payment beside lines that live on was taken out of the order
    (TradeCloseAndModifyDetailOrder): the buyer neither pays for it nor gets it. Where every line
    is, the whole trade was closed, and they tell what it was.
    """
    lines = [_line(order, notices) for order in trade.orders]
    left = [line for line in lines if line.status_said != "TRADE_CLOSED_BY_TAOBAO"]
    return tuple(left or lines)


def _line(order: _Order, notices: list[Notice]) -> Line:
    refund_said = order.refund_status
    merchant_sku = order.merchant_sku
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, order.at + "outer_sku_id", ""))
    count, said = order.num, order.status
    return Line(
        line_id=order.id,
        quantity=count,
        platform_sku=order.platform_sku,
        merchant_sku=merchant_sku,
        title=order.title,
        unit_price=order.price,
        line_total=_line_total(order),
        refund=_refund(refund_said, order.at + "refund_status", notices),
        status_said=said,
        shipped=count if said in LINE_GONE else None,
    )


def _line_total(order: _Order) -> int | None:
    """
    Return `divide_order_fee`, the line's part of what is paid for the goods.

    Where it is absent (not yet paid): `total_fee`, which is price x num + adjustment - the line's
    own discount, less `part_mjz_discount`, the line's part of the shop's discount.
    """
    shared = order.divide_order_fee
    if shared is not None:
        return shared
    own = order.total_fee
    spread = order.part_mjz_discount
    return None if own is None else max(0, own - (spread or 0))


def _refund(said: str | None, path: str, notices: list[Notice]) -> Refund | None:
    if said is None:
        return None
    refund = REFUNDS.get(said)
    if refund is None:
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, path, said))
    return refund


def _after_sale_word(
    refund: Json, order_id: str, fee: int | None, at: str, notices: list[Notice]
) -> Refund | None:
    """
    Return what one after-sale record says about its order.

    A trade of one line has oid = tid; only there can the record tell that all was paid back
    (`refund_fee` = `total_fee`). SUCCESS without money was an exchange or a repair.
    """
    said = _refund(word(refund, "status", at), at + "status", notices)
    if said is not Refund.REFUNDED:
        return said
    if fee == 0:
        return Refund.NONE
    total = money(refund, "total_fee", at)
    alone = number_id(refund, "oid", at) == order_id
    all_of_it = alone and fee is not None and total is not None and fee >= total
    return Refund.REFUNDED if all_of_it else Refund.PARTIALLY_REFUNDED


def _currency(attributes: Any, at: str) -> tuple[int, str]:
    """Return the currency and its digits: CNY is the platform's rule unless payCurrency is said."""
    # Any other attribute is none of ours and may be written in whatever way.
    if not attributes or (
        isinstance(attributes, str | dict | list) and "payCurrency" not in attributes
    ):
        return 2, IMPLIED_CURRENCY
    path = at + "trade_attr"
    opened = as_object(unpack(attributes, path), path)
    currency = text(opened, "payCurrency", path + ".") or IMPLIED_CURRENCY
    return digits_of(currency, path + ".payCurrency"), currency


def _digits(trade: Json, at: str) -> int:
    return _currency(trade.get("trade_attr"), at)[0]


_TRADE: Final = Reader(_Trade, _digits)


def _buyer(trade: _Trade) -> Buyer | None:
    open_id = trade.buyer_open_uid
    nick = trade.buyer_nick
    email = trade.buyer_email
    if open_id is None and nick is None and email is None:
        return None
    return Buyer(id=open_id, name=nick, email=email)


def _receiver(trade: _Trade) -> Receiver | None:
    """Return where the goods go; masks (`张**`, `*******5552`) are kept as said."""
    phone_said = trade.receiver_mobile
    receiver = Receiver(
        name=trade.receiver_name,
        phone=e164(phone_said, "CN"),
        phone_said=phone_said,
        country=trade.receiver_country,
        province=trade.receiver_state,
        city=trade.receiver_city,
        district=trade.receiver_district,
        town=trade.receiver_town,
        address=trade.receiver_address,
        postcode=trade.receiver_zip,
        group=trade.oaid,
    )
    return None if receiver == _NOBODY else receiver


_NOBODY: Final = Receiver()


def _shipments(trade: _Trade) -> tuple[Shipment, ...]:
    """Return one parcel per distinct tracking number on the lines (`invoice_no`)."""
    parcels: dict[str, Shipment] = {}
    for order in trade.orders:
        number = order.invoice_no
        if number is not None and number not in parcels:
            parcels[number] = Shipment(
                carrier=order.logistics_company,
                tracking_number=number,
                shipped_at=order.consign_time,
            )
    return tuple(parcels.values())
