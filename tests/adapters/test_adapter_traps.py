"""The traps of these platforms, each by its name."""

from typing import Any

import orjson
import pytest
from msgspec import structs

from schemas.base import Moment
from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, Refund, Statement, Status
from streams.adapters import adapter_for
from tests.adapters.samples import DROP, order, parse, put, raw, read, sample

# --- what a payload comes in --------------------------------------------------------------------


def _unnoticed(platform: str, body: Any) -> Statement:
    """The order without its notices, whose paths tell the wrapping."""
    return structs.replace(read(platform, body), notices=())


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda trade: trade, id="bare"),
        pytest.param(lambda trade: {"trade": trade}, id="trade"),
        pytest.param(lambda trade: {"trade_get_response": {"trade": trade}}, id="trade.get"),
        pytest.param(lambda trade: {"trades": {"trade": [trade]}}, id="trades"),
        pytest.param(lambda trade: {"trades": [trade]}, id="simplified"),
        pytest.param(
            lambda trade: {"trades_sold_get_response": {"trades": {"trade": [trade]}}}, id="sold"
        ),
        pytest.param(
            lambda trade: {
                "trades_sold_increment_get_response": {"trades": {"trade": [trade]}, "has_next": 0}
            },
            id="increment",
        ),
        pytest.param(lambda trade: [trade], id="array"),
    ],
)
def test_a_trade_of_taobao_is_read_in_every_wrapping(wrap: Any) -> None:
    assert _unnoticed("taobao", wrap(order("taobao"))) == _unnoticed("taobao", order("taobao"))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda body: {"shop_order_detail": body}, id="detail"),
        pytest.param(lambda body: {"code": 10000, "data": {"shop_order_list": [body]}}, id="page"),
        pytest.param(lambda body: {"shop_order_list": [body], "total": 1}, id="bare page"),
        pytest.param(lambda body: [body], id="array"),
    ],
)
def test_an_order_of_douyin_is_read_in_every_wrapping(wrap: Any) -> None:
    assert _unnoticed("douyin", wrap(order("douyin"))) == _unnoticed("douyin", order("douyin"))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda body: {"order": body}, id="API answer"),
        pytest.param(lambda body: {"orders": [body]}, id="page"),
        pytest.param(lambda body: [body], id="array"),
    ],
)
def test_an_order_of_shopify_is_read_in_every_wrapping(wrap: Any) -> None:
    assert _unnoticed("shopify", wrap(order("shopify"))) == _unnoticed("shopify", order("shopify"))


@pytest.mark.parametrize(
    ("platform", "body"),
    [
        ("taobao", {"trades_sold_get_response": {"total_results": 0, "request_id": "x"}}),
        ("taobao", {"refunds_receive_get_response": {"total_results": 0}}),
        ("taobao", {"tmc_messages_consume_response": {"request_id": "x"}}),
        ("taobao", {"trades_sold_get_response": {"trades": {}}}),
        ("douyin", {"code": 10000, "data": {"shop_order_list": [], "total": 0}}),
        ("douyin", {"code": 10000, "data": {"shop_order_list": None, "total": 0}}),
        ("douyin", []),
        ("shopify", {"orders": []}),
    ],
)
def test_an_empty_page_says_nothing(platform: str, body: Any) -> None:
    assert parse(platform, body) == []


def test_a_platform_that_answers_with_an_error_is_not_an_empty_page() -> None:
    with pytest.raises(MalformedPayload, match="error_response"):
        parse("taobao", {"error_response": {"code": 27, "msg": "Invalid session"}})
    with pytest.raises(MalformedPayload, match="50002"):
        parse("douyin", {"code": 50002, "msg": "x", "data": None})
    with pytest.raises(MalformedPayload, match="errors"):
        parse("shopify", {"errors": "Not Found"})


def test_a_page_names_the_order_at_fault() -> None:
    page = {"trades": {"trade": [order("taobao"), put(order("taobao"), "orders.order.1.num", 0)]}}

    with pytest.raises(MalformedPayload) as refused:
        parse("taobao", page)

    assert refused.value.field == "trades.trade[1].orders.order[1].num"


# --- trap 2: int64 ids beyond 2^53 --------------------------------------------------------------


def test_ids_beyond_two_to_the_53_keep_every_digit() -> None:
    trade = put(put(order("taobao"), "tid_str", DROP), "orders.order.0.oid_str", DROP)

    statement = read("taobao", trade)

    assert statement.order_id == "2771944107739206615"
    assert statement.lines[0].line_id == "2771944107740206615"
    pushed = parse("douyin", raw("douyin", "push_batch"))
    assert pushed[1].order_id == "6930220038817742211"


