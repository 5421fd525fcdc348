-- The exceptions queue: to look at, to correct, to try again, to leave for good; all by people.

-- name: exceptions_found
-- Those of a cause ($1), stage, platform, shop, id's beginning, all where NULL; open ones alone unless $6; latest first, after ($7, $8).
SELECT id, stage, cause, field, reason, platform, shop, attempts, edits, first_seen_at, last_seen_at,
    length(value) AS bytes, settled_at, settled_as, settled_by, settled_why
FROM parked
WHERE (settled_at IS NULL OR $6)
    AND ($1::text IS NULL OR cause = $1)
    AND ($2::text IS NULL OR stage = $2)
    AND ($3::text IS NULL OR platform = $3)
    AND ($4::text IS NULL OR shop = $4)
    AND ($5::text IS NULL OR starts_with(id, $5))
    AND ($7::timestamptz IS NULL OR (last_seen_at, id) < ($7, $8::text))
ORDER BY last_seen_at DESC, id DESC
LIMIT $9;

-- name: exceptions_counted
-- How many are open of a cause ($1), stage, platform, shop, id's beginning, all where NULL.
SELECT count(*) FROM parked
WHERE settled_at IS NULL
    AND ($1::text IS NULL OR cause = $1)
    AND ($2::text IS NULL OR stage = $2)
    AND ($3::text IS NULL OR platform = $3)
    AND ($4::text IS NULL OR shop = $4)
    AND ($5::text IS NULL OR starts_with(id, $5));

-- name: exceptions_matching
-- Ids of open ones of a cause ($1), stage, platform, shop, id's beginning, all where NULL; oldest first.
SELECT id FROM parked
WHERE settled_at IS NULL
    AND ($1::text IS NULL OR cause = $1)
    AND ($2::text IS NULL OR stage = $2)
    AND ($3::text IS NULL OR platform = $3)
    AND ($4::text IS NULL OR shop = $4)
    AND ($5::text IS NULL OR starts_with(id, $5))
ORDER BY first_seen_at, id
LIMIT $6;

-- name: exceptions_by_cause
-- How many are open of each cause, and since when the oldest.
SELECT cause, count(*) AS open, min(first_seen_at) AS oldest FROM parked
WHERE settled_at IS NULL
GROUP BY cause;

-- name: exception_by_id
-- One exception, whole.
SELECT * FROM parked WHERE id = $1;

-- name: exception_changes_of
-- What people did about one exception, oldest first.
SELECT did, at, by, why, before, after FROM exception_changes WHERE exception = $1 ORDER BY id;

-- name: lock_exceptions
-- These exceptions, whole, and nobody else's until the transaction ends; always in one order.
SELECT * FROM parked WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE;

-- name: edit_exception
-- What a retry sends instead.
UPDATE parked SET edited = $2, edits = edits + 1 WHERE id = $1;

-- name: settle_exceptions
-- A person dealt with these.
UPDATE parked
SET settled_at = clock_timestamp(), settled_as = $2, settled_by = $3, settled_why = $4
WHERE id = ANY ($1::text[]) AND settled_at IS NULL;

-- name: note_exception_changes
-- Keep who did what about these exceptions, and why.
INSERT INTO exception_changes (exception, did, by, why)
SELECT id, $2, $3, $4 FROM unnest($1::text[]) AS id;

-- name: note_exception_edit
-- Keep what an edit changed.
INSERT INTO exception_changes (exception, did, by, why, before, after)
VALUES ($1, 'edited', $2, $3, $4, $5);
