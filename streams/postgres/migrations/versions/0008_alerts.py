"""
Alerts: one row each from its beginning to its end, what has to be told of it, and who was told.

* `alerts` has at most one row of a rule and subject that is not over. A pending one that was calm
  again before it fired is deleted: nobody was told of it.
* `alert_notices` is written in the transaction that lets an alert fire or be over, before anything
  is sent; `alert_deliveries` has a row for each channel, and `sent_at` when that has taken it.
* `alert_channels` is how each channel stands: when the next message may go, whoever sends it.
* `alert_lease` is one row: of several replicas, who works. `term` grows with every change of hands.
* `shortfalls_at` finds how stock came and went lately, and `orders_cased` the orders with a case:
  few, and the column changes seldom, so updates stay on their page.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE alerts (
        id text COLLATE "C" PRIMARY KEY,
        rule text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        severity text NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'firing', 'acknowledged', 'resolved')),
        since timestamptz NOT NULL,
        value float8 NOT NULL,
        worst float8 NOT NULL,
        read_at timestamptz NOT NULL,
        calm_since timestamptz,
        fired_at timestamptz,
        resolved_at timestamptz,
        acknowledged_at timestamptz,
        acknowledged_by text CHECK (acknowledged_by <> ''),
        note text NOT NULL DEFAULT '',
        CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
        CHECK ((state = 'pending') = (fired_at IS NULL)),
        CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
        CHECK (state <> 'acknowledged' OR acknowledged_at IS NOT NULL)
    ) WITH (fillfactor = 70)
    """,
    "CREATE UNIQUE INDEX alerts_open ON alerts (rule, subject) WHERE state <> 'resolved'",
    "CREATE INDEX alerts_over ON alerts (resolved_at)",
    """
    CREATE TABLE alert_notices (
        id text COLLATE "C" PRIMARY KEY,
        said text NOT NULL,
        severity text NOT NULL,
        at timestamptz NOT NULL,
        title text NOT NULL,
        line text NOT NULL,
        body text NOT NULL
    )
    """,
    "CREATE INDEX alert_notices_at ON alert_notices (at)",
    """
    CREATE TABLE alert_deliveries (
        notice text COLLATE "C" NOT NULL REFERENCES alert_notices ON DELETE CASCADE,
        channel text COLLATE "C" NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        sent_at timestamptz,
        PRIMARY KEY (notice, channel)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX alert_deliveries_waiting ON alert_deliveries (channel) WHERE sent_at IS NULL",
    """
    CREATE TABLE alert_channels (
        channel text COLLATE "C" PRIMARY KEY,
        known_since timestamptz NOT NULL,
        next_at timestamptz NOT NULL,
        failures integer NOT NULL DEFAULT 0,
        failing_since timestamptz,
        failed_why text NOT NULL DEFAULT '',
        taken_at timestamptz,
        tested_at timestamptz
    ) WITH (fillfactor = 50)
    """,
    "COMMENT ON COLUMN alert_channels.tested_at IS 'when it last took a self-test'",
    """
    CREATE TABLE alert_lease (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        holder text NOT NULL,
        term bigint NOT NULL,
        until timestamptz NOT NULL
    ) WITH (fillfactor = 10)
    """,
    "CREATE INDEX shortfalls_at ON shortfalls (at)",
    "CREATE INDEX orders_cased ON orders (order_key) WHERE open_case IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP INDEX orders_cased",
        "DROP INDEX shortfalls_at",
        "DROP TABLE alert_lease",
        "DROP TABLE alert_channels",
        "DROP TABLE alert_deliveries",
        "DROP TABLE alert_notices",
        "DROP TABLE alerts",
    ):
        op.execute(statement)
