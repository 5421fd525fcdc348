-- Exchange rates of a day, and tax rates since a day.

-- name: add_exchange_rate
-- One unit of $1 is $4 of $2 on day $3.
INSERT INTO exchange_rates (base, quote, day, rate, said_by, said_why)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: exchange_rate_on
-- The rate of day $3, or of the last day before it that is less than $4 days old.
SELECT day, rate, said_at, said_by, said_why
FROM exchange_rates
WHERE base = $1 AND quote = $2 AND day <= $3::date AND day > $3::date - $4::integer
ORDER BY day DESC, id DESC
LIMIT 1;

-- name: add_tax_rate
-- Tax of kind $3 is $5 in country $1, region $2 ('': all of it), since day $4.
INSERT INTO tax_rates (country, region, kind, since, rate, said_by, said_why)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: tax_rate_on
-- The tax of a region on a day, else that of its country.
SELECT region, since, rate, said_at, said_by, said_why
FROM tax_rates
WHERE country = $1 AND region = ANY (ARRAY[$2, '']) AND kind = $3 AND since <= $4::date
ORDER BY region <> '' DESC, since DESC, id DESC
LIMIT 1;

-- name: orders_with_rates
-- Orders placed from $1 to before $2, with the rate into $3 (less than $5 days old) and the tax of their region on their day in zone $4.
SELECT o.order_key, o.platform, o.shop, o.status, o.refund, o.currency, o.total_minor,
    o.refunded_minor, o.tax_minor, placed.day, details.country,
    COALESCE(details.province, '') AS region,
    CASE WHEN o.currency = $3 THEN 1 ELSE exchange.rate END AS rate, exchange.day AS rate_day,
    tax.rate AS tax_rate
FROM orders AS o
CROSS JOIN LATERAL (
    SELECT (COALESCE(o.created_at, o.first_received_at) AT TIME ZONE $4)::date AS day
) AS placed
LEFT JOIN order_details AS details ON details.order_key = o.order_key
LEFT JOIN LATERAL (
    SELECT rate, day FROM exchange_rates
    WHERE base = o.currency AND quote = $3 AND day <= placed.day AND day > placed.day - $5::integer
    ORDER BY day DESC, id DESC
    LIMIT 1
) AS exchange ON true
LEFT JOIN LATERAL (
    SELECT rate FROM tax_rates
    WHERE country = details.country AND region = ANY (ARRAY[COALESCE(details.province, ''), ''])
        AND kind = 'standard' AND since <= placed.day
    ORDER BY region <> '' DESC, since DESC, id DESC
    LIMIT 1
) AS tax ON true
WHERE COALESCE(o.created_at, o.first_received_at) >= $1
    AND COALESCE(o.created_at, o.first_received_at) < $2
ORDER BY placed.day, o.order_key
LIMIT $6;
