"""
A database with so many orders in it as a house has after a season, made by SQL.

Every order has three lines, its details, three events, and three holds with a move each; they came
one after the other over the last weeks, evenly. The newest of them, one in fifty, are paid, hold
their stock and can go; the others are over, and of one in twelve the money went back, of all of
these within the last 25 hours. One order in twenty has the SKU that sells best. Rows are as the
ledger writes them, of one shop of each of four platforms.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from msgspec import json, msgpack

from schemas.orders import Buyer, OrderDetails, OrderReserved, OrderStatusChanged, Receiver, Status
from streams.importing.planning import Reading
from streams.importing.store import options_of
from streams.postgres import months
from streams.postgres.connecting import connected
from streams.postgres.schema import mend_to_ship

PLATFORMS: Final = ("taobao", "jd", "douyin", "mall")
SHOP: Final = "bench"
#: Orders came over so many days; the partitions of their months are made.
DAYS: Final = 60
#: One order in so many can go.
OPEN_ONE_IN: Final = 50
#: Of those that are over the money of one in so many went back, within the last 25 hours.
BACK_ONE_IN: Final = 12
BEST_ONE_IN: Final = 20
#: What one order in so many has as its first line.
BEST: Final = "SKU-BEST"
#: A line's SKU is one of so many, or of fewer where there are few orders.
SKUS_MAX: Final = 10_000
#: Of each order some have stayed in the exceptions queue: one in so many, and settled ones.
PARKED_ONE_IN: Final = 50
IMPORTS: Final = 200
#: Orders of one statement.
_STEP = 50_000
_LINES = 3
_FILL_WITHIN_S = 600.0

#: The nth order, for the statements: its key, its moment, whether it can go.
_NTH = f"""
WITH nth AS (
    SELECT n,
        (ARRAY['{"', '".join(PLATFORMS)}'])[1 + n % {len(PLATFORMS)}] AS platform,
        lpad((277000000000000000 + n)::text, 18, '0') AS order_id,
        clock_timestamp() - interval '10 minutes'
            - ($3::bigint - n) * interval '{DAYS} days' / $3::bigint AS at,
        n > $3::bigint - $3::bigint / {OPEN_ONE_IN} AS is_open
    FROM generate_series($1::bigint, $2::bigint) AS n
), orders_of AS (
    SELECT *, platform || ':{SHOP}:' || order_id AS order_key FROM nth
)"""  # noqa: S608  our own constants

_ORDERS = (
    _NTH
    + f"""
INSERT INTO orders (
    order_key, version, facets, changed_at, platform, shop, order_id, platform_status, status_said,
    currency, total_minor, shipping_minor, discount_minor, tax_minor, paid_minor, created_at,
    paid_at, shipped_at, updated_at, adapter, digest, unmapped, received_at, status, refund,
    refunded_minor, reservation, attempt, ignored, first_received_at, first_written_at,
    verdict_written_at, written_at, refunded_at
)
SELECT order_key, 3, 63, at, platform, $4, order_id, said, said, 'CNY', 25850, 0, 0, 0, 25850, at,
    at, CASE WHEN is_open THEN NULL ELSE at + interval '1 day' END, at, platform || '/1',
    md5(order_key), '{{}}', at, said, CASE WHEN back THEN 'REFUNDED' ELSE 'NONE' END,
    CASE WHEN back THEN 25850 ELSE 0 END, CASE WHEN is_open THEN 'reserved' ELSE 'shipped' END,
    1, 0, at, at, at, at, CASE WHEN back THEN clock_timestamp() - n % 1500 * interval '1 minute' END
FROM orders_of CROSS JOIN LATERAL (
    SELECT CASE WHEN is_open THEN 'PAID' WHEN n % 100000 = 7 THEN 'CANCELLED' ELSE 'SHIPPED' END
        AS said
) AS of_status CROSS JOIN LATERAL (SELECT NOT is_open AND n % {BACK_ONE_IN} = 0 AS back) AS of_money
"""  # noqa: S608  our own constants
)
_LINE = f"""
    CROSS JOIN generate_series(0, {_LINES - 1}) AS k
    CROSS JOIN LATERAL (SELECT ({_LINES} * (n - 1) + k) AS g) AS line
    CROSS JOIN LATERAL (SELECT k = 0 AND n % {BEST_ONE_IN} = 0 AS is_best) AS luck
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN is_best THEN '{BEST}' ELSE 'SKU-' || lpad((g % $4::bigint)::text, 6, '0') END
                AS sku,
            CASE WHEN is_best THEN n ELSE 1 + g / $4::bigint END AS version
    ) AS move
