-- Index: event_pkey.
DELETE FROM event WHERE revision <= %(revision)s::bigint
