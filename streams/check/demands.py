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
from streams.check.stock import Hold, StockFold
from streams.check.wire import unpack
from streams.check.words import (
    CANCELLED,
    DEMAND_FIELDS,
    GONE,
    HELD_IN,
    LINE_FIELDS,
    LINE_PLACES,
    ORDER_FIELDS,
    PENDING,
    TO_PICK,
)

_AT = {name: place for place, name in enumerate(ORDER_FIELDS)}
_DEMAND_AT = {name: place for place, name in enumerate(DEMAND_FIELDS)}
_WANTED, _HELD, _SHIPPED, _RETURNED = (
    _DEMAND_AT[name] for name in ("quantity", "held", "shipped", "returned")
)
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
    """Compare balances, holds and quotas of the stock keeper's changelog with the fold."""
    balances: set[str] = set()
    holds: set[tuple[str, str]] = set()
    quotas: set[tuple[str, str]] = set()
    for key, row in rows:
        sku, separator, about = key.decode("utf-8", "replace").partition("\0")
        said = unpack(row)
        if not isinstance(said, list):
            claims["I1"].wrong(f"changelog {key!r}", "a row", "bytes that are none")
        elif not separator:
            balances.add(sku)
            _balance(claims, fold, sku, said)
        elif about.startswith("\0"):
            quotas.add((sku, about[1:]))
            _quota(claims, fold, sku, about[1:], said)
        elif about:
            holds.add((sku, about))
            _hold(claims, fold, sku, about, said)
        elif said[:1] != ["A"]:
            claims["I1"].wrong(f"changelog {key!r}", "answers to operators", said[:1])
    _missing(claims, fold, balances, holds, quotas)


def _missing(
    claims: Claims,
    fold: StockFold,
    balances: set[str],
    holds: set[tuple[str, str]],
    quotas: set[tuple[str, str]],
) -> None:
    for sku in fold.skus.keys() - balances:
        claims["I1"].wrong(f"{sku} in the changelog", fold.skus[sku].balance, "no row")
    for sku, name in _open_quotas(fold) - quotas:
        claims["I2"].wrong(f"{sku}, quota {name} in the changelog", "a row", "none")
    lost = [live for live in fold.live_holds() if live[:2] not in holds]
    for sku, order, hold in lost:
        claims["T21"].wrong(f"{sku} held by {order} in the changelog", hold.words(), "no row")


def _open_quotas(fold: StockFold) -> set[tuple[str, str]]:
    return {
        (sku, name)
        for sku, folded in fold.skus.items()
        for name, quota in folded.quotas.items()
        if quota.ended_ms is None
    }


def _balance(claims: Claims, fold: StockFold, sku: str, said: Sequence[Any]) -> None:
    folded = fold.skus.get(sku)
    expected: object = "no row: nothing ever moved"
    if folded:
        expected = ["S", *folded.balance[:5], folded.version, folded.balance[5]]
    claims["I1"].same(f"{sku} in the changelog", expected, said)


def _hold(claims: Claims, fold: StockFold, sku: str, order: str, said: Sequence[Any]) -> None:
    folded = fold.skus.get(sku)
    hold = folded.holds.get(order) if folded else None
    expected: object = "no row: nothing is held"
    if hold is not None and hold.live:
        quota = hold.quota if hold.drawn else ""
        expected = [
            "H", hold.quantity, hold.bucket, hold.origin, hold.deadline_ms, quota, hold.drawn,
        ]  # fmt: skip
    claims["T21"].same(f"{sku} held by {order} in the changelog", expected, said)


def _quota(claims: Claims, fold: StockFold, sku: str, name: str, said: Sequence[Any]) -> None:
    folded = fold.skus.get(sku)
    quota = folded.quotas.get(name) if folded else None
    expected: object = "no row: its window is over, or it never was"
    if quota is not None and quota.ended_ms is None:
        expected = [
            "Q", sku, name, quota.starts_ms, quota.ends_ms, quota.allotted, quota.left, quota.cause,
        ]  # fmt: skip
    claims["I2"].same(f"{sku}, quota {name} in the changelog", expected, said)


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
            _only_asked(claims, order, said, stock)
            continue
        _compare_story(claims, order, story, said)
        wanted |= _demands(claims, order, said, stock)
        _goal(claims, order, said, is_partial=story.kept or statements.is_partial(order))
        _returns(claims, order, story, said, stock)
    for order in orders.stories.keys() - seen:
        claims["I8"].wrong(f"{order} in the changelog", "a row", "none")
    for sku, order, hold in stock.live_holds():
        if (sku, order) not in wanted:
            where = f"{sku} held by {order}"
            claims["T21"].wrong(where, "a demand of the order", f"{hold.words()} for nobody")
    claims["I8"].figures["order_rows"] += len(seen)


