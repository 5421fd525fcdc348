"""Shopee's traps, each by its name."""

from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters import ADAPTERS
from streams.adapters.normalize import normalize
from tests.adapters.samples import DROP, order, parse, put, raw, read, sample

STATUSES = {
    "UNPAID": Status.PENDING_PAYMENT,
    "INVOICE_PENDING": Status.ON_HOLD,
    "IN_CANCEL": Status.ON_HOLD,
    "READY_TO_SHIP": Status.PAID,
    "RETRY_SHIP": Status.PAID,
    "PROCESSED": Status.PAID,
    "SHIPPED": Status.SHIPPED,
    "TO_CONFIRM_RECEIVE": Status.DELIVERED,
    "TO_RETURN": Status.DELIVERED,
    "COMPLETED": Status.COMPLETED,
    "CANCELLED": Status.CANCELLED,
}
REFUNDS_OF_ORDERS = {
    "UNPAID": Refund.NONE,
    "IN_CANCEL": Refund.REFUNDING,
    "TO_RETURN": Refund.REFUNDING,
}


def test_every_word_the_adapter_declares_stands_in_a_case() -> None:
    assert set(STATUSES) == set(ADAPTERS["shopee"].statuses)


@pytest.mark.parametrize(("native", "expected"), STATUSES.items())
def test_a_status_of_shopee_is_one_of_ours(native: str, expected: Status) -> None:
    statement = read("shopee", order("shopee") | {"order_status": native})

    assert (statement.status, statement.refund) == (expected, REFUNDS_OF_ORDERS.get(native))
    pushed = {"code": 3, "data": {"ordersn": "220810QSK8S7BX", "status": native}}
    assert read("shopee", pushed).status is expected


def test_a_buyer_who_asked_to_cancel_holds_the_order_back() -> None:
    statement = read("shopee", order("shopee") | {"order_status": "IN_CANCEL"})

    assert (statement.status, statement.refund) == (Status.ON_HOLD, Refund.REFUNDING)


@pytest.mark.parametrize(
    ("native", "terms", "status"),
    [
        ("READY_TO_SHIP", ["SYSTEM_PENDING"], Status.ON_HOLD),
        ("READY_TO_SHIP", ["KYC_PENDING", "SOMETHING_NEW"], Status.ON_HOLD),
        ("READY_TO_SHIP", "KYC_PENDING", Status.ON_HOLD),
        ("READY_TO_SHIP", [], Status.PAID),
        ("READY_TO_SHIP", [""], Status.PAID),
        ("READY_TO_SHIP", None, Status.PAID),
        ("UNPAID", ["SYSTEM_PENDING"], Status.PENDING_PAYMENT),
        ("SHIPPED", ["SYSTEM_PENDING"], Status.SHIPPED),
    ],
)
def test_a_paid_order_that_is_still_checked_must_not_ship(
    native: str, terms: Any, status: Status
) -> None:
    body = order("shopee") | {"order_status": native, "pending_terms": terms}

    assert read("shopee", body).status is status


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [("VND", 32119, 32119), ("VND", 32119.0, 32119), ("SGD", 13.97, 1397), ("SGD", "13.97", 1397)],
)
def test_an_amount_is_read_from_its_decimal_digits(currency: str, amount: Any, minor: int) -> None:
    body = order("shopee") | {"currency": currency, "total_amount": amount}

    assert read("shopee", body).total == minor


@pytest.mark.parametrize("said", [0, None, DROP])
def test_an_order_that_is_not_paid_yet_has_no_total(said: Any) -> None:
    body = put(order("shopee"), "total_amount", said) | {"order_status": "UNPAID", "pay_time": None}

    statement = read("shopee", body)

    assert (statement.total, statement.discount, statement.refund) == (None, None, Refund.NONE)


def test_a_line_of_a_bundle_does_not_say_what_it_costs() -> None:
    body = put(order("shopee"), "item_list.0.model_discounted_price", 0)
    bundle = put(body, "item_list.0.promotion_type", "bundle_deal")

    assert read("shopee", bundle).lines[0].line_total is None
    # A gift costs nothing, and says so.
    assert read("shopee", body).lines[0].line_total == 0


