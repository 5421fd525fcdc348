-- The queue of what goes out over HTTP. `$1` of kinds; all moments are the database's own.

-- name: queue_deliveries
-- Add messages for destinations, in this order; one that is there already is no second.
INSERT INTO deliveries (kind, destination, lane, message, about, body)
SELECT $1, destination, lane, message, about, body
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
    WITH ORDINALITY AS said (destination, lane, message, about, body, place)
ORDER BY place
ON CONFLICT (kind, destination, message) DO NOTHING;

-- name: lock_destinations
-- Destinations ($2) of kind $1 whose lanes nobody claims until the transaction ends.
SELECT 1 FROM delivery_destinations WHERE kind = $1 AND id = ANY ($2::text[])
ORDER BY id FOR NO KEY UPDATE;

-- name: queue_newest
-- Add messages of which the newest of a lane alone counts, by their version ($4) and then by when they are added; one that is older than what is there is none.
INSERT INTO deliveries (kind, destination, lane, message, about, body, newest_only)
SELECT $1, destination, lane, lpad(version::text, 20, '0') || '/'
    || lpad((EXTRACT(epoch FROM clock_timestamp()) * 1000000)::bigint::text, 20, '0'),
    $5, body, true
FROM unnest($2::text[], $3::text[], $4::bigint[], $6::bytea[])
    WITH ORDINALITY AS said (destination, lane, version, body, place)
WHERE NOT EXISTS (
    SELECT 1 FROM deliveries AS newer
    WHERE newer.kind = $1 AND newer.destination = said.destination AND newer.lane = said.lane
        AND newer.message > lpad(said.version::text, 20, '0') || '0' AND newer.newest_only
)
ORDER BY place
ON CONFLICT (kind, destination, message) DO NOTHING;

-- name: drop_older
-- What waits in these lanes ($2, $3) of kind $1, is not on its way, and is not the newest any more.
UPDATE deliveries AS older SET state = 'cancelled', ended_at = clock_timestamp(),
    leased_by = NULL, leased_until = NULL
FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::text[]) AS said (destination, lane)) AS touched
WHERE older.kind = $1 AND older.destination = touched.destination AND older.lane = touched.lane
    AND older.state = 'waiting' AND older.newest_only
    AND (older.leased_until IS NULL OR older.leased_until <= clock_timestamp())
    AND EXISTS (
        SELECT 1 FROM deliveries AS newer
        WHERE newer.kind = older.kind AND newer.destination = older.destination
            AND newer.lane = older.lane AND newer.message > older.message AND newer.newest_only
    );

-- name: destinations_due
-- Destinations of these kinds with something to send now, on hosts that may be tried.
SELECT kind, id FROM delivery_destinations AS there
WHERE kind = ANY ($1::text[]) AND standing = 'active'
    AND (not_before IS NULL OR not_before <= clock_timestamp())
    AND NOT EXISTS (
        SELECT 1 FROM delivery_hosts
        WHERE host = there.host AND circuit <> 'closed' AND until > clock_timestamp()
    )
    AND EXISTS (
        SELECT 1 FROM deliveries AS due
        WHERE due.kind = there.kind AND due.destination = there.id AND due.state = 'waiting'
            AND due.due_at <= clock_timestamp()
            AND (due.leased_until IS NULL OR due.leased_until <= clock_timestamp())
    )
ORDER BY kind, id
LIMIT $2;

-- name: lock_destination
-- One destination that may get something now, and nobody else's until the transaction ends.
SELECT host, at_once FROM delivery_destinations
WHERE kind = $1 AND id = $2 AND standing = 'active'
    AND (not_before IS NULL OR not_before <= clock_timestamp())
FOR NO KEY UPDATE SKIP LOCKED;

-- name: lock_host
-- The breaker of a host, and nobody else's until the transaction ends; with the time it is.
SELECT circuit, failures, until, clock_timestamp() AS now
FROM delivery_hosts WHERE host = $1 FOR UPDATE;

-- name: lock_host_of
-- The same, of a destination.
SELECT circuit, failures, until, clock_timestamp() AS now
FROM delivery_hosts
WHERE host = (SELECT host FROM delivery_destinations WHERE kind = $1 AND id = $2)
FOR UPDATE;

-- name: make_host
-- A host that begins to fail, to be locked; the row of another is as good.
INSERT INTO delivery_hosts (host, circuit, failures, until)
VALUES ($1, 'closed', 0, to_timestamp(0)) ON CONFLICT (host) DO NOTHING;

-- name: keep_host
-- How a host stands.
INSERT INTO delivery_hosts (host, circuit, failures, until) VALUES ($1, $2, $3, $4)
ON CONFLICT (host) DO UPDATE SET circuit = excluded.circuit, failures = excluded.failures,
    until = excluded.until, changed_at = clock_timestamp();

-- name: untry_host
-- Where the attempt to see was given back, another may be made at once.
UPDATE delivery_hosts SET until = clock_timestamp()
WHERE circuit = 'trying' AND host = (
    SELECT host FROM delivery_destinations WHERE kind = $1 AND id = $2
);

