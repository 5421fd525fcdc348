"""
What can go now, kept by whoever writes orders and holds; and the ends of a day without the margin.

* `orders_that_can_go` is the one definition of it, read from orders and holds. It is asked for some
  orders at a time; asked for all, it reads every order.
* `orders_to_ship` is what it says, kept by the ledger in the transaction that changes it, so that
  a warehouse walks over what can go, the longest paid first, and looks up nothing that cannot.
  A row comes when an order can go and goes when it cannot: what is dead is swept early, for it lies
  at the end from which everybody walks.
* `figured_from` and `figured_until` took two hours more on either side of a day, for what clock
  changes do: on a busy day those are tens of thousands of orders that a list has to look at and
  leave out. They take them now only where a clock is changed within three hours.
* `orders_refunded` and `returns_at` have the order's key behind the moment, so that the list of
  what came back is walked over from its latest, page by page.

The list is filled with what stands already. Stop the ledger for it: one of an older version does
not keep the list. Where that was not done, `orderflow migrate` once more mends it.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_OFFSET = "({at}) AT TIME ZONE zone - ({at}) AT TIME ZONE 'UTC'"
#: No shop's day begins earlier, or ends later.
_END = f"""
    CREATE OR REPLACE FUNCTION {{name}}(day date) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT COALESCE({{most}}(at {{sign}} CASE
            WHEN {_OFFSET.format(at="at - interval '3 hours'")}
                = {_OFFSET.format(at="at + interval '3 hours'")}
            THEN interval '0' ELSE interval '2 hours'
        END), '{{none}}')
        FROM (
            SELECT zone,
                (day + {{days}} + make_interval(mins => day_begins)) AT TIME ZONE zone AS at
            FROM shop_clocks
        ) AS shop
    )
"""  # noqa: S608  our own words
_END_BEFORE = """
    CREATE OR REPLACE FUNCTION {name}(day date) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT COALESCE(
            {most}((day + {days} + make_interval(mins => day_begins)) AT TIME ZONE zone)
                {sign} interval '2 hours',
            '{none}'
        ) FROM shop_clocks
    )
"""
_ENDS = (
    {"name": "figured_from", "most": "min", "sign": "-", "none": "-infinity", "days": 0},
    {"name": "figured_until", "most": "max", "sign": "+", "none": "infinity", "days": 1},
)

STATEMENTS = (
    """
    CREATE VIEW orders_that_can_go AS
    SELECT o.order_key, held.warehouse, COALESCE(o.paid_at, o.first_received_at) AS since,
        o.platform, o.shop
    FROM orders AS o
    CROSS JOIN LATERAL (
        SELECT DISTINCT
            CASE WHEN strpos(sku, '@') > 0 THEN split_part(sku, '@', -1) ELSE '' END AS warehouse
        FROM (
            -- By its key: whatever is open, of anybody, is another index, and looks short at first.
            SELECT sku, bucket, ended_at FROM holds WHERE holds.order_key = o.order_key OFFSET 0
        ) AS its
        WHERE ended_at IS NULL AND bucket = 'occupied'
    ) AS held
    WHERE o.status IN ('PAID', 'PARTIALLY_SHIPPED') AND o.reservation = 'reserved'
        AND o.open_case IS NULL AND COALESCE(o.refund, 'NONE') NOT IN ('REFUNDING', 'REFUNDED')
    """,
    """
    COMMENT ON VIEW orders_that_can_go IS
        'paid, all its stock held, no case and no refund under way, by warehouse'
    """,
    """
    CREATE TABLE orders_to_ship (
        order_key text COLLATE "C" NOT NULL,
        warehouse text COLLATE "C" NOT NULL,
        since timestamptz NOT NULL,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        PRIMARY KEY (order_key, warehouse)
    ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)
    """,
    "COMMENT ON TABLE orders_to_ship IS 'what orders_that_can_go says, kept by the ledger'",
    "CREATE INDEX orders_to_ship_by_time ON orders_to_ship (since, order_key)",
    "CREATE INDEX orders_to_ship_of_warehouse ON orders_to_ship (warehouse, since, order_key)",
    """
    INSERT INTO orders_to_ship (order_key, warehouse, since, platform, shop)
    SELECT order_key, warehouse, since, platform, shop FROM orders_that_can_go
    """,
    "ANALYZE orders_to_ship",
    *(_END.format(**each) for each in _ENDS),
    "DROP INDEX orders_refunded",
    """
    CREATE INDEX orders_refunded ON orders (refunded_at, order_key) WHERE refunded_at IS NOT NULL
    """,
    "DROP INDEX returns_at",
    "CREATE INDEX returns_at ON returns (at, order_key)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX returns_at")
    op.execute("CREATE INDEX returns_at ON returns (at)")
    op.execute("DROP INDEX orders_refunded")
    op.execute("CREATE INDEX orders_refunded ON orders (refunded_at) WHERE refunded_at IS NOT NULL")
    for each in _ENDS:
        op.execute(_END_BEFORE.format(**each))
    op.execute("DROP TABLE orders_to_ship")
    op.execute("DROP VIEW orders_that_can_go")
