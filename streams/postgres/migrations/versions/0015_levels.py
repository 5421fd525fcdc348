"""
Levels in the queue of deliveries: what a platform is told may be sold of a listing.

A row that is `newest_only` is worth sending only while no later one of its lane is there: it goes
away when one comes, and is not tried again beside one. `message` begins with the balance's version
in digits, so that the greatest of a lane is the newest; the index finds it.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE deliveries ADD COLUMN newest_only boolean NOT NULL DEFAULT false",
    """
    CREATE INDEX deliveries_newest ON deliveries (kind, destination, lane, message)
        WHERE newest_only
    """,
    """
    CREATE INDEX deliveries_levels_ended ON deliveries (ended_at)
        WHERE newest_only AND ended_at IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX deliveries_levels_ended")
    op.execute("DROP INDEX deliveries_newest")
    op.execute("ALTER TABLE deliveries DROP COLUMN newest_only")
