"""
Pinduoduo (拼多多): order details and lists, after-sale lists, and the thin messages of PMC.

Reads order.information.get, the order lists and their increments, order.status.get,
refund.list.increment.get and decoded WebSocket frames, of today's shape and that of 2018. Facts
come from the official documents; these decide most of this module:

- No field has the status: it is the combination of confirm, group, order and refund status, risk
  review, pre-sale step and gift.
- Order money is a JSON number of yuan, that of after-sale lists a text of yuan, and that of a
  refund message an integer of fen.
- Times are Beijing's, "" is null; those in messages are unix milliseconds.
- A discount stands on the order, never on its line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from schemas.base import Moment
from schemas.errors import MalformedPayload
from schemas.orders import (
    Line,
    Notice,
    NoticeCode,
    Receiver,
    Refund,
    Shipment,
    Statement,
    Status,
)
from streams.adapters.amounts import believed, discount_between, refund_of_sales, settle_refund
from streams.adapters.answers import text_id, things
from streams.adapters.phones import e164
from streams.adapters.reading import (
    BEIJING,
    Json,
    MoneyUnit,
    as_object,
    beijing,
    code,
    decode,
    latest,
    lines_of,
    members,
    money,
    objects,
    only_match,
    quantity,
    text,
    the_code,
    unix_ms,
    unpack,
    word,
)

#: order_status, where nothing else holds the order back. 0 is "abnormal": it has to be fetched
#: again.
STATUSES: Final = MappingProxyType({
    "1": Status.PAID,
    "2": Status.SHIPPED,
    "3": Status.COMPLETED,  # signed: the platform has one end
})  # fmt: skip
_TO_SHIP: Final = "1"

_CONFIRM_OPEN: Final = "0"
_CONFIRM_CANCELLED: Final = "2"
_GROUP_FORMING: Final = "0"
_GROUP_FAILED: Final = "2"
_IN_REVIEW: Final = "1"
_DEPOSIT_TRADE: Final = "1"
_DEPOSIT_ONLY: Final = frozenset({"0", "1"})
_GIFT_TO_CREATE: Final = "0"
_MONEY_BACK: Final = "4"

#: The words that make the status together, and those of them that are known.
_COMBINED: Final = MappingProxyType({
    "order_status": frozenset(STATUSES),
    "confirm_status": frozenset({"0", "1", "2"}),
    "group_status": frozenset({"0", "1", "2"}),
    "risk_control_status": frozenset({"0", "1"}),
})  # fmt: skip

#: after_sales_status; REFUNDED is settled by amount.
REFUNDS: Final = MappingProxyType({
    "0": Refund.NONE,
    **dict.fromkeys(("2", "3", "4", "5", "7", "8", "14", "15", "18", "31", "32", "33"),
                    Refund.REFUNDING),
    **dict.fromkeys(("6", "9"), Refund.REJECTED),
    "10": Refund.REFUNDED,
    **dict.fromkeys(("11", "12", "13", "17"), Refund.NONE),
    # Exchanged, resent or repaired: no money goes back.
    **dict.fromkeys(("16", "21", "22", "24", "25", "27"), Refund.NONE),
})  # fmt: skip

#: refund_status of an order, the coarser word.
ORDER_REFUNDS: Final = MappingProxyType({
    "1": Refund.NONE,  # none, or closed
    "2": Refund.REFUNDING,
    "3": Refund.REFUNDING,
    _MONEY_BACK: Refund.REFUNDED,
})  # fmt: skip

#: PMC types of refunds that are themselves a word about the refund.
TYPE_REFUNDS: Final = MappingProxyType({
    "pdd_refund_RefundCreated": Refund.REFUNDING,
    "pdd_refund_RefundAgreeAgreement": Refund.REFUNDING,
    "pdd_refund_RefundBuyerModifyAgreement": Refund.REFUNDING,
    "pdd_refund_RefundBuyerReturnGoods": Refund.REFUNDING,
    "pdd_refund_RefundClosed": Refund.NONE,
})  # fmt: skip

#: The platform's rule; no payload names it.
IMPLIED_CURRENCY: Final = "CNY"

ORDER_ID: Final = re.compile(r"[0-9]{6}-[0-9]{1,20}")
_order_id_of = only_match(
    re.compile(rb'"(?:order_sn|orderSn|tid)\\?"\s*:\s*\\?"([0-9]{6}-[0-9]{1,20})')
)

#: What answers wrap their orders and after-sales in, in plain spelling.
_LAYERS: Final = frozenset({
    "orderinfo", "orderlist", "ordersnlist", "orderstatuslist", "refundlist", "refundinfo", "data",
})  # fmt: skip
#: commandType of frames that are about the connection; the `message` of a failure is plain words.
_NO_MESSAGE: Final = ("Ack", "HeartBeat", "Fail")
#: What gives a frame, a message or an order away.
_MARKS: Final = frozenset({"commandType", "content", "order_sn", "orderSn"})


@dataclass(frozen=True, slots=True)
class Pdd:
    """The adapter of Pinduoduo."""

    platform: str = "pdd"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = BEIJING
    money: ClassVar[MoneyUnit] = MoneyUnit.DECIMAL_NUMBER
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = True

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, and one per order's after-sales."""
        said: list[Statement] = []
        sales: dict[str, list[tuple[str, Json]]] = {}
        for at, part in things(decode(payload), _LAYERS, _MARKS):
            if "commandType" in part or "content" in part:
                said += self._frame(part, shop, at)
            elif _is_after_sale(part):
                sales.setdefault(_order_id(part, at), []).append((at, part))
            elif _ORDER_FIELDS & part.keys():
                said.append(self._order(part, shop, at))
            else:
                raise MalformedPayload(at + "payload", "holds no order, after-sale or message")
        said += [self._after_sale(order_id, found, shop) for order_id, found in sales.items()]
        return said

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id in the raw bytes, or None where there is none or more than one."""
        return _order_id_of(payload)

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of order.information.get, or the few words of order.status.get."""
        notices: list[Notice] = []
        paid_at = beijing(order, "pay_time", at)
        status, said = _status(order, paid_at, at, notices)
        lines = tuple(_lines(order, at, notices))
        total = money(order, "pay_amount", at)
        shipping = money(order, "postage", at)
        shipped_at = beijing(order, "shipping_time", at)
        received_at = beijing(order, "receive_time", at)
        created_at = beijing(order, "created_time", at)
        updated_at = beijing(order, "updated_at", at)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=_order_id(order, at),
            status=status,
            status_said=said,
            refund=_refund(order, paid_at, at, notices),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            completed_at=received_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(received_at, shipped_at, paid_at, created_at),
            currency=IMPLIED_CURRENCY if lines else None,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, None, total),
            paid=total if paid_at is not None else None,
            lines=lines,
            receiver=_receiver(order, at),
            shipments=_shipments(order, shipped_at, at),
            payment_method=text(order, "pay_type", at),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _after_sale(self, order_id: str, found: list[tuple[str, Json]], shop: str) -> Statement:
        """Return what the after-sales of one order say together."""
        notices: list[Notice] = []
        words: list[Refund | None] = []
        refunded = 0
        stated_ms = 0
        for at, sale in found:
            amount = money(sale, "refund_amount", at)
            said = _word(sale, "after_sales_status", REFUNDS, at, notices)
            if said is Refund.REFUNDED:
                refunded += amount or 0
                said = settle_refund(said, amount, money(sale, "order_amount", at))
            words.append(said)
            moment = beijing(sale, "updated_time", at) or beijing(sale, "created_time", at)
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

    def _frame(self, frame: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a PMC frame says; heartbeats and messages about no order say nothing."""
        if frame.get("commandType") in _NO_MESSAGE:
            return
        message, place = frame, at
        if "content" not in frame:
            if frame.get("message") is None:
                return
            place = at + "message"
            message = as_object(unpack(frame["message"], place), place)
            place += "."
        kind = text(message, "type", place) or ""
        if not kind.startswith(("pdd_trade_", "pdd_refund_")):
            return
        path = place + "content"
        content = as_object(unpack(message.get("content"), path), path)
        moment = unix_ms(content, "modified", path + ".") or unix_ms(frame, "time", at)
        yield Statement(
            platform=self.platform,
            shop=shop,
            order_id=text_id(content, "tid", path + ".", ORDER_ID),
            refund=TYPE_REFUNDS.get(kind),
            stated_ms=latest(moment),
            notices=(Notice(NoticeCode.THIN, place + "type", kind),),
        )


#: Any of these makes it an order, if only to say which one is missing.
_ORDER_FIELDS: Final = frozenset({"order_sn", "orderSn", "order_status", "item_list"})


def _is_after_sale(part: Json) -> bool:
    return "refund_amount" in part and "item_list" not in part


def _order_id(part: Json, at: str) -> str:
    """Return the order's id; the status list really spells it `orderSn`."""
    return text_id(part, "orderSn" if "orderSn" in part else "order_sn", at, ORDER_ID)


def _word(
    source: Json, key: str, words: Mapping[str, Refund], at: str, notices: list[Notice]
) -> Refund | None:
    native = word(source, key, at)
    if native is not None and native not in words:
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + key, native))
    return words.get(native or "")


