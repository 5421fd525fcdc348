-- Settlement files, what their lines add up to, and what differs from our orders.

-- name: settlement_turn
-- Of one shop one at a time, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('orderflow settlement ' || $1 || ':' || $2, 0));

-- name: settlement_file_again
-- The file of these bytes that counts already.
SELECT id FROM settlement_files
WHERE platform = $1 AND shop = $2 AND digest = $3 AND withdrawn_at IS NULL;

-- name: settlement_file_taken
-- A file that counts from now on.
INSERT INTO settlement_files (
    id, digest, file_name, file_bytes, template, platform, shop, operator, period_from,
    period_until, row_count, line_count, repeat_count, name_count, order_count, adds_up, sums
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: settlement_file
-- One file.
SELECT * FROM settlement_files WHERE id = $1;

-- name: settlement_files_listed
-- A page of files before $1, latest first, of one platform ($2) and shop ($3), all where NULL.
SELECT * FROM settlement_files
WHERE id < COALESCE($1, '~') AND ($2::text IS NULL OR platform = $2)
    AND ($3::text IS NULL OR shop = $3)
ORDER BY id DESC LIMIT $4;

-- name: settlement_lines_known
-- Which of these movements ($3) of a shop are there already.
SELECT movement, part, file, line, order_said, amount_minor, currency
FROM settlement_lines
WHERE platform = $1 AND shop = $2 AND movement = ANY ($3::text[]);

-- name: settlement_repeats_of_file
-- Lines of a file that another file brought before, first $2.
SELECT line, part, first_file, first_line FROM settlement_repeats
WHERE file = $1 ORDER BY line, part LIMIT $2;

-- name: settlement_later_files
-- Files that repeat lines of this one, and count.
SELECT DISTINCT file FROM settlement_repeats WHERE first_file = $1 ORDER BY file;

-- name: settlement_withdrawn
-- A file counts no more.
UPDATE settlement_files
SET withdrawn_at = clock_timestamp(), withdrawn_by = $2, withdrawn_why = $3
WHERE id = $1 AND withdrawn_at IS NULL;

-- name: settlement_lines_withdrawn
-- The lines of a file go; which orders they were of.
WITH gone AS (DELETE FROM settlement_lines WHERE file = $1 RETURNING order_key)
SELECT DISTINCT order_key FROM gone WHERE order_key IS NOT NULL;

-- name: settlement_repeats_withdrawn
-- Nor does a file that counts no more repeat anything.
DELETE FROM settlement_repeats WHERE file = $1;

-- name: settlement_names_told
-- Which orders these names are; said again, the last counts.
INSERT INTO settlement_names (platform, shop, name, order_key)
SELECT $1, $2, said.name, said.order_key
FROM unnest($3::text[], $4::text[]) AS said (name, order_key)
ON CONFLICT (platform, shop, name) DO UPDATE SET order_key = excluded.order_key;

-- name: settlement_names_of
-- Which orders these names ($3) are, as far as it was told.
SELECT name, order_key FROM settlement_names
WHERE platform = $1 AND shop = $2 AND name = ANY ($3::text[]);

-- name: settlement_lines_named
-- Lines that went by a name get the order that it was told to be; which orders change by that.
WITH moved AS (
    UPDATE settlement_lines AS line SET order_key = told.order_key
    FROM settlement_names AS told
    WHERE told.platform = $1 AND told.shop = $2 AND told.name = ANY ($3::text[])
        AND line.order_key = $1 || ':' || $2 || ':' || told.name
    RETURNING $1 || ':' || $2 || ':' || told.name AS before, line.order_key AS after
)
SELECT DISTINCT key FROM moved CROSS JOIN LATERAL (VALUES (before), (after)) AS both_ (key);

-- name: settlement_orders_of_file
-- The orders that a file has lines of.
SELECT DISTINCT order_key FROM settlement_lines WHERE file = $1 AND order_key IS NOT NULL;

-- name: settlement_sums
-- Add up the lines of these orders ($3) anew; they are to be judged.
INSERT INTO settlement_orders AS known (
    order_key, platform, shop, line_count, currencies, paid_minor, refunded_minor, fees_minor,
    other_minor, settled_at
)
SELECT order_key, $1, $2, count(*), array_agg(DISTINCT currency),
    COALESCE(sum(amount_minor) FILTER (WHERE kind = 'payment'), 0)::bigint,
    COALESCE(-sum(amount_minor) FILTER (WHERE kind = 'refund'), 0)::bigint,
    COALESCE(sum(amount_minor) FILTER (WHERE kind = 'fee'), 0)::bigint,
    COALESCE(sum(amount_minor) FILTER (WHERE kind = 'other'), 0)::bigint,
    max(at)
FROM settlement_lines
WHERE order_key = ANY ($3::text[])
GROUP BY order_key
ON CONFLICT (order_key) DO UPDATE SET
    line_count = excluded.line_count, currencies = excluded.currencies,
    paid_minor = excluded.paid_minor, refunded_minor = excluded.refunded_minor,
    fees_minor = excluded.fees_minor, other_minor = excluded.other_minor,
    settled_at = excluded.settled_at, judged_at = NULL;

-- name: settlement_orders_emptied
-- Orders among these that no line is left of: what was said of them counts no more.
DELETE FROM settlement_orders AS known
WHERE order_key = ANY ($1::text[])
    AND NOT EXISTS (SELECT FROM settlement_lines AS line WHERE line.order_key = known.order_key);

-- name: settlement_coverage
-- How far the files of a shop reach.
SELECT min(period_from) AS covered_from, max(period_until) AS covered_until
FROM settlement_files WHERE platform = $1 AND shop = $2 AND withdrawn_at IS NULL;

-- name: settlement_unsettled
-- Orders of a shop that were paid while files cover it, from $3 on and so long ($5) before they end ($4), and are in none: they are to be judged. $6: statuses of what was paid; $7: received since then.
INSERT INTO settlement_orders (order_key, platform, shop)
SELECT order_key, platform, shop
FROM orders
WHERE platform = $1 AND shop = $2 AND first_received_at >= $7
    AND COALESCE(paid_at, created_at) >= $3 AND COALESCE(paid_at, created_at) <= $4::timestamptz - $5::interval
    AND (paid_at IS NOT NULL OR COALESCE(status, platform_status) = ANY ($6::text[]))
    AND EXISTS (
        SELECT FROM settlement_files AS file
        WHERE file.platform = $1 AND file.shop = $2 AND file.withdrawn_at IS NULL
            AND COALESCE(orders.paid_at, orders.created_at) BETWEEN file.period_from AND file.period_until
    )
ON CONFLICT (order_key) DO NOTHING;

-- name: settlement_unsettled_forgotten
-- What was in no file of a shop; it is looked for anew.
DELETE FROM settlement_orders WHERE platform = $1 AND shop = $2 AND line_count = 0;

-- name: settlement_to_judge
-- A page of a shop's orders after $3, with what is known of each; those alone that are new, open or awaited if $4.
SELECT known.order_key, line_count, currencies, known.paid_minor AS their_paid,
    known.refunded_minor AS their_refunded, settled_at,
    orders.order_key IS NOT NULL AS is_ours, orders.currency, orders.paid_minor, orders.total_minor,
    orders.refunded_minor, orders.refund, COALESCE(orders.status, orders.platform_status) AS status,
    orders.paid_at, orders.created_at, orders.updated_at
FROM settlement_orders AS known LEFT JOIN orders USING (order_key)
WHERE known.platform = $1 AND known.shop = $2 AND known.order_key > $3
    AND (NOT $4 OR judged_at IS NULL OR is_open OR verdict = 'awaited')
ORDER BY known.order_key
LIMIT $5;

-- name: settlement_judged
-- What was found of these orders; a difference is open unless somebody resolved these very facts.
UPDATE settlement_orders AS known SET
    our_currency = said.currency, our_paid_minor = said.paid, our_refunded_minor = said.refunded,
    verdict = said.verdict, facts = said.facts, at = said.at, judged_at = clock_timestamp(),
    is_open = said.differs AND NOT EXISTS (
        SELECT FROM settlement_resolutions AS done
        WHERE done.order_key = known.order_key AND done.verdict = said.verdict AND done.facts = said.facts
    )
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[],
    $8::boolean[]
) AS said (order_key, verdict, facts, currency, paid, refunded, at, differs)
WHERE known.order_key = said.order_key;

