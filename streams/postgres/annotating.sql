-- Labels and fields: what there is, what orders carry of it, and who changed that.

-- name: labels
-- Every label, retired ones last.
SELECT code, zh, en, colour, retired_at IS NOT NULL AS is_retired, version
FROM labels ORDER BY retired_at IS NOT NULL, code;

-- name: custom_fields
-- Every field, retired ones last.
SELECT code, zh, en, kind, choices, least, most, roles, retired_at IS NOT NULL AS is_retired, version
FROM custom_fields ORDER BY retired_at IS NOT NULL, code;

-- name: definition_changes
-- Who changed one label or field ($1 the table, $2 the code), and why; latest first.
SELECT version, at, by, why, before, after FROM definition_changes
WHERE kind = $1 AND code = $2 ORDER BY version DESC LIMIT $3;

-- name: one_definer_at_a_time
-- Whoever adds a label or field goes after another, so that they are counted.
SELECT pg_advisory_xact_lock(hashtext('orderflow definitions'));

-- name: lock_labels
-- One label, and nobody else's until the transaction ends.
SELECT code, zh, en, colour, retired_at IS NOT NULL AS is_retired, version
FROM labels WHERE code = $1 FOR UPDATE;

-- name: lock_custom_fields
-- One field, and nobody else's until the transaction ends.
SELECT code, zh, en, kind, choices, least, most, roles, retired_at IS NOT NULL AS is_retired, version
FROM custom_fields WHERE code = $1 FOR UPDATE;

-- name: add_labels
-- A new label.
INSERT INTO labels (changed_by, changed_why, code, zh, en, colour) VALUES ($1, $2, $3, $4, $5, $6);

-- name: add_custom_fields
-- A new field.
INSERT INTO custom_fields (changed_by, changed_why, code, zh, en, kind, choices, least, most, roles)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: change_labels
-- Another name or colour of a label.
UPDATE labels
SET version = version + 1, changed_at = clock_timestamp(), changed_by = $1, changed_why = $2,
    zh = $4, en = $5, colour = $6
WHERE code = $3;

-- name: change_custom_fields
-- Other names, choices, limits or roles of a field; $6, its kind, is what it was.
UPDATE custom_fields
SET version = version + 1, changed_at = clock_timestamp(), changed_by = $1, changed_why = $2,
    zh = $4, en = $5, choices = $7, least = $8, most = $9, roles = $10
WHERE code = $3 AND kind = $6;

-- name: retire_labels
-- No order gets a label any more, or may again ($4).
UPDATE labels
SET version = version + 1, changed_at = clock_timestamp(), changed_by = $1, changed_why = $2,
    retired_at = CASE WHEN $4 THEN clock_timestamp() END
WHERE code = $3;

-- name: retire_custom_fields
-- Nobody fills in a field any more, or may again ($4).
UPDATE custom_fields
SET version = version + 1, changed_at = clock_timestamp(), changed_by = $1, changed_why = $2,
    retired_at = CASE WHEN $4 THEN clock_timestamp() END
WHERE code = $3;

-- name: orders_there
-- Which of these orders there are.
SELECT order_key FROM orders WHERE order_key = ANY ($1::text[]);

-- name: annotations_of
-- What these orders carry.
SELECT order_key, version, labels, fields, changed_by, changed_at
FROM order_annotations WHERE order_key = ANY ($1::text[]);

-- name: lock_annotations
-- What these orders carry, and nobody else's until the transaction ends; always in one order.
SELECT order_key, version, labels, fields, changed_by, changed_at
FROM order_annotations WHERE order_key = ANY ($1::text[]) ORDER BY order_key FOR UPDATE;

-- name: annotate_order
-- What an order carries now, where it carried version $2 until now (0: nothing yet).
INSERT INTO order_annotations AS old (order_key, version, labels, fields, words, changed_by)
VALUES ($1, $2::int + 1, $3, $4::jsonb, $5, $6)
ON CONFLICT (order_key) DO UPDATE SET
    version = excluded.version,
    labels = excluded.labels,
    fields = excluded.fields,
    words = excluded.words,
    changed_at = clock_timestamp(),
    changed_by = excluded.changed_by
WHERE old.version = $2::int
RETURNING version, changed_at;

-- name: annotation_changes
-- Who changed what one order carries, latest first, the last $2 times.
SELECT version, at, by, labels_before, fields_before, labels, fields
FROM order_annotation_changes WHERE order_key = $1 ORDER BY version DESC LIMIT $2;

-- name: annotation_at
-- What one order ($1) carried in one version ($2).
SELECT version, labels, fields, by AS changed_by, at AS changed_at
FROM order_annotation_changes WHERE order_key = $1 AND version = $2;
