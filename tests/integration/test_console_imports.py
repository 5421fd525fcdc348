"""The console: orders from files, settlement files, and which SKU of ours a shop's SKU is."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import http.client
import re
import urllib.parse
from html import unescape
from typing import Any

import pytest

from streams.clock import new_id, now_ms
from streams.importing.files import FILE_BYTES_MAX
from streams.operations.rights import Role
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.integration.the_console import (  # noqa: F401
    TAOBAO,
    Answer,
    Browser,
    Shop,
    a_mall_order,
    feed,
    recorded,
    shop,
    stocked,
    until_to_ship,
)
from tests.settling import DOUYIN, Money, a_csv, alipay, douyin

pytestmark = pytest.mark.stack


# --- imports --------------------------------------------------------------------------------------


BOUNDARY = "----of-a-browser-4711"
HEAD = "order_id,status,created_at,updated_at,merchant_sku,quantity"


def rows(*orders: str, units: str = "1") -> bytes:
    at = "2026-06-03T09:00:00+08:00"
    lines = [HEAD, *(f"{order},PAID,{at},{at},TEAPOT,{units}" for order in orders)]
    return "\n".join([*lines, ""]).encode()


def a_body(fields: dict[str, str], *files: tuple[str, bytes], end: str = "--") -> bytes:
    """A form with files, as a browser sends it: the fields, then the files."""
    parts = b""
    for name, said in fields.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts += head.encode() + said.encode() + b"\r\n"
    for name, content in files:
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: text/csv\r\n\r\n"
        )
        parts += head.encode() + content + b"\r\n"
    return parts + f"--{BOUNDARY}{end}\r\n".encode()


def an_upload(shop: Shop, role: Role = Role.OPERATIONS, **more: str) -> dict[str, str]:
    page = shop.of(role).ask("/imports")
    return {
        "csrf": page.csrf, "once": page.field("/import/upload", "once"), "platform": "taobao",
        "shop": "samples", "existing": "update", "reason": "平台故障", "dry_run": "1",
    } | more  # fmt: skip


def upload(browser: Browser, body: bytes) -> Answer:
    return browser.ask(
        "/import/upload", body, content_type=f"multipart/form-data; boundary={BOUNDARY}"
    )


def id_of(answer: Answer) -> str:
    found = re.fullmatch(r"/import\?id=([0-9a-f-]+)", answer.path)
    assert found, answer.text[-800:]
    return found[1]


def until_import(shop: Shop, id_: str, state: str) -> Answer:
    browser = shop.of(Role.OPERATIONS)

    def there() -> Answer | None:
        page = browser.ask(f"/import?id={id_}")
        return page if f'<span class="status">{state}<' in page.text else None

    eventually(there, WITHIN_S)
    found = there()
    assert found
    return found


def jobs(shop: Shop) -> int:
    return shop.of(Role.OPERATIONS).ask("/imports").text.count('href="/import?id=')


def test_a_file_is_looked_at_then_carried_out_and_its_rows_are_told(shop: Shop) -> None:
    stocked(shop, "TEAPOT")
    operations, service = shop.of(Role.OPERATIONS), shop.of(Role.SERVICE)
    first, second, bad = (f"88{now_ms() + n}" for n in range(3))
    content = rows(first, second) + rows(bad, units="x").split(b"\n", 1)[1]
    before = jobs(shop)

    form = an_upload(shop)
    begun = upload(operations, a_body(form, ("C:\\订单.csv", content)))
    again = upload(operations, a_body(form, ("C:\\订单.csv", content)))
    id_ = id_of(begun)
    looked = until_import(shop, id_, "已试算")
    nothing_yet = operations.ask(f"/order?key=taobao:samples:{first}").status
    verdicts = service.ask(f"/import/rows?id={id_}")
    run = {
        "csrf": looked.csrf, "once": looked.field("/import/run", "once"), "id": id_,
        "existing": "update", "reason": "补单",
    }  # fmt: skip
    ran = [operations.ask("/import/run", run) for _ in range(2)]
    done = until_import(shop, id_, "已完成")
    refused = operations.ask(f"/import/refused?id={id_}")

    assert (again.status, "已经提交过" in again.text) == (409, True)
    assert jobs(shop) == before + 1
    assert "订单.csv" in looked.text
    assert "新订单: <b>2</b>" in looked.text
    assert "无法使用: <b>1</b>" in looked.text
    assert nothing_yet == 404
    assert verdicts.text.count('"new"') == 2
    assert [each.status for each in ran] == [200, 409]
    assert "回执" in done.text
    assert "operations-mei: 补单" in done.text
    assert operations.ask(f"/order?key=taobao:samples:{second}").status == 200
    assert operations.ask(f"/order?key=taobao:samples:{bad}").status == 404
    assert bad in refused.text
    assert service.ask(f"/import/refused?id={id_}").status == 200
    assert shop.of(Role.WAREHOUSE).ask(f"/import/refused?id={id_}").status == 403
    record = recorded(shop, "operations-mei")
    assert ("imports.upload", "taobao samples", "平台故障", "done") in record
    assert ("imports.run", id_, "补单", "done") in record
    assert ("imports.refused", id_, "", "done") in record


def test_a_file_of_many_pieces_arrives_whole(shop: Shop) -> None:
    operations = shop.of(Role.OPERATIONS)
    names = [f"89{n:06}" for n in range(30_000)]
    content = rows(*names)
    assert len(content) > 2 * 1024 * 1024  # more than any other form may have

    id_ = id_of(upload(operations, a_body(an_upload(shop), ("large.csv", content))))

    assert "新订单: <b>30000</b>" in until_import(shop, id_, "已试算").text
    files = list((shop.house.folder / "uploads").glob("*.upload"))
    assert content in [each.read_bytes() for each in files]


def test_a_file_of_the_wrong_kind_is_refused_by_name_and_nothing_is_sent(shop: Shop) -> None:
    operations = shop.of(Role.OPERATIONS)

    id_ = id_of(upload(operations, a_body(an_upload(shop, dry_run=""), ("a.pdf", b"%PDF-1.7 x"))))

    assert "PDF" in until_import(shop, id_, "被拒绝").text


@pytest.mark.parametrize(
    ("changed", "files", "end", "status", "says"),
    [
        ({"csrf": "x"}, ["a.csv"], "--", 403, "表单已失效"),
        ({"platform": "moon"}, ["a.csv"], "--", 400, "没有这个选项"),
        ({"shop": ""}, ["a.csv"], "--", 400, "请提供店铺"),
        ({"reason": " "}, ["a.csv"], "--", 400, "请填写原因"),
        ({"existing": "always"}, ["a.csv"], "--", 400, "always"),
        ({"existing": "force"}, ["a.csv"], "--", 403, "您没有此权限"),
        ({"column": "a"}, ["a.csv"], "--", 400, "THEIRS=FIELD"),
        ({"once": ""}, ["a.csv"], "--", 400, "不是有效的表单"),
        ({"reason": "x" * 70_000}, ["a.csv"], "--", 400, "内容太长"),
        ({}, [], "--", 400, "请选择文件"),
        ({}, [""], "--", 400, "请选择文件"),
        # two files, and one that is cut short
        ({}, ["a.csv", "b.csv"], "--", 400, "不是有效的表单"),
        ({}, ["a.csv"], "", 400, "不是有效的表单"),
    ],
)
def test_an_upload_that_cannot_be_begins_nothing_and_leaves_no_file(
    shop: Shop, changed: dict[str, str], files: list[str], end: str, status: int, says: str
) -> None:
    uploads = shop.house.folder / "uploads"
    before, kept = jobs(shop), {each.name for each in uploads.glob("*.upload")}
    form = an_upload(shop) | changed
    body = a_body(form, *((name, rows("87000001")) for name in files), end=end)

    answer = upload(shop.of(Role.OPERATIONS), body)

    assert (answer.status, says in answer.text) == (status, True), answer.text[-600:]
    assert jobs(shop) == before
    assert {each.name for each in uploads.glob("*.upload")} == kept


def test_a_file_that_says_it_is_too_large_is_refused_before_it_comes(shop: Shop) -> None:
    operations, body = shop.of(Role.OPERATIONS), a_body(an_upload(shop), ("a.csv", rows("1")))
    cookie = operations.cookie("orderflow").value
    there = urllib.parse.urlsplit(shop.url)
    client = http.client.HTTPConnection(there.netloc, timeout=60)
    try:
        client.putrequest("POST", "/import/upload")
        client.putheader("cookie", f"orderflow={cookie}")
        client.putheader("content-type", f"multipart/form-data; boundary={BOUNDARY}")
        client.putheader("content-length", str(FILE_BYTES_MAX + 10_000))
        client.endheaders(body)
        answer = client.getresponse()
        text = answer.read().decode()
    finally:
        client.close()

    assert (answer.status, "内容太大" in text) == (413, True)
    assert answer.headers["connection"] == "close"


def test_a_file_whose_form_comes_behind_it_is_not_read(shop: Shop) -> None:
    form = an_upload(shop)
    whole = a_body(form, ("a.csv", rows("87000002")))
    at = whole.index(b"filename=")
    start = whole.rindex(f"--{BOUNDARY}".encode(), 0, at)
    stop = whole.rindex(f"--{BOUNDARY}--".encode())
    turned = whole[start:stop] + whole[:start] + whole[stop:]

    answer = upload(shop.of(Role.OPERATIONS), turned)

    assert (answer.status, "不是有效的表单" in answer.text) == (400, True)


def test_who_may_not_import_sees_what_was_imported_and_no_form(shop: Shop) -> None:
    viewer = shop.of(Role.VIEWER)

    assert "/import/upload" not in viewer.ask("/imports").text
    for path in ("/import?id=x", "/import/rows?id=x", "/import?id="):
        assert viewer.ask(path).status == 404
    assert shop.of(Role.ADMIN).ask("/import/refused?id=x").status == 404


# --- mappings -------------------------------------------------------------------------------------


def unmapped_line(theirs: str, units: int) -> dict[str, Any]:
    """A line that names the platform's SKU alone, which nobody has mapped."""
    return {"line_id": "1", "platform_sku": theirs, "title": f"<{theirs}>", "quantity": units}


