"""The console: exceptions, alerts and pauses that people settle, and who is told of orders."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import contextlib
import http.server
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from streams.clock import new_id
from streams.operations.rights import Role
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import Installation
from tests.integration.databases import ROOT
from tests.integration.the_console import (  # noqa: F401
    PERSON,
    Shop,
    a_mall_order,
    exceptions,
    feed,
    in_the_database,
    recorded,
    shop,
)

pytestmark = pytest.mark.stack


# --- exceptions -----------------------------------------------------------------------------------


def broken(shop: Shop, *ids: str) -> list[str]:
    """Let the mall send orders that cannot be read; return the ids of their exceptions."""
    feed(
        shop.house,
        *(a_mall_order(id_, total_minor="much", buyer={"phone": PERSON[1]}) for id_ in ids),
    )
    before: set[str] = set()

    def there() -> list[str]:
        found = exceptions(shop, "?cause=malformed&platform=mall")
        return [each for each in found if each not in before and f"{each}" not in _SEEN]

    eventually(lambda: len(there()) == len(ids), WITHIN_S)
    found = there()
    _SEEN.update(found)
    return found


_SEEN: set[str] = set()


def test_a_message_is_corrected_and_sent_again_and_before_and_after_are_kept(shop: Shop) -> None:
    (id_,) = broken(shop, "BROKEN-1")
    service, where = shop.of(Role.SERVICE), "/exception?id="
    masked = service.ask(where + urllib.parse.quote(id_))
    assert PERSON[1] not in masked.text

    seen = service.ask("/exception/reveal", {"csrf": masked.csrf, "id": id_, "reason": "看看"})
    assert PERSON[1] in seen.text
    fixed = unescape(re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", seen.text, re.DOTALL)[1])
    fixed = fixed.replace('"much"', "25850")
    form = {"csrf": seen.csrf, "id": id_, "message": fixed, "reason": "金额", "edits": "0"}
    edited = service.ask("/exception/edit", form)
    late = service.ask("/exception/edit", form | {"message": fixed.replace("25850", "1")})
    done = service.ask("/exceptions/retry", {"csrf": seen.csrf, "id": id_, "reason": "已修正"})
    again = service.ask("/exceptions/retry", {"csrf": seen.csrf, "id": id_, "reason": "已修正"})

    assert edited.path.startswith("/exception?id=")
    assert "修改前" in edited.text
    assert PERSON[1] not in edited.text
    # Somebody else edited it meanwhile: the second is shown both texts, and nothing was changed.
    assert late.status == 409
    beside = unescape(late.text.partition('<div class="beside">')[2].partition("<h2>")[0])
    for said in ("您打开时", "对方已保存", "您要保存的", '"much"', "25850"):
        assert said in beside
    assert re.search(r'"total_minor": ?1,', beside)
    # And may choose again: the form stands with what they wrote, on what is there now.
    assert late.field("/exception/edit", "edits") == "1"
    told = service.ask(f"/exception/lease?edits=0&id={urllib.parse.quote(id_)}")
    assert "service-mei 已保存更改" in told.text
    assert "已重试: 1" in done.text
    assert "之前已处理: 1" in again.text
    eventually(lambda: service.ask("/order?key=mall:main:BROKEN-1").status == 200, WITHIN_S)
    assert ("exceptions.edit", id_, "金额", "done") in recorded(shop, "service-mei")
    assert ("exceptions.reveal", id_, "看看", "done") in recorded(shop, "service-mei")


def test_a_bulk_action_is_counted_first_and_done_to_as_many_as_were_counted(shop: Shop) -> None:
    broken(shop, "BULK-1", "BULK-2")
    service, kind = shop.of(Role.SERVICE), {"cause": "malformed", "platform": "mall", "all": "1"}
    asked = urllib.parse.urlencode(kind | {"doing": "discard"})

    counted = service.ask(f"/exceptions/count?{asked}")
    count = counted.field("/exceptions/discard", "count")
    form = kind | {"csrf": counted.csrf, "count": count, "reason": "测试"}
    (third,) = broken(shop, "BULK-3")
    changed = service.ask("/exceptions/discard", form)
    now = service.ask(f"/exceptions/count?{asked}")
    done = service.ask(
        "/exceptions/discard", form | {"count": now.field("/exceptions/discard", "count")}
    )

    assert f"将放弃 {count} 条。尚未执行。" in counted.text
    assert (changed.status, "请重新确认" in changed.text) == (409, True)
    assert f"已放弃: {int(count) + 1}" in done.text
    assert third not in exceptions(shop, "?cause=malformed&platform=mall")
    assert third in exceptions(shop, "?cause=malformed&platform=mall&settled=1")


def test_chosen_exceptions_are_settled_and_others_are_left(shop: Shop) -> None:
    one, other = broken(shop, "CHOSEN-1", "CHOSEN-2")
    service = shop.of(Role.SERVICE)

    page = service.ask("/exceptions/count?doing=discard&id=" + urllib.parse.quote(one))
    done = service.ask(
        "/exceptions/discard", {"csrf": page.csrf, "id": one, "count": "1", "reason": "测试"}
    )

    assert "已放弃: 1" in done.text
    left = exceptions(shop, "?cause=malformed&platform=mall")
    assert (one in left, other in left) == (False, True)


@pytest.mark.parametrize(
    "asked",
    [
        "doing=fly&id=a/0/0", "doing=retry", "doing=retry&all=1", "doing=retry&all=1&cause=boredom",
        "doing=retry&" + "&".join(f"id={n}" for n in range(1_200)),
    ],
)  # fmt: skip
def test_a_bulk_action_that_is_not_bounded_is_refused(shop: Shop, asked: str) -> None:
    assert shop.of(Role.SERVICE).ask(f"/exceptions/count?{asked}").status == 400


# --- alerts and pauses ----------------------------------------------------------------------------


def test_an_alert_is_seen_to_once_by_whoever_is_logged_in(shop: Shop) -> None:
    in_the_database(
        shop,
        "INSERT INTO alerts (id, rule, subject, severity, state, since, value, worst, read_at,"
        " fired_at) VALUES ('a1', 'silent_channel', 'mall:main', 'critical', 'firing', now(), 9.5,"
        " 12, now(), now())",
    )
    warehouse, operations = shop.of(Role.WAREHOUSE), shop.of(Role.OPERATIONS)
    page = warehouse.ask("/alerts")
    form = {"id": "a1", "reason": "我去看"}

    first = warehouse.ask("/alerts/acknowledge", form | {"csrf": page.csrf})
    second = operations.ask("/alerts/acknowledge", form | {"csrf": operations.ask("/alerts").csrf})
    nobodys = warehouse.ask("/alerts/acknowledge", {"csrf": page.csrf, "id": "x", "reason": "y"})

    assert "silent_channel" in page.text
    assert first.path == "/alerts"
    assert "warehouse-mei: 我去看" in first.text
    assert second.status == 409
    assert "warehouse-mei 已在处理" in second.text
    assert nobodys.status == 404
    assert warehouse.ask("/alerts?state=never").status == 400


def test_a_shop_is_paused_and_resumed_with_a_reason(shop: Shop) -> None:
    operations = shop.of(Role.OPERATIONS)
    form = {
        "csrf": operations.ask("/intake").csrf, "platform": "douyin", "shop": "shanjiao",
        "reason": "平台故障",
    }  # fmt: skip

    paused = operations.ask("/intake/pause", form)
    again = operations.ask("/intake/pause", form)
    unknown = operations.ask("/intake/pause", form | {"shop": "nobody"})
    resumed = operations.ask("/intake/resume", form | {"reason": "恢复了"})

    assert (paused.path, "operations-mei: 平台故障" in paused.text) == ("/intake", True)
    assert (again.status, "operations-mei 已暂停该店铺" in again.text) == (409, True)
    assert unknown.status == 400
    assert "operations-mei: 恢复了" in resumed.text
    assert ("intake.resume", "douyin shanjiao", "恢复了", "done") in recorded(
        shop, "operations-mei"
    )


# --- subscribers ----------------------------------------------------------------------------------


@contextlib.contextmanager
def a_receiver() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Somebody who is told: an address, and the headers of what came."""
    came: list[dict[str, str]] = []

    class Takes(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            came.append({name.lower(): said for name, said in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hooks?token=hunter2", came
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


@contextlib.contextmanager
def sending(house: Installation) -> Iterator[None]:
    """The process `orderflow callbacks run`."""
    with (house.folder / "callbacks.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "callbacks", "run"],
            env=house.env, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def a_subscriber(shop: Shop, name: str, **more: Any) -> dict[str, Any]:
    page = shop.of(Role.ADMIN).ask("/subscribers")
    return {
        "csrf": page.csrf, "once": page.field("/subscriber/add", "once"), "name": name,
        "url": "http://127.0.0.1:9/hooks?token=hunter2", "at_once": "4", "shops": "mall:main",
        "type": ["order.reserved", "order.status"], "reason": "新仓库",
    } | more  # fmt: skip


def a_change(shop: Shop, called: str, verb: str) -> dict[str, str]:
    page = shop.of(Role.ADMIN).ask(f"/subscriber?id={called}")
    found = {name: page.field(f"/subscriber/{verb}", name) for name in ("once", "id")}
    return found | {"csrf": page.csrf, "reason": f"为了 {verb}"}


def secrets_in(text: str) -> list[str]:
    return re.findall(r"whsec_[A-Za-z0-9+/=_-]+", text)


def test_a_subscriber_is_added_tried_and_its_secret_is_shown_once(shop: Shop) -> None:
    admin = shop.of(Role.ADMIN)
    with a_receiver() as (url, came), sending(shop.house):
        form = a_subscriber(shop, "wms", url=url)
        made = admin.ask("/subscriber/add", form)
        again = admin.ask("/subscriber/add", form)
        (secret,) = secrets_in(made.text)
        one = re.search(r"/subscriber\?id=(sub_\w+)", made.text)
        assert one
        tried = admin.ask("/subscriber/test", a_change(shop, one[1], "test"))
        eventually(lambda: "已送达</td>" in admin.ask(f"/subscriber?id={one[1]}").text, WITHIN_S)

    assert (again.status, "已经提交过" in again.text) == (409, True)
    assert tried.path == f"/subscriber?id={one[1]}"
    assert came[0]["webhook-signature"].startswith("v1,")
    pages = [admin.ask(path).text for path in ("/subscribers", f"/subscriber?id={one[1]}")]
    pages += [admin.ask("/audit").text, again.text]
    for text in pages:
        assert secret not in text
        assert "hunter2" not in text
    assert "order.reserved, order.status" in pages[0]
    assert "mall:main" in pages[0]
    assert "subscriber.test" in admin.ask(f"/subscriber?id={one[1]}&state=delivered").text
    assert "没有投递" in admin.ask(f"/subscriber?id={one[1]}&state=parked").text
    assert ("subscribers.add", "wms", "新仓库", "done") in recorded(shop, "admin-mei")
    assert ("subscribers.add", "wms", "新仓库", "refused") in recorded(shop, "admin-mei")
    log = "".join(each.read_text() for each in shop.house.folder.glob("console-*.log"))
    assert secret not in log


def test_a_subscriber_is_paused_resumed_given_a_new_secret_and_removed(shop: Shop) -> None:
    admin = shop.of(Role.ADMIN)
    made = admin.ask("/subscriber/add", a_subscriber(shop, "crm"))
    found = re.search(r"/subscriber\?id=(sub_\w+)", made.text)
    assert found, made.text[-500:]
    id_ = found[1]

    paused = admin.ask("/subscriber/pause", a_change(shop, id_, "pause"))
    offered = re.findall(r'action="/subscriber/(\w+)"', paused.text)
    resumed = admin.ask("/subscriber/resume", a_change(shop, id_, "resume"))
    form = a_change(shop, id_, "rotate")
    rotated, twice = (admin.ask("/subscriber/rotate", form) for _ in range(2))
    removed = admin.ask("/subscriber/remove", a_change(shop, id_, "remove"))

    assert "已暂停" in paused.text
    assert offered == ["resume", "rotate", "remove"]
    assert "正常" in resumed.text
    assert secrets_in(rotated.text) != secrets_in(made.text)
    # The one before still signs: a second secret would have ended it.
    assert (twice.status, secrets_in(twice.text)) == (409, [])
    assert "action=" not in removed.text.partition("<main")[2].replace('action="/subscriber"', "")
    assert "admin-mei: 为了 rotate" in removed.text
    assert removed.text.count("已更换密钥") == 1
    assert id_ not in admin.ask("/subscribers").text
    assert id_ in admin.ask("/subscribers?removed=1").text


def test_two_forms_with_one_id_at_once_are_done_once(shop: Shop) -> None:
    admin = shop.of(Role.ADMIN)
    made = admin.ask("/subscriber/add", a_subscriber(shop, "raced"))
    found = re.search(r"/subscriber\?id=(sub_\w+)", made.text)
    assert found
    form, statuses = a_change(shop, found[1], "rotate"), []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(admin.ask("/subscriber/rotate", form).status)
        )
        for _ in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(statuses) == [200, *[409] * 5]
    assert admin.ask(f"/subscriber?id={found[1]}").text.count("已更换密钥") == 1


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"url": "https://192.168.1.7/hooks"}, 400, "private address"),
        ({"url": "ftp://x"}, 400, "https"),
        ({"name": " "}, 400, "A name has"),
        ({"type": ["order.eaten"]}, 400, "There is no event"),
        ({"shops": "mars"}, 400, "A shop is PLATFORM"),
        ({"at_once": "0"}, 400, "At once"),
        ({"at_once": "many"}, 400, "请输入整数"),
        ({"reason": ""}, 400, "请填写原因"),
        ({"once": ""}, 400, "不是有效的表单"),
        ({"once": "x" * 200}, 400, "不是有效的表单"),
        ({"csrf": "x"}, 403, "表单已失效"),
    ],
)
def test_what_cannot_be_a_subscriber_is_told_why_and_is_none(
    shop: Shop, changed: dict[str, Any], status: int, says: str
) -> None:
    admin = shop.of(Role.ADMIN)
    form = a_subscriber(shop, "never") | changed

    answer = admin.ask("/subscriber/add", form)

    assert (answer.status, says in answer.text) == (status, True), answer.text[-600:]
    assert "没有任何更改" in answer.text
    assert ">never<" not in admin.ask("/subscribers?removed=1").text


def test_a_form_that_was_refused_may_be_put_right_and_sent_again(shop: Shop) -> None:
    admin, form = shop.of(Role.ADMIN), a_subscriber(shop, "righted")

    no = admin.ask("/subscriber/add", form | {"at_once": "0"})
    yes = admin.ask("/subscriber/add", form)

    assert (no.status, yes.status) == (400, 200)


def test_a_subscriber_nobody_knows_is_not_there(shop: Shop) -> None:
    admin = shop.of(Role.ADMIN)

    assert admin.ask("/subscriber?id=nobody").status == 404
    assert admin.ask("/subscriber?id=").status == 404
    form = {"csrf": admin.ask("/subscribers").csrf, "once": new_id(), "id": "nobody", "reason": "x"}
    for verb in ("test", "pause", "resume", "rotate", "remove"):
        assert admin.ask(f"/subscriber/{verb}", form | {"once": new_id()}).status == 404, verb
