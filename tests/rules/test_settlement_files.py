"""Settlement files of each platform's shape, and files that are none."""

import io
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.settlements import Kind
from schemas.errors import Rejected
from streams.importing.files import BadFile
from streams.settlements import templates
from streams.settlements.reading import Look, Reading, _amount, read
from streams.settlements.store import sums_of
from streams.settlements.templates import TEMPLATES
from tests.settling import (
    ALIPAY,
    AMAZON,
    DOUYIN,
    SHOPIFY,
    Money,
    a_csv,
    alipay,
    amazon,
    douyin,
    shopify,
    written,
)

ROOT = Path(__file__).resolve().parents[2]
TRADE = "2771944107739206615"
MONEY = Money(TRADE, "1,299.00", "20.00", "7.80")


def look(folder: Path, platform: str, text: str, encoding: str = "utf-8", **more: object) -> Look:
    file = written(folder, "bill.csv", text, encoding)
    return read(file, Reading(platform, "main", encoding if encoding != "utf-8" else None, **more))


def told(found: Look) -> list[tuple[str, int, str | None]]:
    assert not found.bad
    return [(line.kind.value, line.amount, line.order) for line in found.lines]


# --- each shape -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8", "utf-8-sig", "utf-16"])
def test_alipay_is_read_between_its_remarks_in_every_encoding(tmp_path, encoding):
    file = written(tmp_path, "bill.csv", alipay(MONEY), encoding)

    found = read(file, Reading("taobao", "main", "gb18030" if encoding == "gb18030" else None))

    assert told(found) == [
        ("payment", 129_900, TRADE), ("refund", -2_000, TRADE), ("fee", -780, TRADE),
    ]  # fmt: skip
    assert found.lines[0].at_ms == 1_795_140_000_000  # 10:00 in Shanghai
    assert found.lines[0].currency == "CNY"


def test_gb18030_is_shown_and_confirmed_but_never_guessed(tmp_path):
    with pytest.raises(BadFile, match="--encoding gb18030"):
        read(written(tmp_path, "b.csv", alipay(MONEY), "gb18030"), Reading("taobao", "main"))


@pytest.mark.parametrize(
    ("words", "column", "amount", "kind"),
    [
        (
            {"业务类型": "其它", "备注": "天猫佣金（类目）{2771}扣款"},
            "支出金额（-元）",
            "-5",
            "fee",
        ),
        ({"业务类型": "交易付款", "备注": "积分服务费"}, "收入金额（+元）", "5.00", "payment"),
        ({"业务类型": "提现"}, "支出金额（-元）", "5.00", "transfer"),
        ({"业务类型": "交易退款"}, "收入金额（+元）", "5.00", "refund"),  # it came back
        ({"业务类型": "在线支付"}, "支出金额（-元）", "5.00", "other"),  # the shop paid somebody
        ({"业务类型": "集分宝补贴"}, "收入金额（+元）", "5.00", "other"),
        ({"业务类型": "明日之词"}, "收入金额（+元）", "5.00", "other"),
    ],
)
def test_alipay_words_say_what_an_amount_is(tmp_path, words, column, amount, kind):
    row = {"账务流水号": "1", "商户订单号": f"T200P{TRADE}", "发生时间": "2026-11-20 10:00:00"}

    found = look(tmp_path, "tmall", a_csv(ALIPAY, [row | words | {column: amount}]))

    sign = 1 if "收入" in column else -1
    assert told(found) == [(kind, 500 * sign, None if kind == "transfer" else TRADE)]
    assert found.lines[0].word == words["业务类型"]  # a remark is looked at, and not kept


def test_douyin_parts_and_what_its_whole_has_beside_them(tmp_path):
    [row] = douyin(MONEY._replace(paid="129.00"))
    rows = [
        row | {"实际平台补贴": "3.00", "动账金额": "105.20"},  # 1.00 more than its parts
        {
            "动账时间": "2026-11-21 10:00:00", "动帐流水号": "8", "动账方向": "出账",
            "动账金额": "12.00", "动账场景": "退款-结算后退款-退用户", "订单号": TRADE,
        },
        {
            "动账时间": "2026-11-21 10:00:00", "动帐流水号": "9", "动账方向": "出账",
            "动账金额": "99.00", "动账场景": "提现",
        },
    ]  # fmt: skip

    found = look(tmp_path, "douyin", a_csv(DOUYIN, rows))

    assert told(found) == [
        ("payment", 12_900, TRADE), ("other", 300, TRADE), ("refund", -2_000, TRADE),
        ("fee", -780, TRADE), ("other", 100, TRADE),
        ("refund", -1_200, TRADE), ("transfer", -9_900, None),
    ]  # fmt: skip
    assert sum(line.amount for line in found.lines) == 10_520 - 1_200 - 9_900


