-- The ledger's SQL. Every statement has a name and a sentence; parameters are $1, $2, ...

-- name: column_types
-- The types of a staging table's columns, in order.
SELECT format_type(atttypid, atttypmod)
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0
ORDER BY attnum;

-- name: claim_positions
-- Make sure that every partition has a position; a new one begins at 0.
INSERT INTO sink_positions (topic, partition, next)
SELECT topic, partition, 0 FROM unnest($1::text[], $2::int[]) AS claimed (topic, partition)
ORDER BY topic, partition
ON CONFLICT DO NOTHING;

-- name: end_stopped_sessions
-- End our sessions under the name $1 that wait for their client in a statement, since $2 or longer.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = $1
    AND pid <> pg_backend_pid()
    AND state = 'active' AND wait_event = 'ClientRead'
    AND state_change < clock_timestamp() - $2::interval;

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
-- Take the staged orders, facet by facet, where they are newer (facets: 1 snapshot, 2 refund, 4 verdict, 8 deadline, 16 reservation, 32 case, 64 no refund).
INSERT INTO orders AS o (
    order_key, version, facets, changed_at, platform, shop, order_id,
    platform_status, status_said, currency,
    total_minor, shipping_minor, discount_minor, tax_minor, paid_minor,
    created_at, paid_at, shipped_at, completed_at, updated_at,
    adapter, digest, unmapped, received_at,
    status, refund, refunded_minor, reservation, attempt, deadline_at, short,
    open_case, ignored, ignored_why, refunded_at, stated_at, observed_at, verdict_at,
    first_received_at, first_written_at, verdict_written_at, written_at
)
SELECT
    order_key, version, facets, changed_at, platform, shop, order_id,
    platform_status, status_said, currency,
    total_minor, shipping_minor, discount_minor, tax_minor, paid_minor,
    created_at, paid_at, shipped_at, completed_at, updated_at,
    adapter, digest,
    CASE
        WHEN unmapped IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(unmapped::json))
        WHEN facets & 1 <> 0 THEN '{}'
    END,
    received_at,
    status, refund, refunded_minor, reservation, attempt, deadline_at, short::json,
    open_case, ignored, ignored_why, refunded_at, stated_at, observed_at, verdict_at,
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
    reservation = CASE WHEN excluded.facets & 20 <> 0 THEN excluded.reservation ELSE o.reservation END,
    attempt = CASE WHEN excluded.facets & 4 <> 0 THEN excluded.attempt ELSE o.attempt END,
    short = CASE WHEN excluded.facets & 4 <> 0 THEN excluded.short ELSE o.short END,
    verdict_written_at = COALESCE(o.verdict_written_at, excluded.verdict_written_at),
    deadline_at = CASE WHEN excluded.facets & 8 <> 0 THEN excluded.deadline_at ELSE o.deadline_at END,
    open_case = CASE WHEN excluded.facets & 32 <> 0 THEN excluded.open_case ELSE o.open_case END,
    ignored = o.ignored + excluded.ignored,
    ignored_why = COALESCE(excluded.ignored_why, o.ignored_why),
    refunded_at = CASE WHEN excluded.facets & 64 <> 0 THEN excluded.refunded_at ELSE LEAST(o.refunded_at, excluded.refunded_at) END,
    stated_at = CASE WHEN o.observed_at IS NULL THEN excluded.stated_at ELSE o.stated_at END,
    observed_at = COALESCE(o.observed_at, excluded.observed_at),
    verdict_at = COALESCE(o.verdict_at, excluded.verdict_at)
WHERE excluded.version > o.version;

-- name: overtaken_orders
-- The orders of a batch that met something newer: their lines must not be touched either.
SELECT order_key
FROM unnest($1::text[], $2::int[]) AS brought (order_key, version) JOIN orders USING (order_key)
WHERE orders.version <> brought.version;

-- name: forget_lines
-- Take away the lines of orders whose lines are about to be replaced.
DELETE FROM order_lines WHERE order_key = ANY ($1::text[]);

-- name: upsert_stock
-- Take the staged balances where they are newer.
INSERT INTO stock AS s (
    sku, version, changed_at, available, locked, occupied, reserved, frozen, shortfall, chain
)
SELECT sku, version, changed_at, available, locked, occupied, reserved, frozen, shortfall, chain
FROM staged_stock
ON CONFLICT (sku) DO UPDATE SET
    version = excluded.version,
    changed_at = excluded.changed_at,
    available = excluded.available,
    locked = excluded.locked,
    occupied = excluded.occupied,
    reserved = excluded.reserved,
    frozen = excluded.frozen,
    shortfall = excluded.shortfall,
    chain = excluded.chain
