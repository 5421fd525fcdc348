"""
All movements of stock: shortfalls, quotas, holds that grow and leave in parts, returns.

A generated column cannot be changed in place before PostgreSQL 17, so `on_hand` is made anew, which
writes both tables again: stop the ledger for it (reservations go on meanwhile). Old rows of the
trail have no shortfall, and 0 is the truth about them.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SUM = "available + locked + occupied + reserved + frozen"
_TABLES = ("stock", "stock_ledger")


def _on_hand(table: str, formula: str) -> str:
    return (
        f"ALTER TABLE {table} ADD COLUMN on_hand bigint NOT NULL"
        f" GENERATED ALWAYS AS ({formula}) STORED"
    )


def _shortfall(table: str) -> str:
    return (
        f"ALTER TABLE {table} ADD COLUMN shortfall bigint NOT NULL DEFAULT 0 CHECK (shortfall >= 0)"
    )


STATEMENTS = (
    *(_shortfall(table) for table in _TABLES),
    *(f"ALTER TABLE {table} DROP COLUMN on_hand" for table in _TABLES),
    *(_on_hand(table, f"{_SUM} - shortfall") for table in _TABLES),
    "ALTER TABLE stock ADD CONSTRAINT nothing_to_sell CHECK (available = 0 OR shortfall = 0)",
    "COMMENT ON COLUMN stock.shortfall IS 'held and not there; a case is open while it is not 0'",
    "CREATE INDEX stock_short ON stock (sku) WHERE shortfall > 0",
    "ALTER TABLE stock_ledger ADD COLUMN held bigint CHECK (held > 0)",
    "ALTER TABLE stock_ledger ADD COLUMN quota text",
    """
    CREATE TABLE quotas (
        sku text COLLATE "C" NOT NULL,
        quota text NOT NULL,
        version bigint NOT NULL,
        changed_at timestamptz NOT NULL,
        starts_at timestamptz NOT NULL,
        ends_at timestamptz NOT NULL CHECK (ends_at > starts_at),
        allotted bigint NOT NULL CHECK (allotted >= 0),
        remains bigint NOT NULL CHECK (remains >= 0),
        ended_at timestamptz,
        PRIMARY KEY (sku, quota)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE shortfalls (
        sku text COLLATE "C" NOT NULL,
        version bigint NOT NULL,
        at timestamptz NOT NULL,
        before bigint NOT NULL CHECK (before >= 0),
        shortfall bigint NOT NULL CHECK (shortfall >= 0),
        held bigint NOT NULL CHECK (held >= 0),
        cause text NOT NULL,
        PRIMARY KEY (sku, version)
    )
    """,
    """
    CREATE TABLE returns (
        order_key text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        at timestamptz NOT NULL,
        sku text COLLATE "C" NOT NULL,
        quantity bigint NOT NULL CHECK (quantity > 0),
        disposition text NOT NULL,
        command_id text COLLATE "C" NOT NULL,
        operator text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (order_key, version)
    )
    """,
    "COMMENT ON TABLE returns IS 'append-only: what came back, and what is lost'",
    "COMMENT ON TABLE shortfalls IS 'append-only: how each shortfall came and went'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP TABLE returns",
        "DROP TABLE shortfalls",
        "DROP TABLE quotas",
        "ALTER TABLE stock_ledger DROP COLUMN held",
        "ALTER TABLE stock_ledger DROP COLUMN quota",
        "ALTER TABLE stock DROP CONSTRAINT nothing_to_sell",
        *(f"ALTER TABLE {table} DROP COLUMN on_hand" for table in _TABLES),
        *(f"ALTER TABLE {table} DROP COLUMN shortfall" for table in _TABLES),
        *(_on_hand(table, _SUM) for table in _TABLES),
    ):
        op.execute(statement)
