"""
The forms of the console that change something, each with what it does counted where it is done.

Every form is tried on something of its own: the order, the message or the alert that `subject`
makes or takes, so that the tests do not meet.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

from playwright.sync_api import Locator, Page

from streams.operations.rights import Role
from tests.browser.houses import READY, House, an_alert

_NTH = count(1)
REASON = "浏览器试过"


class Form(NamedTuple):
    """One form: where it is, how it is filled in, and how often it was done."""

    #: The screen it stands on.
    screen: str
    #: Make or take what it is about; the name stands in `path` and `effects`.
    subject: Callable[[House], str]
    path: str
    fill: Callable[[Page, str], Locator]
    #: A query for how often it was done to `$1`.
    effects: str
    #: Two people may send it at once, and one of them is told no. Two receipts are two.
    is_raced: bool = True
    #: Who sends it; a second person has `other`.
    role: Role = Role.ADMIN
    other: Role = Role.OPERATIONS


def _new(kind: str) -> Callable[[House], str]:
    return lambda _: f"{kind}-{next(_NTH)}"


def _alert(house: House) -> str:
    an_alert(house, name := f"raced-{next(_NTH)}")
    return name


def _open_exception(house: House) -> str:
    """Take a message that nobody has repaired yet, and that no screen shows."""
    return str(
        house.value(
            "SELECT id FROM parked WHERE cause = 'malformed' AND platform = 'mall'"
            " AND settled_at IS NULL AND id <> $1 ORDER BY id LIMIT 1",
            house.names["exception"],
        )
    )


def _open_order(house: House) -> str:
    return f"mall:main:{READY[next(_ORDERS)]}"


_ORDERS = count()


def _reason(form: Locator, button: Any = "button:not(.link)") -> Locator:
    form.locator('input[name="reason"]').fill(REASON)
    return form.locator(button).first


def _stock(page: Page, _: str) -> Locator:
    form = page.locator('form[action="/sku/receive"]')
    form.locator('input[name="number"]').fill("7")
    return _reason(form)


def _parcel(page: Page, order: str) -> Locator:
    form = page.locator('form[action="/to-ship/parcels"]').first
    form.locator('select[name="carrier"]').select_option("SF")
    form.locator('input[name="number"]').fill(f"SF14{order.rpartition(':')[2]}")
    return _reason(form)


def _retry(page: Page, _: str) -> Locator:
    return _reason(page.locator('form[action="/exceptions/retry"]'))


def _acknowledge(page: Page, alert: str) -> Locator:
    return _reason(page.locator("article.change", has_text=alert).locator("form"))


def _pause(page: Page, shop: str) -> Locator:
    form = page.locator('form[action="/intake/pause"]')
    form.locator('select[name="platform"]').select_option("taobao")
    form.locator('input[name="shop"]').fill(shop)
    return _reason(form)


def _map(page: Page, _: str) -> Locator:
    form = page.locator('form[action="/mapping/map"]')
    form.locator('input[name="ours"]').fill("IDLE")
    return _reason(form)


def _subscriber(page: Page, name: str) -> Locator:
    form = page.locator('form[action="/subscriber/add"]')
    form.locator('input[name="name"]').fill(name)
    form.locator('input[name="url"]').fill("http://127.0.0.1:9/hooks")
    return _reason(form)


def _note(page: Page, _: str) -> Locator:
    form = page.locator('form[action="/order/annotate"]')
    # Each writes something else: who is second is told so, and writes over nothing.
    form.locator('input[name="field.note"]').fill(f"第 {next(_NTH)} 次")
    return form.locator("button")


def _label(page: Page, code: str) -> Locator:
    form = page.locator('form[action="/label/add"]')
    form.locator('input[name="code"]').fill(code)
    form.locator('input[name="zh"]').fill("加急")
    return _reason(form)


def _user(page: Page, name: str) -> Locator:
    form = page.locator('form[action="/user/add"]')
    form.locator('input[name="name"]').fill(name)
    form.locator('select[name="role"]').select_option("viewer")
    return _reason(form)


def _file(page: Page, name: str) -> Locator:
    form = page.locator('form[action="/import/upload"]')
    form.locator('select[name="platform"]').select_option("taobao")
    form.locator('input[name="shop"]').fill("samples")
    at = "2026-06-03T09:00:00+08:00"
    said = f"order_id,status,created_at,updated_at,merchant_sku,quantity\n{name},PAID,{at},{at},X,1"
    form.locator('input[name="file"]').set_input_files(
        {"name": f"{name}.csv", "mimeType": "text/csv", "buffer": said.encode()}
    )
    return _reason(form)


FORMS = (
    Form(
        "SKU", _new("SKU"), "/sku?name={subject}", _stock,
        "SELECT count(*) FROM stock_ledger WHERE sku = $1 AND verb = 'receive'", is_raced=False,
    ),
    Form(
        "parcels", _open_order, "/to-ship/parcels?order={subject}", _parcel,
        "SELECT count(*) FROM stock_ledger WHERE order_key = $1 AND verb = 'ship'",
    ),
    Form(
        "exception", _open_exception, "/exception?id={subject}", _retry,
        "SELECT count(*) FROM exception_changes WHERE exception = $1 AND did = 'retried'",
    ),
    Form(
        "alerts", _alert, "/alerts", _acknowledge,
        "SELECT count(*) FROM alerts WHERE id = $1 AND acknowledged_by IS NOT NULL",
    ),
    Form(
        "intake", _new("corner"), "/intake", _pause,
        "SELECT count(*) FROM intake_pauses WHERE shop = $1",
    ),
    Form(
        "mapping", _new("THEIRS"), "/mapping?platform=mall&shop=main&theirs={subject}", _map,
        "SELECT count(*) FROM sku_mapping_changes WHERE theirs = $1", is_raced=False,
    ),
    Form(
        "subscribers", _new("hook"), "/subscribers", _subscriber,
        "SELECT count(*) FROM subscribers WHERE name = $1", other=Role.ADMIN,
    ),
    Form(
        "annotate", _open_order, "/order/annotate?key={subject}", _note,
        "SELECT version FROM order_annotations WHERE order_key = $1",
    ),
    Form(
        "labels", _new("label"), "/labels", _label,
        "SELECT count(*) FROM definition_changes WHERE kind = 'labels' AND code = $1",
    ),
    Form(
        "users", _new("person"), "/users", _user,
        "SELECT count(*) FROM console_users WHERE name = $1", other=Role.ADMIN,
    ),
    Form(
        "imports", _new("file"), "/imports", _file,
        "SELECT count(*) FROM imports WHERE file_name = $1 || '.csv'", is_raced=False,
    ),
)  # fmt: skip

#: Condition -> the screens whose forms it is tried on.
UNDER = {
    "double click, back": [form.screen for form in FORMS],
    "two tabs": [form.screen for form in FORMS if form.is_raced],
}
_CHANGES_NOTHING = "it has no form that changes anything"
_TWO_ARE_TWO = "what two people send are two things, and both count"
_ELSEWHERE: Mapping[str, str] = {
    "order": "its form shows a person, and changes nothing",
    "orders": "a label given twice is given once (tests/integration/test_console_annotations.py)",
    "import": "a job is carried out once (tests/integration/test_console_imports.py)",
    "mappings": "its forms are those of *mapping*",
    "exceptions": "what it does is counted and confirmed first",
    "subscriber": "its forms are done once each, as those of *subscribers* are",
    "settlements": "files are taken once (tests/integration/test_settlements.py)",
    "password": "sent again, the old password is the wrong one",
    "sign-in": "a log-in begins a session of its own, and ends the one before",
}
#: Condition -> why it is tried on no other screens, or why not on one.
FORMS_WHY_NOT: Mapping[str, Mapping[str, str]] = {
    "double click, back": {"": _CHANGES_NOTHING, **_ELSEWHERE},
    "two tabs": {
        "": _CHANGES_NOTHING,
        **_ELSEWHERE,
        **{form.screen: _TWO_ARE_TWO for form in FORMS if not form.is_raced},
    },
}