WHERE excluded.version > s.version;

-- name: chain_heads
-- The chain of each SKU's latest entry, where the next one goes on; none for a SKU without entries.
SELECT sku, chain FROM stock WHERE sku = ANY($1::text[]);

-- name: upsert_quotas
-- Take the staged quotas where they are newer; one version of a SKU may tell of its quota once.
INSERT INTO quotas AS q (
    sku, quota, version, changed_at, starts_at, ends_at, allotted, remains, ended_at
)
SELECT sku, quota, version, changed_at, starts_at, ends_at, allotted, remains, ended_at
FROM staged_quotas
ON CONFLICT (sku, quota) DO UPDATE SET
    version = excluded.version,
    changed_at = excluded.changed_at,
    starts_at = excluded.starts_at,
    ends_at = excluded.ends_at,
    allotted = excluded.allotted,
    remains = excluded.remains,
    ended_at = excluded.ended_at
WHERE excluded.version >= q.version;

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
    moves = h.moves || ' ' || excluded.moves
WHERE excluded.version > h.version;

-- name: one_at_a_time_to_ship
-- Let nobody else keep the list of what can go until this transaction ends.
SELECT pg_advisory_xact_lock(hashtext('orderflow to ship'));

-- name: keep_to_ship
-- Let the list of what can go be, of these orders, what they and their holds say.
WITH can_go AS MATERIALIZED (
    SELECT order_key, warehouse, since, platform, shop FROM orders_that_can_go
    WHERE order_key = ANY ($1::text[])
), gone AS (
    DELETE FROM orders_to_ship AS kept
    WHERE order_key = ANY ($1::text[])
        AND NOT EXISTS (
            SELECT FROM can_go
            WHERE can_go.order_key = kept.order_key AND can_go.warehouse = kept.warehouse
        )
)
INSERT INTO orders_to_ship AS kept (order_key, warehouse, since, platform, shop)
SELECT order_key, warehouse, since, platform, shop FROM can_go
ON CONFLICT (order_key, warehouse) DO UPDATE SET since = excluded.since
WHERE kept.since <> excluded.since;

-- name: strayed_to_ship
-- Orders of which the list of what can go is not what they and their holds say.
WITH can_go AS MATERIALIZED (SELECT order_key, warehouse, since FROM orders_that_can_go),
kept AS MATERIALIZED (SELECT order_key, warehouse, since FROM orders_to_ship)
(SELECT order_key FROM (TABLE kept EXCEPT TABLE can_go) AS too_many)
UNION
(SELECT order_key FROM (TABLE can_go EXCEPT TABLE kept) AS too_few)
ORDER BY order_key;

-- name: upsert_details
-- Take the staged details where they are not older (one version of an order may state its details twice).
INSERT INTO order_details AS d (order_key, version, country, province, city, body, found_by)
SELECT order_key, version, country, province, city, body, string_to_array(found_by, ' ')
FROM staged_details
ON CONFLICT (order_key) DO UPDATE SET
    version = excluded.version,
    country = excluded.country,
    province = excluded.province,
    city = excluded.city,
    body = excluded.body,
    found_by = excluded.found_by
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

-- name: orders_called
-- The orders under this key, or with this platform's id in any shop; newest first, at most 20.
-- What still asks while a line has no SKU of ours waits for its mapping.
SELECT *, CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
    AS reservation_now
FROM orders
WHERE order_key = $1 OR order_id = $1
ORDER BY first_received_at DESC
LIMIT 20;

-- name: orders_of_shop
-- A page of one shop's orders, newest first; $3 is where the page before ended, NULL for the first.
SELECT order_key, order_id, platform_status, status, refund, reservation, open_case, unmapped,
    currency, total_minor, paid_minor, created_at, paid_at, deadline_at, first_received_at, written_at
FROM orders
WHERE platform = $1 AND shop = $2 AND first_received_at < COALESCE($3, 'infinity'::timestamptz)
ORDER BY first_received_at DESC
LIMIT $4;

-- name: lines_of_order
-- The lines of one order.
SELECT * FROM order_lines WHERE order_key = $1 ORDER BY line_no;

-- name: events_of_order
-- What happened to one order, oldest first; in no month before it came.
SELECT version, at, event, body FROM order_events
WHERE order_key = $1
    AND at >= (SELECT first_received_at - interval '1 day' FROM orders WHERE order_key = $1)
