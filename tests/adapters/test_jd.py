"""JD: two spellings, one order; the money that went back is in the refund lists."""

from itertools import permutations
from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters.jd import REFUNDS, STATUSES
from streams.adapters.normalize import normalize
from tests.adapters.samples import order, parse, put, raw, read, sample

WRAPPINGS = [
    lambda body: body,
    lambda body: [body],
    lambda body: {"orderInfo": body},
    lambda body: {"order_info": body},
    lambda body: {
        "jingdong_pop_order_get_responce": {
            "code": "0",
            "orderDetailInfo": {"apiResult": {"success": True}, "orderInfo": body},
        }
    },
    lambda body: {
        "jingdong_pop_order_enSearch_responce": {
            "searchorderinfo_result": {"orderTotal": 1, "orderInfoList": [body]}
        }
    },
]


def application(**said: Any) -> dict[str, Any]:
    listed: dict[str, Any] = sample("jd", "refund_apply_list")
    listed["result"][0] |= said
    return listed


def together(*bodies: Any) -> dict[str, Any]:
    """The one order that *bodies* make, whatever their order."""
    found = [
        normalize("jd", [(f"{i}.json", orjson.dumps(body)) for i, body in enumerate(given)])
        for given in permutations(bodies)
    ]
    assert all(each == found[0] for each in found)
    (only,) = found[0]
    return only


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_an_order_is_read_in_every_wrapping(wrap: Any) -> None:
    body = order("jd")

    assert read("jd", wrap(body)) == read("jd", body)


@pytest.mark.parametrize(
    "page",
    [
        {"result": [], "success": True, "totalCount": 0},
        {"jingdong_pop_order_search_responce": {"searchorderinfo_result": {"order_total": 0}}},
        {"searchorderinfo_result": {"order_total": 0, "order_info_list": {"order_info": []}}},
    ],
)
def test_an_empty_page_says_nothing(page: Any) -> None:
    assert parse("jd", page) == []


def test_a_refusal_is_not_an_empty_page() -> None:
    with pytest.raises(MalformedPayload):
        parse("jd", {"jingdong_pop_order_get_responce": {"code": "19", "zh_desc": "无权限"}})


def test_both_spellings_of_one_order_say_the_same() -> None:
    newer = order("jd")
    older = {"order_id": newer["orderId"], "order_state": newer["orderState"]}
    older |= {"order_payment": "179.00", "freight_price": "6.00"}
    older |= {"order_start_time": newer["orderStartTime"], "modified": newer["modified"]}
    older["payment_confirm_time"] = newer["paymentConfirmTime"]
    older["item_info_list"] = [
        {
            "sku_id": item["skuId"],
            "outer_sku_id": item["outerSkuId"],
            "sku_name": item["skuName"],
            "jd_price": item["jdPrice"],
            "item_total": item["itemTotal"],
        }
        for item in newer["itemInfoList"]
    ]

    assert together(older) == together(newer)


def test_a_wrong_field_of_the_older_spelling_is_named_as_it_is_spelt() -> None:
    page = put(
        sample("jd", "order_finished_snake_case"), "order_info.item_info_list.0.item_total", 0
    )

    with pytest.raises(MalformedPayload, match=r"^order_info\.item_info_list\[0\]\.item_total: "):
        parse("jd", page)


STATES = [
    ("WAIT_SELLER_STOCK_OUT", Status.PAID),
    ("WAIT_SEND_CODE", Status.PAID),
    ("WAIT_SELLER_DELIVERY", Status.PAID),
    ("PAUSE", Status.ON_HOLD),
    ("POP_ORDER_PAUSE", Status.ON_HOLD),
    ("LOCKED", Status.ON_HOLD),
    ("SEND_TO_DISTRIBUTION_CENER", Status.SHIPPED),
    ("DISTRIBUTION_CENTER_RECEIVED", Status.SHIPPED),
    ("WAIT_GOODS_RECEIVE_CONFIRM", Status.SHIPPED),
    ("RECEIPTS_CONFIRM", Status.DELIVERED),
    ("FINISHED_L", Status.COMPLETED),
    ("TRADE_CANCELED", Status.CANCELLED),
    ("PARENT_TRADE_CANCELED", Status.CANCELLED),
]
RUNNING = ["0", "1", "5", "6", "7", "10", "16", "17", "19", "27"]
RUNNING_SERVICE = [
    "10000", "10001", "10002", "10005", "10006", "10007", "10009", "10012", "10013", "10041",
    "1100",
]  # fmt: skip
REFUND_WORDS = [
    *((native, Refund.REFUNDING) for native in RUNNING + RUNNING_SERVICE),
    *((native, Refund.REFUNDED) for native in ("3", "9", "10010")),
    *((native, Refund.REJECTED) for native in ("2", "4", "8", "10004")),
    *((native, Refund.NONE) for native in ("11", "18", "10011")),
]


