"""
The keepers' rows against the folded events, and T21: every demand has exactly its hold.

*rows* are the keepers' changelogs as plain lists; the folds are what the events come to.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import msgpack

from streams.check.journey import Statements
from streams.check.orders import AMOUNTS, TIMES, OrderFold, Story
from streams.check.report import Claims
from streams.check.stock import StockFold
from streams.check.wire import unpack
from streams.check.words import (
    CANCELLED,
    GONE,
    HELD_IN,
    LINE_FIELDS,
    LINE_PLACES,
    ORDER_FIELDS,
    PENDING,
    TO_PICK,
)

_AT = {name: place for place, name in enumerate(ORDER_FIELDS)}
_LINE_AT = {name: place for place, name in enumerate(LINE_FIELDS)}
#: Status -> where no demand of such an order may stand at rest.
_UNFIT: dict[str | None, frozenset[str]] = {
    CANCELLED: frozenset(HELD_IN),
    **dict.fromkeys(GONE, frozenset(HELD_IN)),
    **dict.fromkeys(TO_PICK, frozenset({"locked"})),
    PENDING: frozenset({"occupied"}),
}

Rows = Iterable[tuple[bytes, bytes]]


def compare_stock(claims: Claims, fold: StockFold, rows: Rows) -> None:
    """Compare balances and holds of the stock keeper's changelog with the fold."""
    balances: set[str] = set()
    holds: set[tuple[str, str]] = set()
    for key, row in rows:
        sku, separator, order = key.decode("utf-8", "replace").partition("\0")
        said = unpack(row)
        if not isinstance(said, list):
            claims["I1"].wrong(f"changelog {key!r}", "a row", "bytes that are none")
        elif not separator:
            balances.add(sku)
            _balance(claims, fold, sku, said)
        elif order:
            holds.add((sku, order))
            _hold(claims, fold, sku, order, said)
        elif said[:1] != ["A"]:
            claims["I1"].wrong(f"changelog {key!r}", "answers to operators", said[:1])
    for sku in fold.skus.keys() - balances:
        claims["I1"].wrong(f"{sku} in the changelog", fold.skus[sku].balance, "no row")
    lost = [live for live in fold.live_holds() if live[:2] not in holds]
    for sku, order, hold in lost:
        claims["T21"].wrong(f"{sku} held by {order} in the changelog", hold.words(), "no row")


def _balance(claims: Claims, fold: StockFold, sku: str, said: Sequence[Any]) -> None:
    folded = fold.skus.get(sku)
    expected = ["S", *folded.balance, folded.version] if folded else "no row: nothing ever moved"
    claims["I1"].same(f"{sku} in the changelog", expected, said)


def _hold(claims: Claims, fold: StockFold, sku: str, order: str, said: Sequence[Any]) -> None:
    folded = fold.skus.get(sku)
    hold = folded.holds.get(order) if folded else None
    expected: object = "no row: nothing is held"
    if hold is not None and hold.live:
        expected = ["H", hold.quantity, hold.bucket, hold.origin, hold.deadline_ms]
    claims["T21"].same(f"{sku} held by {order} in the changelog", expected, said)


def compare_orders(
    claims: Claims, orders: OrderFold, stock: StockFold, statements: Statements, rows: Rows
) -> None:
    """Compare every row of the order keeper with its story, its demands with the holds."""
    wanted: set[tuple[str, str]] = set()
    seen = set()
    for key, row in rows:
        said, order = unpack(row), key.decode("utf-8", "replace")
        if not isinstance(said, list) or len(said) < len(ORDER_FIELDS):
            claims["I8"].wrong(f"changelog {order}", "an order", "bytes that are none")
            continue
        seen.add(order)
        story = orders.stories.get(order)
        if story is None:
            claims["I8"].wrong(
                f"{order} in the changelog", "no row: nothing was ever told", "a row"
            )
        else:
            _compare_story(claims, order, story, said)
        wanted |= _demands(claims, order, said, stock)
        _goal(claims, order, said, is_partial=statements.is_partial(order))
    for order in orders.stories.keys() - seen:
        claims["I8"].wrong(f"{order} in the changelog", "a row", "none")
    for sku, order, hold in stock.live_holds():
        if (sku, order) not in wanted:
            where = f"{sku} held by {order}"
            claims["T21"].wrong(where, "a demand of the order", f"{hold.words()} for nobody")
    claims["I8"].figures["order_rows"] += len(seen)