def test_a_rounded_tid_is_not_believed_where_its_digits_stand_beside_it() -> None:
    rounded = order("taobao") | {"tid": 2.7719441077392067e18}

    assert read("taobao", rounded).order_id == "2771944107739206615"
    with pytest.raises(MalformedPayload, match=r"^tid: "):
        parse("taobao", put(rounded, "tid_str", DROP))


def test_an_id_as_a_text_keeps_its_leading_zeros() -> None:
    assert read("douyin", order("douyin") | {"order_id": "0069"}).order_id == "0069"


# --- trap 3: money ------------------------------------------------------------------------------


def test_yen_have_no_decimals_and_dinars_three() -> None:
    body = order("shopify", "order_paid_fulfilled")

    yen = read("shopify", body | {"currency": "JPY", "total_price": "1980"})
    dinars = read("shopify", body | {"currency": "KWD", "total_price": "198.945"})

    # The line's "199.00" has zeros where yen have nothing.
    assert (yen.total, yen.lines[0].unit_price) == (1980, 199)
    assert (dinars.total, dinars.lines[0].unit_price) == (198945, 199000)


def test_cents_of_a_currency_without_cents_are_refused() -> None:
    body = order("shopify", "order_paid_fulfilled") | {"currency": "JPY", "total_price": "25.99"}

    with pytest.raises(MalformedPayload, match=r"^total_price: .*at most 0 decimals"):
        parse("shopify", body)


def test_money_written_as_a_number_is_read_from_its_decimal_digits() -> None:
    # 1.15 x 100 is 114.99999999999999 in binary floating point.
    assert read("taobao", order("taobao") | {"post_fee": 1.15}).shipping == 115


def test_money_paid_in_another_currency_of_taobao_is_named() -> None:
    trade = order("taobao")

    assert read("taobao", trade).currency == "CNY"
    assert read("taobao", trade | {"trade_attr": '{"payCurrency":"HKD"}'}).currency == "HKD"
    assert read("taobao", trade | {"trade_attr": {"payCurrency": "TWD"}}).currency == "TWD"
    assert read("taobao", trade | {"trade_attr": "erpHold:0"}).currency == "CNY"


def test_a_thin_message_without_money_names_no_currency() -> None:
    created = parse("douyin", raw("douyin", "push_batch"))[0]

    assert (created.currency, created.total) == (None, None)


def test_the_total_of_shopify_is_as_placed_whatever_was_paid_back() -> None:
    statement = read("shopify", order("shopify"))

    assert (statement.total, statement.refunded) == (59894, 20900)
    assert statement.refund is Refund.PARTIALLY_REFUNDED


def test_a_discount_of_douyin_counts_whoever_bears_it() -> None:
    body = order("douyin") | {"pay_amount": 13080, "promotion_platform_amount": 500}
    body["sku_order_list"][0] |= {"promotion_amount": 800, "pay_amount": 7100}

    statement = read("douyin", body)

    assert (statement.total, statement.discount) == (13080, 800)
    assert [line.line_total for line in statement.lines] == [7100, 5980]


@pytest.mark.parametrize("postage_in_line", [True, False])
def test_postage_of_douyin_is_never_part_of_a_line(postage_in_line: bool) -> None:
    body = order("douyin") | {"post_amount": 600, "pay_amount": 14180}
    body["sku_order_list"][0] |= {
        "post_amount": 600,
        "pay_amount": 8200 if postage_in_line else 7600,
    }

    statement = read("douyin", body)

    assert (statement.total, statement.shipping, statement.discount) == (14180, 600, 300)
    assert statement.lines[0].line_total == 7600


def test_an_unpaid_order_of_douyin_with_nothing_paid_still_has_its_total() -> None:
    body = order("douyin", "order_unpaid") | {"pay_amount": 0, "post_amount": 500}
    body["sku_order_list"][0]["pay_amount"] = 0

    statement = read("douyin", body)

    assert (statement.total, statement.discount, statement.paid) == (8400, 0, None)


def test_a_discount_spread_over_the_lines_of_taobao_counts_once() -> None:
    statement = read("taobao", order("taobao"))

    # 6.00 of the shop (again as part_mjz_discount) and 2.40 of the second line.
    assert statement.discount == 840
    assert [line.line_total for line in statement.lines] == [11000, 8160]


