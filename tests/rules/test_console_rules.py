"""The console without a stack: who may see what, its words, cursors, files and drawings."""

import ast
import contextlib
import csv
import hashlib
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import meta
from openpyxl import load_workbook
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agents.deliveries import Standing
from agents.deliveries import State as Delivery
from agents.ledger import found_by
from agents.settlements import Kind as Money
from agents.settlements import Verdict as Settled
from schemas.alerts import Severity, State
from schemas.base import ID_LENGTH_MAX
from schemas.errors import Misconfigured, Refusal, Rejected
from schemas.orders import (
    Buyer,
    Case,
    Disposition,
    OrderDetails,
    Receiver,
    Refund,
    Shipment,
    Status,
)
from schemas.parked import Cause, Stage
from schemas.stock import Bucket, Verb
from streams.alerting.pages import SHOWN
from streams.annotating.definitions import COLOURS, Kind, Wrong
from streams.annotating.table import WhyNot
from streams.console import cursors, web
from streams.console.accounts import (
    PASSWORD_LENGTH_MAX,
    Session,
    WeakPassword,
    check_name,
    check_password,
    one_time_password,
)
from streams.console.files import as_csv, as_xlsx
from streams.console.money import amount
from streams.console.order import steps
from streams.console.orders import ATTENTION, COLUMNS, LABELLED
from streams.console.page import VALUE_LENGTH_MAX, Fields, House, Page, Visit, link
from streams.console.signing import ours
from streams.console.stock import VERBS
from streams.console.subscribers import CHANGES
from streams.console.terms import LANGUAGES, TERMS, say
from streams.figures.asking import STAGES, UNITS
from streams.importing.forecast import Existing, Verdict
from streams.operations.rights import RIGHTS, Right, Role
from streams.pausing.table import WhyNot as NotChanged
from streams.settings import Settings
from streams.shipping.saying import WHY_NOT
from tables.lifecycle import TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = ROOT / "streams" / "console"


# --- who may see what -----------------------------------------------------------------------------


async def nothing(_: Visit) -> Response:
    return PlainTextResponse("")


def test_every_page_has_a_right_or_is_meant_to_be_open() -> None:
    assert web.checked(web.TABLE) == list(web.TABLE)
    assert {page.path for page in web.TABLE if page.needs is None} == web.OPEN


def test_a_route_without_an_entry_lets_nothing_start() -> None:
    with pytest.raises(Misconfigured, match="/secret has no entry"):
        web.checked([*web.TABLE, Route("/secret", nothing)])


def test_a_page_that_is_open_by_accident_lets_nothing_start() -> None:
    with pytest.raises(Misconfigured, match="open to everybody"):
        web.checked([*web.TABLE, Page("GET", "/customers", nothing, needs=None)])


def test_two_pages_at_one_address_let_nothing_start() -> None:
    with pytest.raises(Misconfigured, match="twice"):
        web.checked([*web.TABLE, Page("GET", "/orders", nothing, needs=Right.LOOK)])


@pytest.mark.parametrize(("method", "did"), [("POST", None), ("GET", "a.thing")])
def test_what_changes_something_cannot_be_declared_without_a_word_for_the_record(
    method: str, did: str | None
) -> None:
    with pytest.raises(Misconfigured, match="on record"):
        Page(method, "/x", nothing, needs=Right.LOOK, did=did)


def test_whatever_changes_orders_stock_or_exceptions_takes_more_than_a_look() -> None:
    own = {"/sign-out", "/password"}
    for page in web.TABLE:
        if page.method != "GET" and page.needs is not None and page.path not in own:
            assert page.needs is not Right.LOOK, page.path


def test_the_document_has_the_table_of_rights_as_it_is() -> None:
    assert web.rights() in (ROOT / "docs" / "console.md").read_text(), (
        "docs/console.md is stale: put the output of `orderflow console rights` into it"
    )


@pytest.mark.parametrize("name", ["htmx.min.js", "uplot.min.js", "uplot.min.css"])
def test_what_was_vendored_is_as_it_was_published(name: str) -> None:
    digest = hashlib.sha256((CONSOLE / "static" / name).read_bytes()).hexdigest()

    assert digest in (ROOT / "docs" / "console.md").read_text()


