"""
The chain of the stock ledger, and what the reconciler found.

Every entry of `stock_ledger` carries the hash of itself and of the entry before it (agents/chain.py
says how), and `stock.chain` is the head. What stands in the ledger already is sealed here, as it
stands, in SQL: from now on it cannot change unseen either. That writes every old entry once, about
two minutes a million; stop the ledger for it (reservations go on meanwhile).

`drifts` is what the reconciler found and what a person did about it; rows are never deleted.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ZEROS = r"'\x" + "00" * 32 + "'::bytea"

#: The bytes of an entry: agents/chain.py in SQL. `to_json` escapes a text as our JSON does.
_BYTES = """
    CREATE FUNCTION stock_ledger_bytes(entry stock_ledger) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN convert_to(
        '[' || array_to_string(
            ARRAY[
                to_json(entry.sku)::text,
                entry.version::text,
                (extract(epoch FROM entry.at) * 1000)::bigint::text,
                to_json(entry.verb)::text,
                entry.quantity::text,
                to_json(entry.source)::text,
                to_json(entry.target)::text,
                entry.available::text,
                entry.locked::text,
                entry.occupied::text,
                entry.reserved::text,
                entry.frozen::text,
                to_json(entry.order_key)::text,
                (extract(epoch FROM entry.deadline_at) * 1000)::bigint::text,
                to_json(entry.command_id)::text,
                to_json(entry.operator)::text,
                to_json(entry.reason)::text,
                to_json(entry.cause)::text,
                entry.shortfall::text,
                entry.held::text,
                to_json(entry.quota)::text
            ],
            ',', 'null'
        ) || ']',
        'UTF8'
    )
"""
_SEAL_WHAT_IS_THERE = f"""
    DO $seal$
    DECLARE
        entry stock_ledger;
        before bytea;
        known text;
    BEGIN
        FOR entry IN SELECT * FROM stock_ledger ORDER BY sku, version, at LOOP
            IF known IS DISTINCT FROM entry.sku THEN
                before := {_ZEROS};
                known := entry.sku;
            END IF;
            before := sha256(before || stock_ledger_bytes(entry));
            UPDATE stock_ledger SET chain = before
            WHERE sku = entry.sku AND version = entry.version AND at = entry.at;
            UPDATE stock SET chain = before
            WHERE sku = entry.sku AND version = entry.version;
        END LOOP;
    END
    $seal$
"""  # noqa: S608  our own constants

STATEMENTS = (
    "ALTER TABLE stock_ledger ADD COLUMN chain bytea CHECK (length(chain) = 32)",
    f"ALTER TABLE stock ADD COLUMN chain bytea NOT NULL DEFAULT {_ZEROS}",
    _BYTES,
    _SEAL_WHAT_IS_THERE,
    "ALTER TABLE stock_ledger ALTER COLUMN chain SET NOT NULL",
    "COMMENT ON COLUMN stock_ledger.chain IS 'sha256(the one before || stock_ledger_bytes(entry))'",
    "COMMENT ON COLUMN stock.chain IS 'chain of the SKU''s latest entry'",
    """
    CREATE TABLE drifts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        mark text COLLATE "C" NOT NULL,
        kind text NOT NULL,
        sku text COLLATE "C" NOT NULL,
        order_key text COLLATE "C" NOT NULL,
        what text NOT NULL,
        amount bigint NOT NULL,
        version bigint,
        expected text NOT NULL,
        found text NOT NULL,
        remedy text NOT NULL,
        proposal text NOT NULL,
        delta bigint NOT NULL,
        status text NOT NULL CHECK (status IN ('open', 'confirmed', 'gone')),
        first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz,
        operator text,
        reason text,
        command_id text COLLATE "C",
        CHECK ((status = 'open') = (ended_at IS NULL)),
        CHECK (status <> 'confirmed' OR (operator IS NOT NULL AND reason IS NOT NULL))
    )
    """,
    # One open row a difference, however often it is met.
    "CREATE UNIQUE INDEX drifts_open ON drifts (mark) WHERE status = 'open'",
    "CREATE INDEX drifts_of_sku ON drifts (sku)",
    "COMMENT ON TABLE drifts IS 'what two stores disagreed about, and what a person did'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP TABLE drifts",
        "DROP FUNCTION stock_ledger_bytes",
        "ALTER TABLE stock DROP COLUMN chain",
        "ALTER TABLE stock_ledger DROP COLUMN chain",
    ):
        op.execute(statement)
