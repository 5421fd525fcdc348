r"""
Reference data that people change: which SKU of ours a shop's SKU is, and since when.

* A mapping holds from `valid_from` to before `valid_to`. Rows are never deleted: one that should
  never have been ends where it begins.
* No two mappings of one SKU of theirs hold at once. The trigger says so, whoever writes; writers
  take the table's lock first (see `streams/mapping/table.py`), so that it cannot be raced.
* `sku_mapping_changes` is written by the trigger alone, with the owner's rights: nobody who may
  map can write history.
* Exchange rates are of a day and tax rates since a day. Rows are only added: the last one said of a
  day counts, and what was believed before stays to be seen.
* `parked` learns who settled an exception, and why.
* `orders_waiting` finds the orders with lines that nobody has mapped, and holds only those.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE sku_mappings (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        platform text COLLATE "C" NOT NULL CHECK (platform <> ''),
        shop text COLLATE "C" NOT NULL CHECK (shop <> ''),
        theirs text COLLATE "C" NOT NULL CHECK (theirs <> ''),
        ours text COLLATE "C" NOT NULL CHECK (ours <> ''),
        valid_from timestamptz NOT NULL DEFAULT '-infinity',
        valid_to timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to >= valid_from),
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        changed_by text NOT NULL CHECK (changed_by <> ''),
        changed_why text NOT NULL CHECK (changed_why <> '')
    )
    """,
    "COMMENT ON TABLE sku_mappings IS 'theirs is ours from valid_from to before valid_to'",
    "CREATE INDEX sku_mappings_theirs ON sku_mappings (platform, shop, theirs, valid_from)",
    """
    CREATE TABLE sku_mapping_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        mapping bigint NOT NULL,
        platform text COLLATE "C" NOT NULL,
        shop text COLLATE "C" NOT NULL,
        theirs text COLLATE "C" NOT NULL,
        ours text COLLATE "C" NOT NULL,
        was_from timestamptz,
        was_to timestamptz,
        valid_from timestamptz NOT NULL,
        valid_to timestamptz NOT NULL,
        at timestamptz NOT NULL,
        by text NOT NULL,
        why text NOT NULL
    )
    """,
    "COMMENT ON TABLE sku_mapping_changes IS 'append-only: who changed which mapping, and why'",
    "CREATE INDEX sku_mapping_changes_theirs ON sku_mapping_changes (platform, shop, theirs, id)",
    """
    CREATE FUNCTION sku_mapping_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND (NEW.platform, NEW.shop, NEW.theirs, NEW.ours)
            IS DISTINCT FROM (OLD.platform, OLD.shop, OLD.theirs, OLD.ours) THEN
            RAISE EXCEPTION 'a mapping ends and another begins; it is not rewritten'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF EXISTS (
            SELECT FROM sku_mappings AS other
            WHERE (other.platform, other.shop, other.theirs) = (NEW.platform, NEW.shop, NEW.theirs)
                AND other.id <> NEW.id
                AND NEW.valid_from < NEW.valid_to AND other.valid_from < other.valid_to
                AND other.valid_from < NEW.valid_to AND NEW.valid_from < other.valid_to
        ) THEN
            RAISE EXCEPTION 'two mappings of one SKU hold at once'
                USING ERRCODE = 'exclusion_violation';
        END IF;
        INSERT INTO sku_mapping_changes (
            mapping, platform, shop, theirs, ours, was_from, was_to, valid_from, valid_to, at, by,
            why
        ) VALUES (
            NEW.id, NEW.platform, NEW.shop, NEW.theirs, NEW.ours,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.valid_from END,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.valid_to END,
            NEW.valid_from, NEW.valid_to, NEW.changed_at, NEW.changed_by, NEW.changed_why
        );
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER sku_mapping_changed AFTER INSERT OR UPDATE ON sku_mappings
    FOR EACH ROW EXECUTE FUNCTION sku_mapping_changed()
    """,
    """
    CREATE TABLE exchange_rates (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        base text COLLATE "C" NOT NULL CHECK (base ~ '^[A-Z]{3}$'),
        quote text COLLATE "C" NOT NULL CHECK (quote ~ '^[A-Z]{3}$' AND quote <> base),
        day date NOT NULL,
        rate numeric(24, 12) NOT NULL CHECK (rate > 0),
        said_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        said_by text NOT NULL CHECK (said_by <> ''),
        said_why text NOT NULL CHECK (said_why <> '')
    )
    """,
    "COMMENT ON TABLE exchange_rates IS 'one unit of base is so many of quote; append-only'",
    "CREATE INDEX exchange_rates_of_day ON exchange_rates (base, quote, day, id)",
    """
    CREATE TABLE tax_rates (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        country text COLLATE "C" NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
        region text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL CHECK (kind <> ''),
        since date NOT NULL,
        rate numeric(9, 8) NOT NULL CHECK (rate >= 0 AND rate < 1),
        said_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        said_by text NOT NULL CHECK (said_by <> ''),
        said_why text NOT NULL CHECK (said_why <> '')
    )
    """,
    "COMMENT ON TABLE tax_rates IS 'of a country, or of a region where it differs; append-only'",
    "CREATE INDEX tax_rates_since ON tax_rates (country, region, kind, since, id)",
    "ALTER TABLE parked ADD COLUMN settled_by text, ADD COLUMN settled_why text",
    "CREATE INDEX orders_waiting ON orders (order_key) WHERE cardinality(unmapped) > 0",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP INDEX orders_waiting",
        "DROP TABLE tax_rates",
        "DROP TABLE exchange_rates",
        "ALTER TABLE parked DROP COLUMN settled_by, DROP COLUMN settled_why",
        "DROP TABLE sku_mapping_changes",
        "DROP TABLE sku_mappings",
        "DROP FUNCTION sku_mapping_changed",
    ):
        op.execute(statement)