def test_only_a_few_may_change_stock_and_one_may_read_the_record() -> None:
    assert {role for role in Role if Right.STOCK in RIGHTS[role]} == {
        Role.WAREHOUSE, Role.OPERATIONS, Role.ADMIN,
    }  # fmt: skip
    assert {role for role in Role if Right.AUDIT in RIGHTS[role]} == {Role.ADMIN}
    assert {role for role in Role if Right.USERS in RIGHTS[role]} == {Role.ADMIN}
    assert {role for role in Role if Right.DEFINE in RIGHTS[role]} == {Role.OPERATIONS, Role.ADMIN}
    assert {role for role in Role if Right.ANNOTATE in RIGHTS[role]} == {
        Role.SERVICE, Role.WAREHOUSE, Role.OPERATIONS, Role.ADMIN,
    }  # fmt: skip


async def test_what_is_our_fault_is_guarded_and_counted_as_every_answer_is() -> None:
    said: list[Any] = []
    known = web.Metrics()
    settings = Settings(kafka="", console_cookies_secure=False)
    nowhere: Any = None  # whoever asks whether it is ready runs into that
    house = House(settings, "", *[nowhere] * 6, web.templates(), nowhere, nowhere)
    scope = {
        "type": "http", "method": "GET", "path": "/readyz", "query_string": b"", "headers": [],
        "server": ("console", 80), "scheme": "http",
    }  # fmt: skip

    async def asks() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def takes(message: Any) -> None:
        said.append(message)

    with pytest.raises(AttributeError):  # for the server's log
        await web.app(house, known)(scope, asks, takes)

    assert said[0]["status"] == 500
    headers = dict(said[0]["headers"])
    assert headers[b"content-security-policy"] == web.POLICY.encode()
    assert b"AttributeError" not in said[1]["body"]
    counted = known.registry.get_sample_value(
        "orderflow_console_requests_total", {"page": "ready", "status": "500"}
    )
    assert counted == 1


# --- passwords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    ["short", "x" * (PASSWORD_LENGTH_MAX + 1), "mei-mei-is-here", "aaaaaaaaaaaa", "121212121212"],
)
def test_a_password_that_is_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_password("mei", password)


def test_a_one_time_password_is_another_each_time_and_would_be_allowed() -> None:
    made = {one_time_password() for _ in range(100)}

    assert len(made) == 100
    for password in made:
        check_password("admin", password)


@pytest.mark.parametrize("name", ["", " mei", "a\0b", "x" * 101, "a\nb"])
def test_nobody_is_called_so(name: str) -> None:
    with pytest.raises(Rejected):
        check_name(name)


# --- addresses and forms --------------------------------------------------------------------------

MOMENTS = st.integers(0, 4_000_000_000_000_000)


@given(MOMENTS, st.text(st.characters(codec="utf-8"), max_size=200).filter(str.isprintable))
def test_a_cursor_leads_back_to_its_row(us: int, key: str) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)

    assert cursors.read(cursors.written(at, key)) == (at, key)


@given(st.text(min_size=1, max_size=50))
def test_whatever_stands_in_place_of_a_cursor_is_a_place_or_is_refused(said: str) -> None:
    with contextlib.suppress(cursors.BadCursor):
        found = cursors.read(said)
        assert found is not None
        assert found[0].tzinfo is not None


@pytest.mark.parametrize(
    "said",
    [
        "x" * 4_000,
        "bm90aGluZw",
        "WzEsMl0",  # [1,2]
        "Wy0xLCJhIl0",  # [-1,"a"]
        "WzksICJhXHUwMDAwIl0",  # a NUL
        "Wzk5OTk5OTk5OTk5OTk5OTk5OSwgImEiXQ",  # beyond the year 9999
    ],
)
def test_a_forged_cursor_is_refused(said: str) -> None:
    with pytest.raises(cursors.BadCursor):
        cursors.read(said)


@pytest.mark.parametrize(
    ("to", "leads"),
    [
        ("/orders?q=1", "/orders?q=1"),
        ("", "/"),
        ("orders", "/"),
        ("//evil.example/x", "/"),
        ("//[", "/"),
        ("http://[", "/"),
        ("/\\evil.example", "/"),
        ("/orders?q=http://[", "/orders?q=http://["),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x", "/"),
    ],
)
def test_a_log_in_leads_to_a_page_of_ours(to: str, leads: str) -> None:
    assert ours(to) == leads


def asking(query: str, path: str = "/orders") -> Visit:
    app = SimpleNamespace(state=SimpleNamespace(house=None))
    return Visit(
        Request({
            "type": "http", "method": "GET", "path": path, "query_string": query.encode(),
            "headers": [(b"host", b"console")], "server": ("console", 80), "scheme": "http",
            "app": app,
        })
    )  # fmt: skip


def asked_by(csrf: str | None, path: str = "/sku") -> Visit:
    visit = asking("", path)
    visit.session = None if csrf is None else Session(b"", "mei", Role.ADMIN, csrf, False)
    return visit


