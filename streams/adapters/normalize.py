"""
Payload files of one platform, as unified orders: what an adapter makes of them, to look at.

Files given together belong together: a trade and its after-sale list, a push and the order it
announces. Their statements are merged per order; the newest word wins, field by field, and what
no file says stays null. Pure: bytes in, plain values out.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import structs

from schemas.base import Moment
from schemas.errors import Rejected
from schemas.orders import Line, Notice, NoticeCode, Refund, Statement, Status
from streams.adapters import ADAPTERS, Adapter, adapter_for
from streams.adapters.amounts import discount_between, settle_refund

#: How far an order has come, for statements of the same time; UNKNOWN and "not said" come first.
_RANK: Final[dict[Status | None, int]] = {
    status: rank for rank, status in enumerate(Status, 1) if status is not Status.UNKNOWN
}
#: What is merged field by field; the rest is the key, the version, or settled below.
_FIELDS: Final = tuple(
    name
    for name in Statement.__struct_fields__
    if name not in {"platform", "shop", "order_id", "stated_ms", "refund", "refunded", "notices"}
)
_PAID_BACK: Final = (Refund.PARTIALLY_REFUNDED, Refund.REFUNDED)


def normalize(platform: str, files: Iterable[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """
    Return the unified orders in *files* (name, bytes) of *platform*, in order of appearance.

    Raises Rejected with one sentence that names the file and the reason.
    """
    adapter = adapter_for(platform)
    by_order: dict[str, list[Statement]] = {}
    for name, payload in files:
        for statement in _parsed(adapter, name, payload):
            by_order.setdefault(statement.order_id, []).append(statement)
    return [unified(merged(statements)) for statements in by_order.values()]


def _parsed(adapter: Adapter, name: str, payload: bytes) -> list[Statement]:
    try:
        return adapter.parse(payload, shop="")
    except Rejected as error:
        raise Rejected(f"{name} cannot be read as {adapter.platform}: {error}.") from error


# --- merging ------------------------------------------------------------------------------------


def merged(statements: Sequence[Statement]) -> Statement:
    """
    Return one statement from all *statements* about one order, in whatever order they come.

    The newest word wins field by field; of the same time, that of the order further along. A
    statement heard twice counts once.
    """
    known = sorted(dict.fromkeys(statements), key=_age)
    values: dict[str, Any] = {}
    for statement in known:
        said = ((name, getattr(statement, name)) for name in _FIELDS)
        values |= {name: value for name, value in said if value is not None and value != ()}
    if values.get("status") is Status.PAID and any(_holds_back(each) for each in known):
        values["status"] = Status.ON_HOLD
    if len(known) > 1 and "discount" not in values:
        # The prices came with one and the total with another: together they tell it.
        sums = (values.get(name) for name in ("shipping", "tax", "total"))
        values["discount"] = discount_between(values.get("lines", ()), *sums)
    refund, refunded = _settled(known, values)
    if refund is Refund.REFUNDED and _closed_by_refund(known[-1].platform, values.get("status")):
        values["status"] = Status.CANCELLED
    return structs.replace(
        known[-1],
        **values,
        refund=refund,
        refunded=refunded,
        notices=_noticed(known, thin=not values.get("lines")),
    )


def _age(statement: Statement) -> tuple[int, int]:
    return statement.stated_ms, _RANK.get(statement.status, 0)


def _holds_back(statement: Statement) -> bool:
    """
    Tell whether lines that came without their order (Amazon's items) say that it must not ship.

    They have no time of their own, so their word is neither older nor newer than the order's.
    """
    return statement.status is Status.ON_HOLD and not statement.stated_ms and bool(statement.lines)


def _closed_by_refund(platform: str, status: Status | None) -> bool:
    return ADAPTERS[platform].refund_closes and status in (Status.ON_HOLD, Status.PAID)


def _is_after_sale(statement: Statement) -> bool:
    """Tell a word about the money alone from one about the order."""
    return statement.status is None and not statement.lines and statement.total is None


def _is_thin(statement: Statement) -> bool:
    return any(notice.code is NoticeCode.THIN for notice in statement.notices)


def _settled(
    known: Sequence[Statement], values: dict[str, Any]
) -> tuple[Refund | None, int | None]:
    """Return the refund and its amount: the order's own, and after-sales it does not count yet."""
    orders = [each for each in known if not _is_after_sale(each)]
    own = next((each for each in reversed(orders) if each.refunded is not None), None)
    since = -1 if own is None else own.stated_ms
    sales = [each for each in _after_sales(known) if each.stated_ms > since]
    word = _word(orders, sales)
    amounts = [each.refunded for each in sales if each.refunded is not None]
    if not amounts:
        return word, None if own is None else own.refunded
    refunded = sum(amounts) + (own.refunded or 0 if own is not None else 0)
    total = values.get("paid") or values.get("total")
    return settle_refund(word, refunded, total, values.get("status")), refunded


def _after_sales(known: Sequence[Statement]) -> list[Statement]:
    """Return the after-sales; a list of them says again, in full, what its pushes announced."""
    sales = [each for each in known if _is_after_sale(each)]
    listed = max((each.stated_ms for each in sales if not _is_thin(each)), default=-1)
    return [each for each in sales if not _is_thin(each) or each.stated_ms > listed]


def _word(orders: Sequence[Statement], sales: Sequence[Statement]) -> Refund | None:
    """Return the newest word; one after-sale that came to nothing takes back no other's money."""
    told = [each for each in orders if each.refund is not None]
    order = told[-1] if told else None
    sale = next((each for each in reversed(sales) if each.refund is not None), None)
    if order is None or sale is None:
        found = order or sale
        return None if found is None else found.refund
    if order.refund in _PAID_BACK and sale.refund in (Refund.NONE, Refund.REJECTED):
        return order.refund
    return sale.refund if sale.stated_ms >= order.stated_ms else order.refund


def _noticed(known: Sequence[Statement], *, thin: bool) -> tuple[Notice, ...]:
    """Return every notice once; an order that is there in full needs no fetching."""
    found = dict.fromkeys(notice for each in known for notice in each.notices)
    return tuple(notice for notice in found if thin or notice.code is not NoticeCode.THIN)


# --- what comes out -----------------------------------------------------------------------------


def unified(order: Statement) -> dict[str, Any]:
    """Return *order* as plain values, with the keys that every platform's order has."""
    phones = (order.buyer and order.buyer.phone, order.receiver and order.receiver.phone)
    return {
        "platform": order.platform,
        "platform_order_id": order.order_id,
        "status": None if order.status is None else order.status.value,
        "refund": None if order.refund is None else order.refund.value,
        "currency": order.currency,
        "total_minor": order.total,
        "shipping_minor": order.shipping,
        "discount_minor": order.discount,
        "created_at": _instant(order.created_at),
        "paid_at": _instant(order.paid_at),
        "updated_at": _instant(order.updated_at),
        "lines": [_line(line) for line in order.lines],
        "buyer_phone_usable": any(phones),
        "notices": [_notice(notice) for notice in order.notices],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "line_id": line.line_id,
        "platform_sku": line.platform_sku,
        "merchant_sku": line.merchant_sku,
        "quantity": line.quantity,
        "unit_price_minor": line.unit_price,
        "line_total_minor": line.line_total,
    }


def _notice(notice: Notice) -> dict[str, str]:
    return {"code": notice.code.value, "field": notice.field, "said": notice.said}


def _instant(moment: Moment | None) -> str | None:
    """Return ISO 8601 in UTC with Z; milliseconds only where the platform said them."""
    if moment is None:
        return None
    seconds, ms = divmod(moment.ms, 1000)
    written = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{ms:03d}Z" if ms else f"{written}Z"
