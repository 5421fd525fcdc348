"""
Kuaishou Shop (快手小店): order details, pages of them, and decrypted push messages.

Reads open.order.detail (`data.orderBaseInfo`, `data.orderItemInfo`), pages of such orders and the
plain text of a push, whose `info` is JSON in a text. A push arrives encrypted with the shop's
message secret, and an adapter has none: it reads what was decrypted, or an envelope in which the
receiver has put the secret beside the body (`{secret, body}`). The field names of the detail come
from integrations; these decide most of this module:

- Money is an integer of fen, times are unix milliseconds and 0 is null; there is no currency field,
  the platform's rule is CNY.
- The outer `status` of a push is the message's own; the order's is inside `info`.
- 80 is the end of an order that was cancelled and of one that was paid back: `payTime` tells.
- A line has no id of its own: its skuId is.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from schemas.base import Moment
from schemas.errors import MalformedPayload, Rejected
from schemas.orders import (
    Buyer,
    Line,
    Notice,
    NoticeCode,
    Receiver,
    Refund,
    Statement,
    Status,
)
from streams.adapters.amounts import believed, discount_between, refund_of_sales
from streams.adapters.answers import things
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
    objects,
    only_match,
    quantity,
    text,
    the_code,
    the_number_id,
    unix_ms,
    unpack,
    within,
    word,
)

#: A message secret is the key of AES-128.
_KEY_BYTES: Final = 16

#: The order's status.
STATUSES: Final = MappingProxyType({
    "10": Status.PENDING_PAYMENT,
    "30": Status.PAID,
    "40": Status.SHIPPED,
    "50": Status.DELIVERED,
    "70": Status.COMPLETED,
    "80": Status.CANCELLED,
})  # fmt: skip
_FAILED: Final = "80"

#: The after-sale's status; REFUNDED is settled by amount.
REFUNDS: Final = MappingProxyType({
    "10": Refund.REFUNDING,  # asked for
    "12": Refund.REJECTED,
    "20": Refund.REFUNDING,  # disputed
    "30": Refund.REFUNDING,  # agreed, goods to be sent back
    "40": Refund.REFUNDING,  # goods on their way back
    "45": Refund.REFUNDING,
    "50": Refund.REFUNDING,  # being paid back
    "60": Refund.REFUNDED,
    "70": Refund.NONE,  # failed or withdrawn
})  # fmt: skip

#: Events that are themselves a word about the refund, used where the message has no status.
EVENT_REFUNDS: Final = MappingProxyType({"kwaishop_aftersales_addRefund": Refund.REFUNDING})
_ORDER_EVENT: Final = "kwaishop_order_"
#: Its `createTime` is the order's.
_CREATED: Final = "kwaishop_order_addOrder"
_AFTER_SALE_EVENT: Final = "kwaishop_aftersales_"

#: The platform's rule; no payload names it.
IMPLIED_CURRENCY: Final = "CNY"
_SUCCESS: Final = "1"

_order_id_of = only_match(re.compile(rb'"oid\\?"\s*:\s*\\?"?([0-9]{1,20})'))

#: What answers wrap their orders in, in plain spelling.
_LAYERS: Final = frozenset({"data", "orderinfolist", "orderlist", "orderinfo", "list"})
#: What gives a message or an order away.
_MARKS: Final = frozenset({"event", "orderBaseInfo", "oid"})
_ITEMS: Final = ("orderItemInfo", "orderItemInfoList", "orderItemList", "orderProductInfoList")


@dataclass(frozen=True, slots=True)
class Kuaishou:
    """The adapter of Kuaishou Shop."""

    platform: str = "kuaishou"
    version: ClassVar[int] = 1
    zone: ClassVar[str] = UTC
    money: ClassVar[MoneyUnit] = MoneyUnit.FEN
    statuses: ClassVar[Mapping[str, Status]] = STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* says: one statement per order, or per message of a push."""
        body = _decrypted(decode(payload))
        if isinstance(body, dict):
            _refuse_errors(body)
        said: list[Statement] = []
        for at, part in things(body, _LAYERS, _MARKS):
            if "event" in part:
                said += self._message(part, shop, at)
            elif part.keys() & {"orderBaseInfo", "oid", *_ITEMS}:
                said.append(self._order(part, shop, at))
            else:
                raise MalformedPayload(at + "payload", "holds no order and no push message")
        return said

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id in the raw bytes, or None where there is none or more than one."""
        if b'"secret"' not in payload:
            return _order_id_of(payload)
        try:
            return _order_id_of(orjson.dumps(_decrypted(decode(payload))))
        except Rejected:
            return None

    def _order(self, order: Json, shop: str, at: str) -> Statement:
        """Return the order of open.order.detail; older answers have its base fields on top."""
        base, place = _base(order, at)
        notices: list[Notice] = []
        status, native = _status(base, place, notices)
        paid_at = unix_ms(base, "payTime", place)
        lines = tuple(_lines(order, at, notices))
        total = fen(base, "totalFee", place)
        shipping = fen(base, "expressFee", place)
        created_at = unix_ms(base, "createTime", place)
        shipped_at = unix_ms(base, "sendTime", place)
        ended_at = unix_ms(base, "finishTime", place)
        updated_at = unix_ms(base, "updateTime", place)
        statement = Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(base, "oid", place),
            status=status,
            status_said=native,
            refund=_refund(order, native, paid_at, at, notices),
            created_at=created_at,
            paid_at=paid_at,
            shipped_at=shipped_at,
            completed_at=ended_at if status is Status.COMPLETED else None,
            updated_at=updated_at,
            stated_ms=latest(updated_at) or latest(ended_at, shipped_at, paid_at, created_at),
            currency=IMPLIED_CURRENCY,
            total=total,
            shipping=shipping,
            discount=discount_between(lines, shipping, None, total),
            paid=total if paid_at is not None else None,
            lines=lines,
            buyer=_buyer(base, place),
            receiver=_receiver(within(order, "orderAddress", at), at + "orderAddress."),
            notices=tuple(notices),
        )
        return believed(statement, at)

    def _message(self, message: Json, shop: str, at: str) -> Iterator[Statement]:
        """Return what a push says; events about no order say nothing."""
        event = text(message, "event", at) or ""
        if not event.startswith((_ORDER_EVENT, _AFTER_SALE_EVENT)):
            return
        path = at + "info"
        info = as_object(unpack(message.get("info"), path), path)
        place = path + "."
        notices = [Notice(NoticeCode.THIN, at + "event", event)]
        status, native, refund = None, None, EVENT_REFUNDS.get(event)
        if event.startswith(_ORDER_EVENT):
            status, native = _status(info, place, notices)
        elif word(info, "status", place) is not None:
            refund = _refund_word(info, "status", place, notices)
        moment = (
            unix_ms(info, "updateTime", place)
            or unix_ms(info, "createTime", place)
            or unix_ms(message, "createTime", at)
        )
        yield Statement(
            platform=self.platform,
            shop=shop,
            order_id=the_number_id(info, "oid", place),
            status=status,
            status_said=native,
            refund=refund,
            created_at=unix_ms(info, "createTime", place) if event == _CREATED else None,
            stated_ms=latest(moment),
            notices=tuple(notices),
        )


def _decrypted(body: Any) -> Any:
    """Return the message in an envelope of secret and body (base64 both); else *body* itself."""
    if not isinstance(body, dict) or not body.keys() >= {"secret", "body"}:
        return body
    secret, sealed = _bytes(body, "secret"), _bytes(body, "body")
    if len(secret) != _KEY_BYTES:
        raise MalformedPayload("secret", f"has {len(secret)} bytes, not {_KEY_BYTES}")
    try:
        return orjson.loads(_opened(sealed, secret))
    except ValueError as error:
        raise MalformedPayload("body", f"cannot be decrypted: {error}") from error


def _opened(sealed: bytes, secret: bytes) -> bytes:
    """Return what AES-128-CBC with a start of zeros and PKCS#7 padding made *sealed* of."""
    opening = Cipher(AES(secret), CBC(bytes(_KEY_BYTES))).decryptor()
    unpadding = PKCS7(AES.block_size).unpadder()
    plain = opening.update(sealed) + opening.finalize()
    return unpadding.update(plain) + unpadding.finalize()


