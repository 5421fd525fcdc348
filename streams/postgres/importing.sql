-- Imports: what is known of the orders in a file, and how far a job has come.
-- Instants are ms since 1970.

-- name: orders_known
-- What the ledger knows of these orders: when it was stated last, and by which bytes.
SELECT order_key, digest, platform_status,
    floor(extract(epoch FROM COALESCE(updated_at, GREATEST(
        created_at, paid_at, shipped_at, completed_at
    ))) * 1000)::bigint AS stated_ms
FROM orders
WHERE order_key = ANY($1::text[]);

-- name: import_received
-- Begin a job: a file, how to read it, who wants it and why.
INSERT INTO imports (
    id, file_name, path, file_digest, file_bytes, platform, shop, existing, options, operator, reason,
    dry_run
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: import_of
-- One job.
SELECT * FROM imports WHERE id = $1;

-- name: import_again
-- The job of the same file, read the same way, that was begun and not ended; the newest. It reads
-- the file from where it lies now ($6): where it lay before, it may be gone.
UPDATE imports SET path = $6
WHERE id = (
    SELECT id FROM imports
    WHERE file_digest = $1 AND platform = $2 AND shop = $3 AND existing = $4 AND options::text = $5
        AND NOT dry_run AND state NOT IN ('done', 'refused')
    ORDER BY id DESC
    LIMIT 1
)
RETURNING id;

-- name: imports_left
-- Jobs of files in the folder $1 that are not ended and wait for nobody's word, oldest first.
SELECT id FROM imports
WHERE ended_at IS NULL AND NOT (dry_run AND state = 'forecast') AND starts_with(path, $1)
ORDER BY id
LIMIT $2;

-- name: imports_listed
-- The latest jobs.
SELECT * FROM imports ORDER BY id DESC LIMIT $1;

-- name: import_mine
-- Say whether nobody else works at this job; it is ours until the connection ends.
SELECT pg_try_advisory_lock(hashtextextended('orderflow import ' || $1, 0));

-- name: import_forecast
-- Note what a file would meet.
UPDATE imports
SET state = $2, forecast = $3, row_count = $4, order_count = $5, moved_at = clock_timestamp()
WHERE id = $1;

-- name: import_planned
-- Note that everything is known that will be sent, and from which offsets on (by partition).
UPDATE imports SET state = 'sending', began = $2, moved_at = clock_timestamp() WHERE id = $1;

-- name: import_sent
-- Note that the broker has this many of the orders.
UPDATE imports
SET sent = $2, state = CASE WHEN $3 THEN 'settling' ELSE state END, moved_at = clock_timestamp()
WHERE id = $1;

-- name: import_run
-- Carry out what was a dry run, for this operator.
UPDATE imports
SET dry_run = false, state = 'received', existing = $2, operator = $3, reason = $4,
    forecast = NULL, forced_at = NULL, moved_at = clock_timestamp()
WHERE id = $1 AND dry_run AND state = 'forecast';

-- name: import_forced
-- Note the moment as of which forced orders count; said once, so that a resumed job says the same.
UPDATE imports SET forced_at = COALESCE(forced_at, clock_timestamp()) WHERE id = $1
RETURNING floor(extract(epoch FROM forced_at) * 1000)::bigint;

-- name: import_refused
-- Note why a file cannot be used; nothing of it was sent.
UPDATE imports
SET state = 'refused', failure = $2, ended_at = clock_timestamp(), moved_at = clock_timestamp()
WHERE id = $1;

-- name: import_done
-- Note what became of every row.
UPDATE imports
SET state = 'done', verdicts = $2, ended_at = clock_timestamp(), moved_at = clock_timestamp()
WHERE id = $1;

-- name: import_unsettled
-- A page of the orders that were sent and of which the ledger has not been heard, after number $2.
SELECT number, order_key, digest FROM import_orders
WHERE import = $1 AND verdict IS NULL AND number > $2
ORDER BY number
LIMIT $3;

-- name: import_settle
-- Note what was decided of these orders ($2 numbers, from $6 to $7: a page, and not the whole job).
UPDATE import_orders AS one
SET verdict = said.verdict, field = said.field, reason = said.reason
FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[])
    AS said (number, verdict, field, reason)
WHERE one.import = $1 AND one.number BETWEEN $6 AND $7 AND one.number = said.number;

-- name: import_settled
-- How many orders of a job have a verdict.
SELECT count(verdict) FROM import_orders WHERE import = $1;

-- name: import_counts
-- What became of the orders of a job, and of their rows.
SELECT verdict, count(*) AS orders, sum(cardinality(lines))::bigint AS rows
FROM import_orders
WHERE import = $1
GROUP BY verdict;

-- name: import_orders_of
-- A page of the orders of a job, after number $2.
SELECT number, order_key, digest, lines, forecast, verdict, field, reason FROM import_orders
WHERE import = $1 AND number > $2
ORDER BY number
LIMIT $3;

-- name: import_refusals
-- A page of the refused rows of a job, after row $2.
SELECT line, order_id, field, reason FROM import_refusals
WHERE import = $1 AND line > $2
ORDER BY line
LIMIT $3;

-- name: decided_of_orders
-- What the order keeper said to statements about these orders since $2, oldest first.
SELECT order_key, version, event, body FROM order_events
WHERE order_key = ANY($1::text[]) AND at >= $2 AND event IN ('order.observed', 'order.ignored')
ORDER BY order_key, version;

-- name: parked_of_orders
-- What was parked of these orders ($2, raw keys; $3, keys of commands) on topic $1 or an inbox.
SELECT topic, partition, record_offset, key, value, field, reason FROM parked
WHERE (topic = $1 AND key = ANY($2::bytea[])) OR (topic = 'order-commands' AND key = ANY($3::bytea[]));
