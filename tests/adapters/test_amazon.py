"""Amazon's traps, each by its name."""

from itertools import permutations
from typing import Any

import orjson
import pytest

from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Status
from streams.adapters import ADAPTERS
from streams.adapters.normalize import normalize
from tests.adapters.samples import DROP, order, parse, put, raw, read, sample

STATUSES = {
    "PendingAvailability": Status.PENDING_PAYMENT,
    "Pending": Status.PENDING_PAYMENT,
    "Unshipped": Status.PAID,
    "PartiallyShipped": Status.PARTIALLY_SHIPPED,
    "Shipped": Status.SHIPPED,
    "InvoiceUnconfirmed": Status.SHIPPED,
    "Canceled": Status.CANCELLED,
    "Unfulfillable": Status.ON_HOLD,
    "PENDING_AVAILABILITY": Status.PENDING_PAYMENT,
    "PENDING": Status.PENDING_PAYMENT,
    "UNSHIPPED": Status.PAID,
    "PARTIALLY_SHIPPED": Status.PARTIALLY_SHIPPED,
    "SHIPPED": Status.SHIPPED,
    "CANCELLED": Status.CANCELLED,
    "UNFULFILLABLE": Status.ON_HOLD,
}
ORDER, ITEMS = "v0_getOrder_sandbox0", "v0_getOrderItems_sandbox0"


def given(order: Any, items: Any) -> list[tuple[str, bytes]]:
    return [("order.json", orjson.dumps(order)), ("items.json", orjson.dumps(items))]


def unasked(items: Any) -> Any:
    """The items, with no buyer who wants to cancel."""
    return put(items, "payload.OrderItems.0.BuyerRequestedCancel", DROP)


def test_the_order_and_its_items_of_v0_are_one_whole_order_in_either_sequence() -> None:
    for together in permutations(given(sample("amazon", ORDER), sample("amazon", ITEMS))):
        (found,) = normalize("amazon", together)
        assert found["platform_order_id"] == "902-1845936-5435065"
        assert (found["currency"], found["total_minor"]) == ("USD", 1101)
        assert found["created_at"] == "1970-01-19T03:58:30Z"
        assert found["lines"] == [
            {
                "line_id": "05015851154158",
                "platform_sku": "B00551Q3CS",
                "merchant_sku": "NABetaASINB00551Q3CS",
                "quantity": 1,
                "unit_price_minor": 1000,
                "line_total_minor": 1000,
            }
        ]
        # Nothing is left to fetch.
        assert found["notices"] == []


@pytest.mark.parametrize(("total", "discount"), [("11.01", 0), ("9.01", 200)])
def test_prices_of_the_items_and_the_total_of_the_order_tell_the_discount(
    total: str, discount: int
) -> None:
    body = put(sample("amazon", ORDER), "payload.OrderTotal.Amount", total)
    items = put(sample("amazon", ITEMS), "payload.OrderItems.0.PromotionDiscount", DROP)

    for together in permutations(given(body, items)):
        assert normalize("amazon", together)[0]["discount_minor"] == discount


def test_a_buyers_wish_to_cancel_a_line_holds_the_paid_order_back() -> None:
    asked, items = sample("amazon", ORDER), sample("amazon", ITEMS)

    for together in permutations(given(asked, items)):
        assert normalize("amazon", together)[0]["status"] == "ON_HOLD"
    assert normalize("amazon", given(asked, unasked(items)))[0]["status"] == "PAID"


@pytest.mark.parametrize("native", ["Pending", "PartiallyShipped", "Shipped", "Canceled"])
def test_a_wish_to_cancel_changes_no_order_that_is_unpaid_or_under_way(native: str) -> None:
    body = put(sample("amazon", ORDER), "payload.OrderStatus", native)

    (found,) = normalize("amazon", given(body, sample("amazon", ITEMS)))

    assert found["status"] == STATUSES[native]


def test_items_that_a_bridge_put_into_their_order_are_read_with_it() -> None:
    whole = sample("amazon", ORDER)["payload"] | sample("amazon", ITEMS)["payload"]

    statement = read("amazon", whole)

    assert (statement.total, statement.tax, statement.discount) == (1101, 101, 0)
    assert statement.status is Status.ON_HOLD
    assert len(statement.lines) == 1


