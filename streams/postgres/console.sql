-- The console: who its users are and what they did; and how orders and stock are looked for.

-- name: console_users_listed
-- Everybody who may log in or might, by name from $1 on, at most $2 where it is given; no passwords.
SELECT name, role, must_change, made_at, made_by, changed_at, changed_by, disabled_at,
    (SELECT max(seen_at) FROM console_sessions WHERE console_sessions.name = console_users.name)
        AS seen_at
FROM console_users WHERE name >= $1 ORDER BY name LIMIT $2::bigint;

-- name: console_user
-- One user, with the hash of the password.
SELECT name, role, password, must_change, disabled_at FROM console_users WHERE name = $1;

-- name: make_console_user
-- A new user; nothing where there is one of that name.
INSERT INTO console_users (name, role, password, must_change, made_by, changed_by)
VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (name) DO NOTHING;

-- name: make_first_console_user
-- The first user, where there is nobody yet, however many ask at once.
INSERT INTO console_users (name, role, password, must_change, made_by, changed_by)
SELECT $1, $2, $3, true, $4, $4
WHERE NOT EXISTS (SELECT FROM console_users)
ON CONFLICT (name) DO NOTHING;

-- name: set_console_password
-- Another password; whoever did not choose it has to change it.
UPDATE console_users
SET password = $2, must_change = $3, changed_at = clock_timestamp(), changed_by = $4
WHERE name = $1;

-- name: swap_console_password
-- A user's own new password, where the old one is still the one that was looked at.
UPDATE console_users
SET password = $3, must_change = false, changed_at = clock_timestamp(), changed_by = $1
WHERE name = $1 AND password = $2 AND disabled_at IS NULL;

-- name: set_console_role
-- Another role, or an end ($3), for one user.
UPDATE console_users
SET role = COALESCE($2, role), disabled_at = CASE WHEN $3 THEN COALESCE(disabled_at, clock_timestamp()) END,
    changed_at = clock_timestamp(), changed_by = $4
WHERE name = $1;

-- name: lock_console_admins
-- Every admin who may log in, and nobody else's until the transaction ends: one of them has to stay.
SELECT name FROM console_users WHERE role = 'admin' AND disabled_at IS NULL ORDER BY name FOR UPDATE;

-- name: end_console_sessions
-- Log a user out everywhere, but where the session is $2.
DELETE FROM console_sessions WHERE name = $1 AND id IS DISTINCT FROM $2::bytea;

-- name: begin_console_session
-- A user has logged in, where the password is still the one that was looked at ($4): who is changed
-- meanwhile is logged out with all sessions, and this one would come after that.
INSERT INTO console_sessions (id, name, csrf)
SELECT $1, name, $3
FROM console_users
WHERE name = $2 AND password = $4 AND disabled_at IS NULL
FOR SHARE;

-- name: console_session
-- Whose session this is, if it counts: not older than $2, not idle for longer than $3.
SELECT session.name, session.csrf, session.seen_at, person.role, person.must_change
FROM console_sessions AS session JOIN console_users AS person USING (name)
WHERE session.id = $1 AND person.disabled_at IS NULL
    AND session.made_at > clock_timestamp() - $2::interval
    AND session.seen_at > clock_timestamp() - $3::interval;

-- name: see_console_session
-- It was used just now.
UPDATE console_sessions SET seen_at = clock_timestamp() WHERE id = $1;

-- name: end_console_session
-- Log out.
DELETE FROM console_sessions WHERE id = $1;

-- name: sweep_console
-- Forget what counts no more: sessions older than $1 or idle for longer than $2, attempts older than $3.
WITH ended AS (
    DELETE FROM console_sessions
    WHERE made_at < clock_timestamp() - $1::interval OR seen_at < clock_timestamp() - $2::interval
)
DELETE FROM console_attempts WHERE at < clock_timestamp() - $3::interval;

-- name: note_console_attempt
-- Somebody tries to log in, with this name, from there.
INSERT INTO console_attempts (name, address) VALUES ($1, $2);

-- name: count_console_attempts
-- How often that was tried within $3: with this name, and from there.
SELECT
    (SELECT count(*) FROM console_attempts WHERE name = $1 AND at > clock_timestamp() - $3::interval)
        AS of_name,
    (SELECT count(*) FROM console_attempts WHERE address = $2 AND at > clock_timestamp() - $3::interval)
        AS of_address;

-- name: forget_console_attempts
-- Who has logged in has not failed.
DELETE FROM console_attempts WHERE name = $1;