def test_what_was_done_is_believed_by_the_same_page_of_the_same_session() -> None:
    said = asked_by("one").signed("/sku", "已入库 5")

    assert asked_by("one").believed(said) == "已入库 5"
    assert asked_by("one", "/orders").believed(said) == ""
    assert asked_by("another").believed(said) == ""
    assert asked_by(None).believed(said) == ""


@pytest.mark.parametrize(
    "said", ["", "1", ".", "0" * 32 + ".1", "0" * 33, "\u202e" * 40, "x" * 3_600]
)
def test_what_anybody_can_write_is_not_believed(said: str) -> None:
    assert asked_by("one").believed(said) == ""


def test_the_cursor_of_the_longest_key_there_can_be_is_no_longer_than_an_address_may_say() -> None:
    longest = "\U00020000" * 3 * ID_LENGTH_MAX
    said = cursors.written(datetime(2026, 6, 1, tzinfo=UTC), longest)

    assert len(said) <= VALUE_LENGTH_MAX
    assert cursors.read(said) == (datetime(2026, 6, 1, tzinfo=UTC), longest)


@pytest.mark.parametrize("over", [-1, 0, 1, 100])
def test_where_one_is_can_be_asked_for_again_after_a_log_in(over: int) -> None:
    query = "q=" + "x" * (VALUE_LENGTH_MAX - len("/orders?q=") + over)

    here = asking(query).here

    assert len(here) <= VALUE_LENGTH_MAX
    assert here == ("/orders" if over > 0 else f"/orders?{query}")


def test_a_field_that_stands_twice_is_refused() -> None:
    with pytest.raises(Rejected, match="asked_twice"):
        Fields([("a", "1"), ("a", "2")]).one("a")


def test_a_nul_is_refused_wherever_it_stands() -> None:
    with pytest.raises(Rejected, match="bad_text"):
        Fields([("a", "1\0")])


@pytest.mark.parametrize("said", ["1.5", "x", "--1", "1" * 19, "١"])
def test_what_is_no_whole_number_is_refused(said: str) -> None:
    with pytest.raises(Rejected, match="bad_number"):
        Fields([("n", said)]).a_number("n")


def test_a_link_escapes_what_it_asks_and_leaves_out_what_is_empty() -> None:
    assert link("/order", key="a:b:c/ä&d", x="", y=None) == "/order?key=a%3Ab%3Ac%2F%C3%A4%26d"


# --- words ----------------------------------------------------------------------------------------


def used() -> set[str]:
    """Terms that stand in templates and in code, as they are or by their beginning."""
    found: set[str] = set()
    for file in (CONSOLE / "templates").glob("*.html"):
        text = file.read_text()
        found |= set(re.findall(r"\bt\('(\w+)'[,)]", text))
        found |= set(re.findall(r"'(nav_\w+)'", text))
    for file in CONSOLE.glob("*.py"):
        if file.name == "terms.py":
            continue
        text = file.read_text()
        found |= set(re.findall(r"\bsay\(\s*\"(\w+)\"", text))
        found |= set(re.findall(r"(?:Rejected|NotFound|Refused|WeakPassword)\(\"(\w+)\"\)", text))
        found |= set(re.findall(r"\"(sorry_\w+)\"", text))
        found |= set(re.findall(r"\[\"t\"\]\(\"(\w+)\"\)", text))
    found |= {"bad_cursor"}
    found |= {f"do_{verb}" for verb in (*VERBS, "retry", "discard")}
    found |= {f"number_{verb}" for verb in VERBS}
    found |= {f"step_{state}" for state in ("now", "past", "next", "closed")}
    # Chosen by what may follow, or not by a word alone.
    found |= {"ask_again", "ask_no_more", "export_cut"}
    # Refused by the figures themselves.
    found |= {"bad_days", "too_many_days"}
    found |= {"stood_before", "they_wrote", "you_wrote"}
    return found | {"would_take_retry", "would_take_discard"}