def _bytes(body: Json, key: str) -> bytes:
    value = body[key]
    try:
        return b64decode(value if isinstance(value, str) else "?", validate=True)
    except ValueError as error:
        raise MalformedPayload(key, "not a text in base64") from error


def _base(order: Json, at: str) -> tuple[Json, str]:
    if "orderBaseInfo" not in order:
        return order, at
    path = at + "orderBaseInfo"
    return as_object(order["orderBaseInfo"], path), path + "."


def _refuse_errors(body: Json) -> None:
    said = word(body, "result", "")
    if said not in (None, _SUCCESS) and not body.get("data"):
        raise MalformedPayload("result", f"the platform answered {said}, not an order")


def _status(source: Json, at: str, notices: list[Notice]) -> tuple[Status | None, str | None]:
    native = word(source, "status", at)
    if native is None:
        return None, None
    status = STATUSES.get(native)
    if status is None:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + "status", native))
    return status or Status.UNKNOWN, native


def _refund_word(source: Json, key: str, at: str, notices: list[Notice]) -> Refund | None:
    native = word(source, key, at)
    if native is not None and native not in REFUNDS:
        notices.append(Notice(NoticeCode.UNKNOWN_REFUND_STATUS, at + key, native))
    return REFUNDS.get(native or "")