def _only_asked(claims: Claims, order: str, said: Sequence[Any], stock: StockFold) -> None:
    """The row of an order that nothing was told of is what operators were answered, and no more."""
    claim, where = claims["I8"], f"{order} in the changelog, of which nothing was ever told"
    claim.same(f"{where}: key", order, said[_AT["key"]])
    more = [
        name
        for name, value in zip(ORDER_FIELDS, said, strict=False)
        if value and name not in ("key", "policy", "answers")
    ]
    answers = said[_AT["answers"]]
    if more or not answers:
        claim.wrong(where, "answers to operators only", ", ".join(more) or "none")
    for command, _, refusal, _ in answers:
        told = stock.answers.get(command)
        claim.same(f"{where}: the answer to {command}", told and told[1], refusal)


def _compare_story(claims: Claims, order: str, story: Story, said: Sequence[Any]) -> None:
    claim = claims["I8"]
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
    """Compare what is demanded of each SKU with what is held for it; return what is held."""
    claim = claims["T21"]
    held_pairs = set()
    of_sku: dict[str, list[Sequence[Any]]] = {}
    for demand in said[_AT["demands"]]:
        claim.figures["demands"] += 1
        of_sku.setdefault(demand[0], []).append(demand)
    for sku, demands in of_sku.items():
        states = [demand[_HELD] for demand in demands]
        if "asked" in states or "granted" in states:
            claims["I12"].wrong(f"{order}, {sku}", "an answer and a verdict", states)
            continue
        folded = stock.skus.get(sku)
        hold = folded.holds.get(order) if folded else None
        found = hold.words() if hold is not None else "nothing"
        held = [demand for demand in demands if demand[_HELD] in HELD_IN]
        units = sum(demand[_WANTED] - demand[_SHIPPED] for demand in held)
        expected = f"{units} {HELD_IN[held[0][_HELD]]}" if held else "nothing"
        claim.same(f"{order}, {sku} ({(held or demands)[0][_HELD]})", expected, found)
        if held:
            held_pairs.add((sku, order))
        _gone(claims, f"{order}, {sku}", demands, hold)
    return held_pairs


def _gone(claims: Claims, where: str, demands: Sequence[Any], hold: Hold | None) -> None:
    """What an order says has left and come back is what the stock says."""
    shipped = sum(demand[_SHIPPED] for demand in demands)
    back = sum(demand[_RETURNED] for demand in demands)
    claims["T21"].same(f"{where}: shipped", hold.shipped if hold is not None else 0, shipped)
    if back > shipped:
        claims["I2"].wrong(f"{where}: back", f"at most the {shipped} that were shipped", back)


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
    without = states - HELD_IN.keys() - {"shipped"}
    if states & HELD_IN.keys() and without and not is_partial:
        claim.wrong(f"{order}, {status}", "all of its lines held or none", states)
    if status in TO_PICK | GONE and "refused" in states:
        case = "paid_but_short" in said[_AT["cases"]]
        claims["I6"].same(f"{order}, paid and short: a case", "open", "open" if case else "none")
    if status in TO_PICK | {PENDING} and "adopted" not in states:
        _same_units(claims, order, lines, demands, said[_AT["warehouse"]])


def _same_units(
    claims: Claims, order: str, lines: Sequence[Any], demands: Sequence[Any], warehouse: str
) -> None:
    """Lines of one SKU are one demand, a kit is its parts, and nothing else is wanted (T05)."""
    at = f"@{warehouse}" if warehouse else ""
    units: dict[str, int] = {}
    for line in lines:
        quantity = line[_LINE_AT["quantity"]]
        parts = line[_LINE_AT["components"]] or [[line[_LINE_AT["sku"]], 1]]
        for sku, each in parts:
            units[sku + at] = units.get(sku + at, 0) + each * quantity
    demanded: dict[str, int] = {}
    for demand in demands:
        demanded[demand[0]] = demanded.get(demand[0], 0) + demand[_WANTED]
        # What has left cannot be wanted back by an edit.
        if demand[_SHIPPED]:
            shipped = sum(other[_SHIPPED] for other in demands if other[0] == demand[0])
            units[demand[0]] = max(units.get(demand[0], 0), shipped)
    claims["T21"].same(f"{order}: its lines and its demands", units, demanded)


def _returns(
    claims: Claims, order: str, story: Story, said: Sequence[Any], stock: StockFold
) -> None:
    """What is told to have come back is what the row and the stock's moves come to."""
    rows: dict[str, int] = {}
    for demand in said[_AT["demands"]]:
        if demand[_RETURNED]:
            rows[demand[0]] = rows.get(demand[0], 0) + demand[_RETURNED]
    told = {sku: sum(back.values()) for sku, back in story.returned.items()}
    claims["I8"].same(f"{order} in the changelog, what came back", told, rows)
    for sku, back in story.returned.items():
        folded = stock.skus.get(sku)
        moved = folded.returned.get(order, 0) if folded else 0
        kept = sum(units for disposition, units in back.items() if disposition != "lost")
        claims["I3"].same(f"{order}: {sku} that came back, in stock", kept, moved)
