"""WooCommerce's traps, each by its name."""

from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters import ADAPTERS
from streams.adapters.normalize import normalize
from tests.adapters.samples import DROP, order, parse, put, raw, read, sample

STATUSES = [
    # native, date_paid_gmt, status, refund
    ("pending", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("checkout-draft", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("auto-draft", None, Status.PENDING_PAYMENT, Refund.NONE),
    # Waits for a bank transfer, or for a person although it is paid.
    ("on-hold", None, Status.PENDING_PAYMENT, Refund.NONE),
    ("on-hold", "2017-03-22T19:28:08", Status.ON_HOLD, Refund.NONE),
    ("processing", "2017-03-22T19:28:08", Status.PAID, Refund.NONE),
    # Cash on delivery.
    ("processing", None, Status.PAID, Refund.NONE),
    ("completed", "2017-03-22T19:28:08", Status.COMPLETED, Refund.NONE),
    ("cancelled", None, Status.CANCELLED, Refund.NONE),
    ("failed", None, Status.CANCELLED, Refund.NONE),
    ("trash", None, Status.CANCELLED, Refund.NONE),
    ("refunded", "2017-03-22T19:28:08", Status.CANCELLED, Refund.REFUNDED),
]


def test_every_word_the_adapter_declares_stands_in_a_case() -> None:
    assert {native for native, *_ in STATUSES} == set(ADAPTERS["woocommerce"].statuses)


@pytest.mark.parametrize(("native", "paid", "status", "refund"), STATUSES)
def test_a_status_of_woocommerce_is_one_of_ours(
    native: str, paid: str | None, status: Status, refund: Refund
) -> None:
    statement = read(
        "woocommerce", order("woocommerce") | {"status": native, "date_paid_gmt": paid}
    )

    assert (statement.status, statement.refund) == (status, refund)
    assert NoticeCode.UNKNOWN_STATUS not in {notice.code for notice in statement.notices}


@pytest.mark.parametrize(
    ("totals", "refunded", "refund"),
    [
        ([], 0, Refund.NONE),
        (["-10.00", "-9.00"], 1900, Refund.PARTIALLY_REFUNDED),
        (["-29.35"], 2935, Refund.REFUNDED),
        # Plugins write a number, and some leave the minus out.
        ([-10.5], 1050, Refund.PARTIALLY_REFUNDED),
        (["10.50"], 1050, Refund.PARTIALLY_REFUNDED),
    ],
)
def test_refunds_are_negative_amounts_that_leave_the_status_alone(
    totals: list[Any], refunded: int, refund: Refund
) -> None:
    refunds = [{"id": i, "reason": "", "total": total} for i, total in enumerate(totals, 1)]

    statement = read("woocommerce", order("woocommerce") | {"refunds": refunds})

    assert (statement.refund, statement.refunded) == (refund, refunded)
    assert (statement.status, statement.total) == (Status.PAID, 2935)


def test_a_refund_that_cannot_be_told_is_empty_and_not_none() -> None:
    assert read("woocommerce", put(order("woocommerce"), "refunds", DROP)).refund is None


def test_a_refund_object_names_its_order_and_does_not_count_twice() -> None:
    refund = raw("woocommerce", "refund")
    _, order_723 = sample("woocommerce", "order_list_with_refunds")

    (alone,) = normalize("woocommerce", [("refund.json", refund)])
    (both,) = normalize(
        "woocommerce", [("refund.json", refund), ("order.json", orjson.dumps(order_723))]
    )

    assert alone["platform_order_id"] == both["platform_order_id"] == "723"
    assert (alone["refund"], both["refund"]) == (None, "PARTIALLY_REFUNDED")
    assert read("woocommerce", orjson.loads(refund) | {"parent_id": 700}).order_id == "700"
    with pytest.raises(MalformedPayload, match=r"^parent_id: the refund does not name its order"):
        parse("woocommerce", {"id": 1, "amount": "1.00"})


def test_only_the_times_in_utc_are_read_for_the_sites_own_have_no_zone() -> None:
    statement = read("woocommerce", order("woocommerce") | {"date_created_gmt": None})

    assert statement.created_at is None
    paid_at = read("woocommerce", order("woocommerce")).paid_at
    assert paid_at is not None
    assert (paid_at.said, paid_at.zone, paid_at.ms) == (
        "2017-03-22T19:28:08",
        "UTC",
        1_490_210_888_000,
    )


@pytest.mark.parametrize("null", [None, "", "0000-00-00T00:00:00", "0000-00-00 00:00:00"])
def test_a_time_that_is_not_there_is_spelled_in_several_ways(null: Any) -> None:
    assert read("woocommerce", order("woocommerce") | {"date_paid_gmt": null}).paid_at is None


def test_a_coupon_is_in_the_lines_total_and_the_price_is_before_it() -> None:
    body = order("woocommerce") | {"discount_total": "1.50", "total": "27.85"}
    body["line_items"][0] |= {"subtotal": "6.00", "total": "4.50", "price": 2.25}

    statement = read("woocommerce", body)

    line = statement.lines[0]
    assert (line.quantity, line.unit_price, line.line_total) == (2, 300, 450)
    assert (statement.discount, statement.total) == (150, 2785)


def test_a_price_of_one_unit_that_does_not_come_out_even_is_rounded() -> None:
    body = put(order("woocommerce"), "line_items.0.quantity", 7)

    assert read("woocommerce", body).lines[0].unit_price == 86


def test_an_amount_may_be_a_number_and_yen_have_no_decimals() -> None:
    body = order("woocommerce") | {"total": 29.35}

    assert read("woocommerce", body).total == 2935
    yen = put(body, "line_items", []) | {
        "currency": "JPY",
        "total": "1980",
        "shipping_total": "500.00",
        "total_tax": "0",
    }
    assert (read("woocommerce", yen).total, read("woocommerce", yen).shipping) == (1980, 500)


def test_variation_0_is_no_variation_and_an_empty_sku_is_no_sku() -> None:
    first, second = read("woocommerce", order("woocommerce")).lines

    assert (first.platform_sku, first.merchant_sku) == ("93", None)
    assert (second.platform_sku, second.merchant_sku) == ("23", "Bar3")


@pytest.mark.parametrize(
    "body", [b"webhook_id=142", b'{"webhook_id":142}', raw("woocommerce", "webhook")]
)
def test_the_ping_of_a_new_webhook_and_the_webhook_itself_say_nothing(body: bytes) -> None:
    assert parse("woocommerce", body) == []


def test_of_a_deleted_order_the_id_is_left() -> None:
    statement = read("woocommerce", {"id": 727})

    assert (statement.order_id, statement.status) == ("727", None)
    assert [notice.code for notice in statement.notices] == [NoticeCode.THIN]


def test_a_batch_gives_every_order_that_went_through() -> None:
    failed = {"id": 0, "error": {"code": "woocommerce_rest_invalid_id", "message": "Invalid ID."}}
    batch = {"create": [order("woocommerce"), failed], "update": None}

    assert [one.order_id for one in parse("woocommerce", batch)] == ["727"]
    assert parse("woocommerce", []) == []


def test_an_answer_with_an_error_is_not_an_empty_page() -> None:
    with pytest.raises(MalformedPayload, match="code"):
        parse("woocommerce", {"code": "rest_forbidden", "message": "x", "data": {"status": 401}})
