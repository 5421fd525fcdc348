-- How many orders each channel had, hour by hour: what its silence is judged by.

-- name: orders_by_channel_and_hour
-- Orders received between $1 and $2, by channel and hour (UTC).
SELECT platform, shop, date_trunc('hour', first_received_at, 'UTC') AS hour, count(*) AS orders,
    max(first_received_at) AS last_at
FROM orders
WHERE first_received_at >= $1 AND first_received_at < $2
GROUP BY platform, shop, hour
ORDER BY platform, shop, hour;

-- name: open_silences
-- The silences that have begun and not ended.
SELECT id, platform, shop, last_order_at FROM channel_silences WHERE ended_at IS NULL;

-- name: begin_silence
-- A channel ($1, $2) has fallen silent since $3, noticed at $5; nothing where that is known already.
INSERT INTO channel_silences (platform, shop, last_order_at, expected, began_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (platform, shop) WHERE ended_at IS NULL DO NOTHING;

-- name: end_silence
-- Silence $1 ended at $2, by an order ($3) or because nothing is expected of the channel any more.
UPDATE channel_silences SET ended_at = GREATEST($2, began_at), by_order = $3
WHERE id = $1 AND ended_at IS NULL;

-- name: untold_silences
-- Silences of which an end, or the beginning, may not have been told yet; oldest first.
SELECT id, platform, shop, last_order_at, expected, began_at, ended_at, by_order,
    told_began_at IS NOT NULL AS told_began
FROM channel_silences
WHERE told_began_at IS NULL OR (ended_at IS NOT NULL AND told_ended_at IS NULL)
ORDER BY id
LIMIT $1;

-- name: told_silence
-- Both ends that there are of silence $1 have been told: the beginning, and the end if $2.
UPDATE channel_silences SET told_began_at = COALESCE(told_began_at, clock_timestamp()),
    told_ended_at = CASE WHEN $2 THEN clock_timestamp() ELSE told_ended_at END
WHERE id = $1;
