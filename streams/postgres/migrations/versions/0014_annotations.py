"""
What the company's own people note of an order: labels and fields, and what of these there are.

* A label or field that nobody shall use any more is retired, never deleted: orders that carry it
  keep it. Its code, and the kind of a field, never change; no role has the right to.
* `definition_changes` and `order_annotation_changes` are written by triggers alone, with the
  owner's rights: nobody who may note anything can write history. Each version is the next one, so
  that of two writers who saw the same the second fails, whatever it forgot to ask.
* Values are texts, also of numbers and dates: what was typed is what is kept, in one spelling.
* `order_annotation_words` is what orders are searched by, with the time an order was received: an
  index that is walked back in time, as the list of orders is, however many orders have the word.
  The words of an order stand in its row, from whoever writes it; a trigger keeps the index.
* Nothing of it is in the ledger's tables, and the ledger's writer meets none of it (decision 0022).
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_DEFINED = """
    code text COLLATE "C" PRIMARY KEY CHECK (code ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    version integer NOT NULL DEFAULT 1,
    zh text NOT NULL CHECK (zh <> ''),
    en text NOT NULL CHECK (en <> ''),
    retired_at timestamptz,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL CHECK (changed_by <> ''),
    changed_why text NOT NULL CHECK (changed_why <> ''),
"""
STATEMENTS = (
    f"CREATE TABLE labels ({_DEFINED} colour text NOT NULL CHECK (colour <> ''))",
    "COMMENT ON TABLE labels IS 'never deleted: what an order may be labelled with'",
    f"""
    CREATE TABLE custom_fields (
        {_DEFINED}
        kind text NOT NULL CHECK (kind IN ('text', 'number', 'date', 'choice')),
        choices text[] NOT NULL DEFAULT '{{}}',
        least text,
        most text,
        roles text[] NOT NULL DEFAULT '{{}}',
        CHECK ((kind = 'choice') = (cardinality(choices) > 0))
    )
    """,
    "COMMENT ON TABLE custom_fields IS 'never deleted: what else may be noted of an order'",
    """
    CREATE TABLE definition_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text COLLATE "C" NOT NULL,
        code text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        at timestamptz NOT NULL,
        by text NOT NULL,
        why text NOT NULL,
        before jsonb,
        after jsonb NOT NULL,
        UNIQUE (kind, code, version)
    )
    """,
    "COMMENT ON TABLE definition_changes IS 'append-only: who changed what may be noted, and why'",
    """
    CREATE FUNCTION definition_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF NEW.version <> (CASE WHEN TG_OP = 'UPDATE' THEN OLD.version ELSE 0 END) + 1 THEN
            RAISE EXCEPTION 'a definition was changed meanwhile'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        INSERT INTO definition_changes (kind, code, version, at, by, why, before, after)
        VALUES (
            TG_TABLE_NAME, NEW.code, NEW.version, NEW.changed_at, NEW.changed_by, NEW.changed_why,
            CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) END, to_jsonb(NEW)
        );
        RETURN NULL;
    END
    $$
    """,
    *(
        f"""
        CREATE TRIGGER definition_changed AFTER INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION definition_changed()
        """
        for table in ("labels", "custom_fields")
    ),
    """
    CREATE TABLE order_annotations (
        order_key text COLLATE "C" PRIMARY KEY,
        version integer NOT NULL,
        labels text[] NOT NULL,
        fields jsonb NOT NULL,
        words text[] NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        changed_by text NOT NULL CHECK (changed_by <> '')
    ) WITH (fillfactor = 80)
    """,
    "COMMENT ON TABLE order_annotations IS 'labels and fields of orders, by our own people'",
    """
    CREATE TABLE order_annotation_changes (
        order_key text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        at timestamptz NOT NULL,
        by text NOT NULL,
        labels_before text[] NOT NULL,
        fields_before jsonb NOT NULL,
        labels text[] NOT NULL,
        fields jsonb NOT NULL,
        PRIMARY KEY (order_key, version)
    )
    """,
    """
    COMMENT ON TABLE order_annotation_changes IS
        'append-only: who changed the labels and fields of an order, from what to what'
    """,
    """
    CREATE TABLE order_annotation_words (
        word text COLLATE "C" NOT NULL,
        received_at timestamptz NOT NULL,
        order_key text COLLATE "C" NOT NULL,
        PRIMARY KEY (word, received_at, order_key)
    )
    """,
    "COMMENT ON TABLE order_annotation_words IS 'an index: what orders are searched by'",
    """
    CREATE FUNCTION order_annotated() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        were text[] := '{}';
        labels_before text[] := '{}';
        fields_before jsonb := '{}';
        version_before integer := 0;
        came timestamptz;
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            were := OLD.words;
            labels_before := OLD.labels;
            fields_before := OLD.fields;
            version_before := OLD.version;
        END IF;
        IF NEW.version <> version_before + 1 THEN
            RAISE EXCEPTION 'an order was annotated meanwhile'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        SELECT first_received_at INTO came FROM orders WHERE order_key = NEW.order_key;
        IF came IS NULL THEN
            RAISE EXCEPTION 'an order that nobody knows cannot be annotated'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        INSERT INTO order_annotation_changes VALUES (
            NEW.order_key, NEW.version, NEW.changed_at, NEW.changed_by,
            labels_before, fields_before, NEW.labels, NEW.fields
        );
        DELETE FROM order_annotation_words
        WHERE word = ANY (were) AND word <> ALL (NEW.words)
            AND received_at = came AND order_key = NEW.order_key;
        INSERT INTO order_annotation_words (word, received_at, order_key)
        SELECT word, came, NEW.order_key FROM unnest(NEW.words) AS word
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER order_annotated AFTER INSERT OR UPDATE ON order_annotations
    FOR EACH ROW EXECUTE FUNCTION order_annotated()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP TABLE order_annotation_words",
        "DROP TABLE order_annotation_changes",
        "DROP TABLE order_annotations",
        "DROP FUNCTION order_annotated",
        "DROP TABLE definition_changes",
        "DROP TABLE custom_fields",
        "DROP TABLE labels",
        "DROP FUNCTION definition_changed",
    ):
        op.execute(statement)
