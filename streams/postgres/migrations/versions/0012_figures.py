"""
Figures: what orders come to by shop, day and region, kept so that a page need not count them anew.

* `orders.refunded_at` is since when it is said that money went back. `stated_at`, `observed_at` and
  `verdict_at` are the first order-flow times of each order, beside those that were there.
* `orders_placed` is on what never changes for almost every order, so that an update stays on its
  page (0001); `orders_refunded` holds only orders whose money went back.
* `shop_clocks` is whose days they are: the zone of a shop, and when its day begins there.
* `figured_orders` is the one definition of what is counted, when, and where. The lists of orders
  behind a figure and the figures themselves are read from it.
* `figures_touched` has the key of every order that was written, once a round of the ledger's; no
  index, nothing unique, so that writers never wait for each other. `figures_stale` has the chunks
  that are to be counted anew. A chunk is what one shop received in one hour: an order belongs to
  one for ever.
* `figures_parts` is counted from the orders of a chunk, `figures_days` is the sum of parts that the
  pages read, `figures_flow` how long the first statement of an order took from stage to stage.
* `daily_reports` is append-only: what was said of a day, and what was said later.

Orders from before get their times from their events, which writes each of them once: stop the
ledger for it (reservations go on meanwhile). Their figures are counted by the first who restates.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_FIGURES = """
        orders bigint NOT NULL,
        priced bigint NOT NULL,
        gmv numeric NOT NULL,
        returned bigint NOT NULL,
        refunded numeric NOT NULL,
        back bigint NOT NULL,
        back_refunded numeric NOT NULL
"""
_WHERE = """
        country text COLLATE "C" NOT NULL,
        province text COLLATE "C" NOT NULL,
        currency text COLLATE "C" NOT NULL,