ORDER BY version;

-- name: holds_of_order
-- What one order holds, or held.
SELECT * FROM holds WHERE order_key = $1 ORDER BY sku;

-- name: moves_of_order
-- The moves of its holds and of their quotas that one order caused, found through its holds, each by its number: a SKU that sells well has very many.
SELECT ledger.*
FROM holds CROSS JOIN string_to_table(holds.moves, ' ') AS touched (number)
    CROSS JOIN LATERAL (
        SELECT * FROM stock_ledger
        WHERE sku = holds.sku AND version = touched.number::bigint
            AND at >= (SELECT first_received_at - interval '1 day' FROM orders WHERE order_key = $1)
        OFFSET 0
    ) AS ledger
WHERE holds.order_key = $1
ORDER BY ledger.at, ledger.sku, ledger.version;

-- name: returns_of_order
-- What one order had shipped and came back, or is lost.
SELECT version, at, sku, quantity, disposition, command_id, operator, reason
FROM returns WHERE order_key = $1 ORDER BY version;

-- name: ignored_releases_of_order
-- Letters for one order that met no live hold.
SELECT sku, verb, refusal, at, cause FROM releases_ignored WHERE order_key = $1 ORDER BY at;

-- name: details_of_order
-- What is personal about one order; the caller masks it.
SELECT version, country, province, city, body FROM order_details WHERE order_key = $1;

-- name: stock_of_sku
-- The balance of one SKU.
SELECT * FROM stock WHERE sku = $1;

-- name: balances_and_quotas
-- The balances of many SKUs, each with one quota of it ('' is none), for what the availability cache does not know.
SELECT sku, quota, stock.version, stock.changed_at, stock.available, stock.shortfall,
    quotas.version AS quota_version, quotas.starts_at, quotas.ends_at, quotas.remains
FROM unnest($1::text[], $2::text[]) AS asked (sku, quota)
    LEFT JOIN stock USING (sku)
    LEFT JOIN quotas USING (sku, quota);

-- name: balances_after
-- A page of all balances, by SKU, each with its quota of the name $3 ('' is none).
SELECT stock.sku, stock.version, stock.changed_at, stock.available, stock.shortfall,
    quotas.version AS quota_version, quotas.starts_at, quotas.ends_at, quotas.remains
FROM stock LEFT JOIN quotas ON quotas.sku = stock.sku AND quotas.quota = $3
WHERE stock.sku > $1
ORDER BY stock.sku
LIMIT $2;

-- name: open_holds_of_sku
-- What orders hold of one SKU now, next deadline first.
SELECT order_key, bucket, quantity, deadline_at, held_at, changed_at
FROM holds
WHERE sku = $1 AND ended_at IS NULL
ORDER BY deadline_at NULLS LAST, order_key
LIMIT $2;

-- name: quotas_of_sku
-- What campaigns and channels have of one SKU, the window that ends first on top.
SELECT quota, starts_at, ends_at, allotted, remains, ended_at
FROM quotas
WHERE sku = $1
ORDER BY ended_at IS NOT NULL, ends_at, quota
LIMIT $2;

-- name: open_shortfalls
-- SKUs of which more is held than is there: a person has to settle each.
SELECT sku, shortfall, locked, occupied, on_hand, changed_at
FROM stock
WHERE shortfall > 0
ORDER BY shortfall DESC, sku
LIMIT $1;

-- name: last_moves_of_sku
-- The trail of one SKU, newest first.
SELECT * FROM stock_ledger WHERE sku = $1 ORDER BY version DESC LIMIT $2;

-- name: moves_around
-- The moves of one SKU around a version: $3 up to it and $4 after it.
(SELECT * FROM stock_ledger WHERE sku = $1 AND version <= $2 ORDER BY version DESC LIMIT $3)
UNION ALL
(SELECT * FROM stock_ledger WHERE sku = $1 AND version > $2 ORDER BY version LIMIT $4)
ORDER BY version;

-- name: decisions_of_orders
-- What happened to some orders, to find what came of a cause.
SELECT order_key, version, at, event, body FROM order_events
WHERE order_key = ANY($1::text[])
ORDER BY order_key, version;