def _refund(
    order: Json, native: str | None, paid_at: Moment | None, at: str, notices: list[Notice]
) -> Refund | None:
    """Return what became of the money: of an order that failed unpaid, nothing."""
    words = [
        _refund_word(sale, "refundStatus" if "refundStatus" in sale else "status", place, notices)
        for place, sale in objects(order, "orderRefundList", at)
    ]
    if native == _FAILED:
        return Refund.NONE if paid_at is None else Refund.REFUNDED
    if words:
        return refund_of_sales(words)
    # An empty list says that there was none; an answer without the list cannot tell.
    return None if order.get("orderRefundList") is None else Refund.NONE


def _lines(order: Json, at: str, notices: list[Notice]) -> Iterator[Line]:
    """Return the order's lines: an object where there is one, a list in pages and older answers."""
    key = next((name for name in _ITEMS if order.get(name) is not None), _ITEMS[0])
    value = order.get(key)
    if isinstance(value, dict):
        yield _line(value, f"{at}{key}.", notices)
        return
    found = objects(order, key, at)
    lines_of(found, at + key)
    for place, item in found:
        yield _line(item, place, notices)


def _line(item: Json, at: str, notices: list[Notice]) -> Line:
    merchant_sku = code(item, "skuNick", at)
    if merchant_sku is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, at + "skuNick", ""))
    count = quantity(item, "num", at)
    price = fen(item, "price", at)
    if price is None:
        price = fen(item, "originalPrice", at)
    discount = fen(item, "discountFee", at) or 0
    platform_sku = code(item, "skuId", at) or code(item, "itemId", at)
    return Line(
        line_id=platform_sku or the_code(item, "skuId", at),
        quantity=count,
        platform_sku=platform_sku,
        merchant_sku=merchant_sku,
        title=text(item, "itemTitle", at),
        unit_price=price,
        line_total=None if price is None else max(0, price * count - discount),
    )


def _buyer(base: Json, at: str) -> Buyer | None:
    open_id = text(base, "buyerOpenId", at)
    return None if open_id is None else Buyer(id=open_id)


def _receiver(address: Json, at: str) -> Receiver | None:
    """Return where the goods go; masks are kept as said, ciphertext where there is nothing else."""
    phone_said = text(address, "mobile", at) or text(address, "desensitiseMobile", at)
    detail = text(address, "address", at) or text(address, "desensitiseAddress", at)
    receiver = Receiver(
        name=text(address, "consignee", at) or text(address, "desensitiseConsignee", at),
        phone=e164(phone_said, "CN"),
        phone_said=phone_said or text(address, "encryptedMobile", at),
        province=text(address, "province", at),
        city=text(address, "city", at),
        district=text(address, "district", at),
        town=text(address, "town", at),
        address=detail or text(address, "encryptedAddress", at),
    )
    return None if receiver == _NOBODY else receiver


_NOBODY: Final = Receiver()