def test_the_postage_of_taobao_is_not_part_of_the_one_line() -> None:
    (line,) = read("taobao", order("taobao", "trade_shipped")).lines

    assert line.line_total == 5100


def test_a_line_of_taobao_without_its_share_takes_its_price_less_discounts() -> None:
    trade = put(order("taobao"), "orders.order.0.divide_order_fee", DROP)

    assert read("taobao", trade).lines[0].line_total == 11000


def test_a_price_lowered_by_hand_is_a_discount() -> None:
    trade = order("taobao", "trade_unpaid") | {"payment": "111.00", "adjust_fee": "-5.00"}

    assert read("taobao", trade).discount == 500


def test_a_discount_on_shipping_of_shopify_lowers_the_shipping_and_the_law_holds() -> None:
    body = order("shopify") | {"total_discounts": "15.00", "total_price": "603.94"}
    body["shipping_lines"] = [
        {
            "price": "10.00",
            "discounted_price": "5.00",
            "discount_allocations": [{"amount": "5.00"}],
            "tax_lines": [],
        }
    ]

    statement = read("shopify", body)

    assert (statement.shipping, statement.discount) == (500, 1000)
    assert statement.total == 59700 - 1000 + 500 + 1194


def test_prices_of_shopify_that_include_tax_are_told_without_it() -> None:
    body = order("shopify", "order_paid_unfulfilled")
    body |= {"taxes_included": True, "total_price": "214.20", "total_tax": "34.20"}
    body["line_items"][0] |= {
        "quantity": 2,
        "current_quantity": 2,
        "price": "119.00",
        "discount_allocations": [{"amount": "23.80"}],
        "tax_lines": [{"price": "34.20"}],
    }

    statement = read("shopify", body)

    (line,) = statement.lines
    assert (line.unit_price, line.line_total) == (10000, 18000)
    assert (statement.total, statement.tax, statement.discount) == (21420, 3420, 2000)


# --- trap 4: times ------------------------------------------------------------------------------


def test_a_naive_time_of_taobao_is_beijing_time() -> None:
    assert read("taobao", order("taobao")).paid_at == Moment(
        1775790131000, "2026-04-10 11:02:11", "Asia/Shanghai"
    )


def test_a_time_of_douyin_is_in_seconds() -> None:
    assert read("douyin", order("douyin")).paid_at == Moment(1777690820000, "1777690820", "UTC")


def test_a_time_of_shopify_carries_its_own_offset() -> None:
    assert read("shopify", order("shopify", "order_paid_fulfilled")).created_at == Moment(
        1743611465000, "2025-04-02T11:31:05-05:00", "-05:00"
    )


def test_milliseconds_of_an_iso_time_are_kept() -> None:
    body = order("shopify") | {"updated_at": "2025-04-02T11:31:05.250Z"}

    assert read("shopify", body).updated_at == Moment(
        1743593465250, "2025-04-02T11:31:05.250Z", "UTC"
    )


@pytest.mark.parametrize("null", ["", "0001-01-01 00:00:00", "0000-00-00 00:00:00", None, 0])
def test_null_in_every_spelling_is_no_time(null: Any) -> None:
    trade = order("taobao") | {"pay_time": null, "modified": null}

    statement = read("taobao", trade)

    assert statement.paid_at is None
    assert statement.updated_at is None
    assert statement.stated_ms == statement.created_at.ms


@pytest.mark.parametrize("null", ["", 0, "0", None])
def test_null_of_douyin_is_no_time(null: Any) -> None:
    assert read("douyin", order("douyin") | {"pay_time": null}).paid_at is None


def test_a_refund_message_of_douyin_is_dated_by_its_rfc_3339_time() -> None:
    refunded = parse("douyin", raw("douyin", "push_batch"))[4]

    assert refunded.stated_ms == 1777602030000


# --- trap 5: duplicates -------------------------------------------------------------------------


def test_a_message_repeated_in_one_body_of_douyin_is_heard_once() -> None:
    batch = sample("douyin", "push_batch")

    assert parse("douyin", [*batch, *batch]) == parse("douyin", batch)


# --- trap 7: paid is not shippable --------------------------------------------------------------


def test_a_paid_group_order_that_must_not_ship_is_on_hold() -> None:
    trade = order("taobao") | {"status": "PAID_FORBID_CONSIGN"}

    assert read("taobao", trade).status is Status.ON_HOLD
    assert read("taobao", trade).paid_at is not None