-- name: note_console_action
-- Somebody is about to do this; of one form ($7) one after the other, so that numbers are in their order.
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended($7::text, 0)))
INSERT INTO console_audit (by, role, address, did, about, why, command)
SELECT $1, $2, $3, $4, $5, $6, $7 FROM turn RETURNING id;

-- name: console_action_is_first
-- Whether nobody's ($1) earlier action than $2, of the last $4, is of the same form ($3), unless that was refused.
SELECT NOT EXISTS (
    SELECT FROM (
        SELECT command, outcome FROM console_audit WHERE by = $1 AND id < $2 ORDER BY id DESC LIMIT $4
    ) AS earlier
    WHERE command = $3
        AND (outcome IS NULL OR outcome NOT IN ('refused', 'rejected', 'not found', 'forbidden'))
);

-- name: note_console_outcome
-- What came of it.
UPDATE console_audit SET outcome = $2, said = $3 WHERE id = $1 AND outcome IS NULL;

-- name: console_actions
-- What was done, latest first, before $1, by one person where $2 names one.
SELECT id, at, by, role, address, did, about, why, command, outcome, said
FROM console_audit
WHERE id < COALESCE($1::bigint, 9223372036854775807) AND ($2::text IS NULL OR by = $2)
ORDER BY id DESC LIMIT $3;

-- name: orders_walked
-- Orders received before ($1, $2) and not before $3, latest first, of a status ($4), platform, shop, that want attention ($7), all where NULL; looks at $8 orders, returns $9.
SELECT walk.*, CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
    AS reservation_now
