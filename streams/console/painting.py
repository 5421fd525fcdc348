"""How values look in a page: times in the company's zone, amounts, links. Everything is escaped."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from streams.clock import now_ms
from streams.console.money import amount
from streams.console.page import link
from streams.console.terms import TERMS

#: A shown message is cut after so many characters; a link leads to the whole.
TEXT_LENGTH_MAX = 20_000
#: Data that are older than this are shown as old, with scripts and without.
AMBER_S = 30


@pass_context
def when(context: Context, at: Any, *, exact: bool = False) -> Markup:
    """Return an instant, a datetime or ms, as a time of the company's zone."""
    if at in (None, ""):
        return Markup("–")
    if not isinstance(at, datetime):
        at = datetime.fromtimestamp(at / 1000, UTC)
    shown = at.astimezone(context["visit"].zone).strftime("%Y-%m-%d %H:%M:%S")
    if exact:
        shown += f".{at.microsecond // 1000:03}"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), shown)


@pass_context
def until(context: Context, at: datetime | None) -> Markup:
    """Return how long it is until *at*, counted down by the page where it can."""
    if at is None:
        return escape(context["t"]("no_deadline"))
    ms = round(at.timestamp() * 1000)
    left = max(0, (ms - now_ms()) // 1000)
    return Markup('<span class="count" data-until="{}">{}:{:02}</span>').format(
        ms, left // 60, left % 60
    )


@pass_context
def word(context: Context, said: Any, kind: str) -> str:
    """Return one of our words in the visitor's language; one that has no term, as it is."""
    if said in (None, ""):
        return "–"
    key = f"{kind}_{said}".lower()
    return str(context["t"](key)) if key in TERMS else str(said)


def pretty(value: Any) -> str:
    """Return a message to be read: JSON with indents, or the text as it is, cut where too long."""
    text = value if isinstance(value, str) else _indented(value)
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}\n…"


def _indented(value: Any) -> str:
    return orjson.dumps(
        value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    ).decode()


def percent(share: Decimal | None) -> str:
    """Return a share of 1 in percent; of nothing there is none."""
    return "–" if share is None else f"{share * 100:.2f} %"


def span(ms: int | None) -> str:
    """Return how long something took at most; None is longer than a day."""
    if ms is None:
        return "> 24 h"
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= size:
            return f"≤ {ms // size} {unit}"
    return f"≤ {ms} ms"


GLOBALS: dict[str, Any] = {
    "link": link, "when": when, "until": until, "word": word, "now_ms": now_ms, "amber_s": AMBER_S,
}  # fmt: skip
FILTERS: dict[str, Callable[..., Any]] = {
    "amount": amount, "pretty": pretty, "percent": percent, "span": span,
}  # fmt: skip
