"""Kuaishou: two statuses in one message, and one end for two stories."""

from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters.kuaishou import REFUNDS, STATUSES
from streams.adapters.normalize import normalize
from tests.adapters.samples import order, parse, put, raw, read, sample


@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: [body],
        lambda body: {"result": 1, "data": body},
        lambda body: {"result": 1, "data": {"orderInfoList": [body], "cursor": "nomore"}},
        lambda body: body | {"orderItemInfo": [body["orderItemInfo"]]},
    ],
)
def test_an_order_is_read_in_every_wrapping(wrap: Any) -> None:
    body = order("kuaishou")
    plain, wrapped = (
        normalize("kuaishou", [("order.json", orjson.dumps(given))]) for given in (body, wrap(body))
    )

    assert wrapped == plain


def test_an_empty_page_says_nothing_and_a_refusal_is_none() -> None:
    assert parse("kuaishou", {"result": 1, "data": {"orderInfoList": []}}) == []
    with pytest.raises(MalformedPayload, match="answered 24"):
        parse("kuaishou", {"result": 24, "error_msg": "no permission"})


ORDER_STATUSES = [
    ("10", Status.PENDING_PAYMENT),
    ("30", Status.PAID),
    ("40", Status.SHIPPED),
    ("50", Status.DELIVERED),
    ("70", Status.COMPLETED),
    ("80", Status.CANCELLED),
]


def test_every_declared_status_stands_in_a_case() -> None:
    assert set(STATUSES) == {native for native, _ in ORDER_STATUSES}


@pytest.mark.parametrize(("native", "status"), ORDER_STATUSES)
def test_a_status_is_one_of_ours(native: str, status: Status) -> None:
    statement = read("kuaishou", put(order("kuaishou"), "orderBaseInfo.status", int(native)))

    assert statement.status is status
    assert statement.refund is (Refund.REFUNDED if native == "80" else Refund.NONE)


def test_an_order_that_failed_before_payment_has_nothing_to_pay_back() -> None:
    body = put(order("kuaishou", "order_failed_after_pay"), "orderBaseInfo.payTime", 0)

    statement = read("kuaishou", body)

    assert (statement.status, statement.refund) == (Status.CANCELLED, Refund.NONE)


def test_the_status_of_a_message_is_not_the_orders() -> None:
    created = read("kuaishou", sample("kuaishou", "push_addOrder_decrypted"))
    paid = read("kuaishou", sample("kuaishou", "push_paySuccess_decrypted"))

    assert (created.status, paid.status) == (None, Status.PAID)
    assert [notice.code for notice in paid.notices] == [NoticeCode.THIN]


@pytest.mark.parametrize(("native", "refund"), REFUNDS.items())
def test_an_after_sale_word_is_one_of_ours(native: str, refund: Refund) -> None:
    push = sample("kuaishou", "push_updateRefund_decrypted")
    push["info"] = push["info"].replace('"status":60', f'"status":{native}')

    statement = read("kuaishou", push)

    # The status of an after-sale says nothing about how far the order has come.
    assert (statement.refund, statement.status) == (refund, None)


def test_a_refund_that_was_asked_for_runs() -> None:
    push = {"event": "kwaishop_aftersales_addRefund", "info": {"oid": 2618800447712036}}

    assert read("kuaishou", push).refund is Refund.REFUNDING


def test_an_encrypted_message_says_what_its_plain_text_says() -> None:
    sealed, plain = (
        sample("kuaishou", f"push_paySuccess_{form}") for form in ("encrypted", "decrypted")
    )

    assert read("kuaishou", sealed) == read("kuaishou", plain)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("secret", "MTIzNDU2Nzg5MDEyMzQ1Ng==", r"^body: cannot be decrypted"),
        ("secret", "c2hvcnQ=", r"^secret: has 5 bytes, not 16"),
        ("secret", "***", r"^secret: not a text in base64"),
        ("body", 7, r"^body: not a text in base64"),
        ("body", "", r"^body: cannot be decrypted"),
        ("body", "MTIz", r"^body: cannot be decrypted"),
    ],
)
def test_an_envelope_that_cannot_be_opened_says_why(key: str, value: Any, why: str) -> None:
    body = sample("kuaishou", "push_paySuccess_encrypted") | {key: value}

    with pytest.raises(MalformedPayload, match=why):
        parse("kuaishou", body)


def test_a_discount_on_the_order_counts_in_its_discount() -> None:
    body = put(order("kuaishou"), "orderBaseInfo.totalFee", 4090)

    statement = read("kuaishou", body)

    assert (statement.total, statement.shipping, statement.discount) == (4090, 600, 500)


def test_times_are_in_milliseconds_and_zero_is_none() -> None:
    statement = read("kuaishou", order("kuaishou"))

    assert statement.paid_at is not None
    assert (statement.paid_at.ms, statement.shipped_at) == (1778814019900, None)


def test_a_push_and_its_order_are_one_order() -> None:
    names = ("push_paySuccess_decrypted", "order_paid")

    (found,) = normalize("kuaishou", [(name, raw("kuaishou", name)) for name in names])

    assert (found["status"], found["notices"]) == ("PAID", [])
