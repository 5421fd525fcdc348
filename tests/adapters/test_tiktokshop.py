"""TikTok Shop's traps, each by its name."""

from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters import ADAPTERS
from streams.adapters.normalize import normalize
from tests.adapters.samples import order, parse, put, raw, read

STATUSES = {
    "UNPAID": Status.PENDING_PAYMENT,
    "ON_HOLD": Status.ON_HOLD,
    "AWAITING_SHIPMENT": Status.PAID,
    "AWAITING_COLLECTION": Status.PAID,
    "PARTIALLY_SHIPPING": Status.PARTIALLY_SHIPPED,
    "IN_TRANSIT": Status.SHIPPED,
    "DELIVERED": Status.DELIVERED,
    "COMPLETED": Status.COMPLETED,
    "CANCELLED": Status.CANCELLED,
}
AFTER_SALES = {
    "CANCELLATION_REQUEST_PENDING": Refund.REFUNDING,
    "CANCELLATION_REQUEST_SUCCESS": Refund.REFUNDING,
    "CANCELLATION_REQUEST_CANCEL": Refund.NONE,
    "CANCELLATION_REQUEST_COMPLETE": Refund.REFUNDED,
    "RETURN_OR_REFUND_REQUEST_PENDING": Refund.REFUNDING,
    "RETURN_OR_REFUND_REQUEST_SUCCESS": Refund.REFUNDING,
    "RETURN_OR_REFUND_REQUEST_CANCEL": Refund.NONE,
    "RETURN_OR_REFUND_REQUEST_COMPLETE": Refund.REFUNDED,
    "REFUND_OR_RETURN_REQUEST_REJECT": Refund.REJECTED,
    "AWAITING_BUYER_SHIP": Refund.REFUNDING,
    "AWAITING_BUYER_RESPONSE": Refund.REFUNDING,
    "BUYER_SHIPPED_ITEM": Refund.REFUNDING,
    "REJECT_RECEIVE_PACKAGE": Refund.REJECTED,
    "REPLACEMENT_REQUEST_PENDING": Refund.REFUNDING,
    "REPLACEMENT_REQUEST_REJECT": Refund.REJECTED,
    "REPLACEMENT_REQUEST_REFUND_SUCCESS": Refund.REFUNDING,
    "REPLACEMENT_REQUEST_CANCEL": Refund.NONE,
    "REPLACEMENT_REQUEST_COMPLETE": Refund.NONE,
}


@pytest.mark.parametrize(("native", "expected"), STATUSES.items())
def test_a_status_of_tiktok_shop_is_one_of_ours(native: str, expected: Status) -> None:
    assert read("tiktokshop", order("tiktokshop") | {"status": native}).status is expected
    pushed = {"type": 1, "data": {"order_id": "57", "order_status": native, "update_time": 0}}
    assert read("tiktokshop", pushed).status is expected


def test_every_unit_is_a_line_of_its_own_with_its_own_id() -> None:
    lines = read("tiktokshop", order("tiktokshop")).lines

    assert [line.quantity for line in lines] == [1, 1, 1]
    assert len({line.line_id for line in lines}) == 3
    assert [line.platform_sku for line in lines].count("1729400118844203331") == 2


def test_accepted_and_on_hold_is_not_ready_to_ship() -> None:
    assert read("tiktokshop", order("tiktokshop") | {"status": "ON_HOLD"}).status is Status.ON_HOLD


def test_the_sale_price_is_after_the_discounts_of_the_line() -> None:
    statement = read("tiktokshop", order("tiktokshop"))

    assert [(line.unit_price, line.line_total) for line in statement.lines] == [
        (799, 699),
        (799, 699),
        (1500, 1500),
    ]
    assert (statement.total, statement.discount, statement.shipping, statement.tax) == (
        3495, 200, 399, 198,
    )  # fmt: skip


def test_a_delivery_fee_of_the_state_takes_nothing_from_the_discount() -> None:
    body = put(order("tiktokshop"), "payment.retail_delivery_fee", "0.28")

    assert read("tiktokshop", put(body, "payment.total_amount", "35.23")).discount == 200


