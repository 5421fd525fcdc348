"""Rows that become orders: together what belongs together, whole or not at all."""

import json
from pathlib import Path

import pytest

from schemas.errors import Rejected
from schemas.orders import Status
from streams.adapters import FILES
from streams.importing.files import BadFile
from streams.importing.planning import Plan, Reading, plan
from streams.importing.templates import FIELDS, TEMPLATES, Kind
from streams.topics import PLATFORMS

SHOP = Reading("taobao", "qingyou")
HEAD = "order_id,status,created_at,currency,total,merchant_sku,quantity,unit_price"
PLACED = "2026-11-11T00:05:00+08:00"


def read(folder: Path, *lines: str, name: str = "orders.csv", **how: object) -> Plan:
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return plan(file, SHOP._replace(**how), None)


def a_row(order: str, sku: str = "RUG", **more: str) -> str:
    said = {
        "order_id": order, "status": "PAID", "created_at": PLACED, "currency": "CNY",
        "total": "25.00", "merchant_sku": sku, "quantity": "1", "unit_price": "12.50",
    }  # fmt: skip
    return ",".join((said | more).values())


def test_rows_of_one_order_are_its_lines_wherever_they_stand(tmp_path: Path):
    found = read(tmp_path, HEAD, a_row("1", "RUG"), a_row("2"), a_row("1", "LAMP", quantity="3"))

    assert [(each.order_id, each.rows) for each in found.orders] == [("1", (2, 4)), ("2", (3,))]
    (said,) = FILES["taobao"].parse(found.orders[0].payload, "qingyou")
    assert [(line.merchant_sku, line.quantity) for line in said.lines] == [("RUG", 1), ("LAMP", 3)]
    assert (said.platform, said.status, said.total, said.currency) == (
        "taobao", Status.PAID, 2500, "CNY",
    )  # fmt: skip
    assert not found.bad


def test_one_bad_row_refuses_its_whole_order_and_no_other(tmp_path: Path):
    found = read(
        tmp_path, HEAD, a_row("1"), a_row("1", quantity="0"), a_row("2"), a_row("1", "LAMP"),
        a_row("", "LAMP"),
    )  # fmt: skip

    assert [each.order_id for each in found.orders] == ["2"]
    assert {row: bad.field for row, bad in found.bad.items()} == {
        2: "order_id", 3: "quantity", 5: "order_id", 6: "order_id",
    }  # fmt: skip
    assert "row 3 of the same order" in found.bad[5].reason


def test_rows_that_contradict_each_other_are_not_believed(tmp_path: Path):
    found = read(tmp_path, HEAD, a_row("1"), a_row("1", total="26.00"))

    assert found.orders == []
    assert found.bad[3].field == "total"


def test_the_same_file_gives_the_same_messages_byte_for_byte(tmp_path: Path):
    lines = [HEAD, *[a_row(str(n % 7), f"SKU-{n}") for n in range(50)]]

    assert read(tmp_path, *lines).orders == read(tmp_path, *lines).orders


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"columns": {"单号": "order_id"}}, "the file has no column '单号'"),
        ({"columns": {"total": "price"}}, "there is no field 'price'"),
        ({"passes": ("备注",)}, "the file has no column '备注'"),
        ({"template": "shopify"}, "no template 'shopify' for taobao"),
        ({"platform": "ebay"}, "no platform 'ebay'"),
        ({"zone": "Mars/Olympus"}, "no time zone"),
        ({"currency": "RMB"}, "no currency 'RMB'"),
        ({"sheet": "orders"}, "only a spreadsheet"),
        ({"columns": {"total": "order_id"}}, "are both order_id"),
    ],
)
def test_a_wish_that_does_not_fit_the_file_is_refused_whole(tmp_path: Path, how, sentence):
    with pytest.raises(Rejected, match=sentence):
        read(tmp_path, HEAD, a_row("1"), **how)


def test_a_column_that_nobody_knows_stops_the_import_until_somebody_says_what_it_is(tmp_path):
    head, row = HEAD.replace("total", "tota1"), a_row("1")

    with pytest.raises(BadFile, match="'tota1'"):
        read(tmp_path, head, row)
    assert read(tmp_path, head, row, passes=("tota1",)).passed_over == ("tota1",)
    found = read(tmp_path, head, row, columns={"tota1": "total"})
    assert json.loads(found.orders[0].payload)["total_minor"] == 2500


@pytest.mark.parametrize("head", ["status,created_at", "order_id,status"])
def test_a_file_without_ids_or_times_is_refused(tmp_path: Path, head: str):
    with pytest.raises(BadFile, match="no column says"):
        read(tmp_path, head, "1,PAID")


def test_a_naive_time_is_shown_in_the_zones_it_may_be_in(tmp_path: Path):
    naive = a_row("1", created_at="2026-11-11 00:05:00")

    with pytest.raises(BadFile, match=r"2026-11-10 16:05:00Z with --zone Asia/Shanghai"):
        read(tmp_path, HEAD, naive)
    found = read(tmp_path, HEAD, naive, a_row("2"), zone="America/Los_Angeles")
    assert found.zones == {"America/Los_Angeles": 1, "offset": 1}
    assert found.orders[0].created_iso == "2026-11-11T00:05:00-08:00"


def test_a_platforms_export_is_read_by_its_own_columns_and_words(tmp_path: Path):
    found = read(
        tmp_path,
        "主订单编号,子订单编号,标题,价格,购买数量,商家编码,订单状态,订单创建时间,备注",
        '2771944107739206615,1,地毯,12.5,2,RUG,"买家已付款,等待卖家发货",2026-11-11 00:05:00,x',
        zone="Asia/Shanghai",
    )

    assert (found.template, found.passed_over) == ("taobao-lines", ("备注",))
    (said,) = FILES["taobao"].parse(found.orders[0].payload, "qingyou")
    assert (said.order_id, said.status, said.currency) == (
        "2771944107739206615", Status.PAID, "CNY",
    )  # fmt: skip
    assert said.lines[0].unit_price == 1250


def test_json_lines_are_orders_in_the_unified_schema(tmp_path: Path):
    good = {"platform_order_id": "1", "status": "PAID", "updated_at": "2026-11-11 00:05:00"}
    found = read(
        tmp_path,
        json.dumps(good),
        json.dumps(good | {"platform_order_id": "2", "tota1": 1}),
        json.dumps(good),
        "{not json",
        json.dumps(good | {"platform_order_id": "3", "platform": "jd"}),
        name="orders.jsonl",
        zone="Asia/Shanghai",
    )

    assert [each.order_id for each in found.orders] == ["1"]
    assert json.loads(found.orders[0].payload)["updated_at"] == "2026-11-11T00:05:00+08:00"
    assert {row: bad.field for row, bad in found.bad.items()} == {
        2: "tota1", 3: "platform_order_id", 4: "(row)", 5: "platform",
    }  # fmt: skip


def test_a_file_with_no_row_is_refused(tmp_path: Path):
    with pytest.raises(BadFile, match="no row below"):
        read(tmp_path, HEAD)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda each: each.name)
def test_every_template_names_fields_that_exist_and_none_twice(template):
    fields = list(template.columns.values())

    assert set(fields) <= FIELDS.keys()
    assert len(set(fields)) == len(fields)
    assert set(template.platforms) <= set(PLATFORMS)
    assert not template.passes & template.columns.keys()
    if template.columns:
        assert "order_id" in fields
        assert any(FIELDS[field].kind is Kind.TIME for field in fields)


def test_every_platform_of_ours_can_be_imported():
    for platform in PLATFORMS:
        assert any(platform in each.platforms for each in TEMPLATES.values())
