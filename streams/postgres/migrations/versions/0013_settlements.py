"""
Finance reconciliation: platforms' settlement files, what is in them, and what differs from us.

* `settlement_lines` has each movement once, whichever file brought it first; that a later file has
  it too is in `settlement_repeats`, so that the first is not withdrawn under the later one.
* `settlement_orders` is what the lines of an order add up to, and how that stands to ours; it can
  be made anew from lines and orders at any time (`orderflow settlement match`).
* `settlement_resolutions` is append-only. A resolution is of the facts as they were: when one side
  changes, the difference is open again.
* A withdrawn file keeps its row, with who and why; its lines go.
* No name, account or remark of the file is kept: ids, words, amounts and times are.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE settlement_files (
        id text COLLATE "C" PRIMARY KEY,
        digest text COLLATE "C" NOT NULL,
        file_name text NOT NULL,
        file_bytes bigint NOT NULL,
        template text NOT NULL,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL CHECK (shop <> ''),
        operator text NOT NULL CHECK (operator <> ''),
        taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        period_from timestamptz,
        period_until timestamptz,
        row_count integer NOT NULL,
        line_count integer NOT NULL,
        repeat_count integer NOT NULL,
        name_count integer NOT NULL,
        order_count integer NOT NULL,
        adds_up boolean,
        sums json NOT NULL,
        withdrawn_at timestamptz,
        withdrawn_by text,
        withdrawn_why text
    )
    """,
    "COMMENT ON COLUMN settlement_files.adds_up IS 'to what the file says; NULL: it says nothing'",
    """
    CREATE UNIQUE INDEX settlement_files_once ON settlement_files (platform, shop, digest)
        WHERE withdrawn_at IS NULL
    """,
    """
    CREATE TABLE settlement_lines (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        movement text COLLATE "C" NOT NULL,
        part text COLLATE "C" NOT NULL,
        file text COLLATE "C" NOT NULL REFERENCES settlement_files,
        line integer NOT NULL,
        order_said text COLLATE "C",
        order_key text COLLATE "C",
        kind text NOT NULL,
        word text NOT NULL,
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (platform, shop, movement, part)
    )
    """,
    "CREATE INDEX settlement_lines_of_file ON settlement_lines (file, line, part)",
    "COMMENT ON COLUMN settlement_lines.part IS 'the column it is from; empty: beside them all'",
    """
    CREATE INDEX settlement_lines_of_order ON settlement_lines (order_key)
        WHERE order_key IS NOT NULL
    """,
    """
    CREATE TABLE settlement_repeats (
        file text COLLATE "C" NOT NULL REFERENCES settlement_files,
        line integer NOT NULL,
        part text COLLATE "C" NOT NULL,
        first_file text COLLATE "C" NOT NULL REFERENCES settlement_files,
        first_line integer NOT NULL,
        PRIMARY KEY (file, line, part)
    )
    """,
    "CREATE INDEX settlement_repeats_of_first ON settlement_repeats (first_file)",
    """
    CREATE TABLE settlement_names (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        order_key text COLLATE "C" NOT NULL,
        PRIMARY KEY (platform, shop, name)
    )
    """,
    "COMMENT ON TABLE settlement_names IS 'which order a name such as #1001 is'",
    """
    CREATE TABLE settlement_orders (
        order_key text COLLATE "C" PRIMARY KEY,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        line_count integer NOT NULL DEFAULT 0,
        currencies text[] NOT NULL DEFAULT '{}',
        paid_minor bigint NOT NULL DEFAULT 0,
        refunded_minor bigint NOT NULL DEFAULT 0,
        fees_minor bigint NOT NULL DEFAULT 0,
        other_minor bigint NOT NULL DEFAULT 0,
        settled_at timestamptz,
        our_currency text,
        our_paid_minor bigint,
        our_refunded_minor bigint,
        verdict text,
        facts text,
        is_open boolean NOT NULL DEFAULT false,
        at timestamptz,
        judged_at timestamptz
    ) WITH (fillfactor = 80)
    """,
    "COMMENT ON COLUMN settlement_orders.is_open IS 'it differs, and nobody resolved these facts'",
    "COMMENT ON COLUMN settlement_orders.at IS 'of the last line, else when ours was paid'",
    """
    CREATE INDEX settlement_orders_open ON settlement_orders (at DESC, order_key DESC)
        WHERE is_open
    """,
    """
    CREATE INDEX settlement_orders_open_as ON settlement_orders
        (verdict, at DESC, order_key DESC) INCLUDE (platform, shop)
        WHERE is_open
    """,
    """
    CREATE INDEX settlement_orders_differ ON settlement_orders (at DESC, order_key DESC)
        WHERE verdict NOT IN ('agrees', 'awaited')
    """,
    "CREATE INDEX settlement_orders_of_shop ON settlement_orders (platform, shop, order_key)",
    """
    CREATE INDEX settlement_orders_to_judge ON settlement_orders (platform, shop, order_key)
        WHERE judged_at IS NULL OR is_open OR verdict = 'awaited'
    """,
    """
    CREATE TABLE settlement_resolutions (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        order_key text COLLATE "C" NOT NULL,
        verdict text NOT NULL,
        facts text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        by text NOT NULL CHECK (by <> ''),
        why text NOT NULL CHECK (why <> '')
    )
    """,
    "CREATE INDEX settlement_resolutions_of ON settlement_resolutions (order_key, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "settlement_resolutions", "settlement_orders", "settlement_names", "settlement_repeats",
        "settlement_lines", "settlement_files",
    ):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
