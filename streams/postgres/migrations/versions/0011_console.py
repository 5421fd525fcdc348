"""
The console: its users, their sessions and what they did; and what orders are searched by.

* Of a session's token only the hash is here; a password is an Argon2id hash.
* `console_audit` is never deleted from. A row is written before a thing is done; the one thing that
  is added to it is what came of it, so that a row without an outcome is one that a crash cut off.
* `console_attempts` counts log-ins, of names and addresses by their hash: people type passwords
  where the name belongs. It is swept.
* `order_details.found_by` has the last four digits of phones and the numbers of parcels. It goes
  when the row goes, which is how personal data are erased. Rows from before are filled here.
* All indexes but that of `found_by` are on columns that never change, so that an update of an order
  stays on its page (0001). There is none on the status for that reason: a search by status walks
  back in time, so far at once and no further (decision 0018).
"""

import sqlalchemy as sa
from alembic import op
from msgspec import msgpack

from agents.ledger import found_by
from schemas.orders import OrderDetails

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE console_users (
        name text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
        role text NOT NULL CHECK (role <> ''),
        password text NOT NULL CHECK (password <> ''),
        must_change boolean NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        made_by text NOT NULL CHECK (made_by <> ''),
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        changed_by text NOT NULL CHECK (changed_by <> ''),
        disabled_at timestamptz
    )
    """,
    "COMMENT ON TABLE console_users IS 'who may log in to the console; never deleted'",
    """
    CREATE TABLE console_sessions (
        id bytea PRIMARY KEY CHECK (length(id) = 32),
        name text COLLATE "C" NOT NULL REFERENCES console_users,
        csrf text NOT NULL CHECK (length(csrf) >= 32),
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX console_sessions_of ON console_sessions (name)",
    """
    CREATE TABLE console_audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        by text NOT NULL CHECK (by <> ''),
        role text,
        address text,
        did text NOT NULL CHECK (did <> ''),
        about text NOT NULL DEFAULT '',
        why text NOT NULL DEFAULT '',
        command text,
        outcome text,
        said text
    )
    """,
    "COMMENT ON TABLE console_audit IS 'append-only: who did what in the console, and why'",
    "CREATE INDEX console_audit_of ON console_audit (by, id)",
    """
    CREATE TABLE console_attempts (
        name bytea NOT NULL CHECK (length(name) = 32),
        address bytea NOT NULL CHECK (length(address) = 32),
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX console_attempts_of_name ON console_attempts (name, at)",
    "CREATE INDEX console_attempts_of_address ON console_attempts (address, at)",
    "CREATE INDEX orders_by_time ON orders (first_received_at, order_key)",
    "CREATE INDEX order_lines_sku ON order_lines (sku) WHERE sku IS NOT NULL",
    "ALTER TABLE order_details ADD COLUMN found_by text[]",
    """
    CREATE INDEX order_details_found_by ON order_details USING gin (found_by)
        WHERE found_by IS NOT NULL
    """,
)
_PAGE = sa.text(
    'SELECT order_key, body FROM order_details WHERE order_key > :after COLLATE "C"'
    " ORDER BY order_key LIMIT 2000"
)
_FILL = sa.text(
    "UPDATE order_details SET found_by = string_to_array(:words, ' ') WHERE order_key = :key"
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    if not op.get_context().as_sql:  # a script builds an empty database
        _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    decode = msgpack.Decoder(OrderDetails).decode
    after = ""
    while rows := connection.execute(_PAGE, {"after": after}).fetchall():
        words = [{"key": key, "words": found_by(decode(body))} for key, body in rows]
        if found := [each for each in words if each["words"] is not None]:
            connection.execute(_FILL, found)
        after = rows[-1][0]


def downgrade() -> None:
    for statement in (
        "DROP INDEX order_details_found_by",
        "ALTER TABLE order_details DROP COLUMN found_by",
        "DROP INDEX order_lines_sku",
        "DROP INDEX orders_by_time",
        "DROP TABLE console_attempts",
        "DROP TABLE console_audit",
        "DROP TABLE console_sessions",
        "DROP TABLE console_users",
    ):
        op.execute(statement)
