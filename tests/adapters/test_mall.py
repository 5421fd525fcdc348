"""The own mall's orders: the unified schema, its rules, each by its name."""

from typing import Any

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator

from schemas.errors import MalformedPayload
from schemas.orders import Buyer, Invoice, NoticeCode, Refund, Shipment, Status
from streams.adapters import ADAPTERS, adapter_for
from streams.adapters.mall import MallOrder, strange_in
from streams.adapters.normalize import normalize
from tests.adapters.samples import DROP, ORDERS, order, parse, put, raw, read


@pytest.mark.parametrize("word", [status for status in Status if status is not Status.UNKNOWN])
def test_a_status_of_the_mall_is_our_own_word(word: Status) -> None:
    statement = read("mall", order("mall") | {"status": word.value})

    assert (statement.status, statement.notices) == (word, ())


@pytest.mark.parametrize("word", list(Refund))
def test_a_refund_of_the_mall_is_our_own_word(word: Refund) -> None:
    assert read("mall", order("mall") | {"refund": word.value}).refund is word


@pytest.mark.parametrize("word", ["paid", "UNKNOWN", "LOST"])
def test_a_word_nobody_knows_keeps_the_order_with_a_notice(word: str) -> None:
    statement = read("mall", order("mall") | {"status": word, "refund": word})

    assert (statement.status, statement.status_said, statement.refund) == (
        Status.UNKNOWN, word, None,
    )  # fmt: skip
    assert {notice.code for notice in statement.notices} == {
        NoticeCode.UNKNOWN_STATUS, NoticeCode.UNKNOWN_REFUND_STATUS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("refunded", "refund"),
    [
        (None, None),
        (0, Refund.NONE),
        (750, Refund.PARTIALLY_REFUNDED),
        (25850, Refund.REFUNDED),
    ],
)
def test_a_refund_that_is_not_said_is_told_by_its_amount(
    refunded: int | None, refund: Refund | None
) -> None:
    body = put(order("mall"), "refund", DROP) | {"refunded_minor": refunded}

    assert read("mall", body).refund is refund


def test_people_invoice_and_parcels_are_read() -> None:
    placed = read("mall", order("mall"))
    (shipped,) = parse("mall", raw("mall", "order_shipped_and_part_paid_back"))

    assert placed.buyer == Buyer(
        id="u-4711", name="李梅", phone="+8613912345678", phone_said="13912345678"
    )
    assert placed.receiver is not None
    assert (placed.receiver.city, placed.receiver.phone) == ("杭州市", "+8613912345678")
    assert placed.invoice == Invoice(
        type="company", title="青柚生活有限公司", tax_number="91330106MA2CFRAK3X"
    )
    assert [(each.carrier, each.tracking_number) for each in shipped.shipments] == [
        ("SF Express", "SF1400000000017")
    ]
    assert isinstance(shipped.shipments[0], Shipment)


@pytest.mark.parametrize("phone", ["139****5678", "", "  ", None, "call me"])
def test_a_phone_that_is_not_in_clear_is_no_phone(phone: str | None) -> None:
    body = put(put(order("mall"), "buyer.phone", phone), "receiver.phone", phone)

    (found,) = normalize("mall", [("order.json", orjson.dumps(body))])

    assert found["buyer_phone_usable"] is False


def test_a_number_without_its_country_is_not_dialled_at_a_guess() -> None:
    body = put(order("mall"), "receiver.country", DROP)

    assert (read("mall", body).buyer or Buyer()).phone is None


def test_an_empty_text_is_not_said() -> None:
    body = put(order("mall"), "lines.0.title", "  ") | {"payment_method": "", "invoice": {}}
    statement = read("mall", put(body, "lines.0.merchant_sku", ""))

    assert (statement.lines[0].title, statement.lines[0].merchant_sku) == (None, None)
    assert (statement.payment_method, statement.invoice) == (None, None)
    assert [notice.code for notice in statement.notices] == [NoticeCode.NO_MERCHANT_SKU]


def test_an_order_has_to_say_when_it_was_stated() -> None:
    body = put(put(order("mall"), "updated_at", DROP), "created_at", DROP)

    with pytest.raises(MalformedPayload, match=r"^updated_at: say when"):
        parse("mall", body)
    created = read("mall", put(order("mall"), "updated_at", DROP))
    assert created.stated_ms == 1_780_277_400_000


