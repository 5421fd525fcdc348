"""The console: who may come in, who may see what, and what is said of it."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import inspect
import itertools
import re
import subprocess
import sys
import threading
import urllib.parse
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from streams.clock import new_id
from streams.console import web
from streams.console.accounts import ATTEMPTS_OF_NAME_MAX, Accounts, LastAdmin, Lasting
from streams.console.terms import say
from streams.console.users import PAGE
from streams.operations.rights import RIGHTS, Role
from tests.integration.databases import ROOT, Database, database, empty  # noqa: F401
from tests.integration.the_console import (  # noqa: F401
    CLEAR,
    CLEAR_ID,
    PASSWORD,
    PERSON,
    Browser,
    Shop,
    a_form,
    available,
    check_logs,
    console,
    exceptions,
    in_the_database,
    recorded,
    shop,
)

pytestmark = pytest.mark.stack


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


async def test_a_log_in_that_was_under_way_when_its_password_was_reset_comes_to_nothing(
    shop: Shop,
) -> None:
    shop.a_user("late", Role.VIEWER)
    lasting = Lasting(timedelta(hours=1), timedelta(hours=1))
    async with Accounts(shop.house.env["ORDERFLOW_POSTGRES_CONSOLE"], lasting) as accounts:
        looked_at = await accounts.attempt("late", "127.0.0.1")
        before = await accounts.log_in(looked_at, PASSWORD)
        await accounts.reset("late", "admin")
        after = await accounts.log_in(looked_at, PASSWORD)

    assert before is not None
    assert after is None


def test_the_command_line_says_when_there_is_nobody_or_somebody_of_that_name(shop: Shop) -> None:
    shop.of(Role.VIEWER)
    for words in (["disable"], ["password"], ["role"]):
        more = ["viewer"] if words == ["role"] else []
        assert not shop.house.answer("console", "users", *words, "nobody-here", *more, code=1)["ok"]
    taken = shop.house.answer("console", "users", "add", "viewer-mei", "--role", "admin", code=1)
    assert taken == {"ok": False, "name": "viewer-mei"}
    shop.house.orderflow("console", "users", "add", "x", "--role", "king", code=2)
    made = shop.house.answer("console", "users", "add", "by-hand", "--role", "viewer")
    browser = Browser(shop.url)
    assert browser.log_in("by-hand", made["password"]).path == "/password"
    assert browser.choose(made["password"], PASSWORD).path == "/orders"
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


# --- users, by admins -----------------------------------------------------------------------------


def a_user_form(shop: Shop, **more: str) -> dict[str, str]:
    csrf = shop.of(Role.ADMIN).ask("/users").csrf
    return {"csrf": csrf, "once": new_id(), "reason": "新同事", **more}


def role_of(shop: Shop, name: str) -> str:
    """The role that the page shows somebody to have."""
    text = shop.of(Role.ADMIN).ask(f"/users?from={urllib.parse.quote(name)}").text
    found = re.search(rf"<summary>{name} · ([^<]+)<|<td>{name} <small>.*?</td><td>([^<]+)", text)
    assert found, name
    return found[1] or found[2]


def test_an_admin_makes_a_user_whose_password_is_shown_once(shop: Shop) -> None:
    admin = shop.of(Role.ADMIN)
    form = a_user_form(shop, name="new-lin", role="warehouse")

    made = admin.ask("/user/add", form)
    again = admin.ask("/user/add", form)
    taken = admin.ask("/user/add", form | {"once": new_id()})
    password = re.search(r"<pre>([^<]+)</pre>", made.text)

    assert password is not None
    assert made.headers["cache-control"] == "no-store"
    assert (again.status, "已经提交过" in again.text) == (409, True)
    assert (taken.status, "已有这个用户" in taken.text) == (409, True)
    browser = Browser(shop.url)
    assert browser.log_in("new-lin", password[1]).path == "/password"
    assert browser.choose(password[1], PASSWORD).path == "/orders"
    page = admin.ask("/users").text
    assert password[1] not in page + again.text + admin.ask("/audit").text
    assert "new-lin" in page
    assert ("users.add", "new-lin warehouse", "新同事", "done") in recorded(shop, "admin-mei")


def test_an_admin_changes_disables_and_lets_in_again(shop: Shop) -> None:
    admin, browser = shop.of(Role.ADMIN), shop.a_user("moved-lin", Role.VIEWER)

    role = admin.ask("/user/role", a_user_form(shop, name="moved-lin", role="service"))
    out = browser.ask("/orders").path
    admin.ask("/user/disable", a_user_form(shop, name="moved-lin"))
    disabled = Browser(shop.url).log_in("moved-lin", PASSWORD).status
    shown = admin.ask("/users").text
    admin.ask("/user/enable", a_user_form(shop, name="moved-lin"))
    enabled = Browser(shop.url).log_in("moved-lin", PASSWORD).path
    reset = admin.ask("/user/password", a_user_form(shop, name="moved-lin"))

    assert (role.status, role.path) == (200, "/users")
    assert out.startswith("/sign-in")
    assert disabled == 401
    assert "已停用" in shown
    assert enabled == "/orders"
    assert Browser(shop.url).log_in("moved-lin", PASSWORD).status == 401
    once = re.search(r"<pre>([^<]+)</pre>", reset.text)
    assert once is not None
    assert Browser(shop.url).log_in("moved-lin", once[1]).path == "/password"
    assert role_of(shop, "moved-lin") == say("zh", "role_service")
    record = recorded(shop, "admin-mei")
    for did in ("users.disable", "users.enable", "users.password"):
        assert (did, "moved-lin", "新同事", "done") in record


@pytest.mark.parametrize(
    ("doing", "changed", "status", "says"),
    [
        ("add", {"name": "x", "role": "king"}, 400, "没有这个选项"),
        ("add", {"name": "", "role": "viewer"}, 400, "用户名须为"),
        ("add", {"name": "x" * 101, "role": "viewer"}, 400, "用户名须为"),
        ("add", {"name": "a\nb", "role": "viewer"}, 400, "用户名须为"),
        ("add", {"name": "x", "role": "viewer", "reason": ""}, 400, "请填写原因"),
        ("add", {"name": "x", "role": "viewer", "once": ""}, 400, "不是有效的表单"),
        ("add", {"name": "x", "role": "viewer", "csrf": "x"}, 403, "表单已失效"),
        ("role", {"name": "nobody-here", "role": "viewer"}, 404, "没有这个用户"),
        ("disable", {"name": "nobody-here"}, 404, "没有这个用户"),
        ("enable", {"name": "nobody-here"}, 404, "没有这个用户"),
        ("password", {"name": "nobody-here"}, 404, "没有这个用户"),
        ("disable", {"name": "admin-mei"}, 409, "不能更改自己"),
        ("role", {"name": "admin-mei", "role": "viewer"}, 409, "不能更改自己"),
        ("password", {"name": "admin-mei"}, 409, "不能更改自己"),
    ],
)
def test_a_user_is_not_changed_where_it_cannot_be(
    shop: Shop, doing: str, changed: dict[str, str], status: int, says: str
) -> None:
    admin = shop.of(Role.ADMIN)

    answer = admin.ask(f"/user/{doing}", a_user_form(shop) | changed)

    assert (answer.status, says in answer.text) == (status, True), answer.text[-600:]
    assert "没有任何更改" in answer.text
    assert role_of(shop, "admin-mei") == say("zh", "role_admin")
    assert admin.ask("/orders").path == "/orders"


def test_users_are_listed_by_pages_and_a_form_leads_back_to_its_own(shop: Shop) -> None:
    admin = shop.of(Role.ADMIN)
    in_the_database(
        shop,
        "INSERT INTO console_users (name, role, password, must_change, made_by, changed_by)"
        " SELECT 'zz-' || lpad(n::text, 3, '0'), 'viewer', '-', false, 'test', 'test'"
        " FROM generate_series(1, 120) AS n",
    )
    seen, path = [], "/users"
    while path:
        page = admin.ask(path)
        assert page.text.count("<summary>") <= PAGE
        seen += re.findall(r"<tr><td>(?:<a href=[^>]+>)?([^<]+?)(?:</a>)? <small>", page.text)
        next_ = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = unescape(next_[1]) if next_ else ""

    assert len(seen) == len(set(seen)) > 120
    assert seen == sorted(seen)
    assert {"admin-mei", "zz-001", "zz-120"} <= set(seen)
    form = a_user_form(shop, name="zz-090") | {"from": "zz-080"}
    assert admin.ask("/user/disable", form).path == "/users?from=zz-080"
    assert admin.ask("/users?from=" + "x" * 5_000).status == 400


async def test_one_admin_stays_whoever_asks_and_however_many_at_once(database: Database) -> None:
    lasting = Lasting(timedelta(hours=1), timedelta(hours=1))
    async with Accounts(database.console, lasting) as accounts:
        for name in ("anna", "bert", "cleo"):
            await accounts.add(name, Role.ADMIN, "test")
        await accounts.add("dora", Role.VIEWER, "test")

        found = await asyncio.gather(
            accounts.disable("anna", "bert"), accounts.disable("bert", "cleo"),
            accounts.give("cleo", Role.VIEWER, "anna"), return_exceptions=True,
        )  # fmt: skip
        left = [
            each["name"]
            for each in await accounts.listed()
            if each["role"] == "admin" and each["disabled_at"] is None
        ]

        assert sorted(map(repr, found)) == ["LastAdmin()", "True", "True"]
        assert len(left) == 1
        with pytest.raises(LastAdmin):
            await accounts.disable(left[0], "test")
        assert await accounts.give(left[0], Role.ADMIN, "test")
        assert await accounts.disable("dora", "test")


# --- what goes wrong ------------------------------------------------------------------------------

#: What people and worse than people write where a word is asked for.
HOSTILE = (
    "'", '";--', "%", "%00", "\0", "x" * 10_000, "../../etc/passwd", "-1", "9" * 18, "9" * 400,
    "' OR '1'='1", "<script>alert(1)</script>", "\u202eمرحبا 🧨", CLEAR, "mall:second:1",
    "raw-orders-mall/0/0", "AAAA", "2026-13-45", "{{ 7 * 7 }}",
)  # fmt: skip
#: What would tell how the house is built, or let a page do what it was told to write.
LEAKS = re.compile(r"Traceback|asyncpg|sqlalchemy|postgresql://|<script>alert|File &#34;|SELECT ")
#: What a handler reads of an address or a form.
_ASKS = re.compile(r'(?:asked|form|said)\.(?:one|all|whole|a_number)\(\s*"(\w+)"')
#: These end or lock the session that asks, or go on for ever.
_LEFT_OUT = {
    "/sign-in", "/sign-out", "/password", "/order/changes", "/sku/changes", "/exception/changes",
}  # fmt: skip


def names(page: web.Page) -> list[str]:
    """The fields that a page asks for, by the source of its handler and of what that calls."""
    found, seen, rooms = {"id", "reason"}, set(), [page.handler]
    while rooms:
        if (each := rooms.pop()) in seen:
            continue
        seen.add(each)
        source, known = inspect.getsource(each), vars(inspect.getmodule(each) or web)
        found |= {*_ASKS.findall(source)}
        for word in re.findall(r"\w+", source):
            value = known.get(word)
            if inspect.isfunction(value) and value.__module__.startswith("streams.console."):
                rooms.append(value)
            # Fields that are named together: `_KEY = ("platform", "shop")`, and what a list is of.
            elif word.startswith("_") and isinstance(value, tuple):
                found |= {text for text in value if text and isinstance(text, str)}
            elif _is_of_texts(value):
                found |= {*value._fields}
    return sorted(found)


def _is_of_texts(value: Any) -> bool:
    fields = getattr(value, "_fields", ())
    return bool(fields) and all(value.__annotations__.get(each) is str for each in fields)


def hostile() -> list[Any]:
    pages = [page for page in web.TABLE if page.path not in _LEFT_OUT]
    return [pytest.param(page, id=f"{page.method} {page.path}") for page in pages]


@pytest.mark.parametrize("page", hostile())
def test_whatever_is_asked_it_is_never_our_mistake_and_nothing_is_told(
    shop: Shop, page: web.Page
) -> None:
    """Every field of every page gets what it is not meant for; by turns, so that all meet all."""
    turns = itertools.islice(itertools.cycle(HOSTILE), web.TABLE.index(page), None)
    for role in Role:
        browser = shop.of(role)
        may = page.needs is None or page.needs in RIGHTS[role]
        csrf = shop.token(role) if page.method == "POST" else ""
        # Whoever may not gets no further than the right, whatever the field.
        for name in names(page) if may and role in (Role.VIEWER, Role.ADMIN) else ["id"]:
            asked = {name: next(turns)}
            if page.method == "GET":
                answer = browser.ask(f"{page.path}?{urllib.parse.urlencode(asked)}", stay=True)
            else:
                answer = browser.ask(page.path, {"csrf": csrf, "once": new_id(), **asked})
            assert answer.status < 500, (role, asked, answer.status)
            assert not LEAKS.search(answer.text), (role, asked)
            assert may or answer.status == 403


def test_nothing_of_a_person_or_a_password_is_in_the_log(shop: Shop) -> None:
    shop.of(Role.SERVICE)

    check_logs(shop.house)


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
