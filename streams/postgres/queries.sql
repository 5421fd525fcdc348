-- The ledger's SQL. Every statement has a name and a sentence; parameters are $1, $2, ...

-- name: claim_positions
-- Make sure that every partition has a position; a new one begins at 0.
INSERT INTO sink_positions (topic, partition, next)
SELECT topic, partition, 0 FROM unnest($1::text[], $2::int[]) AS claimed (topic, partition)
ORDER BY topic, partition
ON CONFLICT DO NOTHING;

-- name: settled_positions
-- The position of each partition, after whoever is writing it has come to an end.
SELECT topic, partition, next
FROM sink_positions JOIN unnest($1::text[], $2::int[]) AS claimed (topic, partition)
    USING (topic, partition)
ORDER BY topic, partition
FOR UPDATE OF sink_positions;

-- name: heard_sources
-- The last letter of each source on each partition.
SELECT topic, partition, source, epoch, number
FROM sink_sources JOIN unnest($1::text[], $2::int[]) AS claimed (topic, partition)
    USING (topic, partition);

-- name: advance_positions
-- Move every partition from where the batch begins to where it ends; one that stands elsewhere is not counted.
UPDATE sink_positions SET next = span.finish, written_at = clock_timestamp()
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[])
    AS span (topic, partition, start, finish)
WHERE sink_positions.topic = span.topic
    AND sink_positions.partition = span.partition
    AND sink_positions.next = span.start;

-- name: remember_sources
-- Remember the last letter of each source.
INSERT INTO sink_sources (topic, partition, source, epoch, number)
SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (topic, partition, source)
    DO UPDATE SET epoch = excluded.epoch, number = excluded.number;

-- name: upsert_orders
-- Take the staged orders, facet by facet, where they are newer (facets: 1 snapshot, 2 refund, 4 verdict, 8 deadline).
INSERT INTO orders AS o (
    order_key, version, facets, changed_at, platform, shop, order_id,
    platform_status, status_said, currency,
    total_minor, shipping_minor, discount_minor, tax_minor, paid_minor,
    created_at, paid_at, shipped_at, completed_at, updated_at,
    adapter, digest, unmapped, received_at,
    status, refund, refunded_minor, reservation, attempt, deadline_at, short,
    open_case, ignored, ignored_why,
    first_received_at, first_written_at, verdict_written_at, written_at
)
SELECT
    order_key, version, facets, changed_at, platform, shop, order_id,
    platform_status, status_said, currency,
    total_minor, shipping_minor, discount_minor, tax_minor, paid_minor,
    created_at, paid_at, shipped_at, completed_at, updated_at,
    adapter, digest, unmapped, received_at,
    status, refund, refunded_minor, reservation, attempt, deadline_at, short,
    open_case, ignored, ignored_why,
    received_at, clock_timestamp(), CASE WHEN facets & 4 <> 0 THEN clock_timestamp() END,
    clock_timestamp()
FROM staged_orders
ON CONFLICT (order_key) DO UPDATE SET
    version = excluded.version,
    facets = excluded.facets,
    changed_at = excluded.changed_at,
    platform_status = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.platform_status ELSE o.platform_status END,
    status_said = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.status_said ELSE o.status_said END,
    currency = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.currency ELSE o.currency END,
    total_minor = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.total_minor ELSE o.total_minor END,
    shipping_minor = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.shipping_minor ELSE o.shipping_minor END,
    discount_minor = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.discount_minor ELSE o.discount_minor END,
    tax_minor = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.tax_minor ELSE o.tax_minor END,
    paid_minor = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.paid_minor ELSE o.paid_minor END,
    created_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.created_at ELSE o.created_at END,
    paid_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.paid_at ELSE o.paid_at END,
    shipped_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.shipped_at ELSE o.shipped_at END,
    completed_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.completed_at ELSE o.completed_at END,
    updated_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.updated_at ELSE o.updated_at END,
    adapter = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.adapter ELSE o.adapter END,
    digest = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.digest ELSE o.digest END,
    unmapped = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.unmapped ELSE o.unmapped END,
    received_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.received_at ELSE o.received_at END,
    written_at = CASE WHEN excluded.facets & 1 <> 0 THEN excluded.written_at ELSE o.written_at END,
    status = COALESCE(excluded.status, o.status),
    refund = CASE WHEN excluded.facets & 2 <> 0 THEN excluded.refund ELSE o.refund END,
    refunded_minor = CASE WHEN excluded.facets & 2 <> 0 THEN excluded.refunded_minor ELSE o.refunded_minor END,
    reservation = CASE WHEN excluded.facets & 4 <> 0 THEN excluded.reservation ELSE o.reservation END,
    attempt = CASE WHEN excluded.facets & 4 <> 0 THEN excluded.attempt ELSE o.attempt END,
    short = CASE WHEN excluded.facets & 4 <> 0 THEN excluded.short ELSE o.short END,
    verdict_written_at = COALESCE(o.verdict_written_at, excluded.verdict_written_at),
    deadline_at = CASE WHEN excluded.facets & 8 <> 0 THEN excluded.deadline_at ELSE o.deadline_at END,
    open_case = COALESCE(excluded.open_case, o.open_case),
    ignored = o.ignored + excluded.ignored,
    ignored_why = COALESCE(excluded.ignored_why, o.ignored_why)
