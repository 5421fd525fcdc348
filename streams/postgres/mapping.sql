-- SKU mappings: what people changed, what is published, and which orders wait for one.
-- Instants are ms since 1970; NULL is an open end.

-- name: one_mapper_at_a_time
-- Whoever changes mappings goes after another, until the transaction ends; readers go on.
LOCK TABLE sku_mappings IN SHARE ROW EXCLUSIVE MODE;

-- name: mappings_of_shops
-- The mappings that hold or held in these shops ($1 platforms, $2 shops), oldest first.
SELECT id, platform, shop, theirs, ours,
    CASE WHEN isfinite(valid_from) THEN floor(extract(epoch FROM valid_from) * 1000)::bigint END AS from_ms,
    CASE WHEN isfinite(valid_to) THEN floor(extract(epoch FROM valid_to) * 1000)::bigint END AS until_ms
FROM sku_mappings
WHERE (platform, shop) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND valid_from < valid_to
ORDER BY platform, shop, theirs, valid_from;

-- name: move_mapping
-- Let a mapping hold for another time; where it begins and ends at once it never held.
UPDATE sku_mappings
SET valid_from = COALESCE('epoch'::timestamptz + $2::bigint * interval '1 ms', '-infinity'),
    valid_to = COALESCE('epoch'::timestamptz + $3::bigint * interval '1 ms', 'infinity'),
    changed_at = clock_timestamp(), changed_by = $4, changed_why = $5
WHERE id = $1;

-- name: withdraw_mapping
-- Let a mapping never have held: it ends where it begins.
UPDATE sku_mappings
SET valid_to = valid_from, changed_at = clock_timestamp(), changed_by = $2, changed_why = $3
WHERE id = $1;

-- name: add_mapping
-- Let theirs be ours for a time.
INSERT INTO sku_mappings (platform, shop, theirs, ours, valid_from, valid_to, changed_by, changed_why)
VALUES ($1, $2, $3, $4,
    COALESCE('epoch'::timestamptz + $5::bigint * interval '1 ms', '-infinity'),
    COALESCE('epoch'::timestamptz + $6::bigint * interval '1 ms', 'infinity'), $7, $8);

-- name: mappings_listed
-- The mappings of a platform ($1), shop ($2) or SKU of theirs or ours ($3), a page after id $4.
SELECT id, platform, shop, theirs, ours,
    CASE WHEN isfinite(valid_from) THEN valid_from END AS valid_from,
    CASE WHEN isfinite(valid_to) THEN valid_to END AS valid_to,
    changed_at, changed_by, changed_why
FROM sku_mappings
WHERE ($1::text IS NULL OR platform = $1)
    AND ($2::text IS NULL OR shop = $2)
    AND ($3::text IS NULL OR theirs = $3 OR ours = $3)
    AND valid_from < valid_to
    AND id > $4
ORDER BY id
LIMIT $5;

-- name: mapping_changes
-- Who changed the mapping of one SKU of theirs, and why; oldest first.
SELECT mapping, ours,
    was_from IS NULL AS is_new,
    valid_from = valid_to AS is_withdrawn,
    CASE WHEN isfinite(valid_from) THEN valid_from END AS valid_from,
    CASE WHEN isfinite(valid_to) THEN valid_to END AS valid_to,
    at, by, why
FROM sku_mapping_changes
WHERE platform = $1 AND shop = $2 AND theirs = $3
ORDER BY id
LIMIT $4;

-- name: mappings_published
-- A page of what shall be published: every SKU of theirs ever mapped, after ($1, $2, $3).
SELECT platform, shop, theirs,
    array_agg(ours ORDER BY valid_from) FILTER (WHERE valid_from < valid_to) AS ours,
    array_agg(
        CASE WHEN isfinite(valid_from) THEN floor(extract(epoch FROM valid_from) * 1000)::bigint END
        ORDER BY valid_from
    ) FILTER (WHERE valid_from < valid_to) AS began,
    array_agg(
        CASE WHEN isfinite(valid_to) THEN floor(extract(epoch FROM valid_to) * 1000)::bigint END
        ORDER BY valid_from
    ) FILTER (WHERE valid_from < valid_to) AS ended
FROM sku_mappings
WHERE (platform, shop, theirs) > ($1, $2, $3)
GROUP BY platform, shop, theirs
ORDER BY platform, shop, theirs
LIMIT $4;

-- name: orders_waiting
-- A page of the orders with lines that nobody has mapped, after the key $1.
SELECT order_key, platform, shop, created_at, first_received_at
FROM orders
WHERE cardinality(unmapped) > 0 AND order_key > $1
ORDER BY order_key
LIMIT $2;

-- name: lines_waiting
-- The lines of these orders that nobody has mapped.
SELECT order_key, line_id, quantity, platform_sku, merchant_sku
FROM order_lines
WHERE order_key = ANY($1::text[]) AND sku IS NULL
ORDER BY order_key, line_no;

-- name: unmapped_listed
-- What nobody has mapped of a platform ($1) and shop ($2) in the first $3 orders that wait: SKUs of theirs, at most $4, those of most orders first.
SELECT waiting.platform, waiting.shop, line.merchant_sku, line.platform_sku, min(line.title) AS title,
    count(DISTINCT waiting.order_key) AS orders, sum(line.quantity)::bigint AS units,
    min(waiting.first_received_at) AS since, min(waiting.order_key) AS example
FROM (
    SELECT order_key, platform, shop, first_received_at
    FROM orders
    WHERE cardinality(unmapped) > 0
        AND ($1::text IS NULL OR platform = $1) AND ($2::text IS NULL OR shop = $2)
    ORDER BY order_key
    LIMIT $3
) AS waiting CROSS JOIN LATERAL (
    SELECT merchant_sku, platform_sku, title, quantity
    FROM order_lines
    WHERE order_lines.order_key = waiting.order_key AND sku IS NULL
    OFFSET 0
) AS line
GROUP BY waiting.platform, waiting.shop, line.merchant_sku, line.platform_sku
ORDER BY orders DESC, waiting.platform, waiting.shop, line.merchant_sku, line.platform_sku
LIMIT $4;

-- name: statements_of_orders
-- What was taken of these orders, newest first.
SELECT order_key, body
FROM order_events
WHERE order_key = ANY($1::text[]) AND event = 'order.observed'
ORDER BY order_key, version DESC;

-- name: mappings_of_sku
-- The mappings that hold or held of one SKU of theirs, oldest first.
SELECT id, platform, shop, theirs, ours,
    CASE WHEN isfinite(valid_from) THEN floor(extract(epoch FROM valid_from) * 1000)::bigint END AS from_ms,
    CASE WHEN isfinite(valid_to) THEN floor(extract(epoch FROM valid_to) * 1000)::bigint END AS until_ms
FROM sku_mappings
WHERE (platform, shop, theirs) = ($1, $2, $3) AND valid_from < valid_to
ORDER BY valid_from;
