"""What cannot be right is refused, and the refusal names the field. Nothing else escapes."""

import json
from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload, Rejected, UndecodableMessage, UnknownPlatform
from streams.adapters import ADAPTERS, adapter_for
from tests.adapters.samples import DROP, order, parse, put, read

_DEEP = b"[" * 10_000 + b"]" * 10_000

NOT_JSON = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="cut off"),
    pytest.param(b'{"tid": 1,}', id="trailing comma"),
    pytest.param(b'{"tid": NaN}', id="NaN literal"),
    pytest.param(b'{"tid": Infinity}', id="Infinity literal"),
    pytest.param(b'{"tid": 1e400}', id="number beyond all bounds"),
    pytest.param(b'{"tid": "\xff"}', id="not UTF-8"),
    pytest.param("订单".encode("gbk"), id="GBK"),
    pytest.param(_DEEP, id="nested 10,000 deep"),
    pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="objects 10,000 deep"),
    pytest.param(b"order_id=7", id="a form"),
]


@pytest.mark.parametrize("payload", NOT_JSON)
@pytest.mark.parametrize("platform", ADAPTERS)
def test_bytes_that_are_not_json_are_undecodable(platform: str, payload: bytes) -> None:
    with pytest.raises(UndecodableMessage, match="not JSON"):
        parse(platform, payload)


@pytest.mark.parametrize(
    "body", [7, "order", None, {}, {"hello": 1}, [7], [[]], {"error_response": {"code": 7}}]
)
@pytest.mark.parametrize("platform", ADAPTERS)
def test_json_that_is_no_order_is_malformed(platform: str, body: Any) -> None:
    with pytest.raises(MalformedPayload):
        parse(platform, body)


def test_json_inside_a_text_that_is_no_json_names_the_text() -> None:
    with pytest.raises(MalformedPayload, match=r"^content: "):
        parse("taobao", {"topic": "taobao_trade_TradeCreate", "content": "{tid:1"})
    with pytest.raises(MalformedPayload, match=r"^\[0\]\.data: "):
        parse("douyin", [{"tag": "101", "msg_id": "1", "data": _DEEP.decode()}])


BIG = 2**63
QUANTITIES = [True, False, 0, -1, BIG, 10**9 + 1, 1.5, 1.0, "1.5", "", "-1", "1e3", "２", None, [1]]
MONIES = [
    "NaN", "Infinity", "-Infinity", "1e400", "1e3", "abc", "1,200.00", "１.00", "0x10", "1.2.3",
    "10.005", "-1.00", "9999999999999999", "99999999999999999999999", True, [], {}, 1e16,
]  # fmt: skip
MINORS = [True, 1.5, -1, "1.00", "100", BIG, 10**15 + 1, [], {}]
FENS = [True, 1.5, 100.0, -1, "1.00", "NaN", BIG, 10**15 + 1, [], {}]
NUMBER_IDS = [
    True,
    1.5,
    2.7719441077392067e18,
    2**64,
    -5,
    "12a",
    "１２",
    "1 2",
    [],
    {},
    "",
    0,
    None,
]
BEIJING_TIMES = [
    "2026-04-10", "2026-04-10T11:01:40", "2026-04-10 25:01:40", "2026-02-30 11:01:40",
    "2026-04-10 11:01:60", "9999-12-31 23:59:59", "0001-01-02 00:00:00", "1970-01-01 08:00:00",
    "２026-04-10 11:01:40", "2026-W15-5 11:01:40", 1775790131, 1775790131220, True, [],
]  # fmt: skip
# The last two: milliseconds where seconds belong, and a naive time.
UNIX_TIMES = [-1, 1.5, True, "soon", [], 10**12, 1, 1777690800000, "2026-05-02 11:00:00"]
OFFSET_TIMES = [
    "2025-04-02T11:31:26", "2025-04-02 11:31:26-05:00", "2025-04-02", "2025-13-02T11:31:26Z",
    "2025-04-02T11:31:26+99:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", 1743611486, True,
]  # fmt: skip
TEXTS = ["a\0b", "x" * 5_000, 7, True, [], {}]

