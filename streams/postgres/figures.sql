-- Figures: counted from the orders of a chunk, summed up by day, asked by pages and reports.

-- name: figures_one_at_a_time
-- Wait until nobody else counts; until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('orderflow figures'));

-- name: figures_sort_touched
-- Say which chunks the orders that were written belong to, $1 of them at most; return how many were looked at.
WITH taken AS (
    DELETE FROM figures_touched
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM figures_touched LIMIT $1))
    RETURNING order_key
), sorted AS (
    INSERT INTO figures_stale (platform, shop, chunk)
    SELECT DISTINCT platform, shop, date_trunc('hour', first_received_at, 'UTC')
    FROM taken JOIN orders USING (order_key)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM taken;

-- name: figures_take_stale
-- Take the latest $1 chunks that are to be counted anew.
DELETE FROM figures_stale
WHERE (chunk, platform, shop) IN (
    SELECT chunk, platform, shop FROM figures_stale ORDER BY chunk DESC, platform, shop LIMIT $1
)
RETURNING platform, shop, chunk;

-- name: figures_all_stale
-- Let every chunk be counted anew: of all shops, or of platform $1 and shop $2.
INSERT INTO figures_stale (platform, shop, chunk)
SELECT DISTINCT platform, shop, date_trunc('hour', first_received_at, 'UTC')
FROM orders
WHERE ($1::text IS NULL OR platform = $1) AND ($2::text IS NULL OR shop = $2)
ON CONFLICT DO NOTHING;

-- name: figures_of_no_order
-- Let chunks be counted anew that have figures and no orders.
INSERT INTO figures_stale (platform, shop, chunk)
SELECT DISTINCT platform, shop, chunk FROM figures_parts AS parts
WHERE NOT EXISTS (
    SELECT FROM orders
    WHERE orders.platform = parts.platform AND orders.shop = parts.shop
        AND first_received_at >= parts.chunk AND first_received_at < parts.chunk + interval '1 hour'
)
ON CONFLICT DO NOTHING;

-- name: figures_chunks_left
-- How many chunks are to be counted anew.
SELECT count(*) FROM figures_stale;

-- name: figures_orders_left
-- How many orders were written since.
SELECT count(*) FROM figures_touched;

-- name: figures_clocks
-- Whose day begins when.
SELECT platform, shop, zone, day_begins FROM shop_clocks;

-- name: figures_shops_without_clock
-- Shops that are to be counted and of which nobody has said yet when their day begins.
SELECT DISTINCT platform, shop FROM figures_stale AS stale
WHERE NOT EXISTS (
    SELECT FROM shop_clocks WHERE shop_clocks.platform = stale.platform AND shop_clocks.shop = stale.shop
);

-- name: figures_set_clock
-- A shop's zone and when its day begins.
INSERT INTO shop_clocks (platform, shop, zone, day_begins) VALUES ($1, $2, $3, $4)
ON CONFLICT (platform, shop) DO UPDATE SET zone = excluded.zone, day_begins = excluded.day_begins;

-- name: figures_knows_zone
-- Whether PostgreSQL knows a zone by this name.
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1);

-- name: figures_forget_parts
-- Take the figures of chunks away; return the days they were of.
WITH gone AS (
    DELETE FROM figures_parts AS parts
    USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (platform, shop, chunk)
    WHERE parts.platform = wanted.platform AND parts.shop = wanted.shop AND parts.chunk = wanted.chunk
    RETURNING parts.day, parts.platform, parts.shop
)
SELECT DISTINCT day, platform, shop FROM gone;

-- name: figures_of_chunks
-- What the orders of these chunks come to: by when they were placed, and by when money or goods went back. Each chunk is looked up in the shop's index, however many orders there are.
WITH base AS MATERIALIZED (
    SELECT wanted.chunk, found.*
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (platform, shop, chunk)
    CROSS JOIN LATERAL (
        SELECT * FROM figured_orders
        WHERE figured_orders.platform = wanted.platform AND figured_orders.shop = wanted.shop
            AND first_received_at >= wanted.chunk
            AND first_received_at < wanted.chunk + interval '1 hour'
            AND counted
        OFFSET 0
    ) AS found
)
SELECT platform, shop, chunk, day, hour, country, province, currency,
    sum(orders)::bigint AS orders, sum(priced)::bigint AS priced, sum(gmv)::numeric AS gmv,
    sum(returned)::bigint AS returned, sum(refunded)::numeric AS refunded,
    sum(back)::bigint AS back, sum(back_refunded)::numeric AS back_refunded
