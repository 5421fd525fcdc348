"""Pinduoduo: the status is a combination, and each kind of answer has its own money."""

from itertools import permutations
from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters.normalize import normalize
from streams.adapters.pdd import REFUNDS, TYPE_REFUNDS
from tests.adapters.samples import order, parse, put, read, sample


def after_sale(**said: Any) -> dict[str, Any]:
    listed: dict[str, Any] = sample("pdd", "refund_list_increment_get_2018")
    listed["refund_increment_get_response"]["refund_list"][0] |= said
    return listed


def together(*bodies: Any) -> dict[str, Any]:
    """The one order that *bodies* make, whatever their order."""
    found = [
        normalize("pdd", [(f"{i}.json", orjson.dumps(body)) for i, body in enumerate(given)])
        for given in permutations(bodies)
    ]
    assert all(each == found[0] for each in found)
    (only,) = found[0]
    return only


@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: [body],
        lambda body: {"order_info": body},
        lambda body: {"order_list_get_response": {"order_list": [body], "total_count": 1}},
        lambda body: {"order_sn_increment_get_response": {"order_sn_list": [body]}},
    ],
)
def test_an_order_is_read_in_every_wrapping(wrap: Any) -> None:
    body = order("pdd")

    assert read("pdd", wrap(body)) == read("pdd", body)


def test_an_empty_page_says_nothing() -> None:
    assert parse("pdd", {"order_list_get_response": {"order_list": [], "total_count": 0}}) == []
    assert parse("pdd", {"refund_increment_get_response": {"refund_list": None}}) == []


GIFT = [{"goods_id": 1, "goods_count": 1}]
COMBINATIONS = [
    # what differs from an order to ship, status, refund
    ({}, Status.PAID, Refund.NONE),
    ({"confirm_status": 0, "pay_time": ""}, Status.PENDING_PAYMENT, Refund.NONE),
    ({"confirm_status": 0, "group_status": 0, "pay_time": ""}, Status.PENDING_PAYMENT, Refund.NONE),
    ({"confirm_status": 0, "group_status": 0}, Status.ON_HOLD, Refund.NONE),
    ({"confirm_status": 2, "pay_time": ""}, Status.CANCELLED, Refund.NONE),
    ({"confirm_status": 2}, Status.CANCELLED, Refund.REFUNDED),
    ({"group_status": 2}, Status.CANCELLED, Refund.REFUNDED),
    ({"risk_control_status": 1}, Status.ON_HOLD, Refund.NONE),
    ({"trade_type": 1, "step_trade_status": 0}, Status.PENDING_PAYMENT, Refund.NONE),
    ({"trade_type": 1, "step_trade_status": 1}, Status.PENDING_PAYMENT, Refund.NONE),
    ({"trade_type": 1, "step_trade_status": 2}, Status.PAID, Refund.NONE),
    ({"gift_list": GIFT, "gift_order_status": 0}, Status.ON_HOLD, Refund.NONE),
    ({"gift_list": GIFT, "gift_order_status": 1}, Status.PAID, Refund.NONE),
    ({"order_status": 2}, Status.SHIPPED, Refund.NONE),
    ({"order_status": 3}, Status.COMPLETED, Refund.NONE),
    ({"refund_status": 2}, Status.PAID, Refund.REFUNDING),
    ({"refund_status": 3}, Status.PAID, Refund.REFUNDING),
    # Paid back before it shipped closes the order; after that it does not.
    ({"refund_status": 4, "after_sales_status": 10}, Status.CANCELLED, Refund.REFUNDED),
    ({"refund_status": 4, "order_status": 3}, Status.COMPLETED, Refund.REFUNDED),
    # A review does not reopen what was closed.
    ({"refund_status": 4, "risk_control_status": 1}, Status.CANCELLED, Refund.REFUNDED),
]


@pytest.mark.parametrize(("said", "status", "refund"), COMBINATIONS)
def test_the_words_of_an_order_make_one_status(
    said: dict[str, Any], status: Status, refund: Refund
) -> None:
    statement = read("pdd", order("pdd") | said)

    assert (statement.status, statement.refund) == (status, refund)
    assert statement.notices == ()


AFTER_SALES = [
    *((native, Refund.REFUNDING) for native in (2, 3, 4, 5, 7, 8, 14, 15, 18, 31, 32, 33)),
    *((native, Refund.REJECTED) for native in (6, 9)),
    (10, Refund.REFUNDED),
    *((native, Refund.NONE) for native in (0, 11, 12, 13, 17)),
    # Exchanged, resent or repaired.
    *((native, Refund.NONE) for native in (16, 21, 22, 24, 25, 27)),
]


