"""
The console in a real browser: every screen under every condition that says something of it.

One browser and two houses (`houses.py`) for the whole file; `screens.py` has the matrix.
"""

import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Error as PlaywrightError

from streams.console.terms import say
from streams.operations.rights import Role
from streams.topics import PLATFORMS
from tests.browser.driving import COLOURS_ALONE, DESK, Chromium, Look, Tab, chromium
from tests.browser.forms import FORMS, FORMS_WHY_NOT, REASON, UNDER, Form
from tests.browser.houses import Aside, House, aside, at_rest, fill, living  # noqa: F401
from tests.browser.screens import MATRIX, PICTURES, SCREENS, Screen, table
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.integration.databases import ROOT
from tests.integration.the_console import PASSWORD

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as found:
        yield found
        assert found.left == [], "something asked for what is not on this machine"


@pytest.fixture(scope="module")
def empty(aside: Aside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with at_rest(tmp_path_factory.mktemp("rest"), aside) as found:
        yield found


@pytest.fixture(scope="module")
def full(empty: House) -> House:
    """The house at rest, filled; there is no way back to the empty one."""
    fill(empty)
    return empty


@pytest.fixture(scope="module")
def house(
    full: House,  # grows old meanwhile, so that nobody has to wait for it
    aside: Aside,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    with living(tmp_path_factory.mktemp("living"), aside) as found:
        yield found


@pytest.fixture
def tabs(browser: Chromium) -> Iterator[Callable[..., Tab]]:
    """Open tabs; at the end nothing went wrong in any of them."""
    opened: list[Tab] = []

    def tab(
        house: House, role: Role | None = Role.ADMIN, *, apart: bool = False, **look: Any
    ) -> Tab:
        session = None if role is None else house.session(role)
        opened.append(browser.tab(house.url, session, Look(**look), apart=apart))
        return opened[-1]

    yield tab
    wrong = [said for each in opened for said in each.wrong]
    for each in opened:
        if not each.page.is_closed():
            each.page.close()
    assert wrong == []


def on(*conditions: str) -> Any:
    """Every screen that one of these conditions is tried on."""
    tried = {each.name for condition in conditions for each in MATRIX[condition]}
    screens = [each for each in SCREENS.values() if each.name in tried]
    return pytest.mark.parametrize("screen", screens, ids=[each.name for each in screens])


def opened(tab: Tab, house: House, screen: Screen) -> Tab:
    assert tab.open(house.path(screen.path)) == 200
    return tab


# --- how old the data are -------------------------------------------------------------------------

_AGE = """() => {
  const age = document.querySelector("[data-age]"), time = age.querySelector("time");
  return {
    at: time && Date.parse(time.getAttribute("datetime")),
    ago: Number(/([0-9]+) ?(秒前|s ago)/.exec(age.innerText)?.[1] ?? NaN),
    colour: ["red", "amber"].find((name) => age.classList.contains(name)) ?? "green",
  };
}"""


def colour(tab: Tab) -> str:
    return str(tab.page.evaluate(_AGE)["colour"])


def turns(tab: Tab, wanted: str) -> None:
    selector = "[data-age]:not(.red):not(.amber)" if wanted == "green" else f"[data-age].{wanted}"
    tab.page.wait_for_selector(selector, state="attached")


def is_true(house: House, tab: Tab, *, anew: bool = False) -> None:
    """
    What the page says of its age is true to a second by PostgreSQL's clock.

    Looked at again: on a busy machine the page's own clock ticks late for a moment. Without
    scripts it has none, and is true when it comes: *anew*.
    """
    clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"

    def look() -> bool:
        before = house.value(clock)
        if anew:
            tab.page.reload()
        told = tab.page.evaluate(_AGE)
        after = house.value(clock)
        return bool(before - 1000 <= told["at"] + told["ago"] * 1000 <= after + 1000)

    eventually(look)


# --- the house at rest: empty, then full ----------------------------------------------------------


_SHOWN_TEXT = """() => {
  const said = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    // An export has the name that its platform gave it; what says its own language is in that one.
    const apart = "script, [hreflang], time, [name=template], main [lang]";
    if (!walk.currentNode.parentElement.closest(apart)) {
      said.push(walk.currentNode.textContent.trim());
    }
  }
  for (const name of ["placeholder", "aria-label", "title"]) {
    for (const each of document.querySelectorAll(`[${name}]`)) said.push(each.getAttribute(name));
  }
  return said.filter(Boolean);
}"""
_CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
_LATIN = re.compile(r"[A-Za-z]{2}")
#: What is called so in both languages: platforms, types of events, names, formats, examples.
_EVERYWHERE = re.compile(
    "|".join(PLATFORMS)
    + r"|order\.\w+|stock\.\w+|orderflow|SKU|CSV|XLSX|URL|ID|NOBODY-ORDERED|CNY|gb18030|vip"
    r"|utf-[\w-]+|Asia/Shanghai|raw-orders-taobao/"
    r"|https://hooks\.example\.com/orders|taobao shopify:jsmith"
)


@on("empty")
def test_an_empty_house_says_that_there_is_nothing_and_each_language_is_spoken_alone(
    empty: House, tabs: Callable[..., Tab], screen: Screen
) -> None:
    said = {}
    for language, code in (("en", "en"), ("zh", "zh-CN")):
        tab = opened(tabs(empty, language=language), empty, screen)
        assert tab.page.locator("main .empty").count() >= 1
        assert tab.page.locator(screen.rows or screen.shows).count() == 0
        assert tab.page.locator("html").get_attribute("lang") == code
        said[language] = set(tab.page.evaluate(_SHOWN_TEXT))

    assert [text for text in said["en"] if _CHINESE.search(text)] == []
    alike = {text for text in said["en"] & said["zh"] if _LATIN.search(text)}
    assert {text for text in alike if not _EVERYWHERE.fullmatch(text)} == set()


@on("10,000 rows", "stale")
def test_10_000_rows_are_shown_in_pages_and_old_data_are_amber(
    full: House,
    house: House,  # while it was made ready, the other one grew old
    tabs: Callable[..., Tab],
    screen: Screen,
) -> None:
    tab = opened(tabs(full), full, screen)
    if screen.has_age:
        turns(tab, "amber")
        is_true(full, tab)
        assert say("zh", "stale") in tab.page.locator("[data-age]").inner_text()

        plain = opened(tabs(full, scripts=False), full, screen)
        assert colour(plain) == "amber"
        assert say("zh", "stale") in plain.page.locator("[data-age]").inner_text()
    if screen in MATRIX["10,000 rows"]:
        assert 1 <= tab.page.locator(screen.shows).count() <= 1_000
    if screen.goes_on:
        goes_on(tab)


def goes_on(tab: Tab) -> None:
    """The screen leads on to other rows, or says that there are more; and back to the first."""
    next_ = tab.page.locator('a[rel="next"]')
    assert next_.count() or tab.page.locator("main .note").count(), "and nobody is told"
    if next_.count():
        row = tab.page.locator("main table tbody tr").first
        first = row.inner_text()
        next_.first.click()
        tab.page.wait_for_load_state()
        assert row.inner_text() != first
        tab.page.go_back(wait_until="load")
        assert row.inner_text() == first


# --- the house at work ----------------------------------------------------------------------------


#: What stands outside the screen, and not in a part of it that can be moved.
_OUT_OF_REACH = """() => [
    ...document.querySelectorAll("a, button, input:not([type=hidden]), select"),
  ]
  .filter((each) => each.checkVisibility() && !each.closest(".scroll, .skip:not(:focus)"))
  .filter((each) => {
    const { left, right } = each.getBoundingClientRect();
    return left < 0 || right > 390;
  })
  .map((each) => each.outerHTML.slice(0, 120))"""


#: Note down what gets the focus, and whether that can be seen.
_WATCH_FOCUS = """() => {
  window.reached = new Set([document.activeElement]);
  window.unseen = [];
  addEventListener("focusin", ({ target }) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(target);
    if (outlineStyle === "none" || parseFloat(outlineWidth) < 2) {
      window.unseen.push(target.outerHTML.slice(0, 120));
    }
    window.reached.add(target);
  });
}"""
_NOT_REACHED = """() => [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
  .filter((each) => each.checkVisibility() && !each.disabled && !window.reached.has(each))
  .map((each) => each.outerHTML.slice(0, 120))"""


@on("fresh")
def test_a_screen_is_the_same_for_everybody(
    house: House, tabs: Callable[..., Tab], screen: Screen, subtests: pytest.Subtests
) -> None:
    """One page, opened once for each of those who cannot look at it together."""
    tab = opened(tabs(house, screen.role), house, screen)
    with subtests.test("fresh"):
        is_fresh(house, tab, screen)
    shown = tab.page.locator(screen.shows).count()
    with subtests.test("light, dark"):
        is_for_everybody(tab)
    with subtests.test("keyboard"):
        is_reached(tab)
    with subtests.test("back"):
        is_come_back_to(tab, screen, shown)
    tab.page.close()

    with subtests.test("English"):
        is_in_english(house, opened(tabs(house, screen.role, language="en"), house, screen), screen)
    with subtests.test("no scripts"):
        plain = opened(tabs(house, screen.role, scripts=False), house, screen)
        assert plain.page.locator(screen.shows).count() == shown
        if screen.has_age:
            is_true(house, plain, anew=True)
    with subtests.test("390 px"):
        fits_a_telephone(opened(tabs(house, screen.role, is_phone=True), house, screen))


def is_fresh(house: House, tab: Tab, screen: Screen) -> None:
    """What there is is shown, and how old it is."""
    assert tab.page.locator(screen.shows).count() >= 1
    if screen.has_age:
        turns(tab, "green")
        is_true(house, tab)


def is_in_english(house: House, tab: Tab, screen: Screen) -> None:
    """The same is there in English."""
    assert tab.page.locator("html").get_attribute("lang") == "en"
    assert tab.page.locator(screen.shows).count() >= 1
    if screen.has_age:
        assert tab.page.locator("[data-age]").inner_text().startswith("Last updated")
        is_true(house, tab)


def is_for_everybody(tab: Tab) -> None:
    """axe-core finds nothing serious, by day and by night."""
    assert tab.serious() == []

    tab.page.emulate_media(color_scheme="dark")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 25)"
    # Nothing but colours is another by night.
    assert tab.serious(*COLOURS_ALONE) == []


def is_come_back_to(tab: Tab, screen: Screen, shown: int) -> None:
    """Whoever goes on and comes back finds it as it was, and alive."""
    tab.open("/healthz")
    tab.page.go_back(wait_until="load")

    assert tab.page.locator(screen.shows).count() == shown
    if screen.has_age:
        turns(tab, "green")


def fits_a_telephone(tab: Tab) -> None:
    """Nothing is wider than a telephone, and no action out of reach."""
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") == 390
    assert tab.page.evaluate(_OUT_OF_REACH) == []


def is_reached(tab: Tab) -> None:
    """Tab reaches everything, and one sees where one is."""
    tab.page.evaluate(_WATCH_FOCUS)
    presses, missed = 0, tab.page.evaluate(_NOT_REACHED)
    # A date has a stop for each of its parts.
    while missed and presses < 400:
        for _ in missed:
            tab.page.keyboard.press("Tab")
        presses += len(missed)
        missed = tab.page.evaluate(_NOT_REACHED)

    assert missed == []
    assert tab.page.evaluate("window.unseen") == []


def test_forms_are_sent_by_enter(house: House, tabs: Callable[..., Tab]) -> None:
    tab = tabs(house, None, apart=True)
    tab.open("/sign-in?to=/stock")
    tab.page.keyboard.type("admin-mei")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.type(PASSWORD)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/stock")

    tab.page.locator('input[name="sku"]').focus()
    tab.page.keyboard.type("LAMP")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/stock?sku=LAMP**")

    tab.page.locator("main tbody a").first.focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/sku?name=LAMP")
    tab.page.locator('form[action="/sku/receive"] input[name="number"]').focus()
    tab.page.keyboard.type("1")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.type("按回车")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/sku?name=LAMP&done=**")
    assert tab.page.locator(".done").count() == 1


# --- forms ----------------------------------------------------------------------------------------


def forms(condition: str) -> Any:
    chosen = [form for form in FORMS if form.screen in UNDER[condition]]
    return pytest.mark.parametrize("form", chosen, ids=[form.screen for form in chosen])


def filled(tab: Tab, form: Form, subject: str) -> Any:
    assert tab.open(form.path.format(subject=quote(subject))) == 200
    return form.fill(tab.page, subject)


def left(tab: Tab, before: str) -> None:
    """Wait until the page with the form is gone and whatever came instead is there."""
    tab.page.wait_for_function("(before) => document.body.dataset.test !== before", arg=before)
    tab.page.wait_for_load_state()


def marked(tab: Tab) -> str:
    tab.page.evaluate("document.body.dataset.test = 'form'")
    return "form"


def done_once(house: House, form: Form, subject: str) -> None:
    eventually(lambda: house.value(form.effects, subject) >= 1, WITHIN_S)
    if form.screen == "SKU":
        # Another command of this SKU is decided after every one before it.
        house.shop.house.orderflow("stock", "receive", subject, "1", "--reason", "x")
        eventually(lambda: house.value(form.effects, subject) >= 2, WITHIN_S)
        assert house.value(form.effects, subject) == 2
    else:
        assert house.value(form.effects, subject) == 1


@forms("two tabs")
def test_two_who_repair_one_thing_at_once_repair_it_once(
    house: House, tabs: Callable[..., Tab], form: Form
) -> None:
    subject = form.subject(house)
    both = [tabs(house, form.role), tabs(house, form.other, apart=True)]
    marks = []
    for tab in both:
        tab.expected |= {409}
        button = filled(tab, form, subject)
        marks.append(marked(tab))
        # At one moment, after both are filled in.
        button.evaluate(
            "(button, at) => setTimeout(() => button.click(), at - Date.now())", _soon()
        )
    for tab, mark in zip(both, marks, strict=True):
        left(tab, mark)

    done_once(house, form, subject)
    for tab in both:
        assert tab.title


def _soon() -> int:
    """A moment by which both tabs have been told, ms."""
    return int(time.time() * 1000) + 700


@forms("double click, back")
def test_a_double_click_is_one_effect_and_whoever_goes_back_does_nothing_twice_unawares(
    house: House, tabs: Callable[..., Tab], form: Form
) -> None:
    subject, tab = form.subject(house), tabs(house)
    button = filled(tab, form, subject)
    sent = button.evaluate(
        "(button) => [button.form.getAttribute('action'), button.form.once?.value]"
    )
    mark = marked(tab)
    button.dblclick(no_wait_after=True)
    left(tab, mark)
    done_once(house, form, subject)

    tab.page.go_back(wait_until="load")

    assert tab.title
    again = tab.page.evaluate(
        """(action) => {
          const form = document.querySelector(`form[action="${action}"]`);
          return form && { reason: form.reason?.value, once: form.once?.value };
        }""",
        sent[0],
    )
    # A form that stands there as it was filled in must not be one that is done anew.
    assert not again or again["reason"] != REASON or again["once"] == sent[1]


# --- who edits ------------------------------------------------------------------------------------

#: What a page asks for by itself is asked for never: all it knows, it was told.
_NO_POLL = """
  const every = window.setInterval;
  window.setInterval = (work, ms) => ms >= 10_000 ? 0 : every(work, ms);
"""


def begin_to_note(tab: Tab, house: House) -> None:
    opened(tab, house, SCREENS["annotate"])


def begin_to_correct(tab: Tab, house: House) -> None:
    opened(tab, house, SCREENS["exception"])
    form = tab.page.locator('form[action="/exception/reveal"]')
    form.locator('input[name="reason"]').fill(REASON)
    form.locator("button").click()
    tab.page.wait_for_selector('form[action="/exception/edit"]')


@pytest.mark.parametrize(
    ("name", "begin"), [("order", begin_to_note), ("exception", begin_to_correct)]
)
def test_an_open_page_is_told_who_begins_to_edit(
    house: House, tabs: Callable[..., Tab], name: str, begin: Callable[[Tab, House], None]
) -> None:
    looking, editing = tabs(house, apart=True), tabs(house, Role.SERVICE)
    house.nobody_edits()
    looking.page.add_init_script(_NO_POLL)
    opened(looking, house, SCREENS[name])
    told = looking.page.get_by_text(say("zh", "is_editing", name="service-mei"))
    assert told.count() == 0

    begin(editing, house)
    told.wait_for()

    # A form that is still open would take its lease anew.
    editing.page.close()
    house.nobody_edits()
    told.wait_for(state="detached")


def test_an_open_form_is_told_when_the_other_one_is_done(
    house: House, tabs: Callable[..., Tab]
) -> None:
    looking, editing = tabs(house, apart=True), tabs(house, Role.SERVICE)
    house.nobody_edits()
    looking.page.add_init_script(_NO_POLL)
    opened(editing, house, SCREENS["annotate"])
    opened(looking, house, SCREENS["annotate"])
    told = looking.page.get_by_text(say("zh", "is_editing", name="service-mei"))
    assert told.count() == 1

    editing.page.locator('form[action="/order/annotate"] button').click()

    told.wait_for(state="detached")


# --- old data, and what is away -------------------------------------------------------------------


def test_an_age_is_counted_by_the_servers_clock_and_a_list_that_stands_open_grows_old(
    house: House, tabs: Callable[..., Tab]
) -> None:
    tab = tabs(house, apart=True)
    # This reader's clock is an hour slow.
    tab.page.clock.install(time=time.time() - 3_600)
    opened(tab, house, SCREENS["orders"])
    turns(tab, "green")
    is_true(house, tab)

    tab.page.clock.fast_forward(31_000)
    turns(tab, "amber")


def test_without_the_database_every_screen_says_so_and_not_how_the_house_is_built(
    house: House, tabs: Callable[..., Tab]
) -> None:
    screens = [each for each in MATRIX["database away"] if each.role is not None]
    tab, said = tabs(house), {}
    house.aside.run(house.tap.close())
    try:
        for screen in screens:
            said[screen.name] = (tab.open(house.path(screen.path), 503), tab.title)
            shown = tab.page.locator("body").inner_text()
            assert not re.search(r"postgres|asyncpg|127\.0\.0\.1|Error", shown, re.IGNORECASE)
        # What makes it look like a page is given all the same.
        assert tab.open("/static/console.css") == 200
    finally:
        house.aside.run(house.tap.open())

    assert said == {screen.name: (503, say("zh", "sorry_away")) for screen in screens}
    # Each of the ways to it is found again: of readers, of operations, of the console itself.
    for name in ("order", "exceptions", "users"):
        path = house.path(SCREENS[name].path)
        eventually(lambda path=path: tab.open(path, 503) == 200, WITHIN_S)


def test_an_open_page_is_red_while_the_console_is_down_and_green_once_it_is_back(
    house: House, tabs: Callable[..., Tab]
) -> None:
    opened_ = [opened(tabs(house), house, screen) for screen in MATRIX["console down"]]
    for tab in opened_:
        turns(tab, "green")
    house.stop()
    try:
        for tab in opened_:
            turns(tab, "red")
            assert say("zh", "lost") in tab.page.locator("[data-age]").inner_text()
    finally:
        house.serve()
    for tab in opened_:
        turns(tab, "green")
        # The browser says of each time it asked in vain.
        assert all("ERR_" in said for said in tab.wrong), tab.wrong
        tab.wrong.clear()


# --- the browser, the document, the pictures ------------------------------------------------------


def test_the_browser_reaches_nothing_but_this_machine(
    house: House, browser: Chromium, tabs: Callable[..., Tab]
) -> None:
    tab = tabs(house, None, apart=True)
    tab.open("/healthz")
    for there in ("http://192.0.2.1/", "https://example.com/"):
        with pytest.raises(PlaywrightError, match="ERR_NAME_NOT_RESOLVED"):
            tab.page.goto(there)
        assert browser.left.pop() == there
    assert len(tab.wrong) >= 2
    tab.wrong.clear()


#: How many colours a picture has, as far as they differ to the eye.
_COLOURS = """async (picture) => {
  const image = new Image();
  image.src = "data:image/png;base64," + picture;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), to = canvas.getContext("2d");
  to.drawImage(image, 0, 0);
  const bytes = to.getImageData(0, 0, image.width, image.height).data, found = new Set();
  for (let at = 0; at < bytes.length; at += 4) {
    found.add((bytes[at] >> 4) << 8 | (bytes[at + 1] >> 4) << 4 | bytes[at + 2] >> 4);
  }
  return { width: image.width, colours: found.size };
}"""


@pytest.mark.parametrize("screen", PICTURES, ids=[each.name for each in PICTURES])
def test_a_picture_can_be_taken_and_shows_something(
    house: House, browser: Chromium, tabs: Callable[..., Tab], screen: Screen
) -> None:
    """`make screenshots` keeps them; nothing here depends on a pixel."""
    tab = opened(tabs(house), house, screen)
    if screen.has_age:
        turns(tab, "green")
    picture = tab.page.screenshot(animations="disabled")

    blank = browser.browser.new_page()
    seen = blank.evaluate(_COLOURS, b64encode(picture).decode())
    blank.close()
    assert seen["width"] == DESK["width"]
    assert seen["colours"] > 10
    if to := os.environ.get("SCREENS_TO"):
        name = screen.name.lower().replace(" ", "-")
        (ROOT / to / f"{name}.png").write_bytes(picture)


def test_the_document_has_the_matrix_as_it_is() -> None:
    assert table(UNDER, FORMS_WHY_NOT) in (ROOT / "docs" / "console.md").read_text(), (
        "docs/console.md is stale: put the output of `python -m tests.browser` into it"
    )