FROM (
    SELECT platform, shop, chunk, day, hour, country, province, currency, 1 AS orders,
        (total_minor IS NOT NULL)::int AS priced, COALESCE(total_minor, 0) AS gmv,
        (back_at IS NOT NULL)::int AS returned, refunded, 0 AS back, 0::bigint AS back_refunded
    FROM base
    UNION ALL
    SELECT platform, shop, chunk, back_day, back_hour, country, province, currency, 0, 0, 0, 0, 0, 1,
        refunded
    FROM base WHERE back_at IS NOT NULL
) AS each_order
GROUP BY platform, shop, chunk, day, hour, country, province, currency;

-- name: figures_forget_days
-- Take the sums of these days of these shops away.
DELETE FROM figures_days AS days
USING unnest($1::date[], $2::text[], $3::text[]) AS wanted (day, platform, shop)
WHERE days.day = wanted.day AND days.platform = wanted.platform AND days.shop = wanted.shop;

-- name: figures_sum_days
-- What the parts of these days of these shops come to.
SELECT parts.day, parts.platform, parts.shop, country, province, currency,
    sum(orders)::bigint AS orders, sum(priced)::bigint AS priced, sum(gmv) AS gmv,
    sum(returned)::bigint AS returned, sum(refunded) AS refunded, sum(back)::bigint AS back,
    sum(back_refunded) AS back_refunded
FROM unnest($1::date[], $2::text[], $3::text[]) AS wanted (day, platform, shop)
JOIN figures_parts AS parts
    ON parts.day = wanted.day AND parts.platform = wanted.platform AND parts.shop = wanted.shop
GROUP BY parts.day, parts.platform, parts.shop, country, province, currency;

-- name: figures_forget_flow
-- Take the flow times of chunks away.
DELETE FROM figures_flow AS flow
USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (platform, shop, chunk)
WHERE flow.platform = wanted.platform AND flow.shop = wanted.shop AND flow.chunk = wanted.chunk;

-- name: figures_flow_of_chunks
-- How many orders of these chunks took how long ($4: the ends of the slots, ms) from stage to stage.
SELECT wanted.platform, wanted.shop, wanted.chunk,
    width_bucket(GREATEST(took.ms, 0), $4::float8[])::smallint AS slot,
    count(*) FILTER (WHERE stage = 'raw') AS raw,
    count(*) FILTER (WHERE stage = 'normalised') AS normalised,
    count(*) FILTER (WHERE stage = 'reserved') AS reserved,
    count(*) FILTER (WHERE stage = 'ledger') AS ledger,
    count(*) FILTER (WHERE stage = 'whole') AS whole
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (platform, shop, chunk)
CROSS JOIN LATERAL (
    SELECT * FROM orders
    WHERE orders.platform = wanted.platform AND orders.shop = wanted.shop
        AND first_received_at >= wanted.chunk
        AND first_received_at < wanted.chunk + interval '1 hour'
    OFFSET 0
) AS received
CROSS JOIN LATERAL (VALUES
    ('raw', extract(epoch FROM first_received_at - stated_at)::float8 * 1000),
    ('normalised', extract(epoch FROM observed_at - first_received_at)::float8 * 1000),
    ('reserved', extract(epoch FROM verdict_at - observed_at)::float8 * 1000),
    ('ledger', extract(epoch FROM verdict_written_at - verdict_at)::float8 * 1000),
    ('whole', extract(epoch FROM verdict_written_at - first_received_at)::float8 * 1000)
) AS took (stage, ms)
WHERE took.ms IS NOT NULL
GROUP BY 1, 2, 3, 4;

-- name: figures_chunks
-- Every chunk there is, of orders and of figures, but those that are to be counted anew: since $1 where it is given.
WITH behind AS MATERIALIZED (
    SELECT platform, shop, chunk FROM figures_stale
    UNION
    SELECT platform, shop, date_trunc('hour', first_received_at, 'UTC')
    FROM figures_touched JOIN orders USING (order_key)
)
(
    SELECT DISTINCT platform, shop, date_trunc('hour', first_received_at, 'UTC') AS chunk
    FROM orders WHERE $1::timestamptz IS NULL OR first_received_at >= date_trunc('hour', $1, 'UTC')
    UNION
    SELECT DISTINCT platform, shop, chunk
    FROM figures_parts WHERE $1::timestamptz IS NULL OR chunk >= date_trunc('hour', $1, 'UTC')
)
EXCEPT SELECT platform, shop, chunk FROM behind
ORDER BY chunk, platform, shop;

-- name: figures_parts_of_chunks
-- The figures that are kept of these chunks.
SELECT parts.platform, parts.shop, parts.chunk, day, hour, country, province, currency, orders, priced,
    gmv, returned, refunded, back, back_refunded
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (platform, shop, chunk)
JOIN figures_parts AS parts
    ON parts.platform = wanted.platform AND parts.shop = wanted.shop AND parts.chunk = wanted.chunk;

