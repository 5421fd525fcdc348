"""Xiaohongshu: repeated messages, yuan in pushes and fen in answers, two ways to end."""

from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters.normalize import normalize
from streams.adapters.xiaohongshu import REFUNDS
from tests.adapters.samples import order, parse, put, raw, read, sample

STATUSES = [
    # orderStatus, paid, status, refund
    (1, False, Status.PENDING_PAYMENT, Refund.NONE),
    (2, True, Status.ON_HOLD, Refund.NONE),
    (3, True, Status.ON_HOLD, Refund.NONE),
    (4, True, Status.PAID, Refund.NONE),
    (5, True, Status.PARTIALLY_SHIPPED, Refund.NONE),
    (6, True, Status.SHIPPED, Refund.NONE),
    (7, True, Status.COMPLETED, Refund.NONE),
    (8, True, Status.CANCELLED, Refund.REFUNDED),
    (9, False, Status.CANCELLED, Refund.NONE),
    (10, True, Status.SHIPPED, Refund.REFUNDING),
]


@pytest.mark.parametrize(("native", "paid", "status", "refund"), STATUSES)
def test_a_status_is_one_of_ours(native: int, paid: bool, status: Status, refund: Refund) -> None:
    body = order("xiaohongshu") | {"orderStatus": native}
    if not paid:
        body["paidTime"] = 0

    statement = read("xiaohongshu", body)

    assert (statement.status, statement.refund) == (status, refund)


@pytest.mark.parametrize(("native", "refund"), REFUNDS.items())
def test_an_after_sale_word_is_one_of_ours(native: str, refund: Refund) -> None:
    body = order("xiaohongshu") | {"orderAfterSalesStatus": int(native)}

    assert read("xiaohongshu", body).refund is refund


def test_an_after_sale_of_one_line_pays_back_a_part() -> None:
    body = put(order("xiaohongshu"), "skuList.0.skuAfterSaleStatus", 3)
    body["orderAfterSalesStatus"] = 3

    assert read("xiaohongshu", body).refund is Refund.PARTIALLY_REFUNDED


@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: [body],
        lambda body: {"success": True, "data": body},
        lambda body: {"success": True, "data": {"orderList": [body], "total": 1}},
    ],
)
def test_an_order_is_read_in_every_wrapping(wrap: Any) -> None:
    # Without a notice, whose path would tell the wrappings apart.
    body = put(order("xiaohongshu"), "skuList.1.erpcode", "XHS-SPOON")

    assert read("xiaohongshu", wrap(body)) == read("xiaohongshu", body)


def test_an_empty_page_says_nothing_and_a_refusal_is_none() -> None:
    assert parse("xiaohongshu", {"success": True, "data": {"orderList": [], "total": 0}}) == []
    with pytest.raises(MalformedPayload):
        parse("xiaohongshu", {"success": False, "error_code": 7, "error_msg": "no", "data": None})


def test_an_order_of_a_list_is_brief_and_asks_for_the_rest() -> None:
    brief = {"orderId": "P1", "orderStatus": 4, "updateTime": 1778386800602}

    statement = read("xiaohongshu", {"data": {"orderList": [brief]}})

    assert (statement.status, statement.lines) == (Status.PAID, ())
    assert [notice.code for notice in statement.notices] == [NoticeCode.THIN]


def test_two_messages_with_status_4_are_one_order() -> None:
    given = [(name, raw("xiaohongshu", name)) for name in ("push_status_change",) * 2]

    found = {each["platform_order_id"]: each["status"] for each in normalize("xiaohongshu", given)}

    assert found["P780220038841177015"] == "PAID"
    assert len(found) == 3


def test_an_older_message_names_the_parcel_alone() -> None:
    data = {"packageId": "P780220038841177015", "packageStatus": 6, "updateTime": 1778386800602}
    push = {"msgTag": "msg_fulfillment_status_change", "data": orjson.dumps(data).decode()}

    statement = read("xiaohongshu", push)

    assert (statement.order_id, statement.status) == (data["packageId"], Status.SHIPPED)


def test_the_refund_of_a_push_is_yuan() -> None:
    created, finished = parse("xiaohongshu", sample("xiaohongshu", "push_after_sale"))

    assert (created.refund, created.refunded) == (Refund.REFUNDING, None)
    assert (finished.refund, finished.refunded) == (Refund.REFUNDED, 5990)


def test_a_finished_refund_is_settled_by_the_total_of_its_order() -> None:
    shipped = order("xiaohongshu") | {"orderStatus": 6}
    data = {"orderId": shipped["orderId"], "refundFee": 57.0, "updateTime": 1778400000000}
    push = [{"msgTag": "msg_after_sale_refund_finished", "data": orjson.dumps(data).decode()}]

    (found,) = normalize(
        "xiaohongshu", [("order", orjson.dumps(shipped)), ("push", orjson.dumps(push))]
    )

    assert (found["status"], found["refund"]) == ("SHIPPED", "PARTIALLY_REFUNDED")


def test_a_message_about_no_order_says_nothing() -> None:
    assert parse("xiaohongshu", [{"msgTag": "msg_item_changed", "data": "x"}]) == []


def test_discounts_stand_on_the_lines_and_postage_on_none() -> None:
    statement = read("xiaohongshu", order("xiaohongshu"))

    assert (statement.total, statement.shipping, statement.discount) == (30700, 800, 1600)
    assert [(line.unit_price, line.line_total) for line in statement.lines] == [
        (12900, 24200),
        (1900, 5700),
    ]


def test_the_price_of_a_bundle_is_not_that_of_a_component() -> None:
    body = order("xiaohongshu")
    component = body["skuList"][0]["skuDetailList"][0]
    body["skuList"][0]["skuDetailList"] = [component | {"pricePerSku": 6450}] * 2

    assert read("xiaohongshu", body).lines[0].unit_price == 12900


def test_a_price_that_adds_up_beyond_belief_is_refused() -> None:
    body = put(order("xiaohongshu"), "skuList.1.skuDetailList", [])
    body["skuList"][1] |= {"totalPaidAmount": 10**15, "totalRedDiscount": 10**15, "skuQuantity": 1}

    with pytest.raises(MalformedPayload, match="adds up to"):
        parse("xiaohongshu", body)
