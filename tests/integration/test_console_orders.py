"""The console: orders, the parcels that leave, and stock; forms, and pages that stay open."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import io
import re
import threading
import urllib.parse
from html import unescape
from typing import Any

import pytest
from openpyxl import load_workbook

from streams.clock import new_id, now_ms
from streams.console import cursors
from streams.operations.rights import Role
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.integration.the_console import (  # noqa: F401
    CLEAR,
    CLEAR_ID,
    PARCEL,
    TAOBAO,
    Browser,
    Shop,
    Stream,
    a_form,
    a_mall_order,
    available,
    feed,
    listed,
    recorded,
    shop,
    stocked,
    to_ship,
    until_to_ship,
)

pytestmark = pytest.mark.stack


# --- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "finds"),
    [
        (CLEAR_ID, CLEAR),
        (CLEAR, CLEAR),
        ("LAMP", CLEAR),
        ("9876", CLEAR),
        (PARCEL, CLEAR),
        (PARCEL.lower(), CLEAR),
        (TAOBAO, f"taobao:samples:{TAOBAO}"),
        ("BASKET-L", f"taobao:samples:{TAOBAO}"),
    ],
)
def test_one_box_finds_an_order_by_what_people_know_of_it(
    shop: Shop, word: str, finds: str
) -> None:
    answer = shop.of(Role.SERVICE).ask(f"/orders?q={urllib.parse.quote(word)}")

    assert finds in listed(answer)


@pytest.mark.parametrize(
    "word",
    [
        "'",
        "%",
        "_",
        "' OR 1=1 --",
        "\\",
        '"',
        "0000",
        "{tel:9876}",
        "<script>",
        "9" * 200,
        "\ud800",
    ],
)
def test_a_strange_word_finds_nothing_and_breaks_nothing(shop: Shop, word: str) -> None:
    quoted = urllib.parse.quote(word, errors="surrogatepass")
    answer = shop.of(Role.SERVICE).ask(f"/orders?q={quoted}")

    assert answer.status == 200
    assert listed(answer) == []
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "asked",
    [
        "q=" + "x" * 10_000, "q=a%00b", "status=SOLD", "platform=ebay", "attention=all",
        "since=yesterday", "until=9999-12-31", "after=forged", "after=" + "A" * 5_000, "q=1&q=2",
    ],
)  # fmt: skip
def test_a_question_that_can_never_be_answered_is_refused_in_words(shop: Shop, asked: str) -> None:
    # A file begins with the first order, wherever the page was.
    for path in ("/orders", *(["/orders.csv"] if "after" not in asked else [])):
        answer = shop.of(Role.SERVICE).ask(f"{path}?{asked}")

        assert answer.status == 400, path
        assert answer.title == "无法处理此请求"
        assert "没有任何更改" in answer.text
        assert len(answer.text) < 5_000


def test_filters_narrow_the_list_and_stand_in_the_address(shop: Shop) -> None:
    service = shop.of(Role.SERVICE)

    assert listed(service.ask("/orders?platform=mall&shop=main&q=M-CANARY-1")) == [CLEAR]
    assert CLEAR not in listed(service.ask("/orders?platform=taobao"))
    assert CLEAR not in listed(service.ask("/orders?status=CANCELLED"))
    assert CLEAR in listed(service.ask("/orders?status=PAID&platform=mall&q=LAMP"))
    assert listed(service.ask("/orders?until=2020-01-01")) == []
    cases = service.ask("/orders?attention=case")
    assert listed(cases)
    assert cases.text.count("tag bad") == len(listed(cases))
    assert 'href="/orders.csv?attention=case"' in cases.text


def test_what_can_go_now_is_paid_has_its_stock_and_waits_for_nobody(shop: Shop) -> None:
    unpaid = a_mall_order("GO-2", status="PENDING_PAYMENT")
    del unpaid["paid_at"], unpaid["paid_minor"]
    feed(shop.house, a_mall_order("GO-1"), unpaid, a_mall_order("GO-3", refund="REFUNDING"))
    warehouse = shop.of(Role.WAREHOUSE)
    for id_ in ("GO-1", "GO-2", "GO-3"):
        eventually(
            lambda id_=id_: "已预占" in warehouse.ask(f"/order?key=mall:main:{id_}").text, WITHIN_S
        )

    ready = listed(warehouse.ask("/orders?attention=ready&platform=mall"))
    by_word = listed(warehouse.ask("/orders?attention=ready&q=LAMP"))

    for found in (ready, by_word):
        assert "mall:main:GO-1" in found
        assert "mall:main:GO-2" not in found
        assert "mall:main:GO-3" not in found


def test_pages_follow_each_other_without_a_gap_or_a_repeat(shop: Shop) -> None:
    feed(shop.house, *(a_mall_order(f"PAGE-{n:03}", lines=[]) for n in range(120)))
    service = shop.of(Role.SERVICE)

    def pages() -> list[str]:
        path, found = "/orders?platform=mall", []
        while path:
            answer = service.ask(path)
            found += [key for key in listed(answer) if "PAGE-" in key]
            following = re.search(r'rel="next" href="([^"]+)"', answer.text)
            path = unescape(following[1]) if following else ""
        return found

    eventually(lambda: len(pages()) == 120, WITHIN_S)
    found = pages()
    assert len(set(found)) == 120
    assert "after=" in unescape(service.ask("/orders?platform=mall").text)


def test_a_cursor_of_another_time_is_a_place_like_any_other(shop: Shop) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    place = cursors.written(datetime(2020, 1, 1, tzinfo=UTC), "z")

    assert listed(shop.of(Role.SERVICE).ask(f"/orders?after={place}")) == []


def test_the_list_is_taken_away_as_a_file_and_that_is_on_record(shop: Shop) -> None:
    feed(shop.house, a_mall_order("=HYPERLINK(1)"))
    finance = shop.of(Role.FINANCE)
    asked = "q=" + urllib.parse.quote("=HYPERLINK(1)")
    eventually(lambda: "258.50" in finance.ask(f"/orders?{asked}").text, WITHIN_S)

    as_csv = finance.ask(f"/orders.csv?{asked}")
    as_xlsx = finance.ask(f"/orders.xlsx?{asked}")

    assert as_csv.headers["content-disposition"].startswith('attachment; filename="orders-')
    assert as_csv.raw.startswith(b"\xef\xbb\xbf")
    assert '"\'=HYPERLINK(1)"' in as_csv.text
    assert '"258.50"' in as_csv.text
    sheet = load_workbook(io.BytesIO(as_xlsx.raw)).active
    assert sheet is not None
    assert (sheet["C2"].value, sheet["C2"].data_type) == ("=HYPERLINK(1)", "s")
    done = [each for each in recorded(shop, "finance-mei") if each[0] == "orders.export"]
    assert [each[3] for each in done[:2]] == ["done", "done"]


def test_a_file_that_was_refused_is_on_record_with_why(shop: Shop) -> None:
    finance = shop.of(Role.FINANCE)

    for path, did in (
        ("/orders.csv?since=x", "orders.export"),
        ("/to-ship.xlsx?until=x", "to-ship.export"),
    ):
        assert finance.ask(path).status == 400
        latest = recorded(shop, "finance-mei")[0]
        assert (latest[0], latest[3]) == (did, "rejected")


def test_an_order_shows_its_life_its_holds_and_its_story_in_both_languages(shop: Shop) -> None:
    browser = shop.a_user("bilingual", Role.VIEWER)
    page = browser.ask(f"/order?key={CLEAR}")
    browser.ask(f"/language?language=en&to={urllib.parse.quote(f'/order?key={CLEAR}')}")
    english = browser.ask(f"/order?key={CLEAR}")

    assert 'lang="zh-CN"' in page.text
    assert re.search(r'<li class="now" aria-current="step"[^>]*>待发货', page.text)
    assert "2 已占用 · 占用" in page.text
    assert "258.50 CNY" in page.text
    assert PARCEL in page.text
    assert "台灯 &lt;b&gt;" in page.text
    assert "every line has its stock" in page.text
    assert "raw-orders-mall/" in page.text
    assert 'html lang="en"' in english.text
    assert "paid, to ship" in english.text
    assert "Buyer and receiver" in english.text
    story = browser.ask(f"/order/story?key={CLEAR}").text
    assert "platform_order_id" in story
    assert CLEAR_ID in story


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/order?key=mall:main:NEVER", 404), ("/order?key=", 400), ("/order", 400),
        ("/order?key=" + "x" * 601, 400), (f"/order?key={CLEAR_ID}", 404),
        ("/order/story?key=a:b:c", 404), ("/order/part?key=a:b:c", 404),
        ("/order?key=%00", 400), ("/sku?name=", 400), ("/sku?name=" + "x" * 201, 400),
        ("/sku?name=NEVER", 200), ("/sku?name=LAMP&before=x", 400), ("/exception?id=a/0/0", 404),
        ("/exception?id=%00", 400), ("/static/nothing.js", 404), ("/static/..%2fpage.py", 404),
        ("/nowhere", 404), ("/sku/receive", 405), ("/audit?before=99999999999999999999", 400),
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_page_that_says_so(shop: Shop, path: str, status: int) -> None:
    answer = shop.of(Role.ADMIN).ask(path)

    assert answer.status in (status, 404 if status == 405 else status), answer.text[:300]
    assert "Traceback" not in answer.text
    assert answer.title


# --- to ship --------------------------------------------------------------------------------------


def paid_at(order_id: str, minute: int, **more: Any) -> dict[str, Any]:
    return a_mall_order(order_id, paid_at=f"2026-06-01T10:{minute:02}:00+08:00", **more)


def a_parcel(shop: Shop, key: str, number: str, **more: Any) -> dict[str, Any]:
    """A form for a parcel, as the page has it."""
    page = shop.of(Role.WAREHOUSE).ask("/to-ship/parcels?order=" + urllib.parse.quote(key))
    return {
        "csrf": page.csrf, "once": page.field("/to-ship/parcels", "once"), "key": key,
        "order": [key], "carrier": "SF", "number": number, "reason": "已打包",
        "line": ["1"], "units": [""],
    } | more  # fmt: skip


def a_line(sku: str, units: int, line: str = "1") -> dict[str, Any]:
    return {"line_id": line, "merchant_sku": sku, "title": sku, "quantity": units}


def test_what_can_go_now_is_listed_the_longest_paid_first_and_leaves_the_list_when_it_went(
    shop: Shop,
) -> None:
    stocked(shop, "VASE")
    only = [a_line("VASE", 2)]
    feed(
        shop.house,
        paid_at("GO-LATE", 9, lines=only),
        paid_at("GO-EARLY", 3, lines=only),
        paid_at("GO-HELD", 1, lines=only, status="PENDING_PAYMENT", paid_minor=0),
        paid_at("GO-BACK", 2, lines=only, refund="REFUNDING"),
        paid_at("GO-NONE", 4, lines=[a_line("VASE", 2), a_line("NOBODY-HAS-IT", 1, "2")]),
    )
    early, late = "mall:main:GO-EARLY", "mall:main:GO-LATE"
    until_to_ship(shop, "sku=VASE", [early, late])
    warehouse = shop.of(Role.WAREHOUSE)

    listed_ = warehouse.ask("/to-ship?sku=VASE")
    form = a_parcel(shop, early, "SF20000001")
    first = warehouse.ask("/to-ship/parcels", form)
    second = warehouse.ask("/to-ship/parcels", form)

    assert "VASE × 2" in listed_.text
    assert [first.status, second.status] == [200, 200]
    assert first.path == second.path
    assert first.done == form["once"]
    assert "所选订单已全部处理" in first.text
    until_to_ship(shop, "sku=VASE", [late])
    eventually(lambda: "包裹 SF20000001 已发出" in warehouse.ask(first.path).text, WITHIN_S)
    stock = shop.house.answer("stock", "show", "VASE")["balance"]
    assert stock["on_hand"] == 48
    about = f"{early} SF SF20000001"
    assert recorded(shop, "warehouse-mei").count(("parcel.ship", about, "已打包", "done")) == 2
    assert "warehouse-mei" in warehouse.ask("/order/story?key=" + early).text


def test_one_parcel_sent_twice_at_once_leaves_once(shop: Shop) -> None:
    stocked(shop, "CUP")
    feed(shop.house, paid_at("GO-TWICE", 1, lines=[a_line("CUP", 3)]))
    key = "mall:main:GO-TWICE"
    until_to_ship(shop, "sku=CUP", [key])
    warehouse, form = shop.of(Role.WAREHOUSE), a_parcel(shop, key, "SF20000009")
    found: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(warehouse.ask("/to-ship/parcels", form).status)
        )
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert found == [200] * 4
    until_to_ship(shop, "sku=CUP", [])
    assert shop.house.answer("stock", "show", "CUP")["balance"]["on_hand"] == 47


def test_a_part_of_an_order_goes_and_the_rest_stays_to_ship(shop: Shop) -> None:
    stocked(shop, "BOWL")
    stocked(shop, "SPOON")
    key = "mall:main:GO-PARTS"
    lines = [a_line("BOWL", 3), a_line("SPOON", 1, "2")]
    feed(shop.house, paid_at("GO-PARTS", 1, lines=lines))
    until_to_ship(shop, "sku=SPOON", [key])
    warehouse = shop.of(Role.WAREHOUSE)

    parts = {"line": ["1", "2"], "units": ["2", ""]}
    some = warehouse.ask("/to-ship/parcels", a_parcel(shop, key, "SF20000011", **parts))

    # The order stays chosen: one more parcel is to come.
    assert some.path.endswith("order=" + urllib.parse.quote_plus(key))
    eventually(lambda: "BOWL × 1" in warehouse.ask("/to-ship?sku=BOWL").text, WITHIN_S)
    assert to_ship(warehouse.ask("/to-ship?sku=SPOON")) == [key]
    rest = warehouse.ask("/to-ship/parcels", a_parcel(shop, key, "SF20000012"))
    assert rest.status == 200
    until_to_ship(shop, "sku=BOWL", [])


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"line": ["1"], "units": ["99"]}, 409, "这些件数已经发出"),
        ({"line": ["no-such-line"], "units": ["1"]}, 409, "没有这一行"),
        ({"key": "mall:main:NEVER"}, 404, "没有这个订单"),
        ({"key": ""}, 400, "请提供订单号"),
        ({"carrier": "PIGEON"}, 400, "请选择承运商"),
        ({"carrier": ""}, 400, "请选择承运商"),
        ({"number": "a b"}, 400, "tracking_number"),
        ({"number": ""}, 400, "tracking_number"),
        ({"line": ["1"], "units": ["two"]}, 400, "请输入整数"),
        ({"line": ["1"], "units": ["0"]}, 400, "包裹不能是空的"),
        ({"line": ["1", "2"], "units": ["1"]}, 400, "请输入整数"),
        ({"reason": ""}, 400, "请填写原因"),
        ({"once": "7"}, 400, "UUIDv7"),
        ({"csrf": "x"}, 403, "表单已失效"),
        ({"order": [f"mall:main:{n}" for n in range(51)]}, 400, "最多选择 50"),
    ],
)
def test_a_parcel_that_cannot_leave_says_why_and_moves_nothing(
    shop: Shop, changed: dict[str, Any], status: int, says: str
) -> None:
    key = "mall:main:GO-NOT"
    if key not in to_ship(shop.of(Role.WAREHOUSE).ask("/to-ship?sku=PLATE")):
        stocked(shop, "PLATE")
        feed(shop.house, paid_at("GO-NOT", 1, lines=[a_line("PLATE", 2)]))
        until_to_ship(shop, "sku=PLATE", [key])
    form = a_parcel(shop, key, "SF20000021") | changed

    answer = shop.of(Role.WAREHOUSE).ask("/to-ship/parcels", form)

    assert answer.status == status, answer.text[-800:]
    assert says in answer.text
    assert "没有任何更改" in answer.text
    assert to_ship(shop.of(Role.WAREHOUSE).ask("/to-ship?sku=PLATE")) == [key]


def test_a_form_that_was_refused_stands_again_as_it_was_filled_in(shop: Shop) -> None:
    stocked(shop, "TRAY")
    key = "mall:main:GO-AGAIN"
    feed(shop.house, paid_at("GO-AGAIN", 1, lines=[a_line("TRAY", 2)]))
    until_to_ship(shop, "sku=TRAY", [key])
    warehouse = shop.of(Role.WAREHOUSE)

    no = warehouse.ask("/to-ship/parcels", a_parcel(shop, key, "SF20000031", units=["9"]))
    again = {"once": no.field("/to-ship/parcels", "once"), "units": ["2"]}
    yes = warehouse.ask("/to-ship/parcels", a_parcel(shop, key, "SF20000031") | again)

    assert no.status == 409
    assert 'value="SF20000031"' in no.text
    assert '<option value="SF" selected>' in no.text
    assert 'inputmode="numeric" pattern="[0-9]*" value="9"' in no.text
    assert ("parcel.ship", f"{key} SF SF20000031", "已打包", "refused") in recorded(
        shop, "warehouse-mei"
    )
    assert yes.status == 200


def test_what_is_chosen_is_in_the_address_and_survives_a_refresh_and_the_next_page(
    shop: Shop,
) -> None:
    stocked(shop, "FORK", 200)
    feed(
        shop.house,
        *(paid_at(f"FORK-{n:03}", n % 60, lines=[a_line("FORK", 1)]) for n in range(60)),
    )
    warehouse = shop.of(Role.WAREHOUSE)

    def pages() -> list[str]:
        path, found = "/to-ship?sku=FORK", []
        while path:
            answer = warehouse.ask(path)
            found += to_ship(answer)
            following = re.search(r'rel="next" href="([^"]+)"', answer.text)
            path = unescape(following[1]) if following else ""
        return found

    wanted = [f"mall:main:FORK-{n:03}" for n in range(60)]
    eventually(lambda: pages() == wanted, WITHIN_S)
    one = urllib.parse.quote(wanted[3])
    page = warehouse.ask(f"/to-ship?sku=FORK&order={one}")
    following = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert following
    later = warehouse.ask(unescape(following[1]))
    paper = warehouse.ask(f"/to-ship/print?sku=FORK&order={one}")

    assert re.search(rf'value="{wanted[3]}"[^>]* checked', page.text)
    assert "已选但不在本页：1 单" in later.text
    assert re.search(rf'value="{wanted[3]}" checked', later.text)
    assert ("FORK-003" in paper.text, "FORK-004" in paper.text) == (True, False)
    assert "FORK-004" in warehouse.ask("/to-ship/print?sku=FORK").text
    assert warehouse.ask("/to-ship?after=forged").status == 400
    assert warehouse.ask("/to-ship?platform=moon").status == 400


def test_what_can_go_now_is_taken_away_as_a_file_and_that_is_on_record(shop: Shop) -> None:
    stocked(shop, "=LADLE")
    feed(shop.house, paid_at("=GO-FILE", 1, lines=[a_line("=LADLE", 4)]))
    until_to_ship(shop, "sku=%3DLADLE", ["mall:main:=GO-FILE"])
    finance = shop.of(Role.FINANCE)

    as_csv = finance.ask("/to-ship.csv?sku=%3DLADLE")
    as_xlsx = finance.ask("/to-ship.xlsx?sku=%3DLADLE")

    assert as_csv.text.count("\n") == 2
    assert '"\'=GO-FILE"' in as_csv.text
    assert '"\'=LADLE","4"' in as_csv.text
    sheet = load_workbook(io.BytesIO(as_xlsx.raw)).active
    assert sheet is not None
    assert (sheet["F2"].value, sheet["F2"].data_type, sheet["G2"].value) == ("=LADLE", "s", "4")
    done = [each for each in recorded(shop, "finance-mei") if each[0] == "to-ship.export"]
    assert [each[3] for each in done[:2]] == ["done", "done"]


def test_who_may_not_ship_sees_the_list_and_no_form(shop: Shop) -> None:
    viewer = shop.of(Role.VIEWER)

    assert viewer.ask("/to-ship").status == 200
    assert "/to-ship/parcels" not in viewer.ask("/to-ship").text
    assert viewer.ask("/to-ship/parcels?order=a:b:c").status == 403


# --- stock, and forms -----------------------------------------------------------------------------


def test_one_form_sent_twice_is_one_effect(shop: Shop) -> None:
    warehouse, form = shop.of(Role.WAREHOUSE), a_form(shop, "receive", "TWICE", "5", "送货")

    first, second = (warehouse.ask("/sku/receive", form) for _ in range(2))

    assert first.path == second.path
    assert (first.path.partition("&")[0], first.done) == ("/sku?name=TWICE", form["once"])
    eventually(lambda: available(shop, "TWICE") == 5, WITHIN_S)
    trail = warehouse.ask("/sku?name=TWICE").text
    assert trail.count("warehouse-mei: 送货") == 1
    eventually(lambda: "现可用 5" in warehouse.ask(first.path).text, WITHIN_S)
    assert recorded(shop, "warehouse-mei").count(("stock.receive", "TWICE 5", "送货", "done")) == 2


def test_a_link_makes_no_page_say_that_something_was_done(shop: Shop) -> None:
    warehouse, operations = shop.of(Role.WAREHOUSE), shop.of(Role.OPERATIONS)
    form = a_form(shop, "receive", "LINKED", "5", "送货")

    own = warehouse.ask("/sku/receive", form)
    signed = own.path.partition("done=")[2]

    assert 'class="done"' in own.text
    assert 'class="done"' in warehouse.ask(own.path).text
    # The same address in another's session; our own signature elsewhere; what anybody can write.
    assert 'class="done"' not in operations.ask(own.path).text
    for path in (
        f"/to-ship/parcels?done={signed}", f"/sku?name=LINKED&done={form['once']}",
        f"/sku?name=LINKED&done={'0' * 32}.{form['once']}", "/sku?name=LINKED&done=%E5%B7%B2",
        "/mapping?platform=mall&shop=main&theirs=P-1&done=1", "/orders?done=changed.5",
        "/orders?changed=5", "/to-ship/parcels?done=1",
    ):  # fmt: skip
        for browser in (warehouse, operations):
            answer = browser.ask(path)
            assert (answer.status, 'class="done"' in answer.text) == (200, False), path


def test_one_form_sent_twice_at_once_is_one_effect(shop: Shop) -> None:
    warehouse, form = shop.of(Role.WAREHOUSE), a_form(shop, "receive", "ATONCE", "7")
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(warehouse.ask("/sku/receive", form).status))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert found == [200] * 4
    eventually(lambda: available(shop, "ATONCE") == 7, WITHIN_S)
    assert 'id="m2"' not in shop.of(Role.VIEWER).ask("/sku?name=ATONCE").text


def test_stock_is_changed_by_forms_and_the_buckets_add_up(shop: Shop) -> None:
    warehouse = shop.of(Role.WAREHOUSE)
    for verb, number in (("receive", "20"), ("freeze", "3"), ("adjust", "-2"), ("count", "17"),
                         ("unfreeze", "1")):  # fmt: skip
        answer = warehouse.ask(f"/sku/{verb}", a_form(shop, verb, "FORMS", number))
        assert answer.path.startswith("/sku?name=FORMS&done="), (verb, answer.text[-500:])

    # 20 - 3 frozen - 2 = 15 free; 17 counted of 18: one less; one back from frozen.
    eventually(lambda: available(shop, "FORMS") == 15, WITHIN_S)
    text = warehouse.ask("/sku?name=FORMS").text
    buckets = [int(n) for n in re.findall(r'class="bucket[^"]*"><b>(\d+)', text)]
    assert sum(buckets[:5]) == buckets[-1] == 17


@pytest.mark.parametrize(
    ("verb", "changed", "status", "says"),
    [
        # more than there is
        ("freeze", {"number": "999999"}, 409, "数量不足"),
        # no number
        ("receive", {"number": "many"}, 400, "请输入整数"),
        ("receive", {"number": ""}, 400, "请输入整数"),
        # nothing at all
        ("receive", {"number": "0"}, 400, "quantity"),
        # nobody knows why
        ("receive", {"reason": " "}, 400, "请填写原因"),
        ("receive", {"reason": "x" * 1001}, 400, "请填写原因"),
        # no SKU, one that is too long, one with an invisible letter
        ("receive", {"sku": ""}, 400, "请提供 SKU"),
        ("receive", {"sku": "x" * 201}, 400, "请提供 SKU"),
        ("receive", {"sku": "ID\u200bLE"}, 409, "SKU 拼写有误"),
        # an id that is none, and one of yesterday
        ("receive", {"once": "7"}, 400, "UUIDv7"),
        ("receive", {"once": new_id(now_ms() - 2 * 86_400_000)}, 409, "表单已过期"),
        # a NUL
        ("receive", {"reason": "a\0b"}, 400, "无法使用的字符"),
    ],
)
def test_a_form_that_cannot_be_done_says_why_and_changes_nothing(
    shop: Shop, verb: str, changed: dict[str, str], status: int, says: str
) -> None:
    form = a_form(shop, verb, "IDLE", "5") | changed
    before = available(shop, "IDLE")

    answer = shop.of(Role.WAREHOUSE).ask(f"/sku/{verb}", form)

    assert answer.status == status, answer.text[-600:]
    assert says in answer.text
    assert "没有任何更改" in answer.text
    assert available(shop, "IDLE") == before


@pytest.mark.parametrize(
    ("headers", "changed"),
    [
        # another site, as a browser says it
        ({"sec_fetch_site": "cross-site"}, {}),
        ({"sec_fetch_site": "same-site"}, {}),
        ({"origin": "https://evil.example"}, {}),
        ({"origin": "null"}, {}),
        ({"origin": "https://["}, {}),
        # a token that is missing, or another session's
        ({}, {"csrf": ""}),
        ({}, {"csrf": "x" * 32}),
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    shop: Shop, headers: dict[str, str], changed: dict[str, str]
) -> None:
    form = a_form(shop, "receive", "FOREIGN", "5") | changed

    answer = shop.of(Role.WAREHOUSE).ask("/sku/receive", form, **headers)

    assert (answer.status, answer.title) == (403, "表单已失效，请刷新页面后重试")
    assert available(shop, "FOREIGN") == 0


def test_a_form_as_a_browser_of_ours_sends_it_counts(shop: Shop) -> None:
    form = a_form(shop, "receive", "OURS", "5")

    answer = shop.of(Role.WAREHOUSE).ask(
        "/sku/receive", form, origin=shop.url, sec_fetch_site="same-origin"
    )

    assert answer.path.startswith("/sku?name=OURS")


def test_a_token_of_another_session_does_not_count(shop: Shop) -> None:
    form = a_form(shop, "receive", "STOLEN", "5")
    form["csrf"] = shop.of(Role.OPERATIONS).ask("/sku?name=STOLEN").csrf

    assert shop.of(Role.WAREHOUSE).ask("/sku/receive", form).status == 403


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"a": 1}', {"content_type": "application/json"}, 400),
        (b"a=%ff", {"content_type": "application/x-www-form-urlencoded"}, 400),
        (b"&".join(b"a=1" for _ in range(2_000)),
         {"content_type": "application/x-www-form-urlencoded"}, 400),
        (b"a=" + b"x" * 3_000_000, {"content_type": "application/x-www-form-urlencoded"}, 413),
        (b"x", {"content_type": "multipart/form-data; boundary=x"}, 400),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(
    shop: Shop, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = shop.of(Role.WAREHOUSE).ask("/sku/receive", body, **headers)

    assert answer.status == status
    assert "没有任何更改" in answer.text


# --- an open page ---------------------------------------------------------------------------------


def test_an_open_page_is_told_when_its_order_changes_and_how_old_the_data_are(shop: Shop) -> None:
    feed(shop.house, a_mall_order("LIVE-1"))
    viewer, path = shop.of(Role.VIEWER), "/order?key=mall:main:LIVE-1"
    eventually(lambda: "2 已占用" in viewer.ask(path).text, WITHIN_S)
    stream = Stream(viewer, "/order/changes?key=mall:main:LIVE-1")
    try:
        eventually(stream.marks, WITHIN_S)
        told = len(stream.marks())

        feed(shop.house, {"platform_order_id": "LIVE-1", "status": "SHIPPED", "currency": "CNY",
                          "updated_at": "2026-06-02T09:31:00+08:00"})  # fmt: skip
        eventually(lambda: len(stream.marks()) > told, WITHIN_S)

        # What the page then asks for is not older than what it was told.
        eventually(
            lambda: "s-shipped" in viewer.ask("/order/part?key=mall:main:LIVE-1").text, WITHIN_S
        )
        eventually(lambda: [each for each in stream.events if each[1] == "age"], WITHIN_S)
        _, _, said = [each for each in stream.events if each[1] == "age"][-1]
        as_of, now = (int(each) for each in said.split())
        assert 0 < as_of <= now
    finally:
        stream.close()


def test_an_open_sku_is_told_of_every_move(shop: Shop) -> None:
    warehouse = shop.of(Role.WAREHOUSE)
    warehouse.ask("/sku/receive", a_form(shop, "receive", "WATCHED", "5"))
    eventually(lambda: available(shop, "WATCHED") == 5, WITHIN_S)
    stream = Stream(warehouse, "/sku/changes?name=WATCHED")
    try:
        eventually(lambda: stream.marks() == ["1"], WITHIN_S)
        warehouse.ask("/sku/freeze", a_form(shop, "freeze", "WATCHED", "2"))

        eventually(lambda: stream.marks() == ["1", "2"], WITHIN_S)
    finally:
        stream.close()


def test_a_stream_is_for_those_who_are_logged_in(shop: Shop) -> None:
    answer = Browser(shop.url).ask(
        f"/order/changes?key={CLEAR}", stay=True, accept="text/event-stream"
    )

    assert answer.status == 401