BAD_FIELDS: list[tuple[str, str, list[Any]]] = [
    # platform, path of the field, wrong values
    ("taobao", "tid_str", [True, 1.5, "12a", [], {}, "１２"]),
    ("taobao", "payment", MONIES),
    ("taobao", "post_fee", MONIES),
    ("taobao", "created", BEIJING_TIMES),
    ("taobao", "pay_time", BEIJING_TIMES),
    ("taobao", "modified", BEIJING_TIMES),
    ("taobao", "buyer_nick", TEXTS),
    ("taobao", "receiver_address", TEXTS),
    ("taobao", "status", [[], {}, "a\0b", "X" * 200]),
    ("taobao", "orders", [7, [], {"order": []}, {"order": 7}, {"order": [7]}]),
    ("taobao", "orders.order.1.num", QUANTITIES),
    ("taobao", "orders.order.1.oid_str", [True, 1.5, "12a", [], {}]),
    ("taobao", "orders.order.1.price", MONIES),
    ("taobao", "orders.order.1.divide_order_fee", MONIES),
    ("taobao", "orders.order.1.sku_id", [True, 1.5, [], "x" * 201, "a\0b"]),
    ("taobao", "orders.order.1.title", TEXTS),
    ("taobao", "trade_attr", ['{"payCurrency":"XYZ"}', '{"payCurrency":']),
    ("douyin", "order_id", NUMBER_IDS),
    ("douyin", "pay_amount", FENS),
    ("douyin", "post_amount", FENS),
    ("douyin", "create_time", UNIX_TIMES),
    ("douyin", "update_time", UNIX_TIMES),
    ("douyin", "order_status", [[], {}, "X" * 200]),
    ("douyin", "sku_order_list", [7, [], {}, [7], None]),
    ("douyin", "sku_order_list.1.order_id", NUMBER_IDS),
    ("douyin", "sku_order_list.1.item_num", QUANTITIES),
    ("douyin", "sku_order_list.1.origin_amount", FENS),
    ("douyin", "sku_order_list.1.pay_amount", FENS),
    ("douyin", "sku_order_list.1.product_name", TEXTS),
    ("douyin", "sku_order_list.1.after_sale_info", [7, []]),
    ("douyin", "post_addr", [7, []]),
    ("douyin", "logistics_info", [7, {}, [7]]),
    ("shopify", "id", NUMBER_IDS),
    ("shopify", "currency", ["XYZ", "usd", "", None, 7]),
    ("shopify", "total_price", MONIES),
    ("shopify", "total_discounts", MONIES),
    ("shopify", "created_at", OFFSET_TIMES),
    ("shopify", "cancelled_at", OFFSET_TIMES),
    ("shopify", "updated_at", OFFSET_TIMES),
    ("shopify", "line_items", [7, {}, [7], None]),
    ("shopify", "line_items.1.id", NUMBER_IDS),
    ("shopify", "line_items.1.quantity", QUANTITIES),
    ("shopify", "line_items.1.current_quantity", [-1, 1.5, "x", True, BIG]),
    ("shopify", "line_items.1.price", MONIES),
    ("shopify", "line_items.1.sku", [True, 1.5, [], "x" * 201]),
    ("shopify", "line_items.1.discount_allocations.0.amount", MONIES),
    ("shopify", "refunds.0.transactions.0.amount", MONIES),
    ("shopify", "refunds.0.refund_line_items.0.quantity", [-1, 1.5, "x"]),
    ("shopify", "customer", [7, []]),
    ("shopify", "payment_gateway_names", [7, [7], ["a\0b"]]),
    ("jd", "orderId", NUMBER_IDS),
    ("jd", "orderPayment", MONIES),
    ("jd", "freightPrice", MONIES),
    ("jd", "orderStartTime", BEIJING_TIMES),
    ("jd", "modified", BEIJING_TIMES),
    ("jd", "orderState", [[], {}, "a\0b", "X" * 200]),
    ("jd", "itemInfoList", [7, {}, [7], None]),
    ("jd", "itemInfoList.1.itemTotal", QUANTITIES),
    ("jd", "itemInfoList.1.jdPrice", MONIES),
    ("jd", "itemInfoList.1.skuId", [True, 1.5, [], "x" * 201, "a\0b"]),
    ("jd", "itemInfoList.1.skuName", TEXTS),
    ("jd", "couponDetailList", [7, [7]]),
    ("jd", "consigneeInfo", [7, []]),
    ("pdd", "order_sn", [True, 7, "", None, "12", "260412-", "x" * 300, [], {}]),
    ("pdd", "pay_amount", MONIES),
    ("pdd", "postage", MONIES),
    ("pdd", "created_time", BEIJING_TIMES),
    ("pdd", "updated_at", BEIJING_TIMES),
    ("pdd", "order_status", [[], {}, "X" * 200]),
    ("pdd", "item_list", [7, {}, [7], None]),
    ("pdd", "item_list.0.goods_count", QUANTITIES),
    ("pdd", "item_list.0.goods_price", MONIES),
    ("pdd", "item_list.0.sku_id", [True, 1.5, [], "x" * 201, "a\0b"]),
    ("pdd", "receiver_name", TEXTS),
    ("kuaishou", "orderBaseInfo", [7, [], None]),
    ("kuaishou", "orderBaseInfo.oid", NUMBER_IDS),
    ("kuaishou", "orderBaseInfo.totalFee", FENS),
    ("kuaishou", "orderBaseInfo.expressFee", FENS),
    ("kuaishou", "orderBaseInfo.createTime", [-1, 1.5, True, "soon", [], 1, 1778814000]),
    ("kuaishou", "orderItemInfo", [7, [], [7], None]),
    ("kuaishou", "orderItemInfo.num", QUANTITIES),
    ("kuaishou", "orderItemInfo.price", FENS),
    ("kuaishou", "orderRefundList", [7, {}, [7]]),
    ("xiaohongshu", "orderId", [True, 7, "", None, "P 1", "x" * 300, [], {}]),
    ("xiaohongshu", "totalPayAmount", FENS),
    ("xiaohongshu", "totalShippingFree", FENS),
    ("xiaohongshu", "createdTime", [-1, 1.5, True, "soon", [], 1, 1778814000]),
    ("xiaohongshu", "skuList", [7, {}, [7], None, []]),
    ("xiaohongshu", "skuList.1.skuQuantity", QUANTITIES),
    ("xiaohongshu", "skuList.1.totalPaidAmount", FENS),
    ("xiaohongshu", "skuList.1.skuDetailList", [7, {}, [7]]),
    ("xiaohongshu", "skuList.1.skuId", [True, 1.5, [], "", None]),
    ("amazon", "orderId", [True, 1.5, "", 0, None, [], "x" * 201]),
    ("amazon", "createdTime", OFFSET_TIMES),
    ("amazon", "lastUpdatedTime", OFFSET_TIMES),
    ("amazon", "proceeds.grandTotal.amount", [value for value in MONIES if value != ""]),
    ("amazon", "proceeds.grandTotal.currencyCode", ["XYZ", "gbp", "", None, 7]),
    ("amazon", "fulfillment.fulfillmentStatus", [[], {}, "a\0b", "X" * 200]),
    ("amazon", "orderItems", [7, {}, [7]]),
    ("amazon", "orderItems.0.quantityOrdered", [value for value in QUANTITIES if value != 0]),
    ("amazon", "orderItems.0.product.price.unitPrice.amount", MONIES),
    ("amazon", "orderItems.0.product.sellerSku", [True, 1.5, [], "x" * 201]),
    ("amazon", "packages", [7, {}, [7]]),
    ("woocommerce", "id", NUMBER_IDS),
    ("woocommerce", "currency", ["XYZ", "usd", "", None, 7]),
    ("woocommerce", "total", MONIES),
    ("woocommerce", "shipping_total", MONIES),
    ("woocommerce", "date_created_gmt", ["2017-03-22", "2017-02-30T10:00:00", 1743611486, True]),
    ("woocommerce", "date_paid_gmt", ["2017-03-22T19:28:02+01:00", "soon", 7, []]),
    ("woocommerce", "line_items", [7, {}, [7], None]),
    ("woocommerce", "line_items.1.id", NUMBER_IDS),
    ("woocommerce", "line_items.1.quantity", QUANTITIES),
    ("woocommerce", "line_items.1.subtotal", MONIES),
    ("woocommerce", "billing", [7, []]),
    ("woocommerce", "refunds", [7, {}, [7], [{"total": "much"}]]),
    ("tiktokshop", "id", NUMBER_IDS),
    ("tiktokshop", "payment.currency", ["XYZ", "usd", "", None, 7]),
    ("tiktokshop", "payment.total_amount", MONIES),
    ("tiktokshop", "create_time", UNIX_TIMES),
    ("tiktokshop", "paid_time", UNIX_TIMES),
    ("tiktokshop", "line_items", [7, [], {}, [7], None]),
    ("tiktokshop", "line_items.1.id", NUMBER_IDS),
    ("tiktokshop", "line_items.1.sale_price", MONIES),
    ("tiktokshop", "line_items.1.currency", ["EUR"]),
    ("tiktokshop", "is_buyer_request_cancel", ["maybe", 7, []]),
    ("shopee", "order_sn", [True, 1.5, "", 0, None, [], "x" * 201]),
    ("shopee", "currency", ["XYZ", "vnd", "", None, 7]),
    ("shopee", "total_amount", MONIES),
    ("shopee", "pay_time", UNIX_TIMES),
    ("shopee", "item_list", [7, [], {}, [7], None]),
    ("shopee", "item_list.0.model_quantity_purchased", QUANTITIES),
    ("shopee", "item_list.0.model_discounted_price", [*MONIES, 0.5]),
    ("shopee", "pending_terms", [7, {}, [7]]),
    ("mall", "platform", ["taobao", "", 7, None]),
    ("mall", "platform_order_id", [True, 7, "", None, "P 1", "P\n", "a\0b", "x" * 201, [], {}]),
    ("mall", "currency", ["XYZ", "cny", "CNY\n", "", None, 7]),
    ("mall", "total_minor", MINORS),
    ("mall", "created_at", OFFSET_TIMES),
    ("mall", "status", [[], {}, 7, "X" * 200]),
    ("mall", "lines", [7, {}, [7], None]),
    ("mall", "lines.1.line_id", [True, 7, "", None, "x" * 201]),
    ("mall", "lines.1.quantity", [value for value in QUANTITIES if value != 1.0]),
    ("mall", "lines.1.unit_price_minor", MINORS),
    ("mall", "lines.1.title", TEXTS),
    ("mall", "lines.1.merchant_sku", [True, 7, [], "x" * 201, "a\0b"]),
    ("mall", "buyer", [7, []]),
    ("mall", "receiver.address", TEXTS),
    ("mall", "shipments", [7, {}, [7], [{"shipped_at": "yesterday"}]]),
]


