-- Index: content_pkey.
DELETE FROM content WHERE id = 2 * %(key)s::bigint + 1
