"""
Generated orders in each platform's own words: bytes such as its API or webhook sends.

A template a platform, with the fields, ids, times and money that it really has: ids beyond 2^53
where it has such, Beijing time as text, seconds or an offset, yuan texts, fen numbers or decimal
texts, and totals that add up. Rendering costs a few microseconds, so that a feed keeps ahead of
what it measures.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

_BEIJING = timezone(timedelta(hours=8))
_NEW_YORK_WINTER = timezone(timedelta(hours=-5))


class Step(StrEnum):
    """One statement in the life of a generated order."""

    CREATED = "created"
    PAID = "paid"
    #: The first line has left, the others have not.
    PARCEL = "parcel"
    SHIPPED = "shipped"
    #: Closed before anybody paid.
    CANCELLED = "cancelled"
    #: Closed after payment, the money given back.
    REFUNDED = "refunded"


#: Steps that say the order was paid.
AFTER_PAYMENT = frozenset({Step.PAID, Step.PARCEL, Step.SHIPPED, Step.REFUNDED})

#: The platform's own clock: seconds after the order was created, rising along every life.
MODIFIED_AFTER_S: dict[Step, int] = {
    Step.CREATED: 0,
    Step.PAID: 40,
    Step.PARCEL: 200,
    Step.SHIPPED: 300,
    Step.CANCELLED: 60,
    Step.REFUNDED: 120,
}


class DraftLine(NamedTuple):
    """One line of a generated order. Money in minor units."""

    sku: str
    #: Number of the SKU, for the platform's own ids.
    number: int
    quantity: int
    price: int


class Draft(NamedTuple):
    """A generated order, before a platform's words are put on it."""

    platform: str
    shop: str
    id: int
    #: Seconds since 1970.
    created_s: int
    lines: tuple[DraftLine, ...]
    #: On the first line; never more than it costs.
    discount: int
    shipping: int

    @property
    def goods(self) -> int:
        """Prices times quantities."""
        return sum(line.price * line.quantity for line in self.lines)

    @property
    def total(self) -> int:
        """What the buyer pays."""
        return self.goods - self.discount + self.shipping


def render(draft: Draft, step: Step) -> bytes:
    """Return the payload by which *draft*'s platform states *step*."""
    return _RENDER[draft.platform](draft, step)


def _of_line(step: Step, nth: int) -> Step:
    """Return what a statement says of its *nth* line: a parcel takes the first alone."""
    if step is not Step.PARCEL:
        return step
    return Step.SHIPPED if nth == 1 else Step.PAID


def _at(draft: Draft, step: Step) -> int:
    return draft.created_s + MODIFIED_AFTER_S[step]


@lru_cache(10_000)
def _beijing(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, _BEIJING).strftime("%Y-%m-%d %H:%M:%S").encode()


@lru_cache(10_000)
def _offset(at_s: int) -> bytes:
    return datetime.fromtimestamp(at_s, UTC).astimezone(_NEW_YORK_WINTER).isoformat().encode()


def _yuan(minor: int) -> bytes:
    return b"%d.%02d" % divmod(minor, 100)


# --- Taobao and Tmall: taobao.trade.fullinfo.get --------------------------------------------------

_TAOBAO = (
    '{"trade_fullinfo_get_response":{"trade":{"tid":%d,"tid_str":"%d","status":"%b",'
    '"type":"fixed","title":"青柚生活馆","seller_nick":"青柚生活馆","buyer_nick":"巷口**",'
    '"buyer_open_uid":"AAH%x","created":"%b","modified":"%b","num":%d,"total_fee":"%b",'
    '"payment":"%b","post_fee":"%b","discount_fee":"%b","adjust_fee":"0.00",'
    '"received_payment":"0.00","shipping_type":"express","trade_from":"WAP,WAP",'
    '"receiver_name":"陈**","receiver_mobile":"*******4417","receiver_state":"浙江省",'
    '"receiver_city":"宁波市","receiver_district":"鄞州区","receiver_town":"下应街道",'
    '"receiver_address":"下*街道湖**路**号*幢***室","receiver_zip":"315100","oaid":"1%x"%b,'
    '"orders":{"order":[%b]}},"request_id":"%x"}}'
).encode()
_TAOBAO_LINE = (
    '{"oid":%d,"oid_str":"%d","num_iid":%d,"sku_id":"%d","title":"商品 %b","price":"%b","num":%d,'
    '"total_fee":"%b","payment":"%b","discount_fee":"0.00","adjust_fee":"0.00",'
    '"part_mjz_discount":"%b","divide_order_fee":"%b","status":"%b","refund_status":"%b",'
    '"outer_iid":"%b","outer_sku_id":"%b"}'
).encode()
_TAOBAO_STATUS = {
    Step.CREATED: b"WAIT_BUYER_PAY",
    Step.PAID: b"WAIT_SELLER_SEND_GOODS",
    Step.PARCEL: b"SELLER_CONSIGNED_PART",
    Step.SHIPPED: b"WAIT_BUYER_CONFIRM_GOODS",
    Step.CANCELLED: b"TRADE_CLOSED_BY_TAOBAO",
    Step.REFUNDED: b"TRADE_CLOSED",
}