def test_a_spreadsheet_is_read_as_its_csv_is(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(DOUYIN)
    for row in douyin(MONEY._replace(paid="129.00")):
        book.active.append([row.get(name, "") for name in DOUYIN])
    file = tmp_path / "bill.xlsx"
    book.save(file)

    found = read(file, Reading("douyin", "main"))

    assert told(found) == told(
        look(tmp_path, "douyin", a_csv(DOUYIN, douyin(MONEY._replace(paid="129.00"))))
    )


def test_shopify_has_fees_beside_amounts_and_names_for_orders(tmp_path):
    rows = shopify(Money("#1001", "100.00", "5.00", "3.20"))

    found = look(tmp_path, "shopify", a_csv(SHOPIFY, rows))

    assert told(found) == [
        ("payment", 10_000, "#1001"), ("fee", -320, "#1001"), ("refund", -500, "#1001"),
    ]  # fmt: skip
    assert found.lines[0].at_ms == 1_795_186_800_000  # 10:00 -0500 is 15:00 UTC


def test_shopify_orders_tell_which_order_a_name_is(tmp_path):
    text = "Name,Email,Financial Status,Id\n#1001,a@b.example,paid,512\n#1001,,,\n#1002,,paid,513\n"

    found = look(tmp_path, "shopify", text)

    assert (found.names, found.lines) == ({"#1001": "512", "#1002": "513"}, [])


def test_amazon_is_read_by_its_three_words_in_its_files_currency(tmp_path):
    rows = amazon(Money("111-2222222-3333333", "100.00", "20.00", "15.00"), currency="EUR")
    base = {key: rows[1][key] for key in ("settlement-id", "order-id", "posted-date-time")}
    rows += [
        base | {"transaction-type": type_, "amount-type": kind, "amount-description": words,
                "amount": amount}
        for type_, kind, words, amount in (
            ("Order", "ItemPrice", "ShippingTax", "1,50"),
            ("Order", "Promotion", "Shipping", "-1,50"),
            ("Order", "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "-2.00"),
            ("Refund", "ItemFees", "RefundCommission", "-3.00"),
        )
    ]  # fmt: skip
    rows.append({
        "settlement-id": "1", "transaction-type": "other-transaction",
        "amount-type": "other-transaction", "amount-description": "Current Reserve Amount",
        "amount": "-60.00",
    })  # fmt: skip

    found = look(tmp_path, "amazon", a_csv(AMAZON, rows, "\t"))

    order = "111-2222222-3333333"
    assert told(found) == [
        ("payment", 10_000, order), ("refund", -2_000, order), ("fee", -1_500, order),
        ("payment", 150, order), ("payment", -150, order), ("other", -200, order),
        ("fee", -300, order), ("other", -6_000, None),
    ]  # fmt: skip
    assert {line.currency for line in found.lines} == {"EUR"}
    assert found.adds_up is False  # rows were added behind its sum
    # The reserve has no time of its own: the settlement's end is its.
    assert found.lines[-1].at_ms == 1_795_478_400_000


def test_amazon_days_with_dots_are_day_first(tmp_path):
    rows = amazon(Money("111-2222222-3333333", "100.00", at="09.11.2026 05:23:19"))

    found = look(tmp_path, "amazon", a_csv(AMAZON, rows, "\t"))

    assert found.lines[0].at_ms == 1_794_201_799_000


@given(st.integers(-(10**9), 10**9))
def test_an_amount_is_read_however_its_thousands_and_decimals_are_written(minor):
    sign, whole, cents = "-" if minor < 0 else "", abs(minor) // 100, abs(minor) % 100

    for text in (
        f"{sign}{whole}.{cents:02}", f"{sign}{whole:,}.{cents:02}", f"{sign}{whole},{cents:02}",
        f"{sign}¥{whole:,}.{cents:02}",
    ):  # fmt: skip
        assert _amount("amount", text, "CNY") == minor


# --- what cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "whose", "said"),
    [
        (a_csv(DOUYIN, douyin(MONEY)), "douyin", "taobao"),
        (alipay(MONEY), "taobao", "douyin"),  # between its remarks
        (a_csv(AMAZON, amazon(MONEY), "\t"), "amazon", "shopify"),
        (a_csv(SHOPIFY, shopify(MONEY)), "shopify", "amazon"),
    ],
)
def test_another_platforms_file_is_told_by_its_name(tmp_path, text, whose, said):
    with pytest.raises(BadFile, match=rf"a file of {whose} .* not of {said}; say --platform"):
        look(tmp_path, said, text)


def test_columns_that_are_missing_or_that_nobody_knows_are_named(tmp_path):
    body = douyin(MONEY)
    with pytest.raises(BadFile, match="it lacks '动账方向', '动账金额'"):
        look(tmp_path, "douyin", a_csv(DOUYIN[:2] + DOUYIN[5:], [
            {k: v for k, v in row.items() if k not in DOUYIN[2:5]} for row in body
        ]))  # fmt: skip
    strange = a_csv((*DOUYIN, "新补贴"), body)
    with pytest.raises(BadFile, match="nobody knows the column '新补贴'"):
        look(tmp_path, "douyin", strange)

    assert look(tmp_path, "douyin", strange, passes=("新补贴",)).passed_over[-1] == "新补贴"


@pytest.mark.parametrize(
    ("column", "said", "reason"),
    [
        ("收入金额（+元）", "=SUM(A1:A9)", "amount"),
        ("收入金额（+元）", "#REF!", "formula failed"),
        ("收入金额（+元）", "12.345", "decimals"),
        ("收入金额（+元）", "1e5", "amount"),
        ("收入金额（+元）", "--5", "amount"),
        ("收入金额（+元）", "99999999999999999", "amount"),
        ("收入金额（+元）", "", "no amount"),
        ("发生时间", "", "no time"),
        ("发生时间", "yesterday", "time"),
        ("账务流水号", "", "no id of its movement"),
        ("账务流水号", "2.02611E+21", "rounded"),
        ("商户订单号", "2.77194E+18", "rounded"),
    ],
)
def test_a_cell_that_is_wrong_is_named_by_row_and_reason(tmp_path, column, said, reason):
    row = {
        "账务流水号": "1", "商户订单号": TRADE, "发生时间": "2026-11-20 10:00:00",
        "业务类型": "交易付款", "收入金额（+元）": "5.00",
    }  # fmt: skip

    found = look(tmp_path, "taobao", a_csv(ALIPAY, [row, row | {"账务流水号": "2", column: said}]))

    assert [(bad.row, column in bad.field) for bad in found.bad] == [(3, True)]
    assert reason in found.bad[0].reason
    assert len(found.lines) == 1


def test_a_currency_that_is_none_and_one_that_was_never_said(tmp_path):
    [row] = shopify(Money("#1001", "100.00"))
    for said, reason in (("XYZ", "a currency of ISO 4217"), ("", "says the currency")):
        found = look(tmp_path, "shopify", a_csv(SHOPIFY, [row | {"Currency": said}]))
        assert reason in found.bad[0].reason


def test_a_time_without_a_zone_is_never_read_in_one_that_nobody_named(tmp_path):
    [row] = shopify(Money("#1001", "100.00"))
    text = a_csv(SHOPIFY, [row | {"Transaction Date": "2026-11-20 10:00:00"}])
    with pytest.raises(BadFile, match="--zone"):
        look(tmp_path, "shopify", text)

    assert look(tmp_path, "shopify", text, zone="+08:00").lines[0].at_ms == 1_795_140_000_000


def test_a_row_that_was_cut_off_is_bad(tmp_path):
    text = a_csv(AMAZON, amazon(Money("1-2-3", "100.00", fee="1.00")), "\t")

    found = look(tmp_path, "amazon", text[: text.rindex("Commission")])

    assert "number of cells" in found.bad[0].reason


@pytest.mark.parametrize(
    ("reading", "sentence"),
    [
        (Reading("jd", "main"), "no template for the settlements of 'jd'"),
        (Reading("taobao", ""), "Name the shop"),
        (Reading("taobao", "a b"), "Name the shop"),
        (Reading("taobao", "main", zone="Mars/Base"), "no time zone"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(tmp_path, reading, sentence):
    with pytest.raises(Rejected, match=sentence):
        read(written(tmp_path, "b.csv", alipay(MONEY)), reading)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        ("#a remark\n", "name the columns"),
        ('{"a": 1}\n', "JSON lines"),
        (a_csv(ALIPAY, []), "no row below"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, sentence):
    with pytest.raises(BadFile, match=sentence):
        look(tmp_path, "taobao", text)


def test_a_spreadsheet_that_is_a_bomb_is_refused_before_it_is_opened(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("[Content_Types].xml", "<Types/>")
        bomb.writestr("xl/workbook.xml", "<workbook/>")
        bomb.writestr("xl/worksheets/sheet1.xml", b" " * (200 * 1024 * 1024))
    file = tmp_path / "bomb.xlsx"
    file.write_bytes(packed.getvalue())

    with pytest.raises(BadFile, match="times its size"):
        read(file, Reading("douyin", "main"))


# --- the templates --------------------------------------------------------------------------------


def test_the_document_has_the_templates_as_they_are():
    assert templates.page() in (ROOT / "docs" / "settlement.md").read_text(), (
        "docs/settlement.md is stale: put the output of `orderflow settlement templates` into it"
    )


def test_no_two_columns_of_a_template_are_spelt_alike_but_for_two_roles():
    for template in TEMPLATES.values():
        spelt = [
            (name, column.role)
            for column in template.columns
            for name in {templates.plain_name(each) for each in (column.name, *column.also)}
        ]
        assert len(spelt) == len(set(spelt)), template.name


def test_sums_are_by_kind_and_word_and_bounded(tmp_path):
    many = [
        {"账务流水号": str(n), "商户订单号": TRADE, "发生时间": "2026-11-20 10:00:00",
         "业务类型": f"其它{n:03}", "收入金额（+元）": "1.00"}
        for n in range(120)
    ]  # fmt: skip

    sums = sums_of(look(tmp_path, "taobao", a_csv(ALIPAY, many)).lines)

    assert sum(each["lines"] for each in sums) == 120
    assert sum(each["amount_minor"] for each in sums) == 12_000
    assert len(sums) == 51
    assert {each["kind"] for each in sums} == {Kind.OTHER}
