"""Files given together belong together; what comes out is plain and complete."""

from itertools import permutations
from typing import Any

import orjson
import pytest

from schemas.errors import Rejected, UnknownPlatform
from schemas.orders import Refund, Status
from streams.adapters.amounts import refund_of_lines, settle_refund
from streams.adapters.normalize import normalize
from tests.adapters.samples import order, put, raw, sample

ORDER_KEYS = {
    "platform", "platform_order_id", "status", "refund", "currency", "total_minor",
    "shipping_minor", "discount_minor", "created_at", "paid_at", "updated_at", "lines",
    "buyer_phone_usable", "notices",
}  # fmt: skip
LINE_KEYS = {
    "line_id", "platform_sku", "merchant_sku", "quantity", "unit_price_minor", "line_total_minor",
}  # fmt: skip


def files(platform: str, *names: str) -> list[tuple[str, bytes]]:
    return [(f"{name}.json", raw(platform, name)) for name in names]


def the_one(platform: str, given: list[tuple[str, bytes]]) -> dict[str, Any]:
    (found,) = normalize(platform, given)
    return found


@pytest.mark.parametrize(
    ("platform", "name"),
    [("taobao", "push_tmc_consume"), ("douyin", "push_batch"), ("shopify", "refund")],
)
def test_every_order_has_the_same_keys_whatever_was_said(platform: str, name: str) -> None:
    for found in normalize(platform, files(platform, name)):
        assert set(found) == ORDER_KEYS
        assert all(set(line) == LINE_KEYS for line in found["lines"])
        assert orjson.loads(orjson.dumps(found)) == found


def test_a_trade_and_its_after_sale_list_are_one_order_refunded_by_amount() -> None:
    given = files("taobao", "trade_finished_one_line_refunded", "refunds_receive_get")

    for together in permutations(given):
        found = the_one("taobao", list(together))
        assert (found["status"], found["refund"]) == ("COMPLETED", "PARTIALLY_REFUNDED")
        assert (found["total_minor"], len(found["lines"])) == (13800, 2)


def test_an_after_sale_list_that_adds_up_to_the_whole_is_refunded() -> None:
    refunds = sample("taobao", "refunds_receive_get")
    first = refunds["refunds_receive_get_response"]["refunds"]["refund"][0]
    other = first | {"refund_id": 7, "oid": 2768220019948206619, "refund_fee": "89.00"}
    refunds["refunds_receive_get_response"]["refunds"]["refund"].append(other)
    given = files("taobao", "trade_finished_one_line_refunded")

    found = the_one("taobao", [*given, ("refunds.json", orjson.dumps(refunds))])

    assert found["refund"] == "REFUNDED"


def test_an_after_sale_of_an_order_that_shows_none_is_counted() -> None:
    trade = order("taobao", "trade_shipped")
    refund = {
        "refund_id": 9,
        "tid": trade["tid"],
        "oid": trade["tid"],
        "status": "SUCCESS",
        "refund_fee": "20.00",
        "total_fee": "51.00",
        "modified": "2026-04-12 10:00:00",
    }

    found = the_one(
        "taobao", [("trade.json", orjson.dumps(trade)), ("refund.json", orjson.dumps(refund))]
    )

    assert found["refund"] == "PARTIALLY_REFUNDED"


def test_an_after_sale_list_alone_gives_the_orders_it_names() -> None:
    found = the_one("taobao", files("taobao", "refunds_receive_get"))

    assert found["platform_order_id"] == "2768220019947206619"
    # One line of several was paid back: oid is not tid.
    assert found["refund"] == "PARTIALLY_REFUNDED"
    assert (found["status"], found["total_minor"], found["lines"]) == (None, None, [])


def test_a_refund_of_a_trade_of_one_line_is_whole_when_its_amount_is() -> None:
    refunds = sample("taobao", "refunds_receive_get")
    path = "refunds_receive_get_response.refunds.refund.0"
    whole = put(refunds, f"{path}.oid", 2768220019947206619)
    part = put(whole, f"{path}.refund_fee", "9.00")
    exchanged = put(whole, f"{path}.refund_fee", "0.00")

    assert the_one("taobao", [("r", orjson.dumps(whole))])["refund"] == "REFUNDED"
    assert the_one("taobao", [("r", orjson.dumps(part))])["refund"] == "PARTIALLY_REFUNDED"
    assert the_one("taobao", [("r", orjson.dumps(exchanged))])["refund"] == "NONE"


def test_an_application_closed_before_does_not_lessen_the_one_that_succeeded() -> None:
    refunds = sample("taobao", "refunds_receive_get")
    listed = refunds["refunds_receive_get_response"]["refunds"]["refund"]
    listed[0]["oid"] = listed[0]["tid"]
    listed.append(listed[0] | {"refund_id": 7, "status": "CLOSED"})

    assert the_one("taobao", [("r", orjson.dumps(refunds))])["refund"] == "REFUNDED"


