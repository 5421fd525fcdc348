-- Callbacks: how far order events were read, and who the subscribers are.

-- name: claim_callback_positions
-- Make sure that every partition has a position; -1 is: never read.
INSERT INTO callback_positions (topic, partition, next)
SELECT topic, partition, -1 FROM unnest($1::text[], $2::int[]) AS claimed (topic, partition)
ORDER BY topic, partition
ON CONFLICT DO NOTHING;

-- name: callback_positions
-- The position of each partition, after whoever is writing it has come to an end.
SELECT topic, partition, next
FROM callback_positions JOIN unnest($1::text[], $2::int[]) AS claimed (topic, partition)
    USING (topic, partition)
ORDER BY topic, partition
FOR UPDATE OF callback_positions;

-- name: advance_callback_positions
-- Move every partition from where the round begins to where it ends; one that stands elsewhere is not counted.
UPDATE callback_positions SET next = span.finish, written_at = clock_timestamp()
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[])
    AS span (topic, partition, start, finish)
WHERE callback_positions.topic = span.topic
    AND callback_positions.partition = span.partition
    AND callback_positions.next = span.start;

-- name: subscribers_told
-- Those who are told of what happens, and since when.
SELECT subscribers.id, types, shops, made_at
FROM subscribers JOIN delivery_destinations AS there
    ON there.kind = 'subscriber' AND there.id = subscribers.id
WHERE there.standing IN ('active', 'paused')
ORDER BY subscribers.id;

-- name: park_unread_event
-- An order event that cannot be read; the ledger parks the same, and once is enough.
INSERT INTO parked (
    id, stage, cause, field, reason, topic, partition, record_offset, key, value,
    attempts, first_seen_at, last_seen_at
)
VALUES ($1, 'callback', $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $10)
ON CONFLICT (id) DO NOTHING;

-- name: subscriber_to_send
-- Where a subscriber is, and the secrets that count now, the newest first.
SELECT url, ARRAY(
    SELECT secret FROM subscriber_secrets
    WHERE subscriber = subscribers.id
        AND (expires_at IS NULL OR expires_at > clock_timestamp())
    ORDER BY subscriber_secrets.id DESC
) AS secrets
FROM subscribers WHERE id = $1;

-- name: add_subscriber
-- A new subscriber.
INSERT INTO subscribers (id, name, url, types, shops) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO NOTHING
RETURNING id;

-- name: add_destination
-- What the queue knows of it.
INSERT INTO delivery_destinations (kind, id, host, at_once) VALUES ($1, $2, $3, $4);

-- name: add_subscriber_secret
-- A secret that signs from now on.
INSERT INTO subscriber_secrets (subscriber, secret) VALUES ($1, $2);

-- name: expire_subscriber_secrets
-- Those that count sign so much longer; all but the newest of them no more.
UPDATE subscriber_secrets
SET expires_at = clock_timestamp() + CASE
    WHEN id = (SELECT max(id) FROM subscriber_secrets WHERE subscriber = $1) THEN $2::interval
    ELSE interval '0' END
WHERE subscriber = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: note_subscriber_change
-- Who did what to a subscriber, and why.
INSERT INTO subscriber_changes (subscriber, did, by, why) VALUES ($1, $2, $3, $4);

-- name: note_subscriber_gone
-- That a subscriber said it is gone.
INSERT INTO subscriber_changes (subscriber, did, by, why) VALUES ($1, 'gone', 'orderflow', $2);

-- name: subscriber_changes_of
-- What was done to a subscriber, oldest first.
SELECT did, at, by, why FROM subscriber_changes WHERE subscriber = $1 ORDER BY id;

-- name: subscribers_listed
-- The subscribers, and how they stand: called by id or name ($1), or all; removed ones with $2.
SELECT s.id, s.name, s.url, s.types, s.shops, s.made_at, there.standing, there.standing_why,
    there.host, there.not_before,
    (SELECT circuit FROM delivery_hosts WHERE host = there.host) AS circuit,
    (SELECT count(*) FROM deliveries WHERE kind = 'subscriber' AND destination = s.id
        AND state = 'waiting') AS waiting,
    (SELECT min(waiting_since) FROM deliveries WHERE kind = 'subscriber' AND destination = s.id
        AND state = 'waiting') AS waiting_since
FROM subscribers AS s JOIN delivery_destinations AS there
    ON there.kind = 'subscriber' AND there.id = s.id
WHERE ($1::text IS NULL OR s.id = $1 OR s.name = $1) AND ($2 OR there.standing <> 'removed')
ORDER BY s.name
LIMIT $3;

-- name: lock_subscriber
-- A subscriber called by id or name, and nobody else's until the transaction ends.
SELECT s.id, s.name, s.url, there.standing
FROM subscribers AS s JOIN delivery_destinations AS there
    ON there.kind = 'subscriber' AND there.id = s.id
WHERE s.id = $1 OR s.name = $1
FOR NO KEY UPDATE OF there;

-- name: stand_subscriber
-- How a subscriber stands from now on.
UPDATE delivery_destinations SET standing = $2, standing_why = $3, not_before = NULL
WHERE kind = 'subscriber' AND id = $1;

-- name: cancel_deliveries
-- What waits for a subscriber that is removed is never sent.
UPDATE deliveries SET state = 'cancelled', ended_at = clock_timestamp(),
    leased_by = NULL, leased_until = NULL
WHERE kind = 'subscriber' AND destination = $1 AND state = 'waiting';

-- name: queue_test
-- One message for one subscriber, that stands in nobody's way.
INSERT INTO deliveries (kind, destination, lane, message, about, body)
VALUES ('subscriber', $1, $2, $2, $3, $4)
RETURNING id;

-- name: count_subscribers
-- How many there are.
SELECT count(*) FROM delivery_destinations WHERE kind = 'subscriber' AND standing <> 'removed';