# --- status ---------------------------------------------------------------------------------------


def _status(
    order: Json, paid_at: Moment | None, at: str, notices: list[Notice]
) -> tuple[Status | None, str | None]:
    """Return the status and the words that made it, in the order of `_COMBINED`."""
    words = {key: word(order, key, at) for key in _COMBINED}
    said = "/".join(f"{native}" for native in words.values() if native is not None) or None
    if said is None:
        return None, None
    closed = _closed(words)
    if closed is not None:
        return closed, said
    unknown = [key for key, native in words.items() if native not in {None, *_COMBINED[key]}]
    if unknown:
        notices += [
            Notice(NoticeCode.UNKNOWN_STATUS, at + key, words[key] or "") for key in unknown
        ]
        return Status.UNKNOWN, said
    return _open_status(order, words, paid_at, at), said


def _closed(words: Mapping[str, str | None]) -> Status | None:
    """Return CANCELLED for what was cancelled or whose group failed; it has no order_status."""
    cancelled = words["confirm_status"] == _CONFIRM_CANCELLED
    return Status.CANCELLED if cancelled or words["group_status"] == _GROUP_FAILED else None


def _open_status(
    order: Json, words: Mapping[str, str | None], paid_at: Moment | None, at: str
) -> Status | None:
    if words["confirm_status"] == _CONFIRM_OPEN:
        # Paid, and the group is not complete: it may not ship and may still be paid back.
        waiting = paid_at is not None and words["group_status"] == _GROUP_FORMING
        return Status.ON_HOLD if waiting else Status.PENDING_PAYMENT
    native = words["order_status"]
    if native is None:
        return None
    if native != _TO_SHIP:
        return STATUSES[native]
    return _held_back(order, words["risk_control_status"], at) or Status.PAID