# --- trap 8: cancelled before payment, closed after refund --------------------------------------


def test_an_order_closed_before_payment_has_nothing_to_pay_back() -> None:
    before = read("taobao", order("taobao", "trade_closed_before_pay"))
    after = read("taobao", order("taobao") | {"status": "TRADE_CLOSED"})

    assert (before.status, before.refund) == (Status.CANCELLED, Refund.NONE)
    assert (after.status, after.refund) == (Status.CANCELLED, Refund.REFUNDED)


def test_a_line_closed_before_payment_left_an_order_that_lives_on() -> None:
    trade = order("taobao") | {"payment": "122.00", "discount_fee": "6.00"}
    trade["orders"]["order"][1]["status"] = "TRADE_CLOSED_BY_TAOBAO"

    statement = read("taobao", trade)

    assert [line.line_id for line in statement.lines] == ["2771944107740206615"]
    assert statement.discount == 600


# --- trap 9: quantity ---------------------------------------------------------------------------


def test_a_refund_of_shopify_does_not_change_what_was_ordered() -> None:
    statement = read("shopify", order("shopify"))

    assert [line.quantity for line in statement.lines] == [1, 1, 1]
    assert [line.refund for line in statement.lines] == [
        Refund.REFUNDED,
        Refund.NONE,
        Refund.REFUNDED,
    ]


def test_an_edit_of_shopify_changes_what_is_ordered() -> None:
    body = order("shopify", "order_paid_unfulfilled")

    assert read("shopify", put(body, "line_items.0.current_quantity", 2)).lines[0].quantity == 2
    assert read("shopify", put(body, "line_items.0.current_quantity", 0)).lines == ()
    assert read("shopify", put(body, "line_items.0.current_quantity", DROP)).lines[0].quantity == 3


@pytest.mark.parametrize("written", ["3", 3])
def test_a_quantity_may_be_a_number_or_its_digits(written: Any) -> None:
    trade = put(order("taobao"), "orders.order.0.num", written)

    assert read("taobao", trade).lines[0].quantity == 3


# --- trap 10: missing SKU -----------------------------------------------------------------------

MERCHANT_SKUS = [
    # platform, line's path, fields, merchant SKU
    ("taobao", "orders.order.0", {"outer_sku_id": "A", "outer_iid": "B"}, "A"),
    ("taobao", "orders.order.0", {"outer_sku_id": "", "outer_iid": "B"}, "B"),
    ("taobao", "orders.order.0", {"outer_sku_id": None, "outer_iid": " B "}, "B"),
    ("taobao", "orders.order.0", {"outer_sku_id": " ", "outer_iid": ""}, None),
    ("douyin", "sku_order_list.0", {"code": "A", "out_sku_id": "B"}, "A"),
    ("douyin", "sku_order_list.0", {"code": "", "out_sku_id": "B"}, "B"),
    # "0" is null there, and out_product_id is no SKU.
    ("douyin", "sku_order_list.0", {"code": "", "out_sku_id": "0", "out_product_id": "9"}, None),
    ("shopify", "line_items.0", {"sku": "A"}, "A"),
    ("shopify", "line_items.0", {"sku": ""}, None),
    ("shopify", "line_items.0", {"sku": None}, None),
]


@pytest.mark.parametrize(("platform", "path", "fields", "merchant_sku"), MERCHANT_SKUS)
def test_a_line_without_a_merchant_sku_never_gets_an_empty_one(
    platform: str, path: str, fields: dict[str, Any], merchant_sku: str | None
) -> None:
    body = order(platform)
    for key, value in fields.items():
        body = put(body, f"{path}.{key}", value)

    statement = read(platform, body)

    missing = [n for n in statement.notices if n.code is NoticeCode.NO_MERCHANT_SKU]
    assert statement.lines[0].merchant_sku == merchant_sku
    assert any("[0]" in notice.field for notice in missing) == (merchant_sku is None)


@pytest.mark.parametrize(
    ("platform", "path", "fields", "platform_sku"),
    [
        ("taobao", "orders.order.0", {"sku_id": ""}, "688120047731"),
        ("taobao", "orders.order.0", {"sku_id": 0}, "688120047731"),
        ("douyin", "sku_order_list.0", {"sku_id": 0}, "3690011847702331395"),
        ("shopify", "line_items.0", {"variant_id": None}, "632910392"),
        ("shopify", "line_items.0", {"variant_id": None, "product_id": None}, None),
    ],
)
def test_a_product_without_variants_is_known_by_its_own_id(
    platform: str, path: str, fields: dict[str, Any], platform_sku: str | None
) -> None:
    body = order(platform)
    for key, value in fields.items():
        body = put(body, f"{path}.{key}", value)

    assert read(platform, body).lines[0].platform_sku == platform_sku


