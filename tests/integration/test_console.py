"""
The console on one started installation, asked as a browser asks it: over HTTP, with cookies.

Orders of three platforms come in, one of them with a person in clear whom only some may see; every
role asks for every page; forms are sent twice, stale, from elsewhere, and too late.
"""

import asyncio
import contextlib
import http.client
import http.cookiejar
import http.server
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openpyxl import load_workbook

from streams.clock import new_id, now_ms
from streams.console import cursors, web
from streams.console.accounts import ATTEMPTS_OF_NAME_MAX
from streams.importing.files import FILE_BYTES_MAX
from streams.operations.rights import RIGHTS, Role
from streams.postgres.connecting import connected
from tests.e2e.test_an_order_from_platform_to_ledger import PAYLOADS, eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import Installation, installation
from tests.integration.databases import ROOT

pytestmark = pytest.mark.stack

PASSWORD = "correct horse battery 9"  # noqa: S105  of nobody but these tests
#: The person of the order that came in clear: each of these is to be seen by some only.
PERSON = (
    "李梅梅",
    "13912349876",
    "meimei.canary@example.com",
    "文三路 90 号 17 栋",
    "91330106MA2CFRAK3X",
)
CLEAR_ID = "M-CANARY-1"
CLEAR = f"mall:main:{CLEAR_ID}"
PARCEL = "SF1400000000017"
TAOBAO = "2771944107739206615"


class Answer(NamedTuple):
    """What came back, after redirects."""

    status: int
    path: str
    headers: Any
    text: str
    raw: bytes

    @property
    def title(self) -> str:
        found = re.search(r"<h1>(.*?)</h1>", self.text, re.DOTALL)
        return unescape(found[1]).strip() if found else ""

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]*)"', self.text)
        assert found, self.text[:500]
        return found[1]

    def field(self, action: str, name: str) -> str:
        found = re.search(
            rf'action="{re.escape(action)}".*?name="{name}" value="([^"]*)"', self.text, re.DOTALL
        )
        assert found, f"no {name} in a form for {action}"
        return unescape(found[1])


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Browser:
    """One who asks: cookies are kept, redirects are followed."""

    url: str
    jar: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def ask(
        self,
        path: str,
        form: dict[str, Any] | bytes | None = None,
        *,
        stay: bool = False,
        **headers: str,
    ) -> Answer:
        data = urllib.parse.urlencode(form, doseq=True).encode() if isinstance(form, dict) else form
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        handlers = [urllib.request.HTTPCookieProcessor(self.jar), *([_Stay()] if stay else [])]
        try:
            answer = urllib.request.build_opener(*handlers).open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            raw = answer.read()
            there = urllib.parse.urlsplit(answer.url)
            where = there.path + (f"?{there.query}" if there.query else "")
            text = raw.decode("utf-8", "replace")
            return Answer(answer.status, where, answer.headers, text, raw)

    def log_in(self, name: str, password: str, to: str = "/") -> Answer:
        form = self.ask("/sign-in")
        return self.ask(
            "/sign-in",
            {"csrf": form.field("/sign-in", "csrf"), "name": name, "password": password, "to": to},
        )

    def choose(self, old: str, new: str) -> Answer:
        csrf = self.ask("/password").csrf
        return self.ask("/password", {"csrf": csrf, "old": old, "new": new, "again": new})

    def cookie(self, name: str) -> Any:
        return next((each for each in self.jar if each.name == name), None)


@dataclass
class Shop:
    """The installation, its console, and one browser for each role, logged in."""

    house: Installation
    url: str
    first: str
    browsers: dict[Role, Browser] = field(default_factory=dict)

    def of(self, role: Role) -> Browser:
        """Return the browser of a user with *role*, who has chosen a password."""
        if role not in self.browsers:
            self.browsers[role] = self.a_user(f"{role.value}-mei", role)
        return self.browsers[role]

    def a_user(self, name: str, role: Role) -> Browser:
        made = self.house.answer("console", "users", "add", name, "--role", role.value)
        browser = Browser(self.url)
        assert browser.log_in(name, made["password"]).path == "/password"
        assert browser.choose(made["password"], PASSWORD).path == "/orders"
        return browser


