"""The console: dashboards and daily reports, and the lists of orders behind every figure."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import io
import re
import urllib.parse
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from openpyxl import load_workbook

from streams.operations.rights import Role
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.integration.the_console import (  # noqa: F401
    Answer,
    Shop,
    a_mall_order,
    feed,
    in_the_database,
    listed,
    shop,
)

pytestmark = pytest.mark.stack

#: Nothing else in the house was placed on these days.
DAYS = "since=2026-03-01&until=2026-03-31"
THE_DAY = "2026-03-08"


def placed(order_id: str, at: str, **more: Any) -> dict[str, Any]:
    """An order placed and paid then."""
    times = {"created_at": at, "paid_at": at, "updated_at": at}
    return a_mall_order(order_id, **times | more)


def of_region(country: str, province: str) -> dict[str, Any]:
    return {"receiver": {"country": country, "province": province, "city": "x", "address": "y"}}


def cells(answer: Answer, table: str) -> Iterator[list[tuple[str, str]]]:
    """The rows of a table: each cell's text, and where it leads."""
    found = re.search(rf'<table id="{table}">.*?</table>', answer.text, re.DOTALL)
    assert found, f"{table} is not there: {answer.text[:1_000]}"
    for row in re.findall(r"<tr>(.*?)</tr>", found[0].partition("<tbody>")[2], re.DOTALL):
        yield [
            (unescape(re.sub(r"<[^>]+>", "", cell)).strip(), href(cell))
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        ]


def href(cell: str) -> str:
    found = re.search(r'href="([^"]+)"', cell)
    return unescape(found[1]) if found else ""


def counted(shop: Shop, path: str) -> int:
    """How many orders are in a list, page by page."""
    viewer, found = shop.of(Role.VIEWER), []
    while path:
        answer = viewer.ask(path)
        assert answer.status == 200, answer.text
        found += listed(answer)
        following = re.search(r'rel="next" href="([^"]+)"', answer.text)
        path = unescape(following[1]) if following else ""
    assert len(set(found)) == len(found)
    return len(found)


@pytest.fixture(scope="module")
def sold(shop: Shop) -> Shop:
    """Orders of some days, regions and currencies; four came back, one was never paid."""
    zhejiang, guangdong = of_region("CN", "浙江省"), of_region("CN", "广东省")
    back = {"refund": "REFUNDED", "refunded_minor": 25_850, "updated_at": "2026-03-20T10:00:00Z"}
    never = placed("NEVER-1", "2026-03-08T09:00:00+08:00", status="CANCELLED")
    del never["paid_at"], never["paid_minor"]
    feed(
        shop.house,
        *(
            placed(f"F-{n:03}", f"2026-03-08T{n % 24:02}:30:00+08:00", **zhejiang)
            for n in range(55)
        ),
        *(placed(f"G-{n}", "2026-03-09T09:00:00+08:00", **guangdong) for n in range(6)),
        *(placed(f"B-{n}", "2026-03-08T09:00:00+08:00", **guangdong | back) for n in range(4)),
        placed("USD-1", "2026-03-08T23:59:59+08:00", currency="USD"),
        placed("NEXT-1", "2026-03-09T00:00:00+08:00", currency="USD"),
        never,
    )

    def all_there() -> bool:
        answer = shop.of(Role.VIEWER).ask(f"/figures?unit=day&{DAYS}")
        if 'id="figures-totals"' not in answer.text:
            return False
        return {row[1][0]: row[2][0] for row in cells(answer, "figures-totals")} == {
            "CNY": "65", "USD": "2",
        }  # fmt: skip

    eventually(all_there, WITHIN_S)
    return shop


def test_currencies_stand_apart_and_the_numbers_are_those_of_the_orders(sold: Shop) -> None:
    answer = sold.of(Role.VIEWER).ask(f"/figures?unit=day&{DAYS}")

    rows = [[text for text, _ in row] for row in cells(answer, "figures-totals")]
    assert rows == [
        ["全部", "CNY", "65", "16802.50", "258.50", "4", "6.15 %", "1034.00", "4", "6.15 %",
         "1034.00"],
        ["全部", "USD", "2", "517.00", "258.50", "0", "0.00 %", "0.00", "0", "0.00 %", "0.00"],
    ]  # fmt: skip
    by_day = {(row[0][0], row[1][0]): row[2][0] for row in cells(answer, "figures-times")}
    assert by_day == {
        ("2026-03-08", "CNY"): "59", ("2026-03-08", "USD"): "1", ("2026-03-09", "CNY"): "6",
        ("2026-03-09", "USD"): "1", ("2026-03-20", "CNY"): "0",
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["hour", "day", "week", "month"])
def test_every_figure_opens_its_list_and_the_list_is_as_long_as_the_figure(
    sold: Shop, unit: str
) -> None:
    answer = sold.of(Role.VIEWER).ask(f"/figures?unit={unit}&{DAYS}")
    tables = ["figures-times"]
    if unit == "day":
        tables += ["figures-totals", "figures-shops", "figures-regions"]

    for table in tables:
        for row in cells(answer, table):
            for column in (2, 5, 8):
                text, path = row[column]
                assert counted(sold, path) == int(text), (table, row[0], path)
    if unit == "day":
        finer = next(path for row in cells(answer, "figures-times") if (path := row[0][1]))
        assert sold.of(Role.VIEWER).ask(finer).status == 200