# --- trap 11: personal data arrives masked or encrypted -----------------------------------------

PHONES = [
    # as said, E.164
    ("13800138000", "+8613800138000"),
    ("+86 138 0013 8000", "+8613800138000"),
    ("0574-88881234", "+8657488881234"),
    ("*******4417", None),
    ("138****25", None),
    ("1********47", None),
    ("$$/DW+ymVnESa22a7Ftc49TbfBccjwqFWL==$1$$", None),
    ("~AgAAAA==~1~", None),
    ("", None),
    (None, None),
    # A relay number: the base belongs to many, the extension has no E.164.
    ("18412345678-1234", None),
    ("12", None),
]


@pytest.mark.parametrize(("said", "phone"), PHONES)
def test_only_a_phone_in_clear_is_a_phone(said: str | None, phone: str | None) -> None:
    receiver = read("taobao", order("taobao") | {"receiver_mobile": said}).receiver
    assert (receiver.phone, receiver.phone_said) == (phone, said or None)

    receiver = read("douyin", order("douyin") | {"post_tel": said}).receiver
    assert receiver.phone == phone
    assert receiver.phone_said == (said or "1********47")


def test_a_phone_of_shopify_is_read_in_the_region_of_its_address() -> None:
    statement = read("shopify", order("shopify"))

    assert statement.buyer.phone == "+557734881234"
    assert statement.receiver.phone == "+15024592181"
    assert read("shopify", order("shopify", "order_paid_fulfilled")).receiver is None


def test_a_local_number_without_a_region_is_no_phone() -> None:
    body = order("shopify") | {"customer": None, "billing_address": None, "shipping_address": None}

    buyer = read("shopify", body | {"phone": "502-459-2181"}).buyer

    assert (buyer.phone, buyer.phone_said) == (None, "502-459-2181")


def test_a_buyer_of_shopify_without_protected_data_is_empty() -> None:
    body = order("shopify") | {"customer": None, "billing_address": None, "shipping_address": None}
    body |= {"phone": None, "email": ""}

    statement = read("shopify", body)

    assert (statement.buyer, statement.receiver) == (None, None)


# --- trap 12: probes ----------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["0", 0])
def test_the_probe_of_douyin_is_about_nothing(tag: Any) -> None:
    assert parse("douyin", [{"tag": tag, "msg_id": "0", "data": "probe"}]) == []
    assert adapter_for("douyin").key_of(raw("douyin", "probe")) is None


# --- trap 14: what is new must not fail the message ---------------------------------------------


@pytest.mark.parametrize(
    "platform",
    ["taobao", "tmall", "douyin", "shopify", "jd", "pdd", "kuaishou", "xiaohongshu"],
)
def test_a_field_nobody_knows_changes_nothing(platform: str) -> None:
    body = order(platform)

    assert read(platform, body | {"quantum_state": {"spin": [1]}}) == read(platform, body)


def test_a_tag_nobody_knows_is_taken_if_it_names_an_order_and_left_if_not() -> None:
    unknown = {"tag": "999", "msg_id": "1", "data": '{"p_id":6930114477820063171}'}
    product = {"tag": "400", "msg_id": "2", "data": '{"product_id":1}'}
    chatter = {"tag": "401", "msg_id": "3", "data": "hello"}

    (statement,) = parse("douyin", [unknown, product, chatter])

    assert (statement.order_id, statement.status) == ("6930114477820063171", None)


def test_a_trade_message_of_douyin_has_to_name_its_order() -> None:
    with pytest.raises(MalformedPayload, match=r"^\[0\]\.data\.p_id: the id is missing"):
        parse("douyin", [{"tag": "101", "msg_id": "1", "data": "{}"}])


def test_one_message_of_douyin_may_come_without_its_array() -> None:
    batch = sample("douyin", "push_batch")

    assert read("douyin", batch[1]).order_id == parse("douyin", batch)[1].order_id