WORDS: dict[str, list[Any]] = {
    "status": list(Status),
    "refund": list(Refund),
    "case": list(Case),
    "bucket": [*Bucket, "outside"],
    "verb": list(Verb),
    "disposition": list(Disposition),
    "cause": list(Cause),
    "stage": list(Stage),
    "role": list(Role),
    "alert": list(State),
    "alerts": list(SHOWN),
    "severity": list(Severity),
    "intake": ["paused", "resuming"],
    "attention": list(ATTENTION),
    "parcel": [*WHY_NOT, "bug"],
    "refusal": list(Refusal),
    "alert_is": ["acknowledged", "pending", "resolved"],
    "shop_is": list(NotChanged),
    "subscriber": list(CHANGES),
    "means": list(CHANGES),
    "standing": list(Standing),
    "delivery": list(Delivery),
    "import": ["received", "forecast", "sending", "settling", "done", "refused"],
    "verdict": list(Verdict),
    "existing": list(Existing),
    "difference": list(Settled),
    "todo": list(Settled),
    "money": list(Money),
    "mapping": ["new", "moved", "withdrawn"],
    "changed": ["added", "paused", "resumed", "rotated", "tested", "removed"],
    "unit": list(UNITS),
    "flow": list(STAGES),
    "noted": list(Wrong),
    "labelled": list(LABELLED),
    "colour": list(COLOURS),
    "kind": list(Kind),
    "definition": [*WhyNot, "retire", "restore", "means_retire", "means_restore"],
    "user": ["role", "disable", "enable", "password"],
    "user_means": ["disable", "enable", "password"],
    "settled": ["retried", "discarded", "edited", "refused", "settled_before"],
    "reservation": [
        "none", "waiting", "asking", "partial", "short", "expired", "reserved", "shipped",
        "released", "adopted",
    ],
}  # fmt: skip


def worded() -> set[str]:
    return {f"{kind}_{word}".lower() for kind, words in WORDS.items() for word in words}


def test_every_term_has_every_language() -> None:
    for key, texts in TERMS.items():
        assert len(texts) == len(LANGUAGES)
        assert all(text.strip() for text in texts), key


def test_what_is_filled_in_stands_in_every_language() -> None:
    for key, texts in TERMS.items():
        places = [set(re.findall(r"{(\w+)}", text)) for text in texts]
        assert len({frozenset(each) for each in places}) == 1, key


def test_every_term_that_is_used_is_there_and_every_one_there_is_used() -> None:
    assert used() | worded() == set(TERMS)


def test_chinese_comes_first_and_is_chinese() -> None:
    assert LANGUAGES[0] == "zh"
    latin = {key for key, (zh, _) in TERMS.items() if not re.search(r"[\u4e00-\u9fff]", zh)}
    assert latin == {"html_lang"}


def test_a_term_takes_its_values() -> None:
    assert say("zh", "open_count", n=3) == "待处理 3 条"
    assert say("en", "open_count", n=3) == "3 are open"


# --- files ----------------------------------------------------------------------------------------

EVIL = ("=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "\r=1", " =1", '=HYPERLINK("x")', '青柚,"x"\n')


def test_no_cell_of_a_csv_runs_where_it_is_opened() -> None:
    text = as_csv([COLUMNS, EVIL]).decode("utf-8-sig")

    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == list(COLUMNS)
    for said, kept in zip(EVIL, rows[1], strict=True):
        assert kept.lstrip("'") == said or kept == said
        assert not re.match(r"\s*[=+\-@\t\r]", kept), kept


def test_every_cell_of_a_spreadsheet_is_a_text() -> None:
    sheet = load_workbook(io.BytesIO(as_xlsx([COLUMNS, EVIL]))).active

    assert sheet is not None
    for cell in sheet[2][: len(EVIL)]:
        assert cell.data_type in ("s", "inlineStr")
    assert sheet["A2"].value == "=1+1"


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (25850, "CNY", "258.50"),
        (5, "CNY", "0.05"),
        (-5, "CNY", "-0.05"),
        (0, "USD", "0.00"),
        (3000, "JPY", "3000"),
        (12345, "KWD", "12.345"),
        (7, None, "7"),
        (None, "CNY", ""),
    ],
)
def test_money_is_shown_exactly(minor: int | None, currency: str | None, shown: str) -> None:
    assert amount(minor, currency) == shown


# --- what is drawn, and what is found -------------------------------------------------------------


@pytest.mark.parametrize("now", [*Status, None])
def test_the_life_of_an_order_is_drawn_from_the_table(now: Status | None) -> None:
    drawn = {step.status: step.state for step in steps(now, set())}

    assert set(drawn) >= set(Status) - {Status.UNKNOWN}
    for status, state in drawn.items():
        if status == now:
            assert state == "now"
        else:
            assert (state == "next") == (Status(status) in TRANSITIONS[now])


def test_what_was_passed_is_drawn_as_passed() -> None:
    drawn = {each.status: each.state for each in steps("SHIPPED", {"PENDING_PAYMENT", "PAID"})}

    assert (drawn["PENDING_PAYMENT"], drawn["PAID"], drawn["SHIPPED"]) == ("past", "past", "now")