@pytest.mark.parametrize(
    ("platform", "path", "value"),
    [
        pytest.param(platform, path, value, id=f"{platform}-{path}-{str(value)[:24]!r}")
        for platform, path, values in BAD_FIELDS
        for value in values
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(platform: str, path: str, value: Any) -> None:
    body = put(order(platform), path, value)

    with pytest.raises(MalformedPayload) as refused:
        parse(platform, json.dumps(body).encode())  # a number may be beyond what orjson writes

    named = path
    for place in range(3):
        named = named.replace(f".{place}", f"[{place}]")
    assert refused.value.field.startswith(named)
    assert str(refused.value).startswith(named)
    assert len(str(refused.value)) < 300


MISSING = [
    ("taobao", "orders"),
    ("taobao", "orders.order.0.num"),
    ("douyin", "order_id"),
    ("douyin", "sku_order_list"),
    ("douyin", "sku_order_list.0.order_id"),
    ("douyin", "sku_order_list.0.item_num"),
    ("shopify", "id"),
    ("shopify", "currency"),
    ("shopify", "line_items"),
    ("shopify", "line_items.0.id"),
    ("shopify", "line_items.0.quantity"),
    ("jd", "orderId"),
    ("jd", "itemInfoList"),
    ("jd", "itemInfoList.0.itemTotal"),
    ("pdd", "order_sn"),
    ("pdd", "item_list"),
    ("pdd", "item_list.0.goods_count"),
    ("kuaishou", "orderBaseInfo.oid"),
    ("kuaishou", "orderItemInfo"),
    ("kuaishou", "orderItemInfo.num"),
    ("xiaohongshu", "orderId"),
    ("xiaohongshu", "skuList"),
    ("xiaohongshu", "skuList.0.skuId"),
    ("xiaohongshu", "skuList.0.skuQuantity"),
    ("amazon", "orderItems.0.orderItemId"),
    ("amazon", "orderItems.0.quantityOrdered"),
    ("amazon", "proceeds.grandTotal.currencyCode"),
    ("woocommerce", "id"),
    ("woocommerce", "currency"),
    ("woocommerce", "line_items"),
    ("woocommerce", "line_items.0.quantity"),
    ("tiktokshop", "id"),
    ("tiktokshop", "payment.currency"),
    ("tiktokshop", "line_items"),
    ("tiktokshop", "line_items.0.id"),
    ("shopee", "order_sn"),
    ("shopee", "currency"),
    ("shopee", "item_list.0.model_quantity_purchased"),
    ("mall", "platform_order_id"),
    ("mall", "currency"),
    ("mall", "lines.0.line_id"),
    ("mall", "lines.0.quantity"),
]


@pytest.mark.parametrize(("platform", "path"), MISSING)
def test_a_field_no_order_can_be_without_is_named_when_it_is_missing(
    platform: str, path: str
) -> None:
    with pytest.raises(MalformedPayload) as refused:
        parse(platform, put(order(platform), path, DROP))

    assert path.rpartition(".")[2] in refused.value.field


def test_a_trade_whose_every_id_is_missing_is_refused() -> None:
    trade = order("taobao")
    for part in trade["orders"]["order"]:
        del part["oid"], part["oid_str"]

    with pytest.raises(MalformedPayload, match=r"^orders\.order\[0\]\.oid: the id is missing"):
        parse("taobao", trade)


#: Where an order has its lines, for those that have them in a plain list.
LINES = {
    "douyin": "sku_order_list",
    "shopify": "line_items",
    "amazon": "orderItems",
    "woocommerce": "line_items",
    "tiktokshop": "line_items",
    "shopee": "item_list",
    "jd": "itemInfoList",
    "pdd": "item_list",
    "kuaishou": "orderItemInfo",
    "xiaohongshu": "skuList",
    "mall": "lines",
}


@pytest.mark.parametrize("platform", ADAPTERS)
def test_five_hundred_lines_are_read_and_one_more_is_refused(platform: str) -> None:
    body = order(platform)
    at = LINES.get(platform)
    holder, key = (body, at) if at is not None else (body["orders"], "order")
    if platform == "kuaishou":
        holder[key] = [holder[key]]  # an object where there is one line
    holder[key] = holder[key][:1] * 500
    assert len(read(platform, body).lines) == 500

    holder[key] = holder[key][:1] * 501
    with pytest.raises(MalformedPayload, match="501 lines, at most 500"):
        parse(platform, body)


@pytest.mark.parametrize("platform", ADAPTERS)
def test_half_a_character_is_refused_with_its_field(platform: str) -> None:
    body = orjson.dumps(order(platform) | {"note": "HALF"}).replace(b"HALF", b"\\ud83d")

    with pytest.raises(MalformedPayload, match=r"^note: .*surrogate"):
        parse(platform, body)


def test_half_a_character_deep_down_is_refused_without_its_field() -> None:
    with pytest.raises(UndecodableMessage):
        parse("taobao", b'{"a":' * 900 + b'"\\ud83d"' + b"}" * 900)


@pytest.mark.parametrize("platform", ADAPTERS)
def test_a_body_of_900_kilobytes_is_read(platform: str) -> None:
    body = order(platform) | {"note": "长" * 300_000}

    assert len(orjson.dumps(body)) > 900_000
    assert read(platform, body).lines


@pytest.mark.parametrize("platform", ADAPTERS)
def test_a_byte_order_mark_is_passed_over(platform: str) -> None:
    body = orjson.dumps(order(platform))

    assert parse(platform, b"\xef\xbb\xbf" + body) == parse(platform, body)


@pytest.mark.parametrize("platform", ADAPTERS)
def test_a_key_that_stands_twice_is_refused_where_its_values_differ(platform: str) -> None:
    body = orjson.dumps(order(platform))
    twice = b'{"num":1,"num":2,' + body[1:]

    with pytest.raises(MalformedPayload, match="twice"):
        parse(platform, twice)
    # Nor is it hidden by a colon that is written as an escape and so counts on one side only.
    hidden = b'{"note":"\\u003a","num":1,"num":2,' + body[1:]
    with pytest.raises(MalformedPayload, match="twice"):
        parse(platform, hidden)
    again = b'{"same":[1,{"a":2}],"same" : [1,{"a":2}],' + body[1:]
    assert parse(platform, again) == parse(platform, body)


@pytest.mark.parametrize(
    ("platform", "inside", "path"),
    [
        ("taobao", '{"tid":1,"tid":2}', "content.tid"),
        ("taobao", '{"tid":1,"nick":"\\u003a","\\u0074id":2}', "content.tid"),
        ("douyin", '{"p_id":1,"s_ids":[1],"p_id":2}', "[0].data.p_id"),
        ("xiaohongshu", '{"orderId":"P1", "orderId":"P2"}', "[0].data.orderId"),
    ],
)
def test_a_key_that_stands_twice_in_a_text_is_refused_too(
    platform: str, inside: str, path: str
) -> None:
    body: dict[str, Any] = {
        "taobao": {"topic": "taobao_trade_TradeCreate", "content": inside},
        "douyin": [{"tag": "101", "msg_id": "1", "data": inside}],
        "xiaohongshu": [{"msgTag": "msg_fulfillment_status_change", "data": inside}],
    }

    with pytest.raises(MalformedPayload, match="twice") as refused:
        parse(platform, body[platform])

    assert refused.value.field == path


@pytest.mark.parametrize(
    ("platform", "path", "count", "price"),
    [
        ("taobao", "orders.order.0", "num", "price"),
        ("douyin", "sku_order_list.0", "item_num", "origin_amount"),
        ("shopify", "line_items.0", "quantity", "price"),
        ("jd", "itemInfoList.0", "itemTotal", "jdPrice"),
        ("pdd", "item_list.0", "goods_count", "goods_price"),
        ("kuaishou", "orderItemInfo", "num", "price"),
        ("shopee", "item_list.0", "model_quantity_purchased", "model_discounted_price"),
    ],
)
def test_amounts_that_add_up_beyond_belief_are_refused(
    platform: str, path: str, count: str, price: str
) -> None:
    in_fen = {"douyin", "kuaishou"}
    dear = 10**15 if platform in in_fen else "9999999999999.00"
    body = put(put(order(platform), f"{path}.{count}", 10**9), f"{path}.{price}", dear)
    if platform == "shopify":
        body["line_items"][0]["current_quantity"] = 10**9

    with pytest.raises(MalformedPayload, match="adds up to"):
        parse(platform, body)


def test_a_platform_nobody_reads_is_named_with_those_that_are_read() -> None:
    with pytest.raises(UnknownPlatform, match=r"'ebay'.*amazon, .*shopify, taobao, "):
        adapter_for("ebay")


def test_every_refusal_is_the_messages_fault() -> None:
    assert issubclass(MalformedPayload, Rejected)
    assert issubclass(UndecodableMessage, Rejected)