@pytest.mark.parametrize(
    ("amount", "count", "unit"), [("30.00", 3, 1000), ("10.00", 3, 333), ("0.05", 2, 3)]
)
def test_the_price_of_an_item_of_v0_is_the_whole_lines(amount: str, count: int, unit: int) -> None:
    items = put(sample("amazon", ITEMS), "payload.OrderItems.0.ItemPrice.Amount", amount)

    (line,) = read("amazon", put(items, "payload.OrderItems.0.QuantityOrdered", count)).lines

    assert (line.quantity, line.unit_price) == (count, unit)
    assert line.line_total == int(amount.replace(".", ""))


def test_promotions_and_shipping_of_v0_are_summed_over_the_items() -> None:
    items = sample("amazon", ITEMS)
    (item,) = items["payload"]["OrderItems"]
    item |= {
        "PromotionDiscount": {"CurrencyCode": "USD", "Amount": "2.50"},
        "ShippingPrice": {"CurrencyCode": "USD", "Amount": "4.99"},
        "ShippingDiscount": {"CurrencyCode": "USD", "Amount": "1.00"},
    }
    items["payload"]["OrderItems"].append(item | {"OrderItemId": "2"})

    statement = read("amazon", items)

    assert (statement.discount, statement.shipping, statement.tax) == (500, 798, 202)
    assert [line.line_total for line in statement.lines] == [750, 750]


def test_a_cancelled_item_has_no_units_and_is_no_line() -> None:
    items = put(sample("amazon", ITEMS), "payload.OrderItems.0.QuantityOrdered", 0)

    assert read("amazon", items).lines == ()


def test_yen_with_a_fraction_are_refused_and_dinars_have_three_decimals() -> None:
    yen = {"CurrencyCode": "JPY", "Amount": "25.99"}
    items = put(sample("amazon", ITEMS), "payload.OrderItems.0.ItemPrice", yen)
    with pytest.raises(MalformedPayload, match=r"^payload\.OrderItems\[0\]\.ItemPrice\.Amount: "):
        parse("amazon", items)

    body = sample("amazon", ORDER)
    for currency, amount, minor in (("JPY", "1980.00", 1980), ("KWD", 1.5, 1500)):
        said = {"CurrencyCode": currency, "Amount": amount}
        assert read("amazon", put(body, "payload.OrderTotal", said)).total == minor


def test_two_currencies_in_one_order_are_refused_because_no_rate_is_known() -> None:
    items = put(sample("amazon", ITEMS), "payload.OrderItems.0.ItemTax.CurrencyCode", "EUR")

    with pytest.raises(MalformedPayload, match=r"ItemTax: the amount is in EUR, the order in USD"):
        parse("amazon", items)


def test_a_pending_order_has_no_total_yet() -> None:
    statement = read("amazon", raw("amazon", "v0_getOrder_example"))

    assert (statement.status, statement.total, statement.currency) == (
        Status.PENDING_PAYMENT,
        None,
        None,
    )
    assert [notice.code for notice in statement.notices] == [NoticeCode.THIN]


def test_a_page_of_orders_and_an_empty_one() -> None:
    orders = [sample("amazon", name)["payload"] for name in (ORDER, "v0_getOrder_sandbox1")]

    assert len(parse("amazon", {"payload": {"Orders": orders, "NextToken": "x"}})) == 2
    assert parse("amazon", {"payload": {"Orders": []}}) == []
    assert parse("amazon", {"orders": [], "pagination": None}) == []
    with pytest.raises(MalformedPayload, match="errors"):
        parse("amazon", {"errors": [{"code": "InvalidInput", "message": "x"}]})


@pytest.mark.parametrize(("native", "expected"), STATUSES.items())
def test_a_status_of_either_generation_is_one_of_ours(native: str, expected: Status) -> None:
    old = read("amazon", put(sample("amazon", ORDER), "payload.OrderStatus", native))
    new = read("amazon", put(order("amazon"), "fulfillment.fulfillmentStatus", native))

    assert (old.status, new.status) == (expected, expected)
    # Neither generation has a word for refunds; what was never paid cannot be paid back.
    unpaid = expected is Status.PENDING_PAYMENT
    assert old.refund is (Refund.NONE if unpaid else None)