-- name: forget_host
-- A host that is well has no row.
DELETE FROM delivery_hosts WHERE host = $1;

-- name: claim_deliveries
-- Lease what is due of a destination ($1, $2): the first of each lane, at most $3 and as many as may be on their way at once ($4), for $5 to $6.
WITH under_way AS (
    SELECT count(*) AS n FROM deliveries
    WHERE kind = $1 AND destination = $2 AND state = 'waiting'
        AND leased_until > clock_timestamp()
), chosen AS (
    SELECT id FROM deliveries AS one
    WHERE kind = $1 AND destination = $2 AND state = 'waiting'
        AND due_at <= clock_timestamp()
        AND (leased_until IS NULL OR leased_until <= clock_timestamp())
        AND NOT EXISTS (
            SELECT 1 FROM deliveries AS before
            WHERE before.kind = $1 AND before.destination = $2 AND before.lane = one.lane
                AND before.state = 'waiting' AND before.id < one.id
        )
    ORDER BY due_at, id
    LIMIT GREATEST(0, LEAST($3::int, $4::int - (SELECT n FROM under_way)::int))
)
UPDATE deliveries SET attempts = attempts + 1, leased_by = $5,
    leased_until = clock_timestamp() + $6::interval
FROM chosen WHERE deliveries.id = chosen.id
RETURNING deliveries.id, kind, destination, lane, message, about, body, attempts;

-- name: delivery_ended
-- What became of a delivery that is still leased to whoever tried it ($2) at this attempt ($3); in vain, and with a newer one behind it, it is dropped.
WITH said AS (
    SELECT one.id, CASE WHEN $4::text <> 'delivered' AND one.newest_only AND EXISTS (
        SELECT 1 FROM deliveries AS newer
        WHERE newer.kind = one.kind AND newer.destination = one.destination
            AND newer.lane = one.lane AND newer.message > one.message AND newer.newest_only
    ) THEN 'cancelled' ELSE $4::text END AS state
    FROM deliveries AS one WHERE one.id = $1
)
UPDATE deliveries SET state = said.state, attempts = $5, leased_by = NULL, leased_until = NULL,
    due_at = clock_timestamp() + $6::interval,
    ended_at = CASE WHEN said.state = 'waiting' THEN NULL ELSE clock_timestamp() END
FROM said
WHERE deliveries.id = said.id AND leased_by = $2 AND attempts = $3
    AND deliveries.state = 'waiting'
RETURNING deliveries.state;

-- name: lane_waits
-- What waits behind a delivery is not looked at before it is tried again.
UPDATE deliveries SET due_at = GREATEST(due_at, clock_timestamp() + $5::interval)
WHERE kind = $1 AND destination = $2 AND lane = $3 AND id > $4 AND state = 'waiting'
    AND leased_until IS NULL;

-- name: release_deliveries
-- What was claimed and never begun is given back at once.
UPDATE deliveries SET attempts = attempts - 1, leased_by = NULL, leased_until = NULL
WHERE id = ANY ($1::bigint[]) AND leased_by = $2 AND state = 'waiting';

-- name: note_attempt
-- The log of what was tried.
INSERT INTO delivery_attempts (delivery, attempt, at, outcome, status, latency_ms, why, said)
SELECT $1::bigint, $2::int, clock_timestamp() - $6::int * interval '1 ms', $3, $4::int, $6::int, $5, $7
WHERE EXISTS (SELECT 1 FROM deliveries WHERE id = $1::bigint);

-- name: rest_destination
-- A destination asked to be left alone.
UPDATE delivery_destinations
SET not_before = GREATEST(not_before, clock_timestamp() + $3::interval)
WHERE kind = $1 AND id = $2;

-- name: close_destination
-- A destination said that it is gone; it is said once.
UPDATE delivery_destinations SET standing = 'gone', standing_why = $3
WHERE kind = $1 AND id = $2 AND standing = 'active';

-- name: host_of
-- Where a destination is.
SELECT host FROM delivery_destinations WHERE kind = $1 AND id = $2;

-- name: park_delivery
-- A delivery that nobody took, as an exception; what was retried in vain is open again.
INSERT INTO parked AS p (
    id, stage, cause, field, reason, topic, partition, record_offset, key, value, platform, shop,
    attempts, first_seen_at, last_seen_at
)
SELECT 'deliveries/0/' || id, $2, 'not_delivered', '', $3, 'deliveries', 0, id,
    convert_to(lane, 'UTF8'), body,
    NULLIF(split_part(lane, ':', 1), ''), NULLIF(split_part(lane, ':', 2), ''),
    1, clock_timestamp(), clock_timestamp()
FROM deliveries WHERE id = $1
ON CONFLICT (id) DO UPDATE SET
    reason = excluded.reason,
    attempts = p.attempts + 1,
    last_seen_at = excluded.last_seen_at,
    settled_at = NULL,
    settled_as = NULL;

-- name: retry_deliveries
-- A person lets these be tried anew, as often as at first; only what is parked, and no number that a newer one has replaced.
UPDATE deliveries SET state = 'waiting', attempts = 0, ended_at = NULL,
    due_at = clock_timestamp(), waiting_since = clock_timestamp()