@contextlib.contextmanager
def console(house: Installation, **env: str) -> Iterator[tuple[str, Path]]:
    """The process `orderflow console`; its address, and the file it prints to."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    log = house.folder / f"console-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "console", "--port", str(port)],
            env=house.env | {"ORDERFLOW_CONSOLE_COOKIES_SECURE": "false"} | env,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"
        try:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError):
                    return Browser(url).ask(web.READYZ).status == 200
                return False

            eventually(ready, WITHIN_S)
            yield url, log
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()[-2_000:]


def a_mall_order(order_id: str, **more: Any) -> dict[str, Any]:
    return {
        "platform_order_id": order_id, "status": "PAID", "refund": "NONE", "currency": "CNY",
        "total_minor": 25_850, "paid_minor": 25_850, "created_at": "2026-06-01T09:30:00+08:00",
        "paid_at": "2026-06-01T09:31:00+08:00", "updated_at": "2026-06-01T09:31:00+08:00",
        "lines": [
            {"line_id": "1", "merchant_sku": "LAMP", "title": '台灯 <b>"特价"</b>', "quantity": 2,
             "unit_price_minor": 12_900, "line_total_minor": 25_800},
        ],
    } | more  # fmt: skip


def feed(house: Installation, *orders: dict[str, Any]) -> None:
    """Let the mall send these orders."""
    folder = house.folder / f"mall-{new_id()}"
    folder.mkdir()
    for nth, each in enumerate(orders):
        (folder / f"{nth:04}.json").write_text(json.dumps(each, ensure_ascii=False))
    house.orderflow("feed", str(folder), "--platform", "mall", "--shop", "main")


def in_clear() -> dict[str, Any]:
    name, phone, email, address, tax = PERSON
    return a_mall_order(
        CLEAR_ID,
        buyer={"id": "u-1", "name": name, "phone": phone, "email": email},
        receiver={
            "name": name, "phone": phone, "country": "CN", "province": "浙江省",
            "city": "杭州市", "district": "西湖区", "address": address, "postcode": "310012",
        },
        invoice={"type": "company", "title": "青柚生活有限公司", "tax_number": tax},
        shipments=[{"carrier": "SF Express", "tracking_number": PARCEL}],
    )  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with asyncio.Runner() as runner:
        made = installation(tmp_path_factory.mktemp("console"))
        house = runner.run(made.__aenter__())
        try:
            # Whoever is told of orders lives on this machine here.
            house.env["ORDERFLOW_CALLBACKS_LOOPBACK"] = "true"
            house.env["ORDERFLOW_IMPORT_FOLDER"] = str(house.folder / "uploads")
            with house.running("intake,orders,stock,ledger"), console(house) as (url, log):
                yield _furnished(house, url, log)
        finally:
            runner.run(made.__aexit__(None, None, None))


def _furnished(house: Installation, url: str, log: Path) -> Shop:
    # Nobody orders IDLE: what is available of it is what forms make of it.
    for sku in ("LAMP", "BASKET-L", "HOOK-C", "IDLE"):
        house.orderflow("stock", "receive", sku, "100", "--reason", "delivery", "--timeout", "90")
    house.orderflow("feed", str(PAYLOADS), "--shop", "samples")
    feed(house, in_clear())
    printed = re.search(r"one-time password\n\n    (\S+)\n", log.read_text())
    assert printed, log.read_text()
    shop = Shop(house, url, printed[1])
    viewer = shop.of(Role.VIEWER)
    wanted = [f"/order?key={CLEAR}", f"/order?key=taobao:samples:{TAOBAO}"]
    for path in wanted:
        eventually(lambda path=path: viewer.ask(path).status == 200, WITHIN_S)
    eventually(lambda: "tag bad" in viewer.ask("/orders").text, WITHIN_S)
    eventually(lambda: "/exception?id=" in viewer.ask("/exceptions").text, WITHIN_S)
    return shop


def exceptions(shop: Shop, asked: str = "") -> list[str]:
    text = shop.of(Role.VIEWER).ask(f"/exceptions{asked}").text
    found = re.findall(r'href="/exception\?id=([^"]+)"', text)
    return [urllib.parse.unquote(unescape(each)) for each in found]


def recorded(shop: Shop, by: str) -> list[tuple[str, ...]]:
    """What the record has of somebody, latest first: did, about, why, outcome."""
    text = shop.of(Role.ADMIN).ask(f"/audit?by={urllib.parse.quote(by)}").text
    rows = re.findall(r"<tr><td>.*?</tr>", text, re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [
        tuple(unescape(re.sub(r"<small>.*?</small>", "", c)).strip() for c in r[2:]) for r in cells
    ]


# --- who may come in ------------------------------------------------------------------------------


def test_the_first_user_of_an_empty_house_has_to_choose_a_password(shop: Shop) -> None:
    browser = Browser(shop.url)

    assert browser.log_in("admin", shop.first).path == "/password"
    # Nothing else is to be had before.
    assert browser.ask("/orders").path == "/password"
    assert browser.choose(shop.first, "short").status == 400
    assert browser.choose("wrong", PASSWORD).status == 400
    assert browser.choose(shop.first, PASSWORD).path == "/orders"
    # It counts once.
    assert Browser(shop.url).log_in("admin", shop.first).status == 401
    assert Browser(shop.url).log_in("admin", PASSWORD).path == "/orders"


def test_a_second_process_of_a_house_with_users_prints_no_password(shop: Shop) -> None:
    with console(shop.house) as (_, log):
        assert "one-time password" not in log.read_text()


def test_a_log_in_begins_a_new_session_and_a_log_out_ends_it(shop: Shop) -> None:
    browser = shop.a_user("rotating", Role.VIEWER)
    before = browser.cookie("orderflow").value

    browser.log_in("rotating", PASSWORD)
    cookie = browser.cookie("orderflow")
    page = browser.ask("/orders")
    browser.ask("/sign-out", {"csrf": page.csrf})

    assert cookie.value != before
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite").lower() == "lax"
    assert browser.ask("/orders").path.startswith("/sign-in")
    thief = Browser(shop.url)
    assert thief.ask("/orders", cookie=f"orderflow={cookie.value}").path.startswith("/sign-in")
    # So did the log-in with the session that this browser had before.
    assert thief.ask("/orders", cookie=f"orderflow={before}").path.startswith("/sign-in")


def test_a_log_out_everywhere_ends_every_session_of_the_user(shop: Shop) -> None:
    here = shop.a_user("twofold", Role.VIEWER)
    there = Browser(shop.url)
    there.log_in("twofold", PASSWORD)

    here.ask("/sign-out", {"csrf": here.ask("/password").csrf, "everywhere": "1"})

    assert there.ask("/orders").path.startswith("/sign-in")


@pytest.mark.parametrize("what", ["disable", "role", "password"])
def test_a_user_who_is_changed_is_logged_out_at_once(shop: Shop, what: str) -> None:
    browser = shop.a_user(f"changed-{what}", Role.VIEWER)
    more = ["operations"] if what == "role" else []

    shop.house.answer("console", "users", what, f"changed-{what}", *more)

    assert browser.ask("/orders").path.startswith("/sign-in")
    again = browser.log_in(f"changed-{what}", PASSWORD)
    assert again.status == (200 if what == "role" else 401)


def test_the_command_line_says_when_there_is_nobody_or_somebody_of_that_name(shop: Shop) -> None:
    shop.of(Role.VIEWER)
    for words in (["disable"], ["password"], ["role"]):
        more = ["viewer"] if words == ["role"] else []
        assert not shop.house.answer("console", "users", *words, "nobody-here", *more, code=1)["ok"]
    taken = shop.house.answer("console", "users", "add", "viewer-mei", "--role", "admin", code=1)
    assert taken == {"ok": False, "name": "viewer-mei"}
    shop.house.orderflow("console", "users", "add", "x", "--role", "king", code=2)
    names = [each["name"] for each in shop.house.answer("console", "users", "list")["users"]]
    assert "viewer-mei" in names
    assert "$argon2" not in shop.house.orderflow("console", "users", "list", "--json")


def test_who_guesses_a_password_is_stopped_and_the_right_one_is_too_for_a_while(shop: Shop) -> None:
    shop.a_user("guessed", Role.VIEWER)
    browser = Browser(shop.url)

    tried = [browser.log_in("guessed", f"guess {n}").status for n in range(ATTEMPTS_OF_NAME_MAX)]
    stopped = browser.log_in("guessed", PASSWORD)

    assert tried == [401] * ATTEMPTS_OF_NAME_MAX
    assert stopped.status == 429
    assert stopped.headers["retry-after"]
    assert "15 分钟" in stopped.title
    # Whoever runs the house lets them in again.
    made = shop.house.answer("console", "users", "password", "guessed")
    assert browser.log_in("guessed", made["password"]).path == "/password"


def test_guesses_at_once_are_counted_as_those_after_each_other(shop: Shop) -> None:
    shop.a_user("stormed", Role.VIEWER)
    found: list[int] = []

    def guess(n: int) -> None:
        found.append(Browser(shop.url).log_in("stormed", f"guess {n}").status)

    threads = [threading.Thread(target=guess, args=(n,)) for n in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert found.count(401) <= ATTEMPTS_OF_NAME_MAX
    assert found.count(429) >= 12 - ATTEMPTS_OF_NAME_MAX


def test_a_name_nobody_has_is_told_as_a_wrong_password_is_and_is_not_kept(shop: Shop) -> None:
    shop.of(Role.VIEWER)
    known = Browser(shop.url).log_in("viewer-mei", "wrong password").text
    unknown = Browser(shop.url).log_in("hunter2-typed-in-the-wrong-box", "x").text

    def same(text: str) -> str:
        return re.sub(r'value="[^"]*"', "", text)

    assert same(known) == same(unknown)
    assert "hunter2" not in shop.of(Role.ADMIN).ask("/audit").text
    assert Browser(shop.url).log_in("a\0b", "x").status == 400
    Browser(shop.url).log_in("viewer-mei", PASSWORD)


def in_the_database(shop: Shop, statement: str, *values: Any) -> None:
    async def go() -> None:
        owner = shop.house.env["ORDERFLOW_POSTGRES_OWNER"]
        async with connected(owner, name="test") as connection:
            await connection.execute(statement, *values)

    asyncio.run(go())


@pytest.mark.parametrize(
    "over",
    [
        "UPDATE console_sessions SET seen_at = seen_at - interval '3 hours' WHERE name = $1",
        "UPDATE console_sessions SET made_at = made_at - interval '13 hours' WHERE name = $1",
    ],
)
def test_a_session_that_is_over_says_so_and_its_form_changes_nothing(shop: Shop, over: str) -> None:
    name = "idle" if "seen_at" in over else "old"
    browser = shop.a_user(name, Role.WAREHOUSE)
    form = a_form(shop, "receive", "IDLE", "5") | {"csrf": browser.ask("/sku?name=IDLE").csrf}
    before = available(shop, "IDLE")

    in_the_database(shop, over, name)
    page = browser.ask("/orders")
    sent = browser.ask("/sku/receive", form)

    assert page.path == "/sign-in?to=%2Forders"
    assert (sent.status, sent.title) == (401, "登录已过期")
    assert "没有任何更改" in sent.text
    assert available(shop, "IDLE") == before


def test_after_a_log_in_one_is_where_one_wanted_to_be_and_never_elsewhere(shop: Shop) -> None:
    shop.of(Role.VIEWER)
    browser = Browser(shop.url)
    lost = browser.ask("/stock?sku=LAMP")
    assert (
        browser.log_in("viewer-mei", PASSWORD, lost.field("/sign-in", "to")).path
        == "/stock?sku=LAMP"
    )

    away = Browser(shop.url)
    assert away.log_in("viewer-mei", PASSWORD, "//evil.example/").path == "/orders"


# --- who may see what -----------------------------------------------------------------------------


def paths() -> list[Any]:
    return [pytest.param(page, id=f"{page.method} {page.path}") for page in web.TABLE]


@pytest.mark.parametrize("page", paths())
def test_every_page_is_for_those_who_have_its_right_and_nobody_else(shop: Shop, page: Any) -> None:
    """A page that may be seen is not refused; of a form, only the token is wrong."""
    for role in [None, *Role]:
        browser = Browser(shop.url) if role is None else shop.of(role)
        path = page.path.replace("{name}", "console.css")
        form = {"csrf": "wrong"} if page.method == "POST" else None
        if path.endswith("/changes"):
            path += "?key=" + "x" * 700  # so that no stream begins
        answer = browser.ask(path, form, stay=True)

        may = page.needs is None or (role is not None and page.needs in RIGHTS[role])
        if role is None and not may:
            assert answer.status in (303, 401), (role, answer.status)
            assert answer.headers.get("location", "/sign-in").startswith("/sign-in")
        elif not may:
            assert (answer.status, answer.title) == (403, "您没有此权限"), (role, answer.status)
        elif page.method == "POST":
            assert (answer.status, answer.title) == (403, "表单已失效，请刷新页面后重试"), role
        else:
            assert answer.status in (200, 303, 400, 404), (role, answer.status)


def test_every_answer_says_what_a_browser_may_do_with_it(shop: Shop) -> None:
    viewer = shop.of(Role.VIEWER)
    for path in ("/orders", "/sign-in", "/nowhere", "/static/console.js", "/order?key=a:b:c"):
        headers = viewer.ask(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert viewer.ask("/orders").headers["cache-control"] == "no-store"


def test_with_tls_cookies_are_bound_to_the_host_and_never_travel_in_clear(shop: Shop) -> None:
    with console(shop.house, ORDERFLOW_CONSOLE_COOKIES_SECURE="true") as (url, _):
        answer = Browser(url).ask("/sign-in")

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-orderflow-stranger=")
    assert "Secure" in cookie
    assert "HttpOnly" in cookie
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize("role", list(Role))
def test_who_may_not_see_a_person_sees_nothing_of_them_anywhere(shop: Shop, role: Role) -> None:
    browser = shop.of(role)
    pages = [
        f"/order?key={CLEAR}", f"/order/part?key={CLEAR}", f"/order/story?key={CLEAR}",
        f"/orders?q={CLEAR_ID}", "/orders.csv", "/exceptions",
        *(f"/exception?id={urllib.parse.quote(id_)}" for id_ in exceptions(shop)[:5]),
    ]  # fmt: skip
    for path in pages:
        answer = browser.ask(path)
        assert answer.status == 200, path
        for each in PERSON:
            assert each not in answer.text, f"{role} sees {each} at {path}"
    assert "李***" in browser.ask(f"/order?key={CLEAR}").text


def test_who_may_see_a_person_says_why_and_it_is_on_record(shop: Shop) -> None:
    service = shop.of(Role.SERVICE)
    page = service.ask(f"/order?key={CLEAR}")
    form = {"csrf": page.csrf, "key": CLEAR}

    without = service.ask("/order/reveal", form)
    seen = service.ask("/order/reveal", {**form, "reason": "客户来电"})

    assert (without.status, "请填写原因" in without.text) == (400, True)
    assert "+8613912349876" in seen.text
    for each in PERSON[2:]:
        assert each in seen.text
    assert ("order.reveal", CLEAR, "客户来电", "done") in recorded(shop, "service-mei")
    assert ("order.reveal", CLEAR, "", "rejected") in recorded(shop, "service-mei")
    # What the page brings anew is masked again.
    assert PERSON[3] not in service.ask(f"/order/part?key={CLEAR}").text


# --- forms ----------------------------------------------------------------------------------------


def available(shop: Shop, sku: str) -> int:
    found = re.search(r'b-available"><b>(\d+)', shop.of(Role.VIEWER).ask(f"/sku?name={sku}").text)
    return int(found[1]) if found else 0


def a_form(shop: Shop, verb: str, sku: str, number: str, reason: str = "盘点") -> dict[str, str]:
    page = shop.of(Role.WAREHOUSE).ask(f"/sku?name={sku}")
    once = page.field(f"/sku/{verb}", "once")
    return {"csrf": page.csrf, "once": once, "sku": sku, "number": number, "reason": reason}


def test_one_form_sent_twice_is_one_effect(shop: Shop) -> None:
    warehouse, form = shop.of(Role.WAREHOUSE), a_form(shop, "receive", "TWICE", "5", "送货")

    first, second = (warehouse.ask("/sku/receive", form) for _ in range(2))

    assert first.path == second.path == f"/sku?name=TWICE&done={form['once']}"
    eventually(lambda: available(shop, "TWICE") == 5, WITHIN_S)
    trail = warehouse.ask("/sku?name=TWICE").text
    assert trail.count("warehouse-mei: 送货") == 1
    eventually(lambda: "现可用 5" in warehouse.ask(first.path).text, WITHIN_S)
    assert recorded(shop, "warehouse-mei").count(("stock.receive", "TWICE 5", "送货", "done")) == 2


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
        ("freeze", {"number": "999999"}, 409, "not_enough"),
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
        ("receive", {"sku": "ID\u200bLE"}, 409, "misspelt_sku"),
        # an id that is none, and one of yesterday
        ("receive", {"once": "7"}, 400, "UUIDv7"),
        ("receive", {"once": new_id(now_ms() - 2 * 86_400_000)}, 409, "too_old"),
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


# --- orders ---------------------------------------------------------------------------------------


def listed(answer: Answer) -> list[str]:
    found = re.findall(r'href="/order\?key=([^"]+)"', answer.text)
    return [urllib.parse.unquote(unescape(each)) for each in found]


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


def to_ship(answer: Answer) -> list[str]:
    """The orders of a list of what can go now, in its order."""
    table = answer.text.partition("<tbody>")[2]
    found = re.findall(r'name="order" value="([^"]+)"', table)
    return [unescape(each) for each in found]


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


def until_to_ship(shop: Shop, asked: str, wanted: list[str]) -> None:
    warehouse = shop.of(Role.WAREHOUSE)
    eventually(lambda: to_ship(warehouse.ask(f"/to-ship?{asked}")) == wanted, WITHIN_S)


def stocked(shop: Shop, sku: str, units: int = 50) -> None:
    shop.house.orderflow("stock", "receive", sku, str(units), "--reason", "x", "--timeout", "90")


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
    assert first.path == second.path == f"/to-ship/parcels?done={form['once']}"
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

    assert done.path == "/mapping?platform=mall&shop=main&theirs=P-77&done=1"
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


# --- an open page ---------------------------------------------------------------------------------


class Stream:
    """An open page's stream, read in a thread of its own."""

    def __init__(self, browser: Browser, path: str) -> None:
        self.events: list[tuple[float, str, str]] = []
        cookie = browser.cookie("orderflow").value
        request = urllib.request.Request(  # noqa: S310
            browser.url + path, headers={"cookie": f"orderflow={cookie}"}
        )
        self._answer = urllib.request.urlopen(request, timeout=120)  # noqa: S310
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        name = ""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self._answer:
                said = line.decode().strip()
                if said.startswith("event:"):
                    name = said.removeprefix("event:").strip()
                elif said.startswith("data:"):
                    self.events.append((time.time(), name, said.removeprefix("data:").strip()))

    def marks(self) -> list[str]:
        return [data for _, name, data in self.events if name == "changed"]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._answer.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._answer.close()


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
    # Somebody else edited it meanwhile: the second is told, and nothing was changed.
    assert late.status == 409
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
    assert "warehouse-mei" in second.text
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
    assert again.status == 409
    assert unknown.status == 400
    assert "operations-mei: 恢复了" in resumed.text
    assert ("intake.resume", "douyin shanjiao", "恢复了", "done") in recorded(
        shop, "operations-mei"
    )


