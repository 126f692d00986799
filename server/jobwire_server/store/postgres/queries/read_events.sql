-- The log after a revision, in order. Index: event_pkey.
SELECT * FROM event WHERE revision > %(after)s::bigint ORDER BY revision LIMIT %(limit)s::bigint