def _taobao(draft: Draft, step: Step) -> bytes:
    status = _TAOBAO_STATUS[step]
    refund = b"SUCCESS" if step is Step.REFUNDED else b"NO_REFUND"
    lines = []
    for nth, line in enumerate(draft.lines, start=1):
        goods = line.price * line.quantity
        off = draft.discount if nth == 1 else 0
        sku, paid, oid = line.sku.encode(), _yuan(goods - off), draft.id + nth
        item = 698_000_000_000 + line.number
        its = _TAOBAO_STATUS[_of_line(step, nth)]
        lines.append(
            _TAOBAO_LINE % (
                oid, oid, item, 4_970_000_000_000 + line.number, sku, _yuan(line.price),
                line.quantity, _yuan(goods), paid, _yuan(off), paid, its, refund, sku, sku,
            )
        )  # fmt: skip
    return _TAOBAO % (
        draft.id, draft.id, status, draft.id, _beijing(draft.created_s),
        _beijing(_at(draft, step)), sum(line.quantity for line in draft.lines),
        _yuan(draft.goods), _yuan(draft.total), _yuan(draft.shipping), _yuan(draft.discount),
        draft.id, _taobao_times(draft, step), b",".join(lines), draft.id,
    )  # fmt: skip


def _taobao_times(draft: Draft, step: Step) -> bytes:
    said = b""
    if step in AFTER_PAYMENT:
        said += b',"pay_time":"%b"' % _beijing(_at(draft, Step.PAID))
    if step is Step.SHIPPED:
        said += b',"consign_time":"%b"' % _beijing(_at(draft, step))
    if step in (Step.CANCELLED, Step.REFUNDED):
        said += b',"end_time":"%b"' % _beijing(_at(draft, step))
    return said


# --- Douyin: order.orderDetail --------------------------------------------------------------------

_DOUYIN = (
    '{"code":10000,"msg":"success","sub_code":"","sub_msg":"","log_id":"20%x","data":'
    '{"shop_order_detail":{"order_id":"%d","shop_id":41870265,"shop_name":"山脚下的杂货铺",'
    '"open_id":"","doudian_open_id":"1@#%x","order_level":2,"biz":2,"biz_desc":"小店",'
    '"order_type":0,"trade_type":0,"order_status":%d,"main_status":%d,"pay_type":%d,'
    '"create_time":%d,"pay_time":%d,"update_time":%d,"finish_time":0,"ship_time":%d,'
    '"order_expire_time":1800,"cancel_reason":"%b","order_amount":%d,"pay_amount":%d,'
    '"post_amount":%d,"promotion_amount":%d,"promotion_shop_amount":%d,'
    '"promotion_platform_amount":0,"promotion_pay_amount":0,"tax_amount":0,"modify_amount":0,'
    '"encrypt_post_receiver":"##%x#1##","encrypt_post_tel":"$$%x$1$$",'
    '"mask_post_receiver":"林***","mask_post_tel":"1********47","post_addr":{"province":'
    '{"name":"云南省","id":"53"},"city":{"name":"昆明市","id":"530100"},"town":{"name":"五华区",'
    '"id":"530102"},"street":{"name":"华山街道","id":"530102001"},"encrypt_detail":"##%x#1##"},'
    '"open_address_id":"#%x#1","logistics_info":[],"promotion_detail":{},"sku_order_list":[%b]}}}'
).encode()
_DOUYIN_LINE = (
    '{"order_id":"%d","parent_order_id":"%d","order_level":3,"order_status":%d,"main_status":%d,'
    '"product_id":%d,"product_id_str":"%d","sku_id":%d,"out_sku_id":"","out_product_id":"0",'
    '"code":"%b","product_name":"商品 %b","spec":[],"goods_type":0,"origin_amount":%d,'
    '"item_num":%d,"sum_amount":%d,"order_amount":%d,"pay_amount":%d,"post_amount":0,'
    '"promotion_amount":%d,"promotion_shop_amount":%d,"promotion_platform_amount":0,'
    '"promotion_talent_amount":0,"promotion_pay_amount":0,"modify_amount":0,"tax_amount":0,'
    '"create_time":%d,"pay_time":%d,"update_time":%d,"after_sale_info":{"after_sale_status":%d,'
    '"after_sale_type":%d,"refund_status":%d}}'
).encode()
#: order_status, main_status.
_DOUYIN_STATUS = {
    Step.CREATED: (1, 1),
    Step.PAID: (2, 2),
    Step.PARCEL: (101, 101),
    Step.SHIPPED: (3, 3),
    Step.CANCELLED: (4, 4),
    Step.REFUNDED: (4, 21),
}