@pytest.mark.parametrize(("currency", "minor"), [("VND", 48000), ("KWD", 48000000)])
def test_the_currency_tells_the_decimals(currency: str, minor: int) -> None:
    body = order("tiktokshop")
    body["payment"] = {"currency": currency, "total_amount": "48000"}
    body["line_items"] = [body["line_items"][2] | {"currency": currency}]

    assert read("tiktokshop", body).total == minor


REFUNDS = [
    # status, paid, buyer asks to cancel, refund
    ("UNPAID", False, False, Refund.NONE),
    ("CANCELLED", False, False, Refund.NONE),
    # Whether the money went back stands in the cancellation, not in the order.
    ("CANCELLED", True, False, None),
    ("AWAITING_SHIPMENT", True, False, None),
    ("AWAITING_SHIPMENT", True, True, Refund.REFUNDING),
    ("DELIVERED", True, True, None),
]


@pytest.mark.parametrize(("status", "paid", "asks", "refund"), REFUNDS)
def test_what_an_order_tells_of_its_refunds(
    status: str, paid: bool, asks: bool, refund: Refund | None
) -> None:
    said = {"status": status, "paid_time": 1778583612 if paid else 0}

    body = order("tiktokshop") | said | {"is_buyer_request_cancel": asks}

    assert read("tiktokshop", body).refund is refund


def after_sale(native: str, amount: str) -> dict[str, Any]:
    return {
        "return_id": "1",
        "order_id": "577501447718830083",
        "return_status": native,
        "refund_amount": {"currency": "USD", "refund_total": amount},
        "update_time": 1778673600,
    }


def test_every_word_the_adapter_declares_stands_in_a_case() -> None:
    assert set(STATUSES) == set(ADAPTERS["tiktokshop"].statuses)
    assert set(AFTER_SALES) == set(ADAPTERS["tiktokshop"].refunds)


@pytest.mark.parametrize(("native", "expected"), AFTER_SALES.items())
def test_a_return_of_tiktok_shop_is_one_of_ours(native: str, expected: Refund) -> None:
    statement = read("tiktokshop", {"data": {"return_orders": [after_sale(native, "6.99")]}})

    # One that is complete says how much, and not whether that was all of it.
    complete = expected is Refund.REFUNDED
    assert (statement.refund, statement.refunded) == ((None, 699) if complete else (expected, None))


@pytest.mark.parametrize(
    ("amount", "refund"), [("6.99", "PARTIALLY_REFUNDED"), ("34.95", "REFUNDED")]
)
def test_an_order_and_its_return_are_settled_by_amount(amount: str, refund: str) -> None:
    sale = after_sale("RETURN_OR_REFUND_REQUEST_COMPLETE", amount)
    given = [("order.json", raw("tiktokshop", "order_awaiting_shipment"))]

    (found,) = normalize("tiktokshop", [*given, ("return.json", orjson.dumps(sale))])

    assert found["refund"] == refund


def test_an_unknown_word_of_a_return_leaves_a_notice() -> None:
    statement = read("tiktokshop", after_sale("LOST_IN_SPACE", "6.99"))

    assert (statement.refund, statement.refunded) == (None, None)
    assert NoticeCode.UNKNOWN_REFUND_STATUS in {notice.code for notice in statement.notices}


@pytest.mark.parametrize(
    "body",
    [
        {"type": 5, "shop_id": "1", "timestamp": 1, "data": {"product_id": "7"}},
        {"type": 6, "shop_id": "1", "timestamp": 1, "data": {"message": "deauthorized"}},
        {"code": 0, "message": "Success", "data": {"orders": []}},
        {"code": 0, "message": "Success", "data": {"total_count": 0, "next_page_token": ""}},
    ],
)
def test_a_push_about_no_order_and_an_empty_page_say_nothing(body: dict[str, Any]) -> None:
    assert parse("tiktokshop", body) == []


def test_a_push_whose_data_is_json_in_a_text_is_read_too() -> None:
    data = '{"order_id":"576684019603311365","order_status":"DELIVERED","update_time":1664095610}'

    statement = read("tiktokshop", {"type": 1, "data": data})

    assert (statement.order_id, statement.status) == ("576684019603311365", Status.DELIVERED)


def test_a_platform_that_answers_with_an_error_is_not_an_empty_page() -> None:
    with pytest.raises(MalformedPayload, match="105002"):
        parse("tiktokshop", {"code": 105002, "message": "Expired credentials", "data": None})