def test_every_declared_word_stands_in_a_case() -> None:
    assert set(REFUNDS) == {str(native) for native, _ in AFTER_SALES}


@pytest.mark.parametrize(("native", "refund"), AFTER_SALES)
def test_an_after_sale_word_is_one_of_ours(native: int, refund: Refund) -> None:
    assert read("pdd", after_sale(after_sales_status=native)).refund is refund


def test_an_after_sale_is_finer_than_the_refund_status_of_its_order() -> None:
    refused = {"refund_status": 1, "after_sales_status": 9}

    assert read("pdd", order("pdd") | refused).refund is Refund.REJECTED


@pytest.mark.parametrize(
    ("name", "amount", "status", "refund"),
    [
        ("order_signed_in_after_sale", "29.90", "COMPLETED", "REFUNDED"),
        ("order_signed_in_after_sale", "9.90", "COMPLETED", "PARTIALLY_REFUNDED"),
        ("order_paid", "59.90", "CANCELLED", "REFUNDED"),
        ("order_paid", "9.90", "PAID", "PARTIALLY_REFUNDED"),
    ],
)
def test_an_order_and_its_after_sale_list_are_one_order(
    name: str, amount: str, status: str, refund: str
) -> None:
    bought = sample("pdd", name)
    order_sn = order("pdd", name)["order_sn"]
    sale = after_sale(
        order_sn=order_sn, refund_amount=amount, updated_time="2026-04-13 10:00:00", order_amount=""
    )

    found = together(bought, sale)

    assert (found["status"], found["refund"]) == (status, refund)
    assert found["lines"]


def test_money_of_an_order_is_read_from_its_decimal_digits() -> None:
    statement = read("pdd", put(order("pdd"), "item_list.0.goods_price", 29.95))

    assert (statement.lines[0].unit_price, statement.lines[0].line_total) == (2995, 5990)
    assert (statement.total, statement.shipping, statement.discount) == (5990, 500, 500)


def test_a_price_lowered_by_the_seller_is_a_discount() -> None:
    body = order("pdd") | {"order_change_amount": 1.5, "goods_amount": 58.4, "pay_amount": 58.4}

    assert read("pdd", body).discount == 650


def test_the_fen_of_a_refund_message_are_never_taken_for_yuan() -> None:
    statement = read("pdd", sample("pdd", "push_pmc_RefundCreated"))

    assert (statement.refund, statement.refunded) == (Refund.REFUNDING, None)
    assert statement.stated_ms == 1775271600350


@pytest.mark.parametrize(("kind", "refund"), TYPE_REFUNDS.items())
def test_a_refund_message_is_itself_a_word(kind: str, refund: Refund) -> None:
    content = {"tid": "260330-660037781044910", "modified": 1775271600350}
    frame = {"commandType": "Common", "message": {"type": kind, "content": content}}

    assert read("pdd", frame).refund is refund


def test_a_trade_message_asks_for_the_order_and_says_nothing_of_it() -> None:
    statement = read("pdd", sample("pdd", "push_pmc_TradeConfirmed"))

    assert (statement.status, statement.refund, statement.currency) == (None, None, None)
    assert [notice.code for notice in statement.notices] == [NoticeCode.THIN]


@pytest.mark.parametrize(
    "frame",
    [
        {"commandType": "HeartBeat", "time": 1775271600350},
        {"commandType": "Fail", "time": 1775271600350, "message": "no right to this message"},
        {"commandType": "Common", "message": {"type": "pdd_chat_OrderPromise", "content": "{}"}},
    ],
)
def test_a_frame_about_no_order_says_nothing(frame: Any) -> None:
    assert parse("pdd", frame) == []


def test_a_message_that_is_no_json_names_its_content() -> None:
    frame = {"commandType": "Common", "message": {"type": "pdd_trade_TradeSuccess", "content": "{"}}

    with pytest.raises(MalformedPayload, match=r"^message\.content: "):
        parse("pdd", frame)


def test_an_order_without_a_merchant_sku_never_gets_an_empty_one() -> None:
    body = put(order("pdd"), "item_list.0.outer_id", "")
    assert read("pdd", body).lines[0].merchant_sku == "PDD-CUP"

    (line,) = read("pdd", put(body, "item_list.0.outer_goods_id", "")).lines
    assert (line.merchant_sku, line.platform_sku) == (None, "1500330047712")


def test_ciphertext_is_no_phone_and_is_kept_as_said() -> None:
    receiver = read("pdd", order("pdd")).receiver

    assert receiver is not None
    assert receiver.phone is None
    assert (receiver.phone_said or "").startswith("$AgAAAA")
