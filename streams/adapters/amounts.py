"""
Sums and verdicts about money that every platform shares. Pure, integers only.

    total = goods - discounts + shipping + tax          (goods: sum of unit price x quantity)

Two of a platform's own numbers, the prices and what the buyer pays, are always there and always
mean the same; its discount fields overlap (a shop discount stands on the trade and again, spread,
on its lines), so the discount is what the law leaves, and the law holds by construction.
"""

from collections.abc import Iterable, Sequence

from schemas.base import MINOR_MAX
from schemas.errors import MalformedPayload
from schemas.orders import Line, Refund, Statement, Status


def goods_of(lines: Sequence[Line]) -> int | None:
    """Return the price of all *lines* before discounts, or None where a price is not said."""
    goods = 0
    for line in lines:
        if line.unit_price is None:
            return None
        goods += line.unit_price * line.quantity
    return goods if lines else None


def per_unit(goods: int | None, units: int) -> int | None:
    """Return the price of one of *units* that cost *goods*, half a minor unit rounded up."""
    return None if goods is None else (2 * goods + units) // (2 * units)


def discount_between(
    lines: Sequence[Line], shipping: int | None, tax: int | None, total: int | None
) -> int | None:
    """
    Return all discounts, whoever bears them: goods + shipping + tax - total.

    A price that was raised (a fee, an upward adjustment) is no negative discount: it is 0.
    """
    goods = goods_of(lines)
    if goods is None or total is None:
        return None
    return max(0, goods + (shipping or 0) + (tax or 0) - total)


def refund_of_lines(refunds: Iterable[Refund | None]) -> Refund | None:
    """
    Return the order's refund from its lines', where REFUNDED means "this line was paid back".

    What still runs comes first, because someone has to act on it. One line that cannot be told
    makes the order's refund untellable.
    """
    seen = set(refunds)
    if not seen or None in seen:
        return None
    if len(seen) == 1:
        return seen.pop()
    if Refund.REFUNDING in seen:
        return Refund.REFUNDING
    if Refund.REFUNDED in seen or Refund.PARTIALLY_REFUNDED in seen:
        return Refund.PARTIALLY_REFUNDED
    return Refund.REJECTED if Refund.REJECTED in seen else Refund.NONE


def refund_of_sales(refunds: Iterable[Refund | None]) -> Refund | None:
    """
    Return an order's refund from its after-sales, where REFUNDED means "the order was paid back".

    An application that was closed or refused before does not lessen the one that succeeded.
    """
    seen = set(refunds)
    if None in seen:
        return None
    return next((refund for refund in _SALES_FIRST if refund in seen), None)


_SALES_FIRST = (
    Refund.REFUNDING,
    Refund.REFUNDED,
    Refund.PARTIALLY_REFUNDED,
    Refund.REJECTED,
    Refund.NONE,
)


def settle_refund(
    said: Refund | None,
    refunded: int | None,
    total: int | None,
    status: Status | None = None,
) -> Refund | None:
    """
    Return the refund by amount: what was paid back (*refunded*) of what was paid (*total*).

    The platform's word *said* stands while a refund runs, where no amounts are known, and where
    the order was closed by a full refund.
    """
    if said is Refund.REFUNDING or not refunded or not total:
        return said
    if said is Refund.REFUNDED and status is Status.CANCELLED:
        return said
    return Refund.REFUNDED if refunded >= total else Refund.PARTIALLY_REFUNDED


def believed(statement: Statement, at: str) -> Statement:
    """
    Return *statement*, or refuse it: each of its amounts was believable, and a sum of them is not.

    A billion units at a price of 10^15 would not even fit into 64 bits.
    """
    for name in ("total", "shipping", "discount", "refunded"):
        minor = getattr(statement, name)
        if minor is not None and minor > MINOR_MAX:
            raise _unbelievable(minor, at, name)
    for line in statement.lines:
        if line.line_total is not None and line.line_total > MINOR_MAX:
            raise _unbelievable(line.line_total, at, "line total")
    return statement


def _unbelievable(minor: int, at: str, name: str) -> MalformedPayload:
    why = f"the {name} adds up to {minor} minor units, at most {MINOR_MAX} are believed"
    return MalformedPayload(at.rstrip(".") or "payload", why)