def _held_back(order: Json, risk: str | None, at: str) -> Status | None:
    """Return what an order to ship is instead, where something holds it back."""
    if word(order, "refund_status", at) == _MONEY_BACK:
        return Status.CANCELLED
    if risk == _IN_REVIEW:
        return Status.ON_HOLD
    deposit = word(order, "trade_type", at) == _DEPOSIT_TRADE
    if deposit and word(order, "step_trade_status", at) in _DEPOSIT_ONLY:
        return Status.PENDING_PAYMENT
    if members(order, "gift_list", at) and word(order, "gift_order_status", at) == _GIFT_TO_CREATE:
        return Status.ON_HOLD
    return None


def _refund(order: Json, paid_at: Moment | None, at: str, notices: list[Notice]) -> Refund | None:
    """Return what became of the money: the after-sale's word is finer than the order's."""
    coarse = _word(order, "refund_status", ORDER_REFUNDS, at, notices)
    fine = _word(order, "after_sales_status", REFUNDS, at, notices)
    closed = _closed({key: word(order, key, at) for key in _COMBINED})
    if closed is not None:
        return _refund_of_closed(coarse, paid_at)
    if any(notice.code is NoticeCode.UNKNOWN_REFUND_STATUS for notice in notices):
        return None
    if coarse is Refund.REFUNDED or fine in (None, Refund.NONE):
        return fine if coarse is None else coarse
    return fine


def _refund_of_closed(coarse: Refund | None, paid_at: Moment | None) -> Refund | None:
    """Return the refund of an order that was closed: what was paid goes back."""
    if paid_at is not None:
        return Refund.REFUNDED
    return coarse or Refund.NONE


# --- the rest of an order -------------------------------------------------------------------------


def _lines(order: Json, at: str, notices: list[Notice]) -> Iterator[Line]:
    """Return the order's lines; the status list has none and only announces the order."""
    if "item_list" not in order and "pay_amount" not in order:
        notices.append(
            Notice(NoticeCode.THIN, at + "order_status", word(order, "order_status", at) or "")
        )
        return
    lines_of(members(order, "item_list", at), at + "item_list")
    for place, item in objects(order, "item_list", at):
        yield _line(item, place, notices)


def _line(item: Json, at: str, notices: list[Notice]) -> Line:
    merchant_sku = code(item, "outer_id", at) or code(item, "outer_goods_id", at)
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, at + "outer_id", ""))
    count = quantity(item, "goods_count", at)
    price = money(item, "goods_price", at)
    platform_sku = code(item, "sku_id", at) or code(item, "goods_id", at)
    return Line(
        line_id=platform_sku or the_code(item, "sku_id", at),
        quantity=count,
        platform_sku=platform_sku,
        merchant_sku=merchant_sku,
        title=text(item, "goods_name", at),
        unit_price=price,
        line_total=None if price is None else price * count,
    )


def _receiver(order: Json, at: str) -> Receiver | None:
    """Return where the goods go; its `town` is our district, and after shipping only masks stay."""
    phone_said = text(order, "receiver_phone", at) or text(order, "receiver_phone_mask", at)
    address = text(order, "receiver_address", at) or text(order, "address", at)
    receiver = Receiver(
        name=text(order, "receiver_name", at) or text(order, "receiver_name_mask", at),
        phone=e164(phone_said, "CN"),
        phone_said=phone_said,
        country=text(order, "country", at),
        province=text(order, "province", at),
        city=text(order, "city", at),
        district=text(order, "town", at),
        address=address or text(order, "receiver_address_mask", at),
        group=text(order, "open_address_id", at),
    )
    return None if receiver == _NOBODY else receiver


_NOBODY: Final = Receiver()


def _shipments(order: Json, shipped_at: Moment | None, at: str) -> tuple[Shipment, ...]:
    number = code(order, "tracking_number", at)
    if number is None:
        return ()
    carrier = code(order, "logistics_id", at)
    return (Shipment(carrier=carrier, tracking_number=number, shipped_at=shipped_at),)