-- name: settlement_shops
-- The shops that files were taken of.
SELECT DISTINCT platform, shop FROM settlement_files WHERE withdrawn_at IS NULL ORDER BY platform, shop;

-- name: settlement_differences_open
-- A page of open differences before ($1, $2), latest first, of a verdict ($3), platform ($4), shop ($5), all where NULL.
SELECT * FROM settlement_orders
WHERE is_open AND (at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
    AND ($3::text IS NULL OR verdict = $3)
    AND ($4::text IS NULL OR platform = $4)
    AND ($5::text IS NULL OR shop = $5)
ORDER BY at DESC, order_key DESC LIMIT $6;

-- name: settlement_differences_all
-- The same with those that were resolved.
SELECT * FROM settlement_orders
WHERE verdict NOT IN ('agrees', 'awaited')
    AND (at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
    AND ($3::text IS NULL OR verdict = $3)
    AND ($4::text IS NULL OR platform = $4)
    AND ($5::text IS NULL OR shop = $5)
ORDER BY at DESC, order_key DESC LIMIT $6;

-- name: settlement_counts
-- How many differences are open, by verdict, of a platform ($1) and shop ($2), all where NULL.
SELECT verdict, count(*) AS orders FROM settlement_orders
WHERE is_open AND ($1::text IS NULL OR platform = $1) AND ($2::text IS NULL OR shop = $2)
GROUP BY verdict ORDER BY verdict;

-- name: settlement_order
-- How one order stands.
SELECT * FROM settlement_orders WHERE order_key = $1;

-- name: settlement_lines_of_order
-- The lines of one order, oldest first, at most $2.
SELECT line.*, file.file_name FROM settlement_lines AS line JOIN settlement_files AS file ON file.id = line.file
WHERE order_key = $1 ORDER BY at, file, line, part LIMIT $2;

-- name: settlement_resolutions_of
-- What people said of one order, latest first, at most $2.
SELECT * FROM settlement_resolutions WHERE order_key = $1 ORDER BY id DESC LIMIT $2;

-- name: settlement_resolved
-- Open differences of these orders ($1) are resolved, where the facts are those that were seen ($2, NULL: as they are); which.
WITH closed AS (
    UPDATE settlement_orders AS known SET is_open = false
    FROM unnest($1::text[], $2::text[]) AS said (order_key, facts)
    WHERE known.order_key = said.order_key AND is_open
        AND known.facts = COALESCE(said.facts, known.facts)
    RETURNING known.order_key, known.verdict, known.facts
), kept AS (
    INSERT INTO settlement_resolutions (order_key, verdict, facts, by, why)
    SELECT order_key, verdict, facts, $3, $4 FROM closed
)
SELECT order_key FROM closed;