def _compare_story(claims: Claims, order: str, story: Story | None, said: Sequence[Any]) -> None:
    claim = claims["I8"]
    if story is None:
        claim.wrong(f"{order} in the changelog", "no row: nothing was ever told", "a row")
        return
    pairs: dict[str, tuple[Any, Any]] = {
        "key": (order, said[_AT["key"]]),
        "platform, shop and id": (order, ":".join(said[1:4])),
        "cause": (story.cause, said[_AT["cause"]]),
        "version": (story.version, said[_AT["version"]]),
        "status": (story.status, said[_AT["status"]]),
        "status_said": (story.snapshot[1], said[_AT["status_said"]]),
        "announced": (story.announced, said[_AT["announced"]]),
        "refund": (story.refund, said[_AT["refund"]]),
        "refunded": (story.refunded, said[_AT["refunded"]]),
        "attempt": (
            story.attempt if story.pending is None else story.pending,
            said[_AT["attempt"]],
        ),
    }
    for place, name in enumerate(AMOUNTS, start=2):
        field = name.removesuffix("_minor")
        pairs[field] = (story.snapshot[place], said[_AT[field]])
    for place, name in enumerate(TIMES, start=2 + len(AMOUNTS)):
        moment = said[_AT[name.replace("_ms", "_at")]]
        pairs[name] = (story.snapshot[place], moment[0] if moment else None)
    for name, (expected, found) in pairs.items():
        if expected != found:
            which = claims["I10"] if f"{name}_minor" in AMOUNTS else claim
            which.wrong(f"{order} in the changelog, {name}", expected, found)
    lines = [[line[place] for place in LINE_PLACES] for line in said[_AT["lines"]]]
    if lines or story.lines:
        told = msgpack.decode(story.lines) if story.lines else []
        claim.same(f"{order} in the changelog, lines", told, lines)


def _demands(
    claims: Claims, order: str, said: Sequence[Any], stock: StockFold
) -> set[tuple[str, str]]:
    """Compare each demand with what is held for it; return the pairs that are held."""
    claim = claims["T21"]
    held_pairs = set()
    for sku, quantity, held, *_ in said[_AT["demands"]]:
        claim.figures["demands"] += 1
        if held == "asked":
            claims["I12"].wrong(f"{order}, {sku}", "an answer", "asked, and none came")
            continue
        folded = stock.skus.get(sku)
        hold = folded.holds.get(order) if folded else None
        found = hold.words() if hold is not None else "nothing"
        bucket = HELD_IN.get(held)
        expected = f"{quantity} {bucket}" if bucket else "nothing"
        claim.same(f"{order}, {sku} ({held})", expected, found)
        if bucket:
            held_pairs.add((sku, order))
    return held_pairs


def _goal(claims: Claims, order: str, said: Sequence[Any], *, is_partial: bool) -> None:
    """Compare an order at rest with what its status wants of the stock."""
    demands, lines = said[_AT["demands"]], said[_AT["lines"]]
    states, status, claim = {demand[2] for demand in demands}, said[_AT["status"]], claims["T21"]
    if "asked" in states:
        return
    # Where a SKU waits for its mapping the order stays as it is, unless it is cancelled.
    waits = any(line[_LINE_AT["sku"]] is None for line in lines)
    unfit = states & _UNFIT.get(status, frozenset())
    if unfit and (not waits or status == CANCELLED):
        claim.wrong(f"{order}, {status}", "nothing that its status cannot have", unfit)
    if waits:
        return
    if states & HELD_IN.keys() and states - HELD_IN.keys() and not is_partial:
        claim.wrong(f"{order}, {status}", "all of its lines held or none", states)
    if status in TO_PICK | GONE and "refused" in states:
        case = "paid_but_short" in said[_AT["cases"]]
        claims["I6"].same(f"{order}, paid and short: a case", "open", "open" if case else "none")
    if status in TO_PICK | {PENDING} and not states & {"shipped", "adopted"}:
        _same_units(claims, order, lines, demands)


def _same_units(claims: Claims, order: str, lines: Sequence[Any], demands: Sequence[Any]) -> None:
    """Two lines of one SKU are one demand, and nothing else is demanded (T05)."""
    units: dict[str, int] = {}
    for line in lines:
        sku, quantity = line[_LINE_AT["sku"]], line[_LINE_AT["quantity"]]
        units[sku] = units.get(sku, 0) + quantity
    demanded = {demand[0]: demand[1] for demand in demands}
    claims["T21"].same(f"{order}: its lines and its demands", units, demanded)