@pytest.mark.parametrize(
    ("after_sale", "refund", "noticed"),
    [
        ({"aftersale_status": 6}, Refund.REFUNDING, False),
        ({"aftersale_status": 27}, Refund.REJECTED, False),
        # Exchanged: done, and nothing was paid back.
        ({"aftersale_status": 12, "aftersale_type": 3}, Refund.NONE, False),
        # Done: how much of the order that is, the message does not say.
        ({"aftersale_status": 12, "refund_amount": 5900}, None, False),
        ({"aftersale_status": 777}, None, True),
    ],
)
def test_an_after_sale_message_of_douyin_says_its_own_status(
    after_sale: dict[str, int], refund: Refund | None, noticed: bool
) -> None:
    data = {"p_id": 6927730041188250371, "update_time": 1777602030} | after_sale

    (statement,) = parse("douyin", [{"tag": "206", "msg_id": "1", "data": data}])

    unknown = [n for n in statement.notices if n.code is NoticeCode.UNKNOWN_REFUND_STATUS]
    assert (statement.refund, bool(unknown)) == (refund, noticed)
    assert statement.refunded == after_sale.get("refund_amount")
    assert statement.stated_ms == 1777602030000


def test_of_an_order_that_was_never_paid_nothing_is_paid_back() -> None:
    body = order("douyin", "order_unpaid")
    body["sku_order_list"][0]["after_sale_info"]["after_sale_status"] = 51

    assert read("douyin", body).refund is Refund.NONE


def test_a_topic_about_no_order_says_nothing() -> None:
    assert parse("taobao", {"topic": "alibaba_invoice_Apply", "content": "{}"}) == []


# --- thin messages ------------------------------------------------------------------------------


def test_a_trade_message_of_taobao_says_a_status_only_where_it_carries_one() -> None:
    created, paid, *_ = parse("taobao", raw("taobao", "push_tmc_consume"))

    assert (created.status, created.total) == (Status.PENDING_PAYMENT, 11600)
    assert (paid.status, paid.total) == (None, 20360)
    assert paid.stated_ms == 1775790131000
    assert all(n.code is NoticeCode.THIN for n in paid.notices)


def test_a_decoded_frame_is_dated_in_milliseconds() -> None:
    frame = read("taobao", raw("taobao", "push_tmc_websocket_decoded"))

    assert frame.stated_ms == 1775790131220


@pytest.mark.parametrize(
    "topic", ["TradePartlyRefund", "TradePartlyConfirmPay", "TradeCloseAndModifyDetailOrder"]
)
def test_a_message_about_one_line_says_nothing_about_the_whole_trade(topic: str) -> None:
    content = {"tid": 2768220019947206619, "status": "TRADE_CLOSED", "payment": "49.00"}
    message = {"topic": f"taobao_trade_{topic}", "content": content}

    statement = read("taobao", message)

    assert (statement.status, statement.refund, statement.total) == (None, None, None)


def test_parts_of_shopify_name_their_order_and_ask_for_it() -> None:
    refund = read("shopify", sample("shopify", "refund")["refund"])
    parcel = read("shopify", sample("shopify", "fulfillment")["fulfillment"])
    deleted = read("shopify", {"id": 450789469})
    # orders/edited wraps what was changed, and has an id of its own.
    edit = {"id": 78912328793, "order_id": 450789469, "created_at": "2026-06-01T10:00:00Z"}
    edited = read("shopify", {"order_edit": edit | {"line_items": {"additions": [{"id": 1}]}}})

    assert {part.order_id for part in (refund, parcel, deleted, edited)} == {"450789469"}
    assert (refund.refunded, refund.refund, refund.currency) == (4194, None, "USD")
    assert parcel.shipments[0].tracking_number == "MS1562678"
    assert {part.status for part in (refund, parcel, deleted, edited)} == {None}
    assert {part.notices[0].code for part in (refund, parcel, deleted, edited)} == {NoticeCode.THIN}


def test_a_refund_of_shopify_on_its_way_is_refunding() -> None:
    body = order("shopify") | {"financial_status": "paid"}
    body["refunds"][0]["transactions"][0]["status"] = "pending"

    statement = read("shopify", body)

    assert (statement.refund, statement.refunded) == (Refund.REFUNDING, 0)


def test_a_key_of_a_page_with_two_orders_is_none() -> None:
    page = {"trades": {"trade": [order("taobao"), order("taobao", "trade_shipped")]}}

    assert adapter_for("taobao").key_of(orjson.dumps(page)) is None
    assert adapter_for("shopify").key_of(b'{"id":820982911946154508}') == b"820982911946154508"