-- name: trail_breaks
-- Moves of one SKU whose balance does not follow from the one before: none, if the trail is whole.
SELECT sku, version, at, verb, quantity, source, target
FROM (
    SELECT *,
        lag(version, 1, 0::bigint) OVER trail AS version_before,
        lag(available, 1, 0::bigint) OVER trail AS available_before,
        lag(locked, 1, 0::bigint) OVER trail AS locked_before,
        lag(occupied, 1, 0::bigint) OVER trail AS occupied_before,
        lag(reserved, 1, 0::bigint) OVER trail AS reserved_before,
        lag(frozen, 1, 0::bigint) OVER trail AS frozen_before,
        lag(shortfall, 1, 0::bigint) OVER trail AS shortfall_before
    FROM stock_ledger
    WHERE sku = $1
    WINDOW trail AS (ORDER BY version)
) AS move
WHERE version <> version_before + 1
    OR available <> available_before + quantity
        * ((target IS NOT DISTINCT FROM 'available')::int - (source IS NOT DISTINCT FROM 'available')::int)
    OR locked <> locked_before + quantity
        * ((target IS NOT DISTINCT FROM 'locked')::int - (source IS NOT DISTINCT FROM 'locked')::int)
    OR occupied <> occupied_before + quantity
        * ((target IS NOT DISTINCT FROM 'occupied')::int - (source IS NOT DISTINCT FROM 'occupied')::int)
    OR reserved <> reserved_before + quantity
        * ((target IS NOT DISTINCT FROM 'reserved')::int - (source IS NOT DISTINCT FROM 'reserved')::int)
    OR frozen <> frozen_before + quantity
        * ((target IS NOT DISTINCT FROM 'frozen')::int - (source IS NOT DISTINCT FROM 'frozen')::int)
    OR shortfall <> shortfall_before - quantity
        * ((target IS NOT DISTINCT FROM 'shortfall')::int - (source IS NOT DISTINCT FROM 'shortfall')::int)
ORDER BY version
LIMIT $2;

-- name: orders_by_channel_and_status
-- How many orders each shop has in each status; before the verdict the status is empty.
SELECT platform, shop, status, reservation, count(*) AS orders
FROM orders
GROUP BY platform, shop, status, reservation
ORDER BY platform, shop, status, reservation;

-- name: stock_by_bucket
-- All units by bucket.
SELECT count(*) AS skus,
    COALESCE(sum(available), 0)::bigint AS available,
    COALESCE(sum(locked), 0)::bigint AS locked,
    COALESCE(sum(occupied), 0)::bigint AS occupied,
    COALESCE(sum(reserved), 0)::bigint AS reserved,
    COALESCE(sum(frozen), 0)::bigint AS frozen,
    COALESCE(sum(shortfall), 0)::bigint AS shortfall,
    COALESCE(sum(on_hand), 0)::bigint AS on_hand
FROM stock;

-- name: count_parked_open
-- How many exceptions wait for a person.
SELECT count(*) FROM parked WHERE settled_at IS NULL;

-- name: throughput_and_latency
-- Orders received within $1, how many a second came in, and ms from raw message to row and to verdict.
SELECT count(*) AS orders,
    count(verdict_written_at) AS verdicts,
    count(*) / NULLIF(
        extract(epoch FROM max(first_written_at) - min(first_received_at)), 0
    )::float8 AS orders_per_second,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY to_row) AS row_ms_p50,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY to_row) AS row_ms_p99,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY to_verdict) AS verdict_ms_p50,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY to_verdict) AS verdict_ms_p99
FROM (
    SELECT first_received_at, first_written_at, verdict_written_at,
        extract(epoch FROM first_written_at - first_received_at)::float8 * 1000 AS to_row,
        extract(epoch FROM verdict_written_at - first_received_at)::float8 * 1000 AS to_verdict
    FROM orders
    WHERE first_received_at > clock_timestamp() - $1::interval
) AS recent;

-- name: answer
-- The answer to an operator's command.
SELECT * FROM command_answers WHERE command_id = $1;

-- name: positions
-- Where the ledger stands on every partition.
SELECT topic, partition, next, written_at FROM sink_positions ORDER BY topic, partition;

-- name: entries_to_audit
-- The entries of one SKU ($1) or of all, in the order of their versions; the columns are MoveRow's.
SELECT sku, version, at, verb, quantity, source, target, available, locked, occupied, reserved,
    frozen, order_key, deadline_at, command_id, operator, reason, cause, shortfall, held,
    quota, chain
FROM stock_ledger
WHERE $1::text IS NULL OR sku = $1
ORDER BY sku, version, at;

-- name: balances_to_audit
-- The balances of one SKU ($1) or of all.
SELECT sku, version, changed_at, chain, available, locked, occupied, reserved, frozen, shortfall
FROM stock
WHERE $1::text IS NULL OR sku = $1
ORDER BY sku;