-- name: figures_flow_kept
-- The flow times that are kept of these chunks.
SELECT flow.platform, flow.shop, flow.chunk, slot, raw, normalised, reserved, ledger, whole
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (platform, shop, chunk)
JOIN figures_flow AS flow
    ON flow.platform = wanted.platform AND flow.shop = wanted.shop AND flow.chunk = wanted.chunk;

-- name: figures_days_off
-- Days of shops whose sum is not that of their parts.
SELECT day, platform, shop
FROM (
    SELECT day, platform, shop, country, province, currency, sum(orders) AS orders,
        sum(priced) AS priced, sum(gmv) AS gmv, sum(returned) AS returned, sum(refunded) AS refunded,
        sum(back) AS back, sum(back_refunded) AS back_refunded, true AS is_part
    FROM figures_parts
    GROUP BY day, platform, shop, country, province, currency
    UNION ALL
    SELECT day, platform, shop, country, province, currency, orders, priced, gmv, returned, refunded,
        back, back_refunded, false
    FROM figures_days
) AS both_
GROUP BY day, platform, shop, country, province, currency, orders, priced, gmv, returned, refunded,
    back, back_refunded
HAVING count(*) <> 2
ORDER BY day, platform, shop;

-- name: figures
-- What was placed, and what went back, from day $2 to $3 of each shop, of a platform, shop, country, province, currency ($4 to $8, all where NULL): in all, by hour, day, week or month ($1), by shop, and by region. Hours alone are read from the parts.
SELECT span, NULL::timestamptz AS hour, platform, shop, country, province, currency,
    GROUPING(span) = 0 AS by_time, GROUPING(platform) = 0 AS by_shop, GROUPING(country) = 0 AS by_region,
    sum(orders)::bigint AS orders, sum(priced)::bigint AS priced, sum(gmv) AS gmv,
    sum(returned)::bigint AS returned, sum(refunded) AS refunded, sum(back)::bigint AS back,
    sum(back_refunded) AS back_refunded
FROM (
    SELECT *,
        CASE WHEN $1 IN ('hour', 'day') THEN day ELSE date_trunc($1, day::timestamp)::date END AS span
    FROM figures_days
) AS kept
WHERE day BETWEEN $2 AND $3
    AND ($4::text IS NULL OR platform = $4) AND ($5::text IS NULL OR shop = $5)
    AND ($6::text IS NULL OR country = $6) AND ($7::text IS NULL OR province = $7)
    AND ($8::text IS NULL OR currency = $8)
GROUP BY GROUPING SETS (
    (currency), (span, currency), (platform, shop, currency), (country, province, currency)
)
HAVING $1 <> 'hour' OR GROUPING(span) <> 0
UNION ALL
SELECT day, hour, NULL, NULL, NULL, NULL, currency, true, false, false, sum(orders)::bigint,
    sum(priced)::bigint, sum(gmv), sum(returned)::bigint, sum(refunded), sum(back)::bigint,
    sum(back_refunded)
FROM figures_parts
WHERE $1 = 'hour' AND day BETWEEN $2 AND $3
    AND ($4::text IS NULL OR platform = $4) AND ($5::text IS NULL OR shop = $5)
    AND ($6::text IS NULL OR country = $6) AND ($7::text IS NULL OR province = $7)
    AND ($8::text IS NULL OR currency = $8)
GROUP BY day, hour, currency
ORDER BY span, hour, gmv DESC, orders DESC, platform, shop, country, province, currency;

-- name: figures_flow_taken
-- How many orders received from $1 to before $2, of a platform ($3) and shop ($4), took how long.
SELECT slot, sum(raw)::bigint AS raw, sum(normalised)::bigint AS normalised,
    sum(reserved)::bigint AS reserved, sum(ledger)::bigint AS ledger, sum(whole)::bigint AS whole
FROM figures_flow
WHERE chunk >= $1 AND chunk < $2
    AND ($3::text IS NULL OR platform = $3) AND ($4::text IS NULL OR shop = $4)
GROUP BY slot ORDER BY slot;

-- name: reports_one_at_a_time
-- Wait until nobody else writes daily reports; until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('orderflow daily reports'));

-- name: reports_latest
-- What was said last of the days from $1 to $2.
SELECT DISTINCT ON (day) day, version, made_at, figures
FROM daily_reports WHERE day BETWEEN $1 AND $2
ORDER BY day, version DESC;

-- name: report_versions
-- All that was said of a day.
SELECT version, made_at, figures FROM daily_reports WHERE day = $1 ORDER BY version;

-- name: add_report
-- Say something of a day.
INSERT INTO daily_reports (day, version, figures) VALUES ($1, $2, $3);

-- name: reports_listed
-- Days that were reported, latest first, before $1.
SELECT day, count(*) AS versions, min(made_at) AS first_at, max(made_at) AS last_at
FROM daily_reports WHERE day < COALESCE($1::date, 'infinity'::date)
GROUP BY day ORDER BY day DESC LIMIT $2;