@pytest.mark.parametrize(
    ("native", "packages", "status"),
    [
        ("SHIPPED", ["DELIVERED"], Status.DELIVERED),
        ("SHIPPED", ["DELIVERED", "CANCELLED"], Status.DELIVERED),
        ("SHIPPED", ["DELIVERED", "IN_TRANSIT"], Status.SHIPPED),
        ("SHIPPED", [], Status.SHIPPED),
        ("PARTIALLY_SHIPPED", ["DELIVERED"], Status.PARTIALLY_SHIPPED),
    ],
)
def test_an_order_is_delivered_when_all_its_packages_are(
    native: str, packages: list[str], status: Status
) -> None:
    body = put(order("amazon"), "fulfillment.fulfillmentStatus", native)
    body["packages"] = [{"packageStatus": {"status": said}} for said in packages]

    assert read("amazon", body).status is status


def test_a_buyers_request_of_2026_holds_the_unshipped_order_back() -> None:
    body = put(order("amazon"), "fulfillment.fulfillmentStatus", "UNSHIPPED")
    body["orderItems"][0]["cancellation"] = {"cancellationRequest": {"requester": "BUYER"}}

    assert read("amazon", body).status is Status.ON_HOLD


@pytest.mark.parametrize("said", ["5.00", "-5.00", -5])
def test_a_discount_of_2026_counts_once_with_or_without_its_minus(said: Any) -> None:
    amount = {"amount": said, "currencyCode": "GBP"}
    body = put(order("amazon"), "proceeds.grandTotal.amount", "98.97")
    for proceeds in (body["proceeds"], body["orderItems"][0]["proceeds"]):
        proceeds["breakdowns"].append({"type": "DISCOUNT", "subtotal": amount})

    statement = read("amazon", body)

    assert statement.discount == 500
    assert (statement.lines[0].unit_price, statement.lines[0].line_total) == (2999, 8497)


def test_a_tip_is_no_negative_discount() -> None:
    statement = read("amazon", raw("amazon", "v2026-01-01_searchOrders_example"))

    assert (statement.total, statement.discount) == (15499, 0)


def small(value: Any) -> Any:
    """The same JSON with its keys in the other family's capitals: `notificationType`."""
    if isinstance(value, list):
        return [small(part) for part in value]
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: small(part) for key, part in value.items()}
    return value


def test_a_notification_is_read_in_every_casing_and_every_envelope() -> None:
    told = sample("amazon", "notification_ORDER_CHANGE")
    sns = {"Type": "Notification", "TopicArn": "x", "Message": orjson.dumps(told).decode()}
    envelopes: list[Any] = [
        told,
        sns,
        {"Body": orjson.dumps(sns).decode()},
        {"detail-type": "ORDER_CHANGE", "detail": told},
        small(told),
        put(
            small(told),
            "payload.orderChangeNotification.summary.orderItems",
            [{"buyerRequestedCancel": {"isBuyerRequestedCancel": "true"}}],
        ),
    ]

    for body in envelopes:
        statement = read("amazon", body)
        assert statement.order_id == "903-8868176-2219830"
        assert (statement.status, statement.lines) == (Status.ON_HOLD, ())
        assert statement.stated_ms == 1_669_750_924_284
        assert [notice.code for notice in statement.notices] == [NoticeCode.THIN]


@pytest.mark.parametrize(
    "body",
    [
        {"Type": "SubscriptionConfirmation", "TopicArn": "x", "Message": "You have chosen…"},
        {"notificationType": "LISTINGS_ITEM_STATUS_CHANGE", "payload": {"Sku": "A"}},
    ],
)
def test_a_handshake_or_another_notification_says_nothing(body: dict[str, Any]) -> None:
    assert parse("amazon", body) == []


def test_envelopes_in_envelopes_without_end_say_nothing() -> None:
    body = b'{"Type":"x","detail":' * 200 + b"{}" + b"}" * 200

    assert parse("amazon", body) == []


def test_every_word_the_adapter_declares_stands_in_a_case() -> None:
    assert set(STATUSES) == set(ADAPTERS["amazon"].statuses)
