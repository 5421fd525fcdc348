"""Every sample payload of every platform, and the unified order it stands for."""

import hashlib
from pathlib import Path

import msgspec
import orjson
import pytest

from schemas.orders import Status
from streams.adapters import ADAPTERS, adapter_for
from streams.adapters.amounts import goods_of
from streams.adapters.normalize import normalize
from tests.adapters.samples import PAYLOADS

FILES = sorted(
    path for path in PAYLOADS.glob("*/*.json") if not path.name.endswith(".expected.json")
)
CASES = [
    pytest.param(platform, path, id=f"{platform}-{path.stem}")
    for path in FILES
    for platform in (
        (path.parent.name, "tmall") if path.parent.name == "taobao" else (path.parent.name,)
    )
]
#: What an order's total holds that is neither goods nor shipping nor tax: a tip.
FEES = {"v2026-01-01_searchOrders_example": 500}
#: What vouchers, coins and coupons took from an order's total without any line telling of it.
OFF_NO_LINE = {
    ("shopee", "order_detail_completed"): 20881,
    ("jd", "order_paid"): 1000,
    ("pdd", "order_paid"): 500,
}


@pytest.mark.parametrize(("platform", "path"), CASES)
def test_a_payload_becomes_the_order_beside_it(platform: str, path: Path) -> None:
    expected = orjson.loads(path.with_suffix(".expected.json").read_bytes())
    for order in expected:
        order["platform"] = platform

    assert normalize(platform, [(path.name, path.read_bytes())]) == expected


def test_every_registered_platform_has_samples() -> None:
    with_samples = {path.parent.name for path in FILES}

    assert set(ADAPTERS) - {"tmall"} == with_samples


@pytest.mark.parametrize(("platform", "path"), CASES)
def test_reading_twice_says_the_same_and_survives_the_wire(platform: str, path: Path) -> None:
    payload = path.read_bytes()
    once = adapter_for(platform).parse(payload, "shop")

    assert adapter_for(platform).parse(payload, "shop") == once
    for statement in once:
        wire = msgspec.msgpack.encode(statement)
        assert msgspec.msgpack.decode(wire, type=type(statement)) == statement


@pytest.mark.parametrize(("platform", "path"), CASES)
def test_prices_discounts_shipping_and_tax_make_the_total(platform: str, path: Path) -> None:
    for order in adapter_for(platform).parse(path.read_bytes(), "shop"):
        goods = goods_of(order.lines)
        if goods is None or order.total is None:
            continue
        assert order.discount is not None
        fees = FEES.get(path.stem, 0)
        sums = goods - order.discount + (order.shipping or 0) + (order.tax or 0) + fees
        assert sums == order.total


@pytest.mark.parametrize(("platform", "path"), CASES)
def test_line_totals_shipping_and_tax_make_the_total(platform: str, path: Path) -> None:
    for order in adapter_for(platform).parse(path.read_bytes(), "shop"):
        if not order.lines or order.total is None:
            continue
        lines = sum(line.line_total or 0 for line in order.lines)
        fees = FEES.get(path.stem, 0) - OFF_NO_LINE.get((platform, path.stem), 0)
        assert lines + (order.shipping or 0) + (order.tax or 0) + fees == order.total


@pytest.mark.parametrize(("platform", "path"), CASES)
def test_every_time_keeps_the_words_it_was_said_in(platform: str, path: Path) -> None:
    payload = path.read_bytes()
    for order in adapter_for(platform).parse(payload, "shop"):
        for moment in (order.created_at, order.paid_at, order.updated_at):
            assert moment is None or moment.said.encode() in payload


@pytest.mark.parametrize(("platform", "path"), CASES)
def test_the_key_of_a_raw_record_is_the_order_it_names_or_none(platform: str, path: Path) -> None:
    payload = path.read_bytes()
    named = {order.order_id.encode() for order in adapter_for(platform).parse(payload, "shop")}

    key = adapter_for(platform).key_of(payload)

    assert key in ({None} if len(named) != 1 else {*named})


@pytest.mark.parametrize("platform", ADAPTERS)
def test_an_adapter_declares_what_it_knows(platform: str) -> None:
    adapter = ADAPTERS[platform]

    assert adapter.platform == platform
    assert adapter.version >= 1
    assert adapter.zone
    assert Status.UNKNOWN not in adapter.statuses.values()
    assert {type(word) for word in adapter.statuses} == {str}


def test_no_two_samples_are_the_same_file() -> None:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES]

    assert len(set(digests)) == len(digests)