def a_mapping(shop: Shop, theirs: str, **more: str) -> dict[str, str]:
    return {
        "csrf": shop.of(Role.OPERATIONS).ask("/mappings").csrf, "once": new_id(),
        "platform": "mall", "shop": "main", "theirs": theirs, "ours": "TEAPOT", "reason": "新上架",
    } | more  # fmt: skip


def mapping_of(shop: Shop, theirs: str) -> Answer:
    asked = urllib.parse.urlencode({"platform": "mall", "shop": "main", "theirs": theirs})
    return shop.of(Role.OPERATIONS).ask(f"/mapping?{asked}")


def not_mapped(shop: Shop) -> list[tuple[str, str]]:
    """SKUs of theirs that nobody has mapped, and how many orders wait for each, as shown."""
    text = shop.of(Role.VIEWER).ask("/mappings?platform=mall").text
    table = text.partition('<table class="unmapped">')[2].partition("</table>")[0]
    found = re.findall(
        r'theirs=([^"&]+)">.*?<td class="n"><a href="/order[^"]+">(\d+)</a>', table, re.DOTALL
    )
    return [(urllib.parse.unquote(theirs), n) for theirs, n in found]


def test_what_nobody_has_mapped_comes_first_and_its_orders_go_on_once_somebody_has(
    shop: Shop,
) -> None:
    stocked(shop, "TEAPOT")
    feed(
        shop.house,
        a_mall_order("MAP-1", lines=[unmapped_line("P-77", 1)]),
        a_mall_order("MAP-2", lines=[unmapped_line("P-77", 2)]),
        a_mall_order("MAP-3", lines=[unmapped_line("P-88", 1)]),
    )
    eventually(
        lambda: (
            [each for each in not_mapped(shop) if each[0] in ("P-77", "P-88")]
            == [("P-77", "2"), ("P-88", "1")]
        ),
        WITHIN_S,
    )
    operations = shop.of(Role.OPERATIONS)

    form = a_mapping(shop, "P-77")
    done = operations.ask("/mapping/map", form)
    again = operations.ask("/mapping/map", form)
    shop.house.orderflow("reference", "publish")

    assert done.path.partition("&done=")[0] == "/mapping?platform=mall&shop=main&theirs=P-77"
    assert (done.done, 'class="done"' in done.text) == ("1", True)
    assert "operations-mei: 新上架" in done.text
    assert (again.status, "已经提交过" in again.text) == (409, True)
    until_to_ship(shop, "sku=TEAPOT&platform=mall", ["mall:main:MAP-1", "mall:main:MAP-2"])
    eventually(lambda: ("P-77", "2") not in not_mapped(shop), WITHIN_S)
    assert ("P-88", "1") in not_mapped(shop)
    assert "&lt;P-88&gt;" in operations.ask("/mappings").text
    about = "mall main P-77 TEAPOT"
    assert ("mappings.map", about, "新上架", "done") in recorded(shop, "operations-mei")


