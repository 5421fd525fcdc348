r"""
The ledger: orders and their story, stock and its trail, what was parked, where sinks stand.

Shapes that need a reason:

* `order_events.body` is bytea: the JSON exactly as it was published. jsonb costs a parse and a
  re-write for every event, refuses \u0000, and is not what was said; a reader who wants to look
  inside writes `convert_from(body, 'UTF8')::jsonb`. `order_details.body` is the MessagePack of the
  letter for the same reason; deleting its row erases what is personal and leaves the trail whole.
* The two trails are partitioned by month (UTC). Their keys contain the month's column, as
  PostgreSQL demands, so they are a tripwire against writing an event twice; what makes it exactly
  once are positions and letter numbers.
* `orders.facets` is which parts the last write set; the upsert needs to see it (queries.sql).
* Keys are compared byte by byte (COLLATE "C"): they are ids, and a locale's rules cost a third of
  an index entry.
* `holds.moves` lists the versions of a hold's moves as text, because an array costs the writer ten
  times as much; it spares the trail an index by order, which would cost more than the rest of it.
* Indexes hold columns that never change, so that updates stay on their page (HOT); the one
  exception is the index of open holds, which a hold leaves when it ends.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: One statement each: a prepared statement holds one command.
STATEMENTS = (
    """
    CREATE TABLE orders (
        order_key text COLLATE "C" PRIMARY KEY,
        version integer NOT NULL,
        facets smallint NOT NULL,
        changed_at timestamptz NOT NULL,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        order_id text COLLATE "C" NOT NULL,
        platform_status text,
        status_said text,
        currency text,
        total_minor bigint,
        shipping_minor bigint,
        discount_minor bigint,
        tax_minor bigint,
        paid_minor bigint,
        created_at timestamptz,
        paid_at timestamptz,
        shipped_at timestamptz,
        completed_at timestamptz,
        updated_at timestamptz,
        adapter text,
        digest text,
        unmapped text[],
        received_at timestamptz NOT NULL,
        status text,
        refund text,
        refunded_minor bigint,
        reservation text NOT NULL,
        attempt integer,
        deadline_at timestamptz,
        short json,
        open_case text,
        ignored integer NOT NULL,
        ignored_why text,
        first_received_at timestamptz NOT NULL,
        first_written_at timestamptz NOT NULL,
        verdict_written_at timestamptz,
        written_at timestamptz NOT NULL
    ) WITH (fillfactor = 60)
    """,
    "COMMENT ON COLUMN orders.platform_status IS 'what the platform says, in our words'",
    "COMMENT ON COLUMN orders.status IS 'what was told downstream; NULL before the verdict'",
    "CREATE INDEX orders_order_id ON orders (order_id)",
    "CREATE INDEX orders_of_shop ON orders (platform, shop, first_received_at)",
    "CREATE INDEX orders_received ON orders USING brin (first_received_at) WITH (autosummarize)",
    """
    CREATE TABLE order_lines (
        order_key text COLLATE "C" NOT NULL,
        line_no smallint NOT NULL,
        version integer NOT NULL,
        line_id text NOT NULL,
        sku text COLLATE "C",
        platform_sku text,
        merchant_sku text,
        title text,
        quantity bigint NOT NULL CHECK (quantity > 0),
        unit_price_minor bigint,
        line_total_minor bigint,
        refund text,
        PRIMARY KEY (order_key, line_no)
    )
    """,
    """
    CREATE TABLE order_details (
        order_key text COLLATE "C" PRIMARY KEY,
        version integer NOT NULL,
        country text,
        province text,
        city text,
        body bytea NOT NULL
    ) WITH (fillfactor = 80)
    """,
    "COMMENT ON TABLE order_details IS 'personal data; delete the row to erase it'",
    """
    CREATE TABLE order_events (
        order_key text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        at timestamptz NOT NULL,
        event text NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (order_key, version, at)
    ) PARTITION BY RANGE (at)
    """,
    "CREATE TABLE order_events_default PARTITION OF order_events DEFAULT",
    """
    CREATE TABLE stock_ledger (
        sku text COLLATE "C" NOT NULL,
        version bigint NOT NULL,
        at timestamptz NOT NULL,
        verb text NOT NULL,
        quantity bigint NOT NULL CHECK (quantity > 0),
        source text,
        target text,
        available bigint NOT NULL CHECK (available >= 0),
        locked bigint NOT NULL CHECK (locked >= 0),
        occupied bigint NOT NULL CHECK (occupied >= 0),
        reserved bigint NOT NULL CHECK (reserved >= 0),
        frozen bigint NOT NULL CHECK (frozen >= 0),
        on_hand bigint NOT NULL
            GENERATED ALWAYS AS (available + locked + occupied + reserved + frozen) STORED,
        order_key text COLLATE "C",
        deadline_at timestamptz,
        command_id text COLLATE "C",
        operator text,
        reason text,
        cause text NOT NULL,
        CHECK (source IS DISTINCT FROM target),
        PRIMARY KEY (sku, version, at)
    ) PARTITION BY RANGE (at)
    """,
    "CREATE TABLE stock_ledger_default PARTITION OF stock_ledger DEFAULT",
    """
    CREATE TABLE stock (
        sku text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        changed_at timestamptz NOT NULL,
        available bigint NOT NULL CHECK (available >= 0),
        locked bigint NOT NULL CHECK (locked >= 0),
        occupied bigint NOT NULL CHECK (occupied >= 0),
        reserved bigint NOT NULL CHECK (reserved >= 0),
        frozen bigint NOT NULL CHECK (frozen >= 0),
        on_hand bigint NOT NULL
            GENERATED ALWAYS AS (available + locked + occupied + reserved + frozen) STORED
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE holds (
        order_key text COLLATE "C" NOT NULL,
        sku text COLLATE "C" NOT NULL,
        version bigint NOT NULL,
        bucket text NOT NULL,
        quantity bigint NOT NULL CHECK (quantity > 0),
        deadline_at timestamptz,
        held_at timestamptz,
        changed_at timestamptz NOT NULL,
        ended_at timestamptz,
        verb text NOT NULL,
        moves text NOT NULL,
        PRIMARY KEY (order_key, sku)
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX holds_open ON holds (sku) WHERE ended_at IS NULL",
    """
    CREATE TABLE releases_ignored (
        sku text COLLATE "C" NOT NULL,
        order_key text COLLATE "C" NOT NULL,
        verb text NOT NULL,
        refusal text NOT NULL,
        at timestamptz NOT NULL,
        cause text NOT NULL
    )
    """,
    "COMMENT ON TABLE releases_ignored IS 'letters that met no live hold; nothing moved'",
    "CREATE INDEX releases_ignored_order ON releases_ignored (order_key)",
    """
    CREATE TABLE command_answers (
        command_id text COLLATE "C" PRIMARY KEY,
        sku text COLLATE "C" NOT NULL,
        refusal text,
        available bigint NOT NULL,
        at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE parked (
        id text COLLATE "C" PRIMARY KEY,
        stage text NOT NULL,
        cause text NOT NULL,
        field text NOT NULL,
        reason text NOT NULL,
        topic text COLLATE "C" NOT NULL,
        partition integer NOT NULL,
        record_offset bigint NOT NULL,
        key bytea,
        value bytea NOT NULL,
        platform text COLLATE "C",
        shop text COLLATE "C",
        attempts integer NOT NULL,
        first_seen_at timestamptz NOT NULL,
        last_seen_at timestamptz NOT NULL,
        settled_at timestamptz,
        settled_as text
    )
    """,
    "CREATE INDEX parked_open ON parked (last_seen_at) WHERE settled_at IS NULL",
    """
    CREATE TABLE sink_positions (
        topic text COLLATE "C" NOT NULL,
        partition integer NOT NULL,
        next bigint NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (topic, partition)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE sink_sources (
        topic text COLLATE "C" NOT NULL,
        partition integer NOT NULL,
        source text COLLATE "C" NOT NULL,
        epoch bigint NOT NULL,
        number bigint NOT NULL,
        PRIMARY KEY (topic, partition, source)
    ) WITH (fillfactor = 50)
    """,
)

TABLES = (
    "sink_sources",
    "sink_positions",
    "parked",
    "command_answers",
    "releases_ignored",
    "holds",
    "stock",
    "stock_ledger",
    "order_events",
    "order_details",
    "order_lines",
    "orders",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
