"""The map of native words to ours: every row of the table for these platforms, one case each."""

from typing import Any

import pytest

from schemas.orders import NoticeCode, Refund, Status
from streams.adapters import ADAPTERS
from streams.adapters.douyin import TAG_REFUNDS
from streams.adapters.taobao import TOPIC_REFUNDS
from tests.adapters.samples import DROP, order, parse, put, read

TAOBAO_STATUSES = [
    # native, pre-sale step, status, refund
    ("TRADE_NO_CREATE_PAY", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("WAIT_BUYER_PAY", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("PAY_PENDING", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("ALL_WAIT_PAY", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("WAIT_PRE_AUTH_CONFIRM", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("WAIT_BUYER_PAY", "FRONT_NOPAID_FINAL_NOPAID", Status.PENDING_PAYMENT, Refund.NONE),
    ("WAIT_BUYER_PAY", "FRONT_PAID_FINAL_NOPAID", Status.PENDING_PAYMENT, Refund.NONE),
    ("WAIT_BUYER_PAY", "FRONT_PAID_FRONT_FORFEITED", Status.CANCELLED, Refund.NONE),
    ("WAIT_SELLER_SEND_GOODS", "FRONT_PAID_FINAL_NOPAID", Status.PENDING_PAYMENT, Refund.NONE),
    ("WAIT_SELLER_SEND_GOODS", "FRONT_PAID_FINAL_PAID", Status.PAID, Refund.NONE),
    ("TRADE_CLOSED", "FRONT_PAID_FINAL_NOPAID", Status.CANCELLED, Refund.REFUNDED),
    ("PAID_FORBID_CONSIGN", None, Status.ON_HOLD, Refund.NONE),
    ("WAIT_SELLER_SEND_GOODS", None, Status.PAID, Refund.NONE),
    ("SELLER_CONSIGNED_PART", None, Status.PARTIALLY_SHIPPED, Refund.NONE),
    ("WAIT_BUYER_CONFIRM_GOODS", None, Status.SHIPPED, Refund.NONE),
    ("TRADE_BUYER_SIGNED", None, Status.DELIVERED, Refund.NONE),
    ("TRADE_FINISHED", None, Status.COMPLETED, Refund.NONE),
    ("TRADE_CLOSED_BY_TAOBAO", None, Status.CANCELLED, Refund.NONE),
    ("TRADE_CLOSED", None, Status.CANCELLED, Refund.REFUNDED),
]


@pytest.mark.parametrize(("native", "step", "status", "refund"), TAOBAO_STATUSES)
@pytest.mark.parametrize("platform", ["taobao", "tmall"])
def test_a_trade_status_of_taobao_is_one_of_ours(
    platform: str, native: str, step: str | None, status: Status, refund: Refund
) -> None:
    trade = put(order(platform), "status", native)
    if step is not None:
        trade["step_trade_status"] = step

    statement = read(platform, trade)

    assert (statement.status, statement.refund) == (status, refund)
    assert statement.notices == ()
    assert (statement.status_said or "").startswith(native)


TAOBAO_LINE_REFUNDS = [
    # the two lines' refund_status, the order's refund
    (("NO_REFUND", "NO_REFUND"), Refund.NONE),
    (("CLOSED", "NO_REFUND"), Refund.NONE),
    (("WAIT_SELLER_AGREE", "NO_REFUND"), Refund.REFUNDING),
    (("WAIT_BUYER_RETURN_GOODS", "NO_REFUND"), Refund.REFUNDING),
    (("WAIT_SELLER_CONFIRM_GOODS", "NO_REFUND"), Refund.REFUNDING),
    (("SELLER_REFUSE_BUYER", "NO_REFUND"), Refund.REJECTED),
    (("SUCCESS", "NO_REFUND"), Refund.PARTIALLY_REFUNDED),
    (("SUCCESS", "SUCCESS"), Refund.REFUNDED),
    # Somebody has to act on the one that still runs.
    (("SUCCESS", "WAIT_SELLER_AGREE"), Refund.REFUNDING),
    (("SUCCESS", "SELLER_REFUSE_BUYER"), Refund.PARTIALLY_REFUNDED),
]


@pytest.mark.parametrize(("words", "refund"), TAOBAO_LINE_REFUNDS)
def test_a_refund_of_taobao_belongs_to_a_line_and_the_order_sums_them_up(
    words: tuple[str, str], refund: Refund
) -> None:
    trade = order("taobao")
    for part, native in zip(trade["orders"]["order"], words, strict=True):
        part["refund_status"] = native

    statement = read("taobao", trade)

    assert statement.refund is refund
    assert [line.refund for line in statement.lines] == [
        ADAPTERS["taobao"].refunds[native] for native in words
    ]
    assert statement.status is Status.PAID


DOUYIN_STATUSES = [
    # order_status, main_status, paid, status, refund
    (1, 1, False, Status.PENDING_PAYMENT, Refund.NONE),
    (1, 103, False, Status.PENDING_PAYMENT, Refund.NONE),
    (105, 105, True, Status.ON_HOLD, Refund.NONE),
    (2, 2, True, Status.PAID, Refund.NONE),
    (101, 101, True, Status.PARTIALLY_SHIPPED, Refund.NONE),
    (3, 3, True, Status.SHIPPED, Refund.NONE),
    (5, 5, True, Status.COMPLETED, Refund.NONE),
    (4, 4, False, Status.CANCELLED, Refund.NONE),
    (4, 4, True, Status.CANCELLED, Refund.REFUNDED),
    (4, 21, True, Status.CANCELLED, Refund.REFUNDED),
    (4, 22, True, Status.CANCELLED, Refund.REFUNDED),
    (4, 39, True, Status.CANCELLED, Refund.REFUNDED),
    # main_status alone, as a list may have it.
    (None, 3, True, Status.SHIPPED, Refund.NONE),
]


@pytest.mark.parametrize(("native", "main", "paid", "status", "refund"), DOUYIN_STATUSES)
def test_a_status_of_douyin_is_one_of_ours(
    native: int | None, main: int, paid: bool, status: Status, refund: Refund
) -> None:
    body = order("douyin")
    body |= {"order_status": native, "main_status": main}
    body["pay_time"] = 1777690820 if paid else 0

    statement = read("douyin", body)

    assert (statement.status, statement.refund) == (status, refund)
    assert (statement.paid_at is not None) == paid


DOUYIN_AFTER_SALES = [
    # after_sale_status, after_sale_type, refund of the line, refund of an order of two lines
    (0, 0, Refund.NONE, Refund.NONE),
    *((native, 0, Refund.REFUNDING, Refund.REFUNDING) for native in (6, 7, 8, 11, 13, 14)),
    *((native, 0, Refund.REFUNDED, Refund.PARTIALLY_REFUNDED) for native in (12, 51, 53)),
    *((native, 0, Refund.REJECTED, Refund.REJECTED) for native in (27, 29)),
    (28, 0, Refund.NONE, Refund.NONE),
    # Exchange, resend and repair succeed without money.
    *((12, kind, Refund.NONE, Refund.NONE) for kind in (3, 7, 8)),
]


@pytest.mark.parametrize(("native", "kind", "of_line", "of_order"), DOUYIN_AFTER_SALES)
def test_an_after_sale_of_douyin_is_one_of_ours(
    native: int, kind: int, of_line: Refund, of_order: Refund
) -> None:
    body = order("douyin")
    body["sku_order_list"][0]["after_sale_info"] = {
        "after_sale_status": native,
        "after_sale_type": kind,
        "refund_status": 0,
    }

    statement = read("douyin", body)

    assert statement.lines[0].refund is of_line
    assert statement.refund is of_order


def test_an_order_of_douyin_with_all_its_lines_paid_back_is_refunded() -> None:
    body = order("douyin")
    for part in body["sku_order_list"]:
        part["after_sale_info"]["after_sale_status"] = 12

    assert read("douyin", body).refund is Refund.REFUNDED


PLACED = "2025-04-02T11:31:21-05:00"
SHOPIFY_STATUSES = [
    # what is said, status, refund
    ({"financial_status": "pending"}, Status.PENDING_PAYMENT, Refund.NONE),
    ({"financial_status": "partially_paid"}, Status.PENDING_PAYMENT, Refund.NONE),
    ({"financial_status": "authorized"}, Status.ON_HOLD, Refund.NONE),
    ({"financial_status": "voided"}, Status.CANCELLED, Refund.NONE),
    ({"financial_status": "EXPIRED"}, Status.CANCELLED, Refund.NONE),
    ({"financial_status": "paid"}, Status.PAID, Refund.NONE),
    ({"financial_status": "partially_refunded"}, Status.PAID, Refund.PARTIALLY_REFUNDED),
    # Refunded and not cancelled: over if nothing was shipped, else as far as it came.
    ({"financial_status": "refunded"}, Status.CANCELLED, Refund.REFUNDED),
    (
        {"financial_status": "refunded", "fulfillment_status": "fulfilled"},
        Status.SHIPPED,
        Refund.REFUNDED,
    ),
    (
        {"financial_status": "paid", "fulfillment_status": "partial"},
        Status.PARTIALLY_SHIPPED,
        Refund.NONE,
    ),
    ({"financial_status": "paid", "fulfillment_status": "fulfilled"}, Status.SHIPPED, Refund.NONE),
    (
        {
            "financial_status": "paid",
            "fulfillment_status": "fulfilled",
            "fulfillments": [{"status": "success", "shipment_status": "delivered"}],
        },
        Status.DELIVERED,
        Refund.NONE,
    ),
    # One of two parcels is still on its way; a parcel that was cancelled never was.
    (
        {
            "financial_status": "paid",
            "fulfillment_status": "fulfilled",
            "fulfillments": [
                {"status": "success", "shipment_status": "delivered"},
                {"status": "success", "shipment_status": "in_transit"},
            ],
        },
        Status.SHIPPED,
        Refund.NONE,
    ),
    (
        {
            "financial_status": "paid",
            "fulfillment_status": "fulfilled",
            "fulfillments": [
                {"status": "success", "shipment_status": "delivered"},
                {"status": "cancelled", "shipment_status": None},
            ],
        },
        Status.DELIVERED,
        Refund.NONE,
    ),
    (
        {"financial_status": "paid", "fulfillment_status": "fulfilled", "closed_at": PLACED},
        Status.COMPLETED,
        Refund.NONE,
    ),
    (
        {"financial_status": "paid", "fulfillment_status": "restocked"},
        Status.CANCELLED,
        Refund.NONE,
    ),
    # Shipped on account: the goods have left the house, paid or not.
    (
        {"financial_status": "pending", "fulfillment_status": "fulfilled"},
        Status.SHIPPED,
        Refund.NONE,
    ),
    # Archived, but nothing was ever shipped.
    ({"financial_status": "paid", "closed_at": PLACED}, Status.PAID, Refund.NONE),
    # Cancelled goes before everything; the money is by financial_status.
    ({"financial_status": "pending", "cancelled_at": PLACED}, Status.CANCELLED, Refund.NONE),
    ({"financial_status": "voided", "cancelled_at": PLACED}, Status.CANCELLED, Refund.NONE),
    ({"financial_status": "refunded", "cancelled_at": PLACED}, Status.CANCELLED, Refund.REFUNDED),
    (
        {
            "financial_status": "partially_refunded",
            "fulfillment_status": "fulfilled",
            "cancelled_at": PLACED,
        },
        Status.CANCELLED,
        Refund.PARTIALLY_REFUNDED,
    ),
]


@pytest.mark.parametrize(("said", "status", "refund"), SHOPIFY_STATUSES)
def test_the_four_fields_of_shopify_make_one_status(
    said: dict[str, Any], status: Status, refund: Refund
) -> None:
    unfulfilled = {"fulfillment_status": None, "closed_at": None, "cancelled_at": None}
    body = order("shopify") | {"fulfillments": [], "refunds": []} | unfulfilled | said

    statement = read("shopify", body)

    assert (statement.status, statement.refund) == (status, refund)
    assert statement.notices == ()


def test_every_word_an_adapter_declares_stands_in_a_case() -> None:
    taobao = {native for native, *_ in TAOBAO_STATUSES}
    douyin = {str(word) for case in DOUYIN_STATUSES for word in case[:2] if word is not None}
    shopify = {str(word).lower() for said, *_ in SHOPIFY_STATUSES for word in said.values()}

    assert taobao == set(ADAPTERS["taobao"].statuses)
    assert douyin == set(ADAPTERS["douyin"].statuses)
    assert set(ADAPTERS["shopify"].statuses) <= shopify
    assert {word for words, _ in TAOBAO_LINE_REFUNDS for word in words} == set(
        ADAPTERS["taobao"].refunds
    )
    assert {str(native) for native, *_ in DOUYIN_AFTER_SALES} == set(ADAPTERS["douyin"].refunds)


UNKNOWN_WORDS = [
    # platform, path, an unknown word, what it leaves
    ("taobao", "status", "TRADE_TELEPORTED", NoticeCode.UNKNOWN_STATUS),
    ("taobao", "step_trade_status", "FRONT_HALF_PAID", NoticeCode.UNKNOWN_STATUS),
    ("taobao", "orders.order.0.refund_status", "ON_THE_MOON", NoticeCode.UNKNOWN_REFUND_STATUS),
    ("douyin", "order_status", 777, NoticeCode.UNKNOWN_STATUS),
    ("douyin", "main_status", 778, NoticeCode.UNKNOWN_STATUS),
    (
        "douyin",
        "sku_order_list.0.after_sale_info.after_sale_status",
        779,
        NoticeCode.UNKNOWN_REFUND_STATUS,
    ),
    ("shopify", "financial_status", "Bartered", NoticeCode.UNKNOWN_STATUS),
    ("shopify", "fulfillment_status", "beamed_up", NoticeCode.UNKNOWN_STATUS),
    ("jd", "orderState", "WAIT_FOR_GODOT", NoticeCode.UNKNOWN_STATUS),
    ("pdd", "order_status", 77, NoticeCode.UNKNOWN_STATUS),
    ("pdd", "order_status", 0, NoticeCode.UNKNOWN_STATUS),
    ("pdd", "confirm_status", 7, NoticeCode.UNKNOWN_STATUS),
    ("pdd", "risk_control_status", 8, NoticeCode.UNKNOWN_STATUS),
    ("pdd", "after_sales_status", 99, NoticeCode.UNKNOWN_REFUND_STATUS),
    ("pdd", "refund_status", 9, NoticeCode.UNKNOWN_REFUND_STATUS),
    ("kuaishou", "orderBaseInfo.status", 33, NoticeCode.UNKNOWN_STATUS),
    ("xiaohongshu", "orderStatus", 11, NoticeCode.UNKNOWN_STATUS),
    ("xiaohongshu", "orderAfterSalesStatus", 12, NoticeCode.UNKNOWN_REFUND_STATUS),
    ("amazon", "fulfillment.fulfillmentStatus", "TELEPORTED", NoticeCode.UNKNOWN_STATUS),
    ("woocommerce", "status", "on-the-moon", NoticeCode.UNKNOWN_STATUS),
    ("tiktokshop", "status", "TELEPORTED", NoticeCode.UNKNOWN_STATUS),
    ("shopee", "order_status", "TELEPORTED", NoticeCode.UNKNOWN_STATUS),
]


@pytest.mark.parametrize(("platform", "path", "native", "code"), UNKNOWN_WORDS)
def test_an_unknown_word_keeps_the_order_and_leaves_a_notice(
    platform: str, path: str, native: Any, code: NoticeCode
) -> None:
    statement = read(platform, put(order(platform), path, native))

    noticed = [notice for notice in statement.notices if notice.code is code]
    assert [notice.said for notice in noticed] == [str(native)]
    assert noticed[0].field.endswith(path.rpartition(".")[2])
    assert statement.lines
    if code is NoticeCode.UNKNOWN_STATUS:
        assert statement.status is Status.UNKNOWN
        assert str(native) in (statement.status_said or "")
    else:
        assert statement.refund is None


STATUS_FIELDS = (
    "status", "order_status", "main_status", "financial_status", "fulfillment_status",
    "fulfillment", "orderState", "orderStatus",
)  # fmt: skip


@pytest.mark.parametrize("platform", ADAPTERS)
def test_a_status_that_is_not_said_stays_empty(platform: str) -> None:
    body = order(platform)
    if platform == "pdd":
        # Its status is what several words say together.
        for key in ("confirm_status", "group_status", "risk_control_status"):
            del body[key]
    base = body.get("orderBaseInfo", {})
    for key in STATUS_FIELDS:
        body.pop(key, None)
        base.pop(key, None)

    statement = read(platform, body)

    assert statement.status is None
    assert statement.status_said is None


@pytest.mark.parametrize(
    ("platform", "path"),
    [
        ("taobao", "orders.order.0.refund_status"),
        ("douyin", "sku_order_list.0.after_sale_info"),
        ("shopify", "financial_status"),
    ],
)
def test_a_refund_that_cannot_be_told_is_empty_and_not_none(platform: str, path: str) -> None:
    assert read(platform, put(order(platform), path, DROP)).refund is None


@pytest.mark.parametrize(("topic", "refund"), TOPIC_REFUNDS.items())
def test_a_refund_topic_of_taobao_is_itself_a_word(topic: str, refund: Refund) -> None:
    content = {"tid": "2768220019947206619", "refund_id": "1", "refund_fee": "49.00"}
    message = {"topic": topic, "content": content, "pub_time": "2026-04-09 18:01:00"}

    statement = read("taobao", message)

    assert (statement.refund, statement.refunded) == (refund, None)


def test_a_refund_that_succeeded_says_how_much_but_not_whether_it_was_all() -> None:
    message = {
        "topic": "taobao_refund_RefundSuccess",
        "content": '{"tid":"2768220019947206619","refund_fee":"49.00"}',
        "pub_time": "2026-04-09 18:01:00",
    }

    statement = read("taobao", message)

    assert (statement.refund, statement.refunded) == (None, 4900)


@pytest.mark.parametrize(("tag", "refund"), TAG_REFUNDS.items())
def test_an_after_sale_tag_of_douyin_is_itself_a_word(tag: str, refund: Refund) -> None:
    (statement,) = parse("douyin", [{"tag": tag, "msg_id": "1", "data": '{"p_id":6927730041}'}])

    assert (statement.refund, statement.status) == (refund, None)
