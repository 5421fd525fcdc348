-- Alerts: how they stand, what has to be told of them, who works, and the figures they are judged by.

-- name: hold_alert_lease
-- Take the lease as $1 for $2 where nobody has it, or hold it longer; no row: somebody else has it.
INSERT INTO alert_lease AS l (holder, term, until) VALUES ($1, 1, clock_timestamp() + $2::interval)
ON CONFLICT (one) DO UPDATE SET
    holder = $1,
    term = l.term + (l.holder <> $1)::int,
    until = clock_timestamp() + $2::interval
WHERE l.holder = $1 OR l.until < clock_timestamp()
RETURNING term;

-- name: leave_alert_lease
-- Let somebody else take it at once.
UPDATE alert_lease SET until = '-infinity' WHERE holder = $1;

-- name: recent_alerts
-- What is not over, and what was over since $1: the readings of then may be heard once more.
SELECT * FROM alerts WHERE state <> 'resolved' OR resolved_at > $1;

-- name: keep_alerts
-- Write alerts as they stand; who has acknowledged one meanwhile stays.
INSERT INTO alerts AS a (
    id, rule, subject, severity, state, since, value, worst, read_at, calm_since, fired_at,
    resolved_at, acknowledged_at, acknowledged_by, note
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::float8[],
    $8::float8[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
    $13::timestamptz[], $14::text[], $15::text[]
)
ON CONFLICT (id) DO UPDATE SET
    state = CASE WHEN a.state = 'acknowledged' AND excluded.state = 'firing' THEN a.state
        ELSE excluded.state END,
    severity = excluded.severity,
    value = excluded.value,
    worst = excluded.worst,
    read_at = excluded.read_at,
    calm_since = excluded.calm_since,
    fired_at = excluded.fired_at,
    resolved_at = excluded.resolved_at;

-- name: forget_pending_alerts
-- Those that were calm again before they fired.
DELETE FROM alerts WHERE id = ANY($1::text[]) AND state = 'pending';

-- name: acknowledged_alerts
-- Who sees to what, of those that are not over.
SELECT id, acknowledged_at, acknowledged_by, note FROM alerts WHERE state = 'acknowledged';

-- name: acknowledge_alert
-- $2 sees to it since $3, and says $4.
UPDATE alerts SET state = 'acknowledged', acknowledged_by = $2, acknowledged_at = $3, note = $4
WHERE id = $1
RETURNING *;

-- name: alert_called
-- The alerts called $1: by the whole id, or by the six letters that messages show of it.
SELECT * FROM alerts WHERE id = $1 OR (length($1) = 6 AND right(id, 6) = $1)
ORDER BY since DESC
LIMIT 2
FOR UPDATE;

-- name: alerts_listed
-- Those in one of the states $1, latest first.
SELECT * FROM alerts WHERE state = ANY($1::text[])
ORDER BY resolved_at IS NOT NULL, since DESC, id
LIMIT $2;

-- name: keep_notices
-- What has to be told; one that is there already is the same.
INSERT INTO alert_notices (id, said, severity, at, title, line, body)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[]
)
ON CONFLICT (id) DO NOTHING;

-- name: keep_deliveries
-- On which channel; $3 is when it was taken, where that was before it could be written down.
INSERT INTO alert_deliveries (notice, channel, sent_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
ON CONFLICT (notice, channel) DO NOTHING;

-- name: waiting_notices
-- What waits on channel $1, criticals first, then the oldest.
SELECT n.* FROM alert_deliveries AS d JOIN alert_notices AS n ON n.id = d.notice
WHERE d.channel = $1 AND d.sent_at IS NULL
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], n.severity), n.at, n.id
LIMIT $2;

-- name: count_waiting_notices
-- How many wait on each channel, and since when the oldest.
SELECT d.channel, count(*) AS waiting, min(n.at) AS oldest
FROM alert_deliveries AS d JOIN alert_notices AS n ON n.id = d.notice
WHERE d.sent_at IS NULL
GROUP BY d.channel;

-- name: known_channels
-- Make the channels $1 known, and return how each stands.
WITH made AS (
    INSERT INTO alert_channels (channel, known_since, next_at)
    SELECT channel, clock_timestamp(), 'epoch' FROM unnest($1::text[]) AS channel
    ON CONFLICT (channel) DO NOTHING
    RETURNING *
)
SELECT * FROM made UNION ALL SELECT * FROM alert_channels WHERE channel = ANY($1);

-- name: channel_names
-- The channels that the process has made known.
SELECT channel FROM alert_channels ORDER BY channel;

-- name: deliveries_of
-- Where the notices $1 went, and when.
SELECT notice, channel, sent_at FROM alert_deliveries WHERE notice = ANY($1::text[]);

-- name: claim_message
-- Before a message goes out: whoever comes after us keeps the distance to it.
UPDATE alert_channels SET next_at = $2 WHERE channel = $1;

