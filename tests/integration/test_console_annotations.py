"""The console: labels and fields, who defines them, who notes them, and two who do so at once."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import csv
import io
import re
import threading
import urllib.parse
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from streams.annotating import table
from streams.annotating.definitions import CustomField, Kind, Label
from streams.annotating.leases import HELD_FOR_S
from streams.clock import new_id
from streams.operations.rights import Role
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.integration.selling import RedisServer, a_redis
from tests.integration.the_console import (  # noqa: F401
    CLEAR,
    TAOBAO,
    Answer,
    Browser,
    Shop,
    Stream,
    console,
    exceptions,
    in_the_database,
    listed,
    recorded,
    shop,
)

pytestmark = pytest.mark.stack

OTHER = f"taobao:samples:{TAOBAO}"


DEFINED = (
    Label("vip", "贵宾", "VIP", "purple"),
    Label("care", '小心 <b>"轻放"</b>', "", "red"),
    Label("old", "旧", "Old"),
    CustomField("gift", "赠品", "Gift", Kind.CHOICE, ("红", "蓝")),
    CustomField("note", "备注", "Note", most="40"),
    CustomField("weight", "重量", "Weight", Kind.NUMBER, least="0", roles=("warehouse",)),
)


@pytest.fixture(scope="module")
def defined(shop: Shop) -> Shop:
    """The house with a few labels and fields."""
    dsn = shop.house.env["ORDERFLOW_POSTGRES_OPERATIONS"]

    async def define() -> None:
        for each in DEFINED:
            await table.add(dsn, each, "li", "开店")
        await table.retire(dsn, table.Table.LABELS, "old", "li", "不用了", again=False)

    asyncio.run(define())
    return shop


class Watched:
    """A console with a Redis, which a test may stop."""

    def __init__(self, shop: Shop, url: str, redis: RedisServer) -> None:
        self._shop, self.url, self._redis = shop, url, redis

    def of(self, role: Role) -> Browser:
        return Browser(self.url, self._shop.of(role).jar)

    def flush(self) -> None:
        asyncio.run(self._redis.do("FLUSHALL"))

    def lasts_ms(self) -> list[int]:
        """How long each lease that is held lasts, if its form is not heard of."""
        keys = asyncio.run(self._redis.do("KEYS", "*console:editing:*"))
        return [asyncio.run(self._redis.do("PTTL", key.decode())) for key in keys]

    def stop_redis(self) -> None:
        self._redis.stop()

    def start_redis(self) -> None:
        asyncio.run(self._redis.start())


@pytest.fixture(scope="module")
def watched(defined: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with asyncio.Runner() as runner:
        made = a_redis(tmp_path_factory.mktemp("redis"))
        redis = runner.run(made.__aenter__())
        try:
            with console(defined.house, ORDERFLOW_REDIS=redis.url) as (url, _):
                yield Watched(defined, url, redis)
        finally:
            runner.run(made.__aexit__(None, None, None))


def form_of(browser: Browser, key: str) -> Answer:
    return browser.ask(f"/order/annotate?key={urllib.parse.quote(key)}")


def filled(page: Answer, **more: Any) -> dict[str, Any]:
    """What a browser sends of this form, as it stands, with what somebody changes."""
    form = page.text.partition('<form method="post" action="/order/annotate">')[2]
    found: dict[str, Any] = {
        name: unescape(page.field("/order/annotate", name)) for name in ("csrf", "key", "version")
    }
    found["label"] = re.findall(r'name="label" value="([^"]+)" checked', form)
    for name, value in re.findall(r'<input[^>]*name="(field\.[^"]+)"[^>]*value="([^"]*)"', form):
        found[name] = unescape(value)
    for name, options in re.findall(
        r'<select name="(field\.[^"]+)">(.*?)</select>', form, re.DOTALL
    ):
        chosen = re.search(r"<option selected>([^<]*)", options)
        found[name] = unescape(chosen[1]) if chosen else ""
    return found | more


def annotate(browser: Browser, key: str, **more: Any) -> Answer:
    return browser.ask("/order/annotate", filled(form_of(browser, key), **more))


def cleared(shop: Shop, key: str) -> None:
    fields = {"field.gift": "", "field.note": ""}
    assert annotate(shop.of(Role.SERVICE), key, label=[], **fields).status == 200


def chips(answer: Answer) -> list[str]:
    return [unescape(each) for each in re.findall(r'class="chip[^"]*">([^<]*)<', answer.text)]


# --- what is defined ------------------------------------------------------------------------------


def a_definition(shop: Shop, path: str, **more: Any) -> dict[str, Any]:
    csrf = shop.of(Role.OPERATIONS).ask("/labels").csrf
    return {"csrf": csrf, "once": new_id(), "reason": "试用", **more}


def test_a_label_is_added_changed_and_retired_by_staff_and_its_history_is_kept(
    defined: Shop,
) -> None:
    operations = defined.of(Role.OPERATIONS)
    form = a_definition(defined, "/label", code="rush", zh="加急", colour="orange")

    added = operations.ask("/label/add", form)
    again = operations.ask("/label/add", form)
    taken = operations.ask("/label/add", form | {"once": new_id()})
    version = added.field("/label/change", "version")
    change = a_definition(defined, "/label", code="rush", version=version, zh="特急", colour="red")
    changed = operations.ask("/label/change", change)
    # Somebody has the page open since before.
    stale = operations.ask("/label/change", change | {"once": new_id(), "zh": "慢"})
    gone = a_definition(
        defined, "/label", code="rush", version=changed.field("/label/retire", "version")
    )
    retired = operations.ask("/label/retire", gone)

    assert (added.path, added.title) == ("/label?code=rush", "加急")
    assert (again.status, "已经提交过" in again.text) == (409, True)
    assert (taken.status, "这个代码已存在" in taken.text) == (409, True)
    assert changed.title == "特急"
    assert (stale.status, "有人先修改了" in stale.text) == (409, True)
    assert "已停用" in retired.text
    assert retired.text.count("operations-mei: 试用") == 3
    known = {each["code"]: each for each in defined.house.answer("labels", "list")["labels"]}
    assert known["rush"] == {
        "code": "rush", "zh": "特急", "en": "特急", "colour": "red", "is_retired": True,
        "version": 3,
    }  # fmt: skip
    record = recorded(defined, "operations-mei")
    for did in ("labels.add", "labels.change", "labels.retire"):
        assert (did, "rush", "试用", "done") in record


def test_a_field_keeps_its_kind_and_orders_keep_what_it_allows_no_more(defined: Shop) -> None:
    operations, service = defined.of(Role.OPERATIONS), defined.of(Role.SERVICE)
    form = a_definition(
        defined, "/field", code="box", zh="箱型", kind="choice", choices="大\r\n小\r\n"
    )
    added = operations.ask("/field/add", form)
    assert added.path == "/field?code=box"
    assert annotate(service, OTHER, **{"field.box": "小"}).path.startswith("/order?key=")

    version = added.field("/field/change", "version")
    changed = operations.ask(
        "/field/change",
        a_definition(
            defined, "/field", code="box", zh="箱型", kind="text", choices="大\n中", version=version
        ),
    )
    page = form_of(service, OTHER)
    kept = service.ask("/order/annotate", filled(page, **{"field.note": "x"}))
    no_more = annotate(defined.of(Role.WAREHOUSE), CLEAR, **{"field.box": "小"})

    assert "大\n中" in unescape(changed.text)
    assert "选项" in changed.text
    assert filled(page)["field.box"] == "小"
    assert "小</dd>" in kept.text
    assert (no_more.status, "须选择其选项之一" in no_more.text) == (400, True)
    # What is retired is shown, and filled in by nobody.
    version = changed.field("/field/retire", "version")
    operations.ask("/field/retire", a_definition(defined, "/field", code="box", version=version))
    after = form_of(service, OTHER)
    assert "field.box" not in filled(after)
    assert "小</dd>" in after.text
    assert "小</dd>" in annotate(service, OTHER, **{"field.note": ""}).text


@pytest.mark.parametrize(
    ("path", "changed", "status", "says"),
    [
        ("/label/add", {"code": "VIP"}, 400, "代码"),
        ("/label/add", {"code": ""}, 400, "代码"),
        ("/label/add", {"zh": "x" * 10_000}, 400, "名称"),
        ("/label/add", {"zh": ""}, 400, "名称"),
        ("/label/add", {"colour": "#fff"}, 400, "没有颜色"),
        ("/label/add", {"reason": " "}, 400, "请填写原因"),
        ("/label/add", {"once": ""}, 400, "不是有效的表单"),
        ("/label/add", {"csrf": "x"}, 403, "表单已失效"),
        ("/label/change", {"code": "nobody", "version": "1"}, 404, "没有这个标签"),
        ("/label/change", {"code": "vip", "version": "x"}, 400, "请输入整数"),
        ("/label/retire", {"code": "vip"}, 400, "请输入整数"),
        ("/label/restore", {"code": "vip", "version": "1"}, 409, "已经是这样"),
        ("/field/add", {"kind": "float"}, 400, "没有类型"),
        ("/field/add", {"kind": "choice"}, 400, "选项类型须有"),
        ("/field/add", {"kind": "text", "most": "9999"}, 400, "范围无效"),
        ("/field/add", {"kind": "text", "role": ["viewer"]}, 400, "不能编辑"),
    ],
)
def test_a_definition_that_cannot_be_is_refused_in_words(
    defined: Shop, path: str, changed: dict[str, Any], status: int, says: str
) -> None:
    form = a_definition(defined, path, code="bad", zh="坏", colour="grey") | changed

    answer = defined.of(Role.OPERATIONS).ask(path, form)

    assert (answer.status, says in answer.text) == (status, True), answer.text[-800:]
    assert ">bad</a>" not in defined.of(Role.OPERATIONS).ask("/labels").text


def test_the_command_line_says_what_cannot_be_defined(defined: Shop) -> None:
    house = defined.house
    assert not house.answer("labels", "add", "vip", "--zh", "x", "--reason", "x", code=1)["ok"]
    assert not house.answer("labels", "retire", "nobody", "--reason", "x", code=1)["ok"]
    house.orderflow("labels", "add", "a b", "--zh", "x", "--reason", "x", code=2)
    house.orderflow("fields", "add", "f", "--zh", "x", "--kind", "float", "--reason", "x", code=2)
    house.answer("labels", "add", "temp", "--zh", "临时", "--en", "Temp", "--reason", "x")
    house.answer("labels", "change", "temp", "--colour", "teal", "--reason", "y")
    house.answer("labels", "retire", "temp", "--reason", "z")
    house.answer("labels", "restore", "temp", "--reason", "z")
    assert "临时" in house.orderflow("labels", "list")
    assert "warehouse" in house.orderflow("fields", "list")
    house.answer("fields", "change", "weight", "--most", "30.50", "--reason", "y")
    fields = {each["code"]: each for each in house.answer("fields", "list")["fields"]}
    assert (fields["weight"]["least"], fields["weight"]["most"]) == ("0", "30.5")


def test_there_are_so_many_labels_and_no_more(
    defined: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table._MAX, table.Table.LABELS, len(DEFINED[:3]))
    dsn = defined.house.env["ORDERFLOW_POSTGRES_OPERATIONS"]

    with pytest.raises(table.AsItIs, match="as many as there may be"):
        asyncio.run(table.add(dsn, Label("one-more", "x", "x"), "mei", "x"))


# --- on an order ----------------------------------------------------------------------------------


def test_what_is_noted_stands_on_the_order_in_its_story_and_in_the_lists(defined: Shop) -> None:
    service, viewer = defined.of(Role.SERVICE), defined.of(Role.VIEWER)

    done = annotate(
        service, CLEAR, label=["vip", "care"], **{"field.gift": "红", "field.note": " <i>急</i>%' "}
    )
    order = viewer.ask(f"/order?key={CLEAR}")
    story = viewer.ask(f"/order/story?key={CLEAR}").text
    explained = defined.house.orderflow("explain", "order", CLEAR)
    as_json = defined.house.answer("explain", "order", CLEAR)["annotations"]

    assert done.path == f"/order?key={urllib.parse.quote(CLEAR, safe='')}"
    assert chips(order)[:2] == ['小心 <b>"轻放"</b>', "贵宾"]
    assert "&lt;i&gt;急&lt;/i&gt;%&#39;" in order.text
    assert "<i>急" not in order.text
    assert "/order/annotate" not in order.text  # a viewer notes nothing
    assert "service-mei" in story
    assert "service-mei: labelled care; labelled vip; gift: nothing became 红" in explained
    assert as_json[-1]["added"] == ["care", "vip"]
    assert ("order.annotate", CLEAR, "", "done") in recorded(defined, "service-mei")
    # Every way to look for it.
    for asked in (
        "label=vip", "label=vip&q=M-CANARY-1", "field=gift&value=%E7%BA%A2",
        "label=care&status=PAID", "label=vip&field=gift&value=%E7%BA%A2",
        "field=note&value=" + urllib.parse.quote("<i>急</i>%'"),
    ):  # fmt: skip
        assert listed(viewer.ask(f"/orders?{asked}")) == [CLEAR], asked
    for asked in (
        "label=vip&status=CANCELLED", "field=gift&value=%25", "label=old", "label=vip&q=BASKET-L",
        "label=vip&until=2020-01-01", "label=old&q=M-CANARY-1",
    ):  # fmt: skip
        assert listed(viewer.ask(f"/orders?{asked}")) == [], asked
    text = viewer.ask("/orders.csv?label=vip").raw.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["labels"], row["label_names"]) for row in rows] == [
        ("care vip", '小心 <b>"轻放"</b>; 贵宾')
    ]
    assert viewer.ask("/orders.xlsx?label=vip").status == 200
    cleared(defined, CLEAR)
    assert listed(viewer.ask("/orders?label=vip")) == []


@pytest.mark.parametrize(
    "asked",
    [
        "label=nobody",
        "field=nobody&value=1",
        "value=1",
        "field=note&value=" + "x" * 600,
        "label=a&label=b",
    ],
)
def test_what_nobody_defined_cannot_be_asked_for(defined: Shop, asked: str) -> None:
    for path in ("/orders", "/orders.csv"):
        answer = defined.of(Role.SERVICE).ask(f"{path}?{asked}")
        assert (answer.status, answer.title) == (400, "无法处理此请求")


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"label": ["nobody"]}, 400, "没有标签"),
        ({"label": ["x" * 10_000]}, 400, "没有标签"),
        ({"label": ["old"]}, 400, "已停用，不能再加"),
        ({"field.note": "x" * 41}, 400, "太长"),
        ({"field.note": "x" * 10_000}, 400, "太长"),
        ({"field.note": "a\nb"}, 400, "不可见字符"),
        ({"field.note": ["a", "b"]}, 400, "出现了两次"),
        ({"field.note": "a\0b"}, 400, "无法使用的字符"),
        ({"field.gift": "绿"}, 400, "须选择其选项之一"),
        ({"field.nobody": "x"}, 400, "没有字段"),
        ({"field.": "x"}, 400, "没有字段"),
        # another role's field, which the form does not have
        ({"field.weight": "1"}, 400, "您的角色不能编辑"),
        ({"version": "99999999999"}, 400, "请输入整数"),
        ({"version": ""}, 400, "请输入整数"),
        ({"version": "-1"}, 400, "请输入整数"),
        ({"key": "mall:main:nobody"}, 404, "没有这个订单"),
        ({"key": ""}, 400, "请提供订单号"),
        ({"csrf": "x"}, 403, "表单已失效"),
    ],
)
def test_what_cannot_be_noted_is_refused_in_words_and_nothing_is_written(
    defined: Shop, changed: dict[str, Any], status: int, says: str
) -> None:
    service = defined.of(Role.SERVICE)
    page = form_of(service, OTHER)

    answer = service.ask("/order/annotate", filled(page, **changed))

    assert (answer.status, says in answer.text) == (status, True), answer.text[-800:]
    assert "没有任何更改" in answer.text
    assert filled(form_of(service, OTHER)) == filled(page)


def test_who_may_fill_in_a_field_has_it_in_the_form(defined: Shop) -> None:
    warehouse, service = defined.of(Role.WAREHOUSE), defined.of(Role.SERVICE)

    done = annotate(warehouse, OTHER, **{"field.weight": "+1.50"})

    assert "1.5</dd>" in done.text
    assert "field.weight" not in filled(form_of(service, OTHER))
    assert listed(service.ask("/orders?field=weight&value=1.500")) == [OTHER]
    # What others note leaves it alone.
    assert "1.5</dd>" in annotate(service, OTHER, label=["vip"]).text
    annotate(warehouse, OTHER, label=[], **{"field.weight": ""})


def test_a_session_that_is_over_notes_nothing(defined: Shop) -> None:
    browser = defined.a_user("noting", Role.SERVICE)
    form = filled(form_of(browser, OTHER), label=["vip"])
    in_the_database(
        defined,
        "UPDATE console_sessions SET seen_at = seen_at - interval '3 hours' WHERE name = $1",
        "noting",
    )

    answer = browser.ask("/order/annotate", form)

    assert (answer.status, answer.title) == (401, "登录已过期")
    assert filled(form_of(defined.of(Role.SERVICE), OTHER))["label"] == []


def test_chosen_orders_are_labelled_at_once_and_the_filter_stays(defined: Shop) -> None:
    service, viewer = defined.of(Role.SERVICE), defined.of(Role.VIEWER)
    page = service.ask("/orders?q=LAMP&platform=mall")
    form = {
        "csrf": page.csrf, "asked.q": "LAMP", "asked.platform": "mall", "label": "care",
        "doing": "on", "order": [CLEAR, OTHER, CLEAR, "mall:main:nobody"],
    }  # fmt: skip

    done = service.ask("/orders/label", form)
    again = service.ask("/orders/label", form)
    found = sorted(listed(viewer.ask("/orders?label=care")))
    off = service.ask("/orders/label", form | {"doing": "off"})

    assert done.path.startswith("/orders?q=LAMP&platform=mall&done=")
    assert done.done == "changed.2 unknown.1"
    assert "已更改 2 单" in done.text
    assert "1 单不存在" in done.text
    assert "2 单本来如此" in again.text
    assert found == sorted([CLEAR, OTHER])
    assert "已更改 2 单" in off.text
    assert listed(viewer.ask("/orders?label=care")) == []
    assert 'name="order"' not in viewer.ask("/orders").text
    record = recorded(defined, "service-mei")
    assert [each[0] for each in record[:3]] == ["orders.label"] * 3


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"order": []}, "请至少选择一条"),
        ({"label": ""}, "请至少选择一条"),
        ({"label": "nobody"}, "没有标签"),
        ({"doing": "fly"}, "没有这个选项"),
        ({"order": [f"mall:main:{n}" for n in range(51)]}, "最多选择 50 单"),
    ],
)
def test_orders_are_not_labelled_where_it_cannot_be(
    defined: Shop, changed: dict[str, Any], says: str
) -> None:
    service = defined.of(Role.SERVICE)
    form = {"csrf": service.ask("/orders").csrf, "order": [CLEAR], "label": "vip", "doing": "on"}

    answer = service.ask("/orders/label", form | changed)

    assert (answer.status, says in answer.text) == (400, True)
    assert listed(service.ask("/orders?label=vip")) == []


# --- two editors ----------------------------------------------------------------------------------


def test_who_opens_a_form_shows_to_others_until_it_is_closed(watched: Watched) -> None:
    watched.flush()
    service, operations = watched.of(Role.SERVICE), watched.of(Role.OPERATIONS)

    first = form_of(service, OTHER)
    second = form_of(operations, OTHER)
    looking = watched.of(Role.VIEWER).ask(f"/order/part?key={OTHER}").text
    kept = operations.ask(f"/order/annotate/lease?key={OTHER}&version=0").text
    lasts = watched.lasts_ms()
    service.ask("/order/annotate", filled(first))
    after = operations.ask(f"/order/annotate/lease?key={OTHER}&version=0").text
    turned = service.ask(f"/order/annotate/lease?key={OTHER}&version=0").text

    assert "正在编辑" not in first.text
    assert len(lasts) == 1
    assert 0 < lasts[0] <= HELD_FOR_S * 1_000
    for each in (second.text, looking, kept):
        assert "service-mei 正在编辑，始于 <time" in each
    # The lease was given back with the form, and the next one has it.
    assert "正在编辑" not in after
    assert "operations-mei 正在编辑" in turned
    watched.flush()


def test_of_two_who_write_the_second_sees_both_texts_and_chooses_again(watched: Watched) -> None:
    service, operations = watched.of(Role.SERVICE), watched.of(Role.OPERATIONS)
    start = annotate(service, CLEAR, label=["vip"], **{"field.note": "原来", "field.gift": "红"})
    assert start.status == 200
    mine, theirs = form_of(service, CLEAR), form_of(operations, CLEAR)

    written = operations.ask(
        "/order/annotate",
        filled(theirs, label=["vip", "care"], **{"field.note": "对方", "field.gift": ""}),
    )
    # Redis forgets all of it, which changes nothing.
    watched.flush()
    refused = service.ask("/order/annotate", filled(mine, label=[], **{"field.note": "我方"}))
    told = service.ask(f"/order/annotate/lease?key={CLEAR}&version={filled(mine)['version']}").text
    before_choosing = filled(form_of(operations, CLEAR))
    chosen = service.ask("/order/annotate", filled(refused))

    assert written.path.startswith("/order?key=")
    assert refused.status == 409
    assert "您的更改未写入" in refused.text
    columns = refused.text.partition('<div class="beside">')[2].partition("<form")[0]
    for said in ("您打开时", "对方已保存", "您要保存的", "原来", "对方", "我方", "operations-mei"):
        assert said in columns
    assert "operations-mei 已保存更改" in told
    assert before_choosing["field.note"] == "对方"
    # What only they changed is theirs now, what both changed is the second one's to decide.
    assert filled(refused)["field.note"] == "我方"
    assert filled(refused)["label"] == ["care"]
    assert filled(refused)["field.gift"] == ""
    assert chosen.path.startswith("/order?key=")
    assert filled(form_of(service, CLEAR))["field.note"] == "我方"
    about = [each[3] for each in recorded_of(watched) if each[0] == "order.annotate"]
    assert about[:2] == ["done", "refused"]


def recorded_of(watched: Watched) -> list[tuple[str, ...]]:
    return recorded(watched._shop, "service-mei")


def test_of_many_who_write_at_the_same_moment_one_does(watched: Watched) -> None:
    key = eventually_untouched(watched)
    browsers = [watched.of(role) for role in (Role.SERVICE, Role.WAREHOUSE, Role.OPERATIONS)]
    forms = [
        filled(form_of(each, key), **{"field.note": f"第{n}"}) for n, each in enumerate(browsers)
    ]
    answers: list[int] = []
    barrier = threading.Barrier(3)

    def write(browser: Browser, form: dict[str, Any]) -> None:
        barrier.wait()
        answers.append(browser.ask("/order/annotate", form).status)

    threads = [
        threading.Thread(target=write, args=pair) for pair in zip(browsers, forms, strict=True)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(answers) == [200, 409, 409]
    assert filled(form_of(browsers[0], key))["version"] == "1"


def eventually_untouched(watched: Watched) -> str:
    """An order that nobody noted anything of."""
    service = watched.of(Role.SERVICE)
    for key in listed(service.ask("/orders")):
        if filled(form_of(service, key))["version"] == "0":
            return key
    raise AssertionError("every order was noted")


def test_the_same_form_twice_is_one_change(watched: Watched) -> None:
    service, key = watched.of(Role.SERVICE), eventually_untouched(watched)
    form = filled(form_of(service, key), label=["vip"])

    first, second = (service.ask("/order/annotate", form) for _ in range(2))

    assert (first.status, second.status) == (200, 200)
    assert filled(form_of(service, key))["version"] == "1"
    cleared(watched._shop, key)


def test_without_redis_the_page_says_that_it_cannot_know_and_changes_are_made(
    watched: Watched,
) -> None:
    service = watched.of(Role.SERVICE)
    watched.stop_redis()
    stream = Stream(service, f"/order/changes?key={OTHER}")
    try:
        page = form_of(service, OTHER)
        eventually(stream.marks, WITHIN_S)
        told = len(stream.marks())
        done = service.ask("/order/annotate", filled(page, **{"field.note": "无 Redis"}))
        part = service.ask(f"/order/part?key={OTHER}")
        # Pages are told of changes all the same.
        eventually(lambda: len(stream.marks()) > told, WITHIN_S)
    finally:
        stream.close()
        watched.start_redis()

    for each in (page, done, part):
        assert (each.status, "无法得知是否有人正在编辑" in each.text) == (200, True)
    assert "无 Redis</dd>" in done.text
    eventually(lambda: "无法得知" not in form_of(service, OTHER).text, WITHIN_S)
    # A console without any Redis says so too.
    assert "无法得知" in form_of(watched._shop.of(Role.SERVICE), OTHER).text


def begin_to_note(watched: Watched) -> None:
    form_of(watched.of(Role.SERVICE), OTHER)


def begin_to_correct(watched: Watched) -> None:
    id_ = exceptions(watched._shop)[0]
    service = watched.of(Role.SERVICE)
    form = {"csrf": service.ask(f"/exception?id={urllib.parse.quote(id_)}").csrf, "id": id_}
    shown = service.ask("/exception/reveal", form | {"reason": "更正"})
    assert 'action="/exception/edit"' in shown.text


@pytest.mark.parametrize("of", ["order", "exception"])
def test_an_open_page_is_told_when_somebody_begins_to_edit_and_when_nobody_does(
    watched: Watched, of: str
) -> None:
    """The stream is not asked for anything: what it tells was not found by asking."""
    watched.flush()
    viewer, begin = watched.of(Role.VIEWER), begin_to_note
    changes, part = f"/order/changes?key={OTHER}", f"/order/part?key={OTHER}"
    if of == "exception":
        begin, id_ = begin_to_correct, urllib.parse.quote(exceptions(watched._shop)[0])
        changes, part = f"/exception/changes?id={id_}", f"/exception/editors?id={id_}&edits=0"
    stream = Stream(viewer, changes)
    try:
        eventually(stream.marks, WITHIN_S)
        assert "正在编辑" not in viewer.ask(part).text

        begin(watched)

        eventually(lambda: len(stream.marks()) == 2, WITHIN_S)
        assert "service-mei 正在编辑" in viewer.ask(part).text
        # Who only looks does not take the lease from whoever has it, and keeps it up for nobody.
        begin(watched)
        watched.flush()
        eventually(lambda: len(stream.marks()) == 3, WITHIN_S)
        assert "正在编辑" not in viewer.ask(part).text
        # Nothing of a session is told.
        assert all(re.fullmatch(r"[0-9.a-z]+ (-|[0-9a-f]{16})", each) for each in stream.marks())
    finally:
        stream.close()


def test_an_open_page_is_told_of_what_others_note(watched: Watched) -> None:
    viewer, service = watched.of(Role.VIEWER), watched.of(Role.SERVICE)
    stream = Stream(viewer, f"/order/changes?key={OTHER}")
    try:
        eventually(stream.marks, WITHIN_S)
        told = len(stream.marks())

        annotate(service, OTHER, label=["care"])

        eventually(lambda: len(stream.marks()) > told, WITHIN_S)
        assert "轻放" in viewer.ask(f"/order/part?key={OTHER}").text
    finally:
        stream.close()
    cleared(watched._shop, OTHER)