# --- what goes wrong ------------------------------------------------------------------------------


def test_nothing_of_a_person_or_a_password_is_in_the_log(shop: Shop) -> None:
    shop.of(Role.SERVICE)
    logs: Sequence[Path] = list(shop.house.folder.glob("console-*.log"))

    assert logs
    for file in logs:
        text = file.read_text()
        for each in (*PERSON, PASSWORD, "Traceback"):
            assert each not in text, f"{each} in {file.name}"


def test_a_console_without_its_address_or_with_a_wrong_zone_does_not_start(shop: Shop) -> None:
    _starts_not(shop, "ORDERFLOW_POSTGRES_CONSOLE", ORDERFLOW_CONSOLE_ZONE="Asia/Shanghai")
    address = shop.house.env["ORDERFLOW_POSTGRES_CONSOLE"]
    _starts_not(
        shop,
        "ORDERFLOW_CONSOLE_ZONE",
        ORDERFLOW_CONSOLE_ZONE="Moon/Base",
        ORDERFLOW_POSTGRES_CONSOLE=address,
    )


def _starts_not(shop: Shop, says: str, **env: str) -> None:
    known = {k: v for k, v in shop.house.env.items() if k != "ORDERFLOW_POSTGRES_CONSOLE"}
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "console", "--port", "0"],
        env=known | env, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert says in done.stderr