-- name: sent_notices
-- A channel has taken these.
UPDATE alert_deliveries SET sent_at = clock_timestamp(), attempts = attempts + 1
WHERE channel = $1 AND notice = ANY($2::text[]) AND sent_at IS NULL;

-- name: unsent_notices
-- A channel did not take these; they wait on.
UPDATE alert_deliveries SET attempts = attempts + 1
WHERE channel = $1 AND notice = ANY($2::text[]) AND sent_at IS NULL;

-- name: pace_channel
-- How a channel stands after a message.
UPDATE alert_channels SET next_at = $2, failures = $3, failing_since = $4, failed_why = $5,
    taken_at = CASE WHEN $3 = 0 THEN clock_timestamp() ELSE taken_at END,
    tested_at = CASE WHEN $6 THEN clock_timestamp() ELSE tested_at END
WHERE channel = $1;

-- name: forget_alerts
-- What was over before $1.
DELETE FROM alerts WHERE resolved_at < $1;

-- name: forget_notices
-- What was told before $1.
DELETE FROM alert_notices AS n WHERE at < $1
    AND NOT EXISTS (SELECT FROM alert_deliveries WHERE notice = n.id AND sent_at IS NULL);

-- name: late_by_source
-- Of each shop the longest way from the platform's change to us, of orders that came first since $1; what is older than $2 is history that was brought in.
SELECT platform, shop,
    max(extract(epoch FROM received_at - updated_at))::float8 AS seconds
FROM orders
WHERE first_received_at > $1 AND updated_at < received_at AND updated_at > received_at - $2::interval
GROUP BY platform, shop
ORDER BY seconds DESC
LIMIT $3;

-- name: late_by_receipt
-- Of each shop the longest way from receipt to a verdict, of orders that came since $1 and were decided since $2 or are not; an order whose SKU nobody has mapped waits for a person, not for us.
SELECT platform, shop,
    max(extract(epoch FROM COALESCE(verdict_written_at, $3) - first_received_at))::float8 AS seconds
FROM orders
WHERE first_received_at > $1
    AND (verdict_written_at > $2
        OR (verdict_written_at IS NULL AND reservation = 'asking'
            AND COALESCE(cardinality(unmapped), 0) = 0))
GROUP BY platform, shop
ORDER BY seconds DESC
LIMIT $4;

-- name: short_stock
-- What is short now, and since when it is so short.
SELECT sku, shortfall,
    COALESCE((SELECT max(at) FROM shortfalls WHERE sku = stock.sku), changed_at) AS short_since
FROM stock
WHERE shortfall > 0
ORDER BY shortfall DESC, sku
LIMIT $1;

-- name: shortfalls_since
-- How shortfalls came and went since $1.
SELECT sku, at, before, shortfall FROM shortfalls WHERE at > $1 ORDER BY at, version LIMIT $2;

-- name: stuck_orders
-- Orders that came since $1 and have been asking for longer than $2.
SELECT count(*) FROM orders
WHERE first_received_at > $1 AND reservation = 'asking' AND changed_at < $2
    AND COALESCE(cardinality(unmapped), 0) = 0;

-- name: unmapped_orders
-- Orders that have waited for a mapping since before $1.
SELECT count(*) FROM orders
WHERE cardinality(unmapped) > 0 AND verdict_written_at IS NULL AND first_received_at < $1;

-- name: stuck_cases
-- Orders with a case that nobody has touched since $1.
SELECT count(*) FROM orders WHERE open_case IS NOT NULL AND changed_at < $1;

-- name: overdue_holds
-- Holds that should have been given back before $1.
SELECT count(*) FROM holds WHERE ended_at IS NULL AND deadline_at < $1;

-- name: stuck_fetches
-- Orders that a thin message named before $1 and that are still to be fetched.
SELECT count(*) FROM poll_fetches WHERE first_wanted_at < $1;

-- name: count_open_drifts
-- Differences between stores that wait for a person.
SELECT count(*) FROM drifts WHERE status = 'open';

-- name: may_read
-- Whether there is a table of this name that we may read.
SELECT COALESCE(has_table_privilege(to_regclass($1), 'SELECT'), false);

-- name: paused_shops
-- Shops whose messages are set aside, and since when.
SELECT platform, shop, paused_at FROM intake_pauses WHERE resumed_at IS NULL LIMIT $1;

-- name: strayed_trails
-- How many rows the default partitions hold, which catch what belongs to no month that is ready.
SELECT relname AS trail, n_live_tup AS strayed
FROM pg_stat_user_tables
WHERE relname = ANY($1::text[]);

-- name: is_table
-- Whether there is a table of this name.
SELECT to_regclass($1) IS NOT NULL;

-- name: canary_came_through
-- When the keepers' verdict on order $1 of after $2 was written down; none: not yet.
SELECT max(at) FROM order_events WHERE order_key = $1 AND at > $2 AND event = 'order.short';