FROM delivery_destinations AS there
WHERE deliveries.id = ANY ($1::bigint[]) AND deliveries.state = 'parked'
    AND there.kind = deliveries.kind AND there.id = deliveries.destination
    AND there.standing <> 'removed'
    AND NOT (deliveries.newest_only AND EXISTS (
        SELECT 1 FROM deliveries AS newer
        WHERE newer.kind = deliveries.kind AND newer.destination = deliveries.destination
            AND newer.lane = deliveries.lane AND newer.message > deliveries.message
            AND newer.newest_only
    ))
RETURNING deliveries.id;

-- name: deliveries_waiting
-- How many wait of each kind, and for how long the first; of destinations that may get something.
SELECT there.kind, count(*) AS waiting,
    EXTRACT(epoch FROM clock_timestamp() - min(waiting_since))::float8 AS oldest_s
FROM deliveries JOIN delivery_destinations AS there
    ON there.id = deliveries.destination AND there.kind = deliveries.kind
WHERE state = 'waiting' AND there.standing = 'active'
GROUP BY there.kind;

-- name: hosts_not_well
-- Hosts that are left alone.
SELECT host, circuit, failures, until FROM delivery_hosts WHERE circuit <> 'closed' ORDER BY host;

-- name: oldest_deliveries
-- For how long the oldest delivery of each destination has waited, the longest first; at most $1.
SELECT there.kind || ' ' || there.id AS subject,
    EXTRACT(epoch FROM clock_timestamp() - min(waiting_since))::float8 AS seconds
FROM deliveries JOIN delivery_destinations AS there
    ON there.id = deliveries.destination AND there.kind = deliveries.kind
WHERE state = 'waiting' AND there.standing = 'active'
GROUP BY there.kind, there.id
ORDER BY seconds DESC
LIMIT $1;

-- name: deliveries_to
-- What a destination ($1, $2) was sent or is to be, latest first, before the id $4; with its attempts.
SELECT id, message, about, lane, state, attempts, made_at, due_at, ended_at,
    COALESCE((
        SELECT json_agg(json_build_object(
            'attempt', attempt, 'at', at, 'outcome', outcome, 'status', status,
            'latency_ms', latency_ms, 'why', why, 'said', said
        ) ORDER BY at)
        FROM delivery_attempts WHERE delivery = deliveries.id
    ), '[]') AS tried
FROM deliveries
WHERE kind = $1 AND destination = $2 AND ($4::bigint IS NULL OR id < $4)
    AND ($5::text IS NULL OR state = $5)
ORDER BY id DESC
LIMIT $3;

-- name: forget_deliveries
-- Forget some of what ended before $1; what is parked only once a person has settled it.
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries
    WHERE ended_at < $1 AND (
        state <> 'parked' OR NOT EXISTS (
            SELECT 1 FROM parked
            WHERE parked.id = 'deliveries/0/' || deliveries.id AND settled_at IS NULL
        )
    )
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: forget_levels
-- The same of numbers of which the newest counts, whose log is worth less: what ended so long ago ($1).
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries
    WHERE newest_only AND ended_at < clock_timestamp() - $1::interval AND (
        state <> 'parked' OR NOT EXISTS (
            SELECT 1 FROM parked
            WHERE parked.id = 'deliveries/0/' || deliveries.id AND settled_at IS NULL
        )
    )
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: introduce_platforms
-- Shops ($2) of kind $1 that can be told, where ($3) and how much at once ($4); who was gone is back.
INSERT INTO delivery_destinations AS there (kind, id, host, at_once)
SELECT $1, id, host, at_once
FROM unnest($2::text[], $3::text[], $4::int[]) AS shop (id, host, at_once)
ORDER BY id
ON CONFLICT (kind, id) DO UPDATE SET
    host = excluded.host,
    at_once = excluded.at_once,
    standing = CASE there.standing WHEN 'gone' THEN 'active' ELSE there.standing END,
    standing_why = CASE there.standing WHEN 'gone' THEN '' ELSE there.standing_why END;

-- name: platforms_gone
-- Those of kind $1 that are not among $2 can be told no more; with how many of each wait.
UPDATE delivery_destinations AS there
SET standing = 'gone', standing_why = 'the shops file does not say that it is told'
WHERE kind = $1 AND standing = 'active' AND NOT id = ANY ($2::text[])
RETURNING id, (
    SELECT count(*) FROM deliveries
    WHERE deliveries.kind = there.kind AND destination = there.id AND state = 'waiting'
) AS waiting;

-- name: forget_hosts_of_nobody
-- A host that no destination has any more is nobody's to look at.
DELETE FROM delivery_hosts
WHERE NOT EXISTS (SELECT 1 FROM delivery_destinations WHERE host = delivery_hosts.host);

-- name: platforms_told
-- Shops whose platforms are told of parcels.
SELECT id FROM delivery_destinations
WHERE kind = $1 AND standing IN ('active', 'paused') ORDER BY id;