def test_a_refund_that_is_older_than_the_order_is_in_it_already() -> None:
    given = files("shopify", "order_cancelled_refunded")
    refund = {
        "order_id": 450789469,
        "created_at": "2025-04-02T11:31:21-05:00",
        "refund_line_items": [],
        "transactions": [
            {"kind": "refund", "status": "success", "amount": "10.00", "currency": "USD"}
        ],
    }

    found = the_one("shopify", [*given, ("refund.json", orjson.dumps(refund))])

    assert (found["status"], found["refund"]) == ("CANCELLED", "REFUNDED")


def test_a_newer_refund_of_shopify_is_added_to_the_order() -> None:
    paid = order("shopify") | {"financial_status": "paid", "refunds": []}
    given = [("order.json", orjson.dumps(paid)), *files("shopify", "refund")]

    for together in permutations(given):
        found = the_one("shopify", list(together))
        assert (found["status"], found["refund"]) == ("PAID", "PARTIALLY_REFUNDED")
        # The order is there in full: nothing is left to fetch.
        assert {notice["code"] for notice in found["notices"]} == set()


def test_a_push_and_its_order_are_one_order_and_the_newer_word_wins() -> None:
    given = [*files("douyin", "push_batch"), *files("douyin", "order_refunded_after_shipping")]

    found = {each["platform_order_id"]: each for each in normalize("douyin", given)}

    assert len(found) == 5
    refunded = found["6927730041188250371"]
    assert (refunded["status"], refunded["refund"]) == ("CANCELLED", "REFUNDED")
    assert refunded["notices"] == []


def test_a_file_given_twice_counts_once() -> None:
    given = files("taobao", "trade_finished_one_line_refunded", "refunds_receive_get")

    assert normalize("taobao", given * 2) == normalize("taobao", given)


def test_a_pushed_refund_is_not_added_to_the_list_that_has_it() -> None:
    pushed = {
        "topic": "taobao_refund_RefundSuccess",
        "content": {
            "tid": "2768220019947206619",
            "refund_fee": "89.00",
            "modified": "2026-04-09 18:40:12",
        },
    }
    given = files("taobao", "trade_finished_one_line_refunded", "refunds_receive_get")

    found = the_one("taobao", [*given, ("push.json", orjson.dumps(pushed))])

    assert found["refund"] == "PARTIALLY_REFUNDED"


def test_a_running_refund_is_seen_although_part_was_paid_back() -> None:
    assert settle_refund(Refund.REFUNDING, 4900, 13800) is Refund.REFUNDING


@pytest.mark.parametrize(
    ("said", "refunded", "total", "status", "refund"),
    [
        (Refund.NONE, 0, 100, None, Refund.NONE),
        (Refund.NONE, 1, 100, None, Refund.PARTIALLY_REFUNDED),
        (Refund.NONE, 100, 100, None, Refund.REFUNDED),
        (None, 101, 100, None, Refund.REFUNDED),
        (None, 50, None, None, None),
        (None, None, 100, None, None),
        (Refund.REFUNDED, 50, 100, Status.COMPLETED, Refund.PARTIALLY_REFUNDED),
        # Closed by a full refund: the platform's word stands.
        (Refund.REFUNDED, 50, 100, Status.CANCELLED, Refund.REFUNDED),
    ],
)
def test_a_refund_is_settled_by_amount(
    said: Refund | None,
    refunded: int | None,
    total: int | None,
    status: Status | None,
    refund: Refund | None,
) -> None:
    assert settle_refund(said, refunded, total, status) is refund


def test_one_line_that_cannot_be_told_makes_the_orders_refund_untellable() -> None:
    assert refund_of_lines([Refund.REFUNDED, None]) is None
    assert refund_of_lines([]) is None


def test_times_are_utc_with_milliseconds_only_where_they_were_said() -> None:
    body = order("shopify") | {"updated_at": "2025-04-02T11:31:05.250-05:00"}

    found = the_one("shopify", [("order.json", orjson.dumps(body))])

    assert found["created_at"] == "2008-01-10T16:00:00Z"
    assert found["updated_at"] == "2025-04-02T16:31:05.250Z"
    assert found["paid_at"] is None


def test_a_file_that_cannot_be_read_is_named_with_the_reason() -> None:
    bad = orjson.dumps(put(order("taobao"), "orders.order.1.num", 0))

    with pytest.raises(Rejected) as refused:
        normalize("taobao", [*files("taobao", "trade_unpaid"), ("second.json", bad)])

    assert str(refused.value) == (
        "second.json cannot be read as taobao: "
        "orders.order[1].num: 0 is not a quantity from 1 to 1000000000."
    )


def test_a_platform_that_does_not_exist_is_no_platform() -> None:
    with pytest.raises(UnknownPlatform, match=r"^no adapter reads 'ebay'; "):
        normalize("ebay", [])


def test_nothing_given_is_nothing_found() -> None:
    assert normalize("taobao", []) == []
    assert normalize("douyin", files("douyin", "probe")) == []