def test_a_change_needs_no_more_than_the_order_the_word_and_the_time() -> None:
    change = {"platform_order_id": "M-1", "status": "SHIPPED", "updated_at": "2026-06-02T00:00:00Z"}

    statement = read("mall", change)

    assert (statement.status, statement.lines, statement.total) == (Status.SHIPPED, (), None)


@pytest.mark.parametrize("path", ["lines.0.unit_price_minor", "total_minor", "refunded_minor"])
def test_an_amount_has_a_currency(path: str) -> None:
    body = {"platform_order_id": "M-1", "created_at": "2026-06-02T00:00:00Z"}
    body |= {"lines": [{"line_id": "1", "quantity": 1}]}
    assert read("mall", body).lines
    full = put(body, path, 1)

    with pytest.raises(MalformedPayload, match=r"^currency: .* is an amount of which currency"):
        parse("mall", full)
    assert read("mall", full | {"currency": "CNY"})


def test_an_amount_that_adds_up_beyond_belief_is_refused() -> None:
    body = put(put(order("mall"), "discount_minor", DROP), "lines.0.quantity", 10**9)

    with pytest.raises(MalformedPayload, match="adds up to"):
        parse("mall", put(body, "lines.0.unit_price_minor", 10**15))


@pytest.mark.parametrize("platform", ORDERS)
def test_what_is_printed_of_any_platforms_order_can_be_posted_and_says_the_same(
    platform: str,
) -> None:
    name = ORDERS[platform][0]
    source = raw("taobao" if platform == "tmall" else platform, name)
    printed = normalize(platform, [(name, source)])[0]
    as_mall = printed | {"platform": "mall"}
    payload = orjson.dumps(as_mall)

    (again,) = normalize("mall", [("order.json", payload)])

    assert strange_in(as_mall) is None
    same = {"status", "refund", "currency", "total_minor", "lines", "created_at", "updated_at"}
    assert {key: again[key] for key in same} == {key: as_mall[key] for key in same}


@pytest.mark.parametrize(
    "path",
    ["shiping_minor", "lines.1.sku", "buyer.fone", "receiver.zip", "invoice.vat", "shipments.0.no"],
)
def test_a_field_nobody_knows_is_found_and_the_order_is_read_all_the_same(path: str) -> None:
    body = order("mall") | {"shipments": [{"carrier": "SF"}]}
    strange = put(body, path, 1)
    named = path.replace(".0", "[0]").replace(".1", "[1]")

    assert strange_in(strange) == named
    assert read("mall", strange) == read("mall", body)
    assert strange_in(body) is None


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b'{"platform_order_id":"M-1"}', b"M-1"),
        ('{"platform_order_id":"订单-1"}'.encode(), "订单-1".encode()),
        (b'{"title":"\\"platform_order_id\\":\\"M-2\\"","platform_order_id":"M-1"}', b"M-1"),
        (b'{"platform_order_id":"\\u004d-1"}', b"M-1"),
        (b'{"platform_order_id":7}', None),
        (b"{", None),
        (b'{"platform_order_id":"\xff"}', None),
    ],
)
def test_the_key_is_the_order_as_it_will_be_read(payload: bytes, key: bytes | None) -> None:
    assert adapter_for("mall").key_of(payload) == key


def test_the_published_schema_takes_the_samples_and_refuses_what_the_reader_refuses() -> None:
    schema = Draft202012Validator(msgspec.json.schema(MallOrder))
    good = ["order_placed", "order_paid", "order_shipped_and_part_paid_back", "order_cancelled_yen"]
    bad: list[Any] = [
        put(order("mall"), "platform_order_id", DROP),
        put(order("mall"), "platform_order_id", "M 1"),
        put(order("mall"), "lines.0.quantity", 0),
        put(order("mall"), "lines.0.quantity", "1"),
        put(order("mall"), "total_minor", -1),
        put(order("mall"), "currency", "cny"),
    ]

    for name in good:
        schema.validate(orjson.loads(raw("mall", name)))
    for body in bad:
        assert not schema.is_valid(body)
        with pytest.raises(MalformedPayload):
            parse("mall", body)
    assert not schema.is_valid(order("mall") | {"status": "LOST"})


def test_the_adapter_declares_every_word_of_ours_but_unknown() -> None:
    adapter = ADAPTERS["mall"]

    assert set(adapter.statuses.values()) == set(Status) - {Status.UNKNOWN}
    assert set(adapter.refunds.values()) == set(Refund)
