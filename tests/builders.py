"""Orders and stock as the tests speak of them: what matters is named, the rest is usual."""

from schemas.base import Moment, Source
from schemas.orders import Line, ObserveOrder, Policy, Refund, Statement, Status
from schemas.stock import ReceiveStock

#: 2026-11-11T00:00:00Z, the busiest day of the year.
T0 = 1_794_355_200_000
MINUTE = 60_000
HOLD_FOR = 15 * MINUTE


def a_line(sku: str | None, quantity: int = 1, line_id: str | None = None, **more: object) -> Line:
    return Line(
        **more,  # type: ignore[arg-type]
        line_id=line_id or f"line-{sku}",
        quantity=quantity,
        platform_sku=f"p-{sku or 'unmapped'}",
        merchant_sku=sku,
        sku=sku,
        title=sku,
        unit_price=1000,
        line_total=1000 * quantity,
    )


def a_statement(
    status: Status | None = Status.PENDING_PAYMENT,
    *lines: Line,
    order: str = "1001",
    at: int = 0,
    refund: Refund | None = None,
    created: int = 0,
    **more: object,
) -> Statement:
    """What taobao shop `lamps` says of an order *at* so many ms after T0."""
    said = {
        "platform": "taobao",
        "shop": "lamps",
        "order_id": order,
        "status": status,
        "status_said": status.value if status else None,
        "refund": refund,
        "created_at": Moment(T0 + created),
        "updated_at": Moment(T0 + at),
        "stated_ms": T0 + at,
        "currency": "CNY",
        "total": sum(line.line_total or 0 for line in lines),
        "lines": lines,
    } | more
    return Statement(**said)  # type: ignore[arg-type]


def observe(said: Statement, offset: int = 0, **policy: object) -> ObserveOrder:
    """The command intake makes of a statement; the digest stands for its bytes."""
    digest = f"{abs(hash_of(said)):016x}"[:16]
    return ObserveOrder(
        statement=said,
        policy=Policy(**policy),  # type: ignore[arg-type]
        source=Source("raw-orders-taobao", 0, offset, "taobao/1", digest, T0),
    )


def hash_of(said: Statement) -> int:
    """A digest that is the same under every hash seed."""
    from zlib import crc32  # noqa: PLC0415

    from msgspec import msgpack  # noqa: PLC0415

    return crc32(msgpack.encode(said))


_ids = 0


def an_id(at_ms: int = T0) -> str:
    """A UUIDv7 of that time, another each time."""
    global _ids  # noqa: PLW0603
    _ids += 1
    digits = f"{at_ms:012x}7000{0x8000000000000000 + _ids:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def first_id_again() -> None:
    """Let ids begin anew, so that what is told twice in one process has the same ids."""
    global _ids  # noqa: PLW0603
    _ids = 0


def receive(sku: str, quantity: int, command_id: str | None = None) -> ReceiveStock:
    return ReceiveStock(
        id=command_id or an_id(), sku=sku, quantity=quantity, reason="delivery", operator="mei"
    )