WHERE excluded.version > o.version;

-- name: overtaken_orders
-- The staged orders that met something newer: their lines must not be touched either.
SELECT order_key FROM staged_orders AS staged JOIN orders USING (order_key)
WHERE orders.version <> staged.version;

-- name: forget_lines
-- Take away the lines of orders whose lines are about to be replaced.
DELETE FROM order_lines WHERE order_key = ANY ($1::text[]);

-- name: upsert_stock
-- Take the staged balances where they are newer.
INSERT INTO stock AS s (sku, version, changed_at, available, locked, occupied, reserved, frozen)
SELECT sku, version, changed_at, available, locked, occupied, reserved, frozen FROM staged_stock
ON CONFLICT (sku) DO UPDATE SET
    version = excluded.version,
    changed_at = excluded.changed_at,
    available = excluded.available,
    locked = excluded.locked,
    occupied = excluded.occupied,
    reserved = excluded.reserved,
    frozen = excluded.frozen
WHERE excluded.version > s.version;

-- name: upsert_holds
-- Take the staged holds where they are newer; one that ended and is held again is open again.
INSERT INTO holds AS h (
    order_key, sku, version, bucket, quantity, deadline_at, held_at, changed_at, ended_at, verb, moves
)
SELECT
    order_key, sku, version, bucket, quantity, deadline_at, held_at, changed_at, ended_at, verb, moves
FROM staged_holds
ON CONFLICT (order_key, sku) DO UPDATE SET
    version = excluded.version,
    bucket = excluded.bucket,
    quantity = excluded.quantity,
    deadline_at = excluded.deadline_at,
    held_at = COALESCE(excluded.held_at, h.held_at),
    changed_at = excluded.changed_at,
    ended_at = excluded.ended_at,
    verb = excluded.verb,
    moves = h.moves || excluded.moves
WHERE excluded.version > h.version;

-- name: upsert_details
-- Take the staged details where they are not older (one version of an order may state its details twice).
INSERT INTO order_details AS d (order_key, version, country, province, city, body)
SELECT order_key, version, country, province, city, body FROM staged_details
ON CONFLICT (order_key) DO UPDATE SET
    version = excluded.version,
    country = excluded.country,
    province = excluded.province,
    city = excluded.city,
    body = excluded.body
WHERE excluded.version >= d.version;

-- name: upsert_parked
-- Park, or count another attempt; what was settled by a retry and is met again is open again.
INSERT INTO parked AS p (
    id, stage, cause, field, reason, topic, partition, record_offset, key, value, platform, shop,
    attempts, first_seen_at, last_seen_at
)
SELECT
    id, stage, cause, field, reason, topic, partition, record_offset, key, value, platform, shop,
    attempts, first_seen_at, last_seen_at
FROM staged_parked
ON CONFLICT (id) DO UPDATE SET
    stage = excluded.stage,
    cause = excluded.cause,
    field = excluded.field,
    reason = excluded.reason,
    attempts = p.attempts + excluded.attempts,
    first_seen_at = LEAST(p.first_seen_at, excluded.first_seen_at),
    last_seen_at = GREATEST(p.last_seen_at, excluded.last_seen_at),
    settled_at = CASE WHEN p.settled_as = 'retried' THEN NULL ELSE p.settled_at END,
    settled_as = CASE WHEN p.settled_as = 'retried' THEN NULL ELSE p.settled_as END;

-- name: keep_answers
-- Keep the answers of operators' commands; an answer once given stands.
INSERT INTO command_answers (command_id, sku, refusal, available, at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
ON CONFLICT (command_id) DO NOTHING;