def some_details(**more: Any) -> OrderDetails:
    said: dict[str, Any] = {
        "order": "mall:main:1", "version": 1, "buyer": None, "receiver": None, "invoice": None,
        "shipments": (), "notices": (),
    }  # fmt: skip
    return OrderDetails(**said | more)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (some_details(), None),
        (some_details(buyer=Buyer(phone="+8613912345678")), "tel:5678"),
        # the same digits twice are one word
        (
            some_details(
                buyer=Buyer(phone="+8613912345678"), receiver=Receiver(phone_said="139****5678")
            ),
            "tel:5678",
        ),
        (some_details(receiver=Receiver(phone_said="*******4417")), "tel:4417"),
        # ciphertext is no phone, and a mask that hides the last digits has no tail
        (some_details(receiver=Receiver(phone_said="$aGVsbG8x1234$")), None),
        (some_details(receiver=Receiver(phone_said="1391234****")), None),
        (
            some_details(shipments=(Shipment(tracking_number=" sf14 0001 "), Shipment())),
            "parcel:SF140001",
        ),
        (some_details(shipments=(Shipment(tracking_number="x" * 65),)), None),
        (some_details(shipments=(Shipment(tracking_number="a\0b"),)), None),
    ],
)
def test_an_order_is_found_by_its_parcels_and_the_last_digits_of_its_phones(
    details: OrderDetails, words: str | None
) -> None:
    assert found_by(details) == words


def test_nothing_in_a_template_is_left_unescaped() -> None:
    for file in (CONSOLE / "templates").glob("*.html"):
        text = file.read_text()
        assert "|safe" not in text.replace(" ", ""), file.name
        assert "autoescape" not in text, file.name
        # Neither scripts nor styles stand in a page: the policy would refuse them.
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", text), file.name


def test_a_form_that_is_done_once_does_not_stand_filled_in_again_with_another_id() -> None:
    """Browsers fill a form in again for whoever goes back to it, and its id is a new one."""
    for file in (CONSOLE / "templates").glob("*.html"):
        for form in re.findall(r"<form.*?</form>", file.read_text(), re.DOTALL):
            if 'name="once"' in form:
                assert 'autocomplete="off"' in form.partition(">")[0], file.name


def test_every_page_of_what_the_ledger_writes_says_how_old_it_is() -> None:
    late = {
        "orders", "order_part", "story", "to_ship", "to_ship_print", "parcels", "stock", "sku_part",
        "exceptions", "exception", "mappings",
    }  # fmt: skip
    for name in late:
        text = (CONSOLE / "templates" / f"{name}.html").read_text()
        assert "parts.age(" in text, name


def test_every_value_that_a_page_is_given_is_shown() -> None:
    for file in CONSOLE.glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            first = call.args[0] if call.args else None
            if call.func.attr != "show" or not isinstance(first, ast.Constant):
                continue
            given = {each.arg for each in call.keywords if each.arg}
            assert given <= asked_for(str(first.value)), (file.name, first.value)


def asked_for(template: str) -> set[str]:
    """What a template takes from whoever shows it, itself or in what it is made of."""
    pages = web.templates()
    parsed = pages.parse((CONSOLE / "templates" / template).read_text())
    others = [str(each) for each in meta.find_referenced_templates(parsed) if each != "parts.html"]
    return meta.find_undeclared_variables(parsed).union(*map(asked_for, others))


def test_every_style_is_of_something_and_every_class_has_a_style() -> None:
    sheet = re.sub(r"{[^{}]*}", "", (CONSOLE / "static" / "console.css").read_text())
    styled = set(re.findall(r"\.([a-z][\w-]*)", sheet))
    painted = [*(CONSOLE / "templates").glob("*.html"), CONSOLE / "painting.py"]
    text = "".join(file.read_text() for file in painted)
    # What stands in a condition is a class or not; what is filled in is a word of ours.
    said = " ".join(re.sub(r"{%.*?%}", " ", each) for each in re.findall(r'class="([^"]*)"', text))
    classes = set(re.sub(r"\S*{{.*?}}", " ", said).split())
    script = set(re.findall(r'toggle\("(\w+)"', (CONSOLE / "static" / "console.js").read_text()))
    filled = {f"s-{each.value.lower()}" for each in Status} | {"now", "past", "next", "closed"}
    filled |= {f"c-{each}" for each in COLOURS}
    # For whoever reads the page with a program.
    marks = {"unmapped"}

    assert styled - filled == (classes | script) - marks