-- name: holds_to_audit
-- What orders hold, or held, of one SKU ($1) or of all.
SELECT sku, order_key, quantity, bucket, ended_at IS NULL, deadline_at, version, verb, moves,
    changed_at
FROM holds
WHERE $1::text IS NULL OR sku = $1
ORDER BY sku;

-- name: quotas_to_audit
-- What is left of the quotas of one SKU ($1) or of all.
SELECT sku, quota, remains FROM quotas WHERE $1::text IS NULL OR sku = $1 ORDER BY sku, quota;

-- name: orders_to_audit
-- What the ledger's orders say that the order keeper says too.
SELECT order_key, version, platform_status, status FROM orders;

-- name: corrections
-- By how much a person has set right what is available, and where it shows in the trail.
SELECT sku, CASE WHEN kind = 'ledger' THEN version END AS version, command_id, amount
FROM drifts
WHERE status = 'confirmed' AND command_id IS NOT NULL;

-- name: note_drifts
-- Take note of differences: a new one is opened, an open one was met again.
INSERT INTO drifts AS d (
    mark, kind, sku, order_key, what, amount, version, expected, found, remedy, proposal, delta,
    status
)
SELECT *, 'open'
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[]
)
ON CONFLICT (mark) WHERE status = 'open' DO UPDATE SET last_seen_at = clock_timestamp();

-- name: end_drifts
-- Close the open differences that were looked for and not met any more.
UPDATE drifts SET status = 'gone', ended_at = clock_timestamp()
WHERE status = 'open' AND id = ANY($1::bigint[]);

-- name: open_drifts
-- The differences that wait for a person, oldest first.
SELECT * FROM drifts WHERE status = 'open' ORDER BY id;

-- name: drift
-- One difference.
SELECT * FROM drifts WHERE id = $1;

-- name: claim_drift
-- Give an open difference the command that will set it right: the same one however often it is asked.
UPDATE drifts SET command_id = COALESCE(command_id, $2) WHERE id = $1 AND status = 'open'
RETURNING command_id;

-- name: confirm_drift
-- A person has set a difference right.
UPDATE drifts
SET status = 'confirmed', ended_at = clock_timestamp(), operator = $2, reason = $3
WHERE id = $1 AND status = 'open';

-- name: stop_the_ledger
-- Keep the sink from writing stock until this transaction ends; it waits and goes on.
SELECT count(*) FROM (SELECT 1 FROM sink_positions WHERE topic = 'stock-events' FOR UPDATE) AS all_;

-- name: rebuild_balance
-- Write a SKU's balance anew: what its last entry in the ledger says.
INSERT INTO stock AS s (
    sku, version, changed_at, available, locked, occupied, reserved, frozen, shortfall, chain
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (sku) DO UPDATE SET
    version = excluded.version,
    changed_at = excluded.changed_at,
    available = excluded.available,
    locked = excluded.locked,
    occupied = excluded.occupied,
    reserved = excluded.reserved,
    frozen = excluded.frozen,
    shortfall = excluded.shortfall,
    chain = excluded.chain;

-- name: rebuild_hold
-- Write what an order holds, or held, anew: what its moves in the ledger say.
INSERT INTO holds AS h (
    sku, order_key, quantity, bucket, ended_at, deadline_at, version, verb, moves, changed_at
)
VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN NULL ELSE $10::timestamptz END, $6, $7, $8, $9, $10)
ON CONFLICT (order_key, sku) DO UPDATE SET
    quantity = excluded.quantity,
    bucket = excluded.bucket,
    ended_at = excluded.ended_at,
    deadline_at = excluded.deadline_at,
    version = excluded.version,
    verb = excluded.verb,
    moves = excluded.moves,
    changed_at = excluded.changed_at;

-- name: void_hold
-- End a hold that no move ever made.
UPDATE holds SET ended_at = clock_timestamp(), moves = '' WHERE sku = $1 AND order_key = $2;

-- name: rebuild_quota
-- Write what a quota has left anew.
UPDATE quotas SET remains = $3 WHERE sku = $1 AND quota = $2;

-- name: orders_by_adapter
-- Of one platform ($1), by which version of its adapter those were read that came since ($2, s).
SELECT adapter, count(*) FROM orders
WHERE platform = $1 AND received_at >= to_timestamp($2) AND adapter IS NOT NULL
GROUP BY adapter ORDER BY adapter;
