-- Operators' keys: made and revoked by the schema's owner, looked up by the operations API.

-- name: make_operator_key
-- Keep the hash of a new key.
INSERT INTO operator_keys (id, name, role, hash, made_by, made_why)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: operator_key
-- The key of this id.
SELECT name, role, hash, revoked_at FROM operator_keys WHERE id = $1;

-- name: operator_keys
-- Who has which key, and since when; without the hashes.
SELECT id, name, role, made_at, made_by, made_why, revoked_at, revoked_by, revoked_why
FROM operator_keys ORDER BY made_at, id;

-- name: revoke_operator_key
-- Let a key count no more.
UPDATE operator_keys SET revoked_at = clock_timestamp(), revoked_by = $2, revoked_why = $3
WHERE id = $1 AND revoked_at IS NULL;
