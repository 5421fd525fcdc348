"""
Every order that a file touches, or that no file has: judged by the rule, and written.

PostgreSQL adds up and finds, a page at a time; `agents/settlements.py` decides. The same lines and
orders always give the same verdicts, so judging may be done again at any time, and has to be when
orders have changed since: `orderflow settlement match` does that for a whole shop.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from agents.settlements import (
    DIFFERENCES,
    PAID,
    Ours,
    Terms,
    Theirs,
    facts,
    judge,
    paid_of,
    refunded_of,
)
from streams.postgres.queries import sql
from streams.settlements.templates import of_platform

_PAGE: Final = 5_000
#: Orders reach us at most so long before they are paid.
_RECEIVED_BEFORE: Final = timedelta(days=60)
_PAID: Final = sorted(status.value for status in PAID)
_FIRST: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


async def match(
    connection: Any, platform: str, shop: str, *, since: datetime | None = None, anew: bool
) -> dict[str, int]:
    """
    Judge orders of a shop, and return how many stand how.

    *anew*: all that lines or files know of; else those that changed, are open or were awaited. What
    is in no file is looked for among the orders paid *since* then, which for None are all that
    files cover. In the transaction of *connection*, which has the shop's turn.
    """
    terms, covered = await _terms(connection, platform, shop)
    if anew:
        await connection.execute(sql("settlement_unsettled_forgotten"), platform, shop)
    if covered is not None:
        first, until = covered
        start = first if since is None else max(first, since)
        await connection.execute(
            sql("settlement_unsettled"), platform, shop, start, until,
            timedelta(milliseconds=terms.settles_within_ms), _PAID, start - _RECEIVED_BEFORE,
        )  # fmt: skip
    found: Counter[str] = Counter()
    after = ""
    while page := await connection.fetch(
        sql("settlement_to_judge"), platform, shop, after, not anew, _PAGE
    ):
        after = page[-1]["order_key"]
        judged = [_judged(row, terms) for row in page]
        found.update(one[1] for one in judged)
        columns = [list(column) for column in zip(*judged, strict=True)]
        await connection.execute(sql("settlement_judged"), *columns)
    return dict(sorted(found.items()))


async def _terms(
    connection: Any, platform: str, shop: str
) -> tuple[Terms, tuple[datetime, datetime] | None]:
    row = await connection.fetchrow(sql("settlement_coverage"), platform, shop)
    template = of_platform(platform)
    until = row["covered_until"]
    terms = Terms(
        round(template.settles_within.total_seconds() * 1000),
        template.nets_refunds,
        _ms(until),
    )
    return terms, None if until is None else (row["covered_from"], until)


def _judged(row: Mapping[str, Any], terms: Terms) -> tuple[Any, ...]:
    """Return one order as it is written: key, verdict, facts, and our side."""
    ours, theirs = ours_of(row), theirs_of(row)
    verdict = judge(ours, theirs, terms)
    at = row["settled_at"] or row["paid_at"] or row["created_at"] or _FIRST
    return (
        row["order_key"], verdict.value, facts(ours, theirs), ours and ours.currency,
        ours and ours.paid, ours and ours.refunded, at, verdict in DIFFERENCES,
    )  # fmt: skip


def ours_of(row: Mapping[str, Any]) -> Ours | None:
    """Return our side of an order as PostgreSQL has it; None: there is no such order."""
    if not row["is_ours"]:
        return None
    paid = paid_of(
        row["paid_minor"], row["total_minor"], row["status"],
        has_paid_time=row["paid_at"] is not None,
    )  # fmt: skip
    return Ours(
        row["currency"],
        paid,
        refunded_of(row["refunded_minor"], row["refund"], paid),
        _ms(row["paid_at"] or row["created_at"]),
        _ms(row["updated_at"]),
    )


def theirs_of(row: Mapping[str, Any]) -> Theirs | None:
    """Return what the files add up to; None: no file has the order."""
    if not row["line_count"]:
        return None
    return Theirs(tuple(row["currencies"]), row["their_paid"], row["their_refunded"])


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
