-- Index: content_pkey.
DELETE FROM content
WHERE id = ANY (
  ARRAY(
    SELECT 2 * r.value::bigint + part
    FROM jsonb_array_elements_text(%(keys)s::jsonb) AS r (value)
    CROSS JOIN (VALUES (0), (1)) AS parts (part)
  )
)