FROM (
    SELECT order_key, order_id, platform, shop, COALESCE(status, platform_status) AS status, refund,
        reservation, open_case, unmapped, currency, total_minor, paid_minor, created_at, paid_at,
        shipped_at, deadline_at, first_received_at
    FROM orders
    WHERE (first_received_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
        AND first_received_at >= COALESCE($3, '-infinity'::timestamptz)
    ORDER BY first_received_at DESC, order_key DESC
    LIMIT $8
) AS walk
WHERE ($4::text IS NULL OR status = $4)
    AND ($5::text IS NULL OR platform = $5)
    AND ($6::text IS NULL OR shop = $6)
    AND ($7::text IS NULL
        OR ($7 = 'case' AND open_case IS NOT NULL)
        OR ($7 = 'unmapped' AND cardinality(unmapped) > 0)
        OR ($7 = 'short' AND reservation IN ('short', 'partial'))
        OR ($7 = 'ready' AND status = 'PAID' AND reservation = 'reserved' AND open_case IS NULL
            AND COALESCE(refund, 'NONE') NOT IN ('REFUNDING', 'REFUNDED')))
ORDER BY first_received_at DESC, order_key DESC
LIMIT $9;

-- name: orders_walk_end
-- Where such a walk over $4 orders ends; nothing where there are fewer.
SELECT first_received_at, order_key
FROM orders
WHERE (first_received_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
    AND first_received_at >= COALESCE($3, '-infinity'::timestamptz)
ORDER BY first_received_at DESC, order_key DESC
OFFSET $4 - 1 LIMIT 1;

-- name: orders_found
-- Orders of an id, key or SKU ($10), a phone's tail or a parcel ($11), that carry all of some labels and fields ($12), with what orders_walked asks ($8 is not used).
WITH candidate AS (
    SELECT order_key FROM orders WHERE order_id = $10
    UNION SELECT order_key FROM orders WHERE order_key = $10
    UNION SELECT order_key FROM order_lines WHERE sku = $10
    UNION SELECT order_key FROM order_details WHERE found_by && $11::text[]
)
SELECT order_key, order_id, platform, shop, COALESCE(status, platform_status) AS status, refund,
    reservation, open_case, unmapped, currency, total_minor, paid_minor, created_at, paid_at,
    shipped_at, deadline_at, first_received_at,
    CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
        AS reservation_now
FROM candidate JOIN orders USING (order_key)
WHERE (first_received_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
    AND first_received_at >= COALESCE($3, '-infinity'::timestamptz)
    AND ($4::text IS NULL OR COALESCE(status, platform_status) = $4)
    AND ($5::text IS NULL OR platform = $5)
    AND ($6::text IS NULL OR shop = $6)
    AND ($7::text IS NULL
        OR ($7 = 'case' AND open_case IS NOT NULL)
        OR ($7 = 'unmapped' AND cardinality(unmapped) > 0)
        OR ($7 = 'short' AND reservation IN ('short', 'partial'))
        OR ($7 = 'ready' AND status = 'PAID' AND reservation = 'reserved' AND open_case IS NULL
            AND COALESCE(refund, 'NONE') NOT IN ('REFUNDING', 'REFUNDED')))
    AND (cardinality($12::text[]) = 0 OR cardinality($12) = (
        SELECT count(*) FROM order_annotation_words AS noted
        WHERE noted.word = ANY ($12) AND noted.received_at = orders.first_received_at
            AND noted.order_key = orders.order_key
    ))
    AND $8::bigint IS NOT NULL
ORDER BY first_received_at DESC, order_key DESC
LIMIT $9;

-- name: is_common_sku
-- Whether a SKU stands in $2 lines of orders or more; of those it looks at no more.
SELECT count(*) >= $2 AS is_common FROM (SELECT FROM order_lines WHERE sku = $1 LIMIT $2) AS its;

-- name: orders_of_common_sku
-- Orders of an id or of a SKU ($10) that very many have, latest first, with all of some labels and fields ($11) and what orders_walked asks; looks at $8 orders, returns $9.
SELECT walk.*, CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
    AS reservation_now
FROM (
    SELECT order_key, order_id, platform, shop, COALESCE(status, platform_status) AS status, refund,
        reservation, open_case, unmapped, currency, total_minor, paid_minor, created_at, paid_at,
        shipped_at, deadline_at, first_received_at
    FROM orders
    WHERE (first_received_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
        AND first_received_at >= COALESCE($3, '-infinity'::timestamptz)
    ORDER BY first_received_at DESC, order_key DESC
    LIMIT $8
) AS walk
CROSS JOIN LATERAL (
    SELECT FROM order_lines
    WHERE order_lines.order_key = walk.order_key AND (sku = $10 OR order_id = $10)
    LIMIT 1
) AS its
WHERE ($4::text IS NULL OR status = $4)
    AND ($5::text IS NULL OR platform = $5)
    AND ($6::text IS NULL OR shop = $6)
    AND ($7::text IS NULL
        OR ($7 = 'case' AND open_case IS NOT NULL)
        OR ($7 = 'unmapped' AND cardinality(unmapped) > 0)
        OR ($7 = 'short' AND reservation IN ('short', 'partial'))
        OR ($7 = 'ready' AND status = 'PAID' AND reservation = 'reserved' AND open_case IS NULL
            AND COALESCE(refund, 'NONE') NOT IN ('REFUNDING', 'REFUNDED')))
    AND (cardinality($11::text[]) = 0 OR cardinality($11) = (
        SELECT count(*) FROM order_annotation_words AS noted
        WHERE noted.word = ANY ($11) AND noted.received_at = walk.first_received_at
            AND noted.order_key = walk.order_key
    ))
ORDER BY first_received_at DESC, order_key DESC
LIMIT $9;

-- name: orders_figured
-- Orders behind a figure of when they were placed, before ($1, $2), latest first: on days $5 to $6 of their shop, in the hour $7, gone back at all ($10), counted ($11), of a country ($12), province ($13), currency ($14), platform ($15), shop ($16), status ($17), all where NULL; looks at $3 orders, returns $4 ($8 and $9 are not used). Looks up no more than it returns, where it leaves none out.
WITH walk AS (
    SELECT COALESCE(created_at, first_received_at) AS placed_at, order_key FROM orders
    WHERE (COALESCE(created_at, first_received_at), order_key)
            < (COALESCE($1, 'infinity'::timestamptz), $2)
        AND COALESCE(created_at, first_received_at) >= figured_from($5::date)
        AND COALESCE(created_at, first_received_at) < figured_until($6::date)
    ORDER BY COALESCE(created_at, first_received_at) DESC, order_key DESC
    LIMIT $3
)
SELECT o.order_key, o.order_id, o.platform, o.shop, COALESCE(status, platform_status) AS status, refund,
    reservation, open_case, unmapped, o.currency, o.total_minor, paid_minor, created_at, paid_at,
    shipped_at, deadline_at, o.first_received_at, found.placed_at, found.back_at,
    CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
        AS reservation_now
FROM walk
CROSS JOIN LATERAL (
    SELECT * FROM figured_orders WHERE figured_orders.order_key = walk.order_key OFFSET 0
) AS found
CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.order_key = walk.order_key OFFSET 0) AS o
WHERE ($5::date IS NULL OR found.day >= $5) AND ($6::date IS NULL OR found.day <= $6)
    AND ($7::timestamptz IS NULL OR found.hour = $7)
    AND (NOT $10 OR found.back_at IS NOT NULL) AND (NOT $11 OR found.counted)
    AND ($12::text IS NULL OR found.country = $12) AND ($13::text IS NULL OR found.province = $13)
    AND ($14::text IS NULL OR found.currency = $14)
    AND ($15::text IS NULL OR o.platform = $15) AND ($16::text IS NULL OR o.shop = $16)
    AND ($17::text IS NULL OR COALESCE(status, platform_status) = $17)
    AND $8::date IS NULL AND $9::date IS NULL
ORDER BY walk.placed_at DESC, walk.order_key DESC
LIMIT $4;

-- name: orders_figured_end
-- Where such a page has looked to that looked at $3 orders; nothing where there are fewer.
SELECT COALESCE(created_at, first_received_at) AS at, order_key
FROM orders
WHERE (COALESCE(created_at, first_received_at), order_key)
        < (COALESCE($1, 'infinity'::timestamptz), $2)
    AND COALESCE(created_at, first_received_at) >= figured_from($4::date)
    AND COALESCE(created_at, first_received_at) < figured_until($5::date)
ORDER BY COALESCE(created_at, first_received_at) DESC, order_key DESC
OFFSET $3 - 1 LIMIT 1;

-- name: orders_figured_back
-- Orders behind a figure of when they went back, before ($1, $2), the latest back first: on days $8 to $9 of their shop, in the hour $7, with what else orders_figured asks; looks at $3 refunds and returns. Of each order only the first of them counts, which is when it went back.
WITH walk AS (
    SELECT at, order_key
    FROM (
        (
            SELECT refunded_at AS at, order_key FROM orders
            WHERE (refunded_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
                AND refunded_at >= figured_from($8::date)
                AND refunded_at < figured_until($9::date)
            ORDER BY refunded_at DESC, order_key DESC
            LIMIT $3
        )
        UNION
        (
            SELECT DISTINCT at, order_key FROM returns
            WHERE disposition <> 'lost'
                AND (at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
                AND at >= figured_from($8::date)
                AND at < figured_until($9::date)
            ORDER BY at DESC, order_key DESC
            LIMIT $3
        )
    ) AS came
    ORDER BY at DESC, order_key DESC
    LIMIT $3
)
SELECT o.order_key, o.order_id, o.platform, o.shop, COALESCE(status, platform_status) AS status, refund,
    reservation, open_case, unmapped, o.currency, o.total_minor, paid_minor, created_at, paid_at,
    shipped_at, deadline_at, o.first_received_at, found.placed_at, found.back_at,
    CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
        AS reservation_now
FROM walk
CROSS JOIN LATERAL (
    SELECT * FROM figured_orders WHERE figured_orders.order_key = walk.order_key OFFSET 0
) AS found
CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.order_key = walk.order_key OFFSET 0) AS o
WHERE found.back_at = walk.at
    AND ($5::date IS NULL OR found.day >= $5) AND ($6::date IS NULL OR found.day <= $6)
    AND ($7::timestamptz IS NULL OR CASE WHEN $8::date IS NULL THEN found.hour ELSE found.back_hour END = $7)
    AND ($8::date IS NULL OR found.back_day >= $8) AND ($9::date IS NULL OR found.back_day <= $9)
    AND (NOT $10 OR found.back_at IS NOT NULL) AND (NOT $11 OR found.counted)
    AND ($12::text IS NULL OR found.country = $12) AND ($13::text IS NULL OR found.province = $13)
    AND ($14::text IS NULL OR found.currency = $14)
    AND ($15::text IS NULL OR o.platform = $15) AND ($16::text IS NULL OR o.shop = $16)
    AND ($17::text IS NULL OR COALESCE(status, platform_status) = $17)
ORDER BY walk.at DESC, walk.order_key DESC
LIMIT $4;

-- name: orders_figured_back_end
-- Where such a page has looked to that looked at $3 refunds and returns; nothing where there are fewer.
SELECT at, order_key
FROM (
    (
        SELECT refunded_at AS at, order_key FROM orders
        WHERE (refunded_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
            AND refunded_at >= figured_from($4::date)
            AND refunded_at < figured_until($5::date)
        ORDER BY refunded_at DESC, order_key DESC
        LIMIT $3
    )
    UNION
    (
        SELECT DISTINCT at, order_key FROM returns
        WHERE disposition <> 'lost'
            AND (at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
            AND at >= figured_from($4::date)
            AND at < figured_until($5::date)
        ORDER BY at DESC, order_key DESC
        LIMIT $3
    )
) AS came
ORDER BY at DESC, order_key DESC
OFFSET $3 - 1 LIMIT 1;

-- name: orders_annotated
-- Orders that carry a field or label ($10) and all of others ($11), latest first, with what orders_walked asks; looks at $8 of those that carry the first, returns $9.
SELECT found.*
FROM (
    SELECT received_at, order_key
    FROM order_annotation_words
    WHERE word = $10
        AND (received_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
        AND received_at >= COALESCE($3, '-infinity'::timestamptz)
    ORDER BY received_at DESC, order_key DESC
    LIMIT $8
) AS walk CROSS JOIN LATERAL (
    SELECT order_key, order_id, platform, shop, COALESCE(status, platform_status) AS status, refund,
        reservation, open_case, unmapped, currency, total_minor, paid_minor, created_at, paid_at,
        shipped_at, deadline_at, first_received_at,
        CASE WHEN reservation = 'asking' AND cardinality(unmapped) > 0 THEN 'waiting' ELSE reservation END
            AS reservation_now
    FROM orders
    WHERE orders.order_key = walk.order_key
    OFFSET 0
) AS found
WHERE ($4::text IS NULL OR status = $4)
    AND ($5::text IS NULL OR platform = $5)
    AND ($6::text IS NULL OR shop = $6)
    AND ($7::text IS NULL
        OR ($7 = 'case' AND open_case IS NOT NULL)
        OR ($7 = 'unmapped' AND cardinality(unmapped) > 0)
        OR ($7 = 'short' AND reservation IN ('short', 'partial'))
        OR ($7 = 'ready' AND status = 'PAID' AND reservation = 'reserved' AND open_case IS NULL
            AND COALESCE(refund, 'NONE') NOT IN ('REFUNDING', 'REFUNDED')))
    AND (cardinality($11::text[]) = 0 OR cardinality($11) = (
        SELECT count(*) FROM order_annotation_words AS noted
        WHERE noted.word = ANY ($11) AND noted.received_at = walk.received_at
            AND noted.order_key = walk.order_key
    ))
ORDER BY walk.received_at DESC, walk.order_key DESC
LIMIT $9;

-- name: orders_annotated_end
-- Where such a walk over $4 orders that carry a field or label ($5) ends; nothing where there are fewer.
SELECT received_at AS first_received_at, order_key
FROM order_annotation_words
WHERE word = $5
    AND (received_at, order_key) < (COALESCE($1, 'infinity'::timestamptz), $2)
    AND received_at >= COALESCE($3, '-infinity'::timestamptz)
ORDER BY received_at DESC, order_key DESC
OFFSET $4 - 1 LIMIT 1;

-- name: to_ship
-- Orders that can go now, after ($1, $2), paid before $3, of a platform ($4), shop ($5), SKU of ours ($6), warehouse ($7), all where NULL; the longest paid first. Walks over the list of them, but of a SKU over what is held of it.
WITH page AS MATERIALIZED (
    (
        SELECT DISTINCT since, order_key
        FROM orders_to_ship
        WHERE $6::text IS NULL AND $7::text IS NULL
            AND (since, order_key) > (COALESCE($1, '-infinity'::timestamptz), $2)
            AND since < COALESCE($3, 'infinity'::timestamptz)
            AND ($4::text IS NULL OR platform = $4) AND ($5::text IS NULL OR shop = $5)
        ORDER BY since, order_key
        LIMIT $8
    )
    UNION ALL (
        SELECT since, order_key
        FROM orders_to_ship
        WHERE $6::text IS NULL AND warehouse = $7
            AND (since, order_key) > (COALESCE($1, '-infinity'::timestamptz), $2)
            AND since < COALESCE($3, 'infinity'::timestamptz)
            AND ($4::text IS NULL OR platform = $4) AND ($5::text IS NULL OR shop = $5)
        ORDER BY since, order_key
        LIMIT $8
    )
    UNION ALL (
        SELECT DISTINCT since, order_key
        FROM holds CROSS JOIN LATERAL (
            SELECT since, platform, shop FROM orders_to_ship
            WHERE orders_to_ship.order_key = holds.order_key
            OFFSET 0
        ) AS can_go
        -- With a warehouse behind it, a SKU is found by what comes after its @ in the index.
        WHERE (sku = $6 OR (sku >= $6 || '@' AND sku < $6 || 'A'))
            AND ended_at IS NULL AND bucket = 'occupied'
            AND ($7::text IS NULL OR (strpos(sku, '@') > 0 AND split_part(sku, '@', -1) = $7))
            AND (since, order_key) > (COALESCE($1, '-infinity'::timestamptz), $2)
            AND since < COALESCE($3, 'infinity'::timestamptz)
            AND ($4::text IS NULL OR platform = $4) AND ($5::text IS NULL OR shop = $5)
        ORDER BY since, order_key
        LIMIT $8
    )
)
SELECT page.order_key, order_id, platform, shop, status, since, held.*
FROM page JOIN orders ON orders.order_key = page.order_key CROSS JOIN LATERAL (
    SELECT sum(quantity)::bigint AS units,
        max(CASE WHEN strpos(sku, '@') > 0 THEN split_part(sku, '@', -1) ELSE '' END) AS warehouse,
        array_agg(sku ORDER BY sku) AS skus, array_agg(quantity ORDER BY sku) AS counts
    FROM (
        SELECT sku, quantity, bucket, ended_at FROM holds WHERE holds.order_key = page.order_key OFFSET 0
    ) AS its
    WHERE ended_at IS NULL AND bucket = 'occupied'
) AS held
ORDER BY since, page.order_key;

-- name: to_pack
-- What these orders are, and what each of them holds that has not left, whether or not they can go now.
SELECT order_key, order_id, platform, shop, COALESCE(status, platform_status) AS status,
    COALESCE(paid_at, first_received_at) AS since,
    COALESCE(warehouse, '') AS warehouse, COALESCE(units, 0) AS units,
    COALESCE(skus, '{}') AS skus, COALESCE(counts, '{}') AS counts
FROM orders LEFT JOIN LATERAL (
    SELECT sum(quantity)::bigint AS units,
        max(CASE WHEN strpos(sku, '@') > 0 THEN split_part(sku, '@', -1) ELSE '' END) AS warehouse,
        array_agg(sku ORDER BY sku) AS skus, array_agg(quantity ORDER BY sku) AS counts
    FROM (
        SELECT sku, quantity, bucket, ended_at FROM holds WHERE holds.order_key = orders.order_key OFFSET 0
    ) AS its
    WHERE ended_at IS NULL AND bucket = 'occupied'
) AS held ON true
WHERE order_key = ANY ($1::text[])
ORDER BY since, order_key;

-- name: lines_to_pack
-- The lines of these orders.
SELECT order_key, line_id, sku, title, quantity, refund FROM order_lines
WHERE order_key = ANY ($1::text[]) ORDER BY order_key, line_no;

-- name: marks_of_orders
-- A mark of each of these orders that changes whenever what is shown of it does.
SELECT order_key, version || '.'
    || COALESCE((SELECT sum(version) FROM holds WHERE holds.order_key = orders.order_key), 0) || '.'
    || COALESCE((SELECT version FROM order_details WHERE order_details.order_key = orders.order_key), 0) || '.'
    || COALESCE((SELECT version FROM order_annotations AS noted WHERE noted.order_key = orders.order_key), 0)
    AS mark
FROM orders WHERE order_key = ANY ($1::text[]);

-- name: marks_of_skus
-- A mark of each of these SKUs that changes with every move.
SELECT sku, version::text AS mark FROM stock WHERE sku = ANY ($1::text[]);

-- name: marks_of_exceptions
-- A mark of each of these exceptions that changes with every attempt, edit and end.
SELECT id, attempts || '.' || edits || '.' || (settled_at IS NOT NULL) AS mark
FROM parked WHERE id = ANY ($1::text[]);

-- name: stock_listed
-- A page of balances after $1, whose name begins with $2, with at most $3 available where it is given, short ones alone if $4.
SELECT sku, available, locked, occupied, reserved, frozen, shortfall, on_hand, changed_at
FROM stock
WHERE sku > $1 AND starts_with(sku, $2)
    AND ($3::bigint IS NULL OR available <= $3)
    AND (NOT $4 OR shortfall > 0)
ORDER BY sku
LIMIT $5;

-- name: moves_before
-- The trail of one SKU before a version, newest first, with the balance after each move.
SELECT * FROM stock_ledger WHERE sku = $1 AND version < COALESCE($2::bigint, 9223372036854775807)
ORDER BY version DESC LIMIT $3;