def test_the_skus_fall_back_from_the_model_to_the_item() -> None:
    body = order("shopee")
    body["item_list"][0] |= {"model_sku": "", "item_sku": "QAZ", "model_id": 0}

    (line,) = read("shopee", body).lines

    assert (line.merchant_sku, line.platform_sku) == ("QAZ", "23620853561")


def test_two_models_of_one_item_are_two_lines() -> None:
    body = order("shopee")
    body["item_list"].append(body["item_list"][0] | {"model_id": 7})

    lines = read("shopee", body).lines

    assert [line.line_id for line in lines] == ["23620853561", "23620853561-7"]


@pytest.mark.parametrize(
    ("native", "refund"),
    [
        ("REQUESTED", Refund.REFUNDING),
        ("PROCESSING", Refund.REFUNDING),
        ("ACCEPTED", Refund.REFUNDING),
        ("JUDGING", Refund.REFUNDING),
        ("SELLER_DISPUTE", Refund.REFUNDING),
        ("CANCELLED", Refund.NONE),
    ],
)
def test_a_return_of_shopee_is_one_of_ours(native: str, refund: Refund) -> None:
    body = put(sample("shopee", "return_detail"), "response.status", native)

    assert (read("shopee", body).refund, read("shopee", body).refunded) == (refund, None)


# IN_CANCEL is a word of orders: of a return it is as unknown as any other.
@pytest.mark.parametrize("native", ["CLOSED", "IN_CANCEL", "ON_THE_MOON"])
def test_a_word_that_nobody_confirmed_for_a_return_leaves_a_notice(native: str) -> None:
    statement = read("shopee", put(sample("shopee", "return_detail"), "response.status", native))

    assert statement.refund is None
    assert NoticeCode.UNKNOWN_REFUND_STATUS in {notice.code for notice in statement.notices}


@pytest.mark.parametrize(("amount", "refund"), [(12119, "PARTIALLY_REFUNDED"), (32119, "REFUNDED")])
def test_an_order_and_its_return_are_settled_by_amount(amount: int, refund: str) -> None:
    completed = {
        "return_sn": "1",
        "order_sn": "2404098R48U37H",
        "status": "COMPLETED",
        "refund_amount": amount,
        "currency": "VND",
        "update_time": 1713239948,
    }
    given = [("order.json", raw("shopee", "order_detail_completed"))]

    (found,) = normalize("shopee", [*given, ("return.json", orjson.dumps(completed))])

    assert found["refund"] == refund


def test_a_lost_push_says_what_the_push_said() -> None:
    (lost,) = parse("shopee", raw("shopee", "lost_push_messages"))
    (pushed,) = parse("shopee", raw("shopee", "push_order_status"))

    assert (lost.order_id, lost.status, lost.stated_ms) == (
        pushed.order_id,
        pushed.status,
        pushed.stated_ms,
    )


@pytest.mark.parametrize(
    "body",
    [
        {"code": 1, "shop_id": 7, "timestamp": 1, "data": {"success": 1}},
        {"code": 2, "shop_id": 7, "timestamp": 1, "success": 1, "extra": "shop 7 was taken back"},
        {"code": 12, "shop_id": 7, "timestamp": 1, "data": "the right to shop 7 runs out"},
        {"code": 6, "shop_id": 7, "timestamp": 1, "data": {"item_id": 9}},
        {"error": "", "response": {"order_list": [], "more": False}},
        {"error": "-", "response": {"return": None, "more": False}},
    ],
)
def test_a_push_about_no_order_and_an_empty_page_say_nothing(body: dict[str, Any]) -> None:
    assert parse("shopee", body) == []


def test_a_tracking_number_names_its_order_and_no_status() -> None:
    body = {"code": 4, "timestamp": 1660123127, "data": {"ordersn": "22", "tracking_no": "A"}}

    assert (read("shopee", body).order_id, read("shopee", body).status) == ("22", None)


def test_a_platform_that_answers_with_an_error_is_not_an_empty_page() -> None:
    with pytest.raises(MalformedPayload, match="error_auth"):
        parse("shopee", {"error": "error_auth", "message": "Invalid access_token."})
