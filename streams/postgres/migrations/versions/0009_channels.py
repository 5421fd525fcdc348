"""
Channels: an order that was not fetched is an exception, and silence has a beginning and an end.

* `poll_fetches` holds what is still to be asked for and nothing else: what a platform does not give
  is in `parked`, with the stage `fetch`. What had failed by now is asked for once more, and gets
  there by itself.
* `channel_silences` has a row for each silence. At most one of a channel is open, whoever writes.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "DROP INDEX poll_fetches_open",
    "UPDATE poll_fetches SET wanted_at = clock_timestamp() WHERE failed_at IS NOT NULL",
    "ALTER TABLE poll_fetches DROP COLUMN failed_at, DROP COLUMN reason",
    "CREATE INDEX poll_fetches_oldest ON poll_fetches (platform, shop, wanted_at)",
    """
    CREATE TABLE channel_silences (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        last_order_at timestamptz NOT NULL,
        expected float8 NOT NULL,
        began_at timestamptz NOT NULL,
        ended_at timestamptz CHECK (ended_at >= began_at),
        by_order boolean,
        told_began_at timestamptz,
        told_ended_at timestamptz,
        CHECK ((ended_at IS NULL) = (by_order IS NULL)),
        CHECK (told_ended_at IS NULL OR (ended_at IS NOT NULL AND told_began_at IS NOT NULL))
    )
    """,
    """
    COMMENT ON TABLE channel_silences IS
        'a channel said nothing, against its usual rate; both ends are told on channel-events'
    """,
    """
    COMMENT ON COLUMN channel_silences.expected IS
        'orders that were to be expected since the last one, when the silence was noticed'
    """,
    """
    CREATE UNIQUE INDEX channel_silences_open ON channel_silences (platform, shop)
        WHERE ended_at IS NULL
    """,
    """
    CREATE INDEX channel_silences_untold ON channel_silences (id)
        WHERE told_began_at IS NULL OR (ended_at IS NOT NULL AND told_ended_at IS NULL)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP TABLE channel_silences",
        "DROP INDEX poll_fetches_oldest",
        """
        ALTER TABLE poll_fetches ADD COLUMN failed_at timestamptz, ADD COLUMN reason text,
            ADD CHECK ((failed_at IS NULL) = (reason IS NULL))
        """,
        """
        CREATE INDEX poll_fetches_open ON poll_fetches (platform, shop, wanted_at)
            WHERE failed_at IS NULL
        """,
    ):
        op.execute(statement)
