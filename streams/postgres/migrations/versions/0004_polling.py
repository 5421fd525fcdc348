"""
What the poller remembers: how far each shop was read, and which orders still have to be asked for.

A role of its own writes both and can do nothing else.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE poll_cursors (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        through timestamptz NOT NULL,
        moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (platform, shop)
    ) WITH (fillfactor = 70)
    """,
    """
    COMMENT ON COLUMN poll_cursors.through IS
        'all that was modified up to then is on the raw topic; it never moves back'
    """,
    """
    CREATE TABLE poll_fetches (
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        order_id text COLLATE "C" NOT NULL,
        wanted bigint NOT NULL DEFAULT 1 CHECK (wanted > 0),
        first_wanted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        wanted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        failed_at timestamptz,
        reason text,
        CHECK ((failed_at IS NULL) = (reason IS NULL)),
        PRIMARY KEY (platform, shop, order_id)
    ) WITH (fillfactor = 70)
    """,
    """
    COMMENT ON TABLE poll_fetches IS
        'orders that a thin message named and that are not on the raw topic whole'
    """,
    """
    COMMENT ON COLUMN poll_fetches.wanted IS
        'how often it was named: what was named again while it was fetched is fetched again'
    """,
    """
    CREATE INDEX poll_fetches_open ON poll_fetches (platform, shop, wanted_at)
        WHERE failed_at IS NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE poll_fetches")
    op.execute("DROP TABLE poll_cursors")
