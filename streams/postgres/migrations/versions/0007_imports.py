"""
Emergency imports: one row a job, one an order of it, one a row of the file that was refused.

* A job's orders are written in one transaction before the first is sent, so a process that dies
  leaves either nothing or all that another one needs; `sent` only ever lags behind the broker.
* `began` is where each partition of the raw topic ended before: what the ledger says about an order
  with a cause from there on, and with the same digest, is the answer to this job.
* No cell of the file is kept here. Keys of orders and reasons are; what is personal stays in the
  file and in `order_details`.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE imports (
        id text COLLATE "C" PRIMARY KEY,
        state text NOT NULL DEFAULT 'received' CHECK (
            state IN ('received', 'forecast', 'sending', 'settling', 'done', 'refused')
        ),
        file_name text NOT NULL,
        path text NOT NULL,
        file_digest text COLLATE "C" NOT NULL,
        file_bytes bigint NOT NULL,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL CHECK (shop <> ''),
        existing text NOT NULL CHECK (existing IN ('skip', 'update', 'force')),
        options json NOT NULL,
        operator text NOT NULL CHECK (operator <> ''),
        reason text NOT NULL CHECK (reason <> ''),
        dry_run boolean NOT NULL,
        forced_at timestamptz,
        began json,
        row_count integer,
        order_count integer,
        sent integer NOT NULL DEFAULT 0,
        forecast json,
        verdicts json,
        failure text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz
    )
    """,
    "COMMENT ON COLUMN imports.sent IS 'the broker has at least so many of the orders'",
    "COMMENT ON COLUMN imports.moved_at IS 'the last step; a job that stands still is resumed'",
    "CREATE INDEX imports_of_file ON imports (file_digest)",
    """
    CREATE TABLE import_orders (
        import text COLLATE "C" NOT NULL REFERENCES imports,
        number integer NOT NULL,
        order_key text COLLATE "C" NOT NULL,
        digest text COLLATE "C" NOT NULL,
        lines integer[] NOT NULL,
        forecast text NOT NULL,
        verdict text,
        field text,
        reason text,
        PRIMARY KEY (import, number)
    ) WITH (fillfactor = 70)
    """,
    "COMMENT ON COLUMN import_orders.verdict IS 'what the order keeper decided; NULL: not heard'",
    """
    CREATE TABLE import_refusals (
        import text COLLATE "C" NOT NULL REFERENCES imports,
        line integer NOT NULL,
        order_id text COLLATE "C" NOT NULL,
        field text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (import, line)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE import_refusals")
    op.execute("DROP TABLE import_orders")
    op.execute("DROP TABLE imports")