"""

STATEMENTS = (
    """
    ALTER TABLE orders
        ADD COLUMN refunded_at timestamptz,
        ADD COLUMN stated_at timestamptz,
        ADD COLUMN observed_at timestamptz,
        ADD COLUMN verdict_at timestamptz
    """,
    """
    UPDATE orders SET
        refunded_at = CASE
            WHEN refund IN ('PARTIALLY_REFUNDED', 'REFUNDED') THEN said.refunded_at
        END,
        stated_at = said.stated_at, observed_at = said.observed_at, verdict_at = said.verdict_at
    FROM (
        SELECT order_key,
            min(COALESCE(CASE WHEN version = 1 THEN updated_at END, received_at, at))
                FILTER (WHERE went AND version > kept_until) AS refunded_at,
            (array_agg(updated_at ORDER BY version) FILTER (WHERE event = 'order.observed'))[1]
                AS stated_at,
            min(at) FILTER (WHERE event = 'order.observed') AS observed_at,
            min(at) FILTER (WHERE event IN ('order.reserved', 'order.short')) AS verdict_at
        FROM (
            SELECT *, COALESCE(
                max(version) FILTER (WHERE event IN ('order.observed', 'order.refund') AND NOT went)
                    OVER (PARTITION BY order_key), 0
            ) AS kept_until
            FROM (
                SELECT order_key, version, at, event,
                    COALESCE(body ->> 'refund', '') IN ('PARTIALLY_REFUNDED', 'REFUNDED') AS went,
                    to_timestamp((body ->> 'updated_ms')::float8 / 1000) AS updated_at,
                    to_timestamp(NULLIF(body ->> 'received_ms', '0')::float8 / 1000) AS received_at
                FROM (
                    SELECT order_key, version, at, event, convert_from(body, 'UTF8')::json AS body
                    FROM order_events
                    WHERE event IN
                        ('order.observed', 'order.refund', 'order.reserved', 'order.short')
                ) AS read
            ) AS told
        ) AS known
        GROUP BY order_key
    ) AS said
    WHERE orders.order_key = said.order_key
    """,
    """
    CREATE INDEX orders_placed ON orders (COALESCE(created_at, first_received_at), order_key)
    """,
    "CREATE INDEX orders_refunded ON orders (refunded_at) WHERE refunded_at IS NOT NULL",
    "CREATE INDEX returns_at ON returns (at)",
    """
    CREATE TABLE shop_clocks (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        zone text NOT NULL,
        day_begins smallint NOT NULL CHECK (day_begins >= 0 AND day_begins < 1440),
        PRIMARY KEY (platform, shop)
    )
    """,
    "COMMENT ON COLUMN shop_clocks.day_begins IS 'minutes after midnight in the zone'",
    """
    CREATE FUNCTION figured_day(at timestamptz, zone text, begins smallint) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((at AT TIME ZONE zone) - make_interval(mins => begins))::date
    """,
    """
    CREATE FUNCTION figured_hour(at timestamptz, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN date_trunc('hour', at, zone)
    """,
    # No shop's day begins earlier, or ends later; two hours more, for what clock changes do.
    """
    CREATE FUNCTION figured_from(day date) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT COALESCE(
            min((day + make_interval(mins => day_begins)) AT TIME ZONE zone) - interval '2 hours',
            '-infinity'
        ) FROM shop_clocks
    )
    """,
    """
    CREATE FUNCTION figured_until(day date) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (
        SELECT COALESCE(
            max((day + 1 + make_interval(mins => day_begins)) AT TIME ZONE zone)
                + interval '2 hours',
            'infinity'
        ) FROM shop_clocks
    )
    """,
    """
    CREATE VIEW figured_orders AS
    SELECT o.order_key, o.platform, o.shop, o.first_received_at,
        COALESCE(o.created_at, o.first_received_at) AS placed_at,
        figured_day(COALESCE(o.created_at, o.first_received_at), clock.zone, clock.day_begins)
            AS day,
        figured_hour(COALESCE(o.created_at, o.first_received_at), clock.zone) AS hour,
        left(COALESCE(details.country, ''), 100) AS country,
        left(COALESCE(details.province, ''), 100) AS province,
        COALESCE(o.currency, '') AS currency,
        o.total_minor,
        NOT (
            COALESCE(o.status, o.platform_status, '') = 'CANCELLED'
            AND o.paid_at IS NULL AND COALESCE(o.paid_minor, 0) = 0 AND o.refunded_at IS NULL
        ) AS counted,
        back.at AS back_at,
        figured_day(back.at, clock.zone, clock.day_begins) AS back_day,
        figured_hour(back.at, clock.zone) AS back_hour,
        CASE WHEN o.refunded_at IS NOT NULL THEN COALESCE(o.refunded_minor, 0) ELSE 0 END
            AS refunded
    FROM orders AS o
    JOIN shop_clocks AS clock ON clock.platform = o.platform AND clock.shop = o.shop
    LEFT JOIN order_details AS details ON details.order_key = o.order_key
    CROSS JOIN LATERAL (
        SELECT min(returns.at) AS at FROM returns
        WHERE returns.order_key = o.order_key AND returns.disposition <> 'lost'
    ) AS goods
    CROSS JOIN LATERAL (SELECT LEAST(o.refunded_at, goods.at) AS at) AS back
    """,
    "COMMENT ON VIEW figured_orders IS 'what is counted, when and where: docs/figures.md'",
    'CREATE TABLE figures_touched (order_key text COLLATE "C" NOT NULL)',
    """
    CREATE TABLE figures_stale (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        chunk timestamptz NOT NULL,
        PRIMARY KEY (chunk, platform, shop)
    )
    """,
    f"""
    CREATE TABLE figures_parts (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        chunk timestamptz NOT NULL,
        day date NOT NULL,
        hour timestamptz NOT NULL,
        {_WHERE}
        {_FIGURES},
        PRIMARY KEY (platform, shop, chunk, day, hour, country, province, currency)
    )
    """,
    "CREATE INDEX figures_parts_of_day ON figures_parts (day, platform, shop)",
    f"""
    CREATE TABLE figures_days (
        day date NOT NULL,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        {_WHERE}
        {_FIGURES},
        PRIMARY KEY (day, platform, shop, country, province, currency)
    )
    """,
    """
    CREATE TABLE figures_flow (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        chunk timestamptz NOT NULL,
        slot smallint NOT NULL,
        raw bigint NOT NULL,
        normalised bigint NOT NULL,
        reserved bigint NOT NULL,
        ledger bigint NOT NULL,
        whole bigint NOT NULL,
        PRIMARY KEY (chunk, platform, shop, slot)
    )
    """,
    """
    CREATE TABLE daily_reports (
        day date NOT NULL,
        version integer NOT NULL CHECK (version > 0),
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        figures json NOT NULL,
        PRIMARY KEY (day, version)
    )
    """,
    "COMMENT ON TABLE daily_reports IS 'append-only: what was said of a day, and what later'",
    # Erasing what is personal takes the region as well; nobody else deletes there.
    """
    CREATE FUNCTION figures_touch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO figures_touched VALUES (OLD.order_key);
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER figures_touch AFTER DELETE ON order_details
    FOR EACH ROW EXECUTE FUNCTION figures_touch()
    """,
    """
    INSERT INTO figures_stale (platform, shop, chunk)
    SELECT DISTINCT platform, shop, date_trunc('hour', first_received_at, 'UTC') FROM orders
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP TRIGGER figures_touch ON order_details",
        "DROP FUNCTION figures_touch",
        "DROP TABLE daily_reports",
        "DROP TABLE figures_flow",
        "DROP TABLE figures_days",
        "DROP TABLE figures_parts",
        "DROP TABLE figures_stale",
        "DROP TABLE figures_touched",
        "DROP VIEW figured_orders",
        "DROP FUNCTION figured_until",
        "DROP FUNCTION figured_from",
        "DROP FUNCTION figured_hour",
        "DROP FUNCTION figured_day",
        "DROP TABLE shop_clocks",
        "DROP INDEX returns_at",
        "DROP INDEX orders_refunded",
        "DROP INDEX orders_placed",
        "ALTER TABLE orders DROP COLUMN refunded_at, DROP COLUMN stated_at",
        "ALTER TABLE orders DROP COLUMN observed_at, DROP COLUMN verdict_at",
    ):
        op.execute(statement)