def _douyin(draft: Draft, step: Step) -> bytes:
    status, main = _DOUYIN_STATUS[step]
    paid = step in AFTER_PAYMENT
    pay_time, modified = (_at(draft, Step.PAID) if paid else 0), _at(draft, step)
    # Refunded before shipping (type 2), done (12), the money is back (3).
    after_sale = (12, 2, 3) if step is Step.REFUNDED else (0, 0, 0)
    lines = []
    for nth, line in enumerate(draft.lines, start=1):
        goods = line.price * line.quantity
        off = draft.discount if nth == 1 else 0
        sku, product = line.sku.encode(), 3_690_000_000_000_000_000 + line.number
        its = _DOUYIN_STATUS[_of_line(step, nth)]
        lines.append(
            _DOUYIN_LINE % (
                draft.id + nth, draft.id, *its, product, product,
                1_788_200_000_000_000_000 + line.number, sku, sku, line.price, line.quantity,
                goods, goods, goods - off, off, off, draft.created_s, pay_time, modified,
                *after_sale,
            )
        )  # fmt: skip
    return _DOUYIN % (
        draft.id, draft.id, draft.id, status, main, 1 if paid else 0, draft.created_s, pay_time,
        modified, modified if step is Step.SHIPPED else 0,
        "不想要了".encode() if status == 4 else b"", draft.goods, draft.total, draft.shipping,
        draft.discount, draft.discount, draft.id, draft.id, draft.id, draft.id, b",".join(lines),
    )  # fmt: skip


# --- Shopify: the body of an orders/* webhook -----------------------------------------------------

_SHOPIFY = (
    b'{"id":%d,"admin_graphql_api_id":"gid://shopify/Order/%d","cancel_reason":%b,'
    b'"cancelled_at":%b,"closed_at":null,"confirmed":true,"contact_email":"buyer%d@example.com",'
    b'"created_at":"%b","currency":"USD","email":"buyer%d@example.com","financial_status":"%b",'
    b'"fulfillment_status":%b,"name":"#%d","note":null,"number":%d,"payment_gateway_names":[%b],'
    b'"phone":"+12025550123","presentment_currency":"USD","processed_at":"%b",'
    b'"subtotal_price":"%b","taxes_included":false,"test":false,"total_discounts":"%b",'
    b'"total_line_items_price":"%b","total_price":"%b","total_shipping_price_set":%b,'
    b'"total_tax":"0.00","updated_at":"%b","customer":{"id":%d,"email":"buyer%d@example.com",'
    b'"first_name":"Bob","last_name":"Norman","phone":"+12025550123"},"discount_applications":[],'
    b'"fulfillments":%b,"line_items":[%b],"refunds":%b,"shipping_address":{"first_name":"Bob",'
    b'"last_name":"Norman","name":"Bob Norman","address1":"Chestnut Street 92","address2":"",'
    b'"city":"Louisville","province":"Kentucky","province_code":"KY","country":"United States",'
    b'"country_code":"US","zip":"40202","phone":"+12025550123"},"shipping_lines":[%b],'
    b'"tax_lines":[]}'
)
_SHOPIFY_LINE = (
    b'{"id":%d,"admin_graphql_api_id":"gid://shopify/LineItem/%d","current_quantity":%d,'
    b'"fulfillable_quantity":%d,"fulfillment_status":%b,"name":"Product %b","price":"%b",'
    b'"price_set":%b,"product_id":%d,"quantity":%d,"requires_shipping":true,"sku":"%b",'
    b'"taxable":true,"title":"Product %b","total_discount":"0.00","variant_id":%d,'
    b'"tax_lines":[],"discount_allocations":[%b]}'
)
_SHOPIFY_SHIPPING = (
    b'{"id":%d,"code":"Standard","title":"Standard","price":"%b","discounted_price":"%b",'
    b'"price_set":%b,"tax_lines":[],"discount_allocations":[]}'
)
_SHOPIFY_FULFILLMENT = (
    b'[{"id":%d,"order_id":%d,"status":"success","created_at":"%b","updated_at":"%b",'
    b'"tracking_company":"UPS","tracking_number":"1Z%d","shipment_status":null,"line_items":[]}]'
)
_SHOPIFY_REFUND = (
    b'[{"id":%d,"order_id":%d,"created_at":"%b","note":null,"refund_line_items":[],'
    b'"transactions":[{"id":%d,"order_id":%d,"kind":"refund","status":"success","amount":"%b",'
    b'"currency":"USD"}],"order_adjustments":[]}]'
)
_SHOPIFY_FINANCIAL = {
    Step.CREATED: b"pending",
    Step.PAID: b"paid",
    Step.PARCEL: b"paid",
    Step.SHIPPED: b"paid",
    Step.CANCELLED: b"voided",
    Step.REFUNDED: b"refunded",
}