"""
_ORDER_LINES = (
    _NTH
    + """
INSERT INTO order_lines (
    order_key, line_no, version, line_id, sku, platform_sku, merchant_sku, title, quantity,
    unit_price_minor, line_total_minor, refund
)
SELECT order_key, k, 3, order_id || k, sku, sku, sku, 'A very soft rug, ' || sku, 1, 8600, 8600,
    'NONE'
FROM orders_of"""
    + _LINE
)
_DETAILS = (
    _NTH
    + """
INSERT INTO order_details (order_key, version, country, province, city, body, found_by)
SELECT order_key, 1, 'CN', '浙江省', '杭州市', $4::bytea,
    ARRAY['tel:' || lpad((n % 10000)::text, 4, '0')]
        || CASE WHEN is_open THEN '{}' ELSE ARRAY['parcel:SF' || order_id] END
FROM orders_of
"""
)
_EVENTS = (
    _NTH
    + """
INSERT INTO order_events (order_key, version, at, event, body)
SELECT order_key, k, at + k * interval '1 second',
    CASE k WHEN 3 THEN 'order.status' ELSE 'order.reserved' END,
    CASE k WHEN 3 THEN $5::bytea ELSE $4::bytea END
FROM orders_of CROSS JOIN generate_series(1, 3) AS k
"""
)
_HOLDS = (
    _NTH
    + """
INSERT INTO holds (
    order_key, sku, version, bucket, quantity, held_at, changed_at, ended_at, verb, moves
)
SELECT order_key, sku, version, CASE WHEN is_open THEN 'occupied' ELSE 'available' END, 1, at, at,
    CASE WHEN is_open THEN NULL ELSE at + interval '1 day' END,
    CASE WHEN is_open THEN 'pay' ELSE 'ship' END, version::text
FROM orders_of"""
    + _LINE
    + "ON CONFLICT DO NOTHING"
)
_MOVES = (
    _NTH
    + """
INSERT INTO stock_ledger (
    sku, version, at, verb, quantity, source, target, available, locked, occupied, reserved, frozen,
    order_key, cause, held, chain
)
SELECT sku, version, at, 'hold', 1, 'available', 'locked', 1000, 1, 1, 0, 0, order_key,
    'bench/0/' || g, 1, decode(repeat('00', 32), 'hex')
FROM orders_of"""
    + _LINE
)
_STOCK = """
INSERT INTO stock (sku, version, changed_at, available, locked, occupied, reserved, frozen)
SELECT 'SKU-' || lpad(g::text, 6, '0'), 1000000000, clock_timestamp(), 1000, 1, 1, 0, 0
FROM generate_series(0, $1::bigint - 1) AS g
UNION ALL SELECT $2, 1000000000, clock_timestamp(), 1000, 1, 1, 0, 0
"""
_CLOCKS = """
INSERT INTO shop_clocks (platform, shop, zone, day_begins)
SELECT platform, $2, $3, 0 FROM unnest($1::text[]) AS platform
"""
_PARKED = """
INSERT INTO parked (
    id, stage, cause, field, reason, topic, partition, record_offset, key, value, platform, shop,
    attempts, first_seen_at, last_seen_at, settled_at, settled_as
)
SELECT 'raw-orders-taobao/0/' || n, 'intake', 'unreadable', 'trade', 'no order can be read in it',
    'raw-orders-taobao', 0, n, NULL, convert_to('{"no order": ' || n || '}', 'UTF8'), 'taobao', $2,
    1, at, at, CASE WHEN n % 5 = 0 THEN NULL ELSE at END,
    CASE WHEN n % 5 = 0 THEN NULL ELSE 'discarded' END
