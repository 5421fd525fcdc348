"""
What people do about what went wrong: exceptions, pauses of intake, and who the people are.

* `parked.edited` is what a retry sends instead of the bytes that came, which stay as they are.
  `edits` counts, so that of two people who edit one message the second is told.
* `exception_changes` is append-only: who edited, retried or discarded which exception, and why.
* A pause is a row that is never deleted. A shop has one that is not over: `paused_at` to
  `resumed_at` its messages are set aside, from then to `drained_at` they are read, in order.
  `starts` is where each partition of `raw-held` ended when it began.
* Of an operator's key only the hash is here; a key is 256 random bits, so a plain hash is enough.
* A role of its own, the operations API's, does all this and nothing else; it makes no keys.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE parked ADD COLUMN edited bytea, ADD COLUMN edits integer NOT NULL DEFAULT 0",
    """
    CREATE TABLE exception_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        exception text COLLATE "C" NOT NULL,
        did text NOT NULL CHECK (did IN ('edited', 'retried', 'discarded')),
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        by text NOT NULL CHECK (by <> ''),
        why text NOT NULL CHECK (why <> ''),
        before bytea,
        after bytea,
        CHECK ((did = 'edited') = (before IS NOT NULL AND after IS NOT NULL))
    )
    """,
    "COMMENT ON TABLE exception_changes IS 'append-only: who did what about an exception, and why'",
    "CREATE INDEX exception_changes_of ON exception_changes (exception, id)",
    """
    CREATE TABLE intake_pauses (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        platform text COLLATE "C" NOT NULL CHECK (platform <> ''),
        shop text COLLATE "C" NOT NULL CHECK (shop <> ''),
        starts bigint[] NOT NULL,
        paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        paused_by text NOT NULL CHECK (paused_by <> ''),
        paused_why text NOT NULL CHECK (paused_why <> ''),
        resumed_at timestamptz,
        resumed_by text CHECK (resumed_by <> ''),
        resumed_why text CHECK (resumed_why <> ''),
        drained_at timestamptz,
        CHECK ((resumed_at IS NULL) = (resumed_by IS NULL)),
        CHECK ((resumed_at IS NULL) = (resumed_why IS NULL)),
        CHECK (drained_at IS NULL OR resumed_at IS NOT NULL)
    )
    """,
    """
    COMMENT ON TABLE intake_pauses IS
        'never deleted: whose messages were set aside, from when to when, by whom and why'
    """,
    """
    CREATE UNIQUE INDEX intake_pauses_open ON intake_pauses (platform, shop)
        WHERE drained_at IS NULL
    """,
    """
    CREATE TABLE operator_keys (
        id text COLLATE "C" PRIMARY KEY,
        name text NOT NULL CHECK (name <> ''),
        role text NOT NULL CHECK (role <> ''),
        hash bytea NOT NULL CHECK (length(hash) = 32),
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        made_by text NOT NULL CHECK (made_by <> ''),
        made_why text NOT NULL CHECK (made_why <> ''),
        revoked_at timestamptz,
        revoked_by text,
        revoked_why text,
        CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
        CHECK ((revoked_at IS NULL) = (revoked_why IS NULL))
    )
    """,
    "COMMENT ON TABLE operator_keys IS 'who may ask the operations API for what; never deleted'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP TABLE operator_keys",
        "DROP TABLE intake_pauses",
        "DROP TABLE exception_changes",
        "ALTER TABLE parked DROP COLUMN edited, DROP COLUMN edits",
    ):
        op.execute(statement)