_SHOPIFY_FULFILLED = {Step.SHIPPED: b'"fulfilled"', Step.PARCEL: b'"partial"'}


def _usd(minor: int) -> bytes:
    amount = _yuan(minor)
    return (
        b'{"shop_money":{"amount":"%b","currency_code":"USD"},'
        b'"presentment_money":{"amount":"%b","currency_code":"USD"}}' % (amount, amount)
    )


def _shopify(draft: Draft, step: Step) -> bytes:
    id_, modified = draft.id, _offset(_at(draft, step))
    closed = step in (Step.CANCELLED, Step.REFUNDED)
    shipped = step is Step.SHIPPED
    fulfilled = _SHOPIFY_FULFILLED.get(step, b"null")
    fulfillments = (
        _SHOPIFY_FULFILLMENT % (id_ + 1, id_, modified, modified, id_) if shipped else b"[]"
    )
    refunds = (
        _SHOPIFY_REFUND % (id_ + 2, id_, modified, id_ + 3, id_, _yuan(draft.total))
        if step is Step.REFUNDED
        else b"[]"
    )
    shipping = _yuan(draft.shipping)
    shipping_line = (
        _SHOPIFY_SHIPPING % (id_ + 4, shipping, shipping, _usd(draft.shipping))
        if draft.shipping
        else b""
    )
    number = 1_000 + id_ % 1_000_000
    lines = b",".join(
        _shopify_line(draft, nth, _SHOPIFY_FULFILLED.get(_of_line(step, nth + 1), b"null"))
        for nth in range(len(draft.lines))
    )
    return _SHOPIFY % (
        id_, id_, b'"customer"' if closed else b"null", b'"%b"' % modified if closed else b"null",
        number, _offset(draft.created_s), number, _SHOPIFY_FINANCIAL[step], fulfilled, number,
        number, b'"bogus"' if step in AFTER_PAYMENT else b"", _offset(draft.created_s),
        _yuan(draft.goods - draft.discount), _yuan(draft.discount), _yuan(draft.goods),
        _yuan(draft.total), _usd(draft.shipping), modified, 207_119_000 + number, number,
        fulfillments, lines, refunds, shipping_line,
    )  # fmt: skip


def _shopify_line(draft: Draft, nth: int, fulfilled: bytes) -> bytes:
    line, id_ = draft.lines[nth], draft.id * 4 + nth
    off = draft.discount if nth == 0 else 0
    allocated = (
        b'{"amount":"%b","amount_set":%b,"discount_application_index":0}' % (_yuan(off), _usd(off))
        if off
        else b""
    )
    sku, open_units = line.sku.encode(), line.quantity if fulfilled == b"null" else 0
    return _SHOPIFY_LINE % (
        id_, id_, line.quantity, open_units, fulfilled, sku, _yuan(line.price), _usd(line.price),
        921_000_000 + line.number, line.quantity, sku, sku, 447_000_000 + line.number, allocated,
    )  # fmt: skip


_RENDER: dict[str, Callable[[Draft, Step], bytes]] = {
    "taobao": _taobao,
    "tmall": _taobao,
    "douyin": _douyin,
    "shopify": _shopify,
}
#: Platforms whose words this module speaks.
GENERATED = tuple(_RENDER)