def test_a_region_a_channel_and_a_currency_narrow_all_of_it(sold: Shop) -> None:
    viewer = sold.of(Role.VIEWER)

    def total(asked: str) -> list[str]:
        answer = viewer.ask(f"/figures?{DAYS}&{asked}")
        return [row[2][0] for row in cells(answer, "figures-totals")]

    assert total("province=" + urllib.parse.quote("广东省")) == ["10"]
    assert total("province=none&country=none") == ["2"]
    assert total("currency=USD") == ["2"]
    assert total("platform=mall&shop=main") == ["65", "2"]
    assert "这段时间没有订单" in viewer.ask(f"/figures?{DAYS}&platform=jd").text


def test_the_page_reads_without_scripts_and_draws_with_them(sold: Shop) -> None:
    viewer = sold.of(Role.VIEWER)
    page = viewer.ask(f"/figures?{DAYS}")

    assert page.title == "经营看板"
    assert "最后更新" in page.text
    assert page.text.count('data-series="{&#34;') == 2
    assert "<rect" in page.text
    assert "Asia/Shanghai 00:00" in page.text
    assert "style=" not in page.text
    assert [row[0][0] for row in cells(page, "figures-flow")][-1] == "接收 → 账本"
    for name in ("uplot.min.js", "uplot.min.css", "uplot.LICENSE.txt", "figures.js"):
        assert viewer.ask(f"/static/{name}").status == 200


@pytest.mark.parametrize(
    "asked",
    [
        "since=yesterday", "until=9999-12-31", "unit=year", "platform=moon", "shop=" + "x" * 300,
        "since=2026-03-02&until=2026-03-01", "unit=hour&since=2026-01-01&until=2026-03-01",
        "since=2020-01-01&until=2026-01-01", "since=a&since=b", "province=a%00b",
    ],
)  # fmt: skip
def test_what_can_never_be_answered_is_refused_in_words(shop: Shop, asked: str) -> None:
    answer = shop.of(Role.VIEWER).ask(f"/figures?{asked}")

    assert answer.status == 400, answer.text
    assert "没有任何更改" in answer.text


@pytest.mark.parametrize(
    "asked",
    ["placed_since=x", "back_since=9999-01-01", "hour=x&counted=1", "hour=9" + "9" * 16,
     "counted=1&q=LAMP", "counted=1&attention=case", "counted=1&since=2026-01-01",
     "province=" + "x" * 101, "counted=1&after=forged"],
)  # fmt: skip
def test_a_list_behind_no_figure_is_refused_in_words(shop: Shop, asked: str) -> None:
    assert shop.of(Role.VIEWER).ask(f"/orders?{asked}").status == 400


def test_the_figures_are_what_the_orders_come_to_and_a_wrong_one_is_found(sold: Shop) -> None:
    house = sold.house
    assert house.answer("figures", "restate", "--all")["chunks"] > 0
    assert house.answer("figures", "check")["differences"] == []

    in_the_database(sold, "UPDATE figures_days SET orders = orders + 1 WHERE currency = 'USD'")
    found = house.answer("figures", "check", code=1)

    assert found["ok"] is False
    assert {each["what"] for each in found["differences"]} == {"day"}
    house.orderflow("figures", "restate", "--all")
    house.orderflow("figures", "check", "--since", "2026-01-01")


def test_a_day_is_reported_and_restated_in_view_of_everybody(sold: Shop) -> None:
    house, viewer = sold.house, sold.of(Role.VIEWER)
    assert viewer.ask(f"/report?day={THE_DAY}").status == 404
    told = house.answer("report", "daily", "--day", THE_DAY)
    assert told["days"] == [{"day": THE_DAY, "version": 1, "outcome": "new"}]
    first = viewer.ask(f"/report?day={THE_DAY}")

    late = {"refund": "REFUNDED", "refunded_minor": 100, "updated_at": "2026-03-21T10:00:00Z"}
    feed(house, placed("F-000", "2026-03-08T00:30:00+08:00", **of_region("CN", "浙江省") | late))
    eventually(
        lambda: house.answer("report", "daily", "--day", THE_DAY)["days"][0]["version"] == 2,
        WITHIN_S,
    )

    now = viewer.ask(f"/report?day={THE_DAY}")
    assert first.title == f"日报 {THE_DAY}"
    assert 'class="was"' not in first.text
    assert 'class="was"' in now.text
    assert "已更正" in viewer.ask("/reports").text
    # The same numbers on the pages, in the file, and in the list of orders.
    figures = viewer.ask(f"/figures?unit=day&since={THE_DAY}&until={THE_DAY}")
    shown = [tuple(text for text, _ in row[1:]) for row in cells(figures, "figures-shops")]
    file = viewer.ask(f"/report.xlsx?day={THE_DAY}")
    sheet = load_workbook(io.BytesIO(file.raw)).active
    assert sheet is not None
    rows = [tuple(str(cell or "") for cell in row) for row in sheet.iter_rows(values_only=True)]
    of_shops = {row[7]: row for row in rows if row[2] == "shop"}
    assert [(of_shops[row[0]][8], of_shops[row[0]][9], of_shops[row[0]][11]) for row in shown] == [
        (row[1], row[2], row[4]) for row in shown
    ]
    assert of_shops["CNY"][8:12] == ("59", "15251.50", "258.50", "5")
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}
    paper = viewer.ask(f"/report/print?day={THE_DAY}")
    assert "15251.50" in paper.text
    assert viewer.ask(f"/report.xlsx?day={THE_DAY}&version=9").status == 404
    assert viewer.ask("/report?day=x").status == 400
    assert house.orderflow("report", "daily", "--day", "2999-01-01", code=2) == ""