def test_every_declared_word_stands_in_a_case() -> None:
    assert set(STATUSES) == {native for native, _ in STATES}
    assert set(REFUNDS) == {native for native, _ in REFUND_WORDS}


@pytest.mark.parametrize(("native", "status"), STATES)
def test_a_state_of_an_order_is_one_of_ours(native: str, status: Status) -> None:
    statement = read("jd", put(order("jd"), "orderState", native))

    assert (statement.status, statement.status_said) == (status, native)
    # Locked for a review is the only state that tells of money.
    assert statement.refund is (Refund.REFUNDING if native == "LOCKED" else None)


def test_an_order_cancelled_before_payment_has_nothing_to_pay_back() -> None:
    body = order("jd", "order_cancelled") | {"paymentConfirmTime": ""}

    assert read("jd", body).refund is Refund.NONE


@pytest.mark.parametrize(("native", "refund"), REFUND_WORDS)
def test_a_word_of_a_refund_list_is_one_of_ours(native: str, refund: Refund) -> None:
    assert read("jd", application(status=int(native))).refund is refund


def test_an_order_and_its_refund_list_are_one_order() -> None:
    found = together(sample("jd", "order_cancelled"), sample("jd", "refund_apply_list"))

    assert (found["status"], found["refund"]) == ("CANCELLED", "REFUNDED")
    assert (found["total_minor"], len(found["lines"])) == (12900, 1)


@pytest.mark.parametrize(
    ("said", "status", "refund"),
    [
        ({"status": 0}, "ON_HOLD", "REFUNDING"),
        ({"status": 2}, "ON_HOLD", "REJECTED"),
        ({"status": 11}, "ON_HOLD", "NONE"),
        # The sum is fen: 49.00 yuan is the whole order, which is closed by that alone.
        ({"status": 3, "applyRefundSum": 4900}, "CANCELLED", "REFUNDED"),
        ({"status": 3, "applyRefundSum": "49.00"}, "CANCELLED", "REFUNDED"),
        ({"status": 3, "applyRefundSum": 900}, "ON_HOLD", "PARTIALLY_REFUNDED"),
    ],
)
def test_a_locked_order_goes_where_its_application_goes(
    said: dict[str, Any], status: str, refund: str
) -> None:
    locked = order("jd", "order_locked")

    found = together(locked, application(orderId=locked["orderId"], **said))

    assert (found["status"], found["refund"]) == (status, refund)


def test_a_refund_after_shipping_does_not_unship_the_order() -> None:
    shipped = order("jd", "order_shipped")
    paid_back = application(orderId=shipped["orderId"], applyRefundSum=16900)

    assert together(shipped, paid_back)["status"] == "SHIPPED"


def test_a_service_order_without_an_amount_may_have_been_an_exchange() -> None:
    service = {"orderId": "1", "afsServiceStatus": 10010}

    assert read("jd", service).refund is None
    assert read("jd", service | {"customerExpect": 20}).refund is Refund.NONE
    assert read("jd", service | {"refundAmount": "9.00"}).refund is Refund.REFUNDED


def test_an_unknown_word_of_a_refund_list_leaves_a_notice() -> None:
    statement = read("jd", application(status=99))

    assert statement.refund is None
    assert [notice.code for notice in statement.notices] == [NoticeCode.UNKNOWN_REFUND_STATUS]


def test_a_coupon_of_a_sku_lowers_its_line_and_one_of_the_order_none() -> None:
    body = order("jd")
    body["couponDetailList"].append(
        {"orderId": body["orderId"], "skuId": "100177203384", "couponPrice": "8.00"}
    )
    body["orderPayment"] = "171.00"

    statement = read("jd", body)

    assert [line.line_total for line in statement.lines] == [15000, 2500]
    assert statement.discount == 1800


@pytest.mark.parametrize("null", ["", None, "0001-01-01 00:00:00", "0"])
def test_null_in_every_spelling_is_no_time(null: Any) -> None:
    assert read("jd", order("jd") | {"outBoundDate": null}).shipped_at is None


def test_a_message_that_only_names_the_order_asks_for_it() -> None:
    said = {
        "orderId": "301774420815",
        "orderState": "FINISHED_L",
        "modified": "2026-04-20 09:00:00",
    }

    statement = read("jd", said)

    assert (statement.status, statement.lines) == (Status.COMPLETED, ())
    assert [notice.code for notice in statement.notices] == [NoticeCode.THIN]


def test_the_key_of_an_order_is_not_that_of_its_parent() -> None:
    assert raw("jd", "order_paid").count(b"parentOrderId") == 1
    body = order("jd") | {"parentOrderId": "301774420000"}

    assert read("jd", body).order_id == "301774420815"