def test_a_mapping_is_changed_from_a_time_on_and_ended_and_its_history_is_kept(shop: Shop) -> None:
    operations = shop.of(Role.OPERATIONS)
    first = operations.ask("/mapping/map", a_mapping(shop, "P-99"))
    moved = {"ours": "LAMP", "from": "2030-11-11T00:00", "reason": "换新"}
    changed = operations.ask("/mapping/map", a_mapping(shop, "P-99", **moved))
    listed_ = operations.ask("/mappings?sku=P-99").text
    ended = operations.ask("/mapping/unmap", a_mapping(shop, "P-99", ever="1", reason="录错"))

    assert "TEAPOT" in first.text
    # As pages show times: in the company's zone.
    assert changed.text.count("2030-11-11 00:00:00") >= 2
    assert (listed_.count("P-99</a>"), "换新" in listed_) == (2, True)
    assert "没有映射" in ended.text
    assert "撤回" in ended.text
    assert "operations-mei: 录错" in ended.text
    assert mapping_of(shop, "P-99").text.count("operations-mei") >= 4


@pytest.mark.parametrize(
    ("verb", "changed", "status", "says"),
    [
        ("map", {"platform": "moon"}, 400, "没有这个选项"),
        ("map", {"shop": ""}, 400, "请提供平台"),
        ("map", {"theirs": ""}, 400, "请提供平台"),
        ("map", {"theirs": "x" * 201}, 400, "内容太长"),
        ("map", {"ours": ""}, 400, "请提供 SKU"),
        ("map", {"ours": "L\u0410MP"}, 400, "two alphabets"),
        ("map", {"reason": " "}, 400, "请填写原因"),
        ("map", {"from": "tomorrow"}, 400, "请输入日期"),
        (
            "map",
            {"from": "2030-01-02T00:00", "until": "2030-01-01T00:00"},
            400,
            "end before it begins",
        ),
        ("unmap", {"ever": "1", "from": "2030-01-02T00:00"}, 400, "不能再填时间"),
        ("map", {"once": ""}, 400, "不是有效的表单"),
        ("map", {"csrf": "x"}, 403, "表单已失效"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused_and_nothing_is_written(
    shop: Shop, verb: str, changed: dict[str, str], status: int, says: str
) -> None:
    answer = shop.of(Role.OPERATIONS).ask(f"/mapping/{verb}", a_mapping(shop, "P-NEVER") | changed)

    assert (answer.status, says in answer.text) == (status, True), answer.text[-600:]
    assert "没有任何更改" in answer.text
    assert "没有映射" in mapping_of(shop, "P-NEVER").text


def test_mappings_follow_each_other_page_by_page(shop: Shop) -> None:
    file = shop.house.folder / "mappings.csv"
    lines = [f"mall,paged,P-{n:03},TEAPOT" for n in range(230)]
    file.write_text("\n".join(["platform,shop,theirs,ours", *lines, ""]))
    shop.house.orderflow("sku", "import", str(file), "--why", "catalogue", "--operator", "lin")
    viewer, path, found = shop.of(Role.VIEWER), "/mappings?shop=paged", []

    while path:
        text = viewer.ask(path).text
        found += re.findall(r'theirs=(P-\d+)">', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = unescape(following[1]) if following else ""

    assert found == [f"P-{n:03}" for n in range(230)]
    assert "/mapping/map" not in viewer.ask("/mappings").text
    assert viewer.ask("/mappings?after=x").status == 400


# --- settlements ----------------------------------------------------------------------------------


def a_settlement(shop: Shop, content: bytes, name: str = "账单.csv", **more: str) -> Answer:
    finance = shop.of(Role.FINANCE)
    page = finance.ask("/settlements")
    form = {
        "csrf": page.csrf, "once": page.field("/settlements/look", "once"), "platform": "taobao",
        "shop": "samples", "encoding": "gb18030",
    }  # fmt: skip
    return finance.ask(
        "/settlements/look", a_body(form | more, (name, content)),
        content_type=f"multipart/form-data; boundary={BOUNDARY}",
    )  # fmt: skip


def hidden(page: Answer, action: str, *names: str) -> dict[str, str]:
    """What a form on a page says by itself."""
    return {name: page.field(action, name) for name in ("csrf", "once", *names)}


TAKING = ("token", "name", "platform", "shop", "encoding", "sheet", "zone", "pass_over")


@pytest.mark.parametrize("time", ["first", "again"])
def test_finance_looks_at_a_settlement_takes_it_and_resolves_what_differs(
    shop: Shop, time: str
) -> None:
    finance = shop.of(Role.FINANCE)
    stranger, known = "999999999999999999", f"taobao:samples:{TAOBAO}"
    # Other facts each time: what was resolved once stays so.
    amount, id_ = f"{10_000 + now_ms() % 1_000_000 / 100:.2f}", new_id()
    content = alipay(
        Money(TAOBAO, amount, id=id_), Money(stranger, "5.00", fee="0.03", id=f"{id_}-2")
    ).encode("gb18030")
    files_before, exports_before = files_of(shop), exports(shop)

    looked = a_settlement(shop, content)
    nothing_yet = finance.ask("/settlements/differences")
    take = hidden(looked, "/settlements/take", *TAKING)
    taken = [finance.ask("/settlements/take", take) for _ in range(2)]
    again = a_settlement(shop, content)
    same = finance.ask("/settlements/take", hidden(again, "/settlements/take", *TAKING))

    assert "已知订单</dt><dd>1</dd>" in looked.text
    assert "没有差异" in nothing_yet.text
    assert [each.status for each in taken] == [200, 409]
    assert taken[0].title == "账单.csv"
    assert same.path == taken[0].path
    assert files_of(shop) == files_before + 1
    differing = finance.ask("/settlements/differences")
    assert "付款不符: 1" in differing.text
    assert "仅在文件中: 1" in differing.text
    filtered = finance.ask("/settlements/differences?verdict=only_in_file").text
    assert (stranger in filtered, TAOBAO in filtered) == (True, False)

    one = finance.ask(f"/settlements/order?key={known}")
    resolve = hidden(one, "/settlements/resolve", "order", f"facts {known}") | {"reason": "平台券"}
    answers = [finance.ask("/settlements/resolve", resolve) for _ in range(2)]
    stale = finance.ask("/settlements/resolve", resolve | {"once": new_id()})

    assert [each.status for each in (*answers, stale)] == [200, 409, 409]
    assert "finance-mei: 平台券" in answers[0].text
    assert TAOBAO not in finance.ask("/settlements/differences").text
    assert TAOBAO in finance.ask("/settlements/differences?resolved=1").text
    table = finance.ask("/settlements/differences.csv?resolved=1")
    assert table.text.count("taobao") == 2
    assert finance.ask("/settlements/differences.xlsx").raw.startswith(b"PK")
    record = recorded(shop, "finance-mei")
    assert ("settlements.look", "taobao samples", "", "done") in record
    assert ("settlements.take", "taobao samples 账单.csv", "", "done") in record
    assert ("settlements.resolve", known, "平台券", "done") in record
    assert exports(shop) == exports_before + 2

    # As it was before, so that it can be done once more.
    assert "没有差异" in withdrawn(shop, taken[0].path).text


def withdrawn(shop: Shop, path: str) -> Answer:
    """Let the file on a page count no more; what differs then."""
    finance = shop.of(Role.FINANCE)
    form = hidden(finance.ask(path), "/settlement/withdraw", "id") | {"reason": "试用"}
    assert finance.ask("/settlement/withdraw", form).status == 200
    return finance.ask("/settlements/differences")


def files_of(shop: Shop) -> int:
    page = shop.of(Role.FINANCE).ask("/settlements")
    return page.text.count('href="/settlement?id=')


def exports(shop: Shop) -> int:
    return sum(row[0] == "differences.export" for row in recorded(shop, "finance-mei"))


def test_a_settlement_that_cannot_be_used_is_told_by_its_owners_name(shop: Shop) -> None:
    other = a_settlement(shop, a_csv(DOUYIN, douyin(Money("1" * 18))).encode(), encoding="")
    unnamed = a_settlement(shop, alipay(Money(TAOBAO, "1.00")).encode("gb18030"), encoding="")
    bad = a_settlement(shop, alipay(Money(TAOBAO, "1.001")).encode("gb18030"))

    assert (other.status, unnamed.status) == (400, 400)
    assert "账单.csv: this is a file of douyin" in unescape(other.text)
    assert "--encoding gb18030" in unescape(unnamed.text)
    assert ".upload" not in other.text + unnamed.text
    assert "1 行无法使用" in bad.text
    assert 'action="/settlements/take"' not in bad.text


def test_only_finance_and_admins_see_what_platforms_pay(shop: Shop) -> None:
    page = f"/order?key=taobao:samples:{TAOBAO}"
    for role in Role:
        may = role in (Role.FINANCE, Role.ADMIN)
        browser = shop.of(role)
        assert (browser.ask("/settlements").status == 200) is may
        assert ("/settlements/order?key=" in browser.ask(page).text) is may


def test_forms_about_settlements_that_cannot_be_are_refused(shop: Shop) -> None:
    finance = shop.of(Role.FINANCE)
    csrf = finance.ask("/settlements").csrf
    take = {"platform": "taobao", "shop": "samples", "name": "x"}
    for path, form, status in (
        ("/settlements/take", take | {"token": "../../etc/passwd"}, 400),
        ("/settlements/take", take | {"token": new_id()}, 400),
        ("/settlements/take", take | {"token": new_id(), "platform": "jd"}, 400),
        ("/settlements/resolve", {"reason": "x"}, 400),
        ("/settlements/resolve", {"reason": "x", "order": "a:b:c"}, 409),
        ("/settlements/resolve", {"order": "a:b:c"}, 400),
        ("/settlements/match", {"platform": "taobao"}, 400),
        ("/settlement/withdraw", {"id": "--help", "reason": "x"}, 400),
    ):
        answer = finance.ask(path, form | {"csrf": csrf, "once": new_id()})
        assert answer.status == status, (path, form, answer.text[-500:])
    for path, status in (
        ("/settlement?id=nothing", 404),
        ("/settlements/order?key=", 400),
        ("/settlements/order?key=a:b:c", 200),
        ("/settlements/differences?verdict=agrees", 400),
        ("/settlements/differences?after=x", 400),
        ("/settlements?platform=jd", 400),
    ):
        assert finance.ask(path).status == status, path
