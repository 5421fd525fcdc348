-- Pauses of intake: begun and ended by people, over when the last held message is read.

-- name: one_pauser_at_a_time
-- Whoever changes pauses or tells workers of them; held until the connection ends.
SELECT pg_advisory_lock(hashtext('orderflow intake pauses'));

-- name: pause_intake
-- Begin a pause; nothing where the shop has one.
INSERT INTO intake_pauses (platform, shop, starts, paused_by, paused_why)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (platform, shop) WHERE drained_at IS NULL DO NOTHING
RETURNING id;

-- name: resume_intake
-- End a pause; nothing where the shop has none, or it was resumed before.
UPDATE intake_pauses
SET resumed_at = clock_timestamp(), resumed_by = $3, resumed_why = $4
WHERE platform = $1 AND shop = $2 AND resumed_at IS NULL
RETURNING id;

-- name: open_pauses
-- Pauses that are not over, oldest first.
SELECT id, platform, shop, starts, paused_at, paused_by, paused_why, resumed_at, resumed_by,
    resumed_why
FROM intake_pauses WHERE drained_at IS NULL ORDER BY paused_at, id;

-- name: pauses_of_shop
-- The pauses of one shop, latest first.
SELECT id, platform, shop, paused_at, paused_by, paused_why, resumed_at, resumed_by, resumed_why,
    drained_at
FROM intake_pauses WHERE platform = $1 AND shop = $2 ORDER BY id DESC LIMIT $3;

-- name: pause_drained
-- All that was set aside has been read.
UPDATE intake_pauses SET drained_at = clock_timestamp()
WHERE id = $1 AND resumed_at IS NOT NULL AND drained_at IS NULL;
