-- A payload or a result that stands apart. Index: content_pkey.
SELECT data FROM content WHERE id = %(id)s::bigint
