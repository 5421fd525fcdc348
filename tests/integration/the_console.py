"""
The console on a started installation, asked as a browser asks it: over HTTP, with cookies.

Orders of three platforms come in, one of them with a person in clear whom only some may see. Each
file of tests, `test_console_*.py`, has a house of its own; whatever its tests did, nothing of a
person is in the console's log at the end.
"""

import asyncio
import contextlib
import functools
import http.client
import http.cookiejar
import http.server
import json
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from argon2 import PasswordHasher

from schemas.stock import ReceiveStock
from streams import commanding
from streams.clock import new_id
from streams.console import web
from streams.console.page import SESSION
from streams.feed import files
from streams.operations.rights import Role
from streams.postgres.connecting import connected
from tests.e2e.test_an_order_from_platform_to_ledger import PAYLOADS, eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import Installation, installation
from tests.integration.databases import ROOT

T = TypeVar("T")
HERE = "127.0.0.1"
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
    def done(self) -> str:
        """What the address says was done, without the signature."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        return asked.get("done", "").partition(".")[2]

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

    def keep(self, name: str, value: str) -> None:
        """Have a cookie as if the console had set it."""
        self.jar.set_cookie(
            http.cookiejar.Cookie(
                0, name, value, None, False, HERE, False, False, "/", True, False, None, True,
                None, None, {"HttpOnly": ""},
            )
        )  # fmt: skip

    def cookie(self, name: str) -> Any:
        return next((each for each in self.jar if each.name == name), None)


_A_USER = (
    "INSERT INTO console_users (name, role, password, must_change, made_by, changed_by)"
    " VALUES ($1, $2, $3, false, 'test', 'test')"
)
_A_SESSION = "INSERT INTO console_sessions (id, name, csrf) VALUES ($1, $2, $3)"


@functools.cache
def _hash_of(password: str) -> str:
    return PasswordHasher().hash(password)


@dataclass
class Shop:
    """The installation, its console, and one browser for each role, logged in."""

    house: Installation
    url: str
    first: str
    browsers: dict[Role, Browser] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    def of(self, role: Role) -> Browser:
        """Return the browser of a user with *role*, who has chosen a password."""
        if role not in self.browsers:
            self.browsers[role] = self.a_user(f"{role.value}-mei", role)
        return self.browsers[role]

    def token(self, role: Role) -> str:
        """Return what all forms of this role's session have."""
        browser = self.of(role)
        session = browser.cookie(SESSION).value
        if session not in self._tokens:
            self._tokens[session] = browser.ask("/password").csrf
        return self._tokens[session]

    def a_user(self, name: str, role: Role) -> Browser:
        """Return the browser of a new user who is logged in, without the forms that lead there."""
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        in_the_database(self, _A_USER, name, role.value, _hash_of(PASSWORD))
        in_the_database(self, _A_SESSION, sha256(token.encode()).digest(), name, csrf)
        browser = Browser(self.url)
        browser.keep(SESSION, token)
        return browser


@contextlib.contextmanager
def console(house: Installation, port: int = 0, **env: str) -> Iterator[tuple[str, Path]]:
    """The process `orderflow console`; its address, and the file it prints to."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
    log = house.folder / f"console-{port}.log"
    with log.open("ab") as out:
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
    _feed(house, folder, "main", "mall")


def _feed(house: Installation, folder: Path, shop: str, platform: str | None = None) -> None:
    apart(files.feed(house.settings, files.found([folder], platform), shop))


def received(house: Installation, units: int, *skus: str) -> None:
    """Receive so many units of each SKU, and wait until that is done."""
    made = [
        commanding.command(
            ReceiveStock, id=new_id(), sku=sku, quantity=units, reason="delivery", operator="test"
        )
        for sku in skus
    ]
    answers = apart(commanding.ask(house.settings, made, 90.0))
    assert all(each.refusal is None for each in answers.values()), answers


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* does in a loop of its own: the caller's thread may have one that runs."""
    with ThreadPoolExecutor(1) as one:
        return one.submit(asyncio.run, work).result()


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
                yield furnished(house, url, log)
                check_logs(house)
        finally:
            runner.run(made.__aexit__(None, None, None))


def furnished(house: Installation, url: str, log: Path) -> Shop:
    """The shop of a house whose workers run: stock received, samples and a person in clear fed."""
    # Nobody orders IDLE: what is available of it is what forms make of it.
    received(house, 100, "LAMP", "BASKET-L", "HOOK-C", "IDLE")
    _feed(house, PAYLOADS, "samples")
    feed(house, in_clear())
    shop = Shop(house, url, printed(log))
    viewer = shop.of(Role.VIEWER)
    wanted = [f"/order?key={CLEAR}", f"/order?key=taobao:samples:{TAOBAO}"]
    for path in wanted:
        eventually(lambda path=path: viewer.ask(path).status == 200, WITHIN_S)
    eventually(lambda: "tag bad" in viewer.ask("/orders").text, WITHIN_S)
    eventually(lambda: "/exception?id=" in viewer.ask("/exceptions").text, WITHIN_S)
    return shop


def printed(log: Path) -> str:
    """The one-time password that the console's first start printed."""
    found = re.search(r"one-time password\n\n    (\S+)\n", log.read_text())
    assert found, log.read_text()
    return found[1]


def check_logs(house: Installation) -> None:
    """Fail where a person, a password or something unforeseen is in a console's log."""
    logs = list(house.folder.glob("console-*.log"))
    assert logs
    for file in logs:
        text = file.read_text()
        for each in (*PERSON, PASSWORD, "Traceback"):
            assert each not in text, f"{each} in {file.name}"


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


def in_the_database(shop: Shop, statement: str, *values: Any) -> None:
    async def go() -> None:
        owner = shop.house.env["ORDERFLOW_POSTGRES_OWNER"]
        async with connected(owner, name="test") as connection:
            await connection.execute(statement, *values)

    apart(go())


def available(shop: Shop, sku: str) -> int:
    found = re.search(r'b-available"><b>(\d+)', shop.of(Role.VIEWER).ask(f"/sku?name={sku}").text)
    return int(found[1]) if found else 0


def a_form(shop: Shop, verb: str, sku: str, number: str, reason: str = "盘点") -> dict[str, str]:
    page = shop.of(Role.WAREHOUSE).ask(f"/sku?name={sku}")
    once = page.field(f"/sku/{verb}", "once")
    return {"csrf": page.csrf, "once": once, "sku": sku, "number": number, "reason": reason}


def listed(answer: Answer) -> list[str]:
    found = re.findall(r'href="/order\?key=([^"]+)"', answer.text)
    return [urllib.parse.unquote(unescape(each)) for each in found]


def to_ship(answer: Answer) -> list[str]:
    """The orders of a list of what can go now, in its order."""
    table = answer.text.partition("<tbody>")[2]
    found = re.findall(r'name="order" value="([^"]+)"', table)
    return [unescape(each) for each in found]


def until_to_ship(shop: Shop, asked: str, wanted: list[str]) -> None:
    warehouse = shop.of(Role.WAREHOUSE)
    eventually(lambda: to_ship(warehouse.ask(f"/to-ship?{asked}")) == wanted, WITHIN_S)


def stocked(shop: Shop, sku: str, units: int = 50) -> None:
    received(shop.house, units, sku)


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
