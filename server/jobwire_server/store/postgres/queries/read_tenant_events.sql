-- Index: event_pkey.
SELECT * FROM event
WHERE revision > %(after)s::bigint AND tenant = %(tenant)s::text
ORDER BY revision
LIMIT %(limit)s::bigint