FROM generate_series(1, $1::bigint) AS n
    CROSS JOIN LATERAL (
        SELECT clock_timestamp() - ($1::bigint - n) * interval '1 minute' AS at
    ) AS moment
"""
_IMPORTS = """
INSERT INTO imports (
    id, state, file_name, path, file_digest, file_bytes, platform, shop, existing, options,
    operator, reason, dry_run, row_count, order_count, sent, ended_at
)
SELECT 'import-' || lpad(n::text, 6, '0'), 'refused', 'orders.csv', '/nowhere/orders.csv',
    md5(n::text), 1000, 'taobao', $2, 'skip', $3::json, 'bench', 'a bench', false, 1000, 0, 0,
    clock_timestamp()
FROM generate_series(1, $1::bigint) AS n
"""


def order_id(nth: int) -> str:
    """Return the platform's id of the nth order."""
    return f"{277_000_000_000_000_000 + nth:018d}"


def order_key(nth: int) -> str:
    """Return the key of the nth order."""
    return f"{PLATFORMS[nth % len(PLATFORMS)]}:{SHOP}:{order_id(nth)}"


def sku(nth: int) -> str:
    """Return the nth SKU."""
    return f"SKU-{nth:06d}"


async def fill(owner: str, orders: int, zone: str, said: Callable[[str], None]) -> int:
    """Fill the database of *owner* with so many *orders*; return how many SKUs they have."""
    skus = max(_LINES, min(SKUS_MAX, orders // 10))
    whole = msgpack.encode(_person())
    reserved, shipped = (json.encode(each) for each in _events())
    async with connected(
        owner, name="orderflow-bench", statement_timeout=f"{_FILL_WITHIN_S:.0f}s",
        synchronous_commit="off",
    ) as connection:  # fmt: skip
        await _months(owner, connection)
        await connection.execute(_STOCK, skus, BEST)
        await connection.execute(_CLOCKS, list(PLATFORMS), SHOP, zone)
        await connection.execute(_PARKED, max(10, orders // PARKED_ONE_IN), SHOP)
        await connection.execute(_IMPORTS, IMPORTS, SHOP, options_of(Reading("taobao", SHOP)))
        steps: tuple[tuple[str, tuple[Any, ...]], ...] = (
            (_ORDERS, (SHOP,)), (_ORDER_LINES, (skus,)), (_DETAILS, (whole,)),
            (_EVENTS, (reserved, shipped)), (_HOLDS, (skus,)), (_MOVES, (skus,)),
        )  # fmt: skip
        for first in range(1, orders + 1, _STEP):
            last = min(orders, first + _STEP - 1)
            for statement, more in steps:
                await connection.execute(statement, first, last, orders, *more)
            said(f"{last:,} of {orders:,} orders are written")
        said("PostgreSQL looks at what it has")
        await connection.execute("VACUUM (ANALYZE)", timeout=_FILL_WITHIN_S)
        await mend_to_ship(owner)  # these orders did not come by the ledger
        await connection.execute("VACUUM (ANALYZE) orders_to_ship")
    return skus


async def _months(owner: str, connection: Any) -> None:
    """Make the partitions of the months that orders came in."""
    now = await connection.fetchval("SELECT clock_timestamp()")
    for back in range(0, DAYS + 31, 28):
        await months.ensure(owner, now=now - timedelta(days=back), months_after=0)


def _person() -> OrderDetails:
    return OrderDetails(
        order=f"{PLATFORMS[0]}:{SHOP}:1",
        version=1,
        buyer=Buyer(name="Jo Doe", phone="13812340000", email="jo@example.com"),
        receiver=Receiver(
            name="Jo Doe", phone="13812340000", country="CN", province="浙江省", city="杭州市",
            district="西湖区", address="90 Main Street", postcode="310012",
        ),
        invoice=None, shipments=(), notices=(),
    )  # fmt: skip


def _events() -> tuple[OrderReserved, OrderStatusChanged]:
    base: dict[str, Any] = {"order": "a:b:c", "version": 1, "at_ms": 1, "cause": "bench/0/1"}
    return (
        OrderReserved(**base, attempt=1, status=Status.PAID, deadline_ms=None),
        OrderStatusChanged(**base, before=Status.PAID, status=Status.SHIPPED),
    )
